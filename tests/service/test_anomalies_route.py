"""Anomalies over HTTP: fit and judge in one call, stored detectors, feedback, and input that is out of order."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

import tsforecast
from service import anomaly_schemas
from service.anomaly_examples import DETECT_EXAMPLES, FEEDBACK_EXAMPLES, SCORE_EXAMPLES
from service.app import create_app
from service.model_store import FolderStore
from service.settings import Settings
from tests.service.conftest import TestClient
from tests.service.fakes import panel_of
from tests.service.test_forecast_route import problem
from tsforecast.models.base import Epoch
from tsforecast.models.registry import MODELS
from tsforecast.models.window_energy import WindowEnergy
from tsforecast.preprocessing.validate import panel_from_lists

HOURS = 480
FIT = 300  # rows that the stored detectors have seen
Post = Callable[..., Any]


def values(*spikes: int, seed: int = 0) -> list[float]:
    """Hourly values with a daily season, and a spike of three hours at each row of `spikes`."""
    rows = np.arange(HOURS)
    found = 10 + 3 * np.sin(2 * np.pi * rows / 24) + np.random.default_rng(seed).normal(0, 0.3, HOURS)
    for spike in spikes:
        found[spike : spike + 3] += 12
    return [round(one, 4) for one in found.tolist()]


def moment(row: int) -> str:
    return str(np.datetime64("2026-01-01T00:00:00") + np.timedelta64(row, "h"))


def part(first: int, last: int, series_id: Any = "a", *, of: list[float] | None = None, **fields: Any) -> dict[str, Any]:
    """Rows `first` … `last` - 1 of a series with a spike at row 350."""
    return {"id": series_id, "start": moment(first), "freq": "h", "target": (of or values(350))[first:last]} | fields


def store_detectors(folder: Path) -> None:
    """Save the detectors "load" (one channel) and "host" (cpu and mem)."""
    panel = panel_from_lists(ids=["a"], targets=[values()[:FIT]], starts=[moment(0)], freq="h")
    tsforecast.build_model("window_energy").fit(panel).save(folder / "load")
    side = np.asarray(values(seed=1)[:FIT])[:, None]
    both = replace(panel, target_name="cpu", past_covariates=side, past_covariate_names=("mem",))
    tsforecast.build_model("window_energy").fit(both).save(folder / "host")


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with these detectors, and the forecaster "demand"."""
    folder = tmp_path_factory.mktemp("models")
    store_detectors(folder)
    tsforecast.build_model("seasonal_naive").fit(panel_of(range(20)), horizon=3).save(folder / "demand")
    return folder


@pytest.fixture
def served(stored: Path) -> Iterator[Callable[..., TestClient]]:
    """served(state_dir=…) -> a client of a service of these models; several may be started one after another."""
    with ExitStack() as stack:

        def started(**settings: Any) -> TestClient:
            chosen = Settings(**{"refresh_seconds": 3600.0, "state_seconds": 3600.0} | settings)
            app = create_app(models=FolderStore(stored), settings=chosen)
            app.state.services.models.refresh()
            return stack.enter_context(TestClient(app, raise_server_exceptions=False))

        yield started


@pytest.fixture
def detect(served: Callable[..., TestClient]) -> Post:
    client = served()
    return lambda *series, **fields: client.post("/v1/anomalies", json={"series": list(series)} | fields)


@pytest.fixture
def score(served: Callable[..., TestClient]) -> Post:
    client = served()
    return lambda *series, **fields: client.post("/v1/anomalies/score", json={"series": list(series), "model": "load"} | fields)


# ------------------------------------------------------------ fit and judge in one call


