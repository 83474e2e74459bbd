"""Panel -> Panel before the model, Forecast -> Forecast after it.

Only increasing, step-by-step maps live here: those carry quantiles to quantiles. A differencing would not
(the sum of two medians is not the median of the sum), so it belongs inside a model.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from difflib import get_close_matches
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from tsforecast.errors import ArtifactError, OptionError, TransformError
from tsforecast.forecast import Forecast
from tsforecast.panel import FloatArray, IntArray, Panel

LARGEST_LOG = 700.0  # exp of it is finite
BOX_COX_EXPONENTS = (-1.0, 2.0)  # where the exponent is looked for
BOX_COX_DIGITS = 6  # at most so many of the sixteen digits of a value are lost on the way there and back
BOX_COX_REACH = 1000.0  # a forecast is at most this many times the largest value of the history


class FittedTransform(ABC):
    """A transform that knows its numbers. Immutable, so request threads share it."""

    def for_panel(self, panel: Panel) -> "FittedTransform":
        """The transform to use on `panel`.

        One with numbers per series keeps those of the series it was fitted on and fits the others on the history given.
        """
        return self

    @abstractmethod
    def apply(self, panel: Panel) -> Panel:
        """`panel` as the model sees it.

        Raises:
            TransformError: a value lies outside the domain, or a series is not known (call `for_panel` first).
        """

    @abstractmethod
    def invert(self, forecast: Forecast) -> Forecast:
        """`forecast` back in the units it had before `apply`; always finite where the forecast is."""

    @abstractmethod
    def invert_panel(self, panel: Panel) -> Panel:
        """`panel` back in the units it had before `apply`."""

    @abstractmethod
    def to_json(self) -> dict[str, Any]:
        """{"name": …, …}: what `transform_from_json` needs; floats survive exactly."""


class Transform(ABC):
    """A recipe for a transform: a frozen dataclass of options, no data."""

    name: ClassVar[str]  # as in TRANSFORMS

    @abstractmethod
    def fit(self, panel: Panel) -> FittedTransform:
        """Learn the numbers of `panel`, which is left as it is.

        Raises:
            TransformError: a value lies outside the domain.
        """

    @classmethod
    @abstractmethod
    def fitted_from_json(cls, values: Mapping[str, Any]) -> FittedTransform:
        """What `to_json` of the fitted transform wrote."""


# Fill: holes


@dataclass(frozen=True, kw_only=True, slots=True)
class Fill(Transform, FittedTransform):
    """Fill holes inside and at the end of each history; NaN before the first observation stay, forecasts are left alone.

    linear: a straight line between the neighbours; at the end, the last observation.
    seasonal: the value one season earlier (or the latest of the same phase before it); linear where there is none.
    forward: the last observation.
    """

    name: ClassVar[str] = "fill"
    METHODS: ClassVar[tuple[str, ...]] = ("linear", "seasonal", "forward")
    method: str = "linear"

    def __post_init__(self) -> None:
        _check_choice(self.name, "method", self.method, self.METHODS)

    def fit(self, panel: Panel) -> "Fill":
        return self

    def apply(self, panel: Panel) -> Panel:
        target = panel.target
        if not np.isnan(target).any():
            return panel
        starts = np.repeat(panel.offsets[:-1], panel.lengths)  # (N,) first row of the row's series
        if self.method == "forward":
            return panel.with_target(_forward_filled(target, starts))
        if self.method == "seasonal":
            target = _seasonally_filled(target, panel)
        return panel.with_target(_linearly_filled(target, starts, np.repeat(panel.offsets[1:], panel.lengths)))

    def invert(self, forecast: Forecast) -> Forecast:
        return forecast

    def invert_panel(self, panel: Panel) -> Panel:
        return panel

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name, "method": self.method}

    @classmethod
    def fitted_from_json(cls, values: Mapping[str, Any]) -> "Fill":
        return cls(method=values["method"])


def _last_seen(seen: npt.NDArray[np.bool_], starts: IntArray) -> IntArray:
    """Row of the latest true at or before each row within its group, -1 where there is none; (N,)."""
    latest = np.maximum.accumulate(np.where(seen, np.arange(len(seen)), -1))
    return np.where(latest >= starts, latest, -1)


def _forward_filled(target: FloatArray, starts: IntArray) -> FloatArray:
    source = _last_seen(~np.isnan(target), starts)
    return np.where(source >= 0, target[source], np.nan)


def _linearly_filled(target: FloatArray, starts: IntArray, ends: IntArray) -> FloatArray:
    """`starts` and `ends` (N,): first row of the row's series, and the row after its last."""
    rows = np.arange(len(target))
    seen = ~np.isnan(target)
    before = _last_seen(seen, starts)
    after = len(target) - 1 - _last_seen(seen[::-1], (len(target) - ends)[::-1])[::-1]  # len(target) where there is none
    hole = ~seen & (before >= 0)
    left, right = before[hole], after[hole]
    inside = right < len(target)
    right = np.where(inside, right, left)  # at the end of a series: the last observation
    weight = (rows[hole] - left) / np.maximum(right - left, 1)
    filled = target.copy()
    filled[hole] = (1 - weight) * target[left] + weight * target[right]
    return filled


