"""A recipe runs job by job: each result once, the same every time, and what fails is named."""

import json
import subprocess
import sys
import textwrap
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from pipelines.files import read_json
from pipelines.flows import flow_of
from pipelines.jobs import JOBS
from pipelines.recipe import RecipeFile
from pipelines.summary import exit_code, summary_of, to_text
from pipelines.tracked import training
from pipelines.workspace import Busy, NotYet, Workspace
from tests.pipelines.fakes import BROKEN, RECIPE, TREND, WRONG, quarters
from tsforecast.errors import CovariateError, ModelError, RecipeError, SchemaError, TrackingError

ROOT = Path(__file__).parents[2]
Write = Callable[..., RecipeFile]
Run = Callable[..., Workspace]


def forecast_of(work: Workspace) -> pd.DataFrame:
    return pd.read_parquet(work.path("forecast.parquet"))


def test_the_best_model_forecasts_what_comes_next(write: Write, run: Run) -> None:
    work = run(write(TREND, WRONG))
    frame = forecast_of(work)
    assert list(frame.columns) == ["unique_id", "ds", "0.1", "0.5", "0.9"]
    up = frame[frame["unique_id"] == "up"]
    assert up["0.5"].tolist() == [40.5, 41.5, 42.5, 43.5]  # 0 … 39 go on; the fake adds its level
    assert up["ds"].tolist() == list(pd.date_range("2020-01-01", periods=4, freq="QS"))
    summary = summary_of(work)
    assert [row["model"] for row in summary["leaderboard"]] == ["trend", "seasonal_naive", "wrong"]
    assert summary["champion"]["outcome"] == "promoted" and summary["champion"]["model"] == "trend"
    assert exit_code(summary) == 0


def test_ids_that_look_like_numbers_stay_as_they_are(write: Write, run: Run) -> None:
    assert set(forecast_of(run(write(TREND)))["unique_id"]) == {"up", "007"}


def test_the_run_is_named_by_the_last_moment_in_the_data(write: Write, run: Run, tmp_path: Path) -> None:
    work = run(write(TREND))
    assert work.as_of == "2019-10-01T00:00:00"
    assert work.folder == tmp_path / "runs" / "quarters" / "2019-10-01"


def test_rows_after_as_of_change_nothing(write: Write, run: Run) -> None:
    before = forecast_of(run(write(TREND, data=quarters(30)), as_of="2017-04-01"))
    spoilt = quarters(40)
    spoilt.loc[spoilt["ds"] > "2017-04-01", "y"] = 1e9
    work = run(write(TREND, data=spoilt, head=RECIPE.replace('"quarters"', '"again"')), as_of="2017-04-01")
    pd.testing.assert_frame_equal(forecast_of(work), before)
    assert summary_of(work)["panel"]["rows_after_as_of"] == 20


def test_the_same_moment_again_gives_the_same_bytes_and_does_no_work(write: Write, run: Run) -> None:
    file = write(TREND, WRONG)
    first = run(file, as_of="2018-01-01")
    content = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in first.folder.rglob("*.parquet")}
    again = run(file, as_of="2018-01-01T00:00")
    assert again.told == [
        f"quarters: {job} has run already{' (--force reads the source again)' * (job == 'prepare')}" for job in JOBS
    ]  # type: ignore[attr-defined]
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in first.folder.rglob("*.parquet")} == content
    forced = run(file, as_of="2018-01-01", force=True)
    assert not [line for line in forced.told if "already" in line]  # type: ignore[attr-defined]
    assert {path: path.read_bytes() for path in content} == {path: bytes_ for path, (bytes_, _) in content.items()}


def test_a_changed_recipe_runs_what_it_changes_and_nothing_else(write: Write, run: Run) -> None:
    first = run(write(TREND))
    trained = first.path("training/trend.json").stat().st_mtime_ns
    more_folds = run(write(TREND, head=RECIPE.replace("folds = 2", "folds = 3")))
    told = more_folds.told  # type: ignore[attr-defined]
    assert (
        "quarters: prepare has run already (--force reads the source again)" in told and "quarters: train has run already" in told
    )
    assert "quarters: backtest trend" in told
    another = run(write(TREND, WRONG, head=RECIPE.replace("folds = 2", "folds = 3")))
    assert "quarters: train wrong" in another.told  # type: ignore[attr-defined]
    assert another.path("training/trend.json").stat().st_mtime_ns == trained


