"""DeepAR of pytorch-forecasting: an LSTM that draws one step after another. For comparison with our own."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, ClassVar, Self, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tsforecast.errors import OptionError
from tsforecast.models.base import About
from tsforecast.models.feeding import HISTORY
from tsforecast.models.ptf_adapter import (
    Columns,
    PtfForecaster,
    PtfNetwork,
    PtfPredictor,
    PtfShape,
    season_before,
)
from tsforecast.nn.config import TrainConfig
from tsforecast.nn.scale import WindowScale
from tsforecast.nn.window_network import FAR, LEVELS, WindowBatch
from tsforecast.panel import FloatArray, Panel

OWN = ("value", "seen", "step", "season_ago")  # columns that need no covariates: see `DeepARNetwork.feed`
SMALLEST_DEVIATION = 1e-3  # scales, of the normal distribution of a step
ROWS_AT_ONCE = 20_000  # windows times draws that go through the LSTM together
_NOISE = threading.local()  # what the normal distribution draws from in this thread: many may share a predictor


@dataclass(frozen=True, kw_only=True)
class PtfDeepAR(PtfForecaster):
    """Normal distributions of the difference to one season before, each step given those drawn before it.

    That difference is its target: the forecast is a correction of the last season, as everywhere in this library.
    Quantiles are those of `draws` futures; all series use the same random numbers, so a series has the same forecast
    alone and in a batch.
    """

    name: ClassVar[str] = "ptf_deepar"
    about: ClassVar[About] = About(
        family="recurrent",
        scope="global",
        source="Salinas et al. 2020, DeepAR; network: pytorch-forecasting",
        minimal_history=HISTORY,
        covariates=("known-future", "static"),
        samples=True,
    )

    calibrate: bool = False  # must stay false: it is there to compare with
    layers: int = 2  # of the LSTM
    draws: int = 200  # futures

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.calibrate:
            raise OptionError("ptf_deepar draws as its package does: calibrate must be false; deepar has it", field="calibrate")
        if self.draws < 2:
            raise OptionError(f"draws must be at least 2, got {self.draws}", field="draws")

    @classmethod
    def whole_numbers(cls) -> tuple[str, ...]:
        return (*super().whole_numbers(), "layers", "draws")

    @classmethod
    def tiny(cls) -> Self:
        return cls(context=16, hidden=8, layers=1, dropout=0.0, draws=50)

    @classmethod
    def network_class(cls) -> "type[PtfNetwork]":
        return DeepARNetwork

    @classmethod
    def predictor_class(cls) -> "type[DeepARPredictor]":
        return DeepARPredictor

    def default_train(self) -> TrainConfig:
        return replace(super().default_train(), max_epochs=24, steps_per_epoch=100, batch_size=64, learning_rate=1e-2)

    def build_theirs(self, shape: PtfShape) -> Any:
        from pytorch_forecasting.models.deepar import DeepAR

        return DeepAR(
            **shape.inputs(OWN),
            target="value",
            dataset_parameters={"target": "value"},
            time_varying_reals_encoder=[*OWN, *shape.known_names],
            time_varying_reals_decoder=[*OWN[1:], *shape.known_names],
            hidden_size=self.hidden,
            rnn_layers=self.layers,
            dropout=self.dropout,
            loss=_normal_loss()(),
        )


@lru_cache
def _normal_loss() -> Any:
    """Their normal distribution with a least deviation, drawing from the numbers of `drawing_from`."""
    from pytorch_forecasting.metrics import NormalDistributionLoss

    class NormalLoss(NormalDistributionLoss):  # type: ignore[misc]  # the package has no types
        def rescale_parameters(self, parameters: Tensor, target_scale: Tensor, encoder: Any) -> Tensor:
            found: Tensor = super().rescale_parameters(parameters, target_scale=target_scale, encoder=encoder)
            return torch.cat([found[..., :3], found[..., 3:] + SMALLEST_DEVIATION], dim=-1)

        def sample(self, y_pred: Tensor, n_samples: int) -> Tensor:
            """(B, N, 4) parameters -> (B, N, 1): N futures of each window, one step."""
            scores: Tensor = next(_NOISE.steps)  # (N,) or (B, N)
            return (y_pred[..., 2] + y_pred[..., 3] * scores).unsqueeze(-1)

    return NormalLoss


@contextmanager
def drawing_from(noise: Tensor) -> Iterator[None]:
    """Inside, the steps of a forecast draw from `noise` (H, …, N), standard normal, one after the other."""
    _NOISE.steps = iter(noise)
    try:
        yield
    finally:
        del _NOISE.steps


class DeepARNetwork(PtfNetwork):
    """Their network on the differences to one season before."""

    def __init__(self, recipe: PtfForecaster, shape: PtfShape) -> None:
        super().__init__(recipe, shape)
        self.draws = cast(PtfDeepAR, recipe).draws

    def feed(self, batch: WindowBatch, ahead: Tensor | None = None, known: Tensor | None = None) -> tuple[Columns, WindowScale]:
        """Columns of its own; `ahead` (B, H) scaled and `known` (B, H) where the future is there to learn from.

        Their network reads the value of the step before with the covariates of a step, so "seen" is that of the step before.
        """
        ours, scale = self.read(batch)
        t, h = self.shape.context, self.shape.horizon
        there = batch.seen & season_before(ours["there"], season=self.shape.season, horizon=0)
        past = torch.where(there, (ours["past"] - ours["before"][:, :t]).clamp(-FAR, FAR), 0.0)
        base = self.base(ours)
        if ahead is None or known is None:
            later, known = torch.zeros_like(base), torch.ones_like(base, dtype=torch.bool)
        else:
            later = torch.where(known, (ahead - base).clamp(-FAR, FAR), 0.0)
        seen = torch.cat([there, known], dim=1)
        step = torch.arange(-t, h, device=batch.past.device, dtype=torch.float32) / self.shape.reads
        own = [
            torch.cat([past, later], dim=1),
            F.pad(seen[:, :-1], (1, 0)).float(),
            step.expand(len(batch), -1),
            torch.asinh(ours["before"]),
        ]
        return self.fill_feed(ours | {"base": base, "later": later}, batch, own), scale

    def forward(self, feed: Columns) -> Tensor:
        """(B, H, 4): parameters of each step, given the true ones before it."""
        found: Tensor = self.call(feed)["prediction"]
        return found

    def loss(self, model: nn.Module, batch: WindowBatch) -> Tensor:
        """Negative log-likelihood of the observed steps."""
        mask = batch.known & batch.seen.any(1, keepdim=True)
        ahead = self.scale_of(batch).apply(batch.future).clamp(-FAR, FAR).float()
        feed, _ = self.feed(batch, ahead, mask)
        losses: Tensor = self.theirs.loss.loss(model(feed).float(), feed["later"])
        return (losses * mask).sum() / mask.sum().clamp(min=1)

    def paths(self, batch: WindowBatch, noise: Tensor) -> tuple[Tensor, WindowScale]:
        """(B, H, N) float64 scaled futures from `noise` (H, N) or (H, B, N)."""
        feed, scale = self.feed(batch)
        with drawing_from(noise):
            drawn = self.call(feed, n_samples=noise.shape[-1])["prediction"]  # (B, H, N)
        return drawn.double() + feed["base"].unsqueeze(-1), scale

    def answer(self, batch: WindowBatch) -> tuple[Tensor, WindowScale]:
        drawn, scale = self.paths(batch, even_noise(self.shape.horizon, self.draws))
        levels = torch.tensor(LEVELS, dtype=torch.float64)
        return torch.quantile(drawn, levels, dim=-1).permute(1, 2, 0), scale


class DeepARPredictor(PtfPredictor):
    """A trained DeepAR, which knows how steps go together."""

    recipe: PtfDeepAR

    @property
    def batch_size(self) -> int:  # type: ignore[override]  # theirs is the same for all recipes
        return max(ROWS_AT_ONCE // self.recipe.draws, 1)

    def sample_paths(
        self, panel: Panel, *, count: int = 100, horizon: int | None = None, seed: int = 0, future: FloatArray | None = None
    ) -> FloatArray:
        """As `Predictor.sample_paths`; the draws of a series depend on the seed and its name, not on its neighbours."""
        if not isinstance(count, int) or isinstance(count, bool) or count < 1:
            raise OptionError(f"count must be a positive number of paths, got {count!r}", field="count")
        steps = self.check_request(panel, horizon, future)
        network, done = cast(DeepARNetwork, self.network), 0
        parts = [np.zeros((0, count, steps))]
        with torch.inference_mode():
            for batch in self.batches(panel, steps, future):
                ids = panel.series_ids[done : done + len(batch)]
                done += len(batch)
                noise = torch.stack([_noise_of(name, network.shape.horizon, max(count, 2), seed) for name in ids], dim=1)
                drawn, scale = network.paths(batch, noise)  # their code draws one future in another way than two
                parts.append(scale.invert(drawn[:, :steps, :count]).permute(0, 2, 1).numpy())
        return np.concatenate(parts)


def even_noise(steps: int, draws: int) -> Tensor:
    """(steps, draws) standard normal: in each step evenly spread over the distribution, in a random order of its own."""
    from scipy.special import ndtri

    rng = np.random.default_rng(0)
    scores = ndtri((np.arange(draws) + 0.5) / draws)
    return torch.from_numpy(np.stack([rng.permutation(scores) for _ in range(steps)])).float()


def _noise_of(series_id: str, steps: int, count: int, seed: int) -> Tensor:
    rng = np.random.default_rng([seed, *series_id.encode()])
    return torch.from_numpy(rng.standard_normal((steps, count))).float()
