"""A grid -> findings about values that are missing, never change, or repeat for longer than is usual in their series."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tsforecast.checking.clock import Grid
from tsforecast.checking.rows import Found, counted, in_series
from tsforecast.panel import FloatArray, IntArray
from tsforecast.preprocessing.calendar import BoolArray

FEW = 4  # observed values below which nothing is called constant
STUCK, ZEROS = 6, 5  # rows of a run that may be called unusual
LONGER = 3  # times as long as the next run of its kind
RARE = 1e-9  # chance of such a run, were each row drawn by itself
MUCH_LONGER, OF_MANY = 5, 30  # or so many times as long as the next of so many runs, where values come in steps
TOGETHER = 3  # runs of one series that may be unusual at once
LONG_MISSING = (8, 24)  # rows not observed: at least, and at most, to be called a long stretch; a season between them
MUCH_MISSING = 0.3  # share of a series


@dataclass(frozen=True, kw_only=True, slots=True)
class _Runs:
    """Neighbouring observed rows of equal value."""

    places: IntArray  # (O,) observed places of the grid
    starts: IntArray  # (R,) index in `places`
    lengths: IntArray  # (R,) observed rows
    values: FloatArray  # (R,)
    series: IntArray  # (R,)

    def rows(self, run: int | np.int64) -> IntArray:
        return self.places[self.starts[run] : self.starts[run] + self.lengths[run]]


def find_runs(grid: Grid, observed: IntArray) -> tuple[list[Found], BoolArray]:
    """Findings, and the places (M,) that are part of an unusual run; `observed` (S,) counts values."""
    runs = _runs_of(grid)
    found: list[Found] = []
    odd = np.zeros(len(grid.target), dtype=bool)
    first = np.diff(runs.series, prepend=-1) != 0
    last = np.diff(runs.series, append=-1) != 0
    whole = first & last & (observed[runs.series] >= FEW)
    for run in np.flatnonzero(whole):
        value, places = runs.values[run], runs.rows(run)
        kind, told = ("all_zero", "is 0") if value == 0 else ("constant", f"is {value:.10g}")
        told = f"{told} in all of its {len(places)} observed rows"
        found.append(grid.found(kind, int(runs.series[run]), places, told))
        odd[places] = True
    nonzero = np.flatnonzero((runs.values != 0) & ~(first & last))
    zero = np.flatnonzero((runs.values == 0) & ~(first & last))
    same = np.bincount(runs.series, weights=runs.lengths - 1.0, minlength=len(observed))  # steps without a change
    zeros = np.bincount(runs.series[zero], weights=runs.lengths[zero], minlength=len(observed))
    for longest, usual in _unusual(runs, nonzero, same, observed - 1, least=STUCK):
        places = runs.rows(longest)
        told = f"repeats {runs.values[longest]:.10g} for {len(places)} rows, otherwise for {usual} at most"
        found.append(grid.found("stuck", int(runs.series[longest]), places, told))
        odd[places] = True
    for longest, usual in _unusual(runs, zero, zeros, observed, least=ZEROS):
        places = runs.rows(longest)
        otherwise = f"otherwise {counted(usual, 'row')} at most" if usual else "and no other"
        kind, told = "zero_stretch", f"has zeros for {len(places)} rows, {otherwise}"
        if first[longest]:
            kind, told = "leading_zeros", f"begins with {len(places)} zeros, {otherwise}"
        if last[longest]:
            kind, told = "dead_tail", f"ends with {len(places)} zeros, {otherwise}"
        found.append(grid.found(kind, int(runs.series[longest]), places, told))
        odd[places] = True
    return found, odd


def _runs_of(grid: Grid) -> _Runs:
    places = np.flatnonzero(~np.isnan(grid.target))
    values = grid.target[places]
    series = np.searchsorted(grid.offsets, places, side="right") - 1
    changes = np.ones(len(places), dtype=bool)
    changes[1:] = (values[1:] != values[:-1]) | (series[1:] != series[:-1])
    starts = np.flatnonzero(changes)
    return _Runs(
        places=places,
        starts=starts,
        lengths=np.diff(np.append(starts, len(places))),
        values=values[starts],
        series=series[starts],
    )


def _unusual(runs: _Runs, chosen: IntArray, hits: npt.NDArray[Any], trials: IntArray, *, least: int) -> list[tuple[int, int]]:
    """(run, length of the longest usual one) for the few runs of each series that are far longer than the others.

    Args:
        chosen: (K,) the runs of one kind.
        hits, trials: (S,) how many rows of each series are of that kind, of how many: their share gives the chance of a run.
    """
    order = chosen[np.lexsort((-runs.lengths[chosen], runs.series[chosen]))]  # longest first in each series
    series = runs.series[order]
    starts = np.flatnonzero(np.diff(series, prepend=-1))
    lengths = np.zeros((len(starts), TOGETHER + 1))  # of the longest runs, (S', 4)
    ends = np.append(starts[1:], len(order))
    for k in range(TOGETHER + 1):
        there = starts + k < ends
        lengths[there, k] = runs.lengths[order[starts[there] + k]]
    mine = series[starts]
    unusual = np.zeros(len(starts), dtype=np.int64)  # how many of the longest
    for k in range(1, TOGETHER + 1):
        gone = lengths[:, :k].sum(axis=1)
        share = (np.maximum(hits[mine] - gone, 0) + 1) / (np.maximum(trials[mine] - gone, 0) + 2)
        rare = lengths[:, k - 1] * np.log(np.minimum(share, 1 - 1e-9)) + np.log(np.maximum(trials[mine], 1)) < np.log(RARE)
        rare |= (lengths[:, k - 1] > MUCH_LONGER * lengths[:, k]) & (ends - starts >= OF_MANY)
        longer = lengths[:, k - 1] > LONGER * lengths[:, k]
        unusual = np.where(rare & longer & (lengths[:, k - 1] >= least), k, unusual)
    return [(int(order[starts[i] + k]), int(lengths[i, unusual[i]])) for i in np.flatnonzero(unusual) for k in range(unusual[i])]


def find_missing(grid: Grid, future: BoolArray) -> list[Found]:
    """Rows of the table without a value; `future` (N,) marks those at the end that are there for their covariates."""
    table = grid.table
    lacks = np.isnan(table.target) & ~future
    rows = np.flatnonzero(lacks)
    limit = int(np.clip(grid.season, *LONG_MISSING))
    found = []
    for series, mine in in_series(rows, table.offsets):
        length = int((~future[table.offsets[series] : table.offsets[series + 1]]).sum())
        breaks = np.flatnonzero(np.diff(mine) != 1)
        starts, ends = np.append(0, breaks + 1), np.append(breaks + 1, len(mine))
        longest = int((ends - starts).max())
        places = grid.place[mine]
        if len(mine) == length:
            found.append(grid.found("no_values", series, places, f"has no value in any of its {length} rows"))
            continue
        share = f"{100 * len(mine) / length:.1f} %"
        told = f"has {counted(len(mine), 'row')} of {length} not observed ({share}), at most {longest} in a row"
        found.append(grid.found("missing_y", series, places, told))
        if longest >= limit or len(mine) >= max(MUCH_MISSING * length, FEW):
            at = starts[np.argmax(ends - starts)]
            told = f"is not observed for {counted(longest, 'row')} in a row, and for {share} of all"
            found.append(grid.found("missing_runs", series, places[at : at + longest], told))
    return found
