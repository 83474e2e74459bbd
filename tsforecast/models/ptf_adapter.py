"""Panel -> windows -> a network of pytorch-forecasting -> quantiles: what its models here have in common.

Theirs is the network alone. Feeding, scaling, training and storing are ours: windows are gathered by index and put into
the dictionary their networks are called with, missing steps are filled and marked by a channel of their own, and what a
network says is a correction of the last seasons of its scaled window, as everywhere in this library. Their words
(`encoder_cont`, `x_reals`, `time_varying_…`) stop here and in the three
model files, the only ones that import the package.
"""

import threading
import warnings
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tsforecast.errors import ArtifactError, OptionError
from tsforecast.forecast import DEFAULT_QUANTILE_LEVELS, Forecast, check_quantile_levels, interpolate_levels
from tsforecast.models.base import Callback, Facts, Forecaster, Predictor, check_horizon, refuse_start_from
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
from tsforecast.models.window_data import Inputs
from tsforecast.models.window_forecaster import default_context
from tsforecast.nn.config import TrainConfig
from tsforecast.nn.effects import LinearEffect, effect_factor
from tsforecast.nn.heads import quantiles_from_raw
from tsforecast.nn.losses import pinball_loss
from tsforecast.nn.scale import Scaling, Space, WindowScale
from tsforecast.nn.skip import SeasonalAttention
from tsforecast.nn.train import TRAINING, train_network
from tsforecast.nn.window_network import FAR, FORGET, LEVELS, WindowBatch
from tsforecast.panel import FloatArray, Panel
from tsforecast.preprocessing.calendar import future_timestamps
from tsforecast.preprocessing.windows import plan_windows

MOST_READ = 168  # steps their network reads by default, unless season or horizon ask for more: their LSTMs take each step
LOOK = 32  # numbers that say of a window how its seasons are to be weighted
PREDICT_BATCH = 512  # windows
START_OF_DISTANCES = -1.5  # raw distance between two levels at first
_BUILDING = threading.Lock()  # the filters of warnings belong to the process

Columns = dict[str, Tensor]  # what their networks are called with, and what ours adds to it


