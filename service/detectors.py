"""(detector, series) -> its running stream: what POST /v1/anomalies/score goes on from. Bounded in memory and on disk.

The least recently asked streams leave memory first. Where there is a folder they are written there as JSON + safetensors,
when they leave, every few seconds, and at the end; without one they are forgotten.
"""

import hashlib
import json
import logging
import shutil
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from service.anomaly_request import VERDICTS
from service.errors import FieldError, Problem
from service.feedback import Feedback, Verdict, rows_between
from service.known_events import KnownEvents
from service.loaded_models import ServedModel
from tsforecast.anomaly.alarms import AlarmRules
from tsforecast.anomaly.report import Event
from tsforecast.errors import ArtifactError, OptionError
from tsforecast.models.fitted_detector import FittedDetector
from tsforecast.models.stream import REMEMBERED, DetectorStream, Update, open_stream
from tsforecast.panel import IntArray, moment_number

log = logging.getLogger("service.detectors")
ABOUT = "about.json"
MOST_NAMED = 20  # failed writes in one message
ANEW = "the series is judged anew from here: "
UNREADABLE = f"{ANEW}what was stored of its stream cannot be read"
REFITTED = f"{ANEW}what came before was judged by another version of the detector"
FORGOTTEN = f"{ANEW}what came before is not remembered any more"
SERIES_DIGITS = 28  # hexadecimal digits of a stored stream that say which series by which detector; the others, which version
Key = tuple[str, str, str]  # name and version of the detector, id of the series
Moment = int  # nanoseconds, or steps of an integer clock


@dataclass(kw_only=True, eq=False)
class OpenStream:
    """A stream in memory, with what the service has to say again when it is asked again."""

    key: Key
    stream: DetectorStream
    rules: AlarmRules
    revised: "OrderedDict[Moment, float]" = field(default_factory=OrderedDict)  # step -> its final score
    changed: "OrderedDict[Moment, tuple[str, ...]]" = field(default_factory=OrderedDict)  # last step of an update -> events
    explained: "OrderedDict[str, Event]" = field(default_factory=OrderedDict)  # id -> the event as it was explained last
    users: int = 0  # requests that hold it; changed under the lock of the table
    note: str | None = None  # what the first answer has to say besides
    unsaved: bool = False
    dropped: bool = False  # by a reset: not to be written any more
    lock: threading.Lock = field(default_factory=threading.Lock)  # of the stream: one update at a time

    def update(self, values: Any, timestamps: Any, *, explain: bool) -> tuple[Update, list[Event]]:
        """(what the stream says, the events it told, with their explanation)."""
        rows = self.stream.rows
        found = self.stream.update(values, timestamps)
        if self.stream.rows > rows:
            self.unsaved = True
            self.changed[moment_number(timestamps[-1])] = tuple(event.id for event in found.events)
            self.revised.update((moment_number(moment), score) for moment, score in found.revised)
            _shorten(self.changed)
            _shorten(self.revised)
        events = [self._explained(event) if explain else event for event in found.events]
        return found, events

    def noted(self) -> list[str]:
        """What has to be said once."""
        note, self.note = self.note, None
        return [] if note is None else [note]

    def steps_of(self, verdict: Verdict) -> IntArray:
        """Numbers of the judged steps that it speaks of, of those that are still remembered."""
        stream = self.stream
        judged = stream.times[stream.history :]
        rows = rows_between(judged, verdict, stream.detector.facts.tz)
        return np.arange(len(judged))[rows] + stream.rows - len(judged)

    def tell(self, verdict: Verdict) -> None:
        """Let what was said of an alarm count at once: true anomalies leave what is ordinary, false alarms enter it."""
        steps = self.steps_of(verdict)
        if len(steps):
            calibrator = self.stream.judge.calibrator
            (calibrator.exclude if VERDICTS[verdict.label] == 1 else calibrator.readmit)(steps)
            self.unsaved = True

    def _explained(self, event: Event) -> Event:
        """The event with its channels, worked out when it begins and when it ends; between these as they were."""
        known = self.explained.get(event.id)
        if known is not None and event.open:
            return replace(event, channels=known.channels, nearest_normal=known.nearest_normal)
        self.explained[event.id] = found = self.stream.explained(event)
        _shorten(self.explained)
        return found


