"""A table -> its rows on one regular clock, and findings about repeated, missing and stray timestamps and about summer time."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tsforecast.checking.report import Finding
from tsforecast.checking.rows import SHOWN, Found, Table, counted, in_series, listed, marks_of, words
from tsforecast.checking.summer_time import SummerTime, summer_times
from tsforecast.errors import DataError
from tsforecast.panel import FloatArray, IntArray, TimeArray
from tsforecast.preprocessing.calendar import (
    BoolArray,
    Clock,
    advance,
    default_season,
    grid_positions,
    places_of,
    wall_from_instants,
)
from tsforecast.preprocessing.frequency import infer_freq
from tsforecast.preprocessing.regular import ENOUGH, Rows, clock_for

SPARSE = (20, 1000)  # a series that would fill less than 1 step in 20 (and lacks over 1000) is left as its rows are
OTHER_STEP = 1.8  # times longer or shorter than the panel's: a frequency of its own
OWN_STEP = 0.8  # share of a series' steps that have to agree on it
NEAR = 0.15  # relative; months are 28 to 31 days
NAMED = 20  # series whose own frequency is put into words


@dataclass(frozen=True, kw_only=True, slots=True)
class Grid:
    """The rows on their clock: missing steps are there with NaN, repeated and stray rows are not."""

    table: Table  # one row for each series and timestamp, (N,)
    clock: Clock | None  # None: it cannot be told, and rows stand as they are
    season: int  # steps; 1 = none
    step: int  # usual length of a step, in ns or in integer steps; 0 where there is none
    offsets: IntArray  # (S + 1,)
    place: IntArray  # (N,) where each row of the table stands, ascending
    target: FloatArray  # (M,)
    covariates: Mapping[str, FloatArray]  # column -> (M,)
    lacking: IntArray  # (N,) steps missing between each row and the next of its series
    agree: float | None  # share of steps that are one step of the clock; None where there are none

    def where(self, places: IntArray) -> tuple[str, ...]:
        """The first few places, all of them rows of the table, as text."""
        rows = np.searchsorted(self.place, places[:SHOWN])
        return words(self.table.wall[rows])

    def found(self, kind: str, series: int, places: IntArray, message: str, *, count: int | None = None) -> Found:
        """A finding about the target at places of one series that are rows of the table."""
        begin, end = int(self.offsets[series]), int(self.offsets[series + 1])
        finding = Finding(
            kind=kind,
            series_id=self.table.ids[series],
            field=self.table.columns.target_col,
            count=len(places) if count is None else count,
            where=self.where(places),
            message=f"series {self.table.ids[series]!r} {message}",
        )
        return Found(finding=finding, series=series, marks=marks_of(places, begin, end))


def read_clock(table: Table, *, freq: str | int | None, season: int | None) -> tuple[Grid, list[Found]]:
    """The table on its clock, and what is wrong with its timestamps. The table has a row at least."""
    repeated = _repeated(table)
    single = table.rows(~repeated)
    try:
        clock = _clock(single, freq)
    except DataError as error:
        grid = _as_rows(single, season)
        where = words(single.wall[:1])
        finding = Finding(
            kind="frequency_unknown", series_id=error.series_id, field=table.columns.time_col, count=len(table.order),
            where=where, message=str(error),
        )  # fmt: skip
        return grid, [*_of_repeated(table, repeated, grid, {}), Found(finding=finding)]
    others, found = _of_other_frequency(single, clock) if freq is None else (np.zeros(len(table.ids), dtype=bool), [])
    off = _strays(single, clock) & ~np.repeat(others, np.diff(single.offsets))
    grid = _on_grid(single, off, clock, season, others)
    found += _of_strays(single, off, clock)
    summer = (
        {} if table.tz is not None else summer_times(grid.table, clock, grid.lacking, table.wall[repeated], table.codes[repeated])
    )
    found += [_of_summer_time(grid, series, one) for series, one in summer.items()]
    found += _of_repeated(table, repeated, grid, summer)
    found += _of_gaps(grid, summer, clock)
    return grid, found


def _clock(table: Table, freq: str | int | None) -> Clock:
    rows = Rows(
        series_ids=table.ids,
        codes=table.codes,
        timestamps=table.times,
        target=table.target,
        tz=table.tz,
        time_field=table.columns.time_col,
    )
    return clock_for(rows, table.offsets, freq)


# Repeated timestamps


def _repeated(table: Table) -> BoolArray:
    """Rows with the timestamp of the next row of their series, (N,): the last of a group stays."""
    repeated = np.zeros(len(table.order), dtype=bool)
    repeated[:-1] = table.times[1:] == table.times[:-1]
    repeated[table.offsets[1:] - 1] = False
    return repeated


def _of_repeated(table: Table, repeated: BoolArray, grid: Grid, summer: Mapping[int, SummerTime]) -> list[Found]:
    rows = np.flatnonzero(repeated)
    group = np.cumsum(~np.concatenate([[False], repeated[:-1]]))  # rows of one timestamp share a number
    kept = np.searchsorted(group, group[rows], side="right") - 1
    before, after = table.target[rows], table.target[kept]
    same = (before == after) | (np.isnan(before) & np.isnan(after))
    explained = np.zeros(len(rows), dtype=bool)
    for series, one in summer.items():
        mine = (rows >= table.offsets[series]) & (rows < table.offsets[series + 1])
        explained[mine] = np.isin(table.wall[rows[mine]].astype("datetime64[D]"), one.twice)
    found = []
    for kind, chosen in (("conflicting_duplicates", ~same), ("duplicates", same)):
        for series, mine in in_series(rows[chosen & ~explained], table.offsets):
            where = words(np.unique(table.wall[mine]))
            first = mine[0]
            values = table.target[np.searchsorted(group, group[first]) : np.searchsorted(group, group[first], side="right")]
            told = ", ".join(f"{value:g}" for value in values[:3])
            rows_told = f"{counted(len(mine), 'row')} too many, with {'other values' if kind[0] == 'c' else 'the same value'}"
            finding = Finding(
                kind=kind, series_id=table.ids[series], field=table.columns.time_col, count=len(mine), where=where,
                message=f"series {table.ids[series]!r} has {rows_told}: {listed(where, len(mine))} (first: {told})",
            )  # fmt: skip
            found.append(Found(finding=finding, series=series, marks=_marks_of_times(grid, series, table.times[mine])))
    return found


def _marks_of_times(grid: Grid, series: int, times: TimeArray) -> tuple[float, ...]:
    begin, end = int(grid.table.offsets[series]), int(grid.table.offsets[series + 1])
    rows = begin + np.searchsorted(grid.table.times[begin:end], times)
    places = grid.place[np.minimum(rows, end - 1)]
    return marks_of(places, int(grid.offsets[series]), int(grid.offsets[series + 1]))


# Frequencies


def _steps(table: Table) -> tuple[IntArray, IntArray]:
    """(steps between the rows of each series, series of each), (N - S,)."""
    inner = np.ones(len(table.order), dtype=bool)
    inner[table.offsets[:-1]] = False
    numbers: IntArray = table.times.astype(np.int64)
    return np.diff(numbers, prepend=numbers[:1])[inner], table.codes[inner]


def _of_other_frequency(table: Table, clock: Clock) -> tuple[BoolArray, list[Found]]:
    """Series (S,) that step otherwise than the panel, by themselves steadily."""
    steps, codes = _steps(table)
    others = np.zeros(len(table.ids), dtype=bool)
    lengths = np.bincount(codes, minlength=len(table.ids))
    if not len(steps) or len(table.ids) == 1:
        return others, []
    starts = np.cumsum(lengths) - lengths
    ordered = steps[np.lexsort((steps, codes))]
    own = np.where(lengths > 0, ordered[np.minimum(starts + (lengths - 1) // 2, len(ordered) - 1)], 0)  # median, (S,)
    typical = float(clock.step) if clock.absolute else float(np.median(steps))
    agree = np.abs(steps - own[codes]) <= NEAR * own[codes]
    steady = np.bincount(codes, weights=agree, minlength=len(own)) >= OWN_STEP * lengths
    ratio = own / typical
    others = steady & (lengths >= ENOUGH - 1) & ((ratio >= OTHER_STEP) | ((ratio > 0) & (ratio <= 1 / OTHER_STEP)))
    found = []
    for number, i in enumerate(np.flatnonzero(others)):
        span = slice(int(table.offsets[i]), int(table.offsets[i + 1]))
        its: Any = "its own"
        if number < NAMED:
            its = infer_freq(table.times[span], np.array([0, span.stop - span.start]), table.tz)
        finding = Finding(
            kind="frequency_mixed", series_id=table.ids[i], field=table.columns.time_col, count=span.stop - span.start,
            where=words(table.wall[span][:2]),
            message=f"series {table.ids[i]!r} steps by {its!r}, most rows of the data by {clock.freq!r}",
        )  # fmt: skip
        found.append(Found(finding=finding, series=int(i)))
    return others, found


def _strays(table: Table, clock: Clock) -> BoolArray:
    """Rows off the clock that most rows of their series are on, (N,)."""
    _, on_grid = grid_positions(clock, table.times, table.offsets, table.tz)
    if on_grid.all():
        return ~on_grid
    if clock.absolute:
        phase: IntArray = table.times.astype(np.int64) % clock.step
        apart: BoolArray = phase != most_frequent(phase, table.offsets)
        return apart
    wall = wall_from_instants(table.times.astype("datetime64[ns]"), table.tz)
    ordinals, since, fits = places_of(clock, wall)
    off = ~fits
    since = np.where(fits, since, -1)
    usual = most_frequent(since, table.offsets, passing=-1)
    phase = np.where(fits, ordinals % clock.step, -1)
    off |= phase != most_frequent(phase, table.offsets, passing=-1)
    moved = (since != usual) & fits
    if table.tz is not None:  # a time that the change to summer time skips shows as the one after it
        moved &= np.abs(since - usual) > 2 * 3600 * 10**9
    strays: BoolArray = off | moved
    return strays


def most_frequent(values: IntArray, offsets: IntArray, *, passing: int | None = None) -> IntArray:
    """For each row the value that most rows of its series have, (N,); `passing` counts only where there is no other."""
    codes = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    order = np.lexsort((values, codes))
    ordered, mine = values[order], codes[order]
    starts = np.flatnonzero((np.diff(ordered, prepend=ordered[0] - 1) != 0) | (np.diff(mine, prepend=-1) != 0))
    counts = np.diff(np.append(starts, len(values)))
    if passing is not None:
        counts = np.where(ordered[starts] == passing, 0, counts)
    best = np.lexsort((counts, mine[starts]))
    last = np.flatnonzero(np.diff(mine[starts][best], append=-1))
    winners: IntArray = ordered[starts][best][last]
    return np.repeat(winners, np.diff(offsets))


def _of_strays(table: Table, off: BoolArray, clock: Clock) -> list[Found]:
    found = []
    for series, rows in in_series(np.flatnonzero(off), table.offsets):
        begin, end = int(table.offsets[series]), int(table.offsets[series + 1])
        where = words(table.wall[rows])
        finding = Finding(
            kind="off_clock", series_id=table.ids[series], field=table.columns.time_col, count=len(rows), where=where,
            message=f"series {table.ids[series]!r} has {counted(len(rows), 'row')} of {end - begin} off the clock of freq "
            f"{clock.freq!r}: {listed(where, len(rows))}",
        )  # fmt: skip
        found.append(Found(finding=finding, series=series, marks=marks_of(rows, begin, end)))
    return found


# The grid


def _as_rows(table: Table, season: int | None) -> Grid:
    steps, _ = _steps(table)
    return Grid(
        table=table, clock=None, season=season or 1, step=int(np.median(steps)) if len(steps) else 0, offsets=table.offsets,
        place=np.arange(len(table.order)), target=table.target, covariates=table.covariates,
        lacking=np.zeros(len(table.order), dtype=np.int64), agree=None,
    )  # fmt: skip


def _on_grid(table: Table, off: BoolArray, clock: Clock, season: int | None, others: BoolArray) -> Grid:
    """With the strays left out; a series of them only stays as it is, and so does one of another frequency."""
    keep = ~off
    alive = np.add.reduceat(keep, table.offsets[:-1], dtype=np.int64) > 0
    keep |= np.repeat(~alive, np.diff(table.offsets))
    steps, _ = _steps(table)
    kept = table.rows(keep)
    positions, on_grid = grid_positions(clock, kept.times, kept.offsets, kept.tz)
    lengths = np.diff(kept.offsets)
    span = positions[kept.offsets[1:] - 1] + 1
    growing = np.diff(positions, prepend=-1) > 0
    growing[kept.offsets[:-1]] = True
    regular = np.logical_and.reduceat(growing & on_grid, kept.offsets[:-1]) & ~others
    lacking = np.where(np.repeat(regular, lengths), np.append(np.diff(positions), 1) - 1, 0)
    lacking[kept.offsets[1:] - 1] = 0
    regular &= (span <= SPARSE[0] * lengths) | (span <= lengths + SPARSE[1])
    row = np.arange(len(positions)) - np.repeat(kept.offsets[:-1], lengths)
    positions = np.where(np.repeat(regular, lengths), positions, row)
    ends = np.where(regular, span, lengths)
    offsets = np.concatenate([[0], np.cumsum(ends)]).astype(np.int64)
    place = positions + np.repeat(offsets[:-1], lengths)

    def spread(values: FloatArray) -> FloatArray:
        if len(values) == offsets[-1]:
            return values
        wide = np.full(int(offsets[-1]), np.nan)
        wide[place] = values
        return wide

    jumps = np.diff(place)
    inner = np.diff(kept.codes) == 0
    whole = np.repeat(regular, lengths)[1:]
    return Grid(
        table=kept,
        clock=clock,
        season=default_season(clock.freq) if season is None else int(season),
        step=clock.step if clock.absolute else int(np.median(steps)) if len(steps) else 0,
        offsets=offsets,
        place=place,
        target=spread(kept.target),
        covariates={name: spread(values) for name, values in kept.covariates.items()},
        lacking=lacking,
        agree=float(((jumps == 1) & inner & whole).sum() / len(steps)) if len(steps) else None,
    )


def _of_gaps(grid: Grid, summer: Mapping[int, SummerTime], clock: Clock) -> list[Found]:
    table = grid.table
    lacking = grid.lacking.copy()
    for one in summer.values():
        lacking[one.skips] = 0
    rows = np.flatnonzero(lacking)
    if not len(rows):
        return []
    shown = np.minimum(lacking[rows], SHOWN)
    after = np.arange(shown.sum()) - np.repeat(np.cumsum(shown) - shown, shown) + 1  # 1, 2 … behind each gap's row
    behind = np.repeat(rows, shown)
    of_series = table.codes[behind]
    rank = np.arange(len(behind)) - np.searchsorted(of_series, of_series)
    first = rank < SHOWN
    moments = advance(clock, table.times[behind[first]], after[first], table.tz)
    if moments.dtype.kind == "M":
        moments = wall_from_instants(moments.astype("datetime64[ns]"), table.tz)
    series_of_moment = of_series[first]
    found = []
    for series, mine in in_series(rows, table.offsets):
        missing = int(lacking[mine].sum())
        steps = missing + int(table.offsets[series + 1] - table.offsets[series])
        low, high = np.searchsorted(series_of_moment, [series, series + 1])
        where = words(moments[low:high])
        longest = int(lacking[mine].max())
        finding = Finding(
            kind="gaps", series_id=table.ids[series], field=table.columns.time_col, count=missing, where=where,
            message=f"series {table.ids[series]!r} lacks {counted(missing, 'step')} of {steps} in {counted(len(mine), 'gap')}, "
            f"the longest of {longest}: {listed(where, missing)}",
        )  # fmt: skip
        marks = marks_of(
            np.minimum(grid.place[mine] + 1, grid.offsets[series + 1] - 1),
            int(grid.offsets[series]),
            int(grid.offsets[series + 1]),
        )
        found.append(Found(finding=finding, series=series, marks=marks))
    return found


def _of_summer_time(grid: Grid, series: int, one: SummerTime) -> Found:
    table = grid.table
    parts = []
    if len(one.skips):
        parts.append(f"skips an hour on {listed(words(np.unique(one.skipped)), len(one.skipped))}")
    if len(one.twice):
        parts.append(f"shows one twice on {listed(words(one.twice), len(one.twice))}")
    where = words(np.sort(np.concatenate([one.skipped, one.twice])))
    finding = Finding(
        kind="daylight_saving", series_id=table.ids[series], field=table.columns.time_col,
        count=len(one.skipped) + len(one.twice), where=where,
        message=f"series {table.ids[series]!r} {' and '.join(parts)}: local time with daylight saving, as in {one.region}; "
        "localize it",
    )  # fmt: skip
    marks = marks_of(grid.place[one.skips] + 1, int(grid.offsets[series]), int(grid.offsets[series + 1]))
    return Found(finding=finding, series=series, marks=marks)
