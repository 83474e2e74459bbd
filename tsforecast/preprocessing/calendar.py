"""A frequency and timestamps -> places on its grid, the timestamps that follow, its season, calendar features.

Two kinds of clock. Steps shorter than a day (and integer steps) are lengths of time: absolute, the same in every zone.
Days and longer steps (D, B, W, months, quarters, years) follow the wall clock of the series' zone, so that "every day at
noon" stays at noon when summer time begins.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from tsforecast.errors import FrequencyError, HorizonError
from tsforecast.panel import FloatArray, IntArray, Panel, TimeArray
from tsforecast.preprocessing.blocks import let_go

Instants = npt.NDArray[np.datetime64]
BoolArray = npt.NDArray[np.bool_]

DAY = 86_400 * 10**9  # ns
LAST_NANOSECOND = 2**63 - 1  # since 1970: April 2262
MOST_STEPS = 10**6  # of a calendar unit in one step, as in "2W", and ahead
TICKS = {"h": 3600 * 10**9, "min": 60 * 10**9, "s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}  # ns, longest first
WEEKDAYS = ("MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN")
MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
MONTH_EDGES = ("MS", "ME", "BMS", "BME")  # first | last | first business | last business day of the month
EXAMPLES = "'h', '15min', 'D', 'B', 'W-SUN', 'MS', 'ME', 'QS-JAN', 'YE-DEC', or a positive int for integer steps"

_OTHER_NAMES = {  # what pandas called them once, or calls them in lower case
    "H": "h", "T": "min", "Min": "min", "MIN": "min", "S": "s", "L": "ms", "U": "us", "N": "ns",
    "t": "min", "l": "ms", "u": "us", "n": "ns",
    "d": "D", "b": "B", "w": "W", "M": "ME", "BM": "BME", "SM": "SME",
    "Q": "QE", "q": "QE", "BQ": "BQE", "A": "YE", "Y": "YE", "a": "YE", "y": "YE", "BA": "BYE", "BY": "BYE",
    "AS": "YS", "BAS": "BYS",
}  # fmt: skip
_WORDS = {"hour": "h", "dai": "D", "day": "D", "week": "W", "month": "MS", "quarter": "QS", "year": "YS", "annual": "YS",
          "minut": "min", "second": "s"}  # fmt: skip
_PERIODS = {"Q": 3, "Y": 12}  # months


@dataclass(frozen=True, kw_only=True, slots=True)
class Zones:
    """Wall clocks of several zones at once: which of them each moment of an array is read on."""

    names: tuple[str, ...]  # (Z,) IANA names
    which: IntArray  # index into names of each moment; its shape broadcasts to that of the moments


Zone = str | Zones | None  # of an array of moments: one for all, one for each, or none (naive)


@dataclass(frozen=True, kw_only=True, slots=True)
class Clock:
    """What a frequency means, ready for integer arithmetic."""

    freq: str | int  # the canonical alias
    unit: str  # "integer" | "tick" | "D" | "B" | "W" | "MS" | "ME" | "BMS" | "BME" | "SMS" | "SME"
    step: int  # in units; "tick": in ns
    phase: int = 0  # "W": weekday, Monday = 0; months: a month of the grid, January = 0
    cycle: int = 1  # months: every how many months there is a place on the grid (3 quarterly, 12 yearly)

    @property
    def absolute(self) -> bool:
        """True where a step is a length of time, whatever the zone."""
        return self.unit in ("integer", "tick")


def clock_of(freq: str | int) -> Clock:
    """The clock of a frequency.

    Raises:
        FrequencyError: not a pandas alias this library knows, nor a positive int.
    """
    if isinstance(freq, (int, np.integer)) and not isinstance(freq, bool):
        if freq < 1:
            raise FrequencyError(f"freq must be a positive number of steps, got {freq}; use {EXAMPLES}", field="freq")
        return Clock(freq=int(freq), unit="integer", step=int(freq))
    text = getattr(freq, "freqstr", freq)  # a pandas offset says its own alias
    if not isinstance(text, str):
        raise FrequencyError(f"unknown freq {freq!r}; use {EXAMPLES}", field="freq")
    return _clock_of_alias(text)


def normalise_freq(freq: str | int) -> str | int:
    """The one canonical alias of a frequency: "H" and "60min" give "h", "Q" gives "QE-DEC", "QS-OCT" gives "QS-JAN".

    Two frequencies with the same places on the grid compare equal afterwards, except that days stay apart from hours
    ("24h" is a length of time, "D" a day of the wall clock).

    Raises:
        FrequencyError: not a pandas alias this library knows, nor a positive int.
    """
    return clock_of(freq).freq


@lru_cache(maxsize=512)
def _clock_of_alias(text: str) -> Clock:
    found = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)?\s*([A-Za-z]+)(?:-([A-Za-z0-9]+))?\s*", text)
    if found is None:
        return _compound_tick(text)
    count, name, anchor = found.groups()
    name = _canonical_name(name)
    many = float(count) if count else 1.0
    if name in TICKS and anchor is None:
        return _tick(text, many * TICKS[name])
    if name == "D" and anchor is None and many % 1:
        return _tick(text, many * DAY)
    if many % 1 or not 1 <= many <= MOST_STEPS:
        raise _unknown(text)
    return _calendar_clock(text, int(many), name, anchor.upper() if anchor else None)


def _canonical_name(name: str) -> str:
    """Today's name of an alias; in lower case too, except "m", which could be minutes or months."""
    if name.islower() and len(name) > 1 and name not in TICKS:
        name = name.upper()
    return _OTHER_NAMES.get(name, name)


