"""Actuals and forecasts -> numbers. Every metric is one function over plain arrays, and gives one value per series.

Shapes: `actual` (S, H), NaN = not observed, so not scored; `forecast` (S, H); `lower`, `upper` (S, H); `quantiles` (S, H, Q).
`scale` and `squared_scale` are (S,), or (S, H) where they differ between the steps of a series (folds side by side).
The answer is (S,); NaN where nothing of a series can be scored. A NaN forecast of an observed value makes its series NaN.

Over a panel (`Score.total`): the mean over the series that have a value. Two metrics are ratios of sums over the whole
panel instead (wape, wql), and owa averages before it divides, as the M4 organisers do.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tsforecast.errors import HorizonError, ModelError, OptionError
from tsforecast.panel import FloatArray, Panel

BoolArray = npt.NDArray[np.bool_]

# ---------------------------------------------------------------- point forecasts


def mae(actual: FloatArray, forecast: FloatArray) -> FloatArray:
    """Mean absolute error, units of the target."""
    return _mean(np.abs(actual - forecast), np.isfinite(actual))


def rmse(actual: FloatArray, forecast: FloatArray) -> FloatArray:
    """Root of the mean squared error, units of the target."""
    return np.sqrt(_mean((actual - forecast) ** 2, np.isfinite(actual)))


def bias(actual: FloatArray, forecast: FloatArray) -> FloatArray:
    """Mean of forecast - actual, units of the target: positive = the forecasts are too high."""
    return _mean(forecast - actual, np.isfinite(actual))


def mape(actual: FloatArray, forecast: FloatArray) -> FloatArray:
    """Mean absolute percentage error, percent of the actual.

    A step whose actual is 0 has no percentage and is not scored; a series of zeros is NaN.
    """
    scored = np.isfinite(actual) & (actual != 0)
    return 100 * _mean(_divide(np.abs(actual - forecast), np.abs(actual)), scored)


def smape(actual: FloatArray, forecast: FloatArray) -> FloatArray:
    """Symmetric percentage error as in M4: mean of 200 |y - f| / (|y| + |f|), from 0 to 200; 0 where y = f = 0."""
    error, size = np.abs(actual - forecast), np.abs(actual) + np.abs(forecast)
    ratio = np.where(size == 0, 0.0, _divide(error, size))
    return 200 * _mean(ratio, np.isfinite(actual))


def wape(actual: FloatArray, forecast: FloatArray) -> FloatArray:
    """Sum of absolute errors / sum of absolute actuals, a fraction; NaN for a series of zeros."""
    scored = np.isfinite(actual)
    return _divide(_sum(np.abs(actual - forecast), scored), _sum(np.abs(actual), scored))


def mase(actual: FloatArray, forecast: FloatArray, scale: FloatArray) -> FloatArray:
    """Mean absolute error in units of `seasonal_scale` of the history (Hyndman & Koehler 2006).

    Where the scale is 0 or NaN (a history that repeats itself, or is not longer than a season) nothing is scored.
    """
    per_step = _per_step(scale, actual)
    return _mean(_divide(np.abs(actual - forecast), per_step), np.isfinite(actual) & (per_step > 0))


def rmsse(actual: FloatArray, forecast: FloatArray, squared_scale: FloatArray) -> FloatArray:
    """Root of the mean squared error in units of `squared_seasonal_scale` (M5); unscored as in `mase`."""
    per_step = _per_step(squared_scale, actual)
    return np.sqrt(_mean(_divide((actual - forecast) ** 2, per_step), np.isfinite(actual) & (per_step > 0)))


def owa(actual: FloatArray, forecast: FloatArray, naive2: FloatArray, scale: FloatArray) -> float:
    """Overall weighted average of M4: mean of sMAPE and of MASE, each divided by that of Naive2, over all series at once.

    Args:
        naive2: forecasts of the function `naive2`, (S, H).

    Only series that both forecasts are scored on count. NaN where there are none, or Naive2 makes no error.
    """
    own, reference = _owa_parts(actual, forecast, naive2, scale)  # (2, S) each
    both = np.isfinite(own).all(axis=0) & np.isfinite(reference).all(axis=0)
    return float(_divide(own[:, both].sum(axis=1), reference[:, both].sum(axis=1)).mean())


def owa_per_series(actual: FloatArray, forecast: FloatArray, naive2: FloatArray, scale: FloatArray) -> FloatArray:
    """`owa` of each series alone. Their mean is not the panel's `owa`, which averages before it divides."""
    own, reference = _owa_parts(actual, forecast, naive2, scale)
    return np.asarray(_divide(own, reference).mean(axis=0), dtype=np.float64)


