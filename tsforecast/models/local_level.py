"""The level of a stretch of steps against that of its neighbours: sees steps and slow bumps that windows learn to follow."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np

from tsforecast.models.base import About, Callback
from tsforecast.models.detector import Core, Detector, Evidence, Rows, refuse_short
from tsforecast.models.detector_windows import check_window, period_of
from tsforecast.models.evidence import LEAST_SEEN, centred_mean, judgeable, trailing_mean
from tsforecast.nn.config import TrainConfig
from tsforecast.panel import FloatArray

ONE_SIDED = 0.75**0.5  # deviation of a mean less the mean of two others, over that of a mean less one other
PERIODS = 3  # how far back a value is looked for that stands in for a missing one
NEARLY_ALL = 0.95  # share of a window that must be seen or filled where there is a season: the mean of half a day is no level


@dataclass(frozen=True, kw_only=True)
class LocalLevel(Detector):
    """Absolute difference of the mean of a window to the mean of the windows beside it."""

    name: ClassVar[str] = "local_level"
    about: ClassVar[About] = About(
        family="baseline",
        scope="global",
        source="in the spirit of POLY: Li et al. 2007, Unifying framework for detecting outliers",
        minimal_history="two windows of one series",
        needs_training=False,
    )

    window: int = 64  # steps

    def __post_init__(self) -> None:
        check_window(self.window)

    @classmethod
    def tiny(cls) -> Self:
        return cls(window=16)

    @classmethod
    def core_class(cls) -> type["LocalLevelCore"]:
        return LocalLevelCore

    def learn(
        self, series: Sequence[Rows], *, seed: int, train: TrainConfig | None, callbacks: Sequence[Callback]
    ) -> tuple["LocalLevelCore", dict[str, Any]]:
        longest = max((len(rows) for rows in series), default=0)
        if longest < 16 or not any(np.isfinite(rows.values).any() for rows in series):
            refuse_short(series, need=16)
        window, period = max(min(self.window, longest // 4), 2), period_of(series) or 0
        return LocalLevelCore(window, period if period <= window else 0), {}


class LocalLevelCore(Core):
    """Nothing but the width of the window, and the period by which holes are filled; 0 = there is none."""

    kinds = ("level",)

    def __init__(self, window: int, period: int) -> None:
        self.window = self.width = window
        self.period = period
        self.reach, self.delay = 2 * window - 1 + PERIODS * period, 2 * window

    def evidence(self, rows: Rows) -> Evidence:
        """Causal: the newest window against the one before it. Revised: each against those on both sides, then a mean."""
        values, window = rows.values, self.window
        steps = self._level_steps(values)
        ahead = window - 1 - window // 2  # steps from the middle of a window to its end
        sides = np.stack([_shifted(steps, ahead), -_shifted(steps, ahead + window)])  # less the one before, less the next
        known = np.isfinite(sides)
        contrast = np.abs(np.where(known, sides, 0.0).sum(axis=0) / np.maximum(known.sum(axis=0), 1))
        contrast *= np.where(known.all(axis=0), 1.0, ONE_SIDED)
        contrast[~known.any(axis=0)] = np.nan
        beside = centred_mean(np.isfinite(contrast).astype(np.float64), window)  # share of the window that says something
        there = np.isfinite(values)
        return Evidence(
            causal=np.where(there, np.abs(steps), np.nan)[None],
            revised=np.where(there & (beside >= 0.5), centred_mean(contrast, window), np.nan)[None],
            expected=np.full_like(values, np.nan),
            revised_expected=np.full_like(values, np.nan),
        )

    def causal(self, rows: Rows, newest: int) -> tuple[FloatArray, FloatArray]:
        short = rows.last(newest + self.reach).values
        found = np.abs(self._level_steps(short))[-newest:]
        return np.where(np.isfinite(short[-newest:]), found, np.nan)[None], np.full(found.shape, np.nan)

    def _level_steps(self, values: FloatArray) -> FloatArray:
        """Mean of the window that ends at each step less that of the window before it, (T, C); NaN where too little is seen.

        It is the mean of the differences between steps a window apart; holes are as they were a period or more before, lest what
        they hide of the season looks like a step.
        """
        window, seen = self.window, np.isfinite(values)
        filled = values
        for back in range(1, PERIODS + 1) if self.period else ():
            filled = np.where(np.isfinite(filled), filled, _shifted(values, -back * self.period))
        apart = filled - _shifted(filled, -window)
        enough = judgeable(seen, window, self.least_seen)
        enough[window:] &= enough[:-window].copy()  # the window before too
        enough[:window] = False
        least = NEARLY_ALL if self.period else LEAST_SEEN**2
        enough &= trailing_mean(np.isfinite(apart).astype(np.float64), window) >= least
        return np.where(enough, trailing_mean(apart, window), np.nan)

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        return {}, {"window": self.window, "period": self.period}

    @classmethod
    def from_state(cls, recipe: Detector, arrays: Mapping[str, np.ndarray], values: Mapping[str, Any]) -> "LocalLevelCore":
        return cls(int(values["window"]), int(values.get("period", 0)))


def _shifted(values: FloatArray, by: int) -> FloatArray:
    """values[t + by] at each t, NaN where there is none, (T, C)."""
    found = np.full_like(values, np.nan)
    if by >= 0:
        found[: max(len(values) - by, 0)] = values[by:]
    else:
        found[-by:] = values[:by]
    return found
