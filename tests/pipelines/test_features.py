"""Past covariates and static features in a recipe: where they are read, what they may see, and where they end up."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipelines.io import read_static
from pipelines.panel_file import read_panel, write_panel
from pipelines.recipe import RecipeFile, Source
from pipelines.summary import summary_of, to_text
from pipelines.workspace import Workspace
from tests.pipelines.fakes import RECIPE, quarters
from tsforecast.errors import CovariateError, DataError, SchemaError
from tsforecast.panel import Panel

Write = Callable[..., RecipeFile]
Run = Callable[..., Workspace]
READER = '[[models]]\nname = "reader"\n'


def head(lines: str) -> str:
    return RECIPE.replace('path = "quarters.csv"', f'path = "quarters.csv"\n{lines}').replace(
        "folds = 2", 'folds = 1\nmetric = "mae"'
    )


def rich() -> pd.DataFrame:
    """quarters() with `seen`, which is the target, and two columns that are constant in a series."""
    frame = quarters()
    return frame.assign(
        seen=frame["y"],
        size=frame["unique_id"].map({"up": 1.5, "007": 2.5}),
        kind=frame["unique_id"].map({"up": "small", "007": "big"}),
    )


def test_past_covariates_are_cut_at_as_of_like_the_target(write: Write, run: Run) -> None:
    data = rich()
    data.loc[data["ds"] > "2017-04-01", ["seen", "y"]] = 1e9
    lines = 'past_covariates = ["seen"]\ncovariates = ["plan"]\nstatic_columns = ["size", "kind"]'
    work = run(write(READER, head=head(lines), data=data.assign(plan=1.0)), as_of="2017-04-01")
    assert work.panel.past_covariates is not None
    np.testing.assert_array_equal(work.panel.past_covariates[:, 0], work.panel.target)
    assert list(pd.read_parquet(work.path("future.parquet")).columns) == ["unique_id", "ds", "plan"]
    frame = pd.read_parquet(work.path("forecast.parquet"))
    beside = pd.read_parquet(work.backtest(work.recipe.models[0], "parquet"))
    assert (beside["0.5"] == beside["unique_id"].map({"up": 25 + 1.5, "007": 125 + 2.5})).all()  # row 25 is the last it saw
    assert frame.groupby("unique_id")["0.5"].unique().map(list).to_dict() == {"up": [29 + 1.5], "007": [129 + 2.5]}


def test_a_covariate_declared_a_category_is_known_ahead_by_its_words(write: Write, run: Run) -> None:
    data = rich()
    plans = data.groupby("unique_id").cumcount() % 3
    data = data.assign(plan=plans.map({0: "sale", 1: None, 2: "fair"}))
    types = 'past_covariates = ["seen"]\ncovariates = ["plan"]\nstatic_columns = ["size", "kind"]\ntypes = { plan = "category" }'
    work = run(write(READER, head=head(types), data=data), as_of="2017-04-01")
    assert work.panel.covariate_names == ("plan=fair", "plan=sale")
    ahead = pd.read_parquet(work.path("future.parquet"))
    assert list(ahead.columns) == ["unique_id", "ds", "plan=fair", "plan=sale"]
    told = data[data["ds"] > "2017-04-01"]
    np.testing.assert_array_equal(ahead["plan=sale"], (told["plan"] == "sale").astype(float))
    data.loc[data["ds"] > "2017-04-01", "plan"] = "flood"
    with pytest.raises(CovariateError, match=r"'plan' is 'flood' at .* which is a word the history does not have"):
        run(write(READER, head=head(types), data=data), as_of="2017-04-01", force=True)


def test_the_static_file_is_read_beside_the_recipe(write: Write, run: Run, tmp_path: Path) -> None:
    shops = pd.DataFrame({"unique_id": ["007", "up", "gone"], "size": [2.5, 1.5, 0], "kind": ["big", "small", "big"], "x": 1})
    shops.to_csv(tmp_path / "shops.csv", index=False)
    lines = 'past_covariates = ["seen"]\nstatic_path = "shops.csv"\nstatic_columns = ["kind", "size"]'
    work = run(write(READER, head=head(lines), data=rich()))
    assert work.panel.static_reals is not None and work.panel.static_reals.tolist() == [[1.5], [2.5]]
    assert (work.panel.static_categories, work.panel.static_category_names) == ((("small",), ("big",)), ("kind",))
    facts = summary_of(work)["panel"]
    assert (facts["covariates"], facts["past_covariates"], facts["static"]) == ([], ["seen"], ["size", "kind"])
    assert "0 not observed, past covariates seen, static size, kind" in to_text(summary_of(work))


def test_static_features_go_with_resampling_when_they_come_from_a_file(write: Write, run: Run, tmp_path: Path) -> None:
    pd.DataFrame({"unique_id": ["007", "up"], "size": [2, 1]}).to_csv(tmp_path / "shops.csv", index=False)
    yearly = '[panel.resample]\nfreq = "YS"\nhow = "sum"\n'
    work = run(write(yearly, READER, head=head('static_path = "shops.csv"')), jobs=("prepare",))
    assert work.panel.freq == "YS-JAN" and work.panel.static_reals is not None
    assert work.panel.static_reals[:, 0].tolist() == [1, 2]


def test_what_is_wrong_with_the_static_file_is_said(write: Write, run: Run, tmp_path: Path) -> None:
    source = Source(kind="csv", path="d.csv", id="shop", static_path="s.csv")
    with pytest.raises(DataError, match=r"s\.csv cannot be read as csv: No such file") as caught:
        read_static(source, folder=tmp_path)
    assert caught.value.field == "source.static_path"
    pd.DataFrame({"shop": ["01", "NA"], "size": [1, None]}).to_csv(tmp_path / "s.csv", index=False)
    frame = read_static(source, folder=tmp_path)
    assert isinstance(frame, pd.DataFrame) and frame["unique_id"].tolist() == ["01", "NA"]
    with pytest.raises(SchemaError, match=r"s\.csv has no column 'siz' \(source\.static_columns\); it has shop, size"):
        read_static(replace(source, static_columns=("siz",)), folder=tmp_path)
    with pytest.raises(SchemaError, match=r"s\.csv has no column 'id' \(source\.id\); it has shop, size"):
        read_static(replace(source, id="id"), folder=tmp_path)
    lone = read_static(replace(source, id="id", series="one", static_columns=("size",)), folder=tmp_path)
    assert isinstance(lone, pd.DataFrame) and lone["unique_id"].tolist() == ["one", "one"]
    with pytest.raises(SchemaError, match=r"the source has no column 'sen' \(source\.past_covariates\)"):
        run(write(READER, head=head('past_covariates = ["sen"]')))
    with pytest.raises(SchemaError, match=r"the source has no column 'siz' \(source\.static_columns\)"):
        run(write(READER, head=head('static_columns = ["siz"]')))
    pd.DataFrame({"unique_id": ["007"], "size": [1]}).to_csv(tmp_path / "s.csv", index=False)
    with pytest.raises(CovariateError, match="series 'up' has no row in static; static has '007'; add a row for each series"):
        run(write(READER, head=head('static_path = "s.csv"')))


def test_a_panel_with_all_kinds_of_features_comes_back_from_its_file(tmp_path: Path) -> None:
    panel = Panel(
        series_ids=("b", "a"),
        offsets=np.array([0, 2, 3]),
        timestamps=np.arange(3),
        target=np.array([1.0, np.nan, 3.0]),
        freq=1,
        season=1,
        covariates=np.array([[1.0], [2.0], [3.0]]),
        covariate_names=("plan",),
        past_covariates=np.array([[0.1, np.nan], [0.2, 1.0], [0.3, 2.0]]),
        past_covariate_names=("seen", "heard"),
        static_reals=np.array([[1 / 3], [1e300]]),
        static_real_names=("size",),
        static_categories=(("ü", "x"), ("y", "z")),
        static_category_names=("kind", "place"),
    )
    digest = write_panel(panel, tmp_path / "p.parquet")
    found = read_panel(tmp_path / "p.parquet")
    assert write_panel(found, tmp_path / "again.parquet") == digest
    for name in ("covariates", "past_covariates", "static_reals"):
        np.testing.assert_array_equal(getattr(found, name), getattr(panel, name))
    for name in ("past_covariate_names", "static_real_names", "static_categories", "static_category_names"):
        assert getattr(found, name) == getattr(panel, name)
