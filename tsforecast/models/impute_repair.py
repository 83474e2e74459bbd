"""Imputation by an autoencoder as a repair of a recipe."""

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from tsforecast.models.holes import run_lengths
from tsforecast.models.registry import available_models, build_detector, detector_class
from tsforecast.models.uses import impute
from tsforecast.panel import Panel
from tsforecast.preprocessing.repair_step import Changes, PanelStep, changed_values, check_choice, check_least, check_numbers


@dataclass(frozen=True, kw_only=True, slots=True)
class AutoencoderFill(PanelStep):
    """Values for rows that were not observed between two that were, by an autoencoder that learns from all series.

    What it says, the seasons beside a hole and a straight line are mixed as does best on holes of the same lengths made where
    the target is known, see `uses.impute`. Holes at the ends of a series stay. A panel without holes costs no training.
    """

    name: ClassVar[str] = "autoencoder"
    model: str = "autoencoder"  # a detector that can impute
    window: int | None = None  # steps; None = the main period of the data, 64 where they show none
    limit: int | None = None  # rows of the longest hole that is filled, longer ones stay whole; None = any
    seed: int = 0  # of the training

    def __post_init__(self) -> None:
        able = [
            name for name in available_models("anomaly") if name != "ensemble" and "impute" in detector_class(name).about.uses
        ]
        check_choice(self, ("model", able))
        check_numbers(self)
        check_least(self, window=4, limit=1, seed=0)

    def apply(self, panel: Panel) -> tuple[Panel, list[Changes]]:
        hole = np.isnan(panel.target)
        if not hole.any():
            return panel, []
        alone = replace(panel, past_covariates=None, past_covariate_names=())
        detector = build_detector(self.model, window=self.window).fit(alone, seed=self.seed)
        target = impute(detector, alone).panel.target
        if self.limit is not None:
            bounds = zip(panel.offsets[:-1], panel.offsets[1:], strict=True)
            long = np.concatenate([run_lengths(hole[start:end]) for start, end in bounds]) > self.limit
            target = np.where(long, np.nan, target)
        return panel.with_target(target), changed_values(self.name, panel, target)