# ---------------------------------------------------------------- intervals and quantiles


def coverage(actual: FloatArray, lower: FloatArray, upper: FloatArray) -> FloatArray:
    """Share of actuals inside [lower, upper], 0 to 1; an 80 % interval should have 0.8."""
    return _mean(_nan_where_nan((actual >= lower) & (actual <= upper), lower, upper), np.isfinite(actual))


def interval_width(actual: FloatArray, lower: FloatArray, upper: FloatArray) -> FloatArray:
    """Mean of upper - lower over the observed steps, units of the target."""
    return _mean(upper - lower, np.isfinite(actual))


def msis(actual: FloatArray, lower: FloatArray, upper: FloatArray, scale: FloatArray, *, level: float) -> FloatArray:
    """Mean scaled interval score of a `level` % interval, as in M4; unscored as in `mase`.

    Width, plus 2 / (1 - level / 100) times what an actual lies outside, in units of `seasonal_scale`.
    """
    penalty = 2 / (1 - level / 100)
    outside = np.maximum(lower - actual, 0) + np.maximum(actual - upper, 0)
    per_step = _per_step(scale, actual)
    return _mean(_divide(upper - lower + penalty * outside, per_step), np.isfinite(actual) & (per_step > 0))


def pinball(actual: FloatArray, quantiles: FloatArray, quantile_levels: Sequence[float]) -> FloatArray:
    """Quantile loss max(q e, (q - 1) e), e = y - f, units of the target, mean over steps and levels; at 0.5 half of `mae`."""
    return _mean(_pinball_steps(actual, quantiles, quantile_levels).mean(axis=-1), np.isfinite(actual))


def wql(actual: FloatArray, quantiles: FloatArray, quantile_levels: Sequence[float]) -> FloatArray:
    """Weighted quantile loss as in GluonTS: 2 * sum of pinball / sum of |y|, mean over levels, a fraction.

    At level 0.5 alone it is `wape`. NaN for a series of zeros.
    """
    scored = np.isfinite(actual)
    loss = _pinball_steps(actual, quantiles, quantile_levels).mean(axis=-1)  # (S, H)
    return _divide(2 * _sum(loss, scored), _sum(np.abs(actual), scored))


def crps(actual: FloatArray, quantiles: FloatArray, quantile_levels: Sequence[float]) -> FloatArray:
    """Continuous ranked probability score, units of the target, from quantiles.

    Exact for the distribution whose quantile function is linear between the levels and flat beyond the outermost ones:
    the integral of (F(x) - 1[x >= y])^2, in closed form between two quantiles. One level alone gives `mae`. More levels come
    closer to the score of the model's whole distribution, so compare only forecasts with the same levels.
    """
    levels = np.asarray(quantile_levels, dtype=np.float64)
    beyond = np.maximum(quantiles[..., 0] - actual, 0) + np.maximum(actual - quantiles[..., -1], 0)  # (S, H)
    total = np.array(beyond)
    for k in range(len(levels) - 1):
        left, right = quantiles[..., k], quantiles[..., k + 1]  # (S, H)
        below, above = levels[k], levels[k + 1]
        cut = np.clip(actual, left, right)
        at_cut = below + (above - below) * np.where(right > left, _divide(cut - left, right - left), 0.0)  # F(cut)
        total += (cut - left) / 3 * (below**2 + below * at_cut + at_cut**2)
        total += (right - cut) / 3 * ((1 - at_cut) ** 2 + (1 - at_cut) * (1 - above) + (1 - above) ** 2)
    return _mean(total, np.isfinite(actual))


