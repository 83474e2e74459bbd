"""Parts to train, to validate and to test on."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tsforecast.errors import HistoryTooShort, OptionError
from tsforecast.panel import Panel
from tsforecast.preprocessing.splits import split_panel


def panel_of(*lengths: int) -> Panel:
    """Series whose timestamps and targets count their steps."""
    steps = np.concatenate([np.arange(n) for n in lengths])
    return Panel(
        series_ids=tuple(f"s{i}" for i in range(len(lengths))),
        offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        timestamps=steps.astype(np.int64),
        target=steps.astype(float),
        freq=1,
        season=1,
    )


def test_the_parts_lie_where_they_should():
    splits = split_panel(panel_of(10), validation=2, test=3, gap=1)
    assert splits.train.target.tolist() == [0, 1, 2]  # 3 is the gap
    assert splits.validation.target.tolist() == [0, 1, 2, 3, 4, 5]  # its part is 4 and 5, 6 is the gap
    assert splits.test.target.tolist() == list(range(10))  # its part is 7, 8, 9


def test_history_is_as_long_as_asked():
    splits = split_panel(panel_of(10, 20), validation=2, test=3, history=4)
    assert splits.validation.target.tolist() == [*range(1, 7), *range(11, 17)]
    assert splits.test.target.tolist() == [*range(3, 10), *range(13, 20)]
    assert splits.train.target.tolist() == [*range(5), *range(15)]


@given(st.lists(st.integers(1, 30), min_size=1, max_size=5), st.integers(1, 6), st.integers(1, 6), st.integers(0, 4))
@settings(max_examples=100, deadline=None)
def test_nothing_of_a_later_part_is_in_an_earlier_one(extra, validation, test, gap):
    panel = panel_of(*(validation + test + 2 * gap + n for n in extra))
    splits = split_panel(panel, validation=validation, test=test, gap=gap)
    assert splits.train.series_ids == splits.validation.series_ids == splits.test.series_ids == panel.series_ids
    for i, length in enumerate(panel.lengths):
        train, held, whole = ([y for _, y in part][i] for part in (splits.train, splits.validation, splits.test))
        begins_validation, begins_test = held[len(held) - validation], whole[len(whole) - test]
        assert train[-1] + gap + 1 == begins_validation
        assert held[-1] + gap + 1 == begins_test
        assert whole[-1] == length - 1
        assert train[0] == held[0] == whole[0] == 0


def test_a_series_that_is_too_short_is_named_with_the_number_of_others():
    with pytest.raises(HistoryTooShort, match=r"'s1' has 7 observations.*at least 8; .* take 7, and 1 more series") as caught:
        split_panel(panel_of(8, 7, 3), validation=2, test=3, gap=1)
    assert caught.value.series_id == "s1"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"validation": 0}, "validation must be a whole number of steps, 1 or more, got 0"),
        ({"test": 2.5}, "test must be a whole number of steps, 1 or more, got 2.5"),
        ({"gap": -1}, "gap must be a whole number of steps, 0 or more, got -1"),
        ({"history": 0}, "history must be a whole number of steps, 1 or more, got 0"),
        ({"test": True}, "test must be a whole number"),
    ],
)
def test_impossible_parts_are_refused(options, message):
    with pytest.raises(OptionError, match=message):
        split_panel(panel_of(20), **{"validation": 1, "test": 1, **options})
