"""A network, its batches and a TrainConfig -> the same network with the weights of its best epoch. The one training loop.

Device, precision and gradient plumbing are Lightning Fabric's. All chance comes from (seed, epoch), so a run that was
killed goes on from its last whole epoch and ends with the weights of an undisturbed one.
"""

import contextlib
import hashlib
import json
import math
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from tsforecast.errors import OptionError, TrainingDiverged
from tsforecast.nn.callbacks import CallbackList, EpochFunction, TrainingCallback, TrainingState, write_tensors
from tsforecast.nn.config import TrainConfig
from tsforecast.nn.optim import Average, make_average, make_optimizer, penalty, scheduled_rate

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
    frozen: Callable[[str], bool] | None = None  # names of parameters that keep their values at first; None = none do
    frozen_epochs: int = 0  # … and for how many epochs
    thawed_rate: float = 1.0  # factor of the learning rate in the epochs after these, where there is `frozen`


@dataclass(kw_only=True, slots=True)
class TrainResult:
    """What training leaves besides the weights."""

    best_epoch: int = 0
    best_loss: float = float("inf")  # validation loss of the kept weights (training loss without validation)
    history: list[dict[str, float]] = field(default_factory=list)  # one entry an epoch
    resumed_from: int = 0  # epoch a checkpoint had reached; 0 = fresh
    stopped: str = ""  # why a callback ended the training; "" = none did


def train_network(
    job: Job, *, config: TrainConfig, seed: int, callbacks: Sequence[TrainingCallback | EpochFunction] = ()
) -> TrainResult:
    """Train `job.network` in place and leave it, on the CPU, with the weights of its best epoch.

    Args:
        job: network, batches, loss, validation.
        config: all options filled (`max_epochs`, `learning_rate`, `patience`, `schedule`, `average_decay` not None).
        seed: of dropout; the global random state is put back as it was.
        callbacks: in this order: `TrainingCallback`s, or functions called with (epoch, values) after each epoch.

    Raises:
        OptionError: the accelerator or the compiler is not there, everything is frozen, or a callback monitors what is not.
        TrainingDiverged: the loss became infinite or NaN.
    """
    told = CallbackList(callbacks)
    fabric = make_fabric(config)
    device = fabric.device
    network = job.network
    with TRAINING, machine_settings(config, device), compiled(network, config, device), requires_grad_kept(network):
        optimizer = make_optimizer(network, config)
        model, wrapped = fabric.setup(network, optimizer)
        average = make_average(network, config)
        run = _Run(job=job, config=config, seed=seed, optimizer=optimizer, average=average, callbacks=told)
        run.begin(run.resume())
        bar = _ProgressBar(config)
        started = time.perf_counter()
        for epoch in range(run.result.resumed_from + 1, (config.max_epochs or 1) + 1):
            if run.best and (run.stopped or run.stale >= (config.patience or 1) or _spent(started, config)):
                break
            values = run.epoch(epoch, fabric=fabric, model=model, optimizer=wrapped)
            run.keep(epoch, values)
            run.tell(epoch, values)
            bar.show(epoch, values)
        bar.close()
        run.end()
        network.to("cpu")
        network.load_state_dict({name: value.to("cpu") for name, value in run.best.items()})
        network.eval()
    return run.result


def train_step(job: Job, batch: Batch, *, config: TrainConfig, fabric: Any, model: nn.Module, optimizer: Any) -> Tensor:
    """One optimiser step; gives back the loss of the batch, without the penalties on weights."""
    optimizer.zero_grad(set_to_none=True)
    with fabric.autocast():
        loss = job.loss(model, batch)
    extra = penalty(job.network, config)
    fabric.backward(loss if extra is None else loss + extra)
    if config.clip_norm:
        fabric.clip_gradients(model, optimizer, max_norm=config.clip_norm, error_if_nonfinite=False)
    optimizer.step()
    return loss.detach()


def freeze(job: Job, epoch: int, trained: Sequence[str]) -> None:
    """Let those of the parameters `trained` learn that are not frozen in this epoch.

    Raises:
        OptionError: none is left.
    """
    if job.frozen is None:
        return
    early = epoch <= job.frozen_epochs
    learning = {name for name in trained if not (early and job.frozen(name))}
    if not learning:
        raise OptionError(
            f"frozen names all {len(trained)} parameters that are trained, so epoch {epoch} has nothing to learn; "
            "leave some out, or set frozen_epochs to 0",
            field="frozen",
        )
    for name, parameter in job.network.named_parameters():
        if name in trained:
            parameter.requires_grad_(name in learning)


