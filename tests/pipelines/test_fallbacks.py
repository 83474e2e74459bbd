"""A series that something else than the model forecast is said wherever its forecast goes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipelines.environment import Environment
from pipelines.fallbacks import fallback_line
from pipelines.jobs.promote import judge
from pipelines.recipe import RecipeFile
from pipelines.runner import RunOptions, run_recipe
from pipelines.summary import summary_of, to_text
from pipelines.workspace import Workspace
from tests.pipelines.fakes import RECIPE, TREND
from tsforecast.forecast import Forecast

Write = Callable[..., RecipeFile]
Run = Callable[..., Workspace]
FALLER = '[[models]]\nname = "faller"\n'
WORDS = "no root found, seasonal naive instead"


def test_summary_folder_and_progress_say_which_series_fell_back(write: Write, run: Run) -> None:
    work = run(write(FALLER))
    line = f"1 of 2 series by fallback: '007': {WORDS}"
    assert f"quarters: forecast: {line}" in work.told  # type: ignore[attr-defined]
    assert f"quarters: backtest faller: by fallback 007: {WORDS} (1 in all)" in work.told  # type: ignore[attr-defined]
    summary = summary_of(work)
    assert (summary["forecast"]["series_fallback"], summary["forecast"]["fallbacks"]) == (1, line)
    assert f"  FALLBACK   {line}" in to_text(summary)
    assert f"  faller was scored by a fallback on 007: {WORDS}" in to_text(summary)
    assert pd.read_csv(work.path("fallbacks.csv"), dtype=str).to_dict("records") == [{"unique_id": "007", "reason": WORDS}]


def test_a_model_that_forecast_nothing_itself_is_not_promoted(write: Write, run: Run) -> None:
    work = run(write(FALLER))
    rows: list[dict[str, Any]] = [
        {"model": "faller", "mase": 0.5, "fallbacks": ["007: no"]},
        {"model": "seasonal_naive", "mase": 1.0},
    ]
    assert judge(work, rows)["outcome"] == "promoted"
    rows[0]["fallbacks"] = ["007: no", "up: no"]
    verdict = judge(work, rows)
    assert (verdict["outcome"], verdict["model"]) == ("refused", "seasonal_naive")
    assert verdict["reason"].endswith("a mase of its own: faller forecast every series by fallback")


def test_a_run_without_fallbacks_has_an_empty_table_and_says_nothing(write: Write, run: Run) -> None:
    work = run(write(TREND))
    assert len(pd.read_csv(work.path("fallbacks.csv"))) == 0
    assert "FALLBACK" not in to_text(summary_of(work)) and "by a fallback" not in to_text(summary_of(work))
    assert not [line for line in work.told if "fallback" in line]  # type: ignore[attr-defined]


def test_mlflow_counts_them_and_has_the_table(write: Write, tmp_path: Path, tracking_folder: Path) -> None:
    file = write(FALLER, head=RECIPE.replace("[tracking]\nenabled = false\n", ""))
    environment = Environment({"TSF_MLRUNS": str(tracking_folder)})
    work = run_recipe(file, options=RunOptions(folder=tmp_path / "runs"), environment=environment)
    assert work.tracker is not None
    client = work.tracker.store.client
    run = client.get_run(work.tracker.resolve("quarters@champion").run_id)
    assert (run.data.metrics["series_fallback"], run.data.metrics["backtest_series_fallback"]) == (1.0, 1.0)
    tables = {one.path for one in client.list_artifacts(run.info.run_id, "tables")}
    assert {"tables/fallbacks.csv", "tables/backtest_fallbacks.csv"} <= tables
    path = client.download_artifacts(run.info.run_id, "tables/backtest_fallbacks.csv", str(tmp_path))
    assert pd.read_csv(path, dtype=str)["origin"].tolist() == ["2017-10-01", "2018-10-01"]


def test_the_line_names_a_few_and_counts_the_others() -> None:
    ids = tuple("abcdef")
    forecast = Forecast(
        series_ids=ids,
        timestamps=np.zeros((6, 1), dtype=np.int64),
        quantile_levels=(0.5,),
        quantiles=np.zeros((6, 1, 1)),
        fallbacks=tuple((one, "w") for one in ids[:5]),
    )
    assert fallback_line(forecast) == "5 of 6 series by fallback: 'a': w; 'b': w; 'c': w; and 2 more"
