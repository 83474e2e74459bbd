"""Repair steps: values by hand, a log that leads back, order and options, arbitrary frames; nothing is changed in silence."""

import os
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tsforecast import panel_from_frame
from tsforecast.errors import (
    CovariateError,
    DuplicateError,
    ForecastError,
    FrequencyError,
    GapError,
    OptionError,
    SchemaError,
)
from tsforecast.panel import Panel
from tsforecast.preprocessing.repairs import REPAIRS, build_repair, repair, repair_rows

EXAMPLES = settings(
    max_examples=int(os.environ.get("HYPOTHESIS_EXAMPLES", "100")),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
NAN = np.nan


def rows(values, series="a", start="2024-01-01", freq="h"):
    return pd.DataFrame({"unique_id": series, "ds": pd.date_range(start, periods=len(values), freq=freq), "y": values})


def done(frame, *steps, **options):
    """`repair` by steps given as a name or (name, options)."""
    built = [build_repair(step) if isinstance(step, str) else build_repair(step[0], **step[1]) for step in steps]
    return repair(frame, built, **options)


def logged(repaired):
    """The log as tuples without the series: timestamp, old, new, step."""
    moments = repaired.log["ds"].dt.strftime("%m-%d %H:%M") if repaired.log["ds"].dtype.kind == "M" else repaired.log["ds"]
    return list(zip(moments, repaired.log["old"].tolist(), repaired.log["new"].tolist(), repaired.log["step"], strict=True))


def same(left, right):
    """Tuples are equal, NaN too."""
    assert repr(left) == repr(right)


# Rows


def test_rows_without_a_series_or_a_moment_go_and_are_logged():
    frame = rows([1.0, 2, 3, 4]).astype({"unique_id": object})
    frame.loc[1, "unique_id"], frame.loc[3, "ds"] = None, pd.NaT
    repaired = done(frame, "drop_missing_keys", ("clock", {"freq": "h"}))
    assert repaired.panel.target.tolist()[::2] == [1, 3]
    assert repaired.log["unique_id"].tolist() == [None, "a", "a"]
    assert repaired.log["ds"].isna().tolist() == [False, True, False]
    same(repaired.log["old"].tolist(), [2.0, 4.0, NAN])
    assert repaired.counts == {"drop_missing_keys": 2, "clock": 1}


def test_integer_steps_with_a_hole_are_integers_again():
    frame = pd.DataFrame({"unique_id": "a", "ds": [1, None, 2], "y": [1.0, 2, 3]})
    repaired = done(frame, "drop_missing_keys")
    assert repaired.panel.is_integer_clock and repaired.panel.target.tolist() == [1, 3]
    assert repaired.log["ds"].isna().tolist() == [True]


def test_texts_become_numbers_and_only_what_was_not_plain_is_logged():
    frame = rows([" 1.5", 2, "n/a", "1,234.5", None, "-1e3", True, Decimal("7.25"), "12,34", ""])
    repaired = done(frame, ("numbers", {"thousands": ","}))
    np.testing.assert_array_equal(repaired.panel.target, [1.5, 2, NAN, 1234.5, NAN, -1000, NAN, 7.25, NAN, NAN])
    assert repaired.log["ds"].dt.hour.tolist() == [2, 3, 6, 8, 9]
    np.testing.assert_array_equal(repaired.log["new"], [NAN, 1234.5, NAN, NAN, NAN])


def test_numbers_are_read_as_the_country_writes_them():
    repaired = done(rows(["1.234,5", "0,5", "7", "1.5"]), ("numbers", {"decimal": ",", "thousands": "."}))
    np.testing.assert_array_equal(repaired.panel.target, [1234.5, 0.5, 7, NAN])


def test_texts_that_begin_alike_up_to_a_nul_are_not_taken_for_one():
    repaired = done(rows(["1", "1\0x", "\0", 5.0]), "numbers")
    np.testing.assert_array_equal(repaired.panel.target, [1, NAN, NAN, 5])


def test_covariates_are_numbers_too_and_named_in_the_log():
    frame = rows([1.0, 2, 3, 4]).assign(price=["1", "?", "inf", "4"])
    repaired = done(frame, "numbers", covariates=["price"])
    np.testing.assert_array_equal(repaired.panel.covariates[:, 0], [1, NAN, NAN, 4])
    assert repaired.counts == {"numbers:price": 2}
    assert repaired.log["text"].tolist() == ["?", "inf"]
    repaired = done(rows([1.0, 2, 3]).assign(price=[1, np.inf, 2]), "infinities", past_covariates=["price"])
    same(logged(repaired), [("01-01 01:00", np.inf, NAN, "infinities:price")])


def test_infinite_values_are_not_observed():
    repaired = done(rows([1.0, np.inf, -np.inf, 4]), "infinities")
    same(logged(repaired), [("01-01 01:00", np.inf, NAN, "infinities"), ("01-01 02:00", -np.inf, NAN, "infinities")])
    np.testing.assert_array_equal(repaired.panel.target, [1, NAN, NAN, 4])


@pytest.mark.parametrize(("keep", "value"), [("last", 3.0), ("first", 1.0), ("mean", 2.0), ("sum", 4.0), ("max", 3.0)])
def test_of_rows_at_one_timestamp_one_stands(keep, value):
    frame = pd.concat([rows([5.0, 1, 9]), rows([3.0], start="2024-01-01 01:00")])
    repaired = done(frame, ("duplicates", {"keep": keep}))
    assert repaired.panel.target.tolist() == [5, value, 9]
    same(logged(repaired), [("01-01 01:00", 1.0 if keep == "last" else 3.0, value, "duplicates")])


def test_rows_are_resampled_and_partial_ends_left_out():
    hours = rows(np.ones(60), start="2024-01-01 18:00")  # six hours of the first day, six of the last
    whole = done(hours, ("resample", {"freq": "D", "how": "sum"}))
    assert whole.panel.freq == "D" and whole.panel.target.tolist() == [6, 24, 24, 6]
    repaired = done(hours, ("resample", {"freq": "D", "how": "sum", "partial": "drop"}))
    assert repaired.panel.target.tolist() == [24, 24]
    assert [(ds, old) for ds, old, new, _ in logged(repaired) if np.isnan(new)] == [("01-01 00:00", 6.0), ("01-04 00:00", 6.0)]
    with pytest.raises(OptionError, match="repair 'resample' keeps the target only; leave price out"):
        done(hours.assign(price=1.0), ("resample", {"freq": "D"}), covariates=["price"])


# The clock


def test_rows_beside_the_clock_are_moved_and_missing_steps_added():
    frame = rows([1.0, 2, 3, 4, 5]).drop(index=2)
    frame.loc[3, "ds"] += pd.Timedelta("3min")
    repaired = done(frame, ("clock", {"freq": "h"}))
    np.testing.assert_array_equal(repaired.panel.target, [1, 2, NAN, 4, 5])
    same(
        logged(repaired),
        [("01-01 03:03", 4.0, NAN, "clock"), ("01-01 03:00", NAN, 4.0, "clock"), ("01-01 02:00", NAN, NAN, "clock")],
    )


def test_rows_far_off_the_clock_are_refused_by_name_or_dropped():
    frame = rows([1.0, 2, 3, 4, 5])
    frame.loc[3, "ds"] += pd.Timedelta("10min")
    words = r"series 'a' has 1 of 5 rows more than 0.1 of a step off the clock of freq 'h': 2024-01-01T03:10:00; raise tolerance"
    with pytest.raises(FrequencyError, match=words):
        done(frame, ("clock", {"freq": "h"}))
    repaired = done(frame, ("clock", {"freq": "h", "off": "drop"}))
    np.testing.assert_array_equal(repaired.panel.target, [1, 2, 3, NAN, 5])
    same(logged(repaired), [("01-01 03:10", 4.0, NAN, "clock"), ("01-01 03:00", NAN, NAN, "clock")])
    assert done(frame, ("clock", {"freq": "h", "tolerance": 0.2})).panel.target.tolist() == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("freq", "minutes", "first"),
    [("h", [30, 30, 30, 31, 29], "00:30"), ("h", [0, 1, 59, 60 - 57, 2], "00:00"), ("15min", [5, 5, 5, 5, 4], "00:05")],
)
def test_a_series_keeps_the_time_within_a_step_that_most_of_its_rows_have(freq, minutes, first):
    moments = [pd.Timestamp("2024-01-01") + i * pd.Timedelta(freq if freq != "h" else "1h") for i in range(5)]
    odd = [minute - 60 if minute == 59 else minute for minute in minutes]
    frame = pd.DataFrame({"ds": [one + pd.Timedelta(minutes=m) for one, m in zip(moments, odd, strict=True)], "y": range(5)})
    panel = done(frame, ("clock", {"freq": freq})).panel
    assert panel.target.tolist() == [0, 1, 2, 3, 4]
    assert pd.Timestamp(panel.timestamps[0]).strftime("%H:%M") == first


