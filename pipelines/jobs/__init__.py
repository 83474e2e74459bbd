"""The table of jobs, in the order they run. A new job is one file and one line here.

A job that leaves something outside the run folder also has `deliver(work)`, which puts it there again when the job is
not run anew: another run may have written there since.

The file has: `READS`, the sections of the recipe it depends on; `WRITES`, the names it leaves in the run folder, which
--force removes; and `run(work) -> JobResult`. One that reads files which the recipe only names has `digests(work)` of them.
A job whose inputs have not changed since it ended is not run again, so it must give the same output for the same inputs; one
that is run again after a kill finds what it had left.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tsforecast.errors import ForecastError, ModelError, TrackingError

if TYPE_CHECKING:
    from pipelines.recipe import ModelOptions, Recipe
    from pipelines.recipe_detect import DetectRecipe
    from pipelines.workspace import Workspace

JOBS: dict[str, str] = {
    "prepare": "pipelines.jobs.prepare",
    "train": "pipelines.jobs.train",
    "backtest": "pipelines.jobs.backtest",
    "promote": "pipelines.jobs.promote",
    "forecast": "pipelines.jobs.forecast",
}
DETECT_JOBS: dict[str, str] = {  # of a recipe with [detect]
    "prepare": "pipelines.jobs.prepare",
    "detect": "pipelines.jobs.detect",
}


def jobs_of(recipe: "Recipe | DetectRecipe") -> dict[str, str]:
    """The jobs that a recipe runs, in order."""
    from pipelines.recipe_detect import DetectRecipe

    return DETECT_JOBS if isinstance(recipe, DetectRecipe) else JOBS


@dataclass(frozen=True, kw_only=True, slots=True)
class JobResult:
    """What a job says of itself when it ends; JSON values only."""

    facts: Mapping[str, Any] = field(default_factory=dict)  # same inputs, same facts: later jobs run anew when they change
    failed: Mapping[str, str] = field(default_factory=dict)  # label of a model -> why; the job is tried again next time


def each_model(
    work: "Workspace", models: Iterable["ModelOptions"], job: str, do: Callable[["Workspace", "ModelOptions"], dict[str, Any]]
) -> JobResult:
    """Facts of `do(work, model)` by label; what goes wrong with one model is noted and does not stop the others.

    Raises:
        ModelError: all failed.
        TrackingError: the store cannot be used, which is nobody's fault here.
    """
    facts, failed = {}, {}
    for model in models:
        work.tell(f"{work.name}: {job} {model.label}")
        try:
            facts[model.label] = do(work, model)
        except TrackingError:
            raise
        except Exception as error:  # models are others' code too, Stan and torch among it: any class
            kind = "" if isinstance(error, ForecastError) else f"{type(error).__name__}: "
            failed[model.label] = work.environment.hide(f"{kind}{error}")
            work.tell(f"{work.name}: {job} {model.label} failed: {failed[model.label]}")
    if not facts:
        raise ModelError(f"{job}: every model failed; " + "; ".join(f"{label}: {why}" for label, why in failed.items()))
    return JobResult(facts=facts, failed=failed)
