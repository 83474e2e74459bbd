"""The service with a fake store: `client` is ready and its default model is the Ramp called "demand"."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from service.app import create_app
from service.model_store import FolderStore
from service.settings import Settings
from tests.service.fakes import MemoryStore, ramp_flow

with warnings.catch_warnings():
    # Starlette announces a successor of httpx, which has nothing to do with what is tested here.
    warnings.filterwarnings("ignore", message=".*httpx.*")
    from starlette.testclient import TestClient


def restartable(models: Path) -> Iterator[Callable[..., TestClient]]:
    """started(state_dir=…) -> a client of the models in a folder; one that starts later finds what those before it left."""
    with ExitStack() as stack:

        def started(**settings: Any) -> TestClient:
            stack.close()  # ends the service before
            chosen = Settings(**{"refresh_seconds": 3600.0, "state_seconds": 3600.0} | settings)
            app = create_app(models=FolderStore(models), settings=chosen)
            app.state.services.models.refresh()
            return stack.enter_context(TestClient(app, raise_server_exceptions=False))

        yield started


@pytest.fixture
def store() -> MemoryStore:
    found = MemoryStore()
    found.put("demand", ramp_flow())
    return found


@pytest.fixture
def start(store: MemoryStore) -> Iterator[Callable[..., TestClient]]:
    """start(max_series=3, …) -> a client of a ready service with these settings."""
    with ExitStack() as stack:

        def started(models: Any = store, **settings: Any) -> TestClient:
            # A refresh in an hour: tests call `refresh()` themselves.
            app = create_app(models=models, settings=Settings(**{"refresh_seconds": 3600.0, "body_seconds": 5.0} | settings))
            app.state.services.models.refresh()
            return stack.enter_context(TestClient(app, raise_server_exceptions=False))

        yield started


@pytest.fixture
def client(start: Callable[..., TestClient]) -> TestClient:
    return start()


def daily(series_id: Any = "a", target: Any = (1.0, 2.0, 3.0), **fields: Any) -> dict[str, Any]:
    return {"id": series_id, "start": "2024-01-01", "freq": "D", "target": list(target)} | fields


@pytest.fixture
def ask(client: TestClient) -> Callable[..., Any]:
    """ask(series…, horizon=2, …) -> the answer to a forecast of these series."""

    def asked(*series: Any, **fields: Any) -> Any:
        return client.post("/v1/forecast", json={"series": list(series) or [daily()], "horizon": 2} | fields)

    return asked
