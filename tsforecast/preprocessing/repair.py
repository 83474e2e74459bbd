"""Raw frame -> raw frame on a regular clock, or with one row per timestamp, and a log of every row that changed."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from tsforecast.errors import FrequencyError, GapError, OptionError, SchemaError
from tsforecast.panel import FloatArray, IntArray, TimeArray
from tsforecast.preprocessing.calendar import (
    DAY,
    MONTH_EDGES,
    BoolArray,
    Clock,
    Instants,
    Zone,
    Zones,
    advance,
    clock_of,
    dates_of,
    instants_from_wall,
    places_of,
    wall_from_instants,
    zones_at,
)
from tsforecast.preprocessing.columns import column_of, read_ids, read_numbers, read_zoned_times
from tsforecast.preprocessing.frequency import infer_freq

if TYPE_CHECKING:
    import pandas as pd

How = Literal["sum", "mean", "median", "min", "max", "first", "last"]
Partial = Literal["keep", "drop"]
Keep = Literal["last", "first", "mean", "sum", "max"]
LONE_SERIES = "series"  # the id of a series that comes without one
MOST_EMPTY = (100_000, 100)  # at most so many empty buckets, or so many for each row there is


@dataclass(frozen=True, kw_only=True, slots=True)
class Repaired:
    """A repaired frame and what was done to it."""

    frame: "pd.DataFrame"
    log: "pd.DataFrame"  # unique_id, ds, old, new (units of the target, NaN = none), step; a row for each change


@dataclass(frozen=True, kw_only=True, slots=True)
class _Table:
    """Checked columns, sorted by series and time; rows of one timestamp in the order of the frame."""

    ids: tuple[str, ...]  # (S,)
    codes: IntArray  # (N,)
    times: TimeArray  # (N,) instants in UTC | int64 steps
    tz: str | None
    zones: tuple[str, ...]  # (S,) where each series has a wall clock of its own
    target: FloatArray  # (N,)
    order: IntArray  # (N,) row of the frame

    @property
    def starts(self) -> IntArray:
        """First row of each series, (S,)."""
        return np.flatnonzero(np.diff(self.codes, prepend=-1))

    def clocks(self, codes: IntArray) -> Zone:
        """Zone of the wall clock of rows of these series."""
        return zones_at(self.tz, self.zones, codes)


def resample(
    frame: "pd.DataFrame",
    freq: str | int,
    how: How = "mean",
    *,
    partial: Partial = "keep",
    id_col: str = "unique_id",
    time_col: str = "ds",
    target_col: str = "y",
) -> Repaired:
    """The target on a regular clock: each row falls into the step of `freq` that contains it.

    Steps named after their start (h, D, MS, QS, YS …) are closed on the left and start on whole steps after midnight of the
    first day of a series, on its wall clock. Those named after their end (W-*, ME, QE, YE, SME) hold all of the days up to
    it. A weekend belongs to Friday's step of "B", a whole month to its step of BMS and BME. Integer steps start at multiples.

    Args:
        frame: long, rows in any order; other columns than the three are left out, without `id_col` it is one series.
        freq: pandas alias, or steps of an integer clock.
        how: what a step makes of its observations; one without any is NaN.
        partial: "drop" leaves out the first and the last step of a series where the rows, by their own finer step, begin
            after its beginning or end before its end, such as a week of which three days are there.
        id_col: column of ids.
        time_col: column of timestamps.
        target_col: column of numbers.

    Returns:
        Rows by series and time, none missing between the first and the last of a series; its log has a row for each
        step that was not there with that value ("resample"), that had no row at all ("insert"), or was left out ("partial").

    Raises:
        OptionError: unknown `how` or `partial`.   SchemaError: a column is missing or a value impossible, or all is left out.
        FrequencyError: unknown `freq`, of another kind than the timestamps, or no finer step to tell what is partial.
        GapError: far more empty steps than rows.
    """
    _check_choice("how", how, get_args(How))
    _check_choice("partial", partial, get_args(Partial))
    clock = clock_of(freq)
    table = _read(frame, id_col, time_col, target_col)
    if (table.times.dtype.kind == "M") == (clock.unit == "integer"):
        kind = "timestamps, pass an alias such as 'h'" if clock.unit == "integer" else "integer steps, pass an int"
        raise FrequencyError(f"freq {clock.freq!r} does not fit: {time_col!r} holds {kind}", field="freq")
    labels, numbers = _buckets(clock, table, table.times, table.codes)
    again = np.lexsort((numbers, table.codes))  # a clock set back over midnight shows yesterday once more
    labels, numbers = labels[again], numbers[again]
    first = _first_of_each(table.codes, numbers)
    starts = np.flatnonzero(first)
    values = _combined(table.target[again], np.cumsum(first) - 1, how)
    codes, times, values, there = _with_empty(clock, table, table.codes[starts], labels[starts], numbers[starts], values)
    gone = _partial_ends(clock, table, codes) if partial == "drop" else np.zeros(len(codes), dtype=bool)
    if gone.all():
        message = f"resample to {clock.freq!r} with partial='drop' leaves nothing: no series holds a whole step; pass 'keep'"
        raise SchemaError(message, field="partial")
    stays = ~gone
    repaired = _frame(codes[stays], times[stays], values[stays], table, (id_col, time_col, target_col))
    return Repaired(frame=repaired, log=_log_of_resample(table, codes, times, values, there, gone))


def drop_duplicates(
    frame: "pd.DataFrame",
    keep: Keep = "last",
    *,
    id_col: str = "unique_id",
    time_col: str = "ds",
    target_col: str = "y",
) -> Repaired:
    """The frame with one row for each series and timestamp, in its own order and with all of its columns.

    Args:
        frame: long; without `id_col` it is one series.
        keep: "last" or "first" row of the frame, or "mean", "sum", "max": the first, with that of the observed targets.
        id_col: column of ids.
        time_col: column of timestamps.
        target_col: column of numbers.

    Returns:
        Its log has a row for each one that went, with its target and the one that stands now.

    Raises:
        OptionError: unknown `keep`.   SchemaError: a column is missing or a value impossible.
    """
    _check_choice("keep", keep, get_args(Keep))
    table = _read(frame, id_col, time_col, target_col)
    first = _first_of_each(table.codes, table.times.astype(np.int64))
    group = np.cumsum(first) - 1
    last = np.append(first[1:], True)
    kept = last if keep == "last" else first
    merges = keep not in ("last", "first")
    values = _combined(table.target, group, keep) if merges else table.target[kept]
    rows = np.sort(table.order[kept])
    repaired = frame.iloc[rows]
    if merges:
        several = np.bincount(group)[group[kept]] > 1  # the others keep their value, and their type where none is merged
        if several.any():
            by_row = np.full(len(frame), np.nan)
            by_row[table.order[kept]] = values
            repaired = repaired.assign(**{target_col: by_row[rows]})
    gone = ~kept
    log = _log(table, table.codes[gone], table.times[gone], table.target[gone], values[group[gone]], "drop_duplicates")
    return Repaired(frame=repaired.reset_index(drop=True), log=log)


def _check_choice(option: str, value: object, known: tuple[str, ...]) -> None:
    if value not in known:
        raise OptionError(f"{option} must be one of {', '.join(known)}, got {value!r}", field=option)


def _read(frame: "pd.DataFrame", id_col: str, time_col: str, target_col: str) -> _Table:
    import pandas as pd

    if not isinstance(frame, pd.DataFrame):
        raise SchemaError(f"expected a pandas DataFrame, got {type(frame).__name__}", field="frame")
    times_column, target_column = column_of(frame, time_col, "time_col"), column_of(frame, target_col, "target_col")
    if not len(frame):
        raise SchemaError("the frame has no rows; check where it comes from", field=target_col)
    codes, ids = series_of_rows(frame, id_col)
    times = read_zoned_times(times_column, codes, ids)
    target = read_numbers(target_column, codes, ids)
    order = np.lexsort((times.moments, codes))  # stable: rows of one timestamp keep the order of the frame
    return _Table(
        ids=ids,
        codes=codes[order],
        times=times.moments[order],
        tz=times.tz,
        zones=times.zones,
        target=target[order],
        order=order,
    )


def series_of_rows(frame: "pd.DataFrame", id_col: str) -> tuple[IntArray, tuple[str, ...]]:
    """Number of each row's series (N,) and the ids (S,); one series where there is no column `unique_id`."""
    if id_col in frame.columns or id_col != "unique_id":
        return read_ids(column_of(frame, id_col, "id_col"))
    return np.zeros(len(frame), dtype=np.int64), (LONE_SERIES,)


