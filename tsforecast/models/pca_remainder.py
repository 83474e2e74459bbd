"""What the main components of the training windows leave unexplained: the linear autoencoder, without training.

Scores of whole windows are there for comparison: "mahalanobis", and "sub_pca", which leads the TSB-AD leaderboard.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

import numpy as np

from tsforecast.errors import OptionError
from tsforecast.models.base import About, Callback
from tsforecast.models.detector import Core, Detector, Evidence, Rows
from tsforecast.models.detector_windows import check_window, choose_window
from tsforecast.models.evidence import LEAST_SEEN, centred_mean, judgeable
from tsforecast.models.window_arrays import BoolArray, chunks, ending_windows, training_windows, without_holes
from tsforecast.nn.config import TrainConfig
from tsforecast.panel import FloatArray

Score = Literal["remainder", "mahalanobis", "sub_pca"]
SCORES = ("remainder", "mahalanobis", "sub_pca")
MOST_WINDOWS = 20_000  # of all series and channels that the components are fitted to
LEAST_VARIANCE = 1e-6  # of a component, as a share of the largest, where windows are divided by it
ROUNDS = 3  # of filling holes by what the components make of the rest
RIDGE = 1e-6  # of the variance, where the last step of a window is told from the others
Pass = tuple[FloatArray, FloatArray, FloatArray, FloatArray]  # see `_remainders`


@dataclass(frozen=True, kw_only=True)
class PCARemainder(Detector):
    """Squared remainder of each step behind the main components of the windows that cover it."""

    name: ClassVar[str] = "pca_remainder"
    about: ClassVar[About] = About(
        family="baseline",
        scope="global",
        source="Aggarwal 2017, Outlier Analysis, ch. 3",
        minimal_history="two windows of one series",
        needs_training=False,
    )

    window: int | None = None  # steps; None = the main season of the data, 64 where they show none
    components: int = 8  # kept, at most half of the steps of a window; the whole-window scores keep all
    score: Score = "remainder"  # "mahalanobis": of the window | "sub_pca": distance to each component over its share of variance

    def __post_init__(self) -> None:
        check_window(self.window)
        if not isinstance(self.components, int) or isinstance(self.components, bool) or self.components < 1:
            raise OptionError(f"components must be a positive whole number, got {self.components!r}", field="components")
        if self.score not in SCORES:
            raise OptionError(f"score must be one of {', '.join(SCORES)}, got {self.score!r}", field="score")

    @classmethod
    def tiny(cls) -> Self:
        return cls()

    @classmethod
    def core_class(cls) -> type["PCARemainderCore"]:
        return PCARemainderCore

    def learn(
        self, series: Sequence[Rows], *, seed: int, train: TrainConfig | None, callbacks: Sequence[Callback]
    ) -> tuple["PCARemainderCore", dict[str, Any]]:
        windows, _ = training_windows(series, choose_window(series, self.window), MOST_WINDOWS)
        mean = windows.mean(axis=0)
        away = windows - mean
        scale = np.ones_like(mean)
        if self.score == "sub_pca":
            scale = np.maximum(np.sqrt((away**2).mean(axis=0)), 1e-9)
            away = away / scale
        variance, vectors = np.linalg.eigh(away.T @ away / len(away))
        variance, vectors = np.maximum(variance[::-1], 0.0), vectors[:, ::-1]
        kept = min(self.components, max(len(mean) // 2, 1)) if self.score == "remainder" else len(mean)
        core = PCARemainderCore(
            self.score, mean=mean, scale=scale, components=np.ascontiguousarray(vectors[:, :kept].T), variance=variance
        )
        explained = float(variance[:kept].sum() / max(variance.sum(), 1e-300))
        return core, {"windows": len(windows), "explained_variance": explained}


class PCARemainderCore(Core):
    """Mean and main components of windows."""

    def __init__(
        self, score: Score, *, mean: FloatArray, scale: FloatArray, components: FloatArray, variance: FloatArray
    ) -> None:
        self.score, self.mean, self.scale = score, mean, scale  # (w,), (w,)
        self.components, self.variance = components, variance  # (k, w), (w,) of all components
        self.window = self.width = len(mean)
        self.kinds = (score,)
        self.reach = self.window - 1
        self.delay = 2 * (self.window - 1) - self.window // 2 if score == "remainder" else self.window // 2
        self._last = self._last_step()
        self._floored = np.maximum(variance, LEAST_VARIANCE * max(float(variance[0]), 1e-12))

    # The contract

    def evidence(self, rows: Rows) -> Evidence:
        there, nothing = np.isfinite(rows.values), np.full_like(rows.values, np.nan)
        causal, revised = nothing.copy(), nothing.copy()
        expected, revised_expected = nothing.copy(), nothing.copy()
        for c in range(rows.values.shape[1]):
            if self.score == "remainder":
                found = self._remainders(rows.values[:, c], len(rows), whole=True)
                causal[:, c], expected[:, c], covering, revised_expected[:, c] = found
                revised[:, c] = centred_mean(covering, self.window)
            else:
                causal[:, c] = self._distances(rows.values[:, c], len(rows))
                centre = np.minimum(np.arange(len(rows)) + self.window // 2, len(rows) - 1)
                revised[:, c] = causal[centre, c]
        return Evidence(
            causal=np.where(there, causal, np.nan)[None],
            revised=np.where(there, revised, np.nan)[None],
            expected=expected,
            revised_expected=revised_expected,
        )

    def causal(self, rows: Rows, newest: int) -> tuple[FloatArray, FloatArray]:
        values = rows.last(newest + self.reach).values
        found, expected = np.full((newest, values.shape[1]), np.nan), np.full((newest, values.shape[1]), np.nan)
        for c in range(values.shape[1]):
            if self.score == "remainder":
                found[:, c], expected[:, c], _, _ = self._remainders(values[:, c], newest, whole=False)
            else:
                found[:, c] = self._distances(values[:, c], newest)
        return np.where(np.isfinite(values[len(values) - newest :]), found, np.nan)[None], expected

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        names = ("mean", "scale", "components", "variance")
        return {name: getattr(self, name) for name in names}, {"score": self.score}

    @classmethod
    def from_state(cls, recipe: Detector, arrays: Mapping[str, np.ndarray], values: Mapping[str, Any]) -> "PCARemainderCore":
        return cls(values["score"], **arrays)

    # Windows of one channel

    def _remainders(self, values: FloatArray, newest: int, *, whole: bool) -> Pass:
        """Of the `newest` last of the values (T,): mean squared remainder of the window that ends there, what its other steps
        let expect of its last; and, if `whole`, means over all windows that cover the step: squared remainder, value."""
        width = self.window
        windows = ending_windows(values, width)[len(values) - newest :]
        remainder, expected = np.full(newest, np.nan), np.full(newest, np.nan)
        errors, fitted, counts = (np.zeros(newest + width - 1) for _ in range(3))  # from the first step of the first window
        judged = np.zeros(newest + width - 1)
        judgeable_ones = self._judgeable(values)[len(values) - newest :]
        for part in chunks(newest):
            filled, seen = without_holes(windows[part])
            enough, told = judgeable_ones[part], seen.mean(axis=1) >= LEAST_SEEN
            if not told.any():
                continue
            rebuilt = self._rebuilt(filled, seen)
            squares = np.where(seen & enough[:, None], (filled - rebuilt) ** 2, 0.0)
            remainder[part] = np.where(enough, squares.sum(axis=1) / np.maximum(seen.sum(axis=1), 1), np.nan)
            expected[part] = np.where(told, self.mean[-1] + (filled[:, :-1] - self.mean[:-1]) @ self._last, np.nan)
            if not whole:
                continue
            for place in range(width):
                steps = slice(part.start + place, part.stop + place)
                errors[steps] += squares[:, place]
                judged[steps] += seen[:, place] & enough
                fitted[steps] += np.where(told, rebuilt[:, place], 0.0)
                counts[steps] += told
        covering = np.where(judged > 0, errors / np.maximum(judged, 1), np.nan)[width - 1 :]
        return remainder, expected, covering, np.where(counts > 0, fitted / np.maximum(counts, 1), np.nan)[width - 1 :]

    def _judgeable(self, values: FloatArray) -> BoolArray:
        """Which of the windows that end at each of the values (T,) are judged, (T,)."""
        return judgeable(np.isfinite(values)[:, None], self.window, self.least_seen)[:, 0]

    def _rebuilt(self, filled: FloatArray, seen: BoolArray) -> FloatArray:
        """What the main components make of windows (B, w); holes do not take part."""
        rebuilt: FloatArray = self.mean + (filled - self.mean) @ self.components.T @ self.components
        holed = np.flatnonzero(~seen.all(axis=1))
        for _ in range(ROUNDS if len(holed) else 0):
            better = np.where(seen[holed], filled[holed], rebuilt[holed]) - self.mean
            rebuilt[holed] = self.mean + better @ self.components.T @ self.components
        return rebuilt

    def _last_step(self) -> FloatArray:
        """Weights of the other steps of a window, (w - 1,), for its last: regression on the main components."""
        others, last = self.components[:, :-1], self.components[:, -1]  # (k, w - 1), (k,)
        grown = others * self.variance[: len(self.components), None]
        noise = float(self.variance[len(self.components) :].sum()) / max(self.window - len(self.components), 1)
        least = RIDGE * max(float(self.variance[0]), 1e-12)
        among = grown.T @ others + max(noise, least) * np.eye(self.window - 1)
        found: FloatArray = np.linalg.solve(among, grown.T @ last).astype(np.float64)
        return found

    def _distances(self, values: FloatArray, newest: int) -> FloatArray:
        """Score of the window that ends at each of the `newest` last of the values (T,)."""
        windows = ending_windows(values, self.window)[len(values) - newest :]
        found = np.full(newest, np.nan)
        judgeable_ones = self._judgeable(values)[len(values) - newest :]
        for part in chunks(newest):
            filled, _ = without_holes(windows[part])
            enough = judgeable_ones[part]
            away = (filled - self.mean) / self.scale
            along = away @ self.components.T  # (B, w)
            score: FloatArray
            if self.score == "mahalanobis":
                score = (along**2 / self._floored).mean(axis=1)
            else:  # as PyOD: the components themselves are the points that windows are far from
                squares = (away**2).sum(axis=1)[:, None] + 1.0 - 2.0 * along
                score = (np.sqrt(np.maximum(squares, 0.0)) * (self._floored.sum() / self._floored)).sum(axis=1)
            found[part] = np.where(enough, score, np.nan)
        return found
