"""Panel + plan -> batches of windows for the trainer, and what fitting any network on windows has in common."""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any, Generic, Protocol, TypeVar, cast

import numpy as np
import torch
from torch import Tensor, nn

from tsforecast.errors import HistoryTooShort
from tsforecast.models.base import Callback, Epoch, Forecaster
from tsforecast.models.window_data import Inputs, WindowData, check_future
from tsforecast.nn.augment import augment
from tsforecast.nn.callbacks import TrainingCallback
from tsforecast.nn.config import TrainConfig
from tsforecast.nn.train import Job, TrainResult
from tsforecast.nn.window_network import WindowBatch
from tsforecast.panel import FloatArray, Panel
from tsforecast.preprocessing.blocks import pieces
from tsforecast.preprocessing.windows import WindowPlan, Windows, last_windows

OF_THE_CLOCK = ("windows_per_s", "epoch_s")  # stay out of the stored model: same data and seed, same files
LEAST_SEEN = 2  # observations in the context of a forecast
FIRST_LOOK = 2048  # windows a network sees before training, to measure what is not learned by gradients
FEWEST_STEPS = 30  # of an epoch, so that a small panel is not validated after every other step
HISTORY = "2 observations within the context to forecast; 2 rows in some series to fit"


class Network(Protocol):
    """What a network has to do to be fed."""

    def begin(self, batch: WindowBatch) -> None:
        """Measure on windows of the fit what is not learned by gradients."""

    def loss(self, model: nn.Module, batch: WindowBatch) -> Tensor:
        """Mean loss over the observed steps; `model` is this network, maybe wrapped by the trainer."""


Fed = TypeVar("Fed", bound=Network)


@dataclass(kw_only=True, slots=True)
class Feed(Generic[Fed]):
    """Batches for training, and the held-out windows."""

    panel: Panel
    plan: WindowPlan
    config: TrainConfig
    seed: int
    network: Fed
    inputs: Inputs
    validation_batch: int  # windows
    data: WindowData | None = None

    def on(self, device: torch.device) -> WindowData:
        if self.data is None or self.data.device != device:
            self.data = WindowData(self.panel, device, context=self.plan.context, horizon=self.plan.horizon, inputs=self.inputs)
        return self.data

    def begin(self) -> None:
        """Show the network its first windows."""
        windows = self.plan.sample(FIRST_LOOK, np.random.default_rng([self.seed, 0]))
        with torch.no_grad():
            self.network.begin(self.on(torch.device("cpu")).gather(windows))

    def job(self, identity: str, **transfer: Any) -> Job:
        """What the trainer needs; `transfer` as `Start.schedule` gives it."""
        return Job(
            network=cast(nn.Module, self.network),
            batches=self.batches,
            loss=self.network.loss,
            validate=self.validate if len(self.plan.validation) else None,
            identity=identity,
            **transfer,
        )

    def batches(self, epoch: int, device: torch.device) -> Iterator[WindowBatch]:
        data, size, steps = self.on(device), self.config.batch_size or 1, self.config.steps_per_epoch or 1
        chance, how = np.random.default_rng([self.seed, epoch]), self.config.sampling
        windows = self.plan.sample(size * steps, chance, sampling=how, half_life=self.config.half_life)
        for number, part in enumerate(parts_of(windows, size)):
            yield self._augmented(data.gather(part), part, epoch=epoch, number=number)

    def _augmented(self, batch: WindowBatch, windows: Windows, *, epoch: int, number: int) -> WindowBatch:
        """The batch as `config.augment` changes it. Chance comes from (seed, epoch, number of the batch) alone."""
        if not self.config.augment:
            return batch
        device = batch.past.device
        chance = np.random.default_rng([self.seed, epoch, number]).integers(2**63)
        generator = torch.Generator(device).manual_seed(int(chance))
        series = torch.from_numpy(windows.series).to(device)
        return augment(batch, self.config.augment, generator, season=self.panel.season, series=series)

    def validate(self, network: nn.Module, device: torch.device) -> float:
        """Loss over the observed steps of the held-out windows."""
        total, count = 0.0, 0
        for part in parts_of(self.plan.validation, self.validation_batch):
            batch = self.on(device).gather(part)
            steps = int((batch.known & batch.seen.any(1, keepdim=True)).sum())
            total += float(self.network.loss(network, batch)) * steps
            count += steps
        return total / max(count, 1)


