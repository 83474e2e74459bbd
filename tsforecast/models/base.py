"""The contract of a model: a Forecaster is a recipe, a Predictor is what fitting it returns.

A stored predictor is a folder: `manifest.json` (what it is, with the checksum of the weights) and
`weights.safetensors` (its arrays). No file in it is executable or a pickle.
"""

import hashlib
import json
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np

from tsforecast.errors import ArtifactError, CovariateError, FrequencyError, HorizonError, OptionError, UnknownModel
from tsforecast.forecast import DEFAULT_QUANTILE_LEVELS, Forecast
from tsforecast.nn.config import TrainConfig
from tsforecast.panel import FloatArray, Panel
from tsforecast.preprocessing.blocks import let_go, pieces

Covariate = Literal["known-future", "past", "static"]
Use = Literal["denoise", "impute", "latent", "generate"]
COVARIATE_NAMES = {  # kind -> where a panel and the facts of a fit have their names
    "known-future": ("covariate_names",),
    "past": ("past_covariate_names",),
    "static": ("static_real_names", "static_category_names"),
}
WORDS = {
    "covariate_names": "covariates",
    "past_covariate_names": "past covariates",
    "static_real_names": "static features",
    "static_category_names": "static categories",
}
MANIFEST, WEIGHTS, FLOW = "manifest.json", "weights.safetensors", "flow.json"
FORMAT = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class About:
    """What a model is, for tables and for the service."""

    family: str  # "baseline" | "recurrent" | "additive" …
    scope: Literal["local", "global"]  # one fit per series | one fit over all series
    source: str  # paper or book
    minimal_history: str  # in words, with units
    covariates: tuple[Covariate, ...] = ()  # kinds it reads; the others of a panel are left out
    needs_training: bool = True  # False: answers from the history alone, at no cost
    transfers: bool = False  # True: `fit(start_from=…)` takes over the weights of a fitted one
    samples: bool = False  # True: its predictor has `sample_paths`
    uses: tuple[Use, ...] = ()  # what a detector can do besides judging


