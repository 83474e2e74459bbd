"""Names and options -> features of a flow: the table of all there are.

A known-future feature follows from the clock alone (`feature.Moments` has no values), a past one from the target as the model
sees it. What they share is in `feature.py`.
"""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from tsforecast.errors import ArtifactError, OptionError
from tsforecast.preprocessing.clock_features import Age, Calendar, Fourier, TimeIndex
from tsforecast.preprocessing.events import Events
from tsforecast.preprocessing.feature import Feature, FittedFeature, nearest
from tsforecast.preprocessing.holidays import Holidays
from tsforecast.preprocessing.late import LateTable
from tsforecast.preprocessing.past_features import Lags, Rolling

FEATURES: Mapping[str, type[Feature]] = LateTable(
    {one.name: one for one in (Calendar, Holidays, Events, Fourier, TimeIndex, Age, Lags, Rolling)},
    {"latent": "tsforecast.models.latent_feature:Latent"},
)


def build_feature(name: str, **options: Any) -> Feature:
    """The recipe called `name`; options are the fields of its class.

    Raises:
        OptionError: no feature or no option of that name, or a value out of range.
    """
    if name not in FEATURES:
        message = f"no feature {name!r}{nearest(name, FEATURES)}; there are {', '.join(FEATURES)}"
        raise OptionError(message, field="name")
    known = options_of(name)
    for option in options:
        if option not in known:
            message = f"feature {name!r} has no option {option!r}{nearest(option, known)}; options: {', '.join(known) or 'none'}"
            raise OptionError(message, field=option)
    return FEATURES[name](**options)


def options_of(name: str) -> tuple[str, ...]:
    """Names of the options of feature `name`."""
    return tuple(field.name for field in fields(FEATURES[name]))  # type: ignore[arg-type]  # every recipe is a dataclass


def feature_from_json(values: Mapping[str, Any]) -> FittedFeature:
    """What `FittedFeature.to_json` wrote.

    Raises:
        ArtifactError: a feature this version does not have.
        KeyError, TypeError, ValueError: the values are damaged.
    """
    if values["name"] not in FEATURES:
        raise ArtifactError(f"no feature {values['name']!r}; this version has {', '.join(FEATURES)}")
    options = {name: tuple(value) if isinstance(value, list) else value for name, value in values["options"].items()}
    recipe = FEATURES[values["name"]](**options)
    return recipe.fitted_from_json(recipe, values)
