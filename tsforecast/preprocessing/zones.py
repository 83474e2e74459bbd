"""Times of a wall clock and the zone of each series -> instants; hours that a clock shows twice are told by the order of rows."""

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from tsforecast.errors import OptionError
from tsforecast.panel import IntArray, zone_fields
from tsforecast.preprocessing.calendar import DAY, BoolArray, Instants, clock_of, instants_from_wall, zones_at
from tsforecast.preprocessing.columns import Refuse, Times, column_of, distinct, refusal, zone_name

OFFSETS_HELP = "write timestamps with their UTC offset"


def zones_given(
    frame: pd.DataFrame, codes: IntArray, ids: tuple[str, ...], *, tz: str | None, tz_col: str | None
) -> tuple[str, ...]:
    """The zone of each series (S,), as asked for by name or by column; () = not asked for.

    Raises:
        OptionError: both are given.
        SchemaError: no such column, or what it holds is missing, no zone, or not the same in all rows of a series.
    """
    if tz is not None and tz_col is not None:
        raise OptionError(f"tz {tz!r} and tz_col {tz_col!r} are both given; pass one of them", field="tz")
    if tz is not None:
        return (zone_name(tz, "tz"),) * len(ids)
    return () if tz_col is None else _zones_of_column(column_of(frame, tz_col, "tz_col"), codes, ids)


def _zones_of_column(column: pd.Series, codes: IntArray, ids: tuple[str, ...]) -> tuple[str, ...]:
    name = str(column.name)
    refuse = refusal(codes, ids, name)
    which, uniques = distinct(column.astype(object), "objects that are no zones", "use IANA names")
    missing = np.flatnonzero(which < 0)
    if len(missing):
        raise refuse(missing, f"zone {name!r} is missing; give every row one, such as 'UTC'")
    for number, zone in enumerate(uniques):
        if not isinstance(zone, str):
            shown = f"{str(zone)[:40]!r} ({type(zone).__name__})"
            raise refuse(np.flatnonzero(which == number), f"{shown} in {name!r} is no name of a zone; use 'Europe/Berlin'")
        zone_name(zone, name)
    mine = which[np.unique(codes, return_index=True)[1]]  # (S,)
    other = np.flatnonzero(which != mine[codes])
    if len(other):
        its, beside = uniques[mine[codes[other[0]]]], uniques[which[other[0]]]
        other = other[codes[other] == codes[other[0]]]
        raise refuse(other, f"zone {beside} stands beside {its} in one series; a series has one wall clock")
    return tuple(str(uniques[number]) for number in mine)


def on_wall_clocks(times: Times, zones: tuple[str, ...], codes: IntArray, *, freq: str | int | None, refuse: Refuse) -> Times:
    """The times on the wall clocks `zones` (S,): naive ones are read there, instants are moved there; () leaves them alone.

    A series of days or longer steps goes by the rule of such clocks: a time that is skipped gives the first instant after
    it, one that comes twice the first. In a finer one an hour that comes twice is told by the rows around it, where those
    of the series ascend: up to the row where the clock goes back it is the first, from there on the second. Where it does
    not go back, as at the end of a series, the hour is told if it goes on with the step of the rows beside it.

    Args:
        times: as read.
        zones: (S,) or ().
        codes: (N,) number of each row's series; the order of its rows counts.
        freq: as asked for; None = a series whose rows all show the same time of day is one of days.
        refuse: makes the error about rows.

    Raises:
        SchemaError: integer steps; in a series finer than days a time that is skipped, or one that comes twice and
            cannot be told.
    """
    if not zones:
        return times
    if times.moments.dtype.kind != "M":
        raise refuse(np.arange(len(codes)), "integer steps are on no wall clock; leave the zone out, or send timestamps")
    fields: dict[str, Any] = zone_fields(zones)
    if times.tz is not None:
        return replace(times, **fields)
    wall = times.moments.astype("datetime64[ns]")
    first, second, skipped = _readings(wall, zones, codes)
    twice = first != second
    if not (skipped | twice).any():
        return Times(moments=first, **fields)
    of_days = _of_days(wall, codes, len(zones), freq)[codes]
    if of_days.any():
        by_rule = instants_from_wall(wall, zones_at(fields["tz"], fields["zones"], codes))
        first, second = np.where(of_days, by_rule, first), np.where(of_days, by_rule, second)
    strays = np.flatnonzero(skipped & ~of_days)
    if len(strays):
        strays = strays[codes[strays] == codes[strays[0]]]
        moment, zone = wall[strays[0]].astype("datetime64[s]"), zones[codes[strays[0]]]
        raise refuse(strays, f"clocks in {zone} skip {moment} (summer time begins); correct it, drop the row, or {OFFSETS_HELP}")
    return Times(moments=_told(wall, first, second, zones, codes, refuse), **fields)


