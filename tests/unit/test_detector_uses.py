"""Denoising, filling holes and latent numbers by a fitted detector."""

from dataclasses import replace

import numpy as np
import pytest

import tsforecast
from tsforecast.errors import CovariateError, OptionError
from tsforecast.models.autoencoder import Autoencoder
from tsforecast.models.fitted_detector import load_detector
from tsforecast.models.holes import guesses, mix, mixed, on_a_line, run_lengths, with_edges
from tsforecast.models.uses import _each_series, impute
from tsforecast.models.window_detector import WindowDetector
from tsforecast.nn.config import TrainConfig
from tsforecast.panel import Panel
from tsforecast.preprocessing.repairs import build_repair

PERIOD, ROWS = 16, 480
TRAIN = TrainConfig(max_epochs=4, steps_per_epoch=40, batch_size=128)


def course(seed: int, noise: float = 0.1) -> np.ndarray:
    t = np.arange(ROWS)
    return 10 + 3 * np.sin(2 * np.pi * t / PERIOD) + noise * np.random.default_rng(seed).standard_normal(ROWS)


def panel_of(*series: np.ndarray, first: int = 0, channels: int = 1) -> Panel:
    past = np.concatenate([2 * one for one in series])[:, None] if channels == 2 else None
    return Panel(
        series_ids=tuple(f"s{i}" for i in range(len(series))),
        offsets=np.concatenate([[0], np.cumsum([len(one) for one in series])]).astype(np.int64),
        timestamps=np.concatenate([first + np.arange(len(one)) for one in series]).astype(np.int64),
        target=np.concatenate(series),
        freq=1,
        season=PERIOD,
        past_covariates=past,
        past_covariate_names=("twice",) if channels == 2 else (),
    )


@pytest.fixture(scope="module")
def detector():
    recipe = tsforecast.build_model("autoencoder", window=PERIOD, second_window=None, latent=4, hidden=(16,))
    return recipe.fit(panel_of(course(0), course(1)), train=TRAIN)


@pytest.fixture(scope="module")
def two_channels():
    recipe = tsforecast.build_model("autoencoder", window=PERIOD, second_window=None, latent=4, hidden=(16,))
    return recipe.fit(panel_of(course(0), channels=2), train=TRAIN)


def holed(values: np.ndarray, *holes: tuple[int, int]) -> np.ndarray:
    found = values.copy()
    for start, end in holes:
        found[start:end] = np.nan
    return found


# Denoising


def test_denoising_brings_a_noisy_series_nearer_to_its_course(detector):
    clean, noise = course(0, noise=0.0), 0.8 * np.random.default_rng(5).standard_normal(ROWS)
    said = detector.denoise(panel_of(clean + noise))
    assert np.mean((said.target - clean) ** 2) < 0.5 * np.mean(noise**2)


@pytest.mark.parametrize("noise", [0.05, 0.1, 0.2])
def test_denoising_takes_little_noise_out_though_the_network_flattens_what_it_sees(detector, noise):
    clean, noisy = course(7, noise=0.0), course(7, noise=noise)
    scale = detector.memories["s0"].scale
    (rows, _, _), *_ = _each_series(detector, panel_of(noisy))
    flat = scale.back(detector.core.reconstructions(rows)[0])[:, 0]
    assert np.std(flat - clean) > noise  # the error of the network itself is larger than the noise
    said = detector.denoise(panel_of(noisy))
    assert np.std(said.target - clean) < 0.9 * np.std(noisy - clean)


def test_denoising_leaves_a_random_walk_that_the_network_has_never_seen(detector):
    walk = 10 + np.cumsum(np.random.default_rng(0).standard_normal(ROWS))
    said = detector.denoise(replace(panel_of(walk), series_ids=("unseen",)))
    assert np.std(said.target - walk) < 0.1  # of a step


def test_what_the_fit_has_not_learnt_from_is_the_newest_quarter_and_what_comes_after(detector):
    memory = detector.memories["s0"]
    times = np.arange(ROWS + 100)
    np.testing.assert_array_equal(memory.new(times), times >= 360)
    assert detector.pooled.new(times).all()  # a series that the fit has not seen


def test_denoising_leaves_holes_as_they_are_and_the_panel_it_was_given(detector):
    panel = panel_of(holed(course(2), (100, 110)))
    before = panel.target.copy()
    said = detector.denoise(panel)
    np.testing.assert_array_equal(np.isnan(said.target), np.isnan(before))
    np.testing.assert_array_equal(panel.target, before)
    np.testing.assert_array_equal(said.timestamps, panel.timestamps)