def trained_names(network: nn.Module) -> tuple[str, ...]:
    return tuple(name for name, parameter in network.named_parameters() if parameter.requires_grad)


@dataclass(kw_only=True, slots=True)
class _Run:
    """The state of one training between epochs; all of it is in the checkpoint."""

    job: Job
    config: TrainConfig
    seed: int
    optimizer: torch.optim.Optimizer
    average: Average
    callbacks: CallbackList
    result: TrainResult = field(default_factory=TrainResult)
    best: dict[str, Tensor] = field(default_factory=dict)
    stale: int = 0  # epochs since the best one
    plateau: int = 0  # epochs since the best one or the last cut of the learning rate
    rate: float = 0.0  # learning rate of the plateau schedule
    step: int = 0
    rate_factor: float = 1.0  # of all learning rates, as callbacks set it
    learning_rate: float = 0.0  # of the last step
    stopped: str = ""  # why a callback ended the training
    trained: tuple[str, ...] = ()  # parameters that learn, or will when they are no longer frozen

    def __post_init__(self) -> None:
        self.rate = self.learning_rate = self.config.learning_rate or 1e-3
        self.trained = trained_names(self.job.network)

    def epoch(self, number: int, *, fabric: Any, model: nn.Module, optimizer: Any) -> dict[str, float]:
        """One pass: steps, then validation with the averaged weights."""
        model.train()
        freeze(self.job, number, self.trained)
        seed_generators(self.seed, number, fabric.device)
        began, windows, losses = time.perf_counter(), 0, []
        for batch in self.job.batches(number, fabric.device):
            self._set_rate(number)
            loss = train_step(self.job, batch, config=self.config, fabric=fabric, model=model, optimizer=optimizer)
            self.average.after_step(self.step)
            self.step += 1
            windows += len(batch)
            losses.append(loss)
        self.average.after_epoch()
        train_loss = float(torch.stack(losses).float().mean())
        self._check("training", train_loss, number)
        seconds = time.perf_counter() - began
        values = {"train_loss": train_loss, "learning_rate": self.learning_rate}
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
        """Remember the best weights, move the plateau schedule, write the checkpoint of before the callbacks."""
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
        self.save(number, told=not self.callbacks.objects)

    def averaged_weights(self) -> Mapping[str, Tensor]:
        return self.average.weights()

    def begin(self, known: Mapping[str, Any] | None) -> None:
        """Tell the callbacks that training begins; `known`: what they and the learning rate knew when it was killed."""
        state = self.last_state()
        self.callbacks.on_train_begin(state)
        if known is None:
            return
        self.rate_factor, self.learning_rate, self.stopped = known["rate_factor"], known["learning_rate"], known["stopped"]
        self.callbacks.restore(known["states"])
        if not known["told"]:
            self.callbacks.on_epoch_end(state, again=True)
            self.save(state.epoch, told=True)

    def tell(self, number: int, values: dict[str, float]) -> None:
        """Call the callbacks; what they remember is written too."""
        self.callbacks.on_epoch_end(TrainingState(self, epoch=number, values=values))
        if self.callbacks.objects:
            self.save(number, told=True)

    def end(self) -> None:
        self.callbacks.on_train_end(self.last_state())
        self.result.stopped = self.stopped

    def last_state(self) -> TrainingState:
        """After the last whole epoch; before the first, epoch 0 without values."""
        last = {"epoch": 0.0} | (self.result.history[-1] if self.result.history else {})
        return TrainingState(self, epoch=int(last.pop("epoch")), values=last)

    def _set_rate(self, number: int) -> None:
        """Learning rate of the step that comes."""
        rate = scheduled_rate(self.config, self.step, height=self.rate)
        thawed = self.job.frozen is not None and number > self.job.frozen_epochs
        self.learning_rate = rate * self.rate_factor * (self.job.thawed_rate if thawed else 1.0)
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate

    def save(self, number: int, *, told: bool) -> None:
        """Write everything a resumed run needs; `told`: whether the callbacks know of this epoch."""
        if self.config.checkpoint_dir is None:
            return
        tensors = {f"network.{name}": value for name, value in self.job.network.state_dict().items()}
        tensors |= {f"best.{name}": value for name, value in self.best.items()}
        tensors |= {f"average.{name}": value for name, value in self.average.tensors().items()}
        for slot, state in self.optimizer.state_dict()["state"].items():
            present = {name: value for name, value in state.items() if value is not None}
            tensors |= {f"optimizer.{slot}.{name}": torch.as_tensor(value) for name, value in present.items()}
        facts = {
            "identity": self._identity(),
            "epoch": number,
            "stale": self.stale,
            "plateau": self.plateau,
            "rate": self.rate,
            "step": self.step,
            "result": asdict(self.result),
            "callbacks": {
                "told": told,
                "states": self.callbacks.state(),
                "rate_factor": self.rate_factor,
                "learning_rate": self.learning_rate,
                "stopped": self.stopped,
            },
        }
        write_tensors(Path(self.config.checkpoint_dir) / CHECKPOINT, tensors, {"facts": json.dumps(facts)})

    def resume(self) -> Mapping[str, Any] | None:
        """Take up the checkpoint of this very run, if there is one; gives back what is for the callbacks."""
        if self.config.checkpoint_dir is None:
            return None
        path = Path(self.config.checkpoint_dir) / CHECKPOINT
        facts = _checkpoint_facts(path)
        if facts is None or facts["identity"] != self._identity():
            return None
        tensors = load_file(path, device="cpu")
        self.job.network.load_state_dict(_under("network.", tensors))
        self.best = _under("best.", tensors)
        self.average.restore(_under("average.", tensors))
        state: dict[int, dict[str, Tensor]] = {}
        for name, value in _under("optimizer.", tensors).items():
            slot, key = name.split(".", 1)
            state.setdefault(int(slot), {})[key] = value
        self.optimizer.load_state_dict({"state": state, "param_groups": self.optimizer.state_dict()["param_groups"]})
        self.stale, self.plateau, self.rate, self.step = facts["stale"], facts["plateau"], facts["rate"], facts["step"]
        self.result = TrainResult(**facts["result"] | {"resumed_from": facts["epoch"]})
        known: Mapping[str, Any] = facts["callbacks"]
        return known

    def _identity(self) -> str:
        options = {name: value for name, value in asdict(self.config).items() if name not in OF_THE_MACHINE}
        parts: list[Any] = [self.job.identity, options, self.seed]
        if self.job.frozen is not None:
            parts += [[name for name in self.trained if self.job.frozen(name)], self.job.frozen_epochs, self.job.thawed_rate]
        text = json.dumps(parts, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


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


def make_fabric(config: TrainConfig) -> Any:
    from lightning.fabric import Fabric

    if config.accelerator == "cuda" and not torch.cuda.is_available():
        raise OptionError("train.accelerator is 'cuda', but torch sees no CUDA device; use 'auto'", field="train.accelerator")
    accelerator = config.accelerator
    if accelerator == "auto":  # not Apple's: it has no float64
        accelerator = "cuda" if torch.cuda.is_available() else "cpu"
    return Fabric(accelerator=accelerator, devices=1, precision=config.precision)


@contextlib.contextmanager
def machine_settings(config: TrainConfig, device: torch.device) -> Iterator[None]:
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


@contextlib.contextmanager
def requires_grad_kept(network: nn.Module) -> Iterator[None]:
    """Afterwards the parameters want gradients, or do not, as before."""
    before = [(parameter, parameter.requires_grad) for parameter in network.parameters()]
    try:
        yield
    finally:
        for parameter, wanted in before:
            parameter.requires_grad_(wanted)


@contextlib.contextmanager
def compiled(network: nn.Module, config: TrainConfig, device: torch.device) -> Iterator[None]:
    """Inside, calls of the network are compiled if the options say so.

    Raises:
        OptionError: torch cannot compile on this machine. Only a trial tells: it wants a compiler, headers, Triton.
    """
    if not config.compile:
        yield
        return
    try:
        torch.compile(lambda x: x.sin() + 1)(torch.ones(2, device=device))
    except Exception as error:
        raise OptionError(
            f"train.compile is true, but torch.compile fails on this machine ({type(error).__name__}); "
            "install a C++ compiler, for CUDA Triton too, or leave it false",
            field="train.compile",
        ) from error
    network.compile()
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="The .grad attribute of a Tensor that is not a leaf")  # dynamo's own look
            yield
    finally:
        network._compiled_call_impl = None


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


def seed_generators(seed: int, epoch: int, device: torch.device) -> None:
    """Seed the generators that `machine_settings` puts back, and no other."""
    mixed = int.from_bytes(hashlib.sha256(f"{seed}:{epoch}".encode()).digest()[:7], "big")
    torch.default_generator.manual_seed(mixed)
    if device.type == "cuda":
        torch.cuda.manual_seed(mixed)
