"""Panel -> Forecast by exponential smoothing, its form chosen for each series."""

from dataclasses import dataclass
from typing import Any, ClassVar, Self

from tsforecast.errors import OptionError
from tsforecast.models.base import About
from tsforecast.models.statistical import History, StatisticalModel, check_season, ets_deviation, normal_quantiles
from tsforecast.panel import FloatArray


@dataclass(frozen=True, kw_only=True, slots=True)
class AutoETS(StatisticalModel):
    """Exponential smoothing of level, trend and season, in the form with the smallest AICc for each series.

    Missing values inside a history are interpolated first, with its average season.
    """

    name: ClassVar[str] = "auto_ets"
    about: ClassVar[About] = About(
        family="statistical",
        scope="local",
        source="Hyndman, Koehler, Ord & Snyder 2008, Forecasting with Exponential Smoothing",
        minimal_history="7 observations; two seasons to see a season",
        needs_training=False,
    )
    least: ClassVar[int] = 7

    model: str = "ZZZ"  # error, trend, season: A additive, M multiplicative, N none, Z chosen; the trend is N, A or Z
    damped: bool | None = None  # whether the trend fades; None = chosen
    season: int | None = None  # steps; None = the panel's

    def __post_init__(self) -> None:
        # A multiplicative trend explodes over a long horizon, and an additive error with a multiplicative season is unstable.
        letters = ("AMZ", "NAZ", "NAMZ")
        spelled = isinstance(self.model, str) and len(self.model) == 3
        if not spelled or any(one not in known for one, known in zip(self.model, letters, strict=True)):
            raise OptionError(f"model must be of three letters such as 'ZZZ' or 'AAN', got {self.model!r}", field="model")
        if self.model[0] == "A" and self.model[2] == "M":
            raise OptionError(f"model {self.model!r}: a multiplicative season needs error M or Z", field="model")
        if self.damped is not None and not isinstance(self.damped, bool):
            raise OptionError(f"damped must be true, false or none, got {self.damped!r}", field="damped")
        check_season(self.season)

    @classmethod
    def tiny(cls) -> Self:
        return cls()

    def answer(self, library: Any, history: History, levels: tuple[float, ...]) -> FloatArray:
        wanted = self.model if history.season > 1 else self.model[:2] + "N"
        model = library.AutoETS(season_length=history.season, model=wanted, damped=self.damped).fit(history.y)
        mean = model.predict(history.steps)["mean"]
        return normal_quantiles(mean, ets_deviation(model.model_, mean), levels)

    def seconds(self, rows: int, season: int) -> float:
        return 0.01 + (1e-3 if season > 1 else 2e-4) * rows
