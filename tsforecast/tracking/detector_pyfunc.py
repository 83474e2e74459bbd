"""FittedDetector -> MLflow model folder without a pickle, and back: the module that `mlflow models serve` loads.

What a caller sends is a long frame: unique_id, ds, and one column of numbers for each channel (null = not observed), the newest
rows of each series last. Rows that follow those of the fit without a gap look back on these; others on what comes with them.
Of a detector fitted on zoned series, times are UTC on the way in and on the way out.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tsforecast.errors import ForecastError
from tsforecast.models.detector import channel_values
from tsforecast.models.fitted_detector import FittedDetector, load_detector
from tsforecast.panel import Panel
from tsforecast.tracking.provenance import pip_requirements, software
from tsforecast.tracking.store import harmless_warnings, import_mlflow

if TYPE_CHECKING:
    import pandas as pd
    from mlflow.models import ModelSignature

    from tsforecast.anomaly.report import AnomalyReport

DETECTOR_FOLDER = "data/detector"  # where in the artifact the files of `FittedDetector.save` are
EXAMPLE_ROWS = 32  # of the input example, at most
NUMBERS = ("score", "p_value", "severity")


class ServedDetector:
    """A fitted detector as MLflow calls it: long frame in, long frame out."""

    def __init__(self, detector: FittedDetector) -> None:
        self.detector = detector

    def predict(self, model_input: "pd.DataFrame", params: Mapping[str, Any] | None = None) -> "pd.DataFrame":
        """One row per step: unique_id, ds, score, p_value, severity, alarm, event ("" = none).

        Args:
            model_input: as the head of this module says.
            params: "sensitivity", alarms per 1,000 steps; missing = 1.

        Raises:
            MlflowException: what the detector raised, in the form that MLflow's server answers with its words and status 400.
        """
        from mlflow.exceptions import MlflowException

        try:
            return self.judge(model_input, sensitivity=float((params or {}).get("sensitivity", 1.0)))
        except ForecastError as error:
            raise MlflowException.invalid_parameter_value(str(error)) from error

    def judge(self, frame: "pd.DataFrame", *, sensitivity: float) -> "pd.DataFrame":
        """As `predict`.

        Raises:
            DataError, OptionError: as `panel_from_frame` and `FittedDetector.score` raise them.
        """
        from tsforecast.preprocessing.validate import panel_from_frame

        facts = self.detector.facts
        target, *others = facts.channels
        if facts.tz is not None and frame["ds"].dt.tz is None:
            frame = frame.assign(ds=frame["ds"].dt.tz_localize("UTC").dt.tz_convert(facts.tz))
        panel = panel_from_frame(frame, freq=facts.freq, season=facts.season, target_col=target, past_covariates=others)
        return _frame_of(self.detector.score(panel, sensitivity=sensitivity, explain=False))


def _frame_of(report: "AnomalyReport") -> "pd.DataFrame":
    import pandas as pd

    columns: dict[str, Any] = {
        "unique_id": np.repeat(np.asarray(report.series_ids, dtype=object), np.diff(report.offsets)),
        "ds": report.timestamps,
        **{name: getattr(report, name) for name in NUMBERS},
        "alarm": report.alarm,
    }
    event = np.full(len(report.timestamps), "", dtype=object)
    for one in report.events:
        first = report.rows_of(report.series_ids.index(one.series_id)).start
        event[first + one.first_row : first + one.last_row + 1] = one.id
    return pd.DataFrame(columns | {"event": event})


def _load_pyfunc(path: str) -> ServedDetector:
    """The detector in `path`; MLflow calls this by its name."""
    return ServedDetector(load_detector(path))


def write_pyfunc(detector: FittedDetector, *, example: Panel, folder: str | os.PathLike[str], run_id: str | None = None) -> Path:
    """Write `detector` into the new folder `folder`/model as an MLflow model of safetensors and JSON; return that folder.

    The detector is read back and judges the example before it is worth storing.

    Raises:
        DataError, ModelError: it cannot.
    """
    import_mlflow()
    with harmless_warnings():
        import mlflow.pyfunc
    from mlflow.models.model import Model

    work = Path(folder)
    detector.save(work / "detector")
    frame = _example(detector, example)
    _load_pyfunc(str(work / "detector")).judge(frame, sensitivity=1.0)
    mlflow.pyfunc.save_model(
        path=work / "model",
        loader_module=__name__,
        data_path=str(work / "detector"),
        mlflow_model=Model(run_id=run_id),
        signature=_signature(detector),
        input_example=(frame, {"sensitivity": 1.0}),
        pip_requirements=pip_requirements(detector.recipe.name),
        metadata={"model": detector.recipe.name, "trained_until": detector.facts.trained_until, **software()},
    )
    return work / "model"


def _example(detector: FittedDetector, panel: Panel) -> "pd.DataFrame":
    """The newest rows of the longest series, as a caller would send them."""
    import pandas as pd

    one = panel.select([int(np.argmax(panel.lengths))]).tail(EXAMPLE_ROWS)
    columns: dict[str, Any] = {"unique_id": np.full(len(one.target), one.series_ids[0], dtype=object), "ds": one.timestamps}
    return pd.DataFrame(columns | dict(zip(detector.facts.channels, channel_values(one, 0).T, strict=True)))


def _signature(detector: FittedDetector) -> "ModelSignature":
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, ParamSchema, ParamSpec, Schema

    moment = "long" if isinstance(detector.facts.freq, int) else "datetime"
    keys: list[Any] = [ColSpec("string", "unique_id"), ColSpec(moment, "ds")]
    said = [*(ColSpec("double", name) for name in NUMBERS), ColSpec("boolean", "alarm"), ColSpec("string", "event")]
    asked = ParamSchema([ParamSpec("sensitivity", "double", 1.0)])
    channels = [ColSpec("double", name) for name in detector.facts.channels]
    return ModelSignature(inputs=Schema(keys + channels), outputs=Schema(keys + said), params=asked)
