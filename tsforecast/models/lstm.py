"""LSTM over patches of the past, read at its last step: one network for all series, all horizon steps at once."""

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from tsforecast.models.base import About
from tsforecast.models.feeding import HISTORY
from tsforecast.models.window_forecaster import COVARIATES, WindowForecaster
from tsforecast.nn.recurrent import RecurrentCore
from tsforecast.nn.window_network import NetworkShape


@dataclass(frozen=True, kw_only=True)
class LSTM(WindowForecaster):
    """LSTM with the shared window scale, seasonal skip and quantile head."""

    name: ClassVar[str] = "lstm"
    about: ClassVar[About] = About(
        family="recurrent",
        scope="global",
        source="Hochreiter & Schmidhuber 1997; patches: SegRNN, Lin et al. 2023",
        minimal_history=HISTORY,
        covariates=COVARIATES,
        transfers=True,
    )

    def build_core(self, width: int, shape: NetworkShape) -> nn.Module:
        return RecurrentCore("lstm", width, self.hidden, layers=self.layers, dropout=self.dropout)
