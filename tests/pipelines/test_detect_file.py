"""`tsforecast detect`: one file in; events, scores and a picture out."""

import json
import re
import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from pipelines import detect_file
from tsforecast import cli
from tsforecast.anomaly.report import REASONS
from tsforecast.models.fitted_detector import load_detector
from tsforecast.models.window_energy import WindowEnergy
from tsforecast.preprocessing.validate import panel_from_frame

README = Path(__file__).parents[2] / "README.md"
Called = tuple[int, str, str]
HOURS = pd.date_range("2025-01-01", periods=700, freq="h")
FAST = ("--model", "window_energy", "--option", "window=24")
SINCE = ("--since", "2025-01-23")  # row 528


def machine(series_id: str = "web-1") -> pd.DataFrame:
    """cpu and mem of a machine, with a daily pattern; cpu is 8 too high in rows 600 to 607."""
    rng = np.random.default_rng(2)
    t = np.arange(len(HOURS))
    cpu, mem = (
        3 * np.sin(2 * np.pi * t / 24) + rng.normal(0, 0.3, len(t)),
        np.cos(2 * np.pi * t / 24) + rng.normal(0, 0.1, len(t)),
    )
    cpu[600:608] += 8
    wrong = (t >= 600) & (t < 608)
    return pd.DataFrame({"unique_id": series_id, "ds": HOURS, "cpu": cpu, "mem": mem, "wrong": wrong})


@pytest.fixture
def file(tmp_path: Path) -> Path:
    machine().to_csv(tmp_path / "machine.csv", index=False)
    return tmp_path / "machine.csv"


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Callable[..., Called]:
    def call(*arguments: Any) -> Called:
        code = cli.main([str(one) for one in arguments])
        return code, *capsys.readouterr()

    return call


def test_the_planted_event_is_printed_with_its_channel_and_the_metrics(call: Callable[..., Called], file: Path) -> None:
    code, out, _ = call("detect", file, "--channels", "cpu,mem", *FAST, *SINCE, "--labels", "wrong")
    lines = out.splitlines()
    assert code == 0
    assert lines[0].startswith("window_energy, trained until 2025-01-22T23:00:00: 1 series, 172 steps, ")
    assert lines[1].split() == ["series", "start", "end", "steps", "kind", "severity", "channels"]
    [event] = [line for line in lines if "  2025-01-26" in line]
    assert "cpu" in event.split("mem")[0]
    assert lines[-2].startswith("VUS-PR 0.") and "random scores 0." in lines[-2] and "AUC-PR" in lines[-2]
    assert lines[-1].startswith("events: precision ") and "recall 1.000" in lines[-1]


def test_help_has_the_command_and_its_exit_code(call: Callable[..., Called]) -> None:
    _, out, _ = call()
    assert "\n    detect " in out and "\n  7  detect" in out


def test_scores_events_and_a_picture_go_where_they_are_asked_to(call: Callable[..., Called], file: Path, tmp_path: Path) -> None:
    out = {name: tmp_path / name for name in ("scores.parquet", "events.json", "events.jsonl", "events.csv", "plot.png")}
    asked = ("detect", file, "--channels", "mem,cpu", *FAST, *SINCE, "--out", out["scores.parquet"])
    assert call(*asked, "--events", out["events.json"], "--plot", out["plot.png"])[0] == 0
    scores = pd.read_parquet(out["scores.parquet"])
    assert len(scores) == 172 and scores["ds"].iloc[0] == pd.Timestamp("2025-01-23")
    assert {"mem", "cpu:expected", "cpu:score"} <= set(scores.columns) and "wrong" not in scores.columns
    [worst] = sorted(json.loads(out["events.json"].read_text()), key=lambda event: -event["severity"])[:1]
    assert worst["channels"][0]["name"] == "cpu" and worst["start"].startswith("2025-01-26")
    assert out["plot.png"].read_bytes().startswith(b"\x89PNG")
    call(*asked, "--events", out["events.jsonl"])
    assert [json.loads(line) for line in out["events.jsonl"].read_text().splitlines()] == json.loads(
        out["events.json"].read_text()
    )
    call(*asked, "--events", out["events.csv"])
    assert worst["id"] in set(pd.read_csv(out["events.csv"])["id"])


