"""A recipe's names and options -> flows, or an error that names the key in the recipe file."""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from pipelines.recipe import ModelOptions, Recipe, RecipeFile, Step
from pipelines.recipe_detect import DetectRecipe
from tsforecast.errors import ForecastError, OptionError, RecipeError
from tsforecast.flow import ForecastFlow
from tsforecast.models.registry import build_detector, build_forecaster
from tsforecast.postprocess import postprocess_named
from tsforecast.preprocessing.feature import Feature
from tsforecast.preprocessing.features import build_feature
from tsforecast.preprocessing.repair_step import RepairStep
from tsforecast.preprocessing.repairs import build_repair, check_order
from tsforecast.preprocessing.transforms import build_transform


def flow_of(recipe: Recipe, model: ModelOptions, *, folder: Path = Path()) -> ForecastFlow:
    """The flow of one contender: the recipe's features and steps, this model, the recipe's last touches.

    Files of features begin at `folder`.

    Raises:
        RecipeError: a feature, step, model, option or last touch does not exist, or an option has a bad value.
    """
    features = []
    for i, step in enumerate(recipe.features):
        with _at(f"features[{i}]"):
            features.append(_feature(step, folder))
    steps = []
    for i, step in enumerate(recipe.steps):
        with _at(f"steps[{i}]"):
            steps.append(build_transform(step.name, **step.options))
    touches = []
    for i, name in enumerate(recipe.postprocess):
        with _at(f"postprocess[{i}]"):
            touches.append(postprocess_named(name))
    place = [one.label for one in recipe.models].index(model.label) if model in recipe.models else 0
    with _at(f"models[{place}]"):
        built = build_forecaster(model.name, **model.options)
        if model.start_from is not None and not built.about.transfers:
            message = f"model {model.name!r} has no weights to take over, so it cannot start from another; leave start_from out"
            raise OptionError(message, field="start_from")
        return ForecastFlow(features=tuple(features), transforms=tuple(steps), model=built, postprocess=tuple(touches))


def repairs_of(steps: Sequence[Step]) -> tuple[RepairStep, ...]:
    """The repair steps of a recipe, [[repairs]], in its order.

    Raises:
        RecipeError: a step does not exist, an option has a bad value, or a step on rows stands behind one on the panel.
    """
    repairs = []
    for i, step in enumerate(steps):
        with _at(f"repairs[{i}]"):
            repairs.append(build_repair(step.name, **step.options))
            check_order(repairs)
    return tuple(repairs)


def _feature(step: Step, folder: Path) -> Feature:
    path = step.options.get("path")
    return build_feature(step.name, **{**step.options, **({"path": str(folder / str(path))} if path else {})})


def unread_features(flow: ForecastFlow) -> str | None:
    """The features that the model of `flow` leaves out, in one line; None where it reads them all, or is there to be beaten."""
    about, unread = flow.model.about, [one for one in flow.features if one.kind not in flow.model.about.covariates]
    if not unread or about.family == "baseline":
        return None
    told = ", ".join(dict.fromkeys(f"{one.name} ({one.kind})" for one in unread))
    return f"{flow.model.name} does not read features {told}: left out"


def digests_of(file: RecipeFile) -> list[str]:
    """What the files that features name hold now; a file that is not there has none."""
    if isinstance(file.recipe, DetectRecipe):
        return []
    paths = [file.folder / str(step.options["path"]) for step in file.recipe.features if step.options.get("path")]
    return [hashlib.sha256(path.read_bytes()).hexdigest() for path in paths if path.is_file()]


def check_names(file: RecipeFile) -> None:
    """Build everything that `file` names, and drop it.

    Raises:
        RecipeError: see `flow_of`; the message begins with the name of the file.
    """
    try:
        repairs_of(file.recipe.repairs)
        if isinstance(file.recipe, DetectRecipe):
            file.recipe.rules  # noqa: B018  # it is built, and dropped
            for i, model in enumerate(file.recipe.models):
                with _at(f"models[{i}]"):
                    build_detector(model.name, **model.options)
            return
        flows = [flow_of(file.recipe, model, folder=file.folder) for model in file.recipe.contenders()]
        for i, feature in enumerate(flows[0].features):
            if not any(feature.kind in flow.model.about.covariates for flow in flows):
                message = f"features[{i}]: no model of the recipe reads {feature.kind} covariates, which {feature.name!r} makes"
                raise RecipeError(f"{message}; leave it out, or add a model that does", field=f"features[{i}]")
    except RecipeError as error:
        raise RecipeError(f"{file.path.name}: {error}", field=error.field) from error


@contextmanager
def _at(place: str) -> Iterator[None]:
    """Errors of the block, as errors of the recipe at `place`."""
    try:
        yield
    except (ForecastError, TypeError, ValueError) as error:
        field = getattr(error, "field", None)
        raise RecipeError(f"{place}: {error}", field=f"{place}.{field}" if field else place) from error
