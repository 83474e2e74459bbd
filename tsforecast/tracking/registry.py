"""Registered models: model folder -> version, reference -> version, version -> trained flow or detector."""

import json
import math
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from tsforecast.errors import ArtifactError, OptionError, UnknownModel
from tsforecast.flow import FittedFlow, load_model
from tsforecast.models.fitted_detector import FittedDetector, load_detector
from tsforecast.tracking.store import Store

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion as StoredVersion

CHAMPION, CHALLENGER, PREVIOUS = "champion", "challenger", "previous"


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelVersion:
    """A trained model in the registry."""

    name: str  # of the registered model, usually one per panel
    version: int  # from 1
    aliases: tuple[str, ...]  # "champion" | "challenger" | "previous" | yours
    run_id: str
    model: str  # architecture, as in `available_models()`
    horizon: int  # steps
    freq: str | int
    season: int  # steps
    trained_until: str  # last timestamp seen, ISO 8601, or the last integer step
    created: str  # ISO 8601, UTC
    scores: dict[str, float] = field(default_factory=dict)  # of its backtest, by metric; empty = not backtested
    backtest: str = ""  # how: folds, horizon and quantile levels
    fingerprint: str = ""  # of the panel it was trained and backtested on
    baseline: dict[str, float] = field(default_factory=dict)  # seasonal naive's scores when it was promoted
    parent: str = ""  # name/version, or path, of the model whose weights it was tuned from; "" = none
    task: str = "forecast"  # | "anomaly": a detector, which has no horizon (0)

    @property
    def reference(self) -> str:
        """The name that `resolve` takes: name/version."""
        return f"{self.name}/{self.version}"


class Recorded(Protocol):
    """What registering reads of a `Run`."""

    run_id: str
    experiment_id: str
    tags: dict[str, str]


def register(store: Store, folder: Path, *, flow: FittedFlow, name: str, run: Recorded) -> ModelVersion:
    """Store the model in `folder` beside its run and make it the newest version of `name`."""
    facts = flow.facts
    tags = {
        "model": flow.recipe.name,
        "horizon": str(facts.horizon),
        "freq": str(facts.freq),
        "season": str(facts.season),
        "trained_until": facts.trained_until,
    }
    summary = f"{flow.recipe.name}, {facts.horizon} steps of {facts.freq!r}, trained until {facts.trained_until}"
    return _register(store, folder, name=name, run=run, tags=tags, summary=summary)


def register_detector(store: Store, folder: Path, *, detector: FittedDetector, name: str, run: Recorded) -> ModelVersion:
    """As `register`, for a detector."""
    facts = detector.facts
    tags = {
        "task": "anomaly",
        "model": detector.recipe.name,
        "channels": ", ".join(facts.channels)[:5000],
        "freq": str(facts.freq),
        "season": str(facts.season),
        "trained_until": facts.trained_until,
    }
    summary = f"{detector.recipe.name}, a detector for steps of {facts.freq!r}, trained until {facts.trained_until}"
    return _register(store, folder, name=name, run=run, tags=tags, summary=summary)


def _register(store: Store, folder: Path, *, name: str, run: Recorded, tags: dict[str, str], summary: str) -> ModelVersion:
    from mlflow.entities import LoggedModelOutput

    tags = tags | {key: run.tags[key] for key in ("fingerprint", "scores", "backtest", "parent_version") if key in run.tags}
    client = store.client
    with store.asking(f"register a version of {name!r}"):
        logged = client.create_logged_model(run.experiment_id, name=name, source_run_id=run.run_id, tags=tags)
        client.log_model_artifacts(logged.model_id, str(folder))
        client.finalize_logged_model(logged.model_id, "READY")
        client.log_outputs(run.run_id, [LoggedModelOutput(logged.model_id, 0)])
        _ensure_name(store, name)
        # Not source="models:/<id>": a database store would look the id up in MLflow's global store, not in its own.
        made = client.create_model_version(
            name,
            source=logged.artifact_location,
            run_id=run.run_id,
            model_id=logged.model_id,
            tags=tags,
            description=summary,
        )
        client.set_logged_model_tags(
            logged.model_id, {"mlflow.modelVersions": json.dumps([{"name": name, "version": str(made.version)}])}
        )
    return _as_version(made, {})


def set_scores(store: Store, reference: str, tags: Mapping[str, str]) -> None:
    """Copy the scores among a run's `tags` to the version `reference` ("name/3")."""
    name, _, version = reference.partition("/")
    with store.asking(f"note the scores of {reference}"):
        for key in ("scores", "backtest"):
            store.client.set_model_version_tag(name, version, key, tags[key])


def names(store: Store) -> list[str]:
    """Names of all registered models, sorted."""
    with store.asking("list the models"):
        return sorted(model.name for model in pages(store.client.search_registered_models))


def versions(store: Store, name: str) -> list[ModelVersion]:
    """Versions of `name`, newest first.

    Raises:
        UnknownModel: no registered model of that name.
    """
    aliases = aliases_of(store, name)
    with store.asking(f"list the versions of {name!r}"):
        found = pages(store.client.search_model_versions, filter_string=f"name='{name}'")
    return sorted((_as_version(one, aliases) for one in found), key=lambda version: -version.version)


