"""Which of several stored models is the default, and what is said of a name that no model has."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

import tsforecast
from service.app import create_app
from service.model_names import no_kind_of_detector, with_hint
from service.model_store import FolderStore
from service.settings import Settings
from tests.service.conftest import TestClient, daily
from tests.service.fakes import MemoryStore, panel_of, ramp_flow
from tests.service.test_anomalies_route import part, store_detectors
from tests.service.test_forecast_route import problem
from tsforecast.errors import UnknownModel

Serve = Callable[..., TestClient]


@pytest.fixture(scope="module")
def detectors(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("detectors")
    store_detectors(folder)
    return folder


@pytest.fixture
def models(detectors: Path, tmp_path: Path) -> Path:
    """A folder with the detectors "load" and "host", to which forecasters may be added."""
    return shutil.copytree(detectors, tmp_path / "models")


@pytest.fixture
def serve(models: Path) -> Iterator[Serve]:
    with ExitStack() as stack:

        def started(**settings: Any) -> TestClient:
            app = create_app(models=FolderStore(models), settings=Settings(refresh_seconds=3600.0, **settings))
            app.state.services.models.refresh()
            return stack.enter_context(TestClient(app, raise_server_exceptions=False))

        yield started


def put_forecaster(folder: Path) -> None:
    tsforecast.build_model("seasonal_naive").fit(panel_of(range(20)), horizon=3).save(folder)


# ------------------------------------------------------------ detectors are no default


@pytest.mark.parametrize("gone", [[], ["host"]])
def test_detectors_alone_are_served_without_a_default(serve: Serve, models: Path, gone: list[str]) -> None:
    for name in gone:
        shutil.rmtree(models / name)
    client = serve()
    assert client.get("/readyz").json() == {"status": "ready"}
    listed = client.get("/v1/models").json()
    assert listed["default"] is None
    assert {one["name"]: one["versions"][0]["task"] for one in listed["served"]} == dict.fromkeys(
        sorted({"load", "host"} - set(gone)), "anomaly"
    )
    assert client.post("/v1/anomalies/score", json={"series": [part(300, 303)], "model": "load"}).status_code == 200
    refused = problem(client.post("/v1/forecast", json={"series": [daily()], "horizon": 2}), 404, "unknown-model")
    assert "only detectors are stored" in refused["detail"] and refused["errors"][0]["field"] == "model"
    named = {"series": [daily(target=range(20))], "horizon": 2, "model": "seasonal_naive"}
    assert client.post("/v1/forecast", json=named).status_code == 200


def test_a_forecaster_stored_beside_detectors_becomes_the_default_and_stays_it(serve: Serve, models: Path) -> None:
    client = serve()
    loaded = client.app.state.services.models
    put_forecaster(models / "demand")
    loaded.refresh()
    assert loaded.default_model.name == "demand"
    shutil.rmtree(models / "demand")
    loaded.refresh()
    assert (loaded.default_model.name, loaded.not_ready) == ("demand", None)


def test_of_several_forecasters_beside_detectors_the_default_has_to_be_said(serve: Serve, models: Path) -> None:
    ready = serve()
    for name in ("demand", "shops"):
        put_forecaster(models / name)
    waiting = problem(serve().get("/readyz"), 503, "not-ready")
    assert waiting["detail"] == "TSF_DEFAULT_MODEL has to say which model is the default: demand, shops"
    ready.app.state.services.models.refresh()
    assert ready.get("/readyz").status_code == 200  # what serves detectors goes on doing so
    refused = problem(ready.post("/v1/forecast", json={"series": [daily()], "horizon": 2}), 404, "unknown-model")
    assert "demand, shops; name a model" in refused["detail"]
    assert serve(default_model="shops").get("/v1/models").json()["default"].startswith("shops/")


def test_a_detector_that_is_named_as_the_default_is_refused_with_the_reason(serve: Serve) -> None:
    client = serve(default_model="load")
    waiting = problem(client.get("/readyz"), 503, "not-ready")
    assert waiting["detail"].startswith("TSF_DEFAULT_MODEL is 'load', which detects anomalies and makes no forecasts")
    assert client.app.state.services.models.default_model is None


def test_a_registered_model_without_versions_is_no_default_and_in_no_ones_way(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = FolderStore.versions

    def versions(store: FolderStore, name: str) -> list[Any]:
        return [] if name == "host" else told(store, name)

    monkeypatch.setattr(FolderStore, "versions", versions)
    assert serve().get("/readyz").status_code == 200


# ------------------------------------------------------------ names that are none


def post(client: TestClient, path: str, model: str) -> Any:
    more = {"horizon": 2} if path == "/v1/forecast" else {}
    return client.post(path, json={"series": [part(0, 60)], "model": model} | more)


@pytest.mark.parametrize(
    ("path", "model", "says"),
    [
        ("/v1/anomalies", "windowenergy", "did you mean 'window_energy'?"),
        ("/v1/anomalies", "laod", "did you mean 'load'?"),
        ("/v1/anomalies", "window_energy/3", "did you mean 'window_energy'?"),
        ("/v1/anomalies", "load", "'load' is a stored detector: POST /v1/anomalies/score judges with it"),
        ("/v1/anomalies", "load@champion", "'load@champion' is a stored detector: POST /v1/anomalies/score judges with it"),
        ("/v1/anomalies", "demand", "'demand' is a stored forecaster: POST /v1/forecast asks it"),
        ("/v1/anomalies/score", "laod", "did you mean 'load'?"),
        ("/v1/anomalies/score", "windowenergy", "did you mean 'window_energy'?"),
        ("/v1/anomalies/score", "ensemble", "'ensemble' is a kind of detector: POST /v1/anomalies fits one"),
        ("/v1/anomalies/score", "ensemble/1", "'ensemble' is a kind of detector: POST /v1/anomalies fits one"),
        ("/v1/forecast", "demnad", "did you mean 'demand'?"),
        ("/v1/forecast", "seasonalnaive", "did you mean 'seasonal_naive'?"),
    ],
)
def test_a_name_that_is_none_here_says_which_is_or_where_it_is_one(
    serve: Serve, models: Path, path: str, model: str, says: str
) -> None:
    put_forecaster(models / "demand")
    refused = problem(post(serve(), path, model), 404, "unknown-model")
    assert says in refused["detail"]
    assert [one["field"] for one in refused["errors"]] == ["model"]


def test_a_name_like_no_other_gets_no_suggestion_and_a_wrong_version_not_its_own_name(serve: Serve) -> None:
    client = serve()
    assert "did you mean" not in post(client, "/v1/anomalies/score", "qqqq").json()["detail"]
    assert "did you mean" not in post(client, "/v1/anomalies/score", "load/7").json()["detail"]
    assert "names no model" in post(client, "/v1/anomalies/score", "a/b/c").json()["detail"]
    assert "kinds of detectors: autoencoder" in post(client, "/v1/anomalies", "a/b/c").json()["detail"]
    asked = problem(client.get("/v1/models/windowenergy"), 404, "unknown-model")
    assert "did you mean 'window_energy'?" in asked["detail"]


def test_a_store_that_is_away_hides_no_message() -> None:
    store = MemoryStore()
    store.put("demand", ramp_flow())
    store.away = True
    error = UnknownModel("no model 'windowenergy' is stored", field="model")
    assert str(with_hint(error, "windowenergy", store)).endswith("; did you mean 'window_energy'?")
    assert "did you mean 'window_energy'?" in str(no_kind_of_detector("windowenergy", store))


def test_feedback_of_a_detector_that_is_not_stored_is_refused_and_not_taken_for_none(serve: Serve, models: Path) -> None:
    put_forecaster(models / "demand")
    client = serve()

    def answer(feedback: str) -> Any:
        return client.post("/v1/anomalies", json={"series": [part(0, 100)], "model": "window_energy", "feedback": feedback})

    assert answer("load").status_code == 200
    unknown = problem(answer("laod"), 404, "unknown-model")
    assert unknown["errors"][0]["field"] == "feedback" and "did you mean 'load'?" in unknown["detail"]
    assert problem(answer("demand"), 409, "model-error")["errors"][0]["field"] == "feedback"
