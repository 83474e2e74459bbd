"""isolation_forest: our walk through the trees is scikit-learn's."""

import numpy as np
import pytest
from sklearn.ensemble import IsolationForest as Theirs

from tsforecast.errors import OptionError
from tsforecast.models.detector import Rows
from tsforecast.models.isolation_forest import IsolationForest, IsolationForestCore, expected_length, forest_arrays
from tsforecast.models.window_arrays import training_windows


def some_rows(count: int = 900, channels: int = 2) -> Rows:
    rng = np.random.default_rng(4)
    values = np.sin(np.arange(count) * 2 * np.pi / 20)[:, None] + rng.normal(0, 0.4, (count, channels))
    return Rows(values=values, timestamps=np.arange(count), freq=1, season=20)


@pytest.mark.parametrize("samples", [2, 3, 64, 256])
def test_scores_are_those_of_scikit_learn(samples: int) -> None:
    series = [some_rows()]
    windows, _ = training_windows(series, 20, 20_000)
    theirs = Theirs(n_estimators=30, max_samples=samples, random_state=7).fit(windows)
    core, _ = IsolationForest(window=20, trees=30, samples=samples).learn(series, seed=7, train=None, callbacks=())
    rng = np.random.default_rng(1)
    new = np.concatenate([windows[::9], rng.normal(0, 3, (200, 20)), windows[:5].astype(np.float32).astype(np.float64)])
    np.testing.assert_allclose(core.window_scores(new, np.isfinite(new)), -theirs.score_samples(new), rtol=1e-9)


def test_a_window_on_the_very_threshold_goes_the_way_it_goes_there() -> None:
    windows = np.random.default_rng(2).integers(0, 4, (300, 6)).astype(np.float64)
    theirs = Theirs(n_estimators=20, max_samples=200, random_state=1).fit(windows)
    core = IsolationForestCore(window=6, samples=200, **forest_arrays([tree.tree_ for tree in theirs.estimators_]))
    at = np.resize(np.concatenate([tree.tree_.threshold for tree in theirs.estimators_]), (400, 6))
    np.testing.assert_allclose(core.window_scores(at, np.isfinite(at)), -theirs.score_samples(at), rtol=1e-9)


def test_the_expected_length_is_that_of_the_paper() -> None:
    found = expected_length(np.array([1, 2, 3, 256]))
    harmonic = np.log(255) + np.euler_gamma
    np.testing.assert_allclose(found, [0.0, 1.0, 2 * (np.log(2) + np.euler_gamma) - 4 / 3, 2 * harmonic - 2 * 255 / 256])


def test_another_seed_grows_another_forest_and_the_same_seed_the_same() -> None:
    series = [some_rows(channels=1)]
    grown = [IsolationForest(trees=5).learn(series, seed=seed, train=None, callbacks=())[0].threshold for seed in (1, 1, 2)]
    np.testing.assert_array_equal(grown[0], grown[1])
    assert len(grown[0]) != len(grown[2]) or not np.array_equal(grown[0], grown[2])


def test_it_takes_no_more_samples_than_there_are_windows() -> None:
    core, said = IsolationForest(window=16, trees=3).learn([some_rows(40, 1)], seed=0, train=None, callbacks=())
    assert core.samples == said["windows"] < 256


def test_impossible_options_are_refused_by_name() -> None:
    with pytest.raises(OptionError, match="trees must be a whole number from 1 on, got 0"):
        IsolationForest(trees=0)
    with pytest.raises(OptionError, match="samples must be a whole number from 2 on, got 1"):
        IsolationForest(samples=1)
