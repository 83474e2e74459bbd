"""Detectors with a network: windows, sums over windows, training, and what a network may and may not see."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from tsforecast.errors import HistoryTooShort, OptionError
from tsforecast.models.autoencoder import Autoencoder
from tsforecast.models.detector import Rows
from tsforecast.models.detector_tape import Column, Overlap, Tape
from tsforecast.models.detector_windows import choose_window, main_period
from tsforecast.models.evidence import centred_mean, in_units, over_channels, trailing_mean, units_of
from tsforecast.models.lstm_autoencoder import LSTMAutoencoder
from tsforecast.models.vae import VAE
from tsforecast.models.window_detector import WindowCore, WindowDetector
from tsforecast.nn.autoencoder import VariationalWindowAutoencoder, WindowAutoencoder
from tsforecast.nn.config import TrainConfig

NAN = np.nan
SHORT = TrainConfig(max_epochs=3, steps_per_epoch=10, batch_size=32, threads=1)
NETWORKS = (Autoencoder, VAE, LSTMAutoencoder)
RECIPES = [kind.tiny() for kind in NETWORKS] + [replace(Autoencoder.tiny(), point_evidence=True)]
each_network = pytest.mark.parametrize("recipe", RECIPES, ids=["autoencoder", "vae", "lstm_autoencoder", "with points"])


def rows_of(values: np.ndarray) -> Rows:
    values = values[:, None] if values.ndim == 1 else values
    return Rows(values=values, timestamps=np.arange(len(values)), freq=1, season=1)


def waves(steps: int = 300, period: int = 24, seed: int = 0) -> np.ndarray:
    return np.sin(2 * np.pi * np.arange(steps) / period) + 0.1 * np.random.default_rng(seed).normal(size=steps)


def untrained(recipe: WindowDetector, *windows: int) -> WindowCore:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(1)
        networks = [recipe.make_network(window).eval() for window in windows]
    return recipe.core_class()(recipe=recipe, windows=windows, networks=networks)


# Means and units


@pytest.mark.parametrize("width", [1, 2, 3, 7, 16, 60])
def test_moving_means_agree_with_a_loop_and_leave_out_what_is_missing(width: int) -> None:
    values = np.random.default_rng(0).normal(size=(50, 2))
    values[7] = values[20:24] = NAN
    before, after = width // 2, width - 1 - width // 2
    with np.errstate(invalid="ignore"):
        for t in range(50):
            for found, part in (
                (trailing_mean(values, width), values[max(0, t - width + 1) : t + 1]),
                (centred_mean(values, width), values[max(0, t - before) : t + after + 1]),
            ):
                seen = part[np.isfinite(part[:, 0])]
                wanted = seen.mean(axis=0) if len(seen) else np.full(2, NAN)
                np.testing.assert_allclose(found[t], wanted, rtol=1e-12, atol=1e-12)


def test_a_moving_mean_forgets_a_huge_value_once_it_has_left_the_window() -> None:
    values = np.ones(100)
    values[10] = 1e18
    np.testing.assert_array_equal(trailing_mean(values, 5)[15:], 1.0)


def test_evidence_is_added_in_median_absolute_deviations_of_each_kind() -> None:
    draws = np.random.default_rng(1)
    evidence = np.stack([draws.normal(5, 1, 400), draws.normal(500, 100, 400)])[:, :, None]
    evidence[:, 7] += [[10.0], [1000.0]]  # as far out in both
    scores = in_units(evidence, units_of(evidence))[:, 0]
    assert scores.argmax() == 7
    one, other = (in_units(evidence[k : k + 1], units_of(evidence[k : k + 1]))[7, 0] for k in (0, 1))
    assert scores[7] == pytest.approx(one + other)


def test_a_kind_that_cannot_judge_is_left_out_of_the_sum_and_a_step_without_any_has_no_score() -> None:
    evidence = np.ones((2, 3, 1))
    evidence[0, 1], evidence[:, 2] = NAN, NAN
    units = np.zeros((2, 2, 1))
    units[1] = 1.0
    np.testing.assert_array_equal(in_units(evidence, units)[:, 0], [2.0, 1.0, NAN])


def test_evidence_that_never_changes_gives_no_infinite_score() -> None:
    evidence = np.zeros((1, 50, 1))
    units = units_of(evidence)
    evidence[0, 3] = 1e-3
    assert np.isfinite(in_units(evidence, units)).all()


def test_the_score_of_a_step_is_the_mean_of_its_highest_channels_in_logarithms() -> None:
    scores = np.arange(40.0).reshape(2, 20)
    wanted = [np.sqrt(19 * 20) - 1, np.sqrt(39 * 40) - 1]  # of 1 + score the geometric mean
    np.testing.assert_allclose(over_channels(scores, share=0.1), wanted, rtol=1e-12)
    scores[0, 19] = NAN
    assert over_channels(scores, share=0.1)[0] == pytest.approx(np.sqrt(18 * 19) - 1)
    assert over_channels(-scores[1:], share=0.1)[0] == pytest.approx(1 - np.sqrt(21 * 22))
    assert np.isnan(over_channels(np.full((1, 3), NAN))[0])


# Windows


@pytest.mark.parametrize("period", [24, 100])
def test_the_window_is_the_period_that_the_data_show(period: int) -> None:
    assert main_period([rows_of(waves(1000, period))]) == pytest.approx(period, abs=1)
    assert choose_window([rows_of(waves(1000, period))]) == pytest.approx(period, abs=1)


def test_a_window_is_never_longer_than_a_third_of_the_longest_series() -> None:
    assert choose_window([rows_of(waves(80, 60))]) <= 26
    assert choose_window([rows_of(waves(80, 60))], 30) == 30


def test_a_period_that_was_told_is_not_looked_for_again() -> None:
    series = [replace(rows_of(waves(1000, 24)), period=100)]
    assert choose_window(series) == 100
    assert choose_window([replace(series[0], period=0)]) == 64  # there is none


def test_too_short_a_history_is_refused_with_what_it_needs() -> None:
    with pytest.raises(HistoryTooShort, match="at least 32"):
        choose_window([rows_of(waves(20))])
    with pytest.raises(HistoryTooShort, match="at least 60"):
        choose_window([rows_of(waves(50))], 30)


def test_windows_of_a_column_are_the_steps_up_to_their_end() -> None:
    values = np.arange(60.0)
    column = Column.of(values, 5)
    found, seen = column.windows(40, 2)
    np.testing.assert_allclose(found[1], values[37:42])
    assert seen.all()
    assert not Column.of(values, 5).windows(0, 1)[1][0, :4].any()  # what lies before the first step is not observed


@pytest.mark.parametrize("holes", [False, True])
def test_the_mean_over_windows_agrees_with_a_loop(holes: bool) -> None:
    draws = np.random.default_rng(2)
    values = draws.normal(size=70)
    if holes:
        values[[8, 30, 31]] = NAN
    column = Column.of(values, 6)
    overlap = Overlap(column, 0.5)
    total, count = np.zeros(70), np.zeros(70)
    for start, size in column.chunks():
        said = torch.from_numpy(draws.normal(size=(6, size)).astype(np.float32))
        weight = column.windows(start, size)[1].T
        overlap.add(start, said, weight)
        for i in range(size):
            for j in range(6):
                step = start + i - (5 - j)
                if step >= 0 and weight[j, i] > 0:
                    total[step] += float(said[j, i])
                    count[step] += 1
    wanted = np.where(count > 0, total / np.maximum(count, 1), NAN)
    np.testing.assert_allclose(overlap.mean(), wanted, rtol=1e-4, atol=1e-5)


def test_training_windows_lie_whole_in_their_series_and_are_half_observed() -> None:
    first, second = np.arange(40.0), 100 + np.arange(30.0)
    second[10:20] = NAN
    tape = Tape.of([rows_of(first), rows_of(second)], 8, ends=True)
    values, seen = tape.gather(np.arange(len(tape)), ends=True, device=torch.device("cpu"))
    assert values.shape == (len(tape), 10)
    assert (seen[:, :8].mean(1) >= 0.5).all()
    for row, mask in zip(values.numpy(), seen.numpy() > 0, strict=True):
        steps = np.r_[np.arange(8), -1, 8]
        start = (row - steps)[mask]
        assert (start == start[0]).all()  # one series, in order, the ends on either side


# Networks


@pytest.mark.parametrize("coder", ["dense", "conv", "lstm"])
@pytest.mark.parametrize("window", [16, 17])
@pytest.mark.parametrize("complete", [True, False])
def test_both_layouts_of_a_reconstruction_are_the_same_numbers(coder: str, window: int, complete: bool) -> None:
    for network in (
        WindowAutoencoder(window, coder=coder),  # type: ignore[arg-type]  # a parametrised literal
        VariationalWindowAutoencoder(window, coder=coder),  # type: ignore[arg-type]  # a parametrised literal
    ):
        x = torch.randn(7, window)
        seen = torch.ones_like(x) if complete else (torch.rand_like(x) > 0.3).float()
        wanted = network.eval()(x * seen, seen)
        torch.testing.assert_close(network.steps_first(x * seen, seen, complete=complete).T, wanted, rtol=1e-4, atol=1e-5)


def test_what_is_not_observed_has_no_part_in_the_loss() -> None:
    network = WindowAutoencoder(16).eval()
    x, seen = torch.randn(4, 18), torch.ones(4, 18)
    seen[:, 3] = 0
    shown = torch.ones(4, 16)
    before = network.loss(x, seen, shown)
    x[:, 3] = 1e3
    torch.testing.assert_close(network.loss(x, seen, shown), before)


def test_hidden_steps_are_not_shown_to_the_network_but_count_in_its_loss() -> None:
    network = WindowAutoencoder(16, ends=False).eval()
    x, seen, shown = torch.zeros(1, 16), torch.ones(1, 16), torch.ones(1, 16)
    shown[:, 5] = 0
    code = network.encode(x * shown, seen * shown)
    base = network.loss(x, seen, shown)
    x[:, 5] = 3.0
    torch.testing.assert_close(network.encode(x * shown, seen * shown), code)
    assert (network.loss(x, seen, shown) > base).all()


def test_the_kl_term_is_counted_with_its_free_bits_and_beta() -> None:
    network = VariationalWindowAutoencoder(16).eval()
    x, seen, shown = torch.randn(8, 16), torch.ones(8, 16), torch.ones(8, 16)
    costs = []
    for beta in (0.0, 1.0):
        torch.manual_seed(3)
        cost, kl = network.negative_elbo(x, seen, shown, beta=beta, free_bits=0.0)
        costs.append(cost)
    torch.testing.assert_close(costs[1] - costs[0], kl)
    assert (kl > 0).all()


def test_the_deviation_of_a_variational_decoder_has_a_floor() -> None:
    network = VariationalWindowAutoencoder(16).eval()
    with torch.no_grad():
        network.log_sigma.fill_(-50.0)
    assert (network.decode(torch.randn(3, 8))[1] >= 0.1).all()


# Judging


@each_network
def test_evidence_agrees_with_a_loop_over_windows(recipe: WindowDetector) -> None:
    core = untrained(recipe, 16)
    values = waves(120)
    found = core.evidence(rows_of(values))
    network = core.networks[0]
    total, count = np.zeros(120), np.zeros(120)
    for t in range(15, 120):
        window = values[t - 15 : t + 1].astype(np.float32)
        with torch.no_grad():
            said = network(torch.from_numpy(window)[None], torch.ones(1, 16))[0].numpy()
        wrong = (said[:16] - window) ** 2
        np.testing.assert_allclose(found.causal[0, t, 0], wrong.mean(), rtol=1e-3, atol=1e-5)
        if recipe.predicts and t + 1 < 120:
            np.testing.assert_allclose(found.causal[1, t + 1, 0], (said[17] - values[t + 1]) ** 2, rtol=1e-3, atol=1e-5)
        for j in range(16):
            total[t - (15 - j)] += wrong[j]
            count[t - (15 - j)] += 1
    inside = slice(40, 80)  # whole windows only cover these
    wanted = centred_mean(total / np.maximum(count, 1), 16)
    settled = slice(inside.start + 8, inside.stop - 8)
    np.testing.assert_allclose(found.revised[0, settled, 0], wanted[settled], rtol=1e-3, atol=1e-5)


@each_network
def test_the_newest_steps_alone_have_the_evidence_that_they_have_in_the_whole(recipe: WindowDetector) -> None:
    core = untrained(recipe, 16, 10)
    values = waves(200)
    values[[150, 190, 191]] = NAN
    whole = core.evidence(rows_of(values))
    newest, expected = core.causal(rows_of(values), 30)
    np.testing.assert_allclose(newest, whole.causal[:, -30:], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(expected, whole.expected[-30:], rtol=1e-4, atol=1e-5)


@each_network
def test_a_step_that_is_missing_has_no_evidence_and_its_neighbours_do(recipe: WindowDetector) -> None:
    core = untrained(recipe, 16)
    values = waves(100)
    values[[50, 51]] = NAN
    found = core.evidence(rows_of(values))
    assert np.isnan(found.causal[:, 50:52]).all() and np.isfinite(found.causal[:, 52:]).all()
    assert np.isfinite(found.expected[50:52]).all()


@each_network
def test_windows_that_are_mostly_missing_are_not_judged(recipe: WindowDetector) -> None:
    core = untrained(recipe, 16)
    values = waves(100)
    values[40:70] = NAN
    found = core.evidence(rows_of(values))
    assert np.isnan(found.causal[0, 70:82]).all()  # four fifths of a window are 13 steps
    assert np.isfinite(found.causal[:, 83:]).all()
    assert np.isnan(found.causal[:, :12]).all() and np.isfinite(found.causal[0, 12:40]).all()
    assert np.isfinite(core.reconstructions(rows_of(values))[0][76:]).all()  # what is only told needs half
    core.judge_from(0.5)
    found = core.evidence(rows_of(values))
    assert np.isnan(found.causal[0, 70:77]).all() and np.isfinite(found.causal[0, 77:]).all()


# Learning


@each_network
def test_training_makes_ordinary_windows_cheap_and_strange_ones_dear(recipe: WindowDetector) -> None:
    core, training = recipe.learn(
        [rows_of(waves(600))], seed=0, train=replace(SHORT, max_epochs=10, steps_per_epoch=30), callbacks=()
    )
    strange = waves(200, seed=5)
    strange[100:116] = strange[100:116][::-1] * 0.2
    found = core.evidence(rows_of(strange)).revised[0, :, 0]
    assert found[104:112].mean() > 3 * np.median(found[20:80])
    losses = [line["train_loss"] for line in training["views"][0]["history"]]
    assert losses[-1] < losses[0]


@each_network
def test_the_same_seed_gives_the_same_weights_and_another_gives_others(recipe: WindowDetector) -> None:
    series = [rows_of(waves(200))]
    first, again, other = (recipe.learn(series, seed=seed, train=SHORT, callbacks=())[0] for seed in (0, 0, 1))
    for name, array in first.state()[0].items():
        np.testing.assert_array_equal(array, again.state()[0][name])
    assert any(not np.array_equal(array, other.state()[0][name]) for name, array in first.state()[0].items())


def test_anomalies_in_the_history_are_trimmed_from_late_training() -> None:
    values = waves(1000)
    draws = np.random.default_rng(3)
    for start in range(50, 1000, 100):
        values[start : start + 4] += draws.normal(0, 8, 4)
    errors = {}
    for trim in (0.0, 0.4):
        recipe = replace(Autoencoder.tiny(), trim=trim, ends=False)
        core, _ = recipe.learn([rows_of(values)], seed=0, train=replace(SHORT, max_epochs=12, steps_per_epoch=40), callbacks=())
        clean = core.evidence(rows_of(waves(300, seed=9))).revised[0, 40:260, 0]
        errors[trim] = float(np.median(clean))
    assert errors[0.4] < errors[0.0]


def test_a_vae_reports_a_kl_that_is_not_zero() -> None:
    _, training = VAE.tiny().learn(
        [rows_of(waves(600))], seed=0, train=replace(SHORT, max_epochs=10, steps_per_epoch=30), callbacks=()
    )
    assert training["views"][0]["kl"] > 0.1 and training["views"][0]["active_latents"] >= 1


def test_a_vae_fills_holes_before_it_judges_what_is_around_them() -> None:
    series, config = [rows_of(waves(600))], replace(SHORT, max_epochs=12, steps_per_epoch=40)
    recipe = VAE.tiny()
    core, _ = recipe.learn(series, seed=0, train=config, callbacks=())
    plain = recipe.core_class()(recipe=replace(recipe, rounds=0), windows=core.windows, networks=core.networks)
    holes = waves(300, seed=4)
    holes[100:300:5] = NAN
    clean = np.isfinite(holes)
    clean[:40] = False
    filled, unfilled = (np.median(one.evidence(rows_of(holes)).causal[0, clean, 0]) for one in (core, plain))
    assert filled != unfilled and filled < 2 * unfilled


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"window": 1}, "window"),
        ({"latent": 0}, "latent"),
        ({"mask": 1.0}, "mask"),
        ({"trim": -0.1}, "trim"),
        ({"hidden": ()}, "hidden"),
    ],
)
@pytest.mark.parametrize("kind", NETWORKS)
def test_options_out_of_range_are_refused_by_name(kind: type[WindowDetector], options: dict, field: str) -> None:
    with pytest.raises(OptionError) as told:
        kind(**options)
    assert told.value.field == field
