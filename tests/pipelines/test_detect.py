"""A recipe with [detect]: what is planted is found, told once, and told again only as it changes."""

import json
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from pipelines.__main__ import main
from pipelines.files import read_json, write_json
from pipelines.jobs import detect as detect_job
from pipelines.past_runs import moment_of, plan_of
from pipelines.recipe import read_recipe
from pipelines.recipe_detect import DetectRecipe
from pipelines.summary import exit_code, summary_of, to_text
from pipelines.tracked_detect import Epochs, kl_of
from pipelines.workspace import Workspace
from tests.pipelines.detect_cases import (
    ENERGY,
    FIRST,
    HEAD,
    SECOND,
    THIRD,
    Run,
    Write,
    data,
    events_of,
    lines_of,
    planted,
)
from tsforecast import cli
from tsforecast.errors import ModelError, OptionError, RecipeError
from tsforecast.models.base import Epoch
from tsforecast.models.fitted_detector import load_detector
from tsforecast.models.window_energy import WindowEnergy
from tsforecast.tracking import open_tracking

ROOT = Path(__file__).parents[2]


@pytest.mark.usefixtures("draws")
def test_what_is_planted_is_found_by_a_detector_that_has_not_learnt_from_it(recipe: Write, run: Run, tmp_path: Path) -> None:
    file = recipe(ENERGY)
    first = run(file, as_of=FIRST)
    assert summary_of(first)["detections"]["window_energy"]["rows"] == 2 * 601
    second = run(file, as_of=SECOND)
    [event] = planted(events_of(second))
    assert event["severity"] > 60 and event["channels"][0]["name"] == "y" and not event["open"]
    facts = summary_of(second)["detections"]["window_energy"]
    assert facts["how"] == "kept" and facts["rows"] == 2 * 144
    assert facts["detector"] == "2025-01-26/detectors/window_energy" and not second.path("detectors").exists()
    assert facts["scores"]["event_recall"] == 1 and facts["scores"]["vus_pr"] > 2 * facts["scores"]["vus_pr_random"]
    scores = pd.read_parquet(second.path("scores/window_energy.parquet"))
    assert scores["ds"].min() == pd.Timestamp(FIRST) + pd.Timedelta("1h") and len(scores) == 288
    assert {"score", "p_value", "severity", "y", "y:expected", "mem:lower"} <= set(scores.columns) and "wrong" not in scores
    told = pd.read_parquet(second.path("events/window_energy.parquet"))
    assert event["id"] in set(told["id"]) and second.path("plots/window_energy.png").exists()
    assert [line["id"] for line in planted(lines_of(tmp_path))] == [event["id"]]


def test_the_same_moment_again_tells_of_the_same_events_and_doubles_none(recipe: Write, run: Run, tmp_path: Path) -> None:
    file = recipe(ENERGY)
    run(file, as_of=FIRST)
    second = run(file, as_of=SECOND)
    before = (tmp_path / "events.jsonl").read_text(), second.path("events/window_energy.json").read_bytes()
    again = run(file, as_of=SECOND)
    assert "watch: detect has run already" in again.told  # type: ignore[attr-defined]
    forced = run(file, as_of=SECOND, force=True)
    assert "watch: detect has run already" not in forced.told  # type: ignore[attr-defined]
    assert ((tmp_path / "events.jsonl").read_text(), second.path("events/window_energy.json").read_bytes()) == before
    ids = [line["id"] for line in lines_of(tmp_path)]
    assert len(ids) == len(set(ids))


def test_a_run_for_an_earlier_moment_afterwards_changes_nothing_that_was_told(recipe: Write, run: Run, tmp_path: Path) -> None:
    file = recipe(ENERGY, frame=data((740,), steps=12))  # open as of the second moment, closed as of the third
    for moment in (FIRST, SECOND, THIRD):
        run(file, as_of=moment)
    before = lines_of(tmp_path)
    run(file, as_of=SECOND, force=True)
    assert lines_of(tmp_path) == before
    assert read_json(tmp_path / "runs" / "watch" / "2025-02-07" / "plan.json")["before"] == "2025-02-01"


def test_an_event_that_is_open_at_the_end_of_a_run_goes_on_under_its_name(recipe: Write, run: Run, tmp_path: Path) -> None:
    file = recipe(ENERGY, frame=data((740,), steps=12))  # the second moment is row 744
    run(file, as_of=FIRST)
    [begun] = planted(events_of(run(file, as_of=SECOND)), 740)
    [ended] = planted(events_of(run(file, as_of=THIRD)), 740)
    assert begun["open"] and not ended["open"]
    assert ended["id"] == begun["id"] and ended["start"] == begun["start"] and ended["end_at"] > begun["end_at"]
    assert ended["steps"] == 1 + (ended["end_at"] - ended["start_at"]) // (3600 * 10**9)
    assert [line["open"] for line in planted(lines_of(tmp_path), 740)] == [False]


