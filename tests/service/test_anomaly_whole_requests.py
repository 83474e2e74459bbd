"""POST /v1/anomalies/score as a whole: all series or none, how much and how long, and what an answer has to say besides."""

import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import tsforecast
from service.anomaly_answers import judge_new_values
from service.app import create_app
from service.detectors import FORGOTTEN, REFITTED, UNREADABLE
from service.model_store import FolderStore
from service.settings import Settings
from tests.service.conftest import TestClient, restartable
from tests.service.test_anomalies_route import FIT, HOURS, moment, part, store_detectors, values
from tests.service.test_forecast_route import problem
from tsforecast.preprocessing.validate import panel_from_lists

Serve = Callable[..., TestClient]


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("detectors")
    store_detectors(folder)
    return folder


@pytest.fixture
def serve(stored: Path, tmp_path: Path) -> Iterator[Serve]:
    """serve(state_dir=…) -> a client; one that is started later finds what those before it have left."""
    models = tmp_path / "models"
    shutil.copytree(stored, models)
    yield from restartable(models)


def posted(client: TestClient, *series: Any, **fields: Any) -> Any:
    return client.post("/v1/anomalies/score", json={"series": list(series), "model": "load"} | fields)


def judged(client: TestClient, *series: Any, **fields: Any) -> list[dict[str, Any]]:
    answer = posted(client, *series, **fields)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["series"]
    return found


def refit(client: TestClient, folder: Path) -> None:
    """Another version of "load"."""
    panel = panel_from_lists(ids=["a"], targets=[values(seed=3)[:FIT]], starts=[moment(0)], freq="h")
    shutil.rmtree(folder / "load")
    tsforecast.build_model("window_energy").fit(panel).save(folder / "load")
    client.app.state.services.models.refresh()


# ------------------------------------------------------------ all series or none


@pytest.mark.parametrize(
    ("wrong", "fields", "status"),
    [
        (part(0, 1, "b", start="2126-01-01"), {}, 422),  # a century of steps to be skipped
        (part(311, 312, "b", timestamps=["2026-01-13T23:30:00"], start=None, freq=None), {}, 422),  # between two steps
        (part(311, 312, "b"), {"sensitivity": 7.0}, 409),
    ],
    ids=["far", "off the clock", "other rules"],
)
def test_what_is_wrong_with_one_series_moves_no_other(serve: Serve, wrong: Any, fields: Any, status: int) -> None:
    client = serve()
    judged(client, part(300, 310), **fields)
    judged(client, part(300, 310, "b"))
    asked = {key: one for key, one in wrong.items() if one is not None}
    refused = posted(client, part(310, 320), part(0, 5, "new"), asked, **fields)
    assert refused.status_code == status, refused.text
    assert {error["series"] for error in refused.json()["errors"]} == {"b"}
    left = judged(client, part(310, 311)) + judged(client, part(0, 1, "new"), alarms={"sensitivity": 1.0})  # nor has one begun
    assert [(one["stream"]["judged"], one["stream"]["repeated"]) for one in left] == [(11, [False]), (1, [False])]


def test_a_reset_that_is_refused_forgets_nothing(serve: Serve) -> None:
    client = serve()
    judged(client, part(300, 310), part(300, 310, "b"))
    gap = {"id": "b", "timestamps": [moment(310), "2126-01-01T00:00:00"], "target": [1, 2]}
    refused = problem(posted(client, part(310, 311), gap, reset=True), 422, "invalid-series")
    assert refused["errors"]
    off = part(0, 2, "a", start="2026-01-13T12:30:00")
    problem(posted(client, part(310, 311, "b"), off, reset=True), 422, "frequency-error")
    assert [one["stream"]["judged"] for one in judged(client, part(310, 311), part(310, 311, "b"))] == [11, 11]


# ------------------------------------------------------------ how much, and how long


def test_steps_that_are_skipped_count_with_those_that_are_sent(serve: Serve) -> None:
    client = serve(max_total_points=2_000)
    ids = ["w", "x", "y"]
    judged(client, *(part(300, 301, one) for one in ids))
    body = [part(0, 1, one, start=str(moment(300 + steps))) for one, steps in zip(ids, (1, 900, 1_150), strict=True)]
    refused = problem(posted(client, *body), 422, "invalid-request")
    assert [(one["field"], one["series"]) for one in refused["errors"]] == [("series[2].start", "y"), ("series[1].start", "x")]
    assert "skips 1,149 steps" in refused["errors"][0]["message"] and "has 2,051 values" in refused["detail"]
    assert [one["stream"]["judged"] for one in judged(client, *(part(301, 302, one) for one in ids))] == [2, 2, 2]


