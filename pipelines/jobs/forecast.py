"""champion.json + panel.parquet -> forecast.parquet, fallbacks.csv, forecast.png and the recipe's sink."""

import hashlib
from typing import TYPE_CHECKING

from pipelines.fallbacks import fallback_line, fallbacks_frame
from pipelines.files import read_json, written_aside
from pipelines.io import read_frame, write_frame, write_sink
from pipelines.jobs import JobResult
from pipelines.tracked import continued
from pipelines.workspace import CHAMPION, CHART, FALLBACKS, FORECAST, Workspace
from tsforecast.flow import FittedFlow, load_model
from tsforecast.plots import fan_chart, save

if TYPE_CHECKING:
    from tsforecast.forecast import Forecast

READS = ("forecast", "sink")
WRITES = (FORECAST, FALLBACKS, CHART)


def run(work: Workspace) -> JobResult:
    """Raises what the model raises; DataError when the sink cannot be written."""
    verdict = read_json(work.made_by("promote", CHAMPION))
    panel, recipe = work.panel, work.recipe
    forecast = champion_of(work, verdict).predict(
        panel, horizon=recipe.forecast.horizon, quantile_levels=recipe.forecast.quantile_levels, future=work.future
    )
    write_frame(forecast.to_frame(), work.path(FORECAST))
    write_frame(fallbacks_frame(forecast.fallbacks), work.path(FALLBACKS))
    fell = fallback_line(forecast)
    if fell:
        work.tell(f"{recipe.name}: forecast: {fell}")
    _track(work, verdict, forecast)
    with written_aside(work.path(CHART)) as aside:
        save(fan_chart(panel, forecast), aside.with_suffix(".png")).replace(aside)
    where = [str(work.path(FORECAST)), *deliver(work)]
    return JobResult(
        facts={
            "sha256": hashlib.sha256(work.path(FORECAST).read_bytes()).hexdigest(),
            "series": len(forecast),
            "horizon": forecast.horizon,
            "quantile_levels": forecast.quantile_levels,
            "series_fallback": len(forecast.fallbacks),
            "fallbacks": fell,
            "written": where,
        }
    )


def deliver(work: Workspace) -> list[str]:
    """Write the run's forecast to the recipe's sink; where it went, if there is one."""
    recipe = work.recipe
    if recipe.sink is None:
        return []
    verdict = read_json(work.made_by("promote", CHAMPION))
    place = write_sink(
        recipe.sink, read_frame(work.path(FORECAST)), recipe=recipe.name, as_of=work.as_of,
        model=verdict["reference"] or verdict["model"], folder=work.file.folder, environment=work.environment,
    )  # fmt: skip
    return [place]


def _track(work: Workspace, verdict: dict[str, str], forecast: "Forecast") -> None:
    """Note in the MLflow run of the model that forecasts, if this run trained it, how many series it left to a fallback."""
    if _of_earlier_run(work, verdict):
        return
    model = next(model for model in work.recipe.contenders() if model.label == verdict["model"])
    with continued(work, model) as tracked:
        if tracked is None:
            return
        tracked.log_metrics({"series_fallback": len(forecast.fallbacks)})
        if forecast.fallbacks:
            tracked.log_table("fallbacks", fallbacks_frame(forecast.fallbacks))


def _of_earlier_run(work: Workspace, verdict: dict[str, str]) -> bool:
    return verdict["outcome"] == "kept" and bool(verdict["reference"]) and work.tracker is not None


def champion_of(work: Workspace, verdict: dict[str, str]) -> FittedFlow:
    """The flow that the verdict names: of this run's folder, or of the registry where an earlier champion stays."""
    if _of_earlier_run(work, verdict):
        assert work.tracker is not None
        flow, _ = work.tracker.load(verdict["reference"])
        return flow
    model = next(model for model in work.recipe.contenders() if model.label == verdict["model"])
    return load_model(work.model_folder(model))
