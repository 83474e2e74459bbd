"""Each option of prophet does what it says; components add up."""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tests.unit.prophet_cases import (
    ALONE,
    LEVELS,
    days,
    frame_of,
    median_of,
    panel_of,
    prophet_alone,
    saturating,
    values,
    with_covariates,
)
from tsforecast.errors import OptionError
from tsforecast.models.prophet import ProphetModel
from tsforecast.panel import FloatArray


@pytest.mark.parametrize("options", [{"cap": 105.0}, {"cap_share": 1.05}], ids=str)
def test_logistic_growth_saturates_at_its_cap(options: dict[str, Any]) -> None:
    panel = panel_of(saturating(90))  # at 86 of 100
    cap = options.get("cap", 1.05 * panel.target.max())
    trend = ProphetModel(growth="logistic", **options).fit(panel, horizon=400, train=ALONE).components(panel)["trend"][0]
    assert (trend < cap * (1 + 1e-9)).all() and trend[-1] > 0.97 * cap
    assert median_of(ProphetModel(), panel, 400)[-1] > 200.0  # a line does not


def test_logistic_growth_is_prophets_with_floor_and_quantiles() -> None:
    y = 40.0 + saturating(90)
    recipe = ProphetModel(growth="logistic", cap=160.0, floor=35.0, uncertainty_samples=8000, changepoint_prior_scale=0.5)
    panel = panel_of(y)
    out = recipe.fit(panel, horizon=30, train=ALONE).predict(panel, quantile_levels=LEVELS)
    limits = {"cap": 160.0, "floor": 35.0}
    state = np.random.get_state()
    options = {"growth": "logistic", "changepoint_prior_scale": 0.5, "uncertainty_samples": 1000}
    model = prophet_alone(frame_of(y).assign(**limits), **options)
    ahead = days("2024-03-31", 30).assign(**limits)
    np.testing.assert_allclose(out.median[0], model.predict(ahead)["yhat"], rtol=1e-6)
    expected = np.quantile(model.predictive_samples(ahead, vectorized=False)["yhat"], LEVELS, axis=1).T
    np.random.set_state(state)
    width = expected[:, -1:] - expected[:, :1]
    assert np.abs((out.quantiles[0] - expected) / width).max() < 0.12


def test_a_series_that_never_moves_is_level_under_a_cap_too() -> None:
    panel = panel_of(np.full(40, 5.0))
    out = ProphetModel(growth="logistic", cap_share=1.2, floor=2.0).fit(panel, horizon=4, train=ALONE).predict(panel)
    np.testing.assert_allclose(out.quantiles, 5.0, atol=1e-6)
    assert out.fallbacks == ()


def test_a_cap_may_be_a_covariate_that_grows() -> None:
    panel = panel_of(saturating())
    panel = with_covariates(panel, np.full((120, 1), 110.0), ("room",))
    recipe = ProphetModel(growth="logistic", cap="room")
    low, high = (median_of(recipe, panel, 30, np.full((1, 30, 1), cap)) for cap in (110.0, 220.0))
    alone = ProphetModel(growth="logistic", cap=110.0)
    np.testing.assert_allclose(low, median_of(alone, replace(panel, covariates=None, covariate_names=()), 30), rtol=1e-6)
    np.testing.assert_allclose(high, 2 * low, rtol=0.05)
    with pytest.raises(
        OptionError, match=r"series 's0': at 2024-04-30.* its cap -1 is not above its floor 0, so logistic growth"
    ):
        recipe.fit(panel, horizon=30, train=ALONE).predict(panel, future=np.full((1, 30, 1), -1.0))


@pytest.mark.parametrize("growth", [{"scaling": "minmax"}, {"growth": "logistic", "cap": 700.0, "floor": 300.0}], ids=str)
def test_multiplicative_terms_act_on_what_stands_above_the_floor(growth: dict[str, Any]) -> None:
    steps = np.arange(140)
    y = 330.0 + (50.0 + 0.5 * steps) * (1.0 + 0.3 * np.sin(steps * 2 * np.pi / 7))
    panel = panel_of(y[:126] + np.random.default_rng(0).normal(0, 0.5, 126))
    out = median_of(ProphetModel(seasonality_mode="multiplicative", **growth), panel, 14)
    assert np.abs(out - y[126:]).max() < 15.0  # prophet 1.5 itself is off by 0.3 times the floor


