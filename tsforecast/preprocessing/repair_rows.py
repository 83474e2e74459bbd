"""Repair steps on the raw frame: keys, numbers, duplicates, the clock and the zone, before rows become a panel."""

import re
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, get_args

import numpy as np
import pandas as pd

from tsforecast.errors import DataError, FrequencyError, OptionError, SchemaError
from tsforecast.panel import FloatArray, IntArray, TimeArray
from tsforecast.preprocessing.calendar import (
    DAY,
    BoolArray,
    Clock,
    Instants,
    clock_of,
    dates_of,
    instants_from_wall,
    places_of,
    wall_from_instants,
    zones_at,
)
from tsforecast.preprocessing.columns import Times, column_of, read_zoned_times, refusal, show_times, zone_name
from tsforecast.preprocessing.regular import check_kind
from tsforecast.preprocessing.repair import (
    LONE_SERIES,
    How,
    Keep,
    Partial,
    Repaired,
    column_of_times,
    drop_duplicates,
    resample,
    series_of_rows,
)
from tsforecast.preprocessing.repair_step import Changes, FrameStep, Names, TextArray, check_choice, check_least, check_numbers

NEAR = 0.1  # of a step: a place as good as met
MOST_LETTERS = 40  # of a text that are kept in the log
NO_STEP = np.iinfo(np.int64).min  # a missing integer step in a log; the bits of NaT


@dataclass(frozen=True, kw_only=True, slots=True)
class DropMissingKeys(FrameStep):
    """Drop rows without an id or without a timestamp: nobody can tell where they belong."""

    name: ClassVar[str] = "drop_missing_keys"

    def apply(self, frame: pd.DataFrame, names: Names) -> tuple[pd.DataFrame, list[Changes]]:
        times = column_of(frame, names.time_col, "time_col")
        missing = times.isna().to_numpy(dtype=bool)
        if names.id_col in frame.columns or names.id_col != "unique_id":
            missing = missing | column_of(frame, names.id_col, "id_col").isna().to_numpy(dtype=bool)
        if not missing.any():
            return frame, []
        rows = np.flatnonzero(missing)
        log = _changes(self.name, frame, names, rows, old=_target(frame, names, rows), new=np.full(len(rows), np.nan))
        kept = frame[~missing].reset_index(drop=True)
        if times.dtype.kind == "f" and len(kept) and (kept[names.time_col] % 1 == 0).all():  # integers, but for the hole
            kept[names.time_col] = kept[names.time_col].astype(np.int64)
        return kept, [log]


