"""Raw frames, good and bad -> panels, and messages that name series, timestamps and the way out."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.validate_cases import ALIASES, HOURS, frame_of, same
from tsforecast import panel_from_frame
from tsforecast.errors import (
    CovariateError,
    DataError,
    DuplicateError,
    ForecastError,
    FrequencyError,
    GapError,
    OptionError,
    SchemaError,
)
from tsforecast.preprocessing.calendar import normalise_freq

# What comes out


def test_offsets_and_values_equal_a_loop_over_the_series_whatever_the_order_of_the_rows():
    frame = frame_of(b=HOURS[5:30], a=HOURS[:7], c=HOURS[2:4]).sample(frac=1, random_state=3)
    panel = panel_from_frame(frame)
    assert panel.series_ids == tuple(dict.fromkeys(frame["unique_id"]))
    start = 0
    for i, series_id in enumerate(panel.series_ids):
        rows = frame[frame["unique_id"] == series_id].sort_values("ds")
        assert (panel.offsets[i], panel.offsets[i + 1]) == (start, start + len(rows))
        np.testing.assert_array_equal(panel.target[start : start + len(rows)], rows["y"])
        np.testing.assert_array_equal(panel.timestamps[start : start + len(rows)], rows["ds"].to_numpy().astype("M8[ns]"))
        start += len(rows)


def test_shuffled_rows_give_the_same_series():
    frame = frame_of(a=HOURS, b=HOURS[3:9], c=HOURS[:20]).assign(x=lambda f: f["y"] * 2)
    tidy = panel_from_frame(frame, covariates=["x"])
    for seed in range(3):
        panel = panel_from_frame(frame.sample(frac=1, random_state=seed), covariates=["x"])
        assert same(panel.select([panel.series_ids.index(name) for name in tidy.series_ids]), tidy)


@pytest.mark.parametrize("alias", ALIASES)
def test_the_freq_of_a_date_range_is_told_from_its_dates_also_where_a_row_is_missing(alias):
    clock = pd.date_range("2021-03-03", periods=40, freq=alias)
    panel = panel_from_frame(frame_of(a=clock, b=clock[7:]))
    assert panel.freq == normalise_freq(alias)
    np.testing.assert_array_equal(panel.timestamps[:40], clock.to_numpy().astype("M8[ns]"))
    with pytest.raises(GapError, match=r"series 'a' lacks 2 steps of freq"):
        panel_from_frame(frame_of(a=clock.delete([9, 21]), b=clock))
    filled = panel_from_frame(frame_of(a=clock.delete([9, 21]), b=clock), missing_steps="insert")
    np.testing.assert_array_equal(filled.timestamps[:40], clock.to_numpy().astype("M8[ns]"))
    assert np.flatnonzero(np.isnan(filled.target)).tolist() == [9, 21]


def test_a_million_rows_of_twenty_thousand_series_in_random_order_become_a_panel():
    series, rows = 20_000, 50
    clock = pd.date_range("2024-01-01", periods=rows, freq="D")
    frame = pd.DataFrame({"unique_id": np.repeat(np.arange(series), rows), "ds": np.tile(clock, series)})
    frame["y"] = np.arange(len(frame), dtype=float)
    panel = panel_from_frame(frame.sample(frac=1, random_state=0))
    assert (len(panel), panel.freq) == (series, "D")
    first = panel.target[panel.offsets[:-1]]
    np.testing.assert_array_equal(panel.target, np.repeat(first, rows) + np.tile(np.arange(rows), series))
    np.testing.assert_array_equal(first / rows, np.array(panel.series_ids, dtype=float))


def test_integer_steps_have_the_greatest_common_step():
    panel = panel_from_frame(frame_of(a=np.arange(0, 30, 3), b=np.arange(300, 312, 3)))
    assert (panel.freq, panel.season, panel.timestamps.dtype) == (3, 1, np.int64)
    assert panel_from_frame(frame_of(a=[4]), freq=1).freq == 1


def test_the_season_is_that_of_the_freq_unless_given():
    assert panel_from_frame(frame_of(a=HOURS)).season == 24
    assert panel_from_frame(frame_of(a=HOURS), season=168).season == 168


@pytest.mark.parametrize("freq", ["D", "h"])
def test_a_zone_is_kept_and_its_days_and_hours_go_over_both_changes_of_the_clock(freq):
    clock = pd.date_range("2024-03-01", "2024-12-01", freq=freq, tz="Europe/Berlin")
    panel = panel_from_frame(frame_of(a=clock))
    assert (panel.freq, panel.tz, len(panel.target)) == (freq, "Europe/Berlin", len(clock))
    np.testing.assert_array_equal(panel.timestamps, clock.tz_convert("UTC").tz_localize(None).to_numpy().astype("M8[ns]"))


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_datetimes_of_every_unit_are_stored_as_nanoseconds(unit):
    panel = panel_from_frame(frame_of(a=HOURS.as_unit(unit)))
    assert panel.timestamps.dtype == "M8[ns]"
    assert panel.timestamps[1] == np.datetime64("2024-01-01T01")


@pytest.mark.parametrize(
    "times",
    [
        HOURS.strftime("%Y-%m-%dT%H:%M:%S"),
        HOURS.strftime("%Y-%m-%d %H:%M").astype(object),
        pd.Series(HOURS).astype("string"),
        pd.Series(HOURS).astype("category"),
        HOURS.astype(object),
        HOURS.to_period("h"),
        pd.Series(HOURS).astype("timestamp[us][pyarrow]"),
    ],
    ids=["text", "object text", "string", "category", "objects", "period", "arrow"],
)
def test_timestamps_may_be_texts_objects_periods_or_arrow(times):
    panel = panel_from_frame(pd.DataFrame({"unique_id": "a", "ds": times, "y": 1.0}))
    assert same(panel, panel_from_frame(frame_of(a=HOURS).assign(y=1.0)))


def test_texts_with_offsets_are_instants_in_utc():
    texts = ["2024-03-31T00:00:00+01:00", "2024-03-31T01:00:00+01:00", "2024-03-31T03:00:00+02:00", "2024-03-31T02:00Z"]
    panel = panel_from_frame(pd.DataFrame({"ds": texts, "y": 1.0}))
    assert (panel.tz, panel.freq, str(panel.timestamps[0])) == ("UTC", "h", "2024-03-30T23:00:00.000000000")


@pytest.mark.parametrize("kind", ["Int64", "Float64", "int8", "float32", "int64[pyarrow]", "double[pyarrow]"])
def test_numbers_of_every_kind_become_float64_and_their_nulls_nan(kind):
    values = pd.Series([1, 2, 3, 4], dtype=kind)
    nullable = kind not in ("int8", "float32")
    if nullable:
        values[1] = pd.NA
    target = panel_from_frame(pd.DataFrame({"ds": HOURS[:4], "y": values})).target
    assert target.dtype == np.float64
    np.testing.assert_array_equal(target, [1, np.nan if nullable else 2, 3, 4])


def test_a_series_that_was_never_observed_is_allowed():
    panel = panel_from_frame(frame_of(a=HOURS, b=HOURS).assign(y=[1.0] * 48 + [np.nan] * 48))
    assert np.isnan(panel.target[48:]).all()


def test_a_plain_series_and_a_wide_frame_have_their_names_as_ids():
    plain = pd.Series(np.arange(48), index=HOURS)
    assert panel_from_frame(plain).series_ids == ("series",)
    assert panel_from_frame(plain.rename("sales")).series_ids == ("sales",)
    assert panel_from_frame(pd.Series([1.0, 2.0, 3.0])).freq == 1
    wide = panel_from_frame(pd.DataFrame({"b": np.arange(48), 7: np.arange(48) * 2.0}, index=HOURS))
    assert wide.series_ids == ("b", "7")
    np.testing.assert_array_equal(wide.target, [*range(48), *range(0, 96, 2)])


def test_ids_may_be_missing_and_columns_may_have_other_names_or_stand_in_the_index():
    frame = frame_of(a=HOURS)
    assert panel_from_frame(frame.drop(columns="unique_id")).series_ids == ("series",)
    other = frame.set_axis(["shop", "when", "sold"], axis=1)
    tidy = panel_from_frame(frame)
    assert same(panel_from_frame(other, id_col="shop", time_col="when", target_col="sold"), tidy)
    assert same(panel_from_frame(frame.set_index("unique_id")), tidy)
    assert same(panel_from_frame(frame.set_index(["unique_id", "ds"])), tidy)
    assert same(panel_from_frame(frame.set_index("ds")), tidy)
    assert panel_from_frame(frame_of(a=HOURS).assign(unique_id=[(1, 2)] * 48)).series_ids == ("(1, 2)",)


def test_the_frame_is_left_as_it_is_and_stays_writable():
    frame = frame_of(a=HOURS)
    before = frame.copy()
    panel = panel_from_frame(frame)
    frame.loc[0, "y"] = 99.0
    assert panel.target[0] == 0.0
    frame.loc[0, "y"] = 0.0
    pd.testing.assert_frame_equal(frame, before)
    steps = frame_of(a=np.arange(5))
    panel = panel_from_frame(steps)
    assert not np.shares_memory(panel.timestamps, steps["ds"].to_numpy())
    assert not np.shares_memory(panel.target, steps["y"].to_numpy())


def test_inserted_steps_are_nan_in_the_covariates_too():
    frame = frame_of(a=HOURS[:5]).assign(price=2.0, holiday=True).drop(index=2)
    panel = panel_from_frame(frame, covariates=["price", "holiday"], missing_steps="insert")
    np.testing.assert_array_equal(panel.covariates[1:4], [[2, 1], [np.nan, np.nan], [2, 1]])


# What is refused


def refused(kind, message, frame, *, series=None, field=None, **options):
    with pytest.raises(kind, match=message) as caught:
        panel_from_frame(frame, **options)
    assert (caught.value.series_id, caught.value.field) == (series, field)


def test_columns_that_are_missing_or_twice_or_in_two_roles_are_refused_with_the_nearest_name():
    frame = frame_of(a=HOURS)
    message = r"no column 'ds'; did you mean 'DS'\? It has unique_id, DS, y; rename it or pass time_col="
    refused(SchemaError, message, frame.rename(columns={"ds": "DS"}), field="ds")
    refused(SchemaError, r"no column 'ds'; did you mean 'when'\?", frame.rename(columns={"ds": "when"}), field="ds")
    refused(SchemaError, r"no column 'y'; It has unique_id, ds, sold", frame.rename(columns={"y": "sold"}), field="y")
    ids = frame.rename(columns={"unique_id": "Unique_Id"})
    refused(SchemaError, r"no column 'unique_id'; did you mean 'Unique_Id'\?.*pass id_col=", ids, field="unique_id")
    refused(SchemaError, r"no column 'shop'; .*pass id_col=", frame, id_col="shop", field="shop")
    refused(CovariateError, r"no column 'pric'; did you mean 'price'\?", frame.assign(price=1), covariates=["pric"], field="pric")
    refused(SchemaError, "2 columns called 'y'; drop all but one", pd.concat([frame, frame[["y"]]], axis=1), field="y")
    refused(SchemaError, "column 'y' is given two roles", frame, covariates=["y"], field="y")
    refused(CovariateError, r"got the text 'price'; pass \['price'\]", frame, covariates="price", field="covariates")


def test_what_is_no_frame_or_has_no_rows_is_refused():
    refused(SchemaError, "needs a pandas DataFrame or Series, got list", [1, 2], field="frame")
    refused(SchemaError, "the frame has no rows", frame_of(a=HOURS)[:0], field="y")
    refused(SchemaError, "the index of the Series is of type", pd.Series([1.0], index=["x"]), field="ds")
    refused(SchemaError, "an index of datetimes but no columns", pd.DataFrame(index=HOURS), field="y")


def test_a_wide_frame_refuses_texts_double_names_and_covariates():
    wide = pd.DataFrame({"a": 1.0, "b": "x"}, index=HOURS)
    refused(SchemaError, "series 'b' has the text 'x' in 'b', row 0; 'b' must be numbers", wide, series="b", field="b")
    double = pd.DataFrame(np.ones((48, 2)), index=HOURS, columns=["a", "a"])
    refused(SchemaError, "ids 'a' and 'a' in 'columns' read the same", double, series="a", field="columns")
    refused(CovariateError, "no column 'x'", wide[["a"]].rename(columns={"a": "y"}), covariates=["x"], field="x")


def test_texts_truth_values_objects_and_infinities_in_the_target_are_refused_by_row():
    frame = frame_of(a=HOURS, b=HOURS)
    texts = frame.assign(y=frame["y"].astype(object))
    texts.loc[50, "y"] = "1,5"
    message = (
        r"series 'b' has the text '1,5' in 'y', row 50; 'y' must be numbers: pd\.to_numeric\(frame\['y'\], errors='coerce'\)"
    )
    refused(SchemaError, message, texts, series="b", field="y")
    every = frame.assign(y=frame["y"].astype(str))  # as a CSV with one bad cell is read: every cell is text
    every.loc[50, "y"] = "1,5"
    refused(SchemaError, message, every, series="b", field="y")
    refused(SchemaError, r"'y' holds truth values \(bool\)", frame.assign(y=True), field="y")
    refused(SchemaError, "'y' is of type object, it must be numbers", frame.assign(y=frame["y"].astype(object)), field="y")
    refused(SchemaError, "'y' is of type complex128", frame.assign(y=1j), field="y")
    frame.loc[[60, 61], "y"] = np.inf
    refused(SchemaError, r"series 'b' has inf in 'y', 2 rows \(60, 61\); use NaN", frame, series="b", field="y")
    infinite = frame_of(a=HOURS).assign(x=-np.inf)
    refused(CovariateError, r"series 'a' has -inf in 'x'", infinite, covariates=["x"], series="a", field="x")


def test_ids_that_are_missing_or_read_the_same_are_refused():
    frame = frame_of(a=HOURS)
    refused(SchemaError, "'unique_id' is missing in row 0; drop", frame.assign(unique_id=[None] + ["a"] * 47), field="unique_id")
    twins = frame.assign(unique_id=[1] * 24 + ["1"] * 24)
    refused(SchemaError, "ids 1 and '1' in 'unique_id' read the same as text", twins, series="1", field="unique_id")
    lists = frame.assign(unique_id=[[1]] * 48)
    twins = frame_of(a=HOURS[:4]).assign(unique_id=["a\0b", "a", "a\0b", "a"])  # pandas takes the two for one
    message = r"'unique_id' holds ids that .*'a' in row 1 differs from 'a.x00b' after a NUL character only.; remove NUL"
    refused(SchemaError, message, twins, field="unique_id")
    assert panel_from_frame(twins.assign(unique_id="a\0b")).series_ids == ("a\0b",)
    refused(SchemaError, r"'unique_id' holds ids that cannot be told apart .*list.*; use strings", lists, field="unique_id")


@pytest.mark.parametrize(
    ("times", "message"),
    [
        ([pd.NaT, *HOURS[1:4]], r"series 'a', row 0: timestamp 'ds' is missing \(NaT\); drop these rows"),
        (
            ["2024-01-01", "yesterday", "2024-01-03", "2024-01-04"],
            "series 'a', row 1: 'yesterday' in 'ds' is no timestamp; write ISO",
        ),
        (["2024-02-30"] * 4, "'2024-02-30' in 'ds' is no timestamp"),
        (["1066-01-01"] * 4, "1066-01-01.* (lies outside the years 1678 to 2261|is no timestamp)"),
        ([HOURS[0], "x", 3, 4], r"3 rows \(1, 2, 3\): 'x' \(str\) in 'ds' is no timestamp; use datetimes"),
        ([HOURS[0], HOURS[1].tz_localize("UTC")] * 2, "2 rows .*without a zone stand beside others in UTC; localize or convert"),
        (
            [HOURS[0].tz_localize("UTC"), HOURS[1].tz_localize("Asia/Tokyo")] * 2,
            "zone Asia/Tokyo stands beside UTC in one series; convert all",
        ),
        (["2024-01-01T00:00Z", "2024-01-01T01:00"] * 2, "without a zone stand beside others in UTC offsets"),
        (np.array(["9999-01-01"] * 4, dtype="M8[s]"), "9999-01-01.* lies outside the years 1678 to 2261"),
        (np.array([2**62, 1, 2, 3]), r"steps in 'ds' must be integers between"),
    ],
)
def test_impossible_timestamps_are_refused_by_row(times, message):
    refused(SchemaError, message, pd.DataFrame({"unique_id": "a", "ds": times, "y": 1.0}), series="a", field="ds")


def test_timestamps_of_another_type_are_refused():
    refused(SchemaError, "'ds' is of type float64: use datetimes", frame_of(a=HOURS).assign(ds=1.5), field="ds")
    refused(SchemaError, "'ds' is of type bool: use datetimes", frame_of(a=HOURS).assign(ds=True), field="ds")


def test_a_timestamp_twice_in_a_series_is_refused_wherever_it_stands():
    frame = frame_of(a=HOURS, b=HOURS.append(HOURS[3:5])).sample(frac=1, random_state=0)
    times = "2024-01-01T03:00:00, 2024-01-01T04:00:00"
    message = f"series 'b' has 2 timestamps more than once: {times}; keep one row each by the repair 'duplicates'"
    refused(DuplicateError, message, frame, series="b", field="ds")
    lone = frame.drop(columns="unique_id")
    refused(DuplicateError, r"'series' has 48 .* \(48 in all\).*of several series.*by id_col=", lone, series="series", field="ds")


def test_gaps_are_refused_with_the_first_missing_timestamps_their_number_and_the_way_out():
    frame = frame_of(a=HOURS, b=HOURS.delete([3, 7, 8, 20]), c=HOURS.delete([1]))
    first = "2024-01-01T03:00:00, 2024-01-01T07:00:00, 2024-01-01T08:00:00"
    message = (
        rf"series 'b' lacks 4 steps of freq 'h' \(as most rows say\): {first} … \(4 in all\), and 1 more series likewise; "
        "pass missing_steps='insert' to add them as not observed, or use the repair 'resample'"
    )
    refused(GapError, message, frame, series="b", field="ds")


def test_a_gap_of_a_million_steps_is_not_inserted():
    frame = frame_of(a=[0, 1, 2, 3, 10**9])
    refused(
        GapError,
        "that many are not inserted: look for a wrong timestamp",
        frame,
        freq=1,
        missing_steps="insert",
        series="a",
        field="ds",
    )


def test_a_timestamp_off_the_clock_is_refused():
    clock = HOURS.to_series().reset_index(drop=True)
    clock[5] += pd.Timedelta("7s")
    message = (
        r"series 'a' does not step by freq 'h' \(as most rows say\): 1 of its 48 timestamps off that clock: 2024-01-01T05:00:07"
    )
    refused(FrequencyError, message, frame_of(a=clock), series="a", field="ds")
    asked = r"does not step by freq 'D' \(as asked\): .*its own steps are those of freq='h'; correct them, pass the right freq"
    refused(FrequencyError, asked, frame_of(a=HOURS), freq="D", series="a", field="ds")


def test_series_of_different_frequencies_are_refused_with_both():
    days = pd.date_range("2024-01-01", periods=20)
    message = (
        "the series step by different frequencies: 'b' by 'D', 'a' by 'h'; make one panel for each, bring them to one clock by "
        "the repair 'resample', or, if rows are only missing, pass freq='h' with missing_steps='insert'"
    )
    refused(FrequencyError, message, frame_of(a=HOURS, b=days), series="b", field="ds")
    months = pd.date_range("2024-01-01", periods=6, freq="MS")
    weekdays = pd.date_range("2024-01-01", periods=19, freq="B")
    refused(FrequencyError, "'m' by 'MS', 'd' by 'D'", frame_of(m=months, d=days), series="m", field="ds")
    refused(FrequencyError, "'b' by 'B', 'd' by 'D'", frame_of(d=days, b=weekdays), series="b", field="ds")
    minutes = pd.date_range("2024-01-01", periods=5, freq="min")
    refused(FrequencyError, "'a' by 'h', 'm' by 'min'", frame_of(a=HOURS, m=minutes), series="a", field="ds")
    many = frame_of(a=pd.date_range("2024-01-01", periods=200, freq="h"), m=minutes)
    refused(FrequencyError, "'m' by 'min', 'a' by 'h'", many, series="m", field="ds")
    two = frame_of(t=[0, 2, 4, 6, 8], u=[0, 3, 6, 9, 12])
    refused(FrequencyError, "'t' by 2, most rows by 1; make", two, series="t", field="ds")


def test_inserting_steps_does_not_turn_a_series_of_a_coarser_freq_into_holes_unless_the_freq_is_asked_for():
    days, months = pd.date_range("2024-01-01", periods=20), pd.date_range("2024-01-01", periods=6, freq="MS")
    message = "the series step by different frequencies"
    refused(FrequencyError, message, frame_of(a=HOURS, b=days), missing_steps="insert", series="b", field="ds")
    holey = days.delete([3, 9])  # days with gaps, among hours: still days
    refused(FrequencyError, "'b' by 'D'", frame_of(a=HOURS, b=holey), missing_steps="insert", series="b", field="ds")
    refused(FrequencyError, "'m' by 'MS'", frame_of(d=days, m=months), missing_steps="insert", series="m", field="ds")
    asked = panel_from_frame(frame_of(a=HOURS, b=days), freq="h", missing_steps="insert")
    assert asked.lengths.tolist() == [48, 19 * 24 + 1]
    sparse = panel_from_frame(frame_of(a=HOURS, b=HOURS[[0, 7, 14]], c=HOURS[[0, 5, 7, 20]]), missing_steps="insert")
    assert sparse.lengths.tolist() == [48, 15, 21]  # too few or too uneven rows to have a step of their own


def test_one_observation_needs_a_freq_and_the_freq_must_be_of_the_kind_of_the_timestamps():
    refused(
        FrequencyError, "series 'a' has one row only.*pass freq", frame_of(a=HOURS[:1], b=HOURS[:1]), series="a", field="freq"
    )
    assert panel_from_frame(frame_of(a=HOURS[:1]), freq="h").lengths.tolist() == [1]
    refused(FrequencyError, "freq 1 is for integer steps, 'ds' holds timestamps", frame_of(a=HOURS), freq=1, field="freq")
    refused(FrequencyError, "freq 'h' needs timestamps, 'ds' holds integer steps", frame_of(a=range(4)), freq="h", field="freq")
    refused(FrequencyError, "unknown freq 'hourly'", frame_of(a=HOURS), freq="hourly", field="freq")


@pytest.mark.parametrize("season", [0, -1, 1.5, True])
def test_a_season_that_is_no_positive_int_is_refused(season):
    message = rf"season must be a positive number of steps, got {season}"
    refused(OptionError, message, frame_of(a=HOURS), season=season, field="season")


def test_an_unknown_way_with_missing_steps_is_refused():
    message = "missing_steps must be 'error' or 'insert', got 'nan'"
    refused(OptionError, message, frame_of(a=HOURS), missing_steps="nan", field="missing_steps")


def test_days_of_a_zone_that_are_days_of_utc_are_lengths_of_24_hours():
    clock = pd.date_range("2024-03-01", periods=60, freq="D", tz="UTC").tz_convert("Europe/Berlin")
    assert panel_from_frame(frame_of(a=clock)).freq == "24h"
    refused(
        FrequencyError,
        "29 of its 60 timestamps off that clock: 2024-04-01T02:00:00",
        frame_of(a=clock),
        freq="D",
        series="a",
        field="ds",
    )
    assert panel_from_frame(frame_of(a=clock.tz_localize(None)[:20]), freq="24h").freq == "D"  # without a zone they are one


def test_a_weekly_freq_of_the_wrong_weekday_is_refused_with_the_right_one():
    mondays = pd.date_range("2024-01-01", periods=9, freq="W-MON")
    message = r"does not step by freq 'W-SUN' \(as asked\): 9 of its 9 timestamps off that clock.*steps are those of freq='W-MON'"
    refused(FrequencyError, message, frame_of(a=mondays), freq="W", series="a", field="ds")
    refused(
        FrequencyError,
        "its only timestamp off that clock: 2024-01-01;",
        frame_of(a=mondays[:1]),
        freq="W",
        series="a",
        field="ds",
    )


def test_the_row_that_stands_off_the_clock_is_named_even_where_it_is_the_first():
    clock = HOURS.to_series().reset_index(drop=True)
    clock[0] += pd.Timedelta("90s")
    refused(
        FrequencyError, "1 of its 48 timestamps off that clock: 2024-01-01T00:01:30;", frame_of(a=clock), series="a", field="ds"
    )
    months = pd.date_range("2024-01-01", periods=12, freq="MS").to_series().reset_index(drop=True)
    months[4] += pd.Timedelta("3D")
    refused(FrequencyError, "'MS' .*1 of its 12 .*: 2024-05-04;", frame_of(a=months), series="a", field="ds")


# Whatever comes

MOMENTS = st.one_of(
    st.sampled_from([*HOURS[:6], pd.NaT, None, "2024-01-01", "x", "2024-01-01T03:00Z", 3, 2.5, HOURS[2].tz_localize("UTC")]),
    st.integers(-(2**63), 2**63 - 1),
    st.datetimes(),
)
VALUES = st.one_of(st.floats(), st.integers(), st.none(), st.booleans(), st.text(max_size=3))
IDS = st.one_of(st.sampled_from(["a", "b", 1, "1", None, (1, 2)]), st.floats(), st.text(max_size=2))


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(st.tuples(IDS, MOMENTS, VALUES), max_size=8),
    freq=st.sampled_from([None, "h", "D", "W", 1, 3, "nonsense"]),
    missing_steps=st.sampled_from(["error", "insert"]),
)
def test_any_small_frame_gives_a_panel_or_an_error_of_ours(rows, freq, missing_steps):
    try:
        panel = panel_from_frame(pd.DataFrame(rows, columns=["unique_id", "ds", "y"]), freq=freq, missing_steps=missing_steps)
    except ForecastError as error:
        assert str(error)
    else:
        assert len(panel.timestamps) == len(panel.target) == panel.offsets[-1]


@settings(max_examples=60, deadline=None)
@given(
    times=st.lists(st.sampled_from([*HOURS[:30], *pd.date_range("2024-01-01", periods=9)]), min_size=1, max_size=12),
    ids=st.lists(st.sampled_from("ab"), min_size=12, max_size=12),
    numbers=st.lists(st.floats(allow_infinity=False), min_size=12, max_size=12),
    zone=st.sampled_from([None, "Europe/Berlin"]),
)
def test_a_panel_has_one_step_between_its_rows_and_every_row_of_the_frame(times, ids, numbers, zone):
    frame = pd.DataFrame({"unique_id": ids[: len(times)], "ds": times, "y": numbers[: len(times)]})
    frame["ds"] = frame["ds"].dt.tz_localize(zone)
    try:
        panel = panel_from_frame(frame, missing_steps="insert")
    except DataError:
        return
    stored = {(panel.series_ids[i], moment): value for i in range(len(panel)) for moment, value in _rows(panel, i)}
    assert len(stored) == len(panel.target) >= len(frame)
    for series_id, moment, value in frame.itertuples(index=False):
        instant = moment.tz_convert("UTC").tz_localize(None) if zone else moment
        assert stored[series_id, instant.to_datetime64()] == pytest.approx(value, nan_ok=True)


def _rows(panel, i):
    span = slice(panel.offsets[i], panel.offsets[i + 1])
    return zip(panel.timestamps[span], panel.target[span], strict=True)


# What hypothesis found


def test_names_of_columns_that_are_no_names_are_refused():
    frame = frame_of(a=HOURS)
    refused(CovariateError, "covariates must be names of columns, got int", frame, covariates=3, field="covariates")
    refused(SchemaError, r"\['y'\] is no name of a column; use texts", frame, covariates=[["y"]], field="['y']")


def test_a_static_frame_with_two_levels_in_its_index_says_that_it_has_no_ids():
    static = pd.DataFrame({"size": [1.0, 2.0]}, index=pd.MultiIndex.from_tuples([("a", 1), ("b", 2)]))
    message = "static has no column 'unique_id' and no index of that name; it has size"
    refused(CovariateError, message, frame_of(a=HOURS, b=HOURS), static=static, field="static")


def test_lists_of_arrow_are_no_static_features():
    tags = pd.Series(pd.arrays.ArrowExtensionArray(pa.array([[1], [2]] * 24)))
    refused(CovariateError, "'tags' holds objects", frame_of(a=HOURS).assign(tags=tags), static=["tags"], field="tags")


def test_the_season_can_be_that_of_the_data() -> None:
    steps = np.arange(200)
    wave = 10 + 3 * np.sin(2 * np.pi * steps / 12) + np.random.default_rng(0).normal(0, 0.5, 200)
    frame = pd.DataFrame({"ds": steps, "y": wave})
    assert panel_from_frame(frame, freq=1, season="auto").season == 12
    assert panel_from_frame(frame, freq=1).season == 1
    noise = frame.assign(y=np.random.default_rng(1).normal(size=200))
    assert panel_from_frame(noise, freq=1, season="auto").season == 1
