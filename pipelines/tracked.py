"""A job's model -> its MLflow run, opened once and continued by later jobs; nothing where the recipe is not tracked."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING

from pipelines.environment import Environment
from pipelines.files import read_json, write_json
from pipelines.recipe import ModelOptions, RecipeFile
from tsforecast.flow import ForecastFlow

if TYPE_CHECKING:
    from pipelines.transfer import Parent
    from pipelines.workspace import Workspace
    from tsforecast.tracking import Run, Tracker

DEFAULT_URI, DEFAULT_FOLDER = "TSF_TRACKING_URI", "TSF_MLRUNS"  # as the service reads them


def open_tracker(file: RecipeFile, environment: Environment) -> "Tracker | None":
    """The tracking store that the recipe names, or the machine's; None where tracking.enabled is false.

    Raises:
        TrackingError: it cannot be used.
        RecipeError: an environment variable of the URI is not set.
    """
    tracking = file.recipe.tracking
    if not tracking.enabled:
        return None
    return machine_tracker(environment, uri=environment.fill(tracking.uri, field="tracking.uri") if tracking.uri else None)


def machine_tracker(environment: Environment, *, uri: str | None = None) -> "Tracker":
    """The tracking store at `uri`; None = the one that TSF_TRACKING_URI or TSF_MLRUNS says, else the folder mlruns.

    Raises:
        TrackingError: it cannot be used.
    """
    from tsforecast.tracking import open_tracking

    return open_tracking(uri or environment.get(DEFAULT_URI), folder=environment.get(DEFAULT_FOLDER) or "mlruns")


def registered_name(file: RecipeFile) -> str:
    """The registered model whose versions a recipe makes."""
    return file.recipe.tracking.registered_name or file.recipe.name


@contextmanager
def training(
    work: "Workspace", model: ModelOptions, flow: ForecastFlow, parent: "Parent | None" = None
) -> Iterator["Run | None"]:
    """The MLflow run of one training, from `parent` if there is one; after a kill, the run that the killed process had opened."""
    with opened_once(work, model, lambda tracker: _new_run(work, tracker, model, flow, parent)) as run:
        yield run


@contextmanager
def opened_once(
    work: "Workspace", model: ModelOptions, begin: "Callable[[Tracker], AbstractContextManager[Run]]"
) -> Iterator["Run | None"]:
    """The run that `begin` opens, or the one that a killed process had opened for the model; None where nothing is tracked."""
    if work.tracker is None:
        yield None
        return
    opened = work.training(model).with_suffix(".run.json")
    begun = read_json(opened)
    known = work.tracker.continue_run(begun["run_id"]) if begun else begin(work.tracker)
    try:
        with known as run:
            write_json(opened, {"run_id": run.run_id})
            yield run
    except Exception:  # an error ends the run; only what was killed or stopped is continued
        opened.unlink(missing_ok=True)
        raise
    opened.unlink()


def _new_run(
    work: "Workspace", tracker: "Tracker", model: ModelOptions, flow: ForecastFlow, parent: "Parent | None"
) -> AbstractContextManager["Run"]:
    recipe = work.recipe
    start = {} if parent is None else {"start_from": parent.reference, "freeze": model.freeze}
    return tracker.training_run(
        experiment=recipe.tracking.experiment or recipe.name,
        run_name=model.label,
        flow=flow,
        panel=work.panel,
        recipe_text=work.file.text,
        params={"horizon": recipe.forecast.horizon, "seed": recipe.seed, "train": model.train, **start},
        tags={"recipe": recipe.name, "as_of": work.as_of, **({} if parent is None else parent.tags())},
    )


@contextmanager
def continued(work: "Workspace", model: ModelOptions) -> Iterator["Run | None"]:
    """The MLflow run in which `model` was trained."""
    known = read_json(work.training(model)) or {}
    if work.tracker is None or not known.get("run_id"):
        yield None
        return
    with work.tracker.continue_run(known["run_id"]) as run:
        yield run