# ---------------------------------------------------------------- all of them at once


@dataclass(frozen=True, kw_only=True, slots=True)
class Score:
    """Every metric by its stable name, over the panel and per series."""

    total: dict[str, float]
    per_series: dict[str, FloatArray]  # name -> (S,)


def score(
    *,
    actual: FloatArray,
    quantiles: FloatArray,
    quantile_levels: Sequence[float],
    scale: FloatArray | None = None,
    squared_scale: FloatArray | None = None,
    naive2: FloatArray | None = None,
) -> Score:
    """All metrics of one forecast. The point forecast is the median, interpolated between the levels around 0.5.

    Names: mae rmse mape smape wape bias pinball wql crps; with `scale` mase; with `squared_scale` rmsse; for each symmetric
    pair of levels coverage_80 width_80 and, with `scale`, msis_80 (0.025 and 0.975: …_95); with `scale` and `naive2` owa.

    Raises:
        OptionError: 0.5 lies outside the levels.
        ModelError: the forecast of an observed value is not finite.
    """
    point = _median(quantiles, quantile_levels)
    _check_finite(actual, quantiles)
    one_row = (actual.reshape(1, -1), quantiles.reshape(1, -1, quantiles.shape[-1]), point.reshape(1, -1))
    per_series = {metric.__name__: metric(actual, point) for metric in (mae, rmse, mape, smape, wape, bias)}
    per_series |= {metric.__name__: metric(actual, quantiles, quantile_levels) for metric in (pinball, wql, crps)}
    for low, high, level in symmetric_pairs(quantile_levels):
        lower, upper = quantiles[..., low], quantiles[..., high]
        per_series[f"coverage_{level:g}"] = coverage(actual, lower, upper)
        per_series[f"width_{level:g}"] = interval_width(actual, lower, upper)
        if scale is not None:
            per_series[f"msis_{level:g}"] = msis(actual, lower, upper, scale, level=level)
    if scale is not None:
        per_series["mase"] = mase(actual, point, scale)
    if squared_scale is not None:
        per_series["rmsse"] = rmsse(actual, point, squared_scale)
    total = {name: mean_over_series(values) for name, values in per_series.items()}
    total["wape"] = float(wape(one_row[0], one_row[2])[0])
    total["wql"] = float(wql(one_row[0], one_row[1], quantile_levels)[0])
    if scale is not None and naive2 is not None:
        per_series["owa"] = owa_per_series(actual, point, naive2, scale)
        total["owa"] = owa(actual, point, naive2, scale)
    return Score(total=total, per_series=per_series)


def symmetric_pairs(quantile_levels: Sequence[float]) -> list[tuple[int, int, float]]:
    """(index of the lower level, index of the upper one, interval level in percent) of each pair around 0.5, widest first."""
    levels = np.asarray(quantile_levels, dtype=np.float64)
    pairs = []
    for low in np.flatnonzero(levels < 0.5):
        for high in np.flatnonzero(np.isclose(levels, 1 - levels[low], rtol=0, atol=1e-9)):
            pairs.append((int(low), int(high), round(float(100 * (levels[high] - levels[low])), 6)))
    return pairs


def mean_over_series(values: FloatArray) -> float:
    """Mean of the values (S,) that are numbers; NaN where there are none."""
    return float(_mean(values, ~np.isnan(values)))


# ---------------------------------------------------------------- scales and the reference forecast


def seasonal_scale(panel: Panel, *, season: int | None = None) -> FloatArray:
    """Mean |y_t - y_(t - season)| of each history, (S,): the unit of MASE and MSIS.

    `season` is in steps, None = the panel's (M4 takes 1 for yearly, weekly and daily series). Pairs with a missing value
    are left out; NaN for a series without a pair.
    """
    return _mean_difference(panel, _season(panel, season), np.abs)


