"""Values of many series -> which of them are outliers: the one rule by which a check finds them and a repair mends them."""

from collections.abc import Sequence

import numpy as np

from tsforecast.panel import FloatArray, IntArray
from tsforecast.preprocessing.calendar import BoolArray
from tsforecast.preprocessing.grouped import quantiles_of, seen_in
from tsforecast.preprocessing.robust import MAD_TO_DEVIATION, deviations, medians_by_series

LEAST = 10  # observed values below which nothing is said
FAR = 8.0  # robust deviations of an outlier
TAIL = (0.98, 3.0)  # an outlier is that many times as far off as this share of the values
ON_LOGS = 6.0  # robust deviations of the logarithm, in series that are never negative


@np.errstate(all="ignore")  # differences and ratios near the largest float; what is not finite is no outlier
def outliers_in(
    values: FloatArray, offsets: IntArray, season: int, *, seasons: Sequence[int] = (), threshold: float = FAR
) -> tuple[BoolArray, FloatArray]:
    """(where the outliers are, how far each value is from what its season says, in robust deviations), (N,) each.

    An outlier is far from its season and from its neighbours, farther than a few in a hundred of its series are, and its
    logarithm is far too: peaks that come again, holidays of a year, sizes that vary by factors are none.

    Args:
        values: (N,), NaN = not observed, series end to end.
        offsets: (S + 1,), no series empty.
        season: steps; 1 = none.
        seasons: others that the series have; an outlier is far from them too.
        threshold: robust deviations.
    """
    lengths = np.diff(offsets)
    by_season = deviations(values, offsets, season)
    far = np.abs(by_season) > threshold
    far &= np.repeat(seen_in(values, offsets) >= LEAST, lengths)
    if not far.any():
        return far, by_season
    far &= np.abs(by_season) > TAIL[1] * np.repeat(quantiles_of(np.abs(by_season), offsets, [TAIL[0]])[0], lengths)
    for other in {1, *seasons} - {season}:  # a shift is far from its season for a while, but not from its neighbours
        if far.any():
            far &= np.abs(deviations(values, offsets, other)) > threshold / 2
    far &= _far_on_logs(values, offsets, season)
    return far, by_season


def _far_on_logs(values: FloatArray, offsets: IntArray, season: int) -> BoolArray:
    """True where the logarithm is far from the rule as well, or cannot be taken: sizes that vary by factors are no outliers."""
    lengths = np.diff(offsets)
    typical = medians_by_series(np.where(values != 0, np.abs(values), np.nan), offsets)
    never_negative = np.repeat(np.fmin.reduceat(values, offsets[:-1]) >= 0, lengths)
    zeros = np.add.reduceat(values == 0, offsets[:-1], dtype=np.int64)
    often_zero = np.repeat(10 * zeros > seen_in(values, offsets), lengths)
    logs = np.log(np.where(never_negative, values, np.nan) + 0.1 * np.repeat(typical, lengths))
    by_season = deviations(np.where(often_zero, np.nan, logs), offsets, season)
    sizes = np.where(often_zero & (values > 0), logs, np.nan)  # of intermittent demand: against all sizes
    middle = np.repeat(medians_by_series(sizes, offsets), lengths)
    spread = np.repeat(MAD_TO_DEVIATION * medians_by_series(np.abs(sizes - middle), offsets), lengths)
    away = np.where(often_zero, (sizes - middle) / np.fmax(spread, 0.1), by_season)
    return (np.abs(away) > ON_LOGS) | ~never_negative