@dataclass(frozen=True, kw_only=True, slots=True)
class Numbers(FrameStep):
    """Texts that are numbers become numbers, in target and covariates; what is no number becomes NaN.

    Logged are the cells that Python would not read as that number, with what was written: "1.234,5" with decimal ",", and what
    became NaN. More than half of a column is not given up: that is another way to write numbers.
    """

    name: ClassVar[str] = "numbers"
    decimal: str = "."
    thousands: str = ""  # between groups of three digits, such as "," or "." or a blank; "" = none

    def __post_init__(self) -> None:
        for option in ("decimal", "thousands"):
            value = getattr(self, option)
            if not isinstance(value, str) or len(value) > 1 or re.match(r"[\w+-]", value) or (option == "decimal" and not value):
                raise OptionError(f"repair {self.name!r}: {option} must be one mark such as ',', got {value!r}", field=option)
        if self.decimal == self.thousands:
            message = f"repair {self.name!r}: decimal and thousands are both {self.decimal!r}; give them two marks"
            raise OptionError(message, field="thousands")

    def apply(self, frame: pd.DataFrame, names: Names) -> tuple[pd.DataFrame, list[Changes]]:
        changes = []
        for name in names.values:
            column = column_of(frame, name, "target_col" if name == names.target_col else "covariates")
            if not (column.dtype.kind in "OTU" or isinstance(column.dtype, (pd.CategoricalDtype, pd.StringDtype))):
                continue
            numbers, rows = self._read(column)
            lost = rows[np.isnan(numbers[rows])]
            there = int(column.notna().sum())
            if 2 * len(lost) > there:
                raise SchemaError(
                    f"repair {self.name!r}: {len(lost)} of {there} cells of {name!r} are no numbers, the first is "
                    f"{str(column.iloc[lost[0]])[:MOST_LETTERS]!r} in row {lost[0]}; say how they are written by decimal= "
                    "and thousands=",
                    field=name,
                )
            frame = frame.assign(**{name: numbers})
            nothing = np.full(len(rows), np.nan)
            done = _changes(_step(self.name, name, names), frame, names, rows, old=nothing, new=numbers[rows])
            changes.append(replace(done, texts=np.array([str(one)[:MOST_LETTERS] for one in column.iloc[rows]], dtype=object)))
        return frame, changes

    def _read(self, column: pd.Series) -> tuple[FloatArray, IntArray]:
        """The numbers of a column (N,), and the rows where they are not what was written."""
        mark, group = re.escape(self.decimal), re.escape(self.thousands)
        whole = rf"(?:\d{{1,3}}(?:{group}\d{{3}})+|\d+)?" if group else r"\d*"
        number = re.compile(rf"[+-]?{whole}(?:{mark}\d*)?(?:[eE][+-]?\d+)?", re.ASCII)
        plain = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)

        def read(value: object) -> tuple[float, bool]:
            """(number, whether Python reads the same)."""
            if isinstance(value, str):
                text = value.strip()
                as_python = float(text) if plain.fullmatch(text) else np.nan
                if self.decimal == "." and as_python == as_python:
                    return as_python, True
                if not number.fullmatch(text):
                    return np.nan, False
                found = _float(text.replace(self.thousands, "") if group else text, self.decimal)
                return found, found == as_python
            if isinstance(value, (bool, np.bool_)):
                return np.nan, False
            if value is None or value is pd.NA or value is pd.NaT:
                return np.nan, True
            found = _float(value, ".")
            return found, found == found or isinstance(value, (float, np.floating))

        both = [read(value) for value in column.astype(object)]
        numbers = np.array([found for found, _ in both], dtype=np.float64)
        return numbers, np.flatnonzero(~np.array([ordinary for _, ordinary in both], dtype=bool))


def _float(value: Any, decimal: str) -> float:
    try:
        return float(value.replace(decimal, ".") if isinstance(value, str) else value)
    except (TypeError, ValueError, OverflowError):
        return float("nan")


@dataclass(frozen=True, kw_only=True, slots=True)
class Infinities(FrameStep):
    """Infinite values become NaN, in target and covariates."""

    name: ClassVar[str] = "infinities"

    def apply(self, frame: pd.DataFrame, names: Names) -> tuple[pd.DataFrame, list[Changes]]:
        changes = []
        for name in names.values:
            column = column_of(frame, name, "target_col" if name == names.target_col else "covariates")
            numbers = _as_floats(column)
            rows = np.flatnonzero(np.isinf(numbers))
            if len(rows):
                step = _step(self.name, name, names)
                nothing = np.full(len(rows), np.nan)
                changes.append(_changes(step, frame, names, rows, old=numbers[rows], new=nothing))
                frame = frame.assign(**{name: column.mask(np.isinf(numbers))})
        return frame, changes


@dataclass(frozen=True, kw_only=True, slots=True)
class Duplicates(FrameStep):
    """One row for each series and timestamp, see `repair.drop_duplicates`.

    Logged is each row that went: its value, and the one that stands at its timestamp now.
    """

    name: ClassVar[str] = "duplicates"
    keep: str = "last"  # "last" | "first" row of the frame, or the first with the "mean" | "sum" | "max" of them

    def __post_init__(self) -> None:
        check_choice(self, ("keep", get_args(Keep)))

    def apply(self, frame: pd.DataFrame, names: Names) -> tuple[pd.DataFrame, list[Changes]]:
        keep: Any = self.keep
        done = drop_duplicates(frame, keep, id_col=names.id_col, time_col=names.time_col, target_col=names.target_col)
        return (done.frame if len(done.log) else frame), [_changes_of(self.name, done)]