def _first_of_each(codes: IntArray, numbers: IntArray) -> BoolArray:
    """True in the first row of each (series, number), (N,)."""
    first = np.ones(len(codes), dtype=bool)
    first[1:] = (np.diff(codes) != 0) | (np.diff(numbers) != 0)
    return first


def _combined(target: FloatArray, group: IntArray, how: str) -> FloatArray:
    """One number for each group of rows, (G,); NaN are passed over, and are all there is for a group without others."""
    import pandas as pd

    groups = pd.Series(target).groupby(group)
    combined = groups.sum(min_count=1) if how == "sum" else getattr(groups, how)()
    return np.asarray(combined, dtype=np.float64)


# Buckets


def _buckets(clock: Clock, table: _Table, times: TimeArray, codes: IntArray) -> tuple[TimeArray, IntArray]:
    """(timestamp of the step that contains each of `times` (R,), its number from the first of its series), (R,) each."""
    if clock.unit == "integer":
        places = times.astype(np.int64) // clock.step
        return places * clock.step, places - (table.times[table.starts].astype(np.int64) // clock.step)[codes]
    instants, firsts = times.astype("datetime64[ns]"), table.times[table.starts].astype("datetime64[ns]")  # (R,), (S,)
    zones, own = table.clocks(np.arange(len(firsts))), table.clocks(codes)  # of series, of rows
    wall = wall_from_instants(firsts, zones)
    if clock.unit == "tick":
        midnights = instants_from_wall(wall.astype("datetime64[D]").astype("datetime64[ns]"), zones)
        places = (instants - midnights[codes]).astype("timedelta64[ns]").astype(np.int64) // clock.step
        before = (firsts - midnights).astype("timedelta64[ns]").astype(np.int64) // clock.step
        labels = midnights[codes] + (places * clock.step).astype("timedelta64[ns]")
        return labels, places - before[codes]
    first = _ordinals_of(clock, wall)[codes]
    away = _ordinals_of(clock, wall_from_instants(instants, own)) - first
    steps = -(-away // clock.step) if _ends(clock) else away // clock.step
    return instants_from_wall(dates_of(clock, first + steps * clock.step).astype("datetime64[ns]"), own), steps


def _partial_ends(clock: Clock, table: _Table, codes: IntArray) -> BoolArray:
    """True for the first and last step of each series that its rows do not fill; `codes` (M,) are the series of the steps.

    A step is whole where the row that would come before its first, or after its last, lies in another step.
    """
    once = _first_of_each(table.codes, table.times.astype(np.int64))
    offsets = np.append(np.flatnonzero(np.diff(table.codes[once], prepend=-1)), np.count_nonzero(once))
    fine = infer_freq(table.times[once], offsets, table.clocks(table.codes[once]))
    if fine is None:
        message = "no series has two rows, so it cannot be told which steps are partial; pass partial='keep'"
        raise FrequencyError(message, field="partial")
    series = np.arange(len(offsets) - 1)
    partial = np.zeros(len(codes), dtype=bool)
    starts = np.flatnonzero(np.diff(codes, prepend=-1))
    ends = np.append(starts[1:], len(codes)) - 1
    for rows, edge, step in ((offsets[:-1], starts, -1), (offsets[1:] - 1, ends, 1)):
        own = table.times[once][rows]
        beyond = advance(clock_of(fine), own, np.array(step), table.clocks(series))
        partial[edge] |= _buckets(clock, table, beyond, series)[1] == _buckets(clock, table, own, series)[1]
    return partial


def _ends(clock: Clock) -> bool:
    """True where a step is named after its end."""
    return clock.unit in ("W", "ME", "BME", "SME")


def _ordinals_of(clock: Clock, wall: Instants) -> IntArray:
    """Place on the grid, in units of the calendar, of the step that contains each moment, (N,)."""
    if clock.unit == "W":  # the week up to and with its last day: one after the last week that ended before
        return places_of(clock, wall - np.timedelta64(DAY, "ns"))[0] + 1
    places = places_of(clock, wall)[0]
    if clock.unit not in MONTH_EDGES:
        return places
    away = places - clock.phase
    periods: IntArray = -(-away // clock.cycle) if _ends(clock) else away // clock.cycle
    return periods * clock.cycle + clock.phase


def _with_empty(
    clock: Clock, table: _Table, codes: IntArray, labels: TimeArray, numbers: IntArray, values: FloatArray
) -> tuple[IntArray, TimeArray, FloatArray, BoolArray]:
    """(series, timestamp, value, was there) of every step, with those between two buckets that had no row."""
    offsets = np.concatenate([np.flatnonzero(np.diff(codes, prepend=-1)), [len(codes)]])
    lengths = numbers[offsets[1:] - 1] + 1
    if float(lengths.astype(np.float64).sum()) > len(codes) + max(MOST_EMPTY[0], MOST_EMPTY[1] * len(table.times)):
        i = int(np.argmax(lengths))
        raise GapError(
            f"series {table.ids[i]!r} would have {lengths[i]} steps of freq {clock.freq!r}, most of them empty; "
            "pass a coarser freq, or look for a wrong timestamp",
            series_id=table.ids[i],
            field="freq",
        )
    new_offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    place = numbers + new_offsets[codes]
    all_codes = np.repeat(np.arange(len(lengths)), lengths)
    there = np.zeros(len(all_codes), dtype=bool)
    there[place] = True
    all_values = np.full(len(all_codes), np.nan)
    all_values[place] = values
    step = np.arange(len(all_codes)) - new_offsets[all_codes]
    times = np.repeat(labels[offsets[:-1]], lengths)
    times[place] = labels
    times[~there] = advance(clock, labels[offsets[:-1]][all_codes[~there]], step[~there], table.clocks(all_codes[~there]))
    return all_codes, times, all_values, there


# Frames


def column_of_times(times: TimeArray, zone: Zone) -> Any:
    """The column of a frame that says these instants (naive moments, integer steps) on their wall clocks."""
    import pandas as pd

    if times.dtype.kind != "M":
        return times
    index = pd.DatetimeIndex(times)
    if zone is None:
        return index
    if not isinstance(zone, Zones):
        return index.tz_localize("UTC").tz_convert(zone)
    labels = np.empty(len(index), dtype=object)
    for number in np.unique(zone.which):
        mine = zone.which == number
        labels[mine] = index[mine].tz_localize("UTC").tz_convert(zone.names[number]).astype(object)
    return labels


def _frame(codes: IntArray, times: TimeArray, values: FloatArray, table: _Table, names: tuple[str, str, str]) -> "pd.DataFrame":
    import pandas as pd

    ids = np.array(table.ids, dtype=object)[codes]
    columns = (ids, column_of_times(times, table.clocks(codes)), values)
    return pd.DataFrame(dict(zip(names, columns, strict=True)))


def _log(table: _Table, codes: IntArray, times: TimeArray, old: FloatArray, new: FloatArray, step: Any) -> "pd.DataFrame":
    log = _frame(codes, times, old, table, ("unique_id", "ds", "old"))
    return log.assign(new=new, step=step)


def _log_of_resample(
    table: _Table, codes: IntArray, times: TimeArray, values: FloatArray, there: BoolArray, gone: BoolArray
) -> "pd.DataFrame":
    """A row for each step that no row of the table had just so, or that is gone."""
    kind = [("series", np.int64), ("time", np.int64)]
    had, has = np.zeros(len(table.codes), dtype=kind), np.zeros(len(codes), dtype=kind)
    had["series"], had["time"] = table.codes, table.times.astype(np.int64)
    has["series"], has["time"] = codes, times.astype(np.int64)
    place, after = np.searchsorted(had, has, side="left"), np.searchsorted(had, has, side="right")
    old = np.where(after > place, np.append(table.target, np.nan)[place], np.nan)
    same = (after == place + 1) & ((old == values) | (np.isnan(old) & np.isnan(values)))
    changed = ~same | gone
    old, new = np.where(gone, values, old), np.where(gone, np.nan, values)
    steps = np.where(gone, "partial", np.where(there, "resample", "insert"))[changed]
    return _log(table, codes[changed], times[changed], old[changed], new[changed], steps)
