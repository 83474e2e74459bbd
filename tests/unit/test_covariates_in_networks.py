"""Covariates, static features, categories and the calendar in the networks."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

import tsforecast
from tsforecast.errors import CovariateError, HorizonError, OptionError
from tsforecast.models.registry import build_model
from tsforecast.models.window_data import Inputs, WindowData
from tsforecast.nn.config import TrainConfig
from tsforecast.nn.effects import estimate_effects
from tsforecast.panel import FloatArray, Panel
from tsforecast.preprocessing.windows import Windows

FAST = TrainConfig(max_epochs=2, steps_per_epoch=4, batch_size=16, accelerator="cpu", threads=1)
LONGER = TrainConfig(max_epochs=10, steps_per_epoch=30, batch_size=32, learning_rate=1e-2, accelerator="cpu", threads=1)


def panel_of(targets: list[FloatArray], *, season: int = 4, **more: object) -> Panel:
    return Panel(
        series_ids=tuple(f"s{i}" for i in range(len(targets))),
        offsets=np.concatenate([[0], np.cumsum([len(y) for y in targets])]).astype(np.int64),
        timestamps=np.concatenate([np.arange(len(y)) for y in targets]).astype(np.int64),
        target=np.concatenate(targets).astype(np.float64),
        freq=1,
        season=season,
        **more,  # type: ignore[arg-type]
    )


def small(name: str = "gru", **options: object) -> object:
    return build_model(name, **{"context": 16, "patch": 4, "hidden": 16, "layers": 1, "dropout": 0.0, **options})


def noise(count: int = 4, length: int = 120, *, seed: int = 0) -> list[FloatArray]:
    rng = np.random.default_rng(seed)
    return [20.0 + rng.normal(0, 1, length) for _ in range(count)]


def test_gathered_covariates_stand_beside_their_steps_and_never_reach_over_a_series() -> None:
    panel = panel_of(
        [np.arange(6.0), np.arange(6.0)], covariates=np.arange(12.0)[:, None], covariate_names=("x",),
        past_covariates=-np.arange(12.0)[:, None], past_covariate_names=("p",),
        static_reals=np.array([[1.0], [3.0]]), static_real_names=("size",),
        static_categories=(("a",), ("b",)), static_category_names=("shop",),
    )  # fmt: skip
    inputs = Inputs(known=((0.0, 1.0),), past=((0.0, 1.0),), static=((0.0, 1.0),), categories=(("b", "c"),))
    data = WindowData(panel, torch.device("cpu"), context=3, horizon=2, inputs=inputs)
    windows = Windows(origins=np.array([2, 8]), firsts=np.array([0, 6]), ends=np.array([6, 12]), series=np.array([0, 1]))
    batch = data.gather(windows)
    assert batch.covariates is not None and batch.past_covariates is not None and batch.static is not None
    assert batch.covariates.squeeze(-1).tolist() == [[0, 0, 1, 2, 3], [0, 6, 7, 8, 9]]
    assert batch.past_covariates.squeeze(-1).tolist() == [[0, 0, -1], [0, -6, -7]]
    assert batch.static.tolist() == [[1.0], [3.0]]
    assert batch.category is not None and batch.category.tolist() == [[0], [1]]  # "a" was not there in the fit


def test_effects_are_those_that_were_planted() -> None:
    rng = np.random.default_rng(0)
    covariates = torch.from_numpy(rng.normal(size=(200, 20, 2)))
    season = torch.from_numpy(np.tile(rng.normal(size=(200, 4)), (1, 5)))
    x = 3.0 * covariates[..., 0] - 1.0 * covariates[..., 1] + 10 * season + 0.1 * torch.from_numpy(rng.normal(size=(200, 20)))
    seen = torch.rand(200, 20, generator=torch.Generator().manual_seed(0)) > 0.2
    found = estimate_effects(x, seen, covariates, torch.ones(200, 1), season=4)
    np.testing.assert_allclose(found.numpy(), [3.0, -1.0], atol=0.05)


@pytest.mark.parametrize("name", ["gru", "mlp", "linear", "seq2seq"])
def test_a_known_future_moves_the_forecast_where_it_happens(name: str) -> None:
    rng = np.random.default_rng(1)
    promo = (rng.random(480) < 0.2).astype(float)
    panel = panel_of(noise(), covariates=promo[:, None], covariate_names=("promo",))
    panel = panel.with_target(panel.target * (1 + 0.5 * promo))
    predictor = small(name).fit(panel, horizon=4, train=LONGER)  # type: ignore[attr-defined]
    future = np.zeros((4, 4, 1))
    future[:, 2] = 1.0
    lifted, plain = (predictor.predict(panel, future=one).median for one in (future, np.zeros((4, 4, 1))))
    ratio = (lifted / plain).mean(0)
    assert ratio[2] == pytest.approx(1.5, abs=0.15)
    np.testing.assert_allclose(ratio[[0, 1, 3]], 1.0, atol=0.1)


def test_a_past_covariate_that_leads_the_target_is_used() -> None:
    rng = np.random.default_rng(2)
    lead = rng.normal(size=(8, 150))
    targets = [20 + np.concatenate([rng.normal(size=2), 3 * row[:-2]]) + rng.normal(0, 0.1, 150) for row in lead]
    panel = panel_of(targets, past_covariates=lead.reshape(-1, 1), past_covariate_names=("lead",))
    predictor = small("mlp", space="linear").fit(panel, horizon=2, train=LONGER)  # type: ignore[attr-defined]
    expected = 20 + 3 * lead[:, -2:]
    error = np.abs(predictor.predict(panel).median - expected).mean()
    blind = replace(panel, past_covariates=None, past_covariate_names=())
    without = small("mlp", space="linear").fit(blind, horizon=2, train=LONGER).predict(blind)  # type: ignore[attr-defined]
    assert error < 0.6 * np.abs(without.median - expected).mean()


def test_categories_part_series_that_look_alike_and_an_unseen_one_has_an_answer() -> None:
    rng = np.random.default_rng(3)
    up = np.arange(120) % 4 == 0
    targets = [20 + rng.normal(0, 0.3, 120) + np.where(np.arange(120) >= 0, 0, 0) for _ in range(8)]
    for i in range(4):  # shops of the first kind sell twice as much on their last steps, unseen in the window before
        targets[i][up] += 5
    panel = panel_of(targets, season=1, static_categories=tuple((("big",) if i < 4 else ("small",)) for i in range(8)),
                     static_category_names=("kind",))  # fmt: skip
    predictor = small("mlp").fit(panel, horizon=4, train=FAST)  # type: ignore[attr-defined]
    stranger = replace(panel, static_categories=tuple(("new",) for _ in range(8)))
    known, unseen = predictor.predict(panel).median, predictor.predict(stranger).median
    assert np.isfinite(unseen).all()
    assert np.abs(known - unseen).max() > 0
    other = replace(panel, static_categories=tuple(("newer",) for _ in range(8)))
    np.testing.assert_array_equal(predictor.predict(other).median, unseen)  # any unseen word is the same to it


def test_the_calendar_comes_from_the_timestamps() -> None:
    frame = pd.DataFrame({"unique_id": "a", "ds": pd.date_range("2024-01-01", periods=140, freq="D"), "y": 1.0})
    frame["y"] = np.random.default_rng(0).normal(20, 1, 140)
    panel = tsforecast.panel_from_frame(frame, freq="D")
    predictor = small(calendar=True).fit(panel, horizon=5, train=FAST)  # type: ignore[attr-defined]
    assert predictor.network.shape.channels == 6  # day of week, of month, of year; each twice
    assert predictor.network.shape.effects == 0
    assert np.isfinite(predictor.predict(panel, horizon=3).quantiles).all()


def test_what_a_network_needs_of_covariates_is_said_by_name() -> None:
    panel = panel_of(noise(2), covariates=np.zeros((240, 1)), covariate_names=("price",),
                     static_reals=np.ones((2, 1)), static_real_names=("size",))  # fmt: skip
    predictor = small().fit(panel, horizon=4, train=FAST)  # type: ignore[attr-defined]
    with pytest.raises(CovariateError, match=r"needs the future of covariates \['price'\]; pass future="):
        predictor.predict(panel)
    hole = np.zeros((2, 4, 1))
    hole[1, 2, 0] = np.nan
    with pytest.raises(CovariateError, match="covariate 'price' of series 's1' is nan at step 3 of its future"):
        predictor.predict(panel, future=hole)
    with pytest.raises(CovariateError, match=r"fitted with static features \['size'\], the panel has \[\]"):
        predictor.predict(replace(panel, static_reals=None, static_real_names=()), future=np.zeros((2, 4, 1)))


def test_inputs_come_back_from_a_file(tmp_path: object) -> None:
    panel = panel_of(noise(2), covariates=np.random.default_rng(0).normal(size=(240, 1)), covariate_names=("price",),
                     static_categories=(("a",), ("b",)), static_category_names=("shop",))  # fmt: skip
    predictor = small().fit(panel, horizon=4, train=FAST)  # type: ignore[attr-defined]
    predictor.save(tmp_path)
    future = np.ones((2, 4, 1))
    again = tsforecast.load_model(str(tmp_path)).predict(panel, future=future)
    np.testing.assert_array_equal(again.quantiles, predictor.predict(panel, future=future).quantiles)


@pytest.mark.parametrize("head", ["mse", "mae", "huber", "normal", "student_t", "categorical"])
def test_any_head_on_any_core(head: str) -> None:
    for name in ("mlp", "tcn", "seq2seq", "linear"):
        panel = panel_of(noise(3))
        out = small(name, head=head).fit(panel, horizon=5, train=LONGER if name == "mlp" else FAST).predict(panel)  # type: ignore[attr-defined]
        assert np.isfinite(out.quantiles).all() and (np.diff(out.quantiles, axis=-1) > 0).all()
        assert np.abs(out.median - 20.0).max() < 4.0


@pytest.mark.parametrize("head", ["poisson", "negative_binomial", "hurdle", "log_normal"])
def test_heads_of_counts_and_sizes_never_go_below_zero(head: str) -> None:
    rng = np.random.default_rng(0)
    counts = [rng.poisson(2.0, 120) * (rng.random(120) < 0.7) + (1.0 if head == "log_normal" else 0.0) for _ in range(4)]
    panel = panel_of(counts)
    out = small("mlp", head=head).fit(panel, horizon=5, train=LONGER).predict(panel, quantile_levels=(0.01, 0.5, 0.9))  # type: ignore[attr-defined]
    assert (out.quantiles >= 0).all() and np.isfinite(out.quantiles).all()
    assert 0 < out.quantiles[..., 2].mean() < 12


# Transfer


def parent_and_child() -> tuple[Panel, Panel]:
    steps = np.arange(160)
    rng = np.random.default_rng(5)
    shapes = [20 + 5 * np.sin(steps * np.pi / 2 + phase) + rng.normal(0, 0.5, 160) for phase in rng.uniform(0, 6, 12)]
    return panel_of(shapes[:9]), panel_of([y[:60] for y in shapes[9:]])


def test_a_start_takes_over_the_weights_and_freezes_the_core_first() -> None:
    big, few = parent_and_child()
    parent = small().fit(big, horizon=4, train=LONGER)  # type: ignore[attr-defined]
    once = TrainConfig(max_epochs=1, steps_per_epoch=3, batch_size=16, average_decay=0.0, accelerator="cpu", threads=1)
    child = small().fit(few, horizon=4, train=once, start_from=parent, freeze=1)  # type: ignore[attr-defined]
    before, after = parent.network.state_dict(), child.network.state_dict()
    for name, value in after.items():
        same = torch.equal(value, before[name])
        assert same == name.startswith(("embed", "core", "mix")), name
    child = small().fit(few, horizon=4, train=once, start_from=parent, freeze=0)  # type: ignore[attr-defined]
    assert not torch.equal(child.network.state_dict()["embed.embed.weight"], before["embed.embed.weight"])


def test_ten_steps_of_tuning_are_worth_twenty_afresh() -> None:
    big, few = parent_and_child()
    parent = small().fit(big, horizon=4, train=LONGER)  # type: ignore[attr-defined]
    short = TrainConfig(max_epochs=2, steps_per_epoch=5, batch_size=16, learning_rate=5e-3, accelerator="cpu", threads=1)
    tuned = small().fit(few, horizon=4, train=short, start_from=parent)  # type: ignore[attr-defined]
    fresh = small().fit(few, horizon=4, train=replace(short, max_epochs=4))  # type: ignore[attr-defined]
    assert tuned.values["best_val_loss"] < fresh.values["best_val_loss"]


def test_a_start_that_does_not_fit_is_refused_by_name() -> None:
    big, few = parent_and_child()
    parent = small().fit(big, horizon=4, train=FAST)  # type: ignore[attr-defined]
    with pytest.raises(OptionError, match="start_from is a fitted 'gru', a 'lstm' can only start from another 'lstm'"):
        small("lstm").fit(few, horizon=4, start_from=parent)  # type: ignore[attr-defined]
    with pytest.raises(OptionError, match="start_from has hidden 16, 32 is asked"):
        small(hidden=32).fit(few, horizon=4, start_from=parent)  # type: ignore[attr-defined]
    with pytest.raises(HorizonError, match="start_from reaches 4 steps, 9 are asked"):
        small().fit(few, horizon=9, start_from=parent)  # type: ignore[attr-defined]
    with pytest.raises(OptionError, match="learned seasons of 4 steps, these series have 7"):
        small().fit(replace(few, season=7), horizon=4, start_from=parent)  # type: ignore[attr-defined]
    with pytest.raises(OptionError, match="freeze needs start_from"):
        small().fit(few, horizon=4, freeze=2)  # type: ignore[attr-defined]
    with pytest.raises(OptionError, match=r"'seasonal_naive' is fitted .* cannot start from another; models that can: .*gru"):
        build_model("seasonal_naive").fit(few, horizon=4, start_from=parent)
