"""One judged step of a stream, and the steps that it remembers as arrays that can be stored."""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tsforecast.panel import IntArray, moment_number

FIELDS = ("score", "p_value", "severity")
WIDE = ("values", "expected", "lower", "upper")
TRUTHS = ("alarm", "provisional")


@dataclass(frozen=True, kw_only=True, slots=True)
class Point:
    """One judged step."""

    timestamp: np.datetime64 | int
    values: tuple[float, ...]  # (C,) NaN = missing
    score: float  # NaN = not judged, see `reason`
    p_value: float
    severity: float  # 0 … 100
    alarm: bool
    expected: tuple[float, ...]  # (C,)
    lower: tuple[float, ...]
    upper: tuple[float, ...]
    reason: str  # one of `REASONS` of the report
    event_id: str | None  # of the event that it belongs to
    provisional: bool = True  # its score does not know yet what came after
    repeated: bool = False  # judged before: the answer of then


def answers_to_arrays(points: Sequence[Point], channels: int) -> dict[str, np.ndarray]:
    """Remembered answers as arrays."""

    def column(name: str, kind: npt.DTypeLike) -> np.ndarray:
        return np.asarray([getattr(one, name) for one in points], dtype=kind)

    found = {"answer.times": np.asarray([moment_number(one.timestamp) for one in points], dtype=np.int64)}
    found |= {f"answer.{name}": column(name, np.float64) for name in FIELDS}
    found |= {f"answer.{name}": column(name, np.float64).reshape(-1, channels) for name in WIDE}
    return found | {f"answer.{name}": column(name, np.int8) for name in TRUTHS}


def answers_from_arrays(arrays: dict[str, np.ndarray], state: dict[str, Any], kind: npt.DTypeLike) -> "OrderedDict[int, Point]":
    found: OrderedDict[int, Point] = OrderedDict()
    times: IntArray = arrays["answer.times"]
    moments = times.view("M8[ns]") if np.dtype(kind).kind == "M" else times
    for i, key in enumerate(times.tolist()):
        fields: dict[str, Any] = {name: float(arrays[f"answer.{name}"][i]) for name in FIELDS}
        fields |= {name: tuple(arrays[f"answer.{name}"][i].tolist()) for name in WIDE}
        fields |= {name: bool(arrays[f"answer.{name}"][i]) for name in TRUTHS}
        found[key] = Point(
            timestamp=moments[i] if np.dtype(kind).kind == "M" else key,
            **fields,
            reason=state["reasons"][i],
            event_id=state["event_ids"][i],
        )
    return found
