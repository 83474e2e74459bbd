"""Verdicts on alarms: the last one holds, and none is lost to a crash."""

from pathlib import Path

from service.feedback import FILE, Feedback, Verdict


def verdict(label: str, event: str | None = None) -> Verdict:
    return Verdict(model="m", unique_id="a", start=3, end=5, label=label, event=event)


def test_the_last_verdict_on_the_same_steps_holds_however_they_were_named() -> None:
    feedback = Feedback(folder=None, most=10)
    told = [verdict("true alarm", "a@3"), verdict("false alarm"), verdict("true alarm", "a@3")]
    assert [feedback.add(one)[1] for one in told] == [True, True, True]
    assert feedback.of("m")[-1].label == "true alarm"
    assert not feedback.add(told[-1])[1]  # once more changes nothing


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
