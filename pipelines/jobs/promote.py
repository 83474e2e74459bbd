"""leaderboard.json -> champion.json: the best model, if it beats the baseline, becomes the champion of the registry."""

from typing import Any

from pipelines.files import read_json, write_json
from pipelines.jobs import JobResult
from pipelines.recipe import ModelOptions
from pipelines.tracked import continued, registered_name
from pipelines.workspace import CHAMPION, LEADERBOARD, Workspace
from tsforecast.errors import ModelError, NotBetter

READS = ("backtest", "forecast", "models", "tracking")
WRITES = (CHAMPION,)


def run(work: Workspace) -> JobResult:
    """Who forecasts, and why.

    "promoted": the best model beats the baseline, and the registry's champion where there is one; it forecasts.
    "kept": it beats the baseline, but not the champion, which stays and forecasts.
    "refused": it does not beat the baseline, which forecasts; nothing is promoted.

    Raises:
        ModelError: the baseline has no score to compare with.
    """
    rows = read_json(work.made_by("backtest", LEADERBOARD))
    verdict = judge(work, rows)
    write_json(work.path(CHAMPION), verdict)
    _track_leaderboard(work, verdict, rows)
    return JobResult(facts=verdict)


def judge(work: Workspace, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The verdict: outcome, reason, model (label), and reference of the registered version that forecasts."""
    metric, labels = work.recipe.backtest.metric, {model.label: model for model in work.recipe.contenders()}
    baseline = next((row for row in rows if row["model"] == work.recipe.baseline().label), None)
    if baseline is None or baseline[metric] is None:
        why = f": {failed}" if (failed := work.failure_of(work.recipe.baseline())) else ""
        message = f"the baseline {work.recipe.baseline().label!r} has no {metric}, so nothing can be promoted{why}"
        raise ModelError(message, field="models")
    scored = [row for row in rows if row is not baseline and row[metric] is not None]
    others = [row for row in scored if len(row.get("fallbacks") or ()) < len(work.panel)]
    refused = {"outcome": "refused", "model": baseline["model"], "reference": None}
    if not others:
        fell = f": {', '.join(row['model'] for row in scored)} forecast every series by fallback" if scored else ""
        return refused | {"reason": f"no model but the baseline has a {metric} of its own{fell}"}
    best = others[0]
    compared = f"{metric} {best[metric]:.4g} of {best['model']} against {baseline[metric]:.4g} of {baseline['model']}"
    if work.tracker is None:
        if best[metric] < baseline[metric]:
            return {"outcome": "promoted", "model": best["model"], "reference": None, "reason": compared}
        return refused | {"reason": compared}
    return _ask_registry(work, labels[best["model"]], best, baseline, compared)


def _ask_registry(
    work: Workspace, model: ModelOptions, best: dict[str, Any], baseline: dict[str, Any], compared: str
) -> dict[str, Any]:
    """Promote in the registry, and say what came of it."""
    assert work.tracker is not None
    name, metric = registered_name(work.file), work.recipe.backtest.metric
    version = int(read_json(work.training(model))["version"])
    scores = {key: value for key, value in baseline.items() if isinstance(value, float)}
    try:
        promoted = work.tracker.promote(name, version, metric=metric, baseline=scores)
        return {"outcome": "promoted", "model": model.label, "reference": promoted.reference, "reason": compared}
    except NotBetter as error:
        if not best[metric] < baseline[metric]:
            return {"outcome": "refused", "model": baseline["model"], "reference": None, "reason": str(error)}
        if not any("champion" in known.aliases for known in work.tracker.versions(name)):
            raise  # not beaten by a champion: the registry refused the version itself, and says why
        champion = work.tracker.resolve(f"{name}@champion")
        if champion.horizon >= work.recipe.forecast.horizon and champion.freq == work.panel.freq:
            return {"outcome": "kept", "model": champion.model, "reference": champion.reference, "reason": str(error)}
        why = f"{error}; but the champion cannot reach {work.recipe.forecast.horizon} steps of {work.panel.freq!r}"
        return {"outcome": "kept", "model": model.label, "reference": None, "reason": why}


def _track_leaderboard(work: Workspace, verdict: dict[str, Any], rows: list[dict[str, Any]]) -> None:
    """Put table and picture of the comparison into the MLflow run of each model of it."""
    if work.tracker is None:
        return
    import pandas as pd

    from tsforecast.plots import leaderboard_chart

    metric: str = work.recipe.backtest.metric
    scores = {row["model"]: {metric: row[metric]} for row in rows if row[metric] is not None}
    table = pd.DataFrame([{key: value for key, value in row.items() if key not in ("skipped", "fallbacks")} for row in rows])
    best = next(model for model in work.recipe.contenders() if model.label == rows[0]["model"])
    with continued(work, best) as tracked:
        if tracked is not None:
            tracked.log_figure("leaderboard", leaderboard_chart(scores, metric))
            tracked.log_table("leaderboard", table)
            tracked.set_tags({"outcome": str(verdict["outcome"])})
