"""A batch of training windows -> the same batch with some windows changed, as the recipes of `nn/augmentations.py` say.

On the device of the batch, in double precision, for all windows at once. All chance comes from the generator.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from tsforecast.nn.augmentations import (
    Augmentation,
    FrequencyNoise,
    Jitter,
    MagnitudeWarp,
    Masking,
    Mixup,
    Scaling,
    SeasonalBootstrap,
    TimeWarp,
    WindowSlice,
)
from tsforecast.nn.scale import Space, WindowScale
from tsforecast.nn.window_network import FAR, WindowBatch

FEWEST = 2  # observed steps of the context: a window that would be left with fewer stays as it was
SHORTEST_TREND = 7  # steps of the moving average where there is no season


@dataclass(frozen=True, slots=True)
class Curves:
    """The windows that are changed: context and steps ahead end to end, L = T + H."""

    values: Tensor  # (B, L) float64, 0 where missing
    there: Tensor  # (B, L) bool
    covariates: Tensor | None  # (B, L, C)
    past_covariates: Tensor | None  # (B, T, P)
    signed: Tensor  # (B, 1) bool, see WindowBatch
    context: int  # T

    @classmethod
    def of(cls, batch: WindowBatch, rows: Tensor) -> "Curves":
        """The windows `rows` of a batch."""
        return cls(
            values=torch.cat([batch.past[rows], batch.future[rows]], dim=1).double(),
            there=torch.cat([batch.seen[rows], batch.known[rows]], dim=1),
            covariates=None if batch.covariates is None else batch.covariates[rows],
            past_covariates=None if batch.past_covariates is None else batch.past_covariates[rows],
            signed=batch.signed[rows],
            context=batch.past.shape[1],
        )

    def scale(self, space: Space = "auto") -> WindowScale:
        """Of the context, as a network sees it."""
        past, seen = self.values[:, : self.context], self.there[:, : self.context]
        return WindowScale.of(past, seen, signed=self.signed, space=space)

    def with_scaled(self, z: Tensor, scale: WindowScale) -> "Curves":
        """The same with the values that are `z` in units of `scale`."""
        return replace(self, values=scale.invert(z.unsqueeze(-1)).squeeze(-1))


@dataclass(frozen=True, slots=True)
class Chance:
    """Random numbers, and what is known of the windows beside their values."""

    generator: torch.Generator
    season: int  # steps; 1 = none or unknown
    series: Tensor | None  # (B,) number of the series of each window of the batch

    @property
    def device(self) -> torch.device:
        return self.generator.device

    def normal(self, *shape: int) -> Tensor:
        return torch.randn(shape, generator=self.generator, device=self.device, dtype=torch.float64)

    def uniform(self, *shape: int) -> Tensor:
        """From 0 up to, but without, 1."""
        return torch.rand(shape, generator=self.generator, device=self.device, dtype=torch.float64)

    def rows(self, share: float, windows: int) -> Tensor:
        """So many of the rows 0 … windows - 1, no one twice, ascending."""
        wanted = math.floor(share * windows + 0.5)
        return torch.randperm(windows, generator=self.generator, device=self.device)[:wanted].sort().values


def augment(
    batch: WindowBatch,
    recipes: Sequence[Augmentation],
    generator: torch.Generator,
    *,
    season: int = 1,
    series: Tensor | None = None,
) -> WindowBatch:
    """A batch in which some windows are changed by each of the recipes, one after the other; `batch` is left alone.

    A window that would be left with fewer than two observed steps in its context, or with none ahead, or with a number
    that is not finite, stays as it was.

    Args:
        batch: windows on any device, in units of the target.
        recipes: what to do, in this order; each draws its own windows.
        generator: on the device of the batch; the same state gives the same result.
        season: steps; 1 = none or unknown.
        series: (B,) number of the series of each window, for `Mixup`; None = each window is of another series.
    """
    chance = Chance(generator, season, series)
    for recipe in recipes:
        rows = chance.rows(recipe.share, len(batch))
        if len(rows):
            batch = _changed(batch, rows, recipe, chance)
    return batch


def _changed(batch: WindowBatch, rows: Tensor, recipe: Augmentation, chance: Chance) -> WindowBatch:
    """The batch with the windows `rows` changed by one recipe."""
    old = Curves.of(batch, rows)
    if isinstance(recipe, Mixup):
        partners = _partners(len(batch), chance)[rows]
        new = _mixup(recipe, old, Curves.of(batch, partners), chance)
        fit = rows != partners if chance.series is None else chance.series[rows] != chance.series[partners]
    else:
        new, fit = CHANGES[type(recipe)](recipe, old, chance), torch.ones_like(rows, dtype=torch.bool)
    lowest = torch.where(old.there, old.values, 0.0).amin(1, keepdim=True)
    values = torch.where(old.signed | (lowest < 0), new.values, new.values.clamp(min=0))  # sales stay sales
    values = torch.where(new.there, values, 0.0)
    t = old.context
    fit = fit & (new.there[:, :t].sum(1) >= FEWEST) & new.there[:, t:].any(1) & values.isfinite().all(1)
    return _put(batch, rows, old, replace(new, values=values), fit.unsqueeze(1))


def _put(batch: WindowBatch, rows: Tensor, old: Curves, new: Curves, fit: Tensor) -> WindowBatch:
    """`batch` with the windows of `new` in `rows` where `fit` (B, 1), as they were elsewhere."""
    t = old.context
    values = torch.where(fit, new.values, old.values).to(batch.past.dtype)
    there = torch.where(fit, new.there, old.there)
    changed: dict[str, Tensor] = {
        "past": batch.past.index_copy(0, rows, values[:, :t]),
        "seen": batch.seen.index_copy(0, rows, there[:, :t]),
        "future": batch.future.index_copy(0, rows, values[:, t:]),
        "known": batch.known.index_copy(0, rows, there[:, t:]),
    }
    for name in ("covariates", "past_covariates"):
        whole, after, before = getattr(batch, name), getattr(new, name), getattr(old, name)
        if after is not before:
            changed[name] = whole.index_copy(0, rows, torch.where(fit.unsqueeze(-1), after, before))
    return replace(batch, **changed)


def _jitter(recipe: Jitter, curves: Curves, chance: Chance) -> Curves:
    scale = curves.scale()
    z = scale.apply(curves.values)
    return curves.with_scaled(z + recipe.size * chance.normal(*z.shape), scale)


def _scaling(recipe: Scaling, curves: Curves, chance: Chance) -> Curves:
    return replace(curves, values=curves.values * (recipe.size * chance.normal(len(curves.values), 1)).exp())


def _magnitude_warp(recipe: MagnitudeWarp, curves: Curves, chance: Chance) -> Curves:
    scale = curves.scale()
    z = scale.apply(curves.values)
    return curves.with_scaled(z * (1 + recipe.size * _smooth(recipe.knots, len(z), z.shape[1], chance)), scale)


def _time_warp(recipe: TimeWarp, curves: Curves, chance: Chance) -> Curves:
    windows, steps = curves.values.shape
    speed = (recipe.size * _smooth(recipe.knots, windows, steps - 1, chance)).exp()
    moments = F.pad(speed.cumsum(1), (1, 0))  # (B, L), from 0, ascending
    return _read_at(curves, moments / moments[:, -1:] * (steps - 1))


def _window_slice(recipe: WindowSlice, curves: Curves, chance: Chance) -> Curves:
    windows, steps = curves.values.shape
    last = recipe.kept * (steps - 1)
    start = chance.uniform(windows, 1) * (steps - 1 - last)
    return _read_at(curves, start + torch.linspace(0, last, steps, dtype=torch.float64, device=chance.device))


def _masking(recipe: Masking, curves: Curves, chance: Chance) -> Curves:
    windows, t = len(curves.values), curves.context
    block = min(recipe.block, t)
    chosen = 1 - (1 - recipe.missing) ** (1 / block)  # share of steps at which a block begins: they may overlap
    begins = (chance.uniform(windows, 1, t + block - 1) < chosen).double()
    hidden = F.max_pool1d(begins, block, stride=1).squeeze(1) > 0  # (B, T)
    return replace(curves, there=curves.there & ~F.pad(hidden, (0, curves.values.shape[1] - t)))


def _partners(windows: int, chance: Chance) -> Tensor:
    """(B,) another window for each window, of another series where no series has more than half of the batch.

    In the order of their series, windows that are apart by at least the length of the longest run differ in their series.
    """
    draw = chance.uniform(1)
    if chance.series is None:
        order = torch.randperm(windows, generator=chance.generator, device=chance.device)
        longest = torch.ones(1, dtype=torch.int64, device=chance.device)
    else:
        ordered, order = chance.series.sort(stable=True)
        longest = (torch.searchsorted(ordered, ordered, right=True) - torch.searchsorted(ordered, ordered)).amax().reshape(1)
    shift = longest + (draw * (windows - 2 * longest + 1).clamp(min=1)).long()
    places = (torch.arange(windows, device=chance.device) + shift) % windows
    return torch.empty_like(order).index_copy(0, order, order[places])


def _mixup(recipe: Mixup, own: Curves, other: Curves, chance: Chance) -> Curves:
    weight = recipe.other * chance.uniform(len(own.values), 1)  # (B, 1) of the other window
    scale = own.scale("linear")  # the logarithm of a sparse series spreads so far that another's peak would be e^20 sales
    far = other.scale("linear").apply(other.values).clamp(-FAR, FAR)  # a jump after a constant window is no shape to mix in
    mixed = own.with_scaled(torch.lerp(scale.apply(own.values), far, weight), scale)

    def mix(mine: Tensor | None, theirs: Tensor | None) -> Tensor | None:
        return None if mine is None or theirs is None else torch.lerp(mine, theirs, weight.unsqueeze(-1).to(mine.dtype))

    return replace(
        mixed,
        there=own.there & other.there,
        covariates=mix(own.covariates, other.covariates),
        past_covariates=mix(own.past_covariates, other.past_covariates),
    )


def _seasonal_bootstrap(recipe: SeasonalBootstrap, curves: Curves, chance: Chance) -> Curves:
    windows, steps = curves.values.shape
    season = chance.season if 2 * chance.season <= steps else 1
    scale = curves.scale()
    z = torch.where(curves.there, scale.apply(curves.values), 0.0)
    trend, seasonal = decompose(z, curves.there, season)
    remainder = z - trend - seasonal
    block = min(recipe.block or max(2 * season, SHORTEST_TREND), steps)
    blocks = -(-steps // block) + 1
    starts = (chance.uniform(windows, blocks) * (steps - block + 1)).long()
    places = torch.arange(steps, device=z.device) + (chance.uniform(windows, 1) * block).long()  # the first block is cut
    source = starts.gather(1, places // block) + places % block  # (B, L)
    drawn = torch.where(curves.there.gather(1, source), remainder.gather(1, source), remainder)  # its own for a missing one
    return curves.with_scaled(trend + seasonal + drawn, scale)


def _frequency_noise(recipe: FrequencyNoise, curves: Curves, chance: Chance) -> Curves:
    scale = curves.scale()
    z = torch.where(curves.there, scale.apply(curves.values), 0.0)
    line = _straight_line(z, curves.there)
    waves = torch.fft.rfft(torch.where(curves.there, z - line, 0.0))  # (B, L // 2 + 1); a missing step lies on the line
    chosen = (chance.uniform(*waves.shape) < recipe.bins).double()
    amplitude = 1 + recipe.size * chosen * chance.normal(*waves.shape)
    turned = waves * torch.polar(amplitude.abs(), recipe.phase * chosen * chance.normal(*waves.shape))
    return curves.with_scaled(torch.fft.irfft(turned, n=z.shape[1]) + line, scale)


CHANGES: dict[type[Augmentation], Callable[[Any, Curves, Chance], Curves]] = {
    Jitter: _jitter,
    Scaling: _scaling,
    MagnitudeWarp: _magnitude_warp,
    TimeWarp: _time_warp,
    WindowSlice: _window_slice,
    Masking: _masking,
    SeasonalBootstrap: _seasonal_bootstrap,
    FrequencyNoise: _frequency_noise,
}  # and Mixup, which takes two windows


def decompose(z: Tensor, there: Tensor, season: int) -> tuple[Tensor, Tensor]:
    """(B, L) trend and (B, L) season of curves, at observed and at missing steps.

    The trend is a straight line and the centred moving average, over one season, of what lies beside it, at the ends over
    what there is of a season; the season is the mean of each phase without the trend, and sums to zero. Season 1: it is zero.
    """
    width = season if season > 1 else SHORTEST_TREND
    line = _straight_line(z, there)
    steady = z - line - _phase_means(z - line, there, season)
    pair = torch.stack([torch.where(there, steady, 0.0), there.to(z.dtype)], dim=1)  # (B, 2, L) values and their weights
    pair = F.avg_pool1d(pair, width, stride=1, padding=width // 2)  # (B, 2, L), or L + 1 where the width is even …
    if width % 2 == 0:  # … and a window that is centred weighs half a step at both ends, so that each phase counts once
        pair = (pair[..., :-1] + pair[..., 1:]) / 2
    total, count = pair.unbind(1)
    trend = line + total / count.clamp(min=0.5 / width)
    return trend, _phase_means(z - trend, there, season)


def _phase_means(z: Tensor, there: Tensor, season: int) -> Tensor:
    """(B, L) mean of the observed steps of the same phase, without the mean of all phases."""
    if season == 1:
        return torch.zeros_like(z)
    steps = z.shape[1]
    short = -steps % season
    values = F.pad(torch.where(there, z, 0.0), (0, short)).view(len(z), -1, season).sum(1)
    counts = F.pad(there.to(z.dtype), (0, short)).view(len(z), -1, season).sum(1)
    means = values / counts.clamp(min=1)  # (B, season)
    met = (counts > 0).to(z.dtype)
    means = (means - means.sum(1, keepdim=True) / met.sum(1, keepdim=True).clamp(min=1)) * met
    return means.repeat(1, -(-steps // season))[:, :steps]


def _straight_line(z: Tensor, there: Tensor) -> Tensor:
    """(B, L) least squares through the observed steps."""
    steps = torch.arange(z.shape[1], dtype=z.dtype, device=z.device).expand_as(z)
    count = there.sum(1, keepdim=True).clamp(min=1)
    middle = torch.where(there, steps, 0.0).sum(1, keepdim=True) / count
    mean = torch.where(there, z, 0.0).sum(1, keepdim=True) / count
    away = torch.where(there, steps - middle, 0.0)
    slope = (away * (z - mean)).sum(1, keepdim=True) / away.square().sum(1, keepdim=True).clamp(min=1)
    return mean + slope * (steps - middle)


def _smooth(knots: int, windows: int, steps: int, chance: Chance) -> Tensor:
    """(B, steps) smooth random curves, at each step standard normal."""
    heights = chance.normal(windows, knots)
    places = torch.linspace(0, knots - 1, steps, dtype=torch.float64, device=chance.device)
    left = places.long().clamp(max=knots - 2)
    part = places - left
    part = part * part * (3 - 2 * part)  # flat at the knots
    between = heights[:, left] * (1 - part) + heights[:, left + 1] * part
    return between / (part.square() + (1 - part).square()).sqrt()  # a mean of two deviates less than one


def _read_at(curves: Curves, moments: Tensor) -> Curves:
    """The curves at (B, L) moments between their first step, 0, and their last; interpolated, missing beside a missing step."""
    left, part = _split(moments, curves.values.shape[1])
    before, after = curves.there.gather(1, left), curves.there.gather(1, left + 1)
    covariates, past = curves.covariates, curves.past_covariates
    if past is not None:
        past = _between(past, *_split(moments[:, : curves.context], curves.context))
    return replace(
        curves,
        values=torch.lerp(curves.values.gather(1, left), curves.values.gather(1, left + 1), part),
        there=(before | (part == 1)) & (after | (part == 0)),
        covariates=None if covariates is None else _between(covariates, left, part),
        past_covariates=past,
    )


def _split(moments: Tensor, steps: int) -> tuple[Tensor, Tensor]:
    """The step before each moment, (B, L), and how far it is from there to the next, 0 … 1; behind the last step: the last."""
    left = moments.long().clamp(max=max(steps - 2, 0))
    return left, (moments - left).clamp(0, 1)


def _between(values: Tensor, left: Tensor, part: Tensor) -> Tensor:
    """(B, L, C) covariates at the moments `_split` gave."""
    rows = left.unsqueeze(-1).expand(-1, -1, values.shape[2])
    after = (rows + 1).clamp(max=values.shape[1] - 1)
    return torch.lerp(values.gather(1, rows), values.gather(1, after), part.unsqueeze(-1).to(values.dtype))
