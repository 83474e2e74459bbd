"""Series judged as their values come: the same rows again, restarts, limits, rules, feedback, and many callers at once."""

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service.feedback import Feedback, Verdict
from service.known_events import KnownEvents
from tests.service.conftest import TestClient, restartable
from tests.service.fakes import panel_of
from tests.service.test_anomalies_route import HOURS, moment, part, store_detectors, values
from tests.service.test_forecast_route import problem
from tsforecast.errors import ArtifactError
from tsforecast.models.stream import DetectorStream

Serve = Callable[..., TestClient]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("detectors")
    store_detectors(folder)
    return folder


@pytest.fixture
def serve(models: Path) -> Iterator[Serve]:
    """serve(state_dir=…) -> a client; one that is started later finds what those before it have left."""
    yield from restartable(models)


def judged(client: TestClient, *series: Any, **fields: Any) -> list[dict[str, Any]]:
    answer = client.post("/v1/anomalies/score", json={"series": list(series), "model": "load"} | fields)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["series"]
    return found


# ------------------------------------------------------------ the same rows again


def test_value_by_value_gives_what_one_batch_gives(serve: Serve) -> None:
    client = serve()
    [batch] = judged(client, part(300, HOURS), reset=True)
    singles = [judged(client, part(row, row + 1, "a"), reset=row == 300)[0] for row in range(300, HOURS)]
    for name in ("timestamps", "score", "p_value", "severity", "alarm"):
        assert [one[name][0] for one in singles] == batch[name]
    last = singles[-1]["stream"]
    assert (last["judged"], last["skipped"], last["repeated"]) == (180, 0, [False])
    assert {event["id"] for event in batch["events"]} == {event["id"] for one in singles for event in one["events"]} != set()


def test_the_same_rows_again_get_the_same_answer_and_move_nothing(serve: Serve) -> None:
    client = serve()
    [first] = judged(client, part(300, 360))
    [again] = judged(client, part(300, 360))
    assert again["stream"] == {"repeated": [True] * 60, "skipped": 0, "judged": 60, "revised": {"timestamps": [], "score": []}}
    final = [score is not None for score in again["revised_score"]]
    assert final == [not one for one in again["provisional"]] and any(final) and not all(final)
    for name in set(first) - {"stream", "provisional", "revised_score"}:
        assert first[name] == again[name], name
    [both] = judged(client, part(350, 365))  # a tail sent again, with new rows behind it
    assert both["stream"]["repeated"] == [True] * 10 + [False] * 5 and both["score"][:10] == first["score"][50:]


def test_what_is_too_old_is_said_to_be_and_rows_left_out_count_as_missing(serve: Serve) -> None:
    client = serve()
    judged(client, part(300, 310))
    [old] = judged(client, part(100, 102))
    assert (old["reason"], old["score"], old["stream"]["judged"]) == (["already judged"] * 2, [None, None], 10)
    [later] = judged(client, part(320, 321))
    assert (later["stream"]["skipped"], later["stream"]["judged"]) == (10, 21)
    [off] = judged(client, part(321, 323, of=[None] * HOURS))
    assert off["reason"] == ["missing", "missing"] and off["score"] == [None, None]
    far = problem(
        client.post("/v1/anomalies/score", json={"series": [part(0, 1, start="2126-01-01")], "model": "load"}),
        422,
        "frequency-error",
    )
    assert far["errors"][0]["series"] == "a"
    assert judged(client, part(322, 323))[0]["stream"]["judged"] == 23  # what was refused has moved nothing


def test_an_event_is_told_when_it_begins_and_when_it_ends_and_is_remembered(serve: Serve) -> None:
    client = serve()
    told = [judged(client, part(row, row + 1))[0]["events"] for row in range(300, HOURS)]
    [event_id] = {event["id"] for events in told for event in events}
    spans = [(event["open"], event["steps"]) for events in told for event in events]
    assert spans[0][0] and spans[-1][0] is False and spans[-1][1] > spans[0][1]
    listed = client.get("/v1/anomalies/events", params={"series": "a", "model": "load"}).json()
    [known] = listed["events"]
    assert (known["id"], known["model"], known["series"], known["label"]) == (event_id, "load", "a", None)
    assert known["channels"][0]["name"] == "y" and known["nearest_normal"] is not None
    assert client.get("/v1/anomalies/events?series=b").json() == {"events": [], "truncated": False}


