"""Columns of a raw frame -> arrays of ids, instants and numbers, every type and value looked at. Errors name the row."""

import datetime as dt
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Literal
from zoneinfo import available_timezones

import numpy as np
import pandas as pd

from tsforecast.errors import CovariateError, DataError, SchemaError
from tsforecast.panel import FloatArray, IntArray, TimeArray, zone_fields
from tsforecast.preprocessing.calendar import Instants, wall_from_instants

ISO = re.compile(
    r"(\d{4}-\d{2}(?:-\d{2}(?:[T ]\d{2}(?::\d{2}(?::\d{2}(?:\.\d{1,9})?)?)?)?)?|\d{8}(?:T\d{6})?) ?(Z|[+-]\d{2}(?::?\d{2})?)?",
    re.ASCII,
)
YEARS = (1678, 2261)  # whole years that 64-bit nanoseconds hold
ISO_HELP = "write ISO 8601 such as 2024-01-31 or 2024-01-31T06:00:00"
SHOWN = 3  # culprits named in a message
BLOCK = 2**20  # rows compared at once

Refuse = Callable[[Any, str], SchemaError]  # (rows that are wrong, what is wrong) -> the error that names them


def column_of(frame: pd.DataFrame, name: str, option: str) -> pd.Series:
    """The column `name`, which the caller may rename with argument `option`.

    Raises:
        SchemaError (CovariateError for a covariate): it is not there, or there twice; the nearest column is named.
    """
    kind: type[DataError] = CovariateError if option in ("covariates", "past_covariates", "static") else SchemaError
    if name not in frame.columns:
        has = ", ".join(map(str, frame.columns[:20])) or "no columns"
        near = nearest(name, frame.columns)
        if near is None and option == "time_col":
            near = next((str(one) for one, dtype in frame.dtypes.items() if dtype.kind == "M"), None)
        hint = f"did you mean {near!r}? " if near else ""
        raise kind(f"the frame has no column {name!r}; {hint}It has {has}; rename it or pass {option}=", field=name)
    column = frame[name]
    if isinstance(column, pd.DataFrame):
        raise kind(f"the frame has {column.shape[1]} columns called {name!r}; drop all but one", field=name)
    return column


def nearest(name: str, columns: Iterable[Any], cutoff: float = 0.5) -> str | None:
    """The column whose name looks most like `name`, whatever the case."""
    by_lower = {str(column).lower(): str(column) for column in columns}
    found = get_close_matches(str(name).lower(), list(by_lower), n=1, cutoff=cutoff)
    return by_lower[found[0]] if found else None


# Ids


def read_ids(column: pd.Series) -> tuple[IntArray, tuple[str, ...]]:
    """Number of each row's series (N,), and the ids as text (S,), in order of first appearance.

    Raises:
        SchemaError: an id is missing or cannot be hashed, or two ids read the same as text.
    """
    name = str(column.name)
    codes, ids = distinct(column, "ids that cannot be told apart", "use strings")
    if (codes < 0).any():
        rows = np.flatnonzero(codes < 0)
        raise SchemaError(f"{name!r} is missing in {some_rows(rows)}; drop these rows or name their series", field=name)
    return codes, ids_as_text(ids, name)


def distinct(column: pd.Series, problem: str, way_out: str) -> tuple[IntArray, list[Any]]:
    """Number of each row's value (N,), -1 where it is missing, and the values, in order of first appearance.

    Raises:
        SchemaError: "`name` holds `problem` (why); `way_out`" where values cannot be hashed, and where texts are the same up
            to a NUL character: pandas takes them for one.
    """
    name = str(column.name)
    try:
        codes, uniques = pd.factorize(column)
    except (TypeError, ValueError, NotImplementedError) as error:
        raise SchemaError(f"{name!r} holds {problem} ({error}); {way_out}", field=name) from error
    values = list(uniques)
    dtype = column.dtype
    of_python = dtype == np.dtype(object) or (isinstance(dtype, pd.StringDtype) and dtype.storage == "python")
    if of_python and all(isinstance(one, str) for one in values):
        texts, known = column.to_numpy(dtype=object), np.array(values, dtype=object)
        for start in range(0, len(codes), BLOCK):
            there = start + np.flatnonzero(codes[start : start + BLOCK] >= 0)
            for row in there[known[codes[there]] != texts[there]][:1]:
                shown = f"{texts[row][:40]!r} in row {row} differs from {known[codes[row]][:40]!r} after a NUL character only"
                raise SchemaError(f"{name!r} holds {problem} ({shown}); remove NUL characters", field=name)
    return codes.astype(np.int64), values


