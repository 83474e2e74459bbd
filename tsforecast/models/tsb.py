"""Panel -> Forecast of intermittent demand that may die out: how much, and how probable at each step."""

from dataclasses import dataclass
from typing import Any, ClassVar, Self

from tsforecast.errors import OptionError
from tsforecast.models.base import About
from tsforecast.models.statistical import History, StatisticalModel, check_demand, demand_quantiles
from tsforecast.panel import FloatArray


@dataclass(frozen=True, kw_only=True, slots=True)
class TSB(StatisticalModel):
    """Method of Teunter, Syntetos & Babai for demand that may end: smoothed size of a demand times its probability.

    Unlike Croston's method it learns from each step without demand. The forecast is the mean demand per step, the same for
    all steps; its quantiles come from the errors it would have made, one step ahead. Missing steps are left out. A series
    with negative values is none of demand: it is a fallback.
    """

    name: ClassVar[str] = "tsb"
    about: ClassVar[About] = About(
        family="intermittent",
        scope="local",
        source="Teunter, Syntetos & Babai 2011, Intermittent Demand: Linking Forecasting to Inventory Obsolescence",
        minimal_history="2 observations",
        needs_training=False,
    )
    least: ClassVar[int] = 2
    closes_gaps: ClassVar[bool] = True

    alpha_d: float = 0.1  # smoothing of the size of a demand, 0 … 1
    alpha_p: float = 0.1  # smoothing of its probability, 0 … 1

    def __post_init__(self) -> None:
        for name in ("alpha_d", "alpha_p"):
            value = getattr(self, name)
            if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= 1:
                raise OptionError(f"{name} must lie between 0 and 1, got {value!r}", field=name)

    @classmethod
    def tiny(cls) -> Self:
        return cls()

    def answer(self, library: Any, history: History, levels: tuple[float, ...]) -> FloatArray:
        check_demand(history.y)
        model = library.TSB(alpha_d=float(self.alpha_d), alpha_p=float(self.alpha_p))
        found = model.forecast(history.y, history.steps, fitted=True)
        return demand_quantiles(found["mean"], history.y, found["fitted"], levels)

    def seconds(self, rows: int, season: int) -> float:
        return 5e-4 + 1e-6 * rows
