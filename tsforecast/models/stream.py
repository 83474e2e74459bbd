"""One series, judged value by value in bounded memory: the same causal scores, p-values and events as in one batch.

A value is judged when it comes; the score that also knows what came after follows once nothing can change it any more.
Timestamps make it idempotent: values sent again are answered as before and change nothing.
"""

import hashlib
import json
import os
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tsforecast.anomaly.alarms import AlarmRules, Change
from tsforecast.anomaly.points import Point, answers_from_arrays, answers_to_arrays
from tsforecast.anomaly.report import REASONS, Event, severity_of
from tsforecast.errors import ArtifactError, FrequencyError, OptionError, SchemaError
from tsforecast.models.detector import Rows
from tsforecast.models.evidence import in_units, over_channels
from tsforecast.models.explaining import Judged, explained, label_of
from tsforecast.models.judging import (
    LOOKED_AT,
    SeriesJudge,
    band,
    check_level,
    in_zone,
    main_residual,
    nothing_seen,
    reasons,
    rules_of,
    with_kind,
)
from tsforecast.panel import FloatArray, TimeArray, moment_number
from tsforecast.preprocessing.calendar import future_timestamps_after

if TYPE_CHECKING:
    from tsforecast.models.fitted_detector import FittedDetector, Memory

STATE, STATE_ARRAYS, FORMAT = "stream.json", "stream.safetensors", 1
REMEMBERED = 1_000  # newest answers that are given again when their values are sent again
MOST_SKIPPED = 10_000  # missing steps that one update may bring: more are taken for a wrong timestamp, not for a gap
AT_ONCE = 20_000  # values that are judged together
BLOCK = 32  # revised scores that are worked out together, at least


@dataclass(frozen=True, kw_only=True, slots=True)
class Update:
    """What some new values lead to."""

    points: tuple[Point, ...]  # one per value, in the order given
    revised: tuple[tuple[np.datetime64 | int, float], ...]  # (timestamp, score) that are final now, oldest first
    events: tuple[Event, ...]  # those that began, went on or ended
    skipped: int = 0  # steps that were missing between the values, and count as not observed
    outdated: int = 0  # values from before the stream, or too old to be answered again: not read
    changed: int = 0  # values that differ from those that were judged: not read
    late: int = 0  # values of steps that had been judged as missing: not read


@dataclass(frozen=True, kw_only=True, slots=True)
class _Asked:
    """What an update would do to a stream."""

    rows: FloatArray  # (n, C) to be judged, with those that are missing between them
    moments: TimeArray  # (n,)
    sent: frozenset[int]  # of these moments, those that are no gap
    skipped: int
    alone: bool  # nothing is looked back on
    told: tuple[Point, ...]  # answers of before
    counts: dict[str, int]  # of values that are not read: `outdated`, `changed` and `late` of an Update


