"""Training runs, their scores and registered models in MLflow. The only package that imports mlflow, and only when used.

tracker = open_tracking()                          # sqlite:///mlruns/mlflow.db, or any MLflow server by URL
with tracker.training_run(experiment="co2", run_name="gru", flow=flow, panel=panel) as run:
    fitted = flow.fit(panel, horizon=26, callbacks=[run.callback])
    run.log_scores(backtest(flow, panel, horizon=26))
    version = run.log_model(fitted, example=panel, registered_name="co2")
tracker.promote("co2", version.version, baseline=naive_scores)
flow, version = tracker.load("co2")                # the champion; "co2/3" and "co2@challenger" name others
"""

from tsforecast.tracking.provenance import fingerprint, git_revision
from tsforecast.tracking.registry import CHALLENGER, CHAMPION, PREVIOUS, ModelVersion
from tsforecast.tracking.runs import Backtested, Run
from tsforecast.tracking.server import mlflow_ui_command
from tsforecast.tracking.tracker import Tracker, open_tracking

__all__ = [
    "CHALLENGER",
    "CHAMPION",
    "PREVIOUS",
    "Backtested",
    "ModelVersion",
    "Run",
    "Tracker",
    "fingerprint",
    "git_revision",
    "mlflow_ui_command",
    "open_tracking",
]