def test_a_spike_is_found_in_one_call_with_what_was_expected_and_why(detect: Post) -> None:
    answer = detect(part(0, HOURS), since=moment(320))
    assert answer.status_code == 200, answer.text
    body = anomaly_schemas.AnomalyAnswer.model_validate(answer.json(), strict=True)
    [found] = body.series
    assert (body.model.architecture, body.model.trained_until) == ("ensemble", moment(319))  # what is judged was not learnt
    assert found.timestamps[0] == moment(320) and len(found.timestamps) == HOURS - 320
    [event] = found.events
    assert moment(345) <= str(event.start) <= moment(350) and str(event.end) >= moment(352)
    assert (event.channels[0].name, event.channels[0].share) == ("target", 1.0)
    assert event.severity == 100 and event.nearest_normal is not None
    assert found.alarm[30] and not any(found.alarm[:20])
    band = found.channels["target"]
    assert band.lower[40] < band.expected[40] < band.upper[40]  # type: ignore[operator]  # all are there
    assert found.stream is None and "stream" not in answer.json()["series"][0]


def test_the_same_request_gives_the_same_answer(detect: Post) -> None:
    asked = {"model": "isolation_forest", "options": {"trees": 10}, "seed": 3}
    first = detect(part(0, 120), **asked)
    assert first.status_code == 200, first.text
    assert first.json() == detect(part(0, 120), **asked).json()
    assert first.json()["series"][0]["score"] != detect(part(0, 120), **asked | {"seed": 4}).json()["series"][0]["score"]


def test_channels_are_judged_together_and_the_one_that_is_out_is_named(detect: Post) -> None:
    series = {"id": 7, "start": moment(0), "freq": "h", "channels": {"cpu": values(), "mem": values(350, seed=1)}}
    [found] = detect(series, model="window_energy", since=moment(320)).json()["series"]
    assert found["id"] == 7 and set(found["channels"]) == {"cpu", "mem"}
    worst = max(found["events"], key=lambda event: event["peak_score"])
    assert worst["channels"][0]["name"] == "mem"
    assert worst["channels"][0]["severity_without"] < worst["severity"]


def test_series_of_several_clocks_keep_their_places_and_their_zones(detect: Post) -> None:
    hourly = part(0, 200, "z", start="2026-01-01T00:00:00Z")
    steps = {"id": "i", "start": 0, "freq": 5, "target": values()[:200]}
    berlin = part(0, 200, "b", tz="Europe/Berlin")
    found = detect(hourly, steps, berlin, part(0, 200, "n"), model="window_energy").json()
    assert [one["id"] for one in found["series"]] == ["z", "i", "b", "n"]
    firsts = [one["timestamps"][0] for one in found["series"]]
    assert firsts == ["2026-01-01T00:00:00Z", 0, "2026-01-01T00:00:00+01:00", "2026-01-01T00:00:00"]
    assert found["model"]["trained_until"] is None  # not one moment for all


def test_more_alarms_are_given_where_more_are_asked_for_and_none_in_windows_to_be_ignored(detect: Post) -> None:
    def alarms(**fields: Any) -> int:
        return sum(detect(part(0, HOURS), model="window_energy", since=moment(320), **fields).json()["series"][0]["alarm"])

    assert alarms(sensitivity=200) > alarms() > 0
    assert alarms(alarms={"ignore": [[moment(330), moment(479)]]}) == 0
    assert detect(part(0, 100), alarms={"ignore": [[3, 4]]}).json()["errors"][0]["field"] == "alarms.ignore[0]"


def test_labelled_anomalies_are_not_taken_for_ordinary(detect: Post) -> None:
    twice = values(250, 430)  # the second one lies where ordinary scores are learnt from
    labels = [int(430 <= row < 457) for row in range(HOURS)]
    plain = detect(part(0, HOURS, of=twice), model="window_energy").json()["series"][0]
    told = detect(part(0, HOURS, of=twice, labels=labels), model="window_energy").json()["series"][0]
    assert held_out_scores(plain) == 120 and 120 - 27 - 24 < held_out_scores(told) <= 120 - 27  # nor are windows half of them
    assert max(plain["p_value"][252], told["p_value"][252]) < 1e-4  # what nobody labelled is set aside where it stands out