def _seasonally_filled(target: FloatArray, panel: Panel) -> FloatArray:
    row = panel.row_in_series()
    series = np.repeat(np.arange(len(panel)), panel.lengths)
    order = np.lexsort((row, row % panel.season, series))  # rows of one phase of one series side by side
    key = (series * panel.season + row % panel.season)[order]
    first = np.concatenate([[True], key[1:] != key[:-1]])
    starts = np.maximum.accumulate(np.where(first, np.arange(len(order)), 0))
    filled = np.empty_like(target)
    filled[order] = _forward_filled(target[order], starts)
    return filled


# Maps with numbers per series


class _PerSeries(FittedTransform):
    """A map with a few numbers for each series, (S,) each, looked up by the id of the series."""

    recipe: Transform
    series_ids: tuple[str, ...]
    NUMBERS: ClassVar[tuple[str, ...]]  # names of the fields with numbers, in the order of `_forward`'s arguments

    @abstractmethod
    def _forward(self, values: FloatArray, *numbers: FloatArray) -> FloatArray: ...

    @abstractmethod
    def _backward(self, values: FloatArray, *numbers: FloatArray) -> FloatArray: ...

    def _check(self, panel: Panel) -> None:
        """Refuse values outside the domain."""

    def _fit_unseen(self, panel: Panel) -> "_PerSeries":
        """This transform for series it was not fitted on."""
        fitted = self.recipe.fit(panel)
        assert isinstance(fitted, _PerSeries)
        return fitted

    @cached_property
    def _place(self) -> dict[str, int]:
        return {series_id: i for i, series_id in enumerate(self.series_ids)}

    def _numbers_of(self, series_ids: Sequence[str]) -> list[FloatArray]:
        """The numbers of these series, (S,) each."""
        try:
            places = np.array([self._place[series_id] for series_id in series_ids], dtype=np.int64)
        except KeyError as error:
            raise TransformError(
                f"series {error.args[0]!r} is not among the {len(self.series_ids)} series transform {self.recipe.name!r} "
                "was fitted on; use transform.for_panel(panel) first",
                series_id=error.args[0],
            ) from None
        return [getattr(self, name)[places] for name in self.NUMBERS]

    def for_panel(self, panel: Panel) -> Self:
        unseen = [i for i, series_id in enumerate(panel.series_ids) if series_id not in self._place]
        if not unseen:
            return self
        fresh = self._fit_unseen(panel.select(unseen))
        known = [series_id for series_id in panel.series_ids if series_id in self._place]
        pairs = zip(self.NUMBERS, self._numbers_of(known), strict=True)
        return self._with((*known, *fresh.series_ids), {name: np.concatenate([old, getattr(fresh, name)]) for name, old in pairs})

    def _with(self, series_ids: tuple[str, ...], numbers: Mapping[str, FloatArray]) -> Self:
        """The same map with numbers for these series."""
        return type(self)(recipe=self.recipe, series_ids=series_ids, **numbers)  # type: ignore[call-arg]  # dataclasses below

    def apply(self, panel: Panel) -> Panel:
        self._check(panel)
        numbers = [np.repeat(one, panel.lengths) for one in self._numbers_of(panel.series_ids)]
        return panel.with_target(self._forward(panel.target, *numbers))

    def invert_panel(self, panel: Panel) -> Panel:
        numbers = [np.repeat(one, panel.lengths) for one in self._numbers_of(panel.series_ids)]
        return panel.with_target(self._backward(panel.target, *numbers))

    def invert(self, forecast: Forecast) -> Forecast:
        numbers = [one[:, None, None] for one in self._numbers_of(forecast.series_ids)]
        return replace(forecast, quantiles=self._backward(forecast.quantiles, *numbers))

    def to_json(self) -> dict[str, Any]:
        options = {field.name: getattr(self.recipe, field.name) for field in fields(self.recipe)}  # type: ignore[arg-type]  # a dataclass
        numbers = {name: getattr(self, name).tolist() for name in self.NUMBERS}
        return {"name": self.recipe.name, "options": options, "series_ids": list(self.series_ids), **numbers}

    @classmethod
    def _from_json(cls, recipe: Transform, values: Mapping[str, Any]) -> Self:
        numbers = {name: np.array(values[name], dtype=np.float64) for name in cls.NUMBERS}
        return cls(recipe=recipe, series_ids=tuple(values["series_ids"]), **numbers)  # type: ignore[call-arg]  # dataclasses below


