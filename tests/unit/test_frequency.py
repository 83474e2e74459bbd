"""Steps of many series -> one frequency: holes, strays and changes of the clock do not hide it."""

import numpy as np
import pandas as pd
import pytest

from tsforecast.preprocessing.frequency import infer_freq


def told(*clocks, tz=None):
    """The freq of series on these clocks."""
    stamps = [np.asarray(clock) if np.asarray(clock).dtype.kind == "i" else pd.DatetimeIndex(clock) for clock in clocks]
    flat = [one if isinstance(one, np.ndarray) else utc(one) for one in stamps]
    return infer_freq(np.concatenate(flat), np.cumsum([0, *map(len, flat)]), tz)


def utc(index):
    naive = index if index.tz is None else index.tz_convert("UTC").tz_localize(None)
    return naive.to_numpy().astype("datetime64[ns]")


def days(text):
    return pd.DatetimeIndex(text.split())


def test_single_rows_tell_nothing():
    assert told(["2024-01-01"], ["2024-05-03"]) is None
    assert told([3], [5]) is None


def test_one_series_with_two_rows_is_enough():
    assert told(["2024-01-01"], ["2024-05-03", "2024-05-04"]) == "D"
    assert told(days("2024-02-01 2024-03-01")) == "MS"  # 29 days apart
    assert told(days("2023-02-01 2023-03-01")) == "MS"  # 28 days apart, yet no four weeks
    assert told(days("2023-12-31 2024-12-31")) == "YE-DEC"
    assert told(["2024-01-01T00:00", "2024-01-01T00:15"]) == "15min"


def test_integer_steps_have_their_greatest_common_divisor():
    assert told([0, 4, 10, 12], [101, 103]) == 2
    assert told([0, 3], [0, 5]) == 1


def test_holes_do_not_change_the_freq_even_where_most_rows_are_missing():
    clock = pd.date_range("2024-01-01", periods=400, freq="h")
    kept = np.sort(np.random.default_rng(0).choice(400, 100, replace=False))
    assert told(clock[kept]) == "h"
    assert told(clock[[0, 2, 5, 7, 10, 12, 15]]) == "h"  # no two neighbours at all


@pytest.mark.parametrize("late", ["1s", "1ms", "7min"])
def test_a_few_rows_that_come_late_do_not_change_the_freq(late):
    clock = pd.date_range("2024-01-01", periods=100, freq="h").to_series()
    clock.iloc[[20, 50]] += pd.Timedelta(late)
    assert told(clock) == "h"
    extra = [*clock.tolist(), clock.iloc[30] + pd.Timedelta(late)]
    assert told(sorted(extra)) == "h"


def test_events_at_random_moments_have_the_step_that_comes_most_often_and_not_the_tick_of_their_timestamps():
    moments = np.cumsum(np.random.default_rng(1).integers(10**9, 10**13, 50))
    freq = infer_freq(moments.astype("datetime64[ns]"), np.array([0, 50]))
    assert freq == f"{np.diff(moments).min()}ns"  # all come once: the smallest


def test_a_change_of_the_clock_leaves_days_days_and_hours_hours():
    berlin = pd.date_range("2024-03-25", periods=20, freq="D", tz="Europe/Berlin")
    assert told(berlin, tz="Europe/Berlin") == "D"
    assert told(berlin[6:8], tz="Europe/Berlin") == "D"  # 23 hours
    assert told(pd.date_range("2024-03-25", periods=300, freq="h", tz="Europe/Berlin"), tz="Europe/Berlin") == "h"
    assert told(pd.date_range("2024-03-25", periods=9, freq="24h", tz="Europe/Berlin"), tz="Europe/Berlin") == "24h"
    assert told(pd.date_range("2024-05-25", periods=9, freq="24h", tz="Europe/Berlin"), tz="Europe/Berlin") == "D"


def test_five_day_weeks_need_a_weekend_to_show():
    clock = pd.date_range("2024-01-01", periods=300, freq="B")
    assert told(clock[:5]) == "D"
    assert told(clock[:6]) == "B"
    saturday = clock.union(pd.DatetimeIndex(["2024-06-08"]))
    assert told(saturday) == "B"
    assert told(pd.date_range("2024-01-01", periods=30).delete([5, 6, 12])) == "D"


def test_weeks_have_the_weekday_of_all_series_or_none():
    mondays, tuesdays = (pd.date_range("2024-01-01", periods=9, freq=f"W-{day}") for day in ("MON", "TUE"))
    assert told(mondays, mondays[3:]) == "W-MON"
    assert told(mondays, tuesdays) == "7D"
    assert told(mondays[::2]) == "2W-MON"
    moved = mondays.to_series()
    moved.iloc[4] += pd.Timedelta("1D")
    assert told(moved) == "W-MON"


def test_quarters_and_years_have_one_phase_or_are_counted_in_months():
    assert told(days("2024-01-01 2024-04-01 2024-07-01")) == "QS-JAN"
    assert told(days("2024-01-01 2024-04-01 2024-07-01"), days("2024-02-01 2024-05-01")) == "3MS"
    assert told(days("2021-01-01 2022-01-01 2023-01-01"), days("2021-07-01 2022-07-01 2023-07-01")) == "4QS-JAN"
    assert told(days("2021-01-01 2022-01-01 2023-01-01"), days("2021-08-01 2022-08-01 2023-08-01")) == "12MS"
    assert told(days("2020-06-30 2022-06-30 2024-06-30")) == "2YE-JUN"


def test_a_day_of_the_month_without_a_name_is_counted_in_days():
    assert told(pd.date_range("2024-01-10", periods=8, freq="30D")) == "30D"
    assert told(pd.date_range("2024-01-31", periods=4, freq="30D")) == "30D"  # some of them month ends


def test_half_months_are_told_where_all_rows_are_on_them():
    assert told(pd.date_range("2024-01-01", periods=6, freq="SMS")) == "SMS"
    assert told(pd.date_range("2024-01-15", periods=6, freq="SME")) == "SME"
