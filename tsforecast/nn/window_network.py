"""A batch of windows -> scaled quantiles of their next steps, and the loss of them: the frame all networks share.

Scale -> patches -> core -> head, around a skip that chooses among the last seasons. Models differ in the core.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tsforecast.nn.heads import QuantileHead
from tsforecast.nn.losses import pinball_loss
from tsforecast.nn.mlp import ResidualMLP
from tsforecast.nn.patch import PatchEmbedding
from tsforecast.nn.scale import Scaling, Space, WindowScale
from tsforecast.nn.skip import SeasonalAttention

LEVELS = (0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.975, 0.99)
FAR = 100.0  # scales: targets beyond count as that far, or a jump after a constant window would be all of the loss


@dataclass(slots=True)
class WindowBatch:
    """Windows on the device, still in units of the target, in double precision: 1e9 + noise keeps its noise."""

    past: Tensor  # (B, T) float64, 0 where missing
    seen: Tensor  # (B, T) bool
    future: Tensor  # (B, H) 0 where missing
    known: Tensor  # (B, H) bool
    signed: Tensor  # (B, 1) bool, the series was negative somewhere before the origin

    def __len__(self) -> int:
        return len(self.past)


@dataclass(frozen=True, kw_only=True, slots=True)
class NetworkShape:
    """What fixes the tensors of a network."""

    context: int  # steps
    horizon: int  # steps
    season: int  # steps of the skip; 1 = the last value
    patch: int  # steps
    hidden: int
    dropout: float
    scaling: Scaling
    space: Space


class WindowNetwork(nn.Module):
    """Scale -> patches -> core -> head, around a skip that chooses among the last seasons."""

    def __init__(self, core: Callable[[int], nn.Module], *, shape: "NetworkShape") -> None:
        super().__init__()
        self.shape = shape
        self.embed = PatchEmbedding(2, shape.hidden, patch=shape.patch, dropout=0.0)
        self.core = core(shape.hidden)
        self.mix = ResidualMLP(shape.hidden, dropout=shape.dropout)
        self.head = QuantileHead(shape.hidden, shape.horizon, LEVELS)
        self.skip = SeasonalAttention(shape.hidden, context=shape.context, horizon=shape.horizon, season=shape.season)

    def forward(self, x: Tensor, seen: Tensor) -> Tensor:
        """(B, T) scaled values, 0 where not `seen` -> scaled quantiles (B, H, Q)."""
        inputs = torch.stack([torch.asinh(x), seen.to(x.dtype)], dim=-1)  # (B, T, 2)
        state = self.mix(self.core(self.embed(inputs)))  # (B, D)
        quantiles: Tensor = self.head(state) + self.skip(state, x, seen).unsqueeze(-1)
        return quantiles

    def read(self, batch: WindowBatch) -> tuple[Tensor, WindowScale]:
        """The scaled past of a batch, (B, T), and how it was scaled: in double precision, outside the autocast."""
        scale = WindowScale.of(batch.past, batch.seen, signed=batch.signed, scaling=self.shape.scaling, space=self.shape.space)
        return torch.where(batch.seen, scale.apply(batch.past), 0.0).to(torch.float32), scale


Reader = Callable[[WindowBatch], tuple[Tensor, WindowScale]]


def window_loss(network: nn.Module, batch: WindowBatch, *, read: Reader) -> Tensor:
    """Pinball loss in units of each window's scale; `read` is the network's own."""
    x, scale = read(batch)
    scaled = network(x, batch.seen)
    target = scale.apply(batch.future).clamp(-FAR, FAR).to(scaled.dtype)
    levels = torch.tensor(LEVELS, device=scaled.device)
    return pinball_loss(scaled, target, batch.known & batch.seen.any(1, keepdim=True), levels)
