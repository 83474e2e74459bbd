"""A column of timestamps of any type -> instants or steps, with what cannot be read set apart instead of refused."""

import datetime as dt
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from tsforecast.panel import IntArray, TimeArray
from tsforecast.preprocessing.calendar import BoolArray, instants_from_wall, wall_from_instants
from tsforecast.preprocessing.columns import ISO, YEARS, offset_minutes

SHORT = 20 * 3600 * 10**9  # ns; shorter steps are lengths of time, the same in every zone
FARTHEST = 2.0**61  # of integer steps, where differences still fit
NAIVE, STEP, BAD = -1, -2, -3  # zones of a value that has none


@dataclass(frozen=True, kw_only=True, slots=True)
class OnOneClock:
    """All timestamps as the panel would hold them."""

    times: TimeArray  # (N,) datetime64[ns] instants in UTC (naive: as given) or int64 steps; 0 where not readable
    wall: TimeArray  # (N,) on the wall clock of their owner
    tz: str | None

    @property
    def numbers(self) -> IntArray:
        return self.times.astype(np.int64)


@dataclass(frozen=True, kw_only=True, slots=True)
class Times:
    """What each row says, before zones are brought together."""

    column: pd.Series
    numbers: IntArray  # (N,) ns since 1970 (UTC where there is a zone) or steps; 0 where not readable
    missing: BoolArray  # (N,) NaT, None
    readable: BoolArray  # (N,) a timestamp, of the kind that most rows have
    are_steps: bool  # integers instead of timestamps
    zones: IntArray  # (N,) place in zone_names; NAIVE = none
    zone_names: tuple[str, ...]

    def shown(self, row: int) -> str:
        return repr(str(self.column.iloc[row])[:40])

    def on_one_clock(self, codes: IntArray, series: int) -> OnOneClock:
        """In the zone most rows have; rows of another are moved to it, naive ones are meant on it.

        Series that differ in their zone and step by days and more are compared by what their own clocks show.
        """
        if self.are_steps:
            return OnOneClock(times=self.numbers, wall=self.numbers, tz=None)
        instants = self.numbers.astype("datetime64[ns]")
        used, counts = np.unique(self.zones[self.readable], return_counts=True)
        if not len(used) or (len(used) == 1 and used[0] == NAIVE):
            return OnOneClock(times=instants, wall=instants, tz=None)
        wall = instants.copy()
        for zone in used[used != NAIVE]:
            rows = self.zones == zone
            wall[rows] = wall_from_instants(instants[rows], self.zone_names[zone])
        most = int(used[np.argmax(counts)])
        if most == NAIVE:
            return OnOneClock(times=wall, wall=wall, tz=None)
        tz = self.zone_names[most]
        naive = (self.zones == NAIVE) & self.readable
        instants[naive] = instants_from_wall(instants[naive], tz)
        if len(used) > 1 and not naive.any():
            order = np.lexsort((self.numbers, codes))
            steps = np.diff(self.numbers[order])[(np.diff(codes[order]) == 0) & (codes[order][1:] >= 0)]
            if len(steps) and np.median(steps) >= SHORT:
                return OnOneClock(times=wall, wall=wall, tz=None)
        return OnOneClock(times=instants, wall=wall, tz=tz)


def read_times(column: pd.Series) -> Times:
    """Integers, datetimes of any unit and zone, periods, dates and ISO 8601 texts, each row for itself."""
    missing = column.isna().to_numpy(dtype=bool)
    if isinstance(column.dtype, pd.PeriodDtype):
        return _from_objects(column.astype(object), missing)
    if column.dtype.kind in "iu":
        return _from_steps(column, missing)
    if column.dtype.kind == "M":
        index = pd.DatetimeIndex(column)
        zone = index.tz
        naive = index if zone is None else index.tz_convert("UTC").tz_localize(None)
        numbers, readable = _nanoseconds(naive)
        zones = np.full(len(column), NAIVE if zone is None or not _has_name(str(zone)) else 0, dtype=np.int64)
        names = (str(zone),) if zone is not None and _has_name(str(zone)) else ()
        return Times(
            column=column, numbers=numbers, missing=missing, readable=readable & ~missing, are_steps=False, zones=zones,
            zone_names=names,
        )  # fmt: skip
    if column.dtype.kind in "OTU" or isinstance(column.dtype, pd.CategoricalDtype | pd.StringDtype | pd.ArrowDtype):
        return _from_objects(column.astype(object), missing)
    return _from_kinds(column, missing, np.zeros(len(column), np.int64), np.full(len(column), BAD), ())


def _from_steps(column: pd.Series, missing: npt.NDArray[np.bool_]) -> Times:
    filled = column.fillna(0) if missing.any() else column
    inside = np.abs(filled.to_numpy(dtype=np.float64)) <= FARTHEST
    numbers = filled.where(pd.Series(inside, index=filled.index), 0).to_numpy(dtype=np.int64)
    return _from_kinds(column, missing, numbers, np.where(inside, STEP, BAD), ())


def _from_kinds(
    column: pd.Series, missing: npt.NDArray[np.bool_], numbers: IntArray, kinds: IntArray, names: tuple[str, ...]
) -> Times:
    """Steps among timestamps, or timestamps among steps: the fewer are not readable."""
    kinds = np.where(missing, BAD, kinds)
    are_steps = int((kinds == STEP).sum()) > int((kinds >= NAIVE).sum())
    readable = kinds == STEP if are_steps else kinds >= NAIVE
    return Times(
        column=column,
        numbers=np.where(readable, numbers, 0),
        missing=missing,
        readable=readable,
        are_steps=are_steps,
        zones=np.where(readable & (kinds >= 0), kinds, NAIVE),
        zone_names=names,
    )