@pytest.mark.parametrize(
    ("freq", "given", "snapped"),
    [
        ("D", ["2024-01-01 00:00:07", "2024-01-01 23:59:50", "2024-01-03"], ["2024-01-01", "2024-01-02", "2024-01-03"]),
        ("MS", ["2024-01-01", "2024-02-02", "2024-02-29"], ["2024-01-01", "2024-02-01", "2024-03-01"]),
        ("ME", ["2024-01-31", "2024-02-28", "2024-04-01"], ["2024-01-31", "2024-02-29", "2024-03-31"]),
        ("W-SUN", ["2024-01-07", "2024-01-14 09:00", "2024-01-20 20:00"], ["2024-01-07", "2024-01-14", "2024-01-21"]),
        ("QS-JAN", ["2024-01-01", "2024-04-03", "2024-06-28"], ["2024-01-01", "2024-04-01", "2024-07-01"]),
    ],
)
def test_days_and_longer_steps_are_met_on_the_wall_clock(freq, given, snapped):
    frame = pd.DataFrame({"ds": pd.to_datetime(given, format="ISO8601").tz_localize("Europe/Berlin"), "y": [1.0, 2, 3]})
    panel = done(frame, ("clock", {"freq": freq})).panel
    assert panel.target.tolist() == [1, 2, 3]
    walls = pd.DatetimeIndex(panel.timestamps).tz_localize("UTC").tz_convert("Europe/Berlin").tz_localize(None)
    assert walls.tolist() == pd.to_datetime(snapped).tolist()