@dataclass(kw_only=True, eq=False)
class Streams:
    """The open streams, at most `capacity` series x channels, and the events they told."""

    folder: Path | None
    capacity: int
    most_stored: int
    seconds: float  # between two looks for what has to be written
    events: KnownEvents
    feedback: Feedback
    _open: "OrderedDict[Key, OpenStream]" = field(default_factory=OrderedDict)  # latest used last
    _versions: "OrderedDict[str, str]" = field(default_factory=OrderedDict)  # digests: series by a detector -> its last version
    _table: threading.Lock = field(default_factory=threading.Lock)  # of `_open`
    _disk: threading.Lock = field(default_factory=threading.Lock)  # one write at a time
    _stopped: threading.Event = field(default_factory=threading.Event)

    def start(self) -> None:
        """Read the events of before, and write what changes from now on, in a thread."""
        if self.folder is None:
            return
        (self.folder / "streams").mkdir(parents=True, exist_ok=True)
        for one in (self.folder / "streams").iterdir():
            self._versions[one.stem[:SERIES_DIGITS]] = one.stem[SERIES_DIGITS:]
        self.events.start()
        threading.Thread(target=self._keep_written, name="streams", daemon=True).start()

    def stop(self) -> None:
        """Write what has not been written; what cannot be is lost, and the log says so."""
        self._stopped.set()
        try:
            self.save()
        except Exception:
            log.exception("the service ends, and what could not be written to %s is lost", self.folder)

    def __len__(self) -> int:
        with self._table:
            return len(self._open)

    @contextmanager
    def use(
        self, model: ServedModel, series_id: str, *, rules: AlarmRules | None, level: float | None, reset: bool
    ) -> Iterator[OpenStream]:
        """The stream of that series by that detector, for the caller alone; opened if need be.

        Args:
            rules, level: None = as the stream has them; a stream that is opened has the defaults of the library.
            reset: forget what was, and open it anew.

        Raises:
            Problem: 409, it was opened with other rules or another level.
        """
        with self._one(model, series_id, rules=rules, level=level, reset=reset) as one:
            _check_same(one, rules, level)
            if rules is not None and rules != one.rules:  # the windows to be ignored have changed
                one.rules = one.stream.rules = one.stream.judge.rules = one.stream.judge.machine.rules = rules
            yield one
            with self._table:
                self._remember_version(one)

    def check(
        self,
        model: ServedModel,
        series_id: str,
        values: Any,
        timestamps: Any,
        *,
        rules: AlarmRules | None,
        level: float | None,
        reset: bool,
    ) -> int:
        """How many missing steps these values would bring; no stream moves, and none begins.

        Args:
            rules, level, reset: as for `use`.

        Raises:
            Problem: as `use`; what `DetectorStream.update` would raise.
        """
        key = (model.name, model.version, series_id)
        assert model.detector is not None
        with self._table:
            if reset or key not in self._open:
                fresh = self._opened(key, model.detector, rules=rules, level=level, reset=reset)
                if reset or not fresh.stream.rows:
                    return fresh.stream.check(values, timestamps)
                self._open[key] = fresh
        with self._one(model, series_id, rules=rules, level=level, reset=False) as one:
            _check_same(one, rules, level)
            return one.stream.check(values, timestamps)

    @contextmanager
    def _one(
        self, model: ServedModel, series_id: str, *, rules: AlarmRules | None, level: float | None, reset: bool
    ) -> Iterator[OpenStream]:
        """The stream, locked, whatever rules it has."""
        key = (model.name, model.version, series_id)
        assert model.detector is not None
        with self._table:
            one = self._open.get(key)
            if one is None or reset:
                fresh = self._opened(key, model.detector, rules=rules, level=level, reset=reset)
                if reset:
                    self._forget(key, one, fresh)
                self._open[key] = one = fresh
            self._open.move_to_end(key)
            one.users += 1
        try:
            with self._table:
                self._drop_oldest()
            with one.lock:
                yield one
        finally:
            with self._table:
                one.users -= 1

    def tell(self, verdict: Verdict, *, new: bool) -> bool:
        """Let what was said of an alarm count for the streams that are open; others hear of it when they are opened.

        Args:
            new: whether it has not been told before.

        Returns:
            False where streams of the series are open and none of them remembers a step that the verdict speaks of.
        """
        with self._held(lambda one: (one.key[0], one.key[2]) == (verdict.model, verdict.unique_id)) as found:
            steps = 0
            for one in found:
                with one.lock:
                    steps += len(one.steps_of(verdict))
                    if new:
                        one.tell(verdict)
        return bool(steps) or not found

    def knows(self, model: ServedModel, series_id: str) -> bool:
        """Whether there is a stream of the series, open or stored, or an event that is remembered."""
        if series_id in self.open_ids(model.name) or self.events.newest(series=series_id, model=model.name, limit=1)[0]:
            return True
        if self.folder is None:
            return False
        stored = self._folder_of((model.name, model.version, series_id))
        return stored.is_dir() or stored.with_suffix(".old").is_dir()

    def open_ids(self, model: str) -> list[str]:
        """Ids of the series that have an open stream by a detector of that name."""
        with self._table:
            return [series_id for name, _, series_id in self._open if name == model]

    @contextmanager
    def _held(self, wanted: Callable[[OpenStream], bool]) -> Iterator[list[OpenStream]]:
        """Open streams that are not dropped for as long as the block runs."""
        with self._table:
            found = [one for one in self._open.values() if wanted(one)]
            for one in found:
                one.users += 1
        try:
            yield found
        finally:
            with self._table:
                for one in found:
                    one.users -= 1

    def save(self) -> None:
        """Write every stream that has changed, and the events; what cannot be written holds up nothing else.

        Raises:
            ArtifactError: at the end; it names what could not be written, which stays in memory.
        """
        if self.folder is None:
            return
        failed: list[tuple[str, Exception]] = []

        def tried(what: str, job: Callable[[], None]) -> None:
            try:
                job()
            except Exception as error:  # whatever a disk or a stream may raise
                failed.append((what, error))

        def write(one: OpenStream) -> None:
            with one.lock:
                self._write(one)

        with self._held(lambda one: one.unsaved) as waiting:
            for one in waiting:
                tried(f"series {one.key[2][:80]!r} by {one.key[0]}/{one.key[1]}", partial(write, one))
        tried("the events", self.events.save)
        tried("the folder, which is not shortened", self._shorten_folder)
        if failed:
            more = f" and {len(failed) - MOST_NAMED} more" if len(failed) > MOST_NAMED else ""
            named = "; ".join(f"{what}: {error}" for what, error in failed[:MOST_NAMED])
            raise ArtifactError(f"{len(failed)} could not be written: {named}{more}") from failed[0][1]

    def _keep_written(self) -> None:
        while not self._stopped.wait(self.seconds):
            try:
                self.save()
            except Exception:
                log.exception("not all could be written to %s; the rest stays in memory", self.folder)

    # Under the lock of the table

    def _opened(
        self, key: Key, detector: FittedDetector, *, rules: AlarmRules | None, level: float | None, reset: bool
    ) -> OpenStream:
        note = None if reset else self._why_anew(key)
        if not reset and self.folder is not None:
            try:
                stored = _read(self._folder_of(key), key, detector)
            except ArtifactError as error:
                log.warning("the stored stream of a series cannot be used and begins anew: %s", error)
                stored, note = None, UNREADABLE
            if stored is not None:
                self._tell_all(stored)
                return stored
        chosen = rules or AlarmRules()
        stream = open_stream(detector, key[2], alarms=chosen, level=99.0 if level is None else level)
        return OpenStream(key=key, stream=stream, rules=chosen, note=note)

    def _why_anew(self, key: Key) -> str | None:
        """What to say of a series that had a stream, and begins without one."""
        digits = _digits(key)
        before = self._versions.get(digits[:SERIES_DIGITS])
        if before is None:
            return None
        return FORGOTTEN if before == digits[SERIES_DIGITS:] else REFITTED

    def _remember_version(self, one: OpenStream) -> None:
        if not one.stream.rows or one.dropped:
            return
        digits = _digits(one.key)
        self._versions.pop(digits[:SERIES_DIGITS], None)
        self._versions[digits[:SERIES_DIGITS]] = digits[SERIES_DIGITS:]
        while len(self._versions) > self.most_stored:
            self._versions.popitem(last=False)

    def _tell_all(self, one: OpenStream) -> None:
        for verdict in self.feedback.of(one.key[0]):
            if verdict.unique_id == one.key[2]:
                one.tell(verdict)

    def _forget(self, key: Key, before: OpenStream | None, fresh: OpenStream) -> None:
        """Delete what is stored of a stream, and its events: a restart would bring back what was to be forgotten."""
        name, version, series_id = key
        with self._disk:  # a write that is under way ends first
            if before is not None:
                before.dropped = True
            self.events.forget(model=name, version=version, series=series_id)
            self._versions.pop(_digits(key)[:SERIES_DIGITS], None)
            if self.folder is None:
                return
            stored = self._folder_of(key)
            for folder in (stored.with_suffix(".old"), stored):
                try:
                    shutil.rmtree(folder)
                except FileNotFoundError:
                    continue
                except OSError as error:
                    log.error("a stream that was reset cannot be deleted, it will be written over: %s", error)
                    fresh.unsaved = True

    def _drop_oldest(self) -> None:
        """Let streams go that nobody holds until there are few enough."""
        size = sum(map(_size, self._open.values()))
        for key in list(self._open):
            if size <= self.capacity:
                return
            gone = self._open[key]
            if gone.users:
                continue
            try:
                self._write(gone)
            except Exception:  # it stays here, where it is not lost, and the request of another series goes on
                log.exception("a stream cannot be written and stays in memory")
                continue
            del self._open[key]
            size -= _size(gone)

    def _folder_of(self, key: Key) -> Path:
        """Of a name that no id can leave: a digest."""
        assert self.folder is not None
        return self.folder / "streams" / _digits(key)

    def _write(self, one: OpenStream) -> None:
        """Write a stream that nobody else uses; aside first, so that a crash leaves the old state or the new one."""
        if self.folder is None or not one.unsaved:
            return
        target = self._folder_of(one.key)
        aside, old = target.with_suffix(".new"), target.with_suffix(".old")
        with self._disk:
            if one.dropped:
                return
            shutil.rmtree(aside, ignore_errors=True)
            one.stream.save(aside)
            (aside / ABOUT).write_text(json.dumps(_about(one)), encoding="utf-8")
            shutil.rmtree(old, ignore_errors=True)
            with suppress(FileNotFoundError):
                target.rename(old)
            aside.rename(target)
            shutil.rmtree(old, ignore_errors=True)
        one.unsaved = False

    def _shorten_folder(self) -> None:
        assert self.folder is not None
        with self._disk:
            stored = [one for one in (self.folder / "streams").iterdir() if not one.suffix]
            for folder in sorted(stored, key=lambda one: one.stat().st_mtime)[: max(len(stored) - self.most_stored, 0)]:
                shutil.rmtree(folder, ignore_errors=True)


