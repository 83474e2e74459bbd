"""What sort of event it is, from the values before, inside and after it as far as they are known; and runs of missing values.

The borders of an event are those of a score that smears over a window, so they need not be those of its cause: an event of a
single odd value lasts as long as the window. The rules look for the odd part inside instead of trusting the borders.
"""

from collections.abc import Mapping
from itertools import pairwise
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from tsforecast.anomaly.alarms import Change, event_id
from tsforecast.anomaly.report import Event, Kind
from tsforecast.errors import OptionError
from tsforecast.panel import FloatArray, IntArray, TimeArray

BoolArray = npt.NDArray[np.bool_]
BEFORE_LENGTHS, LEAST_BEFORE, MOST_BEFORE = 4, 64, 1_000  # what comes before and is compared with: lengths of the event, bounds
BEFORE_SEASONS = 3  # … and seasons, at least
LEAD = 0.5  # of its length, taken before an event: a score that looks back is late
MISSING = 0.25  # share of an event that is missing: a gap
ODD = 4.0  # robust deviations from which a value is odd
SPIKE_STEPS = 3  # odd values in a row, at most, that are a spike …
SPIKE_SHARE = 0.8  # … if they hold this share of all that is odd
SHIFT = 2.0  # robust deviations between the level before and inside
SHIFT_STEPS = 8  # steps a level must last
ONE_SIDED = 0.9  # share of the values that lie on that side of the level before
WIDER, NARROWER = 1.8, 0.5  # spread inside over the spread before
ROUGH = 0.6  # of the roughness before: what varies more, but as irregularly as before, is variance; smoother, shape
MAD_TO_DEVIATION = 1.4826  # standard deviations in a median absolute deviation, for normal data


def kind_of(values: FloatArray, expected: FloatArray | None, start: int, end: int, *, season: int = 1) -> Kind:
    """What sort of event the rows `start` to `end`, both inclusive, are.

    - gap: a quarter of them or more are missing.
    - spike: nearly all that is odd lies in one to three values in a row.
    - level shift: the values lie on one side of where they lay before, for eight steps or more, whether or not they return.
    - variance: they vary about the same level as irregularly as before, but much more, or much less.
    - shape: none of these: usual values in an unusual order.

    Args:
        values: (T,) of one channel, up to the last row that is known, NaN = missing.
        expected: (T,) what was to be expected, NaN = nothing; None = the median of the rows before the event at the same
            step of the season.
        start, end: rows of the event.
        season: steps.

    Raises:
        OptionError: the event is not inside the values.
    """
    if not 0 <= start <= end < len(values):
        raise OptionError(f"the event, rows {start} to {end}, is not inside the {len(values)} values", field="start")
    if np.isnan(values[start : end + 1]).mean() >= MISSING:
        return "gap"
    length = end - start + 1
    first = max(start - min(max(int(LEAD * length), SPIKE_STEPS), season if season > 1 else length), 0)
    earlier = max(first - max(min(BEFORE_LENGTHS * length, MOST_BEFORE), LEAST_BEFORE, BEFORE_SEASONS * season), 0)
    residual = values - (_profile(values, earlier, first, season) if expected is None else expected)
    before, inside = _seen(residual[earlier:first]), _seen(residual[first : end + 1])
    if len(before) < SHIFT_STEPS or not len(inside):
        return "shape" if length > SPIKE_STEPS else "spike"
    level, spread = _level_and_spread(before)
    away = (inside - level) / spread
    odd = np.where(np.abs(away) > ODD, away**2, 0.0)
    if _is_spike(odd):
        return "spike"
    core = _core(away)
    if _is_shift(away[core]):
        return "level shift"
    own = _seen(residual[start : end + 1])
    if len(own) >= SHIFT_STEPS and float(own.std()) <= NARROWER * float(before.std()):
        return "variance"
    return "variance" if _is_wider(away[core], (before - level) / spread) else "shape"


def _profile(values: FloatArray, earlier: int, first: int, season: int) -> FloatArray:
    """Median of the rows `earlier` to `first` at the same step of the season, for each row (T,); NaN where there is none."""
    found = np.full(len(values), np.nan)
    for phase in range(season):
        seen = _seen(values[earlier:first][(np.arange(earlier, first) - phase) % season == 0])
        if len(seen):
            found[phase::season] = np.median(seen)
    return found


def _seen(values: FloatArray) -> FloatArray:
    return values[np.isfinite(values)]


def _level_and_spread(values: FloatArray) -> tuple[float, float]:
    """Median, and median absolute deviation as a standard deviation; never 0."""
    level = float(np.median(values))
    spread = MAD_TO_DEVIATION * float(np.median(np.abs(values - level)))
    if spread == 0.0:
        spread = float(values.std()) or max(abs(level) * 1e-6, 1e-12)
    return level, spread


def _is_spike(odd: FloatArray) -> bool:
    """Whether one to three neighbours hold nearly all of what is odd, (n,) squares of odd deviations."""
    total = float(odd.sum())
    if total == 0.0:
        return False
    sums = np.convolve(odd, np.ones(SPIKE_STEPS), mode="same")
    return float(sums.max()) >= SPIKE_SHARE * total