def test_integer_steps_are_met_too():
    panel = done(pd.DataFrame({"ds": [0, 10, 21, 40], "y": [1.0, 2, 3, 4]}), ("clock", {"freq": 10})).panel
    np.testing.assert_array_equal(panel.target, [1, 2, 3, NAN, 4])


def test_rows_that_meet_at_one_place_are_duplicates_for_the_next_step():
    frame = pd.concat([rows([1.0, 2, 3]), rows([9.0], start="2024-01-01 01:02")])
    with pytest.raises(DuplicateError):
        done(frame, ("clock", {"freq": "h"}))
    assert done(frame, ("clock", {"freq": "h"}), "duplicates").panel.target.tolist() == [1, 9, 3]


def test_a_regular_frame_is_the_same_object_after_all_steps_on_rows():
    frame = rows([1.0, 2, 3])
    names = ("drop_missing_keys", "numbers", "infinities", "duplicates")
    after = repair_rows(frame, [*map(build_repair, names), build_repair("clock", freq="h")])
    assert after.frame is frame and after.log.empty


# Zones


def test_local_hours_get_their_zone_and_the_hour_that_comes_twice_goes_by_order():
    local = pd.date_range("2024-10-27", periods=26, freq="h", tz="Europe/Berlin").tz_localize(None)
    repaired = done(pd.DataFrame({"ds": local, "y": np.arange(26.0)}), ("localize", {"tz": "Europe/Berlin"}))
    assert repaired.panel.tz == "Europe/Berlin" and repaired.panel.target.tolist() == list(range(26))
    assert repaired.log.empty and str(repaired.log["ds"].dt.tz) == "Europe/Berlin"


@pytest.mark.parametrize(("ambiguous", "hour"), [("first", 0), ("second", 1)])
def test_an_hour_that_comes_twice_may_be_told_by_the_recipe(ambiguous, hour):
    frame = pd.DataFrame({"ds": [pd.Timestamp("2024-10-27 02:00")], "y": [1.0]})
    with pytest.raises(SchemaError, match=r"2024-10-27T02:00:00: the clock showed that twice .* pass ambiguous='first'"):
        done(frame, ("localize", {"tz": "Europe/Berlin"}), freq="h")
    panel = done(frame, ("localize", {"tz": "Europe/Berlin", "ambiguous": ambiguous}), freq="h").panel
    assert panel.timestamps[0] == np.datetime64(f"2024-10-27T0{hour}:00", "ns")