def test_a_saved_detector_says_the_same_as_the_fit(call: Callable[..., Called], file: Path, tmp_path: Path) -> None:
    asked = ("detect", file, "--target", "cpu", *SINCE, "--json")
    _, fitted, _ = call(*asked, *FAST, "--save", tmp_path / "det")
    code, again, _ = call(*asked, "--detector", tmp_path / "det", "--fail-on-event")
    assert code == 7 and again == fitted
    assert load_detector(tmp_path / "det").facts.channels == ("cpu",)
    quiet = ("--alarm", "min_duration=200", "--fail-on-event")
    code, out, _ = call(*asked, "--detector", tmp_path / "det", *quiet)
    assert code == 0 and json.loads(out)["events"] == []


def test_parquet_and_a_file_of_one_series_are_read_as_the_other_commands_read_them(
    call: Callable[..., Called], tmp_path: Path
) -> None:
    machine().drop(columns="unique_id").to_parquet(tmp_path / "one.parquet")
    code, out, _ = call("detect", tmp_path / "one.parquet", "--series", "web", "--target", "cpu", *FAST)
    assert code == 0 and ": 1 series, 700 steps, " in out


def test_nothing_after_since_is_a_failure_that_says_where_the_data_ends(
    call: Callable[..., Called], file: Path, tmp_path: Path
) -> None:
    asked = ("detect", file, "--target", "cpu", *FAST, "--since", "2030-01-01")
    written = ("--out", tmp_path / "scores.csv", "--events", tmp_path / "events.csv", "--plot", tmp_path / "plot.png")
    code, out, err = call(*asked, "--labels", "wrong", "--fail-on-event", *written)
    assert code == 1 and ": 0 series, 0 steps, 0 events" in out and "VUS-PR -" in out
    assert f"no step of {file} is judged: the last row of the data is at 2025-01-30T03:00:00, before --since 2030-01-01\n" in err
    assert pd.read_csv(tmp_path / "scores.csv").empty and pd.read_csv(tmp_path / "events.csv").empty
    assert "nothing to draw" in err and not (tmp_path / "plot.png").exists()
    said = json.loads(call(*asked, "--json")[1])
    assert said["events"] == [] and said["scores"] == {"judged_steps": 0.0, "alarms_per_1000": None}


@pytest.mark.parametrize(
    ("since", "first"),
    [
        ("2025-03-09T02:30", "2025-03-09T03:00:00-04:00"),  # the clock goes from 2 to 3
        ("2025-11-02T01:00", "2025-11-02T01:00:00-04:00"),  # the first of the two
    ],
)
def test_since_may_be_a_time_that_the_clock_skips_or_shows_twice(
    call: Callable[..., Called], tmp_path: Path, since: str, first: str
) -> None:
    moment = pd.Timestamp(first).tz_convert("UTC")
    hours = pd.date_range(moment - pd.Timedelta("600h"), periods=700, freq="h").tz_convert("America/New_York")
    machine().assign(ds=[one.isoformat() for one in hours]).to_csv(tmp_path / "zoned.csv", index=False)
    out = tmp_path / "scores.csv"
    asked = ("--target", "cpu", *FAST, "--tz", "America/New_York", "--since", since, "--out", out)
    code, _, err = call("detect", tmp_path / "zoned.csv", *asked)
    assert code == 0, err
    assert pd.Timestamp(pd.read_csv(out)["ds"].iloc[0]) == moment


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--model", "gru"), "'gru' forecasts and detects nothing"),
        (("--model", "window_enrgy"), "no model 'window_enrgy'; available:"),
        (("--alarm", "min_durtion=3"), "--alarm: unknown key 'min_durtion'; the nearest known key is 'min_duration'"),
        (("--sensitivity", "0"), "tsforecast: --sensitivity must be a positive number"),
        (("--since", "soon"), "--since must be a timestamp such as 2024-01-31"),
        (("--since", "2024-01-01"), "there is no row before --since 2024-01-01 to learn from"),
        (("--detector", ".", "--seed", "1"), "--seed says how to fit, and --detector is fitted already; leave one out"),
        (("--alarm", "min_duration=0"), "--alarm: min_duration must be a whole number of steps of at least 1"),
        (("--level", "200"), "tsforecast: --level is a coverage in percent, between 0 and 100, got 200"),
        (("--freq", "7"), "--freq 7 is for integer steps, 'ds' holds timestamps"),
        (("--labels", "cpu"), "--labels 'cpu' is the column of --target too; name another one"),
        (("--channels", "cpu,mem", "--labels", "mem"), "--labels 'mem' is the column of --past-covariates too"),
        (("--labels", "cppu"), "machine.csv has no column 'cppu' (--labels); it has unique_id, ds, cpu, mem, wrong"),
        (("--labels", "ds"), "--labels 'ds' is the column of --time too; name another one"),
        (("--channels", "cpu,me"), "machine.csv has no column 'me' (--channels)"),
        (("--channels", "cpu,y"), "--channels 'y' has the name that column 'cpu' gets here; rename it in the data"),
        (("--channels", "unique_id"), "--channels 'unique_id' is the column of --id too"),
        (("--past-covariates", "me"), "machine.csv has no column 'me' (--past-covariates)"),
        (
            ("--id", "host"),
            "(--id); it has unique_id, ds, cpu, mem, wrong; for a file with one series and no id column, pass --series",
        ),
    ],
)
def test_what_is_wrong_is_one_line(call: Callable[..., Called], file: Path, arguments: tuple[str, ...], words: str) -> None:
    code, out, err = call("detect", file, "--target", "cpu", *arguments)
    of_the_data = "no column" in words or "pass --series" in words or "integer steps" in words
    assert code == (1 if of_the_data else 2) and words in err and err.count("\n") == 1 and out == ""