def test_a_result_that_is_gone_is_made_again(write: Write, run: Run) -> None:
    file = write(TREND)
    work = run(file)
    kept = work.path("forecast.parquet").read_bytes()
    work.path("forecast.parquet").unlink()
    assert run(file).path("forecast.parquet").read_bytes() == kept


def test_jobs_can_be_run_one_by_one(write: Write, run: Run) -> None:
    file = write(TREND)
    work = run(file, jobs=("train", "prepare"))
    assert read_json(work.marker("train")) and not work.path("forecast.parquet").exists()
    summary = summary_of(work)
    assert summary["leaderboard"] is None and summary["forecast"] is None
    assert "champion" not in to_text(summary)
    run(file, jobs=("backtest", "promote", "forecast"))
    assert work.path("forecast.parquet").exists()


def test_a_job_whose_input_is_missing_says_which_job_to_run(write: Write, run: Run) -> None:
    file = write(TREND)
    with pytest.raises(NotYet, match=r"job 'train' has not run in .*quarters/2019-10-01; run it first"):
        run(file, jobs=("backtest",))
    with pytest.raises(NotYet, match=r"leaderboard\.json is not there yet; run job 'backtest' first, or leave --jobs away"):
        run(file, jobs=("promote",))
    with pytest.raises(RecipeError, match=r"no job 'predict'; jobs: prepare, train, backtest, promote, forecast"):
        run(file, jobs=("predict",))


def test_a_model_that_fails_is_named_and_stops_nobody(write: Write, run: Run) -> None:
    work = run(write(BROKEN, TREND))
    summary = summary_of(work)
    assert summary["failed"] == {"train": {"broken": "FloatingPointError: the loss is nan"}}
    assert exit_code(summary) == 3
    assert "FAILED     train broken: FloatingPointError: the loss is nan" in to_text(summary)
    assert [row["model"] for row in summary["leaderboard"]] == ["trend", "seasonal_naive"]
    assert len(forecast_of(work)) == 8


def test_a_model_that_failed_is_tried_again_and_the_others_are_not(write: Write, run: Run, tmp_path: Path) -> None:
    mended = tmp_path / "mended"
    file = write(BROKEN, f'options = {{ mended_by = "{mended}" }}', TREND)
    trained = run(file).path("training/trend.json").stat().st_mtime_ns
    mended.touch()
    work = run(file)
    assert exit_code(summary_of(work)) == 0
    assert {row["model"] for row in summary_of(work)["leaderboard"]} == {"broken", "trend", "seasonal_naive"}
    assert work.path("training/trend.json").stat().st_mtime_ns == trained


def test_when_every_model_fails_the_run_fails(write: Write, run: Run) -> None:
    data = quarters(4)  # too short for a season and a step
    with pytest.raises(ModelError, match=r"backtest: every model failed; .*seasonal_naive: "):
        run(write(TREND, data=data))


def test_nothing_is_promoted_that_does_not_beat_the_baseline(write: Write, run: Run) -> None:
    work = run(write(WRONG))
    summary = summary_of(work)
    assert summary["champion"]["outcome"] == "refused" and summary["champion"]["model"] == "seasonal_naive"
    assert "of wrong against 1 of seasonal_naive" in summary["champion"]["reason"]
    assert exit_code(summary) == 4
    assert "champion   none, seasonal_naive forecasts: mase" in to_text(summary)
    up = forecast_of(work).query("unique_id == 'up'")
    assert up["0.5"].tolist() == [36.0, 37.0, 38.0, 39.0]


def test_a_recipe_with_the_baseline_alone_forecasts_with_it(write: Write, run: Run) -> None:
    work = run(write('[[models]]\nname = "seasonal_naive"\n'))
    assert summary_of(work)["champion"]["reason"] == "no model but the baseline has a mase of its own"


def test_a_baseline_without_a_score_lets_nothing_be_promoted(write: Write, run: Run) -> None:
    flat = quarters().assign(y=5.0)  # the seasonal scale is 0: no mase
    with pytest.raises(ModelError, match=r"the baseline 'seasonal_naive' has no mase, so nothing can be promoted$"):
        run(write(TREND, data=flat))
    short = quarters(8)  # before the one fold there is a season, and not a step more
    head = RECIPE.replace("folds = 2", 'folds = 1\nmetric = "mae"')
    with pytest.raises(ModelError, match=r"no mae, so nothing can be promoted: none of 1 origins .* has 4 observations"):
        run(write(TREND, data=short, head=head))


