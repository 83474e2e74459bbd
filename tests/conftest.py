"""Fixtures that more than one test file needs."""

import shutil
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def migrated_tracking_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty MLflow database. Making one takes seconds, copying it does not."""
    from tsforecast.tracking import open_tracking

    folder = tmp_path_factory.mktemp("migrated")
    open_tracking(f"sqlite:///{folder / 'mlflow.db'}")
    return folder / "mlflow.db"


@pytest.fixture
def tracking_folder(migrated_tracking_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for `open_tracking(folder=…)` with a database of its own, in a process that names no other store."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    folder = tmp_path / "mlruns"
    folder.mkdir()
    shutil.copyfile(migrated_tracking_store, folder / "mlflow.db")
    return folder
