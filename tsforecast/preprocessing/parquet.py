"""A Parquet file, or a folder of them -> Panel, in memory little larger than its columns. Only what is named is read."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Unpack

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from tsforecast.errors import DataError, FrequencyError, OptionError, SchemaError
from tsforecast.panel import IntArray, Panel, TimeArray
from tsforecast.preprocessing.blocks import PIECE, series_blocks
from tsforecast.preprocessing.calendar import Clock, default_season, grid_positions
from tsforecast.preprocessing.columns import column_of, nearest, read_ids, read_numbers, read_times
from tsforecast.preprocessing.regular import MissingSteps, Rows, check_season, clock_for, panel_from_rows
from tsforecast.preprocessing.static import constant_columns, static_fields
from tsforecast.preprocessing.validate import ID_COL, LONE_SERIES, Columns, Features

READ_AT_ONCE = 1 << 17  # rows
UNITS = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}  # ns
FIRST_MOMENT, LAST_MOMENT = -9_214_560_000 * 10**9, 9_214_646_400 * 10**9 - 1  # ns: all of the years 1678 to 2261
ENDINGS = (".parquet", ".pq")
IN_ROWS = ("codes", "timestamps", "target", "covariates", "past_covariates")  # arrays with a row for each row


@dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    """How a Parquet folder is to be read."""

    columns: Columns
    freq: str | int | None = None
    season: int | None = None  # steps
    missing_steps: MissingSteps = "error"


def panel_from_parquet(
    path: str | os.PathLike[str],
    freq: str | int | None = None,
    season: int | None = None,
    id_col: str = ID_COL,
    time_col: str = "ds",
    target_col: str = "y",
    *,
    missing_steps: MissingSteps = "error",
    **features: Unpack[Features],
) -> Panel:
    """The panel that `panel_from_frame` makes of the rows of a Parquet file, or of all Parquet files below a folder.

    Rows may come in any order; those that come series by series, ascending in time, are not sorted. Files are read in the
    order of their names, all at the types of the first one. While reading, the named columns are held once, beside codes
    of 8 bytes per row; sorting takes 8 bytes per row more.

    Args:
        path: a file, or a folder: each file in or below it that ends in .parquet or .pq.
        freq, season, id_col, time_col, target_col, missing_steps, features: as in `panel_from_frame`.

    Raises:
        DataError: there is no such file, it is not Parquet, or the types of the files differ.
        All of `panel_from_frame`; rows are then counted from the row that the message says first.
    """
    reading = reading_of(freq, season, id_col, time_col, target_col, missing_steps=missing_steps, **features)
    columns = reading.columns
    source = ParquetRows(path, columns)
    flat = Flat.of(source)
    static = columns.static
    if static is not None and not isinstance(static, pd.DataFrame):
        static = constant_columns(source.frame_of(static), static, codes=flat.codes, ids=source.ids) if len(static) else None
    constant = {} if static is None else static_fields(static, id_col=id_col, ids=source.ids)
    panel = flat.panel(source, reading, ids=source.ids)
    return replace(panel, **constant)


def reading_of(
    freq: str | int | None = None,
    season: int | None = None,
    id_col: str = ID_COL,
    time_col: str = "ds",
    target_col: str = "y",
    *,
    missing_steps: MissingSteps = "error",
    **features: Unpack[Features],
) -> Reading:
    """Arguments of `panel_from_parquet`, looked at before anything is read."""
    check_season(season)
    if missing_steps not in ("error", "insert"):
        raise OptionError(f"missing_steps must be 'error' or 'insert', got {missing_steps!r}", field="missing_steps")
    columns = Columns(id_col=id_col, time_col=time_col, target_col=target_col, **features)
    return Reading(columns=columns, freq=freq, season=season, missing_steps=missing_steps)


class ParquetRows:
    """The rows of a Parquet folder, some at a time and checked one by one; ids and zone are known once all are read."""

    def __init__(self, path: str | os.PathLike[str], columns: Columns) -> None:
        self.columns = columns
        self.files = [file for file in _files(Path(path)) if _opened(file).metadata.num_rows]
        if not self.files:
            raise SchemaError(f"{path} has no rows; send at least one observation", field=columns.target_col)
        self.schema = _opened(self.files[0]).schema_arrow
        self.tz: str | None = None
        self.clock_type: np.dtype[Any] | None = None  # of timestamps, once some are read
        self.codes: dict[str, int] = {}
        self.words: Any = None  # dictionary of the last rows, an arrow array, and
        self.numbers = np.zeros(0, dtype=np.int64)  # … the code of each of its words; -1 = not met yet
        self.count = 0
        for file in self.files:
            self._look_at(file)
        self.lone = columns.id_col not in self.schema.names

    @property
    def ids(self) -> tuple[str, ...]:
        """Of the series met so far, in order of first appearance."""
        return tuple(self.codes)

    def _look_at(self, file: Path) -> None:
        """Count the rows of a file, and see that it has the columns, of the types of the first file."""
        opened = _opened(file)
        schema = opened.schema_arrow
        names = self.columns
        empty = pd.DataFrame(columns=pd.Index(schema.names, dtype=object))
        if names.id_col not in schema.names and (names.id_col != ID_COL or nearest(ID_COL, empty.columns, cutoff=0.75)):
            column_of(empty, names.id_col, "id_col")  # refuses, and names the nearest
        wanted = [(names.time_col, "time_col"), (names.target_col, "target_col")]
        wanted += [(name, "covariates") for name in names.covariates]
        wanted += [(name, "past_covariates") for name in names.past_covariates]
        wanted += [(name, "static") for name in names.features[len(names.covariates) + len(names.past_covariates) :]]
        for name, option in wanted:
            column_of(empty, name, option)
        for name in (names.id_col, *(name for name, _ in wanted)):
            first, mine = (one.field(name).type if name in one.names else "no type" for one in (self.schema, schema))
            if first != mine:
                what = f"column {name!r} is of type {mine} in {file}, of type {first} in {self.files[0]}; write both alike"
                raise SchemaError(what, field=name)
        self.count += opened.metadata.num_rows

    def frame_of(self, names: Sequence[str]) -> pd.DataFrame:
        """Some columns of all rows, for what is looked at as a whole."""
        frames: list[pd.DataFrame] = [pq.read_table(file, columns=list(names)).to_pandas() for file in self.files]
        return pd.concat(frames, ignore_index=True)

    def _refuse_texts(self, name: str) -> None:
        """Of numbers that are texts the whole column is looked at, to find the one that made it so."""
        kind, whose = self.schema.field(name).type, [] if self.lone else [self.columns.id_col]
        if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_dictionary(kind):
            frame = self.frame_of([*whose, name])
            codes, ids = read_ids(frame[whose[0]] if whose else pd.Series(LONE_SERIES, index=frame.index))
            read_numbers(frame[name], codes, ids, covariate=name != self.columns.target_col)

    def codes_only(self) -> Iterator[IntArray]:
        """Number of each row's series, in parts of (N,)."""
        for place, batch in self._batches([self.columns.time_col if self.lone else self.columns.id_col]):
            with _located(place):
                yield self._coded(batch)

    def parts(self) -> Iterator[Rows]:
        """All rows, in the order of the files."""
        columns = self.columns
        names = [columns.time_col, columns.target_col, *columns.covariates, *columns.past_covariates]
        for name in names[1:]:
            self._refuse_texts(name)
        for place, batch in self._batches(names if self.lone else [columns.id_col, *names]):
            with _located(place):
                yield self._part(batch)

    def _batches(self, names: list[str]) -> Iterator[tuple[str, pa.RecordBatch]]:
        """(where it begins, in words; columns of some rows)."""
        for file in self.files:
            row, opened = 0, _opened(file, as_codes=None if self.lone else self.columns.id_col)
            try:
                for batch in opened.iter_batches(READ_AT_ONCE, columns=names):
                    whole = len(self.files) == 1 and batch.num_rows == self.count
                    yield "" if whole else f"{file.name}, rows counted from {row}: ", batch
                    row += batch.num_rows
            except (OSError, pa.ArrowException) as error:
                raise _unreadable(file, error) from error

    def _coded(self, batch: pa.RecordBatch) -> IntArray:
        """Number of each row's series, (N,)."""
        if self.lone:
            self.codes = {LONE_SERIES: 0}
            return np.zeros(batch.num_rows, dtype=np.int64)
        column = batch.column(self.columns.id_col)
        words = column.dictionary if pa.types.is_dictionary(column.type) and not column.null_count else None
        again = words is not None and self.words is not None and words.equals(self.words)
        if again:  # as in the rows before: its words need not be looked up again
            codes: IntArray = self.numbers[column.indices.to_numpy()]
            if (codes >= 0).all():
                return codes
        inside, ids = read_ids(_series_of(batch, self.columns.id_col))
        codes = np.array([self.codes.setdefault(one, len(self.codes)) for one in ids], dtype=np.int64)[inside]
        if words is not None:
            self.words, self.numbers = words, self.numbers if again else np.full(len(words), -1)
            self.numbers[column.indices.to_numpy()] = codes
        return codes

    def _part(self, batch: pa.RecordBatch) -> Rows:
        columns = self.columns
        codes, ids = self._coded(batch), self.ids
        timestamps, tz = _times_of(batch, columns.time_col, codes, ids)
        if self.clock_type is not None and tz != self.tz:
            zones = " and ".join(str(zone or "no zone") for zone in (self.tz, tz))
            raise SchemaError(f"{columns.time_col!r} has {zones}; write all timestamps in one zone", field=columns.time_col)
        self.tz, self.clock_type = tz, timestamps.dtype

        def side_by_side(names: Sequence[str]) -> Any:
            read = [read_numbers(_series_of(batch, name), codes, ids, covariate=True) for name in names]
            return np.column_stack(read) if read else None

        return Rows(
            series_ids=(),  # known at the end
            codes=codes,
            timestamps=timestamps,
            target=read_numbers(_series_of(batch, columns.target_col), codes, ids),
            covariates=side_by_side(columns.covariates),
            past_covariates=side_by_side(columns.past_covariates),
        )


