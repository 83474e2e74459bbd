"""Multi-layer perceptron over all patches of the past at once, with residual layers."""

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from tsforecast.models.base import About
from tsforecast.models.feeding import HISTORY
from tsforecast.models.window_forecaster import COVARIATES, WindowForecaster
from tsforecast.nn.mlp import ResidualMLP, activation
from tsforecast.nn.window_network import NetworkShape


@dataclass(frozen=True, kw_only=True)
class MLPModel(WindowForecaster):
    """Flattened patches -> linear -> residual perceptrons, with the shared window scale, seasonal skip and head."""

    name: ClassVar[str] = "mlp"
    about: ClassVar[About] = About(
        family="perceptron",
        scope="global",
        source="Rosenblatt 1958; residual blocks: Das et al. 2023, TiDE",
        minimal_history=HISTORY,
        covariates=COVARIATES,
        transfers=True,
    )

    activation: str = "gelu"  # "relu" | "leaky_relu" | "elu" | "gelu" | "silu" | "tanh" | "sigmoid"

    def __post_init__(self) -> None:
        super().__post_init__()
        activation(self.activation)  # refused here if there is none of that name

    def build_core(self, width: int, shape: NetworkShape) -> nn.Module:
        blocks = [ResidualMLP(width, activate=self.activation, dropout=self.dropout) for _ in range(self.layers)]
        return nn.Sequential(nn.Flatten(1), nn.Linear(shape.patches * width, width), *blocks)