def test_an_hour_that_never_was_is_moved_or_dropped_and_logged():
    frame = pd.DataFrame({"ds": pd.to_datetime(["2024-03-31 01:00", "2024-03-31 02:30"]), "y": [1.0, 2.0]})
    moved = repair_rows(frame, [build_repair("localize", tz="Europe/Berlin")])
    assert moved.frame["ds"].tolist() == [pd.Timestamp("2024-03-31 01:00+01:00"), pd.Timestamp("2024-03-31 03:30+02:00")]
    same(logged(moved), [("03-31 03:30", NAN, 2.0, "localize")])
    dropped = repair_rows(frame, [build_repair("localize", tz="Europe/Berlin", nonexistent="drop")])
    assert len(dropped.frame) == 1
    same(logged(dropped), [("03-31 03:30", 2.0, NAN, "localize")])


def test_what_was_logged_before_the_zone_was_known_is_on_its_wall_clock_too():
    frame = pd.concat([rows([1.0, np.inf, 3])])
    log = done(frame, "infinities", ("localize", {"tz": "America/New_York"})).log
    assert log["ds"].tolist() == [pd.Timestamp("2024-01-01 01:00", tz="America/New_York")]


def test_zoned_rows_are_not_localized_again():
    with pytest.raises(SchemaError, match="timestamps 'ds' have the zone UTC already; leave 'localize' out"):
        done(rows([1.0, 2]).assign(ds=pd.date_range("2024", periods=2, freq="h", tz="UTC")), ("localize", {"tz": "UTC"}))


# Values


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [NAN, 1, 2, 3, 4, 0, 1, 2, NAN]),
        ({"method": "none"}, [NAN, 1, NAN, NAN, 4, 0, NAN, 2, NAN]),
        ({"method": "forward"}, [NAN, 1, 1, 1, 4, 0, 0, 2, NAN]),
        ({"method": "constant", "value": 7}, [NAN, 1, 7, 7, 4, 0, 7, 2, NAN]),
        ({"method": "linear", "limit": 1}, [NAN, 1, NAN, NAN, 4, 0, 1, 2, NAN]),
        ({"method": "linear", "inside_only": False}, [1, 1, 2, 3, 4, 0, 1, 2, 2]),
        ({"method": "forward", "inside_only": False}, [NAN, 1, 1, 1, 4, 0, 0, 2, 2]),
        ({"method": "constant", "value": 7, "inside_only": False}, [7, 1, 7, 7, 4, 0, 7, 2, 7]),
    ],
)
def test_holes_are_filled(options, expected):
    repaired = done(rows([NAN, 1, NAN, NAN, 4, 0, NAN, 2, NAN]), ("fill", options))
    np.testing.assert_array_equal(repaired.panel.target, expected)
    assert repaired.counts.get("fill", 0) == 5 - np.isnan(expected).sum()


def test_a_season_is_filled_from_the_seasons_beside_and_linearly_where_there_is_none():
    values = [0.0, 10, 20, 2, NAN, 22, 4, 14, 24, 6, 16, NAN]
    repaired = done(rows(values), ("fill", {"method": "seasonal", "inside_only": False}), season=3)
    assert repaired.panel.target.tolist() == [0, 10, 20, 2, 12, 22, 4, 14, 24, 6, 16, 24]
    repaired = done(rows([1.0, NAN, 3, NAN]), ("fill", {"method": "seasonal", "inside_only": False}), season=2)
    assert repaired.panel.target.tolist() == [1, 2, 3, 3]


def test_holes_of_one_series_know_nothing_of_the_next():
    frame = pd.concat([rows([1.0, 2, NAN], "a"), rows([NAN, 7, 8], "b")])
    for method in ("linear", "forward", "seasonal"):
        np.testing.assert_array_equal(done(frame, ("fill", {"method": method})).panel.target, frame["y"])
    filled = done(frame, ("fill", {"inside_only": False, "limit": 1})).panel.target  # two holes of one row, not one of two
    assert filled.tolist() == [1, 2, 2, 7, 7, 8]


@pytest.mark.parametrize(("method", "new"), [("replace", 5.0), ("mask", NAN), ("clip", 5.04)])
def test_a_spike_is_repaired(method, new):
    values = np.full(40, 5.0)
    values[20] = 1000
    repaired = done(rows(values), ("outliers", {"method": method}))
    np.testing.assert_allclose(repaired.panel.target[20], new, rtol=1e-12)
    assert logged(repaired)[0][:2] == ("01-01 20:00", 1000.0) and len(repaired.log) == 1
    assert done(rows(values), ("outliers", {"threshold": 1e6})).log.empty


