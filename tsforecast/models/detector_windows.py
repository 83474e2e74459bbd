"""Rows of many series -> the length of the windows that detectors look at."""

from collections.abc import Sequence

import numpy as np

from tsforecast.errors import OptionError
from tsforecast.models.detector import Rows, refuse_short
from tsforecast.panel import FloatArray
from tsforecast.preprocessing.seasonality import autocorrelation

SHORTEST, LONGEST, OPEN = 16, 256, 64  # steps of a window; where the data show no period
LOWEST_LAG, HIGHEST_LAG = 3, 400  # at which a period is looked for
MOST_ROWS, MOST_SERIES = 20_000, 50  # looked at


def check_window(window: int | None, *, least: int = 2) -> None:
    """Raises OptionError where a window is no number of steps."""
    if window is None:
        return
    if not isinstance(window, int) or isinstance(window, bool) or window < least:
        raise OptionError(
            f"window must be at least {least} steps, or none to tell it from the data, got {window!r}", field="window"
        )


def choose_window(series: Sequence[Rows], given: int | None = None) -> int:
    """Steps of a window: as given, else the main period of the data, and no more than a third of the longest series.

    That is a quarter of its history, of which a quarter is held out.

    Raises:
        HistoryTooShort: no series has four windows of the shortest length.
    """
    longest = max((len(rows) for rows in series), default=0)
    if given is not None:
        if longest < 2 * given:
            refuse_short(series, need=2 * given)
        return given
    if longest < 2 * SHORTEST:
        refuse_short(series, need=2 * SHORTEST)
    period = period_of(series)
    return int(np.clip(OPEN if period is None else period, SHORTEST, max(min(LONGEST, longest // 3), SHORTEST)))


def period_of(series: Sequence[Rows]) -> int | None:
    """Main period of the data, as it was told with the rows or as they show it, in steps; None = there is none.

    A fit looks for it in all rows, those that are held out too: how long a day is, is not what they calibrate.
    """
    told = series[0].period if len(series) else None
    return main_period(series) if told is None else told or None


def main_period(series: Sequence[Rows], *, highest: int = HIGHEST_LAG) -> int | None:
    """Lag of the highest local maximum of the mean autocorrelation of the detrended channels, in steps; None = there is none."""
    picked = [series[i] for i in np.unique(np.linspace(0, len(series) - 1, min(len(series), MOST_SERIES)).astype(int))]
    total, count = np.zeros(highest + 1), np.zeros(highest + 1)
    for rows in picked:
        values = rows.values[-MOST_ROWS:]
        lags = min(highest, len(values) // 3)
        if lags <= LOWEST_LAG + 1:
            continue
        for c in range(values.shape[1]):
            found = autocorrelation(_detrended(values[:, c]), lags)
            if np.isfinite(found).all():
                total[: lags + 1] += found
                count[: lags + 1] += 1
    known = count >= max(count.max() / 2, 1)
    mean = (total / np.maximum(count, 1))[known]
    inner = mean[LOWEST_LAG:-1]
    peaks = LOWEST_LAG + np.flatnonzero((inner > mean[LOWEST_LAG - 1 : -2]) & (inner >= mean[LOWEST_LAG + 1 :]))
    peaks = peaks[mean[peaks] > 0] if len(peaks) else peaks
    return int(peaks[np.argmax(mean[peaks])]) if len(peaks) else None


def _detrended(values: FloatArray) -> FloatArray:
    """Without its straight line."""
    seen = np.flatnonzero(np.isfinite(values))
    if len(seen) < 3:
        return values
    slope, level = np.polyfit(seen, values[seen], 1)
    found: FloatArray = values - slope * np.arange(len(values)) - level
    return found
