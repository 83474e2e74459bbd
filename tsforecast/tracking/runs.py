"""One training -> one MLflow run: parameters, losses, scores, tables, plots, and the model as a registered version."""

import json
import logging
import math
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from tsforecast.errors import OptionError, TrackingError
from tsforecast.evaluation import DetectionScores
from tsforecast.flow import FittedFlow, ForecastFlow
from tsforecast.models.base import Epoch
from tsforecast.models.fitted_detector import FittedDetector
from tsforecast.panel import Panel
from tsforecast.tracking.provenance import UNKNOWN, fingerprint, git_revision, software
from tsforecast.tracking.registry import ModelVersion, register, register_detector, set_scores
from tsforecast.tracking.store import Store

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure
    from mlflow.entities import Metric

METRICS_PER_CALL, PARAMS_PER_CALL = 1000, 100  # MLflow refuses more
VALUE_LENGTH = 5000  # characters of a tag or parameter that every MLflow store takes
PREVIEW_ROWS = 1000  # of a table, as CSV, for the MLflow UI

logger = logging.getLogger(__name__)


class Backtested(Protocol):
    """What a run reads of a `BacktestResult`."""

    @property
    def horizon(self) -> int: ...

    @property
    def folds(self) -> Sequence[object]: ...

    @property
    def quantile_levels(self) -> tuple[float, ...]: ...

    def scores(self) -> dict[str, float]: ...

    def per_series(self) -> "pd.DataFrame": ...