def windows_to_forecast(
    panel: Panel, inputs: Inputs, *, context: int, horizon: int, channels: int, steps: int, future: FloatArray | None, size: int
) -> Iterator[WindowBatch]:
    """The windows at the end of each series, `size` at a time, with the `channels` known of `steps` of `horizon` steps ahead.

    Raises:
        HistoryTooShort: a series has too few observations in its window; CovariateError: a hole in `future`.
    """
    known = None
    if channels:
        given = future if inputs.known else None
        check_future(panel, given)
        known = np.pad(inputs.future_of(panel, given, steps), ((0, 0), (0, horizon - steps), (0, 0)))
    data = WindowData(panel, torch.device("cpu"), context=context, horizon=0, inputs=inputs, future=known)
    for part in parts_of(last_windows(panel), size):
        batch = data.gather(part)
        _check_seen(panel, part, batch.seen)
        yield batch


def training_values(result: TrainResult, network: nn.Module, plan: WindowPlan, config: TrainConfig) -> dict[str, Any]:
    """What is stored of a training beside the weights."""
    return {
        "best_epoch": result.best_epoch,
        "best_val_loss": result.best_loss if len(plan.validation) else None,
        "history": [{name: value for name, value in line.items() if name not in OF_THE_CLOCK} for line in result.history],
        "parameters": sum(p.numel() for p in network.parameters()),
    } | ({"augment": [asdict(one) for one in config.augment]} if config.augment else {})


def as_epoch(callback: Callback | TrainingCallback) -> Callable[[int, dict[str, float]], None] | TrainingCallback:
    if isinstance(callback, TrainingCallback):  # speaks with the trainer itself
        return callback
    return lambda number, values: callback(Epoch(number=number, values=values))


def fill_config(config: TrainConfig, defaults: TrainConfig, plan: WindowPlan) -> TrainConfig:
    """The caller's options, the model's defaults behind them, and no more steps per epoch than there are windows."""
    filled = config.filled(**{name: value for name, value in asdict(defaults).items() if value is not None})
    if config.steps_per_epoch is None:
        each_twice = -(-2 * len(plan) // (filled.batch_size or 1))
        wanted = max(each_twice, min(FEWEST_STEPS, len(plan) // 16), 1)
        filled = replace(filled, steps_per_epoch=min(filled.steps_per_epoch or 1, wanted))
    return filled


def check_trainable(panel: Panel, plan: WindowPlan) -> None:
    """Raises HistoryTooShort where there is no window to train on."""
    if len(plan):
        return
    if not len(panel):
        raise HistoryTooShort("(none)", have=0, need=2, hint="the panel has no series")
    longest = int(panel.lengths.argmax())
    raise HistoryTooShort(panel.series_ids[longest], have=int(panel.lengths[longest]), need=2, hint="it is the longest series")


def training_identity(recipe: Forecaster, panel: Panel, *more: object) -> str:
    """Changes with anything that changes the training: the recipe, the panel, and `more`."""
    starts = panel.timestamps[panel.offsets[:-1]].astype(np.int64).tolist()
    clock = (panel.freq, panel.season, panel.tz, panel.zones, starts)
    names = (panel.covariate_names, panel.past_covariate_names, panel.static_real_names, panel.static_category_names)
    digest = hashlib.sha256(repr((recipe, panel.series_ids, clock, names, panel.static_categories, more)).encode())
    for array in (panel.offsets, panel.target, panel.covariates, panel.past_covariates, panel.static_reals):
        if array is None:
            digest.update(b"-")
        else:
            for piece in pieces(array):
                digest.update(np.ascontiguousarray(piece).data)
    return digest.hexdigest()


def _check_seen(panel: Panel, windows: Windows, seen: Tensor) -> None:
    count = seen.sum(1).numpy()
    for place in np.flatnonzero(count < LEAST_SEEN)[:1]:
        series_id = panel.series_ids[int(windows.series[place])]
        hint = f"of its last {seen.shape[1]} steps {count[place]} are observed, and one value tells nothing of the spread"
        raise HistoryTooShort(series_id, have=int(count[place]), need=LEAST_SEEN, hint=hint)


def parts_of(windows: Windows, size: int) -> Iterator[Windows]:
    """`windows`, `size` at a time."""
    for start in range(0, len(windows), size):
        rows = slice(start, start + size)
        yield Windows(
            origins=windows.origins[rows], firsts=windows.firsts[rows], ends=windows.ends[rows], series=windows.series[rows]
        )
