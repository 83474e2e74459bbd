"""Forecast -> Forecast: the last touches before a forecast leaves the library. All of them are increasing: quantiles stay so."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from tsforecast.errors import OptionError
from tsforecast.forecast import Forecast


@dataclass(frozen=True, slots=True)
class Postprocess:
    """A named touch, so that a stored flow can say which it needs."""

    name: str
    adjust: Callable[[Forecast], Forecast]

    def __call__(self, forecast: Forecast) -> Forecast:
        return self.adjust(forecast)


def _clip_below_zero(forecast: Forecast) -> Forecast:
    return replace(forecast, quantiles=np.maximum(forecast.quantiles, 0.0))


def _round_to_integers(forecast: Forecast) -> Forecast:
    return replace(forecast, quantiles=np.rint(forecast.quantiles) + 0.0)  # + 0.0: -0.3 becomes 0, not -0


clip_below_zero = Postprocess("clip_below_zero", _clip_below_zero)  # for targets that cannot be negative
round_to_integers = Postprocess("round_to_integers", _round_to_integers)  # for counts
POSTPROCESS = {touch.name: touch for touch in (clip_below_zero, round_to_integers)}


def within(low: float, high: float) -> Postprocess:
    """Clip to [low, high], in units of the target; an infinite bound is none. Its name carries the bounds: "within 0.0 100.0".

    Raises:
        OptionError: the bounds do not ascend.
    """
    low, high = float(low), float(high)
    if not low < high:
        raise OptionError(f"postprocess 'within' needs a low bound below the high one, got {low} and {high}", field="postprocess")
    return Postprocess(
        f"within {low!r} {high!r}", lambda forecast: replace(forecast, quantiles=np.clip(forecast.quantiles, low, high))
    )


def postprocess_named(name: str) -> Postprocess:
    """The touch called `name`; "within LOW HIGH" is made of its two numbers.

    Raises:
        OptionError: there is none, or its bounds are no two ascending numbers.
    """
    if name in POSTPROCESS:
        return POSTPROCESS[name]
    word, *bounds = name.split() or [""]
    if word != "within":
        raise OptionError(f"no postprocess {name!r}; there are {', '.join(POSTPROCESS)}, within LOW HIGH", field="postprocess")
    try:
        low, high = map(float, bounds)
    except ValueError:
        message = f"postprocess {name!r} needs two numbers, e.g. 'within 0 100', or 'within 0 inf' for one bound"
        raise OptionError(message, field="postprocess") from None
    return within(low, high)