def test_denoising_changes_every_channel(two_channels):
    panel = panel_of(course(3, noise=0.5), channels=2)
    said = two_channels.denoise(panel)
    assert said.past_covariate_names == ("twice",)
    assert not np.allclose(said.past_covariates, panel.past_covariates)
    np.testing.assert_allclose(said.past_covariates[:, 0], 2 * said.target, rtol=0.05)


def test_a_series_too_short_for_a_window_is_denoised_to_itself(detector):
    panel = replace(panel_of(course(2)[:5]), series_ids=("unseen",))
    np.testing.assert_allclose(detector.denoise(panel).target, panel.target)


# Imputation


def test_what_was_observed_stays_and_holes_inside_are_filled(detector):
    panel = panel_of(holed(course(2), (0, 3), (50, 51), (100, 140), (470, ROWS)), holed(course(3), (7, 9)))
    found = impute(detector, panel)
    there = np.isfinite(panel.target)
    np.testing.assert_array_equal(found.panel.target[there], panel.target[there])
    np.testing.assert_array_equal(np.flatnonzero(found.left[:, 0]), [0, 1, 2, *range(470, ROWS)])
    np.testing.assert_array_equal(found.filled[:, 0], ~there & ~found.left[:, 0])
    assert np.isfinite(found.panel.target[found.filled[:, 0]]).all()


@pytest.mark.parametrize("length", [1, 8, 16, 40])
def test_filled_holes_are_nearer_to_the_truth_than_a_straight_line(detector, length):
    truth = course(7)
    gaps = [(start, start + length) for start in range(37, ROWS - 2 * length, 3 * length + 11)]
    values = holed(truth, *gaps)
    hidden = np.isnan(values)
    said = detector.impute(panel_of(values)).target
    line = on_a_line(values)
    assert np.abs(said - truth)[hidden].mean() < 0.7 * np.abs(line - truth)[hidden].mean()


def test_a_hole_at_the_start_is_inside_where_the_rows_follow_those_of_the_fit(detector):
    after = holed(course(0), (0, 4))
    found = impute(detector, panel_of(after, first=ROWS))
    assert found.filled[:4].all() and not found.left.any()
    assert np.abs(found.panel.target[:4] - course(0)[:4]).max() < 1.5


def test_the_list_of_what_was_filled_has_a_row_for_each_value(two_channels):
    panel = panel_of(holed(course(2), (20, 22), (478, ROWS)), channels=2)
    frame = impute(two_channels, panel).to_frame()
    assert list(frame.columns) == ["unique_id", "ds", "channel", "value"]
    assert len(frame) == 8 and set(frame["channel"]) == {"y", "twice"}
    assert frame.loc[frame["ds"] >= 478, "value"].isna().all() and frame.loc[frame["ds"] < 478, "value"].notna().all()


def test_a_panel_without_holes_and_a_series_without_values_come_back_as_they_were(detector):
    panel = panel_of(course(2), np.full(40, np.nan))
    said = detector.impute(panel)
    np.testing.assert_array_equal(said.target, panel.target)


def test_weights_find_the_guess_that_is_right_and_sum_to_one():
    truth, *noise = np.random.default_rng(0).standard_normal((4, 400))
    said = np.stack([truth + 2 * noise[0], truth + 0.1 * noise[1], truth + 5 * noise[2]], axis=1)
    weights = mix(said, truth, np.full(3, 1 / 3))
    assert weights[1] > 0.85 and weights.sum() == pytest.approx(1) and (weights >= 0).all()
    np.testing.assert_array_equal(mix(said[:0], truth[:0], np.full(3, 1 / 3)), np.full(3, 1 / 3))


def test_the_error_at_an_edge_is_carried_as_far_as_errors_last():
    values = np.full(100, 5.0)
    values[40:60] = np.nan
    np.testing.assert_allclose(with_edges(values, np.zeros(100))[40:60], 5.0, atol=0.05)  # an error that lasts
    quick = 5 * np.random.default_rng(0).choice([-1.0, 1.0], 100)
    quick[40:60] = np.nan
    assert np.abs(with_edges(quick, np.zeros(100))[45:55]).max() < 1.0  # one that does not


def test_guesses_agree_with_what_was_observed():
    values = holed(course(0), (30, 50))
    found = guesses(values, PERIOD, lambda filled: [np.zeros(len(filled))])
    assert found.names == ("line", "season", "season with edges", "network", "network with edges")
    seen = np.isfinite(values)
    for one in found.values:
        np.testing.assert_allclose(one[seen], values[seen])
        assert np.isfinite(one).all()


