"""What a run records of a training, and how it ends."""

import logging
import math
import shutil
import sqlite3
import subprocess
from contextlib import closing, contextmanager
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from tests.unit.tracking_cases import NAIVE, Backtest, fitted, panel_of
from tsforecast.errors import OptionError, TrackingError
from tsforecast.flow import ForecastFlow
from tsforecast.models.base import Epoch
from tsforecast.models.seasonal_naive import SeasonalNaive
from tsforecast.nn.config import TrainConfig
from tsforecast.postprocess import clip_below_zero
from tsforecast.tracking import fingerprint, git_revision, open_tracking, runs
from tsforecast.tracking.runs import flat

ONE_EPOCH = Epoch(number=1, values={"train_loss": 1.0})


@pytest.fixture
def tracker(tracking_folder):
    return open_tracking(folder=tracking_folder)


@pytest.fixture
def recording(tracker):
    """A run of seasonal naive on two series."""

    @contextmanager
    def start(name="naive", **more):
        with tracker.training_run(experiment="shop", run_name=name, flow=NAIVE, panel=panel_of(), **more) as run:
            yield run

    return start


def stored(tracker, run):
    return tracker.store.client.get_run(run.run_id)


def metrics(tracker, run):
    """Without `seconds`, which every ended run has."""
    return {name: value for name, value in stored(tracker, run).data.metrics.items() if name != "seconds"}


def artifact(tracking_folder, run, path):
    return tracking_folder / "artifacts" / "shop" / run.run_id / "artifacts" / path


@contextmanager
def metrics_table_gone(tracking_folder):
    """A store that takes no metrics for a while."""

    def rename(old, new):
        with closing(sqlite3.connect(tracking_folder / "mlflow.db")) as connection:
            connection.execute(f"ALTER TABLE {old} RENAME TO {new}")

    rename("metrics", "away")
    yield
    rename("away", "metrics")


# ---------------------------------------------------------------- parameters and tags


def test_a_run_records_the_recipe_the_panel_and_the_versions(tracker):
    flow = ForecastFlow(model=SeasonalNaive(season=7), postprocess=(clip_below_zero,))
    panel = panel_of({"a": 28, "b": 21}, covariates=np.zeros((49, 1)), covariate_names=("price",), tz="Europe/Berlin")
    panel = panel.with_target(np.where(np.arange(49) == 3, np.nan, panel.target))
    params = {"horizon": 7, "seed": 0, "train": TrainConfig(max_epochs=3, learning_rate=None)}
    with tracker.training_run(
        experiment="shop", run_name="naive", flow=flow, panel=panel, params=params, tags={"recipe": "demo"}
    ) as run:
        pass
    data = stored(tracker, run).data
    train = {key: value for key, value in data.params.items() if key.startswith("train.")}
    assert train["train.max_epochs"] == "3"
    assert "train.learning_rate" not in train
    assert {key: value for key, value in data.params.items() if key not in train} == {
        "model": "seasonal_naive",
        "model.season": "7",
        "transforms": "none",
        "postprocess": "clip_below_zero",
        "horizon": "7",
        "seed": "0",
        "freq": "D",
        "season": "7",
        "tz": "Europe/Berlin",
        "series": "2",
        "observations": "48",
        "covariates": "price",
        "fingerprint": fingerprint(panel),
    }
    assert data.tags["recipe"] == "demo"
    assert data.tags["git_revision"] == git_revision()
    assert data.tags["tsforecast_version"] == "0.1.0"
    assert data.tags["torch_version"].startswith("2.")
    assert stored(tracker, run).info.run_name == "naive"


def test_more_parameters_than_one_call_takes_are_all_recorded(recording, tracker):
    with recording(params={"many": {f"p{i}": i for i in range(205)}}) as run:
        pass
    assert sum(key.startswith("many.") for key in stored(tracker, run).data.params) == 205


def test_a_long_value_is_cut_with_an_ellipsis(recording, tracker):
    with recording(params={"text": "x" * 5001, "fits": "y" * 5000}) as run:
        run.set_tags({"note": "z" * 9000})
    data = stored(tracker, run).data
    assert data.params["text"] == "x" * 4999 + "…"
    assert data.params["fits"] == "y" * 5000
    assert len(data.tags["note"]) == 5000


def test_nested_options_become_dotted_names_and_none_is_left_out():
    values = {"a": 1, "b": {"c": None, "d": {"e": (1, 2)}}, "train": TrainConfig(optimizer="sgd")}
    assert flat(values) | {"train.optimizer": "sgd"} == flat(values)
    assert {key: value for key, value in flat(values).items() if not key.startswith("train")} == {"a": "1", "b.d.e": "(1, 2)"}


