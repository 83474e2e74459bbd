"""A file of what people said of alarms -> one number per row of a panel: 1 anomalous, -1 ordinary, 0 nothing known.

The file is CSV, Parquet, or JSON lines (.jsonl) as the service keeps them.
"""

import hashlib
import json
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
WORDS = {"true": 1, "1": 1, "1.0": 1, "yes": 1, "false": -1, "0": -1, "0.0": -1, "no": -1, "-1": -1}  # said of an alarm


def digest_of_file(path: Path) -> str:
    """SHA-256 of a file; "" where there is none."""
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""


def read_feedback(path: Path, panel: Panel) -> IntArray:
    """What the file says of the rows of `panel`, (N,); a later line overrules an earlier one.

    Series that the panel does not have, and times outside of it, are passed over: the file outlives the history. Times
    without a zone are on the wall clock of their series.

    Raises:
        DataError: the file cannot be read; SchemaError: a column is missing, or a value is none.
    """
    known = np.zeros(len(panel.target), dtype=np.int64)
    if not path.is_file():
        return known
    as_lines = path.suffix == ".jsonl"
    frame = _lines(path) if as_lines else read_frame(path, field="feedback.path")
    missing = [name for name in COLUMNS if name not in frame.columns]
    if missing:
        has = ", ".join(map(str, frame.columns))
        raise SchemaError(f"{path} has no column {missing[0]!r} (feedback.path); it has {has}", field="feedback.path")
    places = {series_id: i for i, series_id in enumerate(panel.series_ids)}
    spans = [(_stamps if as_lines else _moments)(frame, name, panel, path) for name in ("start", "end")]
    said = frame["label"].map(str).str.strip().str.lower().map(WORDS)
    for row, series_id in enumerate(frame["unique_id"].map(str)):
        if said.isna().iloc[row]:
            got = frame["label"].iloc[row]
            raise _refused(path, row, f"label is {got}; write true for a true alarm, false for a false one")
        series = places.get(series_id)
        if series is None:
            continue
        start, end = (_instant(moments.iloc[row], panel, series) for moments in spans)
        if end < start:
            raise _refused(path, row, f"ends at {frame['end'].iloc[row]}, before it starts at {frame['start'].iloc[row]}")
        first = int(panel.offsets[series])
        times = panel.timestamps[first : panel.offsets[series + 1]]
        known[first + np.searchsorted(times, start) : first + np.searchsorted(times, end, side="right")] = said.iloc[row]
    return known


def _lines(path: Path) -> "pd.DataFrame":
    """JSON lines, as the service keeps them, with the values as they are; what they say beside COLUMNS is left out.

    A last line without an end that cannot be read is being written at this moment, and is left to the next run.
    """
    import pandas as pd

    found: list[list[Any]] = []
    try:
        *lines, rest = path.read_text(encoding="utf-8").split("\n")  # no other line end: an id may hold U+2028
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read as JSON lines: {error}", field="feedback.path") from error
    for line in (one for one in (*lines, rest) if one.strip()):
        try:
            said = json.loads(line)
        except ValueError as error:
            if line is rest:
                break
            raise _refused(path, len(found), f"is no JSON: {error}") from error
        missing = [name for name in COLUMNS if not isinstance(said, dict) or name not in said]
        if missing:
            raise _refused(path, len(found), f"has no {missing[0]!r}; each line is an object with {', '.join(COLUMNS)}")
        found.append([said[name] for name in COLUMNS])
    return pd.DataFrame(found, columns=pd.Index(COLUMNS), dtype=object)


def _stamps(frame: "pd.DataFrame", name: str, panel: Panel, path: Path) -> "pd.Series[Any]":
    """Timestamps or steps of JSON lines, each read alone; None for the series that the panel does not have.

    One file speaks of all series of a service: of some with zones, and of others that count steps.
    """
    import pandas as pd

    found: list[Any] = []
    for row, (series_id, value) in enumerate(zip(frame["unique_id"].map(str), frame[name], strict=True)):
        if series_id not in panel.series_ids:
            found.append(None)
            continue
        moment: Any = None
        if panel.is_integer_clock:
            moment = value if isinstance(value, int) and not isinstance(value, bool) else None
        elif isinstance(value, str):
            moment = pd.to_datetime(value, errors="coerce", format="ISO8601")
        if moment is None or pd.isna(moment):
            wants = "integer steps" if panel.is_integer_clock else "timestamps"
            raise _refused(path, row, f"{name} is {value}; the series have {wants}")
        found.append(moment)
    return pd.Series(found, dtype=object)


def _moments(frame: "pd.DataFrame", name: str, panel: Panel, path: Path) -> "pd.Series[Any]":
    """Timestamps, or integer steps where the panel counts them."""
    import pandas as pd

    parsed = parse_times(frame, name)[name]
    if pd.api.types.is_numeric_dtype(parsed) != panel.is_integer_clock or parsed.isna().any():
        row = int(parsed.isna().to_numpy().argmax())
        wants = "integer steps" if panel.is_integer_clock else "timestamps"
        raise _refused(path, row, f"{name} is {frame[name].iloc[row]}; the series have {wants}")
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


def _refused(path: Path, row: int, words: str) -> SchemaError:
    return SchemaError(f"{path}, row {row}: {words}", field="feedback.path")