def test_an_answer_does_not_list_the_steps_that_were_skipped(serve: Serve) -> None:
    client = serve()
    judged(client, part(300, 301))
    [late] = judged(client, part(0, 1, start=moment(5_000)))
    assert late["stream"]["skipped"] == 4_699 and late["stream"]["judged"] == 4_701
    assert len(late["stream"]["revised"]["timestamps"]) <= 1 and None not in late["stream"]["revised"]["score"]


def test_a_request_that_takes_too_long_stops_between_series_and_says_how_far_it_came(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = serve(request_seconds=1.5, concurrency=1)
    ids = [f"s{i}" for i in range(6)]

    def slowly(one: Any, *args: Any, **fields: Any) -> dict[str, Any]:
        if one.key[2] == "s2":
            time.sleep(2)
        return judge_new_values(one, *args, **fields)

    with monkeypatch.context() as slow:
        slow.setattr("service.routes.anomalies.judge_new_values", slowly)
        refused = problem(posted(client, *(part(300, 303, one) for one in ids)), 504, "timeout")
        assert "of at least 2 of its 6 series have moved: send it again in smaller parts" in refused["detail"]
        services = client.app.state.services
        while services.workers._unfinished:
            time.sleep(0.05)
    moved = [one.key[2] for one in services.streams._open.values() if one.stream.rows == 3]
    assert moved == ids[:3]  # the thread went no further
    again = judged(client, *(part(300, 303, one) for one in ids))
    assert [all(one["stream"]["repeated"]) for one in again] == [True] * 3 + [False] * 3


# ------------------------------------------------------------ what an answer has to say besides


def test_values_that_are_not_read_are_counted_in_a_note(serve: Serve) -> None:
    client = serve()
    judged(client, part(300, 310))
    judged(client, part(320, 321))
    other = values(350)
    other[305:308] = [99.0, 98.0, 97.0]
    [changed] = judged(client, part(305, 310, of=other))
    assert changed["notes"] == [
        '3 of the values sent differ from those that were judged for their steps, and were not read; "reset": true begins anew'
    ]
    [late] = judged(client, part(308, 312))
    assert [note.partition(",")[0] for note in late["notes"]] == [
        "2 of the values sent came after their steps had been judged as missing"
    ]
    [early] = judged(client, part(290, 301))
    [note] = early["notes"]
    assert note.startswith("10 of the values sent lie before the first step that was judged")
    assert judged(client, part(300, 310))[0]["notes"] == []


def test_a_reset_forgets_the_events_of_its_stream_and_no_others(serve: Serve, tmp_path: Path) -> None:
    client = serve(state_dir=str(tmp_path / "state"))
    judged(client, part(300, HOURS), part(300, HOURS, "b"))
    [event] = [one for one in client.get("/v1/anomalies/events").json()["events"] if one["series"] == "a"]
    judged(client, part(300, 301), reset=True)
    client = serve(state_dir=str(tmp_path / "state"))
    assert {one["series"] for one in client.get("/v1/anomalies/events").json()["events"]} == {"b"}
    said = {"model": "load", "event": event["id"], "label": "true alarm"}
    problem(client.post("/v1/anomalies/feedback", json=said), 404, "unknown-event")


@pytest.mark.parametrize("restart", [False, True])
def test_a_detector_that_was_fitted_anew_begins_streams_anew_and_says_so_once(
    serve: Serve, tmp_path: Path, restart: bool
) -> None:
    client = serve(state_dir=str(tmp_path / "state"))
    judged(client, part(300, 310))
    refit(client, tmp_path / "models")
    if restart:
        client = serve(state_dir=str(tmp_path / "state"))
    first, new = judged(client, part(310, 311), part(310, 311, "new"))
    assert first["notes"] == [REFITTED] and REFITTED not in new["notes"]
    assert judged(client, part(311, 312))[0]["notes"] == []


def test_a_stream_that_cannot_be_read_or_has_left_memory_begins_anew_and_says_so_once(serve: Serve, tmp_path: Path) -> None:
    state = tmp_path / "state"
    judged(serve(state_dir=str(state)), part(300, 310))
    serve()
    [damaged] = (state / "streams").glob("*/stream.json")
    damaged.write_text("{")
    client = serve(state_dir=str(state))
    assert [judged(client, part(row, row + 1))[0]["notes"] for row in (310, 311)] == [[UNREADABLE], []]
    client = serve(max_streams=1)
    for one in "ab":
        judged(client, part(300, 305, one))
    assert judged(client, part(305, 306, "a"))[0]["notes"] == [FORGOTTEN]
    assert judged(client, part(306, 307, "b"), reset=True)[0]["notes"][:1] != [FORGOTTEN]  # asked for


# ------------------------------------------------------------ zones, feedback, ways out


def test_an_offset_where_the_series_have_no_zone_is_refused_wherever_it_stands(serve: Serve) -> None:
    client = serve()
    zoned = f"{moment(305)}+02:00"
    for field, fields in (
        ("since", {"since": zoned, "stateless": True}),
        ("alarms.ignore[0]", {"alarms": {"ignore": [[zoned, f"{moment(306)}+02:00"]]}}),
    ):
        [error] = problem(posted(client, part(300, 310), **fields), 422, "invalid-request")["errors"]
        assert error["field"] == field and "must have no UTC offset" in error["message"]
    said = {"model": "load", "series": "a", "start": zoned, "end": f"{moment(306)}+02:00", "label": "true alarm"}
    refused = problem(client.post("/v1/anomalies/feedback", json=said), 422, "invalid-request")
    assert [one["field"] for one in refused["errors"]] == ["start", "end"]
    berlin = part(0, 200, tz="Europe/Berlin")
    fitted = {"series": [berlin], "model": "window_energy"}
    for since in (moment(150), f"{moment(150)}+01:00"):  # naive: on the wall clock of the series
        [found] = client.post("/v1/anomalies", json=fitted | {"since": since}).json()["series"]
        assert found["timestamps"][0] == f"{moment(150)}+01:00"


def test_the_way_out_of_a_value_too_far_ahead_is_that_of_http(serve: Serve) -> None:
    client = serve()
    judged(client, part(300, 310))
    refused = problem(posted(client, part(0, 1, start="2126-01-01")), 422, "frequency-error")
    for text in (refused["detail"], refused["errors"][0]["message"]):
        assert text.endswith('if it is right, begin anew: set "reset": true') and "detector.stream" not in text


def test_feedback_that_leaves_nothing_to_learn_from_is_named(serve: Serve) -> None:
    client = serve()
    said = {"model": "load", "series": "a", "start": moment(0), "end": moment(HOURS), "label": "true alarm"}
    client.post("/v1/anomalies/feedback", json=said).raise_for_status()
    refused = client.post("/v1/anomalies", json={"series": [part(0, 200)], "model": "local_level", "feedback": "load"})
    detail = problem(refused, 422, "history-too-short")["detail"]
    assert "; 200 of the rows are not learnt from" in detail and detail.endswith("by labels or by feedback on 'load'")


def test_feedback_that_cannot_be_written_is_not_remembered_and_says_why(serve: Serve, tmp_path: Path) -> None:
    client = serve(state_dir=str(tmp_path / "state"))
    (tmp_path / "state" / "feedback.jsonl").mkdir()
    said = {"model": "load", "series": "a", "start": moment(300), "end": moment(301), "label": "true alarm"}
    refused = problem(client.post("/v1/anomalies/feedback", json=said), 503, "state-not-written")
    assert "cannot be written to TSF_STATE_DIR (Is a directory)" in refused["detail"]
    assert client.app.state.services.feedback.of("load") == []


# ------------------------------------------------------------ damaged models


def test_a_damaged_folder_is_listed_with_its_reason_and_holds_up_no_other(serve: Serve, tmp_path: Path) -> None:
    broken = tmp_path / "models" / "broken"
    broken.mkdir(parents=True)
    (broken / "manifest.json").write_text('{"model": "gru"}')
    shutil.copytree(tmp_path / "models" / "broken", tmp_path / "only" / "broken")
    client = serve()
    assert client.get("/readyz").status_code == 200
    listed = client.get("/v1/models").json()
    assert [one["name"] for one in listed["served"]] == ["host", "load"]
    assert listed["unavailable"]["broken"].startswith("manifest.json of the stored model 'broken' is damaged: KeyError")
    assert str(tmp_path) not in listed["unavailable"]["broken"]
    assert judged(client, part(300, 301))
    app = create_app(models=FolderStore(tmp_path / "only"), settings=Settings(refresh_seconds=3600.0))
    app.state.services.models.refresh()
    assert "all stored models are damaged: broken" in str(app.state.services.models.not_ready)


def test_a_default_that_cannot_be_loaded_is_503_after_detectors_were_served_alone(serve: Serve, tmp_path: Path) -> None:
    client = serve()
    body = {"series": [part(0, 10)], "horizon": 2}
    problem(client.post("/v1/forecast", json=body), 404, "unknown-model")
    forecaster = tmp_path / "models" / "demand"
    panel = panel_from_lists(ids=["a"], targets=[values()[:FIT]], starts=[moment(0)], freq="h")
    tsforecast.build_model("seasonal_naive").fit(panel, horizon=3).save(forecaster)
    for file in forecaster.iterdir():
        if file.name != "manifest.json":
            file.write_bytes(b"")
    client.app.state.services.models.refresh()
    refused = problem(client.post("/v1/forecast", json=body), 503, "not-ready")
    assert "the default model cannot be loaded" in refused["detail"]
    assert client.get("/readyz").status_code == 200
    shutil.rmtree(forecaster)
    client.app.state.services.models.refresh()
    problem(client.post("/v1/forecast", json=body), 404, "unknown-model")