def _digits(key: Key) -> str:
    """A digest of the series and the name of its detector, and one of the version behind it."""
    name, version, series_id = key
    series = hashlib.sha256(f"{name}\0{series_id}".encode("utf-8", "surrogatepass")).hexdigest()
    return series[:SERIES_DIGITS] + hashlib.sha256(version.encode("utf-8", "surrogatepass")).hexdigest()[: 40 - SERIES_DIGITS]


def _size(one: OpenStream) -> int:
    """What a stream takes of the capacity: its channels."""
    return len(one.stream.detector.facts.channels)


def _check_same(one: OpenStream, rules: AlarmRules | None, level: float | None) -> None:
    """Refuse other rules than those of the stream, except for the windows to be ignored, which may change at any time.

    Raises:
        Problem: 409.
    """
    others = []
    if rules is not None and replace(rules, ignore=()) != replace(one.rules, ignore=()):
        others.append("alarms")
    if level is not None and level != one.stream.level:
        others.append("level")
    if others:
        detail = f"the stream of series {one.key[2]!r} was opened with other {' and '.join(others)}; leave them out, or set reset"
        errors = [FieldError(field=name, series=one.key[2], message=detail) for name in others]
        raise Problem(409, "other-rules", detail, errors=errors)


def _about(one: OpenStream) -> dict[str, Any]:
    name, version, series_id = one.key
    rules = asdict(one.rules) | {"ignore": [[_plain(first), _plain(last)] for first, last in one.rules.ignore]}
    return {
        "model": name,
        "version": version,
        "series": series_id,
        "rules": rules,
        "level": one.stream.level,
        "revised": [[moment, score if np.isfinite(score) else None] for moment, score in one.revised.items()],
        "changed": [[moment, ids] for moment, ids in one.changed.items()],
    }


