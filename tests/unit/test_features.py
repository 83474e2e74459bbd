"""What a panel has beside its target: past covariates by the row, static features by the series."""

import re
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest

from tsforecast.errors import CovariateError, DataError, SchemaError
from tsforecast.preprocessing.validate import panel_from_frame


def frame(**columns):
    """Series "b" with three rows before series "a" with two, daily."""
    ds = pd.date_range("2024-01-01", periods=3)
    ids = ["b", "b", "b", "a", "a"]
    return pd.DataFrame({"unique_id": ids, "ds": [*ds, *ds[:2]], "y": np.arange(5.0), **columns})


STATIC = pd.DataFrame(
    {"unique_id": ["a", "b", "z"], "size": [1, 2, 9], "open": [True, False, True], "kind": ["north", "south", "no one's"]}
)


def refused(error: type[DataError], message: str, *, series=None, field=None, data=None, **options):
    with pytest.raises(error, match=re.escape(message)) as caught:
        panel_from_frame(frame() if data is None else data, **options)
    assert (caught.value.series_id, caught.value.field) == (series, field)


# Past covariates


def test_past_covariates_go_with_their_rows_in_whatever_order_they_come():
    data = frame(seen=[1, 2, np.nan, 4, 5], flag=[True, False, True, False, True], plan=np.arange(5.0))
    panel = panel_from_frame(data.iloc[::-1], past_covariates=["seen", "flag"], covariates=["plan"])
    assert panel.series_ids == ("a", "b")
    assert panel.past_covariate_names == ("seen", "flag")
    np.testing.assert_array_equal(panel.past_covariates, [[4, 0], [5, 1], [1, 1], [2, 0], [np.nan, 1]])
    assert panel.covariates[:, 0].tolist() == [3, 4, 0, 1, 2]


def test_inserted_steps_are_nan_in_past_covariates_too():
    panel = panel_from_frame(frame(seen=1.0).drop(index=1), past_covariates=["seen"], missing_steps="insert")
    np.testing.assert_array_equal(panel.past_covariates[:, 0], [1, np.nan, 1, 1, 1])


def test_a_panel_without_features_has_none():
    panel = panel_from_frame(frame(), static=[], past_covariates=())
    assert (panel.past_covariates, panel.static_reals, panel.static_categories) == (None, None, ())


def test_past_covariates_are_refused_by_name():
    refused(CovariateError, "has no column 'sen'; did you mean 'seen'?", field="sen", data=frame(seen=1), past_covariates=["sen"])
    refused(CovariateError, "rename it or pass past_covariates=", field="seen", past_covariates=["seen"])
    refused(CovariateError, "got the text 'seen'; pass ['seen']", field="past_covariates", past_covariates="seen")
    infinite = frame(seen=[1, np.inf, 3, 4, 5])
    refused(
        CovariateError, "series 'b' has inf in 'seen', row 1", series="b", field="seen", data=infinite, past_covariates=["seen"]
    )
    texts = frame(seen=["1", "2", "x", "4", "5"])
    refused(
        CovariateError, "series 'b' has the text 'x' in 'seen'", series="b", field="seen", data=texts, past_covariates=["seen"]
    )
    both = frame(seen=1.0)
    refused(
        SchemaError, "column 'seen' is given two roles", field="seen", data=both, covariates=["seen"], past_covariates=["seen"]
    )


def test_an_option_that_is_none_is_refused_at_once():
    with pytest.raises(TypeError, match="unexpected keyword argument 'future_covariates'"):
        panel_from_frame(frame(), future_covariates=["x"])


# Static features


@pytest.mark.parametrize(
    "static", [STATIC, STATIC.iloc[::-1], STATIC.set_index("unique_id"), STATIC.set_index("unique_id").rename_axis(None)]
)
def test_numbers_become_reals_and_texts_categories_in_the_order_of_the_panel(static):
    panel = panel_from_frame(frame(), static=static)
    assert panel.series_ids == ("b", "a")
    assert panel.static_real_names == ("size", "open")
    assert panel.static_reals.tolist() == [[2, 0], [1, 1]]
    assert panel.static_category_names == ("kind",)
    assert panel.static_categories == (("south",), ("north",))


def test_reals_alone_and_categories_alone_leave_the_other_kind_empty():
    reals = panel_from_frame(frame(), static=STATIC[["unique_id", "size"]])
    assert (reals.static_categories, reals.static_category_names) == ((), ())
    words = panel_from_frame(frame(), static=STATIC[["unique_id", "kind"]])
    assert (words.static_reals, words.static_real_names) == (None, ())


@pytest.mark.parametrize(
    ("values", "reals"),
    [
        (pd.array([1, 2], dtype="Int64"), [[2], [1]]),
        (pd.Series([True, False], dtype=object), [[0], [1]]),
        ([Decimal("1.5"), Decimal("2.5")], [[2.5], [1.5]]),
    ],
)
def test_numbers_of_any_kind_are_reals(values, reals):
    panel = panel_from_frame(frame(), static=pd.DataFrame({"unique_id": ["a", "b"], "x": values}))
    assert panel.static_reals.tolist() == reals


