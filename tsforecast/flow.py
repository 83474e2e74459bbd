"""The whole library on one page. Read this file first.

raw frame -> Panel -> features -> steps -> model (windows -> network -> head) -> Forecast -> inverse steps -> postprocess
"""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tsforecast.errors import ArtifactError, CovariateError, HorizonError, OptionError, SchemaError
from tsforecast.forecast import DEFAULT_QUANTILE_LEVELS, Forecast
from tsforecast.models.base import FLOW, WORDS, Callback, Facts, Forecaster, Predictor, check_horizon, load_predictor
from tsforecast.nn.config import TrainConfig
from tsforecast.panel import FloatArray, Panel
from tsforecast.postprocess import Postprocess, postprocess_named
from tsforecast.preprocessing.feature import Feature, FittedFeature, KnownFeature, PastFeature, future_of, with_known, with_past
from tsforecast.preprocessing.features import feature_from_json
from tsforecast.preprocessing.transforms import FittedTransform, Transform, transform_from_json


@dataclass(frozen=True, kw_only=True, slots=True)
class FittedFlow:
    """A trained flow: what is stored, served and run in batch. Immutable, so threads share it."""

    features: tuple[FittedFeature, ...] = ()  # those of kinds that the model reads
    transforms: tuple[FittedTransform, ...] = ()
    predictor: Predictor
    postprocess: tuple[Postprocess, ...] = ()

    @property
    def recipe(self) -> Forecaster:
        return self.predictor.recipe

    @property
    def facts(self) -> Facts:
        """What the fit has seen, with the names of only those covariates that a caller has to give: not of the features."""
        facts, made = self.predictor.facts, {name for feature in self.features for name in feature.names}
        if not made:
            return facts
        return replace(
            facts,
            covariate_names=tuple(name for name in facts.covariate_names if name not in made),
            past_covariate_names=tuple(name for name in facts.past_covariate_names if name not in made),
        )

    def predict(
        self,
        panel: Panel,
        *,
        horizon: int | None = None,
        quantile_levels: Sequence[float] = DEFAULT_QUANTILE_LEVELS,
        future: FloatArray | None = None,
    ) -> Forecast:
        """As `Predictor.predict`; features and transforms meet series they were not fitted on by fitting on the history given.

        Args:
            future: of the covariates that the caller gives, (S, H, C); the features make their own.

        Raises:
            CovariateError: also where a feature does not know what is to come, such as events after the end of their file.
        """
        features = [feature.for_panel(panel) for feature in self.features] if panel.freq == self.facts.freq else []
        known, past = _by_kind(features)
        if features:
            _check_not_empty(panel)
            steps = self.facts.horizon if horizon is None else check_horizon(horizon)
            if steps > self.facts.horizon:
                raise HorizonError(
                    f"horizon {steps} is longer than the {self.facts.horizon} steps this {self.recipe.name!r} was fitted for; "
                    f"ask for at most {self.facts.horizon}, or fit with horizon={steps}",
                    field="horizon",
                )
            self._check_given(panel, steps, future)
            own = future if self.facts.covariate_names else None
            panel, future = with_known(panel, known), future_of(panel, known, steps, own)
        applied = []
        for transform in self.transforms:
            applied.append(transform.for_panel(panel))
            panel = applied[-1].apply(panel)
        panel = with_past(panel, past)
        forecast = self.predictor.predict(panel, horizon=horizon, quantile_levels=quantile_levels, future=future)
        for transform in reversed(applied):
            forecast = transform.invert(forecast)
        for adjust in self.postprocess:
            forecast = adjust(forecast)
        return forecast

    def _check_given(self, panel: Panel, steps: int, future: FloatArray | None) -> None:
        """Refuse covariates that are not those the caller has to give, before those of the features stand beside them."""
        facts, reads = self.facts, self.recipe.about.covariates
        for kind, attribute in (("known-future", "covariate_names"), ("past", "past_covariate_names")):
            wanted, given = getattr(facts, attribute), getattr(panel, attribute)
            if kind in reads and wanted != given:
                message = f"the model was fitted with {WORDS[attribute]} {list(wanted)}, the panel has {list(given)}"
                raise CovariateError(message, field="covariates")
        if not facts.covariate_names or "known-future" not in reads:
            return
        shape = (len(panel), steps, len(facts.covariate_names))
        if future is None:
            message = f"the model needs the future of covariates {list(facts.covariate_names)}; pass future="
            raise CovariateError(message, field="future")
        if future.shape != shape:
            raise CovariateError(f"future must have shape (S, H, C) = {shape}, got {future.shape}", field="future")

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Write the flow into `folder`: the predictor's files and `flow.json`; no pickle."""
        target = self.predictor.save(folder)
        flow = {
            "features": [feature.to_json() for feature in self.features],
            "transforms": [transform.to_json() for transform in self.transforms],
            "postprocess": [adjust.name for adjust in self.postprocess],
        }
        (target / FLOW).write_text(json.dumps(flow, indent=1, sort_keys=True, allow_nan=False) + "\n")
        return target