@dataclass(kw_only=True)
class Run:
    """A run being recorded. Threads may share it."""

    store: Store
    run_id: str
    experiment_id: str
    tags: dict[str, str] = field(default_factory=dict)  # as stored when the run was opened, and set since
    spent: float = 0.0  # seconds in this run before it was opened this time
    _unsent: list["Metric"] = field(default_factory=list)
    _sending: threading.Lock = field(default_factory=threading.Lock)

    def callback(self, epoch: Epoch) -> None:
        """Record every value of `epoch` at step `epoch.number`, in one call; usable as a training callback.

        A store that fails does not end a training: the values are kept, and sent with those of the next epoch.
        """
        with self._sending:
            self._unsent += _metrics(epoch.values, step=epoch.number)
            try:
                self._send()
            except TrackingError as error:
                logger.warning("epoch %d is not recorded yet: %s", epoch.number, error)

    def log_metrics(self, values: Mapping[str, float], *, step: int = 0) -> None:
        """Record numbers under their names."""
        with self._sending:
            self._unsent += _metrics(values, step=step)
            self._send()

    def log_scores(self, result: Backtested) -> None:
        """Record a backtest: its scores under their own names and, as the table `per_series`, those of each series.

        The model version of this run carries the scores too, whichever of the two is logged first.
        """
        scores = result.scores()
        self.log_metrics(scores)
        how = f"{len(result.folds)} folds of {result.horizon} steps, levels {' '.join(map(str, result.quantile_levels))}"
        self.set_tags({"scores": scores_to_text(scores), "backtest": how})
        self.log_table("per_series", result.per_series())
        if "version" in self.tags:
            set_scores(self.store, self.tags["version"], self.tags)

    def log_detection(self, result: DetectionScores, *, of: str, step: int = 0) -> None:
        """Record what a detector said of the rows described by `of`: counts and metrics under their own names, and `per_series`.

        A metric without a value, such as one against labels where there are none, is left out. Where a detector judges again and
        again, `step` puts its answers in order.
        """
        self.log_metrics({name: value for name, value in result.total.items() if math.isfinite(value)}, step=step)
        self.set_tags({"scores": scores_to_text(result.total), "backtest": of})
        self.log_table("per_series", result.per_series)
        if "version" in self.tags:
            set_scores(self.store, self.tags["version"], self.tags)

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Set tags of the run; longer than 5000 characters, they are cut."""
        from mlflow.entities import RunTag

        short = {key: cut(str(value)) for key, value in tags.items()}
        with self.store.asking(f"set tags of run {self.run_id}"):
            self.store.client.log_batch(self.run_id, tags=[RunTag(key, value) for key, value in short.items()], synchronous=True)
        self.tags |= short

    def log_figure(self, name: str, figure: "Figure") -> None:
        """Store a picture as plots/`name`.png; the figure stays the caller's to close."""
        with self.store.asking(f"store figure {name!r}"):
            self.store.client.log_figure(self.run_id, figure, f"plots/{check_name(name)}.png")

    def log_table(self, name: str, frame: "pd.DataFrame") -> None:
        """Store a table as tables/`name`.parquet and, for the MLflow UI, its first 1000 rows as CSV."""
        stem = check_name(name)
        with tempfile.TemporaryDirectory() as folder:
            frame.to_parquet(Path(folder) / f"{stem}.parquet", index=False)
            whole = len(frame) <= PREVIEW_ROWS
            preview = f"{stem}.csv" if whole else f"{stem}.first-{PREVIEW_ROWS}-rows.csv"
            frame.head(PREVIEW_ROWS).to_csv(Path(folder) / preview, index=False)
            with self.store.asking(f"store table {name!r}"):
                self.store.client.log_artifacts(self.run_id, folder, "tables")

    def log_text(self, text: str, file: str) -> None:
        """Store `text` as the artifact `file`."""
        with self.store.asking(f"store {file!r}"):
            self.store.client.log_text(self.run_id, text, file)

    def log_model(self, flow: FittedFlow, *, example: Panel, registered_name: str) -> ModelVersion:
        """Store `flow` as a pyfunc model without pickles and register it as a new version of `registered_name`.

        Args:
            flow: the trained flow.
            example: histories it can forecast; a short piece of the longest series becomes the input example.
            registered_name: letters, digits, ".", "-", "_"; made if missing.

        Raises:
            OptionError: the name has other characters.
            DataError, ModelError: the stored model cannot forecast the example.
            TrackingError: the store fails.
        """
        from tsforecast.tracking.pyfunc import write_pyfunc

        check_name(registered_name)
        with tempfile.TemporaryDirectory() as folder:
            model = write_pyfunc(flow, example=example, folder=folder, run_id=self.run_id)
            version = register(self.store, model, flow=flow, name=registered_name, run=self)
        self.set_tags({"version": f"{version.name}/{version.version}"})
        return version

    def log_detector(self, detector: FittedDetector, *, example: Panel, registered_name: str) -> ModelVersion:
        """As `log_model`, for a detector: a pyfunc model that takes the channels and gives scores and alarms.

        Raises:
            OptionError: the name has other characters.
            DataError, ModelError: the stored detector cannot judge the example.
            TrackingError: the store fails.
        """
        from tsforecast.tracking.detector_pyfunc import write_pyfunc

        check_name(registered_name)
        with tempfile.TemporaryDirectory() as folder:
            model = write_pyfunc(detector, example=example, folder=folder, run_id=self.run_id)
            version = register_detector(self.store, model, detector=detector, name=registered_name, run=self)
        self.set_tags({"version": f"{version.name}/{version.version}"})
        return version

    def flush(self) -> None:
        """Send what a failing store has not taken yet.

        Raises:
            TrackingError: it still fails.
        """
        with self._sending:
            self._send()

    def _send(self) -> None:
        with self.store.asking(f"record metrics of run {self.run_id}"):
            while self._unsent:
                self.store.client.log_batch(self.run_id, metrics=self._unsent[:METRICS_PER_CALL], synchronous=True)
                del self._unsent[:METRICS_PER_CALL]


@contextmanager
def recorded(run: Run) -> Iterator[Run]:
    """Give `run` to the block and end it as the block ends: FINISHED, FAILED with the error as a tag, or KILLED.

    The metric `seconds` is the time spent in such blocks, without the time between a run's end and its continuation.
    """
    begun = time.monotonic()
    try:
        yield run
        run.flush()
    except BaseException as error:
        status = "KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED"
        try:
            run.set_tags({"error": f"{type(error).__name__}: {error}"})
            _end(run, status, begun)
        except TrackingError as failure:  # must not hide `error`
            error.add_note(f"run {run.run_id} is not recorded to its end: {failure}")
        raise
    _end(run, "FINISHED", begun)


def _end(run: Run, status: str, begun: float) -> None:
    spent = run.spent + time.monotonic() - begun
    with run.store.asking(f"end run {run.run_id}"):
        run.store.client.set_terminated(run.run_id, status)
    run.log_metrics({"seconds": spent})


