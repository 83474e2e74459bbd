"""A panel -> a FittedDetector: what is learnt from, what is held out, and what is remembered of each series."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tsforecast.anomaly.report import BoolArray
from tsforecast.errors import HistoryTooShort
from tsforecast.models.base import Callback
from tsforecast.models.detector import (
    HELD_OUT,
    JUDGED_SEEN,
    LEAST_HELD_OUT,
    Core,
    Detector,
    Evidence,
    Rows,
    channel_names,
    channel_values,
    check_labels,
    check_values,
    rows_of,
)
from tsforecast.models.detector_windows import main_period
from tsforecast.models.evidence import BAND_LEVELS, LEAST_SEEN, in_units, over_channels, units_of
from tsforecast.models.explaining import NormalWindows
from tsforecast.models.fitted_detector import LONG_AGO, DetectorFacts, FittedDetector, Memory, Scale
from tsforecast.nn.config import TrainConfig
from tsforecast.panel import FloatArray, IntArray, Panel, moment_number

MOST_CALIBRATION = 5_000  # scores of one series that are remembered, the newest
POOLED = 5_000  # scores of all series together, for series that the fit has not seen


def fit_detector(
    recipe: Detector,
    panel: Panel,
    *,
    seed: int,
    train: TrainConfig | None,
    callbacks: Sequence[Callback],
    labels: IntArray | None,
) -> FittedDetector:
    """As `Detector.fit`."""
    check_values(panel)
    known = check_labels(panel, labels)
    kept, whole, scales = [], [], []
    for series in range(len(panel)):
        values = _without_anomalies(panel, series, known)
        fitted = len(values) - held_out(len(values))
        scales.append(Scale.of(values[:fitted]))
        whole.append(rows_of(panel, series, scales[-1].standardise(values)))
        kept.append(whole[-1].first(fitted))
    period = main_period(whole) or 0
    kept = [replace(rows, period=period) for rows in kept]
    least_seen = _least_seen(kept)
    core, training = _learnt(recipe, kept, panel, seed=seed, train=train, callbacks=callbacks)
    core.judge_from(least_seen)
    judged = [_judged(core, rows, known[_span(panel, i)], held=held_out(len(rows))) for i, rows in enumerate(whole)]
    units = np.stack([one.units for one in judged])
    pooled_units = _pooled_units(units)
    memories = {}
    for series, series_id in enumerate(panel.series_ids):
        memories[series_id] = _memory(
            core, panel, series, scale=scales[series], judged=judged[series], units=pooled_units, labels=known
        )
    facts = DetectorFacts(
        freq=panel.freq,
        season=panel.season,
        channels=channel_names(panel),
        trained_until=_last_moment(panel),
        series=len(panel),
        observations=sum(int(np.isfinite(channel_values(panel, i)).any(axis=1).sum()) for i in range(len(panel))),
        seed=seed,
        tz=panel.tz,
        least_seen=least_seen,
    )
    pooled = _pooled(list(memories.values()), pooled_units)
    return FittedDetector(
        recipe=recipe,
        facts=facts,
        core=core,
        memories=memories,
        pooled=pooled,
        normal=NormalWindows.of(kept, core.width, seed=seed),
        fitted_ids=panel.series_ids,
        training=training,
    )


def _learnt(
    recipe: Detector,
    kept: Sequence[Rows],
    panel: Panel,
    *,
    seed: int,
    train: TrainConfig | None,
    callbacks: Sequence[Callback],
) -> tuple[Core, dict[str, Any]]:
    try:
        return recipe.learn(kept, seed=seed, train=train, callbacks=callbacks)
    except HistoryTooShort as error:  # a core knows its series by number
        number = str(error.series_id).removeprefix("number ")
        if number == error.series_id or not number.isdecimal() or int(number) >= len(panel):
            raise
        hint = str(error).partition("; ")[2]
        raise HistoryTooShort(panel.series_ids[int(number)], have=error.have, need=error.need, hint=hint) from None


def recalibrated(detector: FittedDetector, panel: Panel, labels: IntArray | None = None) -> FittedDetector:
    """The same detector with units, calibration scores and tails of the newest rows of `panel`: nothing is learnt anew.

    They are those that the fit has not learnt from, a quarter of the rows at least.

    Args:
        panel: the series as they are now; series of the fit that are not among them stay as they were.
        labels: feedback as in `Detector.fit`; rows with 1 leave the calibration.
    """
    detector.check_request(panel)
    known = check_labels(panel, labels)
    core, memories = detector.core, dict(detector.memories)
    units = detector.pooled.units
    for series, series_id in enumerate(panel.series_ids):
        values = _without_anomalies(panel, series, known)
        memory = detector.memory_of(series_id, values)
        rows, before = detector.looking_back(panel, series, memory, values)
        held = held_out(len(values))
        if series_id in detector.memories and (new := int(memory.new(rows.timestamps[before:]).sum())) >= LEAST_HELD_OUT:
            held = max(held, new)
        judged = _judged(core, rows, known[_span(panel, series)], held=held, before=before)
        kept = slice(max(before + len(values) - looked_back_on(core), 0), None)
        tail = np.concatenate([memory.tail[len(memory.tail) - before :], values])[kept]
        if not judged.held and series_id not in detector.memories:
            continue  # too few rows to know it by
        if judged.held:  # of fewer rows what is known stays
            memory = _memory(core, panel, series, scale=memory.scale, judged=judged, units=units, labels=known)
        until = detector.memories[series_id].fitted_until if series_id in detector.memories else LONG_AGO
        memories[series_id] = replace(memory, tail=tail, tail_times=rows.timestamps[kept], fitted_until=until)
    pooled = _pooled(list(memories.values()), units)
    facts = replace(detector.facts, trained_until=_last_moment(panel))
    return FittedDetector(
        recipe=detector.recipe,
        facts=facts,
        core=core,
        memories=memories,
        pooled=pooled,
        normal=detector.normal,
        fitted_ids=detector.fitted_ids,
        training=detector.training,
    )


def held_out(rows: int) -> int:
    """How many of the newest rows of a series calibrate."""
    count = int(rows * HELD_OUT)
    return count if count >= LEAST_HELD_OUT else 0


def looked_back_on(core: Core) -> int:
    """Rows of a series that are remembered: the causal evidence of the next step reads `reach` of them, the revised some more."""
    return core.reach + core.width


def _least_seen(series: Sequence[Rows]) -> float:
    """Share of a window that must be observed for it to be judged: four fifths of what is usual, at least half.

    Usual is the median over series and channels that have values at all: where a third is always missing, windows with a
    third missing are ordinary.
    """
    shares = np.concatenate([np.isfinite(rows.values).mean(axis=0) for rows in series if len(rows)] or [np.zeros(1)])
    shares = shares[shares > 0] if (shares > 0).any() else np.ones(1)
    return max(JUDGED_SEEN * float(np.median(shares)), LEAST_SEEN)


def _last_moment(panel: Panel) -> str:
    last = panel.last_timestamps().max()
    return str(last) if panel.is_integer_clock else str(np.datetime_as_string(last, unit="s"))


def _span(panel: Panel, series: int) -> slice:
    """The rows of one series."""
    return slice(int(panel.offsets[series]), int(panel.offsets[series + 1]))


def _without_anomalies(panel: Panel, series: int, labels: IntArray) -> FloatArray:
    """Channels of one series, (T, C), NaN where feedback says that they are anomalous."""
    return np.where(labels[_span(panel, series), None] == 1, np.nan, channel_values(panel, series))


@dataclass(frozen=True, kw_only=True, slots=True)
class _Judged:
    """Held-out evidence of one series."""

    whole: Evidence  # of all rows
    held: int  # of them, the newest, were held out
    units: FloatArray  # (2, 2, K, C)
    residuals: FloatArray  # (201, C)

    def whole_rows(self, rows: int) -> BoolArray:
        """Which of the rows were held out, (T,)."""
        found: BoolArray = np.arange(rows) >= rows - self.held
        return found


def _judged(core: Core, rows: Rows, labels: IntArray, *, held: int, before: int = 0) -> _Judged:
    """Args:
    rows: standardised, NaN where feedback says that they are anomalous; the first `before` are only to look back on.
    labels: (T,) of the rows behind those.
    held: how many of them, the newest, calibrate.
    """
    found = core.evidence(rows)
    whole = Evidence(
        causal=found.causal[:, before:],
        revised=found.revised[:, before:],
        expected=found.expected[before:],
        revised_expected=found.revised_expected[before:],
    )
    first = len(labels) - held
    ordinary = labels[first:] != 1
    units = np.stack([units_of(evidence[:, first:][:, ordinary]) for evidence in (whole.causal, whole.revised)])
    away = rows.values[before + first :] - whole.expected[first:]
    residuals = np.full((len(BAND_LEVELS), away.shape[1]), np.nan)
    for c in range(away.shape[1]):
        seen = away[ordinary, c]
        seen = seen[np.isfinite(seen)]
        if len(seen):
            residuals[:, c] = np.quantile(seen, BAND_LEVELS)
    return _Judged(whole=whole, held=held, units=units, residuals=residuals)


def _pooled_units(units: FloatArray) -> FloatArray:
    """Medians over the series (S, 2, 2, K, C) -> (2, 2, K, C); of a channel that none knows, over the channels; else 0 and 1."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="All-NaN slice encountered")
        found = np.nanmedian(units, axis=0) if len(units) else np.full(units.shape[1:], np.nan)
        over = np.nanmedian(found, axis=-1, keepdims=True)
    found = np.where(np.isfinite(found), found, over)
    found[:, 0] = np.where(np.isfinite(found[:, 0]), found[:, 0], 0.0)
    found[:, 1] = np.where(np.isfinite(found[:, 1]), found[:, 1], 1.0)
    return found


