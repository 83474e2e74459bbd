"""A detector of a real MLflow registry: registered, listed, asked by its alias, and replaced by another version."""

from pathlib import Path

import tsforecast
from service.app import create_app
from service.settings import Settings
from tests.service.conftest import TestClient
from tests.service.test_anomalies_route import FIT, moment, part, values
from tests.service.test_forecast_route import problem
from tsforecast.preprocessing.validate import panel_from_lists
from tsforecast.tracking import Tracker, open_tracking


def register(tracker: Tracker, *, window: int) -> int:
    """A new version of "load", the champion."""
    panel = panel_from_lists(ids=["a"], targets=[values()[:FIT]], starts=[moment(0)], freq="h")
    recipe = tsforecast.build_model("window_energy", window=window)
    with tracker.training_run(experiment="load", run_name="detector", flow=None, panel=panel) as run:
        version = run.log_detector(recipe.fit(panel), example=panel, registered_name="load")
    tracker.set_alias("load", "champion", version.version)
    return version.version


def test_a_registered_detector_judges_and_a_new_version_begins_new_streams(tracking_folder: Path) -> None:
    tracker = open_tracking(folder=tracking_folder)
    register(tracker, window=24)
    app = create_app(settings=Settings(mlruns=str(tracking_folder), refresh_seconds=3600.0))
    with TestClient(app) as client:
        body = {"series": [part(300, 310)], "model": "load@champion"}
        first = client.post("/v1/anomalies/score", json=body).json()
        assert (first["model"]["version"], first["series"][0]["stream"]["judged"]) == ("1", 10)
        [listed] = client.get("/v1/models").json()["served"][0]["versions"]
        assert (listed["task"], listed["architecture"], listed["horizon"]) == ("anomaly", "window_energy", None)
        problem(client.post("/v1/forecast", json={"series": [part(0, 9)], "model": "load", "horizon": 1}), 409, "model-error")

        register(tracker, window=12)
        app.state.services.models.refresh()
        second = client.post("/v1/anomalies/score", json=body).json()
        assert second["model"]["version"] == "2" and not any(second["series"][0]["stream"]["repeated"])
        again = client.post("/v1/anomalies/score", json=body | {"model": "load/1"}).json()
        assert again["series"][0]["score"] == first["series"][0]["score"] and all(again["series"][0]["stream"]["repeated"])