@dataclass(kw_only=True, slots=True)
class Flat:
    """Columns of many rows, which are used up on the way to a panel so that none is held twice."""

    codes: IntArray  # (N,) index of the row's series
    timestamps: TimeArray  # (N,)
    target: Any  # (N,) float64
    covariates: Any = None  # (N, C) float64
    past_covariates: Any = None  # (N, P) float64

    @classmethod
    def of(cls, source: ParquetRows) -> "Flat":
        """All rows of `source`, read into their places."""
        arrays: dict[str, Any] = {}
        start = 0
        for part in source.parts():
            for name in IN_ROWS:
                piece = getattr(part, name)
                if piece is None:
                    continue
                if name not in arrays:
                    arrays[name] = np.empty((source.count, *piece.shape[1:]), dtype=piece.dtype)
                arrays[name][start : start + len(piece)] = piece
            start += len(part.codes)
        return cls(**arrays)

    def panel(self, source: ParquetRows, reading: Reading, *, ids: tuple[str, ...]) -> Panel:
        """The panel of the series `ids` (S,); the arrays are gone into it."""
        counts = np.zeros(len(ids), dtype=np.int64)
        for start in range(0, len(self.codes), PIECE):
            counts += np.bincount(self.codes[start : start + PIECE], minlength=len(ids))
        offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        if not self._in_order():
            self._sort(offsets)
        names: dict[str, Any] = {
            "covariate_names": tuple(reading.columns.covariates),
            "past_covariate_names": tuple(reading.columns.past_covariates),
            "tz": source.tz,
        }
        beside = {name: getattr(self, name) for name in IN_ROWS[1:]}
        clock = _clock_that_fits(self.timestamps, offsets, source.tz, reading.freq)
        if clock is None:  # something is to be said of these rows, or to be inserted
            self.codes = np.repeat(np.arange(len(ids)), counts)
            rows = Rows(series_ids=ids, codes=self.codes, time_field=reading.columns.time_col, **beside, **names)
            return panel_from_rows(rows, freq=reading.freq, season=reading.season, missing_steps=reading.missing_steps)
        season = default_season(clock.freq) if reading.season is None else int(reading.season)
        return Panel(series_ids=ids, offsets=offsets, freq=clock.freq, season=season, **beside, **names)

    def _in_order(self) -> bool:
        """Whether the rows come series by series, ascending in time."""
        for start in range(0, len(self.codes), PIECE):
            ahead = np.diff(self.codes[start : start + PIECE + 1])
            later = np.diff(self.timestamps[start : start + PIECE + 1]).astype(np.int64)
            if (ahead < 0).any() or (later[ahead == 0] < 0).any():
                return False
        return True

    def _sort(self, offsets: IntArray) -> None:
        """Bring the rows in order; `codes` are used up."""
        moments = self.timestamps.view(np.int64)
        first, last = int(moments.min()), int(moments.max())
        step, places = 1, None
        if last - first < 2**63:  # differences fit
            ahead = (moments[start : start + PIECE] - first for start in range(0, len(moments), PIECE))
            step = max(int(np.gcd.reduce([np.gcd.reduce(piece) for piece in ahead])), 1)
            places = self._places(offsets, step)
        order = self._order(first, step, (last - first) // step + 1) if places is None else None
        self.codes = np.zeros(0, dtype=np.int64)
        del moments
        for name in IN_ROWS[1:]:
            values = getattr(self, name)
            if values is None:
                continue
            if places is None:
                setattr(self, name, values[order])
            else:
                in_order = np.empty_like(values)
                in_order[places] = values
                setattr(self, name, in_order)

    def _places(self, offsets: IntArray, step: int) -> IntArray | None:
        """Where each row goes, (N,), where each series has all of its steps: counted, not sorted. None where one has not."""
        moments = self.timestamps.view(np.int64)
        firsts = np.full(len(offsets) - 1, np.iinfo(np.int64).max)
        np.minimum.at(firsts, self.codes, moments)
        places = np.empty(len(moments), dtype=np.int64)
        taken = np.zeros(len(moments), dtype=bool)
        for start in range(0, len(moments), PIECE):
            codes = self.codes[start : start + PIECE]
            within = (moments[start : start + PIECE] - firsts[codes]) // step
            if (within >= (offsets[1:] - offsets[:-1])[codes]).any():
                return None
            places[start : start + PIECE] = found = offsets[codes] + within
            taken[found] = True
        return places if taken.all() else None

    def _order(self, first: int, step: int, width: int) -> IntArray:
        """The rows in order, (N,), by one key of 64 bits where it fits; `width` steps lie in each series."""
        moments = self.timestamps.view(np.int64)
        if (int(self.codes.max()) + 1) * width >= 2**63:
            return np.lexsort((moments, self.codes))
        self.codes *= width  # made in place
        for start in range(0, len(moments), PIECE):
            self.codes[start : start + PIECE] += (moments[start : start + PIECE] - first) // step
        return np.argsort(self.codes)


def _clock_that_fits(timestamps: TimeArray, offsets: IntArray, tz: str | None, freq: str | int | None) -> Clock | None:
    """The clock on which all series are regular and complete; None where there is none, or where it is not plain to see.

    It is told from the first series alone and shown to hold for all: then nothing else could be told from all of them.
    """
    blocks = series_blocks(offsets)
    first = offsets[: next(series_blocks(offsets)).stop + 1]
    some = Rows(
        series_ids=("",) * (len(first) - 1),
        codes=np.zeros(0, np.int64),
        timestamps=timestamps[: first[-1]],
        target=np.zeros(0),
        tz=tz,
    )
    try:
        clock = clock_for(some, first, freq)
    except FrequencyError:
        return None
    for block in blocks:
        inside = offsets[block.start : block.stop + 1]
        positions, on_grid = grid_positions(clock, timestamps[inside[0] : inside[-1]], inside - inside[0], tz)
        steps = np.diff(positions)
        steps[inside[1:-1] - inside[0] - 1] = 1  # from series to series
        if not on_grid.all() or (steps != 1).any():
            return None
    return clock


def _files(path: Path) -> list[Path]:
    """The Parquet files at or below `path`, in order of their names.

    Raises:
        DataError: there is none.
    """
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise DataError(f"{path} is neither a file nor a folder; pass a Parquet file or a folder of them", field="path")
    found = (one for one in path.rglob("*") if one.suffix in ENDINGS and one.is_file())
    files = sorted(one for one in found if not any(part.startswith((".", "_")) for part in one.relative_to(path).parts))
    if not files:
        raise DataError(f"no file below {path} ends in {' or '.join(ENDINGS)}; pass the folder that has them", field="path")
    return files


def _opened(file: Path, *, as_codes: str | None = None) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(file, read_dictionary=[as_codes] if as_codes else None)
    except (OSError, pa.ArrowException) as error:
        raise _unreadable(file, error) from error


def _unreadable(file: Path, error: Exception) -> DataError:
    return DataError(f"{file} cannot be read as Parquet: {str(error).splitlines()[0]}; write it again", field="path")


class _located:
    """Says of an error about some rows where these rows are."""

    def __init__(self, place: str) -> None:
        self.place = place

    def __enter__(self) -> None: ...

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if self.place and isinstance(error, DataError):
            raise type(error)(f"{self.place}{error}", series_id=error.series_id, field=error.field) from None


def _times_of(batch: pa.RecordBatch, name: str, codes: IntArray, ids: tuple[str, ...]) -> tuple[TimeArray, str | None]:
    """As `read_times`; plain timestamps are multiplied to nanoseconds, which takes a tenth of its time."""
    column = batch.column(name)
    if pa.types.is_timestamp(column.type) and not column.null_count:
        numbers, unit = column.view(pa.int64()).to_numpy(), UNITS[column.type.unit]
        if len(numbers) and int(numbers.min()) * unit >= FIRST_MOMENT and int(numbers.max()) * unit <= LAST_MOMENT:
            zone = read_times(_series_of(batch.slice(0, 1), name), codes[:1], ids)[1]
            return (numbers * unit).view("datetime64[ns]"), zone
    return read_times(_series_of(batch, name), codes, ids)


def _series_of(batch: pa.RecordBatch, name: str) -> pd.Series:
    """A column as pandas reads it from Parquet, but dates and decimals not as Python objects."""
    column = batch.column(name)
    decimal = pa.types.is_decimal(column.type)
    values = column.to_pandas(date_as_object=False, types_mapper=pd.ArrowDtype if decimal else None)
    return pd.Series(values).rename(name)
