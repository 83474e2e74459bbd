import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import service
from service.errors import STATUS, status_of
from service.examples import EXAMPLES
from service.settings import Settings
from tests.service.fakes import MemoryStore, ramp_flow
from tests.service.test_forecast_route import problem
from tsforecast import __version__, available_models
from tsforecast.errors import ForecastError

Start = Callable[..., Any]


# ------------------------------------------------------------ health


def test_livez_asks_nothing_of_the_models_and_readyz_waits_for_the_default(start: Start, store: MemoryStore) -> None:
    empty = MemoryStore()
    client = start(models=empty)
    assert client.get("/livez").json() == {"status": "alive"}
    answer = client.get("/readyz")
    assert "no model is stored in memory" in problem(answer, 503, "not-ready")["detail"]
    assert answer.headers["retry-after"] == "5"
    empty.put("demand", ramp_flow())
    client.app.state.services.models.refresh()
    assert (client.get("/readyz").status_code, client.get("/readyz").json()) == (200, {"status": "ready"})


def test_a_service_that_ends_is_alive_but_not_ready_and_still_answers(client: Any) -> None:
    client.app.state.services.draining = True
    problem(client.get("/readyz"), 503, "draining")
    assert client.get("/livez").status_code == 200
    body = {"series": [{"id": "a", "start": "2024-01-01", "freq": "D", "target": [1]}]}
    assert client.post("/v1/forecast", json=body).status_code == 200


def test_leaving_the_app_stops_its_threads_and_says_it_is_draining(start: Start, store: MemoryStore) -> None:
    from service.app import create_app
    from tests.service.conftest import TestClient

    app = create_app(models=store, settings=Settings(shutdown_seconds=30.0))
    with TestClient(app):
        services = app.state.services
        assert all(thread.is_alive() for thread in services.workers._alive)
    assert services.draining
    assert not any(thread.is_alive() for thread in services.workers._alive)
    assert services.models._stopped.is_set()


# ------------------------------------------------------------ models


def test_models_lists_what_is_stored_and_what_could_be_trained(client: Any, store: MemoryStore) -> None:
    store.put("demand", ramp_flow(horizon=7), alias="challenger")
    body = client.get("/v1/models").json()
    assert body["default"] == "demand/1"
    [stored] = body["served"]
    assert [(one["version"], one["aliases"]) for one in stored["versions"]] == [("2", ["challenger"]), ("1", ["champion"])]
    assert stored["versions"][1] == {
        "version": "1",
        "task": "forecast",
        "aliases": ["champion"],
        "architecture": "ramp",
        "horizon": 14,
        "channels": [],
        "freq": "D",
        "season": 7,
        "trained_until": "2024-01-05T00:00:00",
        "scores": {"mase": 0.8, "coverage": None},
    }
    names = [one["name"] for one in body["architectures"]]
    assert sorted([*names, *body["unavailable"]]) == sorted(available_models() + available_models("anomaly"))
    assert {one["name"] for one in body["architectures"] if one["task"] == "anomaly"} <= set(available_models("anomaly"))
    naive = next(one for one in body["architectures"] if one["name"] == "seasonal_naive")
    assert (naive["needs_training"], naive["family"]) == (False, "baseline")
    assert (naive["scope"], naive["transfers"], naive["samples"], naive["covariates"]) == ("local", False, False, [])
    season = naive["options"]["season"]
    assert (season["type"], season["default"]) == ("int | None", None)
    assert season["words"].startswith("steps in a season")


