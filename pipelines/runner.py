"""A recipe and a moment -> its jobs run in order, each at most once, and what came of them.

Each job that ends leaves a marker with a fingerprint of what it depended on: the moment, its sections of the recipe, and the
facts of the jobs before it. The next run of the same moment skips what has the same fingerprint. The marker is written
last, so a run that was killed goes on at the job where it stood.
"""

import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from pipelines.as_of import canonical, latest
from pipelines.environment import Environment
from pipelines.files import read_json, write_json, written_aside
from pipelines.io import read_timed
from pipelines.jobs import JobResult, jobs_of
from pipelines.recipe import RecipeFile, fingerprint
from pipelines.workspace import Workspace
from tsforecast.errors import RecipeError


@dataclass(frozen=True, kw_only=True, slots=True)
class RunOptions:
    """How to run, as the command line says it."""

    as_of: str | None = None  # ISO 8601 or integer step; None = the last moment in the data
    jobs: tuple[str, ...] = ()  # () = all
    folder: Path = field(default_factory=lambda: Path("runs"))
    force: bool = False  # True: run the jobs again even where nothing changed


def run_recipe(
    file: RecipeFile, *, options: RunOptions, environment: Environment, tell: Callable[[str], None] = lambda _: None
) -> Workspace:
    """Run the jobs of a recipe; what they left is in the folder of the workspace returned (see `summary.py`).

    Args:
        file: a recipe that was read.
        options: moment, jobs, folder.
        environment: fills ${NAME}.
        tell: called with a line whenever something begins.

    Raises:
        RecipeError: the recipe names what does not exist, `as_of` is no moment, or `jobs` has an unknown name.
        DataError, ModelError, TrackingError: a job failed; what earlier jobs left stays.
        Busy: another process runs the same recipe for the same moment.
    """
    from pipelines.flows import check_names

    chosen = check_jobs(options.jobs, jobs_of(file.recipe))
    check_names(file)
    frame, as_of = None, options.as_of
    if as_of is None:
        tell(f"{file.recipe.name}: reading the source for its last moment")
        frame = read_timed(file.recipe.source, folder=file.folder, environment=environment)
        observed = frame.loc[frame["y"].notna()]  # rows behind hold the future of covariates
        as_of = latest(observed if len(observed) else frame, "ds")
    work = Workspace(file, as_of=canonical(as_of), root=options.folder, environment=environment, tell=tell, frame=frame)
    with work.locked():
        with written_aside(work.path("recipe.toml")) as aside:
            aside.write_text(file.text, encoding="utf-8")
        for name in chosen:
            run_job(work, name, force=options.force)
    return work


def check_jobs(names: Sequence[str], known: Mapping[str, str]) -> list[str]:
    """The jobs to run in the order of the table; all when none is named.

    Raises:
        RecipeError: no job of that name.
    """
    unknown = [name for name in names if name not in known]
    if unknown:
        raise RecipeError(f"no job {unknown[0]!r}; jobs: {', '.join(known)}", field="jobs")
    return [name for name in known if name in names or not names]


def run_job(work: Workspace, name: str, *, force: bool = False) -> None:
    """Run one job, or leave it where it has ended for the same inputs and its files are there."""
    module = import_module(jobs_of(work.file.recipe)[name])
    inputs = inputs_of(work, name, module)
    marker = read_json(work.marker(name)) or {}
    there = all(work.path(one).exists() for one in marker.get("wrote", ()))
    if not force and marker.get("inputs") == inputs and not marker["failed"] and there:
        again = " (--force reads the source again)" if name == "prepare" else ""
        work.tell(f"{work.name}: {name} has run already{again}")
        if hasattr(module, "deliver"):
            module.deliver(work)
        return
    work.marker(name).unlink(missing_ok=True)
    if force:
        _remove(work, module)
    work.tell(f"{work.name}: {name}")
    began = time.perf_counter()
    result: JobResult = module.run(work)
    wrote = [one for one in module.WRITES if work.path(one).exists()]
    done = {"inputs": inputs, "wrote": wrote, "seconds": round(time.perf_counter() - began, 3)}
    write_json(work.marker(name), {**done, "facts": result.facts, "failed": result.failed})


def inputs_of(work: Workspace, name: str, module: ModuleType) -> str:
    """Fingerprint of all that job `name` depends on: the moment, its sections of the recipe, the facts of earlier jobs."""
    sections = {section: getattr(work.file.recipe, section) for section in module.READS}
    if "features" in module.READS and work.recipe.features:
        from pipelines.flows import digests_of

        sections["files of features"] = digests_of(work.file)
    if hasattr(module, "digests"):
        sections["files"] = module.digests(work)
    earlier = {}
    for other in jobs_of(work.file.recipe):
        if other == name:
            break
        earlier[other] = (read_json(work.marker(other)) or {}).get("facts")
    return fingerprint(work.as_of, _plain(sections), earlier)


def _plain(sections: dict[str, Any]) -> dict[str, Any]:
    """Sections as JSON values."""

    def plain(value: Any) -> Any:
        if isinstance(value, tuple):
            return [plain(one) for one in value]
        return asdict(value) if hasattr(value, "__dataclass_fields__") else value

    return {name: plain(value) for name, value in sections.items()}


def _remove(work: Workspace, module: ModuleType) -> None:
    """What the job left before."""
    for name in module.WRITES:
        path = work.path(name)
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