@dataclass(frozen=True, kw_only=True, slots=True)
class Scale(Transform):
    """y -> (y - center) / spread, with numbers of each series.

    zscore: mean and standard deviation.   robust: median and half the middle 68 % (a standard deviation for normal data).
    minmax: to [0, 1].   minmax_symmetric: to [-1, 1].
    A series without spread (constant, one value, none) is only centred: its spread is 1.
    """

    name: ClassVar[str] = "scale"
    METHODS: ClassVar[tuple[str, ...]] = ("zscore", "minmax", "minmax_symmetric", "robust")
    method: str = "zscore"

    def __post_init__(self) -> None:
        _check_choice(self.name, "method", self.method, self.METHODS)

    def fit(self, panel: Panel) -> "FittedScale":
        center, spread = _center_and_spread(self.method, panel)
        return FittedScale(recipe=self, series_ids=panel.series_ids, center=center, spread=spread)

    @classmethod
    def fitted_from_json(cls, values: Mapping[str, Any]) -> "FittedScale":
        return FittedScale._from_json(cls(**values["options"]), values)


@dataclass(frozen=True, kw_only=True, eq=False)
class FittedScale(_PerSeries):
    """`Scale` with its numbers."""

    NUMBERS: ClassVar[tuple[str, ...]] = ("center", "spread")
    recipe: Transform
    series_ids: tuple[str, ...]  # (S,)
    center: FloatArray  # (S,) units of the target
    spread: FloatArray  # (S,) units of the target, positive

    def _forward(self, values: FloatArray, *numbers: FloatArray) -> FloatArray:
        center, spread = numbers
        return (values - center) / spread

    def _backward(self, values: FloatArray, *numbers: FloatArray) -> FloatArray:
        center, spread = numbers
        return values * spread + center


def _center_and_spread(method: str, panel: Panel) -> tuple[FloatArray, FloatArray]:
    """Numbers of each series, (S,) and (S,); NaN are passed over."""
    mean, deviation = _mean_and_deviation(panel.target, panel.offsets)
    if method == "zscore":
        center, spread = mean, deviation
    elif method == "robust":
        low, center, high = _quantiles_by_series(panel, (0.15865525393145707, 0.5, 0.8413447460685429))  # ± 1 sigma
        spread = np.where(high - low > 0, (high - low) / 2, deviation)  # most values equal: the others still count
    else:
        low, high = _quantiles_by_series(panel, (0.0, 1.0))
        center, spread = (low, high - low) if method == "minmax" else ((low + high) / 2, (high - low) / 2)
    floor = 1e-12 * np.maximum(np.abs(center), 1e-290)  # below it lies the rounding of a constant
    return center, np.where(spread > floor, spread, 1.0)