def test_transforms_and_last_touches_of_the_recipe_are_part_of_the_flow(write: Write, run: Run) -> None:
    steps = '[[steps]]\nname = "log1p"\n'
    work = run(write('postprocess = ["round_to_integers"]', RECIPE, steps, '[[models]]\nname = "seasonal_naive"\n', head=""))
    up = forecast_of(work).query("unique_id == 'up'")
    assert up["0.5"].tolist() == [36.0, 37.0, 38.0, 39.0]
    assert (up["0.9"] == up["0.9"].round()).all()
    flow = json.loads(work.path("models/seasonal_naive/flow.json").read_text())
    assert [step["name"] for step in flow["transforms"]] == ["log1p"] and flow["postprocess"] == ["round_to_integers"]


NAMES = [
    ('[[models]]\nname = "grru"\n', r"recipe\.toml: models\[0\]: no model 'grru'; available: "),
    (
        TREND + "options = { slop = 1 }\n",
        r"models\[0\]: model 'trend' has no option 'slop'; did you mean 'slope'\?",
    ),
    (TREND + '[[steps]]\nname = "scal"\n', r"recipe\.toml: steps\[0\]: no transform 'scal'; did you mean 'scale'\?"),
    (
        TREND + '[[steps]]\nname = "scale"\nmethd = "z"\n',
        r"steps\[0\]: transform 'scale' has no option 'methd'; did you mean 'method'",
    ),
    (TREND + '[[steps]]\nname = "scale"\nmethod = "z"\n', r"steps\[0\]: transform 'scale' has no method 'z'"),
]


@pytest.mark.parametrize(("text", "message"), NAMES)
def test_names_are_checked_before_any_work(write: Write, run: Run, text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=message):
        run(write(text))
    assert not (tmp_path / "runs").exists()


def test_a_last_touch_that_does_not_exist_is_named(write: Write, run: Run) -> None:
    with pytest.raises(RecipeError, match=r"postprocess\[0\]: no postprocess 'clip'; there are clip_below_zero"):
        run(write('postprocess = ["clip"]', RECIPE, TREND, head=""))


def test_as_of_before_all_data_says_where_data_begin(write: Write, run: Run) -> None:
    with pytest.raises(SchemaError, match=r"no row is as old as 2009-12-31T00:00:00: column 'ds' begins at 2010-01-01"):
        run(write(TREND), as_of="2009-12-31")


def test_integer_steps_are_cut_by_integers(write: Write, run: Run) -> None:
    data = quarters()
    data["ds"] = list(range(40)) * 2
    work = run(write("[panel]\nseason = 4\n", TREND, data=data), as_of="30")
    assert work.folder.name == "30"
    assert forecast_of(work)["ds"].tolist()[:4] == [31, 32, 33, 34]
    with pytest.raises(RecipeError, match="column 'ds' counts integer steps, so as_of must be an integer too, got '2017-01-01"):
        run(write("[panel]\nseason = 4\n", TREND), as_of="2017-01-01")


def test_covariates_of_rows_after_as_of_are_used_and_their_target_is_not(write: Write, run: Run) -> None:
    data = quarters(16)
    data["plan"] = data["y"] * 2
    data.loc[data["ds"] > "2012-10-01", "y"] = np.nan  # not known yet
    head = RECIPE.replace('path = "quarters.csv"', 'path = "quarters.csv"\ncovariates = ["plan"]')
    echo = '[[models]]\nname = "echo"\n'
    work = run(write(echo, head=head.replace("folds = 2", 'folds = 1\nmetric = "mae"'), data=data), as_of="2012-10-01")
    assert work.panel.covariate_names == ("plan",)
    assert list(pd.read_parquet(work.path("future.parquet")).columns) == ["unique_id", "ds", "plan"]
    model = work.recipe.models[0]
    beside = pd.read_parquet(work.backtest(model, "parquet"))
    assert (beside["0.5"] == 2 * beside["y"]).all()
    assert work.future is not None and work.future[0, :, 0].tolist() == [24.0, 26.0, 28.0, 30.0]
    with pytest.raises(CovariateError, match="have no row"):
        run(write(echo, head=head.replace("folds = 2", 'folds = 1\nmetric = "mae"')), as_of="2013-04-01")


