"""Reference -> a model in memory, warm and of the version the store means now. What request threads share.

A background thread looks all references up again every few seconds, loads and warms a new version beside the old one,
then swaps; when that fails the old one stays and the log says why. The default model is a forecaster and never dropped;
a store of detectors alone is served without one.
"""

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from service.errors import Problem
from service.model_names import with_hint
from service.model_store import ModelStore, Reference, StoredModel, Task
from tsforecast import __version__
from tsforecast.errors import ArtifactError, ForecastError, ModelError, UnknownModel
from tsforecast.flow import FittedFlow
from tsforecast.forecast import Forecast
from tsforecast.models.base import Facts, Forecaster
from tsforecast.models.fitted_detector import FittedDetector
from tsforecast.models.registry import available_models, build_forecaster, model_class
from tsforecast.panel import Panel

log = logging.getLogger("service.models")
_OTHER_TASK = {
    "anomaly": "{name!r} detects anomalies and makes no forecasts; send its series to POST /v1/anomalies/score",
    "forecast": "{name!r} makes forecasts and detects no anomalies; send its series to POST /v1/forecast, or name a detector",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class ServedModel:
    """A model that can answer at once: a stored flow or detector, or a recipe of a forecaster that needs no training."""

    name: str
    version: str  # of the store; of this package for a recipe that needs no training
    architecture: str
    trained_until: str | None  # None: nothing was trained
    flow: FittedFlow | None = None
    recipe: Forecaster | None = None
    detector: FittedDetector | None = None

    @property
    def task(self) -> Task:
        return "forecast" if self.detector is None else "anomaly"

    @property
    def facts(self) -> Facts | None:
        """What the fit has seen; None without training."""
        return self.flow.facts if self.flow else None

    def predict(self, panel: Panel, *, horizon: int, quantile_levels: Sequence[float]) -> Forecast:
        if self.flow is not None:
            return self.flow.predict(panel, horizon=horizon, quantile_levels=quantile_levels)
        assert self.recipe is not None
        return self.recipe.fit(panel, horizon=horizon).predict(panel, horizon=horizon, quantile_levels=quantile_levels)


@dataclass(kw_only=True, eq=False)
class LoadedModels:
    """The models in memory, at most `capacity` stored ones and the default."""

    store: ModelStore
    warm: Callable[[FittedFlow | FittedDetector], None]  # asks a fresh model once, so that the first caller does not wait
    default: str | None = None  # None = the only stored forecaster
    capacity: int = 4
    refresh_seconds: float = 30.0
    _models: "OrderedDict[str, ServedModel]" = field(default_factory=OrderedDict)  # reference -> model, latest used last
    _default: ServedModel | None = None
    _reason: str = "the default model is being loaded"  # why there is no default
    _nothing_to_load: bool = False  # whether that is because there is none, rather than because it cannot be had
    _ready: bool = False  # whether there was once nothing to wait for; it stays so
    _lock: threading.Lock = field(default_factory=threading.Lock)  # of the five above; held for moments
    _loading: threading.Lock = field(default_factory=threading.Lock)  # one load at a time
    _failures: dict[str, str] = field(default_factory=dict)  # what failed -> why, as last logged
    _stopped: threading.Event = field(default_factory=threading.Event)

    def start(self) -> None:
        """Load the default model and keep all models up to date, in a thread."""
        threading.Thread(target=self._keep_fresh, name="models", daemon=True).start()

    def stop(self) -> None:
        self._stopped.set()

    @property
    def not_ready(self) -> str | None:
        """Why the default model cannot answer; None when it can, and where only detectors are stored, which need none."""
        with self._lock:
            return None if self._ready else self._reason

    @property
    def default_model(self) -> ServedModel | None:
        """What answers forecasts that name no model; None while it is not ready, or where only detectors are stored."""
        with self._lock:
            return self._default

    def get(self, reference: str | None, task: Task = "forecast") -> ServedModel:
        """The model `reference` means, loaded if need be; None = the default.

        Raises:
            UnknownModel, TrackingError, ArtifactError: there is none, or it cannot be had.
            ModelError: it is of another task.
            Problem: 503, the default model is not loaded yet.
        """
        try:
            found = self._get(reference)
        except UnknownModel as error:
            if reference is None:
                raise
            raise with_hint(error, reference, self.store, task) from error
        if found.task != task:
            raise ModelError(_OTHER_TASK[found.task].format(name=found.name), field="model")
        return found

    def _get(self, reference: str | None) -> ServedModel:
        with self._lock:
            if reference is None:
                if self._default is None and self._ready and self._nothing_to_load:
                    raise UnknownModel(f"{self._reason}; name a model", field="model")
                if self._default is None:
                    detail = f"{self._reason}; name a model, or try again later"
                    raise Problem(503, "not-ready", detail, headers={"Retry-After": "5"})
                return self._default
            if reference in self._models:
                self._models.move_to_end(reference)
                return self._models[reference]
        with self._loading:
            model = self._find(reference)  # found in memory if another thread has loaded it while this one waited
            with self._lock:
                self._models[reference] = model
                while len(self._models) > self.capacity:
                    self._models.popitem(last=False)
            return model

    def refresh(self) -> None:
        """Look every reference up again and swap in what has changed; what cannot be had stays as it is."""
        with self._loading:
            self._refresh_default()
            for reference in list(self._models):
                self._refresh_one(reference)

    def _keep_fresh(self) -> None:
        while not self._stopped.is_set():
            try:
                self.refresh()
            except Exception:
                log.exception("looking for new models failed; the loaded ones stay, next look in %g s", self.refresh_seconds)
            self._stopped.wait(self.refresh_seconds)

    def _refresh_default(self) -> None:
        try:
            reference = self.default or self._only_forecaster()
            if reference is None:
                self._serve_detectors_alone()
                return
            fresh = self._newer(reference, self._default, forecaster=True)
        except Exception as error:  # whatever a store or a model may raise: the old model stays
            self._say_default_failed(error)
            return
        if fresh is not None:
            with self._lock:
                self._default, self._ready = fresh, True
            log.info("the default model is %s version %s", fresh.name, fresh.version)

    def _say_default_failed(self, error: Exception) -> None:
        if self._default is not None:
            self._log_failure(f"the default model stays at version {self._default.version}", error)
            return
        # Problems of the store may hold addresses and paths; those of the caller's wording do not.
        reason = str(error) if isinstance(error, UnknownModel) else "the default model cannot be loaded; the log says why"
        self._log_failure("the default model cannot be loaded", error)
        with self._lock:
            self._reason, self._nothing_to_load = reason, isinstance(error, UnknownModel)

    def _serve_detectors_alone(self) -> None:
        """Be ready without a default: requests about anomalies name their detector."""
        reason = "only detectors are stored, and they make no forecasts"
        if self._default is not None:
            self._say_default_failed(UnknownModel(reason))
            return
        with self._lock:
            new, self._ready, self._reason, self._nothing_to_load = not self._ready, True, reason, True
        if new:
            log.info("%s: there is no default model", reason)

    def _only_forecaster(self) -> str | None:
        """The name of the only stored forecaster; None where all that is stored are detectors.

        Raises:
            UnknownModel: several are stored, or nothing is that is not damaged.
        """
        newest = {name: self._newest(name) for name in self.store.names()}
        names = [name for name, stored in newest.items() if stored is not None and stored.task == "forecast"]
        if len(names) == 1:
            return names[0]
        if names:
            raise UnknownModel(f"TSF_DEFAULT_MODEL has to say which model is the default: {', '.join(names[:20])}")
        if any(newest.values()):
            return None
        if newest:
            raise UnknownModel(f"all stored models are damaged: {', '.join(list(newest)[:20])}; GET /v1/models says how")
        raise UnknownModel(
            f"no model is stored in {self.store.where()}; train one with `tsforecast run RECIPE`, "
            "or set TSF_DEFAULT_MODEL=seasonal_naive to serve without one"
        )

    def _newest(self, name: str) -> StoredModel | None:
        """The newest version; None where it is damaged: that holds up no other model."""
        try:
            return next(iter(self.store.versions(name)), None)
        except ArtifactError as error:
            self._log_failure(f"model {name!r} is left out", error)
            return None

    def _refresh_one(self, reference: str) -> None:
        old = self._models.get(reference)
        try:
            fresh = self._newer(reference, old)
        except UnknownModel as error:
            log.warning("model %r is gone: %s", reference, error)
            with self._lock:
                self._models.pop(reference, None)
            return
        except Exception as error:  # as above
            self._log_failure(f"model {reference!r} stays at version {old.version if old else '-'}", error)
            return
        if fresh is not None:
            with self._lock:
                if reference in self._models:  # it may have been dropped meanwhile
                    self._models[reference] = fresh
            log.info("model %r is now version %s", reference, fresh.version)

    def _newer(self, reference: str, current: ServedModel | None, *, forecaster: bool = False) -> ServedModel | None:
        """What `reference` means now, warm; None if that is `current`.

        Raises:
            UnknownModel: there is none, or it had to be a forecaster and is none.
        """
        stored = self._resolve(reference)
        if forecaster and stored is not None and stored.task != "forecast":
            raise UnknownModel(
                f"TSF_DEFAULT_MODEL is {reference!r}, which detects anomalies and makes no forecasts; name a forecaster, "
                "or leave it unset: requests about anomalies name their detector"
            )
        if current is not None and stored is None and current.recipe is not None:
            return None  # still no stored model, still the same recipe
        if current is not None and stored is not None and (stored.name, stored.version) == (current.name, current.version):
            return None
        return self._find(reference, stored)

    def _resolve(self, reference: str) -> StoredModel | None:
        """The stored version; None if it is the name of an architecture that needs no training and is not stored."""
        try:
            return self.store.resolve(reference)
        except UnknownModel as error:
            wanted = Reference.parse(reference)
            if wanted.name in available_models("anomaly"):
                message = f"{error}; {wanted.name!r} is a kind of detector: POST /v1/anomalies fits one and judges in one call"
                raise UnknownModel(message, field="model") from error
            if wanted.name not in available_models():
                raise
            if model_class(wanted.name).about.needs_training:
                raise UnknownModel(
                    f"{error}; {wanted.name!r} is an architecture that has to be trained first", field="model"
                ) from error
            if wanted.alias or wanted.version:
                raise
            return None

    def _find(self, reference: str, stored: StoredModel | None = None) -> ServedModel:
        stored = stored or self._resolve(reference)
        if stored is None:
            recipe = build_forecaster(reference)
            return ServedModel(name=reference, version=__version__, architecture=reference, trained_until=None, recipe=recipe)
        for model in self._in_memory():  # the same version under another reference
            if model.recipe is None and (model.name, model.version) == (stored.name, stored.version):
                return model
        loaded = self.store.load(stored)
        self.warm(loaded)
        return ServedModel(
            name=stored.name,
            version=stored.version,
            architecture=loaded.recipe.name,
            trained_until=loaded.facts.trained_until,
            flow=None if isinstance(loaded, FittedDetector) else loaded,
            detector=loaded if isinstance(loaded, FittedDetector) else None,
        )

    def _in_memory(self) -> list[ServedModel]:
        with self._lock:
            return [*self._models.values(), *([self._default] if self._default else [])]

    def _log_failure(self, what: str, error: Exception) -> None:
        """Log why; the traceback of what was not raised on purpose only once, not at every look."""
        new = self._failures.get(what) != str(error)
        self._failures[what] = str(error)
        log.error("%s: %s", what, error, exc_info=error if new and not isinstance(error, ForecastError) else None)
