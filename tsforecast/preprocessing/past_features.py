"""A panel as the model sees it -> lags and rolling statistics of the target, known up to the present."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from tsforecast.errors import OptionError
from tsforecast.panel import FloatArray, Panel
from tsforecast.preprocessing.feature import MOST_COLUMNS, Feature, Kind, PastFeature, chosen, several, whole

LONGEST = 10_000  # steps back
STATISTICS = ("mean", "std", "min", "max", "median", "sum")
CELLS = 2**22  # of windows that lie in memory at once


@dataclass(frozen=True, kw_only=True, slots=True)
class Lags(Feature):
    """The target some steps ago: row t of "lag_7" holds y[t - 7], NaN in the first rows of a series.

    Lags are of the target after the transforms. They are past covariates, so a model sees them up to the present: a lag
    longer than its context shows it what it has no window for.
    """

    name: ClassVar[str] = "lags"
    kind: ClassVar[Kind] = "past"
    steps: tuple[int, ...] = ()  # each at least 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "steps", _lengths(self.name, "steps", self.steps, 1))
        _check_count(self.name, "steps", len(self.steps))

    def fit(self, panel: Panel) -> "FittedLags":
        return FittedLags(recipe=self, names=tuple(f"lag_{step}" for step in self.steps))

    @classmethod
    def fitted_from_json(cls, recipe: "Lags", values: Mapping[str, Any]) -> "FittedLags":
        return FittedLags(recipe=recipe, names=tuple(values["names"]))


@dataclass(frozen=True, kw_only=True, slots=True)
class FittedLags(PastFeature):
    recipe: Lags
    names: tuple[str, ...]  # (P,)

    def columns(self, panel: Panel) -> FloatArray:
        row = panel.row_in_series()
        columns = np.full((len(row), len(self.recipe.steps)), np.nan)
        for c, step in enumerate(self.recipe.steps):
            there = np.flatnonzero(row >= step)
            columns[there, c] = panel.target[there - step]
        return columns


@dataclass(frozen=True, kw_only=True, slots=True)
class Rolling(Feature):
    """Statistics of the latest values: row t of "rolling_mean_7" is the mean of y[t - 6] … y[t].

    Of the target after the transforms, past covariates as `Lags`. What is not observed is passed over, and the first rows of
    a series have shorter windows; a window without any value gives NaN. `std` divides by the number of values.
    """

    name: ClassVar[str] = "rolling"
    kind: ClassVar[Kind] = "past"
    windows: tuple[int, ...] = ()  # steps, each at least 2
    statistics: tuple[str, ...] = ("mean",)  # of STATISTICS

    def __post_init__(self) -> None:
        object.__setattr__(self, "windows", _lengths(self.name, "windows", self.windows, 2))
        object.__setattr__(self, "statistics", chosen(self.name, "statistics", self.statistics, STATISTICS))
        _check_count(self.name, "windows", len(self.windows) * len(self.statistics))

    def fit(self, panel: Panel) -> "FittedRolling":
        pairs = [(statistic, window) for window in self.windows for statistic in self.statistics]
        return FittedRolling(recipe=self, names=tuple(f"rolling_{statistic}_{window}" for statistic, window in pairs))

    @classmethod
    def fitted_from_json(cls, recipe: "Rolling", values: Mapping[str, Any]) -> "FittedRolling":
        return FittedRolling(recipe=recipe, names=tuple(values["names"]))


@dataclass(frozen=True, kw_only=True, slots=True)
class FittedRolling(PastFeature):
    recipe: Rolling
    names: tuple[str, ...]  # (P,)

    def columns(self, panel: Panel) -> FloatArray:
        """Time and memory grow with rows times window: each window is looked at anew, so no rounding adds up."""
        statistics = self.recipe.statistics
        return np.concatenate([_rolled(panel, window, statistics) for window in self.recipe.windows], axis=1)


def _lengths(feature: str, option: str, values: object, lowest: int) -> tuple[int, ...]:
    return tuple(whole(feature, option, value, lowest, LONGEST) for value in several(feature, option, values))


def _check_count(feature: str, option: str, columns: int) -> None:
    if columns > MOST_COLUMNS:
        raise OptionError(f"feature {feature!r}: {columns} columns, at most {MOST_COLUMNS}; name fewer {option}", field=option)


def _rolled(panel: Panel, window: int, statistics: tuple[str, ...]) -> FloatArray:
    """(N, statistics) over the `window` rows up to and with each row."""
    row = panel.row_in_series()
    padded = np.concatenate([np.full(window - 1, np.nan), panel.target])
    latest = sliding_window_view(padded, window)  # (N, window) a view; the last column is the row itself
    back = np.arange(window - 1, -1, -1)  # steps from the row back to each place of its window
    columns = np.empty((len(row), len(statistics)))
    at_once = max(1, CELLS // window)
    for start in range(0, len(row), at_once):
        rows = slice(start, start + at_once)
        values = np.where(back <= row[rows, None], latest[rows], np.nan)  # not across series
        for c, statistic in enumerate(statistics):
            columns[rows, c] = _statistic(statistic, values)
    return columns


def _statistic(statistic: str, values: FloatArray) -> FloatArray:
    """Of each row of `values` (R, W) over what is observed in it; NaN where nothing is."""
    there = ~np.isnan(values)
    count = there.sum(axis=1)
    none = count == 0
    if statistic in ("min", "max"):
        edge = np.inf if statistic == "min" else -np.inf
        found = getattr(np, statistic)(np.where(there, values, edge), axis=1)
    elif statistic == "median":
        ascending = np.sort(values, axis=1)  # NaN come last
        middle = np.maximum(count - 1, 0)
        each = np.arange(len(values))
        found = (ascending[each, middle // 2] + ascending[each, (middle + 1) // 2]) / 2
    else:
        total = np.where(there, values, 0.0).sum(axis=1)
        mean = total / np.maximum(count, 1)
        if statistic == "std":
            away = np.where(there, values - mean[:, None], 0.0)
            found = np.sqrt((away**2).sum(axis=1) / np.maximum(count, 1))
        else:
            found = total if statistic == "sum" else mean
    return np.where(none, np.nan, found)
