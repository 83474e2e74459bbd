"""[feedback] of a recipe: what people said of alarms is used, and what cannot be used is told."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from pipelines.summary import exit_code, summary_of, to_text
from tests.pipelines.detect_cases import (
    ENERGY,
    FIRST,
    HEAD,
    PLANTED,
    SECOND,
    THIRD,
    Run,
    Write,
    data,
    events_of,
    planted,
)
from tsforecast.errors import SchemaError
from tsforecast.models.window_energy import WindowEnergy


def test_feedback_masks_the_fit_and_recalibrates_what_is_kept(
    recipe: Write, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []
    fit = WindowEnergy.fit
    monkeypatch.setattr(WindowEnergy, "fit", lambda self, panel, **how: seen.append(how["labels"]) or fit(self, panel, **how))
    file = recipe(ENERGY, '[feedback]\npath = "said.csv"')
    run(file, as_of=FIRST)  # there is no file yet
    assert not seen[0].any()
    said = pd.DataFrame({"unique_id": ["b", "a", "gone"], "start": ["2025-01-29T08:00", "2025-01-03", "2025-01-01"]})
    said = said.assign(end=["2025-01-29T13:00", "2025-01-03T05:00", "2025-01-02"], label=["true", "false", "true"])
    said.to_csv(tmp_path / "said.csv", index=False)
    second = run(file, as_of=SECOND)
    facts = summary_of(second)["detections"]["window_energy"]
    assert (facts["how"], facts["why"]) == ("recalibrated", "new feedback") and len(seen) == 1
    assert [one["feedback"] for one in planted(events_of(second))] == ["true alarm"]
    assert summary_of(run(file, as_of=THIRD))["detections"]["window_energy"]["how"] == "kept"  # nothing new was said
    run(recipe(ENERGY, '[feedback]\npath = "said.csv"', head=HEAD + 'refit = "always"\n'), as_of="2025-02-07T06:00")
    assert (seen[1] == 1).sum() == 6 and (seen[1] == -1).sum() == 6
    rows = np.flatnonzero(seen[1] == 1)
    assert rows.tolist() == list(range(889 + PLANTED, 889 + PLANTED + 6))  # series "b" comes after 889 rows of "a"


def test_the_json_lines_of_the_service_are_feedback_and_a_later_line_wins(recipe: Write, run: Run, tmp_path: Path) -> None:
    def line(series_id: str, start: Any, end: Any, label: bool) -> str:
        said = {
            "model": "m",
            "event": None,
            "at": "2025-02-01",
            "unique_id": series_id,
            "start": start,
            "end": end,
            "label": label,
        }
        return json.dumps(said) + "\n"

    file = recipe(ENERGY, '[feedback]\npath = "feedback.jsonl"')
    run(file, as_of=FIRST)
    first = line("b", "2025-01-29T08:00:00", "2025-01-29T13:00:00", False)
    others = line("counted", 3, 5, True) + line("a", "2025-01-03T00:00:00+00:00", "2025-01-03T05:00:00Z", True)
    path = tmp_path / "feedback.jsonl"
    path.write_text(first + others)
    work = run(file, as_of=SECOND)
    assert [one["feedback"] for one in planted(events_of(work))] == ["false alarm"]
    path.write_text(first + others + line("b", "2025-01-29T08:00", "2025-01-29T13:00", True) + '{"model": "m", "uni')
    work = run(file, as_of=SECOND)  # the last line is being written
    assert [one["feedback"] for one in planted(events_of(work))] == ["true alarm"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"unique_id": "b", "start": "2025-01-01", "end": "2025-01-02"}\n', "line 1: has no 'label'; each line is an object"),
        ('\n{"unique_id": "b"\n', "line 2: is no JSON"),
        ('{"unique_id": "b", "start": 3, "end": 5, "label": true}\n', "line 1: start is 3; the series have timestamps"),
    ],
)
def test_json_lines_that_cannot_be_read_are_named(recipe: Write, run: Run, tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "said.jsonl").write_text(text)
    with pytest.raises(SchemaError, match=words):
        run(recipe(ENERGY, '[feedback]\npath = "said.jsonl"'), as_of=FIRST)


def test_feedback_about_no_row_of_the_run_is_told_by_line_and_series_and_stays_in_the_file(
    recipe: Write, run: Run, tmp_path: Path
) -> None:
    file = recipe(ENERGY, '[feedback]\npath = "said.csv"')
    text = "unique_id,start,end,label\nb,2025-01-03,2025-01-04,no\nbb,2025-01-03,2025-01-04,no\na,2024-01-03,2024-01-04,yes\n"
    (tmp_path / "said.csv").write_text(text)
    work = run(file, as_of=FIRST)
    line = "row 1: series 'bb' is not in the data; row 2: series 'a' has no step from 2024-01-03 to 2024-01-04"
    assert any(line in told for told in work.told)  # type: ignore[attr-defined]
    assert f"WARNING    feedback about no row of this run, left as it is: {line}\n" in to_text(summary_of(work))
    assert len(summary_of(work)["unused_feedback"]) == 2 and exit_code(summary_of(work)) == 0
    assert (tmp_path / "said.csv").read_text() == text
    (tmp_path / "said.csv").write_text(text + "".join(f"gone{i},2025-01-03,2025-01-04,no\n" for i in range(5)))
    assert "and 4 more" in to_text(summary_of(run(file, as_of=FIRST)))
    (tmp_path / "said.csv").write_text("unique_id,start,end,label\nb,2025-01-03,2025-01-04,no\n")
    assert "WARNING" not in to_text(summary_of(run(file, as_of=FIRST)))


def test_feedback_that_contradicts_itself_is_told_by_both_rows_and_the_later_one_counts(
    recipe: Write, run: Run, tmp_path: Path
) -> None:
    file = recipe(ENERGY, '[feedback]\npath = "said.csv"')
    run(file, as_of=FIRST)
    text = "unique_id,start,end,label\nb,2025-01-29T08:00,2025-01-29T13:00,yes\na,2025-01-03,2025-01-04,no\n"
    again = "b,2025-01-29T10:00,2025-01-30T13:00,no\na,2025-01-03,2025-01-04,no\n"
    (tmp_path / "said.csv").write_text(text + again)
    work = run(file, as_of=SECOND)
    line = "feedback that contradicts itself, the later one counts: row 0 and row 2 about series 'b'"
    assert any(told.endswith(line) for told in work.told)  # type: ignore[attr-defined]
    assert f"  WARNING    {line}\n" in to_text(summary_of(work))
    assert [one["feedback"] for one in planted(events_of(work))] == ["false alarm"]
    (tmp_path / "said.csv").write_text(text)
    assert summary_of(run(file, as_of=SECOND))["contradictory_feedback"] == []


def test_a_json_line_that_takes_back_another_contradicts_nothing_but_one_about_other_steps_does(
    recipe: Write, run: Run, tmp_path: Path
) -> None:
    def line(end: str, label: bool) -> str:
        return json.dumps({"unique_id": "b", "start": "2025-01-05T08:00", "end": end, "label": label}) + "\n"

    file = recipe(ENERGY, '[feedback]\npath = "said.jsonl"')
    (tmp_path / "said.jsonl").write_text(line("2025-01-05T13:00", True) + line("2025-01-05T13:00:00Z", False))
    assert summary_of(run(file, as_of=FIRST))["contradictory_feedback"] == []
    with (tmp_path / "said.jsonl").open("a") as said:
        said.write(line("2025-01-05T14:00", True))
    found = summary_of(run(file, as_of=FIRST))["contradictory_feedback"]
    assert found == ["line 2 and line 3 about series 'b'"]


def test_feedback_recalibrates_only_where_it_speaks_of_rows_that_are_learnt_from(recipe: Write, run: Run, tmp_path: Path) -> None:
    file, head = recipe(ENERGY, '[feedback]\npath = "said.csv"'), "unique_id,start,end,label\n"
    run(file, as_of=FIRST)

    def how(as_of: str, text: str) -> tuple[str, str]:
        (tmp_path / "said.csv").write_text(head + text)
        facts = summary_of(run(file, as_of=as_of))["detections"]["window_energy"]
        return facts["how"], facts["why"]

    unknown, new = "gone,2025-01-03,2025-01-04,no\n", "b,2025-01-29T08:00,2025-01-29T13:00,no\n"
    assert how("2025-01-31", unknown) == ("kept", "fresh")
    assert how(SECOND, new) == ("recalibrated", "new feedback")  # judged by the run of 31 January
    assert how(SECOND, unknown) == ("kept", "fresh")
    assert how("2025-02-02", unknown + "b,2025-02-01T08:00,2025-02-01T13:00,no\n") == ("kept", "fresh")  # of this run's rows
    assert how("2025-02-03", unknown + "b,2025-02-01T08:00,2025-02-01T13:00,no\n") == ("recalibrated", "new feedback")
    assert how("2025-02-04", unknown + "b,2025-02-01T08:00,2025-02-01T13:00,no\n") == ("kept", "fresh")
    assert how("2025-02-05", unknown) == ("recalibrated", "feedback was withdrawn")


@pytest.mark.parametrize("mark", ["\u2028", "\u0085", "\u2029", "\x1c"])
def test_a_line_of_feedback_ends_at_a_newline_only(recipe: Write, run: Run, tmp_path: Path, mark: str) -> None:
    said = {"unique_id": f"b{mark}1", "start": "2025-01-29T08:00", "end": "2025-01-29T13:00", "label": False}
    gone = {**said, "unique_id": "gone"}
    lines = [json.dumps(one, ensure_ascii=False) + "\n" for one in (said, gone)]
    (tmp_path / "said.jsonl").write_text("\n".join(lines), encoding="utf-8")
    frame = data()
    frame["unique_id"] = frame["unique_id"].replace("b", f"b{mark}1")
    file = recipe(ENERGY, '[feedback]\npath = "said.jsonl"', head=HEAD.replace("csv", "parquet"))
    frame.to_parquet(tmp_path / "data.parquet")
    run(file, as_of=FIRST)
    work = run(file, as_of=SECOND)
    assert "false alarm" in {one["feedback"] for one in events_of(work)}
    assert summary_of(work)["unused_feedback"] == ["line 3: series 'gone' is not in the data"]
    assert events_of(run(file, as_of=THIRD)) is not None  # the file of all events is read again


def test_a_false_alarm_is_no_news(recipe: Write, run: Run, tmp_path: Path) -> None:
    file = recipe(ENERGY, '[feedback]\npath = "said.csv"')
    run(file, as_of=FIRST)
    work = run(file, as_of=SECOND)
    assert exit_code(summary_of(work), fail_on_event=True) == 7 and exit_code(summary_of(work)) == 0
    (tmp_path / "said.csv").write_text("unique_id,start,end,label\na,2025-01-01,2025-03-01,no\nb,2025-01-01,2025-03-01,no\n")
    again = run(file, as_of=SECOND)
    assert exit_code(summary_of(again), fail_on_event=True) == 0
    assert "said to be a false alarm" in to_text(summary_of(again))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("unique_id,start,end\nb,2025-01-01,2025-01-02\n", "has no column 'label'"),
        ("unique_id,start,end,label\nb,2025-01-01,2025-01-02,maybe\n", "row 0: label is maybe; write true"),
        ("unique_id,start,end,label\nb,2025-01-03,2025-01-02,true\n", "ends at 2025-01-02, before it starts"),
        ("unique_id,start,end,label\nb,12,13,true\n", "start is 12; the series have timestamps"),
    ],
)
def test_feedback_that_cannot_be_read_is_named(recipe: Write, run: Run, tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "said.csv").write_text(text)
    with pytest.raises(SchemaError, match=words):
        run(recipe(ENERGY, '[feedback]\npath = "said.csv"'), as_of=FIRST)