class DetectorStream:
    """The running judgement of one series. Not for several threads at once."""

    def __init__(self, detector: "FittedDetector", series_id: str, *, rules: AlarmRules, level: float) -> None:
        channels = len(detector.facts.channels)
        self.detector, self.series_id, self.rules, self.level = detector, series_id, rules, level
        self.memory: Memory = detector.memory_of(series_id, np.zeros((0, channels)))
        self.known = series_id in detector.memories
        self.first_rows, self.scaled = detector.first_rows, False
        core = detector.core
        read = core.reach + 2 * core.delay + max(core.delay, BLOCK)
        self.kept = max(read, (LOOKED_AT + 10) * core.width)  # rows that any later answer may read
        self.block = max(core.delay, BLOCK)
        self.values: FloatArray = np.zeros((0, channels))  # (<= 2 * kept, C) newest rows
        self.expected: FloatArray = np.zeros((0, channels))  # the same, NaN where nothing was judged
        self.times: TimeArray = self.memory.tail_times[:0]
        self.rows = 0  # judged so far
        self.final = 0  # of these, with a revised score
        self.judge = SeriesJudge(
            in_zone(rules, detector.facts.tz),
            series_id=series_id,
            scores=self.memory.scores[0],
            vouched=self.memory.vouched,
            width=core.width,
        )
        self.answers: OrderedDict[int, Point] = OrderedDict()
        if self.known and len(self.memory.tail_times):
            self.values, self.times = self.memory.tail.copy(), self.memory.tail_times.copy()
        self.expected = np.full(self.values.shape, np.nan)
        self.channel_scores = np.full(self.values.shape, np.nan)  # the same
        self.history = len(self.values)  # rows at the front of the ring that were not judged here

    # Values

    def update(self, values: Any, timestamps: Any | None = None) -> Update:
        """Judge new values.

        Args:
            values: (n,) or (n, C), or one number; NaN or None = missing.
            timestamps: (n,) ascending; None = the steps after the last one. Steps between the last timestamp and the
                first of these count as missing. The first values of all may come as late after the fit as they like:
                beyond `MOST_SKIPPED` steps they begin anew, without looking back on it.

        Raises:
            SchemaError: another number of channels, an infinite value, or a timestamp for not every value.
            FrequencyError: a timestamp off the clock, or so far ahead that it must be a mistake.
        Either takes none of the values: the stream is as it was.
        """
        asked = self._asked(values, timestamps)
        if asked.alone:  # all is checked: from here on the stream changes
            self._look_back_on_nothing()
        told = list(asked.told)
        revised: list[tuple[np.datetime64 | int, float]] = []
        changed: dict[str, Event] = {}  # each in its newest state
        for first in range(0, len(asked.rows), AT_ONCE):
            piece = slice(first, first + AT_ONCE)
            points, events = self._judged(asked.rows[piece], asked.moments[piece], asked.sent)
            told += points
            changed |= {event.id: event for event in events}
            revised += self._revised()
            self._forget()
        return Update(
            points=tuple(told), revised=tuple(revised), events=tuple(changed.values()), skipped=asked.skipped, **asked.counts
        )

    def check(self, values: Any, timestamps: Any | None = None) -> int:
        """How many missing steps `update` would judge with these values; raises what it would raise, and changes nothing."""
        return self._asked(values, timestamps).skipped

    def _asked(self, values: Any, timestamps: Any | None) -> _Asked:
        given = self._checked(values)
        times = self._times_of(timestamps, len(given))
        new = np.ones(len(given), dtype=np.bool_)
        if len(self.times) and len(given):
            new = np.greater(times, self.times[-1])
        told, counts = self._known(given[~new], times[~new])
        rows, moments, skipped, alone = given[new], times[new], 0, False
        if len(rows):
            alone = self._far_from_the_fit(moments[0])
            rows, moments, skipped = self._with_gaps(rows, moments, self.times[:0] if alone else self.times[-1:])
        sent = frozenset(times[new].astype(np.int64).tolist())
        return _Asked(rows=rows, moments=moments, sent=sent, skipped=skipped, alone=alone, told=told, counts=counts)

    def _checked(self, values: Any) -> FloatArray:
        channels = len(self.detector.facts.channels)
        try:
            given = np.asarray(values, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise SchemaError(
                f"series {self.series_id!r}: values must be numbers, got {error}", series_id=self.series_id
            ) from error
        if given.ndim == 0:
            given = given[None]
        if given.ndim == 1 and not len(given):
            return np.zeros((0, channels))
        if given.ndim == 1:
            given = given[:, None] if channels == 1 else given[None]
        if given.ndim != 2 or given.shape[1] != channels:
            raise SchemaError(
                f"series {self.series_id!r} has channels {list(self.detector.facts.channels)}, so values must be "
                f"(n, {channels}), got {np.shape(values)}",
                series_id=self.series_id,
                field="values",
            )
        if np.isinf(given).any():
            row, channel = np.argwhere(np.isinf(given))[0]
            raise SchemaError(
                f"series {self.series_id!r} has an infinite value in {self.detector.facts.channels[channel]!r}, place {row}; "
                "send null for what is not known",
                series_id=self.series_id,
                field="values",
            )
        return given

    def _times_of(self, timestamps: Any | None, count: int) -> TimeArray:
        facts = self.detector.facts
        is_integer = isinstance(facts.freq, int)
        if not count and (timestamps is None or not np.size(timestamps)):
            return self.times[:0]
        if timestamps is None:
            if not len(self.times):
                if is_integer:
                    return np.arange(count, dtype=np.int64) * int(facts.freq)
                raise SchemaError(f"series {self.series_id!r} has no past; give the timestamps of its values", field="timestamps")
            return self._after(count)
        found = _moments_of(timestamps, is_integer=is_integer, series_id=self.series_id)
        if len(found) != count:
            raise SchemaError(
                f"series {self.series_id!r} has {count} values and {len(found)} timestamps; give one for each",
                series_id=self.series_id,
                field="timestamps",
            )
        if (np.diff(found.astype(np.int64)) <= 0).any():
            raise SchemaError(
                f"series {self.series_id!r}: timestamps must ascend without repeats", series_id=self.series_id, field="timestamps"
            )
        return found

    def _after(self, count: int) -> TimeArray:
        found: TimeArray = future_timestamps_after(self.times[-1:], self.detector.facts.freq, count, tz=self.detector.facts.tz)[0]
        return found

    def _known(self, rows: FloatArray, moments: TimeArray) -> tuple[tuple[Point, ...], dict[str, int]]:
        """(the answers of then to steps that are not new, how many values of each kind are not read)."""
        told, counts = [], {"outdated": 0, "changed": 0, "late": 0}
        for row, moment in zip(rows, moments, strict=True):
            known = self.answers.get(moment_number(moment))
            if known is None:
                counts["outdated"] += 1
                continue
            told.append(replace(known, repeated=True))
            if not np.array_equal(row, known.values, equal_nan=True):
                counts["late" if np.isnan(known.values).all() else "changed"] += 1
        return tuple(told), counts

    def _far_from_the_fit(self, moment: np.datetime64 | int) -> bool:
        """Whether nothing was judged yet and the first value comes so late that the rows of the fit do not matter to it."""
        if self.rows or not len(self.times):
            return False
        steps = self._steps_until(self.times[-1:], moment, first=16, most=MOST_SKIPPED + 1)
        return bool(np.greater(moment, steps[-1]))

    def _look_back_on_nothing(self) -> None:
        self.values, self.times, self.history = self.values[:0], self.times[:0], 0
        self.expected, self.channel_scores = self.expected[:0], self.channel_scores[:0]

    def _steps_until(self, last: TimeArray, moment: np.datetime64 | int, *, first: int, most: int) -> TimeArray:
        """Steps of the clock after `last` (1,) up to a moment or beyond: `first` of them, then more, at most `most`."""
        found: TimeArray = last
        count = min(first, most)
        while True:
            try:
                found = future_timestamps_after(last, self.detector.facts.freq, count, tz=self.detector.facts.tz)[0]
            except FrequencyError:  # clocks of nanoseconds end in 2262
                return found
            if count == most or np.greater_equal(found[-1], moment):
                return found
            count = min(4 * count, most)

    def _with_gaps(self, rows: FloatArray, moments: TimeArray, last: TimeArray) -> tuple[FloatArray, TimeArray, int]:
        """The rows with those that are missing between them, and after the `last` step known, (1,), or (0,) without one."""
        most = len(rows) + MOST_SKIPPED
        start = last if len(last) else moments[:1]
        steps = self._steps_until(start, moments[-1], first=max(len(rows), 16), most=most)
        if not len(last):
            steps = np.concatenate([start, steps])[:most]
        places = np.searchsorted(steps, moments)
        if places[-1] >= len(steps):
            raise self._too_far(moments, start, steps, int(np.argmax(places >= len(steps))))
        off = np.flatnonzero(steps[places] != moments)
        if len(off):
            raise FrequencyError(
                f"series {self.series_id!r}: {moments[off[0]]} is not on the clock of {self.detector.facts.freq!r} that goes "
                f"through {start[0]}; the next step is {steps[places[off[0]]]}",
                series_id=self.series_id,
                field="timestamps",
            )
        filled = np.full((int(places[-1]) + 1, rows.shape[1]), np.nan)
        filled[places] = rows
        return filled, steps[: len(filled)], len(filled) - len(rows)

    def _too_far(self, moments: TimeArray, start: TimeArray, steps: TimeArray, place: int) -> FrequencyError:
        """What is wrong with the moment at `place`, which is beyond all of the `steps` after `start` (1,)."""
        length = (int(moment_number(steps[-1])) - int(moment_number(start[0]))) / len(steps)
        away = round((int(moment_number(moments[place])) - int(moment_number(start[0]))) / max(length, 1.0))
        far, before = (
            label_of(one, self.detector.facts.tz) for one in (moments[place], moments[place - 1] if place else start[0])
        )
        return FrequencyError(
            f"series {self.series_id!r}: got {far} after {before}, so some {max(away - place - 1, MOST_SKIPPED + 1):,} steps of "
            f"{self.detector.facts.freq!r} would be skipped; one update may skip {MOST_SKIPPED:,}, and none of its values was "
            "taken. Correct the timestamp; if it is right, begin anew: detector.stream(series_id)",
            series_id=self.series_id,
            field="timestamps",
        )

    # Judging

    def _judged(self, rows: FloatArray, moments: TimeArray, sent: frozenset[int]) -> tuple[list[Point], list[Event]]:
        """(the answers to those of the rows that were `sent`, the events that changed)."""
        core = self.detector.core
        self.values = np.concatenate([self.values, rows])
        self.times = np.concatenate([self.times, moments])
        self._scaled()
        memory, n = self.memory, len(rows)
        evidence, ahead = core.causal(self._rows(max(len(self.values) - n - core.reach, 0)), n)
        channel_scores = in_units(evidence, memory.units[0], core.weights)
        score, expected = over_channels(channel_scores), memory.scale.back(ahead)
        if not self.known:  # its first rows are what it is scaled by
            first = min(max(self.first_rows - self.rows, 0), n) if self.scaled else n
            score[:first], channel_scores[:first], expected[:first] = np.nan, np.nan, np.nan
        self.expected = np.concatenate([self.expected, expected])
        self.channel_scores = np.concatenate([self.channel_scores, channel_scores])
        residual = main_residual(rows, expected, channel_scores, memory.scale.deviation)
        found = self.judge.update(moments, score=score, residual=residual, missing=nothing_seen(rows))
        self.rows += n
        events = self._told(found.changes)
        lower, upper = band(expected, memory, self.level)
        severity, reason = (
            severity_of(found.p_value),
            reasons(rows, score, found.p_value, before=self.history + self.rows - n, needed=self.detector.needed(self.series_id)),
        )
        current = self.judge.machine.event()
        points, keys = [], moments.astype(np.int64).tolist()
        for i in range(n):
            if i < n - REMEMBERED and keys[i] not in sent:
                continue  # nobody asks for it now, nor can later
            belongs = [event.id for event in (*events, *([current] if current else [])) if event.start <= moments[i] <= event.end]
            point = Point(
                timestamp=moments[i] if moments.dtype.kind == "M" else int(moments[i]),
                values=tuple(rows[i].tolist()),
                score=float(score[i]),
                p_value=float(found.p_value[i]),
                severity=float(severity[i]),
                alarm=bool(found.alarm[i]),
                expected=tuple(expected[i].tolist()),
                lower=tuple(lower[i].tolist()),
                upper=tuple(upper[i].tolist()),
                reason=REASONS[int(reason[i])],
                event_id=belongs[0] if belongs and found.alarm[i] else None,
            )
            if keys[i] in sent:
                points.append(point)
            self.answers[keys[i]] = point
        while len(self.answers) > REMEMBERED:
            self.answers.popitem(last=False)
        return points, events

    def _rows(self, first: int, stop: int | None = None) -> Rows:
        """Those places of the ring, standardised."""
        facts = self.detector.facts
        return Rows(
            values=self.memory.scale.standardise(self.values[first:stop]),
            timestamps=self.times[first:stop],
            freq=facts.freq,
            season=facts.season,
            tz=facts.tz,
        )

    def _scaled(self) -> None:
        """Of a series that the fit has not seen: take the scale of its first rows, once they are there."""
        if not self.known and not self.scaled and len(self.values) >= self.first_rows:
            self.memory = self.detector.memory_of(self.series_id, self.values[: self.first_rows])
            self.scaled = True

    def _told(self, changes: Sequence[Change]) -> list[Event]:
        """Events that changed, with their kind where their rows are still here."""
        core, offset = self.detector.core, self.rows - (len(self.values) - self.history)
        found: dict[str, Event] = {}
        for change in changes:
            event = change.event
            if event.kind not in ("gap", "level shift"):
                first = event.first_row - offset
                if first >= 0:
                    inside = self.channel_scores[self.history + first : self.history + event.last_row - offset + 1]
                    main = int(np.where(np.isfinite(inside), inside, -np.inf).max(axis=0).argmax())
                    moved = replace(event, first_row=first, last_row=event.last_row - offset)
                    columns = self.values[self.history :, main], self.expected[self.history :, main]
                    kind = with_kind(moved, *columns, width=core.width, season=self.detector.facts.season).kind
                    event = replace(event, kind=kind)
            found[event.id] = event
        return list(found.values())

    def explained(self, event: Event) -> Event:
        """The event with the channels and the ordinary window that the rows still here tell; without, where its rows are gone."""
        judged_rows = len(self.values) - self.history
        first = event.first_row - (self.rows - judged_rows) + self.history
        if event.kind == "gap" or first < 0:
            return event
        p_value = np.full(len(self.values), np.nan)
        for i, moment in enumerate(self.times[self.history :].astype(np.int64).tolist(), self.history):
            if moment in self.answers:
                p_value[i] = self.answers[moment].p_value
        detector, rows = self.detector, self._rows(0)
        judged = Judged(
            series_id=self.series_id,
            timestamps=self.times,
            values=self.values,
            scores=detector.scores_of(rows, self.memory),
            revised=False,
            p_value=p_value,
            zone=detector.facts.tz,
        )
        moved = replace(event, first_row=first, last_row=first + event.steps - 1)
        found = explained(detector, judged, self.memory, moved)
        return replace(event, channels=found.channels, nearest_normal=found.nearest_normal)

    def _revised(self) -> list[tuple[np.datetime64 | int, float]]:
        """Scores of steps that nothing later can change any more, a block at a time."""
        core, found = self.detector.core, []
        while self.rows - self.final - core.delay >= self.block:
            before = self.rows - self.final  # judged rows without a revised score
            stop = len(self.values) - before + self.block + core.delay  # row after the last one that these scores read
            first = max(len(self.values) - before - core.reach - core.delay, 0)
            rows = self._rows(first, stop)
            evidence = core.evidence(rows)
            place = len(self.values) - before - first
            part = in_units(evidence.revised[:, place : place + self.block], self.memory.units[1], core.weights)
            scores = over_channels(part)
            moments = rows.timestamps[place : place + self.block]
            found += [(m if moments.dtype.kind == "M" else int(m), float(s)) for m, s in zip(moments, scores, strict=True)]
            for moment in moments:
                key = moment_number(moment)
                if key in self.answers:
                    self.answers[key] = replace(self.answers[key], provisional=False)
            self.final += self.block
        return found

    def _forget(self) -> None:
        if len(self.values) >= 2 * self.kept:
            gone = len(self.values) - self.kept
            self.values, self.times = self.values[gone:].copy(), self.times[gone:].copy()
            self.expected = self.expected[gone:].copy()
            self.channel_scores = self.channel_scores[gone:].copy()
            self.history = max(self.history - gone, 0)

    # Storage

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Write the state into `folder` (made if missing) as JSON + safetensors; the detector is not part of it."""
        from safetensors.numpy import save as to_bytes

        target = Path(folder)
        arrays, values = self.judge.state()
        stored = {f"judge.{name}": array for name, array in arrays.items()}
        stored |= {
            "channel_scores": self.channel_scores,
            "values": self.values,
            "expected": self.expected,
            "times": self.times.astype(np.int64),
        }
        stored |= answers_to_arrays(list(self.answers.values()), len(self.detector.facts.channels))
        memory = self.memory.scale
        stored |= {"mean": memory.mean, "deviation": memory.deviation}
        data = to_bytes({name: np.ascontiguousarray(array) for name, array in stored.items()})
        state = {
            "format": FORMAT,
            "series_id": self.series_id,
            "detector": self.detector.fingerprint,
            "judge": values,
            "rows": self.rows,
            "final": self.final,
            "history": self.history,
            "scaled": self.scaled,
            "sensitivity": self.rules.sensitivity,
            "reasons": [point.reason for point in self.answers.values()],
            "event_ids": [point.event_id for point in self.answers.values()],
            "sha256": hashlib.sha256(data).hexdigest(),
        }
        text = json.dumps(state, allow_nan=False, sort_keys=True) + "\n"
        target.mkdir(parents=True, exist_ok=True)  # from here on only the disk can fail: a state of before stays until then
        (target / STATE_ARRAYS).write_bytes(data)
        (target / STATE).write_text(text)
        return target


def open_stream(
    detector: "FittedDetector",
    series_id: str | None = None,
    *,
    alarms: AlarmRules | None = None,
    sensitivity: float | None = None,
    level: float = 99.0,
    state: str | os.PathLike[str] | None = None,
) -> DetectorStream:
    """A judge of one series that takes its values as they come.

    A series of the fit goes on where the fit ended, unless its first values come much later (see `update`). Of others the
    first rows give the scale, and the scores of the series of the fit the calibration.

    Args:
        detector: fitted.
        series_id: None = the only series of the fit.
        alarms, sensitivity, level: as in `judging.judge`.
        state: folder that `DetectorStream.save` wrote, to go on from there with the same rules.

    Raises:
        OptionError: no series is named and the fit had several; ArtifactError: the state is damaged, or of another detector.
    """
    if series_id is None:
        if len(detector.memories) != 1:
            raise OptionError(f"the fit had {len(detector.memories)} series; name one by series_id=", field="series_id")
        series_id = next(iter(detector.memories))
    stream = DetectorStream(detector, series_id, rules=rules_of(alarms, sensitivity), level=check_level(level))
    if state is not None:
        _restore(stream, Path(state))
    return stream


def _restore(stream: DetectorStream, folder: Path) -> None:
    from safetensors import SafetensorError
    from safetensors.numpy import load as from_bytes

    try:
        state = json.loads((folder / STATE).read_text())
        data = (folder / STATE_ARRAYS).read_bytes()
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{folder} is no stored stream: {error}; save one with stream.save(folder)") from error
    try:
        if state["format"] > FORMAT:
            raise ArtifactError(f"{folder} has format {state['format']}, this version reads up to {FORMAT}; upgrade tsforecast")
        if state["detector"] != stream.detector.fingerprint or state["series_id"] != stream.series_id:
            raise ArtifactError(f"{folder} is the stream of {state['series_id']!r} by another detector; open a new stream")
        if state["sensitivity"] != stream.rules.sensitivity:
            raise ArtifactError(
                f"{folder} is a stream with sensitivity {state['sensitivity']}, not {stream.rules.sensitivity}; open it with that"
            )
        if hashlib.sha256(data).hexdigest() != state["sha256"]:
            raise ArtifactError(f"{folder / STATE_ARRAYS} does not match its checksum; open a new stream")
        arrays = from_bytes(data)
        own = {name.removeprefix("judge."): array for name, array in arrays.items() if name.startswith("judge.")}
        stream.judge = SeriesJudge.from_state(stream.rules, own, state["judge"])
        stream.values, stream.expected = arrays["values"].copy(), arrays["expected"].copy()
        stream.channel_scores = arrays["channel_scores"].copy()
        times = arrays["times"].copy()
        stream.times = times if isinstance(stream.detector.facts.freq, int) else times.view("M8[ns]")
        stream.rows, stream.final, stream.history = int(state["rows"]), int(state["final"]), int(state["history"])
        scale = replace(stream.memory.scale, mean=arrays["mean"].copy(), deviation=arrays["deviation"].copy())
        stream.memory, stream.scaled = replace(stream.memory, scale=scale), bool(state["scaled"])
        stream.answers = answers_from_arrays(arrays, state, stream.times.dtype)
    except (AttributeError, KeyError, OptionError, SafetensorError, TypeError, ValueError) as error:
        raise ArtifactError(f"{folder} is damaged: {error!r}; open a new stream") from error


def _moments_of(timestamps: Any, *, is_integer: bool, series_id: str) -> TimeArray:
    """Timestamps as the library keeps them: int64 steps, or datetime64[ns] in UTC (naive ones as they are).

    Raises:
        SchemaError: they are something else.
    """
    given = np.atleast_1d(np.asarray(timestamps))
    if is_integer:
        if given.dtype.kind not in "iu":
            raise SchemaError(
                f"series {series_id!r} steps by whole numbers, got timestamps {given[:1].tolist()}",
                series_id=series_id,
                field="timestamps",
            )
        return given.astype(np.int64)
    if given.dtype.kind == "M":
        return given.astype("M8[ns]")
    import pandas as pd

    try:
        stamps = [pd.Timestamp(one) for one in given.tolist()]
        if any(isinstance(one, int | float) for one in given.tolist()) or any(pd.isna(one) for one in stamps):
            raise ValueError("a number or nothing")
    except (TypeError, ValueError) as error:
        raise SchemaError(
            f"series {series_id!r}: timestamps must be moments, such as '2026-01-01T00:00:00': {error}",
            series_id=series_id,
            field="timestamps",
        ) from error
    moments = [(one if one.tzinfo is None else one.tz_convert("UTC").tz_localize(None)).to_datetime64() for one in stamps]
    return np.asarray(moments, dtype="M8[ns]")
