"""A batch of windows -> possible futures, one step after the other: the network of DeepAR.

Each step is drawn from a distribution that has seen the steps drawn before it, so that intervals widen with the
horizon. Training takes its loss over the context and the horizon: each step teaches.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tsforecast.nn.effects import LinearEffect
from tsforecast.nn.heads import LEVELS, Head, build_head
from tsforecast.nn.scale import WindowScale
from tsforecast.nn.window_network import FAR, NetworkShape, Reading, StaticEmbedding, WindowBatch, window_size

LEAST_SPREAD = 1e-7  # of a window that repeats itself, in scales
CHEAP_PATHS = 100  # futures drawn where only quantiles are asked of a batch


@dataclass(slots=True)  # not frozen: Lightning casts what a network is given, field by field
class Past:
    """A batch up to its origins, as the recurrence reads it."""

    z: Tensor  # (B, T) scaled values without linear effects, the last observed one where missing
    since: Tensor  # (B, 1) place of the first observed step
    spread: Tensor  # (B, 1) usual size of a change over a season, in scales
    size: Tensor  # (B, 1) mean |y|, in units of the target
    added: Tensor  # (B, T + H) linear effects of the covariates
    total: Tensor  # (B, 1) sum of the observed steps of `z` …
    count: Tensor  # (B, 1) … and how many they are
    fixed: Tensor  # (B, F) what does not change over time: the log of the size, static features


class AutoregressiveNetwork(nn.Module):
    """LSTM or GRU over single steps. Its inputs are values at some lags, covariates, and the log of the window's size.

    A step is drawn around a weighted mean of the value before and the value a season before, in units of the usual
    change over a season: a constant goes on as it is, and a random walk needs nothing learned but one weight.
    """

    def __init__(self, *, shape: NetworkShape, cell: str, layers: int) -> None:
        super().__init__()
        self.shape = shape
        self.lags = tuple(sorted({1, shape.season, *shape.lags}))
        self.unroll = shape.context - max(self.lags)  # steps of the context that are gone through
        extra = shape.hidden if shape.has_static else 0
        inputs = len(self.lags) + 2 + shape.channels + shape.past_channels + 1 + extra
        kind = nn.LSTM if cell == "lstm" else nn.GRU
        self.rnn = kind(inputs, shape.hidden, num_layers=layers, batch_first=True, dropout=shape.dropout if layers > 1 else 0.0)
        self.drop = nn.Dropout(shape.dropout)
        self.head: Head = build_head(shape.head, shape.hidden, 1, per_step=True)
        self.gate = nn.Linear(shape.hidden, 1)
        nn.init.zeros_(self.gate.weight)
        nn.init.zeros_(self.gate.bias)
        if shape.effects:
            self.effect = LinearEffect(shape.effects)
        if shape.has_static:
            self.static = StaticEmbedding(shape.static_reals, shape.categories, shape.hidden)
        self.register_buffer("log_size", torch.tensor([0.0, 1.0]))  # mean and deviation over the windows of the fit

    def begin(self, batch: WindowBatch) -> None:
        """Note how large windows of the fit are, for the feature that says so, and set the linear effects of covariates."""
        logs = window_size(batch).log()
        self.log_size = torch.stack([logs.mean(), logs.std(unbiased=False).clamp(min=0.1)]).float()
        if self.shape.effects:
            reading = self.read(batch)  # the effects are still zero
            assert reading.factor is not None
            self.effect.begin(reading.x, batch.seen, batch.covariates, reading.factor, season=self.shape.season)

    def read(self, batch: WindowBatch) -> Reading:
        """The scaled past, (B, T), 0 where not seen: in double precision, outside the autocast."""
        scale = WindowScale.of(batch.past, batch.seen, signed=batch.signed, scaling=self.shape.scaling, space=self.shape.space)
        x = torch.where(batch.seen, scale.apply(batch.past), 0.0).to(torch.float32)
        return Reading(x, scale, torch.ones_like(x[:, :1]) if self.shape.effects else None)

    def past_of(self, batch: WindowBatch, reading: Reading) -> Past:
        """What the recurrence knows before the first step ahead."""
        added = x_zeros = torch.zeros(len(batch), self.shape.context + self.shape.horizon, device=reading.x.device)
        if batch.covariates is not None and reading.factor is not None:
            added = x_zeros + self.effect(batch.covariates, reading.factor)
        z = reading.x - torch.where(batch.seen, added[:, : self.shape.context], 0.0)
        z, since = carried_forward(z, batch.seen)
        lag = self.shape.season
        pairs = batch.seen[:, lag:] & batch.seen[:, :-lag]
        changes = torch.where(pairs, (z[:, lag:] - z[:, :-lag]).abs(), 0.0).sum(1, keepdim=True)
        spread = changes / pairs.sum(1, keepdim=True).clamp(min=1)
        lone = torch.where(batch.seen, reading.x.abs(), 0.0).amax(1, keepdim=True)  # no pair: as wide as the values
        spread = torch.where(pairs.any(1, keepdim=True), spread, lone).clamp(min=LEAST_SPREAD)
        size = window_size(batch)
        mean, deviation = self.log_size
        fixed = ((size.log() - mean) / deviation).clamp(-5.0, 5.0).float()
        if self.shape.has_static:
            fixed = torch.cat([fixed, self.static(batch.static, batch.category)], dim=-1)
        total, count = torch.where(batch.seen, z, 0.0).sum(1, keepdim=True), batch.seen.sum(1, keepdim=True).to(z.dtype)
        return Past(z, since, spread.detach(), size.float(), added, total, count, fixed)

    def forward(self, z: Tensor, there: Tensor, batch: WindowBatch, past: Past) -> tuple[Tensor, Tensor]:
        """(B, T + H) values and whether they are known, read only by later steps -> raw (B, U + H, P), bases (B, U + H)."""
        start, steps = self.shape.context - self.unroll, z.shape[1]
        states, _ = self.rnn(self._inputs(z, running_mean(z, there)[:, start:], batch, past, start, steps))
        states = self.drop(states)
        return self.head(states), self._base(states, z, past, start, steps)

    def loss(self, model: nn.Module, batch: WindowBatch) -> Tensor:
        """Negative log-likelihood of the observed steps of context and horizon; `model` is this network, maybe wrapped."""
        reading = self.read(batch)
        past = self.past_of(batch, reading)
        start = self.shape.context - self.unroll
        future = torch.where(batch.known, reading.scale.apply(batch.future), 0.0).float()
        future = future - torch.where(batch.known, past.added[:, self.shape.context :], 0.0)
        there = torch.cat([batch.seen, batch.known], dim=1)  # (B, T + H)
        z, _ = carried_forward(torch.cat([torch.where(batch.seen, past.z, 0.0), future], dim=1), there)
        raw, base = model(z, there, batch, past)
        raw, base = raw.float(), base.float()
        places = torch.arange(start, z.shape[1], device=z.device)
        mask = there[:, start:] & (places > past.since)
        if self.head.in_units:
            target = torch.cat([batch.past, batch.future], dim=1)[:, start:].float()
            loss: Tensor = self.head.loss(raw, torch.zeros_like(base), target, mask, past.size)
            return loss
        target = ((z[:, start:] - base) / past.spread).clamp(-FAR, FAR)
        scaled: Tensor = self.head.loss(raw, torch.zeros_like(base), target, mask, past.size)
        return scaled

    def paths(self, batch: WindowBatch, uniforms: tuple[Tensor, Tensor], steps: int) -> Tensor:
        """Possible futures in units of the target, (B, N, steps), drawn with the numbers `uniforms`, each (B, N, H)."""
        reading = self.read(batch)
        past = self.past_of(batch, reading)
        windows, count, t = len(batch), uniforms[0].shape[1], self.shape.context
        many = Repeated(batch, past, count)
        state = None
        if self.unroll:
            level = running_mean(past.z, batch.seen)[:, t - self.unroll :]
            _, state = self.rnn(self._inputs(past.z, level, batch, past, t - self.unroll, t))
            state = _repeat_state(state, count)
        z = torch.cat([many.past.z, past.z.new_zeros(windows * count, steps)], dim=1)  # (B N, T + steps)
        drawn, total = [], many.past.total
        for k in range(steps):
            place = t + k
            level = total / (many.past.count + k).clamp(min=1)
            states, state = self.rnn(self._inputs(z, level, many.batch, many.past, place, place + 1), state)
            raw, base = self.head(states), self._base(states, z, many.past, place, place + 1)  # (B N, 1, P), (B N, 1)
            numbers = (uniforms[0][..., k].reshape(-1, 1), uniforms[1][..., k].reshape(-1, 1))
            value = self.head.sample(raw, torch.zeros_like(base), many.past.size, numbers).reshape(-1, 1)
            if self.head.in_units:
                drawn.append(value.double())
                value = value / many.past.size - many.past.added[:, place : place + 1]
            else:
                value = (base + many.past.spread * value.float()).clamp(-FAR * FAR, FAR * FAR)
                drawn.append((value + many.past.added[:, place : place + 1]).double())
            z[:, place] = value.squeeze(1).float()
            total = total + value.float()
        paths = torch.cat(drawn, dim=1).view(windows, count, steps)
        if self.head.in_units:
            return paths
        return reading.scale.invert(paths)

    def answer(self, batch: WindowBatch) -> tuple[Tensor, WindowScale | None]:
        """(B, H, Q) float64 at `LEVELS`, in units of the target."""
        numbers = torch.rand(2, self.shape.horizon, CHEAP_PATHS, generator=torch.Generator().manual_seed(0))
        layers = (numbers.argsort(-1).double() + 0.5) / CHEAP_PATHS  # even at each step, in an order of its own: steps add up
        uniforms = layers.transpose(1, 2).unsqueeze(1).expand(-1, len(batch), -1, -1)  # (2, B, N, H)
        paths = self.paths(batch, (uniforms[0], uniforms[1]), self.shape.horizon)
        return torch.quantile(paths, torch.tensor(LEVELS, dtype=torch.float64), dim=1).permute(1, 2, 0), None

    def _inputs(self, z: Tensor, level: Tensor, batch: WindowBatch, past: Past, start: int, stop: int) -> Tensor:
        """What is read to speak of the steps start … stop, (B, L, inputs): of a step itself only its covariates.

        `level` (B, L) is the mean of what came before each step: values at the lags are read as distances from it.
        """
        lagged = [torch.asinh((z[:, start - lag : stop - lag] - level) / past.spread) for lag in self.lags]
        lagged.append(torch.asinh(z[:, start - 1 : stop - 1]))
        change = (z[:, start - 1 : stop - 1] - z[:, start - self.shape.season : stop - self.shape.season]) / past.spread
        parts = [torch.stack([*lagged, torch.asinh(change)], dim=-1)]
        if batch.covariates is not None:
            parts.append(batch.covariates[:, start:stop])
        if batch.past_covariates is not None:  # of the step before, as far as it is known
            parts.append(_shifted(batch.past_covariates, start, stop))
        parts.append(past.fixed.unsqueeze(1).expand(-1, stop - start, -1))
        return torch.cat(parts, dim=-1)

    def _base(self, states: Tensor, z: Tensor, past: Past, start: int, stop: int) -> Tensor:
        """(B, L): between the value before and the value a season before."""
        season = self.shape.season
        before, seasonal = z[:, start - 1 : stop - 1], z[:, start - season : stop - season]
        places = torch.arange(start - season, stop - season, device=z.device)
        seasonal = torch.where(places >= past.since, seasonal, before)
        weight = torch.sigmoid(self.gate(states)).squeeze(-1)
        return weight * before + (1 - weight) * seasonal


class Repeated:
    """A batch and its past with each window `count` times in a row."""

    def __init__(self, batch: WindowBatch, past: Past, count: int) -> None:
        def many(x: Tensor) -> Tensor:
            return x.repeat_interleave(count, dim=0)

        def maybe(x: Tensor | None) -> Tensor | None:
            return None if x is None else many(x)

        self.batch = WindowBatch(
            past=batch.past[:0], seen=batch.seen[:0], future=batch.future[:0], known=batch.known[:0], signed=batch.signed[:0],
            covariates=maybe(batch.covariates), past_covariates=maybe(batch.past_covariates),
        )  # fmt: skip
        self.past = Past(many(past.z), many(past.since), many(past.spread), many(past.size), many(past.added),
                         many(past.total), many(past.count), many(past.fixed))  # fmt: skip


def carried_forward(z: Tensor, seen: Tensor) -> tuple[Tensor, Tensor]:
    """(B, L) with the last observed value where a step is missing, 0 before the first; and the first place, (B, 1)."""
    places = torch.arange(z.shape[1], device=z.device)
    newest = torch.where(seen, places, -1).cummax(1).values  # (B, L)
    filled = torch.where(newest >= 0, z.gather(1, newest.clamp(min=0)), torch.zeros_like(z))
    first = torch.where(seen, places, z.shape[1]).amin(1, keepdim=True)
    return filled, first


def running_mean(z: Tensor, there: Tensor) -> Tensor:
    """(B, L): the mean of the known values before each step; 0 where there is none."""
    known = torch.where(there, z, 0.0)
    before = known.cumsum(1) - known
    count = there.cumsum(1) - there.to(torch.int64)
    return before / count.clamp(min=1)


def default_lags(season: int) -> tuple[int, ...]:
    """Steps back at which the past is looked at: the steps just before, the season, and the longer cycle around it."""
    if season == 1:
        return (1, 2, 3)
    longer = {24: (168,), 48: (336,), 96: (672,), 7: (14, 28), 12: (24,)}.get(season, (2 * season,))
    return tuple(sorted({1, 2, 3, season - 1, season, season + 1, *longer} - {0}))


def _shifted(past_covariates: Tensor, start: int, stop: int) -> Tensor:
    """(B, T, P) -> (B, stop - start, P): of the step before each; 0 beyond the origin, where nothing is known."""
    steps = past_covariates.shape[1]
    found = past_covariates[:, min(start - 1, steps) : min(stop - 1, steps)]
    short = stop - start - found.shape[1]
    return torch.cat([found, found.new_zeros(len(found), short, found.shape[2])], dim=1) if short else found


def _repeat_state(state: Tensor | tuple[Tensor, Tensor], count: int) -> Tensor | tuple[Tensor, Tensor]:
    if isinstance(state, tuple):
        return state[0].repeat_interleave(count, dim=1), state[1].repeat_interleave(count, dim=1)
    return state.repeat_interleave(count, dim=1)
