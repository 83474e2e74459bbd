"""Many series end to end -> how far each value lies from what its season says, and how far values of its series usually do."""

from collections.abc import Sequence

import numpy as np

from tsforecast.panel import FloatArray, IntArray
from tsforecast.preprocessing.calendar import BoolArray
from tsforecast.preprocessing.grouped import quantiles_of, seen_in

SEASONS_AROUND = 2  # on each side of a value, at the same phase
SEASONS_NEEDED = 3  # a shorter series is compared with its neighbours in time
ROWS_AROUND = 3  # on each side of a value, where no season tells what to expect
TELLING = 3  # observed values below which nothing is said
WIDEST = 25  # rows over which what a trend leaves at the ends of a series is levelled
SUSPECT = 6.0  # times the scale; in place of a value as far off, others are shown what was to be expected
ROUNDS = 3  # in each of them the worst of a neighbourhood
OFTEN = 0.05  # share of values off the rule from which on they are no exceptions
MAD_TO_DEVIATION = 1.4826  # standard deviations in a median absolute deviation, for normal data
ROWS_BESIDE = 12  # on each side of a stretch, that it is compared with
CLEAR = 6.0  # deviations by which a wrong unit stands out
CLOSE = 0.15  # orders of magnitude between a stretch and its factor, a third of the value
ROWS_AT_ONCE = 500_000  # bounds the memory for windows


def deviations(target: FloatArray, offsets: IntArray, season: int) -> FloatArray:
    """Signed distance of each value from what its season says, in robust standard deviations, (N,).

    Arguments and NaN as in `seasonal_residual`.
    """
    residual, unit = residual_and_unit(target, offsets, season)
    return residual / unit


@np.errstate(over="ignore", invalid="ignore")  # differences of values near the largest float
def residual_and_unit(target: FloatArray, offsets: IntArray, season: int) -> tuple[FloatArray, FloatArray]:
    """(`seasonal_residual`, the robust standard deviation to measure it by), (N,) each.

    Where a series that is hardly ever negative stands above its median, its deviation counts as larger in proportion: large sales
    vary more than small ones.
    """
    residual, scale = seasonal_residual(target, offsets, season)
    typical = medians_by_series(target, offsets)
    lengths = np.diff(offsets)
    negative = np.add.reduceat(target < 0, offsets[:-1], dtype=np.int64) >= OFTEN * lengths
    typical = np.where((typical > 0) & ~negative, typical, np.inf)
    level = np.abs(target - residual) / np.repeat(typical, lengths)
    return residual, np.repeat(scale, lengths) * np.fmax(level, 1.0)


@np.errstate(over="ignore", invalid="ignore")
def seasonal_residual(target: FloatArray, offsets: IntArray, season: int) -> tuple[FloatArray, FloatArray]:
    """(residual (N,), scale (S,)): an outlier is where |residual| is many times the scale of its series.

    residual: value less the median of the same phase in the two seasons on each side. In a series of less than three
    seasons, or of season 1: less the median of the three rows on each side. The value itself counts only where fewer than
    three others are observed. At both ends of a series, where one side is missing, what a trend adds is taken off.
    NaN where the value or too many of those around it are not observed.
    scale: median absolute residual as a standard deviation, of the residuals that are not 0 (so that intermittent demand has
    one); of a constant with rare exceptions a thousandth of its value; never 0. In units of the target.

    `target - residual` is what the season says, so a value can be replaced by it.

    Args:
        target: (N,), NaN = not observed, series end to end.
        offsets: (S + 1,), no series empty.
        season: steps; 1 = none.
    """
    residual = _residual(target, target, offsets, season)
    scale = _scale(residual, target, offsets)
    for series, sub in _series_with(np.abs(residual) > SUSPECT * np.repeat(scale, np.diff(offsets)), offsets):
        rows = np.repeat(offsets[:-1][series] - sub[:-1], np.diff(sub)) + np.arange(sub[-1])  # of these series, side by side
        residual[rows] = _without_outliers(target[rows], residual[rows], scale[series], sub, season)
        scale[series] = _scale(residual[rows], target[rows], sub)
    return residual, scale


