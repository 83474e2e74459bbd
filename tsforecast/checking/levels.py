"""A grid -> findings about values far from what their season and their neighbours say: outliers, other units, lasting shifts."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from tsforecast.checking.clock import Grid
from tsforecast.checking.rows import Found, counted, in_series
from tsforecast.panel import FloatArray, IntArray
from tsforecast.preprocessing.calendar import BoolArray
from tsforecast.preprocessing.outlying import LEAST, outliers_in
from tsforecast.preprocessing.robust import MAD_TO_DEVIATION, medians_by_series, seasonal_residual

UNIT_EDGE, UNIT_NOISE = 0.7, 6.0  # a change of unit: step of log10, and in robust deviations of such steps
UNIT_NEAR, UNIT_SPREAD = 0.12, 0.15  # of log10: how near to a power of ten, how steady around it
UNIT_ROWS = 3  # shorter stretches are outliers
UNIT_EDGES = 20  # in one series; more are its nature
ONE_SIGN = 0.95  # share of values of one sign, below which a ratio means nothing
SHIFT_ROWS = (6, 48)  # rows on each side that are compared; a season between them
SHIFT_SHARE = 8  # at most one in so many of a series
SHIFT_FAR, SHIFT_CLEAR = 6.0, 5.0  # deviations of all such differences; of the values on both sides
SHIFT_ABRUPT, SHIFT_LASTING = 0.7, 0.6  # share of the shift that few rows make; that is there for good
SHIFT_SIZE = 0.1  # of the usual size of the values
SHIFT_ABOVE = 0.02  # of the usual size: series that stay above it are looked at through the logarithm


@np.errstate(all="ignore")  # differences and ratios near the largest float; what is not finite is passed over
def find_levels(grid: Grid, odd: BoolArray, seasons: Sequence[int]) -> list[Found]:
    """Findings; `odd` (M,) marks places already named, which are taken for not observed; `seasons` those that were seen."""
    values = np.where(odd, np.nan, grid.target)
    jumps, moved = _unit_jumps(grid, values)
    values = np.where(moved, np.nan, values)
    outliers, far = _outliers(grid, values, seasons)
    return [*jumps, *outliers, *_level_shifts(grid, np.where(far, np.nan, values))]


# Outliers


def _outliers(grid: Grid, values: FloatArray, seasons: Sequence[int]) -> tuple[list[Found], BoolArray]:
    far, by_season = outliers_in(values, grid.offsets, grid.season, seasons=seasons)
    if not far.any():
        return [], far
    residual = seasonal_residual(values, grid.offsets, grid.season)[0]
    found = []
    for series, places in in_series(np.flatnonzero(far), grid.offsets):
        worst = places[np.argmax(np.abs(by_season[places]))]
        at, expected = grid.where(np.array([worst]))[0], values[worst] - residual[worst]
        told = (
            f"has {counted(len(places), 'outlier')}, the farthest {values[worst]:.6g} at {at} where {expected:.6g} was to be "
            f"expected ({abs(by_season[worst]):.0f} robust deviations)"
        )
        found.append(grid.found("outliers", series, places, told))
    return found, far


# Units


def _unit_jumps(grid: Grid, values: FloatArray) -> tuple[list[Found], BoolArray]:
    """Stretches that are 10, 100 or 1000 times as large, or as small, as the rest of their series."""
    offsets = grid.offsets
    moved = np.zeros(len(values), dtype=bool)
    logs = np.log10(np.where(values != 0, np.abs(values), np.nan))
    logs -= _profile(logs, offsets, grid.season)
    places = np.flatnonzero(np.isfinite(logs))
    codes = np.searchsorted(offsets, places, side="right") - 1
    inner = np.diff(codes) == 0
    steps = np.where(inner, np.diff(logs[places]), np.nan)
    if not len(steps):
        return [], moved
    of_series = np.full(len(values), np.nan)
    of_series[places[1:]] = np.abs(steps)
    noise = MAD_TO_DEVIATION * medians_by_series(of_series, offsets)
    edges = np.flatnonzero(np.abs(steps) > np.fmax(UNIT_EDGE, UNIT_NOISE * noise[codes[1:]])) + 1
    found = []
    for series, mine in in_series(places[edges], offsets):
        own = places[np.searchsorted(places, offsets[series]) : np.searchsorted(places, offsets[series + 1])]
        signs = np.sign(values[own])
        if len(own) < LEAST or len(mine) > UNIT_EDGES or max((signs > 0).mean(), (signs < 0).mean()) < ONE_SIGN:
            continue
        for begin, end, power in _other_units(logs[own], np.searchsorted(own, mine)):
            stretch = own[begin:end]
            factor = f"x{10**power}" if power > 0 else f"/{10**-power}"
            told = f"is {factor} for {len(stretch)} rows against the rest: another unit from {grid.where(stretch)[0]} on"
            found.append(grid.found("unit_jump", series, stretch, told))
            moved[stretch] = True
    return found, moved


def _other_units(logs: FloatArray, edges: IntArray) -> list[tuple[int, int, int]]:
    """(begin, end, power of ten) of each stretch between edges that is off by a power of ten from the longest one."""
    bounds = [0, *edges.tolist(), len(logs)]
    stretches = list(pairwise(bounds))
    longest = max(range(len(stretches)), key=lambda i: stretches[i][1] - stretches[i][0])
    found = []
    for direction in (1, -1):
        level = 0.0  # against the longest
        for i in range(longest + direction, len(stretches) if direction == 1 else -1, direction):
            (a, b), (c, d) = (stretches[i - direction], stretches[i])[::direction]
            nearby = (logs[max(a, b - 12) : b], logs[c : min(d, c + 12)])
            level += direction * float(np.median(nearby[1]) - np.median(nearby[0]))
            power = round(level)
            begin, end = stretches[i]
            spread = np.median(np.abs(logs[begin:end] - np.median(logs[begin:end])))
            if abs(level - power) <= UNIT_NEAR:
                level = float(power)
            steady = end - begin >= UNIT_ROWS and spread <= UNIT_SPREAD
            if 1 <= abs(power) <= 3 and level == power and steady:
                found.append((begin, end, power))
    return found


def _profile(values: FloatArray, offsets: IntArray, season: int) -> FloatArray:
    """Median of the phase less the median of the series, (M,); 0 for series of less than three seasons, or without any."""
    lengths = np.diff(offsets)
    long = np.repeat(lengths >= 3 * season, lengths)
    if season == 1 or not long.any():
        return np.zeros(len(values))
    codes = np.repeat(np.arange(len(lengths)), lengths)
    phase = (np.arange(len(values)) - np.repeat(offsets[:-1], lengths)) % season
    groups = codes * season + phase
    order = np.argsort(groups, kind="stable")
    bounds = np.append(np.flatnonzero(np.diff(groups[order], prepend=-1)), len(order))
    profile = np.empty(len(values))
    profile[order] = np.repeat(medians_by_series(values[order], bounds), np.diff(bounds))
    profile -= np.repeat(medians_by_series(values, offsets), lengths)
    return np.where(long & np.isfinite(profile), profile, 0.0)


# Shifts


def _level_shifts(grid: Grid, values: FloatArray) -> list[Found]:
    """At most one for each series: the largest difference between the rows before and after a moment."""
    offsets, lengths = grid.offsets, np.diff(grid.offsets)
    typical = medians_by_series(np.abs(values), offsets)
    shares = np.fmin.reduceat(values, offsets[:-1]) > SHIFT_ABOVE * typical  # there a shift changes the season alike
    bent = np.where(np.repeat(shares, lengths), np.log(np.maximum(values, np.finfo(np.float64).tiny)), values)
    level = bent - _profile(bent, offsets, grid.season)
    width = np.minimum(int(np.clip(grid.season, 14, SHIFT_ROWS[1])), lengths // SHIFT_SHARE)  # (S,)
    usable = width >= SHIFT_ROWS[0]
    if not usable.any():
        return []
    differences = _differences(level, offsets, width)
    differences -= np.repeat(medians_by_series(differences, offsets), lengths)  # a trend makes all of them alike
    size = np.abs(differences)
    usual = MAD_TO_DEVIATION * medians_by_series(size, offsets)
    largest = np.fmax.reduceat(size, offsets[:-1])
    least = SHIFT_SIZE * np.where(shares, 1.0, typical)
    found = []
    for series in np.flatnonzero(usable & (largest > SHIFT_FAR * usual) & (largest > least)):
        begin, end = int(offsets[series]), int(offsets[series + 1])
        own = level[begin:end]
        moment = _shift_in(own, int(np.nanargmax(size[begin:end])), int(width[series]))
        if moment is None:
            continue
        wide = int(width[series])
        edge = begin + moment
        before, after = _median(values[edge - wide : edge]), _median(values[edge : edge + wide])
        places = edge + np.flatnonzero(~np.isnan(values[edge:end]))[:1]
        told = f"moves from about {before:.6g} to about {after:.6g} at {grid.where(places)[0]} and stays there"
        found.append(grid.found("level_shift", int(series), places, told))
    return found


def _differences(level: FloatArray, offsets: IntArray, width: IntArray) -> FloatArray:
    """Mean of the `width` (S,) rows from each row on less that of as many before, (M,); NaN where less than half are observed."""
    lengths = np.diff(offsets)
    center = np.repeat(np.nan_to_num(medians_by_series(level, offsets)), lengths)  # keeps the sums small
    seen = np.isfinite(level)
    sums = np.concatenate([[0.0], np.cumsum(np.where(seen, level - center, 0.0))])
    counts = np.concatenate([[0], np.cumsum(seen)])
    row, wide = np.arange(len(level)), np.repeat(width, lengths)
    first, last = np.repeat(offsets[:-1], lengths), np.repeat(offsets[1:], lengths)
    low, high = np.maximum(row - wide, first), np.minimum(row + wide, last)
    before, after = counts[row] - counts[low], counts[high] - counts[row]
    enough = (2 * before >= wide) & (2 * after >= wide) & (wide > 0) & (row - wide >= first) & (row + wide <= last)
    means = (sums[high] - sums[row]) / np.maximum(after, 1) - (sums[row] - sums[low]) / np.maximum(before, 1)
    return np.where(enough, means, np.nan)


def _shift_in(level: FloatArray, near: int, width: int) -> int | None:
    """The row from which on the level of one series is another, abruptly and for good; None where it is not so."""
    moments = range(max(near - width // 2, 3), min(near + width // 2, len(level) - 3))
    steps = [abs(_median(level[i : i + 5]) - _median(level[max(i - 5, 0) : i])) for i in moments]
    if not steps or np.isnan(steps).all():
        return None
    moment = moments[int(np.nanargmax(steps))]
    before, after = level[max(moment - width, 0) : moment], level[moment : moment + width]
    low, high = _median(before), _median(after)
    shift = high - low
    spread = MAD_TO_DEVIATION * max(_median(np.abs(before - low)), _median(np.abs(after - high)))
    clear = abs(shift) > SHIFT_CLEAR * spread
    abrupt = max(steps) >= SHIFT_ABRUPT * abs(shift)
    later, earlier = _median(level[moment:]), _median(level[:moment])
    rest = _median(level[moment + width :]) if len(level) > moment + 2 * width else later
    lasting = min((later - low) / shift, (rest - low) / shift, (high - earlier) / shift) >= SHIFT_LASTING if shift else False
    return moment if clear and abrupt and lasting else None


def _median(values: FloatArray) -> float:
    seen = values[~np.isnan(values)]
    return float(np.median(seen)) if len(seen) else np.nan
