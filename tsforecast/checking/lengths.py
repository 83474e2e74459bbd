"""A grid -> findings about series as a whole: how long, since when, until when, which numbers, and who looks like whom."""

import unicodedata

import numpy as np

from tsforecast.checking.clock import Grid
from tsforecast.checking.report import Finding
from tsforecast.checking.rows import SHOWN, Found, counted, in_series, listed
from tsforecast.panel import IntArray
from tsforecast.preprocessing.calendar import BoolArray

TOGETHER = 0.6  # share of series that end (or begin) alike, for the others to have ended early (begun late)
AWAY = (10, 0.1)  # steps, and share of the span of all, that an end lies apart; two seasons at least
SOME = 20  # series or values from which a rule can have exceptions
FEW = 0.02  # share of values that may break a rule; one always may
MOST = 0.95  # share of the series of a panel that have to keep a rule for it to hold for all
TWIN = (8, 4)  # values that are not 0, and different ones, of series that are no twins by chance


# Ends


def find_ends(grid: Grid, future: BoolArray, horizon: int | None) -> list[Found]:
    """Short series, series that ended long ago, and late ones; `future` (N,) marks rows that are no history."""
    table = grid.table
    history = np.add.reduceat(~future, table.offsets[:-1], dtype=np.int64)
    found = []
    needs = [(2 * grid.season, f"two seasons of {grid.season} steps")] if grid.season > 1 else []
    needs += [(2 * horizon, f"twice the horizon of {horizon} steps")] if horizon else []
    for need, told in sorted(needs)[-1:]:
        for series in np.flatnonzero(history < need):
            message = f"has {counted(int(history[series]), 'row')}, less than {told}"
            nowhere = np.zeros(0, dtype=np.int64)
            found.append(grid.found("short", int(series), nowhere, message, count=int(history[series])))
    if len(table.ids) < 2 or not grid.step:
        return found
    firsts = table.times[table.offsets[:-1]].astype(np.int64).astype(np.float64) / grid.step
    lasts = table.times[table.offsets[1:] - 1].astype(np.int64).astype(np.float64) / grid.step
    apart = max(2 * grid.season, AWAY[0], AWAY[1] * (lasts.max() - firsts.min()))
    near = max(grid.season, 2)
    if (lasts >= lasts.max() - near).mean() >= TOGETHER:
        for series in np.flatnonzero(lasts < lasts.max() - apart):
            place = grid.place[table.offsets[series + 1] - 1 :][:1]
            told = f"ends at {grid.where(place)[0]}, {lasts.max() - lasts[series]:.0f} steps before most others"
            found.append(grid.found("dead", int(series), place, told))
    if (firsts <= firsts.min() + near).mean() >= TOGETHER:
        for series in np.flatnonzero(firsts > firsts.min() + apart):
            place = grid.place[table.offsets[series] :][:1]
            told = f"begins at {grid.where(place)[0]}, {firsts[series] - firsts.min():.0f} steps after most others"
            found.append(grid.found("late_start", int(series), place, told))
    return found


# Which numbers