def _core(away: FloatArray) -> slice:
    """The part from the first to the last odd value; all of it where there are few.

    A single odd value apart from the others does not stretch it: the outermost twentieth of what is odd is left out.
    """
    odd = np.flatnonzero(np.abs(away) > ODD / 2)
    if len(odd) < SHIFT_STEPS:
        return slice(0, len(away))
    cut = len(odd) // 20
    return slice(int(odd[cut]), int(odd[-1 - cut]) + 1)


def _is_shift(away: FloatArray) -> bool:
    if len(away) < SHIFT_STEPS:
        return False
    middle = float(np.median(away))
    return abs(middle) >= SHIFT and float((np.sign(away) == np.sign(middle)).mean()) >= ONE_SIDED


def _is_wider(away: FloatArray, before: FloatArray) -> bool:
    if len(away) < SHIFT_STEPS or float(away.std()) < WIDER * float(before.std()):
        return False
    return _roughness(away) >= ROUGH * min(_roughness(before), 2.0)


def _roughness(values: FloatArray) -> float:
    """Von Neumann's ratio: mean squared step over the variance; 2 for noise, near 0 for a smooth curve."""
    variance = float(values.var())
    return float((np.diff(values) ** 2).mean()) / variance if variance > 0 else 2.0


# Gaps


class GapWatch:
    """Runs of missing values of one series that are long enough to be events of their own, step by step.

    A gap has no score: its peak score is the number of its missing steps, its p-value 1 and its severity 0.
    """

    def __init__(self, *, series_id: str, least: int) -> None:
        """Args:
        least: missing steps in a row from which on they are an event.

        Raises:
            OptionError: least below 1.
        """
        if not isinstance(least, int | np.integer) or least < 1:
            raise OptionError(f"least must be a whole number of missing steps of at least 1, got {least!r}", field="least")
        self.series_id, self.least = series_id, int(least)
        self._row = 0  # of the next step
        self._run = 0  # missing steps in a row up to now
        self._start = self._end = 0  # moments of the first and the last of them
        self._is_integer = False

    def update(self, timestamps: TimeArray, *, missing: BoolArray) -> tuple[Change, ...]:
        """Go on by n steps; rows are counted from 0 at the first one ever given.

        Args:
            timestamps, missing: (n,).

        Returns:
            What has become of gaps, in the order in which it became known; "extended" is the state after the last step.
        """
        self._is_integer = timestamps.dtype.kind != "M"
        moments = timestamps.astype(np.int64) if self._is_integer else timestamps.astype("M8[ns]").view(np.int64)
        changes: list[Change] = []
        cuts = (np.flatnonzero(np.diff(missing)) + 1).tolist()
        for first, stop in pairwise([0, *cuts, len(missing)]):
            if first == stop:
                continue
            if not missing[first]:
                if self._run >= self.least:
                    changes.append(Change(what="closed", event=self._event(self._row + first, open_=False), why="ended"))
                self._run = 0
                continue
            if self._run == 0:
                self._start = int(moments[first])
            lacking = self.least - self._run
            if 0 < lacking <= stop - first:
                self._grow(lacking, moments[first : first + lacking])
                changes.append(Change(what="opened", event=self._event(self._row + first + lacking, open_=True)))
                first += lacking
            if first < stop:
                self._grow(stop - first, moments[first:stop])
        self._row += len(missing)
        if len(missing) and self._run >= self.least:
            event = self._event(self._row, open_=True)
            if not (changes and changes[-1].event == event):
                changes.append(Change(what="extended", event=event))
        return tuple(changes)

    def _grow(self, steps: int, moments: IntArray) -> None:
        self._run, self._end = self._run + steps, int(moments[-1])

    def _event(self, stop: int, *, open_: bool) -> Event:
        """The run of missing steps that ends before row `stop`."""
        start, end = (one if self._is_integer else np.datetime64(one, "ns") for one in (self._start, self._end))
        return Event(
            id=event_id(self.series_id, start),
            series_id=self.series_id,
            start=start,
            end=end,
            peak=start,
            first_row=stop - self._run,
            last_row=stop - 1,
            peak_score=float(self._run),
            p_value=1.0,
            severity=0.0,
            kind="gap",
            open=open_,
        )

    def state(self) -> dict[str, Any]:
        """JSON values from which `from_state` goes on."""
        names = ("row", "run", "start", "end", "is_integer")
        return {"series_id": self.series_id, "least": self.least} | {name: getattr(self, f"_{name}") for name in names}

    @classmethod
    def from_state(cls, values: Mapping[str, Any]) -> Self:
        """The watch that `state` described.

        Raises:
            KeyError, OptionError: it is not such a state.
        """
        found = cls(series_id=values["series_id"], least=values["least"])
        found._row, found._run, found._is_integer = values["row"], values["run"], values["is_integer"]
        found._start, found._end = values["start"], values["end"]
        return found
