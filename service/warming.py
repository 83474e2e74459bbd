"""A freshly loaded model -> the same model, asked once: caches are filled and a broken model is found out before it serves."""

import logging
import sys
from dataclasses import replace

import numpy as np

from tsforecast.errors import CovariateError, DataError, HistoryTooShort
from tsforecast.flow import FittedFlow
from tsforecast.models.base import Facts
from tsforecast.models.fitted_detector import DetectorFacts, FittedDetector
from tsforecast.panel import Panel
from tsforecast.preprocessing.calendar import advance, clock_of

log = logging.getLogger("service.models")
MOST_ROWS = 20_000


def warm_up(model: FittedFlow | FittedDetector, *, torch_threads: int) -> None:
    """Ask `model` for a forecast, or for the scores, of a made-up series.

    Raises:
        ArtifactError and whatever a broken model raises. A model of single series may refuse one it has never seen.
    """
    limit_torch_threads(torch_threads)
    if isinstance(model, FittedDetector):
        model.scores(_channels_of(made_up_panel(model.facts, rows=max(2 * model.core.reach, 64)), model.facts.channels))
        return
    _warm_flow(model)


def _warm_flow(flow: FittedFlow) -> None:
    facts = flow.facts
    try:
        try:
            _ask(flow, made_up_panel(facts, rows=max(4 * facts.season, 3 * facts.horizon, 64)))
        except HistoryTooShort as error:
            _ask(flow, made_up_panel(facts, rows=error.need))
    except DataError as error:
        unknown_series = flow.recipe.about.scope == "local" or (flow.features and isinstance(error, CovariateError))
        if not unknown_series:
            raise
        log.info("%s answers only for series it knows, so it is not warmed: %s", flow.recipe.name, error)


def _ask(flow: FittedFlow, panel: Panel) -> None:
    names = flow.facts.covariate_names
    future = np.zeros((1, flow.facts.horizon, len(names))) if names else None
    flow.predict(panel, horizon=flow.facts.horizon, future=future)


def made_up_panel(facts: Facts | DetectorFacts, *, rows: int) -> Panel:
    """One series on the clock of `facts` that goes up and down with its season, positive, up to where training ended."""
    rows = min(rows, MOST_ROWS)
    clock = clock_of(facts.freq)
    origin = (
        np.array([int(facts.trained_until)]) if clock.unit == "integer" else np.array([facts.trained_until], "datetime64[ns]")
    )
    steps = np.arange(rows)
    panel = Panel(
        series_ids=("warm-up",),
        offsets=np.array([0, rows]),
        timestamps=advance(clock, origin, steps - (rows - 1), facts.tz),
        target=10 + np.sin(2 * np.pi * steps / max(facts.season, 2)) + 0.1 * np.cos(steps),
        freq=facts.freq,
        season=facts.season,
        tz=facts.tz,
    )
    if isinstance(facts, DetectorFacts) or not facts.covariate_names:
        return panel
    names = facts.covariate_names
    return replace(panel, covariates=np.zeros((rows, len(names))), covariate_names=names)


def _channels_of(panel: Panel, channels: tuple[str, ...]) -> Panel:
    """The panel with its target as each of these channels."""
    panel = replace(panel, target_name=channels[0])
    if len(channels) == 1:
        return panel
    same = np.repeat(panel.target[:, None], len(channels) - 1, axis=1)
    return replace(panel, past_covariates=same, past_covariate_names=channels[1:])


def limit_torch_threads(threads: int) -> None:
    """Let one computation use `threads` cores, for all threads of the process; nothing to do where torch is not loaded.

    torch is looked up, not imported: a service of models without networks does not pay for it.
    """
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(threads)
