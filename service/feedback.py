"""What callers say of alarms: verdicts, kept as JSON lines, which become labels when a detector is fitted or recalibrated.

One line a verdict: model, unique_id, start, end (both inclusive), label (true = the alarm was right), event, at. The last
one on the same steps holds.
"""

import json
import logging
import os
import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from service.anomaly_request import VERDICTS
from service.errors import FieldError, Problem, invalid
from tsforecast.panel import IntArray, Panel, TimeArray

log = logging.getLogger("service.feedback")
FILE = "feedback.jsonl"


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """Whether the alarm on some steps of a series was right."""

    model: str
    unique_id: str
    start: str | int
    end: str | int
    label: str  # one of VERDICTS
    event: str | None = None  # id, where it was known
    at: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))

    @property
    def key(self) -> tuple[str, str, str]:
        """Of what it speaks: an event, which may go on after the verdict, or some steps."""
        return self.model, self.unique_id, self.event or self.span

    @property
    def span(self) -> str:
        """Its steps, written in one way."""
        return _span(self.start, self.end)


@dataclass(kw_only=True, eq=False)
class Feedback:
    """All verdicts, at most `most`; those before are in `folder`, if there is one."""

    folder: Path | None
    most: int
    _verdicts: "OrderedDict[tuple[str, str, str], Verdict]" = field(default_factory=OrderedDict)  # oldest first
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def start(self) -> None:
        """Read what was said before; a line that cannot be read is left out, and the log says so."""
        if self.folder is None:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / FILE
        if not path.exists():
            return
        lines = 0
        with path.open(encoding="utf-8", errors="replace", newline="\n") as file:  # an id may hold U+2028, U+0085 …
            for lines, line in enumerate(file, 1):
                try:
                    self._keep(_verdict(json.loads(line)))
                except (KeyError, TypeError, ValueError) as error:
                    log.warning("line %d of %s is no verdict and is left out: %r", lines, path, error)
        if lines > 2 * len(self._verdicts):  # mostly replaced since: write it anew
            fresh = path.with_suffix(".tmp")
            fresh.write_text("".join(_line(one) for one in self._verdicts.values()), encoding="utf-8")
            fresh.replace(path)

    def add(self, verdict: Verdict) -> tuple[Verdict, bool]:
        """Remember it: (what is remembered now, whether that is new). The same once more changes nothing.

        Raises:
            Problem: 503, it cannot be written; then nothing is remembered.
        """
        with self._lock:
            known = self._verdicts.get(verdict.key)
            if known is not None and replace(known, at=verdict.at) == verdict and self._newest_on(verdict) is known:
                return known, False
            if self.folder is not None:
                self._write(verdict, self.folder / FILE)
            self._keep(verdict)
            return verdict, True

    def _write(self, verdict: Verdict, path: Path) -> None:
        try:
            torn = _is_torn(path)  # by a crash: its rest must not swallow this verdict
            with path.open("a", encoding="utf-8") as file:
                file.write(("\n" if torn else "") + _line(verdict))
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            log.exception("a verdict cannot be written to %s", path)
            detail = f"the verdict cannot be written to TSF_STATE_DIR ({error.strerror or error}), and is not remembered"
            raise Problem(503, "state-not-written", detail, headers={"Retry-After": "60"}) from error

    def _newest_on(self, verdict: Verdict) -> Verdict | None:
        """The last verdict on the same steps, whether it named them or their event."""
        for one in reversed(self._verdicts.values()):
            if (one.model, one.unique_id) == (verdict.model, verdict.unique_id) and one.span == verdict.span:
                return one
        return None

    def _keep(self, verdict: Verdict) -> None:
        self._verdicts.pop(verdict.key, None)
        self._verdicts[verdict.key] = verdict
        while len(self._verdicts) > self.most:
            self._verdicts.popitem(last=False)

    def of(self, model: str) -> list[Verdict]:
        """Verdicts on the alarms of `model`, oldest first."""
        with self._lock:
            return [one for one in self._verdicts.values() if one.model == model]

    def label_of(self, event: Mapping[str, Any]) -> str | None:
        """What was said last of an event, as `KnownEvents` has it, by its id or by its steps; None = nothing."""
        model, series = event["model"], event["series"]
        keys = {(model, series, name) for name in (event["id"], _span(event["start"], event["end"]))}
        with self._lock:
            by_id = self._verdicts.get((model, series, event["id"]))
            if by_id is not None:  # its steps of then; it may have gone on since
                keys.add((model, series, by_id.span))
            said = [key for key in keys if key in self._verdicts]
            if len(said) > 1:
                said = [next(key for key in reversed(self._verdicts) if key in keys)]
            return self._verdicts[said[0]].label if said else None

    def labels(self, model: str, panel: Panel) -> IntArray | None:
        """What is known of the rows of `panel`, (N,) as in `Detector.fit`; None where nothing is."""
        found = np.zeros(len(panel.target), dtype=np.int64)
        places = {series_id: i for i, series_id in enumerate(panel.series_ids)}
        for verdict in self.of(model):
            series = places.get(verdict.unique_id)
            if series is not None:
                rows = slice(int(panel.offsets[series]), int(panel.offsets[series + 1]))
                found[rows][rows_between(panel.timestamps[rows], verdict, panel.zone_of(series))] = VERDICTS[verdict.label]
        return found if found.any() else None


