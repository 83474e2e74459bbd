"""DeepAR: what it draws, against processes whose futures can be written down."""

import numpy as np
import pytest
import torch
from scipy.stats import norm

from tsforecast.errors import OptionError
from tsforecast.models.registry import build_model
from tsforecast.models.window_forecaster import WindowPredictor
from tsforecast.nn.autoregressive import carried_forward, default_lags
from tsforecast.nn.config import TrainConfig
from tsforecast.panel import FloatArray, Panel

TRAIN = TrainConfig(max_epochs=8, steps_per_epoch=30, batch_size=64, learning_rate=1e-2, accelerator="cpu", threads=1)


def panel_of(targets: list[FloatArray], *, season: int = 1) -> Panel:
    return Panel(
        series_ids=tuple(f"s{i}" for i in range(len(targets))),
        offsets=np.concatenate([[0], np.cumsum([len(y) for y in targets])]).astype(np.int64),
        timestamps=np.concatenate([np.arange(len(y)) for y in targets]).astype(np.int64),
        target=np.concatenate(targets).astype(np.float64),
        freq=1,
        season=season,
    )


def small(**options: object) -> object:
    return build_model("deepar", **{"hidden": 16, "dropout": 0.0, "context": 24, "lags": (1, 2), "head": "normal", **options})


@pytest.mark.parametrize("head", ["normal", "student_t"])
def test_intervals_of_a_random_walk_widen_with_the_root_of_the_horizon(head: str) -> None:
    rng = np.random.default_rng(0)
    walks = [1000.0 + rng.normal(0, 1, 300).cumsum() for _ in range(20)]
    predictor = small(head=head, samples=500).fit(panel_of(walks), horizon=16, train=TRAIN)  # type: ignore[attr-defined]
    wide = predictor.predict(panel_of(walks), quantile_levels=(0.1, 0.9)).quantiles
    width = (wide[..., 1] - wide[..., 0]).mean(0)  # (H,)
    assert 3.2 < width[15] / width[0] < 4.8
    assert width[0] == pytest.approx(norm.ppf(0.9) - norm.ppf(0.1), rel=0.15)  # one step of a walk has a deviation of 1


def test_drawn_quantiles_of_an_autoregression_are_those_of_its_formula() -> None:
    """y[t] = 50 + 0.7 (y[t-1] - 50) + e: k steps ahead it is normal, with a mean and a variance that can be summed up."""
    rng, phi = np.random.default_rng(1), 0.7

    def simulate(length: int) -> FloatArray:
        y = np.zeros(length)
        for t in range(1, length):
            y[t] = phi * y[t - 1] + rng.normal()
        return 50.0 + y

    predictor = small(samples=1000, context=96).fit(panel_of([simulate(400) for _ in range(30)]), horizon=8, train=TRAIN)  # type: ignore[attr-defined]
    fresh = [simulate(100) for _ in range(40)]
    levels = (0.1, 0.5, 0.9)
    found = predictor.predict(panel_of(fresh), quantile_levels=levels).quantiles
    steps = np.arange(1, 9)
    mean = 50.0 + phi**steps * (np.array([y[-1] for y in fresh]) - 50.0)[:, None]  # (S, H)
    deviation = np.sqrt((1 - phi ** (2 * steps)) / (1 - phi**2))  # (H,)
    for q, level in enumerate(levels):
        expected = mean + norm.ppf(level) * deviation
        assert np.abs(found[..., q] - expected).mean() < 0.4
    width = (found[..., 2] - found[..., 0]).mean(0)
    np.testing.assert_allclose(width, (norm.ppf(0.9) - norm.ppf(0.1)) * deviation, rtol=0.15)


def test_paths_have_the_quantiles_of_the_forecast_and_hang_together() -> None:
    rng = np.random.default_rng(2)
    panel = panel_of([100.0 + rng.normal(0, 1, 200).cumsum() for _ in range(5)])
    predictor = small(samples=400).fit(panel, horizon=6, seed=0, train=TRAIN)  # type: ignore[attr-defined]
    paths = predictor.sample_paths(panel, count=400, seed=0)
    assert paths.shape == (5, 400, 6)
    np.testing.assert_allclose(np.median(paths, axis=1), predictor.predict(panel).median, rtol=1e-9)
    other = predictor.sample_paths(panel, count=400, seed=1)
    assert not np.array_equal(paths, other)
    steps = np.diff(paths, axis=2).std(axis=1).mean()
    assert steps < paths[:, :, 5].std(axis=1).mean()  # a step is narrower than what six of them add up to
    apart = np.corrcoef(paths[0, :, 5], paths[1, :, 5])[0, 1]
    assert abs(apart) < 0.2  # two series do not draw the same future
    np.testing.assert_array_equal(paths[:, :, :3], predictor.sample_paths(panel, count=400, horizon=3, seed=0))


