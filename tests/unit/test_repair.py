"""Repairs: what pandas makes of the same rows, values worked out by hand, and a log of every change."""

import numpy as np
import pandas as pd
import pytest

from tsforecast import panel_from_frame
from tsforecast.errors import FrequencyError, GapError, OptionError, SchemaError
from tsforecast.preprocessing.calendar import normalise_freq
from tsforecast.preprocessing.repair import drop_duplicates, resample


def irregular(seed=0, rows=400, days=500, tz=None):
    """Two series at random seconds, some of them not observed, in no order."""
    rng = np.random.default_rng(seed)
    start = pd.Timestamp("2023-01-02", tz=tz)
    times = start + pd.to_timedelta(rng.choice(days * 86_400, rows, replace=False), unit="s")
    target = np.where(rng.random(rows) < 0.1, np.nan, rng.normal(size=rows))
    return pd.DataFrame({"unique_id": rng.choice(["b", "a"], rows), "ds": times, "y": target})


@pytest.mark.parametrize("how", ["sum", "mean", "median", "min", "max", "first", "last"])
@pytest.mark.parametrize("freq", ["6h", "D", "B", "W-SUN", "W-WED", "MS", "ME", "QS-JAN", "QE-DEC", "QE-NOV", "YS-JAN", "YE-JUN"])
def test_resampling_equals_that_of_pandas_series_by_series(freq, how):
    frame = irregular()
    repaired = resample(frame, freq, how).frame
    for series_id in ("a", "b"):
        own = frame[frame["unique_id"] == series_id].set_index("ds")["y"].sort_index()
        resampler = own.resample(freq)
        expected = resampler.sum(min_count=1) if how == "sum" else getattr(resampler, how)()
        got = repaired[repaired["unique_id"] == series_id]
        assert got["ds"].tolist() == expected.index.tolist()
        np.testing.assert_allclose(got["y"], expected, rtol=1e-12)


@pytest.mark.parametrize("freq", ["7h", "2D", "2W-SUN", "2MS", "2QE-DEC", "SMS", "SME", "BMS", "BME"])
def test_what_was_resampled_is_a_panel_of_that_freq_and_no_observation_is_lost(freq):
    frame = irregular()
    panel = panel_from_frame(resample(frame, freq, "sum").frame, freq=freq)
    assert panel.freq == normalise_freq(freq)
    assert np.nansum(panel.target) == pytest.approx(frame["y"].sum())


@pytest.mark.parametrize("freq", ["h", "D", "W-SUN", "ME"])
def test_days_of_a_zone_are_those_of_its_wall_clock(freq):
    frame = irregular(tz="Europe/Berlin")
    repaired = resample(frame, freq, "sum").frame
    own = frame[frame["unique_id"] == "a"].set_index("ds")["y"].sort_index().resample(freq).sum(min_count=1)
    got = repaired[repaired["unique_id"] == "a"]
    assert got["ds"].tolist() == own.index.tolist()
    np.testing.assert_allclose(got["y"], own)
    assert panel_from_frame(repaired, freq=freq).tz == "Europe/Berlin"


def test_every_row_lies_in_the_step_that_bears_its_label():
    frame = pd.DataFrame(
        {"ds": pd.to_datetime(["2024-01-07 23:59", "2024-01-08 00:00", "2024-01-31 10:00"]), "y": [1.0, 2.0, 4.0]}
    )
    weeks = resample(frame, "W-SUN", "sum").frame  # Sunday belongs to the week that it ends
    assert weeks["ds"].dt.strftime("%m-%d").tolist() == ["01-07", "01-14", "01-21", "01-28", "02-04"]
    np.testing.assert_array_equal(weeks["y"], [1, 2, np.nan, np.nan, 4])
    assert resample(frame, "ME", "sum").frame["y"].tolist() == [7.0]


def test_integer_steps_are_grouped_at_multiples():
    frame = pd.DataFrame({"unique_id": "a", "ds": [-1, 0, 3, 4, 13], "y": [1.0, 2.0, 3.0, 4.0, 5.0]})
    repaired = resample(frame, 4, "sum").frame
    assert repaired["ds"].tolist() == [-4, 0, 4, 8, 12]
    np.testing.assert_array_equal(repaired["y"], [1, 5, 4, np.nan, 5])


def test_the_log_names_each_step_that_changed_and_leaves_out_the_others():
    times = pd.to_datetime(["2024-01-01 00:00", "2024-01-01 01:00", "2024-01-01 01:30", "2024-01-01 03:15"])
    log = resample(pd.DataFrame({"unique_id": "a", "ds": times, "y": [1.0, 2.0, 4.0, 8.0]}), "h").log
    assert log.columns.tolist() == ["unique_id", "ds", "old", "new", "step"]
    assert log["ds"].dt.hour.tolist() == [1, 2, 3]
    assert log["step"].tolist() == ["resample", "insert", "resample"]
    np.testing.assert_array_equal(log["old"], [2, np.nan, np.nan])
    np.testing.assert_array_equal(log["new"], [3, np.nan, 8])


