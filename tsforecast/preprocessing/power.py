"""Panel -> panel whose spread does not grow with its level, and back: logarithms and fitted powers."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from tsforecast.forecast import Forecast
from tsforecast.panel import FloatArray, IntArray, Panel
from tsforecast.preprocessing.grouped import least_and_most, mean_and_deviation, mean_of, seen_in, sum_of
from tsforecast.preprocessing.invertible import (
    SCOPES,
    FittedTransform,
    PerSeries,
    Transform,
    check_choice,
    in_order,
    refuse,
    refuse_beyond,
)

LARGEST_LOG = 700.0  # exp of it is finite
BOX_COX_EXPONENTS = (-1.0, 2.0)  # where the exponent is looked for
YEO_JOHNSON_EXPONENTS = (-1.0, 3.0)  # as wide to both sides of 1, so that -y gets the mirrored exponent
DIGITS = 6  # at most so many of the sixteen digits of a value are lost to a power on the way there and back
REACH = 1000.0  # a forecast through a fitted power is at most this many times the largest value of the history


@dataclass(frozen=True, kw_only=True, slots=True)
class Log1p(Transform, FittedTransform):
    """y -> log(1 + y), for targets that are never negative and whose spread grows with their level."""

    name: ClassVar[str] = "log1p"

    def fit(self, panel: Panel) -> "Log1p":
        refuse_beyond(panel)
        refuse(panel, panel.target < 0, "log1p needs values of 0 or more; shift the target or use Scale")
        return self

    def apply(self, panel: Panel) -> Panel:
        self.fit(panel)
        return panel.with_target(np.log1p(panel.target))

    def invert(self, forecast: Forecast) -> Forecast:
        return replace(forecast, quantiles=in_order(np.expm1(np.minimum(forecast.quantiles, LARGEST_LOG))))

    def invert_panel(self, panel: Panel) -> Panel:
        return panel.with_target(np.expm1(np.minimum(panel.target, LARGEST_LOG)))

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name}

    @classmethod
    def fitted_from_json(cls, values: Mapping[str, Any]) -> "Log1p":
        return cls()


class _FittedPower(PerSeries):
    """What the two fitted powers share: an exponent, and a reach that grows with the history."""

    exponent: FloatArray
    largest: FloatArray

    def for_panel(self, panel: Panel) -> Self:
        """As for every transform; what a forecast may reach grows with the history given."""
        ready = super().for_panel(panel)
        numbers = dict(zip(self.NUMBERS, ready._numbers_of(panel.series_ids), strict=True))
        return self._with(panel.series_ids, numbers | {"largest": np.maximum(numbers["largest"], _largest(panel))})

    def _fit_unseen(self, panel: Panel) -> PerSeries:
        assert isinstance(self.recipe, BoxCox | YeoJohnson)
        return self.recipe._fit(panel, float(self.exponent[0]) if self._pooled else None)


@dataclass(frozen=True, kw_only=True, slots=True)
class BoxCox(Transform):
    """y -> ((y / g)^e - 1) / e, the logarithm at e = 0, with g the geometric mean of the series (Box and Cox 1964).

    The exponent has the largest likelihood within `BOX_COX_EXPONENTS`: one per series, or one for the panel with own
    location and spread for each series. Dividing by g leaves the best exponent as it is, brings every series to order 1,
    and keeps the way back exact where y^e would lose its digits.
    The way back is exact to 1e-9 of each value it was fitted on.
    """

    name: ClassVar[str] = "box_cox"
    scope: str = "series"

    def __post_init__(self) -> None:
        check_choice(self.name, "scope", self.scope, SCOPES)

    def fit(self, panel: Panel) -> "FittedBoxCox":
        return self._fit(panel, None)

    def _fit(self, panel: Panel, exponent: float | None) -> "FittedBoxCox":
        """Fit everything, or all but the exponent."""
        _refuse_below_zero(panel)
        logs = np.log(panel.target)
        mean_log = mean_of(logs, panel.offsets)
        if exponent is None:
            exponents = _likeliest_box_cox(logs - np.repeat(mean_log, panel.lengths), panel.offsets, pooled=self.scope == "panel")
        else:
            exponents = np.full(len(panel), exponent)
        return FittedBoxCox(
            recipe=self,
            series_ids=panel.series_ids,
            exponent=exponents,
            geometric_mean=np.exp(mean_log),
            largest=_largest(panel),
        )

    @classmethod
    def fitted_from_json(cls, values: Mapping[str, Any]) -> "FittedBoxCox":
        return FittedBoxCox.from_json(cls(**values["options"]), values)


@dataclass(frozen=True, kw_only=True, eq=False)
class FittedBoxCox(_FittedPower):
    """`BoxCox` with its numbers."""

    NUMBERS: ClassVar[tuple[str, ...]] = ("exponent", "geometric_mean", "largest")
    recipe: Transform
    series_ids: tuple[str, ...]  # (S,)
    exponent: FloatArray  # (S,)
    geometric_mean: FloatArray  # (S,) units of the target
    largest: FloatArray  # (S,) largest value of the history, units of the target

    def _check(self, panel: Panel) -> None:
        _refuse_below_zero(panel)

    def _forward(self, values: FloatArray, *numbers: FloatArray) -> FloatArray:
        exponent, geometric_mean, _ = numbers
        return _power(np.log(values) - np.log(geometric_mean), exponent)  # the quotient may be no number: 1e300 / 1e-300

    def _backward(self, values: FloatArray, *numbers: FloatArray) -> FloatArray:
        exponent, geometric_mean, largest = numbers
        reach = np.log(REACH) + np.log(largest) - np.log(geometric_mean)
        half: FloatArray = np.exp(np.minimum(_log_of_power(values, exponent), reach) / 2)  # its square may be no number
        return half * geometric_mean * half


def _refuse_below_zero(panel: Panel) -> None:
    refuse_beyond(panel)
    refuse(panel, panel.target <= 0, "Box-Cox needs values above 0; use log1p or yeo_johnson, or shift the target")


@dataclass(frozen=True, kw_only=True, slots=True)
class YeoJohnson(Transform):
    """Box-Cox of 1 + |w| to both sides of zero, w = y / u with u the mean of |y| (Yeo and Johnson 2000): for any values.

    w >= 0: ((1 + w)^e - 1) / e;   w < 0: -((1 - w)^(2 - e) - 1) / (2 - e);   the logarithm where a power is 0.
    e = 1 leaves the shape as it is; below it large values are drawn in and small ones spread out, above it the reverse.
    The exponent has the largest likelihood within `YEO_JOHNSON_EXPONENTS`: one per series, or one for the panel with
    own unit, location and spread for each series. Dividing by u makes the transform the same for cents and for euros.
    The way back is exact to 1e-9 of each value it was fitted on (below 1e-290 u, of that).
    """

    name: ClassVar[str] = "yeo_johnson"
    scope: str = "series"

    def __post_init__(self) -> None:
        check_choice(self.name, "scope", self.scope, SCOPES)

    def fit(self, panel: Panel) -> "FittedYeoJohnson":
        return self._fit(panel, None)

    def _fit(self, panel: Panel, exponent: float | None) -> "FittedYeoJohnson":
        """Fit everything, or all but the exponent."""
        refuse_beyond(panel)
        unit = mean_of(np.abs(panel.target), panel.offsets)
        unit = np.where(unit > 1e-290, unit, 1.0)
        if exponent is None:
            logs = _signed_log1p(panel.target / np.repeat(unit, panel.lengths))
            exponents = _likeliest_yeo_johnson(logs, panel.offsets, pooled=self.scope == "panel")
        else:
            exponents = np.full(len(panel), exponent)
        return FittedYeoJohnson(recipe=self, series_ids=panel.series_ids, exponent=exponents, unit=unit, largest=_largest(panel))

    @classmethod
    def fitted_from_json(cls, values: Mapping[str, Any]) -> "FittedYeoJohnson":
        return FittedYeoJohnson.from_json(cls(**values["options"]), values)


@dataclass(frozen=True, kw_only=True, eq=False)
class FittedYeoJohnson(_FittedPower):
    """`YeoJohnson` with its numbers."""

    NUMBERS: ClassVar[tuple[str, ...]] = ("exponent", "unit", "largest")
    recipe: Transform
    series_ids: tuple[str, ...]  # (S,)
    exponent: FloatArray  # (S,) of the values above zero
    unit: FloatArray  # (S,) units of the target, positive
    largest: FloatArray  # (S,) largest |y| of the history, units of the target

    def _forward(self, values: FloatArray, *numbers: FloatArray) -> FloatArray:
        exponent, unit, _ = numbers
        return _both_sides(_signed_log1p(values / unit), exponent)

    def _backward(self, values: FloatArray, *numbers: FloatArray) -> FloatArray:
        exponent, unit, largest = numbers
        logs = _log_of_power(np.abs(values), np.where(values < 0, 2 - exponent, exponent))
        size = np.expm1(np.minimum(logs, np.log1p(REACH * (largest / unit))))
        return np.copysign(size * unit, values)


# The powers


def _power(logs: FloatArray, exponent: FloatArray) -> FloatArray:
    """(x^e - 1) / e of x = exp(logs); the logarithm at e = 0."""
    bent = np.expm1(exponent * logs) / np.where(exponent == 0, 1.0, exponent)
    return np.where(exponent == 0, logs, bent)


def _log_of_power(values: FloatArray, exponent: FloatArray) -> FloatArray:
    """The logs that `_power` made `values` of; -inf below all a power can have (e > 0), inf above all (e < 0)."""
    turned = exponent * values
    outside = turned <= -1
    divisor = np.where(exponent == 0, 1.0, exponent)
    logs = np.where(exponent == 0, values, np.log1p(np.where(outside, 0.0, turned)) / divisor)
    return np.where(outside, np.where(exponent > 0, -np.inf, np.inf), logs)


def _signed_log1p(ratio: FloatArray) -> FloatArray:
    """log(1 + |w|) with the sign of w."""
    return np.copysign(np.log1p(np.abs(ratio)), ratio)


def _both_sides(logs: FloatArray, exponent: FloatArray) -> FloatArray:
    """Yeo and Johnson's power, of signed logs."""
    return np.copysign(_power(np.abs(logs), np.where(logs < 0, 2 - exponent, exponent)), logs)


