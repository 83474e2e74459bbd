"""(K, T, C) evidence -> (T,) scores: units in which evidence of different kinds adds up, and sums over windows and steps."""

from collections.abc import Sequence

import numpy as np

from tsforecast.anomaly.report import BoolArray
from tsforecast.panel import FloatArray

LEAST_SEEN = 0.5  # share of a window that must be observed to learn from it, to tell its holes, or to judge it
BAND_LEVELS = np.linspace(0.0, 1.0, 201)  # of held-out residuals that are remembered, for bands of any coverage
LEAST_SPREAD = 1e-3  # of a kind of evidence, as a share of its mean deviation: evidence that is mostly 0 has no MAD
CHANNEL_SHARE = 0.1  # of the channels, those with the highest scores, that make the score of a step


def units_of(evidence: FloatArray) -> FloatArray:
    """Median and median absolute deviation of each kind and channel, (2, K, C), of evidence (K, T, C); NaN without any.

    The tails stay heavy in these units, so the kind of evidence that stands out most decides (ANOMALY: sums of ranks or
    of p-values lose a quarter of the accuracy).
    """
    kinds, _, channels = evidence.shape
    units = np.full((2, kinds, channels), np.nan)
    for k in range(kinds):
        for c in range(channels):
            seen = evidence[k, :, c]
            seen = seen[np.isfinite(seen)]
            if not len(seen):
                continue
            median = np.median(seen)
            away = np.abs(seen - median)
            spread = max(float(np.median(away)), LEAST_SPREAD * float(away.mean()))
            units[:, k, c] = median, spread if spread > 0 else max(abs(float(median)), 1e-12)
    return units


def in_units(evidence: FloatArray, units: FloatArray, weights: Sequence[float] | None = None) -> FloatArray:
    """Sum over the kinds of evidence (K, T, C), each less its median over its deviation: channel scores (T, C).

    No channel has a smaller deviation than the median of all: one that hardly ever changes would else outshout the rest.
    `weights` (K,) are those of the kinds in the sum; None = 1 each. Of several kinds only what lies above the median
    counts: a kind that finds a step very ordinary does not excuse it.
    Kinds that cannot judge a step are left out of its sum; NaN where none can.
    """
    steps = (evidence - units[0][:, None, :]) / _usual_at_least(units[1])[:, None, :]
    if len(steps) > 1:
        steps = np.maximum(steps, 0.0)  # NaN stay
    if weights is not None:
        steps = steps * np.asarray(weights)[:, None, None]
    judged = np.isfinite(steps)
    total: FloatArray = np.where(judged, steps, 0.0).sum(axis=0)
    total[~judged.any(axis=0)] = np.nan
    return total


def _usual_at_least(spread: FloatArray) -> FloatArray:
    """Deviations (K, C), each at least their (lower) median over the channels; one channel keeps its own."""
    ranked = np.sort(np.where(np.isfinite(spread), spread, -np.inf), axis=1)
    found: FloatArray = np.maximum(spread, ranked[:, (spread.shape[1] - 1) // 2, None])
    return found


def over_channels(scores: FloatArray, *, share: float = CHANNEL_SHARE) -> FloatArray:
    """Channel scores (T, C) -> scores (T,) of the highest `share` of the channels, at least one; NaN where none judges.

    The mean is one of logarithms of 1 + score, brought back: a channel with 1,000 times the score of another counts more,
    but not 1,000 times more. Negative scores are mirrored.
    """
    if scores.shape[1] == 1:
        return scores[:, 0].copy()
    most = max(int(np.ceil(share * scores.shape[1])), 1)
    ranked = -np.sort(-np.where(np.isfinite(scores), scores, -np.inf), axis=1)[:, :most]  # (T, most), highest first
    there = np.isfinite(ranked)
    count = there.sum(axis=1)
    seen = np.where(there, ranked, 0.0)
    mean = (np.sign(seen) * np.log1p(np.abs(seen))).sum(axis=1) / np.maximum(count, 1)
    found: FloatArray = np.where(count > 0, np.sign(mean) * np.expm1(np.abs(mean)), np.nan)
    return found


def judgeable(seen: BoolArray, window: int, least_seen: float) -> BoolArray:
    """Of the windows that end at each step, (T, C), those of which half is seen and each hole leaves `least_seen`, (T, C).

    What is scattered can be told from its neighbours, a hole in one piece cannot: at its edge a window of few steps is judged.
    Steps before the first one are not seen.
    """
    hole = window - steps_of(least_seen, window) + 1  # steps in one piece that are too many
    missing = np.pad(~seen, ((window, 0), (0, 0)), constant_values=True).astype(np.int64)
    lost = np.concatenate([np.zeros_like(missing[:1]), np.cumsum(missing, axis=0)])
    ends = np.zeros(missing.shape, dtype=np.int64)  # steps at which a hole is too long
    ends[hole - 1 :] = lost[hole:] - lost[: len(lost) - hole] == hole
    held = np.concatenate([np.zeros_like(ends[:1]), np.cumsum(ends, axis=0)])
    rows = np.arange(window, len(missing))  # of the last steps of the windows
    found: BoolArray = lost[rows + 1] - lost[rows + 1 - window] <= window - steps_of(LEAST_SEEN, window)
    found &= held[rows + 1] == held[rows - window + hole]
    return found


def steps_of(share: float, window: int) -> int:
    """Whole steps that are at least that share of a window."""
    return int(np.ceil(share * window - 1e-9))


def trailing_mean(values: FloatArray, width: int) -> FloatArray:
    """Mean of the `width` newest values at each step, (T, …) along the first axis; NaN are left out, NaN where all are.

    Worked out from the values of the window alone, so that it does not depend on where the series began.
    """
    if width <= 1 or not len(values):
        return values.copy()
    return _window_mean(values, before=width - 1, after=0)


def centred_mean(values: FloatArray, width: int) -> FloatArray:
    """Mean of the `width` values around each step, those that there are, (T, …) along the first axis; NaN are left out."""
    if width <= 1 or not len(values):
        return values.copy()
    return _window_mean(values, before=width // 2, after=width - 1 - width // 2)


def _window_mean(values: FloatArray, *, before: int, after: int) -> FloatArray:
    width = before + after + 1
    seen = np.isfinite(values)
    filled = np.where(seen, values, 0.0)
    pad = [(width, width)] + [(0, 0)] * (values.ndim - 1)
    # exact sums of each window, not differences of a long cumulative sum, which lose digits after a large value
    sums = _sums(np.pad(filled, pad), width)[width - before : width - before + len(values)]
    counts = _sums(np.pad(seen.astype(np.float64), pad), width)[width - before : width - before + len(values)]
    found: FloatArray = np.where(counts > 0.5, sums / np.maximum(counts, 1), np.nan)
    return found


def _sums(values: FloatArray, width: int) -> FloatArray:
    """Sums of `width` values from each place on, by doubling: exact to rounding, in O(T log width)."""
    total = np.zeros_like(values[: len(values) - width + 1])
    power, size, place = values, 1, 0
    left = width
    while left:
        if left & 1:
            total = total + power[place : place + len(total)]
            place += size
        left >>= 1
        if left:
            power = power[: len(power) - size] + power[size:]
            size *= 2
    return total