def test_two_processes_do_not_share_a_run_folder(write: Write, run: Run, tmp_path: Path) -> None:
    file = write(TREND)
    work = run(file)
    script = f"import sys; sys.path[:0] = {sys.path!r}\n" + textwrap.dedent(f"""
        import fcntl, pathlib
        lock = open({str(work.folder / ".lock")!r}, "a+")
        fcntl.flock(lock, fcntl.LOCK_EX)
        print("locked", flush=True)
        input()
    """)
    holder = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert holder.stdout and holder.stdin
    assert holder.stdout.readline() == "locked\n"
    with pytest.raises(Busy, match=r"process \d+ works in .*2019-10-01; wait for it, or stop it"):
        run(file)
    holder.communicate("\n")
    run(file)


def test_a_run_killed_in_training_goes_on_where_it_stood(write: Write, tmp_path: Path) -> None:
    write(TREND, '[[models]]\nname = "mortal"\n')
    script = f"import sys; sys.path[:0] = {[str(ROOT), *sys.path]!r}\n" + textwrap.dedent("""
        from pipelines.__main__ import main
        from tests.pipelines.fakes import register
        register()
        sys.exit(main(["run", "recipe.toml", "--json"]))
    """)
    command = [sys.executable, "-c", script]
    killed = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert killed.returncode == -9
    folder = tmp_path / "runs" / "quarters" / "2019-10-01"
    assert (folder / "models" / "trend").exists() and not (folder / "models" / "mortal").exists()
    assert (folder / "checkpoints" / "train" / "mortal" / "epoch").exists()
    resumed = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert resumed.returncode == 0, resumed.stderr
    assert "quarters: prepare has run already" in resumed.stderr
    assert {row["model"] for row in json.loads(resumed.stdout)["leaderboard"]} == {"trend", "mortal", "seasonal_naive"}
    assert not (folder / "checkpoints" / "train" / "mortal").exists()
    assert not list(folder.rglob("*.aside"))


def test_the_leaderboard_holds_the_backtest_of_each_model(write: Write, run: Run) -> None:
    work = run(write(TREND, WRONG))
    rows = {row["model"]: row for row in summary_of(work)["leaderboard"]}
    assert rows["seasonal_naive"]["mase"] == 1.0  # one season's growth is both its error and the scale
    assert rows["trend"]["mase"] == pytest.approx(0.5 / 4)
    beside = pd.read_parquet(work.backtest(work.recipe.contenders()[1], "parquet"))
    assert len(beside) == 2 * 2 * 4  # folds, series, steps
    np.testing.assert_allclose(beside["0.5"] - beside["y"], 0.5)


# ------------------------------------------------------------ tracked


@pytest.fixture
def tracked(write: Write, run: Run, tracking_folder: Path) -> Callable[..., Workspace]:
    def tracked(*parts: str, head: str = RECIPE, **options: Any) -> Workspace:
        file = write(*parts, head=head.replace("[tracking]\nenabled = false\n", ""))
        return run(file, variables={"TSF_MLRUNS": str(tracking_folder)}, **options)

    return tracked


def test_each_training_is_one_mlflow_run_with_its_scores_and_its_model(tracked: Callable[..., Workspace]) -> None:
    work = tracked(TREND, WRONG)
    assert work.tracker is not None
    table = work.tracker.leaderboard("quarters")
    assert table["run"].tolist() == ["trend", "seasonal_naive", "wrong"]
    assert table["mase"].tolist()[:2] == [pytest.approx(0.125), 1.0]
    assert sorted(table["version"]) == ["quarters/1", "quarters/2", "quarters/3"]
    champion = work.tracker.resolve("quarters@champion")
    assert champion.model == "trend" and champion.scores["mase"] == pytest.approx(0.125)
    run = work.tracker.store.client.get_run(champion.run_id)
    assert run.data.metrics["train_loss"] == 0.5 and run.data.params["train.optimizer"] == "adamw"
    assert run.data.tags["as_of"] == "2019-10-01T00:00:00"
    artifacts = {
        one.path
        for folder in ("plots", "tables", "")
        for one in work.tracker.store.client.list_artifacts(run.info.run_id, folder)
    }
    assert {"recipe.toml", "plots/newest_fold.png", "plots/leaderboard.png", "tables/per_series.parquet"} <= artifacts
    assert "champion   trend (quarters/2) promoted" in to_text(summary_of(work))


