"""Raw frame (unique_id, ds, y, its other columns) + [panel] of a recipe -> Panel, and what a person wants to know of it."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipelines.io import read_static
from pipelines.recipe import PanelOptions, Source
from tsforecast.panel import Panel

if TYPE_CHECKING:
    import pandas as pd


def panel_of(frame: "pd.DataFrame", options: PanelOptions, source: Source, *, folder: Path = Path()) -> Panel:
    """The panel that the options make of `frame`; the source's static_path begins at `folder`.

    Raises:
        DataError: the rows make no panel; the message names the series and the way out.
    """
    from tsforecast.preprocessing.repair import resample
    from tsforecast.preprocessing.validate import panel_from_frame

    freq = options.freq
    if options.resample is not None:
        frame, freq = resample(frame, options.resample.freq, options.resample.how).frame, options.resample.freq
    return panel_from_frame(
        frame,
        freq=freq,
        season=options.season,
        missing_steps=options.missing_steps,
        covariates=source.covariates,
        past_covariates=source.past_covariates,
        static=read_static(source, folder=folder),
    )


def facts_of(panel: Panel) -> dict[str, Any]:
    """JSON values: series, rows, not_observed, freq, season, first, last, shortest, longest, names of what is beside y."""
    lengths = panel.lengths
    return {
        "series": len(panel),
        "rows": len(panel.target),
        "not_observed": int(np.isnan(panel.target).sum()),
        "freq": panel.freq,
        "season": panel.season,
        "first": moment_text(panel.timestamps.min()),
        "last": moment_text(panel.timestamps.max()),
        "shortest": int(lengths.min()),
        "longest": int(lengths.max()),
        "covariates": panel.covariate_names,
        "past_covariates": panel.past_covariate_names,
        "static": panel.static_real_names + panel.static_category_names,
    }


def panel_line(facts: dict[str, Any]) -> str:
    """`facts_of` in one line."""
    kinds = {"covariates": "covariates", "past_covariates": "past covariates", "static": "static"}
    beside = "".join(f", {words} {', '.join(facts[kind])}" for kind, words in kinds.items() if facts.get(kind))
    return (
        f"{facts['series']} series, {facts['rows']} steps of {facts['freq']} (season {facts['season']}), "
        f"{facts['first']} to {facts['last']}, {facts['not_observed']} not observed{beside}"
    )


def moment_text(moment: Any) -> str:
    """A timestamp without trailing zeros, or an integer step."""
    if not isinstance(moment, np.datetime64):
        return str(moment)
    return str(np.datetime_as_string(moment, unit="s")).removesuffix("T00:00:00")
