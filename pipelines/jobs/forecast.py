"""champion.json + panel.parquet -> forecast.parquet, forecast.png and the recipe's sink."""

import hashlib

from pipelines.files import read_json, written_aside
from pipelines.io import read_frame, write_frame, write_sink
from pipelines.jobs import JobResult
from pipelines.workspace import CHAMPION, CHART, FORECAST, Workspace
from tsforecast.flow import FittedFlow, load_model
from tsforecast.plots import fan_chart, save

READS = ("forecast", "sink")
WRITES = (FORECAST, CHART)


def run(work: Workspace) -> JobResult:
    """Raises what the model raises; DataError when the sink cannot be written."""
    verdict = read_json(work.made_by("promote", CHAMPION))
    panel, recipe = work.panel, work.recipe
    forecast = champion_of(work, verdict).predict(
        panel, horizon=recipe.forecast.horizon, quantile_levels=recipe.forecast.quantile_levels, future=work.future
    )
    write_frame(forecast.to_frame(), work.path(FORECAST))
    with written_aside(work.path(CHART)) as aside:
        save(fan_chart(panel, forecast), aside.with_suffix(".png")).replace(aside)
    where = [str(work.path(FORECAST)), *deliver(work)]
    return JobResult(
        facts={
            "sha256": hashlib.sha256(work.path(FORECAST).read_bytes()).hexdigest(),
            "series": len(forecast),
            "horizon": forecast.horizon,
            "quantile_levels": forecast.quantile_levels,
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


def champion_of(work: Workspace, verdict: dict[str, str]) -> FittedFlow:
    """The flow that the verdict names: of this run's folder, or of the registry where an earlier champion stays."""
    if verdict["outcome"] == "kept" and verdict["reference"] and work.tracker is not None:
        flow, _ = work.tracker.load(verdict["reference"])
        return flow
    model = next(model for model in work.recipe.contenders() if model.label == verdict["model"])
    return load_model(work.model_folder(model))
