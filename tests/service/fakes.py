"""Fakes with behaviour: a model that climbs from the last value, and a store of models in memory."""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from service.model_store import Reference, StoredModel
from tsforecast.errors import ArtifactError, TrackingError, UnknownModel
from tsforecast.flow import FittedFlow
from tsforecast.forecast import DEFAULT_QUANTILE_LEVELS, Forecast, check_quantile_levels
from tsforecast.models.base import About, Facts, Forecaster, Predictor
from tsforecast.panel import FloatArray, Panel
from tsforecast.preprocessing.calendar import future_timestamps


@dataclass(frozen=True, kw_only=True)
class Ramp(Forecaster):
    """Forecasts last observed value + slope x step; quantiles lie 10 x (level - 0.5) around it."""

    name = "ramp"
    about = About(family="fake", scope="global", source="tests", minimal_history="1 value")
    slope: float = 1.0
    need: int = 1  # rows below which it refuses
    falls: tuple[str, ...] = ()  # series that it says were left to a fallback
    before: Callable[[Panel], None] | None = None  # called with each panel asked: to wait, to fail, to count

    @classmethod
    def tiny(cls) -> "Ramp":
        return cls()

    @classmethod
    def predictor_class(cls) -> type[Predictor]:
        return RampPredictor

    def fit(self, panel: Panel, *, horizon: int, **_: Any) -> "RampPredictor":
        return RampPredictor(recipe=self, facts=Facts.of(panel, horizon=horizon, seed=0))


@dataclass(frozen=True, kw_only=True)
class RampPredictor(Predictor):
    recipe: Ramp
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

        if self.recipe.before is not None:
            self.recipe.before(panel)
        steps = self.check_request(panel, horizon, future)
        levels = check_quantile_levels(quantile_levels)
        for series_id, target in panel:
            if len(target) < self.recipe.need:
                raise HistoryTooShort(series_id, have=len(target), need=self.recipe.need)
        last = np.array([target[np.isfinite(target)][-1] for _, target in panel])
        middle = last[:, None] + self.recipe.slope * np.arange(1, steps + 1)
        return Forecast(
            series_ids=panel.series_ids,
            timestamps=future_timestamps(panel, steps),
            quantile_levels=levels,
            quantiles=middle[:, :, None] + 10 * (np.array(levels) - 0.5),
            tz=panel.tz,
            fallbacks=tuple((one, "no root, naive instead") for one in panel.series_ids if one in self.recipe.falls),
        )

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        raise ArtifactError("the fake is never stored")

    @classmethod
    def from_state(
        cls, recipe: Forecaster, facts: Facts, arrays: Mapping[str, np.ndarray], values: Mapping[str, Any]
    ) -> "RampPredictor":
        raise ArtifactError("the fake is never stored")


def panel_of(target: Sequence[float], *, freq: str | int = "D", start: str | int = "2024-01-01", season: int = 7) -> Panel:
    """One series called "a"."""
    from tsforecast.preprocessing.calendar import advance, clock_of

    origin = np.array([start]) if isinstance(start, int) else np.array([start], dtype="datetime64[ns]")
    return Panel(
        series_ids=("a",),
        offsets=np.array([0, len(target)]),
        timestamps=advance(clock_of(freq), origin, np.arange(len(target))),
        target=np.array(target, dtype=float),
        freq=freq,
        season=season,
    )


def ramp_flow(*, horizon: int = 14, freq: str | int = "D", start: str | int = "2024-01-01", **options: Any) -> FittedFlow:
    """A fitted Ramp whose training ended on the fifth step."""
    panel = panel_of([1, 2, 3, 4, 5], freq=freq, start=start)
    return FittedFlow(predictor=Ramp(**options).fit(panel, horizon=horizon))


@dataclass
class MemoryStore:
    """A store that counts what is asked of it and can be told to fail."""

    flows: dict[tuple[str, str], FittedFlow] = field(default_factory=dict)
    aliases: dict[tuple[str, str], str] = field(default_factory=dict)  # (name, alias) -> version
    loads: list[str] = field(default_factory=list)
    away: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)

    def put(self, name: str, flow: FittedFlow, *, alias: str = "champion") -> str:
        """Store `flow` as the next version of `name`; the alias moves to it."""
        version = str(1 + sum(stored == name for stored, _ in self.flows))
        self.flows[name, version] = flow
        self.aliases[name, alias] = version
        return version

    def names(self) -> list[str]:
        self._ask()
        return sorted({name for name, _ in self.flows})

    def versions(self, name: str) -> list[StoredModel]:
        self._ask()
        found = [self._describe(stored, version) for stored, version in self.flows if stored == name]
        if not found:
            raise UnknownModel(f"no model {name!r} is stored", field="model")
        return found[::-1]

    def resolve(self, reference: str) -> StoredModel:
        self._ask()
        wanted = Reference.parse(reference)
        version = wanted.version or self.aliases.get((wanted.name, wanted.alias or "champion"))
        if (wanted.name, version) not in self.flows:
            raise UnknownModel(f"no model {reference!r} is stored", field="model")
        return self._describe(wanted.name, str(version))

    def load(self, stored: StoredModel) -> FittedFlow:
        with self.lock:
            self.loads.append(f"{stored.name}/{stored.version}")
        return self.flows[stored.name, stored.version]

    def where(self) -> str:
        return "memory"

    def _ask(self) -> None:
        if self.away:
            raise TrackingError("the store at secret-host is away")

    def _describe(self, name: str, version: str) -> StoredModel:
        facts = self.flows[name, version].facts
        aliases = tuple(alias for (stored, alias), of in self.aliases.items() if (stored, of) == (name, version))
        return StoredModel(
            name=name,
            version=version,
            aliases=aliases,
            architecture="ramp",
            horizon=facts.horizon,
            freq=facts.freq,
            season=facts.season,
            trained_until=facts.trained_until,
            scores={"mase": 0.8, "coverage": float("nan")},
        )
