"""Transformer over patches of the past: an encoder read at its newest patch, or an encoder and a decoder."""

from dataclasses import dataclass
from typing import ClassVar, Literal, Self

from torch import Tensor, nn

from tsforecast.errors import OptionError
from tsforecast.models.base import About
from tsforecast.models.feeding import HISTORY
from tsforecast.models.window_forecaster import COVARIATES, WindowForecaster
from tsforecast.nn.attention import DecoderLayer, EncoderLayer, sinusoidal_positions
from tsforecast.nn.window_network import NetworkShape, WindowNetwork


@dataclass(frozen=True, kw_only=True)
class Transformer(WindowForecaster):
    """Self-attention over patches with the shared window scale, seasonal skip and head.

    In the form "encoder" the newest patch, which has looked at all others, speaks for all steps ahead. In the form
    "encoder_decoder" each patch of the horizon asks the encoded past with a query of its own.
    """

    name: ClassVar[str] = "transformer"
    about: ClassVar[About] = About(
        family="attention",
        scope="global",
        source="Vaswani et al. 2017; patches: PatchTST, Nie et al. 2023",
        minimal_history=HISTORY,
        covariates=COVARIATES,
        transfers=True,
    )

    form: Literal["encoder", "encoder_decoder"] = "encoder"  # one state for all steps | one for each patch ahead
    heads: int = 8  # of the attention; they share the hidden width

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.form not in ("encoder", "encoder_decoder"):
            raise OptionError(f"form must be encoder or encoder_decoder, got {self.form!r}", field="form")
        if not isinstance(self.heads, int) or self.heads < 1 or self.hidden % self.heads:
            raise OptionError(f"heads must divide hidden ({self.hidden}), got {self.heads!r}", field="heads")

    @classmethod
    def tiny(cls) -> Self:
        return cls(context=16, patch=4, hidden=8, layers=1, dropout=0.0, heads=2)

    def build_core(self, width: int, shape: NetworkShape) -> nn.Module:
        return TransformerCore(width, layers=self.layers, heads=self.heads, dropout=self.dropout, decodes=self.decodes)

    @property
    def decodes(self) -> bool:
        return self.form == "encoder_decoder"

    def make_network(self, shape: NetworkShape) -> WindowNetwork:
        return WindowNetwork(lambda width: self.build_core(width, shape), shape=shape, decodes=self.decodes)


class TransformerCore(nn.Module):
    """(B, K, D) patches, and (B, K', D) queries where it decodes -> (B, D), or (B, K', D)."""

    def __init__(self, width: int, *, layers: int, heads: int, dropout: float, decodes: bool) -> None:
        super().__init__()
        self.encoder = nn.ModuleList(EncoderLayer(width, heads, dropout) for _ in range(layers))
        self.decoder = nn.ModuleList(DecoderLayer(width, heads, dropout) for _ in range(layers if decodes else 0))
        self.norm = nn.LayerNorm(width)

    def forward(self, z: Tensor, queries: Tensor | None = None) -> Tensor:
        z = z + sinusoidal_positions(z.shape[1], z.shape[2]).to(z)
        for layer in self.encoder[:-1]:
            z = layer(z)
        z = self.encoder[-1](z, newest=1 if queries is None else None)  # only the newest patch is read
        if queries is None:
            state: Tensor = self.norm(z.squeeze(1))
            return state
        for layer in self.decoder:
            queries = layer(queries, z)
        states: Tensor = self.norm(queries)
        return states
