"""Holes: filled as worked out by hand and against loops."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.transform_cases import NAN, panel_of
from tsforecast.errors import OptionError
from tsforecast.preprocessing.transforms import build_transform, transform_from_json


@pytest.mark.parametrize(
    ("options", "given_values", "filled"),
    [
        ({"method": "linear"}, [NAN, 1, NAN, NAN, 4, NAN], [NAN, 1, 2, 3, 4, 4]),
        ({"method": "forward"}, [NAN, 1, NAN, NAN, 4, NAN], [NAN, 1, 1, 1, 4, 4]),
        ({"method": "seasonal"}, [1, 10, NAN, NAN, 3, NAN, NAN], [1, 10, 1, 10, 3, 10, 3]),
        ({"method": "seasonal"}, [NAN, 10, NAN, 12, 3], [NAN, 10, 11, 12, 3]),
        ({"method": "linear"}, [NAN, NAN], [NAN, NAN]),
        ({"method": "constant", "value": -7}, [NAN, 1, NAN, NAN, 4, NAN], [NAN, 1, -7, -7, 4, -7]),
        ({"method": "none"}, [NAN, 1, NAN, NAN, 4, NAN], [NAN, 1, NAN, NAN, 4, NAN]),
        ({"method": "linear", "limit": 1}, [NAN, 1, NAN, NAN, 4, NAN], [NAN, 1, NAN, NAN, 4, 4]),
        ({"method": "forward", "limit": 2}, [0, NAN, NAN, NAN, 1, NAN, NAN], [0, NAN, NAN, NAN, 1, 1, 1]),
        ({"method": "seasonal", "limit": 1}, [1, 10, NAN, NAN, 3, NAN], [1, 10, NAN, NAN, 3, 10]),
    ],
)
def test_holes_are_filled_as_worked_out_by_hand_and_not_across_series(options, given_values, filled):
    panel = panel_of(a=[100.0, 100.0], b=given_values, c=[500.0])
    np.testing.assert_array_equal(build_transform("fill", **options).fit(panel).apply(panel).target, [100, 100, *filled, 500])


def test_a_hole_does_not_grow_over_the_end_of_a_series():
    """One NaN at the end of a and one at the start of b are two holes of one step."""
    panel = panel_of(a=[1.0, NAN], b=[NAN, 2.0, NAN], c=[NAN])
    filled = build_transform("fill", method="forward", limit=1).apply(panel).target
    np.testing.assert_array_equal(filled, [1, 1, NAN, 2, 2, NAN])


HOLED = st.lists(st.lists(st.one_of(st.just(NAN), st.integers(0, 9)), min_size=1, max_size=12), min_size=1, max_size=3)


@given(HOLED, st.integers(1, 4))
@settings(max_examples=100, deadline=None)
def test_a_seasonal_fill_takes_the_latest_of_the_same_phase(series, season):
    panel = panel_of(season=season, **{str(i): values for i, values in enumerate(series)})
    filled = iter(build_transform("fill", method="seasonal").apply(panel).target)
    for values in series:
        for t, value in enumerate(values):
            got = next(filled)
            earlier = [values[u] for u in range(t - season, -1, -season) if not np.isnan(values[u])]
            if not np.isnan(value):
                assert got == value
            elif earlier:
                assert got == earlier[0]


@given(HOLED, st.integers(1, 4))
@settings(max_examples=100, deadline=None)
def test_holes_longer_than_the_limit_stay_whole(series, limit):
    panel = panel_of(**{str(i): values for i, values in enumerate(series)})
    filled = iter(build_transform("fill", method="constant", value=-1, limit=limit).apply(panel).target)
    for values in series:
        text = "".join("x" if np.isnan(value) else "o" for value in values)
        for t, value in enumerate(values):
            hole = len(text[:t]) - len(text[:t].rstrip("x")) + len(text[t:]) - len(text[t:].lstrip("x"))
            expected = value if text[t] == "o" else -1 if hole <= limit and "o" in text[:t] else NAN
            np.testing.assert_equal(next(filled), expected)


@pytest.mark.parametrize(
    ("options", "field", "message"),
    [
        ({"method": "constant"}, "value", "with method 'constant' needs a value, e.g. value = 0"),
        ({"value": 3.0}, "value", "has no use for a value with method 'linear'; leave it out, or use 'constant'"),
        ({"method": "constant", "value": NAN}, "value", r"value must be a number of at most 1e\+300 in size, got nan"),
        ({"method": "constant", "value": 10**400}, "value", "value must be a number of at most"),
        ({"method": "constant", "value": "0"}, "value", "value must be a number of at most .*, got '0'"),
        ({"method": "constant", "value": True}, "value", "value must be a number of at most .*, got True"),
        ({"limit": 0}, "limit", "limit must be a number of steps of 1 or more, got 0; leave it out for none"),
        ({"limit": 1.5}, "limit", "limit must be a number of steps of 1 or more, got 1.5"),
        ({"limit": True}, "limit", "limit must be a number of steps of 1 or more, got True"),
    ],
)
def test_options_that_make_no_sense_are_refused(options, field, message):
    with pytest.raises(OptionError, match=f"transform 'fill'.*{message}") as caught:
        build_transform("fill", **options)
    assert caught.value.field == field


def test_a_stored_fill_keeps_its_value_and_limit():
    fill = build_transform("fill", method="constant", value=2.5, limit=3)
    assert transform_from_json(fill.to_json()) == fill
