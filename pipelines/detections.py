"""A panel and the run before -> the detector that judges the new rows: the stored one while it is fresh, else a new one.

What judges a row has not learnt from it, except in the first run, which has nothing else to learn from: a fit in a later run ends
where the run before ended, also where the model failed in that one and has judged nothing yet.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipelines.files import folder_written_aside, read_json
from pipelines.past_runs import Plan, facts_before
from pipelines.recipe import ModelOptions, fingerprint
from pipelines.workspace import Workspace
from tsforecast.anomaly.report import AnomalyReport
from tsforecast.errors import ArtifactError, HistoryTooShort
from tsforecast.models.detector import channel_names
from tsforecast.models.detector_fitting import recalibrated
from tsforecast.models.fitted_detector import FittedDetector, load_detector
from tsforecast.panel import IntArray, Panel

BoolArray = npt.NDArray[np.bool_]
NEVER = np.iinfo(np.int64).min


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """What a run is about, the same for all its models but for the plan, which is that of one model when it judges."""

    panel: Panel  # channels of all rows up to the moment
    labels: IntArray | None  # (N,) 1 = known to be anomalous; for scores only
    feedback: IntArray  # (N,) 1, -1 or 0
    feedback_digest: str  # "" = no file
    plan: Plan

    @property
    def is_first(self) -> bool:
        return self.plan.before is None

    def calibrated_by(self) -> str:
        """Digest of the feedback where it speaks of a row that is learnt from; "" = none of it counts in a calibration."""
        return self.feedback_digest if self.feedback[self.to_learn_from()].any() else ""

    def is_new(self) -> BoolArray:
        """Rows that no run has judged, (N,)."""
        return newer(self.panel, self.plan.until)

    def to_learn_from(self) -> BoolArray:
        """Rows of the runs before, (N,); all of them in the first run, or where nothing is left of what was judged."""
        seen = ~newer(self.panel, self.plan.learn_until if self.is_first else self.plan.until)
        return seen if seen.any() else np.ones(len(seen), dtype=np.bool_)


@dataclass(frozen=True, kw_only=True, slots=True)
class Chosen:
    """The detector of one model, and how it was come by."""

    detector: FittedDetector
    folder: Path  # where it is stored
    how: str  # "fitted" | "recalibrated" | "kept"
    why: str  # in words
    facts: Mapping[str, Any]  # inputs, run_id, version, feedback that it is calibrated by, seconds of its fit


def channels_of(panel: Panel, *, target: str, label: str | None) -> tuple[Panel, IntArray | None]:
    """The panel with its target under its own name, and without the column of labels, which comes beside it, (N,)."""
    named = replace(panel, target_name=target)
    if label is None:
        return named, None
    assert named.past_covariates is not None  # it was read as the last of them
    labels = (np.nan_to_num(named.past_covariates[:, -1]) > 0.5).astype(np.int64)
    names = named.past_covariate_names[:-1]
    left = named.past_covariates[:, :-1] if names else None
    return replace(named, past_covariates=left, past_covariate_names=names), labels


def newer(rows: Panel | AnomalyReport, until: Mapping[str, int]) -> BoolArray:
    """Rows after the step that `until` has for their series, (N,); all of a series that it does not have."""
    last = np.repeat([until.get(series_id, NEVER) for series_id in rows.series_ids], np.diff(rows.offsets))
    found: BoolArray = rows.timestamps.astype(np.int64) > last
    return found


def after_fit(detector: FittedDetector, panel: Panel) -> BoolArray:
    """Rows of the panel that follow those of the fit, (N,); all of a series that it has not seen."""
    ends = {series_id: int(one.tail_times[-1].astype(np.int64)) for series_id, one in detector.memories.items() if len(one.tail)}
    return newer(panel, ends)


def needs_of(work: Workspace, model: ModelOptions, panel: Panel) -> str:
    """What a stored detector must have been fitted with, to be used again."""
    return fingerprint(model.name, model.options, model.train, work.detection.seed, channel_names(panel), panel.freq)


def stored(work: Workspace, model: ModelOptions, case: Case) -> tuple[FittedDetector, Mapping[str, Any]] | str:
    """The detector of the run before with its facts; in words why there is none, or why it is out of date."""
    facts = facts_before(work, case.plan, model.label)
    if facts is None:
        return "first run" if case.is_first else "new model"
    if facts["needs"] != needs_of(work, model, case.panel):
        return "other options, channels or frequency"
    refit = work.detection.detect.refit
    if refit == "always":
        return "refit is always"
    if refit == "on drift" and facts["drift"] is not None and facts["drift"]["drifted"]:
        return f"drift in {facts['drift']['share']:.0%} of the series"
    try:
        return load_detector(work.folder.parent / facts["detector"]), facts
    except ArtifactError as error:
        return str(error)


def own_folder(work: Workspace, model: ModelOptions) -> Path:
    """Where a run stores a detector that it fitted or recalibrated."""
    return work.folder / "detectors" / model.label


def chosen(work: Workspace, model: ModelOptions, case: Case, fit: Callable[[Panel, IntArray, str], dict[str, Any]]) -> Chosen:
    """The detector that judges, and how it was come by.

    Args:
        fit: fits on a panel and its feedback (N,) and saves into `own_folder`; it gives back facts of the training.
    """
    folder, case_inputs = own_folder(work, model), _inputs(work, model, case)
    done = read_json(work.training(model))
    if done and done["inputs"] == case_inputs and folder.exists():  # this run was killed, or judges again
        done_facts = {"feedback": case.feedback_digest, **done}  # older releases did not note it here
        return Chosen(detector=load_detector(folder), folder=folder, how=done["how"], why=done["why"], facts=done_facts)
    found = stored(work, model, case)
    seen = case.to_learn_from()
    past, said = case.panel.rows(seen), case.feedback[seen]
    if isinstance(found, str):
        try:
            facts = fit(past, said, found)
        except HistoryTooShort:  # which may be why the run before failed
            if not case.is_first or seen.all():
                raise
            facts = fit(case.panel, case.feedback, found)
        facts |= {"inputs": case_inputs, "how": "fitted", "why": found, "feedback": case.calibrated_by()}
        return Chosen(detector=load_detector(folder), folder=folder, how="fitted", why=found, facts=facts)
    detector, before = found
    counts = case.calibrated_by()
    if before["feedback"] in (counts, case.feedback_digest):
        kept = {name: before[name] for name in ("run_id", "version")}
        return Chosen(
            detector=detector, folder=work.folder.parent / before["detector"], how="kept", why="fresh",
            facts=kept | {"inputs": case_inputs, "feedback": before["feedback"]},
        )  # fmt: skip
    again = recalibrated(detector, past, said)
    with folder_written_aside(folder) as aside:
        again.save(aside)
    facts = {"run_id": before["run_id"], "version": before["version"], "inputs": case_inputs, "feedback": counts}
    why = "new feedback" if counts else "feedback was withdrawn"
    return Chosen(detector=again, folder=folder, how="recalibrated", why=why, facts=facts)


def _inputs(work: Workspace, model: ModelOptions, case: Case) -> str:
    prepared = work.facts_of("prepare")["sha256"]
    refit, tracking = work.detection.detect.refit, work.detection.tracking
    needs = needs_of(work, model, case.panel)
    plan = case.plan.before, dict(case.plan.until), *([dict(case.plan.learn_until)] if case.plan.learn_until else [])
    return fingerprint(prepared, needs, refit, tracking, *plan, case.feedback_digest)


def part_of(report: AnomalyReport, keep: BoolArray) -> AnomalyReport:
    """The rows of a report where `keep` (N,) is true, and the events that touch them; series without such rows are gone."""
    lengths = np.add.reduceat(keep, report.offsets[:-1], dtype=np.int64) if len(report) else np.zeros(0, np.int64)
    alive = np.flatnonzero(lengths > 0)
    spans = {report.series_ids[i]: report.rows_of(i) for i in alive.tolist()}
    first = {series_id: report.timestamps[span][keep[span]][0] for series_id, span in spans.items()}
    events = tuple(one for one in report.events if one.series_id in first and one.end >= first[one.series_id])
    rows = {
        name: getattr(report, name)[keep]
        for name in (
            "timestamps", "values", "score", "revised_score", "provisional", "p_value", "rate", "severity", "alarm", "reason",
            "expected", "lower", "upper", "channel_scores",
        )
    }  # fmt: skip
    return replace(
        report,
        **rows,
        series_ids=tuple(report.series_ids[i] for i in alive),
        zones=tuple(report.zones[i] for i in alive) if report.zones else (),
        offsets=np.concatenate([[0], np.cumsum(lengths[alive])]).astype(np.int64),
        events=events,
        notes=tuple(note for note in report.notes if note[0] in first),
    )
