"""The whole library on one page. Read this file first.

raw frame -> Panel -> steps -> model (windows -> network -> head) -> Forecast -> inverse steps -> postprocess
"""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tsforecast.errors import ArtifactError, OptionError
from tsforecast.forecast import DEFAULT_QUANTILE_LEVELS, Forecast
from tsforecast.models.base import FLOW, Callback, Facts, Forecaster, Predictor, load_predictor
from tsforecast.nn.config import TrainConfig
from tsforecast.panel import FloatArray, Panel
from tsforecast.postprocess import Postprocess, postprocess_named
from tsforecast.preprocessing.transforms import FittedTransform, Transform, transform_from_json


@dataclass(frozen=True, kw_only=True, slots=True)
class FittedFlow:
    """A trained flow: what is stored, served and run in batch. Immutable, so threads share it."""

    transforms: tuple[FittedTransform, ...] = ()
    predictor: Predictor
    postprocess: tuple[Postprocess, ...] = ()

    @property
    def recipe(self) -> Forecaster:
        return self.predictor.recipe

    @property
    def facts(self) -> Facts:
        return self.predictor.facts

    def predict(
        self,
        panel: Panel,
        *,
        horizon: int | None = None,
        quantile_levels: Sequence[float] = DEFAULT_QUANTILE_LEVELS,
        future: FloatArray | None = None,
    ) -> Forecast:
        """As `Predictor.predict`; transforms meet series they were not fitted on by fitting on the history given."""
        applied = []
        for transform in self.transforms:
            applied.append(transform.for_panel(panel))
            panel = applied[-1].apply(panel)
        forecast = self.predictor.predict(panel, horizon=horizon, quantile_levels=quantile_levels, future=future)
        for transform in reversed(applied):
            forecast = transform.invert(forecast)
        for adjust in self.postprocess:
            forecast = adjust(forecast)
        return forecast

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Write the flow into `folder`: the predictor's files and `flow.json`; no pickle."""
        target = self.predictor.save(folder)
        flow = {
            "transforms": [transform.to_json() for transform in self.transforms],
            "postprocess": [adjust.name for adjust in self.postprocess],
        }
        (target / FLOW).write_text(json.dumps(flow, indent=1, sort_keys=True, allow_nan=False) + "\n")
        return target


@dataclass(frozen=True, kw_only=True, slots=True)
class ForecastFlow:
    """A recipe: which transforms, which model, which last touches."""

    transforms: tuple[Transform, ...] = ()
    model: Forecaster
    postprocess: tuple[Postprocess, ...] = ()

    def fit(
        self,
        panel: Panel,
        *,
        horizon: int,
        seed: int = 0,
        train: TrainConfig | None = None,
        callbacks: Sequence[Callback] = (),
        start_from: Predictor | None = None,
        freeze: int | None = None,
    ) -> FittedFlow:
        """Fit each transform on what the ones before it made of `panel`, then the model, from `start_from` if given."""
        fitted: list[FittedTransform] = []
        for transform in self.transforms:
            fitted.append(transform.fit(panel))
            panel = fitted[-1].apply(panel)
        transfer: dict[str, Any] = {} if start_from is None else {"start_from": start_from, "freeze": freeze}
        predictor = self.model.fit(panel, horizon=horizon, seed=seed, train=train, callbacks=callbacks, **transfer)
        return FittedFlow(transforms=tuple(fitted), predictor=predictor, postprocess=self.postprocess)


def load_model(folder: str | os.PathLike[str]) -> FittedFlow:
    """Read what `FittedFlow.save` or `Predictor.save` wrote; a bare predictor comes back as a flow without steps.

    Raises:
        ArtifactError: a file is missing or damaged.
    """
    predictor = load_predictor(folder)
    path = Path(folder) / FLOW
    if not path.exists():
        return FittedFlow(predictor=predictor)
    try:
        flow = json.loads(path.read_text())
        return FittedFlow(
            transforms=tuple(transform_from_json(values) for values in flow["transforms"]),
            predictor=predictor,
            postprocess=tuple(postprocess_named(name) for name in flow["postprocess"]),
        )
    except (ArtifactError, OptionError) as error:
        raise ArtifactError(f"{path} holds a step this version does not have: {error}; upgrade tsforecast") from error
    except (OSError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise ArtifactError(f"{path} is damaged: {error!r}; copy the model again") from error