def find_domain(grid: Grid, counts: bool | None) -> list[Found]:
    """Negative values and fractions where the others of a series, or most series, are counts."""
    if counts is False:
        return []
    target, starts = grid.target, grid.offsets[:-1]
    seen, nonzero = ~np.isnan(target), ~np.isnan(target) & (target != 0)
    negative, fraction = seen & (target < 0), seen & (target != np.round(target))
    values, sizes = (np.add.reduceat(one, starts, dtype=np.int64) for one in (seen, nonzero))
    below, broken = (np.add.reduceat(one, starts, dtype=np.int64) for one in (negative, fraction))
    found = []
    whole_panel = len(starts) >= SOME
    never_below = whole_panel and (below == 0).mean() >= MOST
    whole = whole_panel and ((broken == 0) & (sizes > 0)).mean() >= MOST
    few_below, few_broken = below <= np.maximum(1, FEW * values), broken <= np.maximum(1, FEW * sizes)
    by_itself = few_below & (broken <= np.where(few_broken, broken, 0)) & (values >= SOME)
    wrong = (below > 0) & (bool(counts) | by_itself & (broken == 0) | (never_below & few_below))
    told = "counts are asked for" if counts else "its values are whole numbers otherwise never below 0"
    for series, places in in_series(np.flatnonzero(negative & np.repeat(wrong, np.diff(grid.offsets))), grid.offsets):
        why = told if counts or broken[series] == 0 else "hardly any other series has one"
        least = f"the lowest {target[places].min():.6g}"
        found.append(grid.found("negative", series, places, f"has {counted(len(places), 'negative value')}, {least}; {why}"))
    wrong = (broken > 0) & (bool(counts) | (few_broken & (sizes >= SOME)) | (whole & (sizes >= 1)))
    told = "counts are asked for" if counts else "nearly all others are whole numbers"
    for series, places in in_series(np.flatnonzero(fraction & np.repeat(wrong, np.diff(grid.offsets))), grid.offsets):
        first = f"such as {target[places[0]]:.10g}"
        found.append(grid.found("fractions", series, places, f"has {counted(len(places), 'fraction')}, {first}; {told}"))
    return found


# Series beside each other


def find_twins(grid: Grid) -> list[Found]:
    """Series with the same values, to seven digits, as one before them."""
    table = grid.table
    with np.errstate(over="ignore"):
        values = (table.target + 0.0).astype(np.float32)  # -0.0 is 0.0
    bits = np.where(np.isnan(values), np.float32(np.nan), values).view(np.uint32).astype(np.uint64)
    row = np.arange(len(values)) - np.repeat(table.offsets[:-1], np.diff(table.offsets))
    hashes = np.add.reduceat((bits + np.uint64(1)) * _mixed(row), table.offsets[:-1])  # (S,) modulo 2**64
    sizes = np.add.reduceat(np.nan_to_num(values) != 0, table.offsets[:-1], dtype=np.int64)
    first_of: dict[tuple[int, int], int] = {}
    found = []
    for series in np.flatnonzero(sizes >= TWIN[0]).tolist():
        key = int(hashes[series]), int(table.offsets[series + 1] - table.offsets[series])
        other = first_of.setdefault(key, series)
        mine, its = (values[table.offsets[i] : table.offsets[i + 1]] for i in (series, other))
        if other == series or not np.array_equal(mine, its, equal_nan=True) or len(np.unique(mine)) < TWIN[1]:
            continue
        places = grid.place[table.offsets[series] : table.offsets[series + 1]]
        told = f"has the same {len(mine)} values as series {table.ids[other]!r}"
        one = grid.found("twin_series", series, places[:1], told, count=len(mine))
        found.append(one)
    return found


def _mixed(numbers: IntArray) -> "np.ndarray[tuple[int], np.dtype[np.uint64]]":
    """A number without pattern for each of 0, 1, 2 …: the finaliser of splitmix64."""
    mixed = (numbers.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(mixed ^ (mixed >> np.uint64(31)) | np.uint64(1))


def find_similar_ids(ids: tuple[str, ...], column: str) -> list[Found]:
    """Ids that are one, but for case and spaces."""
    groups: dict[str, list[int]] = {}
    for number, series_id in enumerate(ids):
        key = " ".join(unicodedata.normalize("NFKC", series_id).casefold().split())
        groups.setdefault(key, []).append(number)
    found = []
    for group in groups.values():
        if len(group) < 2:
            continue
        names = tuple(repr(ids[i]) for i in group[:SHOWN])
        finding = Finding(
            kind="similar_ids", series_id=ids[group[1]], field=column, count=len(group) - 1, where=names,
            message=f"ids {listed(names, len(group))} differ in case or spaces only",
        )  # fmt: skip
        found.append(Found(finding=finding, series=group[1]))
    return found
