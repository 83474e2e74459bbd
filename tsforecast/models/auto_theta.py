"""Panel -> Forecast by the theta method, its variant chosen for each series."""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

import numpy as np

from tsforecast.errors import OptionError
from tsforecast.models.base import About
from tsforecast.models.statistical import History, StatisticalModel, check_season, normal_quantiles
from tsforecast.panel import FloatArray


@dataclass(frozen=True, kw_only=True, slots=True)
class AutoTheta(StatisticalModel):
    """Theta method: half the slope of a line through a series and its exponential smoothing, best of four variants.

    A season is taken off first where the autocorrelation shows one. Missing values inside a history are interpolated
    before that, with its average season.
    """

    name: ClassVar[str] = "auto_theta"
    about: ClassVar[About] = About(
        family="statistical",
        scope="local",
        source="Fiorucci et al. 2016, Models for optimising the theta method and their relationship to state space models",
        minimal_history="5 observations; two seasons to see a season",
        needs_training=False,
    )
    least: ClassVar[int] = 5

    decomposition: Literal["multiplicative", "additive"] = "multiplicative"  # of the season; additive where values are <= 0
    season: int | None = None  # steps; None = the panel's

    def __post_init__(self) -> None:
        if self.decomposition not in ("multiplicative", "additive"):
            raise OptionError(
                f"decomposition must be 'multiplicative' or 'additive', got {self.decomposition!r}", field="decomposition"
            )
        check_season(self.season)

    @classmethod
    def tiny(cls) -> Self:
        return cls()

    def answer(self, library: Any, history: History, levels: tuple[float, ...]) -> FloatArray:
        """As exponential smoothing with a drift (Hyndman & Billah 2003), errors of which add up by alpha a step.

        Not by statsforecast's own quantiles of 200 draws, which are the same for every series: rough in the tails.
        """
        model = library.AutoTheta(season_length=history.season, decomposition_type=self.decomposition).fit(history.y)
        fitted = model.model_
        errors, factor = fitted["residuals"], np.ones(history.steps)
        if fitted.get("decompose"):
            season = fitted["seas_forecast"]["mean"]  # of the first season ahead
            past = season[np.arange(-len(errors), 0) % history.season]
            if fitted["decomposition_type"] == "multiplicative":
                errors, factor = errors / past, season[np.arange(history.steps) % history.season]
            else:  # 2.1.1 adds the season to the errors, which have nothing to do with it
                errors = min(errors, errors - past, key=np.std)
        deviation = np.std(errors[3:], ddof=1) * np.sqrt(1.0 + np.arange(history.steps) * fitted["par"]["alpha"] ** 2)
        return normal_quantiles(model.predict(history.steps)["mean"], factor * deviation, levels)

    def seconds(self, rows: int, season: int) -> float:
        return 0.005 + 1.5e-4 * rows
