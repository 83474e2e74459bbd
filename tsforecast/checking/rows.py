"""Any frame -> a table of what can be read of it, sorted by series and time, and findings about what cannot."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from tsforecast.checking.report import Finding
from tsforecast.checking.times import Times, read_times
from tsforecast.errors import DataError, SchemaError
from tsforecast.panel import FloatArray, IntArray, TimeArray
from tsforecast.preprocessing.calendar import BoolArray
from tsforecast.preprocessing.columns import column_of, distinct, nearest, read_numbers
from tsforecast.preprocessing.validate import ID_COL, LONE_SERIES, Columns

SHOWN = 5  # places named in a finding
MOST_MARKS = 40  # places of one finding that are kept for the picture
NUMBERS = (str, int, float, np.integer, np.floating, np.bool_, Decimal, Fraction)  # what a cell of objects may hold
WHOLE = 0.5  # share of rows from which on a fault is one of the whole column


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """A finding, and where it lies in the picture of its series."""

    finding: Finding
    series: int | None = None  # its place in Table.ids
    marks: tuple[float, ...] = ()  # 0-1 along the series


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """The rows that have an id and a timestamp, by series and time; repeated timestamps are still there."""

    columns: Columns
    ids: tuple[str, ...]  # (S,) in order of first appearance; each has a row
    offsets: IntArray  # (S + 1,)
    times: TimeArray  # (N,) datetime64[ns] instants in UTC (or wall clock, where tz is None), or int64 steps
    wall: TimeArray  # (N,) the same on the wall clock of each row, for words
    tz: str | None
    target: FloatArray  # (N,) finite, NaN = not observed or no number
    covariates: Mapping[str, FloatArray]  # column -> (N,), NaN = missing or no number
    order: IntArray  # (N,) row of the frame

    @property
    def codes(self) -> IntArray:
        """Series of each row, (N,)."""
        return np.repeat(np.arange(len(self.ids)), np.diff(self.offsets))

    def rows(self, keep: BoolArray) -> "Table":
        """The table with only the rows where `keep` (N,); every series must keep one."""
        counts = np.add.reduceat(keep, self.offsets[:-1], dtype=np.int64) if len(self.ids) else np.zeros(0, np.int64)
        return Table(
            columns=self.columns,
            ids=self.ids,
            offsets=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
            times=self.times[keep],
            wall=self.wall[keep],
            tz=self.tz,
            target=self.target[keep],
            covariates={name: values[keep] for name, values in self.covariates.items()},
            order=self.order[keep],
        )


def words(times: npt.NDArray[Any]) -> tuple[str, ...]:
    """The first timestamps as text, dates without their midnight."""
    if times.dtype.kind != "M":
        return tuple(str(one) for one in times[:SHOWN])
    shown = times[:SHOWN].astype("datetime64[ns]")
    fine = bool((shown.astype(np.int64) % 10**9).any())
    return tuple(str(np.datetime_as_string(one, unit="ns" if fine else "s")).removesuffix("T00:00:00") for one in shown)


def row_words(rows: IntArray) -> tuple[str, ...]:
    return tuple(f"row {row}" for row in rows[:SHOWN])


def listed(where: tuple[str, ...], total: int) -> str:
    """ "2024-01-01, 2024-01-05 …", three at most."""
    return ", ".join(where[:3]) + (" …" if total > min(len(where), 3) else "")


def counted(count: int, word: str) -> str:
    return f"{count} {word}" if count == 1 else f"{count} {word}s"


def in_series(places: IntArray, offsets: IntArray) -> Iterator[tuple[int, IntArray]]:
    """(series, its places) for each series that has some of the ascending `places`."""
    series = np.searchsorted(offsets, places, side="right") - 1
    starts = np.flatnonzero(np.diff(series, prepend=-1))
    for number, mine in zip(series[starts], np.split(places, starts[1:]), strict=True) if len(places) else ():
        yield int(number), mine


def grouped(rows: IntArray, codes: IntArray) -> Iterator[tuple[int, IntArray]]:
    """(series, its rows) for each series that has some of `rows`."""
    ordered = rows[np.argsort(codes[rows], kind="stable")]
    starts = np.flatnonzero(np.diff(codes[ordered], prepend=-2))
    for first, mine in zip(starts, np.split(ordered, starts[1:]), strict=True) if len(rows) else ():
        yield int(codes[ordered[first]]), mine


def marks_of(places: IntArray, begin: int, end: int) -> tuple[float, ...]:
    """0-1 along the rows begin:end."""
    chosen = places if len(places) <= MOST_MARKS else places[np.linspace(0, len(places) - 1, MOST_MARKS).astype(np.int64)]
    return tuple(float(one) for one in np.round((chosen - begin) / max(end - begin - 1, 1), 4))


# The frame


def read_table(frame: Any, columns: Columns) -> tuple[Table, list[Found]]:
    """What can be read of the frame, and what cannot.

    Raises:
        SchemaError, CovariateError: it is no frame, or a column is not there or there twice.
    """
    long = long_frame(frame, columns)
    numeric = [(columns.target_col, "target_col"), *((name, "covariates") for name in columns.covariates)]
    numeric += [(name, "past_covariates") for name in columns.past_covariates]
    chosen = {name: column_of(long, name, option) for name, option in numeric}
    time_column = column_of(long, columns.time_col, "time_col")
    codes, ids, found = _read_ids(long, columns.id_col)
    if not len(long):
        found.append(_of_all("no_rows", columns.target_col, 0, (), "the frame has no rows"))
    times = read_times(time_column)
    readable = (codes >= 0) & times.readable
    found += _unread_times(times, codes, ids, columns.time_col)
    numbers = {}
    for name, column in chosen.items():
        reader = _NumberReader(name=name, codes=codes, ids=ids, found=found)
        numbers[name] = reader.read(column)
    zoned = times.on_one_clock(codes, len(ids))
    found += _zone_findings(times, codes, ids, columns.time_col)
    rows = np.flatnonzero(readable)
    found += _out_of_order(codes[rows], zoned.numbers[rows], rows, ids, columns.time_col)
    rows = rows[np.lexsort((zoned.numbers[rows], codes[rows]))]
    present = np.bincount(codes[rows], minlength=len(ids)) > 0  # a series may have no row left
    lengths = np.bincount(codes[rows], minlength=len(ids))[present]
    place = np.cumsum(present) - 1
    found = [_moved(one, place, present) for one in found]
    table = Table(
        columns=columns,
        ids=tuple(name for name, there in zip(ids, present, strict=True) if there),
        offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        times=zoned.times[rows],
        wall=zoned.wall[rows],
        tz=zoned.tz,
        target=numbers[columns.target_col][rows],
        covariates={name: values[rows] for name, values in numbers.items() if name != columns.target_col},
        order=rows,
    )
    return table, found


@dataclass(frozen=True, kw_only=True, slots=True)
class Future:
    """Rows of a frame of future covariates that have an id and a timestamp."""

    rows: int  # of the frame
    ids: tuple[str, ...]
    codes: IntArray  # (F,) place in ids
    times: TimeArray  # (F,) as in the table it belongs to
    covariates: Mapping[str, FloatArray]  # column -> (F,), NaN = missing or no number
    lacking: tuple[str, ...]  # covariates without a column


def read_future(frame: pd.DataFrame, table: Table) -> tuple[Future, list[Found]]:
    """What can be read of it, and what cannot.

    Raises:
        SchemaError, CovariateError: it has no column of ids or timestamps, or one twice.
    """
    columns = table.columns
    long = frame.reset_index([name for name in (columns.id_col, columns.time_col) if name in frame.index.names])
    times = read_times(column_of(long, columns.time_col, "time_col"))
    if columns.id_col not in long.columns and len(table.ids) == 1:
        long = long.assign(**{columns.id_col: table.ids[0]})
    column_of(long, columns.id_col, "id_col")
    codes, ids, found = _read_ids(long, columns.id_col)
    found += _unread_times(times, codes, ids, columns.time_col)
    lacking = tuple(name for name in columns.covariates if name not in long.columns)
    numbers = {}
    for name in columns.covariates:
        if name not in lacking:
            reader = _NumberReader(name=name, codes=codes, ids=ids, found=found)
            numbers[name] = reader.read(column_of(long, name, "covariates"))
    keep = np.flatnonzero((codes >= 0) & times.readable)
    future = Future(
        rows=len(long),
        ids=ids,
        codes=codes[keep],
        times=times.on_one_clock(codes, len(ids)).times[keep],
        covariates={name: values[keep] for name, values in numbers.items()},
        lacking=lacking,
    )
    return future, [Found(finding=one.finding) for one in found]


def long_frame(frame: Any, columns: Columns) -> pd.DataFrame:
    """A row for each series and timestamp, whichever of the shapes that `panel_from_frame` reads it has."""
    id_col, time_col, target_col = columns.id_col, columns.time_col, columns.target_col
    if isinstance(frame, pd.Series):
        name = LONE_SERIES if frame.name is None else str(frame.name)
        return pd.DataFrame({id_col: name, time_col: frame.index, target_col: frame.array})
    if not isinstance(frame, pd.DataFrame):
        raise SchemaError(
            f"check needs a pandas DataFrame or Series, got {type(frame).__name__}; read the file first", field="frame"
        )
    in_index = [name for name in (id_col, time_col) if name in frame.index.names and name not in frame.columns]
    is_calendar = isinstance(frame.index, pd.DatetimeIndex | pd.PeriodIndex)
    if is_calendar and time_col not in frame.columns:
        if id_col in frame.columns or columns.features:
            return frame.rename_axis(time_col).reset_index()
        names = ["/".join(map(str, name)) if isinstance(name, tuple) else str(name) for name in frame.columns]
        pieces = [frame.iloc[:, i] for i in range(len(names))]
        return pd.DataFrame(
            {
                id_col: np.repeat(np.array(names, dtype=object), len(frame)),
                time_col: frame.index[:0].append([frame.index] * len(names)),
                target_col: pd.concat(pieces, ignore_index=True) if pieces else pd.Series(dtype=np.float64),
            }
        )
    return frame.reset_index(in_index) if in_index else frame


def _of_all(kind: str, column: str, count: int, where: tuple[str, ...], message: str) -> Found:
    return Found(finding=Finding(kind=kind, series_id=None, field=column, count=count, where=where, message=message))


def _moved(found: Found, place: IntArray, present: BoolArray) -> Found:
    """With the series counted among those that have a readable row."""
    if found.series is None:
        return found
    return Found(finding=found.finding, series=int(place[found.series]) if present[found.series] else None, marks=found.marks)


# Ids


def _read_ids(long: pd.DataFrame, id_col: str) -> tuple[IntArray, tuple[str, ...], list[Found]]:
    """Number of each row's series (N,), -1 where it has none; the ids (S,)."""
    if id_col not in long.columns:
        if id_col != ID_COL or nearest(id_col, long.columns, cutoff=0.75):
            column_of(long, id_col, "id_col")  # refuses, and names the nearest
        return np.zeros(len(long), dtype=np.int64), (LONE_SERIES,) if len(long) else (), []
    column = column_of(long, id_col, "id_col")
    if column.dtype.kind == "O":
        column = column.where(column.notna(), None)  # NaT and NA cannot be compared
    found = []
    try:
        codes, uniques = distinct(column, "ids that cannot be told apart", "they are compared as text here")
    except SchemaError as error:
        found.append(_of_all("ids_clash", id_col, len(column), row_words(np.arange(len(column))), str(error)))
        codes, uniques = distinct(column.astype(object).map(ascii, na_action="ignore"), "", "")
    missing = np.flatnonzero(codes < 0)
    if len(missing):
        where = row_words(missing)
        message = f"{id_col!r} is missing in {counted(len(missing), 'row')} of {len(codes)}: {listed(where, len(missing))}"
        found.append(_of_all("missing_ids", id_col, len(missing), where, message))
    texts = [str(one) for one in uniques]
    names = list(dict.fromkeys(texts))
    if len(names) < len(texts):
        place = {text: number for number, text in enumerate(names)}
        again = np.array([place[text] for text in texts], dtype=np.int64)
        twice = [text for text, many in zip(names, np.bincount(again), strict=True) if many > 1]
        message = f"{counted(len(twice), 'id')} in {id_col!r} stand for values that read the same as text, such as {twice[0]!r}"
        where = tuple(repr(text) for text in twice[:SHOWN])
        found.append(_of_all("ids_clash", id_col, len(twice), where, message))
        codes = np.where(codes < 0, -1, again[codes]).astype(np.int64)
    return codes, tuple(names), found


