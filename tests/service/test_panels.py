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


def group(*series: dict[str, Any], facts: Facts | None = None, horizon: int = 2) -> list[Group]:
    return panels_of(requested(*series), facts, horizon)


def requested(*series: dict[str, Any]) -> tuple[SeriesRequest, ...]:
    return read_request({"series": [{"id": f"s{i}"} | one for i, one in enumerate(series)]}, Settings()).series


def refused(*series: dict[str, Any], facts: Facts | None = None, horizon: int = 2) -> list[tuple[str, str]]:
    with pytest.raises(Problem) as caught:
        group(*series, facts=facts, horizon=horizon)
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
    assert refused(stamps("2024-01-01", "2024-02-01"), facts=DAILY) == [
        (
            "series[0].timestamps[1]",
            "missing after 2024-01-01T00:00:00: 30 steps of freq 'D' (that of the model; give freq if it is another); "
            "send what was not observed with target null",
        )
    ]


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
        (
            {"start": "yesterday", "freq": "D", "target": [1]},
            "start",
            "'yesterday' is no timestamp; write ISO 8601 such as 2024-01-31 or",
        ),
        ({"start": "now", "freq": "D", "target": [1]}, "start", "'now' is no timestamp"),
        ({"start": "2024-02-30", "freq": "D", "target": [1]}, "start", "'2024-02-30' does not exist"),
        ({"start": "2024-01-01T25:00", "freq": "h", "target": [1]}, "start", "'2024-01-01T25:00' does not exist"),
        ({"start": "2024-01-01T00:00+99:00", "freq": "h", "target": [1]}, "start", "is no timestamp"),
        ({"start": "1500-01-01", "freq": "D", "target": [1]}, "start", "'1500-01-01' lies outside the years 1678 to 2261"),
        ({"start": "2262-01-01", "freq": "D", "target": [1]}, "start", "'2262-01-01' lies outside the years 1678 to 2261"),
        ({"start": "2024-01-01", "freq": "fortnight", "target": [1]}, "freq", "unknown freq 'fortnight'"),
        (
            {"start": "2024-01-01", "freq": 1, "target": [1]},
            "freq",
            "the timestamps are of a calendar clock, freq 1 of an integer one",
        ),
        ({"start": 1, "freq": "D", "target": [1]}, "freq", "the timestamps are of an integer clock, freq 'D' of a calendar one"),
        (
            {"start": "2024-01-01", "freq": "W-SUN", "target": [1]},
            "freq",
            "2024-01-01T00:00:00 is not on the clock of freq 'W-SUN'",
        ),
        (
            {"start": "2024-01-01", "freq": "9YS", "target": [1] * 50},
            "freq",
            "52 steps of freq '9YS-JAN' reach over more than 400 years",
        ),
        ({"start": "2024-01-01", "freq": "900000h", "target": [1] * 6}, "freq", "8 steps of freq '900000h' reach over more"),
        ({"start": "2024-01-01", "freq": "99999999999999999999D", "target": [1]}, "freq", "freq '99999999999999999999D'"),
        (stamps("2024-01-01", "2024-01-02", "2024-01-02"), "timestamps[2]", "2024-01-02T00:00:00 comes twice"),
        (stamps("2024-01-02", "2024-01-01"), "timestamps[1]", "2024-01-01T00:00:00 comes after 2024-01-02"),
        (stamps("2024-01-01", "2024-01-02T06:00") | {"freq": "D"}, "timestamps[1]", "is not a step of freq 'D'"),
        (
            stamps("2024-01-01", "2024-01-03") | {"freq": "D"},
            "timestamps[1]",
            "missing after 2024-01-01T00:00:00: 1 step of freq 'D'; send",
        ),
        (stamps("2024-01-01", "soon"), "timestamps[1]", "'soon' is no timestamp"),
        (stamps("2024-01-01", "2024-02-31"), "timestamps[1]", "'2024-02-31' does not exist"),
        (stamps("2024-01-01T00:00Z", "2024-01-02T00:00"), "timestamps[1]", "'2024-01-02T00:00' has no UTC offset, others have"),
        ({"timestamps": [3, 2], "target": [1, 2]}, "timestamps[1]", "2 comes after 3; sort them"),
        (
            {"timestamps": [1, 2, 4], "target": [1, 2, 3]},
            "timestamps[2]",
            "missing after 2: 1 step of freq 1 (as the timestamps say; give freq if it is another); send",
        ),
    ],
)
def test_a_clock_that_makes_no_sense_is_refused_with_its_place(series: dict[str, Any], field: str, message: str) -> None:
    facts = DAILY if isinstance(series.get("timestamps", [0])[0], str) else None
    [(where, told)] = refused(series, facts=facts)
    assert where == f"series[0].{field}"
    assert message in told


def test_a_step_that_cannot_be_told_is_asked_for() -> None:
    for moments in (["2024-01-01", "2024-01-02"], ["2024-01-01", "2024-01-02", "2024-01-09"]):
        [(field, message)] = refused(stamps(*moments))
        assert (field, message) == (
            "series[0].freq",
            "the step cannot be told from these timestamps; give freq, such as 'h', 'D' or 'MS'",
        )


def test_every_series_with_a_bad_clock_is_named() -> None:
    good = {"start": "2024-01-01", "freq": "D", "target": [1]}
    assert [field for field, _ in refused(good | {"freq": "x"}, good, good | {"start": "x"})] == [
        "series[0].freq",
        "series[2].start",
    ]