def test_futures_are_stretched_until_the_held_out_windows_are_covered() -> None:
    """A network that has hardly learned draws steps of a wrong width; stretched futures keep their middle and their order."""
    rng = np.random.default_rng(4)
    walks = [1000.0 + rng.normal(0, 1, 200).cumsum() for _ in range(150)]
    history, actual = panel_of([y[:192] for y in walks]), np.stack([y[192:] for y in walks])
    hardly = TrainConfig(max_epochs=1, steps_per_epoch=1, batch_size=8, learning_rate=1e-5, accelerator="cpu", threads=1)

    def fit(calibrate: bool) -> WindowPredictor:
        return small(calibrate=calibrate).fit(history, horizon=8, seed=1, train=hardly)  # type: ignore[attr-defined,no-any-return]

    bent, plain = fit(True), fit(False)
    found = [one.predict(history, quantile_levels=(0.1, 0.5, 0.9)).quantiles for one in (bent, plain)]
    covered, before = (float(((actual >= q[..., 0]) & (actual <= q[..., 2])).mean()) for q in found)
    assert abs(before - 0.8) > 0.1
    assert abs(covered - 0.8) < 0.08
    np.testing.assert_allclose(found[0][..., 1], found[1][..., 1], rtol=1e-9)
    paths, others = (one.sample_paths(history, count=50) for one in (bent, plain))  # type: ignore[attr-defined]
    np.testing.assert_array_equal(paths.argsort(1), others.argsort(1))
    middle = np.median(others, axis=1, keepdims=True)
    np.testing.assert_allclose(paths - middle, bent.spread[0] * (others - middle), atol=1e-6)


@pytest.mark.parametrize("head", ["negative_binomial", "poisson"])
def test_counts_are_drawn_as_counts(head: str) -> None:
    rng = np.random.default_rng(3)
    panel = panel_of([rng.poisson(3.0, 150).astype(float) for _ in range(8)])
    predictor = small(head=head).fit(panel, horizon=4, train=TRAIN)  # type: ignore[attr-defined]
    paths = predictor.sample_paths(panel, count=200)
    assert (paths >= 0).all() and (paths == np.rint(paths)).all()
    assert paths.mean() == pytest.approx(3.0, abs=0.6)


def test_the_last_observation_is_carried_over_what_is_missing() -> None:
    z = torch.tensor([[9.0, 1.0, 9.0, 2.0, 9.0], [9.0, 9.0, 9.0, 9.0, 9.0]])
    seen = torch.tensor([[False, True, False, True, False], [False] * 5])
    filled, first = carried_forward(z, seen)
    assert filled.tolist() == [[0.0, 1.0, 1.0, 2.0, 2.0], [0.0] * 5]
    assert first.squeeze(1).tolist() == [1, 5]


def test_lags_follow_the_calendar() -> None:
    assert default_lags(24) == (1, 2, 3, 23, 24, 25, 168)
    assert default_lags(12) == (1, 2, 3, 11, 12, 13, 24)
    assert default_lags(1) == (1, 2, 3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"patch": 4}, "patch 1"),
        ({"head": "quantile"}, "head must be one of student_t, normal, negative_binomial, poisson"),
        ({"samples": 3}, "samples must be a whole number of at least 10, got 3"),
        ({"lags": (0,)}, r"lags must be positive whole numbers, got \(0,\)"),
        ({"cell": "rnn"}, "cell must be lstm or gru"),
    ],
)
def test_options_it_cannot_have_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        build_model("deepar", **options)


def test_direct_models_say_which_model_has_paths() -> None:
    rng = np.random.default_rng(0)
    panel = panel_of([rng.normal(10, 1, 60)])
    one_step = TrainConfig(max_epochs=1, steps_per_epoch=1)
    predictor = build_model("gru", context=16, hidden=8, layers=1).fit(panel, horizon=3, train=one_step)
    with pytest.raises(OptionError, match=r"'gru' has quantiles but no sample paths; models with paths: .*deepar"):
        predictor.sample_paths(panel, count=5)
