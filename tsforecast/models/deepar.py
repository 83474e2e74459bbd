"""DeepAR: a recurrent network that draws one step after the other, so that its futures hang together and widen."""

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from torch import Tensor, nn

from tsforecast.errors import OptionError
from tsforecast.forecast import DEFAULT_QUANTILE_LEVELS, Forecast, check_quantile_levels
from tsforecast.models.base import About
from tsforecast.models.calibration import conformal_spread
from tsforecast.models.feeding import HISTORY, Feed
from tsforecast.models.window_data import Inputs
from tsforecast.models.window_forecaster import COVARIATES, WindowForecaster, WindowPredictor
from tsforecast.nn.autoregressive import CHEAP_PATHS, AutoregressiveNetwork, default_lags
from tsforecast.nn.config import TrainConfig
from tsforecast.nn.scale import Scaling, Space
from tsforecast.nn.window_network import LEVELS, NetworkShape, Skip, WindowNetwork
from tsforecast.panel import FloatArray, Panel
from tsforecast.preprocessing.calendar import future_timestamps

PATHS_AT_ONCE = 20_000  # rows of a batch of futures
MOST_ASKED = 512  # held-out windows whose futures are drawn to measure how wide they have to be
HEADS = ("student_t", "normal", "negative_binomial", "poisson")


