"""Scales: their numbers by hand and against loops, and what they do where there is no spread."""

import numpy as np
import pytest

from tests.unit.transform_cases import NAN, SCALES, case_id, forecast_of, panel_of
from tsforecast.errors import TransformError
from tsforecast.preprocessing.scaling import Scale
from tsforecast.preprocessing.transforms import build_transform

METHODS = Scale.METHODS


@pytest.mark.parametrize(
    ("method", "center", "spread"),
    [
        ("zscore", 4.0, np.sqrt(8.0)),
        ("minmax", 0.0, 8.0),
        ("minmax_symmetric", 4.0, 4.0),
        ("robust", 4.0, (6.730757894 - 1.269242106) / 2),  # ± 1 sigma of 0, 2, 4, 6, 8
        ("mad", 4.0, 1.4826 * 2),  # distances 4, 2, 0, 2, 4
        ("mean_abs", 0.0, 4.0),
    ],
)
def test_scales_are_those_worked_out_by_hand(method, center, spread):
    panel = panel_of(a=[8, 0, NAN, 2, 6, 4])
    scaled = build_transform("scale", method=method).fit(panel).apply(panel).target
    np.testing.assert_allclose(scaled, (panel.target - center) / spread, rtol=1e-6)


def test_mean_abs_counts_negative_values_as_large_and_leaves_zero_at_zero():
    panel = panel_of(a=[-3.0, 0.0, 1.0, 4.0])
    np.testing.assert_array_equal(build_transform("scale", method="mean_abs").fit(panel).apply(panel).target, [-1.5, 0, 0.5, 2])


TWINS = {
    "zscore": lambda y: (np.mean(y), np.std(y)),
    "minmax": lambda y: (min(y), max(y) - min(y)),
    "minmax_symmetric": lambda y: ((min(y) + max(y)) / 2, (max(y) - min(y)) / 2),
    "robust": lambda y: (np.median(y), np.diff(np.quantile(y, [0.15865525393145707, 0.8413447460685429]))[0] / 2),
    "mad": lambda y: (np.median(y), 1.4826 * np.median(np.abs(y - np.median(y)))),
    "mean_abs": lambda y: (0.0, np.mean(np.abs(y))),
}


@pytest.mark.parametrize(("name", "options"), SCALES, ids=case_id)
def test_many_ragged_series_get_the_numbers_of_a_loop(name, options):
    rng = np.random.default_rng(1)
    series = {str(i): rng.normal(i, 1 + i % 7, size=rng.integers(2, 40)) for i in range(150)}
    for values in series.values():
        values[2:][rng.random(len(values) - 2) < 0.2] = NAN
    fitted = build_transform(name, **options).fit(panel_of(**series))
    observed = [values[~np.isnan(values)] for values in series.values()]
    if options["scope"] == "panel":
        observed = [np.concatenate(observed)] * len(observed)
    center, spread = np.transpose([TWINS[options["method"]](values) for values in observed])
    np.testing.assert_allclose(fitted.center, center, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(fitted.spread, spread, rtol=1e-12)


def test_pooled_numbers_weigh_every_value_alike_and_keep_series_comparable():
    panel = panel_of(a=[0.0, 0.0, 0.0], b=[8.0])  # mean 2, variance (3 * 4 + 36) / 4 = 12
    fitted = build_transform("scale", scope="panel").fit(panel)
    np.testing.assert_allclose(fitted.apply(panel).target, np.array([-2, -2, -2, 6]) / np.sqrt(12))
    later = panel_of(c=[2.0, 14.0])
    np.testing.assert_allclose(fitted.for_panel(later).apply(later).target, np.array([0, 12]) / np.sqrt(12))


@pytest.mark.parametrize("method", METHODS)
def test_a_series_without_spread_or_values_is_only_centred(method):
    panel = panel_of(a=[3.3, 3.3, 3.3], b=[0.0, 0.0], c=[NAN, NAN])
    fitted = build_transform("scale", method=method).fit(panel)
    assert fitted.spread.tolist() == pytest.approx([3.3 if method == "mean_abs" else 1, 1, 1], rel=1e-15)
    assert np.isfinite(fitted.apply(panel).target[:5]).all()


@pytest.mark.parametrize("method", METHODS)
def test_the_rounding_of_a_large_constant_is_no_spread(method):
    panel = panel_of(a=[7.7e20] * 7)  # its mean is off by 131072
    assert np.abs(build_transform("scale", method=method).fit(panel).apply(panel).target).max() <= 1


@pytest.mark.parametrize("method", METHODS)
def test_scales_stand_numbers_whose_squares_do_not_exist(method):
    panel = panel_of(a=[1e200, -1e200, 5e199], b=[1e-200, 3e-200, 9e-200])
    there = build_transform("scale", method=method).fit(panel).apply(panel).target
    assert np.isfinite(there).all()
    assert 0.5 < np.ptp(there[:3]) < 5


@pytest.mark.parametrize("method", ["robust", "mad"])
def test_a_robust_scale_of_mostly_equal_values_falls_back_to_the_others(method):
    spread = build_transform("scale", method=method).fit(panel_of(a=[0.0] * 24 + [5.0])).spread
    assert spread[0] == pytest.approx(0.9797959)


@pytest.mark.parametrize("method", ["robust", "mad"])
def test_a_value_far_beyond_the_others_stays_within_what_a_network_can_hold(method):
    panel = panel_of(a=[0.0, 1e-9, 2e-9, 3e-9, 4e-9, 5e-9, 6e-9, 1e40])
    there = build_transform("scale", method=method).fit(panel).apply(panel).target
    assert there[-1] == pytest.approx(1e12)


def test_a_later_value_too_far_to_be_held_is_named():
    fitted = build_transform("scale").fit(panel_of(a=[0.0, 1e-20]))
    message = r"series 'a' has 1e\+300 at 1 \(1 such values\): too far from what 'scale' was fitted on to be held in a float"
    with pytest.raises(TransformError, match=message):
        fitted.apply(panel_of(a=[0.0, 1e300]))


def test_a_forecast_beyond_all_floats_comes_back_as_the_largest_value():
    fitted = build_transform("scale").fit(panel_of(a=[0.0, 2e10]))
    quantiles = fitted.invert(forecast_of(panel_of(a=[1.0]), [-1.7e308, 0.0, 1.7e308])).quantiles
    assert quantiles.ravel().tolist() == [-1e300, 1e10, 1e300]