@dataclass(frozen=True, kw_only=True, slots=True)
class PtfShape:
    """What fixes the tensors of a network, besides the options of its recipe."""

    context: int  # steps that are scaled by, and that the skip looks at
    reads: int  # last steps of the context, which their network reads
    horizon: int  # steps
    season: int  # steps of the skip; 1 = the last value
    known: int = 0  # covariates known in the future, with those of the calendar
    effects: int = 0  # how many of them have a linear effect: the first ones
    past: int = 0
    static: int = 0
    categories: tuple[int, ...] = ()  # words of each static category

    @property
    def known_names(self) -> list[str]:
        """Names inside their network: a user's could be words that torch reserves."""
        return [f"known_{i}" for i in range(self.known)]

    @property
    def past_names(self) -> list[str]:
        return [f"past_{i}" for i in range(self.past)]

    @property
    def static_names(self) -> list[str]:
        return [f"static_{i}" for i in range(self.static)]

    @property
    def category_names(self) -> list[str]:
        return [f"category_{i}" for i in range(len(self.categories))]

    def inputs(self, own: Sequence[str]) -> dict[str, Any]:
        """Arguments of their constructors that say which column is what; `own` are the first columns."""
        sizes = {
            name: (words + 1, (words + 1) // 2 + 1) for name, words in zip(self.category_names, self.categories, strict=True)
        }
        return {
            "x_reals": [*own, *self.known_names, *self.past_names, *self.static_names],
            "x_categoricals": self.category_names,
            "static_reals": self.static_names,
            "static_categoricals": self.category_names,
            "embedding_sizes": sizes,
            "embedding_paddings": self.category_names,  # number 0, a category never seen, adds nothing
            "time_varying_categoricals_encoder": [],
            "time_varying_categoricals_decoder": [],
            "output_transformer": AsItIs(),
            "logging_metrics": nn.ModuleList(),
        }


class AsItIs:
    """In the place of their scaling of targets, which is done here."""

    transformation = None

    def __call__(self, out: Mapping[str, Tensor]) -> Tensor:
        return out["prediction"]

    def transform(self, y: Tensor, target_scale: Tensor) -> Tensor:
        return y


@dataclass(frozen=True, kw_only=True)
class PtfForecaster(Forecaster):
    """A recipe around a network of pytorch-forecasting, global over all series."""

    context: int | None = None  # steps looked back; None = chosen from season and horizon
    hidden: int = 32  # width of the network
    dropout: float = 0.1  # share of the hidden numbers left out at each training step
    scaling: Scaling = "robust"  # of each window: "robust" | "standard" | "mean_abs" | "none"
    space: Space = "auto"  # in which windows are seen: "auto" (logarithm, but not with negative values or many zeros) | "linear"
    calibrate: bool = True  # widen or narrow the quantiles to what the held-out windows showed
    calendar: bool = False  # sines and cosines of hour, weekday, month … as covariates

    def __post_init__(self) -> None:
        for name in self.whole_numbers():
            value = getattr(self, name)
            whole = isinstance(value, int) and not isinstance(value, bool) and value >= 1
            if not whole and (name, value) != ("context", None):
                raise OptionError(f"{name} must be a positive whole number, got {value!r}", field=name)
        if not 0 <= self.dropout < 1:
            raise OptionError(f"dropout must lie in [0, 1), got {self.dropout!r}", field="dropout")
        if self.space not in ("auto", "linear"):
            raise OptionError(f"space must be auto or linear, got {self.space!r}", field="space")
        if self.scaling not in ("robust", "standard", "mean_abs", "none"):
            raise OptionError(f"scaling must be robust, standard, mean_abs or none, got {self.scaling!r}", field="scaling")

    @classmethod
    def whole_numbers(cls) -> tuple[str, ...]:
        """Options that must be positive whole numbers."""
        return ("context", "hidden")

    @abstractmethod
    def build_theirs(self, shape: PtfShape) -> Any:
        """The module of pytorch-forecasting, with weights drawn from torch's generator."""

    @classmethod
    def network_class(cls) -> "type[PtfNetwork]":
        return QuantileNetwork

    @classmethod
    def predictor_class(cls) -> "type[PtfPredictor]":
        return PtfPredictor

    def default_train(self) -> TrainConfig:
        """Training options where the caller leaves them open."""
        return TrainConfig(
            max_epochs=12,
            steps_per_epoch=50,
            batch_size=128,
            learning_rate=3e-3,
            patience=5,
            schedule="one_cycle",
            average_decay=0.98,
            threads=1,  # matrices this small gain nothing from a second one, and wait for it where cores are shared
        )

    def read_inputs(self, panel: Panel) -> Inputs:
        """What the model reads of a panel besides the target, and its sizes."""
        inputs, kinds = Inputs.of(panel, calendar=self.calendar), self.about.covariates
        if "known-future" not in kinds:
            inputs = replace(inputs, known=())
        if "past" not in kinds:
            inputs = replace(inputs, past=())
        return inputs if "static" in kinds else replace(inputs, static=(), categories=())

    def shape(self, panel: Panel, *, horizon: int, inputs: Inputs) -> PtfShape:
        """The sizes a fit on `panel` uses."""
        context = self.context or default_context(season=panel.season, horizon=horizon)
        return PtfShape(
            context=context,
            reads=min(context, max(MOST_READ, 2 * panel.season, 2 * horizon)),
            horizon=horizon,
            season=panel.season if 2 * panel.season <= context else 1,
            known=inputs.channels(panel),
            effects=len(inputs.known),
            past=len(inputs.past),
            static=len(inputs.static),
            categories=tuple(len(words) for words in inputs.categories),
        )

    def build_network(self, shape: PtfShape, *, seed: int) -> "PtfNetwork":
        """A fresh network; its weights depend on `seed` alone."""
        with TRAINING, torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            return self.network_class()(self, shape)

    def empty_network(self, shape: PtfShape) -> "PtfNetwork":
        """A network without weights, to be filled: drawing them would disturb a training in another thread."""
        with torch.device("meta"):
            network = self.network_class()(self, shape)
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
    ) -> "PtfPredictor":
        """As `Forecaster.fit`; there is nothing to start from."""
        refuse_start_from(self, start_from)
        inputs = self.read_inputs(panel)
        shape = self.shape(panel, horizon=check_horizon(horizon), inputs=inputs)
        plan = plan_windows(panel, context=shape.context, horizon=horizon, min_context=min(shape.context, 2 * horizon))
        check_trainable(panel, plan)
        config = fill_config(train or TrainConfig(), self.default_train(), plan)
        network = self.build_network(shape, seed=seed)
        feed = Feed(panel=panel, plan=plan, config=config, seed=seed, network=network, inputs=inputs, validation_batch=256)
        feed.begin()
        result = train_network(
            feed.job(training_identity(self, panel, horizon)),
            config=config,
            seed=seed,
            callbacks=[as_epoch(callback) for callback in callbacks],
        )
        network.theirs.to("cpu")
        return self.predictor_class()(
            recipe=self,
            facts=Facts.of(panel, horizon=horizon, seed=seed),
            network=network,
            inputs=inputs,
            spread=conformal_spread(feed, batch_size=PREDICT_BATCH) if self.calibrate else np.ones(len(LEVELS)),
            values=training_values(result, network, plan, config),
        )


