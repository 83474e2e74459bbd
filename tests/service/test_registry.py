"""The service on a real MLflow registry: train, register, promote, serve, promote another."""

from pathlib import Path

import tsforecast
from service.app import create_app
from service.settings import Settings
from tests.service.conftest import TestClient, daily
from tests.service.fakes import panel_of
from tests.service.test_forecast_route import problem
from tsforecast.flow import ForecastFlow
from tsforecast.tracking import Tracker, open_tracking


def register(tracker: Tracker, *, horizon: int, alias: str) -> None:
    """A new version of "shops"."""
    flow, panel = ForecastFlow(model=tsforecast.build_model("seasonal_naive")), panel_of(range(30))
    with tracker.training_run(experiment="shops", run_name="naive", flow=flow, panel=panel) as run:
        version = run.log_model(flow.fit(panel, horizon=horizon), example=panel, registered_name="shops")
    tracker.set_alias("shops", alias, version.version)


def test_the_service_follows_the_champion_of_a_real_registry(tracking_folder: Path) -> None:
    tracker = open_tracking(folder=tracking_folder)
    register(tracker, horizon=3, alias="champion")
    settings = Settings(mlruns=str(tracking_folder), refresh_seconds=3600.0)
    app = create_app(settings=settings)
    models = app.state.services.models
    models.refresh()
    with TestClient(app) as client:
        body = {"series": [daily(target=range(20))]}
        first = client.post("/v1/forecast", json=body).json()
        assert first["model"] == {
            "name": "shops",
            "version": "1",
            "trained_until": "2024-01-30T00:00:00",
            "architecture": "seasonal_naive",
        }
        assert len(first["forecasts"][0]["timestamps"]) == 3

        register(tracker, horizon=5, alias="challenger")
        models.refresh()
        assert client.post("/v1/forecast", json=body).json()["model"]["version"] == "1"
        challenger = client.post("/v1/forecast", json=body | {"model": "shops@challenger"}).json()
        assert (challenger["model"]["version"], len(challenger["forecasts"][0]["timestamps"])) == ("2", 5)

        tracker.set_alias("shops", "champion", 2)
        models.refresh()
        assert client.post("/v1/forecast", json=body).json() == challenger
        assert client.post("/v1/forecast", json=body | {"model": "shops/1"}).json() == first

        listed = client.get("/v1/models").json()
        assert listed["default"] == "shops/2"
        assert [(one["version"], sorted(one["aliases"])) for one in listed["served"][0]["versions"]] == [
            ("2", ["challenger", "champion"]),
            ("1", []),
        ]
        assert listed["served"][0]["versions"][0]["horizon"] == 5
        for reference in ("shops/9", "shops@nobody", "nothing", "sh'ops", "shops/x"):
            problem(client.post("/v1/forecast", json=body | {"model": reference}), 404, "unknown-model")
        assert client.post("/v1/forecast", json=body | {"model": "seasonal_naive", "horizon": 1}).status_code == 200
