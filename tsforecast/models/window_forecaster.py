"""Panel -> windows -> network -> quantiles: what all network models share.

A batch of windows is gathered by index on the device, scaled by its own window, forecast as a correction of the last
seasons, and scaled back.
"""

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from tsforecast.errors import ArtifactError, OptionError, SchemaError
from tsforecast.forecast import DEFAULT_QUANTILE_LEVELS, Forecast, check_quantile_levels, interpolate_levels
from tsforecast.models.base import Callback, Covariate, Facts, Forecaster, Predictor, check_horizon
from tsforecast.models.calibration import SPREAD, conformal_spread, spread_quantiles
from tsforecast.models.feeding import (
    Feed,
    as_epoch,
    check_trainable,
    fill_config,
    training_identity,
    training_values,
    windows_to_forecast,
)  # fmt: skip
from tsforecast.models.transfer import Start, take_over
from tsforecast.models.window_data import Inputs, first_negative
from tsforecast.nn.config import TrainConfig
from tsforecast.nn.heads import HEADS
from tsforecast.nn.lr_finder import LearningRateSearch, find_learning_rate
from tsforecast.nn.scale import Scaling, Space
from tsforecast.nn.train import TRAINING, train_network
from tsforecast.nn.window_network import LEVELS, NetworkShape, Skip, WindowBatch, WindowNetwork
from tsforecast.panel import FloatArray, Panel
from tsforecast.preprocessing.calendar import future_timestamps
from tsforecast.preprocessing.windows import plan_windows

COVARIATES: tuple[Covariate, ...] = ("known-future", "past", "static")
PREDICT_BATCH = 2048  # windows
CYCLES = {1: 1, 4: 5, 7: 8, 12: 4, 24: 14, 48: 14, 52: 3, 96: 7, 168: 3}  # season -> seasons in the default context


