"""Panel: cutting and choosing rows, against loops over the series."""

from dataclasses import replace

import numpy as np
import pytest

from tsforecast.panel import Panel

LENGTHS = (5, 1, 3)


@pytest.fixture
def panel():
    """Three series "a", "b", "c" on an integer clock; target and covariates number the rows."""
    rows = sum(LENGTHS)
    return Panel(
        series_ids=("a", "b", "c"),
        offsets=np.cumsum([0, *LENGTHS]),
        timestamps=np.concatenate([np.arange(length) + 10 for length in LENGTHS]),
        target=np.arange(rows, dtype=float),
        freq=1,
        season=1,
        covariates=np.arange(2 * rows, dtype=float).reshape(rows, 2),
        covariate_names=("p", "q"),
    )


def contents(panel):
    return {series_id: target.tolist() for series_id, target in panel}


def test_a_panel_tells_its_series_their_lengths_and_their_last_timestamps(panel):
    assert len(panel) == 3
    assert panel.is_integer_clock
    assert contents(panel) == {"a": [0, 1, 2, 3, 4], "b": [5], "c": [6, 7, 8]}
    assert panel.lengths.tolist() == [5, 1, 3]
    assert panel.last_timestamps().tolist() == [14, 10, 12]
    assert panel.row_in_series().tolist() == [0, 1, 2, 3, 4, 0, 0, 1, 2]


@pytest.mark.parametrize("steps", [0, 1, 2, 3, 9])
def test_without_last_and_tail_cut_each_series_at_its_own_end(panel, steps):
    loop = {name: values[: max(len(values) - steps, 0)] for name, values in contents(panel).items()}
    assert contents(panel.without_last(steps)) == {name: values for name, values in loop.items() if values}
    ends = {name: values[max(len(values) - steps, 0) :] for name, values in contents(panel).items()}
    assert contents(panel.tail(steps)) == {name: values for name, values in ends.items() if values}


def test_until_keeps_the_row_at_the_moment(panel):
    assert contents(panel.until(11)) == {"a": [0, 1], "b": [5], "c": [6, 7]}
    assert len(panel.until(9)) == 0


def test_select_takes_series_in_the_order_asked_with_their_covariates(panel):
    chosen = panel.select([2, 0])
    assert contents(chosen) == {"c": [6, 7, 8], "a": [0, 1, 2, 3, 4]}
    np.testing.assert_array_equal(chosen.covariates[:, 0], [12, 14, 16, 0, 2, 4, 6, 8])
    assert chosen.timestamps.tolist() == [10, 11, 12, 10, 11, 12, 13, 14]
    assert len(panel.select([])) == 0


def test_covariates_go_with_their_rows(panel):
    np.testing.assert_array_equal(panel.tail(1).covariates, [[8, 9], [10, 11], [16, 17]])


def test_the_arrays_of_a_panel_cannot_be_written(panel):
    for array in (panel.target, panel.timestamps, panel.offsets, panel.covariates):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1


def test_with_target_changes_the_values_only(panel):
    doubled = panel.with_target(panel.target * 2)
    assert doubled.target.tolist() == (panel.target * 2).tolist()
    assert doubled.offsets is panel.offsets


@pytest.fixture
def told(panel):
    """The panel, with a past covariate that numbers the rows and statics that name the series."""
    return replace(
        panel,
        past_covariates=np.arange(9.0)[:, None],
        past_covariate_names=("r",),
        static_reals=np.array([[1.0], [2.0], [3.0]]),
        static_real_names=("size",),
        static_categories=(("A",), ("B",), ("C",)),
        static_category_names=("kind",),
    )


@pytest.mark.parametrize(
    ("cut", "ids", "rows"),
    [
        (lambda panel: panel.select([2, 0]), "ca", [6, 7, 8, 0, 1, 2, 3, 4]),
        (lambda panel: panel.tail(1), "abc", [4, 5, 8]),
        (lambda panel: panel.without_last(1), "ac", [0, 1, 2, 3, 6, 7]),  # "b" has one row only
        (lambda panel: panel.until(11), "abc", [0, 1, 5, 6, 7]),
        (lambda panel: panel.rows(panel.target > 4), "bc", [5, 6, 7, 8]),
        (lambda panel: panel.with_target(panel.target * 2), "abc", list(range(9))),
        (lambda panel: panel.select([]), "", []),
        (lambda panel: panel.until(9), "", []),
    ],
)
def test_static_features_stay_with_their_series_and_past_covariates_with_their_rows(told, cut, ids, rows):
    kept = cut(told)
    assert kept.series_ids == tuple(ids)
    assert kept.past_covariates[:, 0].tolist() == rows
    assert kept.static_reals[:, 0].tolist() == ["abc".index(one) + 1.0 for one in ids]
    assert kept.static_categories == tuple((one.upper(),) for one in ids)
    assert (kept.static_real_names, kept.static_category_names) == (("size",), ("kind",))


def test_the_arrays_of_past_and_static_cannot_be_written(told):
    for array in (told.past_covariates, told.static_reals, told.select([1]).static_reals):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1


def test_zones_go_with_their_series_and_one_zone_for_all_is_the_zone_of_the_panel(panel):
    zoned = replace(panel, tz="UTC", zones=("Asia/Tokyo", "Europe/Berlin", "Asia/Tokyo"))
    assert [zoned.zone_of(i) for i in range(3)] == list(zoned.zones)
    assert (zoned.select([1, 0]).tz, zoned.select([1, 0]).zones) == ("UTC", ("Europe/Berlin", "Asia/Tokyo"))
    assert (zoned.select([2, 0]).tz, zoned.select([2, 0]).zones) == ("Asia/Tokyo", ())
    assert zoned.without_last(1).zone_of(1) == "Asia/Tokyo"  # "b" is gone
    assert (panel.zone_of(2), panel.select([1]).tz) == (None, None)