def squared_seasonal_scale(panel: Panel, *, season: int | None = None) -> FloatArray:
    """Mean (y_t - y_(t - season))^2 of each history, (S,): the unit of RMSSE. Otherwise as `seasonal_scale`."""
    return _mean_difference(panel, _season(panel, season), np.square)


def naive2(panel: Panel, *, horizon: int, season: int | None = None) -> FloatArray:
    """Naive2 of the M4 organisers, (S, H): the last value, seasonally adjusted where the series is seasonal.

    Seasonal: at least three seasons long, and the autocorrelation at the season passes a 90 % test. Then the series is
    divided by the indices of a classical multiplicative decomposition, its last value repeated, and multiplied back.
    Missing values: left out of the autocorrelation and the indices; the last observed value is repeated; NaN for a series
    without any. Where an index is not a usable number (a series around zero) the series counts as not seasonal.
    Unlike R's `acf`, the test is not cut at lag 10 log10(n), which would call no weekly series with season 52 seasonal.
    """
    if horizon < 1:
        raise HorizonError(f"horizon must be a positive number of steps, got {horizon!r}", field="horizon")
    steps = _season(panel, season)
    return np.stack([_naive2_of(target, horizon, steps) for _, target in panel]) if len(panel) else np.zeros((0, horizon))


def is_seasonal(target: FloatArray, season: int) -> bool:
    """Whether the autocorrelation at lag `season` differs from 0 at 90 % (Bartlett's limits), as M4's SeasonalityTest."""
    observed = np.isfinite(target)
    count = int(observed.sum())
    if season < 2 or count < 3 * season or len(target) <= season:
        return False
    deviation = np.where(observed, target - target[observed].mean(), 0.0)
    variance = deviation @ deviation
    if not variance > 0:
        return False
    correlation = np.array([deviation[lag:] @ deviation[:-lag] for lag in range(1, season + 1)]) / variance  # (season,)
    limit = 1.645 / np.sqrt(count) * np.sqrt(1 + 2 * (correlation[:-1] ** 2).sum())
    return bool(abs(correlation[-1]) > limit)


def seasonal_indices(target: FloatArray, season: int) -> FloatArray:
    """Multiplicative indices (season,) with mean 1, from position 0 of `target`: R's `decompose(type="multiplicative")`.

    NaN where a position never has a full window of observations around it, or the trend there is 0.
    """
    if season % 2:
        weights, half = np.full(season, 1 / season), season // 2
    else:
        weights, half = np.concatenate([[0.5], np.ones(season - 1), [0.5]]) / season, season // 2
    trend = np.convolve(target, weights, mode="valid")  # (T - 2 half,), NaN spreads over its window
    ratio = _divide(target[half : half + len(trend)], trend)
    position = (np.arange(len(trend)) + half) % season
    known = np.isfinite(ratio)
    count = np.bincount(position[known], minlength=season).astype(np.float64)
    indices = _divide(np.bincount(position[known], weights=ratio[known], minlength=season), count)
    return _divide(indices, np.full(season, indices.mean()))


def _naive2_of(target: FloatArray, horizon: int, season: int) -> FloatArray:
    observed = np.flatnonzero(np.isfinite(target))
    if not len(observed):
        return np.full(horizon, np.nan)
    last = int(observed[-1])
    plain = np.full(horizon, target[last])
    if not is_seasonal(target, season):
        return plain
    indices = seasonal_indices(target, season)
    future = indices[(len(target) + np.arange(horizon)) % season]  # (H,)
    adjusted = _divide(target[last : last + 1], indices[last % season : last % season + 1]) * future
    return adjusted if np.isfinite(adjusted).all() else plain


# ---------------------------------------------------------------- shared arithmetic


def _mean(values: FloatArray, scored: BoolArray) -> FloatArray:
    """Mean along the last axis of what is scored; NaN where nothing is."""
    return _divide(_sum(values, scored), scored.sum(axis=-1).astype(np.float64))


