"""panel.parquet -> backtest/ and leaderboard.json: how each contender would have done, and which is best."""

import math
import shutil
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pipelines.files import read_json, write_json
from pipelines.flows import flow_of
from pipelines.io import write_frame
from pipelines.jobs import JobResult, each_model
from pipelines.recipe import ModelOptions, Recipe, fingerprint
from pipelines.tracked import continued
from pipelines.workspace import LEADERBOARD, Workspace

if TYPE_CHECKING:
    from tsforecast.backtest import BacktestResult

READS = ("steps", "postprocess", "forecast", "backtest", "models", "seed")
WRITES = ("backtest", LEADERBOARD)
ALWAYS = (0.1, 0.5, 0.9)  # levels that every backtest has, so that leaderboards compare


def run(work: Workspace) -> JobResult:
    """Raises ModelError when every model failed; NotYet when none was trained."""
    contenders = work.contenders_of("train")
    result = each_model(work, contenders, "backtest", backtest_one)
    write_json(work.path(LEADERBOARD), leaderboard(work, [model for model in contenders if model.label in result.facts]))
    return result


def backtest_one(work: Workspace, model: ModelOptions) -> dict[str, Any]:
    """Backtest one contender, or leave it where that was done on the same panel with the same options."""
    from tsforecast.backtest import backtest

    recipe = work.recipe
    trained = read_json(work.training(model)) or {}
    inputs = fingerprint(trained.get("inputs"), trained.get("run_id"), recipe.backtest, levels_of(recipe))
    known = read_json(work.backtest(model))
    if known and known["inputs"] == inputs:
        return {"scores": known["scores"]}
    began = time.perf_counter()
    result = backtest(
        flow_of(recipe, model),
        work.panel,
        horizon=recipe.forecast.horizon,
        folds=recipe.backtest.folds,
        step=recipe.backtest.step,
        refit=recipe.backtest.refit,
        quantile_levels=levels_of(recipe),
        seed=recipe.seed,
        train=replace(model.train, checkpoint_dir=str(work.checkpoints(model, "backtest"))),
    )
    seconds = round(time.perf_counter() - began, 3)
    write_frame(result.to_frame(), work.backtest(model, "parquet"))
    write_frame(result.per_series(), work.backtest(model, "series.parquet"))
    _track(work, model, result, seconds)
    scores = {name: value if math.isfinite(value) else None for name, value in result.scores().items()}
    skipped = sorted({f"{one.series_id}: {one.reason}" for one in result.skipped})
    write_json(work.backtest(model), {"inputs": inputs, "scores": scores, "seconds": seconds, "skipped": skipped})
    shutil.rmtree(work.checkpoints(model, "backtest"), ignore_errors=True)
    return {"scores": scores}


def levels_of(recipe: Recipe) -> tuple[float, ...]:
    """The levels asked for, and those that every backtest has."""
    return tuple(sorted({*recipe.forecast.quantile_levels, *ALWAYS}))


def leaderboard(work: Workspace, contenders: list[ModelOptions]) -> list[dict[str, Any]]:
    """One row per contender, best first: model, its scores, and seconds of its fit; a model without a score stands last."""
    metric = work.recipe.backtest.metric
    rows = []
    for model in contenders:
        trained, tested = read_json(work.training(model)), read_json(work.backtest(model))
        seconds = {"seconds": trained["seconds"], "backtest_seconds": tested["seconds"]}
        rows.append({"model": model.label, **tested["scores"], **seconds, "skipped": tested["skipped"]})
    return sorted(rows, key=lambda row: (row[metric] is None, row[metric] or 0.0))


def _track(work: Workspace, model: ModelOptions, result: "BacktestResult", seconds: float) -> None:
    """Put scores, tables and the picture of the newest fold into the model's MLflow run."""
    with continued(work, model) as tracked:
        if tracked is None:
            return
        from tsforecast.plots import fan_chart

        tracked.log_scores(result)
        tracked.log_metrics({"backtest_seconds": seconds})
        tracked.log_figure("newest_fold", fan_chart(work.panel, result.folds[-1].forecast))
