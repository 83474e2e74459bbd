"""Distance of the shape of each window to the nearest shape of the training data, whatever its level and its size.

It sees what amplitude scores do not: a beat of the wrong form, a season that came early. The join of all windows with all
training windows (Yeh et al. 2016, Matrix Profile I) needs numba where it is to be fast (stumpy), time that grows with the
square of the rows, and all training rows at scoring. Here the memory is some 2,000 windows, evenly spaced, and the search
an exact product of matrices: shared/design/ANOMALY.md, section 2.2, took its numbers with that.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np

from tsforecast.errors import OptionError
from tsforecast.models.base import About, Callback
from tsforecast.models.detector import Detector, Rows
from tsforecast.models.detector_windows import check_window, choose_window, period_of
from tsforecast.models.window_arrays import BoolArray, WindowScoreCore, training_windows
from tsforecast.nn.config import TrainConfig
from tsforecast.panel import FloatArray

SHORTEST_SHAPE = 32  # steps: fewer have no shape to speak of
MOST_POINTS = 128  # of a shape; longer windows are compared by means of neighbouring steps
FLAT = 0.1  # standard deviation of a window, in those of its channel, below which its noise is no shape


@dataclass(frozen=True, kw_only=True)
class ShapeNeighbour(Detector):
    """Mean squared difference of each z-normalised window to its nearest z-normalised training windows."""

    name: ClassVar[str] = "shape_neighbour"
    about: ClassVar[About] = About(
        family="baseline",
        scope="global",
        source="Yeh et al. 2016, Matrix Profile I, against a sample of the training windows",
        minimal_history="two windows of one series",
        needs_training=False,
    )

    window: int | None = None  # steps; None = as many periods of the data as make 32, 64 where they show none
    memory: int = 2000  # training windows that are kept, evenly spaced over all series and channels
    neighbours: int = 1  # nearest training windows whose distance is averaged

    def __post_init__(self) -> None:
        check_window(self.window, least=4)
        for field in ("memory", "neighbours"):
            value = getattr(self, field)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise OptionError(f"{field} must be a positive number of windows, got {value!r}", field=field)
        if self.neighbours > self.memory:
            raise OptionError(
                f"neighbours ({self.neighbours}) are looked for among memory ({self.memory}) windows; ask for fewer",
                field="neighbours",
            )

    @classmethod
    def tiny(cls) -> Self:
        return cls(memory=200)

    @classmethod
    def core_class(cls) -> type["ShapeNeighbourCore"]:
        return ShapeNeighbourCore

    def learn(
        self, series: Sequence[Rows], *, seed: int, train: TrainConfig | None, callbacks: Sequence[Callback]
    ) -> tuple["ShapeNeighbourCore", dict[str, Any]]:
        width = self._width(series)
        every = -(-width // MOST_POINTS)
        windows, _ = training_windows(series, width // every * every, self.memory)
        core = ShapeNeighbourCore(normalised(coarse(windows, every)), self.neighbours, every)
        return core, {"windows": len(windows), "window": core.window, "every": every}

    def _width(self, series: Sequence[Rows]) -> int:
        """Steps of a window: whole periods, because the place in the period is no shape."""
        if self.window is not None:
            return choose_window(series, self.window)
        longest = max((len(rows) for rows in series), default=0)
        period = period_of(series)
        if period is None or longest < 4 * SHORTEST_SHAPE:
            return choose_window(series)
        return min(period * -(-SHORTEST_SHAPE // period), longest // 3)


class ShapeNeighbourCore(WindowScoreCore):
    """Normalised training windows (M, w)."""

    kinds = ("shape",)
    smoothing = 0.25
    power = 2

    def __init__(self, memory: FloatArray, neighbours: int, every: int = 1) -> None:
        super().__init__(memory.shape[1] * every)
        self.every = every  # steps that are one point of a shape
        self.memory, self.neighbours = memory, min(neighbours, len(memory))
        self._half = 0.5 * (memory**2).sum(axis=1)  # (M,)
        self._least = np.where((memory**2).mean(axis=1) < 0.99, 1.0, FLAT)  # (M,) of its deviation; those below 1 were flat

    def window_scores(self, windows: FloatArray, seen: BoolArray) -> FloatArray:
        points = coarse(seen.astype(np.float64), self.every)  # share of each point that was seen
        means = coarse(np.where(seen, windows, 0.0), self.every) / np.maximum(points, 1e-9)
        total = np.zeros(len(windows))
        whole = points.min(axis=1) > 0
        for these, near in ((whole, self._near), (~whole, self._near_seen)):
            if not these.any():
                continue
            known = points[these] > 0
            shapes = normalised(means[these], known)
            away = near(shapes, known)
            count = self.neighbours
            places = away.argmin(axis=1)[:, None] if count == 1 else np.argpartition(away, count - 1, axis=1)[:, :count]
            for place in places.T:  # once more from the differences: the product loses the digits of small distances
                other = self.memory[place]
                beside = other if known.all() else normalised(other, known, least=self._least[place])
                total[these] += np.sqrt(((shapes - beside) ** 2).sum(axis=1) / known.sum(axis=1))
        found: FloatArray = total / self.neighbours
        return found

    def _near(self, shapes: FloatArray, known: BoolArray) -> FloatArray:
        """Half the squared distance to each of the memory, less half the size of the shape, (B, M)."""
        found: FloatArray = self._half - shapes @ self.memory.T
        return found

    def _near_seen(self, shapes: FloatArray, known: BoolArray) -> FloatArray:
        """The same from the points that are known (B, w) alone, for which each of the memory is normalised anew, (B, M).

        A straight line through the holes would be a shape of its own, and no training window has it.
        """
        mask = known.astype(np.float64)
        count = mask.sum(axis=1, keepdims=True)
        mean = mask @ self.memory.T / count
        size = np.sqrt(np.maximum(mask @ (self.memory**2).T / count - mean**2, 0.0))
        scale = np.maximum(size, self._least)
        found: FloatArray = 0.5 * count * (size / scale) ** 2 - shapes @ self.memory.T / scale
        return found

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        return {"memory": self.memory}, {"neighbours": self.neighbours, "every": self.every}

    @classmethod
    def from_state(cls, recipe: Detector, arrays: Mapping[str, np.ndarray], values: Mapping[str, Any]) -> "ShapeNeighbourCore":
        return cls(arrays["memory"], int(values["neighbours"]), int(values["every"]))


def coarse(windows: FloatArray, every: int) -> FloatArray:
    """Windows (B, w * every) -> means of `every` steps, (B, w)."""
    if every == 1:
        return windows
    found: FloatArray = windows.reshape(len(windows), -1, every).mean(axis=2)
    return found


def normalised(windows: FloatArray, known: BoolArray | None = None, *, least: float | FloatArray = FLAT) -> FloatArray:
    """Windows (B, w) with mean 0 and variance 1; flat ones shrink to 0, at distance 1 from any shape and 0 from each other.

    Args:
        windows: in standard deviations of their channel.
        known: (B, w), the points that count; the others are 0. None = all of them.
        least: standard deviation below which a window is flat, one number or (B,).
    """
    if known is None or known.all():
        known = np.ones(windows.shape, dtype=np.bool_)
    count = known.sum(axis=1, keepdims=True)
    away = np.where(known, windows - np.where(known, windows, 0.0).sum(axis=1, keepdims=True) / count, 0.0)
    size = np.sqrt((away**2).sum(axis=1, keepdims=True) / count)
    found: FloatArray = away / np.maximum(size, np.reshape(least, (-1, 1)))
    return found