def _nanoseconds(index: pd.DatetimeIndex) -> tuple[IntArray, BoolArray]:
    """(ns since 1970, inside the years that 64 bits hold), NaT being 0 and outside."""
    years = index.year.to_numpy(dtype=np.float64, na_value=np.nan)
    inside = (years >= YEARS[0]) & (years <= YEARS[1])
    safe = index.where(inside, pd.Timestamp(0).as_unit("s"))
    numbers: IntArray = safe.as_unit("ns").to_numpy().astype(np.int64)
    return np.where(inside, numbers, 0), inside


def _has_name(zone: str) -> bool:
    try:
        pd.Timestamp(0, tz="UTC").tz_convert(zone)
    except Exception:  # each library of zones has its own class
        return False
    return True


# Objects and texts; each distinct one is looked at once


def _from_objects(column: pd.Series, missing: npt.NDArray[np.bool_]) -> Times:
    try:
        which, found = pd.factorize(column)
        uniques = list(found)
    except (TypeError, ValueError):  # something that cannot be hashed
        hashable = np.empty(len(column), dtype=object)  # a Series would look for a common type
        hashable[:] = [one if isinstance(one, str | int | dt.date | pd.Period) else repr(one) for one in column]
        which, others = pd.factorize(hashable)
        uniques = list(others)
    values: list[Any] = uniques
    numbers, kinds, names = _read_values(values)
    padded = np.append(kinds, BAD), np.append(numbers, 0)
    row_kinds, row_numbers = padded[0][which], padded[1][which]
    if any(isinstance(one, dt.datetime) and one.tzinfo is not None for one in values):  # two zones in one
        zones, known = pd.factorize(column.map(_zone_of))
        names += [name for name in known if name not in names and _has_name(name)]
        own = np.array([*(names.index(name) if name in names else BAD for name in known), BAD])[zones]
        row_kinds = np.where((zones >= 0) & (row_kinds >= 0), own, row_kinds)
    return _from_kinds(column, missing, row_numbers, row_kinds, tuple(names))


def _zone_of(value: Any) -> str | None:
    zone = getattr(value, "tzinfo", None) if isinstance(value, dt.datetime) else None
    return None if zone is None else str(zone)


def _read_values(values: list[Any]) -> tuple[IntArray, IntArray, list[str]]:
    """(numbers (U,), kinds (U,), names of zones)."""
    numbers, kinds = np.zeros(len(values), dtype=np.int64), np.full(len(values), BAD, dtype=np.int64)
    names: list[str] = []

    @cache
    def kind_of(zone: str | None) -> int:
        if zone is None or not _has_name(zone):
            return NAIVE if zone is None else BAD
        if zone not in names:
            names.append(zone)
        return names.index(zone)

    texts = [i for i, one in enumerate(values) if isinstance(one, str)]
    moments, readable, aware = _read_texts([values[i] for i in texts])
    with_offset = kind_of("UTC") if aware.any() else BAD
    numbers[texts], kinds[texts] = moments, np.where(readable, np.where(aware, with_offset, NAIVE), BAD)
    for i, one in enumerate(values):
        if isinstance(one, str) or one is None:
            continue
        if isinstance(one, int | np.integer) and not isinstance(one, bool):
            if abs(int(one)) <= FARTHEST:
                numbers[i], kinds[i] = int(one), STEP
        elif isinstance(one, dt.date | np.datetime64 | pd.Period):
            moment = _moment(one)
            if moment is not None:
                numbers[i], kinds[i] = moment, kind_of(_zone_of(one))
    return numbers, kinds, names


def _moment(value: Any) -> int | None:
    """ns since 1970, in UTC where there is a zone."""
    try:
        stamp = value.start_time if isinstance(value, pd.Period) else pd.Timestamp(value)
        if pd.isna(stamp) or not YEARS[0] <= stamp.year <= YEARS[1]:
            return None
        return int(stamp.as_unit("ns").value)
    except (ValueError, TypeError, OverflowError):  # pandas.errors.OutOfBoundsDatetime is a ValueError
        return None


def _read_texts(texts: list[str]) -> tuple[IntArray, BoolArray, BoolArray]:
    """(ns since 1970, readable, has an offset from UTC) of each text."""
    matches = [ISO.fullmatch(text.strip()) for text in texts]
    bodies = ["" if match is None else match.group(1) for match in matches]
    offsets = [None if match is None else match.group(2) for match in matches]
    moments = _parsed(bodies)
    numbers, readable = _nanoseconds(moments)
    minutes = {offset: offset_minutes(offset) for offset in set(offsets) if offset}
    away = np.array([minutes[offset] if offset else 0 for offset in offsets], dtype=np.int64)
    aware = np.array([bool(offset) for offset in offsets], dtype=bool)
    return numbers - away * 60 * 10**9, readable, aware & readable


def _parsed(bodies: list[str]) -> pd.DatetimeIndex:
    if all(body[4:5] == "-" for body in bodies):
        try:
            return pd.DatetimeIndex(np.array(bodies, dtype="datetime64[us]"))
        except ValueError:
            pass  # one of them is no date: all are read the slow way, which says which
    return pd.DatetimeIndex(pd.to_datetime(pd.Index(bodies, dtype=object), format="ISO8601", errors="coerce"))
