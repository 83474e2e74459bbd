"""panel.parquet -> scores/, events/ and detectors/: how far the new rows are out of the ordinary, and which deserve a look.

Only rows that no run for an earlier moment has judged are judged; those before them are what they are judged by.
"""

import hashlib
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipelines.detections import Case, Chosen, after_fit, channels_of, chosen, needs_of, newer, own_folder, part_of
from pipelines.event_log import FLAT, Row, carried_on, flat, rows_of, write_lines
from pipelines.feedback import Feedback, contradictory_line, digest_of_file, read_feedback, unused_line
from pipelines.files import folder_written_aside, read_json, write_json, written_aside
from pipelines.io import write_frame
from pipelines.jobs import JobResult, each_model
from pipelines.past_runs import JUDGED, PLAN, facts_before, moment_of, note_failed, note_judged, plan_of
from pipelines.recipe import ModelOptions
from pipelines.tracked_detect import LONGEST_CHART, Epochs, fitting, log_fit, log_judgement, register, worst_series
from pipelines.workspace import CONTRADICTORY, UNUSED, Workspace
from tsforecast.errors import ModelError
from tsforecast.models.registry import build_detector
from tsforecast.panel import IntArray, Panel

if TYPE_CHECKING:
    import pandas as pd

    from tsforecast.anomaly.report import AnomalyReport
    from tsforecast.evaluation import Drift

READS = ("detect", "alarms", "models", "seed", "feedback", "tracking")
WRITES = ("detectors", "scores", "events", "plots", "training", PLAN, JUDGED, UNUSED, CONTRADICTORY)
NANOSECONDS = 1_000_000_000  # of a second
FALSE_ALARM, TRUE_ALARM = "false alarm", "true alarm"


def run(work: Workspace) -> JobResult:
    """Raises ModelError when every model failed; SchemaError when the feedback is at fault; TrackingError."""
    recipe, plan = work.detection, plan_of(work)
    panel, labels = channels_of(work.panel, target=recipe.source.target, label=recipe.source.label)
    path = None if recipe.feedback is None else work.file.folder / recipe.feedback.path
    feedback = Feedback.none(panel) if path is None else read_feedback(path, panel)
    for name, words, line in (
        (UNUSED, feedback.unused, unused_line),
        (CONTRADICTORY, feedback.contradictory, contradictory_line),
    ):
        write_json(work.path(name), words)
        if words:
            work.tell(f"{work.name}: detect: {line(words)}")
    case = Case(
        panel=panel,
        labels=labels,
        feedback=feedback.said,
        feedback_digest="" if path is None else digest_of_file(path),
        plan=plan,
    )
    try:
        result = each_model(
            work, recipe.models, "detect", lambda work, model: detect_one(work, model, replace(case, plan=plan.of(model.label)))
        )
    except ModelError:
        note_failed(work, plan, panel)
        raise
    note_judged(work, plan, panel, labels=[model.label for model in recipe.models], failed=result.failed)
    deliver(work)
    return result


def digests(work: Workspace) -> list[str]:
    """What the file of feedback holds now."""
    feedback = work.detection.feedback
    return [] if feedback is None else [digest_of_file(work.file.folder / feedback.path)]


def deliver(work: Workspace) -> list[str]:
    """Put the events of the first model into the recipe's file of all events; where that is, if there is one."""
    recipe = work.detection
    path, label = recipe.detect.events, recipe.models[0].label
    rows = read_json(_events(work, label))
    if path is None or rows is None:
        return []
    target = work.file.folder / path.replace("{recipe}", recipe.name)
    write_lines(target, rows, owner={"recipe": recipe.name, "model": label}, moment=moment_of(work.as_of))
    return [str(target)]


def detect_one(work: Workspace, model: ModelOptions, case: Case) -> dict[str, Any]:
    """Judge the new rows by one detector: the stored one while it is fresh, else one that is fitted on what came before."""
    got = chosen(work, model, case, lambda panel, said, why: _fit(work, model, panel, said, why))
    trained = _registered(work, model, case, got)
    write_json(work.training(model), {**trained, "how": got.how, "why": got.why})
    judged, drift = _judged(work, got, case)
    report = None if judged is None else new_part(judged, case)
    rows = _rows(work, model, case, judged, got)
    _write(work, model, report, rows)
    scores = None
    if report is not None:
        scores = _tracked(work, trained, case, report, rows, drift)
    path = got.folder.resolve().relative_to(work.folder.parent.resolve())
    return {
        "sha256": hashlib.sha256(_scores(work, model.label).read_bytes() + _events(work, model.label).read_bytes()).hexdigest(),
        "detector": str(path),
        "how": got.how,
        "why": got.why,
        "needs": needs_of(work, model, case.panel),
        "feedback": trained["feedback"],
        "drift": None if drift is None else {"share": drift.share, "drifted": drift.drifted},
        "rows": 0 if report is None else len(report.score),
        "observed": 0 if report is None else int(np.isfinite(report.values).any(axis=1).sum()),
        "events": len(rows),
        "open": sum(row["open"] for row in rows),
        "scores": scores,
        "run_id": trained.get("run_id"),
        "version": trained.get("version"),
    }


def new_part(report: "AnomalyReport", case: Case) -> "AnomalyReport | None":
    """The rows of a report that no run has judged; None where there are none."""
    keep = newer(report, case.plan.until)
    return part_of(report, keep) if keep.any() else None


