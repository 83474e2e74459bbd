"""Last touches: what they do to each quantile, and the names under which they are stored."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.transform_cases import forecast_of, panel_of
from tsforecast.errors import OptionError
from tsforecast.postprocess import POSTPROCESS, clip_below_zero, postprocess_named, round_to_integers, within

PANEL = panel_of(a=[1.0])


def touched(touch, values):
    return touch(forecast_of(PANEL, values)).quantiles.ravel().tolist()


def test_forecasts_of_what_cannot_be_negative_end_at_zero():
    assert touched(clip_below_zero, [-3.0, -0.0, 0.2, 5.0]) == [0, 0, 0.2, 5]


def test_forecasts_of_counts_are_whole_numbers_and_zero_has_no_sign():
    found = touched(round_to_integers, [-1.7, -0.3, 0.5, 1.5, 7.6])
    assert found == [-2, 0, 0, 2, 8]
    assert not np.signbit(found[1])


@pytest.mark.parametrize(
    ("name", "expected"),
    [("within 0 10", [0, 0.2, 5, 10]), ("within -inf 5", [-3, 0.2, 5, 5]), ("within 0.5 inf", [0.5, 0.5, 5, 11])],
)
def test_forecasts_are_kept_within_bounds_that_their_name_carries(name, expected):
    touch = postprocess_named(name)
    assert touched(touch, [-3.0, 0.2, 5.0, 11.0]) == expected
    assert touched(postprocess_named(touch.name), [-3.0, 0.2, 5.0, 11.0]) == expected  # as a stored flow finds it again


def test_bounds_survive_their_name_to_the_last_digit():
    assert within(0.1 + 0.2, 1 / 3).name == "within 0.30000000000000004 0.3333333333333333"
    assert within(0, 100).name == postprocess_named("within 0 100").name == "within 0.0 100.0"


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=6).map(sorted))
@settings(max_examples=100, deadline=None)
def test_quantiles_stay_in_order_and_finite(values):
    for touch in (*POSTPROCESS.values(), within(-1, 2.5)):
        found = touched(touch, values)
        assert found == sorted(found) and np.isfinite(found).all()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("clip", "no postprocess 'clip'; there are clip_below_zero, round_to_integers, within LOW HIGH"),
        ("", "no postprocess ''; there are"),
        ("within 0", "postprocess 'within 0' needs two numbers, e.g. 'within 0 100', or 'within 0 inf' for one bound"),
        ("within 0 ten", "postprocess 'within 0 ten' needs two numbers"),
        ("within 0 1 2", "postprocess 'within 0 1 2' needs two numbers"),
        ("within 2 1", "needs a low bound below the high one, got 2.0 and 1.0"),
        ("within nan 1", "needs a low bound below the high one, got nan and 1.0"),
    ],
)
def test_a_touch_that_does_not_exist_is_refused(name, message):
    with pytest.raises(OptionError, match=message) as caught:
        postprocess_named(name)
    assert caught.value.field == "postprocess"
