"""Panel -> trend, seasons and remainder of each series, by the loess of statsmodels (STL for one season, MSTL for several)."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from tsforecast.errors import OptionError
from tsforecast.panel import FloatArray, Panel, wall_labels
from tsforecast.preprocessing.grouped import mean_and_deviation
from tsforecast.preprocessing.seasonality import detect_seasons

if TYPE_CHECKING:
    import pandas as pd

Method = Literal["auto", "stl", "mstl"]

ROWS_PER_SEASON = 40  # at which the loess of the trend is taken, in the longest season, if not all
ROWS_PER_SHORTEST = 2  # and at least so many in the shortest
LEAST_ROWS = 4  # a shorter series has its mean for a trend
TREND_SHARE = 0.25  # of a series without a season: the rows whose course makes the trend at a row
TREND_ROWS = 7  # and no fewer than these
ROBUST_ITERATIONS = 3  # of the trend of a series without a season
ROUNDING = 1e-10  # of the largest value of a series: what varies less does not vary


@dataclass(frozen=True, kw_only=True, slots=True)
class Decomposition:
    """The rows of a panel taken apart: target = trend + sum of the seasons + remainder wherever it was observed.

    Trend and seasons go on through holes, where the remainder is NaN; before the first and after the last observation of a
    series all are NaN.
    """

    panel: Panel  # what was taken apart, N rows
    seasons: tuple[int, ...]  # (K,) steps, ascending; () = trend only
    trend: FloatArray  # (N,) units of the target
    seasonal: FloatArray  # (N, K) units of the target, 0 where a series is too short for the season
    remainder: FloatArray  # (N,) units of the target
    reduced: tuple[tuple[str, str], ...] = ()  # (series id, which seasons it could not show and why)

    def __post_init__(self) -> None:
        for array in (self.trend, self.seasonal, self.remainder):
            array.setflags(write=False)

    def to_frame(self) -> "pd.DataFrame":
        """One row per row of the panel: unique_id, ds (on the wall clock of the series), y, trend, seasonal_24 …, remainder."""
        import pandas as pd

        panel = self.panel
        zones = tuple(np.repeat(np.asarray(panel.zones, dtype=object), panel.lengths)) if panel.zones else ()
        columns: dict[str, Any] = {
            "unique_id": np.repeat(np.asarray(panel.series_ids, dtype=object), panel.lengths),
            "ds": wall_labels(panel.timestamps[:, None], panel.tz, zones),
            "y": panel.target,
            "trend": self.trend,
        }
        columns |= {f"seasonal_{season}": self.seasonal[:, k] for k, season in enumerate(self.seasons)}
        return pd.DataFrame(columns | {"remainder": self.remainder})

    def strengths(self) -> "pd.DataFrame":
        """How much of each series its parts explain, one row per series: unique_id, trend, seasonal_24 …; each within 0 … 1.

        1 - Var(remainder) / Var(part + remainder), not less than 0 (Wang, Smith & Hyndman 2006); NaN where the part does not
        vary, as the season of a series too short for it.
        """
        import pandas as pd

        parts = {"trend": self.trend, **{f"seasonal_{season}": self.seasonal[:, k] for k, season in enumerate(self.seasons)}}
        left = self._deviation(self.remainder)
        columns: dict[str, Any] = {"unique_id": np.asarray(self.panel.series_ids, dtype=object)}
        for name, part in parts.items():
            whole = self._deviation(part + self.remainder)
            ratio = np.divide(left, whole, out=np.full(len(left), np.nan), where=(self._deviation(part) > 0) & (whole > 0))
            columns[name] = np.maximum(1 - ratio**2, 0.0)
        return pd.DataFrame(columns)

    def _deviation(self, values: FloatArray) -> FloatArray:
        """Standard deviation of each series, (S,); 0 where it is but the rounding of the values."""
        deviation = mean_and_deviation(values, self.panel.offsets)[1]
        size = np.fmax.reduceat(np.abs(np.nan_to_num(self.panel.target)), self.panel.offsets[:-1])
        return np.where(deviation > ROUNDING * size, deviation, 0.0)


def decompose(
    panel: Panel, *, seasons: Sequence[int] | None = None, method: Method = "auto", robust: bool = False
) -> Decomposition:
    """Trend, seasons and remainder of every series.

    A series needs more than two of a season to show it; where it has fewer, that season is 0 and `reduced` says so. Without any
    season the trend is a local line (lowess). Holes are bridged by straight lines first. STL and MSTL run with the defaults
    of statsmodels, but for seasons of 80 steps and more the loess of the trend is taken at some rows only and interpolated
    between, which moves it by a few hundredths of the remainder. A short series takes milliseconds, 50,000 rows with seasons
    of 48 and 336 steps take seconds, `robust` five to ten times as long.

    Args:
        seasons: steps; None = those that `detect_seasons` finds, or else the panel's, () = trend only.
        method: "stl" takes one season, "mstl" any number, "auto" the one that fits.
        robust: outliers go to the remainder and leave trend and seasons alone.

    Raises:
        OptionError: a season is not an int of 2 or more, there is no such method, or "stl" is to take several seasons.
    """
    chosen = _seasons(panel, seasons)
    if method not in get_args(Method):
        raise OptionError(f"no method {method!r}; there are {', '.join(get_args(Method))}", field="method")
    if method == "stl" and len(chosen) > 1:
        raise OptionError(f"method 'stl' takes one season, got {list(chosen)}; use 'mstl' or 'auto'", field="method")
    trend = np.full(len(panel.target), np.nan)
    seasonal = np.full((len(panel.target), len(chosen)), np.nan)
    reduced = []
    for series_id, (start, end) in zip(panel.series_ids, pairwise(panel.offsets.tolist()), strict=True):
        rows = start + np.flatnonzero(~np.isnan(panel.target[start:end]))
        if not rows.size:
            reduced.append((series_id, "no observations"))
            continue
        inner = slice(int(rows[0]), int(rows[-1]) + 1)
        filled = np.interp(np.arange(inner.start, inner.stop), rows, panel.target[rows])
        shown = [k for k, season in enumerate(chosen) if 2 * season < len(filled)]
        if len(shown) < len(chosen):
            lacking = " and ".join(str(season) for k, season in enumerate(chosen) if k not in shown)
            reduced.append((series_id, f"{len(filled)} steps from first to last observation, not more than two of {lacking}"))
        seasonal[inner] = 0.0
        trend[inner], seasonal[inner, shown] = _parts(filled, [chosen[k] for k in shown], method, robust)
    return Decomposition(
        panel=panel,
        seasons=chosen,
        trend=trend,
        seasonal=seasonal,
        remainder=panel.target - trend - seasonal.sum(axis=1),
        reduced=tuple(reduced),
    )


def _seasons(panel: Panel, seasons: Sequence[int] | None) -> tuple[int, ...]:
    """The seasons to look for, ascending."""
    if seasons is None:
        found = tuple(one.period for one in detect_seasons(panel))
        return found or ((panel.season,) if panel.season > 1 else ())
    for one in seasons:
        if isinstance(one, bool) or not isinstance(one, int | np.integer) or one < 2:
            raise OptionError(f"seasons must be numbers of steps from 2 on, got {one!r}", field="seasons")
    return tuple(sorted({int(one) for one in seasons}))


def _parts(filled: FloatArray, seasons: list[int], method: Method, robust: bool) -> tuple[FloatArray, FloatArray]:
    """(trend (T,), seasons (T, K)) of one series without holes."""
    if not seasons:
        return _trend(filled, robust), np.empty((len(filled), 0))
    from statsmodels.tsa.seasonal import MSTL, STL

    jump = max(1, min(seasons[-1] // ROWS_PER_SEASON, seasons[0] // ROWS_PER_SHORTEST))
    options = {"robust": robust, "trend_jump": jump, "low_pass_jump": jump}
    if len(seasons) == 1 and method != "mstl":
        found = STL(filled, period=seasons[0], **options).fit()
        return found.trend, found.seasonal[:, None]
    found = MSTL(filled, periods=seasons, stl_kwargs=options).fit()
    return found.trend, np.asarray(found.seasonal).reshape(len(filled), len(seasons))


def _trend(filled: FloatArray, robust: bool) -> FloatArray:
    """The course of a series without a season, (T,)."""
    rows = len(filled)
    if rows < LEAST_ROWS:
        return np.full(rows, filled.mean())
    from statsmodels.nonparametric.smoothers_lowess import lowess

    share = min(max(TREND_SHARE, TREND_ROWS / rows) * (2 if robust else 1), 1.0)  # robust: more neighbours outvote an outlier
    found: FloatArray = lowess(
        filled, np.arange(rows), frac=share, it=ROBUST_ITERATIONS if robust else 0, delta=0.01 * rows, return_sorted=False
    )
    return found
