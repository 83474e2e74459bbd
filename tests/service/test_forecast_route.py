import json
import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from tests.service.conftest import daily
from tests.service.fakes import MemoryStore, ramp_flow
from tsforecast.errors import ArtifactError, CovariateError, ModelError
from tsforecast.panel import Panel

Ask = Callable[..., Any]
PROBLEM = {"type", "title", "status", "detail", "errors", "request_id"}


def problem(answer: Any, status: int, kind: str) -> dict[str, Any]:
    """The body of an answer, after checking that it is the problem it should be."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = answer.json()
    assert set(body) == PROBLEM
    assert (body["status"], body["type"]) == (status, f"urn:tsforecast:{kind}")
    assert body["request_id"] == answer.headers["x-request-id"]
    return body


# ------------------------------------------------------------ what is answered


def test_the_answer_has_the_model_the_timestamps_and_the_quantiles(ask: Ask) -> None:
    answer = ask(daily(target=[1, 2, 3]), quantile_levels=[0.1, 0.5])
    assert answer.status_code == 200
    assert answer.json() == {
        "model": {"name": "demand", "version": "1", "trained_until": "2024-01-05T00:00:00", "architecture": "ramp"},
        "forecasts": [
            {
                "id": "a",
                "timestamps": ["2024-01-04T00:00:00", "2024-01-05T00:00:00"],
                "quantiles": {"0.1": [0.0, 1.0], "0.5": [4.0, 5.0]},
            }
        ],
    }


def test_series_come_back_in_order_under_the_ids_they_were_given(ask: Ask) -> None:
    ids = ["z", 7, "a", "ü/🙂 \u0000\"'"]
    answer = ask(*(daily(series_id, target=[place]) for place, series_id in enumerate(ids))).json()
    assert [one["id"] for one in answer["forecasts"]] == ids
    assert [one["quantiles"]["0.5"][0] for one in answer["forecasts"]] == [1.0, 2.0, 3.0, 4.0]


def test_many_series_are_one_call_of_the_model(start: Ask, store: MemoryStore) -> None:
    asked: list[Panel] = []
    store.put("demand", ramp_flow(before=asked.append))
    client = start()
    asked.clear()  # the call that warmed it
    client.post("/v1/forecast", json={"series": [daily(i) for i in range(50)]}).raise_for_status()
    assert [len(panel) for panel in asked] == [50]


def test_series_of_several_clocks_are_put_back_in_their_places(ask: Ask) -> None:
    series = [
        daily("d", target=range(8)),
        {"id": "i", "start": 0, "freq": 5, "target": [1, 1]},
        daily("e", target=range(8, 16)),
        {"id": "z", "start": "2024-01-01T00:00Z", "freq": "D", "target": list(range(8))},
        {"id": "b", "start": "2024-03-24", "tz": "Europe/Berlin", "freq": "D", "target": list(range(8))},
    ]
    forecasts = ask(*series, model="seasonal_naive").json()["forecasts"]
    assert [one["id"] for one in forecasts] == ["d", "i", "e", "z", "b"]
    assert [one["timestamps"][0] for one in forecasts] == [
        "2024-01-09T00:00:00",
        10,
        "2024-01-09T00:00:00",
        "2024-01-09T00:00:00Z",
        "2024-04-01T00:00:00+02:00",
    ]


def test_a_day_that_begins_at_an_offset_needs_its_zone(ask: Ask) -> None:
    """At 22:00 of the day before in UTC: weekdays and holidays would be those of another day."""
    series = {"id": "z", "start": "2024-04-15T00:00:00+02:00", "freq": "D", "target": list(range(8))}
    refused = ask(series, model="seasonal_naive")
    assert refused.status_code == 422
    assert "an offset does not say which; pass tz, such as 'Europe/Berlin'" in refused.text
    [found] = ask(series | {"tz": "Europe/Berlin"}, model="seasonal_naive").json()["forecasts"]
    assert found["timestamps"][0] == "2024-04-23T00:00:00+02:00"


def test_series_that_say_one_clock_in_two_ways_keep_their_forecasts(ask: Ask) -> None:
    listed = {"id": "listed", "timestamps": ["2024-01-01", "2024-01-02"], "target": [20, 20]}
    forecasts = ask(daily("a", [10]), listed, daily("b", [30]), horizon=1).json()["forecasts"]
    found = {one["id"]: (one["timestamps"][0], one["quantiles"]["0.5"][0]) for one in forecasts}
    assert list(found) == ["a", "listed", "b"]
    assert found == {
        "a": ("2024-01-02T00:00:00", 11.0),
        "listed": ("2024-01-03T00:00:00", 21.0),
        "b": ("2024-01-02T00:00:00", 31.0),
    }


def test_timestamps_finer_than_seconds_keep_their_fraction(ask: Ask) -> None:
    series = {"id": "f", "start": "2024-01-01T00:00:00.25", "freq": "500ms", "target": [1, 2, 3]}
    [forecast] = ask(series, model="seasonal_naive", horizon=1).json()["forecasts"]
    assert forecast["timestamps"] == ["2024-01-01T00:00:01.750000000"]


def test_series_that_end_at_different_times_get_their_own_timestamps(ask: Ask) -> None:
    forecasts = ask(daily("a", [1, 2]), daily("b", [1, 2, 3]), horizon=1).json()["forecasts"]
    assert [one["timestamps"] for one in forecasts] == [["2024-01-03T00:00:00"], ["2024-01-04T00:00:00"]]


def test_levels_are_named_in_full(ask: Ask) -> None:
    [forecast] = ask(level=[95, 99.9]).json()["forecasts"]
    assert list(forecast["quantiles"]) == ["0.0005", "0.025", "0.5", "0.975", "0.9995"]


def test_null_is_not_observed_and_the_forecast_starts_after_the_last_row(ask: Ask) -> None:
    [forecast] = ask(daily(target=[1, None, 5, None])).json()["forecasts"]
    assert forecast["timestamps"][0] == "2024-01-05T00:00:00"
    assert forecast["quantiles"]["0.5"] == [6.0, 7.0]


def test_the_horizon_defaults_to_the_longest_of_the_model(client: Any) -> None:
    [forecast] = client.post("/v1/forecast", json={"series": [daily()]}).json()["forecasts"]
    assert len(forecast["timestamps"]) == 14
    body = problem(client.post("/v1/forecast", json={"series": [daily()], "model": "seasonal_naive"}), 422, "invalid-request")
    assert body["errors"] == [
        {
            "field": "horizon",
            "series": None,
            "message": "is missing: 'seasonal_naive' was not trained for one; say how many steps ahead",
        }
    ]


@pytest.mark.parametrize("name", ["demand", "demand@champion", "demand/1"])
def test_a_model_is_asked_by_name_alias_or_version(ask: Ask, name: str) -> None:
    assert ask(model=name).json()["model"]["version"] == "1"


def test_the_answer_names_the_version_that_made_it_after_a_swap(client: Any, ask: Ask, store: MemoryStore) -> None:
    assert ask(daily(target=[0])).json()["forecasts"][0]["quantiles"]["0.5"] == [1.0, 2.0]
    store.put("demand", ramp_flow(slope=10.0))
    client.app.state.services.models.refresh()
    answer = ask(daily(target=[0])).json()
    assert answer["model"]["version"] == "2"
    assert answer["forecasts"][0]["quantiles"]["0.5"] == [10.0, 20.0]
    assert ask(daily(target=[0]), model="demand/1").json()["forecasts"][0]["quantiles"]["0.5"] == [1.0, 2.0]


def test_the_same_request_gets_the_same_bytes_also_from_many_threads(ask: Ask) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: ask(daily(target=[1.1, 2.2, None])).content, range(24)))
    assert len(set(answers)) == 1


# ------------------------------------------------------------ what is refused


def test_what_is_wrong_with_a_series_is_told_with_its_place_and_id(ask: Ask) -> None:
    body = problem(ask(daily(), daily("b", target=[1, "x"])), 422, "invalid-request")
    message = "must be a number or null (not observed), got the string 'x'"
    assert body["errors"] == [{"field": "series[1].target[1]", "series": "b", "message": message}]
    assert body["detail"] == f"series[1].target[1]: {message}"


def test_what_the_model_refuses_is_told_with_the_place_and_the_id_as_given(start: Ask, store: MemoryStore) -> None:
    store.put("demand", ramp_flow(need=3))
    client = start()
    answer = client.post("/v1/forecast", json={"series": [daily(1), daily(2, target=[1, 2])], "horizon": 2})
    body = problem(answer, 422, "history-too-short")
    message = "series '2' has 2 observations, the model needs at least 3"
    assert body["errors"] == [{"field": "series[1].target", "series": 2, "message": message}]


def test_a_step_that_is_not_the_model_s_is_refused_with_both_named(ask: Ask) -> None:
    hourly = daily("b") | {"freq": "h"}
    body = problem(ask(daily("a"), hourly, hourly | {"id": 9}), 422, "frequency-error")
    assert [(one["field"], one["series"]) for one in body["errors"]] == [("series[1].freq", "b"), ("series[2].freq", 9)]
    assert "the model was fitted on steps of 'D', these series step by 'h'" in body["detail"]


def test_a_horizon_beyond_the_model_s_is_refused(ask: Ask) -> None:
    body = problem(ask(horizon=15), 422, "horizon-error")
    assert body["errors"][0]["field"] == "horizon"
    assert "horizon 15 is longer than the 14 steps this 'ramp' was fitted for" in body["detail"]


@pytest.mark.parametrize("name", ["nope", "demand/9", "demand@nobody", "gru", "../../etc/passwd"])
def test_an_unknown_model_is_404(ask: Ask, name: str) -> None:
    assert problem(ask(model=name), 404, "unknown-model")["errors"][0]["field"] == "model"


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        (ModelError("cannot do that"), 409, "model-error"),
        (CovariateError("needs prices", field="covariates"), 422, "covariate-error"),
    ],
)
def test_other_refusals_of_the_model_keep_their_words(
    start: Ask, store: MemoryStore, error: Exception, status: int, kind: str
) -> None:
    failing = threading.Event()

    def before(_: Panel) -> None:
        if failing.is_set():
            raise error

    store.put("demand", ramp_flow(before=before))
    client = start()
    failing.set()
    assert problem(client.post("/v1/forecast", json={"series": [daily()]}), status, kind)["detail"] == str(error)


@pytest.mark.parametrize("error", [RuntimeError("secret"), ArtifactError("/secret/path is damaged"), MemoryError("secret")])
def test_a_fault_of_the_service_is_500_and_says_nothing_but_its_id(
    start: Ask, store: MemoryStore, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    failing = threading.Event()

    def before(_: Panel) -> None:
        if failing.is_set():
            raise error

    store.put("demand", ramp_flow(before=before))
    client = start()
    failing.set()
    answer = client.post("/v1/forecast", json={"series": [daily()]}, headers={"X-Request-Id": "find-me"})
    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/problem+json"
    assert "secret" not in answer.text and "Traceback" not in answer.text
    assert answer.json()["request_id"] == "find-me"
    assert "secret" in caplog.text and "Traceback" in caplog.text


def test_a_forecast_that_is_no_number_is_refused_and_not_sent_as_null(start: Ask, store: MemoryStore) -> None:
    store.put("demand", ramp_flow(slope=float("inf")))
    body = problem(start().post("/v1/forecast", json={"series": [daily("x", [1, None, 3])]}), 422, "not-finite")
    message = "its forecast is not a finite number; its values span 1 to 3, rescale them"
    assert body["errors"] == [{"field": "series[0].target", "series": "x", "message": message}]


@pytest.mark.parametrize("body", [b"", b"{", b"nope", b'{"series": NaN}', b"[" * 3000 + b"]" * 3000, b'"\xff"', b'{"a": 1e999}'])
def test_what_is_no_json_is_400(client: Any, body: bytes) -> None:
    answer = client.post("/v1/forecast", content=body, headers={"Content-Type": "application/json"})
    assert "write null for what was not observed" in problem(answer, 400, "malformed-json")["detail"]


@pytest.mark.parametrize(
    ("headers", "kind", "says"),
    [
        ({"Content-Type": "application/x-www-form-urlencoded"}, "not-json", "'application/x-www-form-urlencoded'"),
        ({"Content-Type": "text/plain"}, "not-json", "send JSON with Content-Type: application/json"),
        ({"Content-Type": "application/json", "Content-Encoding": "gzip"}, "encoded-body", "send it plain"),
    ],
)
def test_what_is_declared_as_something_else_is_415(client: Any, headers: dict[str, str], kind: str, says: str) -> None:
    answer = client.post("/v1/forecast", content=json.dumps({"series": [daily()]}), headers=headers)
    assert says in problem(answer, 415, kind)["detail"]


@pytest.mark.parametrize("kind", ["application/json; charset=utf-8", "Application/JSON", "application/vnd.api+json"])
def test_json_by_its_other_names_is_read(client: Any, kind: str) -> None:
    answer = client.post("/v1/forecast", content=json.dumps({"series": [daily()]}), headers={"Content-Type": kind})
    assert answer.status_code == 200


def test_a_large_body_is_413_told_by_its_length_or_found_while_reading(start: Ask) -> None:
    client = start(max_body_bytes=1000)
    body = json.dumps({"series": [daily()]}).encode()
    kind = {"Content-Type": "application/json"}
    problem(client.post("/v1/forecast", content=body + b" " * 1000, headers=kind), 413, "body-too-large")
    chunks = (b" " * 100 for _ in range(100))  # sent without Content-Length
    problem(client.post("/v1/forecast", content=chunks, headers=kind), 413, "body-too-large")
    assert client.post("/v1/forecast", content=(part for part in [body[:10], body[10:]]), headers=kind).status_code == 200
    assert client.app.state.services.body_bytes == 0


def test_many_large_bodies_at_once_are_turned_away_before_they_fill_the_memory(start: Ask) -> None:
    client = start(max_body_bytes=1000)
    services = client.app.state.services
    services.body_bytes = 4 * 1000  # what others are sending
    answer = client.post("/v1/forecast", json={"series": [daily()]})
    assert "too many large bodies are being read" in problem(answer, 503, "overloaded")["detail"]
    assert (answer.headers["retry-after"], services.body_bytes) == ("1", 4000)
    services.body_bytes = 0
    assert client.post("/v1/forecast", json={"series": [daily()]}).status_code == 200


def test_limits_of_the_settings_hold(start: Ask) -> None:
    client = start(max_series=2, max_points=4, max_total_points=6, max_horizon=5, max_answer_values=11)

    def told(*series: Any, **fields: Any) -> str:
        answer = client.post("/v1/forecast", json={"series": list(series), "horizon": 1} | fields)
        return str(problem(answer, 422, "invalid-request")["errors"][0]["message"])

    assert told(*(daily(i) for i in range(3))) == "holds 3 series, at most 2 are forecast in one request; split it"
    assert told(daily(target=range(5))) == "holds 5 values, at most 4 of one series are read; send the latest ones"
    assert (
        told(daily(1, range(4)), daily(2, range(4))) == "holds 8 values in all, at most 6 are forecast in one request; split it"
    )
    assert told(daily(), horizon=6) == "must be at most 5 steps here, got 6"
    assert (
        told(daily(1), daily(2), horizon=2)
        == "the answer would hold 12 values, at most 11; ask for fewer series, steps or levels"
    )


# ------------------------------------------------------------ busy, slow


def test_overload_is_503_and_a_late_answer_504_and_then_it_goes_on(start: Ask, store: MemoryStore) -> None:
    gate, entered, holding = threading.Event(), threading.Event(), threading.Event()

    def before(_: Panel) -> None:
        if holding.is_set():
            entered.set()
            gate.wait(30)

    store.put("demand", ramp_flow(before=before))
    client = start(concurrency=1, max_waiting=0, request_seconds=1.0)
    holding.set()
    body = {"series": [daily()]}
    with ThreadPoolExecutor(1) as pool:
        late = pool.submit(client.post, "/v1/forecast", json=body)
        assert entered.wait(30)
        busy = client.post("/v1/forecast", json=body)
        assert int(busy.headers["retry-after"]) >= 1
        problem(busy, 503, "overloaded")
        assert client.get("/livez").status_code == 200
        assert "still computing after 1 s" in problem(late.result(), 504, "timeout")["detail"]
    holding.clear()
    gate.set()
    services = client.app.state.services
    while services.workers._unfinished:
        client.get("/livez")
    assert client.post("/v1/forecast", json=body).status_code == 200


def test_before_the_default_model_is_there_503_says_why_but_named_models_answer(start: Ask) -> None:
    client = start(models=MemoryStore())
    answer = client.post("/v1/forecast", json={"series": [daily()]})
    assert "no model is stored in memory" in problem(answer, 503, "not-ready")["detail"]
    assert answer.headers["retry-after"] == "5"
    named = client.post("/v1/forecast", json={"series": [daily(target=range(9))], "horizon": 1, "model": "seasonal_naive"})
    assert named.status_code == 200


def test_a_registry_that_is_away_is_503_without_its_address(ask: Ask, store: MemoryStore) -> None:
    store.away = True
    answer = ask(model="demand/1")
    assert problem(answer, 503, "tracking-error")["detail"] == "the model registry cannot be reached; try again"
    assert "retry-after" in answer.headers
    assert ask().status_code == 200  # what is in memory goes on answering


# ------------------------------------------------------------ ids and logs


def test_a_request_id_is_taken_over_if_it_can_be_and_made_if_not(client: Any) -> None:
    assert client.get("/livez", headers={"X-Request-Id": "job-17/a.b:c"}).headers["x-request-id"] == "job-17/a.b:c"
    odd = (b"", b"x" * 129, b"a b", b'a"b', b"\xc3\xa9")
    made = [client.get("/livez", headers={"X-Request-Id": one}).headers["x-request-id"] for one in odd]
    assert all(len(one) == 32 for one in made)
    assert len(set(made)) == 5


def test_each_request_leaves_one_line_with_its_facts_and_nothing_of_its_series(
    client: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "service.request")
    client.post("/v1/forecast", json={"series": [daily("secret-id", [123.25, 2])], "horizon": 3}, headers={"X-Request-Id": "r1"})
    client.get("/v1/models/demand")
    client.get("/no/such/path?token=secret")
    client.get("/readyz")
    first, second, third = [record.facts for record in caplog.records if record.name == "service.request"]  # type: ignore[attr-defined]
    assert {key: value for key, value in first.items() if key not in ("ms", "model_ms", "bytes_in", "bytes_out")} == {
        "method": "POST",
        "route": "/v1/forecast",
        "status": 200,
        "request_id": "r1",
        "series": 1,
        "points": 2,
        "horizon": 3,
        "model": "demand",
        "version": "1",
    }
    assert (first["ms"] >= first["model_ms"] >= 0, first["bytes_in"] > 50, first["bytes_out"] > 50) == (True, True, True)
    assert (second["route"], second["status"]) == ("/v1/models/{name}", 200)
    assert (third["route"], third["status"], third["problem"]) == ("unmatched", 404, "not-found")
    assert "secret" not in caplog.text and "123.25" not in caplog.text


def test_a_log_line_is_one_json_object_also_with_a_traceback_and_odd_values() -> None:
    from service.logs import JsonLines

    try:
        raise ValueError("line\nbreak")
    except ValueError as error:
        info = (type(error), error, error.__traceback__)
    record = logging.LogRecord("service.request", logging.ERROR, __file__, 1, "said %s", ("it\n",), info)
    record.facts = {"model": np.float64(1.5), "path": object}
    text = JsonLines().format(record)
    assert "\n" not in text
    line = json.loads(text)
    assert (line["level"], line["message"], line["model"]) == ("error", "said it\n", 1.5)
    assert "ValueError" in line["traceback"]


# ------------------------------------------------------------ fallbacks


def test_a_series_forecast_by_a_fallback_says_so_and_the_others_do_not(
    start: Ask, store: MemoryStore, caplog: pytest.LogCaptureFixture
) -> None:
    store.put("demand", ramp_flow(falls=("7",)))
    client = start()
    with caplog.at_level(logging.INFO, logger="service"):
        rows = client.post("/v1/forecast", json={"series": [daily("a"), daily(7)], "horizon": 2}).json()["forecasts"]
    assert [row.get("fallback") for row in rows] == [None, "no root, naive instead"]
    assert set(rows[0]) == {"id", "timestamps", "quantiles"} and rows[1]["id"] == 7
    told = [getattr(record, "facts", {}) for record in caplog.records]
    assert [facts["series_fallback"] for facts in told if "series_fallback" in facts] == [1]


def test_the_document_says_that_fallback_is_there_only_then(client: Any) -> None:
    shape = client.get("/openapi.json").json()["components"]["schemas"]["SeriesForecast"]
    assert shape["properties"]["fallback"]["type"] == "string"
    assert "default" not in shape["properties"]["fallback"] and "fallback" not in shape["required"]