def _largest(panel: Panel) -> FloatArray:
    """Largest |y| of each series, (S,); 1 for a series without any but zeros."""
    _, largest = least_and_most(np.abs(panel.target), panel.offsets)
    return np.where(largest > 0, largest, 1.0)


# The likeliest exponent


def _likeliest_box_cox(logs: FloatArray, offsets: IntArray, *, pooled: bool) -> FloatArray:
    """Exponent of the largest likelihood for each series, or one for all, (S,).

    Args:
        logs: (N,) logarithms with mean 0 in each series. Then the likelihood is largest where the variance of the
            transformed series is smallest.
    """
    lengths, seen = np.diff(offsets), seen_in(logs, offsets)
    _, spread = mean_and_deviation(logs, offsets)
    bounded = np.clip(logs, -LARGEST_LOG / 4, LARGEST_LOG / 4)

    def cost(exponents: FloatArray) -> FloatArray:
        _, deviation = mean_and_deviation(_power(bounded, np.repeat(exponents, lengths)), offsets)
        return np.log(np.maximum(deviation, 1e-300)) * seen

    found = _cheapest(cost, BOX_COX_EXPONENTS, (seen >= 3) & (spread > 1e-9), pooled=pooled)
    smallest, largest = least_and_most(logs, offsets)
    return _clipped(found, -_room(largest), _room(-smallest), pooled)  # e > 0 takes digits of small values, e < 0 of large ones