# ---------------------------------------------------------------- how a run ends


def test_a_run_that_goes_through_is_finished_and_has_its_recipe(recording, tracker, tracking_folder):
    with recording(recipe_text='[model]\nname = "grün"\n') as run:
        assert stored(tracker, run).info.status == "RUNNING"
    assert stored(tracker, run).info.status == "FINISHED"
    assert artifact(tracking_folder, run, "recipe.toml").read_text(encoding="utf-8") == '[model]\nname = "grün"\n'


def test_an_error_ends_the_run_as_failed_with_its_words_and_goes_on(recording, tracker):
    with pytest.raises(OptionError, match="the learning rate exploded"), recording() as run:
        raise OptionError("the learning rate exploded")
    assert stored(tracker, run).info.status == "FAILED"
    assert stored(tracker, run).data.tags["error"] == "OptionError: the learning rate exploded"


def test_ctrl_c_ends_the_run_as_killed(recording, tracker):
    with pytest.raises(KeyboardInterrupt), recording() as run:
        raise KeyboardInterrupt
    assert stored(tracker, run).info.status == "KILLED"


def test_a_store_that_fails_at_the_end_does_not_hide_the_error_of_the_training(recording, monkeypatch):
    with pytest.raises(ValueError, match="the real reason") as caught, recording() as run:
        monkeypatch.setattr(run.store.client, "set_terminated", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
        raise ValueError("the real reason")
    assert f"run {run.run_id} is not recorded to its end: could not end run" in caught.value.__notes__[0]
    assert "disk full" in caught.value.__notes__[0]


def test_a_run_can_be_continued_and_ends_again(recording, tracker):
    with pytest.raises(KeyboardInterrupt), recording() as first:
        raise KeyboardInterrupt
    with tracker.continue_run(first.run_id) as again:
        assert stored(tracker, again).info.status == "RUNNING"
        again.log_scores(Backtest())
    assert again.run_id == first.run_id
    assert stored(tracker, again).info.status == "FINISHED"
    assert metrics(tracker, again) == {"mase": 0.8, "wql": 0.05}


def test_the_seconds_of_a_run_leave_out_the_time_until_it_is_continued(recording, tracker, monkeypatch):
    clock = iter([100.0, 107.0, 500.0, 502.5])
    monkeypatch.setattr(runs.time, "monotonic", lambda: next(clock))
    with recording() as run:
        pass
    assert stored(tracker, run).data.metrics == {"seconds": 7.0}
    with pytest.raises(KeyboardInterrupt), tracker.continue_run(run.run_id):
        raise KeyboardInterrupt
    assert stored(tracker, run).data.metrics == {"seconds": 9.5}


def test_continuing_a_run_that_does_not_exist_is_an_error(tracker):
    with pytest.raises(TrackingError, match=r"could not continue run nope: .*not found"), tracker.continue_run("nope"):
        pass


# ---------------------------------------------------------------- numbers


def test_each_epoch_is_one_call_with_all_its_values_at_its_step(recording, tracker, monkeypatch):
    calls = []
    with recording() as run:
        send = run.store.client.log_batch
        monkeypatch.setattr(run.store.client, "log_batch", lambda *args, **more: (calls.append(more), send(*args, **more)))
        for number in (1, 2, 3):
            values = {"train_loss": 1 / number, "val_loss": 2 / number, "learning_rate": 0.01, "windows_per_s": 1e4}
            run.callback(Epoch(number=number, values=values))
        assert len(calls) == 3
    history = tracker.store.client.get_metric_history(run.run_id, "val_loss")
    assert [(point.step, point.value) for point in history] == [(1, 2.0), (2, 1.0), (3, 2 / 3)]
    assert set(metrics(tracker, run)) == {"train_loss", "val_loss", "learning_rate", "windows_per_s"}


def test_a_store_that_fails_for_an_epoch_gets_it_with_the_next(recording, tracker, tracking_folder, caplog):
    with recording() as run:
        with metrics_table_gone(tracking_folder), caplog.at_level(logging.WARNING, logger="tsforecast"):
            run.callback(ONE_EPOCH)
        assert "epoch 1 is not recorded yet: could not record metrics of run" in caplog.text
        run.callback(Epoch(number=2, values={"train_loss": 0.5}))
    history = tracker.store.client.get_metric_history(run.run_id, "train_loss")
    assert [(point.step, point.value) for point in history] == [(1, 1.0), (2, 0.5)]


def test_epochs_kept_until_the_end_are_sent_there(recording, tracker, tracking_folder):
    with recording() as run, metrics_table_gone(tracking_folder):
        run.callback(ONE_EPOCH)
    assert metrics(tracker, run) == {"train_loss": 1.0}
    assert stored(tracker, run).info.status == "FINISHED"


def test_epochs_that_can_never_be_sent_make_the_run_fail(recording, tracker, tracking_folder):
    with metrics_table_gone(tracking_folder):
        with pytest.raises(TrackingError, match="could not record metrics of run"), recording() as run:
            run.callback(ONE_EPOCH)
        with closing(sqlite3.connect(tracking_folder / "mlflow.db")) as connection:
            assert connection.execute("SELECT status FROM runs").fetchall() == [("FAILED",)]


def test_more_numbers_than_one_call_takes_are_sent_in_several(recording, tracker, monkeypatch):
    sizes = []
    with recording() as run:
        send = run.store.client.log_batch
        monkeypatch.setattr(
            run.store.client, "log_batch", lambda *args, **more: (sizes.append(len(more["metrics"])), send(*args, **more))
        )
        run.log_metrics({f"m{i}": float(i) for i in range(2001)})
        assert sizes == [1000, 1000, 1]
    assert len(metrics(tracker, run)) == 2001


def test_scores_are_metrics_under_their_own_names_and_a_table_per_series(recording, tracker, tracking_folder):
    with recording() as run:
        run.log_scores(Backtest(values={"mase": 0.1 + 0.2, "mape": math.nan}))
    data = stored(tracker, run).data
    assert data.metrics["mase"] == 0.1 + 0.2
    assert math.isnan(data.metrics["mape"])
    assert data.tags["scores"] == '{"mase": 0.3, "mape": null}'
    assert data.tags["backtest"] == "3 folds of 7 steps, levels 0.1 0.5 0.9"
    table = pd.read_parquet(artifact(tracking_folder, run, "tables/per_series.parquet"))
    assert table.to_dict("list") == {"unique_id": ["s0", "s1"], "mase": [0.0, 0.25]}
    assert artifact(tracking_folder, run, "tables/per_series.csv").read_text() == "unique_id,mase\ns0,0.0\ns1,0.25\n"


def test_a_long_table_is_whole_as_parquet_and_says_that_its_preview_is_not(recording, tracking_folder):
    with recording() as run:
        run.log_table("per_series", Backtest(series=1001).per_series())
    assert len(pd.read_parquet(artifact(tracking_folder, run, "tables/per_series.parquet"))) == 1001
    preview = artifact(tracking_folder, run, "tables/per_series.first-1000-rows.csv").read_text().splitlines()
    assert (preview[0], preview[-1], len(preview)) == ("unique_id,mase", "s999,249.75", 1001)
    assert not artifact(tracking_folder, run, "tables/per_series.csv").exists()


def test_the_version_carries_the_scores_whichever_is_logged_first(recording, tracker):
    panel = panel_of()
    with recording() as run:
        run.log_scores(Backtest(values={"mase": 0.5}))
        before = run.log_model(fitted(panel), example=panel, registered_name="shop")
    with recording() as run:
        run.log_model(fitted(panel), example=panel, registered_name="shop")
        run.log_scores(Backtest(values={"mase": 0.25, "mape": math.nan}))
    assert before.scores == {"mase": 0.5}
    after = tracker.resolve("shop/2")
    assert after.scores["mase"] == 0.25
    assert math.isnan(after.scores["mape"])
    assert (before.backtest, after.backtest) == ("3 folds of 7 steps, levels 0.1 0.5 0.9",) * 2


def test_a_model_backtested_by_a_later_process_gets_its_scores(recording, tracker):
    panel = panel_of()
    with recording() as run:
        run.log_model(fitted(panel), example=panel, registered_name="shop")
    with tracker.continue_run(run.run_id) as again:
        again.log_scores(Backtest(values={"mase": 0.75}))
    assert tracker.resolve("shop/1").scores == {"mase": 0.75}


def test_a_figure_is_stored_as_a_picture(recording, tracking_folder):
    from matplotlib.figure import Figure

    figure = Figure()
    figure.subplots().plot([1, 2, 4])
    with recording() as run:
        run.log_figure("fan", figure)
    assert artifact(tracking_folder, run, "plots/fan.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("name", ["../fan", "a/b", "", "ä", ".hidden"])
def test_a_name_that_is_no_file_name_is_refused(recording, name):
    with recording() as run:
        with pytest.raises(OptionError, match="cannot be a name here; use letters, digits"):
            run.log_table(name, pd.DataFrame())
        with pytest.raises(OptionError, match="cannot be a name here"):
            run.log_model(fitted(panel_of()), example=panel_of(), registered_name=name)


# ---------------------------------------------------------------- where the numbers come from


def test_the_same_panel_has_the_same_fingerprint_whatever_the_order_of_its_series():
    panel = panel_of({"a": 28, "b": 21})
    assert len(fingerprint(panel)) == 64
    assert fingerprint(panel) == fingerprint(panel_of({"a": 28, "b": 21}))
    assert fingerprint(panel) == fingerprint(panel.select([1, 0]))


def test_nan_is_one_value_and_minus_zero_is_zero_to_the_fingerprint():
    panel = panel_of({"a": 3})
    other_nan = np.array([0x7FF8000000000001], dtype=np.int64).view(np.float64)[0]
    with_nans = [panel.with_target(np.array([nan, zero, 1.0])) for nan, zero in ((np.nan, 0.0), (other_nan, -0.0))]
    assert fingerprint(with_nans[0]) == fingerprint(with_nans[1])


def test_every_part_of_a_panel_changes_its_fingerprint():
    panel = panel_of({"a": 28, "b": 21}, covariates=np.zeros((49, 1)), covariate_names=("price",))
    changed = [
        panel,
        panel.with_target(np.where(np.arange(49) == 0, 99.0, panel.target)),
        panel.with_target(np.where(np.arange(49) == 0, np.nan, panel.target)),
        replace(panel, series_ids=("a", "c")),
        replace(panel, series_ids=("b", "a")),
        replace(panel, timestamps=panel.timestamps + np.timedelta64(1, "s")),
        replace(panel, freq="B"),
        replace(panel, season=5),
        replace(panel, tz="UTC"),
        replace(panel, offsets=np.array([0, 21, 49])),
        replace(panel, covariate_names=("cost",)),
        replace(panel, covariates=np.ones((49, 1))),
        replace(panel, covariates=None),
        panel.without_last(1),
        replace(panel, past_covariates=np.zeros((49, 1)), past_covariate_names=("seen",)),
        replace(panel, past_covariates=np.ones((49, 1)), past_covariate_names=("seen",)),
        replace(panel, static_reals=np.zeros((2, 1)), static_real_names=("size",)),
        replace(panel, static_reals=np.zeros((2, 1)), static_real_names=("kind",)),
        replace(panel, static_categories=(("x",), ("y",)), static_category_names=("kind",)),
        replace(panel, static_categories=(("y",), ("x",)), static_category_names=("kind",)),
    ]
    assert len({fingerprint(one) for one in changed}) == len(changed)


def test_a_panel_without_past_and_static_features_keeps_the_fingerprint_it_had():
    panel = panel_of({"a": 3}, covariates=np.ones((3, 1)), covariate_names=("price",))
    assert fingerprint(panel) == "0e8bc93ec7b3e811f0f2f53706e7e2d66151b7cd7041e8545dbeadcba1eea27e"  # as of tsforecast 1.0
    told = replace(panel, static_reals=np.ones((1, 1)), static_real_names=("size",))
    assert fingerprint(told.select([0])) == fingerprint(told) != fingerprint(panel)


def test_the_clock_unit_does_not_change_the_fingerprint():
    panel = panel_of()
    assert fingerprint(replace(panel, timestamps=panel.timestamps.astype("datetime64[us]"))) == fingerprint(panel)


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_the_revision_is_the_commit_and_says_when_files_differ_from_it(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    assert git_revision(tmp_path) == "unknown"

    def git(*words):
        identity = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"]
        done = subprocess.run(["git", "-C", str(tmp_path), *identity, *words], capture_output=True, text=True, check=True)
        return done.stdout.strip()

    git("init", "-q")
    (tmp_path / "file").write_text("1")
    git("add", "file")
    git("commit", "-q", "-m", "one")
    git("tag", "-a", "v1", "-m", "one")
    assert git_revision(tmp_path) == git("rev-parse", "HEAD")
    (tmp_path / "file").write_text("2")
    assert git_revision(tmp_path) == git("rev-parse", "HEAD") + "-dirty"


def test_without_git_the_revision_is_unknown(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert git_revision() == "unknown"
