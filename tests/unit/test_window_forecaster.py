"""What all network models share, piece by piece; the promises of each model are in tests/contract."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch

import tsforecast
from tsforecast.errors import ArtifactError, HistoryTooShort, OptionError
from tsforecast.models.calibration import spread_quantiles
from tsforecast.models.registry import build_model
from tsforecast.models.window_data import WindowData
from tsforecast.models.window_forecaster import default_context, default_patch
from tsforecast.nn.config import TrainConfig
from tsforecast.nn.scale import WindowScale
from tsforecast.nn.window_network import LEVELS, WindowBatch
from tsforecast.panel import Panel
from tsforecast.preprocessing.windows import Windows, last_windows

FAST = TrainConfig(max_epochs=2, steps_per_epoch=3, batch_size=16)


def panel_of(*targets, season=4) -> Panel:
    offsets = np.concatenate([[0], np.cumsum([len(y) for y in targets])]).astype(np.int64)
    return Panel(
        series_ids=tuple(f"s{i}" for i in range(len(targets))),
        offsets=offsets,
        timestamps=np.concatenate([np.arange(len(y)) for y in targets]).astype(np.int64),
        target=np.concatenate([np.asarray(y, dtype=float) for y in targets]),
        freq=1,
        season=season,
    )


def waves(count=2, length=120, seed=0):
    rng = np.random.default_rng(seed)
    steps = np.arange(length)
    return [10.0 * (i + 1) + np.sin(steps * np.pi / 2) + rng.normal(0, 0.1, length) for i in range(count)]


def tiny(name="gru", **options):
    return build_model(name, **{"context": 16, "patch": 4, "hidden": 8, "layers": 1, "dropout": 0.0, **options})


def test_gathered_windows_equal_slices():
    panel = panel_of(np.arange(10), [100, np.nan, 102, 103])
    windows = Windows(origins=np.array([6, 12]), firsts=np.array([0, 10]), ends=np.array([8, 14]), series=np.array([0, 1]))
    batch = WindowData(panel, torch.device("cpu"), context=4, horizon=3).gather(windows)
    assert batch.past.tolist() == [[2, 3, 4, 5], [0, 0, 100, 0]]
    assert batch.seen.tolist() == [[True] * 4, [False, False, True, False]]
    assert batch.future.tolist() == [[6, 7, 0], [102, 103, 0]]  # row 8 lies behind `ends`, row 14 behind the series
    assert batch.known.tolist() == [[True, True, False], [True, True, False]]


def test_the_last_window_shows_no_target():
    panel = panel_of(np.arange(10))
    batch = WindowData(panel, torch.device("cpu"), context=3, horizon=2).gather(last_windows(panel))
    assert batch.past.tolist() == [[7, 8, 9]]
    assert not batch.known.any()


def test_missing_targets_do_not_count_in_the_loss():
    network = tiny().make_network(tiny().shape(season=4, horizon=3))
    known = torch.tensor([[True, True, False], [False, True, True]])
    past = torch.stack([torch.arange(16.0), torch.arange(16.0) ** 2]).double()
    losses = []
    for hidden in (0.0, 1e9):
        future = torch.where(known, 5.0, hidden).double()
        seen, never = torch.ones(2, 16, dtype=torch.bool), torch.zeros(2, 1, dtype=torch.bool)
        batch = WindowBatch(past=past, seen=seen, future=future, known=known, signed=never)
        losses.append(network.loss(network, batch).item())
    assert losses[0] == losses[1] > 0


def test_a_series_far_from_zero_keeps_its_noise():
    targets = waves()
    predictor = tiny(space="linear").fit(panel_of(*targets), horizon=4, train=FAST)
    near = predictor.predict(panel_of(*targets), horizon=4).quantiles
    far = predictor.predict(panel_of(*[y + 1e9 for y in targets]), horizon=4).quantiles
    np.testing.assert_allclose(far - 1e9, near, atol=2e-4)


@pytest.mark.parametrize("space", ["auto", "linear"])
@pytest.mark.parametrize("factor", [1e-9, 1e6])
def test_the_units_of_a_series_do_not_matter(space, factor):
    targets = waves()
    predictor = tiny(space=space).fit(panel_of(*targets), horizon=4, train=FAST)
    plain = predictor.predict(panel_of(*targets), horizon=4).quantiles
    scaled = predictor.predict(panel_of(*[y * factor for y in targets]), horizon=4).quantiles
    np.testing.assert_allclose(scaled, plain * factor, rtol=1e-5)


def test_a_series_with_zeros_or_negative_values_comes_back_through_its_own_space():
    few_zeros = np.array([0.0] + [3.0, 5.0, 4.0] * 7)
    cases = [(few_zeros, True), (np.array([0.0, 3.0, 0.0, 5.0] * 5), False)]  # among many zeros a sale is no share of a level
    for target, curved in (*cases, (np.array([-1.0, 3.0, 2.0, 5.0] * 5), False), (np.zeros(20), False)):
        past = torch.from_numpy(target).unsqueeze(0)
        scale = WindowScale.of(past, torch.ones_like(past, dtype=torch.bool))
        assert bool(scale.curved) == curved
        back = scale.invert(scale.apply(past).unsqueeze(-1)).squeeze(-1)
        np.testing.assert_allclose(back.numpy(), past.numpy(), atol=1e-12)


def test_the_log_space_never_overflows():
    past = torch.tensor([[1.0, 2.0, 3.0, 4.0]], dtype=torch.float64)
    scale = WindowScale.of(past, torch.ones_like(past, dtype=torch.bool))
    assert torch.isfinite(scale.invert(torch.full((1, 1, 1), 1e9))).all()
    assert torch.isfinite(scale.apply(torch.tensor([[-1e9]]))).all()


def test_spread_keeps_the_median_and_never_crosses():
    rng = np.random.default_rng(0)
    quantiles = np.sort(rng.normal(size=(5, 3, len(LEVELS))), axis=-1)
    moved = spread_quantiles(quantiles, rng.uniform(0.3, 3.0, len(LEVELS)))
    middle = LEVELS.index(0.5)
    np.testing.assert_array_equal(moved[..., middle], quantiles[..., middle])
    assert (np.diff(moved, axis=-1) >= 0).all()
    doubled = spread_quantiles(quantiles, np.full(len(LEVELS), 2.0))
    np.testing.assert_allclose(doubled - doubled[..., [middle]], 2 * (quantiles - quantiles[..., [middle]]))


def test_calibration_makes_the_held_out_windows_covered():
    """A network that hardly learned has wrong intervals; calibration mends them on held-out and on new data."""
    rng = np.random.default_rng(0)
    noise = [rng.normal(0, 1.0, 400) for _ in range(30)]
    panel, actual = panel_of(*[y[:392] for y in noise], season=1), np.stack([y[392:] for y in noise])

    def coverage(calibrate):
        predictor = tiny(calibrate=calibrate, context=32).fit(panel, horizon=8, train=FAST)
        low, _, high = np.moveaxis(predictor.predict(panel, quantile_levels=(0.1, 0.5, 0.9)).quantiles, -1, 0)
        return ((actual >= low) & (actual <= high)).mean()

    assert abs(coverage(True) - 0.8) < 0.07
    assert abs(coverage(False) - 0.8) > 0.1


def test_windows_are_thinned_evenly():
    windows = last_windows(panel_of(*[np.arange(5.0)] * 9))
    assert windows.spread_over(3).series.tolist() == [0, 4, 8]
    assert windows.spread_over(100).series.tolist() == list(range(9))
    assert len(windows.spread_over(0)) == 0


def test_nothing_in_the_held_out_part_changes_a_training_batch():
    """The loss of training windows is the same when everything that is held out is poisoned."""
    targets = waves(count=1, length=200)
    poisoned = targets[0].copy()
    poisoned[-60:] = 1e9
    losses = []
    for target in (targets[0], poisoned):
        log = []
        model = build_model("gru", context=16, patch=4, hidden=8, layers=1)
        one = TrainConfig(max_epochs=1, steps_per_epoch=3, batch_size=16)
        model.fit(panel_of(target), horizon=8, train=one, callbacks=[lambda epoch, log=log: log.append(epoch.values)])
        losses.append(log[0])
    held_out = 40  # a fifth of the series at most
    assert held_out < 60
    assert losses[0]["val_loss"] != losses[1]["val_loss"]


def test_a_series_without_observations_in_its_context_is_refused_by_name():
    targets = waves()
    predictor = tiny().fit(panel_of(*targets), horizon=4, train=FAST)
    blind = targets[1].copy()
    blind[-20:] = np.nan
    with pytest.raises(
        HistoryTooShort, match=r"series 's1' has 0 observations, the model needs at least 2; of its last 16 steps 0"
    ):
        predictor.predict(panel_of(targets[0], blind))


def test_a_panel_of_single_rows_cannot_train():
    with pytest.raises(HistoryTooShort, match="series 's0' has 1 observations, the model needs at least 2; it is the longest"):
        tiny().fit(panel_of([1.0], [2.0]), horizon=2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hidden": 0}, "hidden must be a positive whole number, got 0"),
        ({"patch": 2.5}, "patch must be a positive whole number, got 2.5"),
        ({"dropout": 1.0}, r"dropout must lie in \[0, 1\), got 1.0"),
        ({"scaling": "minmax"}, "scaling must be robust, standard, mean_abs or none, got 'minmax'"),
    ],
)
def test_bad_options_are_named(options, message):
    with pytest.raises(OptionError, match=message):
        build_model("gru", **options)


@pytest.mark.parametrize("season", [1, 4, 5, 7, 12, 24, 52, 96, 288, 365])
def test_default_sizes_fit_the_season(season):
    assert season == 1 or season % default_patch(season) == 0
    assert default_patch(season) <= 24
    assert default_context(season=season, horizon=10) >= max(2 * season, 10)


def test_training_learns_the_season_from_other_series():
    """A global network forecasts a series it has never seen better than its own last value."""
    train = TrainConfig(max_epochs=15, steps_per_epoch=20, batch_size=32, learning_rate=1e-2)
    predictor = tiny(hidden=16).fit(panel_of(*waves(4, 200)), horizon=4, train=train)
    fresh = waves(6, 124, seed=9)
    forecast = predictor.predict(panel_of(*[y[:120] for y in fresh]))
    error = np.abs(forecast.median - np.stack([y[120:] for y in fresh])).mean()
    assert error < 0.35


@pytest.mark.parametrize("name", ["gru", "lstm"])
def test_mixed_precision_trains_and_forecasts_in_full(name):
    panel = panel_of(*[y + 1e6 for y in waves()])
    predictor = tiny(name, space="linear").fit(panel, horizon=4, train=replace(FAST, precision="bf16-mixed", accelerator="cpu"))
    assert np.abs(predictor.predict(panel).median - 1e6).max() < 100
    assert all(parameter.dtype == torch.float32 for parameter in predictor.network.parameters())


def test_weights_that_do_not_fit_are_an_artifact_error():
    predictor = tiny().fit(panel_of(*waves()), horizon=4, train=FAST)
    arrays, values = predictor.state()
    del arrays["head.project.bias"]
    with pytest.raises(ArtifactError, match=r"(?s)stored weights do not fit the stored shape: .*head\.project\.bias"):
        type(predictor).from_state(predictor.recipe, predictor.facts, arrays, values)


def test_a_series_that_was_negative_once_can_be_negative_again():
    """Its last window is positive; seen through the logarithm it could not be forecast below zero."""
    steps = np.arange(300)
    wave = 10 * np.sin(2 * np.pi * steps / 100)
    panel = panel_of(wave[: 2 * 100 + 45], season=1)  # ends on its way down, still above zero for 16 steps
    train = TrainConfig(max_epochs=20, steps_per_epoch=20, batch_size=32, learning_rate=1e-2)
    forecast = tiny(hidden=16).fit(panel, horizon=30, train=train).predict(panel, quantile_levels=(0.01, 0.5))
    assert wave[229:245].min() > 0
    assert forecast.quantile(0.01).min() < -3


def test_only_what_came_before_the_origin_makes_a_window_signed():
    panel = panel_of([1, 2, -3, 4, 5, 6], [1, 2, 3, 4])
    windows = Windows(
        origins=np.array([2, 3, 6, 10]),
        firsts=np.array([0, 0, 0, 6]),
        ends=np.array([6, 6, 6, 10]),
        series=np.array([0, 0, 0, 1]),
    )
    batch = WindowData(panel, torch.device("cpu"), context=2, horizon=1).gather(windows)
    assert batch.signed.squeeze(1).tolist() == [False, True, True, False]


def test_missing_rows_at_the_end_do_not_validate():
    padded = [np.concatenate([y, np.full(30, np.nan)]) for y in waves(3, 150)]
    predictor = tiny().fit(panel_of(*padded), horizon=7, train=FAST)
    assert predictor.values["best_val_loss"] > 0
    plain = tiny().fit(panel_of(*waves(3, 150)), horizon=7, train=FAST)
    assert predictor.values["best_val_loss"] == plain.values["best_val_loss"]


def test_the_ceiling_of_the_log_space_follows_the_units():
    past = torch.tensor([[1.0, 2.0, 3.0, 4.0]], dtype=torch.float64) * 1e12
    for scaling in ("none", "mean_abs", "robust"):
        scale = WindowScale.of(past, torch.ones_like(past, dtype=torch.bool), scaling=scaling)
        back = scale.invert(scale.apply(past).unsqueeze(-1)).squeeze(-1)
        np.testing.assert_allclose(back.numpy(), past.numpy())


def test_same_seed_same_files(tmp_path):
    for name in ("a", "b"):
        tiny(dropout=0.2).fit(panel_of(*waves()), horizon=4, seed=3, train=FAST).save(tmp_path / name)
    for file in ("manifest.json", "weights.safetensors"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_two_fits_and_a_load_at_once_give_what_each_gives_alone(tmp_path):
    panel, model = panel_of(*waves()), tiny(dropout=0.3)
    alone = [model.fit(panel, horizon=4, seed=seed, train=FAST) for seed in (1, 2)]
    alone[0].save(tmp_path)
    state = torch.get_rng_state()
    with ThreadPoolExecutor(3) as pool:
        fits = [pool.submit(model.fit, panel, horizon=4, seed=seed, train=FAST) for seed in (1, 2)]
        loads = [pool.submit(tsforecast.load_model, tmp_path) for _ in range(20)]
    for found, expected in zip([*fits, loads[-1]], [*alone, alone[0]], strict=True):
        np.testing.assert_array_equal(found.result().predict(panel).quantiles, expected.predict(panel).quantiles)
    assert torch.equal(torch.get_rng_state(), state)


def test_a_numpy_horizon_is_a_horizon(tmp_path):
    predictor = tiny().fit(panel_of(*waves()), horizon=np.int64(4), train=FAST)
    predictor.save(tmp_path)
    assert predictor.predict(panel_of(*waves()), horizon=np.int64(3)).horizon == 3


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
@pytest.mark.parametrize("name", ["gru", "lstm"])
def test_a_model_trained_on_a_gpu_loads_on_a_cpu(name, tmp_path):
    panel = panel_of(*waves())
    predictor = tiny(name).fit(panel, horizon=4, train=replace(FAST, accelerator="cuda", precision="bf16-mixed"))
    predictor.save(tmp_path)
    script = f"import tsforecast; p = tsforecast.load_model({str(tmp_path)!r}); print(p.facts.horizon)"
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout.strip() == "4"
    found = tsforecast.load_model(tmp_path).predict(panel).quantiles
    np.testing.assert_array_equal(found, predictor.predict(panel).quantiles)
