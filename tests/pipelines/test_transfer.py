"""A training that starts from a stored model: which one it is, that it stays that one, and what cannot be started from."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from pipelines.files import read_json
from pipelines.recipe import RecipeFile
from pipelines.runner import RunOptions, run_recipe
from pipelines.summary import exit_code, summary_of, to_text
from pipelines.transfer import find_parent
from pipelines.workspace import Workspace
from tests.pipelines.fakes import RECIPE, TREND, Heir, Trend, quarters
from tsforecast.errors import RecipeError
from tsforecast.flow import FittedFlow
from tsforecast.panel import Panel
from tsforecast.preprocessing.validate import panel_from_frame

Write = Callable[..., RecipeFile]
Run = Callable[..., Workspace]
HEIR = '[[models]]\nname = "heir"\n'


def panel_until(moment: str) -> Panel:
    frame = quarters()
    return panel_from_frame(frame[frame["ds"] <= moment])


def stored(folder: Path, model: Trend | None = None, *, until: str = "2015-01-01") -> Path:
    """A fitted model in a folder."""
    return FittedFlow(predictor=(model or Heir()).fit(panel_until(until), horizon=4)).save(folder)


def born(work: Workspace, label: str = "heir") -> dict[str, Any]:
    """What the stored predictor says of its generation."""
    values: dict[str, Any] = json.loads((work.folder / "models" / label / "manifest.json").read_text())["values"]
    return values


def test_a_training_starts_from_the_model_in_a_folder(write: Write, run: Run, tmp_path: Path) -> None:
    stored(tmp_path / "base")
    work = run(write(HEIR, 'start_from = "base"\nfreeze = 2\n', TREND))
    assert born(work) == {"generation": 2, "frozen": 2}
    summary = summary_of(work)
    assert exit_code(summary) == 0
    assert {row["model"]: row.get("start_from") for row in summary["leaderboard"]}["heir"] == "base"
    assert "  heir was tuned from base" in to_text(summary)
    assert born(run(write(HEIR))) == {"generation": 1, "frozen": None}


def test_another_parent_or_freeze_trains_anew_and_the_same_does_not(write: Write, run: Run, tmp_path: Path) -> None:
    stored(tmp_path / "base")
    stored(tmp_path / "other")
    written = [run(write(HEIR, more)).path("training/heir.json").stat().st_mtime_ns for more in ("", 'start_from = "base"')]
    for more in ('start_from = "base"\n', 'start_from = "base"\nfreeze = 1', 'start_from = "other"\nfreeze = 1', ""):
        written.append(run(write(HEIR, more)).path("training/heir.json").stat().st_mtime_ns)
    assert written[1] == written[2] and len(set(written)) == 5


def test_every_fit_of_the_backtest_starts_there_too(write: Write, run: Run, tmp_path: Path, monkeypatch: Any) -> None:
    starts = []
    fit = Heir.fit

    def watched(self: Heir, panel: Panel, **options: Any) -> Any:
        starts.append((len(panel.target), options.get("start_from") is not None, options.get("freeze")))
        return fit(self, panel, **options)

    monkeypatch.setattr(Heir, "fit", watched)
    stored(tmp_path / "base")
    starts.clear()
    run(write(HEIR, 'start_from = "base"\nfreeze = 0\n', head=RECIPE.replace("folds = 2", "folds = 2\nrefit = true")))
    assert starts == [(80, True, 0), (64, True, 0), (72, True, 0)]


def test_a_parent_that_has_seen_what_the_backtest_scores_is_refused(write: Write, run: Run, tmp_path: Path) -> None:
    stored(tmp_path / "base", until="2018-01-01")
    work = run(write(HEIR, 'start_from = "base"\n', TREND))
    assert summary_of(work)["failed"]["backtest"]["heir"] == (
        "start_from 'base' was trained until 2018-01-01T00:00:00 and the first backtest origin is 2017-10-01T00:00:00, so the "
        "backtest would score it on what it has seen; start from a model trained until 2017-10-01T00:00:00 or earlier (--as-of), "
        "or ask for fewer folds"
    )
    assert exit_code(summary_of(work)) == 3
    one = run(write(HEIR, 'start_from = "base"\n', TREND, head=RECIPE.replace("folds = 2", "folds = 1")))
    assert exit_code(summary_of(one)) == 0


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (
            'start_from = "nowhere"',
            "start_from 'nowhere' is no folder (%s/nowhere), and with tracking.enabled = false there is no",
        ),
        (
            'start_from = "trend"',
            "start_from 'trend' is a fitted 'trend', and 'heir' can only start from another 'heir'; name one",
        ),
        ('start_from = "empty"', "%s/empty is not a stored model"),
    ],
)
def test_a_parent_that_cannot_be_used_is_named(write: Write, run: Run, tmp_path: Path, lines: str, message: str) -> None:
    stored(tmp_path / "trend", Trend())
    (tmp_path / "empty").mkdir()
    work = run(write(HEIR, lines + "\n", TREND), jobs=("prepare", "train"))
    assert (message % tmp_path if "%s" in message else message) in summary_of(work)["failed"]["train"]["heir"]


def test_a_model_without_weights_cannot_start_from_another(write: Write, run: Run) -> None:
    file = write(TREND, 'start_from = "base"\n')
    with pytest.raises(RecipeError, match=r"recipe\.toml: models\[0\]: model 'trend' has no weights to take over") as caught:
        run(file)
    assert caught.value.field == "models[0].start_from"


# ---------------------------------------------------------------- from the registry


@pytest.fixture
def tracked(write: Write, tmp_path: Path, tracking_folder: Path) -> Iterator[Callable[..., Workspace]]:
    from pipelines.environment import Environment

    def tracked(*parts: str, name: str = "quarters", **options: Any) -> Workspace:
        head = RECIPE.replace("[tracking]\nenabled = false\n", "").replace('"quarters"', f'"{name}"')
        told = RunOptions(folder=tmp_path / "runs", **options)
        return run_recipe(write(*parts, head=head), options=told, environment=Environment({"TSF_MLRUNS": str(tracking_folder)}))

    yield tracked
    shutil.rmtree(tmp_path / "runs", ignore_errors=True)


def test_the_mlflow_run_says_what_it_was_tuned_from(tracked: Callable[..., Workspace]) -> None:
    base = tracked(HEIR, name="base", as_of="2015-01-01")
    assert base.tracker is not None
    parent = base.tracker.resolve("base@champion")
    work = tracked(HEIR, 'start_from = "base@champion"\nfreeze = 3\n')
    assert born(work) == {"generation": 2, "frozen": 3}
    child = next(one for one in base.tracker.versions("quarters") if one.model == "heir")
    assert child.parent == parent.reference
    run = base.tracker.store.client.get_run(child.run_id)
    assert (run.data.params["start_from"], run.data.params["freeze"]) == (parent.reference, "3")
    tags = {name: value for name, value in run.data.tags.items() if name.startswith("parent_")}
    assert tags == {"parent_version": parent.reference, "parent_run_id": parent.run_id, "parent_fingerprint": parent.fingerprint}
    assert parent.parent == "" and len(parent.fingerprint) == 64


def test_a_run_does_not_start_from_the_model_it_has_promoted_itself(tracked: Callable[..., Workspace]) -> None:
    first = tracked(HEIR, as_of="2015-01-01")
    assert first.tracker is not None
    before = first.tracker.resolve("quarters").reference
    lines = 'start_from = "quarters"\noptions = { slope = 4.0 }\n'
    again = tracked(HEIR, lines)
    first.tracker.set_alias("quarters", "champion", 4)
    rerun = tracked(HEIR, lines, TREND)  # the train job runs once more, for the model that is new
    assert born(again) == born(rerun) == {"generation": 2, "frozen": None}
    pinned = read_json(rerun.path("training/heir.parent.json"))
    assert pinned["parent"]["reference"] == before != "quarters/4"
    forced = tracked(HEIR, lines, TREND, jobs=("train",), force=True)
    assert read_json(forced.path("training/heir.parent.json"))["parent"]["reference"] == "quarters/4"


def test_a_parent_that_is_not_registered_is_named(tracked: Callable[..., Workspace], tmp_path: Path) -> None:
    work = tracked(HEIR, 'start_from = "qarters@champion"\n', TREND, jobs=("prepare", "train"))
    failed = summary_of(work)["failed"]["train"]["heir"]
    assert failed.startswith(f"start_from 'qarters@champion' is no folder ({tmp_path}/qarters@champion), nor registered: no ")
    assert "there are: quarters" in failed
    with pytest.raises(RecipeError, match="nor registered: no model 'quarters/9'; there are quarters/"):
        find_parent("quarters/9", folder=tmp_path, tracker=lambda: work.tracker)


def test_the_forecast_of_a_tuned_model_is_its_own(write: Write, run: Run, tmp_path: Path) -> None:
    stored(tmp_path / "base")
    work = run(write(HEIR, 'start_from = "base"\n'))
    frame = pd.read_parquet(work.path("forecast.parquet"))
    assert frame[frame["unique_id"] == "up"]["0.5"].tolist() == [40.5, 41.5, 42.5, 43.5]