def test_scaling_by_the_range_makes_a_fit_that_does_not_care_for_the_level() -> None:
    recipe = ProphetModel(scaling="minmax")
    low, high = (median_of(recipe, panel_of(values() + level), 10) for level in (0.0, 1e5))
    np.testing.assert_allclose(high - 1e5, low, atol=0.05)
    assert np.abs(median_of(ProphetModel(), panel_of(values() + 1e5), 10) - 1e5 - low).max() > 0.2


def bent() -> FloatArray:
    return np.concatenate([np.zeros(60), 2.0 * np.arange(1, 31)]) + np.sin(np.arange(90) * 2.4)


def test_the_trend_bends_where_it_is_told_to() -> None:
    panel = panel_of(bent())
    told = ProphetModel(changepoints=["2024-02-29"], changepoint_prior_scale=10.0)
    trend = np.diff(told.fit(panel, horizon=10, train=ALONE).components(panel)["trend"][0])
    np.testing.assert_allclose(trend, 2.0, atol=0.1)
    none = ProphetModel(changepoints=())
    straight = np.polyfit(np.arange(90), panel.target, 1)[0]
    np.testing.assert_allclose(np.diff(none.fit(panel, horizon=3, train=ALONE).components(panel)["trend"][0]), straight, atol=0.1)


def test_changepoints_outside_a_series_are_those_of_the_others() -> None:
    panel = panel_of(bent(), values(50))
    recipe = ProphetModel(changepoints=["2024-02-29"])
    both = recipe.fit(panel, horizon=4, train=ALONE).predict(panel).quantiles[1]
    without = ProphetModel(changepoints=()).fit(panel, horizon=4, train=ALONE).predict(panel).quantiles[1]
    np.testing.assert_array_equal(both, without)


def test_changepoints_lie_in_their_part_of_the_history() -> None:
    panel, slopes = panel_of(bent()), []
    for part in (0.5, 0.95):
        recipe = ProphetModel(changepoint_range=part, changepoint_prior_scale=10.0, weekly_seasonality=False)
        slopes.append(np.diff(recipe.fit(panel, horizon=3, train=ALONE).components(panel)["trend"][0])[0])
    assert slopes[0] < 1.7 < 1.9 < slopes[1] < 2.1  # the bend lies at two thirds


def test_a_seasonality_of_its_own_is_recovered() -> None:
    steps = np.arange(126)
    y = 50.0 + 6.0 * np.sin(steps * 2 * np.pi / 10.5)
    panel = panel_of(y[:112] + np.random.default_rng(0).normal(0, 0.2, 112))
    recipe = ProphetModel(seasonalities=[("ten days", 10.5, 2)], weekly_seasonality=False)
    parts = recipe.fit(panel, horizon=14, train=ALONE).components(panel)
    assert list(parts) == ["trend", "ten days"]
    np.testing.assert_allclose(parts["ten days"][0], y[112:] - 50.0, atol=0.3)
    stiff = replace(recipe, seasonalities=[("ten days", 10.5, 2, 1e-4)]).fit(panel, horizon=14, train=ALONE)
    assert np.abs(stiff.components(panel)["ten days"]).max() < 1.0
    grown = replace(recipe, seasonalities=[("ten days", 10.5, 2, None, "multiplicative")]).fit(panel, horizon=14, train=ALONE)
    (model,) = grown.models.values()
    assert json.loads(model)["seasonalities"][1]["ten days"]["mode"] == "multiplicative"
    np.testing.assert_allclose(grown.components(panel)["ten days"][0], y[112:] - 50.0, atol=0.5)  # the trend is level


@pytest.mark.parametrize(("order", "terms"), [("auto", 3), (True, 3), (2, 2), (False, 0)])
def test_prophets_own_seasonalities_have_the_terms_asked_for(order: Any, terms: int) -> None:
    panel = panel_of(values())
    (text,) = ProphetModel(weekly_seasonality=order).fit(panel, horizon=2, train=ALONE).models.values()
    found = json.loads(text)["seasonalities"][1]
    assert found.get("weekly", {"fourier_order": 0})["fourier_order"] == terms


def test_yearly_and_daily_seasonality_can_be_forced() -> None:
    panel = panel_of(values())
    recipe = ProphetModel(yearly_seasonality=2, daily_seasonality=1, weekly_seasonality=False)
    assert list(recipe.fit(panel, horizon=2, train=ALONE).components(panel)) == ["trend", "yearly", "daily"]


