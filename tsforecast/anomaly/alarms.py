"""Rates of single steps -> events worth a message: what belongs together, what lasts long enough, what has been said already.

An event opens where an alarm at the asked sensitivity would, goes on while the score stays near that (hysteresis), and
closes when it has not for `merge_gap` steps. All of it is causal and bounded, and steps fed one at a time give the events
that they give in one batch, with the same ids, so that a batch sent twice announces nothing new.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt

from tsforecast.anomaly.calibration import CalibrationRules, new_normal_steps
from tsforecast.anomaly.report import Event, severity_of
from tsforecast.errors import OptionError
from tsforecast.panel import FloatArray, TimeArray, moment_number

BoolArray = npt.NDArray[np.bool_]
Moment = str | int | datetime | np.datetime64
DIRECTIONS = ("both", "above", "below")
LULL_SHARE = 8  # of the width of the detector: so many quiet steps may lie between steps that only stay near the threshold


@dataclass(frozen=True, kw_only=True, slots=True)
class AlarmRules:
    """When an event opens, goes on and closes. Steps are rows of the series, those without a score too."""

    sensitivity: float = 1.0  # alarms asked for per 1,000 steps
    direction: Literal["both", "above", "below"] = "both"  # where values must lie of what was expected
    min_duration: int = 1  # steps of an event that alarm, below which nothing is said
    merge_gap: int | None = None  # quiet steps between two alarms of one event, at most; None = the width of the detector
    cooldown: int = 0  # steps after an event in which alarms are only counted to it
    close_factor: float = 5.0  # an event also goes on while the rate stays at most so many times the asked one
    new_normal: int | None = None  # steps after which what lasts is a level shift; None = 8 widths, at least 500; 0 = never
    max_duration: int | None = None  # steps after which an event is closed, whatever it is; None = no bound
    ignore: tuple[tuple[Moment, Moment], ...] = ()  # (first, last) timestamps, both inclusive, in which nothing opens

    def __post_init__(self) -> None:
        for name, least in (("min_duration", 1), ("merge_gap", 0), ("cooldown", 0), ("new_normal", 0), ("max_duration", 1)):
            value = getattr(self, name)
            if value is None and name not in ("min_duration", "cooldown"):
                continue
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise _wrong(name, f"a whole number of steps of at least {least}", value)
        for name, low, high in (("sensitivity", 0.0, 1_000.0), ("close_factor", 1.0, 1_000.0)):
            value = getattr(self, name)
            if not isinstance(value, int | float) or isinstance(value, bool) or not low <= value <= high or value <= 0:
                raise _wrong(name, f"a positive number from {low:g} to {high:g}", value)
        if self.direction not in DIRECTIONS:
            raise _wrong("direction", f"one of {', '.join(DIRECTIONS)}", self.direction)
        if self.max_duration is not None and self.max_duration < self.min_duration:
            raise _wrong("max_duration", f"at least alarms.min_duration = {self.min_duration}", self.max_duration)
        if not isinstance(self.ignore, tuple | list):
            raise _wrong("ignore", "pairs of (first, last) timestamps", self.ignore)
        for window in self.ignore:
            if not isinstance(window, tuple | list) or len(window) != 2:
                raise _wrong("ignore", "pairs of (first, last) timestamps", window)
        object.__setattr__(self, "ignore", tuple((first, last) for first, last in self.ignore))  # lists come from JSON
        for window, (first, last) in zip(self.ignore, _windows(self.ignore), strict=True):
            if isinstance(first, int) != isinstance(last, int) or not np.less_equal(first, last):
                raise _wrong("ignore", "pairs of one kind of timestamp, the first not after the last", window)

    def calibration(self, **options: Any) -> CalibrationRules:
        """Rules of the calibrator that go with these; `options` as in `CalibrationRules`.

        What lasts is normal to the calibrator at some time even where it is to be no level shift (`new_normal` 0).
        """
        return CalibrationRules(sensitivity=self.sensitivity, new_normal=self.new_normal or None, **options)

    def ignored(self, timestamps: TimeArray) -> BoolArray:
        """Whether each of the timestamps (n,) lies in a window to be ignored.

        Raises:
            OptionError: windows of dates for an integer clock, or the other way round.
        """
        found = np.zeros(len(timestamps), dtype=np.bool_)
        for first, last in _windows(self.ignore):
            if isinstance(first, int) == (timestamps.dtype.kind == "M"):
                clock = "timestamps" if timestamps.dtype.kind == "M" else "whole numbers"
                raise _wrong("ignore", f"{clock}, as the series have", self.ignore[0][0])
            found |= np.greater_equal(timestamps, first) & np.less_equal(timestamps, last)
        return found


def _wrong(name: str, must: str, got: object) -> OptionError:
    return OptionError(f"alarms.{name} must be {must}, got {got!r}", field=f"alarms.{name}")


@lru_cache(maxsize=64)
def _windows(ignore: tuple[tuple[Moment, Moment], ...]) -> tuple[tuple[np.datetime64 | int, np.datetime64 | int], ...]:
    return tuple((_moment(first), _moment(last)) for first, last in ignore)


def _moment(value: Moment) -> np.datetime64 | int:
    """A timestamp in UTC, or a step of an integer clock; text and dates without a zone are taken as they are."""
    if isinstance(value, int | np.integer) and not isinstance(value, bool):
        return int(value)
    try:
        if isinstance(value, np.datetime64):
            nanoseconds: np.datetime64 = value.astype("M8[ns]")
            return nanoseconds
        found = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
        if found.tzinfo is not None:
            found = found.astimezone(UTC).replace(tzinfo=None)
        return np.datetime64(found, "ns")
    except (TypeError, ValueError) as error:
        raise _wrong("ignore", "ISO 8601 timestamps or whole numbers", value) from error


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """What has become of an event. `event.kind` is "shape" until somebody looks at the values (`kinds.kind_of`), or
    "level shift" where the event lasted until it was the new normal."""

    what: Literal["opened", "extended", "closed", "suppressed"]  # suppressed: an alarm in its cool-down was counted to it
    event: Event
    why: Literal["", "ended", "new normal", "too long"] = ""  # of a closed one


@dataclass(frozen=True, kw_only=True, slots=True)
class Alarmed:
    """What the machine makes of n steps."""

    alarm: BoolArray  # (n,) whether an event is announced and the step belongs to it
    changes: tuple[Change, ...]  # in the order in which they became known; "extended" is the state after the last step


@dataclass(slots=True)
class _Open:
    """An event under way, announced or not. Moments are int: nanoseconds or steps."""

    start: int
    end: int
    peak: int
    first_row: int
    last_row: int
    peak_score: float
    p_value: float
    steps: int = 1  # that alarmed
    announced: bool = False


class AlarmMachine:
    """The events of one series, step by step."""

    def __init__(self, rules: AlarmRules, *, series_id: str, width: int) -> None:
        """Args:
        width: steps over which the detector smears its evidence.
        """
        self.rules, self.series_id, self.width = rules, series_id, int(width)
        self._asked = rules.sensitivity / 1_000.0
        self._stay = rules.close_factor * self._asked
        self._gap = self.width if rules.merge_gap is None else rules.merge_gap
        self._lull = min(max(self.width // LULL_SHARE, 1), self._gap)
        normal = new_normal_steps(self.width) if rules.new_normal is None else rules.new_normal
        self._limits = [(normal, "new normal")] if normal else []
        if rules.max_duration is not None:
            self._limits.append((rules.max_duration, "too long"))
        self._limits.sort()
        self._is_integer = False
        self._row = 0  # of the next step
        self._open: _Open | None = None
        self._last: Event | None = None  # the one closed last, announced
        self._settling = -1  # row until which what was closed by a limit has lasted; -1 = nothing to wait for
        self._suppressed = -1  # row of the last step of an alarm in the cool-down
        self._residuals = np.zeros(0)  # (<= width - 1,) the newest, where a direction is asked for

    def update(
        self,
        timestamps: TimeArray,
        *,
        rate: FloatArray,
        p_value: FloatArray,
        score: FloatArray,
        residual: FloatArray | None = None,
        ignore: BoolArray | None = None,
    ) -> Alarmed:
        """Go on by n steps of the series; rows are counted from 0 at the first one ever given.

        Args:
            timestamps: (n,).
            rate, p_value: (n,) of the calibrator, NaN = not judged: such a step opens nothing and counts as quiet.
            score: (n,).
            residual: (n,) value - expected, NaN = not known; needed only where a direction is asked for. The direction of a
                step is that of the largest residual among the `width` newest, as scores of windows look back as far.
            ignore: (n,) true = opens nothing and counts as quiet; None = as `rules.ignored(timestamps)`.
        """
        self._is_integer = timestamps.dtype.kind != "M"
        moments = timestamps.astype(np.int64) if self._is_integer else timestamps.astype("M8[ns]").view(np.int64)
        ignored = self.rules.ignored(timestamps) if ignore is None else np.asarray(ignore, dtype=np.bool_)
        with np.errstate(invalid="ignore"):
            near = (rate <= self._stay) & ~ignored
        near = self._in_direction(near, residual)
        alarm = np.zeros(len(rate), dtype=np.bool_)
        changes: list[Change] = []
        extended = False
        for i in np.flatnonzero(near).tolist():
            row = self._row + i
            self._end_before(row, changes)
            opens = bool(rate[i] <= self._asked)
            if self._open is None and not self._may_open(row, opens, changes):
                continue
            if self._open is not None and not opens and row - self._open.last_row - 1 > self._lull:
                continue  # near the threshold, but apart from the event: by chance, as one step in a few hundred is
            one = self._open = self._grown(row, int(moments[i]), float(score[i]), float(p_value[i]))
            if not one.announced and one.steps >= self.rules.min_duration:
                one.announced = True
                changes.append(Change(what="opened", event=self._event(one, open_=True)))
            extended = one.announced
            alarm[i] = one.announced
            self._end_at_limit(row, changes)
        self._row += len(rate)
        self._end_before(self._row, changes)
        if extended and (event := self.event()) is not None and not (changes and changes[-1].event == event):
            changes.append(Change(what="extended", event=event))
        return Alarmed(alarm=alarm, changes=tuple(changes))

    def event(self) -> Event | None:
        """The announced event that is open after the last step, if there is one."""
        return self._event(self._open, open_=True) if self._open is not None and self._open.announced else None

    # Steps of an event

    def _may_open(self, row: int, opens: bool, changes: list[Change]) -> bool:
        if self._settling >= 0:
            if row - self._settling - 1 <= self._gap:  # what was closed by a limit still lasts
                self._settling = row
                return False
            self._settling = -1
        if not opens:
            return False
        last = self._last
        if last is None or row - last.last_row > self.rules.cooldown:
            return True
        if self._suppressed < 0 or row - self._suppressed - 1 > self._gap:
            self._last = replace(last, suppressed=last.suppressed + 1)
            changes.append(Change(what="suppressed", event=self._last))
        self._suppressed = row
        return False

    def _grown(self, row: int, moment: int, score: float, p_value: float) -> _Open:
        one = self._open
        if one is None:
            return _Open(start=moment, end=moment, peak=moment, first_row=row, last_row=row, peak_score=score, p_value=p_value)
        one.end, one.last_row, one.steps = moment, row, one.steps + 1
        if score > one.peak_score:
            one.peak, one.peak_score = moment, score
        one.p_value = min(one.p_value, p_value)
        return one

    def _end_before(self, row: int, changes: list[Change]) -> None:
        """Close the open event if the steps between it and `row` were quiet for too long."""
        if self._open is not None and row - self._open.last_row - 1 > self._gap:
            self._close("ended", changes)

    def _end_at_limit(self, row: int, changes: list[Change]) -> None:
        if self._open is None:
            return
        for steps, why in self._limits:
            if row - self._open.first_row + 1 >= steps:
                self._close(why, changes)
                self._settling = row
                return

    def _close(self, why: Any, changes: list[Change]) -> None:
        one, self._open = self._open, None
        if one is None or not one.announced:
            return
        event = self._event(one, open_=False)
        self._last = replace(event, kind="level shift") if why == "new normal" else event
        self._suppressed = -1
        changes.append(Change(what="closed", event=self._last, why=why))

    def _event(self, one: _Open, *, open_: bool) -> Event:
        start = self._moment(one.start)
        return Event(
            id=event_id(self.series_id, start),
            series_id=self.series_id,
            start=start,
            end=self._moment(one.end),
            peak=self._moment(one.peak),
            first_row=one.first_row,
            last_row=one.last_row,
            peak_score=one.peak_score,
            p_value=one.p_value,
            severity=float(severity_of(np.asarray([one.p_value]))[0]),
            kind="shape",
            open=open_,
        )

    def _moment(self, value: int) -> np.datetime64 | int:
        return value if self._is_integer else np.datetime64(value, "ns")

    def _in_direction(self, near: BoolArray, residual: FloatArray | None) -> BoolArray:
        """Those of the steps whose largest residual lately points where it should; all of them where none is known."""
        if self.rules.direction == "both":
            return near
        if residual is None:
            raise _wrong("direction", "'both' where no residuals are given", self.rules.direction)
        sign = 1.0 if self.rules.direction == "above" else -1.0
        known = np.concatenate([self._residuals, np.where(np.isnan(residual), 0.0, residual)])
        before = len(self._residuals)
        found = near.copy()
        for i in np.flatnonzero(near).tolist():
            recent = known[max(before + i + 1 - self.width, 0) : before + i + 1]
            found[i] = sign * recent[int(np.argmax(np.abs(recent)))] >= 0.0
        self._residuals = known[len(known) - min(len(known), self.width - 1) :].copy()
        return found

    # Storage

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """(arrays, JSON values) from which `from_state` goes on."""
        last = None
        if self._last is not None:
            last = {name: getattr(self._last, name) for name in (*EVENT_VALUES, "start", "end", "peak")}
            last |= {name: moment_number(last[name]) for name in ("start", "end", "peak")}
        values = {
            "series_id": self.series_id,
            "width": self.width,
            "is_integer": self._is_integer,
            "row": self._row,
            "open": None if self._open is None else asdict(self._open),
            "last": last,
            "settling": self._settling,
            "suppressed": self._suppressed,
        }
        return {"residuals": self._residuals.copy()}, values

    @classmethod
    def from_state(cls, rules: AlarmRules, arrays: Mapping[str, np.ndarray], values: Mapping[str, Any]) -> Self:
        """The machine that `state` described, under `rules`.

        Raises:
            KeyError, TypeError, ValueError: it is not such a state.
        """
        found = cls(rules, series_id=values["series_id"], width=values["width"])
        found._is_integer, found._row = values["is_integer"], values["row"]
        found._open = None if values["open"] is None else _Open(**values["open"])
        if values["last"] is not None:
            moments = {name: found._moment(values["last"][name]) for name in ("start", "end", "peak")}
            found._last = Event(**(values["last"] | moments))
        found._settling, found._suppressed = values["settling"], values["suppressed"]
        found._residuals = np.array(arrays["residuals"], dtype=np.float64)
        return found


EVENT_VALUES = ("id", "series_id", "first_row", "last_row", "peak_score", "p_value", "severity", "kind", "open", "suppressed")


def event_id(series_id: str, start: np.datetime64 | int) -> str:
    """The same each time the same rows are judged; the start to the second where it has no fraction of one."""
    if not isinstance(start, np.datetime64):
        return f"{series_id}@{start}"
    whole = start.astype("M8[s]")
    return f"{series_id}@{whole if whole == start else start}"
