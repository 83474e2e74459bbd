"""The blocks of the shared core, each alone."""

import math

import numpy as np
import pytest
import torch

from tsforecast.errors import OptionError
from tsforecast.nn.conv import CausalConv1d, ResidualConvBlock
from tsforecast.nn.heads import QuantileHead, quantiles_from_raw
from tsforecast.nn.losses import pinball_loss
from tsforecast.nn.mlp import ACTIVATIONS, MLP, ResidualMLP, activation
from tsforecast.nn.patch import PatchEmbedding
from tsforecast.nn.recurrent import RecurrentCore
from tsforecast.nn.scale import masked_median, window_scale


@pytest.fixture(autouse=True)
def fixed_chance():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def test_a_perceptron_is_one_affine_map():
    layer = MLP(3, 2)
    x = torch.randn(5, 3)
    weight, bias = layer.layers[0].weight, layer.layers[0].bias
    torch.testing.assert_close(layer(x), x @ weight.T + bias)


@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
def test_mlp_keeps_leading_dimensions(name):
    assert MLP(4, 6, hidden=(8, 8), activate=name)(torch.randn(2, 7, 4)).shape == (2, 7, 6)


def test_unknown_activation_lists_the_known_ones():
    with pytest.raises(OptionError, match="no activation 'swishy'; there are relu"):
        activation("swishy")


def test_residual_mlp_starts_from_its_input():
    block = ResidualMLP(4)
    with torch.no_grad():
        block.inner.layers[-1].weight.zero_()
        block.inner.layers[-1].bias.zero_()
    x = torch.randn(3, 4)
    torch.testing.assert_close(block(x), x)


@pytest.mark.parametrize("dilation", [1, 3])
def test_causal_convolution_equals_a_loop(dilation):
    conv = CausalConv1d(2, 3, kernel=3, dilation=dilation)
    x = torch.randn(1, 12, 2)
    weight, bias = conv.conv.weight, conv.conv.bias  # (out, in, kernel)
    expected = torch.zeros(1, 12, 3)
    for t in range(12):
        expected[0, t] = bias
        for k in range(3):
            back = t - dilation * (2 - k)
            if back >= 0:
                expected[0, t] += weight[:, :, k] @ x[0, back]
    torch.testing.assert_close(conv(x), expected)


@pytest.mark.parametrize("make", [lambda: CausalConv1d(2, 2, kernel=3, dilation=2), lambda: ResidualConvBlock(2, kernel=3)])
def test_convolutions_do_not_look_ahead(make):
    block, x = make(), torch.randn(1, 10, 2)
    changed = x.clone()
    changed[0, 6:] += 5.0
    torch.testing.assert_close(block(changed)[:, :6], block(x)[:, :6])
    assert not torch.allclose(block(changed)[:, 6], block(x)[:, 6])


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_recurrent_core_reads_first_and_last_step(cell):
    core, x = RecurrentCore(cell, 2, 5, layers=2), torch.randn(3, 6, 2)
    assert core(x).shape == (3, 5)
    for step in (0, 5):
        changed = x.clone()
        changed[:, step] += 1.0
        assert (core(changed) - core(x)).abs().amin(0).max() > 1e-5


def test_lstm_forget_gate_starts_open():
    core = RecurrentCore("lstm", 2, 4)
    torch.testing.assert_close(core.rnn.bias_ih_l0[4:8], torch.ones(4))


def test_patches_hold_their_steps_and_pad_the_old_side():
    embed = PatchEmbedding(1, 4, patch=4)
    x = torch.randn(2, 10, 1)
    out = embed(x)
    assert out.shape == (2, 3, 4)
    torch.testing.assert_close(out[:, 1:], embed(x[:, 2:]))  # the two newest patches do not see the padding


def test_robust_scale_by_hand():
    x = torch.tensor([[1.0, 2.0, 3.0, 4.0, 1e6]])
    location, scale = window_scale(x, torch.ones_like(x, dtype=torch.bool))
    assert location.item() == 3.0
    assert scale.item() == pytest.approx(1.4826)  # the deviations are 2 1 0 1 1e6, their median 1


