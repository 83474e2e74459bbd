"""(B, …, D_in) -> (B, …, D_out): perceptrons, and activations, norms and initialisations by name."""

from collections.abc import Callable
from itertools import pairwise
from typing import Literal, get_args

from torch import Tensor, nn

from tsforecast.errors import OptionError

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "softmax": lambda: nn.Softmax(dim=-1),
}
Norm = Literal["none", "layer", "batch"]
Init = Literal["default", "xavier", "kaiming"]


def activation(name: str) -> nn.Module:
    """The activation called `name`.

    Raises:
        OptionError: there is none of that name.
    """
    if name not in ACTIVATIONS:
        raise OptionError(f"no activation {name!r}; there are {', '.join(ACTIVATIONS)}", field="activation")
    return ACTIVATIONS[name]()


class BatchNorm(nn.Module):
    """Batch normalisation over all dimensions but the last."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(width)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.norm(x.reshape(-1, x.shape[-1])).view_as(x)
        return y


def normalisation(name: str, width: int) -> list[nn.Module]:
    """The norm called `name` over the last dimension; nothing for "none".

    Raises:
        OptionError: there is none of that name.
    """
    made: dict[str, Callable[[int], nn.Module]] = {"layer": nn.LayerNorm, "batch": BatchNorm}
    if name not in get_args(Norm):
        raise OptionError(f"no norm {name!r}; there are {', '.join(get_args(Norm))}", field="norm")
    return [made[name](width)] if name in made else []


def initialise(module: nn.Module, name: str) -> None:
    """Draw the weights of all linear and convolutional layers in `module` anew, with biases of 0; "default" leaves them.

    "xavier" (Glorot & Bengio 2010) keeps the variance through tanh and sigmoid, "kaiming" (He et al. 2015) through ReLU
    and its kin.

    Raises:
        OptionError: there is no initialisation of that name.
    """
    if name not in get_args(Init):
        raise OptionError(f"no initialisation {name!r}; there are {', '.join(get_args(Init))}", field="init")
    if name == "default":
        return
    for layer in module.modules():
        if isinstance(layer, nn.Linear | nn.Conv1d):
            if name == "xavier":
                nn.init.xavier_uniform_(layer.weight)
            else:
                nn.init.kaiming_uniform_(layer.weight, nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


class MLP(nn.Module):
    """Multi-layer perceptron; no activation after the last layer. `hidden=()` is a single perceptron."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        hidden: tuple[int, ...] = (),
        activate: str = "gelu",
        dropout: float = 0.0,
        norm: Norm = "none",
        init: Init = "default",
    ) -> None:
        super().__init__()
        widths = (inputs, *hidden)
        layers: list[nn.Module] = []
        for before, after in pairwise(widths):
            layers += [nn.Linear(before, after), *normalisation(norm, after), activation(activate), nn.Dropout(dropout)]
        self.layers = nn.Sequential(*layers, nn.Linear(widths[-1], outputs))
        initialise(self.layers, init)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layers(x)
        return y


class ResidualMLP(nn.Module):
    """x + MLP(LayerNorm(x)): keeps the width, so blocks can be stacked."""

    def __init__(self, width: int, *, expand: int = 2, activate: str = "gelu", dropout: float = 0.0) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.inner = MLP(width, width, hidden=(expand * width,), activate=activate, dropout=dropout)
        self.drop = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = x + self.drop(self.inner(self.norm(x)))
        return y