def _residual(target: FloatArray, shown: FloatArray, offsets: IntArray, season: int) -> FloatArray:
    """How far each of `target` lies from what those around it in `shown` say, (N,)."""
    lengths = np.diff(offsets)
    seasonal = (lengths >= SEASONS_NEEDED * season) & (season > 1)  # (S,)
    residual = np.empty(len(target))
    for chosen, step, around in ((seasonal, season, SEASONS_AROUND), (~seasonal, 1, ROWS_AROUND)):
        rows = np.flatnonzero(np.repeat(chosen, lengths))
        residual[rows] = target[rows] - window_median(shown, offsets, rows, step=step, around=around, own=target)
    _level_ends_of_seasonal(residual, offsets, season, seasonal)
    _level_ends_of_others(residual, shown, offsets, ~seasonal)
    return residual


def _without_outliers(target: FloatArray, residual: FloatArray, scale: FloatArray, offsets: IntArray, season: int) -> FloatArray:
    """The residual where the worst value of each neighbourhood no longer shifts what the others are compared with, (N,)."""
    lengths = np.diff(offsets)
    step = np.where((lengths >= SEASONS_NEEDED * season) & (season > 1), season, 1)  # (S,)
    shown, hidden = target.copy(), np.zeros(len(target), dtype=bool)
    for _ in range(ROUNDS):
        away = np.where(hidden, 0.0, np.abs(residual))
        rows = np.flatnonzero(away > SUSPECT * np.repeat(scale, lengths))
        series = np.searchsorted(offsets, rows, side="right") - 1
        places = rows[:, None] + step[series, None] * np.arange(-ROWS_AROUND, ROWS_AROUND + 1)  # (R, 7)
        inside = (places >= offsets[series, None]) & (places < offsets[series + 1, None])
        worst = away[rows] >= np.where(inside, away[np.clip(places, 0, len(away) - 1)], 0.0).max(axis=1, initial=0.0)
        if not worst.any():
            break
        hidden[rows[worst]] = True
        shown[hidden] = (target - residual)[hidden]  # what was to be expected in their place
        residual = _residual(target, shown, offsets, season)
    return residual


def _series_with(true: BoolArray, offsets: IntArray) -> list[tuple[IntArray, IntArray]]:
    """[(series with a true row (S',), their offsets side by side (S' + 1,))], or [] where there is none."""
    series = np.flatnonzero(np.logical_or.reduceat(true, offsets[:-1]))
    return [(series, np.append(0, np.cumsum(np.diff(offsets)[series])))] if len(series) else []


def unit_factors(target: FloatArray, offsets: IntArray, season: int, *, factors: Sequence[float], at_least: int) -> FloatArray:
    """By which factor the values of a stretch are off against those before and after it, such as 1000 or 0.001; 1 = not, (N,).

    A stretch is of rows that are all off to the same side by more than half an order of magnitude and more than their series
    varies; zeros and NaN are passed over. It is off by one of the factors or its inverse, within `CLOSE`, which stands
    out by `CLEAR` deviations of the logarithms in and beside it. The values of the series have one sign but for a few; where
    half of it or more is off, nobody can tell which half.

    Args:
        target: (N,), NaN = not observed.
        offsets: (S + 1,), no series empty.
        season: steps; series of three seasons and more are compared phase by phase.
        factors: above 1.
        at_least: rows of a stretch.
    """
    with np.errstate(divide="ignore"):
        size = np.log10(np.abs(target))
    size = np.where(np.isfinite(size), size, np.nan)
    away = size - _medians_of_phases(size, offsets, season)
    spread = MAD_TO_DEVIATION * np.nan_to_num(medians_by_series(np.abs(away), offsets))  # (S,)
    rows = np.flatnonzero(~np.isnan(away))
    wrong = np.ones(len(target))
    if not len(rows):
        return wrong
    series, away = np.searchsorted(offsets, rows, side="right") - 1, away[rows]
    off = np.sign(away) * (np.abs(away) > np.maximum(0.5, 3 * spread[series]))
    side = np.where(off == 0, 0, 2 * off + np.sign(target[rows]))  # a change of sign ends a stretch too
    starts = np.flatnonzero((np.diff(side, prepend=0) != 0) | (np.diff(series, prepend=-1) != 0))
    runs = np.append(starts, len(rows))
    beside, edges, noise = _beside(away, side, series, runs)
    orders = medians_by_series(away, runs) - beside  # of magnitude between each run and its surroundings
    known = np.array(sorted({*factors, *(1 / factor for factor in factors)}))
    nearest = known[np.argmin(np.abs(np.nan_to_num(orders)[:, None] - np.log10(known)), axis=1)]
    fits = (side[starts] != 0) & (np.diff(runs) >= at_least) & (np.abs(orders - np.log10(nearest)) <= CLOSE)
    fits &= np.abs(np.log10(nearest)) > CLEAR * noise
    fits &= np.nan_to_num(np.abs(edges - beside[:, None])).max(axis=1) <= 2 * CLOSE  # not by and by
    found = np.repeat(np.where(fits, nearest, 1.0), np.diff(runs))
    most = len(offsets) - 1
    counts, positive = np.bincount(series, minlength=most), np.bincount(series, weights=target[rows] > 0, minlength=most)
    doubtful = np.minimum(positive, counts - positive) > OFTEN * counts
    wrong[rows] = np.where(doubtful[series], 1.0, found)
    return wrong