def test_a_regular_frame_is_left_as_it_is_with_nothing_logged():
    frame = pd.DataFrame(
        {"unique_id": "a", "ds": pd.date_range("2024", periods=9, freq="h").as_unit("ns"), "y": [*range(8), np.nan]}
    )
    repaired = resample(frame, "h", "sum")
    pd.testing.assert_frame_equal(repaired.frame, frame, check_dtype=False)
    assert repaired.log.empty


def test_a_series_keeps_its_place_whatever_the_order_of_the_rows():
    frame = irregular()
    one, other = resample(frame, "D").frame, resample(frame.sample(frac=1, random_state=5), "D").frame
    for series_id in ("a", "b"):
        left, right = (f[f["unique_id"] == series_id].reset_index(drop=True) for f in (one, other))
        pd.testing.assert_frame_equal(left, right)
    assert one["unique_id"].iloc[0] == frame["unique_id"].iloc[0]


@pytest.mark.parametrize(("keep", "value"), [("last", 3.0), ("first", 1.0), ("mean", 2.0)])
def test_of_rows_with_one_timestamp_one_stays_and_the_others_are_logged(keep, value):
    days = pd.to_datetime(["2024-01-02", "2024-01-01", "2024-01-02", "2024-01-02"])
    frame = pd.DataFrame({"unique_id": "a", "ds": days, "y": [1.0, 9.0, np.nan, 3.0], "note": list("pqrs")})
    repaired = drop_duplicates(frame, keep)
    assert repaired.frame.set_index("ds")["y"].to_dict() == {days[0]: value, days[1]: 9.0}
    assert set(repaired.frame["note"]) == ({"q", "s"} if keep == "last" else {"p", "q"})
    assert repaired.log["step"].tolist() == ["drop_duplicates"] * 2
    assert repaired.log["new"].tolist() == [value] * 2
    assert repaired.log["old"].tolist()[0 if keep == "last" else 1] == (1.0 if keep == "last" else 3.0)


def test_a_frame_without_duplicates_keeps_its_rows_order_and_types():
    frame = pd.DataFrame({"unique_id": ["b", "a", "b"], "ds": [3, 1, 2], "y": [1, 2, 3]})
    for keep in ("last", "first", "mean"):
        repaired = drop_duplicates(frame, keep)
        pd.testing.assert_frame_equal(repaired.frame, frame)
        assert repaired.log.empty


@pytest.mark.parametrize(
    ("kind", "message", "repair"),
    [
        (
            OptionError,
            "how must be one of sum, mean, median, min, max, first, last, got 'mode'",
            lambda f: resample(f, "h", "mode"),
        ),
        (OptionError, "keep must be one of last, first, mean, sum, max, got 'none'", lambda f: drop_duplicates(f, "none")),
        (FrequencyError, "unknown freq 'hourly'", lambda f: resample(f, "hourly")),
        (FrequencyError, "freq 3 does not fit: 'ds' holds timestamps, pass an alias such as 'h'", lambda f: resample(f, 3)),
        (FrequencyError, "'ds' holds integer steps, pass an int", lambda f: resample(f.assign(ds=range(len(f))), "h")),
        (SchemaError, "the frame has no rows", lambda f: resample(f[:0], "h")),
        (SchemaError, "expected a pandas DataFrame, got list", lambda f: drop_duplicates([])),
        (SchemaError, "no column 'shop'", lambda f: resample(f, "h", id_col="shop")),
        (SchemaError, "has the text 'x' in 'y', row 0", lambda f: resample(f.assign(y="x"), "h")),
        (
            GapError,
            r"series '.' would have \d+ steps of freq 's', most of them empty; pass a coarser freq",
            lambda f: resample(f, "s"),
        ),
    ],
)
def test_what_cannot_be_repaired_is_refused_by_name(kind, message, repair):
    with pytest.raises(kind, match=message):
        repair(irregular())


@pytest.mark.parametrize(
    ("freq", "labels", "values"),
    [("2ME", ["2024-01-31", "2024-03-31"], [31, 60]), ("2W-SUN", ["2024-01-07", "2024-01-21", "2024-02-04"], [7, 14, 14])],
)
def test_steps_of_several_months_or_weeks_bear_the_end_of_the_last_of_them(freq, labels, values):
    frame = pd.DataFrame({"ds": pd.date_range("2024-01-01", periods=91), "y": 1.0})
    repaired = resample(frame, freq, "sum").frame
    assert repaired["ds"].dt.strftime("%Y-%m-%d").tolist()[: len(labels)] == labels
    assert repaired["y"].tolist()[: len(values)] == values


def test_a_day_that_the_clock_enters_twice_is_one_day():
    hours = pd.date_range("2024-03-23 00:00", periods=49, freq="h", tz="America/Asuncion")  # at midnight it is 23 h again
    repaired = resample(pd.DataFrame({"ds": hours, "y": 1.0}), "D", "sum").frame
    assert repaired["y"].tolist() == [25, 24]


def test_rows_of_one_timestamp_that_agree_are_logged_as_merged_too():
    frame = pd.DataFrame({"unique_id": "a", "ds": [1, 2, 2, 3], "y": [5.0, 7.0, 7.0, 5.0]})
    repaired = resample(frame, 1)
    assert repaired.frame["y"].tolist() == [5, 7, 5]
    assert repaired.log["ds"].tolist() == [2]


