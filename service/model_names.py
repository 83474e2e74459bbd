"""A name that no model has -> what to do instead: the nearest name there is, or the route that takes it."""

from service.model_store import ModelStore, Reference, Task
from tsforecast.errors import ArtifactError, ForecastError, UnknownModel, did_you_mean
from tsforecast.models.registry import MODELS, available_models


def with_hint(error: UnknownModel, reference: str, store: ModelStore, task: Task | None = None) -> UnknownModel:
    """The error with the nearest name, stored or of an architecture for `task` (None = any), where `reference` has none."""
    name = _name_in(reference)
    stored = _stored(store)
    if name is None or name in stored or any(name in table for table in MODELS.values()):
        return error  # what is wrong is its version or alias, or it has to be trained: the message says so
    architectures = [one for kind in ([task] if task else MODELS) for one in available_models(kind)]
    return UnknownModel(f"{error}{did_you_mean(name, [*stored, *architectures])}", field=error.field)


def no_kind_of_detector(reference: str, store: ModelStore) -> UnknownModel:
    """What to say where a kind of detector had to be named and `reference` is none."""
    name, kinds = _name_in(reference), available_models("anomaly")
    stored = _stored(store)
    if name in stored:
        try:
            versions = store.versions(name)
        except ArtifactError as error:
            raise UnknownModel(str(error), field="model") from error
        detects = bool(versions) and versions[0].task == "anomaly"
        what = "detector: POST /v1/anomalies/score judges with it" if detects else "forecaster: POST /v1/forecast asks it"
        message = f"{reference!r} is a stored {what}; here a kind of detector is fitted to the series sent: {', '.join(kinds)}"
    else:
        hint = did_you_mean(name, [*kinds, *stored]) if name else ""
        message = f"no model {reference[:80]!r}{hint or ';'} kinds of detectors: {', '.join(kinds)}"
    return UnknownModel(message, field="model")


def _name_in(reference: str) -> str | None:
    try:
        return Reference.parse(reference).name
    except UnknownModel:
        return None


def _stored(store: ModelStore) -> list[str]:
    """Names of the stored models; none where the store does not answer, which is not what the caller has to hear here."""
    try:
        return store.names()
    except ForecastError:
        return []