def test_another_unit_is_divided_back():
    values = 50 + np.arange(40) % 5.0
    changed = values.copy()
    changed[10:20] *= 1000
    changed[30:34] /= 100
    repaired = done(rows(changed), "unit_jumps")
    np.testing.assert_allclose(repaired.panel.target, values, rtol=1e-15)
    assert repaired.counts == {"unit_jumps": 14}
    assert done(rows(changed), ("unit_jumps", {"factors": [100]})).counts == {"unit_jumps": 4}


def test_negative_values_become_zero_or_missing():
    np.testing.assert_array_equal(done(rows([1.0, -2, 0]), "non_negative").panel.target, [1, 0, 0])
    np.testing.assert_array_equal(done(rows([1.0, -2, 0]), ("non_negative", {"to": "missing"})).panel.target, [1, NAN, 0])


# Series


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        ({}, (3, 10)),  # two zeros inside: four at the end are too many
        ({"longest": 4}, (3, 14)),
        ({"dead_tail": False}, (3, 14)),
        ({"dead_tail": False, "missing": False}, (3, 15)),
        ({"leading_zeros": False}, (1, 10)),
        ({"leading_zeros": False, "missing": False, "dead_tail": False}, (0, 15)),
    ],
)
def test_a_series_begins_and_ends_with_what_tells_something(options, kept):
    values = [NAN, 0, NAN, 5, 6, 0, 0, 7, NAN, 8, 0, 0, 0, 0, NAN]
    repaired = done(rows(values, freq="MS"), ("trim", options), season=3)
    np.testing.assert_array_equal(repaired.panel.target, values[slice(*kept)])
    assert len(repaired.log) == 15 - (kept[1] - kept[0]) and repaired.log["new"].isna().all()


@pytest.mark.parametrize(("zeros", "kept"), [(3, 8), (4, 5)])
def test_as_many_zeros_at_the_end_as_inside_are_usual(zeros, kept):
    assert len(done(rows([1.0, 0, 0, 0, 1, *[0] * zeros]), "trim", season=1).panel.target) == kept


def test_the_log_of_series_in_several_zones_is_in_utc():
    moments = [pd.Timestamp("2024-01-01 01:00", tz="Europe/Berlin"), pd.Timestamp("2024-01-01 01:00", tz="America/New_York")]
    frame = pd.DataFrame({"unique_id": ["a", "b"], "ds": pd.Series(moments, dtype=object), "y": [np.inf, -1.0]})
    repaired = done(pd.concat([frame, frame[1:]]), "infinities", "duplicates", "non_negative", freq="h")
    assert repaired.panel.zones == ("Europe/Berlin", "America/New_York")
    assert repaired.log["ds"].tolist() == [pd.Timestamp("2024-01-01 00:00Z"), *[pd.Timestamp("2024-01-01 06:00Z")] * 2]


def test_a_series_of_zeros_stays_and_one_of_nothing_goes():
    frame = pd.concat([rows([0.0] * 9, "zero"), rows([NAN] * 9, "none"), rows([0.0] * 4 + [1.0] + [0.0] * 4, "one")])
    repaired = done(frame, "trim", season=2)
    assert repaired.panel.series_ids == ("zero", "one") and repaired.panel.lengths.tolist() == [9, 1]
    with pytest.raises(SchemaError, match="repair 'trim' leaves none of the 1 series; loosen its options"):
        done(rows([NAN] * 9), "trim")


def test_short_series_go_stay_or_are_added_up():
    frame = pd.concat([rows(np.arange(9.0), "long"), rows([1.0, NAN, 3], "b"), rows([10.0, 20], "c", "2024-01-01 02:00")])
    dropped = done(frame, ("min_length", {"rows": 4}))
    assert dropped.panel.series_ids == ("long",) and dropped.counts == {"min_length": 5}
    kept = done(frame, ("min_length", {"rows": 4, "policy": "keep"}))
    assert len(kept.panel) == 3
    same(logged(kept), [("01-01 02:00", 3.0, 3.0, "min_length"), ("01-01 03:00", 20.0, 20.0, "min_length")])
    pooled = done(frame, ("min_length", {"rows": 4, "policy": "pool"}))
    assert pooled.panel.series_ids == ("long", "pooled")
    np.testing.assert_array_equal(pooled.panel.target[9:], [1, NAN, 13, 20])
    assert pooled.counts == {"min_length": 5 + 4}
    assert panel_from_frame(frame_of(pooled.panel), freq="h").target.tolist()[:9] == list(range(9))


