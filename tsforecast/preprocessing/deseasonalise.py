"""Panel -> panel less the season of each series, and back: the profile learned goes on into the future unchanged."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np

from tsforecast.errors import OptionError, TransformError
from tsforecast.forecast import Forecast
from tsforecast.panel import FloatArray, IntArray, Panel
from tsforecast.preprocessing.calendar import normalise_freq, zones_at, zones_of_rows
from tsforecast.preprocessing.filling import Fill
from tsforecast.preprocessing.grouped import least_and_most
from tsforecast.preprocessing.invertible import PerSeries, Transform, in_order, refuse_beyond
from tsforecast.preprocessing.seasonality import places_on_clock


@dataclass(frozen=True, kw_only=True, slots=True)
class Deseasonalise(Transform):
    """y -> y less the profile of its series at this phase of the season.

    The profile is that of a classical decomposition: for each phase the median of what lies above the mean over one season
    around it, less the mean of all phases, so that the level stays. The phase is told from the timestamp, so a history cut
    elsewhere meets the same profile. Holes are bridged by straight lines to find the trend, and do not count otherwise; a
    phase that was never observed, and a series of less than two seasons, are left as they are.
    The way back is exact to a few units of the last digit of |y| + (the range of the series).
    """

    name: ClassVar[str] = "deseasonalise"
    season: int | None = None  # steps; None = the panel's

    def __post_init__(self) -> None:
        if self.season is not None and (isinstance(self.season, bool) or not isinstance(self.season, int) or self.season < 2):
            message = f"transform 'deseasonalise': season must be a number of steps of 2 or more, got {self.season!r}"
            raise OptionError(f"{message}; leave it out for that of the panel", field="season")

    def fit(self, panel: Panel) -> "FittedDeseasonalise":
        refuse_beyond(panel)
        season = self.season or panel.season
        return FittedDeseasonalise(
            recipe=self, series_ids=panel.series_ids, freq=panel.freq, season=season, profile=_profiles(panel, season)
        )

    @classmethod
    def fitted_from_json(cls, values: Mapping[str, Any]) -> "FittedDeseasonalise":
        freq, season = values["freq"], int(values["season"])
        return FittedDeseasonalise(
            recipe=cls(**values["options"]),
            series_ids=tuple(values["series_ids"]),
            freq=freq,
            season=season,
            profile=np.array(values["profile"], dtype=np.float64).reshape(-1, season),
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class FittedDeseasonalise(PerSeries):
    """`Deseasonalise` with its profiles."""

    NUMBERS: ClassVar[tuple[str, ...]] = ("profile",)
    recipe: Transform
    series_ids: tuple[str, ...]  # (S,)
    freq: str | int  # of the clock on which phases are counted
    season: int  # steps
    profile: FloatArray  # (S, season) what is taken off at each phase, units of the target

    def _forward(self, values: FloatArray, *numbers: FloatArray) -> FloatArray:
        return values - numbers[0]

    def _backward(self, values: FloatArray, *numbers: FloatArray) -> FloatArray:
        return values + numbers[0]

    def _with(self, series_ids: tuple[str, ...], numbers: Mapping[str, FloatArray]) -> Self:
        return replace(self, series_ids=series_ids, profile=numbers["profile"])

    def _fit_unseen(self, panel: Panel) -> "FittedDeseasonalise":
        return replace(self, series_ids=panel.series_ids, profile=_profiles(panel, self.season))

    def apply(self, panel: Panel) -> Panel:
        self._check(panel)
        return panel.with_target(self._forward(panel.target, self._profile_of_rows(panel)))

    def invert_panel(self, panel: Panel) -> Panel:
        return panel.with_target(self._bounded_backward(panel.target, [self._profile_of_rows(panel)]))

    def invert(self, forecast: Forecast) -> Forecast:
        zone = zones_at(forecast.tz, forecast.zones, np.arange(len(forecast.series_ids))[:, None])
        phases = places_on_clock(forecast.timestamps, self.freq, zone) % self.season  # (S, H)
        (profile,) = self._numbers_of(forecast.series_ids)  # (S, season)
        added = np.take_along_axis(profile, phases, axis=1)[:, :, None]  # (S, H, 1)
        return replace(forecast, quantiles=in_order(self._bounded_backward(forecast.quantiles, [added])))

    def _profile_of_rows(self, panel: Panel) -> FloatArray:
        """What the season of each row's series is at its phase, (N,)."""
        if normalise_freq(panel.freq) != normalise_freq(self.freq):
            raise TransformError(
                f"transform 'deseasonalise' was fitted on freq {self.freq!r}, the panel has {panel.freq!r}; fit anew",
                field="freq",
            )
        (profile,) = self._numbers_of(panel.series_ids)
        return profile[np.repeat(np.arange(len(panel)), panel.lengths), _phases(panel, self.season)]

    def to_json(self) -> dict[str, Any]:
        return super().to_json() | {"freq": self.freq, "season": self.season}


def _phases(panel: Panel, season: int) -> IntArray:
    """Phase of each row in the season, (N,)."""
    return places_on_clock(panel.timestamps, panel.freq, zones_of_rows(panel)) % season


def _profiles(panel: Panel, season: int) -> FloatArray:
    """The profile of each series by phase, (S, season)."""
    profile = np.zeros((len(panel), season))
    if season == 1 or not len(panel.target):
        return profile
    lowest, highest = least_and_most(panel.target, panel.offsets)
    unit = np.repeat(np.maximum(np.nan_to_num(np.maximum(np.abs(lowest), np.abs(highest))), 1e-300), panel.lengths)
    scaled = panel.with_target(panel.target / unit)  # small series beside large ones keep their digits in the sums
    away = scaled.target - _trend(Fill(method="linear").apply(scaled), season)
    series = np.repeat(np.arange(len(panel)), panel.lengths)
    key = series * season + _phases(panel, season)
    rows = np.flatnonzero(np.isfinite(away))
    rows = rows[np.lexsort((away[rows], key[rows]))]
    phases, starts, count = np.unique(key[rows], return_index=True, return_counts=True)
    low, high = away[rows[starts + (count - 1) // 2]], away[rows[starts + count // 2]]
    profile.ravel()[phases] = (low + high) / 2
    profile -= profile.sum(axis=1, keepdims=True) / season
    in_units: FloatArray = profile * unit[panel.offsets[:-1], None]
    return in_units


def _trend(panel: Panel, season: int) -> FloatArray:
    """Mean over one season around each row, the ends of an even season counting half, (N,).

    NaN where that reaches over an end or a hole, and in a series with less than a season of such means.
    """
    half, offsets = season // 2, panel.offsets
    row, last = panel.row_in_series(), np.repeat(panel.lengths, panel.lengths) - 1
    rows = np.flatnonzero((row >= half) & (row + half <= last))
    seen = np.isfinite(panel.target)
    total, count = (np.concatenate([[0], np.cumsum(one)]) for one in (np.where(seen, panel.target, 0.0), seen))
    rows = rows[count[rows + half + 1] - count[rows - half] == 2 * half + 1]
    series = np.searchsorted(offsets, rows, side="right") - 1
    rows = rows[np.bincount(series, minlength=len(panel))[series] >= season]
    low, high = rows - half, rows + half + 1
    trend = np.full(len(panel.target), np.nan)
    sums = total[low + season] - total[low] + total[high] - total[high - season]  # an odd season: the same sum twice
    trend[rows] = sums / (2 * season)
    return trend
