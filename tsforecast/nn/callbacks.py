"""The state of a training after an epoch -> what is done about it: keep a file, stop, lower the learning rate.

A callback of your own is a subclass of `TrainingCallback`; a plain function of (epoch, values) will do where it only looks.
"""

import math
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

from safetensors.torch import save_file
from torch import Tensor

from tsforecast.errors import OptionError

Mode = Literal["min", "max"]
EpochFunction = Callable[[int, dict[str, float]], None]  # (epoch, values)


class Course(Protocol):
    """What a `TrainingState` shows of a training."""

    learning_rate: float
    rate_factor: float
    stopped: str
    best: dict[str, Tensor]

    def averaged_weights(self) -> Mapping[str, Tensor]: ...


class TrainingState:
    """A training as a callback sees it."""

    def __init__(self, course: Course, *, epoch: int, values: dict[str, float]) -> None:
        self._course = course
        self.epoch = epoch  # the one that ended, from 1; before the first, 0
        self.values = values  # "train_loss", "learning_rate", with validation "val_loss" …; what you add, later callbacks see

    @property
    def learning_rate(self) -> float:
        """Of the last step. Setting it changes all steps to come by the same factor; the schedule goes on on top of it."""
        return self._course.learning_rate

    @learning_rate.setter
    def learning_rate(self, rate: float) -> None:
        if not (rate > 0 and math.isfinite(rate)):
            raise OptionError(f"a callback set learning_rate to {rate!r}; give it a positive number", field="learning_rate")
        self._course.rate_factor *= rate / self._course.learning_rate
        self._course.learning_rate = rate

    def stop(self, reason: str) -> None:
        """End the training after this epoch; the best weights are kept as ever. The first reason given stays."""
        self._course.stopped = self._course.stopped or reason or "stopped by a callback"

    def weights(self) -> dict[str, Tensor]:
        """The weights of now, averaged where training averages them; copies, on the CPU."""
        return {name: value.detach().to("cpu", copy=True) for name, value in self._course.averaged_weights().items()}

    def best_weights(self) -> dict[str, Tensor]:
        """The weights of the best epoch so far; copies, on the CPU. Before the first epoch, empty."""
        return {name: value.clone() for name, value in self._course.best.items()}


