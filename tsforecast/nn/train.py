"""A network, its batches and a TrainConfig -> the same network with the weights of its best epoch. The one training loop.

Device, precision and gradient plumbing are Lightning Fabric's. All chance comes from (seed, epoch), so a run that was
killed goes on from its last whole epoch and ends with the weights of an undisturbed one.
"""

import contextlib
import hashlib
import json
import math
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from tsforecast.errors import OptionError, TrainingDiverged
from tsforecast.nn.config import TrainConfig

Batch = Any
CHECKPOINT = "checkpoint.safetensors"
TRAINING = threading.RLock()  # torch's dropout draws from one generator of the process, so one training at a time uses it
OF_THE_MACHINE = ("checkpoint_dir", "progress", "threads", "max_seconds")  # options that may change between start and resume


@dataclass(kw_only=True, slots=True)
class Job:
    """What to train on: how a batch is made, what is lost on it, and how good the network is on held-out data."""

    network: nn.Module
    batches: Callable[[int, torch.device], Iterable[Batch]]  # epoch (from 1), device -> one epoch of batches
    loss: Callable[[nn.Module, Batch], Tensor]  # mean over the batch, a scalar
    validate: Callable[[nn.Module, torch.device], float] | None  # None: no held-out data, the training loss decides
    identity: str  # changes when data or options change: a checkpoint of another identity is not continued


@dataclass(kw_only=True, slots=True)
class TrainResult:
    """What training leaves besides the weights."""

    best_epoch: int = 0
    best_loss: float = float("inf")  # validation loss of the kept weights (training loss without validation)
    history: list[dict[str, float]] = field(default_factory=list)  # one entry an epoch
    resumed_from: int = 0  # epoch a checkpoint had reached; 0 = fresh


def train_network(
    job: Job, *, config: TrainConfig, seed: int, callbacks: Sequence[Callable[[int, dict[str, float]], None]] = ()
) -> TrainResult:
    """Train `job.network` in place and leave it, on the CPU, with the weights of its best epoch.

    Args:
        job: network, batches, loss, validation.
        config: all options filled (`max_epochs`, `learning_rate`, `patience`, `schedule`, `average_decay` not None).
        seed: of dropout; the global random state is put back as it was.
        callbacks: called with (epoch, values) after each epoch.

    Raises:
        OptionError: the accelerator is not there.
        TrainingDiverged: the loss became infinite or NaN.
    """
    fabric = _fabric(config)
    device = fabric.device
    with TRAINING, _settings(config, device):
        network = job.network
        optimizer = make_optimizer(network, config)
        model, wrapped = fabric.setup(network, optimizer)
        run = _Run(job=job, config=config, seed=seed, optimizer=optimizer, average=_Average(network, config.average_decay or 0.0))
        run.resume()
        bar = _ProgressBar(config)
        started = time.perf_counter()
        for epoch in range(run.result.resumed_from + 1, (config.max_epochs or 1) + 1):
            if run.stale >= (config.patience or 1) or _spent(started, config):
                break
            values = run.epoch(epoch, fabric=fabric, model=model, optimizer=wrapped)
            run.keep(epoch, values)
            for callback in callbacks:
                callback(epoch, values)
            bar.show(epoch, values)
        bar.close()
        network.to("cpu")
        network.load_state_dict({name: value.to("cpu") for name, value in run.best.items()})
        network.eval()
    return run.result


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
            return torch.optim.SGD(groups, lr=rate, momentum=0.9)
        case "rmsprop":
            return torch.optim.RMSprop(groups, lr=rate)
        case _:
            return torch.optim.Adagrad(groups, lr=rate)


