"""How far each step is from the forecast made just before it, in units of that forecast's own spread.

Any forecaster of the registry, prequential: a step is forecast from the steps before it, one step ahead. Prediction error
is what finds single points; reconstruction is last there (shared/design/ANOMALY.md, section 0). Models that are fitted
anew for each series (`auto_arima`, `auto_ets` …) are fitted anew for each step here: minutes per thousand steps.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar, Self

import numpy as np

from tsforecast.errors import HistoryTooShort, OptionError, UnknownModel
from tsforecast.models.base import About, Callback, Facts, Forecaster, Predictor
from tsforecast.models.detector import Core, Detector, Evidence, Rows, refuse_short
from tsforecast.models.detector_windows import main_period
from tsforecast.models.evidence import centred_mean
from tsforecast.models.registry import MODELS, build_forecaster, model_class
from tsforecast.models.window_arrays import chunks
from tsforecast.nn.config import TrainConfig
from tsforecast.panel import FloatArray, Panel, TimeArray

AT_ONCE = 500_000  # rows of the short series, one for each step, that are forecast together
LEVELS = (0.1, 0.5, 0.9)
NORMAL_RANGE = 2.5631  # standard deviations between the outer two of a normal distribution
SMOOTHED = 64  # steps of the mean of revised evidence, which finds longer events by far better than single steps do
LEAST_ROWS = 16  # observed steps of a channel that is learnt from
SHORTEST_CONTEXT, LONGEST_CONTEXT = 64, 512  # steps that a network looks back where nobody says how many


@dataclass(frozen=True, kw_only=True)
class ForecastResidual(Detector):
    """Squared error of the one-step forecast; on request over its squared spread, so that a wide forecast forgives.

    On 14 series of NAB and UCR the spread only did harm (VUS-PR of means of 64 steps: 0.50 without, 0.46, 0.43, 0.40 and 0.35
    with a `least_spread` of 1, 0.5, 0.2 and 0.01): narrow forecasts are not that sure of themselves.
    """

    name: ClassVar[str] = "forecast_residual"
    about: ClassVar[About] = About(
        family="forecast",
        scope="global",
        source="Dawid 1984, The prequential approach; Hundman et al. 2018, for anomalies",
        minimal_history="as the forecaster needs",
    )

    forecaster: str = "linear"  # any forecaster of the registry
    forecaster_options: tuple[tuple[str, Any], ...] = ()  # its options, (name, value) pairs; in Python and recipes also a table
    context: int | None = None  # steps a forecast looks back; None = two seasons, for networks from 64 to 512 steps

    least_spread: float | None = None  # errors are divided by the spread, at least this, in deviations of the channel; None = not

    def __post_init__(self) -> None:
        least = self.least_spread
        if least is not None and (not isinstance(least, int | float) or not 0 < least < float("inf")):
            raise OptionError(f"least_spread must be a positive number, or none, got {self.least_spread!r}", field="least_spread")
        if self.forecaster not in MODELS["forecast"]:
            try:
                model_class(self.forecaster)
            except (OptionError, UnknownModel) as error:
                raise OptionError(str(error), field="forecaster") from error
        if self.context is not None and (not isinstance(self.context, int) or isinstance(self.context, bool) or self.context < 2):
            raise OptionError(f"context must be at least 2 steps, got {self.context!r}", field="context")
        if isinstance(self.forecaster_options, Mapping):
            object.__setattr__(self, "forecaster_options", tuple(sorted(dict(self.forecaster_options).items())))
        for pair in self.forecaster_options:
            if not isinstance(pair, tuple) or len(pair) != 2 or not isinstance(pair[0], str):
                raise OptionError(f"forecaster_options must be (name, value) pairs, got {pair!r}", field="forecaster_options")
        if self.forecaster_options:
            build_forecaster(self.forecaster, **dict(self.forecaster_options))

    @classmethod
    def tiny(cls) -> Self:
        return cls(context=16, forecaster_options=(("patch", 4), ("hidden", 8), ("layers", 1)))

    @classmethod
    def core_class(cls) -> type["ForecastResidualCore"]:
        return ForecastResidualCore

    def learn(
        self, series: Sequence[Rows], *, seed: int, train: TrainConfig | None, callbacks: Sequence[Callback]
    ) -> tuple["ForecastResidualCore", dict[str, Any]]:
        parts = [
            (rows.values[:, c], rows.timestamps, rows.tz)
            for rows in series
            for c in range(rows.values.shape[1])
            if np.isfinite(rows.values[:, c]).sum() >= LEAST_ROWS
        ]
        if not parts:
            refuse_short(series, need=LEAST_ROWS)
        season = series[0].season if series[0].season > 1 else main_period(series) or 1
        panel = _panel_of(parts, freq=series[0].freq, season=season)
        context = self.context or max(2 * season, SHORTEST_CONTEXT)
        try:
            predictor = self._forecaster(context).fit(panel, horizon=1, seed=seed, train=train, callbacks=callbacks)
        except HistoryTooShort as error:  # it names series that only we know
            refuse_short(series, need=error.need)
        values = predictor.state()[1]
        core = ForecastResidualCore(predictor, context=_read_by(values) or context, least_spread=self.least_spread)
        kept: dict[str, Any] = {name: values[name] for name in ("best_epoch", "best_val_loss", "history") if name in values}
        return core, {"forecaster": self.forecaster, "context": core.reach, "season": season, **kept}

    def _forecaster(self, context: int) -> Forecaster:
        """The recipe to fit, with what the values here ask of it: they are standardised, so those above 0 are nothing special."""
        known = {field.name for field in fields(model_class(self.forecaster))}  # type: ignore[arg-type]  # a recipe is a dataclass
        wanted: dict[str, Any] = {"space": "linear", "context": self.context or min(context, LONGEST_CONTEXT)}
        asked = {name: value for name, value in wanted.items() if name in known}
        return build_forecaster(self.forecaster, **(asked | dict(self.forecaster_options)))


class ForecastResidualCore(Core):
    """A fitted forecaster of one step."""

    kinds = ("prediction",)
    width = SMOOTHED
    delay = SMOOTHED - 1 - SMOOTHED // 2

    def __init__(self, predictor: Predictor, *, context: int, least_spread: float | None) -> None:
        self.predictor, self.reach, self.least_spread = predictor, context, least_spread

    def evidence(self, rows: Rows) -> Evidence:
        causal, expected = self.causal(rows, len(rows))
        revised = np.where(np.isfinite(rows.values), centred_mean(causal[0], SMOOTHED), np.nan)
        return Evidence(causal=causal, revised=revised[None], expected=expected, revised_expected=expected)

    def causal(self, rows: Rows, newest: int) -> tuple[FloatArray, FloatArray]:
        near = rows.last(newest + self.reach)
        expected = np.full((newest, near.values.shape[1]), np.nan)
        spread = np.ones_like(expected)
        for c in range(near.values.shape[1]):
            for part in chunks(newest, max(AT_ONCE // self.reach, 1)):
                origins = np.arange(part.start, part.stop) + len(near) - newest
                low, expected[part, c], high = self._forecasts(near, c, origins).T
                if self.least_spread is not None:
                    spread[part, c] = np.maximum((high - low) / NORMAL_RANGE, self.least_spread)
        away = (near.values[len(near) - newest :] - expected) / spread
        return (away**2)[None], expected

    def _forecasts(self, rows: Rows, channel: int, origins: np.ndarray) -> FloatArray:
        """Quantiles LEVELS of the steps at `origins` (B,) from the rows before each, (B, 3); NaN where the model refuses."""
        values, found = rows.values[:, channel], np.full((len(origins), len(LEVELS)), np.nan)
        seen = np.concatenate([[0], np.cumsum(np.isfinite(values))])
        observed = seen[origins] - seen[np.maximum(origins - self.reach, 0)]
        left = np.flatnonzero(observed > 0)
        while len(left):
            try:
                panel = _histories(rows, values, origins[left], self.reach, self.predictor.facts)
                found[left] = self.predictor.predict(panel, quantile_levels=LEVELS).quantiles[:, 0]
                break
            except HistoryTooShort as error:  # … so has every other with no more observations
                refused = left[int(error.series_id or 0)]
                left = left[observed[left] > observed[refused]]
        return found

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        arrays, values = self.predictor.state()
        recipe = self.predictor.recipe
        return arrays, {
            "forecaster": recipe.name,
            "options": asdict(recipe),  # type: ignore[call-overload]  # every recipe is a dataclass
            "facts": asdict(self.predictor.facts),
            "values": values,
            "context": self.reach,
            "least_spread": self.least_spread,
        }

    @classmethod
    def from_state(cls, recipe: Detector, arrays: Mapping[str, np.ndarray], values: Mapping[str, Any]) -> "ForecastResidualCore":
        found = model_class(values["forecaster"])
        known = {field.name for field in fields(found)}  # type: ignore[arg-type]  # every recipe is a dataclass
        options = {name: _tuple(value) for name, value in values["options"].items() if name in known}
        facts = Facts(**{name: _tuple(value) for name, value in values["facts"].items()})
        predictor = found.predictor_class().from_state(found(**options), facts, arrays, values["values"])
        return cls(predictor, context=int(values["context"]), least_spread=values["least_spread"])


def _read_by(values: Mapping[str, Any]) -> int | None:
    """Steps that a predictor with these stored values reads, if it says so; more would change nothing and take time."""
    shape = values.get("shape")
    return int(shape["context"]) if isinstance(shape, dict) and shape.get("context") else None


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _panel_of(parts: Sequence[tuple[FloatArray, TimeArray, str | None]], *, freq: str | int, season: int) -> Panel:
    """Channels (T,) with their timestamps and zones as the series of a panel, called by their numbers."""
    zones = {tz for _, _, tz in parts}
    return Panel(
        series_ids=tuple(str(i) for i in range(len(parts))),
        offsets=np.cumsum([0, *(len(values) for values, _, _ in parts)]).astype(np.int64),
        timestamps=np.concatenate([timestamps for _, timestamps, _ in parts]),
        target=np.concatenate([values for values, _, _ in parts]),
        freq=freq,
        season=season,
        tz=zones.pop() if len(zones) == 1 else "UTC",
        zones=tuple(str(tz) for _, _, tz in parts) if zones else (),
    )


def _histories(rows: Rows, values: FloatArray, origins: np.ndarray, context: int, facts: Facts) -> Panel:
    """The rows before each of the origins (B,), `context` of them where there are so many, as a panel of B series."""
    first = np.maximum(origins - context, 0)
    offsets = np.concatenate([[0], np.cumsum(origins - first)]).astype(np.int64)
    places = np.arange(offsets[-1]) + np.repeat(first - offsets[:-1], origins - first)
    return Panel(
        series_ids=tuple(str(i) for i in range(len(origins))),
        offsets=offsets,
        timestamps=rows.timestamps[places],
        target=values[places],
        freq=facts.freq,
        season=facts.season,
        tz=rows.tz,
    )
