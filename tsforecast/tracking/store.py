"""Address of an MLflow store -> a client that is quiet, calls nobody, and fails with TrackingError."""

import fcntl
import logging
import os
import re
import sqlite3
import ssl
import urllib.error
import urllib.request
import warnings
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

from tsforecast.errors import ForecastError, TrackingError

if TYPE_CHECKING:
    from mlflow import MlflowClient

ENVIRONMENT = "MLFLOW_TRACKING_URI"
DATABASE = "mlflow.db"
DATABASES = ("postgresql", "mysql", "mssql")  # beside sqlite
HALF_MADE = "_alembic_tmp_"  # begins the names of tables that a migration makes and renames
LOCK_WAIT_S = 5.0  # how long opening waits for somebody else's lock on a SQLite file
PROBE_TIMEOUT_S = 5.0  # for the first answer of a server

EXPERIMENT_TAGS = {"mlflow.experimentKind": "custom_model_development"}  # what the UI shows first: runs, not chat traces

# Read by mlflow while it is imported; what the user has set stays.
SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",  # 7 by default: four minutes until a training hears that the server is gone
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Store:
    """An opened MLflow store."""

    uri: str  # sqlite:///…, postgresql://…, http://…
    artifacts: Path | None  # folder of the artifacts of new experiments; None = the server has its own
    client: "MlflowClient"

    @property
    def address(self) -> str:
        """The URI without its password, for messages."""
        return without_password(self.uri)

    @property
    def is_server(self) -> bool:
        return is_server(self.uri)

    @contextmanager
    def asking(self, purpose: str) -> Iterator[None]:
        """Turn failures of the store inside the block into TrackingError; `purpose` completes "could not …"."""
        from mlflow.exceptions import MlflowException

        try:
            yield
        except (MlflowException, OSError) as error:
            if isinstance(error, ForecastError):
                raise
            raise TrackingError(
                f"could not {purpose}: the tracking store {self.address} answered {_said(error, self.uri)}; "
                f"check that it is running and not locked, or set {ENVIRONMENT}"
            ) from error

    def experiment_id(self, name: str) -> str:
        """Id of the experiment called `name`, made if missing, with its artifacts beside the database.

        Raises:
            TrackingError: the store fails, or the experiment was deleted.
        """
        with self.asking(f"open experiment {name!r}"):
            found = self.client.get_experiment_by_name(name)
            if found is None:
                found = self._create_experiment(name)
        if found.lifecycle_stage != "active":
            raise TrackingError(
                f"experiment {name!r} was deleted; choose another name, or restore it with "
                f"`mlflow experiments restore --experiment-id {found.experiment_id}`"
            )
        return str(found.experiment_id)

    def _create_experiment(self, name: str):  # type: ignore[no-untyped-def]  # an mlflow Experiment
        from mlflow.exceptions import MlflowException

        folder = None if self.artifacts is None else (self.artifacts / folder_name(name)).as_uri()
        try:
            return self.client.get_experiment(self.client.create_experiment(name, artifact_location=folder, tags=EXPERIMENT_TAGS))
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            return self.client.get_experiment_by_name(name)  # another process was faster


def import_mlflow() -> None:
    """Import mlflow with telemetry off, its log at warnings, and without two warnings of its own imports."""
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    with harmless_warnings():
        import mlflow  # noqa: F401  # loaded here, so that its warnings are hidden
    logging.getLogger("mlflow.store.db.utils").addFilter(_is_not_raised_too)


def _is_not_raised_too(record: logging.LogRecord) -> bool:
    """False for the pages that MLflow logs about a failed statement before it raises the same as an error."""
    return not record.getMessage().startswith("SQLAlchemy database error")


@contextmanager
def harmless_warnings() -> Iterator[None]:
    """Hide the two warnings that mlflow's own modules raise while they are loaded; nothing a caller does causes them."""
    with warnings.catch_warnings():
        # mlflow.types.responses infers a schema from its own classes, some fields of which are typed Any.
        warnings.filterwarnings("ignore", message=".*Any type hint is inferred as AnyType", category=UserWarning)
        # mlflow.store.tracking.sqlalchemy_store maps a relation in a way that SQLAlchemy 2.1 deprecates.
        warnings.filterwarnings("ignore", message=".*``noload`` loader strategy", category=DeprecationWarning)
        yield


def open_store(uri: str | None, folder: str | os.PathLike[str]) -> Store:
    """Connect to `uri`; None: to MLFLOW_TRACKING_URI, or else to a SQLite file in `folder`, made when missing.

    Raises:
        TrackingError: the address is not one of a database or a server, or it does not answer.
    """
    home = Path(folder).resolve()
    address = uri or os.environ.get(ENVIRONMENT) or f"sqlite:///{home / DATABASE}"
    scheme = urlsplit(address).scheme.partition("+")[0]
    if scheme in ("", "file"):
        raise TrackingError(
            f"MLflow keeps no runs in plain files any more, got {address!r}; use sqlite:///{home / DATABASE} or a server's URL"
        )
    if is_server(address):
        _probe_server(address)
        return Store(uri=address, artifacts=None, client=_connect(address))
    if scheme == "sqlite":
        path = Path(address.partition("///")[2].partition("?")[0]).resolve()
        artifacts = path.parent / "artifacts"
        there = _has_tables(path)
        with _one_at_a_time(path):  # two processes must not create the tables at once
            if not there and not _has_tables(path):  # another process may have made them while this one waited
                _make_sqlite(path, artifacts)
            return Store(uri=address, artifacts=artifacts, client=_connect(address))
    return Store(uri=address, artifacts=home / "artifacts" if scheme in DATABASES else None, client=_connect(address))


