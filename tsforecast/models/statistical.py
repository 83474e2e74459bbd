"""Panel -> Forecast by a model of statsforecast for each series. The only file that imports statsforecast.

Nothing is learned ahead: such a model is fitted to the history it is asked about, each time it is asked. A series that
it cannot fit is forecast by the seasonal naive one, and the forecast says so (`Forecast.fallbacks`).
"""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Any, ClassVar

import numpy as np
from scipy.special import ndtri

from tsforecast.errors import HistoryTooShort, OptionError
from tsforecast.forecast import DEFAULT_QUANTILE_LEVELS, Forecast, check_quantile_levels
from tsforecast.models.base import Callback, Facts, Forecaster, Predictor, check_horizon, refuse_start_from
from tsforecast.models.processes import cores, in_processes, split
from tsforecast.nn.config import TrainConfig
from tsforecast.panel import FloatArray, Panel
from tsforecast.preprocessing.calendar import future_timestamps

CHUNK_SECONDS = 2.0  # estimated work handed to a process at a time
POOL_PAYS_FROM = 10.0  # estimated seconds of work; below, starting processes and importing takes longer than it saves


@dataclass(frozen=True, kw_only=True, slots=True)
class History:
    """One series as a model of statsforecast takes it, and how far to look."""

    y: FloatArray  # (T,) finite
    seasons: tuple[int, ...]  # steps, ascending, each longer than 1 and at least twice in y; () = none
    steps: int  # to forecast, H

    @property
    def season(self) -> int:
        """The shortest season; 1 = none."""
        return self.seasons[0] if self.seasons else 1


class StatisticalModel(Forecaster):
    """What the recipes have in common.

    Missing values at the start are left off; those at the end are forecast first. Those inside are interpolated between
    their neighbours, on top of the average season where the history has two: the model takes them for observed, which
    makes the intervals of a series with many of them a little too narrow.
    """

    least: ClassVar[int]  # observations it needs
    closes_gaps: ClassVar[bool] = False  # True: missing steps are left out, not interpolated

    @abstractmethod
    def answer(self, library: Any, history: History, levels: tuple[float, ...]) -> FloatArray:
        """The quantiles of one series, (H, Q); `library` is `statsforecast.models`. May raise anything."""

    @abstractmethod
    def seconds(self, rows: int, season: int) -> float:
        """Rough work in one series on one core, as measured."""

    def seasons_of(self, panel: Panel) -> tuple[int, ...]:
        """Seasons to look for, in steps, ascending; at least one."""
        return (getattr(self, "season", None) or panel.season,)

    @classmethod
    def predictor_class(cls) -> type[Predictor]:
        return StatisticalPredictor

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
    ) -> "StatisticalPredictor":
        """Note the season; series are fitted in `predict`, in `train.workers` processes where there is enough work."""
        refuse_start_from(self, start_from)
        facts = Facts.of(panel, horizon=check_horizon(horizon), seed=seed)
        workers = None if train is None else train.workers
        return StatisticalPredictor(recipe=self, facts=facts, seasons=self.seasons_of(panel), workers=workers)


