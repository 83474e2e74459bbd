"""Raw frame (unique_id, ds, y, covariates) + [panel] of a recipe -> Panel, and what a person wants to know of it."""

from typing import TYPE_CHECKING, Any

import numpy as np

from pipelines.recipe import PanelOptions, Source
from tsforecast.panel import Panel

if TYPE_CHECKING:
    import pandas as pd


def panel_of(frame: "pd.DataFrame", options: PanelOptions, source: Source) -> Panel:
    """The panel that the options make of `frame`.

    Raises:
        DataError: the rows make no panel; the message names the series and the way out.
    """
    from tsforecast.preprocessing.repair import resample
    from tsforecast.preprocessing.validate import panel_from_frame

    freq = options.freq
    if options.resample is not None:
        frame, freq = resample(frame, options.resample.freq, options.resample.how).frame, options.resample.freq
    return panel_from_frame(
        frame, freq=freq, season=options.season, covariates=source.covariates, missing_steps=options.missing_steps
    )


def facts_of(panel: Panel) -> dict[str, Any]:
    """JSON values: series, rows, not_observed, freq, season, first, last, shortest, longest."""
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
    }


def panel_line(facts: dict[str, Any]) -> str:
    """`facts_of` in one line."""
    return (
        f"{facts['series']} series, {facts['rows']} steps of {facts['freq']} (season {facts['season']}), "
        f"{facts['first']} to {facts['last']}, {facts['not_observed']} not observed"
    )


def moment_text(moment: Any) -> str:
    """A timestamp without trailing zeros, or an integer step."""
    if not isinstance(moment, np.datetime64):
        return str(moment)
    return str(np.datetime_as_string(moment, unit="s")).removesuffix("T00:00:00")