def test_a_clock_set_back_over_midnight_gives_yesterday_its_rows():
    minutes = pd.date_range("2010-11-06 23:00", periods=122, freq="min", tz="America/St_Johns")  # after 00:00 comes 23:01
    repaired = resample(pd.DataFrame({"ds": minutes, "y": 1.0}), "D", "sum").frame
    assert repaired["y"].tolist() == [119, 3]


@pytest.mark.parametrize(("keep", "value"), [("sum", 6.0), ("max", 5.0)])
def test_rows_of_one_timestamp_may_be_added_up(keep, value):
    frame = pd.DataFrame({"unique_id": ["a", "a", "b", "a"], "ds": [1, 1, 1, 2], "y": [5, 1, 7, 8], "note": list("pqrs")})
    repaired = drop_duplicates(frame, keep)
    assert repaired.frame["y"].tolist() == [value, 7, 8] and repaired.frame["note"].tolist() == ["p", "r", "s"]
    assert repaired.log[["old", "new"]].to_numpy().tolist() == [[1, value]]


@pytest.mark.parametrize(
    ("freq", "fine", "start", "rows", "left"),
    [
        ("D", "h", "2024-01-01 00:00", 48, [24, 24]),
        ("D", "h", "2024-01-01 01:00", 46, []),
        ("D", "30min", "2024-01-01 12:00", 48 + 48, [48]),
        ("W-SUN", "D", "2024-01-03", 5 + 7 + 6, [7]),
        ("W-SUN", "D", "2024-01-01", 14, [7, 7]),
        ("MS", "D", "2024-01-01", 31 + 29 + 30, [31, 29]),
        ("ME", "D", "2024-01-02", 30 + 29 + 31, [29, 31]),
        ("QE-DEC", "MS", "2024-02-01", 2 + 3 + 3, [3, 3]),
        ("MS", "B", "2024-01-01", 23 + 21 + 5, [23, 21]),
        ("YS-JAN", "QS-JAN", "2023-04-01", 3 + 4 + 1, [4]),
    ],
)
def test_the_first_and_last_step_are_left_out_where_rows_of_the_finer_clock_are_missing(freq, fine, start, rows, left):
    frame = pd.DataFrame({"ds": pd.date_range(start, periods=rows, freq=fine), "y": 1.0})
    if not left:
        with pytest.raises(SchemaError, match="partial='drop' leaves nothing: no series holds a whole step"):
            resample(frame, freq, "sum", partial="drop")
        return
    repaired = resample(frame, freq, "sum", partial="drop")
    assert repaired.frame["y"].tolist() == left
    gone = repaired.log[repaired.log["step"] == "partial"]
    assert gone["old"].sum() == rows - sum(left) and gone["new"].isna().all()


def test_a_step_of_a_wall_clock_is_whole_with_23_hours_where_the_day_has_no_more():
    hours = pd.date_range("2024-03-31", periods=23, freq="h", tz="Europe/Berlin")
    repaired = resample(pd.DataFrame({"ds": hours, "y": 1.0}), "D", "sum", partial="drop")
    assert repaired.frame["y"].tolist() == [23]


def test_a_series_that_holds_no_whole_step_goes_and_others_stay():
    hours = pd.date_range("2024-01-01", periods=24, freq="h")
    frame = pd.DataFrame({"unique_id": ["a"] * 20 + ["b"] * 24 + ["c"] * 24, "ds": [*hours[:20], *hours, *hours], "y": 1.0})
    assert resample(frame, "D", "sum", partial="drop").frame["unique_id"].tolist() == ["b", "c"]
    with pytest.raises(FrequencyError, match="no series has two rows, so it cannot be told which steps are partial"):
        resample(frame[:1], "D", partial="drop")
    with pytest.raises(OptionError, match="partial must be one of keep, drop, got 'cut'"):
        resample(frame, "D", partial="cut")


def test_each_series_has_the_days_of_its_own_zone():
    zones = {"berlin": "Europe/Berlin", "york": "America/New_York"}
    parts = [pd.date_range("2024-03-01", periods=48, freq="h", tz=tz) for tz in zones.values()]
    moments = [one for part in parts for one in part]
    frame = pd.DataFrame({"unique_id": np.repeat(list(zones), 48), "ds": pd.Series(moments, dtype=object), "y": 1.0})
    repaired = resample(frame, "D", "sum")
    assert repaired.frame["y"].tolist() == [24] * 4
    assert [str(one.tz) for one in repaired.frame["ds"]] == [tz for tz in zones.values() for _ in range(2)]
    assert panel_from_frame(repaired.frame, freq="D").zones == tuple(zones.values())
    assert len(drop_duplicates(pd.concat([frame, frame])).frame) == 96
    lacking = resample(
        frame.assign(ds=[one + pd.Timedelta("30D") * int(i % 48 > 23) for i, one in enumerate(moments)]), "D"
    ).frame
    assert {one.strftime("%H:%M") for one in lacking["ds"]} == {"00:00"}  # also where the clock was put forward in between
