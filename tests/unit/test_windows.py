"""Where windows lie."""

import numpy as np
import pytest

from tsforecast.panel import Panel
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
