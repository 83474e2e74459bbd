"""Squared distance of each step to what the same place of the seasons before lets expect.

The expectation is a median over seasons, so that one anomaly does not become next season's, and moves with the level of
the last steps. It remembers nothing of the training data but the length of the season.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np

from tsforecast.errors import OptionError
from tsforecast.models.base import About, Callback
from tsforecast.models.detector import Core, Detector, Evidence, Rows, refuse_short
from tsforecast.models.detector_windows import main_period
from tsforecast.models.evidence import centred_mean
from tsforecast.models.window_arrays import chunks, median_of_seen
from tsforecast.nn.config import TrainConfig
from tsforecast.panel import FloatArray

LONGEST_SEASON = 2_000  # steps; a day of minutes is 1,440
LEAST_ROWS = 16  # observed steps of one series
LEVEL, LEVEL_ALONE = 256, 64  # steps that tell the level, with a season and without one: fewer follow an anomaly at once
SMOOTHED = 64  # steps of the mean of revised evidence, which finds longer events by far better than single steps do


@dataclass(frozen=True, kw_only=True)
class SeasonalResidual(Detector):
    """Squared difference to the median of the same place in the last seasons, corrected by the median of recent differences."""

    name: ClassVar[str] = "seasonal_residual"
    about: ClassVar[About] = About(
        family="baseline",
        scope="global",
        source="Hyndman & Athanasopoulos, Forecasting: Principles and Practice, 3rd ed., section 5.2, with medians",
        minimal_history="16 steps of one series; judges a step after one season",
        needs_training=False,
    )

    season: int | None = None  # steps; 1 = none; None = the main season of the data
    seasons: int = 4  # before a step whose median is expected
    level: int | None = None  # steps before a step whose median difference moves it; 0 = none; None = 256, without a season 64

    def __post_init__(self) -> None:
        for field, least in {"season": 1, "seasons": 1, "level": 0}.items():
            value = getattr(self, field)
            if value is None and field != "seasons":
                continue
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise OptionError(f"{field} must be a whole number from {least} on, got {value!r}", field=field)
        if self.season == 1 and self.level == 0:
            raise OptionError("without a season and without a level there is nothing to expect from", field="level")

    @classmethod
    def tiny(cls) -> Self:
        return cls()

    @classmethod
    def core_class(cls) -> type["SeasonalResidualCore"]:
        return SeasonalResidualCore

    def learn(
        self, series: Sequence[Rows], *, seed: int, train: TrainConfig | None, callbacks: Sequence[Callback]
    ) -> tuple["SeasonalResidualCore", dict[str, Any]]:
        if max((int(np.isfinite(rows.values).sum(axis=0).max()) for rows in series), default=0) < LEAST_ROWS:
            refuse_short(series, need=LEAST_ROWS)
        season = self.season or main_period(series, highest=LONGEST_SEASON) or 1
        level = self.level
        if level is None:
            level = LEVEL if season > 1 else LEVEL_ALONE
        return SeasonalResidualCore(season=season, seasons=self.seasons, level=level), {"season": season}


class SeasonalResidualCore(Core):
    """The length of the season, and how far to look back."""

    kinds = ("residual",)

    def __init__(self, *, season: int, seasons: int, level: int) -> None:
        self.season, self.seasons, self.level = season, seasons, level
        past = seasons * season if season > 1 else 0
        self.reach = past + level
        self.after = max(seasons // 2, 1) if season > 1 else 0  # seasons; enough for a median, at half the delay
        self.width = min(SMOOTHED, seasons * season) if season > 1 else SMOOTHED
        self.delay = self.after * season + level // 2 + self.width - 1 - self.width // 2

    def evidence(self, rows: Rows) -> Evidence:
        expected = self._expected(rows.values, len(rows))
        revised, there = self._revised(rows.values), np.isfinite(rows.values)
        return Evidence(
            causal=((rows.values - expected) ** 2)[None],
            revised=np.where(there, centred_mean((rows.values - revised) ** 2, self.width), np.nan)[None],
            expected=expected,
            revised_expected=revised,
        )

    def causal(self, rows: Rows, newest: int) -> tuple[FloatArray, FloatArray]:
        values = rows.last(newest + self.reach).values
        expected = self._expected(values, newest)
        return ((values[len(values) - newest :] - expected) ** 2)[None], expected

    def _expected(self, values: FloatArray, newest: int) -> FloatArray:
        """What the `newest` last of the values (T, C) could be expected to be, (newest, C)."""
        back = range(self.season, self.seasons * self.season + 1, self.season) if self.season > 1 else ()
        usual = self._usual(values, newest + self.level, [-lag for lag in back])
        away = _newest(values, newest + self.level) - usual
        return usual[self.level :] + self._moved(_running_median(away, before=self.level, after=0))

    def _revised(self, values: FloatArray) -> FloatArray:
        """The same from both sides, (T, C)."""
        lags = np.arange(-self.seasons, self.after + 1) * self.season if self.season > 1 else np.zeros(1, dtype=np.int64)
        before = self.level - self.level // 2
        usual = self._usual(values, len(values), [int(lag) for lag in lags if lag])
        away = np.pad(values - usual, ((before, 0), (0, 0)), constant_values=np.nan)
        return usual + self._moved(_running_median(away, before=before, after=self.level // 2))

    def _moved(self, by: FloatArray) -> FloatArray:
        """A correction that is not known is none; the level, where it is all there is, has to be known."""
        return np.nan_to_num(by, nan=0.0) if self.season > 1 else by

    def _usual(self, values: FloatArray, newest: int, lags: Sequence[int]) -> FloatArray:
        """Median of the values so many steps away, (newest, C); 0 without a season."""
        if not lags:
            return np.zeros((newest, values.shape[1]))
        reach, ahead = max(-min(lags), 0), max(*lags, 0)
        padded = np.pad(_newest(values, newest + reach), ((0, ahead), (0, 0)), constant_values=np.nan)
        found = np.empty((newest, values.shape[1]))
        for part in chunks(newest, 16_384):
            some = [padded[part.start + reach + lag : part.stop + reach + lag] for lag in lags]
            found[part] = median_of_seen(np.stack(some, axis=-1))
        return found

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        return {}, {"season": self.season, "seasons": self.seasons, "level": self.level}

    @classmethod
    def from_state(cls, recipe: Detector, arrays: Mapping[str, np.ndarray], values: Mapping[str, Any]) -> "SeasonalResidualCore":
        return cls(**{name: int(values[name]) for name in ("season", "seasons", "level")})


def _newest(values: FloatArray, count: int) -> FloatArray:
    """The last `count` rows of (T, C), NaN before the first."""
    missing = max(count - len(values), 0)
    return np.pad(values[max(len(values) - count, 0) :], ((missing, 0), (0, 0)), constant_values=np.nan)


def _running_median(away: FloatArray, *, before: int, after: int) -> FloatArray:
    """Median around each of the rows of (before + T, C), without the row itself: (T, C); NaN where nothing is near."""
    count, channels = len(away) - before, away.shape[1]
    found = np.full((count, channels), np.nan)
    if before + after == 0 or not count:
        return found
    padded = np.pad(away, ((0, after), (0, 0)), constant_values=np.nan)
    around = [place for place in range(before + after + 1) if place != before]
    for c in range(channels):
        windows = np.lib.stride_tricks.sliding_window_view(padded[:, c], before + after + 1)
        for part in chunks(count, 4096):
            found[part, c] = median_of_seen(windows[part][:, around])
    return found
