"""Forecast -> Forecast: the last touches before a forecast leaves the library."""

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
    return replace(forecast, quantiles=np.rint(forecast.quantiles))


clip_below_zero = Postprocess("clip_below_zero", _clip_below_zero)  # for targets that cannot be negative
round_to_integers = Postprocess("round_to_integers", _round_to_integers)  # for counts
POSTPROCESS = {touch.name: touch for touch in (clip_below_zero, round_to_integers)}


def postprocess_named(name: str) -> Postprocess:
    """The touch called `name`.

    Raises:
        OptionError: there is none.
    """
    if name not in POSTPROCESS:
        raise OptionError(f"no postprocess {name!r}; there are {', '.join(POSTPROCESS)}", field="postprocess")
    return POSTPROCESS[name]