def _mean_and_deviation(values: FloatArray, offsets: IntArray) -> tuple[FloatArray, FloatArray]:
    """Mean and standard deviation of each group of rows without its NaN, (G,); 0 and 0 for a group without values."""
    seen = ~np.isnan(values)
    count = np.maximum(np.add.reduceat(seen, offsets[:-1], dtype=np.int64), 1)
    mean = np.add.reduceat(np.where(seen, values, 0.0), offsets[:-1]) / count
    away = np.where(seen, values - np.repeat(mean, np.diff(offsets)), 0.0)
    unit = np.maximum(np.maximum.reduceat(np.abs(away), offsets[:-1]), np.finfo(np.float64).tiny)  # 1e200 squared is no number
    return mean, unit * np.sqrt(np.add.reduceat((away / np.repeat(unit, np.diff(offsets))) ** 2, offsets[:-1]) / count)


def _quantiles_by_series(panel: Panel, levels: Sequence[float]) -> list[FloatArray]:
    """The empirical quantiles (linear between order statistics) of each series without its NaN, (S,) per level; else 0."""
    series = np.repeat(np.arange(len(panel)), panel.lengths)
    ordered = panel.target[np.lexsort((panel.target, series))]  # NaN last in each series
    seen = np.add.reduceat(~np.isnan(panel.target), panel.offsets[:-1], dtype=np.int64)
    quantiles = []
    for level in levels:
        place = level * np.maximum(seen - 1, 0)
        low = np.floor(place).astype(np.int64)
        high = np.minimum(low + 1, np.maximum(seen - 1, 0))
        below, above = ordered[panel.offsets[:-1] + low], ordered[panel.offsets[:-1] + high]
        quantiles.append(np.where(seen > 0, below + (place - low) * (above - below), 0.0))
    return quantiles


@dataclass(frozen=True, kw_only=True, slots=True)
class Log1p(Transform, FittedTransform):
    """y -> log(1 + y), for targets that are never negative and whose spread grows with their level."""

    name: ClassVar[str] = "log1p"

    def fit(self, panel: Panel) -> "Log1p":
        _refuse(panel, panel.target < 0, "log1p needs values of 0 or more; shift the target or use Scale")
        return self

    def apply(self, panel: Panel) -> Panel:
        self.fit(panel)
        return panel.with_target(np.log1p(panel.target))

    def invert(self, forecast: Forecast) -> Forecast:
        return replace(forecast, quantiles=np.expm1(np.minimum(forecast.quantiles, LARGEST_LOG)))

    def invert_panel(self, panel: Panel) -> Panel:
        return panel.with_target(np.expm1(np.minimum(panel.target, LARGEST_LOG)))

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name}

    @classmethod
    def fitted_from_json(cls, values: Mapping[str, Any]) -> "Log1p":
        return cls()


@dataclass(frozen=True, kw_only=True, slots=True)
class BoxCox(Transform):
    """y -> ((y / g)^e - 1) / e, the logarithm at e = 0, with g the geometric mean of the series (Box and Cox 1964).

    The exponent has the largest likelihood within `BOX_COX_EXPONENTS`: one per series, or one for the panel with own
    location and spread for each series. Dividing by g leaves the best exponent as it is, brings every series to order 1,
    and keeps the way back exact where y^e would lose its digits.
    """

    name: ClassVar[str] = "box_cox"
    SCOPES: ClassVar[tuple[str, ...]] = ("series", "panel")
    scope: str = "series"

    def __post_init__(self) -> None:
        _check_choice(self.name, "scope", self.scope, self.SCOPES)

    def fit(self, panel: Panel) -> "FittedBoxCox":
        return self._fit(panel, None)

    def _fit(self, panel: Panel, exponent: float | None) -> "FittedBoxCox":
        """Fit everything, or all but the exponent."""
        _refuse(panel, panel.target <= 0, "Box-Cox needs values above 0; use log1p, or shift the target")
        logs = np.log(panel.target)
        mean_log, _ = _mean_and_deviation(logs, panel.offsets)
        if exponent is None:
            exponents = _likeliest_exponents(
                logs - np.repeat(mean_log, panel.lengths), panel.offsets, pooled=self.scope == "panel"
            )
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
        return FittedBoxCox._from_json(cls(**values["options"]), values)


