"""A network and a TrainConfig -> its optimiser, the learning rate of each step, the average of its weights."""

import contextlib
import math
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from tsforecast.nn.config import TrainConfig

SHORT_WARMUP = 50  # most steps of the warm-up where nobody says
DECAY = 0.99  # of the moving average where nobody says


def make_optimizer(network: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """The optimiser called `config.optimizer`; biases and norms are not decayed."""
    decayed = [p for p in network.parameters() if p.ndim >= 2]
    plain = [p for p in network.parameters() if p.ndim < 2]
    groups = [{"params": decayed, "weight_decay": config.weight_decay}, {"params": plain, "weight_decay": 0.0}]
    rate = config.learning_rate or 1e-3
    fused = config.precision != "16-mixed"  # whose gradient scaler cannot clip for a fused step
    match config.optimizer:
        case "adam":
            return torch.optim.Adam(groups, lr=rate, fused=fused)
        case "adamw":
            return torch.optim.AdamW(groups, lr=rate, fused=fused)
        case "sgd":
            return torch.optim.SGD(groups, lr=rate)
        case "momentum":
            return torch.optim.SGD(groups, lr=rate, momentum=config.momentum)
        case "rmsprop":
            return torch.optim.RMSprop(groups, lr=rate)
        case _:
            return torch.optim.Adagrad(groups, lr=rate)


def penalty(network: nn.Module, config: TrainConfig) -> Tensor | None:
    """`l1` Σ|w| + `l2` Σw² over the weight matrices that are trained; None where both are 0."""
    if not (config.l1 or config.l2):
        return None
    weights = [p for p in network.parameters() if p.ndim >= 2 and p.requires_grad]
    terms = [config.l1 * p.abs().sum() for p in weights] if config.l1 else []
    terms += [config.l2 * p.square().sum() for p in weights] if config.l2 else []
    return torch.stack(terms).sum() if terms else None


# Learning rate


def total_steps(config: TrainConfig) -> int:
    return max((config.max_epochs or 1) * (config.steps_per_epoch or 1), 1)


def warmup_steps(config: TrainConfig) -> int:
    """Steps until the rate has its height; the first step has 1 / warmup_steps of it."""
    if config.warmup_steps is not None:
        return config.warmup_steps
    return min(SHORT_WARMUP, max(total_steps(config) // 10, 1))


def scheduled_rate(config: TrainConfig, step: int, *, height: float) -> float:
    """Learning rate of a step, counted from 0 over all epochs: a linear warm-up, then the schedule.

    "cosine" begins to fall where the warm-up ends (Loshchilov & Hutter 2017, without restarts). "one_cycle" falls along
    the same curve from the first step on, and the warm-up is a factor of it. Both end at `min_learning_rate`.

    Args:
        config: with `max_epochs`, `steps_per_epoch` and `schedule`.
        step: of the optimiser.
        height: the rate from which a schedule comes down; of "plateau", where its cuts have brought it.
    """
    total, warm = total_steps(config), warmup_steps(config)
    rise = min(1.0, (step + 1) / warm) if warm else 1.0
    lowest = config.min_learning_rate
    match config.schedule:
        case "one_cycle":
            done = min(step / total, 1.0)
            return rise * (lowest + (height - lowest) * 0.5 * (1 + math.cos(math.pi * done)))
        case "cosine":
            lowest = min(lowest, height)
            done = min(max(step - warm, 0) / max(total - warm, 1), 1.0)
            return rise * (lowest + (height - lowest) * 0.5 * (1 + math.cos(math.pi * done)))
        case _:
            return rise * height


# Averages of the weights


class Average:
    """What validation and the best weights are taken from."""

    def __init__(self, network: nn.Module) -> None:
        self.network = network

    def after_step(self, step: int) -> None:
        """Take in the weights after an optimiser step, counted from 0."""

    def after_epoch(self) -> None:
        """Take in the weights at the end of an epoch."""

    def weights(self) -> dict[str, Tensor]:
        """The average, by the names of the network's state; on its device, not a copy."""
        return dict(self.network.state_dict())

    def tensors(self) -> dict[str, Tensor]:
        """What a checkpoint must hold."""
        return {}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Take up `tensors()` of a checkpoint."""

    @contextlib.contextmanager
    def applied(self) -> Iterator[None]:
        """Inside, the network has the averaged weights."""
        live = {name: value.detach().clone() for name, value in self.network.state_dict().items()}
        self.network.load_state_dict(self.weights())
        try:
            yield
        finally:
            self.network.load_state_dict(live)

    def _copy(self) -> dict[str, Tensor]:
        return {name: value.detach().clone() for name, value in self.network.state_dict().items()}

    def _to_device(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        device = next(self.network.parameters()).device
        return {name: value.to(device) for name, value in tensors.items()}


class NoAverage(Average):
    """The weights as they are."""

    @contextlib.contextmanager
    def applied(self) -> Iterator[None]:
        yield


class MovingAverage(Average):
    """Exponential moving average of the weights (Polyak & Juditsky 1992). Buffers of whole numbers are the latest."""

    def __init__(self, network: nn.Module, decay: float) -> None:
        super().__init__(network)
        self.decay, self.shadow = decay, self._copy()

    @torch.no_grad()
    def after_step(self, step: int) -> None:
        decay = min(self.decay, (1 + step) / (10 + step))  # follow closely while everything still moves
        live = self.network.state_dict()
        names = [name for name, value in live.items() if value.is_floating_point()]
        torch._foreach_lerp_([self.shadow[name] for name in names], [live[name].detach() for name in names], 1 - decay)
        for name in live.keys() - set(names):
            self.shadow[name].copy_(live[name])

    def weights(self) -> dict[str, Tensor]:
        return self.shadow

    def tensors(self) -> dict[str, Tensor]:
        return self.shadow

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        self.shadow = self._to_device(tensors)


class SnapshotAverage(Average):
    """Uniform mean of the weights at the end of the last epochs (Izmailov et al. 2018)."""

    def __init__(self, network: nn.Module, size: int) -> None:
        super().__init__(network)
        self.size = size
        self.taken: list[dict[str, Tensor]] = []  # oldest first
        self.mean: dict[str, Tensor] = {}

    def after_epoch(self) -> None:
        self.taken = [*self.taken, self._copy()][-self.size :]
        self._update()

    def weights(self) -> dict[str, Tensor]:
        return self.mean or super().weights()

    def tensors(self) -> dict[str, Tensor]:
        return {f"{place}.{name}": value for place, one in enumerate(self.taken) for name, value in one.items()}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        found: dict[int, dict[str, Tensor]] = {}
        for key, value in self._to_device(tensors).items():
            place, name = key.split(".", 1)
            found.setdefault(int(place), {})[name] = value
        self.taken = [found[place] for place in sorted(found)]
        self._update()

    def _update(self) -> None:
        if self.taken:
            self.mean = {name: self._mean([one[name] for one in self.taken]) for name in self.taken[-1]}

    @staticmethod
    def _mean(values: list[Tensor]) -> Tensor:
        return torch.stack(values).mean(0) if values[-1].is_floating_point() else values[-1]


def make_average(network: nn.Module, config: TrainConfig) -> Average:
    """The average that `config.average` names; None: a moving one where `average_decay` is above 0."""
    kind = config.average or ("ema" if config.average_decay else "none")
    if kind == "ema":
        return MovingAverage(network, config.average_decay or DECAY)
    return SnapshotAverage(network, config.snapshots) if kind == "snapshots" else NoAverage(network)