def resolve(store: Store, reference: str) -> ModelVersion:
    """The version that "name" (its champion), "name@alias" or "name/3" means.

    Raises:
        UnknownModel: no such model, alias or version; the message names those there are.
    """
    from mlflow.exceptions import MlflowException

    name, at, alias = reference.partition("@")
    name, slash, number = name.partition("/")
    aliases = aliases_of(store, name)
    wanted = number if slash else str(aliases.get(alias if at else CHAMPION, ""))
    if wanted.isdecimal() and wanted == str(int(wanted)) and not (slash and at):
        with store.asking(f"look up {reference!r}"):
            try:
                return _as_version(store.client.get_model_version(name, wanted), aliases)
            except MlflowException as error:
                if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                    raise
    known = [one.reference for one in versions(store, name)] + [f"{name}@{alias}" for alias in aliases]
    hint = "" if slash or at else ": it has no champion; promote a version or name one"
    raise UnknownModel(f"no model {reference!r}{hint}; there are {', '.join(known) or 'no versions of it'}", field="model")


def load(store: Store, version: ModelVersion) -> FittedFlow:
    """Read the model of `version`, downloading it where it is not on this machine.

    Raises:
        ArtifactError: its files are gone or damaged.
        OptionError: it is a detector.
    """
    from tsforecast.tracking.pyfunc import FLOW_FOLDER

    if version.task == "anomaly":
        raise OptionError(f"{version.reference} is a detector and makes no forecasts; load it with load_detector", field="model")
    with _files(store, version, FLOW_FOLDER) as folder:
        return load_model(folder)


def load_trained_detector(store: Store, version: ModelVersion) -> FittedDetector:
    """As `load`, for a version that is a detector."""
    from tsforecast.tracking.detector_pyfunc import DETECTOR_FOLDER

    if version.task != "anomaly":
        raise OptionError(f"{version.reference} forecasts and detects nothing; load it with load", field="model")
    with _files(store, version, DETECTOR_FOLDER) as folder:
        return load_detector(folder)


@contextmanager
def _files(store: Store, version: ModelVersion, inside: str) -> Iterator[str]:
    """The folder `inside` the artifact of a version, on this machine for as long as the block runs."""
    import mlflow.artifacts
    from mlflow.exceptions import MlflowException

    with store.asking(f"find the files of {version.reference}"):
        source = store.client.get_model_version_download_uri(version.name, str(version.version))
    with tempfile.TemporaryDirectory() as folder:
        here = source.startswith("file:")  # then it is read where it lies
        try:
            local = mlflow.artifacts.download_artifacts(
                artifact_uri=f"{source.rstrip('/')}/{inside}", dst_path=None if here else folder, tracking_uri=store.uri
            )
        except (MlflowException, OSError) as error:
            raise ArtifactError(
                f"the files of {version.reference} cannot be read from {source}: {error}; "
                "put them back where they were, or train again"
            ) from error
        yield local


def set_alias(store: Store, name: str, alias: str, version: int) -> ModelVersion:
    """Let `alias` name that version; an alias names one version at a time."""
    reference = resolve(store, f"{name}/{version}").reference
    with store.asking(f"set alias {alias!r} of {name!r}"):
        store.client.set_registered_model_alias(name, alias, str(version))
    return resolve(store, reference)


def drop_alias(store: Store, name: str, alias: str) -> None:
    """Let `alias` name nothing."""
    with store.asking(f"drop alias {alias!r} of {name!r}"):
        store.client.delete_registered_model_alias(name, alias)


# ---------------------------------------------------------------- MLflow's objects


def _ensure_name(store: Store, name: str) -> None:
    from mlflow.exceptions import MlflowException

    try:
        store.client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def note(store: Store, version: ModelVersion, key: str, text: str) -> None:
    """Set a tag of the version."""
    with store.asking(f"note {key} of {version.reference}"):
        store.client.set_model_version_tag(version.name, str(version.version), key, text)


def aliases_of(store: Store, name: str) -> dict[str, int]:
    """Alias -> version of a registered model."""
    from mlflow.exceptions import MlflowException

    with store.asking(f"look up {name!r}"):
        try:
            found = store.client.get_registered_model(name)
        except MlflowException as error:
            if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                raise
            found = None
    if found is None:
        there = ", ".join(names(store)) or "none yet"
        raise UnknownModel(f"no registered model {name!r}; there are: {there}", field="model")
    return {alias: int(version) for alias, version in found.aliases.items()}


def _as_version(stored: "StoredVersion", aliases: Mapping[str, int]) -> ModelVersion:
    """A version registered by something else than this library has no such tags: horizon 0, model ""."""
    tags, version = stored.tags, int(stored.version)
    freq = tags.get("freq", "")
    scores = json.loads(tags.get("scores", "{}"))
    return ModelVersion(
        name=stored.name,
        version=version,
        aliases=tuple(sorted(alias for alias, of in aliases.items() if of == version)),
        run_id=stored.run_id or "",
        model=tags.get("model", ""),
        horizon=int(tags.get("horizon", 0)),
        freq=int(freq) if freq.isdecimal() else freq,
        season=int(tags.get("season", 0)),
        trained_until=tags.get("trained_until", ""),
        created=datetime.fromtimestamp(stored.creation_timestamp / 1000, UTC).isoformat(timespec="seconds"),
        scores={metric: math.nan if score is None else float(score) for metric, score in scores.items()},
        backtest=tags.get("backtest", ""),
        fingerprint=tags.get("fingerprint", ""),
        baseline=json.loads(tags.get("baseline", "{}")),
        parent=tags.get("parent_version", ""),
        task=tags.get("task", "forecast"),
    )


def pages(search: Any, **arguments: Any) -> list[Any]:
    """All results of a paged MLflow search."""
    page = search(**arguments)
    found = list(page)
    while page.token:
        page = search(page_token=page.token, **arguments)
        found += page
    return found