def renamed(tmp_path: Path, **columns: Any) -> Path:
    """The machine in columns host, when, load; with other values where `columns` says so."""
    frame = machine().assign(**columns).rename(columns={"unique_id": "host", "ds": "when", "cpu": "load"})
    frame.to_csv(tmp_path / "renamed.csv", index=False)
    return tmp_path / "renamed.csv"


OWN = ("--id", "host", "--time", "when", "--target", "load")


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"cpu": lambda frame: frame["cpu"].where(frame.index != 5, np.inf)}, "has inf in 'load', row 5"),
        (
            {"cpu": lambda frame: frame["cpu"].astype(object).where(frame.index != 5, "oops")},
            "'oops' in 'load', row 5; 'load' must",
        ),
        ({"ds": lambda frame: frame["ds"].astype(str).where(frame.index != 3, "soon")}, "column 'when', row 3: 'soon' is no ISO"),
        ({"ds": lambda frame: frame["ds"].where(frame.index != 3, HOURS[4])}, "pass --missing-steps insert"),
        (
            {"unique_id": "y", "cpu": lambda frame: frame["cpu"].where(frame.index != 5, np.inf)},
            "series 'y' has inf in 'load', row 5",
        ),
    ],
)
def test_what_is_wrong_with_the_data_is_said_in_the_columns_of_the_file(
    call: Callable[..., Called], tmp_path: Path, changed: dict[str, Any], words: str
) -> None:
    if "--missing-steps" in words:
        file = renamed(tmp_path)
        pd.read_csv(file).drop(index=7).to_csv(file, index=False)
    else:
        file = renamed(tmp_path, **changed)
    code, out, err = call("detect", file, *OWN, *FAST)
    assert code == 1 and words in err and out == "" and err.count("\n") == 1
    assert not any(name in err for name in ("'ds'", "'unique_id'", "in 'y'", "source.", "pd.", "missing_steps"))
    code, _, err = call("train", file, *OWN, "--model", "seasonal_naive", "--horizon", 3, "--out", tmp_path / "model")
    assert code == 1 and words in err


@pytest.mark.parametrize(
    ("option", "name", "endings"),
    [
        ("--events", "events.xlsx", ".json, .jsonl, .csv, .parquet or .pq"),
        ("--plot", "plot.bmp", ".png, .svg or .pdf"),
        ("--out", "scores.xlsx", ".csv, .parquet or .pq"),
        ("--out", "scores", ".csv, .parquet or .pq"),
    ],
)
def test_a_file_of_an_unknown_kind_is_refused_before_anything_is_read(
    call: Callable[..., Called], tmp_path: Path, option: str, name: str, endings: str
) -> None:
    code, _, err = call("detect", tmp_path / "nowhere.csv", "--target", "cpu", option, tmp_path / name)
    assert code == 2 and f"{option} writes files that end in {endings}, got " in err and name in err
    assert not list(tmp_path.iterdir())


def test_endings_are_read_whatever_their_case(call: Callable[..., Called], file: Path, tmp_path: Path) -> None:
    asked = (
        "detect",
        file,
        "--target",
        "cpu",
        *FAST,
        "--out",
        tmp_path / "scores.PARQUET",
        "--events",
        tmp_path / "events.JSONL",
    )
    assert call(*asked)[0] == 0
    assert len(pd.read_parquet(tmp_path / "scores.PARQUET")) == 700
    assert all(json.loads(line)["id"] for line in (tmp_path / "events.JSONL").read_text().splitlines())


