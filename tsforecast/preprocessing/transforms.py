"""Name and options -> transform, and stored numbers -> fitted transform. What a transform is stands in `invertible`."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from tsforecast.errors import ArtifactError, OptionError, did_you_mean
from tsforecast.preprocessing.bounded import Logit
from tsforecast.preprocessing.deseasonalise import Deseasonalise
from tsforecast.preprocessing.filling import Fill
from tsforecast.preprocessing.invertible import FittedTransform, Transform
from tsforecast.preprocessing.power import BoxCox, Log1p, YeoJohnson
from tsforecast.preprocessing.scaling import Scale

__all__ = [
    "TRANSFORMS",
    "BoxCox",
    "Deseasonalise",
    "Fill",
    "FittedTransform",
    "Log1p",
    "Logit",
    "Scale",
    "Transform",
    "YeoJohnson",
    "build_transform",
    "transform_from_json",
]

TRANSFORMS: dict[str, type[Transform]] = {
    kind.name: kind for kind in (Fill, Scale, Log1p, BoxCox, YeoJohnson, Logit, Deseasonalise)
}


def build_transform(name: str, **options: Any) -> Transform:
    """The recipe called `name`; options are the fields of its class.

    Raises:
        OptionError: no transform or no option of that name, or a value out of range.
    """
    if name not in TRANSFORMS:
        raise OptionError(
            f"no transform {name!r}{did_you_mean(name, TRANSFORMS)}; there are {', '.join(TRANSFORMS)}", field="transforms"
        )
    known = [field.name for field in fields(TRANSFORMS[name])]  # type: ignore[arg-type]  # every recipe is a dataclass
    for option in options:
        if option not in known:
            raise OptionError(
                f"transform {name!r} has no option {option!r}{did_you_mean(option, known)}; "
                f"options: {', '.join(known) or 'none'}",
                field=option,
            )
    return TRANSFORMS[name](**options)


def transform_from_json(values: Mapping[str, Any]) -> FittedTransform:
    """What `FittedTransform.to_json` wrote.

    Raises:
        ArtifactError: a transform this version does not have.
        KeyError, TypeError, ValueError: the values are damaged.
    """
    if values["name"] not in TRANSFORMS:
        raise ArtifactError(f"no transform {values['name']!r}; this version has {', '.join(TRANSFORMS)}: upgrade tsforecast")
    return TRANSFORMS[values["name"]].fitted_from_json(values)
