"""Windows of one channel, their holes, and evidence from a score of each window; numpy only.

The window of a step is the one that ends at it. One of which too little is observed is not judged.
"""

from abc import abstractmethod
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from tsforecast.models.detector import Core, Evidence, Rows, refuse_short
from tsforecast.models.evidence import centred_mean, judgeable, trailing_mean
from tsforecast.panel import FloatArray

AT_ONCE = 1024  # windows worked on together: what is made of them stays below some 20 MB
BoolArray = npt.NDArray[np.bool_]


class WindowScoreCore(Core):
    """A core that gives each window of a channel one number: the causal evidence against its last step.

    Revised evidence is the mean over all windows that cover a step, then a centred mean over one window: smoothing by a
    window does more for such scores than any change of the model (shared/design/ANOMALY.md, section 2.2).
    """

    smoothing = 1.0  # windows of the centred mean
    power = 1  # of the score, once it is smoothed

    def __init__(self, window: int) -> None:
        self.window = self.width = window
        self.reach = window - 1
        self.delay = 2 * (window - 1) - window // 2

    @abstractmethod
    def window_scores(self, windows: FloatArray, seen: BoolArray) -> FloatArray:
        """Windows (B, w) whose holes are filled, and which steps were `seen` -> scores (B,), non-negative."""

    def evidence(self, rows: Rows) -> Evidence:
        causal = self._scores(rows, len(rows))
        revised = centred_mean(covering_mean(causal, self.window), max(round(self.smoothing * self.window), 1)) ** self.power
        nothing, there = np.full_like(rows.values, np.nan), np.isfinite(rows.values)
        return Evidence(
            causal=np.where(there, causal**self.power, np.nan)[None],
            revised=np.where(there, revised, np.nan)[None],
            expected=nothing,
            revised_expected=nothing,
        )

    def causal(self, rows: Rows, newest: int) -> tuple[FloatArray, FloatArray]:
        found = self._scores(rows.last(newest + self.reach), newest)
        there = np.isfinite(rows.values[-newest:])
        return np.where(there, found**self.power, np.nan)[None], np.full_like(found, np.nan)

    def _scores(self, rows: Rows, newest: int) -> FloatArray:
        """Scores of the windows that end at the `newest` last rows, (newest, C); NaN where too little is observed."""
        found = np.full((newest, rows.values.shape[1]), np.nan)
        judged = judgeable(np.isfinite(rows.values), self.window, self.least_seen)[len(rows) - newest :]
        for c in range(found.shape[1]):
            windows = ending_windows(rows.values[:, c], self.window)[len(rows) - newest :]
            for part in chunks(newest):
                filled, seen = without_holes(windows[part])
                enough = judged[part, c]
                if enough.any():
                    found[part, c][enough] = self.window_scores(filled[enough], seen[enough])
        return found


def chunks(count: int, size: int = AT_ONCE) -> Iterator[slice]:
    """Slices of at most `size` that together are 0 … count."""
    for first in range(0, count, size):
        yield slice(first, min(first + size, count))


def ending_windows(values: FloatArray, width: int) -> FloatArray:
    """The window that ends at each of the values (T,), (T, width), NaN before the first; a view, not to be written to."""
    if not len(values):
        return np.zeros((0, width))
    padded = np.concatenate([np.full(width - 1, np.nan), values])
    return np.lib.stride_tricks.sliding_window_view(padded, width)


def without_holes(windows: FloatArray) -> tuple[FloatArray, BoolArray]:
    """Windows (B, w) with their holes on a straight line between the neighbours, held at the ends; which steps were seen.

    Only the window itself is looked at, so what comes after it cannot tell. A window without any value is all 0.
    """
    seen = np.isfinite(windows)
    if seen.all():
        return windows, seen
    filled = np.where(seen, windows, 0.0)
    holed = np.flatnonzero(~seen.all(axis=1) & seen.any(axis=1))
    here, width = seen[holed], windows.shape[1]
    step = np.arange(width)
    left = np.maximum.accumulate(np.where(here, step, -1), axis=1)
    right = np.minimum.accumulate(np.where(here, step, width)[:, ::-1], axis=1)[:, ::-1]
    left, right = np.where(left < 0, right, left), np.where(right >= width, left, right)
    weight = (step - left) / np.maximum(right - left, 1)
    values = filled[holed]
    before, after = (np.take_along_axis(values, side, axis=1) for side in (left, right))
    filled[holed] = np.where(left == right, before, before + weight * (after - before))
    return filled, seen


def training_windows(series: Sequence[Rows], width: int, most: int) -> tuple[FloatArray, BoolArray]:
    """At most `most` windows of all channels of all series, evenly spaced in time: (M, width) without holes, what was seen.

    Raises:
        HistoryTooShort: there is none.
    """
    places: list[tuple[int, int, npt.NDArray[np.int64]]] = []  # series, channel, last rows of windows that will do
    for number, rows in enumerate(series):
        if len(rows) < width:
            continue
        sums = np.cumsum(np.isfinite(rows.values), axis=0)
        sums = sums[width - 1 :] - np.concatenate([np.zeros_like(sums[:1]), sums[:-width]])
        for c in range(rows.values.shape[1]):
            if len(ends := np.flatnonzero(2 * sums[:, c] >= width) + width - 1):
                places.append((number, c, ends))
    counts = np.cumsum([0, *(len(ends) for _, _, ends in places)])
    if not counts[-1]:
        refuse_short(series, need=2 * width)
    picked = np.unique(np.linspace(0, counts[-1] - 1, min(most, int(counts[-1]))).astype(np.int64))
    owner = np.searchsorted(counts, picked, side="right") - 1
    found = np.empty((len(picked), width))
    for i in np.unique(owner):
        number, c, ends = places[i]
        mine = owner == i
        found[mine] = ending_windows(series[number].values[:, c], width)[ends[picked[mine] - counts[i]]]
    return without_holes(found)


def covering_mean(scores: FloatArray, width: int) -> FloatArray:
    """Scores of the windows that end at each step (T, …) -> mean over the windows that cover it; NaN are left out."""
    return trailing_mean(scores[::-1], width)[::-1]


def median_of_seen(values: FloatArray) -> FloatArray:
    """Median along the last axis of what is not NaN, (…, n) -> (…); NaN where nothing is. `nanmedian` takes minutes."""
    if not values.shape[-1]:
        return np.full(values.shape[:-1], np.nan)
    ranked = np.sort(values, axis=-1)  # NaN last
    count = np.isfinite(values).sum(axis=-1)[..., None]
    low, high = (np.take_along_axis(ranked, place, axis=-1)[..., 0] for place in (np.maximum(count - 1, 0) // 2, count // 2))
    found: FloatArray = 0.5 * (low + high)
    return found
