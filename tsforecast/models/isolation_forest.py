"""How few random cuts set a window apart from others: an isolation forest on windows.

Grown by scikit-learn, kept as plain arrays and walked by numpy: a stored forest is no pickle, and its scores do not change
with the version of the library. Source: Liu, Ting & Zhou 2008, Isolation Forest.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np

from tsforecast.errors import OptionError
from tsforecast.models.base import About, Callback
from tsforecast.models.detector import Detector, Rows
from tsforecast.models.detector_windows import check_window, choose_window
from tsforecast.models.window_arrays import BoolArray, WindowScoreCore, training_windows
from tsforecast.nn.config import TrainConfig
from tsforecast.panel import FloatArray

MOST_WINDOWS = 20_000  # of all series and channels that the samples are drawn from


@dataclass(frozen=True, kw_only=True)
class IsolationForest(Detector):
    """Anomaly score of an isolation forest on windows; those of all channels and series are in one forest."""

    name: ClassVar[str] = "isolation_forest"
    about: ClassVar[About] = About(
        family="forest",
        scope="global",
        source="Liu, Ting & Zhou 2008, Isolation Forest",
        minimal_history="two windows of one series",
        needs_training=False,
    )

    window: int | None = None  # steps; None = the main season of the data, 64 where they show none
    trees: int = 100  # in the forest
    samples: int = 256  # windows that each tree is grown from

    def __post_init__(self) -> None:
        check_window(self.window)
        for field, least in {"trees": 1, "samples": 2}.items():
            value = getattr(self, field)
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise OptionError(f"{field} must be a whole number from {least} on, got {value!r}", field=field)

    @classmethod
    def tiny(cls) -> Self:
        return cls(trees=20, samples=64)

    @classmethod
    def core_class(cls) -> type["IsolationForestCore"]:
        return IsolationForestCore

    def learn(
        self, series: Sequence[Rows], *, seed: int, train: TrainConfig | None, callbacks: Sequence[Callback]
    ) -> tuple["IsolationForestCore", dict[str, Any]]:
        from sklearn import ensemble  # type: ignore[import-untyped]  # scikit-learn ships no type stubs

        windows, _ = training_windows(series, choose_window(series, self.window), MOST_WINDOWS)
        samples = min(self.samples, len(windows))
        forest = ensemble.IsolationForest(n_estimators=self.trees, max_samples=samples, random_state=seed).fit(windows)
        nodes = forest_arrays([tree.tree_ for tree in forest.estimators_])
        return IsolationForestCore(window=windows.shape[1], samples=samples, **nodes), {"windows": len(windows)}


class IsolationForestCore(WindowScoreCore):
    """The nodes of all trees, end to end; a leaf leads to itself."""

    kinds = ("isolation",)

    def __init__(
        self,
        *,
        window: int,
        samples: int,
        roots: np.ndarray,
        left: np.ndarray,
        right: np.ndarray,
        feature: np.ndarray,
        threshold: np.ndarray,
        depth: np.ndarray,
        length: np.ndarray,
    ) -> None:
        super().__init__(window)
        self.samples, self.roots = samples, roots  # roots (trees,)
        self.left, self.right, self.feature, self.threshold = left, right, feature, threshold  # (nodes,)
        self.depth, self.length = depth, length  # (nodes,) edges from the root; … and those its samples would still take
        self._usual = max(float(expected_length(np.asarray([samples]))[0]), 1e-12)
        ends = np.concatenate([roots[1:], [len(depth)]])
        self._steps = [int(depth[first:end].max()) for first, end in zip(roots, ends, strict=True)]

    def window_scores(self, windows: FloatArray, seen: BoolArray) -> FloatArray:
        exact = windows.astype(np.float32).astype(np.float64)  # trees were cut on single precision
        flat, start = exact.ravel(), np.arange(len(exact)) * exact.shape[1]
        total = np.zeros(len(exact))
        for root, steps in zip(self.roots, self._steps, strict=True):
            node = np.full(len(exact), root)
            for _ in range(steps):
                below = flat[start + self.feature[node]] <= self.threshold[node]
                node = np.where(below, self.left[node], self.right[node])
            total += self.length[node]
        found: FloatArray = 2.0 ** (-total / (len(self.roots) * self._usual))
        return found

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        names = ("roots", "left", "right", "feature", "threshold", "depth", "length")
        return {name: getattr(self, name) for name in names}, {"window": self.window, "samples": self.samples}

    @classmethod
    def from_state(cls, recipe: Detector, arrays: Mapping[str, np.ndarray], values: Mapping[str, Any]) -> "IsolationForestCore":
        return cls(window=int(values["window"]), samples=int(values["samples"]), **arrays)


def forest_arrays(trees: Sequence[Any]) -> dict[str, np.ndarray]:
    """Trees of scikit-learn -> arrays of their nodes, end to end."""
    roots = np.cumsum([0, *(tree.node_count for tree in trees[:-1])])
    parts: dict[str, list[np.ndarray]] = {name: [] for name in ("left", "right", "feature", "threshold", "depth", "length")}
    for root, tree in zip(roots, trees, strict=True):
        leaf = tree.children_left < 0
        itself = np.arange(tree.node_count)
        left, right = np.where(leaf, itself, tree.children_left), np.where(leaf, itself, tree.children_right)
        depth = np.zeros(tree.node_count, dtype=np.int64)
        for node in np.flatnonzero(~leaf):  # parents come before their children
            depth[[left[node], right[node]]] = depth[node] + 1
        parts["left"].append(left + root)
        parts["right"].append(right + root)
        parts["feature"].append(np.where(leaf, 0, tree.feature))
        parts["threshold"].append(np.where(leaf, 0.0, tree.threshold))
        parts["depth"].append(depth)
        parts["length"].append(depth + expected_length(tree.n_node_samples))
    return {"roots": roots, **{name: np.concatenate(some) for name, some in parts.items()}}


def expected_length(samples: np.ndarray) -> FloatArray:
    """Mean length of the path to one of so many samples, were they cut at random: c(n) of the paper."""
    count = np.maximum(samples, 3).astype(np.float64)
    many = 2.0 * (np.log(count - 1.0) + np.euler_gamma) - 2.0 * (count - 1.0) / count
    found: FloatArray = np.select([samples <= 1, samples == 2], [0.0, 1.0], many)
    return found
