"""What a repair step is: a frozen dataclass of options that changes rows or values and says of each what it was and is now."""

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from tsforecast.errors import OptionError, did_you_mean
from tsforecast.panel import FloatArray, Panel, TimeArray
from tsforecast.preprocessing.calendar import BoolArray

if TYPE_CHECKING:
    import pandas as pd

TextArray = npt.NDArray[np.object_]


@dataclass(frozen=True, kw_only=True, slots=True)
class Names:
    """Columns of a long frame that a repair looks at."""

    id_col: str
    time_col: str
    target_col: str
    covariates: tuple[str, ...] = ()  # both kinds

    @property
    def values(self) -> tuple[str, ...]:
        """Columns of numbers."""
        return (self.target_col, *self.covariates)


@dataclass(frozen=True, kw_only=True, slots=True)
class Changes:
    """What one step did; n changes."""

    step: str
    series: TextArray  # (n,) ids as text, None = a row without one
    times: TimeArray  # (n,) instants in UTC, naive moments, or int64 steps; NaT = a row without one
    aware: bool  # times are instants
    old: FloatArray  # (n,) NaN = was not there, or no number
    new: FloatArray  # (n,) NaN = is not there any more
    texts: TextArray | None = None  # (n,) what was written there, where it was no number

    def __len__(self) -> int:
        return len(self.series)


class RepairStep(ABC):
    """A recipe for a repair: a frozen dataclass of options, no data."""

    name: ClassVar[str]  # as in REPAIRS
    level: ClassVar[Literal["frame", "panel"]]


class FrameStep(RepairStep):
    """A step that works on the raw frame, before its rows are checked."""

    level: ClassVar[Literal["frame", "panel"]] = "frame"

    @abstractmethod
    def apply(self, frame: "pd.DataFrame", names: Names) -> "tuple[pd.DataFrame, list[Changes]]":
        """The repaired frame, with the columns it had, and what was changed; `frame` is left as it is.

        Raises:
            DataError: what cannot be repaired, by name.
        """


class PanelStep(RepairStep):
    """A step that works on the checked panel."""

    level: ClassVar[Literal["frame", "panel"]] = "panel"

    @abstractmethod
    def apply(self, panel: Panel) -> tuple[Panel, list[Changes]]:
        """The repaired panel and what was changed.

        Raises:
            DataError: what cannot be repaired, by name.
        """


def changed_values(step: str, panel: Panel, target: FloatArray) -> list[Changes]:
    """The rows of `panel` that have another value in `target` (N,)."""
    same = (panel.target == target) | (np.isnan(panel.target) & np.isnan(target))
    rows = np.flatnonzero(~same)
    return [changes_of_rows(step, panel, rows, panel.target[rows], target[rows])]


def removed_rows(step: str, panel: Panel, keep: BoolArray) -> list[Changes]:
    """The rows of `panel` that are not kept (N,)."""
    rows = np.flatnonzero(~keep)
    return [changes_of_rows(step, panel, rows, panel.target[rows], np.full(len(rows), np.nan))]


def changes_of_rows(step: str, panel: Panel, rows: npt.NDArray[np.int64], old: FloatArray, new: FloatArray) -> Changes:
    """What became of some rows of a panel, (n,) each."""
    series = np.searchsorted(panel.offsets, rows, side="right") - 1
    ids = np.array(panel.series_ids, dtype=object)[series]
    return Changes(step=step, series=ids, times=panel.timestamps[rows], aware=panel.tz is not None, old=old, new=new)


# Options


def check_choice(step: RepairStep, *options: tuple[str, Iterable[str]]) -> None:
    """Refuse values of options that are none of their words; each option with its words."""
    for option, known in options:
        value, words = getattr(step, option), tuple(known)
        if value not in words:
            message = (
                f"repair {step.name!r} has no {option} {value!r}{did_you_mean(str(value), words)}; there are {', '.join(words)}"
            )
            raise OptionError(message, field=option)


def check_numbers(step: RepairStep) -> None:
    """Refuse a value that is no number, no whole number or no truth value where the field is declared as one."""
    fields: Any = dataclasses.fields(step)  # type: ignore[arg-type]  # every step is a dataclass
    kinds: dict[Any, tuple[str, tuple[type, ...]]] = {
        int: ("a whole number", (int, np.integer)),
        float: ("a number", (int, float, np.integer, np.floating)),
        bool: ("true or false", (bool, np.bool_)),
    }
    for field in fields:
        value, optional = getattr(step, field.name), field.type in (int | None, float | None)
        kind = next((one for one in kinds if field.type in (one, one | None)), None)
        if kind is None or (optional and value is None):
            continue
        words, types = kinds[kind]
        if not isinstance(value, types) or (kind is not bool and isinstance(value, bool)) or value != value:
            raise OptionError(f"repair {step.name!r}: {field.name} must be {words}, got {value!r}", field=field.name)


def check_least(step: RepairStep, **least: float) -> None:
    """Refuse a number below its least; None passes."""
    for option, low in least.items():
        value = getattr(step, option)
        if value is not None and value < low:
            raise OptionError(f"repair {step.name!r}: {option} must be at least {low:g}, got {value!r}", field=option)
