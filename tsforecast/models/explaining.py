"""An event -> why: which channels, what was expected of them, how severe without them, and what ordinary looks like there."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tsforecast.anomaly.report import BoolArray, ChannelShare, Event, NormalExample, severity_of
from tsforecast.models.detector import Rows
from tsforecast.models.evidence import over_channels
from tsforecast.panel import FloatArray, IntArray, TimeArray, wall_labels

if TYPE_CHECKING:
    from tsforecast.models.fitted_detector import FittedDetector, Memory, SeriesScores

MOST_EXAMPLES = 2_000  # windows of ordinary rows that a detector remembers
LONGEST_EXAMPLE = 256  # steps
MOST_CHANNELS = 10  # channels of an event that are named
MOST_COUNTERFACTUALS = 3  # channels of an event for which the severity without them is worked out
RECENT, LEAST_RECENT = 500, 16  # steps before an event that say how high a channel usually scores; fewer say nothing
LEAST_DEVIATION = 1.0  # of recent scores of a channel, which are in units of the detector
FARTHEST = 1e15  # standard deviations of a value that is compared: beyond it single precision has no squares
ORDINARY = 0.01  # p-value above which the scores of a channel are taken to be ordinary
PValues = tuple[FloatArray, FloatArray]  # log(1 + score) ascending, and the logarithms of their p-values
STOOD_OUT = 0.5  # share of its peak score at which a channel is said to stand out


@dataclass(frozen=True, kw_only=True, slots=True)
class NormalWindows:
    """Windows of the rows that were learnt from, to be shown beside an event."""

    values: npt.NDArray[np.float32]  # (M, w) standardised, NaN = not observed
    series: IntArray  # (M,) index among the series of the fit
    channel: IntArray  # (M,)
    starts: IntArray  # (M,) first and last timestamp, as integers
    ends: IntArray

    @classmethod
    def of(cls, series: Sequence[Rows], width: int, *, seed: int) -> "NormalWindows":
        """Windows drawn evenly from all channels of all series; series shorter than a window have none."""
        window = min(width, LONGEST_EXAMPLE)
        there = [(i, c) for i, rows in enumerate(series) if len(rows) >= window for c in range(rows.values.shape[1])]
        draws = np.random.default_rng([seed, 17])
        places: list[tuple[int, int, int]] = []
        if there:
            sizes = np.asarray([len(series[i]) - window + 1 for i, _ in there])
            total = int(sizes.sum())
            chosen = np.sort(draws.choice(total, size=min(total, MOST_EXAMPLES), replace=False))
            owner = np.searchsorted(np.cumsum(sizes), chosen, side="right")
            first = chosen - (np.cumsum(sizes) - sizes)[owner]
            places = [(*there[k], int(row)) for k, row in zip(owner, first, strict=True)]
        values = [series[i].values[row : row + window, c] for i, c, row in places]
        return cls(
            values=np.asarray(values, dtype=np.float32).reshape(-1, window),
            series=np.asarray([i for i, _, _ in places], dtype=np.int64),
            channel=np.asarray([c for _, c, _ in places], dtype=np.int64),
            starts=np.asarray([series[i].timestamps[row] for i, _, row in places]).astype(np.int64),
            ends=np.asarray([series[i].timestamps[row + window - 1] for i, _, row in places]).astype(np.int64),
        )

    def nearest(self, window: npt.NDArray[np.float32]) -> tuple[int, float] | None:
        """(which of them, root mean square difference) is nearest to a standardised window (w,); None where none compares."""
        if not len(self.values) or len(window) != self.values.shape[1]:
            return None
        away = (self.values - window) ** 2
        both = np.isfinite(away)
        count = both.sum(axis=1)
        distance = np.where(count > 0, np.where(both, away, 0.0).sum(axis=1) / np.maximum(count, 1), np.inf)
        distance[count < 0.5 * len(window)] = np.inf
        best = int(distance.argmin())
        return (best, float(np.sqrt(distance[best]))) if np.isfinite(distance[best]) else None

    def arrays(self) -> dict[str, np.ndarray]:
        """For storage."""
        return {f"normal.{name}": getattr(self, name) for name in ("values", "series", "channel", "starts", "ends")}

    @classmethod
    def from_arrays(cls, arrays: Any) -> "NormalWindows":
        return cls(**{name: arrays[f"normal.{name}"] for name in ("values", "series", "channel", "starts", "ends")})


@dataclass(frozen=True, kw_only=True, slots=True)
class Judged:
    """One series after judgement: what explanations are made from; T rows, C channels."""

    series_id: str
    timestamps: TimeArray  # (T,)
    values: FloatArray  # (T, C) in units of the channels
    scores: "SeriesScores"
    revised: bool  # which of the scores was judged
    p_value: FloatArray  # (T,)
    zone: str | None

    @property
    def score(self) -> FloatArray:
        return self.scores.revised if self.revised else self.scores.causal

    @property
    def channel_scores(self) -> FloatArray:
        return self.scores.revised_channels if self.revised else self.scores.causal_channels

    @property
    def expected(self) -> FloatArray:
        return self.scores.revised_expected if self.revised else self.scores.expected

    def label(self, row: int) -> str | int:
        """Timestamp of a row as text; steps of an integer clock stay numbers."""
        return label_of(self.timestamps[row], self.zone)


def label_of(moment: np.datetime64 | int | np.integer[Any], zone: str | None) -> str | int:
    """A timestamp as text on the wall clock of its series; steps of an integer clock stay numbers."""
    if not isinstance(moment, np.datetime64):
        return int(moment)
    text: str = wall_labels(np.asarray([moment]), zone)[0].isoformat()
    return text


def explained(detector: "FittedDetector", judged: Judged, memory: "Memory", event: Event) -> Event:
    """The event with its channels and the ordinary window that is nearest to it."""
    rows = slice(event.first_row, event.last_row + 1)
    evidence = np.where(np.isfinite(judged.channel_scores[rows]), judged.channel_scores[rows], 0.0).clip(min=0.0)
    weight = channel_weights(judged.channel_scores, event.first_row, event.last_row)
    if not weight.sum() > 0:
        return event
    order = np.argsort(-weight, kind="stable")
    known = _known_p_values(judged, memory, event)
    shares = []
    for rank, c in enumerate(order[:MOST_CHANNELS].tolist()):
        if not weight[c] > 0:
            break
        named = rank < MOST_COUNTERFACTUALS
        ordinary = expected_unseen(detector, judged, memory, event, c) if named else judged.expected[rows, c]
        peak = _oddest(judged.values[rows, c], ordinary, evidence[:, c])
        value, expected = judged.values[rows, c][peak], ordinary[peak]
        counted = len(weight) > 1 and named
        shares.append(
            ChannelShare(
                name=detector.facts.channels[c],
                share=float(weight[c] / weight.sum()),
                first=None if (out := _first_out(judged, known, event, c, detector.core.width)) is None else judged.label(out),
                value=float(value) if np.isfinite(value) else None,
                expected=float(expected) if np.isfinite(expected) else None,
                severity_without=_severity_without(detector, judged, memory, known, event, c) if counted else None,
            )
        )
    return replace(event, channels=tuple(shares), nearest_normal=_nearest(detector, judged, memory, event, int(order[0])))


def channel_weights(scores: FloatArray, first: int, last: int) -> FloatArray:
    """What each channel has to do with the event in rows `first` … `last`, (C,), not negative, from channel scores (T, C).

    The mean score during the event less the median of the recent past, over the median absolute deviation there: a channel
    that has been odd for long is not what the event is about. Without a past, or where no channel rose, the mean itself.
    """
    known = np.where(np.isfinite(scores), scores, 0.0)
    inside, before = known[first : last + 1], known[max(first - RECENT, 0) : first]
    mean: FloatArray = inside.clip(min=0.0).mean(axis=0)
    if len(mean) == 1 or len(before) < LEAST_RECENT:
        return mean
    usual = np.median(before, axis=0)
    deviation = np.maximum(np.median(np.abs(before - usual), axis=0), LEAST_DEVIATION)
    risen: FloatArray = ((inside.mean(axis=0) - usual) / deviation).clip(min=0.0)
    return risen if risen.any() else mean


def _first_out(judged: Judged, known: PValues, event: Event, channel: int, width: int) -> int | None:
    """First row, at most a window before the event, of those up to its peak in which the channel is out of the ordinary."""
    first = max(event.first_row - width, 0)
    scores = np.nan_to_num(judged.channel_scores[first : event.last_row + 1, channel], nan=-np.inf)
    ordinary = _p_values_at(known, scores) > ORDINARY
    peak = event.first_row - first + int(scores[event.first_row - first :].argmax())
    if ordinary[peak]:
        return None
    before = np.flatnonzero(ordinary[:peak])
    return first + int(before[-1]) + 1 if len(before) else first


def expected_unseen(detector: "FittedDetector", judged: Judged, memory: "Memory", event: Event, channel: int) -> FloatArray:
    """What the channel would have been during the event, had nothing been odd, (n,) in its units.

    Its odd values are hidden, since a detector that sees them expects some of what is odd about them, and told from the
    others; where so much is hidden that this is nothing, what was expected before each step.
    """
    start, stop = _around(detector, judged, event)
    hidden = judged.values[start:stop].copy()
    rows, inside = slice(event.first_row, event.last_row + 1), slice(event.first_row - start, event.last_row + 1 - start)
    odd = _odd(judged, memory, rows, channel)
    hidden[inside, channel] = np.where(odd, np.nan, hidden[inside, channel])
    evidence = detector.core.evidence(_part(detector, judged, memory, hidden, start))
    found = memory.scale.back(evidence.revised_expected)[inside, channel]
    expected: FloatArray = np.where(np.isfinite(found), found, judged.scores.expected[rows, channel])
    return np.where(odd | ~np.isfinite(judged.values[rows, channel]), expected, judged.values[rows, channel])


def _odd(judged: Judged, memory: "Memory", rows: slice, channel: int) -> BoolArray:
    """Values outside the band around what was expected, before and after they were seen; all of them where none is, (n,)."""
    values = judged.values[rows, channel]
    ends = (memory.residuals[[1, -2], channel]) * memory.scale.deviation[channel]  # half a percent on either side
    odd = np.ones(len(values), dtype=np.bool_)
    for expected in (judged.scores.expected[rows, channel], judged.scores.revised_expected[rows, channel]):
        with np.errstate(invalid="ignore"):
            odd &= ~((values - expected >= ends[0]) & (values - expected <= ends[1]))
    return odd if odd.any() else np.ones(len(values), dtype=np.bool_)


def _around(detector: "FittedDetector", judged: Judged, event: Event) -> tuple[int, int]:
    """Rows that have to do with the scores of an event: (first, one after the last)."""
    core = detector.core
    stop = event.last_row + 1 + (core.delay if judged.revised else 0)
    return max(event.first_row - core.reach - core.width, 0), min(stop, len(judged.values))


def _part(detector: "FittedDetector", judged: Judged, memory: "Memory", values: FloatArray, start: int) -> Rows:
    """Rows of a judged series from `start` on with other `values` (n, C), standardised."""
    return Rows(
        values=memory.scale.standardise(values),
        timestamps=judged.timestamps[start : start + len(values)],
        freq=detector.facts.freq,
        season=detector.facts.season,
        tz=judged.zone,
    )


def _oddest(values: FloatArray, expected: FloatArray, evidence: FloatArray) -> int:
    """Place of the value that is farthest from what was expected; without any, where there is most evidence."""
    away = np.abs(values - expected)
    return int(np.nanargmax(away)) if np.isfinite(away).any() else int(evidence.argmax())


def _severity_without(
    detector: "FittedDetector", judged: Judged, memory: "Memory", known: PValues, event: Event, channel: int
) -> float | None:
    """Severity of the event, had the channel been ordinary: what the others give, judged anew without it.

    Values made up in its place would have to be ordinary for every kind of evidence, beside the other channels too, and from
    before the event on: it begins where the score is high, some steps after the first odd value. A channel that nobody sees
    is as little evidence as an ordinary one. One whose own scores are ordinary changes nothing.
    """
    rows = slice(event.first_row, event.last_row + 1)
    own, score, p_value = judged.channel_scores[rows, channel], judged.score[rows], judged.p_value[rows]
    if not (np.isfinite(score) & np.isfinite(p_value)).any():
        return None
    if not np.isfinite(own).any() or _p_values_at(known, np.asarray([np.nanmax(own)]))[0] > ORDINARY:
        return event.severity
    start, stop = _around(detector, judged, event)
    hidden = judged.values[start:stop].copy()
    hidden[:, channel] = np.nan
    scores = detector.scores_of(_part(detector, judged, memory, hidden, start), memory)
    without = (scores.revised if judged.revised else scores.causal)[event.first_row - start : event.last_row + 1 - start]
    others = judged.channel_scores[rows].copy()
    others[:, channel] = 0.0  # its median
    without = np.where(np.isfinite(without), without, over_channels(others))  # near the first row, or with nothing else seen
    milder = np.maximum(_p_values_at(known, without), p_value)
    found = np.where(without < score, milder, p_value)
    return float(severity_of(np.nanmin(found)))


def _known_p_values(judged: Judged, memory: "Memory", event: Event) -> PValues:
    """(log(1 + score) (n,) ascending, logarithms of p-values (n,) falling) of an event and of what came before it.

    Calibration moves on with time, so those of the recent past and of the event itself count, and the held-out scores where
    these are few.
    """
    near = slice(max(event.first_row - RECENT, 0), event.last_row + 1)
    known = np.isfinite(judged.score[near]) & np.isfinite(judged.p_value[near])
    score, p_value = judged.score[near][known], judged.p_value[near][known]
    if len(score) < LEAST_RECENT + event.steps:
        held_out = np.sort(memory.scores[int(judged.revised)])
        share = (len(held_out) - np.arange(len(held_out)) + 1.0) / (len(held_out) + 1.0)
        score, p_value = np.concatenate([held_out, score]), np.concatenate([share, p_value])
    order = np.argsort(score, kind="stable")
    logs = np.log(p_value[order])
    falling = (np.minimum.accumulate(logs) + np.maximum.accumulate(logs[::-1])[::-1]) / 2
    return np.log1p(np.maximum(score[order], 0.0)), falling  # tails are straight on this scale


def _p_values_at(known: PValues, scores: FloatArray) -> FloatArray:
    """The p-values that this series gives to such scores (n,), between those of the scores it had."""
    found: FloatArray = np.exp(np.interp(np.log1p(np.maximum(scores, 0.0)), *known))
    return found


def _nearest(detector: "FittedDetector", judged: Judged, memory: "Memory", event: Event, channel: int) -> NormalExample | None:
    normal = detector.normal
    window = normal.values.shape[1]
    peak = int(event.first_row + np.nanargmax(judged.score[event.first_row : event.last_row + 1]))
    start = min(max(peak - window // 2, 0), max(len(judged.values) - window, 0))
    rows = memory.scale.standardise(judged.values)[start : start + window, channel]
    found = normal.nearest(np.clip(rows, -FARTHEST, FARTHEST).astype(np.float32))
    if found is None:
        return None
    which, distance = found
    kind = judged.timestamps.dtype
    start_at, end_at = (np.asarray([one[which]]).astype(kind)[0] for one in (normal.starts, normal.ends))
    return NormalExample(
        series_id=detector.fitted_ids[int(normal.series[which])],
        channel=detector.facts.channels[int(normal.channel[which])],
        start=label_of(start_at, judged.zone),
        end=label_of(end_at, judged.zone),
        distance=distance,
    )