def held_out_scores(series: dict[str, Any]) -> int:
    """How many scores a short series says that it is calibrated on."""
    [count] = [int(note.split()[2]) for note in series["notes"] if note.startswith("calibrated on")]
    return count


@pytest.mark.parametrize("name", [None, "window_energy", "seasonal_residual"])
def test_input_that_nothing_can_be_learnt_from_has_an_answer(detect: Post, name: str | None) -> None:
    one = problem(detect(part(0, 1), model=name), 422, "history-too-short")
    assert (one["errors"][0]["field"], one["errors"][0]["series"]) == ("series[0].target", "a")
    constant = detect(part(0, 100, of=[5.0] * 100), model=name).json()["series"][0]
    assert constant["events"] == [] and not any(constant["alarm"])
    beside = detect(part(0, 100, of=[None] * 100), part(0, 100, "b"), model=name).json()["series"][0]  # type: ignore[list-item]  # off
    assert set(beside["score"]) == {None} and set(beside["reason"]) == {"missing"} and beside["notes"]


def test_infinity_is_no_json_and_numbers_too_large_are_refused(served: Any) -> None:
    client = served()
    body = json.dumps({"series": [part(0, 3)]}).replace("10.", "1e999", 1)
    problem(client.post("/v1/anomalies", content=body, headers={"content-type": "application/json"}), 400, "malformed-json")
    refused = problem(client.post("/v1/anomalies", json={"series": [part(0, 2, of=[1, 1e200])]}), 422, "invalid-request")
    assert refused["errors"][0]["field"] == "series[0].target[1]"


@pytest.mark.parametrize(
    ("fields", "status", "field", "says"),
    [
        ({"model": "nope"}, 404, "model", "no model 'nope'"),
        ({"model": "seasonal_naive"}, 422, "model", "'forecast_residual' makes a detector of it"),
        ({"model": "window_energy", "options": {"windw": 3}}, 422, "options.windw", "did you mean 'window'?"),
        ({"model": "shape_neighbour", "options": {"window": -1}}, 422, "options.window", "window"),
        ({"model": "window_energy", "options": {"window": "x"}}, 422, "options.window", "must be int | None"),
        ({"options": {"window": 3}}, 422, "options", "are of a model; say which by `model`"),
        ({"since": moment(0)}, 422, "since", "leaves nothing to learn from"),
        ({"since": 3}, 422, "since", "must be an ISO 8601 timestamp, as the timestamps of the series are"),
    ],
)
def test_a_model_or_option_that_cannot_be_is_named(
    detect: Post, fields: dict[str, Any], status: int, field: str, says: str
) -> None:
    answer = detect(part(0, 100), **fields)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json"), answer.text
    error = answer.json()["errors"][0]
    assert error["field"] == field and says in error["message"]


@dataclass(frozen=True, kw_only=True)
class Endless(WindowEnergy):
    """Learns until a callback ends it."""

    name = "endless"
    ended: ClassVar[threading.Event] = threading.Event()

    def learn(self, series: Any, *, seed: int, train: Any, callbacks: Any) -> Any:
        try:
            for number in count(1):
                threading.Event().wait(0.01)
                for callback in callbacks:
                    callback(Epoch(number=number, values={}))
        finally:
            self.ended.set()


