from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from service.errors import Problem
from service.forecast_request import SeriesRequest, read_request
from service.panels import Group, panels_of
from service.settings import Settings
from tests.service.fakes import ramp_flow
from tsforecast.models.base import Facts

DAILY = ramp_flow().facts  # freq "D", season 7


def group(*series: dict[str, Any], facts: Facts | None = None) -> list[Group]:
    return panels_of(requested(*series), facts)


def requested(*series: dict[str, Any]) -> tuple[SeriesRequest, ...]:
    return read_request({"series": [{"id": f"s{i}"} | one for i, one in enumerate(series)]}, Settings()).series


def refused(*series: dict[str, Any], facts: Facts | None = None) -> list[tuple[str, str]]:
    with pytest.raises(Problem) as caught:
        group(*series, facts=facts)
    assert (caught.value.status, caught.value.kind) == (422, "invalid-series")
    return [(error.field, error.message) for error in caught.value.errors]


def stamps(*texts: str) -> dict[str, Any]:
    return {"timestamps": list(texts), "target": [1.0] * len(texts)}


@pytest.mark.parametrize("freq", ["h", "D", "B", "W-SUN", "MS", "ME", "QS", "QE", "YS", "YE", "15min", "2h", "3MS"])
def test_start_and_freq_give_the_timestamps_pandas_gives(freq: str) -> None:
    expected = pd.date_range("2023-12-29", periods=40, freq=freq)
    found = group({"start": expected[0].isoformat(), "freq": freq, "target": [1.0] * 40})[0].panel
    np.testing.assert_array_equal(found.timestamps, expected.to_numpy())


@pytest.mark.parametrize("freq", ["h", "D", "B", "W-SUN", "MS", "ME", "QS", "QE", "YS", "YE", "15min"])
def test_timestamps_give_the_same_panel_as_start_and_freq(freq: str) -> None:
    moments = [moment.isoformat() for moment in pd.date_range("2023-12-29", periods=9, freq=freq)]
    one, two = group(stamps(*moments) | {"freq": freq}, {"start": moments[0], "freq": freq, "target": [1.0] * 9})[
        0
    ].panel.offsets[:2]
    assert (one, two) == (0, 9)
    panel = group(stamps(*moments) | {"freq": freq}, {"start": moments[0], "freq": freq, "target": [1.0] * 9})[0].panel
    np.testing.assert_array_equal(panel.timestamps[:9], panel.timestamps[9:])


@pytest.mark.parametrize("freq", ["h", "D", "B", "W-SUN", "MS", "ME", "QS-JAN", "YE-DEC", "15min"])
def test_the_step_is_told_from_timestamps_when_no_model_says_it(freq: str) -> None:
    moments = [moment.isoformat() for moment in pd.date_range("2023-12-29", periods=12, freq=freq)]
    assert group(stamps(*moments))[0].panel.freq == freq


def test_without_freq_the_one_of_the_model_is_meant_even_for_one_timestamp() -> None:
    assert group(stamps("2024-01-31"), facts=DAILY)[0].panel.freq == "D"
    [(field, message)] = refused(stamps("2024-01-01", "2024-02-01"), facts=DAILY)
    assert field == "series[0].timestamps"
    assert "lacks 30 steps of freq 'D'" in message
    assert message.endswith(
        "; send what was not observed with target null; "
        "freq 'D' is that of the model, give the freq of the series if it is another"
    )


def test_the_season_is_that_of_the_model_on_its_own_step_and_the_usual_one_elsewhere() -> None:
    facts = replace(DAILY, season=30)
    day, hour = {"start": "2024-01-01", "freq": "D", "target": [1]}, {"start": "2024-01-01", "freq": "h", "target": [1]}
    assert [one.panel.season for one in group(day, hour, facts=facts)] == [30, 24]


def test_series_of_one_clock_share_a_panel_and_remember_their_places() -> None:
    day = {"start": "2024-01-01", "freq": "D", "target": [1.0, 2.0]}
    days, weeks = group(day, {"start": "2024-01-07", "freq": "W", "target": [9.0]}, day | {"target": [5.0], "freq": "1D"})
    assert (days.places, days.panel.series_ids, days.panel.freq) == ((0, 2), ("s0", "s2"), "D")
    np.testing.assert_array_equal(days.panel.target, [1.0, 2.0, 5.0])
    np.testing.assert_array_equal(days.panel.offsets, [0, 2, 3])
    assert (weeks.places, weeks.panel.freq) == ((1,), "W-SUN")


def test_utc_offsets_become_instants_and_do_not_mix_with_local_times() -> None:
    utc = group(stamps("2024-01-01T00:00:00+02:00", "2024-01-01T01:00:00+0200", "2024-01-01T02:30:00+02:30") | {"freq": "h"})[
        0
    ].panel
    expected = np.array(["2023-12-31T22", "2023-12-31T23", "2024-01-01T00"], dtype="datetime64[ns]")
    np.testing.assert_array_equal(utc.timestamps, expected)
    assert utc.tz == "UTC"
    local, zulu = group(
        {"start": "2024-01-01", "freq": "h", "target": [1]}, {"start": "2024-01-01T00:00Z", "freq": "h", "target": [1]}
    )
    assert (local.panel.tz, zulu.panel.tz) == (None, "UTC")


def test_integer_clocks_go_by_their_step() -> None:
    panel = group({"start": 100, "freq": 10, "target": [1, 2, 3]}, {"timestamps": [5, 15], "freq": 10, "target": [1, 2]})[0].panel
    np.testing.assert_array_equal(panel.timestamps, [100, 110, 120, 5, 15])
    assert (panel.freq, panel.season) == (10, 1)
    assert group({"timestamps": [4, 6, 8], "target": [1, 2, 3]})[0].panel.freq == 2


