"""Frequencies, grids and the future, against pandas and by hand."""

import numpy as np
import pandas as pd
import pytest

from tsforecast.errors import FrequencyError, HorizonError
from tsforecast.preprocessing.calendar import (
    advance,
    calendar_features,
    clock_of,
    default_season,
    future_timestamps_after,
    grid_positions,
    instants_from_wall,
    normalise_freq,
    wall_from_instants,
)

ALIASES = [
    *("h", "2h", "15min", "90min", "s", "30s", "ms", "us", "D", "3D", "B", "2B"),
    *("W-SUN", "W-MON", "W-SAT", "2W-FRI", "MS", "ME", "2MS", "BMS", "BME", "SMS", "SME"),
    *("QS-JAN", "QS-FEB", "QE-DEC", "QE-NOV", "BQS-JAN", "BQE-DEC", "YS-JAN", "YS-JUL", "YE-DEC", "YE-JUN", "BYS-JAN", "BYE-DEC"),
]


def nanoseconds(index):
    return index.to_numpy().astype("datetime64[ns]")


@pytest.mark.parametrize("alias", ALIASES)
def test_the_grid_of_every_alias_is_that_of_pandas(alias):
    dates = nanoseconds(pd.date_range("2019-11-14", periods=60, freq=alias))
    clock = clock_of(alias)
    np.testing.assert_array_equal(advance(clock, dates[:1], np.arange(60)), dates)
    np.testing.assert_array_equal(advance(clock, dates[-1:], -np.arange(60)), dates[::-1])
    positions, on_grid = grid_positions(clock, dates, np.array([0, 20, 60]))
    assert positions.tolist() == [*range(20), *range(40)]
    assert on_grid.all()
    np.testing.assert_array_equal(
        future_timestamps_after(dates[[9, 9, 30]], alias, 5), [dates[10:15], dates[10:15], dates[31:36]]
    )


@pytest.mark.parametrize(
    ("given", "canonical"),
    [
        ("H", "h"), ("60min", "h"), ("T", "min"), ("1h30min", "90min"), ("24h", "24h"), ("d", "D"), ("W", "W-SUN"), ("M", "ME"),
        ("Q", "QE-DEC"), ("QS-OCT", "QS-JAN"), ("QE-MAR", "QE-DEC"), ("A", "YE-DEC"), ("AS-JUL", "YS-JUL"), (3, 3),
        ("0.5h", "30min"), ("S", "s"), ("L", "ms"), ("U", "us"), ("N", "ns"), ("90s", "90s"), ("120s", "2min"), ("1.5D", "36h"),
        ("1D12h", "36h"),
        ("BM", "BME"), ("SM", "SME"), ("SMS-15", "SMS"), ("BQ", "BQE-DEC"), ("BA", "BYE-DEC"), ("BAS", "BYS-JAN"),
        ("Y", "YE-DEC"), ("q", "QE-DEC"), ("w-mon", "W-MON"), ("qs", "QS-JAN"), ("ms", "ms"), ("MS", "MS"), ("2Q-FEB", "2QE-NOV"),
        (" 2 h ", "2h"), ("QS-DEC", "QS-MAR"), ("QE-JAN", "QE-OCT"), ("B", "B"), (np.int64(2), 2),
    ],
)  # fmt: skip
def test_other_names_of_a_frequency_give_the_canonical_one(given, canonical):
    assert normalise_freq(given) == canonical
    assert normalise_freq(normalise_freq(given)) == canonical


def test_a_pandas_offset_says_its_alias():
    assert normalise_freq(pd.offsets.MonthBegin()) == "MS"


