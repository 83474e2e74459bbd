"""Logarithm and fitted powers: against scipy, at the ends of what floats hold, and back without losing digits."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import boxcox
from scipy.stats import boxcox_normmax, yeojohnson, yeojohnson_normmax

from tests.unit.transform_cases import NAN, POWERS, case_id, forecast_of, panel_of
from tsforecast.preprocessing import power
from tsforecast.preprocessing.transforms import build_transform


def test_log1p_is_the_logarithm_of_one_more():
    assert build_transform("log1p").apply(panel_of(a=[0.0, np.e - 1])).target.tolist() == pytest.approx([0, 1])


@pytest.mark.parametrize(("name", "options"), POWERS, ids=case_id)
def test_no_value_of_a_long_series_loses_digits_on_the_way_there_and_back(name, options):
    rng = np.random.default_rng(4)
    wide = 10.0 ** rng.uniform(-250, 250, 3000)
    ordinary = rng.lognormal(3, 2, 3000)
    skewed = np.concatenate([np.full(2999, 1e-3), [1e9]])
    series = {"wide": wide, "ordinary": ordinary, "skewed": skewed, "falling": 1e9 - 9e8 * ordinary / ordinary.max()}
    if name == "yeo_johnson":
        series |= {"both": ordinary * rng.choice([-1, 1], 3000), "negative": -ordinary, "far": -skewed}
        series["wide"] = 10.0 ** rng.uniform(-20, 270, 3000)  # 1e-250 beside a mean of 1e250 is no float
    panel = panel_of(**series)
    fitted = build_transform(name, **options).fit(panel)
    np.testing.assert_allclose(fitted.invert_panel(fitted.apply(panel)).target, panel.target, rtol=1e-9)


def test_the_exponent_of_box_cox_is_the_likeliest_one():
    rng = np.random.default_rng(0)
    series = {"log": np.exp(rng.normal(size=200)), "square": rng.normal(10, 1, size=200) ** 2}
    fitted = build_transform("box_cox").fit(panel_of(**series))
    likeliest = [boxcox_normmax(values, method="mle") for values in series.values()]
    np.testing.assert_allclose(fitted.exponent, likeliest, atol=1e-4)
    assert len(set(build_transform("box_cox", scope="panel").fit(panel_of(**series)).exponent)) == 1


def test_box_cox_is_the_power_of_the_value_over_its_geometric_mean():
    panel = panel_of(a=np.exp(np.random.default_rng(2).normal(size=50)))
    fitted = build_transform("box_cox").fit(panel)
    mean = np.exp(np.log(panel.target).mean())
    np.testing.assert_allclose(fitted.apply(panel).target, boxcox(panel.target / mean, fitted.exponent[0]), rtol=1e-12)


def test_box_cox_keeps_an_exponent_under_which_small_and_large_values_come_back_exactly():
    panel = panel_of(a=[1e6, 1e6, 1e6, 1e-3], b=[1e-3, 1e-3, 1e-3, 1e6], c=[1e6, 1.3e-12])
    for scope in ("series", "panel"):
        fitted = build_transform("box_cox", scope=scope).fit(panel)
        np.testing.assert_allclose(fitted.invert_panel(fitted.apply(panel)).target, panel.target, rtol=1e-9)
    assert len(set(fitted.exponent)) == 1


def test_outside_the_values_a_power_can_have_box_cox_gives_zero_or_its_reach():
    panel = panel_of(a=[1.0, 2.0, 4.0, 3.0])
    fitted = build_transform("box_cox").fit(panel)
    for exponent, low, high in ((2.0, 0.0, 4000.0), (0.0, 0.0, 4000.0), (-1.0, 0.0, 4000.0)):
        bent = replace(fitted, exponent=np.array([exponent]))
        found = bent.invert(forecast_of(panel, [-1e6, 0.0, 1e9])).quantiles.ravel()
        np.testing.assert_allclose(found, [low, fitted.geometric_mean[0], high], atol=1e-5)
    more = fitted.for_panel(panel_of(a=[1.0, 9.0]))
    assert more.invert(forecast_of(panel, [1e9])).quantiles.ravel() == pytest.approx(9000)
    assert fitted.invert(forecast_of(panel, [1e9])).quantiles.ravel() == pytest.approx(4000)  # the fitted one is as it was


def test_yeo_johnson_reaches_a_thousand_times_the_history_to_both_sides():
    panel = panel_of(a=[1.0, -2.0, 4.0, 3.0])
    fitted = build_transform("yeo_johnson").fit(panel)
    for exponent in (-1.0, 0.0, 1.0, 2.0, 3.0):
        bent = replace(fitted, exponent=np.array([exponent]))
        found = bent.invert(forecast_of(panel, [-1e300, 0.0, 1e300])).quantiles.ravel()
        np.testing.assert_allclose(found, [-4000, 0, 4000], rtol=1e-12)
    more = fitted.for_panel(panel_of(a=[1.0, -9.0]))
    assert more.invert(forecast_of(panel, [1e300])).quantiles.ravel() == pytest.approx(9000)


def test_yeo_johnson_has_the_likeliest_exponent_and_the_values_of_scipy_on_values_over_their_mean_size():
    rng = np.random.default_rng(0)
    skewed = np.exp(rng.normal(size=200)) - 1
    series = {"skewed": skewed, "mirrored": -skewed, "normal": rng.normal(size=200), "positive": rng.gamma(2, 50, 200)}
    panel = panel_of(**series)
    fitted = build_transform("yeo_johnson").fit(panel)
    ratios = [values / np.abs(values).mean() for values in series.values()]
    np.testing.assert_allclose(fitted.exponent, [yeojohnson_normmax(ratio) for ratio in ratios], atol=1e-4)
    expected = np.concatenate([yeojohnson(ratio, exponent) for ratio, exponent in zip(ratios, fitted.exponent, strict=True)])
    np.testing.assert_allclose(fitted.apply(panel).target, expected, rtol=1e-12)
    np.testing.assert_allclose(fitted.exponent[1], 2 - fitted.exponent[0], atol=1e-4)


@pytest.mark.parametrize("exponent", [-1.0, 0.0, 0.5, 1.0, 2.0, 3.0])
def test_yeo_johnson_and_its_way_back_are_those_of_scipy_at_round_exponents(exponent):
    panel = panel_of(a=[1.0, -2.0, 4.0, 0.0, -1e-12, NAN, 3.0])
    bent = replace(build_transform("yeo_johnson").fit(panel), exponent=np.array([exponent]), unit=np.array([2.0]))
    there = bent.apply(panel)
    np.testing.assert_allclose(there.target, yeojohnson(panel.target / 2, exponent), rtol=1e-12)
    np.testing.assert_allclose(bent.invert_panel(there).target, panel.target, rtol=1e-12)


def test_yeo_johnson_keeps_an_exponent_under_which_its_largest_values_come_back_exactly(monkeypatch):
    """With six digits to lose that binds beyond 100,000 rows only, so here it may lose one."""
    values = np.array([1.0] * 300 + [2.0, 1e7])
    panel = panel_of(up=values, down=-values)
    assert build_transform("yeo_johnson").fit(panel).exponent.tolist() == pytest.approx([-1, 3], abs=1e-4)
    monkeypatch.setattr(power, "DIGITS", 1)
    log = np.log1p(1e7 / values.mean())
    room = (np.log(10) - np.log(log)) / log
    assert build_transform("yeo_johnson").fit(panel).exponent.tolist() == pytest.approx([-room, 2 + room])


def test_yeo_johnson_is_the_same_in_every_unit():
    values = np.random.default_rng(5).gamma(2, 1, 60) - 0.5
    panel = panel_of(euros=values, cents=values * 100, billions=values * 1e-9)
    there = build_transform("yeo_johnson").fit(panel).apply(panel).target.reshape(3, -1)
    np.testing.assert_allclose(there[1:], np.tile(there[0], (2, 1)), rtol=1e-4)


def test_a_pooled_exponent_has_the_largest_likelihood_of_all_series_together():
    """The sum of both series' likelihoods, each with its own location and spread, on a fine grid."""
    rng = np.random.default_rng(6)
    series = [rng.gamma(2, 1, 80), 40 + rng.gamma(1, 5, 120)]
    panel = panel_of(a=series[0], b=series[1])

    def yeo_johnson_cost(exponent):
        ratios = [values / np.abs(values).mean() for values in series]
        return sum(
            len(ratio) * np.log(np.std(yeojohnson(ratio, exponent)))
            - (exponent - 1) * (np.sign(ratio) * np.log1p(np.abs(ratio))).sum()
            for ratio in ratios
        )

    def box_cox_cost(exponent):
        logs = [np.log(values) for values in series]
        return sum(len(one) * np.log(np.std(boxcox(np.exp(one - one.mean()), exponent))) for one in logs)

    for name, cost, low, high in (("yeo_johnson", yeo_johnson_cost, -1, 3), ("box_cox", box_cox_cost, -1, 2)):
        grid = np.linspace(low, high, 2001)
        best = grid[np.argmin([cost(one) for one in grid])]
        np.testing.assert_allclose(build_transform(name, scope="panel").fit(panel).exponent, best, atol=2e-3)


