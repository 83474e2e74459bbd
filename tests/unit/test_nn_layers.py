"""Recurrent encoders, options of perceptrons, penalties, and blocks built without memory."""

import pytest
import torch
from torch import nn

from tsforecast.errors import OptionError
from tsforecast.nn.attention import AdditiveAttention, DecoderLayer, EncoderLayer, LearnedPositions
from tsforecast.nn.conv import STACKS, ConvStack, TemporalConvNet
from tsforecast.nn.mlp import MLP, activation, initialise
from tsforecast.nn.recurrent import RecurrentCore, RecurrentEncoder
from tsforecast.nn.regularise import l1_penalty, l2_penalty


@pytest.fixture(autouse=True)
def fixed_chance():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def test_a_vanilla_recurrence_equals_a_loop():
    core, x = RecurrentCore("rnn", 2, 4).double(), torch.randn(3, 5, 2, dtype=torch.float64)
    rnn, state = core.rnn, torch.zeros(3, 4, dtype=torch.float64)
    for t in range(5):
        state = torch.tanh(x[:, t] @ rnn.weight_ih_l0.T + rnn.bias_ih_l0 + state @ rnn.weight_hh_l0.T + rnn.bias_hh_l0)
    torch.testing.assert_close(core(x), state, rtol=1e-6, atol=1e-9)


def test_an_unknown_cell_lists_the_known_ones():
    with pytest.raises(OptionError, match="no recurrent cell 'abacus'; there are lstm, gru, rnn"):
        RecurrentEncoder("abacus", 2, 4)


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_each_gate_of_a_recurrence_starts_orthogonal(cell):
    encoder = RecurrentEncoder(cell, 2, 4, layers=2, bidirectional=True)
    for name, weight in encoder.rnn.named_parameters():
        if name.startswith("weight_hh"):
            for gate in weight.detach().split(4):
                torch.testing.assert_close(gate @ gate.T, torch.eye(4), rtol=0, atol=1e-5)


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
@pytest.mark.parametrize("layers", [1, 2])
def test_an_encoder_gives_all_states_and_the_last_as_torch_does(cell, layers):
    encoder, x = RecurrentEncoder(cell, 2, 4, layers=layers), torch.randn(3, 6, 2)
    states, last = encoder(x)
    assert states.shape == (3, 6, encoder.width) == (3, 6, 4)
    hidden = encoder.rnn(x)[1]
    hidden = hidden[0] if cell == "lstm" else hidden
    torch.testing.assert_close(last, hidden[-1])
    changed = x.clone()
    changed[:, 4:] += 1.0
    torch.testing.assert_close(encoder(changed)[0][:, :4], states[:, :4])  # reads in one direction


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_an_encoder_read_from_both_ends_has_read_everything_at_its_last_state(cell):
    encoder, x = RecurrentEncoder(cell, 2, 4, bidirectional=True), torch.randn(3, 6, 2)
    states, last = encoder(x)
    assert states.shape == (3, 6, encoder.width) == (3, 6, 8)
    hidden = encoder.rnn(x)[1]
    hidden = hidden[0] if cell == "lstm" else hidden
    torch.testing.assert_close(last, torch.cat([hidden[-2], hidden[-1]], dim=-1))


def test_softmax_is_an_activation_over_the_last_dimension():
    torch.testing.assert_close(activation("softmax")(torch.randn(2, 3, 4)).sum(-1), torch.ones(2, 3))


def test_options_of_a_perceptron_leave_the_names_of_its_layers():
    assert list(MLP(3, 2, hidden=(4,), init="xavier").state_dict()) == [
        "layers.0.weight", "layers.0.bias", "layers.3.weight", "layers.3.bias",
    ]  # fmt: skip


