"""How to train, as data: read by recipes and models, needed before torch is loaded."""

from dataclasses import dataclass, fields
from numbers import Real
from typing import Literal

from tsforecast.errors import OptionError
from tsforecast.nn.augmentations import AnyAugmentation, check_augmentations


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainConfig:
    """Training options shared by every model; `None` leaves the choice to the model."""

    max_epochs: int | None = None  # epochs of `steps_per_epoch` optimiser steps
    steps_per_epoch: int | None = None
    max_seconds: float | None = None  # wall-clock budget; the epoch under way is finished, the best one kept
    batch_size: int | None = None  # windows per optimiser step
    sampling: Literal["windows", "series", "recent"] = "windows"  # which windows: each as likely | each series | newer ones more
    half_life: int | None = None  # steps of age that halve the weight of a window in "recent"; None = the context
    learning_rate: float | None = None
    optimizer: str = "adamw"  # adam | adamw | sgd | momentum | rmsprop | adagrad
    momentum: float = 0.9  # of the optimiser "momentum"
    weight_decay: float = 1e-4
    l1: float = 0.0  # times the sum of |w| over weight matrices, added to the training loss
    l2: float = 0.0  # times the sum of w² over weight matrices, likewise
    schedule: Literal["plateau", "cosine", "one_cycle", "constant"] | None = None
    warmup_steps: int | None = None  # steps in which the rate rises to its height; 0 = none, None = a tenth, at most 50
    patience: int | None = None  # epochs without a better validation loss before stopping
    plateau_patience: int = 3  # … before the learning rate is multiplied by `plateau_factor`
    plateau_factor: float = 0.5
    min_learning_rate: float = 1e-5
    clip_norm: float = 1.0  # largest gradient norm; 0 = no clipping
    average: Literal["ema", "snapshots", "none"] | None = None  # of the weights; None = "ema" where average_decay says so
    average_decay: float | None = None  # of the exponential moving average of the weights; 0 = no averaging
    snapshots: int = 5  # last epochs whose weights "snapshots" averages
    augment: tuple[AnyAugmentation, ...] = ()  # changes of training windows, in this order; () = none
    compile: bool = False  # torch.compile the network; needs a C++ compiler, or Triton on CUDA
    precision: Literal["32-true", "16-mixed", "bf16-mixed"] = "32-true"
    accelerator: str = "auto"  # "auto" | "cpu" | "cuda"
    threads: int | None = None  # torch threads on a CPU while training
    workers: int | None = None  # processes for models fitted per series; None = one per core
    checkpoint_dir: str | None = None  # where training leaves what it needs to go on after a kill; None = nowhere
    progress: bool | None = None  # progress bar; None = only on a terminal

    def __post_init__(self) -> None:
        for name in (*WHOLE_POSITIVE, *WHOLE_OR_ZERO, *POSITIVE, *NOT_NEGATIVE):
            value = getattr(self, name)
            if value is not None:
                _check_number(name, value)
        for name, choices in CHOICES.items():
            value = getattr(self, name)
            if value not in choices and not (value is None and name in MAY_BE_OPEN):
                raise OptionError(f"train.{name} must be one of {', '.join(choices)}, got {value!r}", field=f"train.{name}")
        for name in ("average_decay", "momentum"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < 1:
                raise OptionError(f"train.{name} must lie in [0, 1), got {value!r}", field=f"train.{name}")
        if not isinstance(self.compile, bool):
            raise OptionError(f"train.compile must be true or false, got {self.compile!r}", field="train.compile")
        if self.half_life is not None and self.sampling != "recent":
            message = f"train.half_life is for train.sampling 'recent', which is {self.sampling!r}; leave one of them out"
            raise OptionError(message, field="train.half_life")
        check_augmentations(self.augment, "train.augment")
        if self.average == "ema" and self.average_decay == 0:
            raise OptionError(
                "train.average is 'ema', which needs a decay, and train.average_decay is 0; give it 0.99, or average 'none'",
                field="train.average",
            )

    def filled(self, **defaults: object) -> "TrainConfig":
        """The same options, with `defaults` where they are None."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return TrainConfig(**values | {name: value for name, value in defaults.items() if values[name] is None})


OPTIMIZERS = ("adam", "adamw", "sgd", "momentum", "rmsprop", "adagrad")
CHOICES = {
    "optimizer": OPTIMIZERS,
    "sampling": ("windows", "series", "recent"),
    "schedule": ("plateau", "cosine", "one_cycle", "constant"),
    "average": ("ema", "snapshots", "none"),
    "precision": ("32-true", "16-mixed", "bf16-mixed"),
    "accelerator": ("auto", "cpu", "cuda"),
}
MAY_BE_OPEN = ("schedule", "average")
WHOLE_POSITIVE = ("max_epochs", "steps_per_epoch", "batch_size", "patience", "threads", "workers", "snapshots", "half_life")
WHOLE_OR_ZERO = ("warmup_steps", "plateau_patience")
POSITIVE = ("max_seconds", "learning_rate", "plateau_factor", "min_learning_rate")
NOT_NEGATIVE = ("weight_decay", "l1", "l2", "clip_norm")


def _check_number(name: str, value: object) -> None:
    field = f"train.{name}"
    whole = name in WHOLE_POSITIVE + WHOLE_OR_ZERO
    if isinstance(value, bool) or not isinstance(value, int if whole else Real):
        raise OptionError(f"{field} must be a {'whole ' if whole else ''}number, got {value!r}", field=field)
    size = float(value)  # NaN is refused by both comparisons
    if name in WHOLE_POSITIVE + POSITIVE and not size > 0:
        raise OptionError(f"{field} must be positive, got {value!r}", field=field)
    if not size >= 0:
        raise OptionError(f"{field} must not be negative, got {value!r}", field=field)