def _likeliest_yeo_johnson(logs: FloatArray, offsets: IntArray, *, pooled: bool) -> FloatArray:
    """Exponent of the largest likelihood for each series, or one for all, (S,); `logs` (N,) are signed."""
    lengths, seen = np.diff(offsets), seen_in(logs, offsets)
    _, spread = mean_and_deviation(logs, offsets)
    volume = sum_of(logs, offsets)  # (S,) log of the Jacobian at exponent 2

    def cost(exponents: FloatArray) -> FloatArray:
        _, deviation = mean_and_deviation(_both_sides(logs, np.repeat(exponents, lengths)), offsets)
        return np.log(np.maximum(deviation, 1e-300)) * seen - (exponents - 1) * volume

    found = _cheapest(cost, YEO_JOHNSON_EXPONENTS, (seen >= 3) & (spread > 1e-9), pooled=pooled)
    smallest, largest = least_and_most(logs, offsets)
    # Only a power below 0 takes digits, of large values: e of those above zero, 2 - e of those below.
    return _clipped(found, -_room(largest), 2 + _room(-smallest), pooled)


def _cheapest(
    cost: Callable[[FloatArray], FloatArray], bounds: tuple[float, float], told: npt.NDArray[np.bool_], *, pooled: bool
) -> FloatArray:
    """Exponent of the lowest cost for each series, or of the lowest sum, (S,): all are searched at once, by a grid, then a
    golden section. `cost`: exponents (S,) -> costs (S,). Series whose values do not tell keep their shape: exponent 1.
    """

    def costs_of(exponents: FloatArray) -> FloatArray:
        costs: FloatArray = np.where(told, cost(exponents), 0.0)
        return np.full(len(costs), costs.sum()) if pooled else costs

    grid = np.linspace(*bounds, round((bounds[1] - bounds[0]) * 4) + 1)
    best = grid[np.argmin([costs_of(np.full(len(told), one)) for one in grid], axis=0)]  # (S,)
    width = grid[1] - grid[0]
    low, high = np.maximum(best - width, grid[0]), np.minimum(best + width, grid[-1])
    golden = (np.sqrt(5) - 1) / 2
    left, right = high - golden * (high - low), low + golden * (high - low)
    left_cost, right_cost = costs_of(left), costs_of(right)
    for _ in range(20):  # leaves 3e-5 of an exponent, a hundredth of its standard error and less
        on_left = left_cost <= right_cost
        low, high = np.where(on_left, low, left), np.where(on_left, right, high)
        fresh = np.where(on_left, high - golden * (high - low), low + golden * (high - low))
        fresh_cost = costs_of(fresh)
        left, right = np.where(on_left, fresh, right), np.where(on_left, left, fresh)
        left_cost, right_cost = np.where(on_left, fresh_cost, right_cost), np.where(on_left, left_cost, fresh_cost)
    return np.where(told | (pooled & told.any()), (low + high) / 2, 1.0)


def _room(logs: FloatArray) -> FloatArray:
    """Size of the power at which values of these logs, (S,), lose DIGITS to the 1 in (x^e - 1); large for logs below 0, NaN."""
    logs = np.fmax(logs, 1e-9)  # NaN too
    room: FloatArray = (DIGITS * np.log(10) - np.log(np.maximum(logs, 1.0))) / logs
    return room


def _clipped(exponents: FloatArray, low: FloatArray, high: FloatArray, pooled: bool) -> FloatArray:
    """The nearest exponents under which every series comes back exactly, (S,)."""
    if pooled and len(low):
        low, high = low.max(), high.min()
    return np.clip(exponents, low, high)
