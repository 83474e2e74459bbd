"""Linear map from the scaled window to each step ahead: a single perceptron for each."""

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from tsforecast.models.base import About
from tsforecast.models.feeding import HISTORY
from tsforecast.models.window_forecaster import COVARIATES, WindowForecaster
from tsforecast.nn.window_network import LinearNetwork, NetworkShape, Skip, WindowNetwork


@dataclass(frozen=True, kw_only=True)
class Linear(WindowForecaster):
    """Linear map from the scaled window to each step ahead; no hidden layer, so `hidden`, `layers` and `patch` do nothing."""

    name: ClassVar[str] = "linear"
    about: ClassVar[About] = About(
        family="perceptron",
        scope="global",
        source="Zeng et al. 2023, LTSF-Linear",
        minimal_history=HISTORY,
        covariates=COVARIATES,
        transfers=True,
    )

    skip: Skip = "none"  # what a forecast is a correction of: "season" (the last seasons) | "last" (value) | "none"

    def build_core(self, width: int, shape: NetworkShape) -> nn.Module:
        return nn.Identity()

    def make_network(self, shape: NetworkShape) -> WindowNetwork:
        return LinearNetwork(lambda width: self.build_core(width, shape), shape=shape)
