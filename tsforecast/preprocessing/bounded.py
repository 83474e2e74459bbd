"""Panel of shares, levels, ratings … between two bounds -> panel without bounds, and back inside them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np

from tsforecast.errors import OptionError
from tsforecast.panel import FloatArray, Panel
from tsforecast.preprocessing.grouped import least_and_most
from tsforecast.preprocessing.invertible import (
    SCOPES,
    PerSeries,
    Transform,
    check_choice,
    check_number,
    refuse,
    refuse_beyond,
)

SMALLEST_MARGIN = 1e-4  # below it a value at a bound would lie within the rounding of the curve's end


@dataclass(frozen=True, kw_only=True, slots=True)
class Logit(Transform):
    """y -> log((y - floor) / (ceiling - y)), for targets that cannot leave their bounds, as shares and occupancies.

    The curve runs from low - margin * (high - low) to high + margin * (high - low), so that a value at a bound has a place
    on it; with margin 0 such a value is refused. Forecasts come back inside [low, high]; where a bound is left out, it is
    the smallest or largest value of the history (of each series, or of the panel with `scope = "panel"`), and forecasts
    reach to that end of the curve.
    The way back is exact to a few units of the last digit of |y| + the length of the curve.
    """

    name: ClassVar[str] = "logit"
    low: float | None = None  # units of the target; None = of the history
    high: float | None = None  # units of the target; None = of the history
    margin: float = 0.01  # share of the range, at either end
    scope: str = "series"

    def __post_init__(self) -> None:
        check_choice(self.name, "scope", self.scope, SCOPES)
        for option in ("low", "high", "margin"):
            if option == "margin" or getattr(self, option) is not None:
                check_number(self.name, option, getattr(self, option))
        if self.low is not None and self.high is not None and not self.low < self.high:
            raise OptionError(f"transform 'logit': low must lie below high, got {self.low!r} and {self.high!r}", field="low")
        if self.margin != 0 and not SMALLEST_MARGIN <= self.margin <= 10:
            message = f"transform 'logit': margin must be 0 or lie in [{SMALLEST_MARGIN:g}, 10], got {self.margin!r}"
            raise OptionError(message, field="margin")
        if self.margin == 0 and (self.low is None or self.high is None):
            message = "transform 'logit' with bounds of the history needs a margin above 0, e.g. 0.01; or give low and high"
            raise OptionError(message, field="margin")

    def fit(self, panel: Panel) -> "FittedLogit":
        refuse_beyond(panel)
        pooled = self.scope == "panel" and len(panel) > 0
        low, high = np.nan_to_num(least_and_most(panel.target, panel.offsets[[0, -1]] if pooled else panel.offsets))
        low = low if self.low is None else np.full_like(low, self.low)
        high = high if self.high is None else np.full_like(high, self.high)
        if self.low is None:  # a series all beyond the bound given is refused below; one without values is not
            low = np.minimum(low, high)
        if self.high is None:
            high = np.maximum(low, high)
        range_ = np.maximum(high - low, 1e-9 * np.maximum(np.abs(low), np.abs(high)))  # of a constant: more than its rounding
        widening = self.margin * np.where(range_ > 1e-290, range_, 1.0)
        numbers = {"floor": low - widening, "ceiling": high + widening}
        numbers |= {
            "least": numbers["floor"] if self.low is None else low,
            "most": numbers["ceiling"] if self.high is None else high,
        }
        if pooled:
            numbers = {name: np.repeat(one, len(panel)) for name, one in numbers.items()}
        fitted = FittedLogit(recipe=self, series_ids=panel.series_ids, **numbers)
        fitted._check(panel)
        return fitted

    @classmethod
    def fitted_from_json(cls, values: Mapping[str, Any]) -> "FittedLogit":
        return FittedLogit.from_json(cls(**values["options"]), values)


@dataclass(frozen=True, kw_only=True, eq=False)
class FittedLogit(PerSeries):
    """`Logit` with its numbers."""

    NUMBERS: ClassVar[tuple[str, ...]] = ("floor", "ceiling", "least", "most")
    recipe: Transform
    series_ids: tuple[str, ...]  # (S,)
    floor: FloatArray  # (S,) where the curve begins, units of the target
    ceiling: FloatArray  # (S,) where it ends
    least: FloatArray  # (S,) lowest value of a forecast, units of the target
    most: FloatArray  # (S,) highest value of a forecast

    def for_panel(self, panel: Panel) -> Self:
        """As for every transform; bounds that were left open widen to what the history given needs."""
        ready, recipe = super().for_panel(panel), self.recipe
        assert isinstance(recipe, Logit)
        if not len(panel) or (recipe.low is not None and recipe.high is not None):
            return ready
        floor, ceiling, least, most = ready._numbers_of(panel.series_ids)
        room = recipe.margin * (ceiling - floor)
        low, high = (edge.reduceat(panel.target, panel.offsets[:-1]) for edge in (np.fmin, np.fmax))
        if recipe.low is None:
            floor = np.fmin(floor, np.where(low <= floor, low - room, floor))
            least = np.fmin(least, floor)
        if recipe.high is None:
            ceiling = np.fmax(ceiling, np.where(high >= ceiling, high + room, ceiling))
            most = np.fmax(most, ceiling)
        return ready._with(panel.series_ids, {"floor": floor, "ceiling": ceiling, "least": least, "most": most})

    def _check(self, panel: Panel) -> None:
        floor, ceiling, least, most = (np.repeat(one, panel.lengths) for one in self._numbers_of(panel.series_ids))
        values = panel.target
        wrong = (values <= floor) | (values >= ceiling) | (values < least) | (values > most)
        if wrong.any():
            row = int(np.argmax(wrong))
            bounds = f"{max(floor[row], least[row]):g} and {min(ceiling[row], most[row]):g}"
            refuse(panel, wrong, f"logit needs values between {bounds}; give other bounds, or a margin for values at them")

    def _forward(self, values: FloatArray, *numbers: FloatArray) -> FloatArray:
        floor, ceiling, _, _ = numbers
        return np.log(values - floor) - np.log(ceiling - values)  # the quotient may be no number

    def _backward(self, values: FloatArray, *numbers: FloatArray) -> FloatArray:
        floor, ceiling, least, most = numbers
        small = np.exp(-np.abs(values))
        inside = (ceiling - floor) * (small / (1 + small))  # distance from the nearer end, exact where it is small
        back: FloatArray = np.clip(np.where(values < 0, floor + inside, ceiling - inside), least, most)
        return back
