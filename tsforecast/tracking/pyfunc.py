"""FittedFlow -> MLflow model folder without a pickle, and back: the module that `mlflow models serve` loads.

What a caller sends is a long frame: unique_id, ds, y (null = not observed) and, for a model that reads covariates, one
column for each; a static one has the same value in all rows of a series. For a model that reads known-future covariates
the last `horizon` rows of each series are the future: those are read, its y and past covariates are not.
Of a model fitted on zoned series, times are UTC on the way in (MLflow lets none with a zone through) and zoned on the way out:
in the zone of the fit, or in that of column `zone`, the same in all rows of a series.
"""

import logging
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tsforecast.errors import ForecastError, HistoryTooShort
from tsforecast.flow import FittedFlow, load_model
from tsforecast.forecast import DEFAULT_QUANTILE_LEVELS
from tsforecast.models.base import Covariate
from tsforecast.panel import FloatArray, Panel
from tsforecast.tracking.provenance import pip_requirements, software
from tsforecast.tracking.store import harmless_warnings, import_mlflow

if TYPE_CHECKING:
    import pandas as pd
    from mlflow.models import ModelSignature

FLOW_FOLDER = "data/flow"  # where in the artifact the files of `FittedFlow.save` are
ZONE = "zone"  # optional column of a zoned model: the IANA zone of each series
EXAMPLE_HORIZON = 7  # steps asked in the input example, at most

logger = logging.getLogger(__name__)


class ServedFlow:
    """A fitted flow as MLflow calls it: long frame in, long frame out."""

    def __init__(self, flow: FittedFlow) -> None:
        self.flow = flow

    def predict(self, model_input: "pd.DataFrame", params: Mapping[str, Any] | None = None) -> "pd.DataFrame":
        """Quantiles of the future of each series: unique_id, ds, then one column per level ("0.1" …).

        Args:
            model_input: as the head of this module says.
            params: "horizon" (steps) and "quantile_levels"; missing = the fit's horizon and 0.1, 0.5, 0.9.

        Raises:
            MlflowException: what `forecast` raised, in the form that MLflow's server answers with its words and status 400.
        """
        from mlflow.exceptions import MlflowException

        asked = params or {}
        levels = tuple(float(level) for level in asked.get("quantile_levels", DEFAULT_QUANTILE_LEVELS))
        try:
            return self.forecast(model_input, horizon=int(asked.get("horizon", self.flow.facts.horizon)), quantile_levels=levels)
        except ForecastError as error:
            raise MlflowException.invalid_parameter_value(str(error)) from error

    def forecast(self, frame: "pd.DataFrame", *, horizon: int, quantile_levels: tuple[float, ...]) -> "pd.DataFrame":
        """As `predict`.

        Raises:
            DataError, HorizonError, OptionError: as `panel_from_frame` and `FittedFlow.predict` raise them.
        """
        panel, future = self._panel(frame, horizon)
        forecast = self.flow.predict(panel, horizon=horizon, quantile_levels=quantile_levels, future=future)
        for series_id, words in forecast.fallbacks:
            logger.warning("series %r by fallback: %s", series_id, words)
        return forecast.to_frame()

    def _panel(self, frame: "pd.DataFrame", horizon: int) -> tuple[Panel, FloatArray | None]:
        """The histories, and the future covariates (S, H, C) where the model reads them."""
        from tsforecast.preprocessing.validate import panel_from_frame

        facts, names = self.flow.facts, read_covariates(self.flow)
        if facts.tz is not None and frame["ds"].dt.tz is None:
            frame = frame.assign(ds=frame["ds"].dt.tz_localize("UTC").dt.tz_convert(facts.tz))
        reads = self.flow.recipe.about.covariates
        panel = panel_from_frame(
            frame,
            freq=facts.freq,
            season=facts.season,
            tz_col=ZONE if reads_zones(self.flow) and ZONE in frame.columns else None,
            covariates=names,
            past_covariates=facts.past_covariate_names if "past" in reads else (),
            static=facts.static_real_names + facts.static_category_names if "static" in reads else (),
        )
        if not names or horizon < 1:
            return panel, None  # a horizon below 1 is refused by the model
        for i in np.flatnonzero(panel.lengths <= horizon)[:1]:
            hint = f"the last {horizon} rows of each series are its future: send them after the history"
            raise HistoryTooShort(panel.series_ids[i], have=int(panel.lengths[i]), need=horizon + 1, hint=hint)
        covariates = panel.tail(horizon).covariates
        assert covariates is not None  # the panel was made with them
        return panel.without_last(horizon), covariates.reshape(len(panel), horizon, len(names))


def _load_pyfunc(path: str) -> ServedFlow:
    """The model in `path`; MLflow calls this by its name."""
    return ServedFlow(load_model(path))


def read_covariates(flow: FittedFlow) -> tuple[str, ...]:
    """Names of the covariates that the model needs to forecast."""
    return flow.facts.covariate_names if "known-future" in flow.recipe.about.covariates else ()


def reads_zones(flow: FittedFlow) -> bool:
    """True where series may bring zones of their own: the model was fitted on zoned series, and has no feature of that name."""
    facts = flow.facts
    taken = facts.covariate_names + facts.past_covariate_names + facts.static_real_names + facts.static_category_names
    return facts.tz is not None and ZONE not in taken


