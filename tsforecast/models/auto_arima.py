"""Panel -> Forecast by a seasonal ARIMA model, its orders chosen for each series."""

import threading
import warnings
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from scipy.special import ndtri

from tsforecast.errors import OptionError
from tsforecast.models.base import About
from tsforecast.models.statistical import History, StatisticalModel, check_season, normal_quantiles
from tsforecast.panel import FloatArray

EXPECTED = (  # warnings about candidates, which are judged by their AICc all the same
    "possible convergence problem",
    "Stepwise search was stopped early",
    "The chosen (seasonal )?unit root test encountered an error",
    "Having .* differenc",
    "No drift term fitted",
)
_SEARCH = threading.Lock()  # the search changes the filters of warnings, which all threads of a process share


@dataclass(frozen=True, kw_only=True, slots=True)
class AutoARIMA(StatisticalModel):
    """Seasonal ARIMA with the orders of smallest AICc for each series, found step by step.

    By far the slowest of the statistical models: a second for 144 monthly values, ten for 720 hourly ones, and the
    threads of a process take turns at it. Missing values inside a history are interpolated first, with its average season.
    """

    name: ClassVar[str] = "auto_arima"
    about: ClassVar[About] = About(
        family="statistical",
        scope="local",
        source="Hyndman & Khandakar 2008, Automatic Time Series Forecasting: the forecast Package for R",
        minimal_history="7 observations; two seasons to see a season",
        needs_training=False,
    )
    least: ClassVar[int] = 7

    max_p: int = 5  # largest autoregressive order
    max_q: int = 5  # largest moving-average order
    max_seasonal_p: int = 2  # largest autoregressive order of the season
    max_seasonal_q: int = 2  # largest moving-average order of the season
    max_d: int = 2  # differences at most
    max_seasonal_d: int = 1  # seasonal differences at most
    approximation: bool | None = None  # search by sums of squares; None = beyond 150 steps or a season of 12
    season: int | None = None  # steps; None = the panel's

    def __post_init__(self) -> None:
        for name in ("max_p", "max_q", "max_seasonal_p", "max_seasonal_q", "max_d", "max_seasonal_d"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 0:
                raise OptionError(f"{name} must be a whole number of at least 0, got {value!r}", field=name)
        if self.approximation is not None and not isinstance(self.approximation, bool):
            raise OptionError(f"approximation must be true, false or none, got {self.approximation!r}", field="approximation")
        check_season(self.season)

    @classmethod
    def tiny(cls) -> Self:
        return cls(max_p=1, max_q=1, max_seasonal_p=1, max_seasonal_q=0, max_d=1, approximation=True)

    def answer(self, library: Any, history: History, levels: tuple[float, ...]) -> FloatArray:
        """The search is done on the standardised series: where its optimiser stops depends on the unit and the level."""
        centre, scale = float(history.y.mean()), float(history.y.std()) or 1.0
        model = library.AutoARIMA(
            season_length=history.season,
            max_p=self.max_p,
            max_q=self.max_q,
            max_P=self.max_seasonal_p,
            max_Q=self.max_seasonal_q,
            max_d=self.max_d,
            max_D=self.max_seasonal_d,
            start_p=min(2, self.max_p),
            start_q=min(2, self.max_q),
            start_P=min(1, self.max_seasonal_p),
            start_Q=min(1, self.max_seasonal_q),
            approximation=self.approximation,
        )
        with _SEARCH, warnings.catch_warnings():
            for message in EXPECTED:
                warnings.filterwarnings("ignore", message, UserWarning, r"statsforecast\.arima")
            found = model.forecast((history.y - centre) / scale, history.steps, level=[95.0])
        mean, upper = np.asarray(found["mean"]), np.asarray(found["hi-95.0"])
        return centre + scale * normal_quantiles(mean, (upper - mean) / ndtri(0.975), levels)

    def seconds(self, rows: int, season: int) -> float:
        return 0.1 + 4e-4 * rows * season