def test_one_exponent_for_the_panel_is_used_for_series_that_come_later_too():
    rng = np.random.default_rng(0)
    fitted = build_transform("box_cox", scope="panel").fit(panel_of(a=np.exp(rng.normal(size=50)), b=np.exp(rng.normal(size=50))))
    later = panel_of(c=rng.normal(10, 1, size=50) ** 2, b=[3.0, 4.0])
    ready = fitted.for_panel(later)
    assert set(ready.exponent) == set(fitted.exponent)
    np.testing.assert_allclose(ready.invert_panel(ready.apply(later)).target, later.target, rtol=1e-9)
    assert fitted.geometric_mean[1] in ready.geometric_mean  # b keeps its own


@pytest.mark.parametrize("name", ["box_cox", "yeo_johnson"])
def test_series_whose_values_do_not_tell_keep_their_shape(name):
    panel = panel_of(constant=[3.0] * 5, two=[1.0, 9.0], never=[NAN, NAN])
    assert build_transform(name).fit(panel).exponent.tolist() == [1, 1, 1]


def test_yeo_johnson_takes_series_of_zeros_alone():
    panel = panel_of(a=[0.0] * 6, b=[0.0, 0.0, 0.0, 5.0, 0.0, 0.0])
    fitted = build_transform("yeo_johnson").fit(panel)
    there = fitted.apply(panel)
    assert (there.target[panel.target == 0] == 0).all()
    np.testing.assert_allclose(fitted.invert_panel(there).target, panel.target, rtol=1e-9)