def test_a_champion_that_is_not_beaten_stays_and_forecasts(tracked: Callable[..., Workspace]) -> None:
    tracked(TREND)
    slower = '[[models]]\nname = "trend"\noptions = { slope = 2.0 }\n'
    work = tracked(slower)
    verdict = summary_of(work)["champion"]
    assert verdict["outcome"] == "kept" and verdict["reference"] == "quarters/2"
    assert "does not beat the champion quarters/2's" in verdict["reason"]
    assert exit_code(summary_of(work)) == 0
    assert forecast_of(work).query("unique_id == 'up'")["0.5"].tolist() == [40.5, 41.5, 42.5, 43.5]


def test_a_champion_that_cannot_reach_the_horizon_does_not_forecast(tracked: Callable[..., Workspace]) -> None:
    tracked(TREND)
    slower = '[[models]]\nname = "trend"\noptions = { slope = 2.0 }\n'
    work = tracked(slower, head=RECIPE.replace("horizon = 4", "horizon = 8"))
    verdict = summary_of(work)["champion"]
    assert verdict["reference"] is None and "but the champion cannot reach 8 steps of 'QS-JAN'" in verdict["reason"]
    assert len(forecast_of(work)) == 16


def test_the_registry_refuses_what_does_not_beat_the_baseline(tracked: Callable[..., Workspace]) -> None:
    work = tracked(WRONG)
    summary = summary_of(work)
    assert exit_code(summary) == 4
    assert "does not beat seasonal naive's" in summary["champion"]["reason"]
    assert work.tracker is not None and not work.tracker.versions("quarters")[0].aliases


def test_a_rerun_makes_no_second_mlflow_run(tracked: Callable[..., Workspace]) -> None:
    tracked(TREND)
    work = tracked(TREND)
    assert work.tracker is not None and len(work.tracker.versions("quarters")) == 2


def test_a_training_that_was_stopped_goes_on_in_its_mlflow_run_and_one_that_failed_gets_a_new_one(
    tracked: Callable[..., Workspace],
) -> None:
    work = tracked(TREND, jobs=("prepare",))
    model, ids = work.recipe.models[0], []
    for error in (KeyboardInterrupt, None, ValueError, None):
        with suppress(KeyboardInterrupt, ValueError), training(work, model, flow_of(work.recipe, model)) as mlflow_run:
            assert mlflow_run is not None
            ids.append(mlflow_run.run_id)
            if error is not None:
                raise error
    assert ids[0] == ids[1] and len({*ids}) == 3
    assert work.tracker is not None
    assert [work.tracker.store.client.get_run(one).info.status for one in ids[1:]] == ["FINISHED", "FAILED", "FINISHED"]


def test_a_tracking_store_that_fails_is_not_blamed_on_a_model(write: Write, run: Run, tmp_path: Path) -> None:
    file = write(TREND, head=RECIPE.replace("enabled = false", f'uri = "file://{tmp_path}"'))
    with pytest.raises(TrackingError, match="MLflow keeps no runs in plain files"):
        run(file)


def test_a_finished_run_puts_its_forecast_back_into_the_sink(write: Write, run: Run, tmp_path: Path) -> None:
    file = write(TREND, '[sink]\nkind = "csv"\npath = "out.csv"\n')
    run(file, as_of="2018-01-01")
    first = (tmp_path / "out.csv").read_text()
    run(file, as_of="2017-04-01")
    assert (tmp_path / "out.csv").read_text() != first
    run(file, as_of="2018-01-01")
    assert (tmp_path / "out.csv").read_text() == first
    (tmp_path / "out.csv").unlink()
    run(file, as_of="2018-01-01")
    assert (tmp_path / "out.csv").read_text() == first


def test_without_as_of_the_last_observed_target_is_the_moment(write: Write, run: Run) -> None:
    data = quarters(40)
    last = data["ds"].max()
    data.loc[data["ds"] == last, "y"] = float("nan")
    assert run(write(TREND, data=data)).as_of < str(last)
