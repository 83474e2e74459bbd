"""Deseasonalise: the profile by hand, the same phase wherever a series is cut, and every value back where it was."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.transform_cases import LARGEST, NAN, panel_of, panels
from tsforecast.errors import OptionError, TransformError
from tsforecast.forecast import Forecast
from tsforecast.panel import Panel
from tsforecast.preprocessing.deseasonalise import Deseasonalise

PROFILE = np.array([3.0, -1.0, -2.0, 0.0])


def seasonal(rows, first=0, slope=0.0):
    return 10 + slope * np.arange(rows) + PROFILE[(first + np.arange(rows)) % 4]


def forecast_of(panel, first, values):
    """The same `values` (H,) for every series, from step `first`, with levels 0.1 and 0.9 one below and one above."""
    steps = np.broadcast_to(first + np.arange(len(values)), (len(panel), len(values))).copy()
    return Forecast(
        series_ids=panel.series_ids,
        timestamps=steps,
        quantile_levels=(0.1, 0.5, 0.9),
        quantiles=np.broadcast_to(np.asarray(values)[:, None] + [-1.0, 0.0, 1.0], (*steps.shape, 3)).copy(),
    )


@pytest.mark.parametrize("slope", [0.0, 0.5])
def test_what_is_left_of_a_trend_and_a_season_is_the_trend(slope):
    panel = panel_of(season=4, a=seasonal(22, slope=slope), b=100 * seasonal(9))
    fitted = Deseasonalise().fit(panel)
    np.testing.assert_allclose(fitted.profile, [PROFILE, 100 * PROFILE], atol=1e-11)
    np.testing.assert_allclose(fitted.apply(panel).target, [*(10 + slope * np.arange(22)), *[1000] * 9], rtol=1e-12)


def test_the_profile_of_an_odd_season_and_of_one_with_holes_and_an_outlier():
    values = np.tile([2.0, 0.0, -2.0], 8)
    values[[4, 11]] = NAN
    values[12] = 500.0
    fitted = Deseasonalise().fit(panel_of(season=3, a=values))
    np.testing.assert_allclose(fitted.profile, [[2, 0, -2]], atol=0.4)  # holes are bridged by straight lines: not exact


def test_the_profile_is_that_of_loops():
    rng = np.random.default_rng(0)
    values = rng.normal(size=45).cumsum()
    values[rng.random(45) < 0.1] = NAN
    filled = np.interp(np.arange(45), np.flatnonzero(~np.isnan(values)), values[~np.isnan(values)])
    by_phase = {phase: [] for phase in range(6)}
    for t in range(3, 42):
        around = filled[t - 3 : t + 4].copy()
        around[[0, -1]] /= 2
        if not np.isnan(values[t]):
            by_phase[t % 6].append(values[t] - around.sum() / 6)
    medians = np.array([np.median(by_phase[phase]) for phase in range(6)])
    fitted = Deseasonalise().fit(panel_of(season=6, other=rng.normal(size=3), a=values))
    np.testing.assert_allclose(fitted.profile, [np.zeros(6), medians - medians.mean()], rtol=1e-9, atol=1e-12)


def test_the_future_goes_on_with_the_season_at_the_phase_its_timestamps_say():
    panel = panel_of(season=4, a=seasonal(22))
    fitted = Deseasonalise().fit(panel)
    quantiles = fitted.invert(forecast_of(panel, 22, [10.0] * 5)).quantiles
    np.testing.assert_allclose(quantiles[0, :, 1], seasonal(5, first=22))
    np.testing.assert_allclose(np.diff(quantiles, axis=-1), 1)


def test_a_history_cut_elsewhere_meets_the_same_profile():
    panel = panel_of(season=4, a=seasonal(22))
    fitted = Deseasonalise().fit(panel)
    np.testing.assert_allclose(fitted.apply(panel.tail(7)).target, 10)


def test_days_of_a_zone_keep_their_phase_over_summer_time():
    days = np.datetime64("2024-03-24T00:30", "ns") + np.arange(28).astype("timedelta64[D]")  # 01:30 on the wall
    instants = days - np.where(np.arange(28) > 7, 1, 0).astype("timedelta64[h]")
    week = np.array([5.0, 1, 0, 0, -1, -2, -3])
    panel = Panel(
        series_ids=("a",),
        offsets=np.array([0, 28]),
        timestamps=instants,
        target=week[np.arange(28) % 7],
        freq="D",
        season=7,
        tz="Europe/Berlin",
    )
    fitted = Deseasonalise().fit(panel)
    np.testing.assert_allclose(fitted.apply(panel).target, 0, atol=1e-12)
    future = Forecast(
        series_ids=("a",),
        timestamps=(instants[-1] + np.arange(1, 8).astype("timedelta64[D]"))[None],
        quantile_levels=(0.5,),
        quantiles=np.zeros((1, 7, 1)),
        tz="Europe/Berlin",
    )
    np.testing.assert_allclose(fitted.invert(future).quantiles[0, :, 0], week, atol=1e-12)


def test_series_too_short_and_phases_never_observed_are_left_alone():
    closed = np.where(np.arange(28) % 7 < 5, seasonal(28), NAN)
    panel = panel_of(season=7, short=[1.0, 5, 2, 9, 1, 3, 7, 8, 1, 2, 3, 4], never=[NAN] * 20, closed=closed)
    fitted = Deseasonalise().fit(panel)
    assert not fitted.profile[:2].any()
    back = fitted.invert_panel(fitted.apply(panel)).target
    np.testing.assert_allclose(back, panel.target, rtol=1e-12)
    assert np.isfinite(fitted.profile).all()


def test_a_panel_without_a_season_comes_through_unchanged():
    panel = panel_of(season=1, a=[1.0, 5, 2, 9, 1, 3])
    np.testing.assert_array_equal(Deseasonalise().fit(panel).apply(panel).target, panel.target)


def test_nothing_after_the_cut_is_seen():
    values = np.random.default_rng(1).normal(size=30)
    before, poisoned = panel_of(season=4, a=values[:20]), panel_of(season=4, a=[*values[:20], *[1e9] * 10])
    again = Deseasonalise().fit(poisoned.without_last(10))
    np.testing.assert_array_equal(again.profile, Deseasonalise().fit(before).profile)


def test_series_that_come_later_are_fitted_on_their_own_history():
    fitted = Deseasonalise().fit(panel_of(season=4, a=seasonal(22)))
    later = panel_of(season=4, b=2 * seasonal(22), a=seasonal(5))
    with pytest.raises(TransformError, match="series 'b' is not among the 1 series transform 'deseasonalise' was fitted on"):
        fitted.apply(later)
    ready = fitted.for_panel(later)
    np.testing.assert_allclose(ready.apply(later).target, [20] * 22 + [10] * 5)


def test_mistakes_are_named():
    for wrong in (1, 0, 2.5, True, "week"):
        with pytest.raises(OptionError, match="season must be a number of steps of 2 or more, got "):
            Deseasonalise(season=wrong)
    fitted = Deseasonalise(season=4).fit(panel_of(season=1, a=seasonal(22)))
    np.testing.assert_allclose(fitted.profile, [PROFILE], atol=1e-11)
    other = replace(panel_of(season=4, a=seasonal(22)), freq=2)
    with pytest.raises(TransformError, match="was fitted on freq 1, the panel has 2; fit anew"):
        fitted.apply(other)
    with pytest.raises(TransformError, match="change the unit"):
        Deseasonalise().fit(panel_of(season=4, a=[1e305] * 9))


@given(data=st.data(), season=st.integers(2, 3))
@settings(max_examples=100, deadline=None)
def test_any_panel_comes_back_as_it_went_in_also_after_json(data, season):
    panel = data.draw(panels(-LARGEST, LARGEST, True))
    fitted = Deseasonalise(season=season).fit(panel)
    there = fitted.apply(panel)
    again = Deseasonalise.fitted_from_json(json.loads(json.dumps(fitted.to_json(), allow_nan=False)))
    np.testing.assert_array_equal(again.apply(panel).target, there.target)
    back = again.invert_panel(there).target
    hole = np.isnan(panel.target)
    np.testing.assert_array_equal(np.isnan(back), hole)
    spread = np.fmax.reduceat(panel.target, panel.offsets[:-1]) / 2 - np.fmin.reduceat(panel.target, panel.offsets[:-1]) / 2
    allowed = 1e-9 * np.abs(panel.target) + 2e-9 * np.nan_to_num(np.repeat(spread, panel.lengths))
    assert (np.abs(back - panel.target) <= allowed)[~hole].all()


@given(
    data=st.data(),
    values=st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=5),
)
@settings(max_examples=100, deadline=None)
def test_any_forecast_comes_back_finite_with_its_quantiles_in_order(data, values):
    panel = data.draw(panels(-LARGEST, LARGEST, True))
    bounded = np.clip(values, -1e307, 1e307)
    quantiles = Deseasonalise(season=2).fit(panel).invert(forecast_of(panel, 7, bounded)).quantiles
    assert np.isfinite(quantiles).all()
    assert (np.diff(quantiles, axis=-1) >= 0).all()
