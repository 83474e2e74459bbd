"""Address -> Tracker: everything the library, the pipelines and the service ask of MLflow."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tsforecast.flow import FittedFlow, ForecastFlow
from tsforecast.models.fitted_detector import FittedDetector
from tsforecast.panel import Panel
from tsforecast.tracking import promotion, registry
from tsforecast.tracking.registry import ModelVersion
from tsforecast.tracking.runs import Run, recorded, reopen_run, start_run
from tsforecast.tracking.store import Store, open_store

if TYPE_CHECKING:
    import pandas as pd


def open_tracking(uri: str | None = None, *, folder: str | os.PathLike[str] = "mlruns") -> "Tracker":
    """The tracker on `uri`, or on MLFLOW_TRACKING_URI, or on sqlite:///`folder`/mlflow.db, made if missing.

    Artifacts of experiments made here lie in `folder`/artifacts/<experiment> (of a SQLite file named by `uri`: in
    artifacts beside it); an MLflow server has its own place. The first use of a new database takes some seconds.

    Raises:
        TrackingError: the store cannot be reached, is locked, or is not one MLflow can use.
    """
    return Tracker(store=open_store(uri, folder))


@dataclass(frozen=True, kw_only=True, slots=True)
class Tracker:
    """Runs and registered models of one MLflow store. Threads may share it; every method may raise TrackingError."""

    store: Store

    @property
    def uri(self) -> str:
        """Address of the store, also for other MLflow programs (MLFLOW_TRACKING_URI)."""
        return self.store.uri

    # ------------------------------------------------------------ runs

    @contextmanager
    def training_run(
        self,
        *,
        experiment: str,
        run_name: str,
        flow: ForecastFlow | None,
        panel: Panel,
        recipe_text: str | None = None,
        params: Mapping[str, Any] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> Iterator[Run]:
        """One run per training; it ends FINISHED, FAILED (with the error as tag "error") or KILLED (by Ctrl-C).

        Args:
            experiment: usually one per panel; made if missing.
            run_name: what the leaderboard calls the run.
            flow: the recipe of the model; None = nothing to say, as for an ensemble of other runs.
            panel: what is trained on; its facts and fingerprint are recorded, not its values.
            recipe_text: the TOML file this came from, stored as recipe.toml.
            params: more parameters; mappings and dataclasses become dotted names, None is left out,
                e.g. {"horizon": 24, "seed": 0, "train": TrainConfig(…)}.
            tags: more tags.
        """
        run = start_run(
            self.store,
            experiment=experiment,
            run_name=run_name,
            flow=flow,
            panel=panel,
            recipe_text=recipe_text,
            params=params or {},
            tags=tags or {},
        )
        with recorded(run):
            yield run

    @contextmanager
    def continue_run(self, run_id: str) -> Iterator[Run]:
        """An earlier run again: one that was killed, or whose model is backtested later."""
        with recorded(reopen_run(self.store, run_id)) as run:
            yield run

    def leaderboard(self, experiment: str, *, metric: str = "mase") -> "pd.DataFrame":
        """The newest finished run of each name that has scores, best `metric` first.

        Columns: run, model, one per metric, seconds (spent in the run), version ("name/3" or ""), run_id.

        Raises:
            TrackingError: no such experiment.
        """
        from tsforecast.tracking.leaderboard import leaderboard

        return leaderboard(self.store, experiment, metric=metric)

    # ------------------------------------------------------------ registered models

    def names(self) -> list[str]:
        """Names of all registered models, sorted."""
        return registry.names(self.store)

    def versions(self, name: str) -> list[ModelVersion]:
        """Versions of the registered model `name`, newest first.

        Raises:
            UnknownModel: no registered model of that name.
        """
        return registry.versions(self.store, name)

    def resolve(self, reference: str) -> ModelVersion:
        """The version that "name" (its champion), "name@alias" or "name/3" means.

        Raises:
            UnknownModel: no such model, alias or version; the message names those there are.
        """
        return registry.resolve(self.store, reference)

    def load(self, reference: str | ModelVersion) -> tuple[FittedFlow, ModelVersion]:
        """The trained flow that `reference` means, and which version it is.

        Raises:
            UnknownModel: no such model.
            ArtifactError: its files are gone or damaged.
            OptionError: it is a detector.
        """
        version = self.resolve(reference) if isinstance(reference, str) else reference
        return registry.load(self.store, version), version

    def load_detector(self, reference: str | ModelVersion) -> tuple[FittedDetector, ModelVersion]:
        """The fitted detector that `reference` means, and which version it is.

        Raises:
            UnknownModel: no such model.
            ArtifactError: its files are gone or damaged.
            OptionError: it is a forecaster.
        """
        version = self.resolve(reference) if isinstance(reference, str) else reference
        return registry.load_trained_detector(self.store, version), version

    def set_alias(self, name: str, alias: str, version: int) -> ModelVersion:
        """Let `alias` name that version, without asking whether it is any good; `promote` asks.

        Raises:
            UnknownModel: no such version.
        """
        return registry.set_alias(self.store, name, alias, version)

    def promote(
        self, name: str, version: int, *, metric: str = "mase", baseline: Mapping[str, float], margin: float = 0.0
    ) -> ModelVersion:
        """Make a version the champion if its backtest beats seasonal naive and the present champion.

        The champion before it keeps the alias "previous". A version that beats seasonal naive but not the champion gets
        the alias "challenger". Scores of the same panel and folds are compared as they are; otherwise each is divided by
        seasonal naive's on its own data. A version that is champion already stays it.

        Args:
            name, version: the candidate.
            metric: an error of which less is better, by its name in the scores.
            baseline: scores of seasonal naive in the same backtest.
            margin: share of the other's score by which it has to be better; 0.02 = by 2 %.

        Raises:
            NotBetter: it does not beat seasonal naive, or not the champion, or a score is missing or not finite;
                the message says the numbers and why.
            UnknownModel: no such version.
            OptionError: a metric of which less is not better, or a margin outside [0, 1).
        """
        return promotion.promote(self.store, name, version, metric=metric, baseline=baseline, margin=margin)

    def rollback(self, name: str) -> ModelVersion:
        """Make "previous" the champion again, and the champion "previous": a second call undoes the first.

        Raises:
            UnknownModel: there is no previous champion.
        """
        return promotion.rollback(self.store, name)