def _sum(values: FloatArray, scored: BoolArray) -> FloatArray:
    return np.asarray(np.where(scored, values, 0.0).sum(axis=-1), dtype=np.float64)


def _divide(top: npt.NDArray[Any], bottom: npt.NDArray[Any]) -> FloatArray:
    """top / bottom, NaN where the bottom is 0 or NaN."""
    usable = np.isfinite(bottom) & (bottom != 0)
    shape = np.broadcast_shapes(np.shape(top), np.shape(bottom))
    quotient = np.full(shape, np.nan)
    np.divide(top, bottom, out=quotient, where=np.broadcast_to(usable, shape))
    return quotient


def _per_step(scale: FloatArray, actual: FloatArray) -> FloatArray:
    """A scale (S,) or (S, H) as (S, H)."""
    return np.broadcast_to(scale[:, None] if scale.ndim == 1 else scale, actual.shape)


def _nan_where_nan(inside: BoolArray, lower: FloatArray, upper: FloatArray) -> FloatArray:
    return np.where(np.isnan(lower) | np.isnan(upper), np.nan, inside.astype(np.float64))


def _pinball_steps(actual: FloatArray, quantiles: FloatArray, quantile_levels: Sequence[float]) -> FloatArray:
    """(S, H, Q)"""
    levels = np.asarray(quantile_levels, dtype=np.float64)
    error = actual[..., None] - quantiles
    return np.maximum(levels * error, (levels - 1) * error)


def _owa_parts(actual: FloatArray, forecast: FloatArray, naive2: FloatArray, scale: FloatArray) -> tuple[FloatArray, FloatArray]:
    own = np.stack([smape(actual, forecast), mase(actual, forecast, scale)])  # (2, S)
    return own, np.stack([smape(actual, naive2), mase(actual, naive2, scale)])


def _median(quantiles: FloatArray, quantile_levels: Sequence[float]) -> FloatArray:
    levels = np.asarray(quantile_levels, dtype=np.float64)
    if not levels[0] - 1e-12 <= 0.5 <= levels[-1] + 1e-12:
        raise OptionError(
            f"point metrics need the median, and 0.5 lies outside the quantile levels {levels[0]} … {levels[-1]}; add 0.5",
            field="quantile_levels",
        )
    upper = int(np.searchsorted(levels, 0.5 - 1e-12))
    if abs(levels[upper] - 0.5) < 1e-12:
        return quantiles[..., upper]
    weight = (0.5 - levels[upper - 1]) / (levels[upper] - levels[upper - 1])
    return np.asarray((1 - weight) * quantiles[..., upper - 1] + weight * quantiles[..., upper])


def _check_finite(actual: FloatArray, quantiles: FloatArray) -> None:
    broken = np.isfinite(actual) & ~np.isfinite(quantiles).all(axis=-1)
    if broken.any():
        series, step = np.argwhere(broken)[0]
        raise ModelError(
            f"the forecast of series number {series}, step {step + 1}, is {quantiles[series, step].tolist()}: not finite; "
            "a forecast has to be a number wherever there is an actual to score it with"
        )


def _season(panel: Panel, season: int | None) -> int:
    steps = panel.season if season is None else season
    if steps < 1:
        raise OptionError(f"season must be at least 1 step, got {steps}", field="season")
    return steps


def _mean_difference(panel: Panel, season: int, size: Any) -> FloatArray:
    """Mean of size(y_t - y_(t - season)) of each series, (S,)."""
    rows = np.flatnonzero(panel.row_in_series() >= season)
    owner = np.repeat(np.arange(len(panel)), np.maximum(panel.lengths - season, 0))
    differences = size(panel.target[rows] - panel.target[rows - season])
    known = np.isfinite(differences)
    count = np.bincount(owner[known], minlength=len(panel)).astype(np.float64)
    return _divide(np.bincount(owner[known], weights=differences[known], minlength=len(panel)), count)
