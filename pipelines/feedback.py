"""A file of what people said of alarms -> one number per row of a panel: 1 anomalous, -1 ordinary, 0 nothing known.

The file is CSV, Parquet, or JSON lines (.jsonl) as the service keeps them.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipelines.as_of import parse_times
from pipelines.io import read_frame
from tsforecast.errors import DataError, SchemaError
from tsforecast.panel import IntArray, Panel

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ("unique_id", "start", "end", "label")
MOST_NAMED = 3  # lines that are told of one by one
LINE = "line"  # name of the index of a frame of JSON lines: their numbers
WORDS = {"true": 1, "1": 1, "1.0": 1, "yes": 1, "false": -1, "0": -1, "0.0": -1, "no": -1, "-1": -1}  # said of an alarm


@dataclass(frozen=True, kw_only=True, slots=True)
class Feedback:
    """What a file says of the rows of a panel."""

    said: IntArray  # (N,) 1 anomalous, -1 ordinary, 0 nothing
    unused: tuple[str, ...] = ()  # lines that speak of none of the rows, in words
    contradictory: tuple[str, ...] = ()  # pairs of lines that say true and false of the same steps, in words

    @classmethod
    def none(cls, panel: Panel) -> "Feedback":
        """Nothing is known."""
        return cls(said=np.zeros(len(panel.target), dtype=np.int64))


def unused_line(unused: Sequence[str]) -> str:
    """What to tell of feedback that a run has no rows for."""
    return f"feedback about no row of this run, left as it is: {_first_of(unused)}"


def contradictory_line(contradictory: Sequence[str]) -> str:
    """What to tell of feedback that says true and false of the same steps."""
    return f"feedback that contradicts itself, the later one counts: {_first_of(contradictory)}"


def _first_of(words: Sequence[str]) -> str:
    more = f"; and {len(words) - MOST_NAMED} more" if len(words) > MOST_NAMED else ""
    return "; ".join(words[:MOST_NAMED]) + more


def digest_of_file(path: Path) -> str:
    """SHA-256 of a file; "" where there is none."""
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""


def read_feedback(path: Path, panel: Panel) -> Feedback:
    """What the file says of the rows of `panel`; a later line overrules an earlier one, which is noted in words.

    Not noted is a later JSON line about the same start and end: that is how the service keeps that somebody thought better.

    Series that the panel does not have, and times outside of it, are no error, as the file outlives the history; they are
    noted in words. Times without a zone are on the wall clock of their series.

    Raises:
        DataError: the file cannot be read; SchemaError: a column is missing, or a value is none.
    """
    if not path.is_file():
        return Feedback.none(panel)
    known, unused, contradictory = np.zeros(len(panel.target), dtype=np.int64), [], []
    by, about = np.full(len(panel.target), -1), {}  # (N,) row of the frame that said so; row -> its start and end
    as_lines = path.suffix == ".jsonl"
    frame = _lines(path) if as_lines else read_frame(path, field="feedback.path")
    missing = [name for name in COLUMNS if name not in frame.columns]
    if missing:
        has = ", ".join(map(str, frame.columns))
        raise SchemaError(f"{path} has no column {missing[0]!r} (feedback.path); it has {has}", field="feedback.path")
    places = {series_id: i for i, series_id in enumerate(panel.series_ids)}
    spans = [
        _stamps(frame, name, panel, places, path) if as_lines else _moments(frame, name, panel, path) for name in ("start", "end")
    ]
    said = frame["label"].map(str).str.strip().str.lower().map(WORDS)
    for row, series_id in enumerate(frame["unique_id"].map(str)):
        if said.isna().iloc[row]:
            got = frame["label"].iloc[row]
            raise _refused(path, _place(frame, row), f"label is {got}; write true for a true alarm, false for a false one")
        series = places.get(series_id)
        if series is None:
            unused.append(f"{_place(frame, row)}: series {series_id!r} is not in the data")
            continue
        start, end = (_instant(moments.iloc[row], panel, series) for moments in spans)
        if end < start:
            raise _refused(
                path, _place(frame, row), f"ends at {frame['end'].iloc[row]}, before it starts at {frame['start'].iloc[row]}"
            )
        first = int(panel.offsets[series])
        times = panel.timestamps[first : panel.offsets[series + 1]]
        begins, ends = np.searchsorted(times, start), np.searchsorted(times, end, side="right")
        about[row] = start, end
        of_line = slice(first + int(begins), first + int(ends))
        for other in np.unique(by[of_line][known[of_line] == -said.iloc[row]]).tolist():
            if not as_lines or about[other] != about[row]:
                contradictory.append(f"{_place(frame, other)} and {_place(frame, row)} about series {series_id!r}")
        known[of_line], by[of_line] = said.iloc[row], row
        if begins == ends:
            span = f"from {frame['start'].iloc[row]} to {frame['end'].iloc[row]}"
            unused.append(f"{_place(frame, row)}: series {series_id!r} has no step {span}")
    return Feedback(said=known, unused=tuple(unused), contradictory=tuple(contradictory))


def _lines(path: Path) -> "pd.DataFrame":
    """JSON lines, as the service keeps them, with the values as they are; what they say beside COLUMNS is left out.

    A last line without an end that cannot be read is being written at this moment, and is left to the next run.
    """
    import pandas as pd

    found: list[list[Any]] = []
    numbers: list[int] = []
    try:
        *lines, rest = path.read_text(encoding="utf-8").split("\n")  # no other line end: an id may hold U+2028
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read as JSON lines: {error}", field="feedback.path") from error
    for number, line in enumerate((*lines, rest), start=1):
        if not line.strip():
            continue
        try:
            said = json.loads(line)
        except ValueError as error:
            if line is rest:
                break
            raise _refused(path, f"line {number}", f"is no JSON: {error}") from error
        missing = [name for name in COLUMNS if not isinstance(said, dict) or name not in said]
        if missing:
            raise _refused(path, f"line {number}", f"has no {missing[0]!r}; each line is an object with {', '.join(COLUMNS)}")
        found.append([said[name] for name in COLUMNS])
        numbers.append(number)
    return pd.DataFrame(found, columns=pd.Index(COLUMNS), index=pd.Index(numbers, name=LINE), dtype=object)


def _stamps(frame: "pd.DataFrame", name: str, panel: Panel, places: Mapping[str, int], path: Path) -> "pd.Series[Any]":
    """Timestamps or steps of JSON lines, each read alone; None for the series that the panel does not have.

    One file speaks of all series of a service: of some with zones, and of others that count steps.
    """
    import pandas as pd

    found: list[Any] = []
    for row, (series_id, value) in enumerate(zip(frame["unique_id"].map(str), frame[name], strict=True)):
        if series_id not in places:
            found.append(None)
            continue
        moment: Any = None
        if panel.is_integer_clock:
            moment = value if isinstance(value, int) and not isinstance(value, bool) else None
        elif isinstance(value, str):
            moment = pd.to_datetime(value, errors="coerce", format="ISO8601")
        if moment is None or pd.isna(moment):
            wants = "integer steps" if panel.is_integer_clock else "timestamps"
            raise _refused(path, _place(frame, row), f"{name} is {value}; the series have {wants}")
        found.append(moment)
    return pd.Series(found, dtype=object)


def _moments(frame: "pd.DataFrame", name: str, panel: Panel, path: Path) -> "pd.Series[Any]":
    """Timestamps, or integer steps where the panel counts them."""
    import pandas as pd

    parsed = parse_times(frame, name)[name]
    if pd.api.types.is_numeric_dtype(parsed) != panel.is_integer_clock or parsed.isna().any():
        row = int(parsed.isna().to_numpy().argmax())
        wants = "integer steps" if panel.is_integer_clock else "timestamps"
        raise _refused(path, _place(frame, row), f"{name} is {frame[name].iloc[row]}; the series have {wants}")
    return parsed


def _instant(moment: Any, panel: Panel, series: int) -> Any:
    """A moment as the panel stores it."""
    if panel.is_integer_clock:
        return int(moment)
    zone = panel.zone_of(series)
    if moment.tz is None and zone is not None:
        moment = moment.tz_localize(zone, ambiguous=True, nonexistent="shift_forward")
    if moment.tz is not None:
        moment = moment.tz_convert("UTC").tz_localize(None)
    return moment.to_datetime64()


def _place(frame: "pd.DataFrame", row: int) -> str:
    """Where it stands in the file: a line of JSON lines from 1, a row of a table from 0 as elsewhere."""
    return f"line {frame.index[row]}" if frame.index.name == LINE else f"row {row}"


def _refused(path: Path, place: str, words: str) -> SchemaError:
    return SchemaError(f"{path}, {place}: {words}", field="feedback.path")
