"""Temporal convolutional network: dilated causal residual convolutions that see the whole context, read at the last step."""

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from tsforecast.errors import OptionError
from tsforecast.models.base import About
from tsforecast.models.feeding import HISTORY
from tsforecast.models.window_forecaster import COVARIATES, WindowForecaster
from tsforecast.nn.conv import TemporalConvNet, pool
from tsforecast.nn.window_network import NetworkShape


@dataclass(frozen=True, kw_only=True)
class TCN(WindowForecaster):
    """Dilated causal convolutions with the shared window scale, seasonal skip and head.

    The dilation doubles from block to block, and there are as many blocks as it takes for the last step to see the
    whole context, whatever its length.
    """

    name: ClassVar[str] = "tcn"
    about: ClassVar[About] = About(
        family="convolutional",
        scope="global",
        source="Bai, Kolter & Koltun 2018; WaveNet: van den Oord et al. 2016",
        minimal_history=HISTORY,
        covariates=COVARIATES,
        transfers=True,
    )

    layers: int = 1  # times the pyramid of dilations is gone through
    kernel: int = 3  # patches a convolution reads

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.kernel, int) or isinstance(self.kernel, bool) or self.kernel < 2:
            raise OptionError(f"kernel must be a whole number of at least 2, got {self.kernel!r}", field="kernel")

    def build_core(self, width: int, shape: NetworkShape) -> nn.Module:
        pyramids = [
            TemporalConvNet(width, steps=shape.patches, kernel=self.kernel, dropout=self.dropout) for _ in range(self.layers)
        ]
        for pyramid in pyramids:
            assert pyramid.receptive_field * shape.patch >= shape.context
        return nn.Sequential(*pyramids, pool("last"))
