"""Scores -> p-values, alarms and events of one series, in one batch or step by step; and reports of whole panels."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from tsforecast.anomaly.alarms import Alarmed, AlarmMachine, AlarmRules, Change, event_id
from tsforecast.anomaly.calibration import Calibrated, Calibrator
from tsforecast.anomaly.kinds import GapWatch, kind_of
from tsforecast.anomaly.report import (
    JUDGED,
    MISSING,
    NOT_CALIBRATED,
    TOO_SHORT,
    TOO_SPARSE,
    AnomalyReport,
    BoolArray,
    Event,
    severity_of,
)
from tsforecast.anomaly.tails import highest_before
from tsforecast.errors import OptionError
from tsforecast.models.detector import channel_values
from tsforecast.models.evidence import BAND_LEVELS
from tsforecast.models.explaining import STOOD_OUT, Judged, explained
from tsforecast.panel import FloatArray, Panel, TimeArray

if TYPE_CHECKING:
    from tsforecast.models.fitted_detector import FittedDetector, Memory, SeriesScores

NEW_SERIES = "not in the training data: scaled by its own rows, calibrated on the scores of the other series"
LEAST_GAP = 3  # missing steps in a row that are an event, or half a window where that is more
MOST_EXPLAINED = 200  # events of a report that are explained, the most severe ones
FEW_SCORES = 200  # held-out scores of a series, below which it is said that they are few
LOOKED_AT = 20  # widths before an event that tell its kind


def rules_of(alarms: AlarmRules | None, sensitivity: float | None) -> AlarmRules:
    """The rules as given, with the sensitivity where that is given too."""
    if alarms is not None and not isinstance(alarms, AlarmRules):
        raise OptionError(f"alarms must be AlarmRules, got {type(alarms).__name__}", field="alarms")
    rules = alarms or AlarmRules()
    return rules if sensitivity is None else replace(rules, sensitivity=sensitivity)


def in_zone(rules: AlarmRules, zone: str | None) -> AlarmRules:
    """The rules with windows to be ignored as instants: texts and naive datetimes are meant on the wall clock of `zone`."""
    if zone is None or not rules.ignore:
        return rules
    import pandas as pd

    def instant(moment: Any) -> Any:
        if isinstance(moment, int | np.integer | np.datetime64):
            return moment
        stamp = pd.Timestamp(moment)
        if stamp.tzinfo is None:
            stamp = stamp.tz_localize(zone, ambiguous=True, nonexistent="shift_forward")
        return stamp.tz_convert("UTC").tz_localize(None).to_datetime64()

    return replace(rules, ignore=tuple((instant(first), instant(last)) for first, last in rules.ignore))


def check_level(level: float) -> float:
    """Coverage of a band in percent.

    Raises:
        OptionError: it does not lie in (0, 100).
    """
    if isinstance(level, bool) or not isinstance(level, int | float) or not 0 < level < 100:
        raise OptionError(f"level is the coverage of the band in percent, in (0, 100), got {level!r}", field="level")
    return float(level)


@dataclass(frozen=True, kw_only=True, slots=True)
class Judgement:
    """How rare n steps are, and what became of events with them."""

    p_value: FloatArray  # (n,)
    rate: FloatArray  # (n,)
    alarm: BoolArray  # (n,)
    changes: tuple[Change, ...]


class SeriesJudge:
    """Calibrator, alarms and gaps of one series."""

    def __init__(
        self,
        rules: AlarmRules,
        *,
        series_id: str,
        scores: FloatArray,
        width: int,
        vouched: BoolArray | None = None,
        **calibration: Any,
    ) -> None:
        """Args:
        scores: (n,) of steps that nothing was fitted to; `calibration` may have options of `CalibrationRules`.
        vouched: (n,) which of them feedback calls ordinary, whatever they look like.
        """
        self.rules, self.series_id, self.width = rules, series_id, width
        told = np.zeros(0, dtype=np.int64) if vouched is None else np.flatnonzero(vouched) - len(vouched)

        def started(*, looking_back: bool) -> Calibrator:
            found = Calibrator(rules.calibration(**calibration), scores=scores, width=width, looking_back=looking_back)
            if len(told):
                found.readmit(told)
            return found

        self.calibrator = started(looking_back=False)
        self.looking_back = partial(started, looking_back=True)
        self.machine = AlarmMachine(rules, series_id=series_id, width=width)
        self.gaps = GapWatch(series_id=series_id, least=max(LEAST_GAP, width // 2))

    def update(
        self,
        timestamps: TimeArray,
        *,
        score: FloatArray,
        residual: FloatArray | None,
        missing: BoolArray,
        learnt: BoolArray | None = None,
    ) -> Judgement:
        """Judge the next n steps.

        Args:
            timestamps, score, residual, missing: (n,).
            learnt: (n,) steps up to the end of the fit or of a recalibration: judged, but not calibrated on once more. What is
                odd among them is judged by the others alone. Not for a judge that was restored.
        """
        ignored = self.rules.ignored(timestamps)
        calibrated = self.calibrator.update(score, ignore=ignored if learnt is None else ignored | learnt)
        if learnt is not None and learnt.any():
            back = self.looking_back().update(score, ignore=np.ones_like(learnt))
            calibrated = Calibrated(
                p_value=np.where(learnt, back.p_value, calibrated.p_value), rate=np.where(learnt, back.rate, calibrated.rate)
            )
        alarmed: Alarmed = self.machine.update(
            timestamps,
            rate=calibrated.rate,
            p_value=calibrated.p_value,
            score=score,
            residual=residual,
            ignore=ignored,
        )
        gaps = self.gaps.update(timestamps, missing=missing & ~ignored)
        return Judgement(p_value=calibrated.p_value, rate=calibrated.rate, alarm=alarmed.alarm, changes=(*alarmed.changes, *gaps))

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """(arrays, JSON values) from which `from_state` goes on."""
        calibrator, calibrator_values = self.calibrator.state()
        machine, machine_values = self.machine.state()
        arrays = {f"calibrator.{name}": array for name, array in calibrator.items()}
        arrays |= {f"machine.{name}": array for name, array in machine.items()}
        return arrays, {"calibrator": calibrator_values, "machine": machine_values, "gaps": self.gaps.state()}

    @classmethod
    def from_state(cls, rules: AlarmRules, arrays: Mapping[str, np.ndarray], values: Mapping[str, Any]) -> "SeriesJudge":
        """The judge that `state` described, under the same rules."""
        found = cls.__new__(cls)
        found.rules = rules
        found.calibrator = Calibrator.from_state(_under("calibrator.", arrays), values["calibrator"])
        found.machine = AlarmMachine.from_state(rules, _under("machine.", arrays), values["machine"])
        found.gaps = GapWatch.from_state(values["gaps"])
        found.series_id, found.width = found.machine.series_id, found.machine.width
        found.looking_back = partial(_refuse_to_look_back, found.series_id)
        return found


def _refuse_to_look_back(series_id: str) -> Calibrator:
    raise TypeError(
        f"the judge of {series_id!r} was restored: the scores that it started from are gone, so it looks back on none"
    )


def _under(prefix: str, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}


def newest_events(changes: Iterable[Change]) -> list[Event]:
    """What each event is after all changes, in the order in which they began."""
    found: dict[str, Event] = {}
    for change in changes:
        found[f"{change.event.id} {change.event.kind == 'gap'}"] = change.event
    return sorted(found.values(), key=lambda event: (event.first_row, event.kind == "gap"))


def with_kind(event: Event, values: FloatArray, expected: FloatArray, *, width: int, season: int, first: int = 0) -> Event:
    """The event with its kind, told from one channel (T,), whose row `first` of the series is the first given."""
    if event.kind in ("gap", "level shift"):
        return event
    start = max(event.first_row - first - LOOKED_AT * width, 0)
    stop = event.last_row + 1 - first
    kind = kind_of(
        values[start:stop], expected[start:stop], event.first_row - first - start, event.last_row - first - start, season=season
    )
    return replace(event, kind=kind)


def band(expected: FloatArray, memory: "Memory", level: float) -> tuple[FloatArray, FloatArray]:
    """Lower and upper end of what `level` percent of ordinary steps lie in, (T, C) each, around `expected` (T, C)."""
    tail = (100.0 - level) / 200.0
    ends = []
    for at in (tail, 1.0 - tail):
        residual = np.asarray([np.interp(at, BAND_LEVELS, memory.residuals[:, c]) for c in range(expected.shape[1])])
        ends.append(expected + residual * memory.scale.deviation)
    return ends[0], ends[1]


def reasons(values: FloatArray, score: FloatArray, p_value: FloatArray, *, before: int, needed: int) -> np.ndarray:
    """Why a step has no score or no p-value, (T,): indices in REASONS.

    Args:
        before: rows of the series that the first of these looks back on.
        needed: rows before a step without which it may have no score for being early.
    """
    found = np.full(len(score), JUDGED, dtype=np.int8)
    found[np.isfinite(score) & ~np.isfinite(p_value)] = NOT_CALIBRATED
    early = np.arange(before, before + len(score)) <= needed
    found[~np.isfinite(score)] = np.where(early, TOO_SHORT, TOO_SPARSE)[~np.isfinite(score)]
    found[~np.isfinite(values).any(axis=1)] = MISSING
    return found


def nothing_seen(values: FloatArray) -> BoolArray:
    """Steps at which no channel (T, C) is observed, (T,)."""
    found: BoolArray = np.isfinite(values).sum(axis=1) == 0
    return found


def main_residual(values: FloatArray, expected: FloatArray, channel_scores: FloatArray, deviation: FloatArray) -> FloatArray:
    """Value less expectation of the channel with the most evidence at each step, standardised, (T,)."""
    away: FloatArray = (values - expected) / deviation
    if away.shape[1] == 1:
        return away[:, 0]
    main = np.where(np.isfinite(channel_scores), channel_scores, -np.inf).argmax(axis=1)
    picked: FloatArray = np.take_along_axis(away, main[:, None], axis=1)[:, 0]
    return picked


def judge(
    detector: "FittedDetector",
    panel: Panel,
    *,
    alarms: AlarmRules | None = None,
    sensitivity: float | None = None,
    level: float = 99.0,
    revised: bool = False,
    since: np.datetime64 | int | str | None = None,
    explain: bool = True,
    before: "FittedDetector | None" = None,
) -> AnomalyReport:
    """Scores, p-values and events of the rows of `panel`.

    Each series is calibrated on scores held out from the fit, and on its own newest scores as they come. Rows that the
    detector has learnt from are judged too, but not calibrated on.

    Args:
        detector: fitted.
        panel: series on the clock and with the channels of the fit; others than those of the fit are scaled by their own
            rows and calibrated on the scores of the others.
        alarms: what an alarm is; None = `AlarmRules()`, one alarm per 1,000 steps.
        sensitivity: alarms per 1,000 steps, in place of that of `alarms`.
        level: coverage of the band around what is expected, percent.
        revised: judge the scores that know what came after. They find the borders of events better, and are for looking
            back; the scores of the newest steps, which are `provisional`, still change.
        since: first timestamp of the report; rows before it are only history.
        explain: work out channels, severity without them, and the nearest ordinary window of each event.
        before: what `detector` was before it was recalibrated on this very panel: its series look back on what it remembers.

    Raises:
        FrequencyError, CovariateError, OptionError, SchemaError.
    """
    rules, level = rules_of(alarms, sensitivity), check_level(level)
    detector.check_request(panel)
    moment = _moment(panel, since)
    parts = [
        _judge_series(
            detector, panel, series, rules=rules, level=level, revised=revised, since=moment, explain=explain, before=before
        )
        for series in range(len(panel))
    ]
    parts = [part for part in parts if len(part["score"])]
    lengths = [len(part["score"]) for part in parts]
    channels = len(detector.facts.channels)
    return AnomalyReport(
        series_ids=tuple(part["series_id"] for part in parts),
        offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        timestamps=np.concatenate([panel.timestamps[:0], *(part["timestamps"] for part in parts)]),
        channels=detector.facts.channels,
        **{name: _joined(parts, name, channels) for name in ROW_FIELDS},
        events=tuple(event for part in parts for event in part["events"]),
        sensitivity=rules.sensitivity,
        level=level,
        revised=revised,
        tz=panel.tz,
        zones=tuple(part["zone"] for part in parts) if panel.zones else (),
        notes=tuple(note for part in parts for note in part["notes"]),
    )


ROW_FIELDS: Mapping[str, tuple[Any, bool]] = {  # name -> (type, whether it has a column per channel)
    "values": (np.float64, True),
    "score": (np.float64, False),
    "revised_score": (np.float64, False),
    "provisional": (np.bool_, False),
    "p_value": (np.float64, False),
    "rate": (np.float64, False),
    "severity": (np.float64, False),
    "alarm": (np.bool_, False),
    "reason": (np.int8, False),
    "expected": (np.float64, True),
    "lower": (np.float64, True),
    "upper": (np.float64, True),
    "channel_scores": (np.float64, True),
}


def _joined(parts: Sequence[Mapping[str, Any]], name: str, channels: int) -> np.ndarray:
    kind, wide = ROW_FIELDS[name]
    empty = np.zeros((0, channels) if wide else 0, dtype=kind)
    return np.concatenate([empty, *(part[name] for part in parts)])


def _moment(panel: Panel, since: np.datetime64 | int | str | None) -> np.datetime64 | int | None:
    if since is None:
        return None
    if panel.is_integer_clock != (isinstance(since, int | np.integer) and not isinstance(since, bool)):
        clock = "a whole number of steps" if panel.is_integer_clock else "a timestamp"
        raise OptionError(f"since must be {clock}, as the series have, got {since!r}", field="since")
    if panel.is_integer_clock:
        return int(since)
    import pandas as pd

    try:
        stamp = pd.Timestamp(since)
    except (TypeError, ValueError) as error:
        raise OptionError(f"since must be a timestamp, got {since!r}", field="since") from error
    if stamp.tzinfo is None:
        return stamp.to_datetime64()
    if panel.tz is None and not panel.zones:
        raise OptionError(f"since has an offset, {since!s}, and the series have no time zone; give it without", field="since")
    return stamp.tz_convert("UTC").tz_localize(None).to_datetime64()


def _judge_series(
    detector: "FittedDetector",
    panel: Panel,
    series: int,
    *,
    rules: AlarmRules,
    level: float,
    revised: bool,
    since: np.datetime64 | int | None,
    explain: bool,
    before: "FittedDetector | None",
) -> dict[str, Any]:
    series_id = panel.series_ids[series]
    values = channel_values(panel, series)
    memory = detector.memory_of(series_id, values)
    past = memory if before is None else before.memories.get(series_id, memory)
    looked_back_on = replace(memory, tail=past.tail, tail_times=past.tail_times)
    scores: SeriesScores = detector.series_scores(panel, series, looked_back_on)
    timestamps = panel.timestamps[panel.offsets[series] : panel.offsets[series + 1]]
    score = scores.revised if revised else scores.causal
    channel_scores = scores.revised_channels if revised else scores.causal_channels
    expected = scores.revised_expected if revised else scores.expected
    local = in_zone(rules, panel.zone_of(series))
    referee, learnt = _referee(detector, memory, local, series_id, timestamps, revised)
    found = referee.update(
        timestamps,
        score=score,
        residual=main_residual(values, expected, channel_scores, memory.scale.deviation),
        missing=nothing_seen(values),
        learnt=learnt,
    )
    judged = Judged(
        series_id=series_id,
        timestamps=timestamps,
        values=values,
        scores=scores,
        revised=revised,
        p_value=found.p_value,
        zone=panel.zone_of(series),
    )
    changed = newest_events(found.changes)
    if revised:
        changed, found = _trimmed(changed, found, score=score, timestamps=timestamps, smear=detector.core.delay)
    events = [event for event in changed if since is None or bool(np.greater_equal(event.end, since))]
    lower, upper = band(expected, memory, level)
    row_values: dict[str, Any] = {
        "timestamps": timestamps,
        "values": values,
        "score": scores.causal,
        "revised_score": scores.revised,
        "provisional": np.arange(len(score)) >= len(score) - detector.core.delay,
        "p_value": found.p_value,
        "rate": found.rate,
        "severity": severity_of(found.p_value),
        "alarm": found.alarm,
        "reason": reasons(
            values, score, found.p_value, before=detector.before(panel, series, looked_back_on), needed=detector.needed(series_id)
        ),
        "expected": expected,
        "lower": lower,
        "upper": upper,
        "channel_scores": channel_scores,
    }
    kept = slice(0 if since is None else int(np.searchsorted(timestamps, since)), None)
    return {name: rows[kept] for name, rows in row_values.items()} | {
        "series_id": series_id,
        "zone": panel.zone_of(series),
        "events": _finished(detector, judged, memory, events, explain),
        "notes": _notes(detector, series_id, memory, values),
    }


def _referee(
    detector: "FittedDetector",
    memory: "Memory",
    rules: AlarmRules,
    series_id: str,
    timestamps: TimeArray,
    revised: bool,
) -> tuple[SeriesJudge, BoolArray]:
    """(judge of one series, steps that it may not calibrate on (T,)): from held-out scores on, with new ones."""
    width = detector.core.width
    scores = memory.scores[int(revised)]
    referee = SeriesJudge(rules, series_id=series_id, scores=scores, vouched=memory.vouched, width=width)
    if not len(memory.tail_times):
        return referee, np.zeros(len(timestamps), dtype=np.bool_)
    learnt: BoolArray = np.less_equal(timestamps, memory.tail_times[-1])
    return referee, learnt


def _trimmed(
    events: Sequence[Event], found: Judgement, *, score: FloatArray, timestamps: TimeArray, smear: int
) -> tuple[list[Event], Judgement]:
    """Events, and alarms, without their feet: from the first to the last step that reaches half of the peak beside it.

    Revised scores are means over windows: they rise as much before what is odd as they fall behind it, and the more severe
    an event, the farther its feet reach beyond the threshold. A lower peak more than `smear` steps away stays in the event.
    """
    short, alarm = [], found.alarm.copy()
    for event in events:
        if event.kind == "gap" or not event.peak_score > 0:
            short.append(event)
            continue
        inside = np.nan_to_num(score[event.first_row : event.last_row + 1], nan=-np.inf)
        beside = np.maximum(highest_before(inside, smear), highest_before(inside[::-1], smear)[::-1])
        high = event.first_row + np.flatnonzero(inside >= STOOD_OUT * np.maximum(beside, inside))
        first, last = int(high[0]), int(high[-1])
        alarm[event.first_row : first], alarm[last + 1 : event.last_row + 1] = False, False
        start, end = (timestamps[row] if timestamps.dtype.kind == "M" else int(timestamps[row]) for row in (first, last))
        short.append(replace(event, id=event_id(event.series_id, start), start=start, end=end, first_row=first, last_row=last))
    return short, replace(found, alarm=alarm)


def _finished(
    detector: "FittedDetector", judged: Judged, memory: "Memory", events: Sequence[Event], explain: bool
) -> list[Event]:
    """Events with their kind, and the most severe of them with their explanation."""
    most = sorted(events, key=lambda event: -event.severity)[:MOST_EXPLAINED] if explain else []
    told = {event.id for event in most}
    found = []
    for event in events:
        if event.kind == "gap":
            found.append(event)
            continue
        rows = slice(event.first_row, event.last_row + 1)
        evidence = np.where(np.isfinite(judged.channel_scores[rows]), judged.channel_scores[rows], -np.inf).max(axis=0)
        main = int(evidence.argmax())
        kinded = with_kind(
            event, judged.values[:, main], judged.expected[:, main], width=detector.core.width, season=detector.facts.season
        )
        found.append(explained(detector, judged, memory, kinded) if event.id in told else kinded)
    return found


def _notes(detector: "FittedDetector", series_id: str, memory: "Memory", values: FloatArray) -> list[tuple[str, str]]:
    notes = []
    if series_id not in detector.memories:
        notes.append(
            (series_id, "not in the training data: scaled by its own rows, calibrated on the scores of the other series")
        )
    if not np.isfinite(values).any():
        notes.append((series_id, "has no values at all: nothing is judged"))
    elif not (count := memory.scores.shape[1]):
        notes.append((series_id, "has no held-out scores: p-values begin when enough of its own rows are judged"))
    elif count < FEW_SCORES:
        notes.append(
            (
                series_id,
                f"calibrated on {count} held-out scores: only what stands out far alarms; {4 * FEW_SCORES} rows of history or "
                "more tell better what is rare",
            )
        )
    return notes
