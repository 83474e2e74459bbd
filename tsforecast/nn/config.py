"""How to train, as data: read by recipes and models, needed before torch is loaded."""

from dataclasses import dataclass, fields
from typing import Literal

from tsforecast.errors import OptionError


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainConfig:
    """Training options shared by every model; `None` leaves the choice to the model."""

    max_epochs: int | None = None  # epochs of `steps_per_epoch` optimiser steps
    steps_per_epoch: int | None = None
    max_seconds: float | None = None  # wall-clock budget; the epoch under way is finished, the best one kept
    batch_size: int | None = None  # windows per optimiser step
    learning_rate: float | None = None
    optimizer: str = "adamw"  # adam | adamw | sgd | rmsprop | adagrad
    weight_decay: float = 1e-4
    schedule: Literal["plateau", "one_cycle", "constant"] | None = None
    patience: int | None = None  # epochs without a better validation loss before stopping
    plateau_patience: int = 3  # … before the learning rate is multiplied by `plateau_factor`
    plateau_factor: float = 0.5
    min_learning_rate: float = 1e-5
    clip_norm: float = 1.0  # largest gradient norm; 0 = no clipping
    average_decay: float | None = None  # of the exponential moving average of the weights; 0 = no averaging
    precision: Literal["32-true", "16-mixed", "bf16-mixed"] = "32-true"
    accelerator: str = "auto"  # "auto" | "cpu" | "cuda"
    threads: int | None = None  # torch threads on a CPU while training
    workers: int | None = None  # processes for models fitted per series; None = one per core
    checkpoint_dir: str | None = None  # where training leaves what it needs to go on after a kill; None = nowhere
    progress: bool | None = None  # progress bar; None = only on a terminal

    def __post_init__(self) -> None:
        for name in (*WHOLE, *POSITIVE):
            value = getattr(self, name)
            if value is None:
                continue
            if name in WHOLE and (not isinstance(value, int) or isinstance(value, bool)):
                raise OptionError(f"train.{name} must be a whole number, got {value!r}", field=f"train.{name}")
            if not value > 0:
                raise OptionError(f"train.{name} must be positive, got {value!r}", field=f"train.{name}")
        for name, choices in CHOICES.items():
            value = getattr(self, name)
            if value not in choices and not (value is None and name == "schedule"):
                raise OptionError(f"train.{name} must be one of {', '.join(choices)}, got {value!r}", field=f"train.{name}")
        if self.average_decay is not None and not 0 <= self.average_decay < 1:
            raise OptionError(f"train.average_decay must lie in [0, 1), got {self.average_decay!r}", field="train.average_decay")

    def filled(self, **defaults: object) -> "TrainConfig":
        """The same options, with `defaults` where they are None."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return TrainConfig(**values | {name: value for name, value in defaults.items() if values[name] is None})


OPTIMIZERS = ("adam", "adamw", "sgd", "rmsprop", "adagrad")
WHOLE = ("max_epochs", "steps_per_epoch", "batch_size", "patience", "threads", "workers")
POSITIVE = ("max_seconds", "learning_rate", "plateau_factor", "min_learning_rate")
CHOICES = {
    "optimizer": OPTIMIZERS,
    "schedule": ("plateau", "one_cycle", "constant"),
    "precision": ("32-true", "16-mixed", "bf16-mixed"),
    "accelerator": ("auto", "cpu", "cuda"),
}
