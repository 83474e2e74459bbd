"""Scores of one series, step by step -> how rare they are: p-values, and the alarms a threshold at each score would give.

What is rare is told from the newest scores of the series itself, and told anew every few steps, because scores drift: a
threshold set once on the training part and meant for 0.1 % of the steps fires on 2 to 14 % of them (ANOMALY.md 2.4).
Alarms are counted in episodes, not in steps: a window stands out for as many steps as it is long, for one reason.

All of it is causal, and scores fed one at a time give bit for bit what they give in one batch. Steps without a score (NaN)
are passed over: they get no p-value, and no count in this module sees them.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from tsforecast.anomaly.tails import EpisodeTable, PointTable, highest_before
from tsforecast.errors import OptionError
from tsforecast.panel import FloatArray, IntArray

BoolArray = npt.NDArray[np.bool_]
ORDINARY, ALARMED, ANOMALY, FALSE_ALARM, AGAIN = range(5)  # what a score in the memory is: as found (AGAIN: alarmed for the
# reason of one before it) | as feedback said
COMMON = 0.25  # what so large a share of the steps reaches is no alarm, however many are asked for
LOG_FACTORS = (-1.0, 4.0)  # bounds of the logarithm of the factor that adapts the rate
PLACES = ("next", "log_factor", "count", "last_alarm", "last_told", "began")  # the numbers of the state
MOST_AT_START = 100  # episodes among the scores of the start, and feet of them, that may turn out to be anomalies
NEW_NORMAL_WIDTHS, LEAST_NEW_NORMAL = 8, 500  # widths and steps after which what lasts is the new normal


@dataclass(frozen=True, kw_only=True, slots=True)
class CalibrationRules:
    """How scores become p-values and rates. Counts are of steps with a score."""

    sensitivity: float = 1.0  # alarms per 1,000 steps that will be asked for; what stands out so does not calibrate
    window: int = 3_000  # newest scores that are remembered
    every: int = 100  # steps from one calibration to the next
    least: int = 10  # scores below which nothing is said
    peaks: int = 20  # highest episodes that the tail of the rate is fitted to
    tail: float = 0.02  # share of the scores that the tail of the p-value is fitted to, `peaks` of them at least
    gain: float = 0.2  # log-units by which the rate rises after an alarm more than was asked for; 0 = fixed
    new_normal: int | None = None  # steps after which alarms without end are the new normal; None = 8 widths, at least 500

    def __post_init__(self) -> None:
        for name in ("window", "every", "least", "peaks"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise _wrong(name, "a whole number of at least 1", value)
        if self.new_normal is not None and (not isinstance(self.new_normal, int) or self.new_normal < 1):
            raise _wrong("new_normal", "a whole number of steps of at least 1, or None", self.new_normal)
        if not _is_number(self.sensitivity) or not 0 < self.sensitivity <= 1_000:
            raise _wrong("sensitivity", "alarms per 1,000 steps in (0, 1000]", self.sensitivity)
        if not _is_number(self.tail) or not 0 < self.tail < 1:
            raise _wrong("tail", "a share in (0, 1)", self.tail)
        if not _is_number(self.gain) or not 0 <= self.gain <= 1:
            raise _wrong("gain", "a number in [0, 1]", self.gain)
        if self.window < self.least:
            raise _wrong("window", f"at least calibration.least = {self.least}", self.window)


def new_normal_steps(width: int) -> int:
    """Steps after which alarms without end are the new normal, where nobody has said it."""
    return max(NEW_NORMAL_WIDTHS * width, LEAST_NEW_NORMAL)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _wrong(name: str, must: str, got: object) -> OptionError:
    return OptionError(f"calibration.{name} must be {must}, got {got!r}", field=f"calibration.{name}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Calibrated:
    """How rare the scores of n steps are; neither is ever 0, and at any one moment both fall as the score rises."""

    p_value: FloatArray  # (n,) share of ordinary steps with a score so high, in (0, 1]; NaN = no score, or not calibrated
    rate: FloatArray  # (n,) alarms per step, had each score so high given one; NaN likewise


class Calibrator:
    """The memory of the scores of one series, and what it says about the next ones.

    Scores alarmed at the asked rate do not count for the rate, so that the first anomaly does not hide the second. Two
    things keep that from going wrong when scores drift: after more alarms than asked for all rates are raised by a factor,
    and lowered again in quiet times (adaptive conformal inference, Gibbs & Candès 2021, on episodes); and alarms that do
    not end within `new_normal` steps are the new normal: their scores count, and those before them are forgotten.

    p-values say what share of the recent steps had such a score, alarms included, and are approximate: neighbouring scores
    depend on each other, and conformal prediction promises its coverage for exchangeable ones only.
    """

    def __init__(self, rules: CalibrationRules, *, scores: FloatArray, width: int, looking_back: bool = False) -> None:
        """Start from scores of steps that nothing was fitted to.

        Args:
            scores: (m,) in time order, NaN = no score; may be empty: then `least` steps pass before the first p-value.
            width: steps over which neighbouring scores share their cause (the window of the detector): two alarms with
                fewer steps between them are one episode.
            looking_back: the scores are also those that will be judged. What is odd among them does not count at all, so that
                each odd episode is judged by the others; else it counts once.

        Raises:
            OptionError: width below 1, or scores that are infinite or no row.
        """
        if not isinstance(width, int | np.integer) or width < 1:
            raise OptionError(f"width must be a whole number of steps of at least 1, got {width!r}", field="width")
        self.rules, self.width = rules, int(width)
        self._asked = rules.sensitivity / 1_000.0
        self._new_normal = rules.new_normal or new_normal_steps(self.width)
        known = _row_of(scores)
        steps = np.arange(-len(known), 0)[np.isfinite(known)]
        known = known[np.isfinite(known)]
        self._scores = np.zeros(0)  # (k,) newest scores, older ones first
        self._before = np.zeros(0)  # (k,) highest of the `width` scores before each
        self._steps = np.zeros(0, dtype=np.int64)  # (k,) number of each step
        self._states = np.zeros(0, dtype=np.int8)  # (k,)
        self._next = 0  # number of the next step; the scores given at the start have negative ones
        self._waiting: FloatArray = np.zeros(rules.every)  # scores since the last calibration, `_held` of them
        self._waiting_steps: IntArray = np.zeros(rules.every, dtype=np.int64)
        self._waiting_alarmed = np.zeros(rules.every, dtype=np.bool_)
        self._waiting_told = np.full(rules.every, ORDINARY, dtype=np.int8)  # what feedback said of them
        self._held = 0
        self._log_factor = 0.0
        self._count = 0  # scores ever remembered; the places below count them
        self._last_alarm = -self.width - 1  # place of the last alarm
        self._last_told = -self.width - 1  # … of the last one that counts in p-values
        self._began = 0  # place of the first alarm of its episode
        self._remember(known, steps, np.full(len(known), ORDINARY, dtype=np.int8))
        self._states = self._odd_at_start(counts_once=not looking_back)
        self._calibrate()

    def _odd_at_start(self, *, counts_once: bool) -> npt.NDArray[np.int8]:
        """States of the scores of the start: nobody has looked at them, so there may be anomalies among them.

        The highest episode is judged by the others; if it alarms it counts once or not at all, and then the next highest is
        judged.
        """
        states, rules = self._states.copy(), self.rules
        left = np.ones(len(states), dtype=np.bool_)
        for _ in range(MOST_AT_START):
            if not left.any():
                break
            near = self._episode(left, beside=self.width)
            if np.count_nonzero(left & ~near) < max(rules.least, 2 * self.width):
                near = self._episode(left, beside=0)
            rest = left & ~near
            if np.count_nonzero(rest) < rules.least:
                break
            table = EpisodeTable.of(self._scores, self._before, rest, width=self.width, peaks=rules.peaks, least=rules.least)
            points = PointTable.of(self._scores[rest], share=rules.tail, peaks=rules.peaks, least=rules.least)
            rates = table.rate(self._scores[near])
            alarmed = (rates <= self._asked) & (points.p_value(self._scores[near]) <= COMMON)
            if not alarmed.any():
                break
            found = np.flatnonzero(near)[alarmed]
            foot = not left[max(found[0] - self.width, 0) : found[-1] + self.width + 1].all()  # of an episode that counts
            left[found] = False
            states[found] = AGAIN if counts_once else ANOMALY
            if counts_once and not foot:
                states[found[np.argmax(self._scores[found])]] = ORDINARY
        return states

    def _episode(self, left: BoolArray, *, beside: int) -> BoolArray:
        """The highest of the scores that are `left` and those around it, as far as they are nearer to it than to the median.

        A lull of one width does not end it, so an outage is one episode; what lasts as long as a new normal does. `beside`:
        so many steps on either side go with it.
        """
        peak = int(np.flatnonzero(left)[np.argmax(self._scores[left])])
        high = np.flatnonzero(left & (self._scores >= 0.5 * (self._scores[peak] + np.median(self._scores[left]))))
        at = int(np.searchsorted(high, peak))
        breaks = np.diff(high) > self.width
        first = high[np.flatnonzero(breaks[:at])[-1] + 1] if breaks[:at].any() else high[0]
        last = high[at + np.flatnonzero(breaks[at:])[0]] if breaks[at:].any() else high[-1]
        first, last = max(first, peak - self._new_normal), min(last, peak + self._new_normal)
        places = np.arange(len(left))
        found: BoolArray = left & (places >= first - beside) & (places <= last + beside)
        return found

    # Judging

    def update(self, scores: FloatArray, *, ignore: BoolArray | None = None) -> Calibrated:
        """Judge the next n steps, each by what was known before it; then remember them.

        Args:
            scores: (n,), NaN = no score.
            ignore: (n,), true = judge but do not remember: maintenance, holidays.

        Raises:
            OptionError: infinite scores, or shapes that differ.
        """
        given = _row_of(scores)
        kept = np.isfinite(given)
        if ignore is not None:
            if np.shape(ignore) != given.shape:
                raise OptionError(f"ignore must have the shape of scores, {given.shape}, got {np.shape(ignore)}", field="ignore")
            kept &= ~np.asarray(ignore, dtype=bool)
        p_value, rate = np.full(len(given), np.nan), np.full(len(given), np.nan)
        remembered = np.flatnonzero(kept)
        first = done = 0  # of the steps, of `remembered`
        while first < len(given):
            room = self.rules.every - self._held
            take = remembered[done : done + room]
            stop = int(take[-1]) + 1 if len(take) == room else len(given)
            p_value[first:stop], rate[first:stop] = self._judge(given[first:stop])
            self._waiting[self._held : self._held + len(take)] = given[take]
            self._waiting_steps[self._held : self._held + len(take)] = take + self._next
            self._waiting_alarmed[self._held : self._held + len(take)] = rate[take] <= self._asked  # NaN is no alarm
            self._held += len(take)
            first, done = stop, done + len(take)
            if len(take) == room:
                self._take_in()
        self._next += len(given)
        return Calibrated(p_value=p_value, rate=rate)

    def _judge(self, scores: FloatArray) -> tuple[FloatArray, FloatArray]:
        rate = np.minimum(self._episodes.rate(scores) * self._factor, 1.0)
        rate[self._points.p_value(scores) > COMMON] = 1.0
        return self._rarity.p_value(scores), rate

    # Remembering

    def _take_in(self) -> None:
        """Move the scores that wait into the memory, and calibrate."""
        scores, steps = self._waiting[: self._held], self._waiting_steps[: self._held]
        alarmed = self._waiting_alarmed[: self._held]
        begun, lasting = self._follow(alarmed)
        told = self._waiting_told[: self._held]
        self._remember(scores, steps, np.where(told != ORDINARY, told, self._states_of(alarmed)).astype(np.int8))
        told[:] = ORDINARY
        change = self.rules.gain * (begun - self._asked * self._held)
        self._log_factor = min(max(self._log_factor + change, LOG_FACTORS[0]), LOG_FACTORS[1])
        self._held = 0
        if lasting is not None:
            self._forget_before(lasting)
        self._calibrate()

    def _follow(self, alarmed: BoolArray) -> tuple[int, int | None]:
        """(episodes begun, place where one began that has lasted so long that it is the new normal)."""
        begun, lasting = 0, None
        for place in (np.flatnonzero(alarmed) + self._count).tolist():
            if place - self._last_alarm > self.width:
                begun, self._began = begun + 1, place
            self._last_alarm = place
            if place - self._began >= self._new_normal:
                lasting, self._began = self._began, place
        return begun, lasting

    def _states_of(self, alarmed: BoolArray) -> npt.NDArray[np.int8]:
        """States of the scores that wait; of alarms one in a width counts: a window stands out all its length for one reason."""
        found = np.where(alarmed, AGAIN, ORDINARY).astype(np.int8)
        for at in np.flatnonzero(alarmed).tolist():
            if at + self._count - self._last_told >= self.width:
                found[at], self._last_told = ALARMED, at + self._count
        return found

    def _remember(self, scores: FloatArray, steps: IntArray, states: npt.NDArray[np.int8]) -> None:
        most = max(self.rules.window, self.width)
        recent = self._scores[-self.width :]
        before = highest_before(np.concatenate([recent, scores]), self.width)[len(recent) :]
        self._scores = np.concatenate([self._scores, scores])[-most:]
        self._before = np.concatenate([self._before, before])[-most:]
        self._steps = np.concatenate([self._steps, steps])[-most:]
        self._states = np.concatenate([self._states, states])[-most:]
        self._count += len(scores)

    def _forget_before(self, place: int) -> None:
        """Scores from `place` on are the new normal; older ones are gone."""
        newest = min(self._count - place, len(self._scores))
        self._scores, self._before = self._scores[-newest:], self._before[-newest:]
        self._steps, self._states = self._steps[-newest:], self._states[-newest:]
        alarmed = (self._states == ALARMED) | (self._states == AGAIN)
        self._states = np.where(alarmed, ORDINARY, self._states).astype(np.int8)

    def _calibrate(self) -> None:
        rules = self.rules
        kept = (self._states == ORDINARY) | (self._states == FALSE_ALARM)
        self._episodes = EpisodeTable.of(self._scores, self._before, kept, width=self.width, peaks=rules.peaks, least=rules.least)
        # p-values read the alarmed scores too: without them 1.6 to 8 % of ordinary steps had p <= 0.01, with them 0.8 to 1.7 %
        # … where each alarm counts once
        known = self._states != ANOMALY
        common, rare = self._scores[known], self._scores[known & (self._states != AGAIN)]
        self._points = PointTable.of(common, share=rules.tail, peaks=rules.peaks, least=rules.least)
        self._rarity = PointTable.of(rare, share=rules.tail, peaks=rules.peaks, least=rules.least)
        self._factor = math.exp(self._log_factor)

    # Feedback

    def exclude(self, steps: npt.ArrayLike) -> int:
        """Take out the scores of true anomalies, for good; return how many of them were still remembered.

        Args:
            steps: (k,) numbers of steps: 0 is the first one given to `update`; the scores of the start end at -1.
        """
        return self._mark(steps, ANOMALY)

    def readmit(self, steps: npt.ArrayLike) -> int:
        """Let the scores of false alarms count as ordinary ones, so that such scores alarm less; arguments as in `exclude`."""
        return self._mark(steps, FALSE_ALARM)

    def _mark(self, steps: npt.ArrayLike, state: int) -> int:
        """Set the state of steps in the memory and among those that wait, and calibrate at once."""
        told = np.asarray(steps, dtype=np.int64).ravel()
        known = np.isin(self._steps, told)
        waiting = np.isin(self._waiting_steps[: self._held], told)
        self._states = np.where(known, state, self._states).astype(np.int8)
        self._waiting_told[: self._held][waiting] = state
        self._calibrate()
        return int(known.sum() + waiting.sum())

    # Storage

    @property
    def calibrated(self) -> bool:
        """Whether there are scores enough to say anything."""
        return self._episodes.tail is not None

    @property
    def steps(self) -> int:
        """Steps judged so far: the number of the next one."""
        return self._next

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """(arrays, JSON values) from which `from_state` goes on, bit for bit."""
        arrays = {
            "scores": self._scores,
            "before": np.where(np.isfinite(self._before), self._before, np.nan),
            "steps": self._steps,
            "states": self._states,
            "waiting": self._waiting[: self._held].copy(),
            "waiting_steps": self._waiting_steps[: self._held].copy(),
            "waiting_alarmed": self._waiting_alarmed[: self._held].astype(np.int8),
            "waiting_told": self._waiting_told[: self._held].copy(),
        }
        values = {name: getattr(self, f"_{name}") for name in PLACES} | {"rules": asdict(self.rules), "width": self.width}
        return {name: np.ascontiguousarray(array) for name, array in arrays.items()}, values

    @classmethod
    def from_state(cls, arrays: Mapping[str, np.ndarray], values: Mapping[str, Any]) -> Self:
        """The calibrator that `state` described.

        Raises:
            KeyError, OptionError, ValueError: it is not such a state.
        """
        found = cls(CalibrationRules(**values["rules"]), scores=np.zeros(0), width=values["width"])
        size, held = len(arrays["scores"]), len(arrays["waiting"])
        if {len(arrays[name]) for name in ("before", "steps", "states")} != {size} or held >= found.rules.every:
            raise ValueError(f"{size} scores and {held} that wait do not fit the state of a calibrator")
        found._scores = np.array(arrays["scores"], dtype=np.float64)
        found._before = np.where(np.isnan(arrays["before"]), -np.inf, arrays["before"])
        found._steps = np.array(arrays["steps"], dtype=np.int64)
        found._states = np.array(arrays["states"], dtype=np.int8)
        found._waiting[:held] = arrays["waiting"]
        found._waiting_steps[:held] = arrays["waiting_steps"]
        found._waiting_alarmed[:held] = arrays["waiting_alarmed"] != 0
        found._waiting_told[:held] = arrays["waiting_told"]
        found._held = held
        for name in PLACES:
            setattr(found, f"_{name}", values[name])
        found._calibrate()
        return found


def _row_of(scores: FloatArray) -> FloatArray:
    found = np.asarray(scores, dtype=np.float64)
    if found.ndim != 1 or np.isinf(found).any():
        what = f"shape {found.shape}" if found.ndim != 1 else "infinite ones"
        raise OptionError(f"scores must be one row (n,) of finite numbers or NaN, got {what}", field="scores")
    return found
