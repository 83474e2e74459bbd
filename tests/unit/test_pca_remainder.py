"""pca_remainder: what the main components explain is no evidence, and the whole-window scores are what they say."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from scipy.stats import spearmanr

from tsforecast.errors import OptionError
from tsforecast.models.detector import Rows
from tsforecast.models.evidence import trailing_mean
from tsforecast.models.pca_remainder import PCARemainder, PCARemainderCore
from tsforecast.panel import FloatArray


def rows_with(values: FloatArray) -> Rows:
    return Rows(values=values[:, None], timestamps=np.arange(len(values)), freq=1, season=20)


def wave(count: int, noise: float = 0.0) -> FloatArray:
    return np.sin(np.arange(count) * 2 * np.pi / 20) + np.random.default_rng(0).normal(0, noise, count)


def learnt(values: FloatArray, **options: object) -> PCARemainderCore:
    return PCARemainder(**options).learn([rows_with(values)], seed=0, train=None, callbacks=())[0]  # type: ignore[arg-type]  # options of any kind


def test_what_lies_in_the_main_components_is_explained_at_any_phase_and_size() -> None:
    core = learnt(wave(400), window=20, components=2)
    found = core.evidence(rows_with(3.0 * np.roll(wave(400), 7)[:200]))
    assert found.causal[0, 19:].max() < 1e-12 and found.revised[0, 50:].max() < 1e-12  # from the first whole window on
    np.testing.assert_allclose(found.revised_expected[30:, 0], 3.0 * np.roll(wave(400), 7)[30:200], atol=1e-6)


def test_a_step_is_expected_from_those_before_it_without_itself() -> None:
    core = learnt(wave(2000, 0.1), window=20, components=2)
    values = wave(300)
    plain = core.evidence(rows_with(values)).expected[:, 0]
    assert np.abs(plain[40:] - values[40:]).max() < 0.1
    values[200] += 5.0
    struck = core.evidence(rows_with(values)).expected[:, 0]
    np.testing.assert_array_equal(struck[:201], plain[:201])
    assert abs(struck[201] - plain[201]) > 0.01


def test_the_causal_remainder_is_the_mean_of_the_newest_window() -> None:
    core = learnt(wave(500, 0.3), window=10, components=3)
    values = np.random.default_rng(5).normal(size=50)
    found = core.evidence(rows_with(values))
    window = values[31:41] - core.mean
    left = window - core.components.T @ (core.components @ window)
    assert found.causal[0, 40, 0] == pytest.approx(float((left**2).mean()), rel=1e-9)
    squares = np.full((50, 50), np.nan)  # (window by its last row, step)
    for last in range(50):
        steps = np.arange(max(last - 9, 0), last + 1)
        if len(steps) < 10:
            continue  # windows before the first whole one are filled; they touch only the first steps
        one = values[steps] - core.mean
        squares[last, steps] = (one - core.components.T @ (core.components @ one)) ** 2
    covering = np.nanmean(squares[:, 20:40], axis=0)
    revised = np.array([covering[i - 5 : i + 5].mean() for i in range(5, 15)])
    np.testing.assert_allclose(found.revised[0, 25:35, 0], revised, rtol=1e-9)


def test_a_hole_takes_no_part_in_what_the_rest_is_explained_by() -> None:
    core = learnt(wave(400), window=20, components=2)
    values = wave(200)
    values[[100, 101, 107]] = np.nan
    found = core.evidence(rows_with(values)).causal[0, :, 0]
    assert np.isnan(found[[100, 101, 107]]).all()
    assert np.nanmax(found) < 2e-3  # a hole filled with the mean would leave a remainder of 0.05


def test_the_leader_of_the_leaderboard_is_the_window_energy_in_disguise() -> None:
    rng = np.random.default_rng(3)
    history = wave(1500) + rng.normal(0, 0.5, 1500)
    core = learnt(history, window=20, score="sub_pca")
    values = (wave(600) + rng.normal(0, 0.5, 600)) * np.linspace(0.5, 2.0, 600)
    found = core.evidence(rows_with(values))
    energy = trailing_mean(values**2, 20)
    assert spearmanr(found.causal[0, 20:, 0], energy[20:])[0] > 0.9
    np.testing.assert_array_equal(found.revised[0, 30:-30, 0], found.causal[0, 40:-20, 0])  # placed at the centre


def test_sub_pca_is_the_distance_to_each_component_over_its_share_of_variance() -> None:
    rng = np.random.default_rng(3)
    history = rng.normal(size=900)
    core = learnt(history, window=6, score="sub_pca")
    windows = np.lib.stride_tricks.sliding_window_view(history, 6)
    scaled = (windows - windows.mean(axis=0)) / windows.std(axis=0)
    variance, vectors = np.linalg.eigh(np.cov(scaled.T))
    share = (variance / variance.sum())[::-1]
    found = core.evidence(rows_with(history)).causal[0, 5:, 0]
    for sign in np.array(np.meshgrid(*[[-1.0, 1.0]] * 6)).reshape(6, -1).T:  # the sign of a component is nobody's choice
        wanted = (cdist(scaled, (vectors[:, ::-1] * sign).T) / share).sum(axis=1)
        if np.allclose(found, wanted, rtol=1e-6):
            return
    raise AssertionError("no choice of signs gives these scores")


def test_the_squared_mahalanobis_distance_of_ordinary_windows_is_one_per_component() -> None:
    history = np.random.default_rng(1).normal(size=5000)
    core = learnt(history, window=8, score="mahalanobis")
    assert np.nanmean(core.evidence(rows_with(history)).causal) == pytest.approx(1.0, abs=0.05)


def test_impossible_options_are_refused_by_name() -> None:
    with pytest.raises(OptionError, match="score must be one of remainder, mahalanobis, sub_pca, got 'energy'"):
        PCARemainder(score="energy")  # type: ignore[arg-type]  # the point of the test
    with pytest.raises(OptionError, match="components must be a positive whole number, got 0"):
        PCARemainder(components=0)
