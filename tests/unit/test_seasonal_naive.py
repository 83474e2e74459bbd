"""Seasonal naive against numbers worked out by hand, a for-loop twin, and the coverage of real series."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

import tsforecast
from tsforecast.errors import HistoryTooShort, OptionError
from tsforecast.models.seasonal_naive import FLAT_SEASONS, SeasonalNaive
from tsforecast.panel import FloatArray, Panel

NAN = np.nan
LEVELS = (0.001, 0.05, 0.1, 0.3, 0.5, 0.77, 0.9, 0.999)


def panel_of(*series: list[float] | FloatArray, season: int = 4) -> Panel:
    lengths = [len(values) for values in series]
    return Panel(
        series_ids=tuple(f"s{i}" for i in range(len(series))),
        offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        timestamps=np.concatenate([np.arange(length) for length in lengths]).astype(np.int64),
        target=np.concatenate([np.asarray(values, dtype=np.float64) for values in series]),
        freq=1,
        season=season,
    )


def forecast(panel: Panel, horizon: int, levels: tuple[float, ...] = (0.1, 0.5, 0.9), season: int | None = None) -> FloatArray:
    return SeasonalNaive(season=season).fit(panel, horizon=horizon).predict(panel, quantile_levels=levels).quantiles


def test_the_median_is_the_last_season_again_and_again() -> None:
    quantiles = forecast(panel_of([1, 2, 3, 4, 20, 30, 40, 50]), 10)
    assert quantiles[0, :, 1].tolist() == [20, 30, 40, 50, 20, 30, 40, 50, 20, 30]


def test_a_hole_is_looked_behind_however_many_seasons_it_takes() -> None:
    quantiles = forecast(panel_of([1, 2, 3, 4, 5, 6, NAN, 8, 9, NAN, NAN, 12]), 4)
    assert quantiles[0, :, 1].tolist() == [9, 6, 3, 12]


def test_a_place_of_the_season_never_observed_takes_the_last_value() -> None:
    quantiles = forecast(panel_of([1, NAN, 3, 4, 5, NAN, 7, 8]), 4)
    assert quantiles[0, :, 1].tolist() == [5, 8, 7, 8]


def test_quantiles_are_those_worked_out_by_hand() -> None:
    # Four seasonal errors of +1. Drift: 4 / (4 + 10) = 2/7 a season; what scatters around it: 5/7, four times.
    # Coverage 0.8 is rank 0.8 * 5 = 4: the largest. One season ahead: 2/7 - 5/7 and 2/7 + 5/7.
    # Two ahead: 4/7 - sqrt(2) * 5/7 and 4/7 + sqrt(2) * 5/7.
    assert FLAT_SEASONS == 10
    quantiles = forecast(panel_of([1, 2, 3, 4, 2, 3, 4, 5]), 5)
    np.testing.assert_allclose(quantiles[0, 0], [2 - 3 / 7, 2, 3])
    np.testing.assert_allclose(quantiles[0, 4], [2 + 4 / 7 - 2**0.5 * 5 / 7, 2, 2 + 4 / 7 + 2**0.5 * 5 / 7])


def test_no_quantile_crosses_the_median_when_all_errors_point_one_way() -> None:
    rising = np.arange(400) * 100.0  # errors of +400 without scatter: the 0.1 quantile of the errors is far above zero
    quantiles = forecast(panel_of(rising), 1)
    assert quantiles[0, 0, 0] == quantiles[0, 0, 1] == rising[-4]
    np.testing.assert_allclose(quantiles[0, 0, 2] - rising[-4], 400, rtol=0.05)


def test_beyond_the_largest_error_the_tail_goes_on_like_a_normal_one() -> None:
    # One error of 7, drift 7 / 11: it stands at coverage 1/2, that is at the level 0.75.
    size = 7 - 7 / 11
    quantiles = forecast(panel_of([0, 0, 0, 0, 7]), 4, levels=(0.5, 0.75, 0.999))
    expected = [0, 7 / 11 + size, 7 / 11 + size * norm.ppf(0.999) / norm.ppf(0.75)]
    np.testing.assert_allclose(quantiles[0, 1], expected)


def twin(y: FloatArray, season: int, horizon: int, levels: tuple[float, ...]) -> FloatArray:
    """The same rule, one value after the other."""
    seen = [t for t in range(len(y)) if not np.isnan(y[t])]
    errors = []
    for t in seen:
        before = [s for s in seen if s < t and (t - s) % season == 0]
        if before:
            errors.append((y[t] - y[before[-1]], (t - before[-1]) // season))
    drift = sum(error for error, _ in errors) / (sum(age for _, age in errors) + 10)
    sizes = sorted(abs(error - age * drift) / age**0.5 for error, age in errors)
    n = len(sizes)
    out = np.empty((horizon, len(levels)))
    for h in range(horizon):
        t = len(y) + h
        before = [s for s in seen if (t - s) % season == 0]
        source = before[-1] if before else seen[-1]
        age = -((source - t) // season)
        for q, level in enumerate(levels):
            inside = abs(2 * level - 1)
            size = np.interp(inside * (n + 1), range(n + 1), [0.0, *sizes])
            if inside > n / (n + 1):
                size *= norm.ppf(0.5 + inside / 2) / norm.ppf(0.5 + n / (n + 1) / 2)
            side = np.sign(level - 0.5)
            out[h, q] = y[source] + side * max(0.0, side * (age * drift + side * age**0.5 * size))
    return out


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 5), st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=4), st.floats(0, 0.6))
def test_many_series_at_once_give_what_a_loop_over_values_gives(season: int, seeds: list[int], holes: float) -> None:
    series = []
    for seed in seeds:
        rng = np.random.default_rng(seed)
        values = rng.normal(rng.normal(0, 5), 1, rng.integers(6, 30))
        values[rng.random(len(values)) < holes] = NAN
        if np.isfinite(values).sum() > season:
            series.append(values)
    if not series:
        return
    quantiles = forecast(panel_of(*series, season=season), 2 * season + 1, LEVELS)
    for found, values in zip(quantiles, series, strict=True):
        np.testing.assert_allclose(found, twin(values, season, 2 * season + 1, LEVELS), rtol=1e-9, atol=1e-9)


def test_its_own_season_comes_before_that_of_the_panel() -> None:
    panel = panel_of([1, 2, 3, 4, 20, 30, 40, 50])
    assert forecast(panel, 3, season=1)[0, :, 1].tolist() == [50, 50, 50]
    assert SeasonalNaive(season=1).fit(panel, horizon=3).season == 1
    assert SeasonalNaive().fit(panel, horizon=3).season == 4


def test_a_short_series_is_refused_by_name_when_it_is_forecast_not_when_it_is_seen() -> None:
    panel = panel_of([1, 2, 3, 4, 5], [1, NAN, 3, 4, NAN, 6])
    predictor = SeasonalNaive().fit(panel, horizon=2)
    message = (
        "series 's1' has 4 observations, the model needs at least 5; "
        "give it a longer history, leave it out, or use a season shorter than 4"
    )
    with pytest.raises(HistoryTooShort) as caught:
        predictor.predict(panel)
    assert str(caught.value) == message
    assert caught.value.series_id == "s1"
    assert predictor.predict(panel.select([0])).quantiles.shape == (1, 2, 3)


@pytest.mark.parametrize("season", [0, -1, 2.0, True, "7"])
def test_an_impossible_season_is_refused(season: object) -> None:
    with pytest.raises(OptionError, match=f"season must be a positive number of steps, got {season!r}"):
        tsforecast.build_model("seasonal_naive", season=season)


def test_a_panel_without_series_has_a_forecast_without_rows() -> None:
    panel = panel_of([1, 2, 3, 4, 5])
    assert SeasonalNaive().fit(panel, horizon=2).predict(panel.select([])).quantiles.shape == (0, 2, 3)


def covered(series: dict[str, FloatArray], *, season: int, horizon: int, folds: int) -> float:
    """Share of the held-out values inside the 80 % interval, over rolling origins."""
    panel = panel_of(*series.values(), season=season)
    hits = []
    for fold in range(1, folds + 1):
        known = panel.without_last(fold * horizon)
        low, high = np.moveaxis(forecast(known, horizon, levels=(0.1, 0.9)), -1, 0)
        for i, values in enumerate(series.values()):
            later = values[len(values) - fold * horizon :][:horizon]
            hits += [low[i, h] <= later[h] <= high[i, h] for h in range(horizon) if not np.isnan(later[h])]
    return float(np.mean(hits))


def test_intervals_cover_about_what_they_say_on_series_that_grow() -> None:
    from statsmodels.datasets import co2, macrodata

    weekly = {"co2": co2.load_pandas().data["co2"].to_numpy()}
    assert 0.7 < covered(weekly, season=52, horizon=26, folds=20) < 0.9
    quarterly: pd.DataFrame = macrodata.load_pandas().data.drop(columns=["year", "quarter"])
    assert 0.6 < covered({name: quarterly[name].to_numpy() for name in quarterly}, season=4, horizon=4, folds=16) < 0.9


def test_intervals_cover_what_they_say_on_noise() -> None:
    rng = np.random.default_rng(0)
    noise = {f"s{i}": rng.normal(size=80) for i in range(60)}
    assert 0.76 < covered(noise, season=4, horizon=4, folds=4) < 0.84
