"""Source -> panel.parquet: rows up to the run's moment, checked, on a regular clock."""

import hashlib

from pipelines.as_of import cut, later, parse_times
from pipelines.io import read_source, write_frame
from pipelines.jobs import JobResult
from pipelines.panel_file import write_panel
from pipelines.panels import facts_of, panel_of
from pipelines.workspace import FUTURE, PANEL, Workspace

READS = ("source", "panel")
WRITES = (PANEL, FUTURE)


def run(work: Workspace) -> JobResult:
    """Raises DataError when the rows make no panel; RecipeError when as_of does not fit their clock."""
    recipe = work.recipe
    frame = work.raw
    if frame is None:
        frame = read_source(recipe.source, folder=work.file.folder, environment=work.environment)
        frame = parse_times(frame, "ds")
    seen = cut(frame, "ds", work.as_of)
    panel = panel_of(seen, recipe.panel, recipe.source, folder=work.file.folder)
    facts = {"sha256": write_panel(panel, work.path(PANEL)), **facts_of(panel), "rows_after_as_of": len(frame) - len(seen)}
    if recipe.source.covariates:  # known in the future too, so theirs may be seen; the target's may not
        known = ["unique_id", "ds", *recipe.source.covariates]
        write_frame(later(frame, "ds", work.as_of)[known], work.path(FUTURE))
        facts["future_sha256"] = hashlib.sha256(work.path(FUTURE).read_bytes()).hexdigest()
    return JobResult(facts=facts)