def test_an_architecture_whose_package_is_missing_is_named_and_the_others_are_listed(
    client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tsforecast.models.registry import MODELS

    monkeypatch.setitem(MODELS["forecast"], "oracle", "delphi.temple:Oracle")
    body = client.get("/v1/models").json()
    assert body["unavailable"]["oracle"] == "No module named 'delphi'"
    assert any(one["name"] == "gru" for one in body["architectures"])


def test_one_model_is_described_by_its_name_stored_or_not(client: Any) -> None:
    stored = client.get("/v1/models/demand").json()
    assert (stored["name"], len(stored["versions"]), stored["architecture"]) == ("demand", 1, None)
    trained_later = client.get("/v1/models/gru").json()
    assert (trained_later["versions"], trained_later["architecture"]["needs_training"]) == ([], True)
    problem(client.get("/v1/models/nope"), 404, "unknown-model")


def test_a_registry_that_is_away_is_503_for_the_lists_too(client: Any, store: MemoryStore) -> None:
    store.away = True
    for path in ("/v1/models", "/v1/models/demand"):
        problem(client.get(path), 503, "tracking-error")


# ------------------------------------------------------------ what is not there


def test_every_other_path_and_method_is_a_problem_too(client: Any) -> None:
    assert "nothing at /v1/nope" in problem(client.get("/v1/nope"), 404, "not-found")["detail"]
    problem(client.get("/v1/models/"), 404, "not-found")
    answer = client.get("/v1/forecast")
    assert problem(answer, 405, "method-not-allowed")["detail"] == "GET is not allowed here; use POST"
    assert answer.headers["allow"] == "POST"
    problem(client.delete("/v1/models/demand"), 405, "method-not-allowed")
    problem(client.get("/%ff%fe"), 404, "not-found")


def test_each_error_of_the_library_has_a_status() -> None:
    def all_of(kind: type[ForecastError]) -> set[type[ForecastError]]:
        return {kind}.union(*(all_of(one) for one in kind.__subclasses__()))

    expected = {
        "DataError": 422,
        "GapError": 422,
        "UnknownModel": 404,
        "OptionError": 422,
        "HorizonError": 422,
        "ArtifactError": 500,
    }
    expected |= {"NotBetter": 409, "ModelError": 409, "TrackingError": 503, "RecipeError": 500, "ForecastError": 500}
    found = {kind.__name__: next(STATUS[one] for one in kind.__mro__ if one in STATUS) for kind in all_of(ForecastError)}
    assert found.items() >= expected.items()
    assert status_of(ForecastError("x")) == 500


# ------------------------------------------------------------ documentation


def openapi(client: Any) -> dict[str, Any]:
    found: dict[str, Any] = client.get("/openapi.json").json()
    return found


def test_each_documented_example_gets_the_documented_answer(client: Any) -> None:
    operation = openapi(client)["paths"]["/v1/forecast"]["post"]
    asked = operation["requestBody"]["content"]["application/json"]["examples"]
    answered = operation["responses"]["200"]["content"]["application/json"]["examples"]
    assert asked.keys() == answered.keys() == EXAMPLES.keys()
    for name, example in asked.items():
        answer = client.post("/v1/forecast", json=example["value"])
        assert answer.status_code == 200, answer.text
        found, told = answer.json(), answered[name]["value"]
        assert found["model"] == told["model"]
        for one, other in zip(found["forecasts"], told["forecasts"], strict=True):
            assert (one["id"], one["timestamps"]) == (other["id"], other["timestamps"])
            assert one["quantiles"].keys() == other["quantiles"].keys()
            for level, values in one["quantiles"].items():
                assert values == pytest.approx(other["quantiles"][level]), f"{name}: update service/examples.py"


def test_the_answers_match_the_documented_schemas(client: Any) -> None:
    from service import schemas

    schemas.ForecastAnswer.model_validate(client.post("/v1/forecast", json=EXAMPLES["daily"]["request"]).json(), strict=True)
    schemas.ModelList.model_validate(client.get("/v1/models").json(), strict=True)
    schemas.Model.model_validate(client.get("/v1/models/demand").json(), strict=True)
    schemas.Problem.model_validate(client.post("/v1/forecast", json={"series": [{}]}).json(), strict=True)


def test_the_document_has_no_loose_ends_and_not_the_errors_of_the_framework(client: Any) -> None:
    document = openapi(client)
    text = json.dumps(document)
    assert document["info"]["version"] == __version__
    assert "HTTPValidationError" not in text
    names = set(re.findall(r"#/components/schemas/(\w+)", text))
    assert names == set(document["components"]["schemas"])
    for path, item in document["paths"].items():
        for operation in item.values():
            bad = {status: told for status, told in operation["responses"].items() if status[0] != "2"}
            assert all(list(told["content"]) == ["application/problem+json"] for told in bad.values()), path
    assert {"400", "404", "413", "422", "503", "504"} <= set(document["paths"]["/v1/forecast"]["post"]["responses"])


def test_the_page_needs_nothing_from_elsewhere(client: Any) -> None:
    assert client.get("/", follow_redirects=False).headers["location"] == "/docs"
    page = client.get("/docs")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert not re.findall(r"""(?:src|href)=["']?(?:https?:)?//""", page.text)
    assert "http://" not in page.text and "https://" not in page.text
    assert 'fetch("/openapi.json")' in page.text
    for link in re.findall(r'href="(/[^"]*)"', page.text):
        assert client.get(link).status_code == 200, link


def test_nothing_is_built_or_read_when_the_package_is_imported() -> None:
    import subprocess
    import sys

    root = Path(str(service.__file__)).parents[1]
    code = "import sys, service.app; print([p for p in ('torch', 'mlflow', 'prophet', 'sqlalchemy') if p in sys.modules])"
    out = subprocess.run(
        [sys.executable, "-c", code],
        cwd=root,
        capture_output=True,
        text=True,
        check=True,
        env={"TSF_PORT": "nonsense", "PATH": ""},
    )
    assert out.stdout.strip() == "[]"
