"""A job and its options -> the loss at ever larger learning rates, and the one to begin with."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tsforecast.errors import OptionError
from tsforecast.nn.config import TrainConfig
from tsforecast.nn.optim import make_optimizer
from tsforecast.nn.train import (
    TRAINING,
    Batch,
    Job,
    freeze,
    machine_settings,
    make_fabric,
    requires_grad_kept,
    seed_generators,
    train_step,
    trained_names,
)

MEMORY = 0.9  # of the moving average of the losses
BURST = 4.0  # times its fall, or its first size: a loss so far above its lowest has run away, and the search ends
LEAST_FALL = 1e-3  # of the first loss: less is no fall
FEWEST = 10  # steps of a search


@dataclass(frozen=True, kw_only=True, slots=True)
class LearningRateSearch:
    """The course of the search, up to where the loss ran away."""

    rates: tuple[float, ...]  # of each step, rising by the same factor
    losses: tuple[float, ...]  # before each step, smoothed, and freed of how hard the batch was for the fresh network
    suggestion: float  # where the loss falls most steeply over the logarithm of the rate


def find_learning_rate(
    job: Job, config: TrainConfig, *, seed: int, lowest: float = 1e-6, highest: float = 1.0, steps: int = 60
) -> LearningRateSearch:
    """The range test of Smith (2017): one step at each rate, from `lowest` to `highest`, rising by the same factor.

    Network, gradients and global random state are afterwards as they were. Compilation is left out.

    Raises:
        OptionError: a bad range or too few steps, no batches, or the loss falls at none of the rates.
    """
    if not 0 < lowest < highest:
        raise OptionError(f"lowest must lie between 0 and highest, got {lowest!r} and {highest!r}", field="lowest")
    if not isinstance(steps, int) or steps < FEWEST:
        raise OptionError(f"steps must be a whole number of at least {FEWEST}, got {steps!r}", field="steps")
    network = job.network
    before = _copy(network)
    gradients = [parameter.grad for parameter in network.parameters()]
    device, training = next(network.parameters()).device, [module.training for module in network.modules()]
    fabric = make_fabric(config)
    try:
        with TRAINING, machine_settings(config, fabric.device), requires_grad_kept(network):
            return _search(job, config, fabric=fabric, seed=seed, rates=np.geomspace(lowest, highest, steps))
    finally:
        network.to(device)
        network.load_state_dict(before)
        for parameter, gradient in zip(network.parameters(), gradients, strict=True):
            parameter.grad = gradient
        for module, mode in zip(network.modules(), training, strict=True):
            module.training = mode


def _search(job: Job, config: TrainConfig, *, fabric: Any, seed: int, rates: np.ndarray) -> LearningRateSearch:
    optimizer = make_optimizer(job.network, config)
    model, wrapped = fabric.setup(job.network, optimizer)
    model.train()
    freeze(job, 1, trained_names(job.network))
    fresh = _copy(job.network)
    changes: list[float] = []  # of the loss against the fresh network's on the same batch, smoothed
    levels: list[float] = []  # the fresh network's
    mean = 0.0
    for step, batch in enumerate(_batches(job, fabric.device, seed=seed, count=len(rates))):
        for group in optimizer.param_groups:
            group["lr"] = float(rates[step])
        level = _loss_of(fresh, job, batch, fabric=fabric, model=model, seed=seed + step)
        seed_generators(seed + step, 0, fabric.device)
        loss = float(train_step(job, batch, config=config, fabric=fabric, model=model, optimizer=wrapped))
        mean = MEMORY * mean + (1 - MEMORY) * (loss - level)
        if not (math.isfinite(loss) and math.isfinite(level)) or _ran_away(loss - level, changes, levels):
            break
        changes.append(mean / (1 - MEMORY ** (step + 1)))
        levels.append(level)
    if not _fell(changes, levels):
        raise OptionError(
            f"the loss falls at no learning rate from {rates[0]:g} to {rates[-1]:g}; try other rates, or look at the network",
            field="lowest",
        )
    losses = np.mean(levels) + np.array(changes)
    used = rates[: len(losses)]
    return LearningRateSearch(
        rates=tuple(used.tolist()), losses=tuple(losses.tolist()), suggestion=float(used[_steepest(used, losses)])
    )


def _copy(network: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in network.state_dict().items()}


def _loss_of(weights: dict[str, Tensor], job: Job, batch: Batch, *, fabric: Any, model: nn.Module, seed: int) -> float:
    """Loss of a batch with other weights, under the dropout of `seed`; how hard a batch is, is no sign of the rate."""
    now = _copy(job.network)
    job.network.load_state_dict(weights)
    seed_generators(seed, 0, fabric.device)
    with torch.no_grad(), fabric.autocast():
        loss = float(job.loss(model, batch))
    job.network.load_state_dict(now)
    return loss


def _ran_away(change: float, changes: list[float], levels: list[float]) -> bool:
    """Whether the loss is far above its lowest, measured by how far it fell or by its size at the beginning."""
    lowest = min([0.0, *changes])
    return bool(levels) and change - lowest > BURST * max(-lowest, abs(float(np.mean(levels))))


def _fell(changes: list[float], levels: list[float]) -> bool:
    return len(changes) > 1 and -min(changes) > LEAST_FALL * abs(float(np.mean(levels)))


def _steepest(rates: np.ndarray, losses: np.ndarray) -> int:
    """Where the smoothed loss falls most over the logarithm of the rate, before its lowest point."""
    end = int(losses.argmin()) + 1
    return int(np.gradient(losses[:end], np.log(rates[:end])).argmin())


def _batches(job: Job, device: torch.device, *, seed: int, count: int) -> Iterator[Batch]:
    """`count` batches, of as many epochs as it takes."""
    epoch = given = 0
    while given < count:
        epoch, began = epoch + 1, given
        seed_generators(seed, epoch, device)
        for batch in job.batches(epoch, device):
            yield batch
            given += 1
            if given == count:
                return
        if given == began:
            raise OptionError(f"epoch {epoch} of the job has no batches; a search needs {count}", field="steps")