def test_series_and_versions_do_not_mix_and_an_id_may_be_any_text(serve: Serve, tmp_path: Path) -> None:
    client = serve(state_dir=str(tmp_path))
    ids = ["a", "../../etc/passwd", "a/b\\c", "ü🙂", "x" * 256, 7]
    found = judged(client, *(part(300, 305, one) for one in ids))
    assert [one["id"] for one in found] == ids
    assert [bool(one["notes"]) for one in found] == [False] + [True] * 5  # the others are not in the training data
    client.app.state.services.streams.save()
    folders = sorted(one.name for one in (tmp_path / "streams").iterdir())
    assert len(folders) == 6 and all(len(one) == 40 and one.isalnum() for one in folders)
    assert {one.name for one in tmp_path.iterdir()} - {"events.json"} == {"streams"}


# ------------------------------------------------------------ rules


def test_a_value_years_ahead_is_refused_until_the_stream_is_reset(serve: Serve) -> None:
    client, far = serve(), part(0, 1, "a", start="2036-01-01T00:00:00")
    judged(client, part(300, 310, "a"))
    told = problem(client.post("/v1/anomalies/score", json={"series": [far], "model": "load"}), 422, "frequency-error")
    assert told["errors"][0]["series"] == "a" and "one update may skip 10,000" in told["errors"][0]["message"]
    assert '"reset": true' in told["errors"][0]["message"]
    assert judged(client, part(310, 311, "a"))[0]["stream"]["judged"] == 11
    assert judged(client, far, reset=True)[0]["stream"] | {"revised": None} == {
        "repeated": [False],
        "skipped": 0,
        "judged": 1,
        "revised": None,
    }


def test_a_stream_keeps_its_rules_until_it_is_reset_but_windows_to_be_ignored_may_come(serve: Serve) -> None:
    client = serve()
    strict = {"sensitivity": 0.5, "min_duration": 2}
    judged(client, part(300, 310), alarms=strict, level=90)
    judged(client, part(310, 311))  # says nothing of rules
    judged(client, part(311, 312), alarms=strict)
    body = {"series": [part(312, 313)], "model": "load", "sensitivity": 2.0, "level": 80}
    refused = problem(client.post("/v1/anomalies/score", json=body), 409, "other-rules")
    assert {one["field"] for one in refused["errors"]} == {"alarms", "level"}
    quiet = strict | {"ignore": [[moment(330), moment(380)]]}
    [found] = judged(client, part(312, 381), alarms=quiet)
    assert not any(found["alarm"]) and found["score"][345 - 312 + 7] > 10
    assert client.post("/v1/anomalies/score", json=body | {"reset": True}).json()["level"] == 80


# ------------------------------------------------------------ limits and restarts


def test_a_restart_goes_on_where_the_service_ended(serve: Serve, tmp_path: Path) -> None:
    client = serve()
    whole = [judged(client, part(300, 355))[0], judged(client, part(355, HOURS))[0]]
    client = serve(state_dir=str(tmp_path))
    [first] = judged(client, part(300, 355), alarms={"ignore": [[moment(900), moment(901)]]})
    assert first["score"] == whole[0]["score"]
    client = serve(state_dir=str(tmp_path))
    [again] = judged(client, part(340, 355))
    assert all(again["stream"]["repeated"]) and again["score"] == first["score"][40:]
    assert again["events"] == first["events"] and again["events"]
    [rest] = judged(client, part(355, HOURS))
    for name in ("score", "p_value", "alarm", "severity"):
        assert rest[name] == whole[1][name], name
    assert len(client.get("/v1/anomalies/events").json()["events"]) == 1


def test_streams_beyond_the_limit_leave_memory_and_come_back_from_the_folder(serve: Serve, tmp_path: Path) -> None:
    client = serve(state_dir=str(tmp_path), max_streams=2)
    streams = client.app.state.services.streams
    for one in "abcd":
        judged(client, part(300, 305, one))
        assert len(streams) <= 2
    assert judged(client, part(305, 306, "a"))[0]["stream"]["skipped"] == 0
    client = serve(max_streams=2)
    for one in "abc":
        judged(client, part(300, 305, one))
    assert judged(client, part(305, 306, "a"))[0]["stream"]["skipped"] == 5  # nowhere to remember it: begins anew


def test_the_folder_of_streams_is_bounded(serve: Serve, tmp_path: Path) -> None:
    client = serve(state_dir=str(tmp_path), max_streams=1, max_stored_streams=2)
    for one in "abcdef":
        judged(client, part(300, 301, one))
    client.app.state.services.streams.save()
    assert len(list((tmp_path / "streams").iterdir())) == 2