@dataclass(frozen=True, kw_only=True, slots=True)
class Facts:
    """What a fit has seen: stored with the model and said with each answer."""

    horizon: int  # longest horizon that can be asked, steps
    freq: str | int  # of the panel it was fitted on
    season: int  # steps
    trained_until: str  # last timestamp seen, ISO 8601, or the last integer step
    series: int
    observations: int  # rows with a target
    seed: int
    covariate_names: tuple[str, ...] = ()
    tz: str | None = None
    past_covariate_names: tuple[str, ...] = ()
    static_real_names: tuple[str, ...] = ()
    static_category_names: tuple[str, ...] = ()

    @classmethod
    def of(cls, panel: Panel, *, horizon: int, seed: int) -> Self:
        last = panel.last_timestamps().max()
        let_go(panel.timestamps)
        return cls(
            horizon=horizon,
            freq=panel.freq,
            season=panel.season,
            trained_until=str(last) if panel.is_integer_clock else str(np.datetime_as_string(last, unit="s")),
            series=len(panel),
            observations=sum(int(np.isfinite(piece).sum()) for piece in pieces(panel.target)),
            seed=seed,
            covariate_names=panel.covariate_names,
            tz=panel.tz,
            past_covariate_names=panel.past_covariate_names,
            static_real_names=panel.static_real_names,
            static_category_names=panel.static_category_names,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Epoch:
    """One line of a training log.

    A network's `values` have at least "train_loss" and, with validation, "val_loss"; a model fitted per series has
    "series_done" and "series_per_s" instead, and a chunk of series for an epoch.
    """

    number: int  # from 1
    values: Mapping[str, float]  # finite numbers; units are part of the name (…_per_s, …_s)


Callback = Callable[[Epoch], None]


class Predictor(ABC):
    """A fitted model. Immutable, so many request threads may share it."""

    recipe: "Forecaster"
    facts: Facts

    @abstractmethod
    def predict(
        self,
        panel: Panel,
        *,
        horizon: int | None = None,
        quantile_levels: Sequence[float] = DEFAULT_QUANTILE_LEVELS,
        future: FloatArray | None = None,
    ) -> Forecast:
        """Forecast the `horizon` steps after the end of each series of `panel`.

        Args:
            panel: histories; the series need not be those of the fit.
            horizon: steps, at most `facts.horizon`; None = `facts.horizon`.
            quantile_levels: ascending, inside (0, 1); any levels, not only those trained on.
            future: known-future covariates, (S, H, C) in the order of `panel.covariate_names`.

        Raises:
            HorizonError, OptionError, HistoryTooShort, FrequencyError, CovariateError.
        """

    @abstractmethod
    def state(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """(arrays for the safetensors file, JSON values for the manifest) that `from_state` needs."""

    @classmethod
    @abstractmethod
    def from_state(
        cls, recipe: "Forecaster", facts: Facts, arrays: Mapping[str, np.ndarray], values: Mapping[str, Any]
    ) -> "Predictor":
        """The predictor that `state` described."""

    def check_request(self, panel: Panel, horizon: int | None, future: FloatArray | None = None) -> int:
        """The horizon to use, after checking that this model may forecast `panel`."""
        asked = check_horizon(self.facts.horizon if horizon is None else horizon)
        if asked > self.facts.horizon:
            raise HorizonError(
                f"horizon {asked} is longer than the {self.facts.horizon} steps this {self.recipe.name!r} was fitted for; "
                f"ask for at most {self.facts.horizon}, or fit with horizon={asked}",
                field="horizon",
            )
        if panel.freq != self.facts.freq:
            raise FrequencyError(
                f"the model was fitted on steps of {self.facts.freq!r}, these series step by {panel.freq!r}; "
                "resample them or choose a model of that frequency",
                field="freq",
            )
        self._check_covariates(panel, asked, future)
        return asked

    def _check_covariates(self, panel: Panel, steps: int, future: FloatArray | None) -> None:
        read = [name for kind in self.recipe.about.covariates for name in COVARIATE_NAMES[kind]]
        for attribute in read:
            wanted, given = getattr(self.facts, attribute), getattr(panel, attribute)
            if wanted != given:
                raise CovariateError(
                    f"the model was fitted with {WORDS[attribute]} {list(wanted)}, the panel has {list(given)}",
                    field="covariates",
                )
        names = self.facts.covariate_names
        if "known-future" not in self.recipe.about.covariates or not names:
            return
        if future is None:
            raise CovariateError(f"the model needs the future of covariates {list(names)}; pass future=", field="future")
        if future.shape != (len(panel), steps, len(names)):
            raise CovariateError(
                f"future must have shape (S, H, C) = {(len(panel), steps, len(names))}, got {future.shape}", field="future"
            )

    def sample_paths(
        self, panel: Panel, *, count: int = 100, horizon: int | None = None, seed: int = 0, future: FloatArray | None = None
    ) -> FloatArray:
        """`count` possible futures of each series, (S, count, H), in units of the target.

        Raises:
            OptionError: this model knows the quantiles of each step, not how steps go together.
        """
        from tsforecast.models.registry import available_models, model_class

        able = [name for name in available_models() if model_class(name).about.samples]
        raise OptionError(
            f"model {self.recipe.name!r} has quantiles but no sample paths; models with paths: {', '.join(able)}", field="model"
        )

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Write the predictor into `folder` (made if missing) as JSON + safetensors; return the folder."""
        target = Path(folder)
        (target / FLOW).unlink(missing_ok=True)  # of a flow stored here before: its transforms are not this model's
        arrays, values = self.state()
        manifest = {
            "kind": "predictor",
            "model": self.recipe.name,
            "options": asdict(self.recipe),  # type: ignore[call-overload]  # every recipe is a dataclass
            "facts": asdict(self.facts),
            "values": values,
        }
        write_stored(target, arrays, manifest)
        return target


class Forecaster(ABC):
    """A recipe for a model: a frozen dataclass of options, no data."""

    name: ClassVar[str]  # as in the registry
    about: ClassVar[About]

    @classmethod
    @abstractmethod
    def tiny(cls) -> Self:
        """A version that fits in well under a second on a CPU, for tests and dry runs."""

    @abstractmethod
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
    ) -> Predictor:
        """Learn from `panel`; the same panel, options and seed give the same predictor.

        Args:
            panel: histories to learn from; left as it is.
            horizon: steps the predictor has to reach.
            seed: for all chance in the fit; no global random state is read or changed.
            train: how to train (epochs, learning rate, device, workers …); models without training ignore it.
            callbacks: called after each epoch, in order.
            start_from: a fitted predictor of the same model and sizes, whose weights are taken over and tuned on.
            freeze: epochs in which only the head is trained, before all layers are, with a smaller learning rate;
                None = a quarter of them.

        Raises:
            HorizonError, HistoryTooShort; OptionError: among others, `start_from` where the model has nothing to take over.
        """

    @classmethod
    @abstractmethod
    def predictor_class(cls) -> type[Predictor]:
        """The class of what `fit` returns."""


def refuse_start_from(recipe: Forecaster, start_from: Predictor | None) -> None:
    """Say that `recipe` has no weights that could be taken over, if it is asked to.

    Raises:
        OptionError: `start_from` is given.
    """
    if start_from is None:
        return
    from tsforecast.models.registry import available_models, model_class

    able = [name for name in available_models() if model_class(name).about.transfers]
    raise OptionError(
        f"model {recipe.name!r} is fitted afresh each time and cannot start from another; models that can: {', '.join(able)}",
        field="start_from",
    )


def check_horizon(horizon: int) -> int:
    """`horizon` if it is a positive int.

    Raises:
        HorizonError: it is not.
    """
    if not isinstance(horizon, int | np.integer) or isinstance(horizon, bool) or horizon < 1:
        raise HorizonError(f"horizon must be a positive number of steps, got {horizon!r}", field="horizon")
    return int(horizon)


def write_stored(target: Path, arrays: Mapping[str, np.ndarray], manifest: Mapping[str, Any]) -> None:
    """Write what `read_stored` reads into the folder `target`, made if missing."""
    from safetensors.numpy import save as to_bytes

    target.mkdir(parents=True, exist_ok=True)
    weights = to_bytes({name: np.ascontiguousarray(array) for name, array in arrays.items()})
    (target / WEIGHTS).write_bytes(weights)
    whole = {"format": FORMAT, **manifest, "sha256": {WEIGHTS: hashlib.sha256(weights).hexdigest()}}
    (target / MANIFEST).write_text(json.dumps(whole, indent=1, sort_keys=True, allow_nan=False) + "\n")


def read_stored(source: Path, what: str, *, how: str) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """(manifest, arrays) of a stored model; `what` it is, and `how` one is stored, for the messages.

    Raises:
        ArtifactError: a file is missing, damaged, or of a newer format.
    """
    from safetensors.numpy import load as from_bytes

    try:
        manifest = json.loads((source / MANIFEST).read_text())
        weights = (source / WEIGHTS).read_bytes()
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{source} is not a stored {what}: {error}; save one with {how}") from error
    if not isinstance(manifest, dict) or not isinstance(manifest.get("format"), int):
        raise ArtifactError(f"{source / MANIFEST} is damaged: it says no format; copy the {what} again")
    if manifest["format"] > FORMAT:
        raise ArtifactError(f"{source} has format {manifest['format']}, this version reads up to {FORMAT}; upgrade tsforecast")
    with damage_told(source, what):
        if hashlib.sha256(weights).hexdigest() != manifest["sha256"][WEIGHTS]:
            raise ArtifactError(f"{source / WEIGHTS} does not match its checksum in {MANIFEST}; copy the {what} again")
        return manifest, from_bytes(weights)


@contextmanager
def damage_told(source: Path, what: str) -> Iterator[None]:
    """Say of whatever goes wrong with a stored model that its files are to blame.

    Raises:
        ArtifactError: something went wrong.
    """
    from safetensors import SafetensorError

    try:
        yield
    except UnknownModel as error:
        raise ArtifactError(f"{source} holds a model this version does not have: {error}; upgrade tsforecast") from error
    except (AttributeError, KeyError, OptionError, RuntimeError, SafetensorError, TypeError, ValueError) as error:
        raise ArtifactError(f"{source / MANIFEST} is damaged: {error!r}; copy the {what} again") from error


def load_predictor(folder: str | os.PathLike[str]) -> Predictor:
    """Read what `Predictor.save` wrote, on any machine.

    Raises:
        ArtifactError: a file is missing, damaged, of a newer format, or of a model this version does not have.
    """
    from tsforecast.models.registry import model_class

    source = Path(folder)
    manifest, weights = read_stored(source, "model", how="predictor.save(folder)")
    with damage_told(source, "model"):
        recipe_class = model_class(manifest["model"])
        known = {field.name for field in fields(recipe_class)}  # type: ignore[arg-type]  # every recipe is a dataclass
        options = {k: tuple(v) if isinstance(v, list) else v for k, v in manifest["options"].items() if k in known}
        facts: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in manifest["facts"].items()}
        return recipe_class.predictor_class().from_state(recipe_class(**options), Facts(**facts), weights, manifest["values"])