def _read(folder: Path, key: Key, detector: FittedDetector) -> OpenStream | None:
    """The stream stored in `folder`; None where there is none.

    Raises:
        ArtifactError: it is damaged, or of another detector.
    """
    if not folder.is_dir():
        folder = folder.with_suffix(".old")  # where a crash came between two renames
        if not folder.is_dir():
            return None
    try:
        about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
        if (about["model"], about["version"], about["series"]) != key:
            raise ArtifactError(f"{folder} is of another series")
        given = about["rules"]
        rules = AlarmRules(**given | {"ignore": tuple(tuple(window) for window in given["ignore"])})
        stream = open_stream(detector, key[2], alarms=rules, level=about["level"], state=folder)
        revised = OrderedDict((moment, float("nan") if score is None else score) for moment, score in about["revised"])
        changed = OrderedDict((moment, tuple(ids)) for moment, ids in about["changed"])
    except (OSError, KeyError, OptionError, TypeError, ValueError) as error:
        raise ArtifactError(f"{folder / ABOUT} is damaged: {error!r}") from error
    return OpenStream(key=key, stream=stream, rules=rules, revised=revised, changed=changed)


def _plain(moment: Any) -> str | int:
    return int(moment) if isinstance(moment, int | np.integer) else str(moment)


def _shorten(known: "OrderedDict[Any, Any]") -> None:
    while len(known) > REMEMBERED:
        known.popitem(last=False)
