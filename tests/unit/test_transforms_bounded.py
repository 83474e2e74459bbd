"""The logit: by hand, at its bounds, and back inside them."""

import numpy as np
import pytest

from tests.unit.transform_cases import NAN, forecast_of, panel_of
from tsforecast.errors import OptionError, TransformError
from tsforecast.preprocessing.transforms import Logit, build_transform


def test_the_logit_is_the_log_of_the_odds_between_the_bounds():
    panel = panel_of(a=[50.0, 75.0, 10.0, NAN], b=[25.0])
    there = build_transform("logit", low=0, high=100, margin=0).fit(panel).apply(panel).target
    np.testing.assert_allclose(there, [0, np.log(3), np.log(1 / 9), NAN, np.log(1 / 3)])


def test_a_margin_gives_values_at_the_bounds_a_place_and_they_come_back_exactly():
    panel = panel_of(a=[0.0, 1.0, 0.5])
    fitted = build_transform("logit", low=0, high=1, margin=0.25).fit(panel)
    there = fitted.apply(panel)
    np.testing.assert_allclose(there.target, [np.log(0.25 / 1.25), np.log(1.25 / 0.25), 0])
    np.testing.assert_array_equal(fitted.invert_panel(there).target, panel.target)


def test_forecasts_come_back_inside_the_bounds_that_are_given():
    panel = panel_of(a=[0.2, 0.9])
    for margin in (0.0, 0.25):
        fitted = build_transform("logit", low=0, high=1, margin=margin).fit(panel)
        quantiles = fitted.invert(forecast_of(panel, [-1e300, -40.0, 0.0, 40.0, 1e300])).quantiles.ravel()
        assert quantiles[[0, 2, 4]].tolist() == [0.0, 0.5, 1.0]
        assert 0 <= quantiles[1] < 1e-15 and 1 - 1e-15 < quantiles[3] <= 1


def test_bounds_may_lie_as_far_apart_as_floats_go():
    panel = panel_of(a=[1e-300, 1e299])
    fitted = build_transform("logit", low=0, high=1e300, margin=0).fit(panel)
    there = fitted.apply(panel)
    np.testing.assert_allclose(there.target, [-600 * np.log(10), np.log(1 / 9)])
    np.testing.assert_allclose(fitted.invert_panel(there).target, panel.target, atol=1e-290)


def test_bounds_of_the_history_are_widened_by_the_margin_and_forecasts_reach_there():
    panel = panel_of(a=[2.0, 4.0, 3.0], b=[-1.0, 9.0])
    fitted = build_transform("logit", margin=0.5).fit(panel)
    assert (fitted.floor.tolist(), fitted.ceiling.tolist()) == ([1.0, -6.0], [5.0, 14.0])
    np.testing.assert_allclose(fitted.apply(panel).target, [np.log(1 / 3), np.log(3), 0, np.log(1 / 3), np.log(3)])
    quantiles = fitted.invert(forecast_of(panel, [-800.0, 0.0, 800.0])).quantiles
    np.testing.assert_array_equal(quantiles[:, 0], [[1, 3, 5], [-6, 4, 14]])
    pooled = build_transform("logit", margin=0.5, scope="panel").fit(panel)
    assert (pooled.floor.tolist(), pooled.ceiling.tolist()) == ([-6.0, -6.0], [14.0, 14.0])


def test_one_bound_may_be_given_and_the_other_taken_from_the_history():
    panel = panel_of(a=[2.0, 4.0], never=[NAN])
    fitted = build_transform("logit", low=0.0, margin=0.5).fit(panel)
    assert (fitted.floor[0], fitted.ceiling[0], fitted.least[0], fitted.most[0]) == (-2, 6, 0, 6)
    fitted = build_transform("logit", high=5.0, margin=0.5).fit(panel)
    assert (fitted.floor[0], fitted.ceiling[0], fitted.least[0], fitted.most[0]) == (0.5, 6.5, 0.5, 5)
    never = panel_of(never=[NAN])
    for one in (fitted, *(build_transform("logit", **bound).fit(never) for bound in ({"low": 5.0}, {"high": -5.0}))):
        assert (one.floor < one.ceiling).all() and (one.least < one.most).all()