def test_a_new_fit_does_not_make_a_new_event_of_an_old_one(recipe: Write, run: Run, tmp_path: Path) -> None:
    file = recipe(ENERGY, head=HEAD.replace("[detect]", '[detect]\nrefit = "always"'), frame=data((740,), steps=12))
    run(file, as_of=FIRST)
    [begun] = planted(events_of(run(file, as_of=SECOND)), 740)
    third = run(file, as_of=THIRD)
    assert summary_of(third)["detections"]["window_energy"]["how"] == "fitted"
    assert [one["id"] for one in planted(events_of(third), 740)] == [begun["id"]]
    manifest = json.loads((third.folder / "detectors" / "window_energy" / "manifest.json").read_text())
    assert manifest["facts"]["trained_until"] == SECOND  # the rows that it judges are not among those it learnt from


def test_a_detector_is_fitted_anew_when_its_series_have_drifted_and_kept_otherwise(recipe: Write, run: Run) -> None:
    drifting = data(())
    drifting.loc[drifting["ds"] > FIRST, ["y", "mem"]] *= 2.0
    for refit, ways in (("on drift", ["fitted", "kept", "fitted"]), ("never", ["fitted", "kept", "kept"])):
        file = recipe(
            ENERGY.replace("24", "12"), head=HEAD.replace('"watch"', f'"{refit[:2]}"') + f'refit = "{refit}"\n', frame=drifting
        )
        found = [summary_of(run(file, as_of=moment))["detections"]["window_energy"] for moment in (FIRST, "2025-02-05", THIRD)]
        assert [one["how"] for one in found] == ways
    assert found[1]["drift"] == {"share": 1.0, "drifted": True}


def test_other_options_ask_for_a_new_fit(recipe: Write, run: Run) -> None:
    run(recipe(ENERGY), as_of=FIRST)
    work = run(recipe(ENERGY.replace("24", "12")), as_of=SECOND)
    facts = summary_of(work)["detections"]["window_energy"]
    assert (facts["how"], facts["why"]) == ("fitted", "other options, channels or frequency")


def test_new_rows_that_say_nothing_are_warned_of(recipe: Write, run: Run) -> None:
    frame = data(())
    frame.loc[frame["ds"] > SECOND, ["y", "mem"]] = np.nan
    file = recipe(ENERGY, frame=frame)
    assert "WARNING" not in to_text(summary_of(run(file, as_of=FIRST)))
    assert "WARNING" not in to_text(summary_of(run(file, as_of=SECOND)))
    none = to_text(summary_of(run(file, as_of="2025-02-01T00:30")))
    assert "  WARNING    window_energy: there are no new rows since the run before; check that the source is still fed\n" in none
    empty = run(file, as_of=THIRD)
    facts = summary_of(empty)["detections"]["window_energy"]
    assert (facts["rows"], facts["observed"]) == (2 * 144, 0)
    assert "WARNING    window_energy: none of the 288 new rows has a value; check that" in to_text(summary_of(empty))


