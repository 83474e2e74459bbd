"""A quarterly panel, a recipe over it, and forecasters with behaviour: one that is right, one that breaks, one that dies."""

import os
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd

from tsforecast.forecast import DEFAULT_QUANTILE_LEVELS, Forecast
from tsforecast.models.base import About, Callback, Epoch, Facts, Forecaster, Predictor
from tsforecast.models.registry import MODELS
from tsforecast.nn.config import TrainConfig
from tsforecast.panel import FloatArray, Panel
from tsforecast.preprocessing.calendar import future_timestamps

ABOUT = About(family="fake", scope="local", source="tests", minimal_history="two seasons")

RECIPE = """
name = "quarters"
seed = 3
[source]
kind = "csv"
path = "quarters.csv"
[forecast]
horizon = 4
quantile_levels = [0.1, 0.5, 0.9]
[tracking]
enabled = false
[backtest]
folds = 2
"""
TREND = '[[models]]\nname = "trend"\n'
WRONG = '[[models]]\nname = "trend"\nlabel = "wrong"\noptions = { slope = -100.0 }\n'
BROKEN = '[[models]]\nname = "broken"\n'


def quarters(periods: int = 40) -> pd.DataFrame:
    """Series "up" is 0, 1, 2, …; series "007" is 100 more; both grow by 4 a season."""
    ds = pd.date_range("2010-01-01", periods=periods, freq="QS").strftime("%Y-%m-%d")
    values = pd.Series(range(periods), dtype=float)
    return pd.concat(
        [pd.DataFrame({"unique_id": name, "ds": ds, "y": values + more}) for name, more in (("up", 0), ("007", 100))]
    )


def register() -> None:
    """Put the forecasters below into the registry."""
    fakes = {"trend": "Trend", "broken": "Broken", "mortal": "Mortal", "echo": "Echo", "stopped": "Stopped"}
    MODELS["forecast"] |= {name: f"{__name__}:{kind}" for name, kind in fakes.items()}


@dataclass(frozen=True, kw_only=True)
class Trend(Forecaster):
    """The last season again plus `slope` per season: exact on series that grow by `slope` a season."""

    name: ClassVar[str] = "trend"
    about: ClassVar[About] = ABOUT
    slope: float = 4.0

    @classmethod
    def tiny(cls) -> Self:
        return cls()

    @classmethod
    def predictor_class(cls) -> type[Predictor]:
        return TrendPredictor

    def fit(
        self,
        panel: Panel,
        *,
        horizon: int,
        seed: int = 0,
        train: TrainConfig | None = None,
        callbacks: Sequence[Callback] = (),
    ) -> Predictor:
        for callback in callbacks:
            callback(Epoch(number=1, values={"train_loss": 0.5}))
        return TrendPredictor(recipe=self, facts=Facts.of(panel, horizon=horizon, seed=seed))


@dataclass(frozen=True, kw_only=True)
class TrendPredictor(Predictor):
    recipe: Trend
    facts: Facts

    def predict(
        self,
        panel: Panel,
        *,
        horizon: int | None = None,
        quantile_levels: Sequence[float] = DEFAULT_QUANTILE_LEVELS,
        future: FloatArray | None = None,
    ) -> Forecast:
        steps = self.check_request(panel, horizon, future)
        rows = []
        for _, target in panel:
            ahead = [target[-panel.season + k % panel.season] + self.recipe.slope * (k // panel.season + 1) for k in range(steps)]
            rows.append([[value + level for level in quantile_levels] for value in ahead])
        return Forecast(
            series_ids=panel.series_ids,
            timestamps=future_timestamps(panel, steps),
            quantile_levels=tuple(quantile_levels),
            quantiles=np.array(rows),
        )

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        return {}, {}

    @classmethod
    def from_state(
        cls, recipe: Forecaster, facts: Facts, arrays: Mapping[str, np.ndarray], values: Mapping[str, Any]
    ) -> "TrendPredictor":
        assert isinstance(recipe, Trend)
        return cls(recipe=recipe, facts=facts)


@dataclass(frozen=True, kw_only=True)
class Broken(Trend):
    """Breaks in fit, unless a file says otherwise."""

    name: ClassVar[str] = "broken"
    mended_by: str = ""

    def fit(self, panel: Panel, **options: Any) -> Predictor:
        if not (self.mended_by and Path(self.mended_by).exists()):
            raise FloatingPointError("the loss is nan")
        return super().fit(panel, **options)


@dataclass(frozen=True, kw_only=True)
class Mortal(Trend):
    """Killed by SIGKILL in its first training, after leaving a checkpoint; needs that checkpoint in the second."""

    name: ClassVar[str] = "mortal"

    def fit(self, panel: Panel, *, train: TrainConfig | None = None, **options: Any) -> Predictor:
        assert train is not None and train.checkpoint_dir is not None
        checkpoint = Path(train.checkpoint_dir) / "epoch"
        if "backtest" not in train.checkpoint_dir and not checkpoint.exists():
            checkpoint.parent.mkdir(parents=True)
            checkpoint.write_text("1")
            os.kill(os.getpid(), signal.SIGKILL)
        return super().fit(panel, train=train, **options)


@dataclass(frozen=True, kw_only=True)
class Stopped(Trend):
    """Asked to end by SIGTERM while it trains."""

    name: ClassVar[str] = "stopped"

    def fit(self, panel: Panel, **options: Any) -> Predictor:
        os.kill(os.getpid(), signal.SIGTERM)
        return super().fit(panel, **options)


@dataclass(frozen=True, kw_only=True)
class Echo(Trend):
    """The first covariate of the future, as it is."""

    name: ClassVar[str] = "echo"
    about: ClassVar[About] = replace(ABOUT, covariates="known-future")

    @classmethod
    def predictor_class(cls) -> type[Predictor]:
        return EchoPredictor

    def fit(self, panel: Panel, *, horizon: int, seed: int = 0, **options: Any) -> Predictor:
        return EchoPredictor(recipe=self, facts=Facts.of(panel, horizon=horizon, seed=seed))


class EchoPredictor(TrendPredictor):
    def predict(
        self,
        panel: Panel,
        *,
        horizon: int | None = None,
        quantile_levels: Sequence[float] = DEFAULT_QUANTILE_LEVELS,
        future: FloatArray | None = None,
    ) -> Forecast:
        steps = self.check_request(panel, horizon, future)
        assert future is not None
        return Forecast(
            series_ids=panel.series_ids,
            timestamps=future_timestamps(panel, steps),
            quantile_levels=tuple(quantile_levels),
            quantiles=np.repeat(future[:, :, :1], len(quantile_levels), axis=2),
        )