def test_a_network_that_says_nonsense_gets_no_weight():
    truth = course(0)
    values = holed(truth, *((start, start + 5) for start in range(40, 440, 25)))
    wanted = np.isnan(values)
    said = mixed(values, PERIOD, lambda filled: [1e3 * np.sin(np.arange(len(filled)) * 1.7)], wanted=wanted)
    assert np.abs(said - truth)[wanted].mean() < 0.3


def test_runs_are_measured():
    np.testing.assert_array_equal(run_lengths(np.array([True, False, True, True])), [1, 0, 2, 2])


# Latent numbers


def test_latent_numbers_of_a_window_stand_at_its_last_step(detector):
    panel = panel_of(course(2), course(3))
    frame = detector.latent(panel, every=5)
    assert list(frame.columns) == ["unique_id", "ds", "z0", "z1", "z2", "z3"]
    mine = frame[frame["unique_id"] == "s0"]
    assert list(mine["ds"])[:2] == [PERIOD - 1, PERIOD + 4]
    later = panel_of(np.where(np.arange(ROWS) > 100, 0.0, course(2)), course(3))
    changed = detector.latent(later, every=5)
    same = (frame["unique_id"] == "s0") & (frame["ds"] <= 100)
    np.testing.assert_array_equal(frame.loc[same, "z0"], changed.loc[same, "z0"])
    assert (frame.loc[~same, "z0"] != changed.loc[~same, "z0"]).any()


def test_latent_numbers_of_several_channels_are_named_after_them(two_channels):
    frame = two_channels.latent(panel_of(course(2), channels=2))
    assert list(frame.columns)[2:4] == ["y_z0", "y_z1"] and "twice_z3" in frame.columns
    assert frame["ds"].diff().iloc[1] == PERIOD // 2


@pytest.mark.parametrize("every", [0, -1, 1.5, True])
def test_a_step_between_windows_that_is_none_is_refused(detector, every):
    with pytest.raises(OptionError, match="every must be a number of steps"):
        detector.latent(panel_of(course(2)), every=every)


# Who can, and with what


def test_a_detector_that_cannot_names_those_that_can():
    fitted = tsforecast.build_model("window_energy", window=PERIOD).fit(panel_of(course(0)))
    for ask in (fitted.denoise, fitted.impute, fitted.latent):
        with pytest.raises(OptionError, match=r"'window_energy' cannot .*models that can: autoencoder, "):
            ask(panel_of(course(0)))
    with pytest.raises(OptionError, match=r"cannot generate; models that can: vae$"):
        fitted.generate(10)


def test_other_channels_are_refused(detector):
    with pytest.raises(CovariateError, match="fitted on channels"):
        detector.impute(panel_of(course(0), channels=2))


def test_a_stored_detector_says_the_same(detector, tmp_path):
    loaded = load_detector(detector.save(tmp_path / "one"))
    panel = panel_of(holed(course(2), (100, 120)))
    np.testing.assert_array_equal(loaded.denoise(panel).target, detector.denoise(panel).target)
    np.testing.assert_array_equal(loaded.impute(panel).target, detector.impute(panel).target)


# As a repair


def test_the_repair_fills_holes_and_logs_each_value(monkeypatch):
    short = replace(Autoencoder().default_train(), max_epochs=2)
    monkeypatch.setattr(WindowDetector, "default_train", lambda _: short)
    truth = course(0)
    panel = panel_of(holed(truth, (100, 104), (200, 230), (475, ROWS)))
    step = build_repair("autoencoder", window=PERIOD, limit=10)
    repaired, changes = step.apply(panel)
    np.testing.assert_array_equal(np.flatnonzero(~np.isnan(repaired.target) & np.isnan(panel.target)), range(100, 104))
    assert len(changes[0]) == 4 and changes[0].step == "autoencoder"
    np.testing.assert_allclose(repaired.target[100:104], truth[100:104], atol=1.0)


def test_the_repair_leaves_a_panel_without_holes_alone():
    panel = panel_of(course(0))
    assert build_repair("autoencoder").apply(panel) == (panel, [])


@pytest.mark.parametrize(
    ("options", "message"),
    [({"model": "window_energy"}, "has no model 'window_energy'"), ({"limit": 0}, "limit must be at least 1")],
)
def test_the_repair_refuses_impossible_options(options, message):
    with pytest.raises(OptionError, match=message):
        build_repair("autoencoder", **options)
