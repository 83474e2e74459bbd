"""Convolutions, stacks and pools, each alone."""

import pytest
import torch
from torch import nn

from tsforecast.errors import OptionError
from tsforecast.nn.conv import POOLS, STACKS, CausalConv1d, Conv1d, ConvStack, TemporalConvNet, avg_pool, max_pool, pool


@pytest.fixture(autouse=True)
def fixed_chance():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def randn(*shape):
    return torch.randn(*shape, dtype=torch.float64)


def read_by(network, steps, width, output):
    """Which steps an output depends on, measured by its gradient."""
    x = randn(1, steps, width).requires_grad_()
    network.double().eval()(x)[0, output].pow(2).sum().backward()
    return (x.grad[0].abs().amax(-1) > 0).nonzero().flatten().tolist()


@pytest.mark.parametrize(("steps", "stride", "ends"), [(9, 2, [0, 2, 4, 6, 8]), (10, 3, [0, 3, 6, 9]), (8, 3, [1, 4, 7])])
def test_a_causal_convolution_with_a_stride_keeps_the_newest_step(steps, stride, ends):
    strided = CausalConv1d(2, 3, kernel=3, stride=stride).double()
    plain = CausalConv1d(2, 3, kernel=3).double()
    plain.load_state_dict(strided.state_dict())
    x = randn(2, steps, 2)
    torch.testing.assert_close(strided(x), plain(x)[:, ends])


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")  # only torch's, for its copy
@pytest.mark.parametrize(("kernel", "dilation"), [(3, 1), (4, 1), (3, 3)])
def test_same_padding_equals_that_of_torch(kernel, dilation):
    ours = Conv1d(2, 3, kernel=kernel, dilation=dilation).double()
    theirs = nn.Conv1d(2, 3, kernel, dilation=dilation, padding="same", dtype=torch.float64)
    theirs.load_state_dict(ours.conv.state_dict())
    x = randn(2, 11, 2)
    torch.testing.assert_close(ours(x), theirs(x.transpose(1, 2)).transpose(1, 2), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize(
    ("padding", "stride", "steps"), [("same", 2, 6), ("valid", 1, 9), ("valid", 2, 5), (2, 1, 13), (0, 3, 3)]
)
def test_padding_and_stride_fix_the_number_of_steps(padding, stride, steps):
    conv = Conv1d(2, 3, kernel=3, stride=stride, padding=padding).double()
    x = randn(1, 11, 2)
    assert conv(x).shape == (1, steps, 3)
    if padding != "same":
        width = 0 if padding == "valid" else padding
        theirs = nn.Conv1d(2, 3, 3, stride=stride, padding=width, dtype=torch.float64)
        theirs.load_state_dict(conv.conv.state_dict())
        torch.testing.assert_close(conv(x), theirs(x.transpose(1, 2)).transpose(1, 2), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("padding", ["full", -1])
def test_an_unknown_padding_is_refused(padding):
    with pytest.raises(OptionError, match=f"padding must be same, valid or a number of steps, got {padding!r}"):
        Conv1d(2, 3, kernel=3, padding=padding)


@pytest.mark.parametrize(("steps", "kernel"), [(1, 3), (5, 3), (13, 3), (14, 3), (30, 2), (40, 5)])
def test_the_receptive_field_is_what_the_newest_output_has_read(steps, kernel):
    network = TemporalConvNet(2, steps=steps, kernel=kernel)
    assert network.receptive_field >= steps
    assert len(network.blocks) == 1 or network.receptive_field - network.blocks[-1].reach < steps  # no more than it takes
    longer = network.receptive_field + 3
    assert read_by(network, longer, 2, -1) == list(range(3, longer))


def test_the_dilation_doubles_so_that_a_few_blocks_see_far():
    network = TemporalConvNet(2, steps=250, kernel=3)
    assert [block.first.conv.dilation[0] for block in network.blocks] == [1, 2, 4, 8, 16, 32]
    assert network.receptive_field == 1 + 2 * 2 * (1 + 2 + 4 + 8 + 16 + 32)


def test_a_temporal_network_does_not_look_ahead():
    assert read_by(TemporalConvNet(2, steps=8), 10, 2, 4) == [0, 1, 2, 3, 4]


def test_a_kernel_of_one_step_cannot_see_far():
    with pytest.raises(OptionError, match="kernel must be at least 2 to look back, got 1"):
        TemporalConvNet(2, steps=8, kernel=1)


@pytest.mark.parametrize("kind", sorted(STACKS))
@pytest.mark.parametrize("width", [2, 6])
def test_stacks_keep_the_shape_and_the_order_of_steps_in_training_and_out(kind, width):
    stack = ConvStack(kind, width, layers=2, dropout=0.1)
    assert stack(torch.randn(3, 7, width)).shape == (3, 7, width)
    assert stack(torch.randn(3, 1, width)).shape == (3, 1, width)
    assert {4, 5, 6} <= set(read_by(stack, 11, width, 5))


@pytest.mark.parametrize(("kind", "reach"), [("plain", 1), ("vgg", 2), ("inception", 4), ("resnet", 2), ("depthwise", 3)])
def test_a_block_sees_as_far_as_it_says(kind, reach):
    assert read_by(ConvStack(kind, 8, layers=1, kernel=3), 15, 8, 7) == list(range(7 - reach, 8 + reach))


@pytest.mark.parametrize("kind", ["resnet", "inception", "depthwise"])
def test_residual_stacks_pass_on_what_they_read(kind):
    stack, x = ConvStack(kind, 4, layers=3), torch.randn(2, 6, 4)
    with torch.no_grad():
        for parameter in stack.parameters():
            parameter.zero_()
    torch.testing.assert_close(stack(x), x)


def test_an_unknown_stack_or_pool_lists_the_known_ones():
    with pytest.raises(OptionError, match="no stack 'alexnet'; there are plain, vgg, inception, resnet, depthwise"):
        ConvStack("alexnet", 4, layers=1)
    with pytest.raises(OptionError, match="no pooling 'median'; there are average, max, last"):
        pool("median")


def test_pools_by_hand():
    x = torch.tensor([[[1.0], [5.0], [3.0], [2.0], [4.0]]])
    assert {name: pool(name)(x).item() for name in POOLS} == {"average": 3.0, "max": 5.0, "last": 4.0}
    assert max_pool(x, 2).flatten().tolist() == [5.0, 3.0]
    assert avg_pool(x, 2).flatten().tolist() == [3.0, 2.5]
    assert max_pool(x, 3, stride=1).flatten().tolist() == [5.0, 5.0, 4.0]
    assert avg_pool(x, 3, stride=2).flatten().tolist() == [3.0, 3.0]
