"""[source.types]: what a column means is declared, and a value of another kind is refused by name."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipelines.column_types import MOST_WORDS, with_types, words_of
from pipelines.panels import panel_of
from pipelines.recipe import PanelOptions, Source
from tsforecast.errors import CovariateError, RecipeError

DAYS = pd.date_range("2024-01-01", periods=4)


def source(**changes: object) -> Source:
    values: dict[str, object] = {"kind": "csv", "path": "x.csv", "covariates": ("event", "open"), "static_columns": ("region",)}
    types = {"event": "category", "open": "boolean", "region": "category"}
    return Source(**values | {"types": types} | changes)  # type: ignore[arg-type]  # fields of a source


def frame(**changes: object) -> pd.DataFrame:
    columns = {"unique_id": "a", "ds": DAYS, "y": 1.0, "event": ["fair", None, "market", None], "open": ["yes", "No", True, 0]}
    return pd.DataFrame(columns | {"region": 7} | changes)


def test_a_category_becomes_a_column_for_each_word_and_a_truth_value_a_number() -> None:
    panel = panel_of(frame(), PanelOptions(), source())
    assert panel.covariate_names == ("event=fair", "event=market", "open")
    assert panel.covariates is not None
    np.testing.assert_array_equal(panel.covariates, [[1, 0, 1], [0, 0, 0], [0, 1, 1], [0, 0, 0]])
    assert (panel.static_category_names, panel.static_categories) == (("region",), (("7",),))


def test_words_are_those_of_the_history_and_one_of_the_future_alone_is_refused() -> None:
    words = words_of(frame(), source())
    assert words == {"event": ("fair", "market")}
    later = with_types(frame(event=["market", None, None, None]), source(), words=words).frame
    assert list(later["event=market"]) == [1.0, 0.0, 0.0, 0.0] and not later["event=fair"].any()
    with pytest.raises(CovariateError, match=r"series 'a': 'event' is 'flood' at 2024-01-03 .*it has fair, market"):
        with_types(frame(event=[None, None, "flood", None]), source(), words=words)


@pytest.mark.parametrize(
    ("changes", "types", "message"),
    [
        (
            {"open": [True, "perhaps", 1, 0]},
            {"open": "boolean"},
            "series 'a': 'open' is 'perhaps' at 2024-01-02 .*is not true or false",
        ),
        (
            {"open": [1, "many", "more", 0]},
            {"open": "real"},
            r"'open' is 'many' at .*\(2 such rows\), which is not a number",
        ),
        ({"event": None}, {"event": "category"}, "category 'event' has 0 words, it needs 1 to 50"),
    ],
)
def test_a_value_of_another_type_is_refused_by_name(changes: dict[str, object], types: dict[str, str], message: str) -> None:
    with pytest.raises(CovariateError, match=message):
        with_types(frame(**changes), source(types=types))


def test_too_many_words_are_refused() -> None:
    many = pd.DataFrame(
        {"unique_id": "a", "ds": range(60), "y": 1.0, "event": [f"e{i}" for i in range(60)], "open": 1, "region": 1}
    )
    with pytest.raises(CovariateError, match=f"has 60 words, it needs 1 to {MOST_WORDS}; merge the rare ones"):
        words_of(many, source())


def test_types_of_unknown_columns_or_kinds_are_refused() -> None:
    with pytest.raises(RecipeError, match=r"types names column 'price', which is no covariate and not static"):
        source(types={"price": "real"})
    with pytest.raises(RecipeError, match=r"types.open must be one of real, category, boolean, got 'number'"):
        source(types={"open": "number"})


def test_types_of_a_static_file(tmp_path: Path) -> None:
    pd.DataFrame({"unique_id": ["a"], "shop": [17], "size": ["2.5"]}).to_csv(tmp_path / "s.csv", index=False)
    given = source(static_columns=(), static_path="s.csv", covariates=(), types={"shop": "category", "size": "real"})
    panel = panel_of(frame(), PanelOptions(), given, folder=tmp_path)
    assert panel.static_categories == (("17",),) and panel.static_reals is not None and panel.static_reals.tolist() == [[2.5]]
