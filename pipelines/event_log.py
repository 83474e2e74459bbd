"""Events of a report -> JSON rows that stay the same events from run to run, and one JSON-lines file of all of them.

A run judges the rows that are new since the run before. An event that was open at the end of that run goes on under its old id,
so that nobody is told of it twice; one that has not gone on is told once more, as closed.
"""

import fcntl
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.files import written_aside
from tsforecast.anomaly.report import AnomalyReport
from tsforecast.errors import DataError
from tsforecast.panel import Panel

Row = dict[str, Any]
FLAT = ("id", "series_id", "start", "end", "peak", "steps", "kind", "severity", "p_value", "peak_score", "open", "suppressed")
OF_THE_PIECE = ("first_row", "last_row")  # of the rows that were judged together, which the next run cuts elsewhere


def rows_of(report: AnomalyReport) -> list[Row]:
    """The events of a report as JSON values; start_at and end_at are its steps as whole numbers (ns since 1970 in UTC)."""
    found = []
    for event, said in zip(report.events, report.events_json(), strict=True):
        row = {name: value for name, value in said.items() if name not in OF_THE_PIECE}
        found.append(row | {"start_at": _at(event.start), "end_at": _at(event.end)})
    return found


def _at(moment: Any) -> int:
    return int(moment.astype("datetime64[ns]").astype(np.int64)) if isinstance(moment, np.datetime64) else int(moment)


def carried_on(now: Sequence[Row], before: Sequence[Row], panel: Panel, *, since: Mapping[str, int], gap: int) -> list[Row]:
    """The events to tell of in this run, by series and time.

    Args:
        now: those of the rows since the last fit, some of which were told of before.
        before: those that the run before told of.
        panel: the series, with the rows of both runs.
        since: series id -> last step that was judged before; a series that is missing is new.
        gap: quiet steps that do not end an event.
    """
    told = [row for row in now if row["end_at"] > since.get(row["series_id"], row["end_at"] - 1)]
    taken: set[str] = set()
    found: list[Row] = []
    for old in (row for row in before if row["open"]):
        clock = _Clock(panel, old["series_id"])
        joined = old
        for row in told:
            if row["series_id"] == old["series_id"] and row["id"] not in taken and clock.touches(joined, row, gap):
                joined = _joined(joined, row, clock)
                taken.add(row["id"])
        if joined is old and clock.last is not None and clock.last > since.get(old["series_id"], clock.last):
            of_series = [row for row in now if row["series_id"] == old["series_id"]]
            joined = old | {"open": any(row["open"] and clock.touches(old, row, gap) for row in of_series)}
        found.append(joined)
    found += [row for row in told if row["id"] not in taken]
    order = {series_id: i for i, series_id in enumerate(panel.series_ids)}
    return sorted(found, key=lambda row: (order.get(row["series_id"], len(order)), row["start_at"]))


class _Clock:
    """Steps of one series as numbers of rows."""

    def __init__(self, panel: Panel, series_id: str) -> None:
        i = panel.series_ids.index(series_id) if series_id in panel.series_ids else None
        span = slice(0, 0) if i is None else slice(int(panel.offsets[i]), int(panel.offsets[i + 1]))
        self.times = panel.timestamps[span].astype(np.int64)
        self.last = int(self.times[-1]) if len(self.times) else None

    def row(self, at: int) -> int:
        return int(np.searchsorted(self.times, at))

    def touches(self, old: Row, new: Row, gap: int) -> bool:
        """Whether the new one overlaps the old one, or follows with at most `gap` quiet steps between."""
        return self.row(new["start_at"]) - self.row(old["end_at"]) <= gap + 1 and new["end_at"] >= old["start_at"]


def _joined(old: Row, new: Row, clock: _Clock) -> Row:
    """One event of two: the name and start of the old, the end of the later, and what the more severe says."""
    later = new if new["end_at"] >= old["end_at"] else old
    worse = new if new["severity"] >= old["severity"] else old
    start = min(old, new, key=lambda row: row["start_at"])
    said = {name: worse[name] for name in worse if name not in ("id", "open", "suppressed")}
    ends = {name: later[name] for name in ("end", "end_at", "open")} | {name: start[name] for name in ("start", "start_at")}
    steps = clock.row(later["end_at"]) - clock.row(start["start_at"]) + 1
    return said | ends | {"id": old["id"], "steps": steps, "suppressed": max(old["suppressed"], new["suppressed"])}


def flat(rows: Sequence[Row]) -> list[Row]:
    """Rows for a table: channels as text ("cpu 0.71, disk 0.29")."""
    kept = [{name: row[name] for name in FLAT} for row in rows]
    for row, one in zip(rows, kept, strict=True):
        one["channels"] = ", ".join(f"{channel['name']} {channel['share']:.2f}" for channel in row["channels"])
        one["feedback"] = row.get("feedback", "")
    return kept


# ---------------------------------------------------------------- the file of all runs


def write_lines(path: Path, rows: Sequence[Row], *, owner: Mapping[str, str], moment: int) -> None:
    """Put the events of one run into a JSON-lines file: one line for each event, its newest version, in order of time.

    What a run wrote before is replaced, and a run for an earlier moment does not overrule a later one.

    Args:
        owner: what tells the lines of this recipe and model from others: recipe, model.
        moment: of the run, comparable with those of other runs of the recipe.

    Raises:
        DataError: a line of the file is no event; but for a last one without an end, which is left out.
    """
    with _alone(path):
        lines = _read(path, owner) if path.exists() else []
        ours = {line["id"]: line for line in lines if owner.items() <= line.items() and line["moment"] != moment}
        for row in rows:
            if row["id"] not in ours or ours[row["id"]]["moment"] < moment:
                ours[row["id"]] = {**owner, "moment": moment, **row}
        kept = [line for line in lines if not owner.items() <= line.items()]
        ordered = [*kept, *sorted(ours.values(), key=lambda line: (line["start_at"], line["id"]))]
        with written_aside(path) as aside:
            text = "".join(json.dumps(line, sort_keys=True, allow_nan=False) + "\n" for line in ordered)
            aside.write_text(text, encoding="utf-8")


def _read(path: Path, owner: Mapping[str, str]) -> list[Row]:
    """The lines of the file; a last one that has no end was cut off, by a full disk or while it was copied."""
    try:
        *whole, rest = path.read_bytes().split(b"\n")
        texts = [line.decode("utf-8") for line in whole]
    except UnicodeDecodeError as error:
        raise _damaged(path, f"is no text in UTF-8: {error}") from error
    found = [_event(path, number, text, owner) for number, text in enumerate(texts, start=1) if text.strip()]
    try:
        return found + ([_event(path, len(whole) + 1, rest.decode("utf-8"), owner)] if rest.strip() else [])
    except (DataError, UnicodeDecodeError):
        return found


def _event(path: Path, number: int, text: str, owner: Mapping[str, str]) -> Row:
    try:
        line = json.loads(text)
    except ValueError as error:
        raise _damaged(path, f"line {number} is no JSON: {error}") from error
    if not isinstance(line, dict):
        raise _damaged(path, f"line {number} is no event")
    missing = [name for name in ("id", "moment", "start_at") if owner.items() <= line.items() and name not in line]
    if missing:
        raise _damaged(path, f"line {number} is an event without {missing[0]!r}")
    return line


def _damaged(path: Path, words: str) -> DataError:
    return DataError(
        f"{path} is damaged: {words}; mend or remove that line, and run again (the events of each run are in events/ of its "
        "folder too)",
        field="detect.events",
    )


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Runs of several recipes may write to one file; each waits for the other."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(f".{path.name}.lock").open("a+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