def frame_of(panel: Panel) -> pd.DataFrame:
    ids = np.repeat(panel.series_ids, panel.lengths)
    return pd.DataFrame({"unique_id": ids, "ds": panel.timestamps, "y": panel.target})


def test_what_belongs_to_a_series_stays_with_it():
    frame = pd.concat([rows([1.0, 2], "short"), rows([NAN, 2.0, 3, 4], "long")]).assign(price=[*range(6)])
    static = pd.DataFrame({"unique_id": ["short", "long"], "size": [1.0, 2.0], "kind": ["x", "y"]})
    repaired = done(frame, "trim", ("min_length", {"rows": 3}), covariates=["price"], static=static)
    assert repaired.panel.series_ids == ("long",)
    assert repaired.panel.static_reals.tolist() == [[2.0]] and repaired.panel.static_categories == (("y",),)
    assert repaired.panel.covariates[:, 0].tolist() == [3, 4, 5]
    with pytest.raises(CovariateError, match="cannot pool series with covariates or static features"):
        done(frame, ("min_length", {"rows": 3, "policy": "pool"}), covariates=["price"])


def test_series_that_have_no_sum_are_refused_by_name():
    apart = pd.concat([rows([1.0, 2], "a", "1990-01-01"), rows([1.0, 2], "b", "2020-01-01")])
    with pytest.raises(GapError, match=r"the short series lie \d+ steps of 'h' apart with 4 rows"):
        done(apart, ("min_length", {"rows": 3, "policy": "pool"}))
    beside = pd.concat([rows([1.0, 2], "a"), rows([1.0, 2], "b", "2024-01-01 00:30")])
    with pytest.raises(FrequencyError, match="series 'b' stands beside the clock of other short series"):
        done(beside, ("min_length", {"rows": 3, "policy": "pool"}), freq="h")
    taken = pd.concat([rows(np.arange(5.0), "pooled"), rows([1.0, 2], "b")])
    with pytest.raises(SchemaError, match="a series is called 'pooled' already"):
        done(taken, ("min_length", {"rows": 3, "policy": "pool"}))


# Order, options, other arguments


def test_rows_that_missing_steps_insert_are_logged():
    frame = rows([1.0, 2, 3, 4]).drop(index=[1, 2])
    repaired = done(frame, freq="h", missing_steps="insert")
    same(logged(repaired), [("01-01 01:00", NAN, NAN, "missing_steps"), ("01-01 02:00", NAN, NAN, "missing_steps")])


def test_a_step_on_rows_behind_one_on_values_is_refused():
    words = "repair 'numbers' works on raw rows, but stands behind 'fill', which works on the panel made of them; move it before"
    with pytest.raises(OptionError, match=words):
        done(rows([1.0, 2]), "infinities", "fill", "numbers")


