"""The events that streams have told, newest state of each; bounded, and kept as one JSON file where there is a folder."""

import logging
import threading
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

log = logging.getLogger("service.events")
FILE = "events.json"
WHOSE = ("model", "version", "series")


@dataclass(kw_only=True, eq=False)
class KnownEvents:
    """At most `most` events; the one that was told longest ago goes first."""

    folder: Path | None
    most: int
    _events: "OrderedDict[tuple[str, str, str], dict[str, Any]]" = field(default_factory=OrderedDict)  # latest told last
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _changes: int = 0
    _written: int = 0  # of the changes

    def start(self) -> None:
        """Read what was known before; a file that cannot be read is left out, and the log says so."""
        if self.folder is None or not (self.folder / FILE).exists():
            return
        try:
            for one in orjson.loads((self.folder / FILE).read_bytes()):
                self._events[one["model"], one["series"], one["id"]] = one
        except (OSError, KeyError, TypeError, ValueError) as error:
            log.warning("%s cannot be read, its events are forgotten: %r", self.folder / FILE, error)

    def told(self, events: Iterable[Mapping[str, Any]], *, model: str, version: str, series: str) -> None:
        """Remember events of a stream, as `anomaly_answers.event_json` has them; one that is known is replaced."""
        with self._lock:
            for event in events:
                key = (model, series, event["id"])
                self._events.pop(key, None)
                self._events[key] = {"model": model, "version": version, "series": series, **event}
                self._changes += 1
            while len(self._events) > self.most:
                self._events.popitem(last=False)

    def forget(self, *, model: str, version: str, series: str) -> None:
        """Drop the events of a stream."""
        with self._lock:
            gone = [key for key, one in self._events.items() if tuple(one[name] for name in WHOSE) == (model, version, series)]
            for key in gone:
                del self._events[key]
            self._changes += len(gone)

    def newest(self, *, series: str | None, model: str | None, limit: int) -> tuple[list[dict[str, Any]], bool]:
        """(copies of the events of that series and model, latest told first, whether there are more)."""
        found: list[dict[str, Any]] = []
        with self._lock:
            for one in reversed(self._events.values()):
                if series in (None, one["series"]) and model in (None, one["model"]):
                    if len(found) == limit:
                        return found, True
                    found.append(dict(one))
        return found, False

    def of(self, model: str, series: str, event: str) -> dict[str, Any] | None:
        """An event of a series as JSON values; None where it is not remembered any more."""
        with self._lock:
            found = self._events.get((model, series, event))
        return None if found is None else {name: value for name, value in found.items() if name not in WHOSE}

    def of_id(self, model: str, event: str) -> dict[str, Any] | None:
        """The event of that id; None where none is remembered."""
        with self._lock:
            found = (one for (of, _, known), one in self._events.items() if (of, known) == (model, event))
            return next(found, None)

    def save(self) -> None:
        """Write what has changed since it was written last."""
        if self.folder is None:
            return
        with self._lock:
            if self._changes == self._written:
                return
            known, changes = list(self._events.values()), self._changes
        fresh = self.folder / f"{FILE}.tmp"
        fresh.write_bytes(orjson.dumps(known))  # NaN becomes null
        fresh.replace(self.folder / FILE)
        with self._lock:
            self._written = max(self._written, changes)