class PtfNetwork(nn.Module):
    """Their network behind our scale. `forward` is called with Columns; what it gives back is the model's own matter."""

    def __init__(self, recipe: PtfForecaster, shape: PtfShape) -> None:
        super().__init__()
        self.shape, self.scaling, self.space = shape, recipe.scaling, recipe.space
        with quiet_building():
            self.theirs = recipe.build_theirs(shape)
        self.look = nn.Linear(shape.context, LOOK)
        self.skip = SeasonalAttention(LOOK, context=shape.context, horizon=shape.horizon, season=shape.season)
        if shape.effects:
            self.effect = LinearEffect(shape.effects)

    def begin(self, batch: WindowBatch) -> None:
        """Set the linear effects of covariates to their estimate from windows of the fit."""
        if self.shape.effects:
            ours, scale = self.read(batch)  # the effects are still zero
            self.effect.begin(ours["past"], batch.seen, batch.covariates, effect_factor(scale), season=self.shape.season)

    @abstractmethod
    def loss(self, model: nn.Module, batch: WindowBatch) -> Tensor:
        """Mean loss over the observed steps; `model` is this network, maybe wrapped by the trainer."""

    @abstractmethod
    def answer(self, batch: WindowBatch) -> tuple[Tensor, WindowScale]:
        """(B, H, Q) float64 at `LEVELS`, scaled, and the scale."""

    def call(self, feed: Columns, **options: Any) -> Any:
        """What their network says to `feed`."""
        device = feed["encoder_cont"].device
        if self.theirs.device != device:  # which it keeps beside its weights, and is told of by no one else
            self.theirs.to(device)
        return self.theirs(feed, **options)

    def scale_of(self, batch: WindowBatch) -> WindowScale:
        return WindowScale.of(batch.past, batch.seen, signed=batch.signed, scaling=self.scaling, space=self.space)

    def read(self, batch: WindowBatch) -> tuple[Columns, WindowScale]:
        """How a batch is scaled, in double precision: the part of the Columns that is ours.

        "past" (B, T) scaled without the linear effect of covariates, 0 where not seen; "filled" (B, T) where not seen as
        a season ago, which is something where "there"; "before" (B, T + H) one season before each step; "added" (B, H)
        the linear effect ahead.
        """
        t, scale = self.shape.context, self.scale_of(batch)
        past = scale.apply(batch.past).clamp(-FAR, FAR).to(torch.float32)
        added = past.new_zeros(len(past), self.shape.horizon)
        if batch.covariates is not None and self.shape.effects:
            factor = effect_factor(scale)
            past = past - self.effect(batch.covariates[:, :t], factor)
            added = self.effect(batch.covariates[:, t:], factor)
        past = torch.where(batch.seen, past, 0.0)
        filled, there = fill_by_season(past, batch.seen, season=self.shape.season)
        before = season_before(filled, season=self.shape.season, horizon=self.shape.horizon)
        return {"past": past, "seen": batch.seen, "filled": filled, "there": there, "before": before, "added": added}, scale

    def base(self, ours: Columns) -> Tensor:
        """(B, H) scaled: what a forecast is a correction of, a mean of the last seasons whose weights depend on the window."""
        state = F.gelu(self.look(torch.asinh(ours["filled"])))
        base: Tensor = self.skip(state, ours["past"], ours["seen"]) + ours["added"]
        return base

    def fill_feed(self, ours: Columns, batch: WindowBatch, own: Sequence[Tensor]) -> Columns:
        """`ours` with the inputs of their network, its first columns being `own`, each (B, T + H).

        All windows have the full length: what lies before the start of a series is not seen, like any other gap.
        """
        t, h, windows = self.shape.reads, self.shape.horizon, len(batch)
        reals = [torch.stack(list(own), dim=-1)[:, -t - h :]]  # (B, R + H, own)
        if batch.covariates is not None:
            reals.append(batch.covariates[:, -t - h :])
        if batch.past_covariates is not None:
            reals.append(F.pad(batch.past_covariates[:, -t:], (0, 0, 0, h)))
        if batch.static is not None:
            reals.append(batch.static.unsqueeze(1).expand(-1, t + h, -1))
        words = torch.zeros(windows, 0, dtype=torch.int64, device=batch.past.device)
        if batch.category is not None:
            words = batch.category
            if self.training:
                words = words * (torch.rand(windows, 1, device=words.device) >= FORGET)
        cont, cat = torch.cat(reals, dim=-1), words.unsqueeze(1).expand(-1, t + h, -1)
        return ours | {
            "encoder_cont": cont[:, :t],
            "decoder_cont": cont[:, t:],
            "encoder_cat": cat[:, :t],
            "decoder_cat": cat[:, t:],
            "encoder_lengths": torch.full((windows,), t, device=cont.device),
            "decoder_lengths": torch.full((windows,), h, device=cont.device),
            "target_scale": torch.tensor([0.0, 1.0], device=cont.device).expand(windows, -1),
        }