def _memory(
    core: Core, panel: Panel, series: int, *, scale: Scale, judged: _Judged, units: FloatArray, labels: IntArray
) -> Memory:
    units = np.where(np.isfinite(judged.units), judged.units, units)
    scores, vouched = _calibration_scores(core, panel, series, judged=judged, units=units, labels=labels)
    values = _without_anomalies(panel, series, labels)
    first = max(len(values) - looked_back_on(core), 0)
    span = slice(int(panel.offsets[series]) + first, int(panel.offsets[series + 1]))
    return Memory(
        scale=scale,
        tail=values[first:].copy(),
        tail_times=panel.timestamps[span].copy(),
        units=units,
        scores=scores,
        vouched=vouched,
        residuals=judged.residuals,
        fitted_until=moment_number(panel.timestamps[_span(panel, series)][len(values) - judged.held - 1]),
    )


def _calibration_scores(
    core: Core, panel: Panel, series: int, *, judged: _Judged, units: FloatArray, labels: IntArray
) -> tuple[FloatArray, BoolArray]:
    """(causal and revised scores (2, n) of held-out rows and of those that feedback calls ordinary, which are these (n,))."""
    span = _span(panel, series)
    said = labels[span] == -1
    rows = judged.whole_rows(len(said)) | said
    evidence = judged.whole
    scores = np.stack(
        [
            over_channels(in_units(evidence.causal[:, rows], units[0], core.weights)),
            over_channels(in_units(evidence.revised[:, rows], units[1], core.weights)),
        ]
    )
    known = np.isfinite(scores).all(axis=0) & (labels[span][rows] != 1)
    return scores[:, known][:, -MOST_CALIBRATION:], said[rows][known][-MOST_CALIBRATION:]


def _pooled(memories: Sequence[Memory], units: FloatArray) -> Memory:
    """What holds for a series that nobody has seen: typical units, a share of everybody's scores."""
    each = max(POOLED // max(len(memories), 1), 1)
    scores = []
    for one in memories:
        if one.calibrated:
            scores.append(one.scores[:, np.unique(np.linspace(0, one.scores.shape[1] - 1, each).astype(int))])
    residuals = np.stack([one.residuals for one in memories])
    seen = np.isfinite(residuals[:, 0])  # (S, C)
    typical = np.where(seen[:, None, :], residuals, 0.0).sum(axis=0) / np.maximum(seen.sum(axis=0), 1)
    channels = len(memories[0].scale.mean)
    pooled = np.concatenate(scores, axis=1)[:, :POOLED] if scores else np.zeros((2, 0))
    return Memory(
        scale=Scale(mean=np.zeros(channels), deviation=np.ones(channels)),
        tail=np.zeros((0, channels)),
        tail_times=memories[0].tail_times[:0],
        units=units,
        scores=pooled,
        vouched=np.zeros(pooled.shape[1], dtype=np.bool_),
        residuals=np.where(seen.any(axis=0), typical, np.nan),
    )
