"""Days on which something is -> columns of steps: whether it is, how many of a step's days, and the days before and after.

What holidays and events share: both are tables of days, whatever the steps of a panel are.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tsforecast.errors import OptionError
from tsforecast.panel import FloatArray, IntArray
from tsforecast.preprocessing.calendar import DAY, MONTH_EDGES, BoolArray, Clock, dates_of, places_of
from tsforecast.preprocessing.feature import MOST_COLUMNS, Moments, whole

LONGEST_WINDOW = 14  # days before and after
Marks = Callable[[int, int], BoolArray]  # (first day, last day) since 1970 -> (days, names): what is on


@dataclass(frozen=True, kw_only=True, slots=True)
class Around:
    """Which days around a day count too."""

    before: int = 0  # days
    after: int = 0  # days

    def names(self, bases: Sequence[str]) -> tuple[str, ...]:
        """Of the columns of `columns`: "holiday", "holiday_before_1", "holiday_after_1" …"""
        ends = ("", *(f"_before_{k}" for k in range(1, self.before + 1)), *(f"_after_{k}" for k in range(1, self.after + 1)))
        return tuple(base + end for base in bases for end in ends)

    def columns(self, moments: Moments, marks: Marks) -> FloatArray:
        """(R, names x (1 + before + after)): of steps up to a day 1 or 0, of longer ones how many of their days.

        Day t is k days before where the next day that is on is t + k, and k after where the last one was t - k: of a stretch
        of days only the edges count.
        """
        first, last = days_of(moments)
        start, end = (int(first.min()), int(last.max())) if len(first) else (0, 0)
        on = marks(start - self.after, end + self.before)  # (days, names)
        counts = np.cumsum(np.pad(self._windows(on), ((1, 0), (0, 0))), axis=0, dtype=np.int64)  # before each day
        found: FloatArray = (counts[last + 1 - start] - counts[first - start]).astype(np.float64)
        return found

    def _windows(self, on: BoolArray) -> BoolArray:
        """`on` of the days asked, (days - before - after, columns), with the columns of the windows."""
        days = len(on) - self.before - self.after
        parts = [on[self.after : self.after + days]]
        for way, length in ((1, self.before), (-1, self.after)):
            free = ~parts[0]
            for k in range(1, length + 1):
                there = on[self.after + way * k : self.after + way * k + days]
                parts.append(there & free)
                free = free & ~there
        return np.stack(parts, axis=2).reshape(days, -1)


def around(feature: str, before: object, after: object) -> Around:
    """Raises OptionError where a window is no number of days, or too long."""
    return Around(
        before=whole(feature, "before", before, 0, LONGEST_WINDOW), after=whole(feature, "after", after, 0, LONGEST_WINDOW)
    )


def check_columns(feature: str, columns: int) -> None:
    """Raises OptionError where a feature would make more columns than it may."""
    if columns > MOST_COLUMNS:
        message = f"feature {feature!r} would make {columns} columns, at most {MOST_COLUMNS}"
        raise OptionError(f"{message}; lower most, before or after", field="most")


def days_of(moments: Moments) -> tuple[IntArray, IntArray]:
    """The first and the last day, since 1970, of the step of each row, (R,) each, on its wall clock.

    Steps up to a day lie in the day of their moment, and business days are days. Longer steps hold the days that `resample`
    puts into them: those named after their start the days from it, those named after their end (W-*, ME, QE, YE, SME) the
    days up to it, and BMS and BME whole months.
    """
    clock = moments.clock
    wall = moments.wall.astype("datetime64[ns]")
    day: IntArray = wall.astype("datetime64[D]").astype(np.int64)
    if clock.unit in ("tick", "D", "B"):
        length = -(-clock.step // DAY) if clock.unit == "tick" else clock.step if clock.unit == "D" else 1
        return day, day + length - 1
    ordinals = places_of(clock, wall)[0]
    whole_months = replace(clock, unit=clock.unit.removeprefix("B")) if clock.unit in MONTH_EDGES else clock
    if clock.unit in ("W", "ME", "BME", "SME"):
        return _date(whole_months, ordinals - clock.step) + 1, _date(whole_months, ordinals)
    return _date(whole_months, ordinals), _date(whole_months, ordinals + clock.step) - 1


def _date(clock: Clock, ordinals: IntArray) -> IntArray:
    dates: Any = dates_of(clock, ordinals)
    found: IntArray = dates.astype(np.int64)
    return found


def ranked(names: Sequence[str], most: int) -> tuple[str, ...]:
    """The `most` names that come most often, those that come equally often by the alphabet."""
    counts = Counter(names)
    return tuple(sorted(counts, key=lambda name: (-counts[name], name))[:most])
