"""Decoded JSON -> ForecastRequest, or one 422 that lists all that is wrong. Looks at shapes and types, not at clocks.

Written by hand because a request may hold a million numbers: each list is looked at in a few passes at C speed. What it
accepts is documented by `service/schemas.py`.
"""

import math
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

import numpy as np

from service.errors import FieldError, invalid
from service.settings import Settings
from tsforecast.errors import OptionError
from tsforecast.forecast import DEFAULT_QUANTILE_LEVELS, check_quantile_levels
from tsforecast.panel import FloatArray

TOP = ("series", "horizon", "quantile_levels", "level", "model")
SERIES = ("id", "start", "freq", "timestamps", "tz", "target")
ALIKE = {  # what callers of other interfaces write -> what it is called here
    "h": "horizon", "prediction_length": "horizon", "quantiles": "quantile_levels", "levels": "level", "data": "series",
    "unique_id": "id", "item_id": "id", "series_id": "id", "ds": "timestamps", "timestamp": "timestamps", "dates": "timestamps",
    "frequency": "freq", "y": "target", "values": "target", "value": "target", "history": "target",
}  # fmt: skip
NUMBERS = {int, float, type(None)}
LARGEST = 1e100  # beyond it, sums of squares overflow
MAX_ID = 256  # characters
MAX_FREQ = 32  # characters
MAX_TZ = 64  # characters
MAX_INTEGER_FREQ = 2**31
MAX_STEP = 2**53  # integer clocks: what a float64 still tells apart, far from the end of int64
MAX_TOLD = 200  # errors after which reading stops


@dataclass(frozen=True, kw_only=True, slots=True)
class SeriesRequest:
    """One series as asked; its clock is not looked at yet."""

    given_id: str | int  # as given, to be echoed
    series_id: str  # what the library calls it
    target: list[float | None]  # (T,) numbers that a float holds, at least one
    freq: str | int | None
    start: str | int | None  # either start …
    timestamps: list[str] | list[int] | None  # … or timestamps (T,)
    tz: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class ForecastRequest:
    """What was asked, well-formed and within the limits."""

    series: tuple[SeriesRequest, ...]
    horizon: int | None  # steps; None = the model's
    quantile_levels: tuple[float, ...]
    model: str | None  # None = the default model


def read_request(body: object, limits: Settings) -> ForecastRequest:
    """The request that the decoded `body` holds.

    Raises:
        Problem: 422 with one entry for each thing that is wrong.
    """
    if not isinstance(body, dict):
        raise invalid(
            [FieldError(field="", message=f"the body must be an object with `series` and `horizon`, got {kind_of(body)}")]
        )
    reader = Reader(limits=limits)
    reader.unknown_fields(body, TOP, where="", series=None)
    levels = reader.levels(body.get("quantile_levels"), body.get("level"))
    horizon = reader.horizon(body.get("horizon"))
    model = reader.model(body.get("model"))
    series = reader.all_series(body.get("series"))
    if reader.errors:
        raise invalid(reader.errors)
    return ForecastRequest(series=tuple(series), horizon=horizon, quantile_levels=levels, model=model)


