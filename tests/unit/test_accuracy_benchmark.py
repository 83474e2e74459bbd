"""The accuracy benchmark keeps what it has measured, goes on after a failure, and shows no origin its own future."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.benchmarks import accuracy
from tests.benchmarks.accuracy import Settings, Task, dated, read_lines, run, run_of, tables, windows_task
from tsforecast.errors import FrequencyError
from tsforecast.panel import Panel

HOURS = np.arange("2020-01-01", "2020-02-10", dtype="datetime64[h]").astype("datetime64[ns]")  # 960


def test_an_origin_sees_what_is_before_it_and_is_scored_on_what_comes() -> None:
    values = np.stack([np.arange(960.0), 1000 + np.arange(960.0)])
    task = windows_task(("a", "b"), HOURS, values, learned=500, stride=100, horizon=96)
    assert task.facts == {"origins": 4, "stride": 100}
    assert task.fit.series_ids == ("a", "b") and task.fit.lengths.tolist() == [500, 500]
    assert task.ask.series_ids == ("a@500", "b@500", "a@600", "b@600", "a@700", "b@700", "a@800", "b@800")
    for k, (_, history) in enumerate(task.ask):
        assert task.actual[k].tolist() == (history[-1] + 1 + np.arange(96)).tolist()
        assert task.ask.last_timestamps()[k] == HOURS[int(history[-1]) % 1000]


def test_a_series_without_dates_gets_some_for_models_that_need_them() -> None:
    steps = np.concatenate([np.arange(1, 4), np.arange(1, 3)])
    panel = Panel(series_ids=("a", "b"), offsets=np.array([0, 3, 5]), timestamps=steps, target=steps * 1.0, freq=1, season=12)
    stamped = dated(Task(fit=panel, ask=panel, actual=np.zeros((2, 1))), "MS").fit
    assert stamped.freq == "MS" and stamped.season == 12
    assert stamped.timestamps.astype("datetime64[D]").astype(str).tolist() == [
        "2000-01-01", "2000-02-01", "2000-03-01", "2000-01-01", "2000-02-01",
    ]  # fmt: skip


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the models measured: `broken` fails, `dates` needs dates."""
    panel = Panel(series_ids=("a",), offsets=np.array([0, 2]), timestamps=np.arange(2), target=np.ones(2), freq=1, season=1)
    names: list[str] = []

    def measure(name: str, task: Task, settings: Settings) -> dict[str, Any]:
        names.append(name)
        if name == "broken":
            raise ValueError("a | b")
        if name == "dates" and task.fit.is_integer_clock:
            raise FrequencyError("needs dates")
        return {"owa": 0.5 if name == "good" else 0.9, "fit_s": 1.0}

    monkeypatch.setattr(accuracy, "load_task", lambda *_: Task(fit=panel, ask=panel, actual=np.zeros((1, 1))))
    monkeypatch.setattr(accuracy, "measure", measure)
    return names


def test_what_is_measured_stays_and_a_failure_is_a_line(measured: list[str], tmp_path: Path) -> None:
    out = tmp_path / "build" / "lines.jsonl"
    run(["m4_hourly"], ["plain", "broken", "good"], Settings(), out=out)
    run(["m4_hourly"], ["plain", "broken", "good", "dates"], Settings(), out=out)
    assert measured == ["plain", "broken", "good", "broken", "dates", "dates"]
    run(["m4_hourly"], ["good"], Settings(seed=1), out=out)
    run(["m4_hourly"], ["good"], Settings(), out=out, again=True)
    assert measured[6:] == ["good", "good"]
    lines = {(line["model"], line["seed"]): line for line in read_lines(out)}
    assert lines["broken", 0]["error"] == "ValueError: a | b"
    assert lines["dates", 0]["facts"] == {"clock": "made-up dates, h"}
    table = "\n".join(tables(read_lines(out))).splitlines()
    assert table[0] == "### m4_hourly, test part, 48 steps ahead"
    assert table[2] == "| model | OWA | train, s | notes |"
    assert [row.split("|")[1].strip() for row in table[4:9]] == ["`good`", "`good`", "`plain`", "`dates`", "`broken`"]
    assert table[8].endswith("| ValueError: a \\| b |")


def test_a_line_torn_by_a_kill_is_not_read_and_hurts_no_other(tmp_path: Path) -> None:
    out = tmp_path / "lines.jsonl"
    line = run_of("m4_hourly", "gru", Settings())
    out.write_text(json.dumps(line) + '\n{"data": "m4_hou')
    accuracy.append_line(out, line | {"model": "lstm"})
    assert [one["model"] for one in read_lines(out)] == ["gru", "lstm"]