@dataclass(frozen=True, kw_only=True, eq=False)
class FittedBoxCox(_PerSeries):
    """`BoxCox` with its numbers."""

    NUMBERS: ClassVar[tuple[str, ...]] = ("exponent", "geometric_mean", "largest")
    recipe: Transform
    series_ids: tuple[str, ...]  # (S,)
    exponent: FloatArray  # (S,)
    geometric_mean: FloatArray  # (S,) units of the target
    largest: FloatArray  # (S,) largest value of the history, units of the target

    def for_panel(self, panel: Panel) -> Self:
        """As for every transform; what a forecast may reach grows with the history given."""
        ready = super().for_panel(panel)
        exponent, geometric_mean, largest = ready._numbers_of(panel.series_ids)
        numbers = {"exponent": exponent, "geometric_mean": geometric_mean, "largest": np.maximum(largest, _largest(panel))}
        return self._with(panel.series_ids, numbers)

    def _check(self, panel: Panel) -> None:
        _refuse(panel, panel.target <= 0, "Box-Cox needs values above 0; use log1p, or shift the target")

    def _fit_unseen(self, panel: Panel) -> "FittedBoxCox":
        assert isinstance(self.recipe, BoxCox)
        return self.recipe._fit(panel, float(self.exponent[0]) if self.recipe.scope == "panel" and len(self.exponent) else None)

    def _forward(self, values: FloatArray, *numbers: FloatArray) -> FloatArray:
        exponent, geometric_mean, _ = numbers
        return _power(np.log(values / geometric_mean), exponent)

    def _backward(self, values: FloatArray, *numbers: FloatArray) -> FloatArray:
        exponent, geometric_mean, largest = numbers
        reach = np.log(BOX_COX_REACH * largest / geometric_mean)
        turned = exponent * values
        outside = turned <= -1  # no value has this power: below all of them (exponent > 0) or above all (exponent < 0)
        divisor = np.where(exponent == 0, 1.0, exponent)
        logs = np.where(exponent == 0, values, np.log1p(np.where(outside, 0.0, turned)) / divisor)
        logs = np.where(outside, np.where(exponent > 0, -np.inf, np.inf), logs)
        return geometric_mean * np.exp(np.minimum(logs, reach))


def _power(logs: FloatArray, exponent: FloatArray) -> FloatArray:
    """(x^e - 1) / e of x = exp(logs); the logarithm at e = 0."""
    bent = np.expm1(exponent * logs) / np.where(exponent == 0, 1.0, exponent)
    return np.where(exponent == 0, logs, bent)


