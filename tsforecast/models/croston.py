"""Panel -> Forecast of intermittent demand: how much, and how long until the next."""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

from tsforecast.errors import OptionError
from tsforecast.models.base import About
from tsforecast.models.statistical import History, StatisticalModel, check_demand, demand_quantiles
from tsforecast.panel import FloatArray

VARIANTS = {"classic": "CrostonClassic", "sba": "CrostonSBA", "optimized": "CrostonOptimized"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Croston(StatisticalModel):
    """Croston's method for demand with many zeros: smoothed size of a demand over the smoothed time between two.

    The forecast is the mean demand per step, the same for all steps. Its quantiles come from the errors it would have
    made, one step ahead (of the classic variant where the variant is "optimized"). Missing steps are left out, so the time
    between demands is counted in observed steps. A series with negative values is none of demand: it is a fallback.
    """

    name: ClassVar[str] = "croston"
    about: ClassVar[About] = About(
        family="intermittent",
        scope="local",
        source="Croston 1972, Forecasting and Stock Control for Intermittent Demands; Syntetos & Boylan 2005 (sba)",
        minimal_history="2 observations",
        needs_training=False,
    )
    least: ClassVar[int] = 2
    closes_gaps: ClassVar[bool] = True

    variant: Literal["classic", "sba", "optimized"] = "classic"  # smoothing 0.1 | the same less its bias | 0.1 … 0.3, fitted

    def __post_init__(self) -> None:
        if self.variant not in VARIANTS:
            raise OptionError(f"variant must be one of {', '.join(VARIANTS)}, got {self.variant!r}", field="variant")

    @classmethod
    def tiny(cls) -> Self:
        return cls()

    def answer(self, library: Any, history: History, levels: tuple[float, ...]) -> FloatArray:
        check_demand(history.y)
        same = self.variant != "optimized"  # that one would fit anew at every step to know its past errors
        point = getattr(library, VARIANTS[self.variant])().forecast(history.y, history.steps)["mean"]
        past = getattr(library, VARIANTS[self.variant if same else "classic"])().forecast(history.y, 1, fitted=True)
        return demand_quantiles(point, history.y, past["fitted"], levels)

    def seconds(self, rows: int, season: int) -> float:
        return 5e-4 + 1e-6 * rows