@pytest.mark.parametrize(
    ("freq", "message"),
    [
        ("hourly", "unknown freq 'hourly'; did you mean 'h'?"),
        ("m", "did you mean 'min' .minutes. or 'ME'"),
        ("W-XYZ", "unknown freq 'W-XYZ'"),
        ("1.5MS", "unknown freq '1.5MS'"),
        ("9999999W", "unknown freq '9999999W'"),
        ("99999999999h", "unknown freq '99999999999h'"),
        ("2h30m", "unknown freq '2h30m'"),
        ("C", "unknown freq 'C'"),
        ("W-15", "unknown freq 'W-15'"),
        ("0h", "unknown freq '0h'"),
        ("", "unknown freq ''"),
        ("٣D", "unknown freq '٣D'"),
        (0, "freq must be a positive number of steps, got 0"),
        (True, "unknown freq True"),
        (None, "unknown freq None"),
        (1.0, "unknown freq 1.0"),
    ],
)
def test_what_is_no_frequency_is_refused_with_examples(freq, message):
    with pytest.raises(FrequencyError, match=message) as caught:
        clock_of(freq)
    assert caught.value.field == "freq"
    assert "15min" in str(caught.value)


@pytest.mark.parametrize(
    ("freq", "season"),
    [("h", 24), ("2h", 12), ("3h", 8), ("30min", 48), ("15min", 96), ("10min", 144), ("5min", 288),
     ("min", 1440), ("10s", 6), ("ms", 1000), ("24h", 7), ("36h", 1), ("14D", 26), ("2D", 1), ("2W", 26), ("6MS", 2), ("BME", 12),
     ("2QS", 2), ("12MS", 1), ("5h", 1), ("s", 60), ("D", 7), ("7D", 52), ("B", 5), ("W-MON", 52), ("MS", 12), ("QE-DEC", 4),
     ("YS-JAN", 1), ("2MS", 6), ("SMS", 24), (1, 1)],
)  # fmt: skip
def test_each_frequency_has_its_usual_season(freq, season):
    assert default_season(freq) == season


def test_days_in_a_zone_stay_at_their_hour_over_both_changes_of_the_clock():
    for start in ("2024-03-29 12:00", "2024-10-25 12:00"):
        days = pd.date_range(start, periods=5, freq="D", tz="Europe/Berlin")
        instants = nanoseconds(days.tz_convert("UTC").tz_localize(None))
        reached = advance(clock_of("D"), instants[:1], np.arange(5), "Europe/Berlin")
        np.testing.assert_array_equal(reached, instants)
        assert {23, 25} & set((np.diff(reached) / np.timedelta64(1, "h")).astype(int))
        positions, on_grid = grid_positions(clock_of("D"), instants, np.array([0, 5]), "Europe/Berlin")
        assert positions.tolist() == [0, 1, 2, 3, 4] and on_grid.all()


def test_a_time_that_summer_time_skips_is_the_first_instant_after_it_and_still_on_the_grid():
    wall = np.array(["2024-03-30T02:30", "2024-03-31T02:30", "2024-04-01T02:30"], dtype="datetime64[ns]")
    instants = instants_from_wall(wall, "Europe/Berlin")
    assert str(wall_from_instants(instants, "Europe/Berlin")[1]) == "2024-03-31T03:00:00.000000000"
    assert grid_positions(clock_of("D"), instants, np.array([0, 3]), "Europe/Berlin")[1].all()


def test_rows_off_the_grid_are_told():
    dates = np.array(["2024-01-01", "2024-02-01", "2024-02-02", "2024-03-01T01:00"], dtype="datetime64[ns]")
    assert grid_positions(clock_of("MS"), dates, np.array([0, 4]))[1].tolist() == [True, True, False, False]


def test_the_future_starts_after_the_end_of_each_series_and_needs_a_positive_horizon():
    assert future_timestamps_after(np.array([4, 9]), 2, 3).tolist() == [[6, 8, 10], [11, 13, 15]]
    for horizon in (0, -1, 1.5, True):
        with pytest.raises(HorizonError, match="horizon must be a positive number of steps"):
            future_timestamps_after(np.array([4]), 1, horizon)
    with pytest.raises(HorizonError, match="horizon must be at most 1000000 steps, got 1000001"):
        future_timestamps_after(np.array([4]), 1, 10**6 + 1)