def ids_as_text(ids: Sequence[object], field: str) -> tuple[str, ...]:
    """The ids as text (S,).

    Raises:
        SchemaError: two of them read the same.
    """
    texts = tuple(str(one) for one in ids)
    if len(set(texts)) == len(texts):
        return texts
    first: dict[str, int] = {}
    number, text = next((number, text) for number, text in enumerate(texts) if first.setdefault(text, number) != number)
    pair = f"{ids[first[text]]!r} and {ids[number]!r}"
    raise SchemaError(f"ids {pair} in {field!r} read the same as text; rename one", series_id=text, field=field)


def some_rows(rows: IntArray) -> str:
    """ "row 3" or "3 rows (0, 4, 7 …)", counted from 0."""
    if len(rows) == 1:
        return f"row {rows[0]}"
    return f"{len(rows)} rows ({', '.join(map(str, rows[:SHOWN]))}{' …' if len(rows) > SHOWN else ''})"


# Timestamps


@dataclass(frozen=True, kw_only=True, slots=True)
class Times:
    """When the rows of many series were, and on which wall clocks."""

    moments: TimeArray  # (N,) datetime64[ns] instants in UTC (naive ones as given) | int64 steps
    tz: str | None = None  # zone that all series share; None = naive
    zones: tuple[str, ...] = ()  # (S,) where they differ


def read_times(column: pd.Series, codes: IntArray, ids: tuple[str, ...]) -> tuple[TimeArray, str | None]:
    """As `read_zoned_times`, (timestamps (N,), zone), where all series must share one zone."""
    times = read_zoned_times(column, codes, ids)
    for i in [i for i, zone in enumerate(times.zones) if zone != times.zones[0]][:1]:
        raise SchemaError(
            f"series {ids[i]!r} has zone {times.zones[i]}, series {ids[0]!r} {times.zones[0]}; "
            f"convert all to one zone, as in .dt.tz_convert({times.zones[0]!r})",
            series_id=ids[i],
            field=str(column.name),
        )
    return times.moments, times.tz


def read_zoned_times(column: pd.Series, codes: IntArray, ids: tuple[str, ...]) -> Times:
    """Timestamps of the rows, each series on one wall clock.

    Args:
        column: integers, datetimes of any unit and zone, periods (their start), dates, or ISO 8601 texts; Python objects
            of different zones where each series has one.
        codes: (N,) number of each row's series, for messages.
        ids: (S,)

    Raises:
        SchemaError: another type, a missing or impossible timestamp, naive and aware ones mixed, or a series of two zones.
    """
    name = str(column.name)
    refuse = refusal(codes, ids, name)
    missing = np.flatnonzero(column.isna().to_numpy())
    if len(missing):
        raise refuse(missing, f"timestamp {name!r} is missing (NaT); drop these rows or fill it")
    dtype = column.dtype
    if isinstance(dtype, pd.PeriodDtype):
        column = column.dt.to_timestamp()
    elif dtype.kind in "iu":
        return Times(moments=_steps(column, refuse))
    elif dtype.kind in "OTU" or isinstance(dtype, (pd.CategoricalDtype, pd.StringDtype)):
        return _read_objects(column, codes, refuse)
    elif dtype.kind != "M":
        raise SchemaError(f"{name!r} is of type {dtype}: use datetimes, ISO 8601 texts or integer steps", field=name)
    index = pd.DatetimeIndex(column)
    if index.tz is None:
        return Times(moments=_nanoseconds(index, refuse))
    return Times(moments=_nanoseconds(index.tz_convert("UTC").tz_localize(None), refuse), tz=zone_name(index.tz, name))


def refusal(codes: IntArray, ids: tuple[str, ...], field: str) -> Refuse:
    """What makes an error about rows of a frame, which names the series of the first one."""

    def refuse(rows: IntArray, problem: str) -> SchemaError:
        series_id = ids[codes[rows[0]]]
        return SchemaError(f"series {series_id!r}, {some_rows(rows)}: {problem}", series_id=series_id, field=field)

    return refuse


def _steps(column: pd.Series, refuse: Refuse) -> IntArray:
    """Integer steps; those that would leave 62 bits, where differences still fit, are refused."""
    try:
        numbers = column.to_numpy(dtype=np.int64)
        odd = np.flatnonzero(np.abs(numbers.astype(np.float64)) > 2.0**61)
    except (OverflowError, TypeError, ValueError):
        odd = np.zeros(1, dtype=np.int64)
    if len(odd):
        raise refuse(odd, f"steps in {str(column.name)!r} must be integers between -2**61 and 2**61; number them from 0")
    return numbers