@pytest.mark.parametrize("file", ["about.json", "stream.json", "stream.safetensors"])
def test_a_damaged_stream_begins_anew_and_the_log_says_so(
    serve: Serve, tmp_path: Path, caplog: pytest.LogCaptureFixture, file: str
) -> None:
    judged(serve(state_dir=str(tmp_path)), part(300, 310))
    serve()
    [damaged] = (tmp_path / "streams").glob(f"*/{file}")
    damaged.write_bytes(damaged.read_bytes()[:-20])
    assert judged(serve(state_dir=str(tmp_path)), part(310, 311))[0]["stream"]["skipped"] == 10
    assert "cannot be used and begins anew" in caplog.text


def test_a_crash_between_two_renames_loses_nothing(serve: Serve, tmp_path: Path) -> None:
    judged(serve(state_dir=str(tmp_path)), part(300, 310))
    serve()
    [folder] = (tmp_path / "streams").iterdir()
    folder.rename(folder.with_suffix(".old"))
    assert judged(serve(state_dir=str(tmp_path)), part(310, 311))[0]["stream"]["skipped"] == 0


def refuse(*_: Any, **__: Any) -> None:
    raise OSError("no space left")


def test_one_stream_that_cannot_be_written_holds_up_neither_the_others_nor_the_events(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    client = serve(state_dir=str(tmp_path))
    streams = client.app.state.services.streams
    judged(client, *(part(300, 380, one) for one in "wxyz"))
    write = DetectorStream.save

    def save(stream: DetectorStream, folder: Path) -> None:
        if stream.series_id in "wy":
            raise OSError(f"no space left for {stream.series_id}")
        write(stream, folder)

    with monkeypatch.context() as full:
        full.setattr(DetectorStream, "save", save)
        with pytest.raises(
            ArtifactError, match=r"2 could not be written: series 'w' by load/.*for w; series 'y' by load/.*for y"
        ):
            streams.save()
        assert [(one.key[2], one.unsaved) for one in streams._open.values()] == [(one, one in "wy") for one in "wxyz"]
        assert (tmp_path / "events.json").exists()
        serve()  # ends this one
        assert "is lost" in caplog.text and "series 'y' by load/" in caplog.text
    found = judged(serve(state_dir=str(tmp_path)), *(part(380, 381, one) for one in "wxyz"))
    assert [one["stream"]["judged"] for one in found] == [1, 81, 1, 81]


def test_events_that_cannot_be_written_and_a_folder_that_cannot_be_shortened_are_named(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = serve(state_dir=str(tmp_path))
    streams = client.app.state.services.streams
    judged(client, part(300, 380))
    with monkeypatch.context() as broken:
        broken.setattr(KnownEvents, "save", refuse)
        broken.setattr(type(streams), "_shorten_folder", refuse)
        with pytest.raises(ArtifactError, match=r"2 could not be written: the events: .*; the folder, which is not shortened: "):
            streams.save()
    assert not any(one.unsaved for one in streams._open.values())


def test_a_stream_that_cannot_be_written_stays_in_memory_and_holds_up_no_other(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    client = serve(state_dir=str(tmp_path), max_streams=1)
    streams = client.app.state.services.streams
    with monkeypatch.context() as full:
        full.setattr(DetectorStream, "save", refuse)
        for one in "ab":
            judged(client, part(300, 305, one))
        assert "cannot be written and stays in memory" in caplog.text and len(streams) == 2
        assert [one.users for one in streams._open.values()] == [0, 0]
    assert judged(client, part(305, 306, "a"))[0]["stream"]["skipped"] == 0  # nothing was lost
    assert len(streams) == 1  # and it leaves as soon as it can


@pytest.mark.parametrize("after", ["", ".old"])
def test_a_reset_is_not_undone_by_a_restart_when_the_update_after_it_fails(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: str
) -> None:
    judged(serve(state_dir=str(tmp_path)), part(300, 310))
    serve()
    [folder] = (tmp_path / "streams").iterdir()
    folder.rename(folder.with_name(folder.name + after))  # ".old": a crash came between two renames
    client = serve(state_dir=str(tmp_path))
    with monkeypatch.context() as broken:
        broken.setattr(DetectorStream, "update", refuse)
        body = {"series": [part(310, 311)], "model": "load", "reset": True}
        assert client.post("/v1/anomalies/score", json=body).status_code == 500
    assert judged(serve(state_dir=str(tmp_path)), part(310, 311))[0]["stream"]["skipped"] == 10  # it began anew


def test_a_reset_that_cannot_delete_is_written_over(serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    judged(serve(state_dir=str(tmp_path)), part(300, 310))
    client = serve(state_dir=str(tmp_path))
    with monkeypatch.context() as broken:
        broken.setattr(DetectorStream, "update", refuse)
        broken.setattr("service.detectors.shutil.rmtree", refuse)
        body = {"series": [part(310, 311)], "model": "load", "reset": True}
        assert client.post("/v1/anomalies/score", json=body).status_code == 500
    assert judged(serve(state_dir=str(tmp_path)), part(310, 311))[0]["stream"]["skipped"] == 10  # it began anew


def test_a_stream_that_was_reset_is_not_written_any_more(serve: Serve, tmp_path: Path) -> None:
    client = serve(state_dir=str(tmp_path))
    streams = client.app.state.services.streams
    judged(client, part(300, 310))
    [before] = streams._open.values()
    judged(client, part(310, 311), reset=True)
    streams._write(before)  # by the thread that had found it just before
    assert list((tmp_path / "streams").iterdir()) == []


def test_events_that_could_not_be_written_are_written_the_next_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events = KnownEvents(folder=tmp_path, most=9)
    events.told([{"id": "e"}], model="m", version="1", series="a")
    with monkeypatch.context() as full:
        full.setattr(Path, "write_bytes", refuse)
        with pytest.raises(OSError, match="no space left"):
            events.save()
    events.save()
    later = KnownEvents(folder=tmp_path, most=9)
    later.start()
    assert later.of("m", "a", "e") == {"id": "e"}


def test_callers_at_once_are_answered_as_if_one_after_the_other(serve: Serve) -> None:
    client = serve(concurrency=4, max_waiting=100)
    [alone] = judged(client, part(300, 340, "alone"))
    rows = [part(300, 340), *(part(first, first + 10) for first in (300, 310, 320, 330) for _ in range(4))]
    judged(client, rows[0])
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda one: judged(client, one, part(300, 340, "b"))[0], rows[1:]))
    assert all(all(one["stream"]["repeated"]) for one in answers)
    assert judged(client, part(339, 340, "b"))[0]["stream"]["judged"] == 40
    assert judged(client, part(300, 340, "b"))[0]["score"] == alone["score"]
    services = client.app.state.services
    model = services.models.get("load", "anomaly")
    with services.streams.use(model, "b", rules=None, level=None, reset=False) as one:
        assert one.lock.locked()  # another request for the series waits


# ------------------------------------------------------------ feedback


def test_feedback_on_an_event_is_remembered_once_and_shown_with_it(serve: Serve, tmp_path: Path) -> None:
    client = serve(state_dir=str(tmp_path))
    [event] = judged(client, part(300, HOURS))[0]["events"]
    said = {"model": "load", "event": event["id"], "label": "true alarm"}

    def answer(**fields: Any) -> dict[str, Any]:
        found = client.post("/v1/anomalies/feedback", json=said | fields)
        assert found.status_code == 200, found.text
        return dict(found.json())

    first = answer()
    assert (first["new"], first["durable"], first["stored"]["start"]) == (True, True, event["start"])
    assert answer() == first | {"new": False}
    assert answer(label="false alarm")["new"]
    client = serve(state_dir=str(tmp_path))
    assert client.get("/v1/anomalies/events").json()["events"][0]["label"] == "false alarm"
    lines = [json.loads(line) for line in (tmp_path / "feedback.jsonl").read_text().splitlines()]
    assert [(one["unique_id"], one["label"]) for one in lines] == [("a", True), ("a", False)]
    unknown = client.post("/v1/anomalies/feedback", json=said | {"event": "a@1999-01-01T00:00:00"})
    assert "give series, start and end instead" in problem(unknown, 404, "unknown-event")["detail"]
    problem(client.post("/v1/anomalies/feedback", json=said | {"model": "nope"}), 404, "unknown-model")


def test_feedback_on_a_series_that_was_never_seen_is_kept_and_said_to_count_for_nothing_yet(serve: Serve, tmp_path: Path) -> None:
    client = serve(state_dir=str(tmp_path))
    judged(client, part(300, 305, "web-1"))

    def notes(series: str) -> list[str]:
        said = {"model": "load", "series": series, "start": moment(301), "end": moment(302), "label": "true alarm"}
        answer = client.post("/v1/anomalies/feedback", json=said)
        assert answer.status_code == 200, answer.text
        return list(answer.json()["notes"])

    assert notes("web-1") == [] == notes("web-1")
    [unseen] = notes("wbe-1")
    assert "'load' has not seen series 'wbe-1'; did you mean 'web-1'? the verdict is kept" in unseen
    assert notes("wbe-1") == [unseen]  # said again
    assert "has not seen series 'other'; the verdict is kept" in notes("other")[0]
    client = serve(state_dir=str(tmp_path))
    assert notes("web-1") == []  # its stream is in the folder
    assert notes("a") == []  # the detector was fitted on it
    assert [one.unique_id for one in client.app.state.services.feedback.of("load")] == ["web-1", "wbe-1", "other", "a"]


def test_feedback_on_a_series_whose_stream_is_gone_is_known_by_its_event(serve: Serve) -> None:
    client = serve(max_streams=1)
    assert judged(client, part(300, HOURS, "x"))[0]["events"]
    judged(client, part(300, 302, "y"))
    said = {"model": "load", "series": "x", "start": moment(350), "end": moment(352), "label": "true alarm"}
    assert client.post("/v1/anomalies/feedback", json=said).json()["notes"] == []


def test_feedback_on_steps_that_were_not_judged_says_so_and_in_the_wrong_kind_of_clock_is_refused(serve: Serve) -> None:
    client = serve()
    judged(client, part(300, 310))
    said = {"model": "load", "series": "a", "start": moment(400), "end": moment(402), "label": "true alarm"}
    for _ in range(2):
        [note] = client.post("/v1/anomalies/feedback", json=said).json()["notes"]
        assert "has judged none of these steps" in note
    refused = problem(client.post("/v1/anomalies/feedback", json=said | {"start": 3, "end": 4}), 422, "invalid-request")
    assert {one["field"] for one in refused["errors"]} == {"start", "end"}
    assert "must be ISO 8601 timestamps as in the series that 'load' judges, got 3" in refused["detail"]


def test_what_was_called_a_false_alarm_is_no_alarm_the_next_time(serve: Serve) -> None:
    twice = values(310, 440)

    def alarmed(label: str) -> bool:
        client = serve()
        assert any(judged(client, part(300, 430, of=twice))[0]["alarm"])
        verdict = {"model": "load", "series": "a", "start": moment(310), "end": moment(336), "label": label}
        assert client.post("/v1/anomalies/feedback", json=verdict).json()["new"]
        return any(judged(client, part(430, HOURS, of=twice))[0]["alarm"])

    assert alarmed("true alarm")
    assert not alarmed("false alarm")


def test_feedback_counts_for_a_stream_that_is_read_from_the_folder_later(serve: Serve, tmp_path: Path) -> None:
    twice = values(310, 440)
    judged(serve(state_dir=str(tmp_path)), part(300, 430, of=twice))
    client = serve(state_dir=str(tmp_path))
    verdict = {"model": "load", "series": "a", "start": moment(310), "end": moment(336), "label": "false alarm"}
    client.post("/v1/anomalies/feedback", json=verdict).raise_for_status()
    assert not any(judged(client, part(430, HOURS, of=twice))[0]["alarm"])


def test_verdicts_and_events_are_bounded_and_lines_that_are_none_are_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    feedback = Feedback(folder=tmp_path, most=3)
    feedback.start()
    for day in range(1, 6):
        feedback.add(Verdict(model="m", unique_id="a", start=f"2024-01-0{day}", end=f"2024-01-0{day}", label="true alarm"))
    with (tmp_path / "feedback.jsonl").open("a") as file:
        file.write('{"model": "m"}\n{"mod')  # a crash in the middle of a line
    later = Feedback(folder=tmp_path, most=3)
    later.start()
    assert [one.start for one in later.of("m")] == ["2024-01-03", "2024-01-04", "2024-01-05"]
    assert caplog.text.count("is no verdict and is left out") == 2
    labels = later.labels("m", panel_of(range(7)))
    assert labels is not None and labels.tolist() == [0, 0, 1, 1, 1, 0, 0]
    assert later.labels("m", panel_of(range(7), freq=1, start=0)) is None  # another kind of clock
    assert later.labels("other", panel_of(range(7))) is None
    events = KnownEvents(folder=None, most=2)
    for i in range(4):
        events.told([{"id": str(i), "peak_score": np.nan}], model="m", version="1", series="a")
    assert [one["id"] for one in events.newest(series=None, model="m", limit=5)[0]] == ["3", "2"]
    assert events.newest(series="a", model=None, limit=1)[1] is True


def test_text_without_offset_is_meant_on_the_wall_clock_of_the_series() -> None:
    from dataclasses import replace

    feedback = Feedback(folder=None, most=9)
    feedback.add(Verdict(model="m", unique_id="a", start="2024-01-03T00:00:00", end="2024-01-03T23:00:00", label="false alarm"))
    panel = replace(panel_of(range(5), start="2023-12-31T23:00"), tz="Europe/Berlin")
    labels = feedback.labels("m", panel)
    assert labels is not None and labels.tolist() == [0, 0, -1, 0, 0]