def _compound_tick(text: str) -> Clock:
    """ "1h30min" and the like: a sum of lengths."""
    parts = re.findall(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]+)", text)
    lengths = {**TICKS, "D": DAY}
    names = [_canonical_name(name) for _, name in parts]
    if not parts or any(name not in lengths for name in names) or re.sub(r"[\s0-9.A-Za-z]", "", text):
        raise _unknown(text)
    return _tick(text, sum(float(count) * lengths[name] for (count, _), name in zip(parts, names, strict=True)))


def _tick(text: str, nanoseconds: float) -> Clock:
    step = round(nanoseconds)
    if not 1 <= step <= LAST_NANOSECOND:
        raise _unknown(text)
    name, length = next((name, length) for name, length in TICKS.items() if step % length == 0)
    return Clock(freq=_times(step // length, name), unit="tick", step=step)


def _calendar_clock(text: str, many: int, name: str, anchor: str | None) -> Clock:
    """The clock of a step that follows the wall clock."""
    if name in ("D", "B") and anchor is None:
        return Clock(freq=_times(many, name), unit=name, step=many)
    if name == "W" and anchor in (None, *WEEKDAYS):
        weekday = anchor or "SUN"
        return Clock(freq=_times(many, f"W-{weekday}"), unit="W", step=many, phase=WEEKDAYS.index(weekday))
    if name in MONTH_EDGES and anchor is None:
        return Clock(freq=_times(many, name), unit=name, step=many)
    if name in ("SMS", "SME") and anchor in (None, "15"):
        return Clock(freq=_times(many, name), unit=name, step=many)
    found = re.fullmatch(r"(B?)([QY])([SE])", name)
    if found is None or anchor not in (None, *MONTHS):
        raise _unknown(text)
    business, period, edge = found.groups()
    cycle = _PERIODS[period]
    month = MONTHS.index(anchor) if anchor else {"S": 0, "E": 11}[edge]
    phase = month % cycle  # QS-JAN, QS-APR, QS-JUL and QS-OCT are one grid
    shown = phase if period == "Q" and edge == "S" else phase + 12 - cycle  # QS-JAN …, QE-DEC …
    alias = f"{name}-{MONTHS[shown]}"
    return Clock(freq=_times(many, alias), unit=f"{business}M{edge}", step=many * cycle, phase=phase, cycle=cycle)


def _times(many: int, alias: str) -> str:
    return alias if many == 1 else f"{many}{alias}"


def _unknown(text: str) -> FrequencyError:
    near = next((f"; did you mean {alias!r}?" for word, alias in _WORDS.items() if word in text.lower()), "")
    if text.strip().lstrip("0123456789. ") == "m":
        near = "; did you mean 'min' (minutes) or 'ME' (month ends)?"
    return FrequencyError(f"unknown freq {text!r}{near or ';'} use {EXAMPLES}", field="freq")


def default_season(freq: str | int) -> int:
    """Steps in the season most series of that frequency have; 1 = none.

    A day for steps of minutes and hours, a week for days, a year for weeks and longer, a minute for seconds.
    Steps that do not divide their season evenly have none, and neither have years and integer steps.
    """
    clock = clock_of(freq)
    if clock.unit == "tick":
        return _season_of_tick(clock.step)
    if clock.unit == "D":
        if clock.step % 7 == 0:
            return _share(52, clock.step // 7)
        return _share(7, clock.step)
    if clock.unit == "integer":
        return 1
    return _share({"B": 5, "W": 52, "SMS": 24, "SME": 24}.get(clock.unit, 12), clock.step)


def _season_of_tick(step: int) -> int:
    if step >= DAY:
        return default_season(f"{step // DAY}D") if step % DAY == 0 else 1
    for length, cycle in ((TICKS["min"], DAY), (TICKS["s"], TICKS["min"]), (1, TICKS["s"])):
        if step >= length:
            return _share(cycle, step)
    return 1


def _share(whole: int, part: int) -> int:
    return whole // part if whole % part == 0 else 1


# Instants and the wall clock


def zones_at(tz: str | None, zones: Sequence[str], series: IntArray) -> Zone:
    """The zone of each moment of an array (…) whose series are `series` (…): that of `zones` (S,), or `tz` where these are ()."""
    if not zones:
        return tz
    place = {name: i for i, name in enumerate(dict.fromkeys(zones))}
    return Zones(names=tuple(place), which=np.array([place[name] for name in zones], dtype=np.int64)[series])


def zones_of_rows(panel: Panel) -> Zone:
    """Zone of each row's wall clock: `tz` of the panel, or (N,)."""
    if not panel.zones:
        return panel.tz
    return zones_at(panel.tz, panel.zones, np.repeat(np.arange(len(panel)), panel.lengths))


def zones_of_future(panel: Panel) -> Zone:
    """Zone of the wall clock of each series' future: `tz` of the panel, or (S, 1), which broadcasts to (S, H)."""
    return zones_at(panel.tz, panel.zones, np.arange(len(panel))[:, None])


def wall_from_instants(instants: Instants, tz: Zone) -> Instants:
    """What a clock on the wall of `tz` shows at these instants; any shape, datetime64[ns]."""
    if tz is None or tz == "UTC":
        return instants
    if isinstance(tz, Zones):
        return _zone_by_zone(wall_from_instants, instants, tz)
    import pandas as pd

    index = pd.DatetimeIndex(instants.ravel()).tz_localize("UTC").tz_convert(tz).tz_localize(None)
    return index.to_numpy().astype("datetime64[ns]").reshape(instants.shape)


def instants_from_wall(wall: Instants, tz: Zone) -> Instants:
    """The instants (UTC) at which a clock on the wall of `tz` shows `wall`; any shape, datetime64[ns].

    A time that the change to summer time skips gives the first instant after it; one that comes twice, the first.
    """
    if tz is None or tz == "UTC":
        return wall
    if isinstance(tz, Zones):
        return _zone_by_zone(instants_from_wall, wall, tz)
    import pandas as pd

    first = np.ones(wall.size, dtype=bool)  # "is summer time", which comes first
    index = pd.DatetimeIndex(wall.ravel()).tz_localize(tz, ambiguous=first, nonexistent="shift_forward").tz_convert("UTC")
    return index.tz_localize(None).to_numpy().astype("datetime64[ns]").reshape(wall.shape)


def _zone_by_zone(convert: Callable[[Instants, Zone], Instants], moments: Instants, zones: Zones) -> Instants:
    which = np.broadcast_to(zones.which, moments.shape)
    converted = np.empty_like(moments)
    for number in np.unique(zones.which):
        converted[which == number] = convert(moments[which == number], zones.names[number])
    return converted


# The grid: dates <-> ordinals (days, weekdays, weeks, months … since 1970)


def _ordinals(clock: Clock, dates: Instants) -> IntArray:
    """The last place on the grid at or before each date [D]; an edge at the end of a month counts for its whole month."""
    days: IntArray = dates.astype(np.int64)
    if clock.unit == "D":
        return days
    if clock.unit == "B":
        week, weekday = np.divmod(days + 3, 7)  # 1970-01-01 was a Thursday
        return week * 5 + np.minimum(weekday, 4)
    if clock.unit == "W":
        return (days + 3 - clock.phase) // 7
    months: IntArray = dates.astype("datetime64[M]").astype(np.int64)
    if clock.unit in MONTH_EDGES:
        return months
    day_of_month = days - months.astype("datetime64[M]").astype("datetime64[D]").astype(np.int64)  # from 0
    return 2 * months + (day_of_month >= 14 if clock.unit == "SMS" else day_of_month > 14)


def dates_of(clock: Clock, ordinals: IntArray) -> Instants:
    """The date [D] of each place on the grid."""
    if clock.unit == "D":
        return ordinals.astype("datetime64[D]")
    if clock.unit == "B":
        week, weekday = np.divmod(ordinals, 5)
        return (week * 7 + weekday - 3).astype("datetime64[D]")
    if clock.unit == "W":
        return (ordinals * 7 - 3 + clock.phase).astype("datetime64[D]")
    if clock.unit in MONTH_EDGES:
        return _month_edge(clock.unit, ordinals).astype("datetime64[D]")
    months, later = np.divmod(ordinals, 2)
    first = _month_edge("MS", months)
    pair = (first, first + 14) if clock.unit == "SMS" else (first + 14, _month_edge("ME", months))
    return np.where(later == 1, pair[1], pair[0]).astype("datetime64[D]")


def _month_edge(unit: str, months: IntArray) -> IntArray:
    """Days since 1970 of the first or last (business) day of each month."""
    if unit in ("MS", "BMS"):
        days: IntArray = months.astype("datetime64[M]").astype("datetime64[D]").astype(np.int64)
    else:
        days = (months + 1).astype("datetime64[M]").astype("datetime64[D]").astype(np.int64) - 1
    past_friday = (days + 3) % 7 - 4  # 1 on Saturday, 2 on Sunday
    if unit == "BMS":
        return days + np.where(past_friday > 0, 3 - past_friday, 0)
    if unit == "BME":
        return days - np.maximum(past_friday, 0)
    return days


def _moments(clock: Clock, ordinals: IntArray, since: IntArray) -> Instants:
    """The moment of the wall clock `since` ns after midnight of each place on the grid."""
    moments: Instants = dates_of(clock, ordinals).astype("datetime64[ns]") + since.astype("timedelta64[ns]")
    return moments


def places_of(clock: Clock, wall: Instants) -> tuple[IntArray, IntArray, BoolArray]:
    """(ordinal, ns since midnight of its date, is on the grid) of each moment of a wall clock; any shape."""
    ordinals = _ordinals(clock, wall.astype("datetime64[D]"))
    since: IntArray = (wall - dates_of(clock, ordinals)).astype("timedelta64[ns]").astype(np.int64)
    return ordinals, since, (since >= 0) & (since < DAY) & ((ordinals - clock.phase) % clock.cycle == 0)


def grid_positions(clock: Clock, timestamps: TimeArray, offsets: IntArray, tz: Zone = None) -> tuple[IntArray, BoolArray]:
    """Steps from the first row of its series to each row, and whether the row is on that series' grid; both (N,).

    Args:
        timestamps: (N,) instants in UTC or integer steps, ascending inside each series.
        offsets: (S + 1,), no series empty.
        tz: one zone, or that of each row (N,).
    """
    lengths = np.diff(offsets)
    if clock.absolute:
        numbers: IntArray = timestamps.astype(np.int64)
        positions, rest = np.divmod(numbers - np.repeat(numbers[offsets[:-1]], lengths), clock.step)
        return positions, rest == 0
    wall = wall_from_instants(timestamps.astype("datetime64[ns]"), tz)
    ordinals, since, on_grid = places_of(clock, wall)
    first_since = np.repeat(since[offsets[:-1]], lengths)
    positions, rest = np.divmod(ordinals - np.repeat(ordinals[offsets[:-1]], lengths), clock.step)
    same_time = since == first_since
    if tz is not None and not same_time.all():  # times that the change to summer time moved
        odd = np.flatnonzero(~same_time)
        zone = Zones(names=tz.names, which=tz.which[odd]) if isinstance(tz, Zones) else tz
        meant = instants_from_wall(_moments(clock, ordinals[odd], first_since[odd]), zone)
        same_time[odd] = meant == timestamps[odd]
    return positions, on_grid & (rest == 0) & same_time


def advance(clock: Clock, origins: TimeArray, steps: IntArray, tz: Zone = None) -> TimeArray:
    """The timestamps `steps` after `origins` on the clock's grid; the two are broadcast together, and so is `tz`.

    Raises:
        FrequencyError: an origin is not on the grid, or a timestamp lies outside what 64-bit nanoseconds hold.
    """
    if (origins.dtype.kind == "M") == (clock.unit == "integer"):
        raise FrequencyError(f"freq {clock.freq!r} does not fit timestamps of type {origins.dtype}", field="freq")
    if clock.unit == "integer":
        return origins + steps * clock.step
    instants = origins.astype("datetime64[ns]", copy=False)
    if clock.unit == "tick":
        _refuse_beyond(instants.astype(np.int64), steps, clock.step, LAST_NANOSECOND)
        later: Instants = instants + (steps * clock.step).astype("timedelta64[ns]")
        return later
    ordinals, since, on_grid = places_of(clock, wall_from_instants(instants, tz))
    if not on_grid.all():
        stray = np.datetime_as_string(instants[~on_grid].ravel()[0], unit="s")
        raise FrequencyError(f"{stray} is not on the clock of freq {clock.freq!r}; pass the freq of the data", field="freq")
    _refuse_beyond(ordinals, steps, clock.step, int(_ordinals(clock, np.array(["2262-04-01"], "datetime64[D]"))[0]))
    return instants_from_wall(_moments(clock, ordinals + steps * clock.step, since), tz)


def _refuse_beyond(places: IntArray, steps: IntArray, step: int, last: int) -> None:
    """Refuse to go on where the numbers of a clock end: they would come round in silence."""
    if places.size and steps.size and int(places.max()) + int(steps.max()) * step > last:
        raise FrequencyError(
            f"{int(steps.max())} steps reach beyond April 2262, where clocks of nanoseconds end; ask for fewer", field="freq"
        )


# The future


def future_timestamps(panel: Panel, horizon: int) -> TimeArray:
    """Timestamps of the `horizon` steps after each series of `panel`, (S, H), of the panel's own kind."""
    last = panel.last_timestamps()
    let_go(panel.timestamps)
    return future_timestamps_after(last, panel.freq, horizon, tz=zones_of_future(panel))


def future_timestamps_after(last: TimeArray, freq: str | int, horizon: int, tz: Zone = None) -> TimeArray:
    """The `horizon` timestamps after each of `last` (S,), (S, H): datetime64[ns] instants in UTC, or int64 steps.

    `tz` is one zone, or that of each series, (S, 1).

    Raises:
        HorizonError: the horizon is not a positive int, or beyond a million.
        FrequencyError: a last timestamp is not on the clock of `freq`.
    """
    if not isinstance(horizon, (int, np.integer)) or isinstance(horizon, bool) or horizon < 1:
        raise HorizonError(f"horizon must be a positive number of steps, got {horizon!r}", field="horizon")
    if horizon > MOST_STEPS:
        raise HorizonError(f"horizon must be at most {MOST_STEPS} steps, got {horizon}", field="horizon")
    clock = clock_of(freq)
    steps = np.arange(1, horizon + 1)
    if clock.absolute or len(last) < 2 or isinstance(tz, Zones):
        return advance(clock, last[:, None], steps[None, :], tz)
    _, chosen, which = np.unique(last, return_index=True, return_inverse=True)  # most series of a panel end together
    return advance(clock, last[chosen][:, None], steps[None, :], tz)[which]


# Calendar features


def calendar_features(timestamps: TimeArray, freq: str | int, tz: Zone = None) -> tuple[FloatArray, tuple[str, ...]]:
    """Where each timestamp stands in the cycles of the calendar, as (…, C) sines and cosines in [-1, 1], and their names.

    Only cycles that change from step to step at `freq` are there, read off the wall clock of `tz`: hourly data have
    hour_of_day, day_of_week, day_of_month and day_of_year, monthly data month_of_year; years and integer steps none.
    Works for a future (S, H) as for a panel (N,), with zones_of_future and zones_of_rows; the last axis is the new one.
    """
    clock = clock_of(freq)
    fields = _fields_that_vary(clock)
    names = tuple(f"{field}_{wave}" for field in fields for wave in ("sin", "cos"))
    if not fields:
        return np.zeros((*timestamps.shape, 0)), names
    wall = wall_from_instants(timestamps.astype("datetime64[ns]"), tz)
    turns = np.stack([_turn(field, wall) for field in fields], axis=-1) * (2 * np.pi)  # (…, fields)
    waves = np.stack([np.sin(turns), np.cos(turns)], axis=-1)  # (…, fields, 2)
    return waves.reshape(*timestamps.shape, len(names)), names


def _fields_that_vary(clock: Clock) -> tuple[str, ...]:
    if clock.unit == "integer":
        return ()
    if clock.unit in MONTH_EDGES:
        return ("month_of_year",) if clock.step % 12 else ()
    if clock.unit in ("W", "SMS", "SME"):
        return ("day_of_month", "day_of_year")
    if clock.unit == "B":
        return (*(("day_of_week",) if clock.step % 5 else ()), "day_of_month", "day_of_year")
    step = clock.step if clock.unit == "tick" else clock.step * DAY
    cycles = {"second_of_minute": TICKS["min"], "minute_of_hour": TICKS["h"], "hour_of_day": DAY, "day_of_week": 7 * DAY}
    varying = tuple(field for field, length in cycles.items() if step % length)
    return (*varying, "day_of_month", "day_of_year")


def _turn(field: str, wall: Instants) -> FloatArray:
    """How far round its cycle each moment is, in [0, 1)."""
    dates = wall.astype("datetime64[D]")
    days = dates.astype(np.int64)
    of_day = (wall - dates).astype("timedelta64[ns]").astype(np.int64)  # ns since midnight
    turn: FloatArray
    if field == "day_of_week":
        turn = (days + 3) % 7 / 7  # Monday = 0
    elif field == "month_of_year":
        turn = dates.astype("datetime64[M]").astype(np.int64) % 12 / 12
    elif field in ("day_of_month", "day_of_year"):
        start = dates.astype("datetime64[M]" if field == "day_of_month" else "datetime64[Y]")
        first, following = (edge.astype("datetime64[D]").astype(np.int64) for edge in (start, start + 1))
        turn = (days - first) / (following - first)
    else:
        length = {"second_of_minute": TICKS["min"], "minute_of_hour": TICKS["h"], "hour_of_day": DAY}[field]
        turn = of_day % length / length
    return turn