def test_learning_that_takes_too_long_ends_and_frees_its_thread(served: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(MODELS["anomaly"], "endless", "tests.service.test_anomalies_route:Endless")
    client = served(request_seconds=0.3, concurrency=1)
    refused = client.post("/v1/anomalies", json={"series": [part(0, 100)], "model": "endless"})
    problem(refused, 504, "timeout")
    assert Endless.ended.wait(20)
    assert client.post("/v1/anomalies", json={"series": [part(0, 100)], "model": "window_energy"}).status_code == 200


def test_what_is_learnt_from_in_one_call_is_bounded(served: Any) -> None:
    client = served(max_detect_points=150)
    both = {"id": "a", "start": moment(0), "freq": "h", "channels": {"cpu": values()[:100], "mem": values()[:100]}}
    refused = problem(client.post("/v1/anomalies", json={"series": [both]}), 422, "invalid-request")
    assert "at most 150 are learnt from in one request" in refused["detail"]


# ------------------------------------------------------------ stored detectors


def test_a_whole_history_is_judged_without_being_remembered(score: Post) -> None:
    first = score(part(0, HOURS), stateless=True, since=moment(340)).json()
    assert first == score(part(0, HOURS), stateless=True, since=moment(340)).json()
    assert first["series"][0]["timestamps"][0] == moment(340) and len(first["series"][0]["events"]) == 1
    early = score(part(0, 100, "b"), part(300, HOURS), stateless=True, since=moment(340)).json()["series"]
    assert [len(one["timestamps"]) for one in early] == [0, HOURS - 340]  # the place of a series with nothing to say is kept


def test_other_channels_another_step_and_another_kind_of_clock_are_refused(score: Post) -> None:
    host = {"id": "a", "start": moment(0), "freq": "h", "channels": {"cpu": [1, 2], "mem": [1, 2], "disk": [1, 2]}}
    new = problem(score(host, model="host"), 422, "other-channels")
    assert "'disk' is new to it" in new["detail"] and new["errors"][0]["field"] == "series[0].channels"
    daily = problem(score(part(0, 10, freq="D")), 422, "frequency-error")
    assert (daily["errors"][0]["field"], daily["errors"][0]["series"]) == ("series[0].freq", "a")
    zoned = problem(score(part(0, 10, start="2026-01-01T00:00Z")), 422, "invalid-request")
    assert "fitted on series without a zone" in zoned["detail"]
    half = problem(score(part(300, 302, start="2026-01-13T12:30:00")), 422, "frequency-error")
    assert half["errors"][0]["series"] == "a"


def test_detectors_do_not_forecast_and_forecasters_do_not_detect(served: Any) -> None:
    client = served()
    body = {"series": [part(0, 10)], "horizon": 2}
    refused = problem(client.post("/v1/forecast", json=body | {"model": "load"}), 409, "model-error")
    assert "send its series to POST /v1/anomalies/score" in refused["detail"] and refused["errors"][0]["field"] == "model"
    unstored = problem(client.post("/v1/forecast", json=body | {"model": "window_energy"}), 404, "unknown-model")
    assert "POST /v1/anomalies fits one" in unstored["detail"]
    asked = {"series": [part(0, 10)], "model": "demand"}
    assert "makes forecasts" in problem(client.post("/v1/anomalies/score", json=asked), 409, "model-error")["detail"]
    problem(client.post("/v1/anomalies/score", json=asked | {"model": "nope"}), 404, "unknown-model")


def test_detectors_are_described_with_their_task_and_are_no_default(served: Any) -> None:
    client = served()
    assert client.app.state.services.models.default_model.name == "demand"  # the only forecaster, detectors beside it or not
    found = {name: client.get(f"/v1/models/{name}").json() for name in ("demand", "host", "load", "window_energy")}
    versions = {name: one["versions"][0] for name, one in found.items() if one["versions"]}
    assert {name: one["task"] for name, one in versions.items()} == {"demand": "forecast", "host": "anomaly", "load": "anomaly"}
    host = versions["host"]
    assert (host["channels"], host["horizon"], host["freq"]) == (["cpu", "mem"], None, "h")
    assert found["window_energy"]["architecture"]["task"] == "anomaly"


def test_recalibration_and_fits_leave_out_what_feedback_called_true(served: Any) -> None:
    client = served()
    series = part(300, HOURS, of=values(350, 430))

    def calibrated_on(asked: dict[str, Any]) -> int:
        path = "/v1/anomalies/score" if "stateless" in asked else "/v1/anomalies"
        answer = client.post(path, json={"series": [series]} | asked)
        assert answer.status_code == 200, answer.text
        return held_out_scores(answer.json()["series"][0])

    scored = {"model": "load", "stateless": True, "recalibrate": True}
    fitted = {"model": "window_energy", "feedback": "load"}
    before = [calibrated_on(scored), calibrated_on(fitted)]
    said = {"model": "load", "series": "a", "start": moment(430), "end": moment(456), "label": "true alarm"}
    assert client.post("/v1/anomalies/feedback", json=said).json()["new"]
    assert before[0] - calibrated_on(scored) >= 27 and before[1] - calibrated_on(fitted) >= 27


# ------------------------------------------------------------ documentation


def test_each_documented_example_gets_the_documented_answer(served: Any) -> None:
    client = served()
    paths = client.get("/openapi.json").json()["paths"]
    for path, examples in (("", DETECT_EXAMPLES), ("/score", SCORE_EXAMPLES), ("/feedback", FEEDBACK_EXAMPLES)):
        operation = paths[f"/v1/anomalies{path}"]["post"]
        assert operation["requestBody"]["content"]["application/json"]["examples"].keys() == examples.keys()
        assert examples
        for name, example in examples.items():
            answer = client.post(f"/v1/anomalies{path}", json=example["request"])
            assert answer.status_code == 200, answer.text
            same(answer.json(), example["answer"], name)


def same(found: Any, told: Any, where: str) -> None:
    """Equal, numbers nearly, and the moment at which feedback came whatever it is."""
    if isinstance(told, dict):
        assert found.keys() == told.keys(), where
        for key in told:
            if key not in ("at", "version"):
                same(found[key], told[key], f"{where}.{key}")
    elif isinstance(told, list):
        assert len(found) == len(told), where
        for i, (one, other) in enumerate(zip(found, told, strict=True)):
            same(one, other, f"{where}[{i}]")
    elif isinstance(told, float):
        assert found == pytest.approx(told, rel=1e-4, abs=1e-6), f"{where}: update service/anomaly_examples.py"
    else:
        assert found == told, f"{where}: update service/anomaly_examples.py"


def test_answers_match_the_documented_schemas(served: Any) -> None:
    client = served()
    body = {"series": [part(300, HOURS)], "model": "load"}
    anomaly_schemas.AnomalyAnswer.model_validate(client.post("/v1/anomalies/score", json=body).json(), strict=True)
    anomaly_schemas.EventList.model_validate(client.get("/v1/anomalies/events").json(), strict=True)
    said = {"model": "load", "series": "a", "start": moment(345), "end": moment(376), "label": "true alarm"}
    anomaly_schemas.FeedbackAnswer.model_validate(client.post("/v1/anomalies/feedback", json=said).json(), strict=True)


def test_a_forecaster_that_is_fitted_at_each_step_is_refused(served: Any) -> None:
    client = served()
    for slow in ("auto_arima", "prophet", "seasonal_naive"):
        inside = {
            "members": ["window_energy", "forecast_residual"],
            "member_options": {"forecast_residual": {"forecaster": slow}},
        }
        asked = [
            ("forecast_residual", {"forecaster": slow}, "options.forecaster"),
            ("ensemble", inside, "options.member_options.forecast_residual.forecaster"),
        ]
        for model, options, field in asked:
            body = {"series": [part(0, 200)], "model": model, "options": options}
            [error] = problem(client.post("/v1/anomalies", json=body), 422, "invalid-request")["errors"]
            assert error["field"] == field and f"{slow!r} is fitted again at each step" in error["message"]
            allowed = error["message"].split("allowed are ")[1].split(", ")
            assert {"linear", "mlp", "gru"} < set(allowed) and not {"auto_arima", "prophet", "tsb"} & set(allowed)


def test_an_ensemble_may_be_asked_for_by_name(detect: Post) -> None:
    found = detect(part(0, 120), model="ensemble", options={"members": ["window_energy", "seasonal_residual"]})
    assert found.status_code == 200, found.text
    assert found.json()["model"]["architecture"] == "ensemble"
