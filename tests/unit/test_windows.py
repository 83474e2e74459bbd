"""Where windows lie."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest

import tsforecast.preprocessing.windows as windows_module
from tsforecast.errors import OptionError
from tsforecast.models.registry import build_model
from tsforecast.nn.config import TrainConfig
from tsforecast.panel import Panel
from tsforecast.preprocessing.blocks import pieces, series_blocks
from tsforecast.preprocessing.windows import last_windows, plan_windows


def panel_of(*lengths: int) -> Panel:
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return Panel(
        series_ids=tuple(f"s{i}" for i in range(len(lengths))),
        offsets=offsets,
        timestamps=np.concatenate([np.arange(n) for n in lengths]).astype(np.int64),
        target=np.arange(offsets[-1], dtype=float),
        freq=1,
        season=1,
    )


def test_validation_lies_after_training_in_every_series():
    plan = plan_windows(panel_of(60, 40), context=8, horizon=5, min_context=8, validation_windows=4)
    windows = plan.sample(5000, np.random.default_rng(0))
    for i in range(2):
        mine, held = windows.series == i, plan.validation.series == i
        assert held.any()
        assert windows.ends[mine].max() <= plan.validation.origins[held].min()
        assert (windows.origins[mine] + 5).max() == plan.ends[i]


def test_every_origin_is_sampled_and_none_beside():
    plan = plan_windows(panel_of(30), context=6, horizon=4, min_context=6, validation_windows=1)
    windows = plan.sample(2000, np.random.default_rng(0))
    assert sorted(set(windows.origins.tolist())) == list(range(6, 30 - 4 - 4 + 1))
    assert len(plan) == len(set(windows.origins.tolist()))


def test_sampling_is_uniform_over_windows_not_over_series():
    plan = plan_windows(panel_of(110, 30), context=5, horizon=5, min_context=5, validation_windows=1)
    share = (plan.sample(20000, np.random.default_rng(0)).series == 0).mean()
    assert share == pytest.approx(plan.counts[0] / plan.counts.sum(), abs=0.02)


def test_few_series_give_several_validation_windows_within_their_share():
    plan = plan_windows(panel_of(1000), context=20, horizon=10, validation_windows=64, max_share=0.2)
    origins = plan.validation.origins
    assert len(origins) == 64
    assert origins[-1] == 990  # the last one ends with the series
    assert 1000 - origins[0] <= 200
    assert (np.diff(origins) == np.diff(origins)[0]).all()


def test_a_series_too_short_to_hold_out_still_trains():
    plan = plan_windows(panel_of(9, 100), context=8, horizon=6, min_context=8, validation_windows=1)
    assert (plan.validation.series == 1).all()
    assert plan.counts[0] == 1
    only = plan.sample(500, np.random.default_rng(0))
    assert set(only.origins[only.series == 0].tolist()) == {3}  # 9 - horizon: the context is partly missing


def test_a_single_row_gives_no_window():
    assert len(plan_windows(panel_of(1), context=4, horizon=2)) == 0


def test_last_windows_stand_at_the_ends():
    windows = last_windows(panel_of(3, 5))
    assert windows.origins.tolist() == [3, 8]
    assert windows.firsts.tolist() == [0, 3]


@pytest.mark.parametrize("seed", range(5))
def test_windows_stay_inside_their_series(seed):
    rng = np.random.default_rng(seed)
    lengths = rng.integers(2, 80, size=20)
    panel = panel_of(*lengths)
    plan = plan_windows(panel, context=12, horizon=6, min_context=int(rng.integers(1, 13)), validation_windows=30)
    windows = plan.sample(3000, rng)
    assert (windows.origins > windows.firsts).all()
    assert (windows.origins < windows.ends).all()
    assert (windows.ends <= panel.offsets[1:][windows.series]).all()
    assert (plan.validation.origins + 6 <= plan.validation.ends).all()


# Gap


def test_a_gap_is_looked_at_by_no_training_window():
    plain = plan_windows(panel_of(100), context=8, horizon=5, min_context=8, validation_windows=1)
    gapped = plan_windows(panel_of(100), context=8, horizon=5, min_context=8, validation_windows=1, gap=7)
    assert gapped.validation.origins.tolist() == plain.validation.origins.tolist() == [95]
    assert plain.ends.tolist() == [95]
    assert gapped.ends.tolist() == [88]
    windows = gapped.sample(2000, np.random.default_rng(0))
    assert (windows.origins + 5).max() == windows.ends.max() == 88


def test_a_series_that_is_not_held_out_has_no_gap():
    plan = plan_windows(panel_of(16), context=4, horizon=5, min_context=5, gap=3)  # 15 would do without a gap
    assert len(plan.validation) == 0
    assert plan.ends.tolist() == [16]


# Samplers


def sampled(sampling, *, lengths=(40, 14, 9), count=40000, seed=0, half_life=None):
    plan = plan_windows(panel_of(*lengths), context=5, horizon=3, min_context=5, validation_windows=1)
    return plan, plan.sample(count, np.random.default_rng(seed), sampling=sampling, half_life=half_life)


def exact(plan, sampling, half_life):
    """{origin: probability}, by for-loop."""
    weights = {}
    for i, count in enumerate(plan.counts):
        for k in range(count):
            origin = int(plan.offsets[i] + plan.lowest[i] + k)
            age = count - 1 - k
            weights[origin] = {"windows": 1.0, "series": 1.0 / count, "recent": 0.5 ** (age / (half_life or 1))}[sampling]
    total = sum(weights.values())
    return {origin: weight / total for origin, weight in weights.items()}


@pytest.mark.parametrize(("sampling", "half_life"), [("windows", None), ("series", None), ("recent", 7), ("recent", 60)])
def test_windows_are_drawn_as_often_as_said(sampling, half_life):
    plan, windows = sampled(sampling, half_life=half_life)
    expected = exact(plan, sampling, half_life)
    assert len(expected) == len(plan) > 30
    found = dict(zip(*np.unique(windows.origins, return_counts=True), strict=True))
    assert set(found) == set(expected)  # all are reached, and none beside
    chi2 = sum((found[o] - len(windows) * p) ** 2 / (len(windows) * p) for o, p in expected.items())
    assert chi2 < len(expected) + 4 * np.sqrt(2 * len(expected))  # four deviations above its mean


def test_the_half_life_is_the_context_where_it_is_left_open():
    _, windows = sampled("recent")
    _, same = sampled("recent", half_life=5)
    assert windows.origins.tolist() == same.origins.tolist()


@pytest.mark.parametrize("sampling", ["windows", "series", "recent"])
def test_the_same_seed_draws_the_same_windows(sampling):
    assert sampled(sampling)[1].origins.tolist() == sampled(sampling)[1].origins.tolist()
    assert sampled(sampling)[1].origins.tolist() != sampled(sampling, seed=1)[1].origins.tolist()


@pytest.mark.parametrize("sampling", ["windows", "series", "recent"])
def test_a_series_without_windows_is_never_drawn(sampling):
    plan, windows = sampled(sampling, lengths=(1, 30, 1, 30, 1))
    assert plan.counts[[0, 2, 4]].tolist() == [0, 0, 0]
    assert set(windows.series.tolist()) == {1, 3}
    rows = plan.offsets[windows.series] + plan.lowest[windows.series]
    assert ((windows.origins >= rows) & (windows.origins < rows + plan.counts[windows.series])).all()


def test_very_old_windows_do_not_overflow():
    plan, windows = sampled("recent", lengths=(200_000, 50), half_life=1, count=5000)
    assert (windows.origins >= plan.offsets[windows.series] + plan.lowest[windows.series]).all()
    newest = (plan.offsets[:-1] + plan.lowest + plan.counts - 1)[windows.series]
    assert (newest == windows.origins).mean() == pytest.approx(0.5, abs=0.03)


def test_the_way_of_sampling_is_an_option_of_training():
    panel = panel_of(60, 200)
    model = build_model("gru", context=8, patch=4, hidden=4, layers=1)
    one = TrainConfig(max_epochs=1, steps_per_epoch=2, batch_size=8)
    losses = []
    for options in ({}, {"sampling": "series"}, {"sampling": "recent", "half_life": 3}):
        model.fit(panel, horizon=2, train=replace(one, **options), callbacks=[lambda e: losses.append(e.values["train_loss"])])
    assert len(set(losses)) == 3


def test_impossible_ways_of_sampling_are_refused():
    with pytest.raises(OptionError, match=r"train\.sampling must be one of windows, series, recent, got 'oldest'"):
        TrainConfig(sampling="oldest")
    with pytest.raises(OptionError, match=r"train\.half_life must be positive, got 0"):
        TrainConfig(sampling="recent", half_life=0)
    with pytest.raises(OptionError, match=r"train\.half_life is for train\.sampling 'recent', which is 'windows'"):
        TrainConfig(half_life=3)


# Pieces


def test_a_series_ends_with_its_last_observed_row_wherever_the_blocks_are_cut(monkeypatch):
    rng = np.random.default_rng(0)
    target = np.where(rng.random(400) < 0.5, np.nan, 1.0)
    lengths = [1, 7, 60, 32, 100, 150, 50]
    target[100:200] = np.nan
    panel = replace(panel_of(*lengths), target=target)
    expected = []
    for _, values in panel:
        seen = [k + 1 for k, value in enumerate(values) if np.isfinite(value)]
        expected.append(max(seen, default=0))
    for most in (1, 50, 60, 1000):
        monkeypatch.setattr(windows_module, "series_blocks", partial(series_blocks, most=most))
        assert windows_module._observed_lengths(panel).tolist() == expected


def test_blocks_cover_all_series_once_and_are_no_larger_than_they_may():
    offsets = np.array([0, 5, 6, 7, 27, 30, 40])
    blocks = list(series_blocks(offsets, most=10))
    assert blocks == [slice(0, 3), slice(3, 4), slice(4, 5), slice(5, 6)]
    assert list(series_blocks(np.array([0]))) == []
    assert [len(piece) for piece in pieces(np.arange(10), 4)] == [4, 4, 2]
