"""Verdicts on alarms: the last one holds, and none is lost to a crash."""

from dataclasses import replace
from pathlib import Path

import pytest

from service.feedback import FILE, Feedback, Verdict
from tests.service.fakes import panel_of


def verdict(label: str, event: str | None = None) -> Verdict:
    return Verdict(model="m", unique_id="a", start=3, end=5, label=label, event=event)


def test_the_last_verdict_on_the_same_steps_holds_however_they_were_named() -> None:
    feedback = Feedback(folder=None, most=10)
    told = [verdict("true alarm", "a@3"), verdict("false alarm"), verdict("true alarm", "a@3")]
    assert [feedback.add(one)[1] for one in told] == [True, True, True]
    event = {"model": "m", "series": "a", "id": "a@3", "start": 3, "end": 5}
    assert (feedback.of("m")[-1].label, feedback.label_of(event)) == ("true alarm", "true alarm")
    marks = feedback.labels("m", panel_of(range(7), freq=1, start=0))
    assert marks is not None and marks.tolist() == [0, 0, 0, 1, 1, 1, 0]
    assert not feedback.add(told[-1])[1]  # once more changes nothing


def test_an_event_shows_the_verdict_that_its_steps_are_marked_with() -> None:
    feedback = Feedback(folder=None, most=10)
    event = {"model": "m", "series": "a", "id": "a@3", "start": 3, "end": 5}
    assert feedback.label_of(event) is None
    for one in (verdict("true alarm", "a@3"), verdict("false alarm")):
        feedback.add(one)
    marks = feedback.labels("m", panel_of(range(7), freq=1, start=0))
    assert marks is not None and marks.tolist() == [0, 0, 0, -1, -1, -1, 0]
    assert feedback.label_of(event) == "false alarm"
    assert feedback.label_of(event | {"end": 8}) == "false alarm"  # it has gone on since


def test_utc_is_the_same_step_however_it_is_written() -> None:
    feedback = Feedback(folder=None, most=10)
    told = [("true alarm", "Z", "e"), ("false alarm", "+00:00", None), ("true alarm", "Z", "e")]
    for label, zone, event in told:
        start, end = f"2026-01-01T00:00:00{zone}", f"2026-01-01T05:00:00{zone}"
        assert feedback.add(Verdict(model="m", unique_id="a", start=start, end=end, label=label, event=event))[1]


@pytest.mark.parametrize("line_end", ["\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c", "\r"])
def test_an_id_with_a_line_end_of_unicode_comes_back_whole(tmp_path: Path, line_end: str) -> None:
    first = Feedback(folder=tmp_path, most=10)
    first.start()
    told = replace(verdict("true alarm"), unique_id=f"a{line_end}b")
    first.add(told)
    second = Feedback(folder=tmp_path, most=10)
    second.start()
    assert second.of("m") == [told]


def test_a_line_torn_by_a_crash_does_not_swallow_the_next_verdict(tmp_path: Path) -> None:
    first = Feedback(folder=tmp_path, most=10)
    first.start()
    first.add(verdict("true alarm", "a@3"))
    with (tmp_path / FILE).open("a") as file:
        file.write('{"model": "m", "uni')
    second = Feedback(folder=tmp_path, most=10)
    second.start()
    second.add(verdict("false alarm"))
    third = Feedback(folder=tmp_path, most=10)
    third.start()
    assert [one.label for one in third.of("m")] == ["true alarm", "false alarm"]
