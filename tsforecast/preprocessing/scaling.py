"""Panel -> panel of order 1 and back: each value less a center, over a spread."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from tsforecast.panel import FloatArray, IntArray, Panel
from tsforecast.preprocessing.grouped import least_and_most, mean_and_deviation, mean_of, quantiles_of
from tsforecast.preprocessing.invertible import SCOPES, PerSeries, Transform, check_choice, refuse_beyond

SIGMA_OF_MAD = 1.4826  # the standard deviation of normal data over their median absolute deviation
MOST_SPREADS = 1e12  # no value of the history lies farther from the center: a float32 network can still hold it


@dataclass(frozen=True, kw_only=True, slots=True)
class Scale(Transform):
    """y -> (y - center) / spread, with numbers of each series, or of all values of the panel (`scope = "panel"`).

    zscore: mean and standard deviation.   robust: median and half the middle 68 % (a standard deviation for normal data).
    mad: median and 1.4826 times the median distance from it.   mean_abs: 0 and the mean of |y|, so zero stays zero.
    minmax: to [0, 1].   minmax_symmetric: to [-1, 1].
    A series without spread (constant, one value, none) is only centred: its spread is 1 (that of its rounding, where it
    is larger). Where most values are equal, the spread of robust and mad is the standard deviation.
    The way back is exact to a few units of the last digit of |y| + (the range of the series): a value
    of 1e-9 beside one of 1e9 is lost.
    """

    name: ClassVar[str] = "scale"
    METHODS: ClassVar[tuple[str, ...]] = ("zscore", "minmax", "minmax_symmetric", "robust", "mad", "mean_abs")
    method: str = "zscore"
    scope: str = "series"

    def __post_init__(self) -> None:
        check_choice(self.name, "method", self.method, self.METHODS)
        check_choice(self.name, "scope", self.scope, SCOPES)

    def fit(self, panel: Panel) -> "FittedScale":
        refuse_beyond(panel)
        pooled = self.scope == "panel" and len(panel) > 0
        groups = panel.offsets[[0, -1]] if pooled else panel.offsets
        center, spread = _center_and_spread(self.method, panel.target, groups)
        if pooled:
            center, spread = np.repeat(center, len(panel)), np.repeat(spread, len(panel))
        return FittedScale(recipe=self, series_ids=panel.series_ids, center=center, spread=spread)

    @classmethod
    def fitted_from_json(cls, values: Mapping[str, Any]) -> "FittedScale":
        return FittedScale.from_json(cls(**values["options"]), values)


@dataclass(frozen=True, kw_only=True, eq=False)
class FittedScale(PerSeries):
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


def _center_and_spread(method: str, values: FloatArray, offsets: IntArray) -> tuple[FloatArray, FloatArray]:
    """Numbers of each group of rows, (G,) and (G,); NaN are passed over."""
    if method == "zscore":
        center, spread = mean_and_deviation(values, offsets)
    elif method == "mean_abs":
        spread = mean_of(np.abs(values), offsets)
        center = np.zeros_like(spread)
    elif method in ("robust", "mad"):
        center, spread = _robust_center_and_spread(method, values, offsets)
    else:
        low, high = np.nan_to_num(least_and_most(values, offsets))
        center, spread = (low, high - low) if method == "minmax" else ((low + high) / 2, (high - low) / 2)
    rounding = 1e-12 * np.maximum(np.abs(center), 1e-290)  # a constant has no more spread than that
    return center, np.where(spread > rounding, spread, np.maximum(rounding, 1.0))


def _robust_center_and_spread(method: str, values: FloatArray, offsets: IntArray) -> tuple[FloatArray, FloatArray]:
    levels = (0.0, 0.15865525393145707, 0.5, 0.8413447460685429, 1.0)  # ends, median ± 1 sigma
    lowest, low, center, high, highest = quantiles_of(values, offsets, levels)
    spread = (high - low) / 2
    if method == "mad":
        (distance,) = quantiles_of(np.abs(values - np.repeat(center, np.diff(offsets))), offsets, (0.5,))
        spread = SIGMA_OF_MAD * distance
    spread = np.maximum(spread, np.maximum(highest - center, center - lowest) / MOST_SPREADS * (spread > 0))
    _, deviation = mean_and_deviation(values, offsets)
    return center, np.where(spread > 0, spread, deviation)  # most values equal: the others still count
