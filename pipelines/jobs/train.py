"""panel.parquet -> models/<label>/: each contender fitted on all of the panel. One that fails does not stop the others."""

import shutil
import time
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from pipelines.files import digest_of, folder_written_aside, read_json, write_json
from pipelines.flows import digests_of, flow_of, unread_features
from pipelines.io import read_frame
from pipelines.jobs import JobResult, each_model
from pipelines.panels import repaired_line
from pipelines.recipe import ModelOptions, fingerprint
from pipelines.tracked import registered_name, training
from pipelines.transfer import parent_of, predictor_of, started
from pipelines.unread import unread_line
from pipelines.workspace import REPAIRS, Workspace
from tsforecast.models.base import Epoch

if TYPE_CHECKING:
    from tsforecast.tracking import Run

READS = ("features", "steps", "postprocess", "forecast", "models", "seed", "tracking")
WRITES = ("models", "training", "checkpoints")
MOST_TRACKED = 100_000  # rows of the log of repairs that a run in MLflow gets; all of them are in the run folder


def run(work: Workspace) -> JobResult:
    """Raises ModelError when every model failed; TrackingError when the store cannot be used."""
    return each_model(work, work.recipe.contenders(), "train", train_one)


def train_one(work: Workspace, model: ModelOptions) -> dict[str, Any]:
    """Fit, store and register one contender, or leave it where it was fitted on the same panel with the same options."""
    recipe = work.recipe
    parent = parent_of(work, model)
    inputs = fingerprint(
        work.facts_of("prepare")["sha256"], recipe.steps, recipe.postprocess, model, recipe.forecast.horizon, recipe.seed,
        recipe.tracking, recipe.features, digests_of(work.file), *([] if parent is None else [asdict(parent)]),
    )  # fmt: skip
    known = read_json(work.training(model))
    if known and known["inputs"] == inputs and work.model_folder(model).exists():
        return dict(known["facts"])
    flow = flow_of(recipe, model, folder=work.file.folder)
    left_out = "; ".join(line for line in (unread_line(flow.model, work.panel), unread_features(flow)) if line)
    if left_out:
        work.tell(f"{recipe.name}: {left_out}")
    if parent is not None:
        flow = started(flow, predictor_of(work, model, parent), model.freeze)
    checkpoints = work.checkpoints(model, "train")
    log: dict[str, Any] = {"inputs": inputs, "epochs": 0, "version": None, "run_id": None}
    with training(work, model, flow, parent) as tracked:
        began = time.perf_counter()

        def count(epoch: Epoch) -> None:
            log["epochs"] = epoch.number

        fitted = flow.fit(
            work.panel,
            horizon=recipe.forecast.horizon,
            seed=recipe.seed,
            train=replace(model.train, checkpoint_dir=str(checkpoints)),
            callbacks=(count,) if tracked is None else (count, tracked.callback),
        )
        log["seconds"] = round(time.perf_counter() - began, 3)
        with folder_written_aside(work.model_folder(model)) as aside:
            fitted.save(aside)
        if tracked is not None:
            tracked.log_metrics({"fit_seconds": log["seconds"]})
            _track_repairs(work, tracked)
            version = tracked.log_model(fitted, example=work.panel, registered_name=registered_name(work.file))
            log |= {"version": version.version, "run_id": tracked.run_id}
    facts = {"sha256": digest_of(work.model_folder(model)), "run_id": log["run_id"]}
    if left_out:
        facts["left_out"] = left_out
    if parent is not None:
        facts["start_from"] = parent.reference
    write_json(work.training(model), {**log, "facts": facts})
    shutil.rmtree(checkpoints, ignore_errors=True)
    return facts


def _track_repairs(work: Workspace, tracked: "Run") -> None:
    """Note in the MLflow run what was repaired in the panel that the model learned from."""
    counts = work.facts_of("prepare").get("repaired", {})
    tracked.log_metrics({"repaired": sum(counts.values())})
    if counts:
        tracked.set_tags({"repaired": repaired_line(counts)})
        tracked.log_table("repairs", read_frame(work.made_by("prepare", REPAIRS)).head(MOST_TRACKED))