def _beside(away: FloatArray, side: FloatArray, series: IntArray, runs: IntArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Medians of the ordinary rows around each run (R,) and of the nearest before and after it (R, 2), and deviation (R,).

    The deviation is that in the run or around it, whichever is larger; infinity, and NaN for medians, where rows are few.
    """
    reach = np.arange(1, ROWS_BESIDE + 1)
    places = np.concatenate([runs[:-1, None] - reach, runs[1:, None] - 1 + reach], axis=1)  # (R, 2 * ROWS_BESIDE)
    inside = np.clip(places, 0, len(away) - 1)
    ordinary = (places == inside) & (series[inside] == series[runs[:-1], None]) & (side[inside] == 0)
    around = np.where(ordinary, away[inside], np.nan)
    beside = _row_medians(around, TELLING)
    outside = _row_medians(np.abs(around - beside[:, None]), TELLING)
    within = medians_by_series(np.abs(away - np.repeat(medians_by_series(away, runs), np.diff(runs))), runs)
    edges = np.column_stack([_row_medians(part[:, :ROWS_AROUND], 1) for part in np.split(around, 2, axis=1)])
    return beside, edges, MAD_TO_DEVIATION * np.where(np.isnan(outside), np.inf, np.maximum(outside, within))


def _medians_of_phases(values: FloatArray, offsets: IntArray, season: int) -> FloatArray:
    """For each row the median of its phase of the season in its series, of all of a short or unseasonal series; (N,)."""
    lengths = np.diff(offsets)
    seasonal = np.repeat((lengths >= SEASONS_NEEDED * season) & (season > 1), lengths)
    row = np.arange(len(values)) - np.repeat(offsets[:-1], lengths)
    group = np.repeat(np.arange(len(lengths)), lengths) * season + np.where(seasonal, row % season, 0)
    order = np.argsort(group, kind="stable")
    starts = np.flatnonzero(np.diff(group[order], prepend=-1))
    medians = medians_by_series(values[order], np.append(starts, len(values)))
    spread = np.empty(len(values))
    spread[order] = np.repeat(medians, np.diff(np.append(starts, len(values))))
    return spread


def window_median(
    values: FloatArray, offsets: IntArray, rows: IntArray, *, step: int, around: int, own: FloatArray, with_own: bool = False
) -> FloatArray:
    """Median of the values `step` rows apart, up to `around` of them on each side of each of `rows`, (R,).

    The row's value in `own` (N,) is one of them `with_own`, or where fewer than `TELLING` others are observed; NaN where still
    fewer are.
    """
    medians = np.empty(len(rows))
    shifts = step * np.array([*range(-around, 0), *range(1, around + 1)])
    for begin in range(0, len(rows), ROWS_AT_ONCE):
        part = rows[begin : begin + ROWS_AT_ONCE]
        series = np.searchsorted(offsets, part, side="right") - 1
        first, end = offsets[series], offsets[series + 1]
        window = np.empty((len(part), len(shifts) + 1))
        for i, shift in enumerate(shifts):
            places = part + shift
            window[:, i] = np.where((places >= first) & (places < end), values[np.clip(places, 0, len(values) - 1)], np.nan)
        others = np.count_nonzero(~np.isnan(window[:, :-1]), axis=1)
        window[:, -1] = np.where(with_own | (others < TELLING), own[part], np.nan)
        medians[begin : begin + ROWS_AT_ONCE] = _row_medians(window, TELLING)
    return medians


def _row_medians(values: FloatArray, needed: int) -> FloatArray:
    """Median of each row without its NaN, (R,); NaN for a row with fewer than `needed` values."""
    ordered = np.sort(values, axis=1)  # NaN last
    seen = np.count_nonzero(~np.isnan(values), axis=1)
    rows, most = np.arange(len(values)), np.maximum(seen - 1, 0)
    low, high = ordered[rows, most // 2], ordered[rows, (most + 1) // 2]
    return np.where(seen >= needed, low + (high - low) / 2, np.nan)


def medians_by_series(values: FloatArray, offsets: IntArray) -> FloatArray:
    """Median of each series without its NaN, (S,); NaN for a series without values."""
    return np.where(seen_in(values, offsets) > 0, quantiles_of(values, offsets, (0.5,))[0], np.nan)


# Ends of a series: the values around lie on one side, so a trend looks like a residual


def _level_ends_of_seasonal(residual: FloatArray, offsets: IntArray, season: int, chosen: BoolArray) -> None:
    """Take off what rows near to each other share, in the first and last two seasons of the `chosen` series (S,)."""
    lengths = np.diff(offsets)
    row = np.arange(len(residual)) - np.repeat(offsets[:-1], lengths)
    reach = SEASONS_AROUND * season
    ends = (row < reach) | (row >= np.repeat(lengths - reach, lengths))
    rows = np.flatnonzero(ends & np.repeat(chosen, lengths))
    around = min(max(season, 2 * ROWS_AROUND), WIDEST) // 2
    shared = window_median(residual, offsets, rows, step=1, around=around, own=residual, with_own=True)
    residual[rows] -= np.where(np.isnan(shared), 0.0, shared)


def _level_ends_of_others(residual: FloatArray, target: FloatArray, offsets: IntArray, chosen: BoolArray) -> None:
    """Take off what the slope of the nearest rows makes of it, in the first and last three rows of the `chosen` series (S,)."""
    chosen = chosen & (np.diff(offsets) > ROWS_AROUND)
    first, last = offsets[:-1][chosen, None], offsets[1:][chosen, None] - 1  # (S', 1)
    for side in (1, -1):
        end = first if side == 1 else last
        nearest = np.clip(end + side * np.arange(2 * ROWS_AROUND + 1), first, last)  # (S', 7); a short series: its end again
        changes = np.diff(target[nearest], axis=1) * side
        changes[np.diff(nearest, axis=1) == 0] = np.nan
        slope = _row_medians(changes, TELLING)[:, None]  # per step
        rows = nearest[:, :ROWS_AROUND]
        longer = np.minimum(last - rows, ROWS_AROUND) - np.minimum(rows - first, ROWS_AROUND)  # rows after less rows before
        shift = np.where(longer * side > 0, (longer + side) / 2, 0.0)  # where the median of the others lies, in steps
        residual[rows] += np.nan_to_num(slope) * shift


def _scale(residual: FloatArray, target: FloatArray, offsets: IntArray) -> FloatArray:
    """Positive, (S,)."""
    away, size = np.abs(residual), np.abs(target)
    odd = away > 1e-9 * size  # the others are rounding
    seen = np.maximum(seen_in(away, offsets), 1)
    often = np.add.reduceat(odd, offsets[:-1], dtype=np.int64) >= OFTEN * seen
    usual = MAD_TO_DEVIATION * np.nan_to_num(medians_by_series(np.where(odd, away, np.nan), offsets))
    typical = np.nan_to_num(medians_by_series(np.where(size > 0, size, np.nan), offsets))  # of what is not 0
    mostly_zero = 2 * np.add.reduceat(size == 0, offsets[:-1], dtype=np.int64) > np.diff(offsets)
    rare = np.where(mostly_zero, typical, 1e-3 * typical)  # too rare to say what is usual
    scale = np.where(often, usual, rare)
    return np.where(scale > 0, scale, 1.0)