@pytest.mark.parametrize("value", [0.0, 7.0, -3e5, 1e-300, 1e300])
def test_a_constant_has_room_to_both_sides(value):
    panel = panel_of(a=[value, value])
    fitted = build_transform("logit", margin=1e-4).fit(panel)
    assert (fitted.floor < value).all() and (value < fitted.ceiling).all()
    np.testing.assert_allclose(fitted.apply(panel).target, 0, atol=1e-2 if value else 0)


@pytest.mark.parametrize(
    ("options", "value", "message"),
    [
        ({"low": 0, "high": 1}, 1.001, "logit needs values between 0 and 1; give other bounds, or a margin for values at them"),
        ({"low": 0, "high": 1}, -1e-9, "logit needs values between 0 and 1"),
        ({"low": 0, "high": 1, "margin": 0}, 1.0, "logit needs values between 0 and 1; .* a margin for values at them"),
        ({"low": 0, "high": 1, "margin": 0}, 0.0, "logit needs values between 0 and 1"),
        ({"low": 2}, 1.0, "logit needs values between 2 and"),
        ({"high": 0.2}, 0.3, "logit needs values between .* and 0.2"),
    ],
)
def test_values_outside_the_bounds_are_named_in_the_fit_and_in_a_history_given_later(options, value, message):
    inside = 3.0 if options == {"low": 2} else 0.1
    panel = panel_of(a=[inside, inside], b=[inside, value])
    with pytest.raises(TransformError, match=rf"series 'b' has {value} at 1 \(1 such values\): {message}") as caught:
        build_transform("logit", **options).fit(panel)
    assert (caught.value.series_id, caught.value.field) == ("b", "target")
    fitted = build_transform("logit", **options).fit(panel_of(a=[inside, inside], b=[inside, inside]))
    with pytest.raises(TransformError, match=message):
        fitted.apply(panel)


def test_a_later_value_beyond_the_bounds_of_the_history_is_named():
    fitted = build_transform("logit", margin=0.5).fit(panel_of(a=[2.0, 4.0]))
    assert np.isfinite(fitted.apply(panel_of(a=[4.5])).target).all()
    with pytest.raises(TransformError, match=r"series 'a' has 5.0 at 0 .*: logit needs values between 1 and 5"):
        fitted.apply(panel_of(a=[5.0]))


@pytest.mark.parametrize(
    ("options", "field", "message"),
    [
        ({"low": 1, "high": 1}, "low", "low must lie below high, got 1 and 1"),
        ({"low": "0"}, "low", "low must be a number of at most .*, got '0'"),
        ({"high": np.inf}, "high", "high must be a number of at most .*, got inf"),
        ({"margin": None}, "margin", "margin must be a number of at most .*, got None"),
        ({"margin": -0.1}, "margin", r"margin must be 0 or lie in \[0.0001, 10\], got -0.1"),
        ({"margin": 1e-5}, "margin", "margin must be 0 or lie in"),
        ({"margin": 11}, "margin", "margin must be 0 or lie in"),
        ({"margin": 0, "low": 0}, "margin", "with bounds of the history needs a margin above 0, e.g. 0.01; or give low and high"),
    ],
)
def test_options_that_make_no_sense_are_refused(options, field, message):
    with pytest.raises(OptionError, match=f"transform 'logit'.*{message}") as caught:
        Logit(**options)
    assert caught.value.field == field


def test_open_bounds_widen_with_the_history() -> None:
    """A model in service meets a new record; bounds that were given stay."""
    panel = panel_of(a=np.arange(40.0))
    fitted = Logit().fit(panel)
    longer = panel_of(a=np.arange(50.0))
    ready = fitted.for_panel(longer)
    np.testing.assert_allclose(ready.invert_panel(ready.apply(longer)).target, longer.target, atol=1e-9)
    np.testing.assert_array_equal(fitted.for_panel(panel).apply(panel).target, fitted.apply(panel).target)
    with pytest.raises(TransformError, match="logit needs values between"):
        bounded = Logit(low=-1.0, high=45.0).fit(panel)
        bounded.for_panel(longer).apply(longer)
