"""The skip a network's forecast is a correction of."""

import numpy as np
import pytest
import torch

from tsforecast.nn.skip import SeasonalAttention


def last_season_by_loop(x, seen, *, season, horizon):
    expected = np.zeros((len(x), horizon))
    for b in range(len(x)):
        for k in range(horizon):
            place = x.shape[1] + k
            while place >= x.shape[1]:
                place -= season
            while place >= 0 and not seen[b, place]:
                place -= season
            expected[b, k] = x[b, place] if place >= 0 else 0.0
    return expected


@pytest.mark.parametrize(("steps", "season", "horizon"), [(8, 4, 6), (10, 4, 3), (7, 1, 3), (5, 5, 12), (40, 1, 2)])
def test_with_all_weight_on_the_newest_it_is_seasonal_naive(steps, season, horizon):
    rng = np.random.default_rng(0)
    seen = rng.random((20, steps)) > 0.4
    x = np.where(seen, rng.normal(size=(20, steps)), 0.0)
    skip = SeasonalAttention(3, context=steps, horizon=horizon, season=season)
    with torch.no_grad():
        skip.weigh.bias *= 100  # the recency of the start, made absolute
        found = skip(torch.zeros(20, 3), torch.from_numpy(x), torch.from_numpy(seen))
    near = min(steps, skip.cycles * season)
    expected = last_season_by_loop(x[:, -near:], seen[:, -near:], season=season, horizon=horizon)
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-6)


def test_each_season_ahead_has_its_own_weights():
    skip = SeasonalAttention(1, context=6, horizon=4, season=2)
    with torch.no_grad():
        skip.weigh.bias.view(2, 3)[:] = torch.tensor([[50.0, 0.0, 0.0], [0.0, 0.0, 50.0]])
        found = skip(torch.zeros(1, 1), torch.arange(6.0).view(1, 6), torch.ones(1, 6, dtype=torch.bool))
    torch.testing.assert_close(found, torch.tensor([[0.0, 1.0, 4.0, 5.0]]))


def test_weights_by_hand():
    skip = SeasonalAttention(1, context=2, horizon=1, season=1)
    with torch.no_grad():
        skip.weigh.bias[:] = torch.tensor([0.0, np.log(3.0)])
        found = skip(torch.zeros(1, 1), torch.tensor([[8.0, 4.0]]), torch.ones(1, 2, dtype=torch.bool))
    assert found.item() == pytest.approx(0.25 * 8 + 0.75 * 4)


def test_a_window_without_any_observation_has_a_finite_gradient():
    skip = SeasonalAttention(2, context=4, horizon=3, season=2)
    state = torch.ones(1, 2, requires_grad=True)
    out = skip(state, torch.zeros(1, 4), torch.zeros(1, 4, dtype=torch.bool))
    out.sum().backward()
    assert out.abs().max().item() == 0.0
    assert torch.isfinite(state.grad).all()
    assert torch.isfinite(skip.weigh.bias.grad).all()
