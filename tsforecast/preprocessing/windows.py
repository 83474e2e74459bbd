"""Panel -> where its training and validation windows lie. Index arithmetic only: no value is copied.

A window is an origin: the row of its first target step. Its context are the `context` rows before it, its target the
`horizon` rows from it on; what reaches over the ends of its series (or into the held-out part) counts as missing.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from tsforecast.panel import IntArray, Panel
from tsforecast.preprocessing.blocks import let_go, series_blocks

Sampling = Literal["windows", "series", "recent"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Windows:
    """Origins with the rows their series owns, all absolute rows of the panel."""

    origins: IntArray  # (W,) row of the first target step
    firsts: IntArray  # (W,) first row of the series
    ends: IntArray  # (W,) row after the last one that may be looked at
    series: IntArray  # (W,) number of the series

    def __len__(self) -> int:
        return len(self.origins)

    def spread_over(self, most: int) -> "Windows":
        """At most so many of them, evenly from the first to the last."""
        rows = np.unique(np.linspace(0, len(self) - 1, min(most, len(self))).round().astype(np.int64))
        return Windows(origins=self.origins[rows], firsts=self.firsts[rows], ends=self.ends[rows], series=self.series[rows])


@dataclass(frozen=True, kw_only=True, slots=True)
class WindowPlan:
    """How a panel is cut into windows for training and validation, held out by time."""

    context: int  # steps, T
    horizon: int  # steps, H
    offsets: IntArray  # (S + 1,)
    lowest: IntArray  # (S,) first training origin, rows from the start of the series
    counts: IntArray  # (S,) training origins of each series
    ends: IntArray  # (S,) absolute row after the part to train on
    validation: Windows

    def __len__(self) -> int:
        """Training windows."""
        return int(self.counts.sum())

    def sample(
        self, count: int, rng: np.random.Generator, *, sampling: Sampling = "windows", half_life: int | None = None
    ) -> Windows:
        """`count` training windows, with replacement.

        Args:
            count: windows.
            rng: where chance comes from.
            sampling: "windows": each window as likely as any other, so that long series count more. "series": each series
                that has a window as likely as any other, and each of its windows. "recent": as "windows", but a window
                that lies `half_life` steps before the newest of its series is half as likely as that one.
            half_life: steps, for "recent"; None = the context.
        """
        if sampling == "recent":
            series, within = self._recent(count, rng, half_life or self.context)
        elif sampling == "series":
            able = np.flatnonzero(self.counts)
            series = able[rng.integers(0, len(able), size=count)]
            within = rng.integers(0, self.counts[series])
        else:
            last = np.cumsum(self.counts)
            number = rng.integers(0, last[-1], size=count)
            series = np.searchsorted(last, number, side="right")
            within = number - (last[series] - self.counts[series])
        firsts = self.offsets[series]
        return Windows(
            origins=firsts + self.lowest[series] + within, firsts=firsts, ends=self.ends[series], series=series.astype(np.int64)
        )

    def _recent(self, count: int, rng: np.random.Generator, half_life: int) -> tuple[IntArray, IntArray]:
        """Series and number of the window in it, (count,) each: a geometric series of weights, inverted."""
        fade = -np.log(2.0) / half_life  # log of the weight, per step of age
        share = -np.expm1(self.counts * fade)  # (S,) sum of the weights of a series, times 1 - exp(fade)
        last = np.cumsum(share)
        place = np.minimum(rng.random(count) * last[-1], np.nextafter(last[-1], 0))
        series = np.searchsorted(last, place, side="right")
        age = np.floor(np.log1p(-rng.random(count) * share[series]) / fade).astype(np.int64)
        most = self.counts[series] - 1
        return series, most - np.minimum(age, most)


def plan_windows(
    panel: Panel,
    *,
    context: int,
    horizon: int,
    min_context: int = 1,
    validation_windows: int = 256,
    max_share: float = 0.2,
    gap: int = 0,
) -> WindowPlan:
    """Cut `panel` by time: the end of each series is for validation, what comes before for training.

    A series ends with its last observed row: missing rows behind it can neither teach nor validate.

    Args:
        panel: series of any length.
        context: steps a window looks back; the start of a series may leave a part of it missing.
        horizon: steps a window looks ahead.
        min_context: rows a training window has at least before its origin, where the series is long enough.
        validation_windows: wanted in all; each long enough series gives one, or more where there are few series.
        max_share: of a series, at most this part is held out (but one horizon, where half the series is left to train).
        gap: steps between the part to train on and the held-out part of a series, which no training window looks at.
    """
    lengths = _observed_lengths(panel)
    holdout, stride = _holdout(
        lengths - gap, horizon=horizon, wanted=validation_windows, min_context=min_context, max_share=max_share
    )
    usable = lengths - holdout - np.where(holdout > 0, gap, 0)
    full = usable >= min_context + horizon
    lowest = np.where(full, min_context, np.maximum(usable - horizon, 1))
    counts = np.where(full, usable - horizon - min_context + 1, (usable >= 2).astype(np.int64))
    return WindowPlan(
        context=context,
        horizon=horizon,
        offsets=panel.offsets,
        lowest=lowest.astype(np.int64),
        counts=counts.astype(np.int64),
        ends=panel.offsets[:-1] + usable,
        validation=_validation(panel.offsets[:-1], lengths, holdout, horizon=horizon, stride=stride),
    )


def last_windows(panel: Panel) -> Windows:
    """The window that stands at the end of each series: what a forecast is made from."""
    return Windows(
        origins=panel.offsets[1:].copy(),
        firsts=panel.offsets[:-1].copy(),
        ends=panel.offsets[1:].copy(),
        series=np.arange(len(panel)),
    )


def _holdout(lengths: IntArray, *, horizon: int, wanted: int, min_context: int, max_share: float) -> tuple[IntArray, IntArray]:
    """Rows held out at the end of each series and the stride of the validation origins in them, (S,) each."""
    able = lengths >= 2 * horizon + max(min_context, horizon)
    per_series = -(-wanted // max(int(able.sum()), 1))  # windows
    room = np.maximum((max_share * lengths).astype(np.int64) - horizon, 0)  # rows beyond one horizon
    stride = np.clip(room // max(per_series - 1, 1), 1, horizon)
    extra = np.minimum(room // stride, per_series - 1)
    return np.where(able, horizon + extra * stride, 0).astype(np.int64), stride.astype(np.int64)


def _observed_lengths(panel: Panel) -> IntArray:
    """Rows of each series up to its last observed one, (S,)."""
    lengths = np.zeros(len(panel), dtype=np.int64)
    for block in series_blocks(panel.offsets):
        offsets = panel.offsets[block.start : block.stop + 1]
        seen = np.isfinite(panel.target[offsets[0] : offsets[-1]])
        places = np.where(seen, np.arange(offsets[0] + 1, offsets[-1] + 1), 0)  # rows counted from 1
        lengths[block] = np.maximum(np.maximum.reduceat(places, offsets[:-1] - offsets[0]) - offsets[:-1], 0)
        let_go(panel.target)
    return lengths


def _validation(firsts: IntArray, lengths: IntArray, holdout: IntArray, *, horizon: int, stride: IntArray) -> Windows:
    each = np.where(holdout > 0, (holdout - horizon) // stride + 1, 0)
    series = np.repeat(np.arange(len(holdout)), each)
    within = np.arange(each.sum()) - np.repeat(np.cumsum(each) - each, each)  # number of the window in its series
    return Windows(
        origins=(firsts + lengths - holdout)[series] + within * stride[series],
        firsts=firsts[series],
        ends=(firsts + lengths)[series],
        series=series.astype(np.int64),
    )