class TrainingCallback:
    """Base of what is told of a training. All three calls do nothing here; override what you need.

    A training that was killed goes on with `state()` as it was. If it was killed between the end of an epoch and the end
    of its callbacks, `on_epoch_end` is called again for that epoch; a plain function is not.
    """

    def on_train_begin(self, state: TrainingState) -> None:
        """Forget earlier trainings. `restore` comes after it where a checkpoint is continued."""

    def on_epoch_end(self, state: TrainingState) -> None:
        """After validation of each epoch."""

    def on_train_end(self, state: TrainingState) -> None:
        """After the last epoch, before the network gets its best weights; not after an error."""

    def state(self) -> dict[str, Any]:
        """What must survive a kill, as JSON can hold it."""
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up what `state()` gave."""


class Monitor(TrainingCallback):
    """Follows one of the values, and knows whether it got better."""

    def __init__(self, monitor: str, mode: Mode, *, min_delta: float = 0.0) -> None:
        if mode not in ("min", "max"):
            raise OptionError(f"mode must be min or max, got {mode!r}", field="mode")
        if not min_delta >= 0:
            raise OptionError(f"min_delta must not be negative, got {min_delta!r}", field="min_delta")
        self.monitor, self.mode, self.min_delta = monitor, mode, min_delta
        self.best: float | None = None
        self.stale = 0  # epochs since the best one

    def on_train_begin(self, state: TrainingState) -> None:
        self.best, self.stale = None, 0

    def improved(self, state: TrainingState) -> bool:
        """Take in the value of this epoch: is it better than all before, by more than `min_delta`?

        Raises:
            OptionError: there is no value of that name.
        """
        if self.monitor not in state.values:
            raise OptionError(
                f"{type(self).__name__} monitors {self.monitor!r}, which epoch {state.epoch} does not have; "
                f"there are {', '.join(state.values)}",
                field="monitor",
            )
        value = float(state.values[self.monitor])
        sign = 1.0 if self.mode == "min" else -1.0
        better = not math.isnan(value) and (self.best is None or sign * value < sign * self.best - self.min_delta)
        self.best, self.stale = (value, 0) if better else (self.best, self.stale + 1)
        return better

    def state(self) -> dict[str, Any]:
        return {"best": self.best, "stale": self.stale}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.best, self.stale = state["best"], state["stale"]


class ModelCheckpoint(Monitor):
    """Writes the weights into `folder`: `best.safetensors`, or with `save_best_only=False` `epoch-001.safetensors` and so on.

    A file is whole or not there. Epoch and value are in its metadata.
    """

    def __init__(self, folder: str | Path, monitor: str = "val_loss", mode: Mode = "min", *, save_best_only: bool = True) -> None:
        super().__init__(monitor, mode)
        self.folder, self.save_best_only = Path(folder), save_best_only

    def on_epoch_end(self, state: TrainingState) -> None:
        better = self.improved(state)
        if better or not self.save_best_only:
            name = "best.safetensors" if self.save_best_only else f"epoch-{state.epoch:03d}.safetensors"
            facts = {"epoch": str(state.epoch), self.monitor: repr(float(state.values[self.monitor]))}
            write_tensors(self.folder / name, state.weights(), facts)


class EarlyStopping(Monitor):
    """Stops when `patience` epochs in a row were not better than the best by more than `min_delta`."""

    def __init__(self, monitor: str = "val_loss", patience: int = 10, mode: Mode = "min", min_delta: float = 0.0) -> None:
        super().__init__(monitor, mode, min_delta=min_delta)
        self.patience = _whole("patience", patience, least=1)

    def on_epoch_end(self, state: TrainingState) -> None:
        if not self.improved(state) and self.stale >= self.patience:
            state.stop(f"{self.monitor} was not better than {self.best} for {self.stale} epochs")


class ReduceLROnPlateau(Monitor):
    """Multiplies the learning rate by `factor` after more than `patience` epochs without a better value; then counts anew.

    On top of the schedule, and never from above `min_lr` to below it.
    """

    def __init__(
        self, monitor: str = "val_loss", factor: float = 0.5, patience: int = 3, min_lr: float = 1e-6, mode: Mode = "min"
    ) -> None:
        super().__init__(monitor, mode)
        if not 0 < factor < 1:
            raise OptionError(f"factor must lie between 0 and 1, got {factor!r}", field="factor")
        if not min_lr >= 0:
            raise OptionError(f"min_lr must not be negative, got {min_lr!r}", field="min_lr")
        self.factor, self.min_lr = factor, min_lr
        self.patience = _whole("patience", patience, least=0)

    def on_epoch_end(self, state: TrainingState) -> None:
        if self.improved(state) or self.stale <= self.patience:
            return
        self.stale = 0
        rate = max(state.learning_rate * self.factor, self.min_lr)
        if rate < state.learning_rate:
            state.learning_rate = rate


class CallbackList:
    """Callbacks and plain functions, called in the order they were given."""

    def __init__(self, callbacks: Sequence[TrainingCallback | EpochFunction]) -> None:
        for callback in callbacks:
            if isinstance(callback, type) or not (isinstance(callback, TrainingCallback) or callable(callback)):
                raise OptionError(
                    f"callbacks has {callback!r}; give functions of (epoch, values) or instances of TrainingCallback",
                    field="callbacks",
                )
        self.all = tuple(callbacks)
        self.objects = [callback for callback in callbacks if isinstance(callback, TrainingCallback)]

    def on_train_begin(self, state: TrainingState) -> None:
        for callback in self.objects:
            callback.on_train_begin(state)

    def on_epoch_end(self, state: TrainingState, *, again: bool = False) -> None:
        """`again`: after a kill, for an epoch whose callbacks were not all called; plain functions are not told twice."""
        for callback in self.all:
            if isinstance(callback, TrainingCallback):
                callback.on_epoch_end(state)
            elif not again:
                callback(state.epoch, state.values)

    def on_train_end(self, state: TrainingState) -> None:
        for callback in self.objects:
            callback.on_train_end(state)

    def state(self) -> list[dict[str, Any]]:
        return [{"class": type(callback).__name__, "state": callback.state()} for callback in self.objects]

    def restore(self, states: Sequence[Mapping[str, Any]]) -> None:
        """Give each callback what one of its class, at its place, left."""
        for callback, stored in zip(self.objects, states, strict=False):
            if stored["class"] == type(callback).__name__:
                callback.restore(stored["state"])


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str]) -> None:
    """Write a safetensors file aside and then rename it, so that a kill leaves a whole file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    copies = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
    save_file(copies, aside, metadata=metadata)
    aside.replace(path)


def _whole(name: str, value: object, *, least: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise OptionError(f"{name} must be a whole number of at least {least}, got {value!r}", field=name)
    return value