def _likeliest_exponents(logs: FloatArray, offsets: IntArray, *, pooled: bool) -> FloatArray:
    """Exponent of the largest likelihood for each series, or one for all, (S,).

    Args:
        logs: (N,) logarithms with mean 0 in each series. Then the likelihood is largest where the variance of the
            transformed series is smallest, and all series are searched at once: a grid, then a golden section.
    """
    lengths = np.diff(offsets)
    seen = np.add.reduceat(~np.isnan(logs), offsets[:-1], dtype=np.int64)
    _, spread = _mean_and_deviation(logs, offsets)
    told = (seen >= 3) & (spread > 1e-9)  # the others keep their shape: exponent 1

    def cost(exponents: FloatArray) -> FloatArray:
        powers = _power(np.clip(logs, -LARGEST_LOG / 4, LARGEST_LOG / 4), np.repeat(exponents, lengths))
        _, deviation = _mean_and_deviation(powers, offsets)
        costs: FloatArray = np.where(told, np.log(np.maximum(deviation, 1e-300)) * seen, 0.0)
        return np.full(len(costs), costs.sum()) if pooled else costs

    grid = np.linspace(*BOX_COX_EXPONENTS, 13)
    best = grid[np.argmin([cost(np.full(len(lengths), one)) for one in grid], axis=0)]  # (S,)
    width = grid[1] - grid[0]
    low, high = np.maximum(best - width, grid[0]), np.minimum(best + width, grid[-1])
    golden = (np.sqrt(5) - 1) / 2
    for _ in range(34):  # leaves 4e-8 of the bracket
        left, right = high - golden * (high - low), low + golden * (high - low)
        lower_is_left = cost(left) <= cost(right)
        low, high = np.where(lower_is_left, low, left), np.where(lower_is_left, right, high)
    found = np.where(told | (pooled & told.any()), (low + high) / 2, 1.0)
    return _kept_exact(found, logs, offsets, pooled=pooled)


def _kept_exact(exponents: FloatArray, logs: FloatArray, offsets: IntArray, *, pooled: bool) -> FloatArray:
    """The nearest exponents under which no value (its log, (N,)) loses more than BOX_COX_DIGITS to the 1 in (x^e - 1)."""
    room = BOX_COX_DIGITS * np.log(10)
    smallest = np.minimum(np.fmin.reduceat(logs, offsets[:-1]), -1e-9)  # a positive exponent takes digits of small values
    largest = np.maximum(np.fmax.reduceat(logs, offsets[:-1]), 1e-9)  # a negative one, of large values
    low, high = np.nan_to_num(-room / largest, nan=-room), np.nan_to_num(-room / smallest, nan=room)
    if pooled:
        low, high = low.max(), high.min()
    return np.clip(exponents, low, high)


def _largest(panel: Panel) -> FloatArray:
    """Largest value of each series, (S,); 1 for a series without any."""
    largest = np.fmax.reduceat(panel.target, panel.offsets[:-1])
    return np.where(np.isnan(largest), 1.0, largest)


# The table


TRANSFORMS: dict[str, type[Transform]] = {kind.name: kind for kind in (Fill, Scale, Log1p, BoxCox)}


def build_transform(name: str, **options: Any) -> Transform:
    """The recipe called `name`; options are the fields of its class.

    Raises:
        OptionError: no transform or no option of that name, or a value out of range.
    """
    if name not in TRANSFORMS:
        raise OptionError(
            f"no transform {name!r}{_nearest(name, TRANSFORMS)}; there are {', '.join(TRANSFORMS)}", field="transforms"
        )
    known = [field.name for field in fields(TRANSFORMS[name])]  # type: ignore[arg-type]  # every recipe is a dataclass
    for option in options:
        if option not in known:
            raise OptionError(
                f"transform {name!r} has no option {option!r}{_nearest(option, known)}; options: {', '.join(known) or 'none'}",
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


def _nearest(name: str, known: Mapping[str, Any] | Sequence[str]) -> str:
    near = get_close_matches(name, list(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def _check_choice(transform: str, option: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise OptionError(
            f"transform {transform!r} has no {option} {value!r}{_nearest(str(value), known)}; there are {', '.join(known)}",
            field=option,
        )


def _refuse(panel: Panel, wrong: npt.NDArray[np.bool_], need: str) -> None:
    """Raise for the first row where `wrong` (N,) is true; NaN compare false."""
    if wrong.any():
        from tsforecast.preprocessing.columns import show_times

        row = int(np.argmax(wrong))
        series_id = panel.series_ids[int(np.searchsorted(panel.offsets, row, side="right")) - 1]
        moment = show_times(panel.timestamps[row : row + 1], panel.tz)
        raise TransformError(
            f"series {series_id!r} has {panel.target[row]} at {moment} ({int(wrong.sum())} such values): {need}",
            series_id=series_id,
            field="target",
        )
