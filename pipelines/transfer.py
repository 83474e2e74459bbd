"""`start_from` of a recipe or a command line -> the stored model that a training begins with, and a flow that begins there."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipelines.files import digest_of, read_json, write_json
from pipelines.recipe import ModelOptions
from tsforecast.errors import RecipeError, UnknownModel
from tsforecast.flow import FittedFlow, ForecastFlow, load_model
from tsforecast.models.base import Callback, Predictor
from tsforecast.nn.config import TrainConfig
from tsforecast.panel import Panel

if TYPE_CHECKING:
    from pipelines.workspace import Workspace
    from tsforecast.tracking import Tracker


@dataclass(frozen=True, kw_only=True, slots=True)
class Parent:
    """A stored model, named so that it cannot become another: JSON values only."""

    reference: str  # name/version of the registry, or the path of a folder
    run_id: str = ""  # of the registry
    fingerprint: str = ""  # of the panel it was trained on, as the registry knows it
    sha256: str = ""  # of the files in the folder; "" = it is in the registry

    def tags(self) -> dict[str, str]:
        """Tags of a run that starts from it."""
        known = {f"parent_{name}": value for name, value in asdict(self).items() if name != "reference" and value}
        return {"parent_version": self.reference} | known


@dataclass(frozen=True, kw_only=True, slots=True)
class StartedFlow(ForecastFlow):
    """A flow whose every fit starts from the same fitted predictor."""

    parent: Predictor
    freeze: int | None = None

    def fit(
        self,
        panel: Panel,
        *,
        horizon: int,
        seed: int = 0,
        train: TrainConfig | None = None,
        callbacks: Sequence[Callback] = (),
        start_from: Predictor | None = None,
        freeze: int | None = None,
    ) -> FittedFlow:
        """As `ForecastFlow.fit`, from `parent` unless another is given."""
        return ForecastFlow.fit(  # a class with slots has no super() of its own
            self,
            panel,
            horizon=horizon,
            seed=seed,
            train=train,
            callbacks=callbacks,
            start_from=start_from or self.parent,
            freeze=self.freeze if freeze is None else freeze,
        )


def started(flow: ForecastFlow, parent: Predictor, freeze: int | None) -> ForecastFlow:
    """`flow`, its fits begun with the weights of `parent`."""
    return StartedFlow(**{one.name: getattr(flow, one.name) for one in fields(flow)}, parent=parent, freeze=freeze)


def find_parent(text: str, *, folder: Path, tracker: "Callable[[], Tracker | None]") -> Parent:
    """The model that `text` means: a folder, seen from `folder`, else name, name@alias or name/version of the registry.

    Args:
        text: as the user wrote it.
        folder: where relative paths begin.
        tracker: opens the registry, only where it is needed; None = there is none.

    Raises:
        RecipeError: it is neither.
    """
    path = folder / text
    if path.is_dir():
        return Parent(reference=text, sha256=digest_of(path))
    registry = tracker()
    if registry is None:
        raise RecipeError(
            f"start_from {text!r} is no folder ({path}), and with tracking.enabled = false there is no registry to look in; "
            "give the path of a stored model",
            field="start_from",
        )
    try:
        version = registry.resolve(text)
    except UnknownModel as error:
        raise RecipeError(f"start_from {text!r} is no folder ({path}), nor registered: {error}", field="start_from") from error
    return Parent(reference=version.reference, run_id=version.run_id, fingerprint=version.fingerprint)


def load_parent(parent: Parent, *, model: str, folder: Path, tracker: "Callable[[], Tracker | None]") -> Predictor:
    """The fitted predictor of `parent`, for a fit of the model called `model`.

    Raises:
        ArtifactError: its files are gone or damaged.
        RecipeError: it is of another model.
    """
    registry = None if parent.sha256 else tracker()
    flow = load_model(folder / parent.reference) if registry is None else registry.load(parent.reference)[0]
    if flow.recipe.name != model:
        raise RecipeError(
            f"start_from {parent.reference!r} is a fitted {flow.recipe.name!r}, and {model!r} can only start from another "
            f"{model!r}; name one, or make the model {flow.recipe.name!r}",
            field="start_from",
        )
    return flow.predictor


def parent_of(work: "Workspace", model: ModelOptions) -> Parent | None:
    """What the training of `model` starts from; None = fresh weights.

    An alias means what it meant when the run first asked, so a run that promotes its own model does not start from it when
    it is run again; --force asks anew.

    Raises:
        RecipeError: there is no such model.
    """
    if model.start_from is None:
        return None
    pinned = work.training(model).with_suffix(".parent.json")
    known = read_json(pinned)
    if known and known["start_from"] == model.start_from and not known["parent"]["sha256"]:
        return Parent(**known["parent"])
    parent = find_parent(model.start_from, folder=work.file.folder, tracker=lambda: work.tracker)
    write_json(pinned, {"start_from": model.start_from, "parent": asdict(parent)})
    return parent


def predictor_of(work: "Workspace", model: ModelOptions, parent: Parent) -> Predictor:
    """As `load_parent`, for a contender of a recipe."""
    return load_parent(parent, model=model.name, folder=work.file.folder, tracker=lambda: work.tracker)


def refuse_look_ahead(
    parent: Predictor, reference: str, panel: Panel, *, horizon: int, folds: int, step: int | None = None
) -> None:
    """Refuse a backtest whose first origin lies before the end of what `parent` was trained on: it would be scored on what
    it has seen. On an integer clock nobody can tell, for steps of two panels are not the same moments.

    Raises:
        RecipeError: the parent knows what comes after the first origin.
    """
    from tsforecast.backtest import calendar_origins

    if panel.is_integer_clock or isinstance(parent.facts.freq, int):
        return
    first: Any = calendar_origins(panel, horizon=horizon, folds=folds, step=step)[0]
    if np.datetime64(parent.facts.trained_until) <= first:
        return
    seen = np.datetime_as_string(first, unit="s")
    raise RecipeError(
        f"start_from {reference!r} was trained until {parent.facts.trained_until} and the first backtest origin is {seen}, so "
        f"the backtest would score it on what it has seen; start from a model trained until {seen} or earlier (--as-of), or ask "
        "for fewer folds",
        field="start_from",
    )