@dataclass(frozen=True, kw_only=True)
class WindowForecaster(Forecaster):
    """A recipe for a network that maps a window of the past to all horizon steps at once, global over all series."""

    context: int | None = None  # steps looked back; None = chosen from season and horizon
    patch: int | None = None  # steps read at once; None = chosen from the season
    hidden: int = 128  # width of the core
    layers: int = 2  # of the core
    dropout: float = 0.2  # share of the hidden numbers left out at each training step
    scaling: Scaling = "robust"  # of each window: "robust" | "standard" | "mean_abs" | "none"
    space: Space = "auto"  # in which windows are seen: "auto" (logarithm, but not with negative values or many zeros) | "linear"
    calibrate: bool = True  # widen or narrow the quantiles to what the held-out windows showed
    head: str = "quantile"  # what is forecast and lost, by its name in nn/heads.py: "quantile", "student_t", "mae" …
    skip: Skip = "season"  # what a forecast is a correction of: "season" (the last seasons) | "last" (value) | "none"
    calendar: bool = False  # sines and cosines of hour, weekday, month … as covariates

    def __post_init__(self) -> None:
        for name in ("context", "patch", "hidden", "layers"):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, int) or value < 1):
                raise OptionError(f"{name} must be a positive whole number, got {value!r}", field=name)
        if not 0 <= self.dropout < 1:
            raise OptionError(f"dropout must lie in [0, 1), got {self.dropout!r}", field="dropout")
        for name, choices in {"head": tuple(HEADS), "skip": ("season", "last", "none")}.items():
            if getattr(self, name) not in choices:
                raise OptionError(f"{name} must be one of {', '.join(choices)}, got {getattr(self, name)!r}", field=name)
        if not isinstance(self.calendar, bool):
            raise OptionError(f"calendar must be true or false, got {self.calendar!r}", field="calendar")
        if self.space not in ("auto", "linear"):
            raise OptionError(f"space must be auto or linear, got {self.space!r}", field="space")
        if self.scaling not in ("robust", "standard", "mean_abs", "none"):
            raise OptionError(f"scaling must be robust, standard, mean_abs or none, got {self.scaling!r}", field="scaling")

    @abstractmethod
    def build_core(self, width: int, shape: NetworkShape) -> nn.Module:
        """(B, patches, width) -> (B, width): the part in which models differ."""

    @classmethod
    def predictor_class(cls) -> type["WindowPredictor"]:
        return WindowPredictor

    @classmethod
    def tiny(cls) -> "WindowForecaster":
        return cls(context=16, patch=4, hidden=8, layers=1, dropout=0.0)

    def default_train(self) -> TrainConfig:
        """Training options where the caller leaves them open."""
        return TrainConfig(
            max_epochs=12,
            steps_per_epoch=100,
            batch_size=256,
            learning_rate=4e-3,
            patience=6,
            schedule="one_cycle",
            average_decay=0.99,
            threads=1,  # matrices this small gain nothing from a second one, and wait for it where cores are shared
        )

    def shape(self, *, season: int, horizon: int, inputs: Inputs | None = None, channels: int = 0) -> NetworkShape:
        """The sizes a fit on that season and horizon uses."""
        patch = self.patch or default_patch(season)
        context = self.context or self.default_context(season=season, horizon=horizon)
        inputs = inputs or Inputs()
        return NetworkShape(
            context=context,
            horizon=horizon,
            season=season if season <= context else 1,
            patch=min(patch, context),
            hidden=self.hidden,
            dropout=self.dropout,
            scaling=self.scaling,
            space=self.space,
            head=self.head,
            skip=self.skip,
            channels=channels,
            effects=len(inputs.known),
            past_channels=len(inputs.past),
            static_reals=len(inputs.static),
            categories=tuple(len(words) for words in inputs.categories),
        )

    def default_context(self, *, season: int, horizon: int) -> int:
        """Steps to look back where the caller leaves it open."""
        return default_context(season=season, horizon=horizon)

    def make_network(self, shape: NetworkShape) -> WindowNetwork:
        """The network of this recipe, with weights drawn from torch's generator."""
        return WindowNetwork(lambda width: self.build_core(width, shape), shape=shape)

    def build_network(self, shape: NetworkShape, *, seed: int) -> WindowNetwork:
        """A fresh network; its weights depend on `seed` alone."""
        with TRAINING, torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            return self.make_network(shape)

    def empty_network(self, shape: NetworkShape) -> WindowNetwork:
        """A network without weights, to be filled: drawing them would disturb a training in another thread."""
        with torch.device("meta"):
            network = self.make_network(shape)
        network.to_empty(device="cpu")
        return network

    def fit(
        self,
        panel: Panel,
        *,
        horizon: int,
        seed: int = 0,
        train: TrainConfig | None = None,
        callbacks: Sequence[Callback] = (),
        start_from: Predictor | None = None,
        freeze: int | None = None,
    ) -> "WindowPredictor":
        """As `Forecaster.fit`; `start_from` gives the context, the horizon and the sizes of its inputs too."""
        horizon = check_horizon(horizon)
        start = Start.of(self, panel, horizon, start_from)
        feed = self._feed(panel, horizon=horizon, seed=seed, train=train, start=start)
        network, plan = feed.network, feed.plan
        result = train_network(
            feed.job(
                training_identity(self, panel, plan.horizon, start.fingerprint, freeze),
                **start.schedule(feed.config.max_epochs or 1, freeze),
            ),
            config=feed.config,
            seed=seed,
            callbacks=[as_epoch(callback) for callback in callbacks],
        )
        calibrated = self.calibrate and not network.head.in_units and len(plan.validation)
        return self.predictor_class()(
            recipe=self,
            facts=Facts.of(panel, horizon=plan.horizon, seed=seed),
            network=network,
            inputs=feed.inputs,
            spread=self.measured_spread(feed) if calibrated else np.ones(len(LEVELS)),
            values=training_values(result, network, plan, feed.config),
        )

    def measured_spread(self, feed: Feed[WindowNetwork]) -> FloatArray:
        """Factor for each level's distance from the median, (Q,)."""
        return conformal_spread(feed, batch_size=PREDICT_BATCH)

    def find_learning_rate(
        self, panel: Panel, *, horizon: int, seed: int = 0, train: TrainConfig | None = None, **search: Any
    ) -> LearningRateSearch:
        """The losses at ever larger learning rates of a fit on `panel`, and the rate it suggests for `TrainConfig`.

        `search` may have `lowest`, `highest` and `steps`, see `nn.lr_finder`.
        """
        feed = self._feed(panel, horizon=check_horizon(horizon), seed=seed, train=train, start=Start())
        return find_learning_rate(feed.job(""), feed.config, seed=seed, **search)

    def _feed(self, panel: Panel, *, horizon: int, seed: int, train: TrainConfig | None, start: Start) -> Feed[WindowNetwork]:
        """A network that is ready to be trained, with its batches."""
        inputs = start.inputs or Inputs.of(panel, calendar=self.calendar)
        shape = start.shape or self.shape(season=panel.season, horizon=horizon, inputs=inputs, channels=inputs.channels(panel))
        plan = plan_windows(
            panel, context=shape.context, horizon=shape.horizon, min_context=min(shape.context, 2 * shape.horizon)
        )
        check_trainable(panel, plan)
        if HEADS[self.head].in_units:
            _check_not_negative(panel, self.head)
        config = fill_config(train or TrainConfig(), self.default_train(), plan)
        network = self.build_network(shape, seed=seed)
        feed = Feed(
            panel=panel, plan=plan, config=config, seed=seed, network=network, inputs=inputs, validation_batch=PREDICT_BATCH
        )
        if start.weights:
            take_over(network, start.weights)
        else:
            feed.begin()
        return feed