def test_a_file_in_which_nothing_can_be_judged_is_a_failure_that_says_why(
    call: Callable[..., Called], file: Path, tmp_path: Path
) -> None:
    assert call("detect", file, "--target", "cpu", *FAST, "--save", tmp_path / "det")[0] == 0
    pd.concat([machine("a")[:9], machine("b")[:7]]).to_csv(tmp_path / "short.csv", index=False)
    code, _, err = call("detect", tmp_path / "short.csv", "--target", "cpu", "--detector", tmp_path / "det")
    assert (
        code == 1 and "short.csv can be judged: series 'a' has too few steps: a window of this detector is 24; series 'b' " in err
    )
    code, _, err = call("detect", tmp_path / "short.csv", "--target", "cpu", *FAST)
    assert code == 1 and "series 'a' has 9 observations" in err
    pd.concat([machine("a"), machine("b")]).assign(cpu=np.nan).to_csv(tmp_path / "none.csv", index=False)
    for how in (FAST, ("--detector", tmp_path / "det")):
        code, _, err = call("detect", tmp_path / "none.csv", "--target", "cpu", *how, "--json")
        assert code == 1 and "series 'a' has no values; series 'b' has no values" in err
    pd.concat([machine("a"), machine("b").assign(cpu=np.nan)]).to_csv(tmp_path / "half.csv", index=False)
    code, _, err = call("detect", tmp_path / "half.csv", "--target", "cpu", *FAST)
    assert code == 0 and "b: has no values at all" in err


def test_a_step_without_a_score_is_put_down_to_missing_values_only_where_there_are_no_others(file: Path) -> None:
    detector = WindowEnergy(window=24).fit(panel_of_file(file), seed=0)
    report = detector.score(panel_of_file(file))
    nothing = np.full(len(report.p_value), np.nan)

    def why(reasons: dict[str, int], values: np.ndarray[Any, Any]) -> str:
        reason = np.repeat([REASONS.index(name) for name in reasons], list(reasons.values())).astype(np.int8)
        return detect_file._why_not(detector, replace(report, p_value=nothing, reason=reason, values=values))

    half = np.where(np.arange(700)[:, None] % 2 == 0, 1.0, np.nan)
    assert why({"missing": 600, "too sparse": 60, "too short": 40}, half).endswith("too little of each window is observed")
    assert why({"missing": 690, "too short": 10}, half) == "series 'web-1' has too few steps: a window of this detector is 24"
    assert why({"missing": 690, "too short": 10}, half * np.nan) == "series 'web-1' has no values"
    assert set(detect_file.WHY_NOT) == set(REASONS[1:])


def panel_of_file(file: Path) -> Any:
    frame = pd.read_csv(file).rename(columns={"cpu": "y"})[["unique_id", "ds", "y"]]
    return panel_from_frame(frame)


def block(language: str, starting: str) -> str:
    """The block of the README that starts so."""
    blocks = re.findall(rf"^```{language}\n(.*?)^```$", README.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    [found] = [text for text in blocks if text.startswith(starting)]
    return found


def test_the_commands_and_the_recipe_of_the_readme_run(
    call: Callable[..., Called], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tracking_folder: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TSF_MLRUNS", str(tracking_folder))
    machines = pd.concat([machine("web-1"), machine("web-2").assign(cpu=lambda frame: frame["mem"])])
    machines.rename(columns={"wrong": "is_anomaly"}).to_csv("machines.csv", index=False)
    Path("watch.toml").write_text(block("toml", "# watch.toml"))
    said = []
    for command in block("sh", "tsforecast detect").replace("\\\n", " ").splitlines():
        name, *arguments = shlex.split(command, comments=True)
        code, out, err = call(*arguments)
        assert name == "tsforecast" and code == 0, err
        said.append(out)
    assert "VUS-PR" in said[0] and Path("events.json").exists() and Path("machines.png").exists()
    assert "kept (fresh): 144 new rows" in said[-1]
    ids = [json.loads(line)["id"] for line in Path("events.jsonl").read_text().splitlines()]
    assert any(one.startswith("web-1@2025-01-26") for one in ids) and len(ids) == len(set(ids))
