"""Taking noise out of values by blind guesses: how much noise there is, what a guess may see, what a poor guess does."""

import numpy as np
import pytest

from tsforecast.models.noise import BESIDE, SEASONS, blind_features, noise_variance, without_noise

PERIOD, ROWS = 24, 720
EVERYWHERE = np.ones(ROWS, dtype=bool)


def sine(rows: int = ROWS) -> np.ndarray:
    return np.sqrt(2) * np.sin(2 * np.pi * np.arange(rows) / PERIOD)


def walk(seed: int = 0, rows: int = ROWS) -> np.ndarray:
    return np.cumsum(np.random.default_rng(seed).standard_normal(rows))


def noise(seed: int, size: float, rows: int = ROWS) -> np.ndarray:
    return size * np.random.default_rng(100 + seed).standard_normal(rows)


def flattening(values: np.ndarray) -> list[np.ndarray]:
    """A network that knows the season and makes it too small, whatever it is shown."""
    return [0.8 * sine(len(values))]


def knowing_nothing(values: np.ndarray) -> list[np.ndarray]:
    return [np.zeros(len(values))]


def smearing(values: np.ndarray) -> list[np.ndarray]:
    """A moving mean over what is shown, the step itself among it."""
    shown = np.isfinite(values)
    total, count = (np.convolve(one, np.ones(9), mode="same") for one in (np.where(shown, values, 0.0), shown.astype(float)))
    return [total / np.maximum(count, 1)]


def error(said: np.ndarray, truth: np.ndarray) -> float:
    return float(np.sqrt(np.mean((said - truth) ** 2)))


# How much noise there is


@pytest.mark.parametrize("size", [0.1, 0.5, 2.0])
def test_the_noise_beside_a_season_is_measured_and_rather_too_low_than_too_high(size):
    found = [noise_variance(sine() + noise(seed, size)) / size**2 for seed in range(6)]
    assert 0.6 < np.median(found) < 1.05
    assert max(found) < 1.3


def test_the_noise_beside_a_random_walk_is_measured():
    found = [noise_variance(walk(seed) + noise(seed, 2.0)) / 4.0 for seed in range(6)]
    assert 0.4 < np.median(found) < 1.2


def test_a_random_walk_has_no_noise():
    found = [noise_variance(walk(seed)) for seed in range(6)]
    assert np.median(found) < 1e-3
    assert max(found) < 0.1


def test_a_straight_line_and_a_constant_have_no_noise():
    assert noise_variance(np.full(200, 3.0)) < 1e-12
    assert noise_variance(np.arange(200.0)) < 1e-12


def test_noise_is_in_the_square_of_the_units_of_the_values():
    values = sine() + noise(0, 0.3)
    assert noise_variance(1e-3 * values) == pytest.approx(1e-6 * noise_variance(values), rel=1e-6)
    long = sine(6000) + noise(0, 0.3, rows=6000)  # read in means of neighbouring frequencies
    assert noise_variance(long) == pytest.approx(0.09, rel=0.1)


# What a guess sees


def test_a_guess_does_not_see_the_value_of_its_step():
    values = sine() + noise(0, 0.5)
    before, networks = blind_features(values, PERIOD, smearing)
    assert networks == 1
    assert before.shape == (ROWS, 1 + len(BESIDE) + len(SEASONS))
    for step in (0, 5, 311, 312, 313, ROWS - 1):
        changed = values.copy()
        changed[step] += 1000
        after, _ = blind_features(changed, PERIOD, smearing)
        np.testing.assert_array_equal(after[step], before[step])
        assert not np.allclose(after, before)


def test_holes_beside_a_step_are_left_out_of_its_differences():
    values = sine()
    values[[99, 124]] = np.nan
    found, _ = blind_features(values, PERIOD, knowing_nothing)
    assert found[100, 1] == pytest.approx(values[101])  # a step before there is a hole
    assert found[100, 1 + len(BESIDE)] == pytest.approx(values[76])  # a season after there is a hole


# What becomes of the values