@pytest.mark.parametrize(
    ("series", "field", "message"),
    [
        ({"start": "yesterday"}, "start", "'yesterday' in 'start' is no timestamp; write ISO 8601 such as 2024-01-31 or"),
        ({"start": "now"}, "start", "'now' in 'start' is no timestamp"),
        ({"start": "2024-02-30"}, "start", "'2024-02-30' in 'start' is no timestamp"),
        ({"start": "1500-01-01"}, "start", "'1500-01-01' in 'start' is no timestamp"),
        ({"freq": "fortnight"}, "freq", "unknown freq 'fortnight'"),
        ({"freq": "99999999999999999999D"}, "freq", "unknown freq '99999999999999999999D'"),
        ({"freq": 1}, "freq", "freq 1 is for integer steps, 'start' holds timestamps"),
        ({"start": 1}, "freq", "freq 'D' needs timestamps, 'start' holds integer steps"),
        ({"freq": "W-SUN"}, "start", "starts at 2024-01-01, which is not on the clock of freq 'W-SUN'"),
        ({"tz": "Mars/Olympus"}, "tz", "'Mars/Olympus' is no zone; give an IANA name such as 'Europe/Berlin'"),
        (stamps("2024-01-01", "2024-01-02", "2024-01-02"), "timestamps", "2024-01-02"),
        (stamps("2024-01-01", "2024-01-02T06:00") | {"freq": "D"}, "timestamps", "2024-01-02T06:00"),
        (stamps("2024-01-01", "2024-01-03") | {"freq": "D"}, "timestamps", "lacks 1 step of freq 'D'"),
        (stamps("2024-01-01", "soon"), "timestamps", "'soon' in 'timestamps' is no timestamp"),
        (stamps("2024-01-01T00:00Z", "2024-01-02T00:00"), "timestamps", "UTC offset"),
        (stamps("2024-01-01"), "freq", "its step cannot be told; pass freq, such as freq='h'"),
        ({"timestamps": [1, 2, 4], "target": [1, 2, 3]}, "timestamps", "lacks 1 step of freq 1"),
    ],
)
def test_a_clock_that_makes_no_sense_is_refused_with_its_field(series: dict[str, Any], field: str, message: str) -> None:
    if "timestamps" not in series:
        series = {"start": "2024-01-01", "freq": "D", "target": [1.0]} | series
    [(where, told)] = refused(series)
    assert where == f"series[0].{field}"
    assert message in told


@pytest.mark.parametrize("freq", ["9YS", "900000h", "9999D", "99999W"])
def test_steps_that_reach_beyond_what_a_clock_can_show_are_refused(freq: str) -> None:
    [(_, message)] = refused({"start": "2024-01-01", "freq": freq, "target": [1.0] * 5000})
    assert "2262" in message or "not on the clock" in message


def test_steps_told_from_timestamps_are_those_of_each_series() -> None:
    days, others = stamps("2024-01-01", "2024-01-02", "2024-01-03"), stamps("2024-01-01", "2024-01-03", "2024-01-05")
    assert [(one.places, one.panel.freq) for one in group(days, others, days)] == [((0, 2), "D"), ((1,), "2D")]


def test_integer_steps_for_a_model_of_days_are_refused() -> None:
    [(field, message)] = refused({"timestamps": [1, 2], "target": [1, 2]}, facts=DAILY)
    assert field == "series[0].freq"
    assert "freq 'D' needs timestamps, 'timestamps' holds integer steps" in message


def test_timestamps_in_any_order_are_sorted_with_their_values() -> None:
    series = {"timestamps": ["2024-01-03", "2024-01-01", "2024-01-02"], "target": [3.0, 1.0, None]}
    np.testing.assert_array_equal(group(series)[0].panel.target, [1.0, np.nan, 3.0])


def test_days_of_a_zone_go_by_its_wall_clock_across_the_change_to_summer_time() -> None:
    moments = ["2024-03-30T00:00+01:00", "2024-03-31T00:00+01:00", "2024-04-01T00:00+02:00"]
    assert refused(stamps(*moments) | {"freq": "D"})[0][0] == "series[0].timestamps"  # in UTC one day has 23 hours
    berlin = {"freq": "D", "tz": "Europe/Berlin"}
    groups = group(stamps(*moments) | berlin, {"start": "2024-03-30", "target": [1.0] * 3} | berlin)
    [(places, panel)] = [(one.places, one.panel) for one in groups]
    assert (places, panel.tz, panel.freq) == ((0, 1), "Europe/Berlin", "D")
    np.testing.assert_array_equal(panel.timestamps[:3], panel.timestamps[3:])


def test_offsets_are_moved_to_the_zone_of_the_model_and_local_times_stay_local() -> None:
    facts = replace(DAILY, tz="Europe/Berlin")
    moments = ["2024-03-30T00:00+01:00", "2024-03-31T00:00+01:00", "2024-04-01T00:00+02:00"]
    assert group(stamps(*moments), facts=facts)[0].panel.tz == "Europe/Berlin"
    assert group(stamps("2024-03-30", "2024-03-31"), facts=facts)[0].panel.tz is None


def test_every_series_with_a_bad_clock_is_named() -> None:
    good = {"start": "2024-01-01", "freq": "D", "target": [1]}
    assert [field for field, _ in refused(good | {"freq": "x"}, good, good | {"start": "x"})] == [
        "series[0].freq",
        "series[2].start",
    ]