def _fit(work: Workspace, model: ModelOptions, panel: Panel, said: IntArray, why: str) -> dict[str, Any]:
    """Fit, store and register one detector; facts of the training."""
    recipe = build_detector(model.name, **model.options)
    work.tell(f"{work.name}: detect {model.label}: fitting, {why}")
    facts: dict[str, Any] = {"run_id": None, "version": None}
    with fitting(work, model, recipe, panel, why) as tracked:
        began = time.perf_counter()
        epochs = Epochs(tracked)
        detector = recipe.fit(panel, seed=work.detection.seed, train=model.train, callbacks=[epochs], labels=said)
        facts |= {"seconds": round(time.perf_counter() - began, 3), "epochs": epochs.count}
        with folder_written_aside(own_folder(work, model)) as aside:
            detector.save(aside)
        if tracked is not None:
            log_fit(tracked, detector, seconds=facts["seconds"])
            facts |= {"run_id": tracked.run_id, "version": register(work, tracked, detector, model, panel)}
    return facts


def _registered(work: Workspace, model: ModelOptions, case: Case, got: Chosen) -> dict[str, Any]:
    """Facts of the training; a recalibrated detector becomes a version of its own in the MLflow run that fitted it."""
    facts = dict(got.facts)
    if got.how != "recalibrated" or work.tracker is None or not facts.get("run_id") or facts.get("registered"):
        return facts
    with work.tracker.continue_run(facts["run_id"]) as tracked:
        return facts | {"version": register(work, tracked, got.detector, model, case.panel), "registered": True}


def _judged(work: Workspace, got: Chosen, case: Case) -> "tuple[AnomalyReport | None, Drift | None]":
    """What the detector says of all rows after its fit (of all rows, in the first run), and whether they have drifted from it."""
    from tsforecast.evaluation import drift_of

    options = work.detection.detect
    rows = after_fit(got.detector, case.panel)
    if case.is_first or (not rows.any() and case.is_new().any()):  # what judges has learnt from all there is
        rows = np.ones(len(rows), dtype=np.bool_)
    if not rows.any():
        return None, None
    report = got.detector.score(
        case.panel.rows(rows), alarms=work.detection.rules, level=options.level, revised=options.revised, explain=True
    )
    return report, None if case.is_first else drift_of(got.detector, report)


def _rows(work: Workspace, model: ModelOptions, case: Case, judged: "AnomalyReport | None", got: Chosen) -> list[Row]:
    """The events to tell of, with what the feedback says of them."""
    before = facts_before(work, case.plan, model.label)
    folder = work.folder.parent / str(case.plan.before)
    told = [] if before is None else read_json(folder / "events" / f"{model.label}.json") or []
    gap = work.detection.rules.merge_gap
    rows = carried_on(
        [] if judged is None else rows_of(judged), told, case.panel,
        since=case.plan.until, gap=got.detector.core.width if gap is None else gap,
    )  # fmt: skip
    for row in rows:
        row["feedback"] = _said_of(row, case)
    return rows


def _said_of(row: Row, case: Case) -> str:
    """The last thing that the feedback says of a step of an event; "" = nothing."""
    if row["series_id"] not in case.panel.series_ids:
        return ""
    i = case.panel.series_ids.index(row["series_id"])
    span = slice(int(case.panel.offsets[i]), int(case.panel.offsets[i + 1]))
    times = case.panel.timestamps[span].astype(np.int64)
    said = case.feedback[span][(times >= row["start_at"]) & (times <= row["end_at"])]
    said = said[said != 0]
    return "" if not len(said) else TRUE_ALARM if said[-1] == 1 else FALSE_ALARM


def _write(work: Workspace, model: ModelOptions, report: "AnomalyReport | None", rows: list[Row]) -> None:
    """Scores of the new rows, events as JSON and as a table, and a picture of the worst series where there is an event."""
    import pandas as pd

    frame = pd.DataFrame(columns=["unique_id", "ds", "score"]) if report is None else report.to_frame()
    write_frame(frame, _scores(work, model.label))
    write_json(_events(work, model.label), rows)
    write_frame(table_of(rows), _events(work, model.label).with_suffix(".parquet"))
    if report is not None and report.events:
        draw(report, work.path(f"plots/{model.label}.png"))


def draw(report: "AnomalyReport", path: Path) -> None:
    """The series with the most severe event, as a picture."""
    from tsforecast.plots import save
    from tsforecast.plots_anomaly import score_chart

    with written_aside(path) as aside:
        save(score_chart(report, worst_series(report)[0], last=LONGEST_CHART), aside.with_suffix(".png")).replace(aside)


def table_of(rows: list[Row]) -> "pd.DataFrame":
    """Events as a frame, one row each."""
    import pandas as pd

    return pd.DataFrame(flat(rows), columns=pd.Index([*FLAT, "channels", "feedback"]))


def _tracked(
    work: Workspace, trained: dict[str, Any], case: Case, report: "AnomalyReport", rows: list[Row], drift: "Drift | None"
) -> dict[str, float | None]:
    """Scores of the new rows, also in the MLflow run that fitted the detector; what has no value is None."""
    from tsforecast.evaluation import evaluate

    labels = None
    if case.labels is not None:
        labels = case.labels[case.is_new()]
    scores = evaluate(report, labels)
    if work.tracker is not None and trained.get("run_id"):
        with work.tracker.continue_run(trained["run_id"]) as tracked:
            of = f"{len(report.score)} rows as of {work.as_of}"
            moment = moment_of(work.as_of)
            step = moment if case.panel.is_integer_clock else moment // NANOSECONDS
            log_judgement(tracked, report, scores, labels=labels, events=table_of(rows), drift=drift, of=of, step=step)
    return {name: value if np.isfinite(value) else None for name, value in scores.total.items()}


def _scores(work: Workspace, label: str) -> Path:
    return work.path(f"scores/{label}.parquet")


def _events(work: Workspace, label: str) -> Path:
    return work.path(f"events/{label}.json")
