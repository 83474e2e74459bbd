"""How often scores so high come: counted where there are enough, continued by a generalised Pareto tail beyond.

A tail has P(score > u + x | score > u) = (1 + shape x / scale)^(-1 / shape) (Pickands 1975). Its shape and scale come from
probability-weighted moments (Hosking & Wallis 1987), which need no iteration and bear few values.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from tsforecast.panel import FloatArray

SHAPES = (0.0, 0.5)  # bounds of the fitted shape: a tail that ends called four times as many ordinary steps one in a million
TELLING = 5  # excesses below which no shape is fitted
MOST_DOUBT = 0.5  # that is added to the shape because few excesses were seen
LOWEST = 1e-12  # of all p-values and rates: none is ever 0
NEARLY_FLAT = 1e-9  # of the height of the scores: the scale of a tail of scores that are all the same


@dataclass(frozen=True, kw_only=True, slots=True)
class Tail:
    """Generalised Pareto distribution of what exceeds a threshold."""

    shape: float
    scale: float  # positive

    @classmethod
    def of(cls, excesses: FloatArray, *, spread: float, least_scale: float) -> Self:
        """Fit to positive excesses (m,) over the threshold; few of them have an exponential tail, none one of scale `spread`.

        What is believed of the next excess is heavier than the tail that was fitted, since m excesses tell its scale only so
        well: of an exponential tail P(excess > x) is (1 + x / (m scale))^-m, a shape of 1 / m, and so much is added to any.
        """
        count = len(excesses)
        if count == 0:
            return cls(shape=MOST_DOUBT, scale=max(spread, least_scale))
        mean = float(excesses.mean())
        doubt = min(1.0 / count, MOST_DOUBT)
        if count < TELLING:
            return cls(shape=doubt, scale=max(mean, least_scale))
        plotting = 1.0 - (np.arange(1, count + 1) - 0.35) / count
        weighted = float((np.sort(excesses) * plotting).mean())
        unlike = mean - 2.0 * weighted
        shape = 2.0 - mean / unlike if unlike > 0 else SHAPES[1]
        shape = min(max(shape, SHAPES[0]), SHAPES[1])
        return cls(shape=shape + doubt, scale=max(mean * (1.0 - shape), least_scale))

    def beyond(self, excess: FloatArray) -> FloatArray:
        """Share of what exceeds the threshold that exceeds it by more than `excess` (n,), positive."""
        with np.errstate(over="ignore"):  # of a score that never changed before: infinitely far, and never as high
            units = np.maximum(excess, 0.0) / self.scale
        if abs(self.shape) < 1e-6:
            return np.asarray(np.exp(-units), dtype=np.float64)
        found: FloatArray = np.power(1.0 + self.shape * units, -1.0 / self.shape)
        return found


def highest_before(scores: FloatArray, width: int) -> FloatArray:
    """Highest of the `width` scores before each, (n,); -inf where there are none."""
    highest = np.concatenate([np.full(width, -np.inf), scores])[:-1]
    span = 1
    while span < width:  # each entry is the highest of `span` scores in a row; twice as many at a time
        more = min(span, width - span)
        highest = np.maximum(highest[more:], highest[: len(highest) - more])
        span += more
    return highest


@dataclass(frozen=True, kw_only=True, slots=True)
class PointTable:
    """Scores -> p-values."""

    scores: FloatArray  # (m,) ascending
    threshold: float  # above it the tail speaks
    share: float  # of the scores, counted as conformal prediction does, that exceed it
    tail: Tail | None  # None = fewer scores than needed: nothing is said

    @classmethod
    def of(cls, scores: FloatArray, *, share: float, peaks: int, least: int) -> Self:
        """From calibration scores (m,) in any order; the tail is that of the highest `share`, at least `peaks` of them."""
        ranked = np.sort(scores)
        count = len(ranked)
        if count < least:
            return cls(scores=ranked, threshold=np.inf, share=1.0, tail=None)
        above = min(max(int(share * count), peaks), max(count // 4, 1))
        threshold = float(ranked[count - 1 - above])
        excesses = ranked[np.searchsorted(ranked, threshold, side="right") :] - threshold
        tail = Tail.of(excesses, spread=_spread(ranked), least_scale=_least_scale(ranked))
        return cls(scores=ranked, threshold=threshold, share=(1 + len(excesses)) / (1 + count), tail=tail)

    def p_value(self, scores: FloatArray) -> FloatArray:
        """p = (1 + how many are as high) / (1 + m) up to the threshold, beyond it the tail, (n,)."""
        if self.tail is None:
            return np.full(len(scores), np.nan)
        count = len(self.scores)
        as_high = count - np.searchsorted(self.scores, scores, side="left")
        found = np.asarray((1.0 + as_high) / (1.0 + count), dtype=np.float64)
        high = scores > self.threshold
        if high.any():
            tail = np.maximum(self.share * self.tail.beyond(scores[high] - self.threshold), LOWEST)
            found[high] = np.maximum(tail, as_high[high] / (1.0 + count))  # a score that has been there is not rarer than that
        found[np.isnan(scores)] = np.nan
        return found


@dataclass(frozen=True, kw_only=True, slots=True)
class EpisodeTable:
    """Scores -> alarms per step that a threshold at that score would have given.

    A threshold has begun an episode at each step that reached it while none of the `width` steps before did. So each step
    that is higher than those before it counts for the thresholds between the highest of them and itself.
    """

    tops: FloatArray  # (e,) ascending, the scores of such steps
    counts: FloatArray  # (e + 1,) episodes of a threshold at each, or at a higher one if that has more; 0 beyond the last
    steps: int  # that were counted over
    threshold: float
    share: float  # episodes per step above the threshold
    tail: Tail | None

    @classmethod
    def of(
        cls, scores: FloatArray, before: FloatArray, kept: npt.NDArray[np.bool_], *, width: int, peaks: int, least: int
    ) -> Self:
        """From scores (m,) in time order with the highest of the `width` scores before each; only those `kept` count."""
        steps = int(np.count_nonzero(kept))
        if steps < least:
            return cls(tops=np.zeros(0), counts=np.zeros(1), steps=steps, threshold=np.inf, share=1.0, tail=None)
        rising = kept & (scores > before)
        if not rising.any():  # nothing rises: the highest of what is kept is the only episode known
            rising = kept & (scores == scores[kept].max())
            rising[int(np.argmax(rising)) + 1 :] = False
        tops, bottoms = np.sort(scores[rising]), np.sort(before[rising])
        e = len(tops)
        counts = (e - np.searchsorted(tops, tops, side="left")) - (e - np.searchsorted(bottoms, tops, side="left"))
        counts = np.maximum.accumulate(counts[::-1])[::-1].astype(np.float64)
        enough = np.flatnonzero(counts >= min(peaks, counts[0]))
        threshold = float(tops[enough[-1]])
        reached = np.flatnonzero(kept & (scores >= threshold))
        cuts = np.flatnonzero(np.diff(reached) > width) + 1
        highest = np.maximum.reduceat(scores[reached], np.concatenate([[0], cuts]))
        excesses = highest[highest > threshold] - threshold
        tail = Tail.of(excesses, spread=_spread(scores[kept]), least_scale=_least_scale(tops))
        share = (1 + len(excesses)) / (1 + steps)
        return cls(tops=tops, counts=np.append(counts, 0.0), steps=steps, threshold=threshold, share=share, tail=tail)

    def rate(self, scores: FloatArray) -> FloatArray:
        """Alarms per step, (n,); NaN for no score, or where too few calibrate."""
        if self.tail is None:
            return np.full(len(scores), np.nan)
        found = (1.0 + self.counts[np.searchsorted(self.tops, scores, side="left")]) / (1.0 + self.steps)
        high = scores > self.threshold
        found = np.maximum(found, self.share)
        if high.any():
            found[high] = np.maximum(self.share * self.tail.beyond(scores[high] - self.threshold), LOWEST)
        found[np.isnan(scores)] = np.nan
        return found


def _spread(scores: FloatArray) -> float:
    """Mean of how far scores lie above their median, where they do."""
    above = scores - np.median(scores)
    return float(above[above > 0].mean()) if (above > 0).any() else 0.0


def _least_scale(ranked: FloatArray) -> float:
    """The smallest scale that a tail of such scores, ascending, may have."""
    return max(float(ranked[-1] - ranked[0]) * NEARLY_FLAT, abs(float(ranked[-1])) * NEARLY_FLAT, 1e-300)