@dataclass(frozen=True, kw_only=True, slots=True)
class ToSteps(FrameStep):
    """The target summed or averaged into the steps of another clock, see `repair.resample`; covariates cannot follow."""

    name: ClassVar[str] = "resample"
    freq: str | int
    how: str = "mean"  # sum | mean | median | min | max | first | last
    partial: str = "keep"  # "drop": without the first and last step of a series that its rows do not fill

    def __post_init__(self) -> None:
        clock_of(self.freq)
        check_choice(self, ("how", get_args(How)), ("partial", get_args(Partial)))

    def apply(self, frame: pd.DataFrame, names: Names) -> tuple[pd.DataFrame, list[Changes]]:
        if names.covariates:
            message = f"repair 'resample' keeps the target only; leave {', '.join(names.covariates)} out, or resample them before"
            raise OptionError(message, field="covariates")
        how: Any = self.how
        partial: Any = self.partial
        keys = {"id_col": names.id_col, "time_col": names.time_col, "target_col": names.target_col}
        done = resample(frame, self.freq, how, partial=partial, **keys)
        return done.frame, [_changes_of(self.name, done)]


@dataclass(frozen=True, kw_only=True, slots=True)
class OnClock(FrameStep):
    """Timestamps that stand beside the places of a clock are moved onto them; steps that are missing are added with NaN.

    The places lie on whole steps after midnight, or at the time within a step that most rows of a series share, if that is
    another. A moved row is logged as one that went and one that came. Two rows may meet at one place: let `duplicates` follow.
    """

    name: ClassVar[str] = "clock"
    freq: str | int
    tolerance: float = 0.1  # share of a step that a row may stand off
    off: Literal["error", "drop"] = "error"  # rows further off

    def __post_init__(self) -> None:
        clock_of(self.freq)
        check_numbers(self)
        check_least(self, tolerance=0)
        check_choice(self, ("off", ("error", "drop")))
        if self.tolerance > 0.5:
            message = f"repair 'clock': tolerance must be at most 0.5 of a step, got {self.tolerance}"
            raise OptionError(message, field="tolerance")

    def apply(self, frame: pd.DataFrame, names: Names) -> tuple[pd.DataFrame, list[Changes]]:
        clock, codes, ids, times = _read_clock(frame, names, self.freq)
        places, away = _nearest_places(clock, times, codes)
        far = away > self.tolerance
        if far.any() and self.off == "error":
            self._refuse(far, codes, ids, times, names)
        moved = ~far & (places != times.moments)
        if not (far.any() or moved.any()):
            return frame, []
        aware, values = times.tz is not None, _target(frame, names, np.arange(len(frame)))
        series = np.array(ids, dtype=object)[codes]
        gone, here = far | moved, np.flatnonzero(moved)
        log = [
            Changes(
                step=self.name,
                series=series[gone],
                times=times.moments[gone],
                aware=aware,
                old=values[gone],
                new=np.full(int(gone.sum()), np.nan),
            ),
            Changes(
                step=self.name,
                series=series[here],
                times=places[here],
                aware=aware,
                old=np.full(len(here), np.nan),
                new=values[here],
            ),
        ]
        zone = zones_at(times.tz, times.zones, codes)
        repaired = frame.assign(**{names.time_col: column_of_times(places, zone)})[~far].reset_index(drop=True)
        return repaired, log

    def _refuse(self, far: BoolArray, codes: IntArray, ids: tuple[str, ...], times: Times, names: Names) -> None:
        first = int(codes[np.argmax(far)])
        strays = times.moments[far & (codes == first)]
        others = len(np.unique(codes[far])) - 1
        more = f", and {others} more series likewise" if others else ""
        zone = times.zones[first] if times.zones else times.tz
        raise FrequencyError(
            f"series {ids[first]!r} has {len(strays)} of {int((codes == first).sum())} rows more than {self.tolerance:g} "
            f"of a step off the clock of freq {clock_of(self.freq).freq!r}: {show_times(strays, zone)}{more}; "
            "raise tolerance, pass the right freq, drop them by off='drop', or use resample",
            series_id=ids[first],
            field=names.time_col,
        )


