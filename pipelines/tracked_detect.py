"""A detector of a run -> its MLflow run: one for each fit, in which later runs that use the same detector go on."""

import math
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from pipelines.recipe import ModelOptions
from pipelines.tracked import opened_once, registered_name
from tsforecast.errors import UnknownModel
from tsforecast.models.base import Epoch
from tsforecast.models.detector import Detector
from tsforecast.panel import IntArray, Panel

if TYPE_CHECKING:
    import pandas as pd

    from pipelines.workspace import Workspace
    from tsforecast.anomaly.report import AnomalyReport
    from tsforecast.evaluation import DetectionScores, Drift
    from tsforecast.models.fitted_detector import FittedDetector
    from tsforecast.tracking import Run, Tracker

MOST_CHARTS = 3  # series drawn, those with the most severe events
LONGEST_CHART = 5_000  # rows of a series drawn, the newest


class Epochs:
    """A training callback that counts: a detector of several networks begins at epoch 1 for each of them."""

    def __init__(self, run: "Run | None") -> None:
        self.run, self.count = run, 0

    def __call__(self, epoch: Epoch) -> None:
        self.count += 1
        if self.run is not None:
            self.run.callback(Epoch(number=self.count, values=epoch.values))


@contextmanager
def fitting(work: "Workspace", model: ModelOptions, recipe: Detector, panel: Panel, why: str) -> "Iterator[Run | None]":
    """The MLflow run of one fit; after a kill, the run that the killed process had opened."""

    def begin(tracker: "Tracker") -> "AbstractContextManager[Run]":
        detection = work.detection
        options = asdict(recipe)  # type: ignore[call-overload]  # every recipe is a dataclass
        own = {"model": recipe.name} | {f"model.{name}": value for name, value in options.items()}
        return tracker.training_run(
            experiment=detection.tracking.experiment or detection.name,
            run_name=model.label,
            flow=None,
            panel=panel,
            recipe_text=work.file.text,
            params={**own, "task": "anomaly", "seed": detection.seed, "train": model.train, "alarms": asdict(detection.rules)},
            tags={"recipe": detection.name, "as_of": work.as_of, "task": "anomaly", "fitted_because": why},
        )

    with opened_once(work, model, begin) as run:
        yield run


def log_fit(run: "Run", detector: "FittedDetector", *, seconds: float) -> None:
    """Seconds of the fit, its KL where there is one, and the calibration curve as table and picture."""
    import pandas as pd

    from tsforecast.evaluation import calibration_curve
    from tsforecast.plots_anomaly import calibration_chart

    kl = kl_of(detector.training)
    run.log_metrics({"fit_seconds": seconds} | ({} if kl is None else {"kl": kl}))
    curve = calibration_curve(detector)
    if curve.steps:
        run.log_table("calibration", pd.DataFrame({"asked_per_1000": curve.asked, "given_per_1000": curve.given}))
        run.log_figure("calibration", calibration_chart(curve.asked, curve.given, steps=curve.steps))


def kl_of(training: Any) -> float | None:
    """Mean of all numbers called "kl" in what a fit said of itself; None where there is none."""
    found: list[float] = []

    def look(value: Any) -> None:
        if isinstance(value, Mapping):
            found.extend(float(one) for name, one in value.items() if name == "kl" and isinstance(one, int | float))
            for one in value.values():
                look(one)
        elif isinstance(value, list | tuple):
            for one in value:
                look(one)

    look(training)
    return sum(found) / len(found) if found and all(map(math.isfinite, found)) else None


def register(work: "Workspace", run: "Run", detector: "FittedDetector", model: ModelOptions, panel: Panel) -> int:
    """Store the detector as a new version; that of the recipe's first model becomes the champion, which the service loads.

    Nothing is compared first: without labels there is nothing to compare by.
    """
    assert work.tracker is not None
    name = registered_name(work.file)
    version = run.log_detector(detector, example=panel, registered_name=name)
    if model.label == work.detection.models[0].label:
        try:
            before = work.tracker.resolve(f"{name}@champion")
            work.tracker.set_alias(name, "previous", before.version)
        except UnknownModel:  # the first version has none before it
            pass
        work.tracker.set_alias(name, "champion", version.version)
    return version.version


def log_judgement(
    run: "Run",
    report: "AnomalyReport",
    scores: "DetectionScores",
    *,
    labels: IntArray | None,
    events: "pd.DataFrame",
    drift: "Drift | None",
    of: str,
    step: int,
) -> None:
    """What the detector said of the rows of a run: metrics, tables `per_series` and `events`, pictures of the worst series."""
    from tsforecast.plots_anomaly import score_chart

    run.log_detection(scores, of=of, step=step)
    run.log_table("events", events)
    if drift is not None and drift.medians:
        run.log_metrics({"drift_share": drift.share}, step=step)
    for i, series_id in enumerate(worst_series(report)):
        chart = score_chart(report, series_id, labels=labels, last=LONGEST_CHART)
        run.log_figure("scores" if i == 0 else f"scores_{i + 1}", chart)


def worst_series(report: "AnomalyReport") -> list[str]:
    """Series with the most severe events, at most three; the first one where there is no event."""
    ranked = sorted(report.events, key=lambda event: -event.severity)
    return list(dict.fromkeys(event.series_id for event in ranked))[:MOST_CHARTS] or list(report.series_ids[:1])
