"""Moments -> what the clock says of them: calendar, Fourier terms, time index, age. Their future is known."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from tsforecast.errors import FrequencyError, OptionError
from tsforecast.panel import FloatArray, Panel
from tsforecast.preprocessing.calendar import DAY, TICKS, Instants, calendar_features, clock_of
from tsforecast.preprocessing.feature import (
    MOST_COLUMNS,
    Feature,
    Kind,
    KnownFeature,
    Moments,
    chosen,
    refuse_integer_clock,
    several,
    whole,
)

FIELDS = {  # of the wall clock -> (lowest, highest) of its plain number
    "second_of_minute": (0, 59),
    "minute_of_hour": (0, 59),
    "hour_of_day": (0, 23),
    "day_of_week": (0, 6),  # Monday = 0
    "weekend": (0, 1),  # Saturday and Sunday
    "day_of_month": (1, 31),
    "day_of_year": (1, 366),
    "month_of_year": (1, 12),
    "quarter_of_year": (1, 4),
    "year": (1678, 2262),
}


# Calendar


@dataclass(frozen=True, kw_only=True, slots=True)
class Calendar(Feature):
    """Where a moment stands in the calendar of its series' wall clock.

    cyclic: sines and cosines as `calendar_features`, names such as "hour_of_day_sin".
    plain: the numbers of FIELDS, names such as "hour_of_day", for models that cut rather than multiply.
    """

    name: ClassVar[str] = "calendar"
    kind: ClassVar[Kind] = "known-future"
    cyclic: bool = True
    plain: bool = False
    which: tuple[str, ...] = ()  # of FIELDS; () = all that change from step to step at the freq of the panel, but year

    def __post_init__(self) -> None:
        if not (self.cyclic or self.plain):
            raise OptionError("feature 'calendar' makes nothing without cyclic or plain; set one of them", field="cyclic")
        if self.which:
            object.__setattr__(self, "which", chosen(self.name, "which", self.which, tuple(FIELDS)))

    def fit(self, panel: Panel) -> "FittedCalendar":
        refuse_integer_clock(self.name, panel.freq)
        waves = calendar_features(panel.timestamps[:0], panel.freq)[1] if self.cyclic else ()
        cycles = tuple(dict.fromkeys(wave.removesuffix("_sin").removesuffix("_cos") for wave in waves))
        plain = _plain_fields(panel.freq) if self.plain else ()
        for field in self.which:
            if field not in (*cycles, *plain):
                got = ", ".join(dict.fromkeys((*cycles, *plain))) or "none"
                hint = "" if self.plain or field not in _plain_fields(panel.freq) else "; it has a plain number, set plain = true"
                message = f"feature 'calendar' has no {field!r} for steps of {panel.freq!r}, which have {got}{hint}"
                raise FrequencyError(message, field="which")
        names = tuple(wave for wave in waves if not self.which or wave[:-4] in self.which)
        numbers = tuple(field for field in plain if (field in self.which if self.which else field != "year"))
        if not names + numbers:
            message = f"feature 'calendar' has nothing that changes from step to step of {panel.freq!r}; leave it out"
            raise FrequencyError(message, field="features")
        return FittedCalendar(recipe=self, names=names + numbers)

    @classmethod
    def fitted_from_json(cls, recipe: "Calendar", values: Mapping[str, Any]) -> "FittedCalendar":
        return FittedCalendar(recipe=recipe, names=tuple(values["names"]))


@dataclass(frozen=True, kw_only=True, slots=True)
class FittedCalendar(KnownFeature):
    recipe: Calendar
    names: tuple[str, ...]  # (C,)

    def columns(self, moments: Moments) -> FloatArray:
        wall: Instants = moments.wall.astype("datetime64[ns]")
        columns = {name: _number(name, wall) for name in self.names if name in FIELDS}
        if len(columns) < len(self.names):
            waves, names = calendar_features(wall, moments.freq)
            columns |= {name: waves[:, c] for c, name in enumerate(names)}
        return np.column_stack([columns[name] for name in self.names])


def _plain_fields(freq: str | int) -> tuple[str, ...]:
    """Those of FIELDS that change from step to step."""
    clock = clock_of(freq)
    step = {"tick": clock.step, "D": clock.step * DAY, "B": DAY, "W": 7 * DAY * clock.step}.get(clock.unit)
    if step is None:  # parts of years
        halves = ("day_of_month", "day_of_year") if clock.unit in ("SMS", "SME") else ()
        within = ("month_of_year", "quarter_of_year") if halves or clock.step % 12 else ()
        return (*halves, *within, "year")
    lengths = {"second_of_minute": TICKS["min"], "minute_of_hour": TICKS["h"], "hour_of_day": DAY, "day_of_week": 7 * DAY}
    turning = {field for field, length in lengths.items() if step % length}
    if "day_of_week" in turning and clock.unit != "B":
        turning.add("weekend")
    return tuple(field for field in FIELDS if field in turning or field not in (*lengths, "weekend"))


def _number(field: str, wall: Instants) -> FloatArray:
    dates = wall.astype("datetime64[D]")
    numbers: Any
    if field in ("second_of_minute", "minute_of_hour", "hour_of_day"):
        length, whole_of = {"second": ("s", 60), "minute": ("min", 60), "hour": ("h", 24)}[field.partition("_")[0]]
        numbers = (wall - dates).astype("timedelta64[ns]").astype(np.int64) // TICKS[length] % whole_of
    elif field in ("day_of_week", "weekend"):
        numbers = (dates.astype(np.int64) + 3) % 7  # 1970-01-01 was a Thursday
        numbers = numbers >= 5 if field == "weekend" else numbers
    elif field in ("month_of_year", "quarter_of_year"):
        numbers = dates.astype("datetime64[M]").astype(np.int64) % 12
        numbers = (numbers // 3 if field == "quarter_of_year" else numbers) + 1
    elif field == "year":
        numbers = dates.astype("datetime64[Y]").astype(np.int64) + 1970
    else:
        start = dates.astype("datetime64[M]" if field == "day_of_month" else "datetime64[Y]")
        numbers = (dates - start.astype("datetime64[D]")).astype(np.int64) + 1
    return np.asarray(numbers, dtype=np.float64)


# Fourier terms


@dataclass(frozen=True, kw_only=True, slots=True)
class Fourier(Feature):
    """Sines and cosines of periods of the clock, `order` harmonics of each: "fourier_365.25_sin_1" …

    The phase follows from the moment, not from the row, so a history cut short and the future agree. Periods shorter than a
    day run by instants, whatever the wall clock does; for the hour of the day take `calendar`.
    """

    name: ClassVar[str] = "fourier"
    kind: ClassVar[Kind] = "known-future"
    period: float | tuple[float, ...] = ()  # steps, more than 1; one or several
    order: int | tuple[int, ...] = 1  # harmonics: of all periods, or of each; 2 * order <= period

    def __post_init__(self) -> None:
        periods = several(self.name, "period", self.period if isinstance(self.period, list | tuple) else [self.period])
        for period in periods:
            if isinstance(period, bool) or not isinstance(period, int | float) or not 1 < period < math.inf:
                message = f"feature 'fourier': period must be a number of steps above 1, got {period!r}"
                raise OptionError(message, field="period")
        orders = tuple(self.order) if isinstance(self.order, list | tuple) else (self.order,) * len(periods)
        if len(orders) != len(periods):
            message = f"feature 'fourier': {len(orders)} orders for {len(periods)} periods; give one for all, or one for each"
            raise OptionError(message, field="order")
        for period, order in zip(periods, orders, strict=True):
            whole(self.name, "order", order, 1, MOST_COLUMNS // 2)
            if 2 * order > period:
                message = f"feature 'fourier': period {period:g} has at most {int(period // 2)} harmonics, got order {order}"
                raise OptionError(f"{message}; a faster wave cannot be told from a slower one", field="order")
        if 2 * sum(orders) > MOST_COLUMNS:
            message = f"feature 'fourier': {2 * sum(orders)} columns, at most {MOST_COLUMNS}; lower the orders"
            raise OptionError(message, field="order")
        object.__setattr__(self, "period", periods)
        object.__setattr__(self, "order", orders)

    def waves(self) -> list[tuple[float, int]]:
        """(period, harmonic) of each pair of columns."""
        assert isinstance(self.period, tuple) and isinstance(self.order, tuple)
        pairs = zip(self.period, self.order, strict=True)
        return [(period, k) for period, order in pairs for k in range(1, order + 1)]

    def fit(self, panel: Panel) -> "FittedFourier":
        names = tuple(f"fourier_{period:g}_{wave}_{k}" for period, k in self.waves() for wave in ("sin", "cos"))
        return FittedFourier(recipe=self, names=names)

    @classmethod
    def fitted_from_json(cls, recipe: "Fourier", values: Mapping[str, Any]) -> "FittedFourier":
        return FittedFourier(recipe=recipe, names=tuple(values["names"]))


@dataclass(frozen=True, kw_only=True, slots=True)
class FittedFourier(KnownFeature):
    recipe: Fourier

    names: tuple[str, ...]  # (C,)

    def columns(self, moments: Moments) -> FloatArray:
        places = moments.places()
        turns = np.stack([places % period / period * k for period, k in self.recipe.waves()], axis=1) * (2 * np.pi)
        return np.stack([np.sin(turns), np.cos(turns)], axis=2).reshape(len(places), -1)


# How late it is


@dataclass(frozen=True, kw_only=True, slots=True)
class TimeIndex(Feature):
    """How far the time is: 0 at the first moment of the fit and 1 at its last, beyond it more; one clock for all series."""

    name: ClassVar[str] = "time_index"
    kind: ClassVar[Kind] = "known-future"

    def fit(self, panel: Panel) -> "FittedTimeIndex":
        places = Moments.of_rows(panel).places()
        first = float(places.min())
        return FittedTimeIndex(recipe=self, first=first, length=max(float(places.max()) - first, 1.0))

    @classmethod
    def fitted_from_json(cls, recipe: "TimeIndex", values: Mapping[str, Any]) -> "FittedTimeIndex":
        return FittedTimeIndex(recipe=recipe, first=float(values["first"]), length=float(values["length"]))


@dataclass(frozen=True, kw_only=True, slots=True)
class FittedTimeIndex(KnownFeature):
    recipe: TimeIndex
    first: float  # place of the first moment of the fit
    length: float  # steps from there to the last, at least 1
    names: tuple[str, ...] = ("time_index",)

    def columns(self, moments: Moments) -> FloatArray:
        return ((moments.places() - self.first) / self.length)[:, None]

    def numbers(self) -> dict[str, Any]:
        return {"first": self.first, "length": self.length}


@dataclass(frozen=True, kw_only=True, slots=True)
class Age(Feature):
    """Steps since the series began: since its first row in the fit; for a series unseen there, in the history given."""

    name: ClassVar[str] = "age"
    kind: ClassVar[Kind] = "known-future"

    def fit(self, panel: Panel) -> "FittedAge":
        return FittedAge(recipe=self, births=_births(panel))

    @classmethod
    def fitted_from_json(cls, recipe: "Age", values: Mapping[str, Any]) -> "FittedAge":
        return FittedAge(recipe=recipe, births=dict(values["births"]))


@dataclass(frozen=True, kw_only=True, slots=True)
class FittedAge(KnownFeature):
    recipe: Age
    births: Mapping[str, float]  # series -> place of its first row
    names: tuple[str, ...] = ("age",)

    def for_panel(self, panel: Panel) -> "FittedAge":
        return FittedAge(recipe=self.recipe, births=_births(panel) | dict(self.births))

    def columns(self, moments: Moments) -> FloatArray:
        births = np.array([self.births[series_id] for series_id in moments.series_ids], dtype=np.float64)
        ages: FloatArray = moments.places() - births[moments.series]
        return ages[:, None]

    def numbers(self) -> dict[str, Any]:
        return {"births": dict(self.births)}


def _births(panel: Panel) -> dict[str, float]:
    """Place of the first row of each series."""
    first = Moments.of_rows(panel).places()[panel.offsets[:-1]]
    return dict(zip(panel.series_ids, first.tolist(), strict=True))