def _check_not_empty(panel: Panel) -> None:
    if not len(panel):
        raise SchemaError("the panel has no series; features need at least one", field="panel")


@dataclass(frozen=True, kw_only=True, slots=True)
class ForecastFlow:
    """A recipe: which features, which transforms, which model, which last touches.

    Features that follow from the clock are columns beside the untransformed target; lags and rolling statistics are of the
    target as the transforms leave it, so that they have its scale. A kind of feature that the model does not read (see
    `About.covariates`) is left out, as covariates of a panel are.
    """

    features: tuple[Feature, ...] = ()
    transforms: tuple[Transform, ...] = ()
    model: Forecaster
    postprocess: tuple[Postprocess, ...] = ()  # or their names, such as "clip_below_zero"

    def __post_init__(self) -> None:
        """Names of last touches become the touches."""
        touches = tuple(postprocess_named(one) if isinstance(one, str) else one for one in self.postprocess)
        object.__setattr__(self, "postprocess", touches)

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
        """Fit the features, each transform on what the ones before it made of `panel`, then the model, from `start_from` if
        given.

        Raises:
            CovariateError: also where a feature does not know the `horizon` steps after `panel`.
        """
        features = self._fit_features(panel)
        known, past = _by_kind(features)
        future_of(panel, known, horizon)  # what is not known then is said now, not after hours of training
        panel = with_known(panel, known)
        fitted: list[FittedTransform] = []
        for transform in self.transforms:
            fitted.append(transform.fit(panel))
            panel = fitted[-1].apply(panel)
        panel = with_past(panel, past)
        transfer: dict[str, Any] = {} if start_from is None else {"start_from": start_from, "freeze": freeze}
        predictor = self.model.fit(panel, horizon=horizon, seed=seed, train=train, callbacks=callbacks, **transfer)
        return FittedFlow(features=features, transforms=tuple(fitted), predictor=predictor, postprocess=self.postprocess)

    def _fit_features(self, panel: Panel) -> tuple[FittedFeature, ...]:
        if self.features:
            _check_not_empty(panel)
        return tuple(feature.fit(panel) for feature in self.features if feature.kind in self.model.about.covariates)


def _by_kind(features: Sequence[FittedFeature]) -> tuple[list[KnownFeature], list[PastFeature]]:
    known = [feature for feature in features if isinstance(feature, KnownFeature)]
    return known, [feature for feature in features if isinstance(feature, PastFeature)]


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
            features=tuple(feature_from_json(values) for values in flow.get("features", ())),  # flows of 1.0 end without
            transforms=tuple(transform_from_json(values) for values in flow["transforms"]),
            predictor=predictor,
            postprocess=tuple(postprocess_named(name) for name in flow["postprocess"]),
        )
    except (ArtifactError, OptionError) as error:
        raise ArtifactError(f"{path} holds a step this version does not have: {error}; upgrade tsforecast") from error
    except (OSError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise ArtifactError(f"{path} is damaged: {error!r}; copy the model again") from error
