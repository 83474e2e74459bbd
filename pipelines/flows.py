"""A recipe's names and options -> flows, or an error that names the key in the recipe file."""

from collections.abc import Iterator
from contextlib import contextmanager

from pipelines.recipe import ModelOptions, Recipe, RecipeFile
from tsforecast.errors import ForecastError, OptionError, RecipeError
from tsforecast.flow import ForecastFlow
from tsforecast.models.registry import build_model
from tsforecast.postprocess import postprocess_named
from tsforecast.preprocessing.transforms import build_transform


def flow_of(recipe: Recipe, model: ModelOptions) -> ForecastFlow:
    """The flow of one contender: the recipe's steps, this model, the recipe's last touches.

    Raises:
        RecipeError: a step, model, option or last touch does not exist, or an option has a bad value.
    """
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
        built = build_model(model.name, **model.options)
        if model.start_from is not None and not built.about.transfers:
            message = f"model {model.name!r} has no weights to take over, so it cannot start from another; leave start_from out"
            raise OptionError(message, field="start_from")
        return ForecastFlow(transforms=tuple(steps), model=built, postprocess=tuple(touches))


def check_names(file: RecipeFile) -> None:
    """Build everything that `file` names, and drop it.

    Raises:
        RecipeError: see `flow_of`; the message begins with the name of the file.
    """
    try:
        for model in file.recipe.contenders():
            flow_of(file.recipe, model)
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