class WindowPredictor(Predictor):
    """A trained network. Its weights are never changed after the constructor."""

    recipe: WindowForecaster

    def __init__(
        self,
        *,
        recipe: WindowForecaster,
        facts: Facts,
        network: WindowNetwork,
        inputs: Inputs,
        spread: FloatArray,
        values: Mapping[str, Any],
    ) -> None:
        self.recipe, self.facts, self.network, self.inputs = recipe, facts, network.eval(), inputs
        self.spread, self.values = spread, dict(values)
        for parameter in network.parameters():
            parameter.requires_grad_(False)

    def predict(
        self,
        panel: Panel,
        *,
        horizon: int | None = None,
        quantile_levels: Sequence[float] = DEFAULT_QUANTILE_LEVELS,
        future: FloatArray | None = None,
    ) -> Forecast:
        """As `Predictor.predict`. A series needs two observations inside the context; missing steps are masked."""
        steps = self.check_request(panel, horizon, future)
        levels = check_quantile_levels(quantile_levels)
        parts = []
        with torch.inference_mode():
            for batch in self.batches(panel, steps, future):
                found, scale = self.network.answer(batch)
                moved = torch.from_numpy(spread_quantiles(found[:, :steps].numpy(), self.spread))
                parts.append((moved if scale is None else scale.invert(moved)).numpy())
        quantiles = np.concatenate(parts)
        return Forecast(
            series_ids=panel.series_ids,
            timestamps=future_timestamps(panel, steps),
            quantile_levels=levels,
            quantiles=interpolate_levels(quantiles, LEVELS, levels),
            tz=panel.tz,
            zones=panel.zones,
        )

    def batches(
        self, panel: Panel, steps: int, future: FloatArray | None, *, batch_size: int = PREDICT_BATCH
    ) -> Iterator[WindowBatch]:
        """The windows at the end of each series, with what is known of `steps` steps ahead.

        Raises:
            HistoryTooShort: a series has too few observations in its window; CovariateError: a hole in `future`.
        """
        shape = self.network.shape
        return windows_to_forecast(
            panel, self.inputs, context=shape.context, horizon=shape.horizon, channels=shape.channels,
            steps=steps, future=future, size=batch_size,
        )  # fmt: skip

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        arrays = {name: value.numpy() for name, value in self.network.state_dict().items()}
        values = {**self.values, "shape": asdict(self.network.shape), "inputs": asdict(self.inputs)}
        return arrays | {SPREAD: self.spread}, values

    @classmethod
    def from_state(
        cls, recipe: Forecaster, facts: Facts, arrays: Mapping[str, np.ndarray], values: Mapping[str, Any]
    ) -> "WindowPredictor":
        assert isinstance(recipe, WindowForecaster)
        sizes: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in values["shape"].items()}
        shape = NetworkShape(**sizes)
        inputs = Inputs.from_json(values["inputs"]) if "inputs" in values else Inputs()
        network = recipe.empty_network(shape)
        weights = {name: torch.from_numpy(np.array(a)) for name, a in arrays.items() if name != SPREAD}
        try:
            network.load_state_dict(weights)
        except RuntimeError as error:
            raise ArtifactError(f"the stored weights do not fit the stored shape: {error}; copy the model again") from error
        rest = {name: value for name, value in values.items() if name not in ("shape", "inputs")}
        spread = np.array(arrays[SPREAD])
        return cls(recipe=recipe, facts=facts, network=network, inputs=inputs, spread=spread, values=rest)


def default_context(*, season: int, horizon: int) -> int:
    """Steps to look back: so many seasons that the longer cycle around the season is seen at least once."""
    cycles = CYCLES.get(season, 4 if season <= 24 else 3)
    return max(cycles * season, 2 * horizon, 16)


def default_patch(season: int) -> int:
    """Steps read at once: the largest divisor of the season up to 24."""
    if season == 1:
        return 4
    return max(size for size in range(1, 25) if season % size == 0)


def _check_not_negative(panel: Panel, head: str) -> None:
    rows = first_negative(panel)
    for i in np.flatnonzero(rows < len(panel.target))[:1]:
        raise SchemaError(
            f"series {panel.series_ids[i]!r} has a target of {panel.target[rows[i]]:g}, head {head!r} is of numbers from 0 on; "
            "use head 'quantile', 'normal' or 'student_t'",
            series_id=panel.series_ids[i],
            field="target",
        )