@dataclass(kw_only=True, slots=True)
class _Run:
    """The state of one training between epochs; all of it is in the checkpoint."""

    job: Job
    config: TrainConfig
    seed: int
    optimizer: torch.optim.Optimizer
    average: "_Average"
    result: TrainResult = field(default_factory=TrainResult)
    best: dict[str, Tensor] = field(default_factory=dict)
    stale: int = 0  # epochs since the best one
    plateau: int = 0  # epochs since the best one or the last cut of the learning rate
    rate: float = 0.0  # learning rate of the plateau schedule
    step: int = 0

    def __post_init__(self) -> None:
        self.rate = self.config.learning_rate or 1e-3

    def epoch(self, number: int, *, fabric: Any, model: nn.Module, optimizer: Any) -> dict[str, float]:
        """One pass: steps, then validation with the averaged weights."""
        model.train()
        _seed(_mix(self.seed, number), fabric.device)
        began, windows, losses = time.perf_counter(), 0, []
        for batch in self.job.batches(number, fabric.device):
            self._set_rate()
            optimizer.zero_grad(set_to_none=True)
            with fabric.autocast():
                loss = self.job.loss(model, batch)
            fabric.backward(loss)
            if self.config.clip_norm:
                fabric.clip_gradients(model, optimizer, max_norm=self.config.clip_norm, error_if_nonfinite=False)
            optimizer.step()
            self.average.update(self.step)
            self.step += 1
            windows += len(batch)
            losses.append(loss.detach())
        train_loss = float(torch.stack(losses).float().mean())
        self._check("training", train_loss, number)
        seconds = time.perf_counter() - began
        values = {"train_loss": train_loss, "learning_rate": self.optimizer.param_groups[0]["lr"]}
        values |= {"windows_per_s": windows / max(seconds, 1e-9), "epoch_s": seconds}
        if self.job.validate is not None:
            with self.average.applied(), torch.no_grad():
                model.eval()
                values["val_loss"] = self.job.validate(model, fabric.device)
            self._check("validation", values["val_loss"], number)
        return values

    def _check(self, which: str, value: float, number: int) -> None:
        if not math.isfinite(value):
            raise TrainingDiverged(
                f"the {which} loss is {value} in epoch {number}; lower train.learning_rate "
                f"(now {self.config.learning_rate}) or look for extreme values in the series",
                field="train.learning_rate",
            )

    def keep(self, number: int, values: dict[str, float]) -> None:
        """Remember the best weights, move the plateau schedule, write the checkpoint."""
        score = values.get("val_loss", values["train_loss"])
        if score < self.result.best_loss or not self.best:
            self.result.best_loss, self.result.best_epoch = score, number
            self.best = {name: value.detach().to("cpu", copy=True) for name, value in self.average.weights().items()}
            self.stale = self.plateau = 0
        else:
            self.stale += 1
            self.plateau += 1
            if self.plateau > self.config.plateau_patience and self.config.schedule == "plateau":
                self.rate = max(self.rate * self.config.plateau_factor, self.config.min_learning_rate)
                self.plateau = 0
        self.result.history.append({"epoch": float(number), **values})
        if self.config.checkpoint_dir is not None:
            self.save(number)

    def _set_rate(self) -> None:
        """Learning rate of the step that comes: a short warm-up, then the schedule."""
        total = max((self.config.max_epochs or 1) * (self.config.steps_per_epoch or 1), 1)
        base = self.config.learning_rate or 1e-3
        warm = min(1.0, (self.step + 1) / min(50, max(total // 10, 1)))
        if self.config.schedule == "one_cycle":
            done = min(self.step / total, 1.0)
            rate = self.config.min_learning_rate + (base - self.config.min_learning_rate) * 0.5 * (1 + math.cos(math.pi * done))
        else:
            rate = self.rate
        for group in self.optimizer.param_groups:
            group["lr"] = warm * rate

    def save(self, number: int) -> None:
        """Write everything a resumed run needs, aside and then renamed, so that a kill leaves a whole file."""
        folder = Path(self.config.checkpoint_dir or ".")
        folder.mkdir(parents=True, exist_ok=True)
        tensors = {f"network.{name}": value for name, value in self.job.network.state_dict().items()}
        tensors |= {f"best.{name}": value for name, value in self.best.items()}
        tensors |= {f"average.{name}": value for name, value in self.average.shadow.items()}
        for slot, state in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{slot}.{name}": torch.as_tensor(value) for name, value in state.items()}
        facts = {
            "identity": self._identity(),
            "epoch": number,
            "stale": self.stale,
            "plateau": self.plateau,
            "rate": self.rate,
            "step": self.step,
            "result": asdict(self.result),
        }
        aside = folder / f".{CHECKPOINT}.{os.getpid()}"
        copies = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
        save_file(copies, aside, metadata={"facts": json.dumps(facts)})
        aside.replace(folder / CHECKPOINT)

    def resume(self) -> None:
        """Take up the checkpoint of this very run, if there is one."""
        if self.config.checkpoint_dir is None:
            return
        path = Path(self.config.checkpoint_dir) / CHECKPOINT
        facts = _checkpoint_facts(path)
        if facts is None or facts["identity"] != self._identity():
            return
        tensors = load_file(path, device="cpu")
        device = next(self.job.network.parameters()).device
        self.job.network.load_state_dict(_under("network.", tensors))
        self.best = _under("best.", tensors)
        self.average.shadow = {name: value.to(device) for name, value in _under("average.", tensors).items()}
        state: dict[int, dict[str, Tensor]] = {}
        for name, value in _under("optimizer.", tensors).items():
            slot, key = name.split(".", 1)
            state.setdefault(int(slot), {})[key] = value
        self.optimizer.load_state_dict({"state": state, "param_groups": self.optimizer.state_dict()["param_groups"]})
        self.stale, self.plateau, self.rate, self.step = facts["stale"], facts["plateau"], facts["rate"], facts["step"]
        self.result = TrainResult(**facts["result"] | {"resumed_from": facts["epoch"]})

    def _identity(self) -> str:
        options = {name: value for name, value in asdict(self.config).items() if name not in OF_THE_MACHINE}
        text = json.dumps([self.job.identity, options, self.seed], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


class _Average:
    """Exponential moving average of the weights (Polyak & Juditsky 1992); decay 0 = the weights themselves."""

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.network, self.decay = network, decay
        self.shadow = {name: value.detach().clone() for name, value in network.state_dict().items()} if decay else {}

    @torch.no_grad()
    def update(self, step: int) -> None:
        if not self.decay:
            return
        decay = min(self.decay, (1 + step) / (10 + step))  # follow closely while everything still moves
        live = self.network.state_dict()
        torch._foreach_lerp_([self.shadow[name] for name in live], [value.detach() for value in live.values()], 1 - decay)

    def weights(self) -> dict[str, Tensor]:
        return self.shadow if self.decay else dict(self.network.state_dict())

    @contextlib.contextmanager
    def applied(self) -> Iterator[None]:
        """Inside, the network has the averaged weights."""
        if not self.decay:
            yield
            return
        live = {name: value.detach().clone() for name, value in self.network.state_dict().items()}
        self.network.load_state_dict(self.shadow)
        try:
            yield
        finally:
            self.network.load_state_dict(live)


class _ProgressBar:
    """One line that is written over, only where somebody watches."""

    def __init__(self, config: TrainConfig) -> None:
        self.on = sys.stderr.isatty() if config.progress is None else config.progress
        self.total = config.max_epochs or 1

    def show(self, epoch: int, values: dict[str, float]) -> None:
        if self.on:
            numbers = "  ".join(f"{name} {value:.4g}" for name, value in values.items())
            sys.stderr.write(f"\r\x1b[Kepoch {epoch}/{self.total}  {numbers}")
            sys.stderr.flush()

    def close(self) -> None:
        if self.on:
            sys.stderr.write("\n")


def _fabric(config: TrainConfig) -> Any:
    from lightning.fabric import Fabric

    if config.accelerator == "cuda" and not torch.cuda.is_available():
        raise OptionError("train.accelerator is 'cuda', but torch sees no CUDA device; use 'auto'", field="train.accelerator")
    accelerator = config.accelerator
    if accelerator == "auto":  # not Apple's: it has no float64
        accelerator = "cuda" if torch.cuda.is_available() else "cpu"
    return Fabric(accelerator=accelerator, devices=1, precision=config.precision)


@contextlib.contextmanager
def _settings(config: TrainConfig, device: torch.device) -> Iterator[None]:
    """Thread count, denormals and random state as training wants them; afterwards as they were.

    Denormals: a recurrent network with fresh weights read at its last step backpropagates denormal numbers,
    which costs a factor of four on a CPU until the gates have moved.
    """
    threads = torch.get_num_threads()
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    torch.set_flush_denormal(True)
    devices = [device.index or 0] if device.type == "cuda" else []
    try:
        with torch.random.fork_rng(devices=devices, enabled=True):
            yield
    finally:
        torch.set_flush_denormal(False)
        torch.set_num_threads(threads)


def _checkpoint_facts(path: Path) -> dict[str, Any] | None:
    """What stands in the header of a checkpoint; None where there is no readable one."""
    from safetensors import SafetensorError, safe_open

    if not path.exists():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            facts: dict[str, Any] = json.loads((file.metadata() or {})["facts"])
            return facts
    except (SafetensorError, KeyError, ValueError):
        return None


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _spent(started: float, config: TrainConfig) -> bool:
    return config.max_seconds is not None and time.perf_counter() - started >= config.max_seconds


def _seed(seed: int, device: torch.device) -> None:
    """Seed the generators that `_settings` puts back, and no other."""
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)


def _mix(seed: int, epoch: int) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed}:{epoch}".encode()).digest()[:7], "big")