def _nanoseconds(index: pd.DatetimeIndex, refuse: Refuse) -> Instants:
    years = index.year.to_numpy()
    outside = np.flatnonzero((years < YEARS[0]) | (years > YEARS[1]))
    if len(outside):
        raise refuse(outside, f"{index[outside[0]]} lies outside the years {YEARS[0]} to {YEARS[1]}")
    return index.as_unit("ns").to_numpy().astype("datetime64[ns]")


def zone_name(zone: Any, name: str) -> str:
    text = str(zone)
    try:
        pd.Timestamp(0, tz="UTC").tz_convert(text)
    except Exception as error:  # each library of zones has its own class
        near = get_close_matches(text, available_timezones(), n=1)
        way_out = f"did you mean {near[0]!r}?" if near else "convert it, as in .dt.tz_convert('Europe/Berlin')"
        raise SchemaError(f"{name!r} has zone {text}, which has no IANA name; {way_out}", field=name) from error
    return text


def _read_objects(column: pd.Series, codes: IntArray, refuse: Refuse) -> Times:
    """Texts, or Python objects of one kind; each distinct one is looked at once."""
    name = str(column.name)
    if pd.api.types.infer_dtype(column, skipna=True) == "integer":
        return Times(moments=_steps(column, refuse))
    which, values = distinct(column.astype(object), "objects that are no timestamps", ISO_HELP)

    def rows(bad: Iterable[int]) -> IntArray:
        return np.flatnonzero(np.isin(which, list(bad)))

    if all(isinstance(one, str) for one in values):
        moments, tz = parse_texts(values, name, lambda bad, problem: refuse(rows(bad), problem))
        return Times(moments=moments[which], tz=tz)
    odd = [i for i, one in enumerate(values) if not isinstance(one, (dt.date, np.datetime64))]
    if odd:
        shown = f"{str(values[odd[0]])[:40]!r} ({type(values[odd[0]]).__name__})"
        raise refuse(rows(odd), f"{shown} in {name!r} is no timestamp; use datetimes, ISO 8601 texts or integer steps")
    zones = _zones_of_objects(column, codes, refuse)
    try:
        index = pd.DatetimeIndex(pd.to_datetime(pd.Index(values, dtype=object), utc=bool(zones)))
    except (ValueError, OverflowError) as error:
        raise SchemaError(f"{name!r} cannot be read as datetimes: {error}; {ISO_HELP}", field=name) from error
    naive = index if index.tz is None else index.tz_convert("UTC").tz_localize(None)
    moments = _nanoseconds(naive, lambda bad, problem: refuse(rows(bad), problem))
    return Times(moments=moments[which], **(zone_fields(zones) if zones else {}))


def _zones_of_objects(column: pd.Series, codes: IntArray, refuse: Refuse) -> list[str]:
    """Zone of each series (S,); [] where there is none.

    Row by row: one instant in two zones is one value to pandas.
    """
    names: dict[Any, str | None] = {None: None}
    for zone in {getattr(one, "tzinfo", None) for one in column}:
        names[zone] = None if zone is None else zone_name(zone, str(column.name))
    zones = [names[getattr(one, "tzinfo", None)] for one in column]
    _check_zoned(zones, refuse)
    if zones[0] is None:
        return []
    texts = np.array(zones, dtype=object)
    mine = texts[np.unique(codes, return_index=True)[1]]  # (S,)
    other = np.flatnonzero(texts != mine[codes])
    if len(other):
        its, beside = mine[codes[other[0]]], texts[other[0]]
        other = other[(codes[other] == codes[other[0]]) & (texts[other] == beside)]
        raise refuse(other, f"zone {beside} stands beside {its} in one series; convert all of it, as in .dt.tz_convert({its!r})")
    return [str(zone) for zone in mine]


def _check_zoned(zones: list[str | None], refuse: Refuse) -> None:
    """Refuse moments without a zone beside moments with one."""
    naive = [i for i, zone in enumerate(zones) if zone is None]
    if naive and len(naive) < len(zones):
        zone = next(one for one in zones if one is not None)
        rows = np.array(naive, dtype=np.int64)
        raise refuse(rows, f"timestamps without a zone stand beside others in {zone}; localize or convert all of them")


