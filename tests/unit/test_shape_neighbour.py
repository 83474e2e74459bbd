"""shape_neighbour: what a shape is, and that the nearest of the training windows is found."""

import numpy as np
import pytest

from tsforecast.errors import OptionError
from tsforecast.models.detector import Rows
from tsforecast.models.shape_neighbour import FLAT, ShapeNeighbour, ShapeNeighbourCore, normalised
from tsforecast.panel import FloatArray


def rows_with(values: FloatArray) -> Rows:
    return Rows(values=values[:, None], timestamps=np.arange(len(values)), freq=1, season=1)


def learnt(values: FloatArray, **options: int) -> ShapeNeighbourCore:
    return ShapeNeighbour(**options).learn([rows_with(values)], seed=0, train=None, callbacks=())[0]


def test_the_distance_is_that_to_the_nearest_window_by_a_loop() -> None:
    rng = np.random.default_rng(1)
    history, new = rng.normal(size=120), rng.normal(size=40)
    found = learnt(history, window=8, memory=1000).evidence(rows_with(new)).causal[0, :, 0]

    def shape(window: FloatArray) -> FloatArray:
        away: FloatArray = window - window.mean()
        return away / away.std()

    known = [shape(history[i : i + 8]) for i in range(113)]
    for last in range(7, 40):
        window = shape(new[last - 7 : last + 1])
        nearest = min(float(((window - one) ** 2).mean()) for one in known)
        assert found[last] == pytest.approx(nearest, rel=1e-9)


def test_more_neighbours_are_averaged() -> None:
    rng = np.random.default_rng(2)
    history, new = rng.normal(size=90), rng.normal(size=30)
    core = learnt(history, window=8, memory=1000, neighbours=3)
    shapes = normalised(np.lib.stride_tricks.sliding_window_view(new, 8))
    distances = np.sqrt(((shapes[:, None] - core.memory) ** 2).mean(axis=2))
    wanted = np.sort(distances, axis=1)[:, :3].mean(axis=1) ** 2
    np.testing.assert_allclose(core.evidence(rows_with(new)).causal[0, 7:, 0], wanted, rtol=1e-9)


def test_neither_level_nor_size_is_part_of_a_shape() -> None:
    history = np.random.default_rng(3).normal(size=200)
    core = learnt(history, window=10, memory=1000)
    seen_before = core.evidence(rows_with(50.0 * history[40:90] - 300.0))
    assert seen_before.causal[0, 9:, 0].max() < 1e-6


def test_flat_windows_are_at_no_distance_from_each_other_and_at_one_from_any_shape() -> None:
    flat = normalised(np.full((1, 16), 3.0))
    assert not flat.any()
    wave = normalised(np.sin(np.arange(16.0))[None])
    assert np.sqrt(((wave - flat) ** 2).mean()) == pytest.approx(1.0)
    noise = normalised(FLAT * 1e-3 * np.random.default_rng(0).normal(size=(1, 16)))
    assert np.sqrt((noise**2).mean()) < 0.01  # what is nearly flat is no shape blown up
    core = learnt(np.concatenate([np.zeros(60), np.sin(np.arange(60.0))]), window=12, memory=1000)
    assert np.nanmax(core.evidence(rows_with(np.full(30, 7.0))).causal) == 0.0


def test_long_shapes_are_compared_by_means_of_neighbouring_steps() -> None:
    history = np.sin(2 * np.pi * np.arange(2000) / 300)
    core = learnt(history)
    assert core.every == 3 and core.memory.shape[1] == core.window / 3 and abs(core.window - 300) <= 3
    assert np.nanmax(core.evidence(rows_with(history[:900])).causal[0, core.window :]) < 1e-6  # whole windows


def test_short_periods_are_looked_at_several_at_a_time() -> None:
    core = learnt(np.sin(2 * np.pi * np.arange(600) / 12) + np.random.default_rng(0).normal(0, 0.05, 600))
    assert core.window == 36


def test_memory_limits_what_is_kept() -> None:
    core = learnt(np.random.default_rng(0).normal(size=3000), window=16, memory=50)
    assert core.memory.shape == (50, 16)


def test_impossible_options_are_refused_by_name() -> None:
    with pytest.raises(OptionError, match=r"memory must be a positive number of windows, got 0"):
        ShapeNeighbour(memory=0)
    with pytest.raises(OptionError, match=r"neighbours \(9\) are looked for among memory \(5\) windows"):
        ShapeNeighbour(memory=5, neighbours=9)
    with pytest.raises(OptionError) as caught:
        ShapeNeighbour(window=2)
    assert caught.value.field == "window"


def test_of_a_window_with_holes_only_what_was_seen_is_compared_by_a_loop() -> None:
    rng = np.random.default_rng(5)
    history, new = rng.normal(size=120), rng.normal(size=60)
    core = learnt(history, window=10, memory=1000)
    new[[30, 31, 45]] = np.nan
    found = core.evidence(rows_with(new)).causal[0, :, 0]
    known = np.lib.stride_tricks.sliding_window_view(history, 10)
    assert np.isnan(found[:7]).all() and np.isfinite(found[7:9]).all()  # eight of ten
    for last in (8, 9, 32, 35, 38, 46, 50, 59):
        window = np.concatenate([np.full(10, np.nan), new])[last + 1 : last + 11]
        seen = np.isfinite(window)
        shapes = [one[seen] - one[seen].mean() for one in (window, *known)]
        mine, *others = (one / one.std() for one in shapes)
        assert found[last] == pytest.approx(min(float(((mine - one) ** 2).mean()) for one in others), rel=1e-9)
    assert np.isnan(found[[30, 31, 45]]).all()


def test_holes_in_coarse_windows_are_left_out_of_their_means() -> None:
    history = np.sin(np.arange(3000) * 2 * np.pi / 300)
    core = learnt(history, window=300)
    assert core.every > 1
    new = history[:900].copy()
    new[np.arange(900) % 7 == 3] = np.nan
    found = core.evidence(rows_with(new)).causal[0, :, 0]
    assert np.nanmax(found[299:]) < 1e-3
    holed = new.copy()
    holed[600:640] = np.nan  # whole points are missing
    assert np.nanmax(core.evidence(rows_with(holed)).causal[0, 299:, 0]) < 1e-3