def start_run(
    store: Store,
    *,
    experiment: str,
    run_name: str,
    flow: ForecastFlow | None,
    panel: Panel,
    recipe_text: str | None,
    params: Mapping[str, Any],
    tags: Mapping[str, str],
) -> Run:
    """A new run with its parameters, tags and recipe."""
    from mlflow.entities import Param

    experiment_id = store.experiment_id(experiment)
    given = _panel_params(panel) | ({} if flow is None else flow_params(flow)) | flat(params)
    known = {f"{name}_version": version for name, version in software().items()} | _revision_tags() | dict(tags)
    known = {key: cut(value) for key, value in known.items()} | {"fingerprint": given["fingerprint"]}
    with store.asking(f"start run {run_name!r}"):
        made = store.client.create_run(experiment_id, run_name=run_name, tags=known)
        run = Run(store=store, run_id=made.info.run_id, experiment_id=experiment_id, tags=known)
        entries = [Param(key, cut(value)) for key, value in given.items()]
        for i in range(0, len(entries), PARAMS_PER_CALL):
            store.client.log_batch(run.run_id, params=entries[i : i + PARAMS_PER_CALL], synchronous=True)
    if recipe_text is not None:
        run.log_text(recipe_text, "recipe.toml")
    return run


def reopen_run(store: Store, run_id: str) -> Run:
    """The run of that id, open for more."""
    with store.asking(f"continue run {run_id}"):
        found = store.client.get_run(run_id)
        store.client.update_run(run_id, status="RUNNING")
    return Run(
        store=store,
        run_id=run_id,
        experiment_id=found.info.experiment_id,
        tags=dict(found.data.tags),
        spent=found.data.metrics.get("seconds", 0.0),
    )


def flow_params(flow: ForecastFlow) -> dict[str, str]:
    """Parameters that tell one recipe from another: model, model.<option>, transforms, postprocess, and features if any."""
    options = flat({"model": asdict(flow.model)})  # type: ignore[call-overload]  # every recipe is a dataclass
    steps = {
        "transforms": ", ".join(repr(transform) for transform in flow.transforms) or "none",
        "postprocess": ", ".join(touch.name for touch in flow.postprocess) or "none",
    }
    if flow.features:
        steps["features"] = ", ".join(repr(feature) for feature in flow.features)
    return {"model": flow.model.name} | options | steps


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested mappings and dataclasses as dotted names -> text; None is left out: it says "not chosen"."""
    result: dict[str, str] = {}
    for key, value in values.items():
        if is_dataclass(value) and not isinstance(value, type):
            value = asdict(value)
        if isinstance(value, Mapping):
            result |= flat(value, f"{prefix}{key}.")
        elif value is not None:
            result[f"{prefix}{key}"] = str(value)
    return result


def scores_to_text(scores: Mapping[str, float]) -> str:
    """Scores as JSON, rounded to 9 digits; what is not a finite number is null."""
    return json.dumps({name: float(f"{value:.9g}") if math.isfinite(value) else None for name, value in scores.items()})


def check_name(name: str) -> str:
    """`name`, if it can be part of an address and a file name."""
    from tsforecast.tracking.store import folder_name

    if not name or folder_name(name) != name:
        raise OptionError(f"{name!r} cannot be a name here; use letters, digits, '.', '-' and '_'", field="name")
    return name


def cut(text: str) -> str:
    """`text`, ended by "…" where it is longer than a store takes."""
    return text if len(text) <= VALUE_LENGTH else text[: VALUE_LENGTH - 1] + "…"


def _panel_params(panel: Panel) -> dict[str, str]:
    import numpy as np

    observed = int(np.isfinite(panel.target).sum())
    facts = {"freq": panel.freq, "season": panel.season, "tz": panel.tz, "series": len(panel), "observations": observed}
    names = {
        "covariates": panel.covariate_names,
        "past_covariates": panel.past_covariate_names,
        "static": panel.static_real_names + panel.static_category_names,
    }
    return flat(
        facts | {kind: ", ".join(of_kind) or None for kind, of_kind in names.items()} | {"fingerprint": fingerprint(panel)}
    )


def _revision_tags() -> dict[str, str]:
    """The git revision, also under the name from which the MLflow UI fills its column Version."""
    revision = git_revision()
    return {"git_revision": revision} | ({} if revision == UNKNOWN else {"mlflow.source.git.commit": revision})


def _metrics(values: Mapping[str, float], *, step: int) -> list["Metric"]:
    from mlflow.entities import Metric

    now = int(time.time() * 1000)
    return [Metric(name, float(value), now, step) for name, value in values.items()]