@dataclass(frozen=True, kw_only=True)
class DeepAR(WindowForecaster):
    """Autoregressive network with ancestral sampling.

    Windows are divided by their mean size, whose logarithm is an input. What is fed back is what was drawn, never a
    mean, so quantiles at a step include all that may happen before it. A series always draws the same numbers, by its
    id; two series draw different ones, so sums over series are right.
    """

    name: ClassVar[str] = "deepar"
    about: ClassVar[About] = About(
        family="autoregressive",
        scope="global",
        source="Salinas et al. 2020, DeepAR",
        minimal_history=HISTORY,
        covariates=COVARIATES,
        transfers=True,
        samples=True,
    )

    cell: Literal["lstm", "gru"] = "lstm"  # of the recurrence: "lstm" | "gru"
    lags: tuple[int, ...] | None = None  # steps back that are looked at; None = chosen from the season
    samples: int = 200  # futures drawn of each series
    hidden: int = 64  # width of the recurrence
    layers: int = 1  # of the recurrence
    dropout: float = 0.1  # share of the hidden numbers left out at each training step
    scaling: Scaling = "mean_abs"  # of each window: "robust" | "standard" | "mean_abs" | "none"
    space: Space = "linear"  # "auto" (logarithm, but not with negative values or many zeros) | "linear"
    head: str = "student_t"  # of one step: "student_t" | "normal"; of counts: "negative_binomial" | "poisson"
    calendar: bool = True  # sines and cosines of hour, weekday, month … as covariates
    skip: Skip = "season"  # must stay "season": a step is drawn around the step and the season before

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.head not in HEADS:
            raise OptionError(f"head must be one of {', '.join(HEADS)}, got {self.head!r}", field="head")
        if self.cell not in ("lstm", "gru"):
            raise OptionError(f"cell must be lstm or gru, got {self.cell!r}", field="cell")
        if self.skip != "season" or self.patch not in (None, 1):
            raise OptionError(
                "deepar draws step by step: skip must be 'season' and patch 1; lstm and gru have these options",
                field="skip" if self.skip != "season" else "patch",
            )
        if not isinstance(self.samples, int) or isinstance(self.samples, bool) or self.samples < 10:
            raise OptionError(f"samples must be a whole number of at least 10, got {self.samples!r}", field="samples")
        if self.lags is not None:
            lags = tuple(self.lags)
            if not lags or not all(isinstance(lag, int) and not isinstance(lag, bool) and lag > 0 for lag in lags):
                raise OptionError(f"lags must be positive whole numbers, got {self.lags!r}", field="lags")
            object.__setattr__(self, "lags", lags)  # JSON has no tuples

    @classmethod
    def tiny(cls) -> Self:
        return cls(context=24, hidden=8, samples=100, dropout=0.0, lags=(1, 2))

    @classmethod
    def predictor_class(cls) -> type[WindowPredictor]:
        return DeepARPredictor

    def default_train(self) -> TrainConfig:
        return TrainConfig(
            max_epochs=15,
            steps_per_epoch=60,
            batch_size=64,
            learning_rate=5e-3,
            patience=6,
            schedule="one_cycle",
            average_decay=0.98,
            threads=1,
        )

    def default_context(self, *, season: int, horizon: int) -> int:
        """The longest lag, and a stretch as long as the horizon or three seasons to get into swing."""
        return max(*self._lags(season), season) + max(3 * season if season > 1 else 16, min(horizon, 3 * season), 8)

    def shape(self, *, season: int, horizon: int, inputs: Inputs | None = None, channels: int = 0) -> NetworkShape:
        shape = super().shape(season=season, horizon=horizon, inputs=inputs, channels=channels)
        lags = tuple(lag for lag in self._lags(season) if lag < shape.context)
        if shape.season >= shape.context:
            shape = replace(shape, season=1)
        return replace(shape, patch=1, lags=lags)

    def measured_spread(self, feed: Feed[WindowNetwork]) -> FloatArray:
        """One factor for all levels, so that futures stretch as a whole; 1 for the median."""
        each = conformal_spread(feed, batch_size=PATHS_AT_ONCE // CHEAP_PATHS, most=MOST_ASKED)
        middle = LEVELS.index(0.5)
        spread = np.full(len(LEVELS), np.exp(np.log(np.delete(each, middle)).mean()))
        spread[middle] = 1.0
        return spread

    def _lags(self, season: int) -> tuple[int, ...]:
        return default_lags(season) if self.lags is None else self.lags

    def build_core(self, width: int, shape: NetworkShape) -> nn.Module:
        raise NotImplementedError("deepar is one recurrence, see make_network")

    def make_network(self, shape: NetworkShape) -> Any:
        return AutoregressiveNetwork(shape=shape, cell=self.cell, layers=self.layers)


class DeepARPredictor(WindowPredictor):
    """A trained recurrence; its quantiles are those of drawn futures."""

    recipe: DeepAR
    network: Any

    def predict(
        self,
        panel: Panel,
        *,
        horizon: int | None = None,
        quantile_levels: Sequence[float] = DEFAULT_QUANTILE_LEVELS,
        future: FloatArray | None = None,
    ) -> Forecast:
        """As `Predictor.predict`; a level beyond what `samples` futures can show is that of the outermost ones."""
        steps = self.check_request(panel, horizon, future)
        levels = check_quantile_levels(quantile_levels)
        quantiles = np.zeros((len(panel), steps, len(levels)))
        for start, paths in self._draw(panel, count=self.recipe.samples, steps=steps, seed=self.facts.seed, future=future):
            found = np.quantile(paths, levels, axis=1)  # (Q, B, H)
            quantiles[start : start + len(paths)] = np.moveaxis(found, 0, -1)
        return Forecast(
            series_ids=panel.series_ids,
            timestamps=future_timestamps(panel, steps),
            quantile_levels=levels,
            quantiles=np.maximum.accumulate(quantiles, axis=-1),
            tz=panel.tz,
            zones=panel.zones,
        )

    def sample_paths(
        self, panel: Panel, *, count: int = 100, horizon: int | None = None, seed: int = 0, future: FloatArray | None = None
    ) -> FloatArray:
        """`count` possible futures of each series, (S, count, H), in units of the target."""
        steps = self.check_request(panel, horizon, future)
        if not isinstance(count, int) or isinstance(count, bool) or count < 1:
            raise OptionError(f"count must be a positive whole number, got {count!r}", field="count")
        parts = [paths for _, paths in self._draw(panel, count=count, steps=steps, seed=seed, future=future)]
        return np.concatenate(parts) if parts else np.zeros((0, count, steps))

    def _draw(
        self, panel: Panel, *, count: int, steps: int, seed: int, future: FloatArray | None
    ) -> Iterator[tuple[int, FloatArray]]:
        """(number of the first series, its and the next ones' futures (B, count, steps))."""
        start, size = 0, max(1, PATHS_AT_ONCE // count)
        with torch.inference_mode():
            for batch in self.batches(panel, steps, future, batch_size=size):
                ids = panel.series_ids[start : start + len(batch)]
                uniforms = self._uniforms(ids, count=count, seed=seed)
                yield start, self._stretched(self.network.paths(batch, uniforms, steps).numpy())
                start += len(batch)

    def _stretched(self, paths: FloatArray) -> FloatArray:
        """(B, N, steps) with their distance from the middle future of each step as the held-out windows want it."""
        if self.spread[0] == 1.0:  # also of counts, which stay whole
            return paths
        middle = np.median(paths, axis=1, keepdims=True)
        stretched: FloatArray = middle + self.spread[0] * (paths - middle)
        return stretched

    def _uniforms(self, series_ids: Sequence[str], *, count: int, seed: int) -> tuple[Tensor, Tensor]:
        """Two stacks (B, count, H) of numbers in (0, 1), in even layers at each step; by the id of a series alone."""
        horizon = self.facts.horizon  # a shorter forecast is the beginning of a longer one
        drawn = np.empty((2, len(series_ids), count, horizon))
        for row, series_id in enumerate(series_ids):
            rng = np.random.default_rng([seed, zlib.crc32(series_id.encode())])
            layers = rng.random((2, horizon, count)).argsort(-1)
            drawn[:, row] = np.swapaxes((layers + rng.random((2, horizon, count))) / count, 1, 2)
        clipped = np.clip(drawn, 1e-12, 1 - 1e-12)
        return torch.from_numpy(clipped[0]), torch.from_numpy(clipped[1])