def _read_clock(frame: pd.DataFrame, names: Names, freq: str | int) -> tuple[Clock, IntArray, tuple[str, ...], Times]:
    clock = clock_of(freq)
    column = column_of(frame, names.time_col, "time_col")
    if not len(frame):
        raise SchemaError("the frame has no rows; check where it comes from", field=names.time_col)
    codes, ids = series_of_rows(frame, names.id_col)
    times = read_zoned_times(column, codes, ids)
    check_kind(clock, times.moments, names.time_col)
    return clock, codes, ids, times


def _nearest_places(clock: Clock, times: Times, codes: IntArray) -> tuple[TimeArray, FloatArray]:
    """(the place of the clock nearest to each row, how far it is as a share of a step), (N,) each."""
    moments = times.moments
    series = int(codes.max()) + 1
    places: Any
    if clock.absolute:
        numbers = moments.astype(np.int64)
        origin = np.zeros(series, dtype=np.int64)
        if clock.unit == "tick":
            origin = np.full(series, np.iinfo(np.int64).max)
            np.minimum.at(origin, codes, numbers)
            zones = zones_at(times.tz, times.zones, np.arange(series))
            wall = wall_from_instants(origin.astype("datetime64[ns]"), zones)
            origin = instants_from_wall(wall.astype("datetime64[D]").astype("datetime64[ns]"), zones).astype(np.int64)
        rest = (numbers - origin[codes]) % clock.step
        origin = origin + _phases(rest, np.minimum(rest, clock.step - rest) / clock.step, codes)
        step = clock.step
        index = (numbers - origin[codes] + step // 2) // step
        places = origin[codes] + index * step
        away: FloatArray = np.abs(numbers - places) / step
        return places.astype(moments.dtype), away
    zone = zones_at(times.tz, times.zones, codes)
    wall = wall_from_instants(moments.astype("datetime64[ns]"), zone)
    of_day = (wall - wall.astype("datetime64[D]")).astype("timedelta64[ns]").astype(np.int64)
    phase = _phases(of_day, _nearest_date(clock, wall, np.zeros(len(wall), dtype=np.int64))[1], codes)[codes]
    nearest, away = _nearest_date(clock, wall, phase)
    places = instants_from_wall(nearest, zone)
    places[nearest == wall] = moments[nearest == wall]  # an hour that comes twice stays the one it was
    return places, away


def _phases(rest: IntArray, away: FloatArray, codes: IntArray) -> IntArray:
    """Time within a step at which each series has its places, (S,).

    0 where half of its rows are near, else the most frequent, else the one in the middle.
    """
    rows = np.bincount(codes)
    near = np.bincount(codes, weights=away <= NEAR) >= 0.5 * rows
    order = np.lexsort((rest, codes))
    owner, rest = codes[order], rest[order]
    starts = np.flatnonzero((np.diff(owner, prepend=-1) != 0) | (np.diff(rest, prepend=-1) != 0))
    counts = np.diff(np.append(starts, len(order)))
    by_count = np.lexsort((-counts, owner[starts]))
    most = by_count[np.unique(owner[starts][by_count], return_index=True)[1]]  # (S,) run of each series
    middle = rest[np.cumsum(rows) - rows + rows // 2]
    return np.where(near, 0, np.where(counts[most] > 1, rest[starts[most]], middle))


def _nearest_date(clock: Clock, wall: Instants, phase: IntArray) -> tuple[Instants, FloatArray]:
    """(nearest moment `phase` ns after midnight of a date of the clock, how far it is as a share of a step)."""
    at = places_of(clock, wall - phase.astype("timedelta64[ns]"))[0]
    at = at - (at - clock.phase) % clock.cycle
    around = np.stack([at - clock.cycle, at, at + clock.cycle])  # (3, N); an end of month may lie behind
    moments = dates_of(clock, around).astype("datetime64[ns]") + phase.astype("timedelta64[ns]")
    distance = np.abs((moments - wall).astype("timedelta64[ns]").astype(np.int64))
    best = np.argmin(distance, axis=0)
    rows = np.arange(len(wall))
    length = (moments[2] - moments[1]).astype("timedelta64[ns]").astype(np.int64)
    return moments[best, rows], distance[best, rows] / np.maximum(length, DAY)


@dataclass(frozen=True, kw_only=True, slots=True)
class Localize(FrameStep):
    """Naive timestamps become those of a wall clock. Logged are rows at times that this clock never showed."""

    name: ClassVar[str] = "localize"
    tz: str  # IANA name
    ambiguous: str = "infer"  # an hour shown twice: "infer" = in the order of rows | all "first" | all "second"
    nonexistent: str = "shift"  # an hour never shown: "shift" = as if the clock had not been put forward | "drop"

    def __post_init__(self) -> None:
        if not isinstance(self.tz, str):
            raise OptionError(f"repair 'localize': tz must be a name such as 'Europe/Berlin', got {self.tz!r}", field="tz")
        try:
            zone_name(self.tz, "tz")
        except DataError as error:
            message = f"repair 'localize': tz must be an IANA name such as 'Europe/Berlin', got {self.tz!r}"
            raise OptionError(message, field="tz") from error
        check_choice(self, ("ambiguous", ("infer", "first", "second")), ("nonexistent", ("shift", "drop")))

    def apply(self, frame: pd.DataFrame, names: Names) -> tuple[pd.DataFrame, list[Changes]]:
        codes, ids = series_of_rows(frame, names.id_col)
        times = read_zoned_times(column_of(frame, names.time_col, "time_col"), codes, ids)
        if times.tz is not None or times.moments.dtype.kind != "M":
            have = f"have the zone {times.tz} already; leave 'localize' out" if times.tz else "are integer steps, on no clock"
            raise SchemaError(f"timestamps {names.time_col!r} {have}", field=names.time_col)
        wall = pd.DatetimeIndex(times.moments)
        marked = wall.tz_localize(self.tz, ambiguous="NaT", nonexistent="shift_backward")
        twice = np.asarray(marked.isna(), dtype=bool)
        summer = np.full(len(wall), self.ambiguous != "second")
        if self.ambiguous == "infer" and twice.any():
            summer[twice] = _told_by_order(wall, codes, twice, refusal(codes, ids, names.time_col))
        local = wall.tz_localize(self.tz, ambiguous=summer, nonexistent="shift_backward")
        never = np.asarray(local.tz_localize(None) != wall, dtype=bool)
        before = local.tz_localize(None) - local.tz_convert("UTC").tz_localize(None)  # offset from UTC until the change
        instants = np.where(never, wall - before, local.tz_convert("UTC").tz_localize(None)).astype("datetime64[ns]")
        drop = never & (self.nonexistent == "drop")
        rows, values = np.flatnonzero(never), _target(frame, names, np.flatnonzero(never))
        nothing = np.full(len(rows), np.nan)
        old, new = (values, nothing) if self.nonexistent == "drop" else (nothing, values)
        series = np.array(ids, dtype=object)[codes[rows]]
        log = Changes(step=self.name, series=series, times=instants[rows], aware=True, old=old, new=new)
        repaired = frame.assign(**{names.time_col: column_of_times(instants, self.tz)})
        return (repaired[~drop].reset_index(drop=True) if drop.any() else repaired), [log]


def _told_by_order(wall: "pd.DatetimeIndex", codes: IntArray, twice: BoolArray, refuse: Any) -> BoolArray:
    """Of the rows at times shown twice: the first of a series is in summer time, the second is not."""
    rows = np.flatnonzero(twice)
    groups = pd.Series(0, index=rows).groupby([codes[rows], wall[rows]])
    count, place = groups.transform("size").to_numpy(), groups.cumcount().to_numpy()
    odd = np.flatnonzero(count != 2)
    if len(odd):
        moment = show_times(wall[rows[odd]].to_numpy().astype("datetime64[ns]"), None)
        raise refuse(
            rows[odd],
            f"{moment}: the clock showed that twice and the rows are not two, so it cannot be told which it was; "
            "pass ambiguous='first' or 'second'",
        )
    first: BoolArray = place == 0
    return first


# The log


def _step(step: str, column: str, names: Names) -> str:
    """Name of the step in the log: with the column where it is not the target."""
    return step if column == names.target_col else f"{step}:{column}"


def _target(frame: pd.DataFrame, names: Names, rows: IntArray) -> FloatArray:
    """The target of some rows as far as it is numbers, (n,)."""
    return _as_floats(column_of(frame, names.target_col, "target_col").iloc[rows])


def _as_floats(column: pd.Series) -> FloatArray:
    """Numbers, NaN for everything else."""
    if column.dtype.kind in "iufb":
        return column.to_numpy(dtype=np.float64, na_value=np.nan)
    values = column.astype(object).map(lambda value: None if isinstance(value, complex) else value)
    return pd.to_numeric(values, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)


def _changes(step: str, frame: pd.DataFrame, names: Names, rows: IntArray, *, old: FloatArray, new: FloatArray) -> Changes:
    """Changes of rows (n,) of a frame whose keys may be wrong: an id may be None, a timestamp NaT."""
    series: TextArray = np.full(len(rows), LONE_SERIES, dtype=object)
    if names.id_col in frame.columns:
        ids = frame[names.id_col].iloc[rows]
        series = np.array(ids.astype(str), dtype=object)
        series[ids.isna().to_numpy(dtype=bool)] = None
    column = frame[names.time_col].iloc[rows]
    seen = column.notna().to_numpy(dtype=bool)
    times: TimeArray = np.full(len(rows), np.datetime64("NaT", "ns"))
    tz = None
    if seen.any():
        readable = column[seen].astype(np.int64) if column.dtype.kind == "f" else column[seen]
        codes, distinct = pd.factorize(series[seen].astype(str))
        try:
            read = read_zoned_times(readable, codes.astype(np.int64), tuple(map(str, distinct)))
        except DataError:  # it is refused, with its row, where the panel is made
            read = Times(moments=times[seen])
        if read.moments.dtype.kind != "M":
            times = np.full(len(rows), NO_STEP)
        times[seen] = read.moments
        tz = read.tz
    return Changes(step=step, series=series, times=times, aware=tz is not None, old=old, new=new)


def _changes_of(step: str, done: Repaired) -> Changes:
    """The log of `resample` or `drop_duplicates`."""
    log = done.log
    times, aware = log["ds"], False
    if times.dtype.kind == "O" and len(log):
        times = pd.to_datetime(times, utc=True)
    if isinstance(times.dtype, pd.DatetimeTZDtype):
        times, aware = times.dt.tz_convert("UTC").dt.tz_localize(None), True
    moments: Any = times.to_numpy(dtype=np.int64) if times.dtype.kind == "i" else times.to_numpy().astype("datetime64[ns]")
    numbers = [log[name].to_numpy(dtype=np.float64) for name in ("old", "new")]
    return Changes(
        step=step, series=log["unique_id"].to_numpy(object), times=moments, aware=aware, old=numbers[0], new=numbers[1]
    )