@pytest.mark.parametrize(("norm", "dim"), [("layer", (2,)), ("batch", (0, 1))])
def test_norms_of_a_perceptron(norm, dim):
    mlp = MLP(3, 2, hidden=(4,), norm=norm)
    assert mlp(torch.randn(5, 6, 3)).shape == (5, 6, 2)
    inner = mlp.layers[:2](torch.randn(5, 6, 3) * 100)
    mean = inner.mean(dim)
    torch.testing.assert_close(mean, torch.zeros_like(mean), rtol=0, atol=1e-5)
    spread = inner.std(dim, unbiased=False)
    torch.testing.assert_close(spread, torch.ones_like(spread), rtol=0, atol=1e-2)


def test_unknown_norms_and_initialisations_list_the_known_ones():
    with pytest.raises(OptionError, match="no norm 'group'; there are none, layer, batch"):
        MLP(3, 2, hidden=(4,), norm="group")
    with pytest.raises(OptionError, match="no initialisation 'magic'; there are default, xavier, kaiming"):
        MLP(3, 2, init="magic")


@pytest.mark.parametrize(("name", "variance"), [("xavier", 2 / (60 + 90)), ("kaiming", 2 / 60)])
def test_initialisations_have_their_variance_and_no_bias(name, variance):
    mlp = MLP(60, 90, init=name)
    assert mlp.layers[0].weight.var().item() == pytest.approx(variance, rel=0.1)
    assert (mlp.layers[0].bias == 0).all()
    conv = nn.Conv1d(20, 30, 3)
    initialise(conv, name)
    assert conv.weight.var().item() == pytest.approx(variance, rel=0.1)


def test_the_default_initialisation_draws_nothing():
    layer = nn.Linear(3, 2)
    before = layer.weight.clone()
    initialise(layer, "default")
    torch.testing.assert_close(layer.weight, before, rtol=0, atol=0)


def test_penalties_by_hand():
    layer = nn.Sequential(nn.Linear(2, 1), nn.LayerNorm(1))
    with torch.no_grad():
        layer[0].weight[:] = torch.tensor([[3.0, -4.0]])
        layer[0].bias.fill_(100.0)
    assert l1_penalty(layer, 0.1).item() == pytest.approx(0.7)
    l2 = l2_penalty(layer, 0.1)
    assert l2.item() == pytest.approx(2.5)
    l2.backward()
    torch.testing.assert_close(layer[0].weight.grad, torch.tensor([[0.6, -0.8]]))
    assert layer[0].bias.grad is None
    assert l1_penalty(nn.Identity(), 0.1).item() == 0.0


MEMORY, QUERY = (2, 5, 4), (2, 3, 4)
BLOCKS = {
    "mlp": (lambda: MLP(4, 3, hidden=(5,), norm="batch", init="kaiming"), [MEMORY]),
    "lstm": (lambda: RecurrentEncoder("lstm", 4, 3, layers=2, bidirectional=True), [MEMORY]),
    "rnn": (lambda: RecurrentCore("rnn", 4, 3), [MEMORY]),
    "additive": (lambda: AdditiveAttention(4, 4, 3), [(2, 4), MEMORY]),
    "encoder": (lambda: EncoderLayer(4, 2), [MEMORY]),
    "decoder": (lambda: DecoderLayer(4, 2), [QUERY, MEMORY]),
    "positions": (lambda: LearnedPositions(6, 4), [MEMORY]),
    "tcn": (lambda: TemporalConvNet(4, steps=9), [MEMORY]),
    **{kind: (lambda kind=kind: ConvStack(kind, 4, layers=1), [MEMORY]) for kind in STACKS},
}


@pytest.mark.parametrize("name", BLOCKS)
def test_a_block_built_without_memory_is_filled_by_what_was_stored(name):
    make, shapes = BLOCKS[name]
    stored = make().eval()
    with torch.device("meta"):
        empty = make().eval()
    filled = empty.to_empty(device="cpu")
    filled.load_state_dict(stored.state_dict())
    given = [torch.randn(shape) for shape in shapes]
    torch.testing.assert_close(filled(*given), stored(*given), rtol=0, atol=0)
