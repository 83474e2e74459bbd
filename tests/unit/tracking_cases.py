"""Panels, backtests and models that the tests of tracking share."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
import pandas as pd

from tsforecast.flow import FittedFlow, ForecastFlow
from tsforecast.forecast import DEFAULT_QUANTILE_LEVELS, Forecast
from tsforecast.models.base import About, Callback, Facts, Forecaster, Predictor
from tsforecast.models.seasonal_naive import SeasonalNaive
from tsforecast.nn.config import TrainConfig
from tsforecast.panel import FloatArray, Panel
from tsforecast.preprocessing.calendar import future_timestamps
from tsforecast.tracking import ModelVersion, Tracker

NAIVE = ForecastFlow(model=SeasonalNaive())


def panel_of(lengths: Mapping[str, int] | None = None, *, integer: bool = False, tz: str | None = None, **more: Any) -> Panel:
    """Daily (or integer) series of whole numbers with a weekly pattern; the longer ones start earlier."""
    lengths = lengths or {"a": 28, "b": 21}
    end = np.datetime64("2024-03-01", "ns")
    days = [np.arange(-length + 1, 1) for length in lengths.values()]
    clocks = [day.astype(np.int64) + 100 if integer else end + day * np.timedelta64(86_400 * 10**9, "ns") for day in days]
    return Panel(
        series_ids=tuple(lengths),
        offsets=np.concatenate([[0], np.cumsum(list(lengths.values()))]).astype(np.int64),
        timestamps=np.concatenate(clocks),
        target=np.concatenate([(day % 7 + 10 * i).astype(np.float64) for i, day in enumerate(days)]),
        freq=1 if integer else "D",
        season=7,
        tz=tz,
        **more,
    )


def fitted(panel: Panel, *, horizon: int = 7, flow: ForecastFlow = NAIVE) -> FittedFlow:
    return flow.fit(panel, horizon=horizon)


@dataclass(frozen=True, kw_only=True)
class Backtest:
    """The face of a BacktestResult that a run reads."""

    values: dict[str, float] = field(default_factory=lambda: {"mase": 0.8, "wql": 0.05})
    horizon: int = 7
    folds: tuple[int, ...] = (1, 2, 3)
    quantile_levels: tuple[float, ...] = (0.1, 0.5, 0.9)
    series: int = 2

    def scores(self) -> dict[str, float]:
        return self.values

    def per_series(self) -> pd.DataFrame:
        ids = np.asarray([f"s{i}" for i in range(self.series)], dtype=object)
        return pd.DataFrame({"unique_id": ids, "mase": np.arange(self.series) / 4})


def version_with(tracker: Tracker, **tags: str) -> ModelVersion:
    """A version of "shop" with these tags and no files: enough for everything but loading."""
    from mlflow.exceptions import MlflowException

    client = tracker.store.client
    try:
        client.create_registered_model("shop")
    except MlflowException as error:
        assert error.error_code == "RESOURCE_ALREADY_EXISTS"
    facts = {"model": "gru", "horizon": "7", "freq": "D", "season": "7", "trained_until": "2024-03-01T00:00:00"}
    made = client.create_model_version("shop", source="file:///nowhere", tags=facts | tags)
    return tracker.resolve(f"shop/{made.version}")


@dataclass(frozen=True, kw_only=True)
class LastPlusCovariate(Forecaster):
    """Forecasts the last value of each series plus its first covariate at that step; `need` rows of history are asked."""

    name = "last_plus_covariate"
    about = About(family="fake", scope="local", source="none", minimal_history="`need` rows", covariates=("known-future",))

    need: int = 1

    @classmethod
    def tiny(cls) -> Self:
        return cls()

    @classmethod
    def predictor_class(cls) -> type[Predictor]:
        return LastPlusCovariatePredictor

    def fit(
        self,
        panel: Panel,
        *,
        horizon: int,
        seed: int = 0,
        train: TrainConfig | None = None,
        callbacks: Sequence[Callback] = (),
    ) -> Predictor:
        return LastPlusCovariatePredictor(recipe=self, facts=Facts.of(panel, horizon=horizon, seed=seed))


@dataclass(frozen=True, kw_only=True)
class LastPlusCovariatePredictor(Predictor):
    recipe: LastPlusCovariate
    facts: Facts

    def predict(
        self,
        panel: Panel,
        *,
        horizon: int | None = None,
        quantile_levels: Sequence[float] = DEFAULT_QUANTILE_LEVELS,
        future: FloatArray | None = None,
    ) -> Forecast:
        from tsforecast.errors import HistoryTooShort

        steps = self.check_request(panel, horizon, future)
        for series_id, length in zip(panel.series_ids, panel.lengths, strict=True):
            if length < self.recipe.need:
                raise HistoryTooShort(series_id, have=int(length), need=self.recipe.need)
        point = np.repeat(panel.target[panel.offsets[1:] - 1][:, None], steps, axis=1)  # (S, H)
        if future is not None:
            point = point + future[:, :, 0]
        return Forecast(
            series_ids=panel.series_ids,
            timestamps=future_timestamps(panel, steps),
            quantile_levels=tuple(quantile_levels),
            quantiles=np.repeat(point[:, :, None], len(quantile_levels), axis=2),
            tz=panel.tz,
        )

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        return {}, {}

    @classmethod
    def from_state(
        cls, recipe: Forecaster, facts: Facts, arrays: Mapping[str, np.ndarray], values: Mapping[str, Any]
    ) -> Predictor:
        assert isinstance(recipe, LastPlusCovariate)
        return cls(recipe=recipe, facts=facts)
