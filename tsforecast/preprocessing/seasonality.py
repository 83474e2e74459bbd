"""A panel, or the values of one series -> its seasons: which there are, how strong, and what context they ask for.

A season shows as lines in the spectrum of a series, at 1, 2, 3 … cycles per season. Trend, random walk and any other
noise without memory for a calendar have a smooth spectrum: there the lines stand out no more than chance lets them, and
their power over that of their neighbours follows an F distribution. A season is reported where it exceeds what one clean
series in 500 would show. Of a longer season only the lines that a shorter one does not have already count: 168 beside 24
is reported where the days of the week differ, 48 and 72 never.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist

import numpy as np

from tsforecast.errors import OptionError
from tsforecast.panel import FloatArray, IntArray, Panel, TimeArray
from tsforecast.preprocessing.calendar import (
    DAY,
    TICKS,
    Zone,
    clock_of,
    default_season,
    places_of,
    wall_from_instants,
    zones_at,
)

FALSE_ALARMS = 0.002  # share of series without any season that show one, before the panel is asked
LEAST_CYCLES = 3  # seasons a series must hold to show one
CYCLES = 12  # looked at as one piece; a season may drift over more of them
LEAST_PIECE = 240  # steps; more cycles of a short season, so that its lines have near neighbours
LOW_LINES = 3  # the first lines of a season are tested alone too: a smooth season has no others
SHARE = 0.15  # of series that have to show a season before the panel is said to have it
MOST_SERIES = 200  # looked at
MOST_ROWS = 50_000  # of one series, the latest
ROW_BUDGET = 1_000_000  # of all series together
OUTLYING = 6.0  # robust standard deviations a change between two steps may have before it is clipped
MOST_PEAKS = 8  # of each autocorrelation that are tested where no calendar names a season
COURSE = 5  # seasons whose mean is the season in their middle, for its strength
NEAR_BEST = 0.8  # of the highest autocorrelation: the shortest season that has so much is the one the others repeat


@dataclass(frozen=True, kw_only=True, slots=True)
class Season:
    """One season of a panel; the numbers are medians over the series that show it."""

    period: int  # steps, at least 2
    strength: float  # 0 … 1: share of the variance around the trend that the season explains (Wang, Smith & Hyndman 2006)
    acf: float  # -1 … 1: autocorrelation at the period, of the series without its trend and its shorter seasons
    share: float  # 0 … 1: of the series that are long enough to show it; small where only all together do


@dataclass(frozen=True, kw_only=True, slots=True)
class Recommendation:
    """What the seasons of a panel say about how to model it."""

    season: int  # steps, for `panel.season`; 1 = none
    seasons: tuple[Season, ...]  # all that were found, shortest first
    context: int  # steps to look back
    reason: str  # why, in a sentence


def autocorrelation(values: FloatArray, lags: int | Sequence[int]) -> FloatArray:
    """Correlation of each series with itself `lags` steps before.

    Pairs with a value that was not observed are left out: mean of the products of the pairs that are left, times
    (T - lag) / T, over the variance. Without holes that is the usual estimate, within -1 … 1.

    Args:
        values: (T,) or (S, T), NaN = not observed.
        lags: steps; an int means 0 … that many.

    Returns:
        (L,) or (S, L); NaN for a constant series, a lag beyond the series, or one without a pair.

    Raises:
        OptionError: a lag is negative, or values have another number of dimensions.
    """
    if values.ndim not in (1, 2):
        raise OptionError(f"values must be (T,) or (S, T), got {values.ndim} dimensions", field="values")
    steps = np.arange(lags + 1) if isinstance(lags, int) else np.asarray(lags, dtype=np.int64)  # (L,)
    if (steps < 0).any():
        raise OptionError(f"lags must be 0 or more steps, got {int(steps.min())}", field="lags")
    rows = np.atleast_2d(values)
    seen = np.isfinite(rows)
    count = np.maximum(seen.sum(axis=1, keepdims=True), 1)  # (S, 1)
    away = np.where(seen, rows - np.where(seen, rows, 0.0).sum(axis=1, keepdims=True) / count, 0.0)  # (S, T)
    unit = np.abs(away).max(axis=1, keepdims=True, initial=0.0)
    away = away / np.where(unit > 0, unit, 1.0)  # 1e200 squared is no number
    length = rows.shape[1]
    inside = np.minimum(steps, max(length - 1, 0))
    products = _lagged_products(away)[:, inside]  # (S, L)
    pairs = np.rint(_lagged_products(seen.astype(np.float64)))[:, inside]
    variance = (away**2).sum(axis=1, keepdims=True) / count
    known = (pairs > 0) & (variance > 0) & (steps < length)
    mean = products / np.maximum(pairs, 1) * (length - inside) / max(length, 1)
    found: FloatArray = np.where(known, mean / np.where(variance > 0, variance, 1.0), np.nan)
    return found if values.ndim == 2 else found[0]


def _lagged_products(rows: FloatArray) -> FloatArray:
    """Sum over t of x_t x_(t + lag) for every lag from 0 on, (S, T), by one FFT."""
    length = rows.shape[1]
    size = 1 << max(2 * length - 1, 1).bit_length()
    power = np.abs(np.fft.rfft(rows, size, axis=1)) ** 2
    return np.fft.irfft(power, size, axis=1)[:, :length]


def calendar_seasons(freq: str | int) -> tuple[int, ...]:
    """Seasons in steps that the calendar offers series of that frequency, shortest first; () where it offers none.

    Hours, days and weeks for minutes; days and weeks for hours; weeks and years for days; years for weeks and longer.
    """
    clock = clock_of(freq)
    if clock.unit == "tick" and clock.step < DAY:
        hour, least = TICKS["h"], 6  # a season of fewer steps than that is told from a longer one
        cycles = [(hour, least), (DAY, 2), (7 * DAY, 2)]
        return tuple(cycle // clock.step for cycle, few in cycles if cycle % clock.step == 0 and cycle // clock.step >= few)
    shortest = default_season(freq)
    if clock.unit == "tick":
        clock = clock_of(f"{clock.step // DAY}D") if clock.step % DAY == 0 else clock
    years = {"D": 365, "B": 261}.get(clock.unit, 0) // clock.step
    return tuple(one for one in (shortest, years) if one > 1)


def places_on_clock(timestamps: TimeArray, freq: str | int, tz: Zone = None) -> IntArray:
    """The number of each moment's step on the clock, counted from 1970 (of an integer clock from 0); any shape.

    Successive rows of a series have successive numbers, and a row keeps its number wherever its series is cut: place modulo
    season is the phase.
    """
    clock = clock_of(freq)
    if clock.absolute:
        return timestamps.astype(np.int64) // clock.step
    ordinals, _, _ = places_of(clock, wall_from_instants(timestamps.astype("datetime64[ns]"), tz))
    return ordinals // clock.step


def detect_seasons(panel_or_values: Panel | FloatArray, *, freq: str | int | None = None, most: int = 3) -> tuple[Season, ...]:
    """The seasons that the data show, shortest first; () where there is none to be told from noise.

    Candidates are those of the calendar; an integer clock has none, there the peaks of the autocorrelation are tried, and
    the threshold is as much higher as there are lags to choose from. A panel has a season where enough of its series show it
    (`SHARE`, of those with at least three seasons) or their common course does. Holes, trends, outliers and level shifts
    are no seasons. At most `MOST_SERIES` series, those at least as long as the median one, and `ROW_BUDGET` rows are read.

    Args:
        panel_or_values: a panel, or one series (T,) with NaN = not observed.
        freq: None = the panel's; for values: an integer clock.
        most: seasons to report.

    Raises:
        OptionError: `most` is not positive, or values are not (T,).
        FrequencyError: `freq` is none.
    """
    if most < 1:
        raise OptionError(f"most must be at least 1 season, got {most}", field="most")
    if freq is None:
        freq = panel_or_values.freq if isinstance(panel_or_values, Panel) else 1
    clock, sample = clock_of(freq), _sample(panel_or_values)
    if not sample:
        return ()
    together = _together(sample)
    if clock.unit == "integer":
        periods = _searched(sample, together, most)
    else:
        candidates = calendar_seasons(freq)
        threshold = _threshold(2 * len(candidates))
        periods = ()
        for period in candidates:
            if len(periods) < most and _shows(sample, together, period, periods, threshold):
                periods = (*periods, period)
    return tuple(_measured(sample, period, periods) for period in periods)


def recommend(panel: Panel, horizon: int) -> Recommendation:
    """The season, all seasons, and a context that holds two of the longest where the series are long enough.

    The season is the shortest one that is at least half as strong as the strongest. The context is never shorter than two
    horizons or longer than what half of the series hold before a horizon.

    Raises:
        OptionError: the horizon is not positive.
    """
    if horizon < 1:
        raise OptionError(f"horizon must be at least 1 step, got {horizon}", field="horizon")
    seasons = detect_seasons(panel)
    room = max(int(np.median(panel.lengths)) - horizon, 1) if len(panel) else 1
    if not seasons:
        wanted = 2 * horizon
        why = "no season is to be told from noise; the context is two horizons"
        return Recommendation(season=1, seasons=(), context=min(wanted, room), reason=_bounded(why, wanted, room))
    longest = seasons[-1]
    wanted = max(2 * longest.period, 2 * horizon)
    what = "two seasons" if wanted == 2 * longest.period else "two horizons"
    told = " and ".join(f"{one.period} (strength {one.strength:.2f}, {one.share:.0%} of series)" for one in seasons)
    why = f"seasons of {told} steps; the context is {what} of {wanted // 2} steps"
    return Recommendation(
        season=main_season(seasons), seasons=seasons, context=min(wanted, room), reason=_bounded(why, wanted, room)
    )


def _bounded(why: str, wanted: int, room: int) -> str:
    return why if wanted <= room else f"{why}, cut to the {room} that half of the series hold before a horizon"


def main_season(seasons: Sequence[Season]) -> int:
    """The shortest of them that is at least half as strong as the strongest, in steps; 1 where there is none."""
    strongest = max((one.strength for one in seasons), default=0.0)
    return next((one.period for one in seasons if one.strength >= strongest / 2), 1)


def with_detected_season(panel: Panel) -> Panel:
    """The panel with the season its data show, 1 where they show none.

    Where no series is long enough to tell (three seasons), the season stays what it was.
    """
    found = detect_seasons(panel)
    if found:
        return replace(panel, season=main_season(found))
    least = min(calendar_seasons(panel.freq), default=2)
    told = len(panel) > 0 and int(panel.lengths.max()) > LEAST_CYCLES * least
    return replace(panel, season=1) if told else panel


# One series: calm values, and changes without memory


@dataclass(frozen=True, kw_only=True, slots=True)
class _Series:
    """One series of the sample, ready to be looked at."""

    place: int  # of its first row on the clock, in steps
    calm: FloatArray  # (T,) without holes and outlying changes, mean 0
    steps: FloatArray  # (T - 1,) what each step adds to what the one before let expect; variance 1


def _sample(panel_or_values: Panel | FloatArray) -> list[_Series]:
    """The series to look at."""
    if not isinstance(panel_or_values, Panel):
        if panel_or_values.ndim != 1:
            raise OptionError(f"values must be (T,), got {panel_or_values.ndim} dimensions", field="values")
        one = _prepared(panel_or_values[-MOST_ROWS:], 0)
        return [] if one is None else [one]
    panel = panel_or_values
    if not len(panel):
        return []
    long = np.flatnonzero(panel.lengths >= np.median(panel.lengths))
    chosen = panel.select(long[np.unique(np.linspace(0, len(long) - 1, min(len(long), MOST_SERIES)).astype(np.int64))])
    chosen = chosen.tail(min(ROW_BUDGET // len(chosen), MOST_ROWS))
    firsts = zones_at(chosen.tz, chosen.zones, np.arange(len(chosen)))
    places = places_on_clock(chosen.timestamps[chosen.offsets[:-1]], panel.freq, firsts)
    prepared = [_prepared(target, int(place)) for place, (_, target) in zip(places, chosen, strict=True)]
    return [one for one in prepared if one is not None]


def _prepared(target: FloatArray, place: int) -> _Series | None:
    """The series from its first to its last observation; None where half is missing or nothing ever changes."""
    rows = np.flatnonzero(np.isfinite(target))
    if len(rows) < 4 or 2 * len(rows) < rows[-1] - rows[0] + 1:
        return None
    unit = np.abs(target[rows]).max()
    filled = np.interp(np.arange(rows[0], rows[-1] + 1), rows, target[rows] / unit) if unit > 0 else np.zeros(2)
    changes = np.diff(filled)
    changes -= np.median(changes)  # the trend
    usual = 1.4826 * float(np.median(np.abs(changes))) or 2 * float(np.abs(changes).mean())  # mostly unchanged: the mean
    if usual < 1e-12:  # the rounding of a straight line
        return None
    calm = np.concatenate([[0.0], np.cumsum(np.clip(changes / usual, -OUTLYING, OUTLYING))])
    calm -= calm.mean()
    variance = float(calm @ calm)
    memory = min(max(float(calm[1:] @ calm[:-1]) / variance, 0.0), 1.0) if variance > 0 else 0.0
    steps = calm[1:] - memory * calm[:-1]
    deviation = float(steps.std())
    return _Series(place=place + int(rows[0]), calm=calm, steps=steps / deviation) if deviation > 0 else None


def _together(sample: list[_Series]) -> FloatArray:
    """The mean step of all series at each place of the clock, with the variance of one step, (T,): noise of their own cancels.

    Seasons that the series have in common show here though each alone is too noisy.
    """
    last = max(one.place + len(one.steps) for one in sample)
    first = max(min(one.place for one in sample), last - MOST_ROWS)
    total, count = np.zeros(last - first), np.zeros(last - first)
    for one in sample:
        skipped = max(first - one.place, 0)
        kept = one.steps[skipped:]
        start = one.place + skipped - first
        total[start : start + len(kept)] += kept
        count[start : start + len(kept)] += 1
    mean: FloatArray = total / np.sqrt(np.maximum(count, 1))
    return mean


# Lines in a spectrum


def _threshold(tests: int) -> float:
    """Standard deviations that chance exceeds once in 1 / FALSE_ALARMS series that are tested so often."""
    return NormalDist().inv_cdf(1 - FALSE_ALARMS / max(tests, 1))


def _shows(sample: list[_Series], together: FloatArray, period: int, known: tuple[int, ...], threshold: float) -> bool:
    """Whether the sample has a season of `period` steps beside the `known` ones."""
    evidence = np.array([line_evidence(one.steps, period, known) for one in sample])
    told = evidence[~np.isnan(evidence)]
    if not told.size:
        return False
    showing = int((told > threshold).sum())
    enough = showing >= max(SHARE * told.size, 2 if told.size > 3 else 1)
    return enough or (told.size > 1 and line_evidence(together, period, known) > threshold)


def line_evidence(steps: FloatArray, period: int, known: Sequence[int] = ()) -> float:
    """How far the lines of a season stand out of the spectrum, in standard deviations of chance; NaN where too short.

    The series is cut into pieces of whole seasons, `CYCLES` of them or a few more, so that the lines fall on frequencies of
    the transform; the power at each is divided by that of the frequencies around it. The larger of two tests counts: of
    the first `LOW_LINES` lines, and of all.

    Args:
        steps: (T,) noise without memory, and maybe a season.
        period: steps.
        known: seasons whose lines do not count.
    """
    cycles = len(steps) // period
    if cycles < LEAST_CYCLES:
        return float("nan")
    pieces = -(-cycles // max(CYCLES, LEAST_PIECE // period))
    cycles //= pieces
    size = cycles * period
    power = (np.abs(np.fft.rfft(steps[-pieces * size :].reshape(pieces, size), axis=1)) ** 2).mean(axis=0)  # (size // 2 + 1,)
    degrees = np.full(len(power), 2.0)
    degrees[0] = 0.0
    if size % 2 == 0:
        degrees[-1] = 1.0
    between = degrees.copy()
    between[::cycles] = 0.0  # the lines themselves
    lines = np.arange(1, period // 2 + 1)
    reach = min(cycles, CYCLES)
    low, high = lines * cycles - reach, np.minimum(lines * cycles + reach, len(power) - 1)
    weight, weighted = (np.concatenate([[0.0], np.cumsum(one)]) for one in (between, between * power))
    count = weight[high + 1] - weight[low]
    background = (weighted[high + 1] - weighted[low]) / count
    new = np.ones(len(lines), dtype=bool)
    for shorter in known:
        new &= lines * shorter % period != 0
    if not new.any():
        return float("nan")
    count = pieces * count[new]
    floor = 1e-12 * float(power.mean()) + 1e-300
    ratio = power[lines[new] * cycles] / np.maximum(background[new], floor) * (count - 2) / count  # mean 1 under chance
    own = degrees[lines[new] * cycles]
    return max(_deviations(ratio[:few], own[:few], count[:few], pieces, cycles) for few in {min(LOW_LINES, len(own)), len(own)})


def _deviations(ratio: FloatArray, own: FloatArray, count: FloatArray, pieces: int, cycles: int) -> float:
    """The F statistic of some lines as a standard normal number (Paulson 1942)."""
    shared = 2 if len(own) > 1 else 1  # neighbours share what lies between them
    few = (cycles - 2) / (cycles - 1)  # a background of few frequencies is less sure than its degrees of freedom say
    above, below = 2 / (9 * pieces * own.sum()), 2 / (9 * count.sum() / shared * few)
    root = np.cbrt((own * ratio).sum() / own.sum())
    return float(((1 - below) * root - (1 - above)) / np.sqrt(below * root**2 + above))


# Clocks without a calendar


def _searched(sample: list[_Series], together: FloatArray, most: int) -> tuple[int, ...]:
    """Seasons of an integer clock: the one that the peaks of the autocorrelation repeat, and multiples that add to it."""
    changes, levels = _mean_autocorrelation([one.steps for one in sample]), _mean_autocorrelation([one.calm for one in sample])
    peaks = sorted({*_peaks(changes), *_peaks(levels)})
    threshold = _threshold(2 * max(len(changes), 1))
    found = [period for period in peaks if _shows(sample, together, period, (), threshold)]
    if not found:
        return ()
    height = {period: float(changes[period - 1 : period + 2].max()) for period in found}
    best = max(height.values())
    first = next(period for period in found if height[period] >= NEAR_BEST * best)
    near = [period for period in found if abs(period - first) <= max(0.03 * first, 1)]
    first = max(near, key=lambda period: float(np.nanmean([line_evidence(one.steps, period) for one in sample])))
    periods: tuple[int, ...] = (first,)
    for times in sorted({round(period / first) for period in found if abs(period / first - round(period / first)) < 0.1} - {1}):
        if times > 1 and len(periods) < most and _shows(sample, together, times * first, periods, threshold):
            periods = (*periods, times * first)
    return periods


def _mean_autocorrelation(values: list[FloatArray]) -> FloatArray:
    """Mean autocorrelation of the series at each lag up to a third of most of them, (L,)."""
    longest = max(len(one) for one in values) // LEAST_CYCLES
    total, count = np.zeros(longest + 1), np.zeros(longest + 1)
    for one in values:
        reach = len(one) // LEAST_CYCLES
        total[: reach + 1] += np.nan_to_num(autocorrelation(one, reach)) * len(one) / (len(one) - np.arange(reach + 1))
        count[: reach + 1] += 1
    mean: FloatArray = (total / np.maximum(count, 1))[count >= len(values) / 2]
    return mean


def _peaks(correlation: FloatArray) -> list[int]:
    """Lags of the highest local maxima."""
    inner = correlation[2:-1]
    lags = 2 + np.flatnonzero((inner > correlation[1:-2]) & (inner >= correlation[3:]))
    highest: list[int] = lags[np.argsort(-correlation[lags], kind="stable")][:MOST_PEAKS].tolist()
    return highest


# Strength


def _measured(sample: list[_Series], period: int, periods: Sequence[int]) -> Season:
    """One of the seasons `periods` with its numbers."""
    shorter = tuple(one for one in periods if one < period)
    evidence = np.array([line_evidence(one.steps, period, shorter) for one in sample])
    told = np.flatnonzero(~np.isnan(evidence))
    showing = told[evidence[told] > _threshold(2 * len(periods))]
    measured = np.array([_strength(sample[i].calm, period, shorter) for i in (showing if showing.size else told)])
    strength, acf = np.median(measured, axis=0)
    return Season(period=period, strength=float(strength), acf=float(acf), share=len(showing) / len(told))


def _strength(calm: FloatArray, period: int, shorter: tuple[int, ...]) -> tuple[float, float]:
    """(strength, autocorrelation at `period`) of one series.

    Strength is 1 - Var(rest) / Var(season + rest), the variance of the rest with the degrees of freedom it has, so that
    noise alone has 0 in the mean.
    """
    rest = calm
    for one in shorter:
        rest = rest - _course(rest - moving_average(rest, one), one)
        rest = rest[~np.isnan(rest)]
    away = rest - moving_average(rest, period)
    away = away[~np.isnan(away)]
    away = away - away.mean()
    whole, left = float(away @ away), away - _course(away, period)
    free = 1 - 1 / min(COURSE, len(away) / period)  # of the variance of noise, what is left around a mean that it is part of
    strength = max(0.0, 1 - float(left @ left) / free / whole) if whole > 0 else 0.0
    return strength, float(np.nan_to_num(autocorrelation(away, [period])[0]))


def moving_average(values: FloatArray, period: int) -> FloatArray:
    """Mean over one season around each row, (T,); NaN within half a season of the ends.

    An even season has no middle: the first and the last of its period + 1 rows count half.
    """
    half = period // 2
    found = np.full(len(values), np.nan)
    if len(values) > 2 * half:
        total = np.concatenate([[0.0], np.cumsum(values)])
        sums = total[period:] - total[:-period]  # of `period` rows from each row on, (T - period + 1,)
        found[half : len(values) - half] = (sums if period % 2 else (sums[1:] + sums[:-1]) / 2) / period
    return found


def _course(detrended: FloatArray, period: int) -> FloatArray:
    """Mean of the same phase over the `COURSE` seasons around each row (those there are, at the ends), (T,); NaN stay.

    A season may change its shape, and its length a little, from year to year.
    """
    cycles = -(-len(detrended) // period)
    padded = np.full(cycles * period, np.nan)
    padded[: len(detrended)] = detrended
    by_phase = padded.reshape(cycles, period)
    seen = ~np.isnan(by_phase)
    total, count = (
        np.concatenate([np.zeros((1, period)), np.cumsum(one, axis=0)]) for one in (np.where(seen, by_phase, 0.0), seen)
    )
    width = min(COURSE, cycles)
    low = np.clip(np.arange(cycles) - width // 2, 0, cycles - width)
    means = (total[low + width] - total[low]) / np.maximum(count[low + width] - count[low], 1)
    course: FloatArray = np.where(seen, means, np.nan).ravel()[: len(detrended)]
    return course
