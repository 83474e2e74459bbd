"""Panel -> Forecast by taking a series apart into trend and seasons, and each of them on."""

from dataclasses import dataclass
from typing import Any, ClassVar, Self

from tsforecast.errors import OptionError
from tsforecast.models.base import About
from tsforecast.models.statistical import History, StatisticalModel, ets_deviation, normal_quantiles
from tsforecast.panel import FloatArray, Panel


@dataclass(frozen=True, kw_only=True, slots=True)
class MSTL(StatisticalModel):
    """Loess takes one or more seasons off; exponential smoothing forecasts the rest, the last season is added again.

    The intervals are those of the rest: that seasons change is not in them. Missing values inside a history are
    interpolated first, with its average season.
    """

    name: ClassVar[str] = "mstl"
    about: ClassVar[About] = About(
        family="statistical",
        scope="local",
        source="Bandara, Hyndman & Bergmeir 2021, MSTL: a Seasonal-Trend Decomposition Algorithm with Multiple Seasonal Patterns",
        minimal_history="7 observations; two seasons to see a season",
        needs_training=False,
    )
    least: ClassVar[int] = 7

    seasons: tuple[int, ...] = ()  # steps, e.g. [24, 168]; none = the panel's season, of hourly data with the week too

    def __post_init__(self) -> None:
        seasons = self.seasons
        if not isinstance(seasons, list | tuple) or any(
            not isinstance(one, int) or isinstance(one, bool) or one < 2 for one in seasons
        ):
            raise OptionError(f"seasons must be numbers of steps from 2 on, got {seasons!r}", field="seasons")
        object.__setattr__(self, "seasons", tuple(sorted(set(seasons))))  # JSON has no tuples

    @classmethod
    def tiny(cls) -> Self:
        return cls()

    def seasons_of(self, panel: Panel) -> tuple[int, ...]:
        """Seasons to look for, in steps, ascending."""
        if self.seasons:
            return self.seasons
        return (24, 7 * 24) if panel.freq == "h" and panel.season == 24 else (panel.season,)

    def answer(self, library: Any, history: History, levels: tuple[float, ...]) -> FloatArray:
        if not history.seasons:
            rest = model = library.AutoETS(model="ZZN").fit(history.y)
        else:
            model = library.MSTL(season_length=list(history.seasons)).fit(history.y)
            rest = model.trend_forecaster
        deviation = ets_deviation(rest.model_, rest.predict(history.steps)["mean"])
        return normal_quantiles(model.predict(history.steps)["mean"], deviation, levels)

    def seconds(self, rows: int, season: int) -> float:
        return 0.01 + 2e-4 * rows
