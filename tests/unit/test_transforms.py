"""Transforms: there and back, their numbers by hand and against loops, and JSON that loses nothing."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import boxcox
from scipy.stats import boxcox_normmax

from tsforecast.errors import ArtifactError, OptionError, TransformError
from tsforecast.forecast import Forecast
from tsforecast.panel import Panel
from tsforecast.preprocessing.transforms import build_transform, transform_from_json

NAN = np.nan
EVERY = [
    ("fill", {"method": "linear"}),
    *(("scale", {"method": method}) for method in ("zscore", "minmax", "minmax_symmetric", "robust")),
    ("log1p", {}),
    ("box_cox", {"scope": "series"}),
    ("box_cox", {"scope": "panel"}),
]


def panel_of(season=2, **series):
    lengths = [len(values) for values in series.values()]
    return Panel(
        series_ids=tuple(series),
        offsets=np.cumsum([0, *lengths]),
        timestamps=np.concatenate([np.arange(length) for length in lengths]),
        target=np.concatenate([np.asarray(values, dtype=float) for values in series.values()]),
        freq=1,
        season=season,
    )


def forecast_of(panel, values):
    shape = (len(panel), 1, len(values))
    return Forecast(
        series_ids=panel.series_ids,
        timestamps=np.zeros(shape[:2], dtype=np.int64),
        quantile_levels=tuple(np.linspace(0.1, 0.9, len(values))),
        quantiles=np.broadcast_to(np.asarray(values, dtype=float), shape).copy(),
    )


@pytest.mark.parametrize(
    ("method", "given_values", "filled"),
    [
        ("linear", [NAN, 1, NAN, NAN, 4, NAN], [NAN, 1, 2, 3, 4, 4]),
        ("forward", [NAN, 1, NAN, NAN, 4, NAN], [NAN, 1, 1, 1, 4, 4]),
        ("seasonal", [1, 10, NAN, NAN, 3, NAN, NAN], [1, 10, 1, 10, 3, 10, 3]),
        ("seasonal", [NAN, 10, NAN, 12, 3], [NAN, 10, 11, 12, 3]),
        ("linear", [NAN, NAN], [NAN, NAN]),
    ],
)
def test_holes_are_filled_as_worked_out_by_hand_and_not_across_series(method, given_values, filled):
    panel = panel_of(a=[100.0, 100.0], b=given_values, c=[500.0])
    np.testing.assert_array_equal(build_transform("fill", method=method).fit(panel).apply(panel).target, [100, 100, *filled, 500])


@given(st.lists(st.one_of(st.just(NAN), st.integers(0, 9)), min_size=1, max_size=12), st.integers(1, 4))
@settings(max_examples=60, deadline=None)
def test_a_seasonal_fill_takes_the_latest_of_the_same_phase(values, season):
    panel = panel_of(season=season, a=values)
    filled = build_transform("fill", method="seasonal").apply(panel).target
    for t, value in enumerate(values):
        earlier = [values[u] for u in range(t - season, -1, -season) if not np.isnan(values[u])]
        if not np.isnan(value):
            assert filled[t] == value
        elif earlier:
            assert filled[t] == earlier[0]


@pytest.mark.parametrize(
    ("method", "center", "spread"),
    [
        ("zscore", 4.0, np.sqrt(8.0)),
        ("minmax", 0.0, 8.0),
        ("minmax_symmetric", 4.0, 4.0),
        ("robust", 4.0, (6.730757894 - 1.269242106) / 2),  # ± 1 sigma of 0, 2, 4, 6, 8
    ],
)
def test_scales_are_those_worked_out_by_hand(method, center, spread):
    panel = panel_of(a=[8, 0, NAN, 2, 6, 4])
    scaled = build_transform("scale", method=method).fit(panel).apply(panel).target
    np.testing.assert_allclose(scaled, (panel.target - center) / spread, rtol=1e-6)


@pytest.mark.parametrize("method", ["zscore", "minmax", "minmax_symmetric", "robust"])
def test_a_series_without_spread_or_values_is_only_centred(method):
    panel = panel_of(a=[3.3, 3.3, 3.3], b=[7.0], c=[NAN, NAN])
    fitted = build_transform("scale", method=method).fit(panel)
    np.testing.assert_array_equal(fitted.spread, 1)
    assert np.isfinite(fitted.apply(panel).target[:4]).all()


@pytest.mark.parametrize(("name", "options"), EVERY)
@given(values=st.lists(st.floats(1e-3, 1e6), min_size=4, max_size=12), hole=st.booleans())
@settings(max_examples=50, deadline=None)
def test_what_is_applied_is_inverted_exactly_and_order_is_kept(name, options, values, hole):
    panel = panel_of(a=[*values, NAN, values[0]] if hole else values, b=values[::-1])
    fitted = build_transform(name, **options).fit(panel)
    applied = fitted.apply(panel)
    if name != "fill":
        np.testing.assert_allclose(fitted.invert_panel(applied).target, panel.target, rtol=1e-9, atol=1e-14 * max(values))
    quantiles = fitted.invert(forecast_of(panel, [-1e9, -3.0, -0.5, 0.0, 0.5, 3.0, 1e9])).quantiles
    assert np.isfinite(quantiles).all()
    assert (np.diff(quantiles, axis=-1) >= 0).all()


@pytest.mark.parametrize(("name", "options"), EVERY)
def test_a_transform_is_the_same_after_json(name, options):
    panel = panel_of(a=[1.1, 2.7, 9.3, 4.4], b=[0.1, 0.2, 0.7, 1e-9])
    fitted = build_transform(name, **options).fit(panel)
    again = transform_from_json(json.loads(json.dumps(fitted.to_json())))
    np.testing.assert_array_equal(again.apply(panel).target, fitted.apply(panel).target)


@pytest.mark.parametrize(("name", "options"), EVERY)
def test_fitting_leaves_the_panel_alone_and_series_do_not_touch_each_other(name, options):
    panel = panel_of(a=[1.0, 2.0, 9.0, 4.0], b=[100.0, 300.0, 200.0])
    before = panel.target.copy()
    together = build_transform(name, **options).fit(panel).apply(panel).target
    np.testing.assert_array_equal(panel.target, before)
    if options.get("scope") != "panel":
        alone = panel.select([1])
        np.testing.assert_allclose(build_transform(name, **options).fit(alone).apply(alone).target, together[4:], rtol=1e-12)


def test_series_that_were_not_fitted_need_for_panel_which_keeps_the_numbers_of_the_others():
    fitted = build_transform("scale").fit(panel_of(a=[1.0, 3.0], b=[10.0, 30.0]))
    later = panel_of(new=[5.0, 9.0], b=[1.0, 1.0])
    with pytest.raises(
        TransformError, match=r"series 'new' is not among the 2 series transform 'scale' was fitted on; use transform"
    ):
        fitted.apply(later)
    np.testing.assert_allclose(fitted.for_panel(later).apply(later).target, [-1, 1, -1.9, -1.9])
    assert fitted.for_panel(panel_of(b=[1.0])) is fitted


def test_the_exponent_of_box_cox_is_the_likeliest_one():
    rng = np.random.default_rng(0)
    series = {"log": np.exp(rng.normal(size=200)), "square": rng.normal(10, 1, size=200) ** 2}
    fitted = build_transform("box_cox").fit(panel_of(**series))
    likeliest = [boxcox_normmax(values, method="mle") for values in series.values()]
    np.testing.assert_allclose(fitted.exponent, likeliest, atol=1e-4)
    assert len(set(build_transform("box_cox", scope="panel").fit(panel_of(**series)).exponent)) == 1


def test_log1p_is_the_logarithm_of_one_more():
    assert build_transform("log1p").apply(panel_of(a=[0.0, np.e - 1])).target.tolist() == pytest.approx([0, 1])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("log1p", r"series 'b' has -1.0 at 1 \(1 such values\): log1p needs"),
        ("box_cox", r"series 'b' has -1.0 .*: Box-Cox needs"),
    ],
)
def test_values_outside_the_domain_are_named(name, message):
    with pytest.raises(TransformError, match=message) as caught:
        build_transform(name).fit(panel_of(a=[1.0], b=[2.0, -1.0]))
    assert (caught.value.series_id, caught.value.field) == ("b", "target")
    fitted = build_transform(name).fit(panel_of(a=[1.0], b=[2.0, 3.0]))
    with pytest.raises(TransformError, match=message):  # a history given later
        fitted.apply(panel_of(a=[1.0], b=[2.0, -1.0]))


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("scal", {}, "no transform 'scal'; did you mean 'scale'\\?; there are fill, scale, log1p, box_cox"),
        ("scale", {"metod": "zscore"}, "transform 'scale' has no option 'metod'; did you mean 'method'\\?; options: method"),
        ("scale", {"method": "zscor"}, "transform 'scale' has no method 'zscor'; did you mean 'zscore'\\?"),
        ("fill", {"method": "magic"}, "transform 'fill' has no method 'magic'; there are linear, seasonal, forward"),
        ("box_cox", {"scope": "all"}, "transform 'box_cox' has no scope 'all'"),
    ],
)
def test_unknown_transforms_and_options_are_refused_with_the_nearest(name, options, message):
    with pytest.raises(OptionError, match=message):
        build_transform(name, **options)


def test_a_stored_transform_of_another_version_is_refused():
    with pytest.raises(ArtifactError, match="no transform 'difference'; this version has fill, scale, log1p, box_cox: upgrade"):
        transform_from_json({"name": "difference"})


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


def test_one_exponent_for_the_panel_is_used_for_series_that_come_later_too():
    rng = np.random.default_rng(0)
    fitted = build_transform("box_cox", scope="panel").fit(panel_of(a=np.exp(rng.normal(size=50)), b=np.exp(rng.normal(size=50))))
    later = panel_of(c=rng.normal(10, 1, size=50) ** 2, b=[3.0, 4.0])
    ready = fitted.for_panel(later)
    assert set(ready.exponent) == set(fitted.exponent)
    np.testing.assert_allclose(ready.invert_panel(ready.apply(later)).target, later.target, rtol=1e-9)
    assert fitted.geometric_mean[1] in ready.geometric_mean  # b keeps its own


@pytest.mark.parametrize(("name", "options"), EVERY)
def test_a_series_never_observed_passes_through(name, options):
    panel = panel_of(a=[NAN, NAN], b=[1.0, 2.0, 4.0])
    fitted = build_transform(name, **options).fit(panel)
    json.dumps(fitted.to_json(), allow_nan=False)
    there = fitted.apply(panel)
    np.testing.assert_allclose(fitted.invert_panel(there).target, panel.target, rtol=1e-12)
    assert np.isfinite(fitted.invert(forecast_of(panel, [-1.0, 0.0, 1.0])).quantiles).all()


@pytest.mark.parametrize("method", ["zscore", "minmax", "minmax_symmetric", "robust"])
def test_scales_stand_numbers_whose_squares_do_not_exist(method):
    panel = panel_of(a=[1e200, -1e200, 5e199], b=[1e-200, 3e-200, 9e-200])
    there = build_transform("scale", method=method).fit(panel).apply(panel).target
    assert np.isfinite(there).all()
    assert 0.5 < np.ptp(there[:3]) < 5


def test_a_robust_scale_of_mostly_equal_values_falls_back_to_the_others():
    assert build_transform("scale", method="robust").fit(panel_of(a=[0.0] * 24 + [5.0])).spread[0] == pytest.approx(0.9797959)


def test_a_chain_fits_applies_and_inverts_exactly_also_after_json():
    panel = panel_of(season=3, a=[1.0, 5.0, NAN, 2.0, 6.0, 30.0, NAN], b=[400.0, 100.0, 900.0, 200.0])
    chain = [("fill", {"method": "seasonal"}), ("log1p", {}), ("scale", {"method": "robust"})]
    fitted, there = [], panel
    for name, options in chain:
        fitted.append(build_transform(name, **options).fit(there))
        there = fitted[-1].apply(there)
    assert np.isfinite(there.target).all()
    back, forecast = there, forecast_of(panel, [-1.0, 0.0, 2.0])
    for one in reversed([transform_from_json(json.loads(json.dumps(one.to_json()))) for one in fitted]):
        back, forecast = one.invert_panel(back), one.invert(forecast)
    np.testing.assert_allclose(back.target, fitted[0].apply(panel).target, rtol=1e-9)
    median = np.median([1, 5, 3.5, 2, 6, 30, 2])  # 3.5: no season before it, so half way; the last 2: a season before
    assert forecast.quantiles[0, 0, 1] == pytest.approx(median)