def test_a_future_off_the_clock_of_the_other_kind_or_beyond_2262_is_refused():
    friday = np.array(["2024-01-05"], dtype="datetime64[ns]")
    with pytest.raises(FrequencyError, match="2024-01-05T00:00:00 is not on the clock of freq 'MS'"):
        future_timestamps_after(friday, "MS", 1)
    with pytest.raises(FrequencyError, match="freq 'h' does not fit timestamps of type int64"):
        future_timestamps_after(np.array([1]), "h", 1)
    for freq in ("h", "D", "YS-JAN"):
        with pytest.raises(FrequencyError, match="2262"):
            future_timestamps_after(np.array(["2262-01-01"], dtype="datetime64[ns]"), freq, 5000)


def test_calendar_features_are_sines_and_cosines_of_the_wall_clock():
    noon = np.array(["2024-01-01T11:00"], dtype="datetime64[ns]")  # a Monday, in Berlin 12:00
    values, names = calendar_features(noon, "h", "Europe/Berlin")
    found = dict(zip(names, values[0], strict=True))
    assert found["hour_of_day_sin"] == pytest.approx(0, abs=1e-12)
    assert found["hour_of_day_cos"] == pytest.approx(-1)
    assert found["day_of_week_sin"] == pytest.approx(0, abs=1e-12)
    assert found["day_of_year_cos"] == pytest.approx(1)


def test_each_frequency_has_the_cycles_that_change_from_step_to_step():
    when = np.zeros((2, 3), dtype="datetime64[ns]")
    cycles = {"h": 4, "D": 3, "W-SUN": 2, "MS": 1, "YS-JAN": 0, "B": 3}
    for freq, count in cycles.items():
        values, names = calendar_features(when, freq)
        assert values.shape == (2, 3, 2 * count) and len(names) == 2 * count
    assert calendar_features(np.zeros((2, 3), dtype=np.int64), 1)[0].shape == (2, 3, 0)


def test_the_days_of_a_month_and_a_year_go_round_once_whatever_their_number():
    dates = np.array(["2023-02-15", "2024-02-15", "2023-07-02T12:00", "2024-07-02"], dtype="datetime64[ns]")
    values, names = calendar_features(dates, "D")
    half = names.index("day_of_month_cos")
    assert values[0, half] == pytest.approx(-1)  # 14 of 28 days
    assert values[1, half] == pytest.approx(np.cos(2 * np.pi * 14 / 29))
    assert values[2, names.index("day_of_year_cos")] == pytest.approx(np.cos(2 * np.pi * 182 / 365))
    assert values[3, names.index("day_of_year_cos")] == pytest.approx(-1)  # 183 of 366


def test_months_seconds_and_five_day_weeks_have_their_own_cycles():
    def at(freq, moment):
        values, names = calendar_features(np.array([moment], dtype="datetime64[ns]"), freq)
        return dict(zip(names, values[0], strict=True))

    assert at("MS", "2024-04-01") == pytest.approx({"month_of_year_sin": 1, "month_of_year_cos": 0})
    assert at("s", "2024-01-01T00:15:30")["second_of_minute_cos"] == pytest.approx(-1)
    assert at("min", "2024-01-01T00:15:00")["minute_of_hour_sin"] == pytest.approx(1)
    assert "hour_of_day_sin" not in at("24h", "2024-01-01") and "day_of_week_sin" not in at("7D", "2024-01-01")
    assert "day_of_week_sin" not in at("5B", "2024-01-01") and "day_of_week_sin" in at("7B", "2024-01-01")


def test_a_day_off_its_weekday_quarter_or_business_day_is_not_on_the_grid():
    for freq, on, off in (
        ("QS-JAN", "2024-04-01", "2024-05-01"),
        ("W-SUN", "2024-01-07", "2024-01-08"),
        ("B", "2024-01-05", "2024-01-06"),
    ):
        for moment, told in ((on, True), (off, False)):
            moments = np.array([moment], dtype="datetime64[ns]")
            assert grid_positions(clock_of(freq), moments, np.array([0, 1]))[1].tolist() == [told]
