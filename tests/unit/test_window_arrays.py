"""Windows of one channel: their holes, the sample of them that is learnt from, means over windows, medians."""

import numpy as np
import pytest

from tsforecast.errors import HistoryTooShort
from tsforecast.models.detector import Rows
from tsforecast.models.evidence import judgeable
from tsforecast.models.window_arrays import (
    chunks,
    covering_mean,
    ending_windows,
    median_of_seen,
    training_windows,
    without_holes,
)
from tsforecast.panel import FloatArray

NAN = np.nan


def rows_with(values: FloatArray) -> Rows:
    columns = values if values.ndim == 2 else values[:, None]
    return Rows(values=columns, timestamps=np.arange(len(columns)), freq=1, season=1)


def test_each_step_has_the_window_that_ends_at_it() -> None:
    found = ending_windows(np.array([1.0, 2.0, 3.0]), 2)
    np.testing.assert_array_equal(found, [[NAN, 1.0], [1.0, 2.0], [2.0, 3.0]])
    assert ending_windows(np.zeros(0), 3).shape == (0, 3)


def test_holes_are_filled_from_inside_the_window_alone() -> None:
    windows = np.array([[1.0, NAN, NAN, 4.0], [NAN, 2.0, NAN, 4.0], [3.0, NAN, NAN, NAN], [NAN] * 4, [1.0, 2.0, 3.0, 4.0]])
    filled, seen = without_holes(windows)
    np.testing.assert_allclose(
        filled, [[1.0, 2.0, 3.0, 4.0], [2.0, 2.0, 3.0, 4.0], [3.0] * 4, [0.0] * 4, [1.0, 2.0, 3.0, 4.0]], rtol=1e-12
    )
    np.testing.assert_array_equal(seen, np.isfinite(windows))
    assert np.isnan(windows[0, 1])  # the windows themselves stay as they are


def test_training_windows_come_evenly_from_all_series_and_channels_and_skip_what_is_missing() -> None:
    wide = np.stack([np.arange(100.0), 1000.0 + np.arange(100.0)], axis=1)
    wide[:, 1][40:60] = NAN
    series = [rows_with(wide), rows_with(np.full(50, NAN)), rows_with(np.ones(2)), rows_with(5000.0 + np.arange(50.0))]
    every, seen = training_windows(series, 4, 10_000)
    assert len(every) == 97 + (97 - 19) + 47  # a window of four needs two: 19 of those around the hole have fewer
    assert seen.sum(axis=1).min() == 2
    some, _ = training_windows(series, 4, 30)
    assert len(some) == 30
    shares = [int(((low <= some[:, 0]) & (some[:, 0] < high)).sum()) for low, high in ((0, 999), (1000, 4999), (5000, 9999))]
    assert shares == pytest.approx([30 * 97 / 222, 30 * 78 / 222, 30 * 47 / 222], abs=1.1)
    np.testing.assert_array_equal(np.diff(some[:5], axis=1), 1.0)


def test_without_a_window_that_is_half_observed_there_is_nothing_to_learn_from() -> None:
    values = np.full(40, NAN)
    values[::4] = 1.0
    with pytest.raises(HistoryTooShort) as caught:
        training_windows([rows_with(values)], 8, 100)
    assert (caught.value.have, caught.value.need) == (10, 16)


def test_a_step_gets_the_mean_over_the_windows_that_cover_it() -> None:
    scores = np.array([NAN, 2.0, 4.0, 9.0])
    np.testing.assert_allclose(covering_mean(scores, 2), [2.0, 3.0, 6.5, 9.0])


def test_the_median_counts_what_is_there() -> None:
    values = np.array([[3.0, NAN, 1.0, NAN], [4.0, 1.0, 2.0, 8.0], [NAN] * 4, [NAN, 5.0, NAN, NAN]])
    np.testing.assert_array_equal(median_of_seen(values), [2.0, 3.0, NAN, 5.0])
    rng = np.random.default_rng(0)
    many = np.where(rng.random((200, 7)) < 0.3, NAN, rng.normal(size=(200, 7)))
    many[:, 0] = 0.5
    np.testing.assert_allclose(median_of_seen(many), np.nanmedian(many, axis=1), rtol=1e-12)
    assert np.isnan(median_of_seen(np.zeros((3, 0)))).all()


def test_chunks_cover_everything_once() -> None:
    assert [(part.start, part.stop) for part in chunks(5, 2)] == [(0, 2), (2, 4), (4, 5)]
    assert list(chunks(0)) == []


@pytest.mark.parametrize(("window", "least"), [(10, 0.8), (7, 0.5), (16, 0.9), (5, 1.0)])
def test_judgeable_windows_are_half_seen_and_have_no_long_hole_by_a_loop(window: int, least: float) -> None:
    draws = np.random.default_rng(window)
    seen = draws.random((300, 2)) < np.repeat(draws.choice([0.3, 0.7, 0.95], size=30), 10)[:, None]
    found = judgeable(seen, window, least)
    padded = np.concatenate([np.zeros((window, 2), dtype=bool), seen])
    for t in range(300):
        for c in range(2):
            own = padded[t + 1 : t + 1 + window, c]
            holes = "".join("." if one else "x" for one in own).split(".")
            longest = max(len(hole) for hole in holes)
            assert found[t, c] == (2 * own.sum() >= window and window - longest >= least * window - 1e-9), (t, c)
    assert found.any() and not found.all()
