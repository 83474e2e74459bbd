"""Arbitrary frames and lists: each gives a whole panel, or one of our errors; never another, and never a warning."""

import datetime as dt
import os
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tsforecast import future_from_frame, panel_from_frame
from tsforecast.errors import ForecastError
from tsforecast.panel import Panel, wall_labels
from tsforecast.preprocessing.calendar import clock_of, future_timestamps, grid_positions, zones_of_rows
from tsforecast.preprocessing.repair import drop_duplicates, resample
from tsforecast.preprocessing.validate import panel_from_lists

EXAMPLES = settings(  # HYPOTHESIS_EXAMPLES=500 before a release
    max_examples=int(os.environ.get("HYPOTHESIS_EXAMPLES", "100")),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
ROWS = 9
UNBUILDABLE = (TypeError, ValueError, KeyError, NotImplementedError, AttributeError, Warning)  # pandas has no such frame
ZONES = ["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "Africa/Cairo"]
STARTS = [
    "2024-01-01",
    "2024-03-30 22:00",
    "2024-10-26 22:30",
    "2024-10-27 00:00",
    "2024-11-02 23:00",
    "1677-12-31",
    "2262-04-10",
]
FREQS = ["h", "30min", "D", "24h", "B", "W-SUN", "MS", "ME", "QE-DEC", "YS-JAN", "7h", "s", "ns"]
ASKED = st.one_of(
    st.none(),
    st.none(),
    st.sampled_from([*FREQS, 1, 3, np.int64(2), pd.offsets.Day()]),
    st.sampled_from(["nonsense", "", "0h", 0, -1, True, 2.5, [], 10**30, "1e9D", "99999999999999999999h"]),
)


def any_time(rng_year=(1600, 2300)):
    """One moment in one of the ways people write them, or nothing like it."""
    moments = st.datetimes(dt.datetime(rng_year[0], 1, 1), dt.datetime(rng_year[1], 1, 1))
    usual = st.sampled_from(list(pd.date_range("2024-10-26 22:00", periods=12, freq="30min")))
    return st.one_of(
        usual,
        usual.flatmap(lambda one: st.sampled_from(ZONES).map(lambda zone: one.tz_localize("UTC").tz_convert(zone))),
        usual.map(str),
        usual.map(lambda one: f"{one}+02:00"),
        moments,
        moments.map(str),
        moments.map(dt.datetime.date),
        moments.map(lambda one: one.replace(tzinfo=dt.timezone(dt.timedelta(minutes=345)))),
        moments.map(lambda one: np.datetime64(one, "us")),
        st.sampled_from(
            [pd.NaT, None, np.nan, pd.NA, "", "now", "2024-02-30", "2024-W05", "20240101", "٢٠٢٤-٠١-٠١", "0000-00-00"]
        ),
        st.sampled_from([np.datetime64("NaT"), np.datetime64("9999-01-01"), np.datetime64("2024", "Y"), pd.Period("2024Q1")]),
        st.integers(-(2**70), 2**70),
    )


ODD = st.one_of(
    st.integers(-(2**70), 2**70),
    st.floats(width=32),
    st.text(max_size=3),
    st.binary(max_size=3),
    st.booleans(),
    st.sampled_from([None, np.nan, pd.NA, pd.NaT, Decimal("1.5"), Decimal("NaN"), Decimal("Infinity"), Fraction(1, 3), 1 + 2j]),
    st.sampled_from([Path("x"), ..., int, pd.Timedelta("1h"), pd.Period("2024"), pd.Interval(0, 1), np.float32(2), range(3)]),
    st.lists(st.integers(0, 3), max_size=2),
    st.tuples(st.integers(0, 3), st.text(max_size=1)),
    st.dictionaries(st.text(max_size=1), st.integers(0, 3), max_size=1),
    st.sampled_from([frozenset([1]), np.array([1, 2]), np.array(3.0), np.zeros(0)]),
)


def lists_of(elements, size):
    return st.lists(elements, min_size=size, max_size=size)


def objects(values):
    """A column of Python objects, lists and arrays too."""
    column = np.empty(len(values), dtype=object)
    for i, value in enumerate(values):
        column[i] = value
    return pd.Series(column)


def catalogue():
    """Columns of ROWS rows of every dtype: (those of timestamps, all of them). Frames take rows of them, in any order."""
    times = []
    for start in STARTS:
        for freq in ("30min", "D", "MS") if start == STARTS[0] else ("30min", "D"):
            try:
                index = pd.date_range(start, periods=ROWS, freq=freq, unit="s")
            except pd.errors.OutOfBoundsDatetime:
                index = pd.DatetimeIndex(np.datetime64(start, "s") + np.arange(ROWS) * np.timedelta64(1, "D"))
            times += [index, *([index.as_unit("ns")] if index.year.min() > 1677 and index.year.max() < 2262 else [])]
    usual = times[0]
    times += [pd.date_range(usual[0], periods=ROWS, freq=freq) for freq in FREQS]
    zoned = [one.tz_localize("UTC").tz_convert(zone) for one, zone in zip(times, ZONES * 9, strict=False)]
    offsets = [[f"{one}+0{i % 3}:00" for i, one in enumerate(index)] for index in times[:3]]
    years = [
        np.array([f"{year}-01-01" for year in range(first, first + ROWS)], dtype="datetime64[s]") for first in (1600, 2020, 2290)
    ]
    series = [pd.Series(one) for one in [*times, *zoned, *years, *offsets]]
    mixed = [objects([one[i] for i, one in enumerate(zoned[first : first + ROWS])]) for first in (0, 6)]
    series += [*mixed, objects([*zoned[1][:5], *zoned[2][5:]]), objects([*times[0][:5], *zoned[2][5:]])]
    series += [
        pd.Series(times[i]).astype(kind) for i, kind in enumerate(["object", "category", "string", "timestamp[us][pyarrow]"])
    ]
    series += [
        pd.Series(times[4]).map(str).astype(object),
        pd.Series(times[0].tz_localize("UTC")).astype("timestamp[s, tz=UTC][pyarrow]"),
    ]
    series += [pd.Series(usual.to_period(freq)) for freq in ["D", "h", "M", "Q-DEC", "W-SUN"]]
    series += [pd.Series(np.arange(ROWS) * step) for step in (1, 3)] + [pd.Series(times[0].where(np.arange(ROWS) != 3))]
    numbers = pd.Series(np.arange(ROWS) % 4)
    others = [numbers.astype(kind) for kind in DTYPES] + [
        numbers.astype(kind).mask(numbers == 1) for kind in ("Int8", "Float32", "string")
    ]
    others += [pd.Series(pd.arrays.ArrowExtensionArray(pa.array(values * 3, type=kind))) for kind, values in ARROW]
    others += [
        pd.Series(pd.arrays.SparseArray([0.0, np.nan, 1.0] * 3)),
        pd.Series(pd.interval_range(0, periods=ROWS)),
        pd.Series([-(2**63), 2**63 - 1, 2**62] * 3, dtype=np.int64),
        pd.Series([2**64 - 1, 1, 2] * 3, dtype=np.uint64),
        objects([2**70, -(2**70), 1] * 3),
        objects([1, 2, 3] * 3),
        objects([True, False, None] * 3),
        pd.Series([True, False, True] * 3),
        pd.Series([True, None, False] * 3, dtype="boolean"),
        pd.Series([0.5, np.nan, np.inf] * 3),
        pd.Series([1e308, -1e308, 5e-324] * 3),
        objects([Decimal("1.5"), Decimal("NaN"), Decimal("2")] * 3),
        objects(["a\0b", "a", "2024-01-01\0"] * 3),
        objects(["1", "x", "1.000,5"] * 3),
        objects([[1], [], [2, 3]] * 3),
        objects([{}, {"a": 1}, {1, 2}] * 3),
        objects([b"a", b"", "a"] * 3),
        objects([(1, 2), (1,), "(1,)"] * 3),
        objects(["\ud800", "ok", ""] * 3),
        pd.Series([None] * ROWS, dtype=object),
        pd.Series(pd.Categorical([1, "a", None] * 3)),
        pd.Series(pd.Categorical([dt.date(2024, 1, 1 + i) for i in range(ROWS)])),
        *(
            pd.Series(words * 3, dtype=object)
            for words in (["a", "b", "b"], ["a"] * 3, ZONES[1:4], [ZONES[1]] * 3, ["a", "A ", "a "])
        ),
    ]
    return series, [*series, *others]


DTYPES = [
    "Int8",
    "UInt64",
    "Float32",
    "string",
    "complex64",
    "timedelta64[s]",
    "float16",
    "datetime64[ns]",
    "category",
]
ARROW = [
    (pa.int64(), [1, 2, None]), (pa.uint8(), [1, 2, 3]), (pa.float32(), [1.5, None, 2.0]), (pa.null(), [None] * 3),
    (pa.string(), ["a", "2024-01-01", None]), (pa.large_string(), ["a", "b", "c"]), (pa.bool_(), [True, False, None]),
    (pa.decimal128(9, 2), [Decimal("1.50"), Decimal("2"), None]), (pa.binary(), [b"a", b"", None]),
    (pa.date32(), [dt.date(2024, 1, 1), dt.date(2024, 1, 2), dt.date(2024, 1, 3)]), (pa.list_(pa.int64()), [[1], [], None]),
    (pa.duration("s"), [dt.timedelta(1), dt.timedelta(2), None]), (pa.time64("us"), [dt.time(1), dt.time(2), None]),
    (pa.timestamp("ns"), [dt.datetime(2024, 1, 1), dt.datetime(2024, 1, 2), None]),
    (pa.dictionary(pa.int8(), pa.string()), ["a", "b", None]), (pa.struct([("a", pa.int8())]), [{"a": 1}, {"a": 2}, None]),
]  # fmt: skip
TIMES, EVERYTHING = catalogue()
IDS, LONE, NUMBERS, ZONE = (
    pd.Series(list("aaaaabbbb"), dtype=object),
    EVERYTHING[-4],
    pd.Series(np.arange(ROWS) * 0.5),
    EVERYTHING[-2],
)


def columns():
    """A column of any dtype, ROWS rows."""
    return st.one_of(st.sampled_from(EVERYTHING), lists_of(ODD, ROWS).map(objects), lists_of(any_time(), ROWS).map(objects))


NAMES = st.one_of(
    st.sampled_from(
        ["unique_id", "ds", "y", "x", "zone", "unique_id", "ds", "y", "Y", "date", "", None, np.nan, 0, ("ds", "y"), 1.5]
    ),
    st.sampled_from([dt.date(2024, 1, 1), b"ds", True]),
)


@st.composite
def frames(draw):
    """Frames that are nearly right, with one column of any dtype or one oddity of shape; a few have everything at once."""
    wild = draw(st.integers(0, 5)) == 0
    spoiled = draw(st.sets(st.integers(0, 4), max_size=3)) if wild else {draw(st.sampled_from([1, 2, 3, 0, 4, 5]))}
    nearly = [draw(st.sampled_from([IDS, IDS, LONE])), draw(st.sampled_from(TIMES)), NUMBERS, NUMBERS, ZONE]
    parts = [draw(columns()) if i in spoiled else one for i, one in enumerate(nearly)]
    size = draw(st.integers(0 if wild else 4, ROWS))
    rows = draw(
        st.one_of(st.just(list(range(size))), st.permutations(range(size)), st.lists(st.integers(0, ROWS - 1), max_size=12))
    )
    parts = [one.take(rows).reset_index(drop=True) for one in parts]
    names, count = ["unique_id", "ds", "y", "x", "zone"], 5
    if wild:
        names, count = draw(st.one_of(st.just(names), lists_of(NAMES, 5))), draw(st.sampled_from([5, 4, 3, 2, 1, 0]))
    frame = pd.concat(parts[:count], axis=1) if count else pd.DataFrame(index=range(len(rows)))
    frame.columns = pd.Index(names[:count], dtype=object)
    shapes = [one_by_one] * 2 * len(SHAPES) + SHAPES
    try:
        return draw(st.sampled_from(SHAPES if wild else shapes))(frame, names[:count], parts)
    except UNBUILDABLE:
        return frame


def one_by_one(frame, names, parts):
    return frame


def with_two_levels_of_columns(frame, names, parts):
    return frame.set_axis(pd.MultiIndex.from_tuples([(name, i % 2) for i, name in enumerate(names)]), axis=1)


def with_times_in_the_index(frame, names, parts):
    return frame.set_index("ds") if names.count("ds") == 1 else frame


def with_times_in_both(frame, names, parts):
    return frame.set_index("ds", drop=False) if names.count("ds") == 1 else frame


def with_ids_and_times_in_the_index(frame, names, parts):
    return frame.set_index(["unique_id", "ds"]) if names.count("ds") == names.count("unique_id") == 1 else frame


def with_an_unnamed_index_of_times(frame, names, parts):
    return frame.set_axis(pd.Index(parts[1], name=None))


def with_an_index_named_like_a_column(frame, names, parts):
    return frame.set_axis(pd.Index(parts[1], name="y"))


def with_two_unnamed_levels(frame, names, parts):
    return frame.set_axis(pd.MultiIndex.from_arrays([parts[0], parts[1]]))


def with_one_label_for_all_rows(frame, names, parts):
    return frame.set_axis(pd.Index([0] * len(frame)))


def wide(frame, names, parts):
    return pd.concat(parts[2:4], axis=1).set_axis(pd.Index(parts[1]))


SHAPES = [
    with_two_levels_of_columns, with_times_in_the_index, with_times_in_both, with_ids_and_times_in_the_index,
    with_an_unnamed_index_of_times, with_an_index_named_like_a_column, with_two_unnamed_levels, with_one_label_for_all_rows, wide,
]  # fmt: skip


def check_panel(panel):
    """Everything that a panel promises."""
    assert isinstance(panel, Panel)
    assert len(set(panel.series_ids)) == len(panel) and all(isinstance(one, str) for one in panel.series_ids)
    assert panel.offsets.dtype == np.int64 and panel.offsets[0] == 0 and panel.offsets[-1] == len(panel.target)
    assert (np.diff(panel.offsets) > 0).all() and len(panel.offsets) == len(panel) + 1
    assert panel.target.dtype == np.float64 and not np.isinf(panel.target).any()
    assert panel.timestamps.dtype == (np.int64 if panel.is_integer_clock else "M8[ns]")
    assert panel.timestamps.shape == panel.target.shape
    positions, on_grid = grid_positions(clock_of(panel.freq), panel.timestamps, panel.offsets, zones_of_rows(panel))
    assert on_grid.all()
    np.testing.assert_array_equal(positions, panel.row_in_series())
    assert isinstance(panel.season, int) and panel.season >= 1
    assert len(panel.zones) in (0, len(panel)) and (not panel.zones or (panel.tz == "UTC" and len(set(panel.zones)) > 1))
    for values, names in ((panel.covariates, panel.covariate_names), (panel.past_covariates, panel.past_covariate_names)):
        assert (values is None) == (not names)
        if values is not None:
            assert values.dtype == np.float64 and values.shape == (len(panel.target), len(names)) and not np.isinf(values).any()
    if panel.static_reals is not None:
        assert panel.static_reals.shape == (len(panel), len(panel.static_real_names)) and np.isfinite(panel.static_reals).all()
    arrays = [panel.offsets, panel.timestamps, panel.target, panel.covariates, panel.past_covariates, panel.static_reals]
    assert not any(one.flags.writeable for one in arrays if one is not None)


def panel_or_our_error(make, check):
    try:
        made = make()
    except ForecastError as error:
        assert str(error)
    else:
        check(made)


@pytest.mark.parametrize("role", ["unique_id", "ds", "y", "x", "zone", "static", "index"])
def test_a_column_of_every_dtype_in_every_role_gives_a_panel_or_an_error_of_ours(role):
    usual = {"unique_id": LONE, "ds": TIMES[0], "y": NUMBERS, "x": NUMBERS, "zone": ZONE, "static": NUMBERS * 0}
    options = {"covariates": ["x"], "static": ["static"]} | ({"tz_col": "zone"} if role == "zone" else {})
    for column in EVERYTHING:
        frame = pd.DataFrame({name: column if name == role else one for name, one in usual.items()})
        if role == "index":
            try:
                frame = frame.drop(columns="ds").set_axis(pd.Index(column.array))
            except UNBUILDABLE:
                continue
        panel_or_our_error(lambda: panel_from_frame(frame, missing_steps="insert", **options), check_panel)  # noqa: B023
        panel_or_our_error(lambda: resample(frame, "D"), lambda repaired: None)  # noqa: B023
        panel_or_our_error(lambda: drop_duplicates(frame), lambda repaired: None)  # noqa: B023


@pytest.mark.parametrize("zone", ZONES)
def test_every_clock_in_every_zone_gives_a_panel_or_an_error_of_ours(zone):
    for times in TIMES:
        for freq in (None, "h", "D", "MS"):
            frame = pd.DataFrame({"ds": times, "y": NUMBERS})
            options = {"freq": freq, "tz": zone, "missing_steps": "insert"}
            panel_or_our_error(lambda: panel_from_frame(frame, **options), check_panel)  # noqa: B023


GOOD_ROLES = [
    {"tz": "Europe/Berlin"}, {"tz": "Africa/Cairo"}, {"tz_col": "zone"}, {"covariates": ["x"]}, {"past_covariates": ["x"]},
    {"static": ["zone"]}, {"covariates": ["x"], "tz_col": "zone"}, {"covariates": ["x"], "static": ["zone"], "tz": "UTC"},
]  # fmt: skip
BAD_ROLES = [
    {"tz": "Mars"}, {"tz": 3}, {"tz_col": "x"}, {"covariates": ["x", "x"]}, {"covariates": ["nowhere"]}, {"id_col": "zone"},
    {"time_col": "x"}, {"target_col": "unique_id"}, {"static": ["x"]}, {"covariates": "x"}, {"static": 3}, {"id_col": None},
    {"tz": "UTC", "tz_col": "zone"}, {"covariates": [["x"]]}, {"covariates": None}, {"time_col": ["ds"]}, {"past_covariates": 3},
]  # fmt: skip


@EXAMPLES
@given(
    frame=frames(),
    freq=ASKED,
    season=st.sampled_from([None] * 12 + [1, 7, np.int64(7), 0, 2.5, True, "7", 10**30]),
    missing_steps=st.sampled_from(["error"] + ["insert"] * 8 + ["nonsense"]),
    roles=st.one_of(st.just({}), st.sampled_from(GOOD_ROLES), st.sampled_from(BAD_ROLES)),
)
def test_any_frame_gives_a_panel_or_an_error_of_ours(frame, freq, season, missing_steps, roles):
    def check(panel):
        check_panel(panel)
        panel_or_our_error(lambda: future_timestamps(panel, 3), lambda future: None)

    options = {"freq": freq, "season": season, "missing_steps": missing_steps, **roles}
    panel_or_our_error(lambda: panel_from_frame(frame, **options), check)


@EXAMPLES
@given(
    values=st.one_of(st.just(NUMBERS), columns()),
    times=st.one_of(st.sampled_from(TIMES), columns()),
    name=st.sampled_from([None, "a", 3]),
)
def test_any_series_gives_a_panel_or_an_error_of_ours(values, times, name):
    try:
        series = pd.Series(values.array, index=pd.Index(times.array), name=name)
    except UNBUILDABLE:
        return
    panel_or_our_error(lambda: panel_from_frame(series, missing_steps="insert"), check_panel)


@st.composite
def nearly_right(draw, frame):
    """`frame` with one column of any dtype, or in another order."""
    names = list(frame.columns)
    spoiled = draw(st.sampled_from([None, *names]))
    if spoiled is None:
        return frame.iloc[draw(st.permutations(range(len(frame))))]
    column = draw(columns()).take(draw(lists_of(st.integers(0, ROWS - 1), len(frame)))).reset_index(drop=True)
    return pd.concat([column.rename(name) if name == spoiled else frame[name] for name in names], axis=1)


ROW_FOR_EACH = pd.DataFrame({"unique_id": ["a", "b"], "f": [1.0, 2.0], "g": ["red", "blue"]})


@EXAMPLES
@given(static=st.one_of(frames(), nearly_right(ROW_FOR_EACH), nearly_right(ROW_FOR_EACH)), index=st.booleans())
def test_any_static_frame_gives_a_panel_or_an_error_of_ours(static, index):
    frame = pd.DataFrame({"unique_id": ["a", "b"], "ds": [1, 1], "y": [1.0, 2.0]})
    if all(isinstance(name, str) for name in static.columns):
        static = static.rename(columns={"ds": "f", "y": "g"})
    if index:
        static = with_ids_in_the_index(static)
    panel_or_our_error(lambda: panel_from_frame(frame, freq=1, static=static), check_panel)


def with_ids_in_the_index(frame):
    try:
        return frame.set_index("unique_id")
    except UNBUILDABLE:
        return frame


def known_panel(clock):
    """Two series with a covariate "x", up to the moments that `frames` begin with."""
    frames = [pd.DataFrame({"unique_id": name, "ds": clock, "y": 1.0, "x": 2.0}) for name in "ab"]
    return panel_from_frame(pd.concat(frames), covariates=["x"])


KNOWN = [  # their futures are among TIMES
    known_panel(pd.date_range(end="2023-12-31", periods=4, freq="D")),
    known_panel(pd.date_range(end="2023-12-31 23:30", periods=4, freq="30min", tz="UTC")),
    known_panel(pd.date_range(end="2024-10-26 22:00", periods=4, freq="30min", tz="Europe/Berlin")),
    known_panel(range(-4, 0)),
]


def future_of(panel):
    moments = future_timestamps(panel, 3)
    frame = pd.DataFrame({"unique_id": np.repeat(panel.series_ids, 3), "ds": wall_labels(moments, panel.tz), "x": 1.0})
    return frame.assign(zone="Europe/Berlin")


@EXAMPLES
@given(
    frame_and_panel=st.sampled_from([*KNOWN, *[one.select([0]) for one in KNOWN]]).flatmap(
        lambda panel: st.tuples(
            st.one_of(frames(), nearly_right(future_of(panel)), nearly_right(future_of(panel))), st.just(panel)
        )
    ),
    horizon=st.sampled_from([1, 2, 3] * 6 + [0, -1, 2.5, None, True, "2", 10**30]),
    options=st.sampled_from([{}, {}, {"tz": "Europe/Berlin"}, {"tz_col": "zone"}, {"time_col": "y"}]),
)
def test_any_frame_gives_a_future_or_an_error_of_ours(frame_and_panel, horizon, options):
    frame, panel = frame_and_panel

    def check(future):
        assert future.shape == (len(panel), horizon, 1) and future.dtype == np.float64 and np.isfinite(future).all()

    panel_or_our_error(lambda: future_from_frame(frame, panel, horizon, **options), check)


USUAL_TARGETS = lists_of(st.sampled_from([1, 2.5, None, np.float32(3)]), 3)
TARGETS = st.one_of(lists_of(st.one_of(st.floats(), st.none()), 3), USUAL_TARGETS, st.lists(ODD, max_size=4))
USUAL_STAMPS = st.sampled_from(
    [
        ["2024-10-27T01:00", "2024-10-27T02:00", "2024-10-27T02:00"],
        ["2024-01-01", "2024-01-02", "2024-01-03"],
        ["2024-10-27T02:00+02:00", "2024-10-27T02:00+01:00", "2024-10-27T03:00+01:00"],
        [0, 1, 2],
        [5, 7, 9],
    ]
)
STAMPS = st.one_of(st.lists(any_time(), max_size=4), lists_of(any_time(), 3), st.lists(ODD, max_size=4))


@EXAMPLES
@given(
    series=st.one_of(
        st.lists(st.tuples(st.sampled_from(["a", "b", 1, (1, 2)]), USUAL_TARGETS, USUAL_STAMPS), min_size=1, max_size=2),
        st.lists(st.tuples(st.sampled_from(["a", "b", 1, (1, 2)]), USUAL_TARGETS, STAMPS), min_size=1, max_size=2),
        st.lists(st.tuples(ODD, TARGETS, STAMPS), max_size=3),
    ),
    by_start=st.booleans(),
    freq=ASKED,
    tz=st.sampled_from(
        [None, None, "Europe/Berlin", "Mars", 3, ["Europe/Berlin", "Africa/Cairo"], ["UTC"], [None, None], [[], []]]
    ),
)
def test_any_lists_give_a_panel_or_an_error_of_ours(series, by_start, freq, tz):
    ids, targets, stamps = ([one[i] for one in series] for i in range(3))
    moments = {"starts": [one[0] if len(one) else None for one in stamps]} if by_start else {"timestamps": stamps}
    panel_or_our_error(lambda: panel_from_lists(ids=ids, targets=targets, freq=freq, tz=tz, **moments), check_panel)


@EXAMPLES
@given(
    frame=frames(), freq=ASKED.filter(lambda one: one is not None), how=st.sampled_from(["sum", "mean", "first", "max", "mode"])
)
def test_any_frame_is_resampled_or_refused_by_an_error_of_ours(frame, freq, how):
    def check(repaired):
        assert list(repaired.frame.columns) == ["unique_id", "ds", "y"]
        check_panel(panel_from_frame(repaired.frame, freq=freq))

    panel_or_our_error(lambda: resample(frame, freq, how), check)


@EXAMPLES
@given(frame=frames(), keep=st.sampled_from(["last", "first", "mean", "all"]))
def test_any_frame_loses_its_duplicates_or_is_refused_by_an_error_of_ours(frame, keep):
    def check(repaired):
        again = drop_duplicates(repaired.frame, keep)
        assert len(again.frame) == len(repaired.frame) and not len(again.log)

    panel_or_our_error(lambda: drop_duplicates(frame, keep), check)