# Timestamps


def _unread_times(times: Times, codes: IntArray, ids: tuple[str, ...], column: str) -> list[Found]:
    found = []
    missing = np.flatnonzero(times.missing)
    if len(missing):
        where = row_words(missing)
        message = f"{column!r} is missing in {counted(len(missing), 'row')} of {len(codes)}: {listed(where, len(missing))}"
        found.append(_of_all("missing_timestamps", column, len(missing), where, message))
    bad = np.flatnonzero(~times.readable & ~times.missing)
    if len(bad):
        where = row_words(bad)
        owner = f" (series {ids[codes[bad[0]]]!r})" if codes[bad[0]] >= 0 else ""
        message = (
            f"{counted(len(bad), 'value')} of {column!r} cannot be read as timestamps, first {times.shown(int(bad[0]))} in "
            f"row {bad[0]}{owner}"
        )
        found.append(_of_all("bad_timestamps", column, len(bad), where, message))
    return found


def _zone_findings(times: Times, codes: IntArray, ids: tuple[str, ...], column: str) -> list[Found]:
    rows = np.flatnonzero((codes >= 0) & times.readable)
    if not times.zone_names or not len(rows):
        return []
    zones, mine = times.zones[rows], codes[rows]
    names = ["no zone", *times.zone_names]
    lowest, highest = np.full(len(ids), len(names)), np.full(len(ids), -2)
    np.minimum.at(lowest, mine, zones)
    np.maximum.at(highest, mine, zones)
    found = []
    mixed = rows[(highest > lowest)[mine]]
    for i, his in grouped(mixed, codes):
        counts = np.bincount(times.zones[his] + 1, minlength=len(names))
        fewest = min(np.flatnonzero(counts), key=lambda zone: int(counts[zone]))
        odd = his[times.zones[his] + 1 == fewest]
        spread = ", ".join(f"{names[zone]} in {counted(int(counts[zone]), 'row')}" for zone in np.flatnonzero(counts)[:4])
        finding = Finding(
            kind="zones_mixed", series_id=ids[i], field=column, count=len(odd), where=row_words(odd),
            message=f"series {ids[i]!r} has timestamps of several zones: {spread}",
        )  # fmt: skip
        found.append(Found(finding=finding, series=i))
    if not found and zones.min() != zones.max():
        naive = zones.min() < 0
        used = [names[zone + 1] for zone in np.unique(zones)]
        first = [ids[int(mine[np.argmax(zones == zone)])] for zone in np.unique(zones)]
        examples = ", ".join(f"{zone} ({series!r})" for zone, series in list(zip(used, first, strict=True))[:4])
        message = f"the series are in {len(used)} time zones: {examples}"
        found.append(_of_all("zones_mixed" if naive else "zones_differ", column, len(used), tuple(used[:SHOWN]), message))
    return found


