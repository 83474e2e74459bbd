"""Mean squared standard score over one season: the baseline that a detector has to beat.

With all components kept, a PCA of windows scored by distance over explained variance is this, to a rank correlation of
0.96 to 0.999; it leads public leaderboards.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np

from tsforecast.models.base import About, Callback
from tsforecast.models.detector import Core, Detector, Evidence, Rows
from tsforecast.models.detector_windows import check_window, choose_window
from tsforecast.models.evidence import LEAST_SEEN, centred_mean, judgeable, trailing_mean
from tsforecast.nn.config import TrainConfig
from tsforecast.panel import FloatArray


@dataclass(frozen=True, kw_only=True)
class WindowEnergy(Detector):
    """Mean of the squared standard score over a window of one season."""

    name: ClassVar[str] = "window_energy"
    about: ClassVar[About] = About(
        family="baseline",
        scope="global",
        source="equal in rank to Sub-PCA: Aggarwal 2017, Outlier Analysis, ch. 3",
        minimal_history="16 steps of one series",
        needs_training=False,
    )

    window: int | None = None  # steps; None = the main season of the data, 64 where they show none

    def __post_init__(self) -> None:
        check_window(self.window)

    @classmethod
    def tiny(cls) -> Self:
        return cls()

    @classmethod
    def core_class(cls) -> type["WindowEnergyCore"]:
        return WindowEnergyCore

    def learn(
        self, series: Sequence[Rows], *, seed: int, train: TrainConfig | None, callbacks: Sequence[Callback]
    ) -> tuple["WindowEnergyCore", dict[str, Any]]:
        return WindowEnergyCore(choose_window(series, self.window)), {}


class WindowEnergyCore(Core):
    """Nothing but the width of the window."""

    kinds = ("energy",)

    def __init__(self, window: int) -> None:
        self.window = self.width = window
        self.reach, self.delay = window - 1, window - 1 - window // 2

    def evidence(self, rows: Rows) -> Evidence:
        energy = rows.values**2
        there = np.isfinite(energy)
        enough = there & judgeable(there, self.window, self.least_seen)
        beside = there & (centred_mean(there.astype(np.float64), self.window) >= LEAST_SEEN)
        return Evidence(
            causal=np.where(enough, trailing_mean(energy, self.window), np.nan)[None],
            revised=np.where(beside, centred_mean(energy, self.window), np.nan)[None],
            expected=np.zeros_like(energy),
            revised_expected=np.zeros_like(energy),
        )

    def causal(self, rows: Rows, newest: int) -> tuple[FloatArray, FloatArray]:
        found = self.evidence(rows.last(newest + self.reach))
        return found.causal[:, -newest:], found.expected[-newest:]

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        return {}, {"window": self.window}

    @classmethod
    def from_state(cls, recipe: Detector, arrays: Mapping[str, np.ndarray], values: Mapping[str, Any]) -> "WindowEnergyCore":
        return cls(int(values["window"]))
