"""A recipe and a moment -> the folder its run works in: what jobs read, what they leave, and how one run keeps others out."""

import errno
import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.as_of import slug
from pipelines.environment import Environment
from pipelines.files import read_json
from pipelines.io import read_frame
from pipelines.panel_file import read_panel
from pipelines.recipe import ModelOptions, Recipe, RecipeFile
from pipelines.recipe_detect import DetectRecipe
from pipelines.tracked import open_tracker
from tsforecast.errors import ForecastError
from tsforecast.panel import FloatArray, Panel

if TYPE_CHECKING:
    import pandas as pd

    from tsforecast.tracking import Tracker

PANEL, FUTURE, REPAIRS, UNUSED, CONTRADICTORY, LEADERBOARD, CHAMPION, FORECAST, FALLBACKS, CHART = (
    "panel.parquet",
    "future.parquet",
    "repairs.parquet",
    "feedback_unused.json",
    "feedback_contradictory.json",
    "leaderboard.json",
    "champion.json",
    "forecast.parquet",
    "fallbacks.csv",
    "forecast.png",
)


class Busy(ForecastError):
    """Another process works in this run folder."""


class NotYet(ForecastError):
    """A job needs what an earlier job has not left."""


class Workspace:
    """The folder of one run, `<folder>/<recipe>/<as_of>`, and what its jobs share."""

    def __init__(
        self,
        file: RecipeFile,
        *,
        as_of: str,
        root: Path,
        environment: Environment,
        tell: Callable[[str], None] = lambda _: None,
        frame: "pd.DataFrame | None" = None,
    ) -> None:
        self.file, self.as_of, self.root, self.environment, self.tell = file, as_of, root, environment, tell
        self.folder = root / file.recipe.name / slug(as_of)
        self.raw = frame  # the source, where it had to be read to tell as_of

    @property
    def name(self) -> str:
        return self.file.recipe.name

    @property
    def recipe(self) -> Recipe:
        """The recipe of a forecast; jobs of detections have no use for this one."""
        if not isinstance(self.file.recipe, Recipe):
            raise TypeError(f"{self.file.path} is the recipe of a detection")
        return self.file.recipe

    @property
    def detection(self) -> DetectRecipe:
        """The recipe of a detection."""
        if not isinstance(self.file.recipe, DetectRecipe):
            raise TypeError(f"{self.file.path} is the recipe of a forecast")
        return self.file.recipe

    def path(self, name: str) -> Path:
        return self.folder / name

    def model_folder(self, model: ModelOptions) -> Path:
        """The fitted flow of a contender."""
        return self.folder / "models" / model.label

    def training(self, model: ModelOptions) -> Path:
        """What its training took and left."""
        return self.folder / "training" / f"{model.label}.json"

    def backtest(self, model: ModelOptions, kind: str = "json") -> Path:
        """What its backtest found: "json" scores, "parquet" forecasts beside what came, "series.parquet" per series."""
        return self.folder / "backtest" / f"{model.label}.{kind}"

    def checkpoints(self, model: ModelOptions, job: str) -> Path:
        """Where a training under way leaves what it needs to go on after a kill."""
        return self.folder / "checkpoints" / job / model.label

    @cached_property
    def panel(self) -> Panel:
        """What job prepare made.

        Raises:
            NotYet: it has not run.
        """
        return read_panel(self.made_by("prepare", PANEL))

    @cached_property
    def future(self) -> FloatArray | None:
        """Covariates of the steps to forecast, (S, H, C); None where the recipe has none.

        Raises:
            CovariateError: the source does not reach over the horizon.
        """
        if not self.recipe.source.covariates:
            return None
        from tsforecast.preprocessing.validate import future_from_frame

        rows = read_frame(self.made_by("prepare", FUTURE))
        return future_from_frame(rows, self.panel, horizon=self.recipe.forecast.horizon, tz=self.recipe.panel.tz)

    def made_by(self, job: str, name: str) -> Path:
        """The path of what `job` leaves under `name`.

        Raises:
            NotYet: it is not there.
        """
        path = self.path(name)
        if not path.exists():
            raise NotYet(f"{path} is not there yet; run job {job!r} first, or leave --jobs away", field="jobs")
        return path

    def contenders_of(self, job: str) -> list[ModelOptions]:
        """The contenders that came through `job` ("train" or "backtest").

        Raises:
            NotYet: it has not run.
        """
        done = self.facts_of(job)
        return [model for model in self.recipe.contenders() if model.label in done]

    def facts_of(self, job: str) -> dict[str, Any]:
        """What `job` said of itself when it ended.

        Raises:
            NotYet: it has not run.
        """
        marker = read_json(self.marker(job))
        if marker is None:
            raise NotYet(f"job {job!r} has not run in {self.folder}; run it first, or leave --jobs away", field="jobs")
        return dict(marker["facts"])

    def failure_of(self, model: ModelOptions) -> str | None:
        """Why a contender failed; None = it did not."""
        markers = [read_json(self.marker(job)) or {} for job in ("train", "backtest")]
        return next((marker["failed"][model.label] for marker in markers if model.label in marker.get("failed", ())), None)

    def marker(self, job: str) -> Path:
        """What a job that has ended says of itself."""
        return self.folder / "jobs" / f"{job}.json"

    @cached_property
    def tracker(self) -> "Tracker | None":
        """The tracking store of the recipe; None where tracking.enabled is false.

        Raises:
            TrackingError: it cannot be used.
        """
        return open_tracker(self.file, self.environment)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes out while the block runs; the lock goes with the process, however it ends.

        Raises:
            Busy: another process is in.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / ".lock").open("a+") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                if error.errno not in (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES):
                    raise
                lock.seek(0)
                raise Busy(f"process {lock.read().strip() or '?'} works in {self.folder}; wait for it, or stop it") from None
            lock.truncate(0)
            lock.write(str(os.getpid()))
            lock.flush()
            yield