def _readings(wall: Instants, zones: tuple[str, ...], codes: IntArray) -> tuple[Instants, Instants, BoolArray]:
    """(the first and the last instant at which the clock of its series shows each time, shows it never), (N,) each."""
    owner = np.asarray(zones, dtype=object)[codes]
    first, second = wall.copy(), wall.copy()
    for zone in dict.fromkeys(zones):
        mine = np.flatnonzero(owner == zone)
        index = pd.DatetimeIndex(wall[mine])
        both = []
        for summer in (True, False):
            marks = np.full(len(mine), summer)
            read = index.tz_localize(zone, ambiguous=marks, nonexistent="NaT").tz_convert("UTC").tz_localize(None)
            both.append(read.to_numpy().astype("datetime64[ns]"))
        first[mine], second[mine] = np.minimum(*both), np.maximum(*both)
    skipped = np.isnat(first)
    first[skipped] = second[skipped] = wall[skipped]
    return first, second, skipped


def _of_days(wall: Instants, codes: IntArray, series: int, freq: str | int | None) -> BoolArray:
    """Which series step by days or longer, (S,)."""
    if freq is not None:
        return np.full(series, not clock_of(freq).absolute)
    days, since = np.divmod(wall.astype(np.int64), DAY)
    firsts = np.unique(codes, return_index=True)[1]
    times = np.bincount(codes[since != since[firsts][codes]], minlength=series)  # rows at another time than the first
    dates = np.bincount(codes[days != days[firsts][codes]], minlength=series)
    found: BoolArray = (times == 0) & (dates > 0)
    return found


def _told(wall: Instants, first: Instants, second: Instants, zones: tuple[str, ...], codes: IntArray, refuse: Refuse) -> Instants:
    """Each time as the instant that the order of the rows says, (N,)."""
    twice = first != second
    concerned = np.zeros(len(zones), dtype=bool)
    concerned[codes[twice]] = True
    rows = np.flatnonzero(concerned[codes])
    rows = rows[np.argsort(codes[rows], kind="stable")]  # series by series, each in the order of the frame
    told = first.copy()
    told[rows], doubtful = _read_in_order(wall[rows], first[rows], second[rows], codes[rows])
    if doubtful.any():
        own = rows[doubtful]
        own = np.sort(own[codes[own] == codes[own[0]]])
        moment, zone = wall[own[0]].astype("datetime64[s]"), zones[codes[own[0]]]
        raise refuse(
            own,
            f"clocks in {zone} show {moment} twice (summer time ends), and the order of the rows does not tell which is meant; "
            f"send both, rows in ascending order, or {OFFSETS_HELP}",
        )
    return told


def _read_in_order(wall: Instants, first: Instants, second: Instants, codes: IntArray) -> tuple[Instants, BoolArray]:
    """(instant of each row, is in doubt) of rows sorted by series, (M,) each."""
    twice, inside = first != second, np.diff(codes, prepend=-1) == 0  # inside: has a row of its series before it
    ahead = np.diff(wall.astype(np.int64), prepend=0)
    begins = twice & ~(inside & np.append(False, twice[:-1]) & (np.abs(ahead) < DAY))  # a run of such rows, of one night
    goes_back = twice & ~begins & (ahead <= 0)
    run = np.maximum(np.cumsum(begins) - 1, 0)  # of each row; means something where `twice`
    starts, lengths = np.flatnonzero(begins), np.bincount(run[twice])
    times_back = np.cumsum(goes_back)
    told = np.where(twice & (times_back > times_back[starts][run]), second, first)
    sure = np.bincount(run[goes_back], minlength=len(starts)) == 1
    for number in np.flatnonzero(np.bincount(run[goes_back], minlength=len(starts)) == 0):
        span = slice(int(starts[number]), int(starts[number] + lengths[number]))
        by_step = _by_step(first, second, codes, span)
        if by_step is not None:
            sure[number], told[span] = True, by_step
    descends = inside & (np.diff(told.astype(np.int64), prepend=0) < 0)
    unsorted = np.isin(codes, codes[descends])  # then the order says nothing
    return told, twice & (unsorted | ~sure[run])


def _by_step(first: Instants, second: Instants, codes: IntArray, span: slice) -> Instants | None:
    """The instants of a run of rows in which the clock does not go back, by the step of the rows beside it; None = unknown."""
    begin, end = np.searchsorted(codes, codes[span.start]), np.searchsorted(codes, codes[span.start], side="right")
    places = np.arange(span.start, span.stop)
    if span.start - begin >= 2:
        step = first[span.start - 1] - first[span.start - 2]
        expected = first[span.start - 1] + step * (places - span.start + 1)
    elif end - span.stop >= 2:
        step = first[span.stop + 1] - first[span.stop]
        expected = first[span.stop] - step * (span.stop - places)
    else:
        return None
    joins = span.stop == end or first[span.stop] - expected[-1] == step
    joins &= span.start == begin or expected[0] - first[span.start - 1] == step
    return expected if joins and ((expected == first[span]) | (expected == second[span])).all() else None