def test_two_frequencies_are_refused():
    with pytest.raises(OptionError, match="freq 'D' contradicts that of repair 'clock', 'h'; leave one out"):
        done(rows([1.0, 2]), ("clock", {"freq": "h"}), freq="D")
    assert done(rows([1.0, 2]), ("clock", {"freq": "60min"}), freq="h").panel.freq == "h"


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("fil", {}, "no repair 'fil'; did you mean 'fill'?; there are drop_missing_keys, numbers"),
        ("fill", {"methode": "linear"}, "repair 'fill' has no option 'methode'; did you mean 'method'?; options: method, value"),
        ("clock", {}, "repair 'clock' needs the option 'freq'"),
        ("localize", {}, "repair 'localize' needs the option 'tz'"),
        ("fill", {"method": "mean"}, "repair 'fill' has no method 'mean'; there are none, linear, seasonal, forward, constant"),
        ("fill", {"method": "constant"}, "repair 'fill': method 'constant' needs a value"),
        ("fill", {"value": 1}, "repair 'fill': method 'linear' takes no value"),
        ("fill", {"limit": 0}, "repair 'fill': limit must be at least 1, got 0"),
        ("fill", {"limit": 1.5}, "repair 'fill': limit must be a whole number, got 1.5"),
        ("fill", {"inside_only": 1}, "repair 'fill': inside_only must be true or false, got 1"),
        ("outliers", {"threshold": 0}, "repair 'outliers': threshold must be above 0, got 0"),
        ("outliers", {"threshold": NAN}, "repair 'outliers': threshold must be a number, got nan"),
        ("outliers", {"threshold": True}, "repair 'outliers': threshold must be a number, got True"),
        ("unit_jumps", {"factors": []}, "repair 'unit_jumps': factors must be numbers above 1"),
        ("unit_jumps", {"factors": [0.1]}, "repair 'unit_jumps': factors must be numbers above 1"),
        ("min_length", {"rows": 0}, "repair 'min_length': rows must be at least 1"),
        ("min_length", {"rows": 3, "policy": "pol"}, "repair 'min_length' has no policy 'pol'; did you mean 'pool'?"),
        ("clock", {"freq": "h", "tolerance": 0.6}, "repair 'clock': tolerance must be at most 0.5 of a step"),
        ("clock", {"freq": "h", "off": "skip"}, "repair 'clock' has no off 'skip'"),
        ("resample", {"freq": "D", "how": "mode"}, "repair 'resample' has no how 'mode'"),
        ("resample", {"freq": "D", "partial": "trim"}, "repair 'resample' has no partial 'trim'"),
        ("duplicates", {"keep": "any"}, "repair 'duplicates' has no keep 'any'"),
        ("numbers", {"decimal": ""}, "repair 'numbers': decimal must be one mark such as ','"),
        ("numbers", {"thousands": "."}, "repair 'numbers': decimal and thousands are both '.'"),
        ("localize", {"tz": "Berlin"}, "repair 'localize': tz must be an IANA name such as 'Europe/Berlin', got 'Berlin'"),
        ("localize", {"tz": 1}, "repair 'localize': tz must be a name"),
        ("non_negative", {"to": "one"}, "repair 'non_negative' has no to 'one'"),
        ("trim", {"longest": -1}, "repair 'trim': longest must be at least 0"),
    ],
)
def test_impossible_options_are_refused_by_name(name, options, message):
    with pytest.raises(OptionError) as caught:
        build_repair(name, **options)
    assert message in str(caught.value)


def test_every_step_is_in_the_table_by_its_name():
    assert all(kind.name == name and kind.level in ("frame", "panel") for name, kind in REPAIRS.items())
    with pytest.raises(FrequencyError, match="unknown freq 'hourly'"):
        build_repair("clock", freq="hourly")


def test_a_frame_that_loses_all_its_rows_is_refused_by_the_step():
    with pytest.raises(SchemaError, match="repair 'drop_missing_keys' leaves no row of the frame"):
        done(rows([1.0]).assign(ds=pd.NaT), "drop_missing_keys")
    with pytest.raises(SchemaError, match="the frame has no rows"):
        done(rows([1.0])[:0], "drop_missing_keys", "numbers")


# Whatever comes


VALUES = st.one_of(st.just(NAN), st.just(0.0), st.floats(-1e3, 1e3), st.floats(allow_nan=True, allow_infinity=False))
VALUE_STEPS = [
    ("fill", {"method": "linear"}),
    ("fill", {"method": "seasonal", "limit": 2}),
    ("fill", {"method": "constant", "value": -1.0, "inside_only": False}),
    ("outliers", {"method": "clip", "threshold": 2.0}),
    ("outliers", {"method": "mask"}),
    ("unit_jumps", {"at_least": 1}),
    ("non_negative", {"to": "missing"}),
    ("non_negative", {}),
]
SERIES_STEPS = [
    ("trim", {}),
    ("trim", {"missing": False, "longest": 1}),
    ("min_length", {"rows": 3}),
    ("min_length", {"rows": 4, "policy": "pool"}),
]


@EXAMPLES
@given(
    series=st.lists(st.lists(VALUES, min_size=1, max_size=25), min_size=1, max_size=4),
    steps=st.lists(st.sampled_from([*VALUE_STEPS, *SERIES_STEPS]), min_size=1, max_size=4),
    season=st.sampled_from([1, 2, 5]),
)
def test_the_log_applied_backwards_gives_what_there_was_and_the_rest_is_untouched(series, steps, season):
    frame = pd.concat([rows(values, f"s{i}") for i, values in enumerate(series)])
    before = panel_from_frame(frame, freq="h", season=season)
    try:
        repaired = done(frame, *steps, freq="h", season=season)
    except SchemaError as error:
        known = ("leaves none of the", "is called 'pooled' already", "is beyond the largest number")
        assert any(words in str(error) for words in known)
        return
    cells = dict(zip(frame_of(repaired.panel).set_index(["unique_id", "ds"]).index, repaired.panel.target, strict=True))
    touched = set()
    for _, change in repaired.log[::-1].iterrows():
        cells[change["unique_id"], change["ds"]] = change["old"]
        touched.add((change["unique_id"], change["ds"]))
    after = dict(zip(frame_of(before).set_index(["unique_id", "ds"]).index, before.target, strict=True))
    for key, value in after.items():
        assert np.float64(cells[key]).tobytes() == np.float64(value).tobytes() or (np.isnan(cells[key]) and np.isnan(value))
    assert {key[0] for key in cells} - {key[0] for key in after} <= {"pooled"}
    check_panel(repaired.panel)