def test_a_categorical_is_a_category_whatever_it_holds():
    static = pd.DataFrame({"unique_id": ["a", "b"], "zone": pd.Categorical([7, 3])})
    assert panel_from_frame(frame(), static=static).static_categories == (("3",), ("7",))


def test_columns_of_the_long_frame_that_never_change_are_static():
    data = frame(size=[2, 2, 2, 1, 1], kind=["s", "s", "s", "n", "n"]).iloc[[3, 0, 4, 1, 2]]
    panel = panel_from_frame(data, static=["kind", "size"])
    assert panel.series_ids == ("a", "b")
    assert panel.static_categories == (("n",), ("s",))
    assert panel.static_reals.tolist() == [[1], [2]]


def test_a_wide_frame_and_one_series_take_static_frames_too():
    days = pd.date_range("2024-01-01", periods=3)
    wide = panel_from_frame(pd.DataFrame({"b": 1.0, "a": 2.0}, index=days), static=STATIC)
    assert wide.static_reals[:, 0].tolist() == [2, 1]
    lone = panel_from_frame(pd.Series([1.0, 2.0, 3.0], index=days), static=pd.DataFrame({"size": [4]}))
    assert lone.static_reals.tolist() == [[4]]


def test_what_is_wrong_with_static_columns_is_said():
    data = frame(size=[2, 2, 3, 1, 1], kind=["s", None, "s", "n", "n"], none=[None, None, None, 1, 1])
    refused(
        CovariateError,
        "series 'b' has 2 (row 0) and 3 (row 2) in 'size', which must be the same in all rows of a series; "
        "correct it, or name it among past_covariates",
        series="b",
        field="size",
        data=data,
        static=["size"],
    )
    refused(
        CovariateError,
        "series 'b' has 's' (row 0) and nothing (row 1) in 'kind'",
        series="b",
        field="kind",
        data=data,
        static=["kind"],
    )
    refused(
        CovariateError,
        "series 'b' has nothing in static 'none'; give every series a finite number",
        series="b",
        field="none",
        data=data,
        static=["none"],
    )
    refused(CovariateError, "has no column 'siz'; did you mean 'size'?", field="siz", data=data, static=["siz"])
    refused(SchemaError, "column 'y' is given two roles", field="y", static=["y"])
    lists = frame(tags=[[1]] * 5)
    refused(CovariateError, "'tags' holds objects (unhashable type: 'list')", field="tags", data=lists, static=["tags"])


def test_what_is_wrong_with_a_static_frame_is_said():
    twice = pd.concat([STATIC, STATIC[:1]])
    refused(
        CovariateError,
        "series 'a' has 2 rows (0, 3) in static; keep one for each series",
        series="a",
        field="static",
        static=twice,
    )
    fewer = STATIC[1:]
    refused(
        CovariateError,
        "series 'a' has no row in static; static has 'b', 'z'; add a row",
        series="a",
        field="static",
        static=fewer,
    )
    refused(
        CovariateError,
        "series 'b' has no row in static, and 1 more series have none",
        series="b",
        field="static",
        static=STATIC[2:],
    )
    refused(CovariateError, "static has no rows; add a row", series="b", field="static", static=STATIC[:0])
    hole = STATIC.assign(size=[np.nan, 2, 3])
    refused(
        CovariateError,
        "series 'a' has nothing in static 'size'; give every series a finite number there",
        series="a",
        field="size",
        static=hole,
    )
    endless = STATIC.assign(size=[1, -np.inf, 3])
    refused(CovariateError, "series 'b' has -inf in static 'size'", series="b", field="size", static=endless)
    for nothing in (None, np.nan, ""):
        silent = STATIC.assign(kind=["north", nothing, "x"])
        refused(
            CovariateError,
            "series 'b' has no word in static 'kind'; give every series one, such as 'unknown'",
            series="b",
            field="kind",
            static=silent,
        )
    mixed = STATIC.assign(kind=["north", 3, "x"])
    refused(
        CovariateError,
        "series 'b' has 3 (int) in static 'kind', which has texts too; make all of them texts by",
        series="b",
        field="kind",
        static=mixed,
    )
    dates = STATIC.assign(kind=pd.Timestamp("2024-01-01"))
    refused(CovariateError, "static 'kind' is of type datetime64", field="kind", static=dates)
    nameless = STATIC.drop(columns="unique_id")
    refused(
        CovariateError,
        "static has no column 'unique_id' and no index of that name; it has size, open, kind",
        field="static",
        static=nameless,
    )
    refused(CovariateError, "static has no column beside 'unique_id'", field="static", static=STATIC[["unique_id"]])
    refused(
        SchemaError,
        "static must be a frame with one row per series, or names of columns, got dict",
        field="static",
        static={"a": 1},
    )
    refused(CovariateError, "static must be names, got the text 'kind'; pass ['kind']", field="static", static="kind")
    refused(
        SchemaError, "column 'size' is given two roles", field="size", data=frame(size=1.0), static=STATIC, covariates=["size"]
    )
    double = pd.DataFrame([["a", 1, 2], ["b", 3, 4]], columns=["unique_id", "x", "x"])
    refused(SchemaError, "column 'x' is given two roles", field="x", static=double)
    missing = STATIC.assign(unique_id=["a", None, "b"])
    refused(SchemaError, "'unique_id' is missing in row 1", field="unique_id", static=missing)
