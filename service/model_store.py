"""Where stored models lie: a reference such as "demand", "demand@champion" or "demand/3" -> what is stored -> the model.

Two stores: the MLflow registry (`RegistryStore`) and plain folders (`FolderStore`). What is kept in memory, and when it
is replaced, is the matter of `service/loaded_models.py`.
"""

import hashlib
import json
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from tsforecast.errors import ArtifactError, UnknownModel
from tsforecast.flow import FittedFlow, load_model
from tsforecast.models.base import FLOW, MANIFEST
from tsforecast.models.fitted_detector import FittedDetector, is_detector, load_detector

if TYPE_CHECKING:
    from tsforecast.tracking import ModelVersion, Tracker

Task = Literal["forecast", "anomaly"]
REFERENCE = re.compile(
    r"(?P<name>[^/@\x00-\x1f]{1,250})(?:@(?P<alias>[^/@\x00-\x1f]{1,250})|/(?P<version>[^/@\x00-\x1f]{1,64}))?"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Reference:
    """A model as a caller names it."""

    name: str
    alias: str | None = None  # None and no version: the champion, or the only version of a folder
    version: str | None = None

    @classmethod
    def parse(cls, text: str) -> "Reference":
        """The reference written as `text`.

        Raises:
            UnknownModel: it is not of the form name, name@alias or name/version.
        """
        match = REFERENCE.fullmatch(text)
        if match is None:
            raise UnknownModel(f"{text[:80]!r} names no model; write name, name@alias or name/version", field="model")
        return cls(**match.groupdict())


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredModel:
    """One version of one stored model, as its store describes it; None where the store does not know."""

    name: str
    version: str
    task: Task = "forecast"
    aliases: tuple[str, ...] = ()
    architecture: str | None = None  # name in the registry of architectures, e.g. "gru"
    horizon: int | None = None  # longest one, steps; None for a detector
    channels: tuple[str, ...] = ()  # that a detector judges
    freq: str | int | None = None
    season: int | None = None  # steps
    trained_until: str | None = None
    scores: Mapping[str, float] = field(default_factory=dict)  # backtest metric -> mean over the series


class ModelStore(Protocol):
    """What the service asks of a store. Methods are called from threads, never on the event loop."""

    def names(self) -> list[str]:
        """Names of the stored models, sorted."""

    def versions(self, name: str) -> list[StoredModel]:
        """All versions of `name`, newest first. Raises UnknownModel; ArtifactError, fit to be told, when one is damaged."""

    def resolve(self, reference: str) -> StoredModel:
        """The version `reference` means now. Raises UnknownModel; TrackingError when the store does not answer."""

    def load(self, stored: StoredModel) -> FittedFlow | FittedDetector:
        """The model itself. Raises ArtifactError when it is damaged."""

    def where(self) -> str:
        """In words, for messages; no secrets."""


class RegistryStore:
    """Models of an MLflow registry, through `tsforecast.tracking`."""

    def __init__(self, connect: Callable[[], "Tracker"]) -> None:
        self._connect = connect  # called at the first use: the first contact takes seconds
        self._tracker: Tracker | None = None
        self._connecting = threading.Lock()

    @classmethod
    def of(cls, *, tracking_uri: str | None, mlruns: str) -> "RegistryStore":
        """The registry at `tracking_uri`, or the local one in the folder `mlruns`."""

        def connect() -> "Tracker":
            from tsforecast.tracking import open_tracking

            return open_tracking(tracking_uri, folder=mlruns)

        return cls(connect)

    @property
    def tracker(self) -> "Tracker":
        with self._connecting:
            if self._tracker is None:
                self._tracker = self._connect()
            return self._tracker

    def names(self) -> list[str]:
        return self.tracker.names()

    def versions(self, name: str) -> list[StoredModel]:
        return [_from_registry(version) for version in self.tracker.versions(Reference.parse(name).name)]

    def resolve(self, reference: str) -> StoredModel:
        Reference.parse(reference)
        return _from_registry(self.tracker.resolve(reference))

    def load(self, stored: StoredModel) -> FittedFlow | FittedDetector:
        reference = f"{stored.name}/{stored.version}"
        if stored.task == "anomaly":
            return self.tracker.load_detector(reference)[0]
        return self.tracker.load(reference)[0]

    def where(self) -> str:
        return "the MLflow registry"


def _from_registry(version: "ModelVersion") -> StoredModel:
    """What the registry tells by empty words and zeros, it does not know."""
    return StoredModel(
        name=version.name,
        version=str(version.version),
        task="anomaly" if version.task == "anomaly" else "forecast",
        aliases=version.aliases,
        architecture=version.model or None,
        horizon=version.horizon or None,
        freq=version.freq or None,
        season=version.season or None,
        trained_until=version.trained_until or None,
        scores=version.scores,
    )


class FolderStore:
    """Saved models in plain folders: `root` is one of them, or holds them as sub-folders; the folder's name is the model's.

    The version is a digest of the model's manifest, which has that of the weights, so a model copied over an old one is
    a new version.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root).resolve()

    def names(self) -> list[str]:
        return sorted(self._folders())

    def versions(self, name: str) -> list[StoredModel]:
        folders = self._folders()
        if name not in folders:
            raise UnknownModel(_no_such(name, sorted(folders)), field="model")
        return [_from_folder(name, folders[name])]

    def resolve(self, reference: str) -> StoredModel:
        wanted = Reference.parse(reference)
        stored = self.versions(wanted.name)[0]
        if wanted.alias is not None:
            raise UnknownModel(
                f"models in folders have no aliases; ask for {wanted.name!r} instead of {reference!r}", field="model"
            )
        if wanted.version not in (None, stored.version):
            raise UnknownModel(
                f"model {wanted.name!r} has version {stored.version!r} only, not {wanted.version!r}", field="model"
            )
        return stored

    def load(self, stored: StoredModel) -> FittedFlow | FittedDetector:
        folder = self._folders()[stored.name]
        found = load_detector(folder) if is_detector(folder) else load_model(folder)
        if _digest(folder) != stored.version:
            raise ArtifactError(f"model {stored.name!r} changed while it was read; it will be read again")
        return found

    def where(self) -> str:
        return "the folder TSF_MODEL_DIR"

    def _folders(self) -> dict[str, Path]:
        """Name -> folder, looked up each time, so that a model copied in is found."""
        if (self.root / MANIFEST).is_file():
            return {self.root.name: self.root}
        try:
            return {folder.name: folder for folder in self.root.iterdir() if (folder / MANIFEST).is_file()}
        except OSError as error:
            raise ArtifactError(f"TSF_MODEL_DIR cannot be read: {error}; name a folder that predictor.save wrote") from error


def _digest(folder: Path) -> str:
    """Twelve hexadecimal digits that change when any file of the model does."""
    content = hashlib.sha256((folder / MANIFEST).read_bytes())
    if (folder / FLOW).is_file():
        content.update((folder / FLOW).read_bytes())
    return content.hexdigest()[:12]


def _from_folder(name: str, folder: Path) -> StoredModel:
    try:
        manifest = json.loads((folder / MANIFEST).read_text())
        facts = manifest["facts"]
        detects = manifest.get("kind") == "detector"
        return StoredModel(
            name=name,
            version=_digest(folder),
            task="anomaly" if detects else "forecast",
            architecture=manifest["model"],
            horizon=None if detects else facts["horizon"],
            channels=tuple(facts["channels"]) if detects else (),
            freq=facts["freq"],
            season=facts["season"],
            trained_until=facts["trained_until"],
        )
    except (AttributeError, OSError, KeyError, TypeError, ValueError) as error:
        # told to callers: no path
        raise ArtifactError(f"{MANIFEST} of the stored model {name!r} is damaged: {error!r}; copy the model again") from error


def _no_such(name: str, names: list[str]) -> str:
    return f"no model {name!r} is stored; stored: {', '.join(names[:20]) or 'none'}"