class QuantileNetwork(PtfNetwork):
    """Their raw numbers as quantiles that cannot cross, around a weighted mean of the last seasons."""

    def __init__(self, recipe: PtfForecaster, shape: PtfShape) -> None:
        super().__init__(recipe, shape)
        self.middle = LEVELS.index(0.5)

    def feed(self, batch: WindowBatch) -> tuple[Columns, WindowScale]:
        """Columns of its own: "value", "seen", "step", "season_ago"."""
        ours, scale = self.read(batch)
        t, h = self.shape.context, self.shape.horizon
        step = torch.arange(-t, h, device=batch.past.device, dtype=torch.float32) / self.shape.reads
        value = F.pad(torch.asinh(ours["filled"]), (0, h))
        own = [value, F.pad(batch.seen.float(), (0, h)), step.expand(len(batch), -1), torch.asinh(ours["before"])]
        return self.fill_feed(ours, batch, own), scale

    def forward(self, feed: Columns) -> Tensor:
        """(B, H, Q) scaled quantiles at `LEVELS`."""
        raw = self.call(feed)["prediction"].float()
        base = self.base(feed)
        start = torch.full((len(LEVELS),), START_OF_DISTANCES, device=raw.device)
        start[self.middle] = 0.0
        quantiles: Tensor = quantiles_from_raw(raw + start, self.middle) + base.unsqueeze(-1)
        return quantiles

    def loss(self, model: nn.Module, batch: WindowBatch) -> Tensor:
        feed, scale = self.feed(batch)
        target = scale.apply(batch.future).clamp(-FAR, FAR).float()
        mask = batch.known & batch.seen.any(1, keepdim=True)
        return pinball_loss(model(feed), target, mask, torch.tensor(LEVELS, device=target.device))

    def answer(self, batch: WindowBatch) -> tuple[Tensor, WindowScale]:
        feed, scale = self.feed(batch)
        return self(feed).double(), scale


