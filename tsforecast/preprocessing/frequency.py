"""Timestamps of many series -> the frequency they share, told from all steps together so that holes do not hide it."""

import numpy as np

from tsforecast.panel import IntArray, TimeArray
from tsforecast.preprocessing.calendar import (
    DAY,
    MONTH_EDGES,
    MONTHS,
    TICKS,
    WEEKDAYS,
    BoolArray,
    Instants,
    Zone,
    clock_of,
    normalise_freq,
    places_of,
    wall_from_instants,
)

MOST = 0.9  # share of rows that has to agree; the others are named as strays later
RARE = 0.05  # share of steps below which a small step is taken for a mistake rather than for the frequency
DENSE = 20  # a common divisor of the steps is the frequency only where the mean step is at most this many of it


def infer_freq(timestamps: TimeArray, offsets: IntArray, tz: Zone = None) -> str | int | None:
    """The canonical frequency of the series together; None where no series has two rows.

    Rows that are missing or stand off the clock do not change the answer as long as most steps are right.

    Args:
        timestamps: (N,) instants in UTC or integer steps, ascending without repeats inside each series.
        offsets: (S + 1,), no series empty.
        tz: zone whose wall clock days and longer steps follow, or that of each row (N,).
    """
    inner = np.ones(len(timestamps), dtype=bool)  # rows with a row before them in their series
    inner[offsets[:-1]] = False
    steps = _steps(timestamps.astype(np.int64), inner)
    if not steps.size:
        return None
    if timestamps.dtype.kind != "M":
        return int(np.gcd.reduce(steps))
    common = _base(steps)
    if common < DAY - 4 * TICKS["h"]:  # a day of the wall clock has 23 hours and more
        return normalise_freq(f"{common}ns")
    wall = wall_from_instants(timestamps.astype("datetime64[ns]"), tz)
    wall_steps = np.maximum(_steps(wall.astype(np.int64), inner), 1)
    wall_step = _base(wall_steps)
    of_even_length = (steps % common == 0).all() and (wall_steps % DAY != 0).any()  # "every 24 h", whatever the wall says
    if wall_step % DAY or of_even_length:
        return normalise_freq(f"{common}ns")
    return normalise_freq(_freq_of_dates(wall.astype("datetime64[D]"), inner, offsets, wall_step // DAY))


def _steps(numbers: IntArray, inner: BoolArray) -> IntArray:
    """From each row's predecessor in its series to the row, (number of rows with one,)."""
    steps: IntArray = np.diff(numbers)[inner[1:]]
    return steps


def _base(steps: IntArray) -> int:
    """The step that all of `steps` are multiples of, or where strays spoil that, the most frequent one."""
    sizes, counts = np.unique(steps, return_counts=True)
    most_frequent = int(sizes[np.argmax(counts)])
    divisor = int(np.gcd.reduce(sizes))
    if divisor == sizes[0]:
        return divisor if counts[0] >= RARE * len(steps) else most_frequent
    dense = float(steps.mean(dtype=np.float64)) <= DENSE * divisor
    return divisor if dense and counts.max() < 0.6 * len(steps) else most_frequent


def _freq_of_dates(dates: Instants, inner: BoolArray, offsets: IntArray, days: int) -> str:
    """The frequency of rows on `dates` (N,), most of them `days` days after the one before."""
    if days >= 28:
        shares = {edge: _on_grid(edge, dates).mean() for edge in MONTH_EDGES}
        edge = max(shares, key=lambda name: float(shares[name]))  # the first of equals
        uneven = (_steps(dates.astype(np.int64), inner) % days != 0).any()  # as months are, of 28 to 31 days
        if shares[edge] == 1 or (uneven and shares[edge] > 0.5):
            return _freq_of_months(dates, inner, edge)
    elif len(dates) > 2:
        for edge in ("SMS", "SME"):
            if _on_grid(edge, dates[:3]).all() and _on_grid(edge, dates).all():
                return edge
    weekdays = (dates.astype(np.int64) + 3) % 7  # Monday = 0
    if days % 7 == 0:
        return _freq_of_weeks(weekdays, offsets, days)
    weekend = (weekdays >= 5).mean() < 0.01
    over_weekends = weekend and (_steps(dates.astype(np.int64), inner) == 3).any()
    return "B" if days == 1 and over_weekends else f"{days}D"


def _on_grid(freq: str, dates: Instants) -> BoolArray:
    return places_of(clock_of(freq), dates.astype("datetime64[ns]"))[2]


def _freq_of_weeks(weekdays: IntArray, offsets: IntArray, days: int) -> str:
    """Weeks are named after their weekday, unless each series has its own."""
    firsts = weekdays[offsets[:-1]]
    keep_their_own = (weekdays == np.repeat(firsts, np.diff(offsets))).mean() >= MOST
    if keep_their_own and len(np.unique(firsts)) > 1:
        return f"{days}D"
    return f"{days // 7}W-{WEEKDAYS[int(np.argmax(np.bincount(weekdays)))]}"


def _freq_of_months(dates: Instants, inner: BoolArray, edge: str) -> str:
    """Months, quarters or years, from rows of which most stand at that edge of their month."""
    at_edge = _on_grid(edge, dates)
    months = dates.astype("datetime64[M]").astype(np.int64)
    step = _base(np.maximum(_steps(months, inner), 1))
    for cycle, period in ((12, "Y"), (3, "Q")):
        shares = np.bincount(months[at_edge] % cycle, minlength=cycle) / at_edge.sum()
        if step % cycle == 0 and shares.max() >= MOST:
            return f"{step // cycle}{edge.replace('M', period)}-{MONTHS[int(np.argmax(shares))]}"
    return f"{step}{edge}"
