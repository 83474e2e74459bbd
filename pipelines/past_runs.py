"""A run of a detection -> the run before it: what was judged then, and by which detector.

The run before is looked up once and noted in the run folder, so that the same moment again is the same run again, whatever has
run since.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from pipelines.files import damaged, read_json, write_json
from pipelines.workspace import Workspace
from tsforecast.panel import Panel

PLAN, JUDGED = "plan.json", "judged.json"
MARKER = "jobs/detect.json"  # of a run that has ended


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """Where a run begins: `of` says it of one model."""

    before: str | None  # folder of the run before, beside that of this run; None = this is the first
    until: Mapping[str, int]  # series id -> last step that was judged before, as a whole number
    learn_until: Mapping[str, int] = field(default_factory=dict)  # where no run has judged: last step of one that failed
    models: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # label -> the three of it, where these are its own

    def of(self, label: str) -> "Plan":
        """Where the model called `label` begins: after its last run that did not fail; a new one where the run before ended."""
        return Plan(**self.models.get(label, {"before": self.before, "until": self.until, "learn_until": self.learn_until}))

    def held(self, last: Mapping[str, int]) -> dict[str, Any]:
        """Where a model that began here and failed begins next time: here again, and its first fit ends with `last`."""
        learn_until = {} if self.before is not None else {**self.learn_until, **last}
        return {"before": self.before, "until": dict(self.until), "learn_until": learn_until}


def moment_of(as_of: str) -> int:
    """A moment as a number by which runs of one recipe are put in order; one without a zone counts as UTC."""
    import pandas as pd

    if as_of.lstrip("-").isdecimal():
        return int(as_of)
    moment = pd.Timestamp(as_of)
    return int((moment.tz_localize("UTC") if moment.tz is None else moment).as_unit("ns").value)


def plan_of(work: Workspace) -> Plan:
    """What was noted when the run began, or the last run of an earlier moment that ended; a failed one where all did."""
    known = read_json(work.path(PLAN))
    if known is None:
        known = _look_back(work)
        write_json(work.path(PLAN), known)
    return Plan(**known)


def _look_back(work: Workspace) -> dict[str, Any]:
    now, best, failed = moment_of(work.as_of), None, None
    for path in sorted(work.folder.parent.glob(f"*/{JUDGED}")):
        judged = read_json(path)
        if not isinstance(judged, dict) or "moment" not in judged or not {"until", "failed"} & judged.keys():
            raise damaged(path, "it does not say what was judged")
        later = judged["moment"] >= now or path.parent == work.folder
        if not later and "failed" in judged and (failed is None or judged["moment"] > failed[0]):
            failed = judged["moment"], judged["failed"]
        ended = "failed" not in judged and (path.parent / MARKER).exists()
        if not later and ended and (best is None or judged["moment"] > best[0]):
            best = judged["moment"], {  # files of older releases have one `until`, which is that of all models
                "before": path.parent.name, "until": judged["until"], "models": judged.get("models", {})
            }  # fmt: skip
    found = best or failed  # one that has judged goes before
    return {"before": None, "until": {}} if found is None else found[1]


def note_judged(work: Workspace, plan: Plan, panel: Panel, *, labels: Collection[str], failed: Collection[str]) -> None:
    """Say that the rows of `panel` are judged, for the run after this one; a series that is gone stays judged as it was.

    A model that failed has judged none of them: it begins next time where it began now.

    Args:
        labels: of all models of the run.
        failed: those of them that failed.
    """
    last = _last_steps(panel)
    models = {}
    for label in labels:
        began = plan.of(label)
        if label in failed:
            models[label] = began.held(last)
        else:
            models[label] = {"before": work.folder.name, "until": {**began.until, **last}}
    write_json(work.path(JUDGED), {"moment": moment_of(work.as_of), "until": {**plan.until, **last}, "models": models})


def note_failed(work: Workspace, plan: Plan, panel: Panel) -> None:
    """Say up to where the rows went in a run in which every model failed, where no run before it has judged any.

    After a run that has judged, there is nothing to say: the next one begins where that one ended.
    """
    if plan.before is None:
        write_json(work.path(JUDGED), {"moment": moment_of(work.as_of), "failed": plan.held(_last_steps(panel))})


def _last_steps(panel: Panel) -> dict[str, int]:
    return dict(zip(panel.series_ids, panel.last_timestamps().astype("int64").tolist(), strict=True))


def facts_before(work: Workspace, plan: Plan, label: str) -> dict[str, Any] | None:
    """What the run before said of the model called `label`; None where there is none."""
    if plan.before is None:
        return None
    marker = read_json(work.folder.parent / plan.before / MARKER) or {}
    found = marker.get("facts", {}).get(label)
    return None if found is None else dict(found)