class PtfPredictor(Predictor):
    """A trained network. Its weights are never changed after the constructor."""

    recipe: PtfForecaster
    batch_size: ClassVar[int] = PREDICT_BATCH

    def __init__(
        self,
        *,
        recipe: PtfForecaster,
        facts: Facts,
        network: PtfNetwork,
        inputs: Inputs,
        spread: FloatArray,
        values: Mapping[str, Any],
    ) -> None:
        self.recipe, self.facts, self.network, self.inputs = recipe, facts, network.eval(), inputs
        self.spread, self.values = spread, dict(values)
        network.theirs.to("cpu")
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
        """As `Predictor.predict`. A series needs two observations inside the context; missing steps are marked."""
        steps = self.check_request(panel, horizon, future)
        levels = check_quantile_levels(quantile_levels)
        parts = [np.zeros((0, steps, len(LEVELS)))]
        with torch.inference_mode():
            for batch in self.batches(panel, steps, future):
                scaled, scale = self.network.answer(batch)
                moved = torch.from_numpy(spread_quantiles(scaled[:, :steps].numpy(), self.spread))
                parts.append(scale.invert(moved).numpy())
        return Forecast(
            series_ids=panel.series_ids,
            timestamps=future_timestamps(panel, steps),
            quantile_levels=levels,
            quantiles=interpolate_levels(np.concatenate(parts), LEVELS, levels),
            tz=panel.tz,
            zones=panel.zones,
        )

    def batches(self, panel: Panel, steps: int, future: FloatArray | None) -> Iterator[WindowBatch]:
        """The windows at the end of each series; covariates of steps that were not asked count as their mean.

        Raises:
            HistoryTooShort: a series has too few observations in its window; CovariateError: a hole in `future`.
        """
        shape = self.network.shape
        return windows_to_forecast(
            panel, self.inputs, context=shape.context, horizon=shape.horizon, channels=shape.known,
            steps=steps, future=future, size=self.batch_size,
        )  # fmt: skip

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        arrays = {name: value.numpy() for name, value in self.network.state_dict().items()}
        return arrays | {SPREAD: self.spread}, {**self.values, "shape": asdict(self.network.shape), "inputs": asdict(self.inputs)}

    @classmethod
    def from_state(
        cls, recipe: Forecaster, facts: Facts, arrays: Mapping[str, np.ndarray], values: Mapping[str, Any]
    ) -> "PtfPredictor":
        recipe = cast(PtfForecaster, recipe)
        try:
            shape = PtfShape(**values["shape"] | {"categories": tuple(values["shape"]["categories"])})
        except TypeError as error:
            raise ArtifactError(f"the model was stored by another version of this library ({error}); train it again") from error
        network = recipe.empty_network(shape)
        weights = {name: torch.from_numpy(np.array(a)) for name, a in arrays.items() if name != SPREAD}
        try:
            network.load_state_dict(weights)
        except RuntimeError as error:
            raise ArtifactError(f"the stored weights do not fit the stored shape: {error}; copy the model again") from error
        rest = {name: value for name, value in values.items() if name not in ("shape", "inputs")}
        return cls(
            recipe=recipe,
            facts=facts,
            network=network,
            inputs=Inputs.from_json(values["inputs"]),
            spread=np.array(arrays[SPREAD]),
            values=rest,
        )


@contextmanager
def quiet_building() -> Iterator[None]:
    """Their constructors hand modules to `save_hyperparameters`, of which Lightning warns; they are not read from there."""
    with _BUILDING, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Attribute '.*' is an instance of `nn.Module`")
        yield


def start_small(linear: nn.Linear) -> None:
    """Let an output layer say nearly nothing, so that training starts at the skip."""
    with torch.no_grad():
        linear.weight.mul_(0.1)
        linear.bias.zero_()


def fill_by_season(x: Tensor, seen: Tensor, *, season: int) -> tuple[Tensor, Tensor]:
    """(B, T) with each missing step as its place in the season was last seen, else as the step before it, else 0.

    And where there was something to fill with, (B, T).
    """
    windows, steps = x.shape
    pad = -steps % season
    values, there = F.pad(x, (pad, 0)).view(windows, -1, season), F.pad(seen, (pad, 0)).view(windows, -1, season)
    values, there = _carry(values, there)
    return _carry(values.flatten(1)[:, pad:], there.flatten(1)[:, pad:])


def season_before(filled: Tensor, *, season: int, horizon: int) -> Tensor:
    """(B, T) -> (B, T + H): the value one season before each step, ahead those of the last season; 0 in the first season."""
    again = -(-horizon // season)
    ahead = filled[:, -season:].repeat(1, again)[:, :horizon]
    return torch.cat([F.pad(filled[:, :-season], (season, 0)), ahead], dim=1)


def _carry(x: Tensor, there: Tensor) -> tuple[Tensor, Tensor]:
    """Missing entries as the last there was along axis 1, and where there was one."""
    places = torch.arange(1, x.shape[1] + 1, device=x.device).view(-1, *[1] * (x.ndim - 2))
    last = torch.where(there, places, 0).cummax(1).values
    return torch.where(last > 0, x.gather(1, (last - 1).clamp(min=0)), 0.0), last > 0
