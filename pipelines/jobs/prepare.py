"""Source -> panel.parquet and repairs.parquet: rows up to the run's moment, repaired, checked, on a regular clock."""

import hashlib
from typing import TYPE_CHECKING

from pipelines.as_of import cut, later
from pipelines.column_names import own_names
from pipelines.column_types import with_types, words_of
from pipelines.flows import repairs_of
from pipelines.io import read_timed, write_frame
from pipelines.jobs import JobResult
from pipelines.panel_file import write_panel
from pipelines.panels import facts_of, repaired_line, repaired_panel_of, warnings_of
from pipelines.workspace import FUTURE, PANEL, REPAIRS, Workspace

if TYPE_CHECKING:
    import pandas as pd

READS = ("source", "panel", "repairs")
WRITES = (PANEL, FUTURE, REPAIRS)


def run(work: Workspace) -> JobResult:
    """Raises DataError when the rows make no panel; RecipeError when as_of does not fit their clock."""
    from tsforecast.preprocessing.repairs import counts_of

    recipe = work.file.recipe
    frame = work.raw
    if frame is None:
        frame = read_timed(recipe.source, folder=work.file.folder, environment=work.environment)
    with own_names(recipe.source):
        seen = cut(frame, "ds", work.as_of)
    made = repaired_panel_of(seen, recipe.panel, recipe.source, steps=recipe.repairs, folder=work.file.folder)
    panel, log = made.panel, made.log
    facts = {
        "sha256": write_panel(panel, work.path(PANEL)),
        **facts_of(panel, label=recipe.source.label),
        "rows_after_as_of": len(frame) - len(seen),
    }
    if recipe.source.covariates:  # known in the future too, so theirs may be seen; the target's may not
        future, changes = _future(work, frame, words=words_of(seen, recipe.source))
        write_frame(future, work.path(FUTURE))
        facts["future_sha256"] = hashlib.sha256(work.path(FUTURE).read_bytes()).hexdigest()
        log = _joined(log, changes)
    work.path(REPAIRS).unlink(missing_ok=True)
    if len(log):
        write_frame(log, work.path(REPAIRS))
        facts["repaired"] = counts_of(log)
        for line in (f"repaired {repaired_line(facts['repaired'])}", *warnings_of(facts)):
            work.tell(f"{recipe.name}: prepare: {line}")
    return JobResult(facts=facts)


def _future(
    work: Workspace, frame: "pd.DataFrame", *, words: dict[str, tuple[str, ...]]
) -> tuple["pd.DataFrame", "pd.DataFrame"]:
    """(covariates of the rows that the panel has not, with the repairs of rows, and the log of these)."""
    from tsforecast.preprocessing.repairs import repair_rows

    recipe = work.file.recipe
    steps = repairs_of(recipe.repairs)
    rows = later(frame, "ds", work.as_of)
    if any(step.name == "trim" for step in steps):  # a series that was cut is forecast from an earlier row on
        rows = frame[frame["ds"].notna()]
    typed = with_types(rows, recipe.source, words=words)
    known = typed.source.covariates
    done = repair_rows(typed.frame.assign(y=float("nan")), steps, covariates=known, tz=recipe.panel.tz)
    return done.frame[["unique_id", "ds", *known]], later(done.log, "ds", work.as_of)


def _joined(log: "pd.DataFrame", more: "pd.DataFrame") -> "pd.DataFrame":
    import pandas as pd

    return pd.concat([log, more], ignore_index=True) if len(more) else log