def test_a_run_that_was_killed_goes_on_with_what_it_had_fitted(recipe: Write, run: Run, tmp_path: Path) -> None:
    file = recipe(ENERGY, ENERGY.replace("{ window = 24 }", '{ window = 12 }\nlabel = "short"'))
    code = textwrap.dedent(
        f"""
        import os, signal
        from pathlib import Path
        from pipelines.__main__ import main
        from tsforecast.models.window_energy import WindowEnergy
        fit = WindowEnergy.fit
        def mortal(self, panel, **how):
            if self.window == 12:
                os.kill(os.getpid(), signal.SIGKILL)
            return fit(self, panel, **how)
        WindowEnergy.fit = mortal
        main(["run", {str(file.path)!r}, "--as-of", {FIRST!r}, "--folder", {str(tmp_path / "runs")!r}])
        """
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == -9, done.stderr
    folder = tmp_path / "runs" / "watch" / "2025-01-26"
    stored = (folder / "detectors" / "window_energy" / "weights.safetensors").stat().st_mtime_ns
    assert not (folder / "judged.json").exists() and not (tmp_path / "events.jsonl").exists()
    work = run(file, as_of=FIRST)
    assert (folder / "detectors" / "window_energy" / "weights.safetensors").stat().st_mtime_ns == stored
    assert "watch: detect short: fitting, first run" in work.told  # type: ignore[attr-defined]
    assert "watch: detect window_energy: fitting, first run" not in work.told  # type: ignore[attr-defined]
    assert set(summary_of(work)["detections"]) == {"window_energy", "short"} and (tmp_path / "events.jsonl").exists()


def test_a_model_that_fails_stops_nobody_and_its_label_is_named(recipe: Write, run: Run) -> None:
    work = run(recipe(ENERGY, '[[models]]\nname = "pca_remainder"\noptions = { window = 800 }'), as_of=FIRST)
    summary = summary_of(work)
    assert list(summary["failed"]["detect"]) == ["pca_remainder"] and exit_code(summary, fail_on_event=True) == 3
    assert "FAILED     detect pca_remainder" in to_text(summary)


@pytest.mark.parametrize("at_first", [True, False])
def test_rows_of_a_run_in_which_the_alarming_model_failed_are_judged_by_its_next_run(
    recipe: Write, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_first: bool
) -> None:
    file = recipe(ENERGY, ENERGY.replace("{ window = 24 }", '{ window = 12 }\nlabel = "short"'))
    judge = detect_job.detect_one

    def failing(work: Workspace, model: Any, case: Any) -> dict[str, Any]:
        if model.label == "window_energy":
            raise ValueError("no memory left")
        return judge(work, model, case)

    if not at_first:
        run(file, as_of=FIRST)
    with monkeypatch.context() as patch:
        patch.setattr(detect_job, "detect_one", failing)
        second = run(file, as_of=SECOND)  # has what is planted
    assert exit_code(summary_of(second)) == 3
    third = run(file, as_of=THIRD)
    found = summary_of(third)["detections"]
    assert found["short"]["rows"] == 2 * 144 and found["short"]["how"] == "kept"
    if at_first:
        assert (found["window_energy"]["rows"], found["window_energy"]["why"]) == (2 * 889, "first run")
        assert trained_until(third) == SECOND  # so that the rows since are judged by what has not learnt from them
    else:
        assert (found["window_energy"]["rows"], found["window_energy"]["how"]) == (2 * 288, "kept")
        assert found["window_energy"]["detector"] == "2025-01-26/detectors/window_energy"
        assert len(planted(lines_of(tmp_path))) == 1


def trained_until(work: Workspace) -> str:
    return str(load_detector(work.path("detectors/window_energy")).facts.trained_until)


def test_a_fit_after_a_first_run_in_which_every_model_failed_ends_where_that_run_ended(
    recipe: Write, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = recipe(ENERGY)
    for moment in (FIRST, SECOND):
        with monkeypatch.context() as patch, pytest.raises(ModelError, match="no memory left"):
            patch.setattr(WindowEnergy, "fit", lambda self, panel, **how: (_ for _ in ()).throw(ValueError("no memory left")))
            run(file, as_of=moment)
    third = run(file, as_of=THIRD)
    facts = summary_of(third)["detections"]["window_energy"]
    assert trained_until(third) == SECOND and (facts["rows"], facts["why"]) == (2 * 889, "first run")
    assert summary_of(run(file, as_of="2025-02-07T06:00"))["detections"]["window_energy"]["how"] == "kept"


def test_a_run_that_has_judged_goes_before_a_later_one_in_which_every_model_failed(
    recipe: Write, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = recipe(ENERGY)
    with monkeypatch.context() as patch, pytest.raises(ModelError):
        patch.setattr(WindowEnergy, "fit", lambda self, panel, **how: (_ for _ in ()).throw(ValueError("no memory left")))
        run(file, as_of=SECOND)
    run(file, as_of=FIRST)
    facts = summary_of(run(file, as_of=THIRD))["detections"]["window_energy"]
    assert (facts["how"], facts["rows"]) == ("kept", 2 * 288)


def test_a_first_run_that_failed_for_too_few_rows_does_not_bind_the_next_one(recipe: Write, run: Run) -> None:
    file = recipe(ENERGY)
    with pytest.raises(ModelError, match="observations"):
        run(file, as_of="2025-01-01T12:00")
    first = run(file, as_of=FIRST)
    assert trained_until(first) == FIRST and summary_of(first)["detections"]["window_energy"]["rows"] == 2 * 601


def test_labels_are_no_covariate_in_the_summary_of_a_run_or_a_check(
    recipe: Write, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    file = recipe(ENERGY)
    work = run(file, as_of=FIRST)
    summary = summary_of(work)
    assert summary["panel"]["past_covariates"] == ["mem"] and summary["panel"]["label"] == "wrong"
    assert "past covariates mem, labels wrong\n" in to_text(summary)
    assert load_detector(work.path("detectors/window_energy")).facts.channels == ("y", "mem")
    assert cli.main(["check", str(file.path)]) == 0
    assert "past covariates mem, labels wrong\n" in capsys.readouterr().out


def test_what_an_older_release_noted_counts_for_all_models(recipe: Write, run: Run, tmp_path: Path) -> None:
    file = recipe(ENERGY)
    first = run(file, as_of=FIRST)
    judged = read_json(first.path("judged.json"))
    write_json(first.path("judged.json"), {"moment": judged["moment"], "until": judged["until"]})
    facts = summary_of(run(file, as_of=SECOND))["detections"]["window_energy"]
    assert (facts["how"], facts["rows"]) == ("kept", 2 * 144)
    plan = tmp_path / "runs" / "watch" / "2025-02-01" / "plan.json"
    write_json(plan, {"before": "2025-01-26", "until": judged["until"]})
    assert plan_of(run(file, as_of=SECOND)).of("window_energy").until == judged["until"]


def test_a_model_that_is_new_begins_where_the_run_before_ended(recipe: Write, run: Run) -> None:
    run(recipe(ENERGY), as_of=FIRST)
    work = run(recipe(ENERGY, ENERGY.replace("{ window = 24 }", '{ window = 12 }\nlabel = "short"')), as_of=SECOND)
    facts = summary_of(work)["detections"]["short"]
    assert (facts["why"], facts["rows"]) == ("new model", 2 * 144)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("[detect]", '[detect]\nrefitt = "never"', r"unknown key 'detect.refitt'; the nearest known key is 'detect.refit'"),
        ("[detect]", '[detect]\nrefit = "daily"', r"detect.refit must be one of 'never', 'always', 'on drift'"),
        ("[detect]", "[detect]\nlevel = 100", r"detect.level is a coverage in percent"),
        ('"events.jsonl"', '"events.csv"', r"detect.events is a file of JSON lines that ends in .jsonl, got 'events.csv'"),
        ("[detect]", "[alarms]\nsensitive = 2\n[detect]", r"unknown key 'alarms.sensitive'; the nearest .*'alarms.sensitivity'"),
        ("[detect]", "[alarms]\nsensitivity = -1\n[detect]", r"alarms.sensitivity must be a positive number"),
        ("[detect]", "[alarms]\nignore = [3]\n[detect]", r"alarms.ignore must be a list of \[first, last\]"),
        ("[detect]", "[forecast]\nhorizon = 3\n[detect]", r"\[detect\] and \[forecast\] are two recipes"),
        ('past_covariates = ["mem"]', 'covariates = ["mem"]', r"source.covariates have no meaning for a detector"),
        ("[detect]", '[panel]\nresample = { freq = "D", how = "mean" }\n[detect]', r"panel.resample keeps the target only"),
        ('"window_energy"', '"gru"', r"models\[0\]: 'gru' forecasts and detects nothing"),
        ('"window_energy"', '"window_energi"', r"models\[0\]: no model 'window_energi'"),
        ("window = 24", "widow = 24", r"models\[0\]: model 'window_energy' has no option 'widow'; did you mean 'window'"),
    ],
)
def test_a_wrong_key_is_named_with_its_place(recipe: Write, run: Run, old: str, new: str, words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        run(recipe((HEAD + ENERGY).replace(old, new), head=""), as_of=FIRST)


def test_a_window_to_ignore_that_ends_on_a_date_lasts_for_that_day(recipe: Write) -> None:
    file = recipe('[alarms]\nignore = [["2025-01-24", "2025-01-26"], [2025-02-01, 2025-02-02]]')
    assert isinstance(file.recipe, DetectRecipe)
    hours = pd.date_range("2025-01-26T22:00", periods=4, freq="h").to_numpy().astype("datetime64[ns]")
    assert file.recipe.rules.ignored(hours).tolist() == [True, True, False, False]
    assert file.recipe.rules.ignored(np.array(["2025-02-02T23:00"], dtype="datetime64[ns]")).all()


def test_labels_without_a_detection_are_refused(tmp_path: Path) -> None:
    (tmp_path / "recipe.toml").write_text(
        'name = "x"\n[source]\nkind = "csv"\npath = "d.csv"\nlabel = "wrong"\n[forecast]\nhorizon = 2\n[[models]]\nname = "gru"\n'
    )
    with pytest.raises(RecipeError, match=r"source.label has no meaning without \[detect\]"):
        read_recipe(tmp_path / "recipe.toml")


def test_the_command_prints_the_events_and_can_fail_on_them(
    recipe: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    recipe(ENERGY)
    assert main(["run", "watch.toml", "--as-of", FIRST, "--quiet"]) == 0
    assert main(["run", "watch.toml", "--as-of", SECOND, "--quiet", "--fail-on-event"]) == 7
    out = capsys.readouterr().out
    assert "detector   window_energy kept (fresh): 288 new rows" in out and "  EVENT      b: " in out
    assert main(["run", "watch.toml", "--jobs", "train"]) == 2
    assert "no job 'train'; jobs: prepare, detect" in capsys.readouterr().err


def test_moments_of_runs_are_in_order_whatever_their_zone() -> None:
    assert moment_of("2025-01-01T01:00:00+02:00") < moment_of("2025-01-01") < moment_of("2025-01-01T00:30:00")
    assert moment_of("-3") == -3


def test_a_fit_is_one_mlflow_run_that_later_judgements_go_on_with(
    recipe: Write, run: Run, tracking_folder: Path, tmp_path: Path
) -> None:
    file = recipe(
        ENERGY,
        '[feedback]\npath = "said.csv"',
        head=HEAD.replace("enabled = false", f'uri = "sqlite:///{tracking_folder / "mlflow.db"}"'),
    )
    run(file, as_of=FIRST)
    second = run(file, as_of=SECOND)
    facts = summary_of(second)["detections"]["window_energy"]
    tracker = open_tracking(folder=tracking_folder)
    client = tracker.store.client
    [found] = client.search_runs([tracker.store.experiment_id("watch")])
    assert found.info.run_id == facts["run_id"] and found.info.status == "FINISHED"
    assert {"fit_seconds", "alarms_per_1000", "vus_pr", "auc_pr", "event_recall", "false_alarms_per_1000"} <= set(
        found.data.metrics
    )
    assert [one.step for one in client.get_metric_history(facts["run_id"], "alarms_per_1000")] == [1737849600, 1738368000]
    assert found.data.params["model"] == "window_energy" and found.data.params["model.window"] == "24"
    assert found.data.params["alarms.sensitivity"] == "1.0" and found.data.tags["fitted_because"] == "first run"
    names = {one.path for place in ("plots", "tables") for one in client.list_artifacts(facts["run_id"], place)}
    assert {"plots/calibration.png", "plots/scores.png", "tables/per_series.parquet", "tables/events.parquet"} <= names
    detector, version = tracker.load_detector("watch")
    assert version.reference == "watch/1" and version.task == "anomaly" and version.scores["event_recall"] == 1
    panel = second.panel
    assert detector.facts.channels == ("y", "mem") and detector.facts.trained_until == FIRST and len(panel) == 2
    assert tracker.leaderboard("watch", metric="vus_pr")["run"].tolist() == ["window_energy"]
    with pytest.raises(OptionError, match="watch/1 is a detector and makes no forecasts"):
        tracker.load("watch")
    (tmp_path / "said.csv").write_text("unique_id,start,end,label\nb,2025-01-29T08:00,2025-01-29T13:00,true\n")
    third = run(file, as_of=THIRD)
    assert summary_of(third)["detections"]["window_energy"]["version"] == 2
    aliases = {one.version: one.aliases for one in tracker.versions("watch")}
    assert aliases == {1: ("previous",), 2: ("champion",)}  # recalibrated, in the MLflow run that fitted it
    assert len(client.search_runs([tracker.store.experiment_id("watch")])) == 1


def test_epochs_of_several_networks_are_counted_on_and_their_kl_is_a_mean() -> None:
    class Recorder:
        def __init__(self) -> None:
            self.seen: list[int] = []

        def callback(self, epoch: Epoch) -> None:
            self.seen.append(epoch.number)

    recorder = Recorder()
    epochs = Epochs(recorder)  # type: ignore[arg-type]  # all that it asks of a run
    for number in (1, 2, 1, 2):
        epochs(Epoch(number=number, values={"train_loss": 1.0}))
    assert recorder.seen == [1, 2, 3, 4]
    assert kl_of({"vae": {"views": [{"kl": 2.0, "history": [{"train_loss": 1.0}]}, {"kl": 4.0}]}, "window_energy": {}}) == 3.0
    assert kl_of({"views": []}) is None
