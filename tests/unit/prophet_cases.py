"""Series and fits that the tests of prophet share."""

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

import tsforecast
from tsforecast.models import prophet_series as series_module
from tsforecast.models.prophet import ProphetModel
from tsforecast.nn.config import TrainConfig
from tsforecast.panel import FloatArray, Panel

ALONE = TrainConfig(workers=1)
LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)


def values(length: int = 90, *, seed: int = 0) -> FloatArray:
    rng = np.random.default_rng(seed)
    steps = np.arange(length)
    return 50.0 + 0.2 * steps + 4.0 * np.sin(steps * 2 * np.pi / 7) + rng.normal(0, 1.0, length)


def frame_of(*series: FloatArray, start: str = "2024-01-01", freq: str = "D", tz: str | None = None) -> pd.DataFrame:
    return pd.concat(
        [
            pd.DataFrame(
                {"unique_id": f"s{i}", "ds": pd.date_range(start, periods=len(y), freq=freq, tz=tz), "y": y},
            )
            for i, y in enumerate(series)
        ],
        ignore_index=True,
    )


def panel_of(*series: FloatArray, start: str = "2024-01-01", freq: str = "D", tz: str | None = None) -> Panel:
    return tsforecast.panel_from_frame(frame_of(*series, start=start, freq=freq, tz=tz), freq=freq)


def with_covariates(panel: Panel, covariates: FloatArray, names: tuple[str, ...]) -> Panel:
    return replace(panel, covariates=covariates, covariate_names=names)


def prophet_alone(frame: pd.DataFrame, *, country: str | None = None, **options: Any) -> Any:
    """What the package fits without us."""
    model = series_module.load_prophet().Prophet(**{"uncertainty_samples": 0, **options})
    if country is not None:
        model.add_country_holidays(country)
    return model.fit(frame, seed=1)


def days(first: str, number: int) -> pd.DataFrame:
    return pd.DataFrame({"ds": pd.date_range(first, periods=number)})


def median_of(recipe: ProphetModel, panel: Panel, horizon: int, future: FloatArray | None = None) -> FloatArray:
    return recipe.fit(panel, horizon=horizon, train=ALONE).predict(panel, future=future).median[0]


def saturating(length: int = 120) -> FloatArray:
    steps = np.arange(length)
    return 100.0 / (1.0 + np.exp(-0.06 * (steps - 60))) + 0.2 * np.sin(steps * 2.4)
