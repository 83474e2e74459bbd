"""Panel -> Forecast: the last season again, spread by how wrong that was before.

Source: Hyndman & Athanasopoulos, Forecasting: Principles and Practice, 3rd ed., sections 5.2 and 5.5.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

from tsforecast.errors import HistoryTooShort, OptionError
from tsforecast.forecast import DEFAULT_QUANTILE_LEVELS, Forecast, check_quantile_levels
from tsforecast.models.base import About, Callback, Facts, Forecaster, Predictor, check_horizon, refuse_start_from
from tsforecast.nn.config import TrainConfig
from tsforecast.panel import FloatArray, IntArray, Panel
from tsforecast.preprocessing.calendar import future_timestamps

# Seasons without error that the drift of past errors is averaged with. Chosen on validation folds of co2, macrodata and parts
# of M3 monthly, M4 hourly and M4 weekly, whole and cut short, among 0, 2, 5, 10, 20 and no drift at all: no drift has a third
# more pinball loss on growing series (co2, macrodata), 0 has intervals half as wide as they should be on the short ones.
FLAT_SEASONS = 10


@dataclass(frozen=True, kw_only=True, slots=True)
class SeasonalNaive(Forecaster):
    """Repeats the last season of each series; the yardstick every other model has to beat."""

    name = "seasonal_naive"
    about = About(
        family="baseline",
        scope="local",
        source="Hyndman & Athanasopoulos, Forecasting: Principles and Practice, 3rd ed., sections 5.2 and 5.5",
        minimal_history="one season and one step, observed",
        needs_training=False,
    )

    season: int | None = None  # steps in a season, e.g. 24 for hourly data with a daily cycle; None = the panel's

    def __post_init__(self) -> None:
        if self.season is not None and (not isinstance(self.season, int) or isinstance(self.season, bool) or self.season < 1):
            raise OptionError(f"season must be a positive number of steps, got {self.season!r}", field="season")

    @classmethod
    def tiny(cls) -> Self:
        return cls()

    @classmethod
    def predictor_class(cls) -> type[Predictor]:
        return SeasonalNaivePredictor

    def fit(
        self,
        panel: Panel,
        *,
        horizon: int,
        seed: int = 0,
        train: TrainConfig | None = None,
        callbacks: Sequence[Callback] = (),
        start_from: Predictor | None = None,
        freeze: int | None = None,
    ) -> "SeasonalNaivePredictor":
        """Note the season; nothing is learned, so a series too short to forecast is refused in `predict` only."""
        refuse_start_from(self, start_from)
        facts = Facts.of(panel, horizon=check_horizon(horizon), seed=seed)
        return SeasonalNaivePredictor(recipe=self, facts=facts, season=self.season or panel.season)


@dataclass(frozen=True, kw_only=True, slots=True)
class SeasonalNaivePredictor(Predictor):
    """Answers from the history it is given; knows the season, nothing else."""

    recipe: Forecaster
    facts: Facts
    season: int  # steps

    def predict(
        self,
        panel: Panel,
        *,
        horizon: int | None = None,
        quantile_levels: Sequence[float] = DEFAULT_QUANTILE_LEVELS,
        future: FloatArray | None = None,
    ) -> Forecast:
        """The median is the last observed value of the same position in the season, however many seasons back.

        A position never observed takes the last observed value of the series. The other quantiles come from the
        series' own errors of this rule: what these have in common grows with the seasons ahead, their scatter with
        the square root of them. The median stays the naive one; the quantiles around it lean the way the errors did.
        """
        steps = self.check_request(panel, horizon, future)
        levels = check_quantile_levels(quantile_levels)
        self._check_length(panel)
        past = _Observed.of(panel, self.season)
        point, age = past.last_season(steps)  # (S, H), (S, H)
        drift, scatter = past.errors(levels)  # (S,), (S, Q)
        offset = age[:, :, None] * drift[:, None, None] + np.sqrt(age)[:, :, None] * scatter[:, None, :]  # (S, H, Q)
        side = np.sign(np.asarray(levels) - 0.5)  # (Q,)
        quantiles = point[:, :, None] + side * np.maximum(side * offset, 0.0)  # (S, H, Q) never across the median
        return Forecast(
            series_ids=panel.series_ids,
            timestamps=future_timestamps(panel, steps),
            quantile_levels=levels,
            quantiles=quantiles,
            tz=panel.tz,
            zones=panel.zones,
        )

    def _check_length(self, panel: Panel) -> None:
        """Refuse series of fewer than season + 1 observations: with that many, at least one error is known."""
        need = self.season + 1
        observed = np.add.reduceat(np.isfinite(panel.target), panel.offsets[:-1], dtype=np.int64) if len(panel) else np.zeros(0)
        for i in np.flatnonzero(observed < need)[:1]:
            raise HistoryTooShort(
                panel.series_ids[i],
                have=int(observed[i]),
                need=need,
                hint=f"give it a longer history, leave it out, or use a season shorter than {self.season}",
            )

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        return {}, {"season": self.season}

    @classmethod
    def from_state(
        cls, recipe: Forecaster, facts: Facts, arrays: Mapping[str, np.ndarray], values: Mapping[str, Any]
    ) -> "SeasonalNaivePredictor":
        return cls(recipe=recipe, facts=facts, season=int(values["season"]))


@dataclass(frozen=True, kw_only=True, slots=True)
class _Observed:
    """The M observed rows of all series, sorted by (series, position in the season, time)."""

    season: int  # steps
    lengths: IntArray  # (S,) rows of each series
    series: IntArray  # (M,)
    position: IntArray  # (M,) in 0 … season - 1; 0 is that of the first step after the end of the series
    row: IntArray  # (M,) within the series
    value: FloatArray  # (M,)

    @classmethod
    def of(cls, panel: Panel, season: int) -> Self:
        seen = np.isfinite(panel.target)
        series = np.repeat(np.arange(len(panel)), panel.lengths)[seen]
        row = panel.row_in_series()[seen]
        position = (row - panel.lengths[series]) % season
        order = np.lexsort((row, position, series))
        return cls(
            season=season,
            lengths=panel.lengths,
            series=series[order],
            position=position[order],
            row=row[order],
            value=panel.target[seen][order],
        )

    def last_season(self, horizon: int) -> tuple[FloatArray, FloatArray]:
        """The value to repeat for each step ahead and its age in whole seasons, both (S, H)."""
        wanted = self.position < horizon
        steps = np.arange(horizon)  # (H,) 0 = the first step ahead
        shape = (len(self.lengths), min(self.season, horizon))
        row, value = np.full(shape, -1), np.full(shape, np.nan)
        # Rows ascend in time within (series, position), and of repeated indices numpy keeps the last one written.
        row[self.series[wanted], self.position[wanted]] = self.row[wanted]
        value[self.series[wanted], self.position[wanted]] = self.value[wanted]
        row, value = row[:, steps % self.season], value[:, steps % self.season]  # (S, H)
        newest = np.lexsort((self.row, self.series))
        newest = newest[np.searchsorted(self.series, np.arange(len(self.lengths)), side="right") - 1]  # (S,)
        never = row < 0
        row = np.where(never, self.row[newest][:, None], row)
        value = np.where(never, self.value[newest][:, None], value)
        age = np.ceil((self.lengths[:, None] + steps - row) / self.season)
        return value, age

    def errors(self, levels: tuple[float, ...]) -> tuple[FloatArray, FloatArray]:
        """Past errors of the rule one season ahead: their drift (S,), and quantiles of the scatter around it (S, Q).

        The drift is drawn to zero as by `FLAT_SEASONS` more errors of zero, because a few errors that happen to agree
        would else leave one side of the forecast bare. The scatter counts both signs alike: the k-th smallest of n
        sizes stands at level k / (n + 1), zero at level 0, and beyond the largest the tail goes on like a normal one,
        so that a short history does not pretend to have seen the worst.
        """
        same = (self.series[1:] == self.series[:-1]) & (self.position[1:] == self.position[:-1])
        series, number = self.series[1:][same], len(self.lengths)
        seasons = np.diff(self.row)[same] / self.season
        error = np.diff(self.value)[same]  # (E,)
        drift = np.bincount(series, error, number) / (np.bincount(series, seasons, number) + FLAT_SEASONS)  # (S,)
        size = np.abs(error - seasons * drift[series]) / np.sqrt(seasons)  # (E,)
        size = size[np.lexsort((size, series))]
        first = np.searchsorted(series, np.arange(number))  # (S,) sizes are sorted by series: where each begins
        count = np.bincount(series, minlength=number)[:, None]  # (S, 1) at least 1
        inside = np.abs(2 * np.asarray(levels) - 1)  # (Q,) coverage of the interval this level bounds
        rank = np.minimum(inside * (count + 1), count)  # (S, Q) 0 = no error, k = the k-th smallest
        below = np.floor(rank).astype(np.int64)
        above = np.minimum(below + 1, count)
        weight = rank - below
        scatter = (1 - weight) * _ranked(size, first, below) + weight * _ranked(size, first, above)
        beyond = ndtri(0.5 + inside / 2) / ndtri(0.5 + count / (count + 1) / 2)  # (S, Q)
        return drift, np.sign(np.asarray(levels) - 0.5) * scatter * np.maximum(beyond, 1.0)


def _ranked(size: FloatArray, first: IntArray, rank: npt.NDArray[np.int64]) -> FloatArray:
    """The `rank`-th smallest size of each series, (S, Q); rank 0 is a size of zero."""
    return np.where(rank > 0, size[first[:, None] + np.maximum(rank, 1) - 1], 0.0)