def test_a_sum_beyond_the_largest_number_is_refused():
    frame = pd.concat([rows([value], f"s{i}") for i, value in enumerate([9e307, 9e307])])
    with pytest.raises(SchemaError, match="beyond the largest number"):
        done(frame, ("min_length", {"rows": 4, "policy": "pool"}), freq="h")


def check_panel(panel):
    assert panel.offsets[0] == 0 and (np.diff(panel.offsets) > 0).all() and panel.offsets[-1] == len(panel.target)
    assert not np.isinf(panel.target).any()
    assert not panel.target.flags.writeable


IDS = st.sampled_from(["a", "b", None, NAN, 1, "", "a\0"])
TIMES = st.one_of(
    st.sampled_from(["2024-01-01", "2024-03-31T02:30:00", "2024-10-27 02:15", "soon", None, pd.NaT, 5, "2024-01-02T00:00Z"]),
    st.datetimes(min_value=pd.Timestamp("2023-12-30").to_pydatetime(), max_value=pd.Timestamp("2024-01-03").to_pydatetime()),
)
CELLS = st.one_of(VALUES, st.sampled_from(["1", "1,5", "x", "", None, np.inf, True, Decimal("1.5"), 2**70, 1 + 2j, [1], pd.NA]))
ROW_STEPS = [
    ("drop_missing_keys", {}),
    ("numbers", {"decimal": ","}),
    ("numbers", {}),
    ("infinities", {}),
    ("duplicates", {"keep": "mean"}),
    ("duplicates", {}),
    ("localize", {"tz": "Europe/Berlin"}),
    ("localize", {"tz": "America/New_York", "ambiguous": "second", "nonexistent": "drop"}),
    ("clock", {"freq": "h", "tolerance": 0.5}),
    ("clock", {"freq": "W-SUN", "off": "drop"}),
    ("clock", {"freq": 1}),
    ("resample", {"freq": "D", "partial": "drop"}),
    ("resample", {"freq": "MS", "how": "sum"}),
]


@st.composite
def dirty_frames(draw):
    size = draw(st.integers(0, 8))
    times = draw(
        st.one_of(
            st.lists(TIMES, min_size=size, max_size=size),
            st.integers(-3, 3).map(lambda first: list(range(first, first + size))),
            st.sampled_from(["h", "D", "MS"]).map(lambda freq: list(pd.date_range("2024-03-30", periods=size, freq=freq))),
        )
    )
    ids = draw(st.one_of(st.just(["a"] * size), st.lists(IDS, min_size=size, max_size=size)))
    cells = draw(st.lists(CELLS, min_size=size, max_size=size))
    frame = pd.DataFrame({"unique_id": pd.Series(ids, dtype=object), "y": pd.Series(cells, dtype=object)})
    frame["ds"] = pd.Series(times, dtype=object).infer_objects() if draw(st.booleans()) else pd.Series(times, dtype=object)
    frame["x"] = pd.Series(draw(st.lists(CELLS, min_size=size, max_size=size)), dtype=object)
    return frame


@EXAMPLES
@given(
    frame=dirty_frames(),
    steps=st.lists(st.sampled_from(ROW_STEPS), min_size=1, max_size=5),
    after=st.lists(st.sampled_from([*VALUE_STEPS, *SERIES_STEPS]), max_size=2),
    covariates=st.sampled_from([(), ("x",)]),
)
def test_any_frame_is_repaired_or_refused_by_an_error_of_ours(frame, steps, after, covariates):
    given_frame = frame.copy(deep=True)
    try:
        repaired = done(frame, *steps, *after, covariates=covariates, missing_steps="insert")
    except ForecastError:
        return
    finally:
        pd.testing.assert_frame_equal(frame, given_frame)
    check_panel(repaired.panel)
    assert repaired.log.columns.tolist()[:5] == ["unique_id", "ds", "old", "new", "step"]
    assert sum(repaired.counts.values()) == len(repaired.log)