@dataclass(kw_only=True, slots=True)
class Reader:
    """Reads the parts of a request and remembers what is wrong with them; requests for anomalies are read by a child of it."""

    limits: Settings
    done: str = "forecast"  # what is done with the series, for messages
    errors: list[FieldError] = field(default_factory=list)
    points: int = 0  # of the series read so far

    def refuse(self, where: str, message: str, series: str | int | None = None) -> None:
        self.errors.append(FieldError(field=where, message=message, series=series))

    def unknown_fields(self, given: dict[str, Any], known: tuple[str, ...], *, where: str, series: str | int | None) -> None:
        for name in [name for name in given if name not in known][:5]:
            near = [ALIKE[name]] if ALIKE.get(name) in known else get_close_matches(name[:40], known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known)}"
            self.refuse(f"{where}{name[:80]}", f"there is no such field; {hint}", series)

    def horizon(self, value: object) -> int | None:
        if value is None:
            return None
        if type(value) is not int or value < 1:
            self.refuse("horizon", f"must be a positive whole number of steps, got {kind_of(value)}")
            return None
        if value > self.limits.max_horizon:
            self.refuse("horizon", f"must be at most {self.limits.max_horizon} steps here, got {value}")
        return value

    def model(self, value: object) -> str | None:
        if value is not None and (not isinstance(value, str) or not value):
            self.refuse("model", f"must be the name of a model, got {kind_of(value)}; GET /v1/models lists them")
            return None
        return value

    def levels(self, quantile_levels: object, level: object) -> tuple[float, ...]:
        """The quantile levels that one of the two fields asks for, ascending."""
        if quantile_levels is not None and level is not None:
            self.refuse("level", "give either quantile_levels or level, not both")
            return DEFAULT_QUANTILE_LEVELS
        name, value = ("level", level) if level is not None else ("quantile_levels", quantile_levels)
        if value is None:
            return DEFAULT_QUANTILE_LEVELS
        numbers = self._numbers(name, value)
        if numbers is None:
            return DEFAULT_QUANTILE_LEVELS
        if name == "level":
            return self._quantiles_of(numbers)
        try:
            return check_quantile_levels(numbers)
        except OptionError as error:
            self.refuse("quantile_levels", str(error))
            return DEFAULT_QUANTILE_LEVELS

    def _numbers(self, name: str, value: object) -> list[float] | None:
        most = self.limits.max_quantile_levels if name == "quantile_levels" else self.limits.max_quantile_levels // 2
        if not isinstance(value, list) or not value:
            self.refuse(name, f"must be a list of at least one number, got {kind_of(value)}")
        elif len(value) > most:
            self.refuse(name, f"holds {len(value)} numbers, at most {most} are answered here")
        elif not all(type(one) in (int, float) for one in value):
            odd = next(i for i, one in enumerate(value) if type(one) not in (int, float))
            self.refuse(f"{name}[{odd}]", f"must be a number, got {kind_of(value[odd])}")
        else:
            return value
        return None

    def _quantiles_of(self, coverage: list[float]) -> tuple[float, ...]:
        """80 -> 0.1 and 0.9; the median always comes with them."""
        outside = [one for one in coverage if not 0 < one < 100]
        if outside:
            self.refuse(
                "level", f"must lie between 0 and 100 percent, got {outside[0]:g}; a level of 80 spans the quantiles 0.1 and 0.9"
            )
            return DEFAULT_QUANTILE_LEVELS
        shares = [one for one in coverage if one < 1]
        if shares:
            self.refuse("level", f"is in percent, got {shares[0]:g}; did you mean {100 * shares[0]:g}?")
            return DEFAULT_QUANTILE_LEVELS
        halves = {round(one / 200, 10) for one in coverage}
        levels = sorted({0.5} | {round(0.5 - half, 10) for half in halves} | {round(0.5 + half, 10) for half in halves})
        if levels[0] <= 0:
            self.refuse("level", f"{max(coverage)!r} percent is too close to 100; ask for at most 99.9999999")
            return DEFAULT_QUANTILE_LEVELS
        return tuple(levels)

    def all_series(self, value: object) -> list[SeriesRequest]:
        if not isinstance(value, list) or not value:
            self.refuse("series", f"must be a list of at least one series, got {kind_of(value)}")
            return []
        if len(value) > self.limits.max_series:
            most = self.limits.max_series
            self.refuse("series", f"holds {len(value)} series, at most {most} are {self.done} in one request; split it")
            return []
        found: list[SeriesRequest] = []
        first_with: dict[str, int] = {}
        for index, one in enumerate(value):
            series = self.one_series(index, one)
            if series is not None:
                first = first_with.setdefault(series.series_id, index)
                if first != index:
                    self.refuse(f"series[{index}].id", f"is the id of series[{first}] too; ids must be unique", series.given_id)
                found.append(series)
            if len(self.errors) >= MAX_TOLD:
                break
        if self.points > self.limits.max_total_points:
            most = self.limits.max_total_points
            self.refuse("series", f"holds {self.points} values in all, at most {most} are {self.done} in one request; split it")
        return found

    def one_series(self, index: int, value: object) -> SeriesRequest | None:
        where = f"series[{index}]"
        if not isinstance(value, dict):
            self.refuse(where, f"must be an object with `id`, `start`, `freq` and `target`, got {kind_of(value)}")
            return None
        before = len(self.errors)
        given = self.read_id(where, value.get("id"))
        self.unknown_fields(value, SERIES, where=f"{where}.", series=given)
        target = self.read_values(where, value.get("target"), given)
        self.read_clock(where, value, given, 0 if target is None else len(target))
        if len(self.errors) > before or given is None or target is None:
            return None
        return SeriesRequest(
            given_id=given,
            series_id=str(given),
            target=target,
            freq=value.get("freq"),
            start=value.get("start"),
            timestamps=value.get("timestamps"),
            tz=value.get("tz"),
        )

    def read_id(self, where: str, value: object) -> str | int | None:
        if type(value) is int or (isinstance(value, str) and 0 < len(value) <= MAX_ID):
            return value
        got = f"a string of {len(value)} characters" if isinstance(value, str) else kind_of(value)
        self.refuse(f"{where}.id", f"must be a string of 1 to {MAX_ID} characters, or a whole number, got {got}")
        return None

    def read_values(self, where: str, value: object, given: str | int | None) -> list[float | None] | None:
        where = f"{where}.target"
        target = self.read_numbers(where, value, given)
        if target is None:
            return None
        if np.isnan(target).all():
            self.refuse(where, "holds nothing but null; at least one value has to be observed", given)
            return None
        assert isinstance(value, list)
        return value

    def read_numbers(self, where: str, value: object, given: str | int | None) -> FloatArray | None:
        """The values of one series or channel, (T,), null as NaN; None where they cannot be read."""
        if not isinstance(value, list) or not value:
            self.refuse(where, f"must be a list of at least one number, got {kind_of(value)}", given)
            return None
        if len(value) > self.limits.max_points:
            most = self.limits.max_points
            self.refuse(where, f"holds {len(value)} values, at most {most} of one series are read; send the latest ones", given)
            return None
        self.points += len(value)
        if not set(map(type, value)) <= NUMBERS:
            odd = next(i for i, one in enumerate(value) if type(one) not in NUMBERS)
            self.refuse(f"{where}[{odd}]", f"must be a number or null (not observed), got {kind_of(value[odd])}", given)
            return None
        found: FloatArray = np.array(value, dtype=np.float64)  # None becomes NaN
        size = np.abs(np.where(np.isnan(found), 0.0, found))
        if size.max() > LARGEST:
            odd = int(np.argmax(size))
            self.refuse(f"{where}[{odd}]", f"must lie within ±{LARGEST:g}, got {found[odd]:g}; rescale the series", given)
            return None
        return found

    def read_clock(self, where: str, value: dict[str, Any], given: str | int | None, length: int) -> None:
        start, freq, timestamps, tz = value.get("start"), value.get("freq"), value.get("timestamps"), value.get("tz")
        if tz is not None and (not isinstance(tz, str) or not 0 < len(tz) <= MAX_TZ):
            self.refuse(f"{where}.tz", f"must be the name of a zone such as 'Europe/Berlin', got {kind_of(tz)}", given)
        if freq is not None and type(freq) not in (str, int):
            self.refuse(
                f"{where}.freq", f"must be a step such as 'h', 'D' or 'MS', or a whole number, got {kind_of(freq)}", given
            )
        elif isinstance(freq, str) and not 0 < len(freq) <= MAX_FREQ:
            self.refuse(
                f"{where}.freq", f"must be a step such as 'h', 'D' or 'MS', got a string of {len(freq)} characters", given
            )
        elif isinstance(freq, int) and not 0 < freq <= MAX_INTEGER_FREQ:
            self.refuse(f"{where}.freq", f"must lie between 1 and {MAX_INTEGER_FREQ} on an integer clock, got {freq}", given)
        if timestamps is not None and start is not None:
            self.refuse(f"{where}.timestamps", "give either timestamps or start and freq, not both", given)
        elif timestamps is not None:
            self._timestamps(f"{where}.timestamps", timestamps, given, length)
        elif start is None:
            self.refuse(f"{where}.start", "is missing: give start and freq, or timestamps", given)
        elif type(start) not in (str, int):
            self.refuse(f"{where}.start", f"must be an ISO 8601 timestamp or a whole number, got {kind_of(start)}", given)
        elif freq is None:
            self.refuse(f"{where}.freq", "is missing: a start needs the step, such as 'h', 'D' or 'MS'", given)
        elif type(start) is int and abs(start) > MAX_STEP:
            self.refuse(f"{where}.start", f"must lie within ±2**53, got {start}", given)

    def _timestamps(self, where: str, value: object, given: str | int | None, length: int) -> None:
        if not isinstance(value, list) or not value:
            self.refuse(where, f"must be a list with one timestamp per value, got {kind_of(value)}", given)
            return
        if length and len(value) != length:
            self.refuse(where, f"holds {len(value)} timestamps for {length} values of target", given)
            return
        kinds = set(map(type, value))
        if kinds not in ({str}, {int}):
            odd = _odd_one(value)
            self.refuse(
                f"{where}[{odd}]",
                f"must be an ISO 8601 string like the others (or all whole numbers), got {kind_of(value[odd])}",
                given,
            )
        elif kinds == {int} and max(abs(min(value)), abs(max(value))) > MAX_STEP:
            odd = next(i for i, one in enumerate(value) if abs(one) > MAX_STEP)
            self.refuse(f"{where}[{odd}]", f"must lie within ±2**53, got {value[odd]}", given)


def _odd_one(values: list[object]) -> int:
    """Index of the first timestamp that is neither like the first one nor could be one."""
    wanted = type(values[0]) if type(values[0]) in (str, int) else str
    return next(i for i, one in enumerate(values) if type(one) is not wanted)


def kind_of(value: object) -> str:
    """What a value is, short enough for a message; never the whole payload."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value) if math.isfinite(value) else "an infinite number"
    if isinstance(value, str):
        return f"the string {value[:40]!r}" + ("…" if len(value) > 40 else "")
    if isinstance(value, list):
        return f"a list of {len(value)}" if value else "an empty list"
    return "an object" if isinstance(value, dict) else type(value).__name__


def check_answer_size(asked: ForecastRequest, horizon: int, limits: Settings) -> None:
    """Refuse an answer of more values than one may hold.

    Raises:
        Problem: 422.
    """
    values = len(asked.series) * horizon * len(asked.quantile_levels)
    if values > limits.max_answer_values:
        message = (
            f"the answer would hold {values} values, at most {limits.max_answer_values}; ask for fewer series, steps or levels"
        )
        raise invalid([FieldError(field="series", message=message)])
