"""A file of what people said of alarms -> one number per row of a panel: 1 anomalous, -1 ordinary, 0 nothing known."""

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipelines.as_of import parse_times
from pipelines.io import read_frame
from tsforecast.errors import SchemaError
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
    frame = read_frame(path, field="feedback.path")
    missing = [name for name in COLUMNS if name not in frame.columns]
    if missing:
        has = ", ".join(map(str, frame.columns))
        raise SchemaError(f"{path} has no column {missing[0]!r} (feedback.path); it has {has}", field="feedback.path")
    places = {series_id: i for i, series_id in enumerate(panel.series_ids)}
    spans = [_moments(frame, name, panel, path) for name in ("start", "end")]
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
