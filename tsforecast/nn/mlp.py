"""(B, …, D_in) -> (B, …, D_out): perceptrons, and activations by name."""

from collections.abc import Callable
from itertools import pairwise

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
}


def activation(name: str) -> nn.Module:
    """The activation called `name`.

    Raises:
        OptionError: there is none of that name.
    """
    if name not in ACTIVATIONS:
        raise OptionError(f"no activation {name!r}; there are {', '.join(ACTIVATIONS)}", field="activation")
    return ACTIVATIONS[name]()


class MLP(nn.Module):
    """Multi-layer perceptron; no activation after the last layer. `hidden=()` is a single perceptron."""

    def __init__(
        self, inputs: int, outputs: int, *, hidden: tuple[int, ...] = (), activate: str = "gelu", dropout: float = 0.0
    ) -> None:
        super().__init__()
        widths = (inputs, *hidden)
        layers: list[nn.Module] = []
        for before, after in pairwise(widths):
            layers += [nn.Linear(before, after), activation(activate), nn.Dropout(dropout)]
        self.layers = nn.Sequential(*layers, nn.Linear(widths[-1], outputs))

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
