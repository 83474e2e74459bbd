"""The level of a stretch of steps against that of its neighbours: sees steps and slow bumps that windows learn to follow."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np

from tsforecast.models.base import About, Callback
from tsforecast.models.detector import Core, Detector, Evidence, Rows, refuse_short
from tsforecast.models.detector_windows import check_window
from tsforecast.models.evidence import centred_mean, trailing_mean
from tsforecast.nn.config import TrainConfig
from tsforecast.panel import FloatArray


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
        return LocalLevelCore(max(min(self.window, longest // 4), 2)), {}


class LocalLevelCore(Core):
    """Nothing but the width of the window."""

    kinds = ("level",)

    def __init__(self, window: int) -> None:
        self.window = self.width = window
        self.reach, self.delay = 2 * window - 1, 2 * window

    def evidence(self, rows: Rows) -> Evidence:
        """Causal: the newest window against the one before it. Revised: each against those on both sides, then a mean."""
        values, window = rows.values, self.window
        newest = trailing_mean(values, window)  # (T, C), of the window that ends at each step
        ahead = window - 1 - window // 2  # steps from the middle of a window to its end
        middle, left, right = (_shifted(newest, by) for by in (ahead, ahead - window, ahead + window))
        sides = np.stack([left, right])
        known = np.isfinite(sides)
        beside = np.where(known, sides, 0.0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
        beside[~known.any(axis=0)] = np.nan
        contrast = np.abs(np.where(np.isfinite(middle), middle, newest) - beside)
        there = np.isfinite(values)
        return Evidence(
            causal=np.where(there, np.abs(newest - _shifted(newest, -window)), np.nan)[None],
            revised=np.where(there, centred_mean(contrast, window), np.nan)[None],
            expected=np.full_like(values, np.nan),
            revised_expected=np.full_like(values, np.nan),
        )

    def causal(self, rows: Rows, newest: int) -> tuple[FloatArray, FloatArray]:
        short = rows.last(newest + self.reach).values
        means = trailing_mean(short, self.window)
        found = np.abs(means - _shifted(means, -self.window))[-newest:]
        return np.where(np.isfinite(short[-newest:]), found, np.nan)[None], np.full(found.shape, np.nan)

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        return {}, {"window": self.window}

    @classmethod
    def from_state(cls, recipe: Detector, arrays: Mapping[str, np.ndarray], values: Mapping[str, Any]) -> "LocalLevelCore":
        return cls(int(values["window"]))


def _shifted(values: FloatArray, by: int) -> FloatArray:
    """values[t + by] at each t, NaN where there is none, (T, C)."""
    found = np.full_like(values, np.nan)
    if by >= 0:
        found[: max(len(values) - by, 0)] = values[by:]
    else:
        found[-by:] = values[:by]
    return found
