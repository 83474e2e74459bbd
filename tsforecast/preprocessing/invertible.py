"""What every transform is: Panel -> Panel before the model, Forecast -> Forecast after it.

Only increasing, step-by-step maps belong here: those carry quantiles to quantiles. A differencing would not
(the sum of two medians is not the median of the sum), so it belongs inside a model.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, replace
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from tsforecast.errors import OptionError, TransformError, did_you_mean
from tsforecast.forecast import Forecast
from tsforecast.panel import FloatArray, Panel

LARGEST_VALUE = 1e300  # the farthest from zero a target may lie, and a forecast comes back; room for sums below 1.8e308
SCOPES = ("series", "panel")  # numbers of each series, or of all its series together


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


class PerSeries(FittedTransform):
    """A map with a few numbers for each series, (S,) each, looked up by the id of the series.

    A recipe with `scope = "panel"` has the same numbers for all series, and series that come later use them too.
    """

    recipe: Transform
    series_ids: tuple[str, ...]
    NUMBERS: ClassVar[tuple[str, ...]]  # names of the fields with numbers, in the order of `_forward`'s arguments

    @abstractmethod
    def _forward(self, values: FloatArray, *numbers: FloatArray) -> FloatArray:
        """The map; where it overflows, `apply` refuses the value."""

    @abstractmethod
    def _backward(self, values: FloatArray, *numbers: FloatArray) -> FloatArray:
        """The map back, for any finite value; it may overflow but not give NaN."""

    def _check(self, panel: Panel) -> None:
        """Refuse values outside the domain."""
        refuse_beyond(panel)

    @property
    def _pooled(self) -> bool:
        return getattr(self.recipe, "scope", "series") == "panel" and len(self.series_ids) > 0

    def _fit_unseen(self, panel: Panel) -> "PerSeries":
        """This transform for series it was not fitted on."""
        if self._pooled:
            return self._with(panel.series_ids, {name: np.full(len(panel), getattr(self, name)[0]) for name in self.NUMBERS})
        fitted = self.recipe.fit(panel)
        assert isinstance(fitted, PerSeries)
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
        return type(self)(recipe=self.recipe, series_ids=series_ids, **numbers)  # type: ignore[call-arg]  # a dataclass

    def apply(self, panel: Panel) -> Panel:
        self._check(panel)
        numbers = [np.repeat(one, panel.lengths) for one in self._numbers_of(panel.series_ids)]
        with np.errstate(over="ignore"):
            applied = self._forward(panel.target, *numbers)
        need = f"too far from what {self.recipe.name!r} was fitted on to be held in a float; check the series, or fit anew"
        refuse(panel, np.isinf(applied), need)
        return panel.with_target(applied)

    def invert_panel(self, panel: Panel) -> Panel:
        numbers = [np.repeat(one, panel.lengths) for one in self._numbers_of(panel.series_ids)]
        return panel.with_target(self._bounded_backward(panel.target, numbers))

    def invert(self, forecast: Forecast) -> Forecast:
        numbers = [one[:, None, None] for one in self._numbers_of(forecast.series_ids)]
        return replace(forecast, quantiles=in_order(self._bounded_backward(forecast.quantiles, numbers)))

    def _bounded_backward(self, values: FloatArray, numbers: Iterable[FloatArray]) -> FloatArray:
        with np.errstate(over="ignore"):
            return np.clip(self._backward(values, *numbers), -LARGEST_VALUE, LARGEST_VALUE)

    def to_json(self) -> dict[str, Any]:
        options = {field.name: getattr(self.recipe, field.name) for field in fields(self.recipe)}  # type: ignore[arg-type]  # a dataclass
        numbers = {name: getattr(self, name).tolist() for name in self.NUMBERS}
        return {"name": self.recipe.name, "options": options, "series_ids": list(self.series_ids), **numbers}

    @classmethod
    def from_json(cls, recipe: Transform, values: Mapping[str, Any]) -> Self:
        """What `to_json` wrote, for the recipe made of its options."""
        numbers = {name: np.array(values[name], dtype=np.float64) for name in cls.NUMBERS}
        return cls(recipe=recipe, series_ids=tuple(values["series_ids"]), **numbers)  # type: ignore[call-arg]  # a dataclass


def in_order(quantiles: FloatArray) -> FloatArray:
    """Quantiles (…, Q) non-decreasing along Q: exp and log of a processor may fall by the last digit where they should rise."""
    ordered: FloatArray = np.maximum.accumulate(quantiles, axis=-1)
    return ordered


# Refusals


def check_choice(transform: str, option: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise OptionError(
            f"transform {transform!r} has no {option} {value!r}{did_you_mean(str(value), known)}; there are {', '.join(known)}",
            field=option,
        )


def check_number(transform: str, option: str, value: object) -> None:
    """Refuse what is no number that a target may be."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= LARGEST_VALUE:
        message = f"transform {transform!r}: {option} must be a number of at most {LARGEST_VALUE:g} in size, got {value!r}"
        raise OptionError(message, field=option)


def refuse(panel: Panel, wrong: npt.NDArray[np.bool_], need: str) -> None:
    """Raise for the first row where `wrong` (N,) is true; NaN compare false."""
    if wrong.any():
        from tsforecast.preprocessing.columns import show_times

        row = int(np.argmax(wrong))
        series = int(np.searchsorted(panel.offsets, row, side="right")) - 1
        series_id, moment = panel.series_ids[series], show_times(panel.timestamps[row : row + 1], panel.zone_of(series))
        raise TransformError(
            f"series {series_id!r} has {panel.target[row]} at {moment} ({int(wrong.sum())} such values): {need}",
            series_id=series_id,
            field="target",
        )


def refuse_beyond(panel: Panel) -> None:
    """Refuse values whose sums may be no number."""
    refuse(panel, np.abs(panel.target) > LARGEST_VALUE, f"transforms take values up to {LARGEST_VALUE:g}; change the unit")