@pytest.mark.parametrize("size", [0.05, 0.2, 0.5])
def test_a_network_that_flattens_the_season_does_not_flatten_the_values(size):
    """What it is off by, 0.2 standard deviations, is up to four times the noise."""
    values = sine() + noise(1, size)
    said = without_noise(values, PERIOD, flattening, unseen=EVERYWHERE)
    assert error(said, sine()) < 0.6 * error(values, sine())


def test_two_networks_are_mixed():
    def one_is_wrong(values):
        return [*flattening(values), 3 * np.cos(np.arange(len(values)))]

    values = sine() + noise(1, 0.3)
    said = without_noise(values, PERIOD, one_is_wrong, unseen=EVERYWHERE)
    assert error(said, sine()) < 0.6 * error(values, sine())


def test_a_random_walk_without_noise_stays_as_it_is_whatever_the_network_says():
    for seed in range(5):
        said = without_noise(walk(seed), PERIOD, knowing_nothing, unseen=EVERYWHERE)
        assert error(said, walk(seed)) < 0.1  # of a step


def test_noise_leaves_a_random_walk_of_which_the_network_knows_nothing():
    values = walk() + noise(2, 3.0)
    said = without_noise(values, 1, knowing_nothing, unseen=EVERYWHERE)
    assert error(said, walk()) < 0.7 * error(values, walk())


def test_a_few_wild_values_do_not_spoil_the_others():
    values = sine() + noise(3, 0.3)
    calm = without_noise(values, PERIOD, flattening, unseen=EVERYWHERE)
    spiked = values.copy()
    spiked[::90] += 30
    said = without_noise(spiked, PERIOD, flattening, unseen=EVERYWHERE)
    far = np.min(np.abs(np.arange(ROWS)[:, None] - np.arange(0, ROWS, 90)), axis=1) > BESIDE[-1][1]
    assert error(said[far], sine()[far]) < 1.02 * error(calm[far], sine()[far])


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_steps_that_were_not_learnt_from_tell_how_good_the_guess_is(seed):
    """A network that has the older part nearly by heart, noise and all, and knows nothing of the newer one."""
    values = sine() + noise(seed, 0.2)

    def by_heart(shown):
        return [np.where(np.arange(len(shown)) < 540, values + noise(50, 0.3), 0.0)]

    unseen = np.arange(ROWS) >= 540
    asked, not_asked = (without_noise(values, 1, by_heart, unseen=one)[unseen] for one in (unseen, EVERYWHERE))
    assert error(asked, sine()[unseen]) < 0.9 * error(not_asked, sine()[unseen])
    assert error(asked, sine()[unseen]) < 0.7 * error(values[unseen], sine()[unseen])


def test_holes_and_steps_without_a_guess_stay_and_nothing_is_changed_in_place():
    values = sine() + noise(0, 0.3)
    values[50:60] = np.nan
    given = values.copy()

    def late(shown):
        return [np.where(np.arange(len(shown)) < 20, np.nan, 0.8 * sine(len(shown)))]

    said = without_noise(values, PERIOD, late, unseen=EVERYWHERE)
    np.testing.assert_array_equal(values, given)
    np.testing.assert_array_equal(said[:20], values[:20])
    np.testing.assert_array_equal(np.isnan(said), np.isnan(values))
    assert not np.any(said[20:50] == values[20:50])


@pytest.mark.parametrize("values", [np.arange(20.0), np.full(100, np.nan), np.full(100, 2.0), np.zeros(0)])
def test_too_few_values_and_values_without_noise_stay(values):
    said = without_noise(values, PERIOD, knowing_nothing, unseen=np.ones(len(values), dtype=bool))
    np.testing.assert_allclose(said, values, atol=1e-9)


def test_values_far_from_one_keep_their_size():
    values = 1e6 * (sine() + noise(1, 0.3))
    said = without_noise(values, PERIOD, lambda shown: [1e6 * one for one in flattening(shown)], unseen=EVERYWHERE)
    usual = without_noise(values / 1e6, PERIOD, flattening, unseen=EVERYWHERE)
    np.testing.assert_allclose(said, 1e6 * usual, rtol=1e-6, atol=1.0)