def test_a_holiday_with_a_window_is_recovered() -> None:
    y = values(120)
    fairs = ("2024-01-20", "2024-02-24", "2024-03-21", "2024-05-05")
    for day in fairs[:3]:
        at = (pd.Timestamp(day) - pd.Timestamp("2024-01-01")).days
        y[at - 1 : at + 2] += (5.0, 20.0, 10.0)
    panel = panel_of(y)
    recipe = ProphetModel(holidays=[("fair", day, -1, 1) for day in fairs])
    effect = recipe.fit(panel, horizon=8, train=ALONE).components(panel)["holidays"][0]  # from 2024-04-30
    np.testing.assert_allclose(effect, [0, 0, 0, 0, 5, 20, 10, 0], atol=1.5)
    shy = replace(recipe, holidays_prior_scale=1e-3).fit(panel, horizon=8, train=ALONE).components(panel)["holidays"]
    assert np.abs(shy).max() < 5.0
    double = replace(recipe, holidays_mode="multiplicative").fit(panel, horizon=8, train=ALONE)
    assert double.components(panel)["holidays"][0, 5] > 17.0


def test_holidays_of_a_country_and_of_its_part_are_found_in_later_years() -> None:
    dates = pd.date_range("2022-01-01", "2023-12-24")
    y = 50.0 + np.sin(np.arange(len(dates)) * 2.4)
    for month, day, effect in ((1, 1, -20.0), (1, 6, -10.0)):  # New Year everywhere, Epiphany in Bavaria
        y[(dates.month == month) & (dates.day == day)] += effect
    panel = panel_of(y, start="2022-01-01")
    for subdivision, expected in ((None, [-20.0, 0.0]), ("BY", [-20.0, -10.0])):
        recipe = ProphetModel(holidays_country="DE", holidays_subdivision=subdivision, yearly_seasonality=False)
        effect = recipe.fit(panel, horizon=16, train=ALONE).components(panel)["holidays"][0]  # from 2023-12-25
        np.testing.assert_allclose(effect[[7, 12]], expected, atol=3.0)


def test_regressors_have_their_coefficients_mode_and_prior() -> None:
    rng = np.random.default_rng(4)
    price = rng.normal(10.0, 3.0, size=(90, 1))
    trend = 40.0 + 0.5 * np.arange(90) + rng.normal(0, 0.5, 90)
    panel = with_covariates(panel_of(trend + 2.0 * price[:, 0]), price, ("price",))
    one = np.array([[[10.0], [11.0]]])

    def step(**options: Any) -> float:
        predictor = ProphetModel(weekly_seasonality=False, **options).fit(panel, horizon=2, train=ALONE)
        part = predictor.components(panel, future=one)["regressor:price"][0]
        return float(np.diff(part)[0])

    assert abs(step() - 2.0) < 0.1
    assert abs(step(regressor_standardize=False) - 2.0) < 0.1
    assert abs(step(regressor_prior_scale=1e-4)) < 0.5
    grown = with_covariates(panel_of(trend * (1.0 + 0.05 * (price[:, 0] - 10.0))), price, ("price",))
    recipe = ProphetModel(weekly_seasonality=False, regressor_mode="multiplicative")
    out = recipe.fit(grown, horizon=2, train=ALONE).predict(grown, future=np.array([[[10.0], [16.0]]])).median[0]
    np.testing.assert_allclose(out, [85.0, 85.5 * 1.3], rtol=0.02)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"seasonality_mode": "multiplicative"},
        {"seasonality_mode": "multiplicative", "scaling": "minmax", "holidays_mode": "additive"},
        {"growth": "logistic", "cap_share": 1.3, "floor": -5.0, "regressor_mode": "multiplicative"},
    ],
    ids=str,
)
def test_components_add_up_to_the_median(options: dict[str, Any]) -> None:
    rng = np.random.default_rng(4)
    covariates = rng.normal(size=(90 + 12, 2))
    panel = with_covariates(panel_of(values(), values(12)), covariates, ("trend", "y"))
    recipe = ProphetModel(holidays_country="US", seasonalities=[("month", 30.5, 1)], **options)
    predictor = recipe.fit(panel, horizon=5, train=ALONE)
    future = rng.normal(size=(2, 5, 2))
    parts = predictor.components(panel, future=future)
    assert list(parts) == ["trend", "weekly", "month", "holidays", "regressor:trend", "regressor:y"]
    assert (parts["weekly"][1] == 0.0).all() and np.abs(parts["weekly"][0]).max() > 1.0  # twelve days are not two weeks
    np.testing.assert_allclose(sum(parts.values()), predictor.predict(panel, future=future).median, rtol=1e-9)
    short = predictor.components(panel, horizon=2, future=future[:, :2])
    np.testing.assert_allclose(short["trend"], parts["trend"][:, :2], rtol=1e-9)
