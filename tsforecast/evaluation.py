"""AnomalyReport, and labels where there are some -> numbers with the same names for every detector.

Names: judged_steps alarms_per_1000; with labels vus_pr vus_pr_random auc_pr event_precision event_recall event_f1
false_alarms_per_1000. The first three of these are means over the series that have labels; those of events are counted over
all series together. An alarm is an event from its first step to its last; gaps in the data are events, but no alarms.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tsforecast.anomaly.calibration import CalibrationRules, Calibrator
from tsforecast.anomaly.report import AnomalyReport, BoolArray, Event
from tsforecast.errors import OptionError
from tsforecast.metrics import auc_pr, buffer_of, event_scores, vus_pr
from tsforecast.models.fitted_detector import FittedDetector
from tsforecast.panel import FloatArray, IntArray

if TYPE_CHECKING:
    import pandas as pd

SENSITIVITIES = (0.3, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 20.0)  # alarms per 1,000 steps, of the calibration curve
LEAST_OF_CURVE = 40  # held-out scores of a series that tell how often it alarms
OUTSIDE = (0.3, 0.7)  # median p-value beyond which the scores of a series are no longer those of its fit
LEAST_OF_DRIFT = 200  # scores after the fit that tell whether a series drifts
WIDTHS_OF_DRIFT = 8  # that they must span, and the held-out scores too: neighbouring scores say the same
MOST_OF_DRIFT = 1_000  # newest scores that are looked at
COUNTED = ("unique_id", "rows", "judged_steps", "alarms", "alarms_per_1000", "max_severity")
AGAINST_LABELS = (
    "labelled_steps", "vus_pr", "vus_pr_random", "auc_pr", "event_precision", "event_recall", "event_f1", "false_alarms_per_1000",
)  # fmt: skip
MANY = 0.5  # share of the series beyond which a detector is out of date


@dataclass(frozen=True, kw_only=True, slots=True)
class DetectionScores:
    """What `evaluate` found."""

    total: dict[str, float]  # by name; NaN = has no value
    per_series: "pd.DataFrame"  # unique_id, rows, and the same names


def evaluate(report: AnomalyReport, labels: IntArray | None = None) -> DetectionScores:
    """Count alarms, and compare them with labels where there are some.

    VUS-PR and AUC-PR are of the revised score, at no threshold; its buffer is the main period of the first channel. Alarms
    are those of the report as they are: a labelled run is widened by half that period on both sides.

    Args:
        labels: (N,) of 1 and 0, one per row of the report; None = not known.

    Raises:
        OptionError: labels of another shape.
    """
    import pandas as pd

    if labels is not None and labels.shape != report.score.shape:
        raise OptionError(f"labels must have one value per row, {report.score.shape}, got {labels.shape}", field="labels")
    rows, sums = [], _Sums()
    for series, series_id in enumerate(report.series_ids):
        span = report.rows_of(series)
        own: dict[str, Any] = {"unique_id": series_id, "rows": span.stop - span.start}
        own["judged_steps"] = int(np.isfinite(report.score[span]).sum())
        began = report.timestamps[span.start]
        mine = [event for event in report.events if event.series_id == series_id and event.kind != "gap"]
        own["alarms"] = sum(bool(np.greater_equal(event.start, began)) for event in mine)
        own["alarms_per_1000"] = _per_1000(own["alarms"], own["judged_steps"])
        own["max_severity"] = float(np.nanmax(np.append(report.severity[span], 0.0)))
        if labels is not None:
            own |= _against(report, span, labels[span] == 1, mine, sums)
        rows.append(own)
    names = COUNTED if labels is None else (*COUNTED, *AGAINST_LABELS)  # said, as a report without series has no row to tell
    frame = pd.DataFrame(rows, columns=pd.Index(names))
    judged = int(frame["judged_steps"].sum())
    total = {"judged_steps": float(judged), "alarms_per_1000": _per_1000(int(frame["alarms"].sum()), judged)}
    if labels is not None:
        for name in ("vus_pr", "vus_pr_random", "auc_pr"):
            total[name] = float(frame[name].mean()) if frame[name].notna().any() else math.nan
        total |= sums.totals()
    return DetectionScores(total=total, per_series=frame)


@dataclass(kw_only=True, slots=True)
class _Sums:
    """Counts over all series."""

    found: int = 0
    missed: int = 0
    right: int = 0  # predicted runs that touch a labelled one
    false: int = 0
    normal: int = 0  # steps without a label

    def totals(self) -> dict[str, float]:
        precision = self.right / (self.right + self.false) if self.right + self.false else math.nan
        recall = self.found / (self.found + self.missed) if self.found + self.missed else math.nan
        f1 = math.nan if math.isnan(recall) else 0.0
        if self.found and self.right:
            f1 = 2 * precision * recall / (precision + recall)
        return {
            "event_precision": precision,
            "event_recall": recall,
            "event_f1": f1,
            "false_alarms_per_1000": _per_1000(self.false, self.normal),
        }


def _against(report: AnomalyReport, span: slice, truth: BoolArray, alarms: Sequence[Event], sums: _Sums) -> dict[str, Any]:
    """Metrics of one series against its labels (T,)."""
    score, alarm = report.revised_score[span], np.zeros(len(truth), dtype=np.bool_)
    for event in alarms:  # quiet steps that do not end an event belong to it, though they do not alarm
        within = np.greater_equal(report.timestamps[span], event.start) & np.less_equal(report.timestamps[span], event.end)
        alarm |= within
    buffer = buffer_of(report.values[span, 0])
    events = event_scores(truth, alarm, slack=buffer // 2)
    runs = int((np.diff(alarm.astype(np.int8), prepend=0) == 1).sum())
    sums.found, sums.missed = sums.found + events.found, sums.missed + events.missed
    sums.right, sums.false = sums.right + runs - events.false_alarms, sums.false + events.false_alarms
    sums.normal += int((~truth).sum())
    return {
        "labelled_steps": int(truth.sum()),
        "vus_pr": vus_pr(truth, score, buffer=buffer),
        "vus_pr_random": vus_pr(truth, np.random.default_rng(0).random(len(score)), buffer=buffer),
        "auc_pr": auc_pr(truth, score),
        "event_precision": events.precision,
        "event_recall": events.recall,
        "event_f1": events.f1,
        "false_alarms_per_1000": _per_1000(events.false_alarms, int((~truth).sum())),
    }


def _per_1000(count: int, steps: int) -> float:
    return 1_000.0 * count / steps if steps else math.nan


# ---------------------------------------------------------------- calibration


@dataclass(frozen=True, kw_only=True, slots=True)
class CalibrationCurve:
    """How many alarms a detector gives, for so many asked for."""

    asked: FloatArray  # (K,) alarms per 1,000 steps
    given: FloatArray  # (K,) episodes of scores that reach that rate, per 1,000 steps; NaN = nothing to tell from
    steps: int  # that were judged


def calibration_curve(detector: FittedDetector, *, sensitivities: tuple[float, ...] = SENSITIVITIES) -> CalibrationCurve:
    """Alarms given on the calibration part, none of which was learnt from.

    The older half of the held-out scores of each series starts its calibration, the newer half is judged; alarms are counted
    over all series. Series with few held-out scores are left out.
    """
    asked = np.asarray(sensitivities, dtype=np.float64)
    episodes, steps = np.zeros(len(asked)), 0
    for memory in detector.memories.values():
        scores = memory.scores[0]
        if len(scores) < LEAST_OF_CURVE:
            continue
        start, judged = scores[: len(scores) // 2], scores[len(scores) // 2 :]
        steps += len(judged)
        for k, sensitivity in enumerate(asked):
            calibrator = Calibrator(CalibrationRules(sensitivity=float(sensitivity)), scores=start, width=detector.core.width)
            reached = np.flatnonzero(calibrator.update(judged).rate <= sensitivity / 1_000.0)
            episodes[k] += len(reached) and 1 + int((np.diff(reached) > detector.core.width).sum())
    given = 1_000.0 * episodes / steps if steps else np.full(len(asked), np.nan)
    return CalibrationCurve(asked=asked, given=given, steps=steps)


# ---------------------------------------------------------------- drift


@dataclass(frozen=True, kw_only=True, slots=True)
class Drift:
    """How far the scores after a fit are from those that it held out."""

    medians: dict[str, float]  # series id -> median p-value among the held-out scores of its fit; 0.5 = as then
    share: float  # of these series, those outside 0.3 … 0.7; 0 where nothing can be told

    @property
    def drifted(self) -> bool:
        """Whether so many series have drifted that the detector should be fitted anew."""
        return self.share >= MANY


def drift_of(detector: FittedDetector, report: AnomalyReport) -> Drift:
    """Compare the newest scores of a report, of rows after the fit, with the held-out scores of the fit.

    The p-values of the report itself do not tell: they are recalibrated as scores drift.
    """
    medians = {}
    span = WIDTHS_OF_DRIFT * detector.core.width
    least = max(LEAST_OF_DRIFT, span)
    for series, series_id in enumerate(report.series_ids):
        memory = detector.memories.get(series_id)
        scores = report.score[report.rows_of(series)]
        scores = scores[np.isfinite(scores)][-MOST_OF_DRIFT:]
        if memory is None or memory.scores.shape[1] < span or len(scores) < least:
            continue
        held_out = np.sort(memory.scores[0])
        as_high = len(held_out) - np.searchsorted(held_out, scores, side="left")
        medians[series_id] = float(np.median((1 + as_high) / (1 + len(held_out))))
    outside = [series_id for series_id, median in medians.items() if not OUTSIDE[0] <= median <= OUTSIDE[1]]
    return Drift(medians=medians, share=len(outside) / len(medians) if medians else 0.0)
