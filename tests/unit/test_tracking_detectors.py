"""Detectors in MLflow: what a server would answer, and versions that forecasters are not taken for."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import tsforecast
from tests.unit.tracking_cases import NAIVE, panel_of
from tsforecast.errors import OptionError
from tsforecast.evaluation import evaluate
from tsforecast.models.base import Epoch
from tsforecast.tracking import open_tracking
from tsforecast.tracking.detector_pyfunc import write_pyfunc

ENERGY = tsforecast.build_model("window_energy", window=8)


def frame_of(*, tz: str | None = None) -> pd.DataFrame:
    """One series of two channels; the value 20 hours before the end stands out."""
    rng = np.random.default_rng(0)
    ds = pd.date_range("2025-01-01", periods=400, freq="h", tz=tz)
    frame = pd.DataFrame({"unique_id": "m", "ds": ds, "cpu": rng.normal(0, 1, 400), "mem": rng.normal(5, 1, 400)})
    frame.loc[380, "cpu"] = 40.0
    return frame


def panel(frame: pd.DataFrame) -> tsforecast.Panel:
    return tsforecast.panel_from_frame(frame, target_col="cpu", past_covariates=["mem"])


@pytest.mark.parametrize("tz", [None, "Europe/Berlin"])
def test_a_stored_detector_answers_as_a_server_asks_it(tmp_path: Path, tz: str | None) -> None:
    history, new = panel(frame_of(tz=tz).iloc[:360]), frame_of(tz=tz).iloc[360:]
    detector = ENERGY.fit(history)
    folder = write_pyfunc(detector, example=history, folder=tmp_path)
    import mlflow.pyfunc

    served = mlflow.pyfunc.load_model(str(folder))
    asked = new if tz is None else new.assign(ds=new["ds"].dt.tz_convert("UTC").dt.tz_localize(None))
    answer = served.predict(asked, params={"sensitivity": 2.0})
    report = detector.score(panel(new), sensitivity=2.0)
    assert list(answer.columns) == ["unique_id", "ds", "score", "p_value", "severity", "alarm", "event"]
    np.testing.assert_array_equal(answer["score"], report.score)
    np.testing.assert_array_equal(answer["alarm"], report.alarm)
    assert answer["event"].iloc[20] == report.events[0].id and answer["event"].iloc[0] == ""
    assert (asked["ds"].to_numpy() == answer["ds"].to_numpy()).all()
    assert not [path for path in folder.rglob("*") if path.suffix in (".pkl", ".pickle", ".bin", ".pt")]


def test_a_refusal_comes_in_the_words_of_the_library(tmp_path: Path) -> None:
    from mlflow.exceptions import MlflowException

    detector = ENERGY.fit(panel(frame_of()))
    served = write_pyfunc(detector, example=panel(frame_of()), folder=tmp_path)
    import mlflow.pyfunc

    days = frame_of().iloc[::24]
    with pytest.raises(MlflowException, match="series 'm'"):
        mlflow.pyfunc.load_model(str(served)).predict(days)


def test_a_version_of_a_detector_is_no_forecaster_and_the_other_way_round(tracking_folder: Path) -> None:
    tracker, hours, days = open_tracking(folder=tracking_folder), panel(frame_of()), panel_of()
    with tracker.training_run(experiment="watch", run_name="energy", flow=None, panel=hours) as run:
        run.callback(Epoch(number=1, values={"train_loss": 0.5}))
        detector = ENERGY.fit(hours)
        version = run.log_detector(detector, example=hours, registered_name="watch")
        run.log_detection(evaluate(detector.score(hours), np.r_[np.zeros(380, int), 1, np.zeros(19, int)]), of="all rows")
    with tracker.training_run(experiment="sales", run_name="naive", flow=NAIVE, panel=days) as run:
        run.log_model(NAIVE.fit(days, horizon=7), example=days, registered_name="sales")
    assert version.task == "anomaly" and version.model == "window_energy" and version.horizon == 0
    loaded, again = tracker.load_detector("watch/1")
    np.testing.assert_array_equal(loaded.scores(hours), detector.scores(hours))
    assert again.scores["auc_pr"] == 0.2 and again.backtest == "all rows"  # four windows around it score higher
    with pytest.raises(OptionError, match="watch/1 is a detector and makes no forecasts; load it with load_detector"):
        tracker.load("watch/1")
    with pytest.raises(OptionError, match="sales/1 forecasts and detects nothing; load it with load"):
        tracker.load_detector("sales/1")


def test_the_leaderboard_of_detectors_has_the_best_on_top(tracking_folder: Path) -> None:
    tracker, hours = open_tracking(folder=tracking_folder), panel(frame_of())
    report, labels = ENERGY.fit(hours).score(hours), np.zeros(400, dtype=int)
    for name, row in (("late", 100), ("right", 380)):
        with tracker.training_run(experiment="watch", run_name=name, flow=None, panel=hours) as run:
            run.log_detection(evaluate(report, np.where(np.arange(400) == row, 1, labels)), of="all rows")
    assert tracker.leaderboard("watch", metric="vus_pr")["run"].tolist() == ["right", "late"]
    assert tracker.leaderboard("watch", metric="false_alarms_per_1000")["run"].tolist() == ["right", "late"]
