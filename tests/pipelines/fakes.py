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
    fakes = {
        "trend": "Trend", "broken": "Broken", "mortal": "Mortal", "echo": "Echo", "stopped": "Stopped", "heir": "Heir",
        "faller": "Faller", "reader": "Reader",
    }  # fmt: skip
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
    def predictor_class(cls) -> "type[TrendPredictor]":
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
        return self.predictor_class()(recipe=self, facts=Facts.of(panel, horizon=horizon, seed=seed))


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
    about: ClassVar[About] = replace(ABOUT, covariates=("known-future",))

    @classmethod
    def predictor_class(cls) -> "type[TrendPredictor]":
        return EchoPredictor


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


@dataclass(frozen=True, kw_only=True)
class Heir(Trend):
    """Knows its generation: one more than that of the predictor it starts from."""

    name: ClassVar[str] = "heir"
    about: ClassVar[About] = replace(ABOUT, transfers=True)

    @classmethod
    def predictor_class(cls) -> "type[TrendPredictor]":
        return HeirPredictor

    def fit(
        self,
        panel: Panel,
        *,
        horizon: int,
        seed: int = 0,
        start_from: Predictor | None = None,
        freeze: int | None = None,
        **options: Any,
    ) -> Predictor:
        assert start_from is None or isinstance(start_from, HeirPredictor)
        generation = 1 if start_from is None else start_from.generation + 1
        facts = Facts.of(panel, horizon=horizon, seed=seed)
        return HeirPredictor(recipe=self, facts=facts, generation=generation, frozen=freeze)


@dataclass(frozen=True, kw_only=True)
class HeirPredictor(TrendPredictor):
    generation: int
    frozen: int | None

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        return {}, {"generation": self.generation, "frozen": self.frozen}

    @classmethod
    def from_state(
        cls, recipe: Forecaster, facts: Facts, arrays: Mapping[str, np.ndarray], values: Mapping[str, Any]
    ) -> "HeirPredictor":
        assert isinstance(recipe, Trend)
        return cls(recipe=recipe, facts=facts, **values)


@dataclass(frozen=True, kw_only=True)
class Faller(Trend):
    """Says that it could not forecast series "007"."""

    name: ClassVar[str] = "faller"

    @classmethod
    def predictor_class(cls) -> "type[TrendPredictor]":
        return FallerPredictor


class FallerPredictor(TrendPredictor):
    def predict(self, panel: Panel, **asked: Any) -> Forecast:
        forecast = super().predict(panel, **asked)
        fell = tuple((series_id, "no root found, seasonal naive instead") for series_id in panel.series_ids if series_id == "007")
        return replace(forecast, fallbacks=fell)


@dataclass(frozen=True, kw_only=True)
class Reader(Trend):
    """The last past covariate of each series plus its first static real, and refuses other words than "big"."""

    name: ClassVar[str] = "reader"
    about: ClassVar[About] = replace(ABOUT, covariates=("past", "static"))

    @classmethod
    def predictor_class(cls) -> "type[TrendPredictor]":
        return ReaderPredictor


class ReaderPredictor(TrendPredictor):
    def predict(
        self,
        panel: Panel,
        *,
        horizon: int | None = None,
        quantile_levels: Sequence[float] = DEFAULT_QUANTILE_LEVELS,
        future: FloatArray | None = None,
    ) -> Forecast:
        steps = self.check_request(panel, horizon, future)
        assert panel.past_covariates is not None and panel.static_reals is not None
        assert {word for (word,) in panel.static_categories} <= {"big", "small"}
        value = panel.past_covariates[panel.offsets[1:] - 1, 0] + panel.static_reals[:, 0]  # (S,)
        return Forecast(
            series_ids=panel.series_ids,
            timestamps=future_timestamps(panel, steps),
            quantile_levels=tuple(quantile_levels),
            quantiles=np.tile(value[:, None, None], (1, steps, len(quantile_levels))),
        )
