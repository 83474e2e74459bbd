"""Attention against torch's own, and what masks promise."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tsforecast.errors import OptionError
from tsforecast.nn.attention import (
    AdditiveAttention,
    DecoderLayer,
    EncoderLayer,
    LearnedPositions,
    MultiHeadAttention,
    scaled_dot_product,
    sinusoidal_positions,
)


@pytest.fixture(autouse=True)
def fixed_chance():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def randn(*shape):
    return torch.randn(*shape, dtype=torch.float64)


def close(found, expected):
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-9)


def test_scaled_dot_product_equals_a_loop_and_torch():
    q, k, v, mask = randn(2, 3, 4), randn(2, 5, 4), randn(2, 5, 6), torch.rand(2, 3, 5) > 0.4
    mask[:, :, 0] = True
    expected = torch.zeros(2, 3, 6, dtype=torch.float64)
    for b in range(2):
        for i in range(3):
            keep = mask[b, i]
            weights = ((k[b, keep] @ q[b, i]) / math.sqrt(4)).softmax(0)
            expected[b, i] = weights @ v[b, keep]
    close(scaled_dot_product(q, k, v, mask), expected)
    close(scaled_dot_product(q, k, v, mask), F.scaled_dot_product_attention(q, k, v, attn_mask=mask))
    close(scaled_dot_product(q, k, v), F.scaled_dot_product_attention(q, k, v))


def test_a_query_that_may_look_at_nothing_finds_zeros_with_a_finite_gradient():
    q, k = randn(1, 2, 4).requires_grad_(), randn(1, 3, 4).requires_grad_()
    mask = torch.tensor([[[True, False, True], [False, False, False]]])
    found = scaled_dot_product(q, k, k, mask)
    assert (found[0, 1] == 0).all() and (found[0, 0] != 0).all()
    found.sum().backward()
    assert q.grad.isfinite().all() and k.grad.isfinite().all()
    context, weights = AdditiveAttention(4, 4, 5).double()(q[:, 0], k, torch.zeros(1, 3, dtype=torch.bool))
    assert (context == 0).all() and (weights == 0).all()


@pytest.mark.parametrize("heads", [1, 4])
@pytest.mark.parametrize("masked", [False, True])
def test_multi_head_attention_equals_that_of_torch_with_the_same_weights(heads, masked):
    ours = MultiHeadAttention(8, heads).double()
    theirs = nn.MultiheadAttention(8, heads, batch_first=True, dtype=torch.float64)
    with torch.no_grad():
        theirs.in_proj_weight.copy_(torch.cat([ours.query.weight, ours.key.weight, ours.value.weight]))
        theirs.in_proj_bias.copy_(torch.cat([ours.query.bias, ours.key.bias, ours.value.bias]))
        theirs.out_proj.weight.copy_(ours.out.weight)
        theirs.out_proj.bias.copy_(ours.out.bias)
    query, keys = randn(3, 4, 8), randn(3, 5, 8)
    mask = pairs = hidden = barred = None
    if masked:
        mask, pairs = torch.rand(3, 5) > 0.4, torch.ones(4, 5, dtype=torch.bool).tril(1)
        mask[:, 0] = True
        hidden, barred = ~mask, ~pairs
    expected, _ = theirs(query, keys, keys, key_padding_mask=hidden, attn_mask=barred)
    close(ours(query, keys, mask, pairs=pairs), expected)


def test_heads_must_divide_the_width():
    with pytest.raises(OptionError, match="heads must divide the width 8, got 3"):
        MultiHeadAttention(8, 3)


def test_additive_attention_equals_a_loop():
    attention = AdditiveAttention(3, 4, 5).double()
    query, keys, mask = randn(2, 3), randn(2, 6, 4), torch.tensor([[True] * 6, [True, False, True, True, False, False]])
    context, weights = attention(query, keys, mask)
    for b in range(2):
        scores = [attention.score(torch.tanh(attention.of_query(query[b]) + attention.of_key(keys[b, t]))) for t in range(6)]
        kept = torch.cat(scores)[mask[b]].softmax(0)
        close(weights[b, mask[b]], kept)
        close(context[b], kept @ keys[b, mask[b]])
    assert (weights[~mask] == 0).all()
    close(weights.sum(1), torch.ones(2, dtype=torch.float64))


def test_sinusoidal_positions_by_hand():
    table = sinusoidal_positions(12, 5)
    assert table.shape == (12, 5)
    assert table[0].tolist() == [0.0, 1.0, 0.0, 1.0, 0.0]
    for t, i in [(1, 0), (7, 2), (11, 4)]:
        assert table[t, i].item() == pytest.approx(math.sin(t / 10_000 ** (i / 5)), abs=1e-6)
        if i + 1 < 5:
            assert table[t, i + 1].item() == pytest.approx(math.cos(t / 10_000 ** (i / 5)), abs=1e-6)


def test_learned_positions_end_somewhere():
    positions = LearnedPositions(4, 3)
    torch.testing.assert_close(positions(torch.zeros(2, 3, 3))[1], positions.table[:3])
    with pytest.raises(OptionError, match="there are positions for 4 steps, got 5"):
        positions(torch.zeros(2, 5, 3))


def test_encoder_layer_sees_all_steps_in_no_order_and_only_what_it_may():
    layer, x = EncoderLayer(8, 2).double().eval(), randn(2, 5, 8)
    turned = torch.tensor([3, 1, 4, 0, 2])
    close(layer(x[:, turned]), layer(x)[:, turned])
    changed = x.clone()
    changed[:, 3, 0] += 1.0  # one channel: a norm takes out what all of them share
    assert ((layer(changed) - layer(x)).abs().amax(-1) > 0).all()
    causal = torch.ones(5, 5, dtype=torch.bool).tril()
    close(layer(changed, pairs=causal)[:, :3], layer(x, pairs=causal)[:, :3])
    seen = torch.tensor([True, True, True, False, True]).expand(2, -1)
    close(layer(changed, seen)[:, [0, 1, 2, 4]], layer(x, seen)[:, [0, 1, 2, 4]])


@pytest.mark.parametrize("newest", [1, 2])
def test_encoder_layer_can_say_its_last_rows_alone(newest: int) -> None:
    layer, x = EncoderLayer(8, 2).double().eval(), randn(2, 5, 8)
    close(layer(x, newest=newest), layer(x)[:, -newest:])
    causal = torch.ones(5, 5, dtype=torch.bool).tril()
    close(layer(x, pairs=causal, newest=newest), layer(x, pairs=causal)[:, -newest:])


def test_encoder_layer_equals_that_of_torch_with_the_same_weights():
    ours = EncoderLayer(8, 2).double().eval()
    theirs = nn.TransformerEncoderLayer(8, 2, 32, 0.0, "gelu", batch_first=True, norm_first=True, dtype=torch.float64)
    attention, first, last = ours.attention, ours.inner.layers[0], ours.inner.layers[-1]
    with torch.no_grad():
        theirs.self_attn.in_proj_weight.copy_(torch.cat([attention.query.weight, attention.key.weight, attention.value.weight]))
        theirs.self_attn.in_proj_bias.copy_(torch.cat([attention.query.bias, attention.key.bias, attention.value.bias]))
        pairs = [(theirs.self_attn.out_proj, attention.out), (theirs.linear1, first), (theirs.linear2, last)]
        for to, of in pairs:
            to.weight.copy_(of.weight)
            to.bias.copy_(of.bias)
    x = randn(3, 4, 8)
    close(ours(x), theirs(x))


def test_decoder_layer_reads_the_memory_it_may_see_and_no_later_query():
    layer, x, memory = DecoderLayer(8, 2).double().eval(), randn(2, 3, 8), randn(2, 5, 8)
    mask = torch.tensor([[True, True, False, True, True], [False] * 5])
    causal = torch.ones(3, 3, dtype=torch.bool).tril()
    found = layer(x, memory, mask, pairs=causal)
    assert found.shape == x.shape and found.isfinite().all()
    unseen = memory.clone()
    unseen[0, 2] += 1.0
    unseen[1] += 1.0
    close(layer(x, unseen, mask, pairs=causal), found)
    assert not torch.allclose(layer(x, unseen, pairs=causal), found)
    later = x.clone()
    later[:, 2, 0] += 1.0
    close(layer(later, memory, mask, pairs=causal)[:, :2], found[:, :2])
