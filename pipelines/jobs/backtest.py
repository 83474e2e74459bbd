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
from pipelines.transfer import parent_of, predictor_of, refuse_look_ahead, started
from pipelines.workspace import LEADERBOARD, Workspace

if TYPE_CHECKING:
    from tsforecast.backtest import BacktestResult
    from tsforecast.flow import ForecastFlow

READS = ("features", "steps", "postprocess", "forecast", "backtest", "models", "seed")
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
    if known and known["inputs"] == inputs and "fallbacks" in known:
        return {"scores": known["scores"]}
    began = time.perf_counter()
    result = backtest(
        _flow(work, model),
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
    notes = {
        "skipped": sorted({f"{one.series_id}: {one.reason}" for one in result.skipped}),
        "fallbacks": sorted({f"{one.series_id}: {one.reason}" for one in result.fallbacks}),
    }
    if result.fallbacks:
        work.tell(
            f"{recipe.name}: backtest {model.label}: by fallback {notes['fallbacks'][0]} ({len(notes['fallbacks'])} in all)"
        )
    write_json(work.backtest(model), {"inputs": inputs, "scores": scores, "seconds": seconds, **notes})
    shutil.rmtree(work.checkpoints(model, "backtest"), ignore_errors=True)
    return {"scores": scores}


def _flow(work: Workspace, model: ModelOptions) -> "ForecastFlow":
    """The contender's flow, from where its training started.

    Raises:
        RecipeError: what it starts from has seen what the backtest would score.
    """
    recipe = work.recipe
    flow, parent = flow_of(recipe, model, folder=work.file.folder), parent_of(work, model)
    if parent is None:
        return flow
    predictor, asked = predictor_of(work, model, parent), recipe.backtest
    refuse_look_ahead(
        predictor, parent.reference, work.panel, horizon=recipe.forecast.horizon, folds=asked.folds, step=asked.step
    )
    return started(flow, predictor, model.freeze)


def levels_of(recipe: Recipe) -> tuple[float, ...]:
    """The levels asked for, and those that every backtest has."""
    return tuple(sorted({*recipe.forecast.quantile_levels, *ALWAYS}))


def leaderboard(work: Workspace, contenders: list[ModelOptions]) -> list[dict[str, Any]]:
    """One row per contender, best first: model, its scores, seconds of its fit, series it skipped or forecast by fallback,
    and what it started from if it did. A model without a score stands last.
    """
    metric = work.recipe.backtest.metric
    rows = []
    for model in contenders:
        trained, tested = read_json(work.training(model)), read_json(work.backtest(model))
        seconds = {"seconds": trained["seconds"], "backtest_seconds": tested["seconds"]}
        notes = {"skipped": tested["skipped"], "fallbacks": tested["fallbacks"]}
        start = {"start_from": trained["facts"]["start_from"]} if "start_from" in trained["facts"] else {}
        rows.append({"model": model.label, **tested["scores"], **seconds, **notes, **start})
    return sorted(rows, key=lambda row: (row[metric] is None, row[metric] or 0.0))


def _track(work: Workspace, model: ModelOptions, result: "BacktestResult", seconds: float) -> None:
    """Put scores, tables, fallbacks and the picture of the newest fold into the model's MLflow run."""
    with continued(work, model) as tracked:
        if tracked is None:
            return
        from tsforecast.plots import fan_chart

        tracked.log_scores(result)
        fell = len({one.series_id for one in result.fallbacks})
        tracked.log_metrics({"backtest_seconds": seconds, "backtest_series_fallback": fell})
        if fell:
            tracked.log_table("backtest_fallbacks", result.fallbacks_frame())
        tracked.log_figure("newest_fold", fan_chart(work.panel, result.folds[-1].forecast))
