"""Series made by a variational autoencoder."""

import numpy as np
import pytest

from tsforecast.comparison import compare_series
from tsforecast.errors import OptionError
from tsforecast.models.fitted_detector import load_detector
from tsforecast.models.generation import Bank, _coloured, _faded, _next
from tsforecast.models.vae import VAE
from tsforecast.nn.config import TrainConfig
from tsforecast.panel import Panel

PERIOD, ROWS = 16, 800


def course(seed: int, level: float = 10.0, size: float = 3.0) -> np.ndarray:
    t, draws = np.arange(ROWS), np.random.default_rng(seed)
    swing = 1 + 0.2 * np.sin(2 * np.pi * t / 200 + seed)
    return level + size * (swing * np.sin(2 * np.pi * t / PERIOD) + 0.15 * draws.standard_normal(ROWS))


def panel_of(*series: np.ndarray, channels: int = 1) -> Panel:
    return Panel(
        series_ids=tuple(f"s{i}" for i in range(len(series))),
        offsets=np.concatenate([[0], np.cumsum([len(one) for one in series])]).astype(np.int64),
        timestamps=np.concatenate([np.arange(len(one)) for one in series]).astype(np.int64),
        target=np.concatenate(series),
        freq=1,
        season=PERIOD,
        past_covariates=np.concatenate([-one for one in series])[:, None] if channels == 2 else None,
        past_covariate_names=("mirror",) if channels == 2 else (),
    )


TRAIN = TrainConfig(max_epochs=10, steps_per_epoch=30, batch_size=128)


def recipe():
    return VAE.for_generation(window=PERIOD, second_window=None, latent=6, hidden=(32,))


@pytest.fixture(scope="module")
def vae():
    return recipe().fit(panel_of(course(0), course(1, level=500.0, size=40.0)), train=TRAIN)


# Generation


def test_what_is_generated_is_a_panel_behind_the_fit_with_the_same_clock(vae):
    made = vae.generate(50, count=3, series_id="s0")
    assert made.series_ids == ("generated_1", "generated_2", "generated_3")
    np.testing.assert_array_equal(made.lengths, 50)
    np.testing.assert_array_equal(made.timestamps[:50], ROWS + np.arange(50))
    assert (made.freq, made.season, made.target_name) == (1, PERIOD, "y") and np.isfinite(made.target).all()


def test_the_same_seed_gives_the_same_series_and_another_one_others(vae):
    first, again, other = (vae.generate(64, count=2, seed=seed).target for seed in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert not np.allclose(first, other) and not np.allclose(first[:64], first[64:])


def test_generated_series_are_in_units_of_the_series_they_are_like(vae):
    low, high = (vae.generate(320, count=2, series_id=name).target for name in ("s0", "s1"))
    assert abs(low.mean() - 10) < 1.5 and abs(high.mean() - 500) < 20
    assert 0.6 < high.std() / course(1, 500.0, 40.0).std() < 1.6
    assert {round(float(one.mean()) / 100) for _, one in vae.generate(160, count=12)} == {0, 5}  # of all series: some like each


def test_generated_series_keep_the_phase_of_the_clock(vae):
    made = vae.generate(320, count=4, series_id="s0").target.reshape(-1, PERIOD).mean(axis=0)
    real = course(0)[: ROWS // PERIOD * PERIOD].reshape(-1, PERIOD).mean(axis=0)  # ROWS is whole periods
    assert np.corrcoef(made, real)[0, 1] > 0.95


def test_generated_channels_belong_together():
    fitted = recipe().fit(panel_of(course(0), channels=2), train=TRAIN)
    made = fitted.generate(320, count=1)
    assert made.past_covariate_names == ("mirror",)
    assert np.corrcoef(made.target, made.past_covariates[:, 0])[0, 1] < -0.9


def test_a_stored_detector_generates_the_same(vae, tmp_path):
    loaded = load_detector(vae.save(tmp_path / "vae"))
    np.testing.assert_allclose(loaded.generate(40, seed=1).target, vae.generate(40, seed=1).target, rtol=1e-4)


def test_the_posterior_says_something(vae):
    assert vae.training["views"][0]["kl"] > 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "steps must be a number from 1 on"),
        ({"steps": 5, "count": True}, "count must be a number from 1 on"),
        ({"steps": 5, "series_id": "s9"}, "no series 's9' in the fit, which had 's0', 's1'"),
    ],
)
def test_impossible_wishes_are_refused(vae, options, message):
    with pytest.raises(OptionError, match=message):
        vae.generate(**options)


def test_a_series_shorter_than_its_season_of_windows_still_generates():
    fitted = recipe().fit(panel_of(course(0)[:48]), train=TrainConfig(max_epochs=1))
    assert np.isfinite(fitted.generate(100).target).all()


def test_generated_series_of_a_vae_pass(vae):
    real = panel_of(course(0)[: ROWS * 3 // 4])
    report = compare_series(real, vae.generate(480, count=4, series_id="s0"))
    assert report.passes, str(report)


def test_the_recipe_made_to_generate_keeps_its_options_and_leaves_the_default_one_alone():
    assert VAE.for_generation() == VAE(latent=16, hidden=(128,), mask=0.0)
    assert VAE.for_generation(latent=4, beta=0.5) == VAE(latent=4, hidden=(128,), mask=0.0, beta=0.5)
    assert VAE().mask > 0 and VAE().latent < 16


# Parts of it


def test_fading_gives_back_a_course_that_was_cut_into_windows():
    whole = np.sin(np.arange(40) / 3.0)
    windows = np.stack([whole[start : start + 16] for start in range(0, 25, 8)])[:, None]
    np.testing.assert_allclose(_faded(windows, 8)[:, 0], whole)


def test_noise_has_the_power_it_is_asked_for():
    white = np.random.default_rng(0).standard_normal((20_000, 1))
    made = _coloured(white, np.linspace(4.0, 0.0, 33)[None])[:, 0]
    assert made.var() == pytest.approx(2.0, rel=0.05)
    power = np.abs(np.fft.rfft(made)) ** 2 / len(made)
    assert power[:2000].mean() == pytest.approx(3.6, rel=0.1) and power[-2000:].mean() < 0.5
    np.testing.assert_allclose(_coloured(white, np.ones((1, 9))), white, atol=1e-9)


def test_the_next_window_is_half_a_length_later_in_the_same_series():
    owner, places = np.array([0, 0, 0, 1, 1]), np.array([4, 6, 8, 6, 7])
    np.testing.assert_array_equal(_next(owner, places, 2), [1, 2, -1, -1, -1])


def test_a_bank_survives_storage(vae):
    bank = vae.core.bank
    again = Bank.from_arrays(bank.to_arrays())
    np.testing.assert_array_equal(again.next, bank.next)
    np.testing.assert_allclose(again.mean, bank.mean, rtol=1e-6)
    assert all("float64" not in str(one.dtype) for one in bank.to_arrays().values())