@dataclass(frozen=True, kw_only=True, slots=True)
class StatisticalPredictor(Predictor):
    """Fits each history it is given; knows the seasons, nothing else."""

    recipe: StatisticalModel
    facts: Facts
    seasons: tuple[int, ...]  # steps, ascending
    workers: int | None = None  # processes; None = one per core

    def predict(
        self,
        panel: Panel,
        *,
        horizon: int | None = None,
        quantile_levels: Sequence[float] = DEFAULT_QUANTILE_LEVELS,
        future: FloatArray | None = None,
    ) -> Forecast:
        """As `Predictor.predict`; the median is the model's point forecast.

        A season that a history does not have twice is not modelled. A series whose fit fails, or whose forecast is not
        finite, has the forecast of `seasonal_naive` and is named in `fallbacks`.

        Raises:
            as `Predictor.predict`; ModelError: a worker process died.
        """
        steps = self.check_request(panel, horizon, future)
        levels = check_quantile_levels(quantile_levels)
        tasks = [self._task(series_id, target, steps) for series_id, target in panel]
        answers = _run(self.recipe, levels, tasks, workers=self.workers)
        quantiles = np.full((len(panel), steps, len(levels)), np.nan)
        failed: dict[int, str] = {}
        for i, answer in enumerate(answers):
            if isinstance(answer, str):
                failed[i] = answer
            else:
                quantiles[i] = answer
        fallbacks = self._fall_back(panel, failed, quantiles, levels) if failed else ()
        return Forecast(
            series_ids=panel.series_ids,
            timestamps=future_timestamps(panel, steps),
            quantile_levels=levels,
            quantiles=quantiles,
            tz=panel.tz,
            zones=panel.zones,
            fallbacks=fallbacks,
        )

    def _task(self, series_id: str, target: FloatArray, steps: int) -> "_Task":
        seen = np.flatnonzero(np.isfinite(target))
        if len(seen) < self.recipe.least:
            raise HistoryTooShort(
                series_id, have=len(seen), need=self.recipe.least, hint="give it a longer history, or leave it out"
            )
        y = target[seen[0] : seen[-1] + 1]
        seasons = tuple(season for season in self.seasons if 1 < season <= len(y) // 2)
        y = target[seen] if self.recipe.closes_gaps else without_gaps(y, seasons[0] if seasons else 1)
        skip = len(target) - 1 - int(seen[-1])
        return _Task(history=History(y=y, seasons=seasons, steps=skip + steps), skip=skip)

    def _fall_back(
        self, panel: Panel, failed: Mapping[int, str], quantiles: FloatArray, levels: tuple[float, ...]
    ) -> tuple[tuple[str, str], ...]:
        """Fill the rows of the failed series by the seasonal naive forecast; say which and why."""
        from tsforecast.models.registry import build_forecaster

        steps = quantiles.shape[1]
        for i in failed:
            alone = panel.select([i])
            season = self.seasons[0] if np.isfinite(alone.target).sum() > self.seasons[0] else 1
            naive = build_forecaster("seasonal_naive", season=season).fit(alone, horizon=steps)
            quantiles[i] = naive.predict(alone, quantile_levels=levels).quantiles[0]
        name = self.recipe.name
        return tuple(
            (panel.series_ids[i], f"{name} failed with {why}; seasonal naive was used") for i, why in sorted(failed.items())
        )

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        return {}, {"seasons": list(self.seasons)}

    @classmethod
    def from_state(
        cls, recipe: Forecaster, facts: Facts, arrays: Mapping[str, np.ndarray], values: Mapping[str, Any]
    ) -> "StatisticalPredictor":
        assert isinstance(recipe, StatisticalModel)
        return cls(recipe=recipe, facts=facts, seasons=tuple(int(season) for season in values["seasons"]))


# One series


def without_gaps(y: FloatArray, season: int) -> FloatArray:
    """`y`, observed at both ends, with what is missing inside interpolated on top of the average season."""
    seen = np.isfinite(y)
    if seen.all():
        return y
    row = np.arange(len(y))
    position = row % season
    profile = np.zeros(season)
    if season > 1:
        centred = row[seen] - row[seen].mean()
        level = y[seen] - centred * (centred @ y[seen]) / (centred @ centred)  # without its trend
        known, count = (np.bincount(position[seen], weights, season) for weights in (level - level.mean(), None))
        there = np.flatnonzero(count)  # a position never observed lies between its neighbours
        profile = np.interp(np.arange(season), there, known[there] / count[there], period=season)
    smooth = y - profile[position]
    filled: FloatArray = np.where(seen, y, np.interp(row, row[seen], smooth[seen]) + profile[position])
    return filled


def unit(y: FloatArray) -> float:
    """A power of two near the spread of `y`, to divide by: exact, and some searches depend on the unit they are done in."""
    spread = float(np.std(y))
    return float(2.0 ** round(np.log2(spread))) if np.isfinite(spread) and spread > 1e-300 else 1.0


def normal_quantiles(mean: FloatArray, deviation: FloatArray, levels: tuple[float, ...]) -> FloatArray:
    """Quantiles of a normal distribution at each step, (H, Q), from (H,) and (H,)."""
    quantiles: FloatArray = mean[:, None] + deviation[:, None] * ndtri(np.asarray(levels))
    return quantiles


def ets_deviation(fitted: Mapping[str, Any], mean: FloatArray) -> FloatArray:
    """Standard deviation of the forecasts of a fitted ETS model, (H,), from its point forecasts, (H,).

    Hyndman, Koehler, Ord & Snyder 2008, Forecasting with Exponential Smoothing, sections 6.3 (additive errors), 6.4
    (multiplicative ones) and 6.4.3 (multiplicative seasons, an approximation). Not statsforecast's own, in 2.1.1: where
    there is a season it takes the number of seasons to the end of the horizon for that to every step, and the level of
    the first step for that of all.
    """
    error, trend, seasonal, damped = fitted["components"]
    alpha, beta, gamma, phi = np.nan_to_num(np.asarray(fitted["par"][:4], dtype=np.float64))
    phi = phi if damped == "D" else 1.0
    season, variance = int(fitted["m"]), float(fitted["sigma2"])
    ahead = np.arange(1, len(mean))  # (H - 1,)
    weight = alpha + (beta * np.cumsum(phi**ahead) if trend == "A" else 0.0) * np.ones(len(ahead))  # of an earlier error
    if seasonal == "A":
        weight = weight + gamma * (ahead % season == 0)
    if error == "A":
        deviation: FloatArray = np.sqrt(variance * (1.0 + np.cumsum(np.concatenate([[0.0], weight**2]))))
        return deviation
    factor, growth = np.ones(len(mean)), np.ones(len(mean))
    if seasonal == "M":
        last = np.asarray(fitted["states"][-1][-season:], dtype=np.float64)[::-1]  # oldest first, as the steps need them
        step = np.arange(len(mean))
        factor, growth = last[step % season], (1.0 + gamma**2 * variance) ** (step // season)
    level = mean / factor
    second = np.empty(len(mean))  # moments
    for h in range(len(mean)):
        second[h] = level[h] ** 2 + variance * (weight[:h] ** 2 @ second[:h][::-1])
    return np.abs(factor) * np.sqrt(np.maximum(second * (1.0 + variance) * growth - level**2, 0.0))


def demand_quantiles(point: FloatArray, y: FloatArray, fitted: FloatArray, levels: tuple[float, ...]) -> FloatArray:
    """Quantiles around a forecast of demand per step, (H, Q), from what happened when it was made before.

    Each past step says what may come: nothing where there was no demand, else the point forecast and the error it made,
    one step ahead and never below zero. The k-th smallest of n such values stands at level k / (n + 1); beyond the
    outermost ones nothing is known. The median is the point forecast, which is a mean: where most steps are without
    demand, quantiles above it would lie below, and are the point forecast too.
    """
    known = np.isfinite(fitted)
    error, demand = (y - fitted)[known], y[known] > 0
    may_come = np.where(demand, np.maximum(point[:, None] + error, 0.0), 0.0)  # (H, N)
    quantiles = np.quantile(may_come, levels, axis=1, method="weibull").T  # (H, Q)
    side = np.sign(np.asarray(levels) - 0.5)
    around: FloatArray = point[:, None] + side * np.maximum(side * (quantiles - point[:, None]), 0.0)
    return around


def check_demand(y: FloatArray) -> None:
    """Intermittent demand is what was asked for: never negative."""
    if y.min() < 0:
        raise ValueError("demand below 0")


def check_season(season: int | None) -> None:
    if season is not None and (not isinstance(season, int) or isinstance(season, bool) or season < 1):
        raise OptionError(f"season must be a positive number of steps, got {season!r}", field="season")


@lru_cache(maxsize=1)
def _library() -> Any:
    """`statsforecast.models`, loaded when it is first needed."""
    import statsforecast.models

    return statsforecast.models


# Many series


@dataclass(frozen=True, kw_only=True, slots=True)
class _Task:
    """One series to forecast."""

    history: History
    skip: int  # steps between the last observation and the end of the series, which nobody asked for


_Answer = FloatArray | str  # (H, Q), or why there is none


def _work(recipe: StatisticalModel, levels: tuple[float, ...], tasks: Sequence[_Task]) -> list[_Answer]:
    """Forecast a few series, one after the other; what a worker process does."""
    library = _library()
    answers: list[_Answer] = []
    for task in tasks:
        try:
            with np.errstate(all="ignore"):  # candidates that divide by zero are judged by what comes out
                scale = unit(task.history.y)
                history = replace(task.history, y=task.history.y / scale)
                quantiles = scale * recipe.answer(library, history, levels)[task.skip :]
        except MemoryError:
            raise
        except Exception as error:  # whatever a fit raises concerns this series only; it is reported with the forecast
            answers.append(repr(error))
            continue
        answers.append(quantiles if np.isfinite(quantiles).all() else "a forecast that is not finite")
    return answers


def _run(recipe: StatisticalModel, levels: tuple[float, ...], tasks: Sequence[_Task], *, workers: int | None) -> list[_Answer]:
    """Answers in the order of `tasks`."""
    workers = workers or cores()
    seconds = sum(recipe.seconds(len(task.history.y), task.history.season) for task in tasks)
    if workers == 1 or len(tasks) < 2 or seconds < POOL_PAYS_FROM:
        return _work(recipe, levels, tasks)
    chunks = split(tasks, seconds=seconds, chunk_seconds=CHUNK_SECONDS, workers=workers)
    answers: list[list[_Answer]] = [[] for _ in chunks]
    doing = f"{recipe.name} was fitting {len(tasks)} series"
    for i, part in in_processes(partial(_work, recipe, levels), chunks, workers=workers, doing=lambda: doing):
        answers[i] = part
    return [answer for part in answers for answer in part]