def _out_of_order(codes: IntArray, numbers: IntArray, rows: IntArray, ids: tuple[str, ...], column: str) -> list[Found]:
    """Rows that stand below a later one of their series."""
    by_series = np.argsort(codes, kind="stable")
    earlier = (np.diff(numbers[by_series]) < 0) & (np.diff(codes[by_series]) == 0)
    late = np.sort(rows[by_series[1:][earlier]])
    if not len(late):
        return []
    where = row_words(late)
    message = f"{counted(len(late), 'row')} of {len(codes)} stand below a later row of their series: {listed(where, len(late))}"
    return [_of_all("out_of_order", column, len(late), where, message)]


# Numbers


@dataclass(frozen=True, kw_only=True, slots=True)
class _NumberReader:
    name: str
    codes: IntArray  # (N,) series of each row, -1 = none
    ids: tuple[str, ...]
    found: list[Found] = field(default_factory=list)

    def read(self, column: pd.Series) -> FloatArray:
        """The numbers (N,), NaN for all that is none; what that was goes to `found`."""
        try:
            lone = np.zeros(len(column), dtype=np.int64)
            return np.array(read_numbers(column, lone, (LONE_SERIES,)), dtype=np.float64)
        except (DataError, ValueError, TypeError, ArithmeticError):
            pass  # looked at value by value below
        if column.dtype.kind in "iufb":
            numbers = column.to_numpy(dtype=np.float64, na_value=np.nan, copy=True)
            texts = np.zeros(len(column), dtype=bool)
        else:
            values = column.astype(object)
            texts = np.fromiter((isinstance(one, str) for one in values), dtype=bool, count=len(values))
            numbers = np.fromiter((_number(one) for one in values), dtype=np.float64, count=len(values))
        self._note_texts(column, texts, numbers)
        infinite = np.isinf(numbers) & ~texts
        if not texts.any() and not infinite.any():
            message = f"{self.name!r} is of type {column.dtype}, which is no type of numbers"
            self.found.append(_of_all("not_numbers", self.name, len(column), row_words(np.arange(len(column))), message))
        self._note(infinite, "infinities", lambda n: f"has {counted(n, 'infinite value')} in {self.name!r}")
        numbers[~np.isfinite(numbers)] = np.nan
        return numbers

    def _note_texts(self, column: pd.Series, texts: npt.NDArray[np.bool_], numbers: FloatArray) -> None:
        wrong = texts & np.isnan(numbers)
        rows = np.flatnonzero(wrong if wrong.any() else texts)
        if not len(rows):
            return
        shown = repr(str(column.iloc[int(rows[0])])[:40])
        if not wrong.any():
            message = f"{self.name!r} holds numbers as text in {counted(len(rows), 'row')} of {len(texts)}, first {shown}"
            self.found.append(_of_all("text", self.name, len(rows), row_words(rows), message))
        else:
            self._note(wrong, "text", lambda n: f"has text in {counted(n, 'row')} of {self.name!r}, such as {shown}")

    def _note(self, wrong: npt.NDArray[np.bool_], kind: str, problem: Any) -> None:
        """A finding for each series, or one where most rows are wrong."""
        rows = np.flatnonzero(wrong)
        if len(rows) > WHOLE * len(wrong):
            message = f"the column {problem(len(rows))}: most rows of {len(wrong)}"
            self.found.append(_of_all(kind, self.name, len(rows), row_words(rows), message))
            return
        for i, his in grouped(rows, self.codes):
            where = row_words(his)
            series_id = self.ids[i] if i >= 0 else None
            who = f"series {series_id!r}" if i >= 0 else "rows without an id"
            message = f"{who} {problem(len(his))}: {listed(where, len(his))}"
            finding = Finding(kind=kind, series_id=series_id, field=self.name, count=len(his), where=where, message=message)
            self.found.append(Found(finding=finding, series=i if i >= 0 else None))


def _number(value: Any) -> float:
    """NaN for what is no number."""
    if not isinstance(value, NUMBERS):
        return np.nan
    try:
        return float(value)
    except ValueError:
        return np.nan
    except OverflowError:
        return np.inf