def test_robust_scale_of_mostly_equal_values_is_their_mean_deviation():
    x = torch.tensor([[0.0, 0.0, 0.0, 4.0]])
    assert window_scale(x, torch.ones_like(x, dtype=torch.bool))[1].item() == 1.0


def test_standard_and_mean_abs_scale_by_hand():
    x, mask = torch.tensor([[1.0, 3.0, 99.0]]), torch.tensor([[True, True, False]])
    location, scale = window_scale(x, mask, scaling="standard")
    assert (location.item(), scale.item()) == (2.0, 1.0)
    location, scale = window_scale(x, mask, scaling="mean_abs")
    assert (location.item(), scale.item()) == (0.0, 2.0)
    location, scale = window_scale(x, mask, scaling="none")
    assert (location.item(), scale.item()) == (0.0, 1.0)


@pytest.mark.parametrize("value", [0.0, 7.0, -3e8])
@pytest.mark.parametrize("scaling", ["robust", "standard", "mean_abs"])
def test_scale_of_a_constant_window_is_small_but_positive(value, scaling):
    x = torch.full((1, 6), value)
    _, scale = window_scale(x, torch.ones_like(x, dtype=torch.bool), scaling=scaling)
    assert 0 < scale.item() <= max(abs(value), 1e-8)


def test_scale_ignores_what_is_masked():
    x = torch.tensor([[1.0, 2.0, 3.0, 1e9]])
    mask = torch.tensor([[True, True, True, False]])
    for scaling in ("robust", "standard", "mean_abs"):
        torch.testing.assert_close(window_scale(x, mask, scaling=scaling), window_scale(x[:, :3], mask[:, :3], scaling=scaling))


def test_masked_median_agrees_with_numpy():
    x = torch.randn(20, 9)
    mask = torch.rand(20, 9) > 0.3
    mask[0] = False
    found = masked_median(x, mask).squeeze(1).numpy()
    expected = [np.median(row[keep]) if keep.any() else 0.0 for row, keep in zip(x.numpy(), mask.numpy(), strict=True)]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize("levels", [(0.5,), (0.1, 0.5, 0.9), (0.01, 0.2, 0.5), (0.5, 0.6, 0.7, 0.8)])
def test_quantiles_never_cross_whatever_the_weights(levels):
    head = QuantileHead(4, 3, levels)
    with torch.no_grad():
        head.project.weight.normal_(0, 50)
    base, size = torch.zeros(6, 3), torch.ones(6, 1)
    out = head.quantiles(head(torch.randn(6, 4) * 10), base, size, levels)
    assert out.shape == (6, 3, len(levels))
    assert (out.diff(dim=-1) >= 0).all()


def test_quantiles_from_raw_by_hand():
    raw = torch.tensor([0.0, 2.0, 0.0, 0.0])
    step = math.log(2)  # softplus(0)
    torch.testing.assert_close(quantiles_from_raw(raw, 1), torch.tensor([2 - step, 2.0, 2 + step, 2 + 2 * step]))


def test_pinball_loss_equals_a_loop_and_ignores_missing_steps():
    levels = torch.tensor([0.1, 0.5, 0.9])
    predicted, target = torch.randn(4, 5, 3), torch.randn(4, 5)
    mask = torch.rand(4, 5) > 0.4
    target[~mask] = float("nan")
    total = []
    for b in range(4):
        for h in range(5):
            if mask[b, h]:
                for q, level in enumerate([0.1, 0.5, 0.9]):
                    error = (target[b, h] - predicted[b, h, q]).item()
                    total.append(2 * max(level * error, (level - 1) * error))
    assert pinball_loss(predicted, target, mask, levels).item() == pytest.approx(sum(total) / len(total), rel=1e-5)


def test_pinball_loss_of_the_median_is_the_absolute_error():
    predicted, target = torch.tensor([[[1.0]]]), torch.tensor([[4.0]])
    assert pinball_loss(predicted, target, torch.ones(1, 1, dtype=torch.bool), torch.tensor([0.5])).item() == 3.0
