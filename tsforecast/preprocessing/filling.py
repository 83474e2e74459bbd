"""Panel with holes -> panel without; forecasts are left alone."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from tsforecast.errors import OptionError
from tsforecast.forecast import Forecast
from tsforecast.panel import FloatArray, IntArray, Panel
from tsforecast.preprocessing.invertible import FittedTransform, Transform, check_choice, check_number


@dataclass(frozen=True, kw_only=True, slots=True)
class Fill(Transform, FittedTransform):
    """Fill holes inside and at the end of each history; NaN before the first observation stay, forecasts are left alone.

    linear: a straight line between the neighbours; at the end, the last observation.
    seasonal: the value one season earlier (or the latest of the same phase before it); linear where there is none.
    forward: the last observation.   constant: `value`.   none: nothing is filled.
    A hole of more than `limit` steps stays as it is, all of it.
    """

    name: ClassVar[str] = "fill"
    METHODS: ClassVar[tuple[str, ...]] = ("linear", "seasonal", "forward", "constant", "none")
    method: str = "linear"
    value: float | None = None  # units of the target; of method "constant" only
    limit: int | None = None  # steps; None = holes of any length are filled

    def __post_init__(self) -> None:
        check_choice(self.name, "method", self.method, self.METHODS)
        if self.method == "constant" and self.value is None:
            raise OptionError("transform 'fill' with method 'constant' needs a value, e.g. value = 0", field="value")
        if self.value is not None:
            check_number(self.name, "value", self.value)
            if self.method != "constant":
                message = f"transform 'fill' has no use for a value with method {self.method!r}; leave it out, or use 'constant'"
                raise OptionError(message, field="value")
        if self.limit is not None and (isinstance(self.limit, bool) or not isinstance(self.limit, int) or self.limit < 1):
            message = f"transform 'fill': limit must be a number of steps of 1 or more, got {self.limit!r}; leave it out for none"
            raise OptionError(message, field="limit")

    def fit(self, panel: Panel) -> "Fill":
        return self

    def apply(self, panel: Panel) -> Panel:
        target = panel.target
        hole = np.isnan(target)
        if self.method == "none" or not hole.any():
            return panel
        starts = np.repeat(panel.offsets[:-1], panel.lengths)  # (N,) first row of the row's series
        if self.method == "forward":
            filled = _forward_filled(target, starts)
        elif self.method == "constant":
            filled = target.copy()
            filled[hole & (_last_seen(~hole, starts) >= 0)] = self.value
        else:
            known = _seasonally_filled(target, panel) if self.method == "seasonal" else target
            filled = _linearly_filled(known, starts, np.repeat(panel.offsets[1:], panel.lengths))
        if self.limit is not None:
            filled = np.where(_in_run_longer_than(self.limit, hole, starts), np.nan, filled)
        return panel.with_target(filled)

    def invert(self, forecast: Forecast) -> Forecast:
        return forecast

    def invert_panel(self, panel: Panel) -> Panel:
        return panel

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name, **asdict(self)}

    @classmethod
    def fitted_from_json(cls, values: Mapping[str, Any]) -> "Fill":
        return cls(method=values["method"], value=values.get("value"), limit=values.get("limit"))  # absent in older models


def _last_seen(seen: npt.NDArray[np.bool_], starts: IntArray) -> IntArray:
    """Row of the latest true at or before each row within its group, -1 where there is none; (N,)."""
    latest = np.maximum.accumulate(np.where(seen, np.arange(len(seen)), -1))
    return np.where(latest >= starts, latest, -1)


def _in_run_longer_than(limit: int, hole: npt.NDArray[np.bool_], starts: IntArray) -> npt.NDArray[np.bool_]:
    """Whether each row lies in a run of more than `limit` true rows of its series, (N,)."""
    first = hole & (~np.concatenate([[False], hole[:-1]]) | (np.arange(len(hole)) == starts))
    run = np.cumsum(first)  # (N,) from 1; rows outside a run carry the one before
    long: npt.NDArray[np.bool_] = hole & (np.bincount(run[hole], minlength=1)[run * hole] > limit)
    return long


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
    """Forward fill among the rows of one phase of one series, laid side by side for it."""
    turn, phase = np.divmod(panel.row_in_series(), panel.season)
    full, rest = np.divmod(panel.lengths, panel.season)  # (S,) every phase has `full` rows, the first `rest` phases one more
    offsets, full, rest = (np.repeat(one, panel.lengths) for one in (panel.offsets[:-1], full, rest))  # (N,)
    starts = offsets + phase * full + np.minimum(phase, rest)  # (N,) place of the first row of the row's phase
    places = starts + turn
    by_phase, starts_by_phase = np.empty_like(target), np.empty_like(starts)
    by_phase[places], starts_by_phase[places] = target, starts
    filled: FloatArray = _forward_filled(by_phase, starts_by_phase)[places]
    return filled
