"""Convolutional network over patches of the past: a stack by name, then pooling over time."""

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from tsforecast.errors import OptionError
from tsforecast.models.base import About
from tsforecast.models.feeding import HISTORY
from tsforecast.models.window_forecaster import COVARIATES, WindowForecaster
from tsforecast.nn.conv import POOLS, STACKS, ConvStack, pool
from tsforecast.nn.window_network import NetworkShape


@dataclass(frozen=True, kw_only=True)
class CNN(WindowForecaster):
    """Convolutions over time with the shared window scale, seasonal skip and head."""

    name: ClassVar[str] = "cnn"
    about: ClassVar[About] = About(
        family="convolutional",
        scope="global",
        source="LeCun et al. 1998; ResNet: He et al. 2016; Inception: Ismail Fawaz et al. 2020; depthwise: Liu et al. 2022",
        minimal_history=HISTORY,
        covariates=COVARIATES,
        transfers=True,
    )

    stack: str = "resnet"  # "plain" | "vgg" | "inception" | "resnet" | "depthwise"
    kernel: int = 3  # patches a convolution reads
    pooling: str = "average"  # over time: "average" | "max" | "last"

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, choices in {"stack": tuple(STACKS), "pooling": tuple(POOLS)}.items():
            if getattr(self, name) not in choices:
                raise OptionError(f"{name} must be one of {', '.join(choices)}, got {getattr(self, name)!r}", field=name)
        if not isinstance(self.kernel, int) or isinstance(self.kernel, bool) or self.kernel < 1 or self.kernel % 2 == 0:
            raise OptionError(f"kernel must be an odd whole number, got {self.kernel!r}", field="kernel")

    def build_core(self, width: int, shape: NetworkShape) -> nn.Module:
        stack = ConvStack(self.stack, width, layers=self.layers, kernel=self.kernel, dropout=self.dropout)
        return nn.Sequential(stack, pool(self.pooling))