def _connect(uri: str) -> "MlflowClient":
    """A client that has had one answer, so that the tables exist. The first use of a database takes seconds."""
    import_mlflow()
    from mlflow import MlflowClient

    with _opening(uri):
        client = MlflowClient(tracking_uri=uri, registry_uri=uri)
        client.search_experiments(max_results=1)
    return client


@contextmanager
def _opening(uri: str) -> Iterator[None]:
    """Let mlflow open the store in the block; whatever goes wrong becomes a TrackingError about `uri`."""
    try:
        with harmless_warnings():
            yield
    except Exception as error:  # mlflow lets through what the driver raises: any class, any package
        hint = (
            "check the address and that it is running, and for a database that its driver is installed and its schema is "
            f"up to date (`mlflow db upgrade {without_password(uri)}`)"
        )
        if HALF_MADE in str(error):
            hint = (
                "a process was killed while it made or upgraded this database; restore a copy, or move it away to begin a new one"
            )
        raise TrackingError(
            f"the tracking store {without_password(uri)} cannot be opened: {_said(error, uri)}; {hint}"
        ) from error


def _probe_server(uri: str) -> None:
    """Hear at once, and not after retries, that nobody listens; what an answering server refuses, mlflow will say."""
    parts = urlsplit(uri)
    url = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], path=f"{parts.path.rstrip('/')}/health"))
    try:
        urllib.request.urlopen(url, timeout=PROBE_TIMEOUT_S).close()
    except urllib.error.HTTPError as error:
        error.close()
    except OSError as error:
        if isinstance(getattr(error, "reason", None), ssl.SSLError):
            return  # mlflow has settings of its own for certificates
        raise TrackingError(
            f"no MLflow server answers at {without_password(uri)}: {_said(error, uri)}; start it (`tsforecast mlflow`), "
            f"or correct {ENVIRONMENT}"
        ) from error


def _has_tables(path: Path) -> bool:
    """Whether there is a SQLite database that holds anything; in words what is wrong with it, mlflow would retry for minutes."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():  # connecting would make an empty file
            return False
        with closing(sqlite3.connect(path, timeout=LOCK_WAIT_S)) as connection:
            (count,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
            return int(count) > 0
    except (OSError, sqlite3.Error) as error:
        raise _cannot_open(path, error) from error


def _cannot_open(path: Path, error: Exception) -> TrackingError:
    hints = {
        "locked": "another process holds it; wait for that process or end it",
        "not a database": "move the file away or name another one",
    }
    hint = next((hint for sign, hint in hints.items() if sign in str(error)), "check that the folder can be written")
    return TrackingError(f"the tracking store {path} cannot be opened: {error}; {hint}")


def _make_sqlite(path: Path, artifacts: Path) -> None:
    """Make a database with all tables aside, and give it its name when it is whole.

    mlflow creates the tables of its first release and migrates them, one statement after the other for seconds; what a kill
    leaves half-made can never be opened again. Under the name aside it is thrown away by the next process.
    """
    aside = path.with_name(f".{path.name}.new")
    try:
        _remove_sqlite(aside)  # of a process that was killed
        aside.touch()  # a folder that cannot be written says so here, at once
        _migrate(f"sqlite:///{aside}", artifacts, of=path)
        with aside.open("rb+") as file:
            os.fsync(file.fileno())
        path.with_name(f"{path.name}-journal").unlink(missing_ok=True)  # of a deleted database, it would be played into this one
        aside.replace(path)
    except OSError as error:
        raise _cannot_open(path, error) from error
    finally:
        _remove_sqlite(aside)


def _migrate(uri: str, artifacts: Path, *, of: Path) -> None:
    """Let mlflow make its tables in the empty file at `uri`, and close that; errors speak of the file `of`."""
    import_mlflow()
    with _opening(f"sqlite:///{of}"):
        from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

        store = SqlAlchemyStore(uri, artifacts.as_uri())  # type: ignore[no-untyped-call]  # mlflow types this one not
        store.engine.dispose()  # an open connection would go on with the name aside


def _remove_sqlite(path: Path) -> None:
    for one in (path, path.with_name(f"{path.name}-journal")):
        with suppress(OSError):  # where a file cannot be removed, none can be written, and that is told
            one.unlink()


@contextmanager
def _one_at_a_time(path: Path) -> Iterator[None]:
    """Hold the lock file beside `path`; where the folder is read-only nothing can be created, so nothing is locked."""
    try:
        lock = path.with_name(f"{path.name}.lock").open("w")
    except OSError:
        yield
        return
    with lock:  # closing releases the lock
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def is_server(uri: str) -> bool:
    return urlsplit(uri).scheme in ("http", "https")


def without_password(uri: str) -> str:
    """`uri` as it may be shown: user:***@host."""
    parts = urlsplit(uri)
    if parts.password is None:
        return uri
    return urlunsplit(parts._replace(netloc=parts.netloc.replace(f":{parts.password}@", ":***@")))


def _said(error: BaseException, uri: str) -> str:
    """The error in one line, for drivers append whole statements; without the password, for MLflow repeats the address."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0].replace(f":{urlsplit(uri).password}@", ":***@")


def folder_name(name: str) -> str:
    """`name` with everything that a path or a URL could trip over as underscores."""
    return re.sub(r"[^A-Za-z0-9._-]+", "_", name).strip(".") or "_"
