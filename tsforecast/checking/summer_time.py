"""Hours a naive clock skips in spring or shows twice in autumn -> the region whose summer time explains them."""

from dataclasses import dataclass

import numpy as np

from tsforecast.checking.rows import Table, grouped
from tsforecast.panel import IntArray, TimeArray
from tsforecast.preprocessing.calendar import TICKS, BoolArray, Clock, Instants

RULES = {  # region -> (month, which Sunday) of the hour that is skipped, and of the one that comes twice
    "Europe": ((3, -1), (10, -1)),
    "North America": ((3, 2), (11, 1)),
    "Australia": ((10, 1), (4, 1)),
    "New Zealand": ((9, -1), (4, 1)),
}
EARLY = 4  # o'clock; clocks are changed before
MOST = 0.75  # share of the changes of a rule that have to show


@dataclass(frozen=True, kw_only=True, slots=True)
class SummerTime:
    """What summer time explains in one series."""

    region: str
    skips: IntArray  # rows of the table before a skipped hour
    skipped: Instants  # their dates [D]
    twice: Instants  # dates [D] on which an hour comes twice


def summer_times(
    table: Table, clock: Clock, lacking: IntArray, repeated: TimeArray, repeated_codes: IntArray
) -> dict[int, SummerTime]:
    """Series -> its summer time, for those that follow one; the times are naive.

    Args:
        lacking: (N,) steps missing after each row of the table.
        repeated: wall clock of rows that are not in the table, as another has their timestamp.
        repeated_codes: their series.
    """
    if clock.unit != "tick" or TICKS["h"] % clock.step:
        return {}
    hour = TICKS["h"] // clock.step  # rows
    after = (table.wall.astype(np.int64) + clock.step).astype("datetime64[ns]")
    gaps = np.flatnonzero((lacking == hour) & _is_night_of_sunday(after))
    doubles = np.flatnonzero(_is_night_of_sunday(repeated.astype("datetime64[ns]")))
    skips = dict(grouped(gaps, table.codes))
    twice = dict(grouped(doubles, repeated_codes))
    found = {}
    nothing = np.zeros(0, dtype=np.int64)
    for series in sorted({*skips, *twice}):
        mine = skips.get(series, nothing)
        dates, counts = np.unique(repeated[twice.get(series, nothing)].astype("datetime64[D]"), return_counts=True)
        span = table.wall[table.offsets[series]], table.wall[table.offsets[series + 1] - 1]
        one = _best_rule(mine, after[mine].astype("datetime64[D]"), dates[counts == hour], *span)
        if one is not None:
            found[series] = one
    return found


def _is_night_of_sunday(moments: Instants) -> BoolArray:
    days = moments.astype("datetime64[D]")
    night: BoolArray = ((days.astype(np.int64) + 3) % 7 == 6) & (
        (moments - days).astype("timedelta64[h]").astype(np.int64) < EARLY
    )
    return night


def _best_rule(
    rows: IntArray, skipped: Instants, twice: Instants, first: np.datetime64, last: np.datetime64
) -> SummerTime | None:
    best, most = None, 0
    for region, (spring, autumn) in RULES.items():
        springs, autumns = _dates(spring, first, last), _dates(autumn, first, last)
        hits, doubles = np.isin(skipped, springs), twice[np.isin(twice, autumns)]
        seen = max(_share(int(hits.sum()), springs), _share(len(doubles), autumns))
        if seen >= MOST and hits.sum() + len(doubles) > most:
            most = int(hits.sum()) + len(doubles)
            best = SummerTime(region=region, skips=rows[hits], skipped=skipped[hits], twice=doubles)
    return best


def _share(seen: int, dates: Instants) -> float:
    return seen / len(dates) if len(dates) else 0.0


def _dates(rule: tuple[int, int], first: np.datetime64, last: np.datetime64) -> Instants:
    """The days of change between two moments."""
    month, which = rule
    years = np.arange(first.astype("datetime64[Y]"), last.astype("datetime64[Y]") + 1)
    months = years.astype("datetime64[M]") + (month - 1 if which > 0 else month)
    sundays = np.busday_offset(months.astype("datetime64[D]"), 0, roll="forward", weekmask="Sun") + 7 * (which - (which > 0))
    inside = (sundays > first.astype("datetime64[D]")) & (sundays < last.astype("datetime64[D]"))
    dates: Instants = sundays[inside]
    return dates
