"""A batch of windows -> the distribution of their next steps, and the loss of it: the frame all direct networks share.

Scale -> patches -> core -> head, around a skip that chooses among the last seasons. Models differ in the core.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tsforecast.nn.effects import LinearEffect, effect_factor
from tsforecast.nn.heads import LEVELS, Head, build_head
from tsforecast.nn.mlp import ResidualMLP
from tsforecast.nn.patch import PatchEmbedding
from tsforecast.nn.scale import Scaling, Space, WindowScale
from tsforecast.nn.skip import SeasonalAttention

FAR = 100.0  # scales: targets beyond count as that far, or a jump after a constant window would be all of the loss
SMALLEST_SIZE = 1e-6  # in units of the target: mean size of a window of zeros
WIDEST_EMBEDDING = 32  # numbers for one category
FORGET = 0.05  # share of training windows whose categories are hidden, so that an unseen one is answered well
Skip = Literal["season", "last", "none"]
__all__ = ["LEVELS", "NetworkShape", "Reading", "WindowBatch", "WindowNetwork"]


@dataclass(slots=True)
class WindowBatch:
    """Windows on the device, still in units of the target, in double precision: 1e9 + noise keeps its noise."""

    past: Tensor  # (B, T) float64, 0 where missing
    seen: Tensor  # (B, T) bool
    future: Tensor  # (B, H) 0 where missing
    known: Tensor  # (B, H) bool
    signed: Tensor  # (B, 1) bool, the series was negative somewhere before the origin
    covariates: Tensor | None = None  # (B, T + H, C) float32 scaled, known in the future too; 0 where missing
    past_covariates: Tensor | None = None  # (B, T, P) float32 scaled
    static: Tensor | None = None  # (B, R) float32 scaled
    category: Tensor | None = None  # (B, K) int64, 0 = unseen

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
    head: str = "quantile"  # see nn/heads.py
    skip: Skip = "season"  # what a forecast corrects: the last seasons, the last value, nothing
    channels: int = 0  # covariates known in the future, with those of the calendar
    effects: int = 0  # how many of them have a linear effect: the first ones
    past_channels: int = 0
    static_reals: int = 0
    categories: tuple[int, ...] = ()  # words of each static category
    lags: tuple[int, ...] = ()  # steps back that an autoregressive network looks at

    @property
    def patches(self) -> int:
        """Patches of the context."""
        return -(-self.context // self.patch)

    @property
    def has_static(self) -> bool:
        return bool(self.static_reals or self.categories)


@dataclass(frozen=True, slots=True)
class Reading:
    """A batch as a network sees it."""

    x: Tensor  # (B, T) float32 scaled values without the linear effect of covariates, 0 where not seen
    scale: WindowScale
    factor: Tensor | None  # (B, 1) of the linear effect; None without one


class WindowNetwork(nn.Module):
    """Scale -> patches -> core -> head, around a skip that chooses among the last seasons.

    `core` is called with (B, K, D) embedded patches, and where `decodes` with (B, K', D) queries, one for each patch
    of the horizon; it gives back one state (B, D), or one for each patch of the horizon, (B, K', D).
    """

    def __init__(self, core: Callable[[int], nn.Module], *, shape: "NetworkShape", decodes: bool = False) -> None:
        super().__init__()
        self.shape, self.decodes = shape, decodes
        width = self.build_encoder(core)
        self.head: Head = build_head(shape.head, width, shape.patch if decodes else shape.horizon)
        if shape.skip == "season":
            self.skip = SeasonalAttention(width, context=shape.context, horizon=shape.horizon, season=shape.season)
        if shape.effects:
            self.effect = LinearEffect(shape.effects)
        if shape.channels:
            self.ahead = HorizonMix(shape.channels, width, self.head.outputs)
        if shape.has_static:
            self.static = StaticEmbedding(shape.static_reals, shape.categories, width)
        if decodes:
            self.queries = HorizonQueries(shape.channels, width, horizon=shape.horizon, patch=shape.patch)

    def build_encoder(self, core: Callable[[int], nn.Module]) -> int:
        """Make what `encode` needs; gives back the width of its states."""
        shape = self.shape
        inputs = 2 + shape.channels + shape.past_channels
        self.embed = PatchEmbedding(inputs, shape.hidden, patch=shape.patch, dropout=0.0)
        self.core = core(shape.hidden)
        self.mix = ResidualMLP(shape.hidden, dropout=shape.dropout)
        return shape.hidden

    def encode(self, x: Tensor, batch: WindowBatch) -> Tensor:
        """(B, T) scaled values -> states (B, D), or (B, K', D) where it decodes."""
        t = self.shape.context
        inputs = [torch.asinh(x).unsqueeze(-1), batch.seen.to(x.dtype).unsqueeze(-1)]
        if batch.covariates is not None:
            inputs.append(batch.covariates[:, :t])
        if batch.past_covariates is not None:
            inputs.append(batch.past_covariates)
        z = self.embed(torch.cat(inputs, dim=-1))  # (B, K, D)
        if self.shape.has_static:
            z = z + self.static(batch.static, batch.category).unsqueeze(1)
        if not self.decodes:
            states: Tensor = self.mix(self.core(z))
            return states
        after = None if batch.covariates is None else batch.covariates[:, t:]
        decoded: Tensor = self.mix(self.core(z, self.queries(after, len(z))))
        return decoded

    def forward(self, x: Tensor, batch: WindowBatch, factor: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(B, T) scaled values, 0 where not seen -> raw numbers of the head (B, H, P), and what they correct (B, H)."""
        after = None if batch.covariates is None else batch.covariates[:, self.shape.context :]
        states = self.encode(x, batch)
        raw = self.head(states.flatten(0, 1)) if self.decodes else self.head(states)
        raw = raw.reshape(len(x), -1, raw.shape[-1])[:, : self.shape.horizon]  # (B, H, P)
        state = states.mean(1) if self.decodes else states  # (B, D)
        if after is not None:
            raw = raw + self.ahead(after, state)
        base = self._base(state, x, batch.seen)
        if after is not None and factor is not None:
            base = base + self.effect(after, factor)
        return raw, base

    def _base(self, state: Tensor, x: Tensor, seen: Tensor) -> Tensor:
        if self.shape.skip == "season":
            base: Tensor = self.skip(state, x, seen)
            return base
        if self.shape.skip == "last":
            return last_value(x, seen).expand(-1, self.shape.horizon)
        return x.new_zeros(len(x), self.shape.horizon)

    def read(self, batch: WindowBatch) -> Reading:
        """How a batch is scaled: in double precision, outside the autocast."""
        scale = WindowScale.of(batch.past, batch.seen, signed=batch.signed, scaling=self.shape.scaling, space=self.shape.space)
        x = torch.where(batch.seen, scale.apply(batch.past), 0.0).to(torch.float32)
        if not self.shape.effects or batch.covariates is None:
            return Reading(x, scale, None)
        factor = effect_factor(scale)
        x = torch.where(batch.seen, x - self.effect(batch.covariates[:, : self.shape.context], factor), 0.0)
        return Reading(x, scale, factor)

    def begin(self, batch: WindowBatch) -> None:
        """Set the linear effects of covariates to their estimate from windows of the fit."""
        if self.shape.effects:
            reading = self.read(batch)  # the effects are still zero
            self.effect.begin(reading.x, batch.seen, batch.covariates, effect_factor(reading.scale), season=self.shape.season)

    def loss(self, model: nn.Module, batch: WindowBatch) -> Tensor:
        """Loss of the head over the observed steps; `model` is this network, maybe wrapped by the trainer."""
        reading = self.read(batch)
        raw, base = model(reading.x, batch, reading.factor)
        target = batch.future if self.head.in_units else reading.scale.apply(batch.future).clamp(-FAR, FAR)
        mask = batch.known & batch.seen.any(1, keepdim=True)
        loss: Tensor = self.head.loss(raw.float(), base.float(), target.float(), mask, window_size(batch).float())
        return loss

    def answer(self, batch: WindowBatch) -> tuple[Tensor, WindowScale | None]:
        """(B, H, Q) float64 at `LEVELS`, scaled, and the scale; or in units of the target, and None."""
        reading = self.read(batch)
        raw, base = self(reading.x, batch, reading.factor)
        quantiles = self.head.quantiles(raw, base, window_size(batch).float(), LEVELS).double()
        return quantiles, None if self.head.in_units else reading.scale


class LinearNetwork(WindowNetwork):
    """A single perceptron from the window to each step ahead: no hidden layer. Its state is the window itself, (B, T)."""

    def build_encoder(self, core: Callable[[int], nn.Module]) -> int:
        self.core = core(self.shape.context)
        return self.shape.context

    def encode(self, x: Tensor, batch: WindowBatch) -> Tensor:
        if self.shape.skip == "last":  # then the window is seen from its last value too, as in NLinear
            x = torch.where(batch.seen, x - last_value(x, batch.seen), 0.0)
        state: Tensor = self.core(x)
        return state + self.static(batch.static, batch.category) if self.shape.has_static else state


class HorizonMix(nn.Module):
    """What the covariates of each step ahead change, given the state of the window; nothing at first."""

    def __init__(self, channels: int, width: int, outputs: int) -> None:
        super().__init__()
        self.of_step, self.of_state = nn.Linear(channels, width), nn.Linear(width, width)
        self.out = nn.Linear(width, outputs)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, after: Tensor, state: Tensor) -> Tensor:
        """(B, H, C), (B, D) -> (B, H, P)."""
        mixed: Tensor = self.out(F.gelu(self.of_step(after) + self.of_state(state).unsqueeze(1)))
        return mixed


class StaticEmbedding(nn.Module):
    """Static features and categories of a series -> (B, D). A category that was not there in the fit adds nothing."""

    def __init__(self, reals: int, categories: tuple[int, ...], width: int) -> None:
        super().__init__()
        self.of_reals = nn.Linear(reals, width, bias=False) if reals else None
        widths = [min(WIDEST_EMBEDDING, (words + 1) // 2 + 1) for words in categories]
        self.tables = nn.ModuleList(
            nn.Embedding(words + 1, wide, padding_idx=0) for words, wide in zip(categories, widths, strict=True)
        )
        self.of_tables = nn.ModuleList(nn.Linear(wide, width, bias=False) for wide in widths)

    def forward(self, static: Tensor | None, category: Tensor | None) -> Tensor:
        parts = []
        if self.of_reals is not None and static is not None:
            parts.append(self.of_reals(static))
        if category is not None:
            if self.training:
                category = category * (torch.rand(len(category), 1, device=category.device) >= FORGET)
            parts += [mix(table(category[:, k])) for k, (table, mix) in enumerate(zip(self.tables, self.of_tables, strict=True))]
        total: Tensor = torch.stack(parts).sum(0)
        return total


class HorizonQueries(nn.Module):
    """One query for each patch of the horizon: its place, and the covariates known of it. -> (B, K', D)."""

    def __init__(self, channels: int, width: int, *, horizon: int, patch: int) -> None:
        super().__init__()
        self.patch, self.count = patch, -(-horizon // patch)
        self.places = nn.Parameter(torch.randn(self.count, width) * 0.02)
        self.embed = nn.Linear(channels * patch, width) if channels else None

    def forward(self, after: Tensor | None, windows: int) -> Tensor:
        queries = self.places.unsqueeze(0).expand(windows, -1, -1)
        if self.embed is None or after is None:
            return queries
        padded = F.pad(after, (0, 0, 0, self.count * self.patch - after.shape[1]))
        placed: Tensor = queries + self.embed(padded.reshape(windows, self.count, -1))
        return placed


def last_value(x: Tensor, seen: Tensor) -> Tensor:
    """(B, T), (B, T) bool -> (B, 1): the newest observed value; 0 where none is."""
    place = torch.where(seen, torch.arange(1, x.shape[1] + 1, device=x.device), 0).amax(1, keepdim=True)
    return torch.where(place > 0, x.gather(1, (place - 1).clamp(min=0)), 0.0)


def window_size(batch: WindowBatch) -> Tensor:
    """(B, 1) mean |y| of each window, in units of the target; positive."""
    count = batch.seen.sum(1, keepdim=True).clamp(min=1)
    return (torch.where(batch.seen, batch.past, 0.0).abs().sum(1, keepdim=True) / count).clamp(min=SMALLEST_SIZE)