def has_offset(value: str | int) -> bool:
    """Whether a timestamp of a request says its UTC offset."""
    return isinstance(value, str) and pd.Timestamp(value).tzinfo is not None


def moment_of(value: str | int, panel: Panel, field_name: str) -> "np.datetime64 | int":
    """A timestamp of a request on the clock of `panel`: text without offset is meant on its wall clock.

    Raises:
        Problem: 422, a step for a calendar or the other way round, or a UTC offset where the series have no zone.
    """
    if isinstance(value, int) != panel.is_integer_clock:
        wanted = "a whole number" if panel.is_integer_clock else "an ISO 8601 timestamp"
        message = f"must be {wanted}, as the timestamps of the series are, got {value!r}"
        raise invalid([FieldError(field=field_name, message=message)])
    if panel.tz is None and has_offset(value):
        message = f"must have no UTC offset, as the timestamps of the series have none, got {value!r}"
        raise invalid([FieldError(field=field_name, message=message)])
    return moment_at(value, panel.tz)


def moment_at(value: str | int, tz: str | None) -> "np.datetime64 | int":
    """A timestamp as the library has it: instants in UTC where there is a zone."""
    if isinstance(value, int):
        return value
    moment = pd.Timestamp(value)
    if moment.tzinfo is None and tz is not None:
        moment = moment.tz_localize(tz, ambiguous=True, nonexistent="shift_forward")
    if moment.tzinfo is not None:
        moment = moment.tz_convert("UTC").tz_localize(None)
    return np.datetime64(moment.as_unit("ns").to_numpy())


def rows_between(times: TimeArray, verdict: Verdict, tz: str | None) -> slice:
    """Rows of ascending `times` (T,) that a verdict speaks of; none where it speaks of another kind of clock."""
    if isinstance(verdict.start, int) != (times.dtype.kind != "M"):
        return slice(0, 0)
    first, last = (np.array([moment_at(moment, tz)]).astype(times.dtype) for moment in (verdict.start, verdict.end))
    return slice(int(np.searchsorted(times, first)[0]), int(np.searchsorted(times, last, side="right")[0]))


def _span(start: str | int, end: str | int) -> str:
    """Steps as a key; answers write UTC as Z, the reader of requests as +00:00."""
    return f"{start} to {end}".replace("Z", "+00:00")


def _line(verdict: Verdict) -> str:
    said = asdict(verdict) | {"label": VERDICTS[verdict.label] == 1}
    return json.dumps(said, ensure_ascii=False, sort_keys=True) + "\n"


def _verdict(said: dict[str, Any]) -> Verdict:
    return Verdict(**said | {"label": "true alarm" if said["label"] else "false alarm"})


def _is_torn(path: Path) -> bool:
    """Whether the last line of a file has no end."""
    if not path.exists() or not path.stat().st_size:
        return False
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) != b"\n"