def parse_texts(values: list[str], name: str, refuse: Refuse) -> tuple[Instants, str | None]:
    """(instants, "UTC" where the texts have offsets); offsets may differ, as they do across the change to summer time."""
    matches = [ISO.fullmatch(text.strip()) for text in values]
    texts = ["" if match is None else match.group(1) for match in matches]
    moments = _quickly_parsed(texts)
    if moments is None:
        parsed = pd.DatetimeIndex(pd.to_datetime(pd.Index(texts, dtype=object), format="ISO8601", errors="coerce"))
        bad = np.flatnonzero(parsed.isna()).tolist()
        if bad:
            raise refuse(bad, f"{values[bad[0]][:40]!r} in {name!r} is no timestamp; {ISO_HELP}")
        moments = _nanoseconds(parsed, refuse)
    offsets = [match.group(2) for match in matches if match is not None]
    _check_zoned([None if offset is None else "UTC offsets" for offset in offsets], refuse)
    if offsets[0] is None:
        return moments, None
    return moments - np.array([offset_minutes(offset) for offset in offsets], dtype="timedelta64[m]"), "UTC"


def _quickly_parsed(texts: list[str]) -> Instants | None:
    """Dates written with hyphens, all of them possible; None sends the others the slow way, which names what is wrong."""
    if min(texts)[:4] < str(YEARS[0]) or max(texts)[:4] > str(YEARS[1]) or any(text[4:5] != "-" for text in texts):
        return None
    try:
        return np.array(texts, dtype="datetime64[ns]")
    except ValueError:
        return None


def offset_minutes(offset: str) -> int:
    """ "+05:30" -> 330."""
    if offset == "Z":
        return 0
    digits = offset[1:].replace(":", "").ljust(4, "0")
    minutes = int(digits[:2]) * 60 + int(digits[2:])
    return -minutes if offset[0] == "-" else minutes


def show_times(times: TimeArray, tz: str | None, *, total: int | None = None) -> str:
    """The first few of `total` timestamps as their owner writes them: on the wall clock of the zone."""
    total = len(times) if total is None else total
    if times.dtype.kind != "M":
        texts = [str(one) for one in times[:SHOWN]]
    else:
        wall = wall_from_instants(times[:SHOWN].astype("datetime64[ns]"), tz)
        unit: Literal["ns", "s"] = "ns" if (wall.astype(np.int64) % 10**9).any() else "s"
        texts = [str(np.datetime_as_string(one, unit=unit)).removesuffix("T00:00:00") for one in wall]
    more = f" … ({total} in all)" if total > len(texts) else ""
    return ", ".join(texts) + (f" {tz}" if tz else "") + more


# Numbers


def read_numbers(column: pd.Series, codes: IntArray, ids: tuple[str, ...], *, covariate: bool = False) -> FloatArray:
    """The column as float64 (N,), NaN where it is missing.

    Args:
        column: integers or floats of any kind; truth values only in a covariate.
        codes: (N,) number of each row's series, for messages.
        ids: (S,)
        covariate: errors are CovariateError.

    Raises:
        SchemaError or CovariateError: texts, objects, truth values, dates, or infinite values.
    """
    kind: type[DataError] = CovariateError if covariate else SchemaError
    name, dtype = str(column.name), column.dtype
    if dtype.kind == "b" and not covariate:
        raise kind(f"{name!r} holds truth values (bool); write frame[{name!r}].astype(float) if counts are meant", field=name)
    decimal = isinstance(dtype, pd.ArrowDtype) and str(dtype).startswith("decimal")
    if dtype.kind not in "iufb" and not decimal:
        raise _not_numbers(column, codes, ids, kind)
    numbers = column.to_numpy(dtype=np.float64, na_value=np.nan)
    infinite = np.flatnonzero(np.isinf(numbers))
    if len(infinite):
        series_id = ids[codes[infinite[0]]]
        message = (
            f"series {series_id!r} has {numbers[infinite[0]]} in {name!r}, {some_rows(infinite)}; use NaN for what is not known"
        )
        raise kind(message, series_id=series_id, field=name)
    return numbers


def _not_numbers(column: pd.Series, codes: IntArray, ids: tuple[str, ...], kind: type[DataError]) -> DataError:
    name = str(column.name)
    way_out = f"pd.to_numeric(frame[{name!r}], errors='coerce')"
    values = column.astype(object)
    text = values.map(lambda value: isinstance(value, str)).to_numpy(dtype=bool)
    wrong = text & pd.to_numeric(values.where(text), errors="coerce").isna().to_numpy()  # one bad cell makes a file's column text
    for row in np.flatnonzero(wrong if wrong.any() else text)[:1]:
        series_id, value = ids[codes[row]], values.iloc[row]
        message = f"series {series_id!r} has the text {value[:40]!r} in {name!r}, row {row}; {name!r} must be numbers: {way_out}"
        return kind(message, series_id=series_id, field=name)
    return kind(f"{name!r} is of type {column.dtype}, it must be numbers: {way_out}", field=name)