def write_pyfunc(flow: FittedFlow, *, example: Panel, folder: str | os.PathLike[str], run_id: str | None = None) -> Path:
    """Write `flow` into the new folder `folder`/model as an MLflow model of safetensors and JSON; return that folder.

    The model is read back and forecasts the example before it is worth storing.

    Raises:
        DataError, ModelError: it cannot.
    """
    import_mlflow()
    with harmless_warnings():
        import mlflow.pyfunc
    from mlflow.models.model import Model

    work = Path(folder)
    flow.save(work / "flow")
    served = _load_pyfunc(str(work / "flow"))
    frame, horizon = _example(served, example)
    mlflow.pyfunc.save_model(
        path=work / "model",
        loader_module=__name__,
        data_path=str(work / "flow"),
        mlflow_model=Model(run_id=run_id),
        signature=_signature(flow),
        input_example=(frame, {"horizon": horizon}),
        pip_requirements=pip_requirements(flow.recipe.name),
        metadata={"model": flow.recipe.name, "trained_until": flow.facts.trained_until, **software()},
    )
    return work / "model"


def long_frame(panel: Panel) -> "pd.DataFrame":
    """One row per row of the panel: unique_id, ds (as stored: zoned series in UTC, without the zone), y, and all beside it."""
    import pandas as pd

    ids = np.repeat(np.asarray(panel.series_ids, dtype=object), panel.lengths)
    columns: dict[str, Any] = {"unique_id": ids, "ds": panel.timestamps, "y": panel.target}
    if panel.zones:
        columns[ZONE] = np.repeat(np.asarray(panel.zones, dtype=object), panel.lengths)
    if panel.covariates is not None:
        columns |= {name: panel.covariates[:, c] for c, name in enumerate(panel.covariate_names)}
    if panel.past_covariates is not None:
        columns |= {name: panel.past_covariates[:, c] for c, name in enumerate(panel.past_covariate_names)}
    if panel.static_reals is not None:
        reals = np.repeat(panel.static_reals, panel.lengths, axis=0)
        columns |= {name: reals[:, c] for c, name in enumerate(panel.static_real_names)}
    if panel.static_categories:
        words = np.repeat(np.array(panel.static_categories, dtype=object), panel.lengths, axis=0)
        columns |= {name: words[:, c] for c, name in enumerate(panel.static_category_names)}
    return pd.DataFrame(columns)


def _example(served: ServedFlow, panel: Panel) -> tuple["pd.DataFrame", int]:
    """A short request that the model can answer, from the longest series: (frame, horizon)."""
    facts, names = served.flow.facts, read_covariates(served.flow)
    horizon = min(facts.horizon, EXAMPLE_HORIZON)
    one = _only_read(panel.select([int(np.argmax(panel.lengths))]), served.flow.recipe.about.covariates)
    length = int(one.lengths[0])
    rows = min(length, 2 * facts.season + 2)
    while True:
        frame = long_frame(one.tail(rows + horizon if names else rows))
        if one.tz != facts.tz and reads_zones(served.flow):  # the fit had series of several zones
            frame[ZONE] = one.tz
        try:
            served.forecast(frame, horizon=horizon, quantile_levels=DEFAULT_QUANTILE_LEVELS)
        except HistoryTooShort as error:
            if rows == length:
                raise
            rows = min(length, max(2 * rows, error.need))
        else:
            return frame, horizon


def _only_read(panel: Panel, reads: tuple[Covariate, ...]) -> Panel:
    """`panel` without the kinds of covariates that are not among `reads`."""
    if "known-future" not in reads:
        panel = replace(panel, covariates=None, covariate_names=())
    if "past" not in reads:
        panel = replace(panel, past_covariates=None, past_covariate_names=())
    if "static" not in reads:
        panel = replace(panel, static_reals=None, static_real_names=(), static_categories=(), static_category_names=())
    return panel


def _signature(flow: FittedFlow) -> "ModelSignature":
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, ParamSchema, ParamSpec, Schema

    facts, reads = flow.facts, flow.recipe.about.covariates
    moment = "long" if isinstance(flow.facts.freq, int) else "datetime"
    keys: list[Any] = [ColSpec("string", "unique_id"), ColSpec(moment, "ds")]
    values = [ColSpec("double", name) for name in ("y", *read_covariates(flow))]
    if "past" in reads:
        values += [ColSpec("double", name) for name in facts.past_covariate_names]
    if "static" in reads:
        values += [ColSpec("double", name) for name in facts.static_real_names]
        values += [ColSpec("string", name) for name in facts.static_category_names]
    if reads_zones(flow):
        values.append(ColSpec("string", ZONE, required=False))
    levels = [ColSpec("double", str(level)) for level in DEFAULT_QUANTILE_LEVELS]
    asked = [
        ParamSpec("horizon", "long", flow.facts.horizon),
        ParamSpec("quantile_levels", "double", list(DEFAULT_QUANTILE_LEVELS), shape=(-1,)),
    ]
    return ModelSignature(inputs=Schema(keys + values), outputs=Schema(keys + levels), params=ParamSchema(asked))
