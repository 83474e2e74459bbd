"""Files that the runs of a detection leave for each other, when something has damaged them."""

import re
from pathlib import Path

import pytest

from pipelines.summary import summary_of
from tests.pipelines.detect_cases import (
    ENERGY,
    FIRST,
    SECOND,
    Run,
    Write,
    lines_of,
)
from tsforecast.errors import DataError


def test_a_last_line_of_the_file_of_all_events_that_was_cut_off_is_left_out(recipe: Write, run: Run, tmp_path: Path) -> None:
    file = recipe(ENERGY)
    run(file, as_of=FIRST)
    run(file, as_of=SECOND)
    before = (tmp_path / "events.jsonl").read_bytes()
    with (tmp_path / "events.jsonl").open("ab") as log:
        log.write(b'{"end": "2025-01-\xc3')
    run(file, as_of=SECOND)
    assert (tmp_path / "events.jsonl").read_bytes() == before
    (tmp_path / "events.jsonl").write_bytes(before[:-9])  # of this run, which knows the event
    run(file, as_of=SECOND)
    assert (tmp_path / "events.jsonl").read_bytes() == before
    (tmp_path / "events.jsonl").write_bytes(before[:-1])  # whole but for its end
    run(file, as_of=FIRST)
    assert (tmp_path / "events.jsonl").read_bytes() == before


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b'{"end": "2025-', "line 1 is no JSON: "),
        (b"7", "line 1 is no event"),
        (b"\xff\xfe", "is no text in UTF-8: "),
        (b'{"recipe": "watch", "model": "window_energy", "id": "b@1", "moment": 1}', "line 1 is an event without 'start_at'"),
    ],
)
def test_a_damaged_file_of_all_events_is_named_and_left_as_it_is(
    recipe: Write, run: Run, tmp_path: Path, line: bytes, words: str
) -> None:
    file, path = recipe(ENERGY), tmp_path / "events.jsonl"
    path.write_bytes(line + b"\n")
    with pytest.raises(
        DataError, match=f"^{re.escape(str(path))} is damaged: {words}.*; mend or remove that line, and run again"
    ):
        run(file, as_of=FIRST)
    assert path.read_bytes() == line + b"\n"
    path.write_bytes(b'{"id": "of another recipe"}\n')
    run(file, as_of=FIRST)
    assert lines_of(tmp_path)[0] == {"id": "of another recipe"}


@pytest.mark.parametrize("text", ["", '{"moment": 17', "[]", '{"moment": 17}', "\x00\x00"])
def test_a_damaged_note_of_a_run_is_named_and_can_be_made_again(recipe: Write, run: Run, text: str) -> None:
    file = recipe(ENERGY)
    path = run(file, as_of=FIRST).path("judged.json")
    whole = path.read_bytes()
    path.write_text(text)
    with pytest.raises(DataError, match=f"^{re.escape(str(path))} is damaged: .*; delete it, and run the recipe for that moment"):
        run(file, as_of=SECOND)
    path.unlink()
    run(file, as_of=FIRST, force=True)
    assert path.read_bytes() == whole
    assert summary_of(run(file, as_of=SECOND))["detections"]["window_energy"]["how"] == "kept"
