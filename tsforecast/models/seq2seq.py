"""Recurrent encoder and decoder with additive attention: each patch of the horizon looks back at the encoded past."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from tsforecast.errors import OptionError
from tsforecast.models.base import About
from tsforecast.models.feeding import HISTORY
from tsforecast.models.window_forecaster import COVARIATES, WindowForecaster
from tsforecast.nn.attention import AdditiveAttention
from tsforecast.nn.recurrent import RecurrentEncoder
from tsforecast.nn.window_network import NetworkShape, WindowNetwork


@dataclass(frozen=True, kw_only=True)
class Seq2Seq(WindowForecaster):
    """GRU encoder, GRU decoder and Bahdanau attention, with the shared window scale, seasonal skip and head.

    The decoder is driven by the place and the covariates of each patch ahead, not by its own forecasts, so nothing
    it said wrongly is fed back.
    """

    name: ClassVar[str] = "seq2seq"
    about: ClassVar[About] = About(
        family="recurrent",
        scope="global",
        source="Sutskever et al. 2014; attention: Bahdanau et al. 2015",
        minimal_history=HISTORY,
        covariates=COVARIATES,
        transfers=True,
    )

    bidirectional: bool = True  # encoder that reads the past from both ends
    layers: int = 1  # of the encoder

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.bidirectional, bool):
            raise OptionError(f"bidirectional must be true or false, got {self.bidirectional!r}", field="bidirectional")

    def build_core(self, width: int, shape: NetworkShape) -> nn.Module:
        return Seq2SeqCore(width, layers=self.layers, dropout=self.dropout, bidirectional=self.bidirectional)

    def make_network(self, shape: NetworkShape) -> WindowNetwork:
        return WindowNetwork(lambda width: self.build_core(width, shape), shape=shape, decodes=True)


class Seq2SeqCore(nn.Module):
    """(B, K, D) patches, (B, K', D) queries -> (B, K', D)."""

    def __init__(self, width: int, *, layers: int, dropout: float, bidirectional: bool) -> None:
        super().__init__()
        self.encoder = RecurrentEncoder("gru", width, width, layers=layers, dropout=dropout, bidirectional=bidirectional)
        wide = 2 * width if bidirectional else width
        self.start = nn.Linear(wide, width)
        self.attention = AdditiveAttention(width, wide, width)
        self.cell = nn.GRUCell(width + wide, width)
        self.out = nn.Linear(width + wide, width)

    def forward(self, z: Tensor, queries: Tensor) -> Tensor:
        states, last = self.encoder(z)  # (B, K, D'), (B, D')
        hidden = torch.tanh(self.start(last))  # (B, D)
        found = []
        for k in range(queries.shape[1]):
            context, _ = self.attention(hidden, states, None)
            hidden = self.cell(torch.cat([queries[:, k], context], dim=-1), hidden)
            found.append(self.out(torch.cat([hidden, context], dim=-1)))
        return torch.stack(found, dim=1)
