"""Raw frame (unique_id, ds, y, its other columns) + [panel] and [[repairs]] of a recipe -> Panel, and what to tell of it."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipelines.column_names import own_names
from pipelines.column_types import with_types
from pipelines.io import read_static
from pipelines.recipe import PanelOptions, Source, Step
from tsforecast.panel import Panel

if TYPE_CHECKING:
    import pandas as pd

    from tsforecast.preprocessing.repair_step import RepairStep
    from tsforecast.preprocessing.repairs import RepairedPanel

MUCH = 0.5  # share of the rows that one step may change before it is worth a warning


def panel_of(frame: "pd.DataFrame", options: PanelOptions, source: Source, *, folder: Path = Path()) -> Panel:
    """The panel that the options make of `frame`; the source's static_path begins at `folder`.

    Raises:
        DataError: the rows make no panel; the message names the series and the way out.
    """
    return repaired_panel_of(frame, options, source, folder=folder).panel


def repaired_panel_of(
    frame: "pd.DataFrame", options: PanelOptions, source: Source, *, steps: tuple[Step, ...] = (), folder: Path = Path()
) -> "RepairedPanel":
    """The panel that the options and the recipe's repairs make of `frame`, and the log of all that was changed.

    panel.resample comes after the repairs of rows and before those of values.

    Raises:
        DataError: the rows make no panel; the message names the series and the way out.
        RecipeError: a repair does not exist, or an option has a bad value.
    """
    from pipelines.flows import repairs_of
    from tsforecast.preprocessing.repairs import repair

    static, typed = read_static(source, folder=folder), with_types(frame, source)
    frame, source = typed.frame, typed.source
    repairs = list(repairs_of(steps))
    if options.tz is not None and _is_local(frame) and _first_localised(repairs):
        repairs[:0] = repairs_of((Step(name="localize", options={"tz": options.tz}),))
    if options.resample is not None:
        of_rows = sum(step.level == "frame" for step in repairs)
        resample = Step(name="resample", options={"freq": options.resample.freq, "how": options.resample.how})
        repairs[of_rows:of_rows] = repairs_of((resample,))
    with own_names(source):
        return repair(
            frame,
            repairs,
            freq=options.freq,
            season=options.season,
            missing_steps=options.missing_steps,
            tz=options.tz,
            covariates=source.covariates,
            past_covariates=source.known_so_far(),
            static=static,
        )


def _is_local(frame: "pd.DataFrame") -> bool:
    """Datetimes without a zone."""
    return frame["ds"].dtype.kind == "M" and getattr(frame["ds"].dtype, "tz", None) is None


def _first_localised(repairs: "list[RepairStep]") -> bool:
    """True where steps work on rows before they have a zone: an hour that comes twice is no duplicate."""
    of_rows = [step for step in repairs if step.level == "frame"]
    return bool(of_rows) and all(step.name != "localize" for step in of_rows)


def facts_of(panel: Panel, *, label: str | None = None) -> dict[str, Any]:
    """JSON values: series, rows, not_observed, freq, season, first, last, shortest, longest, names of what is beside y.

    Args:
        label: column of known anomalies, which a panel carries as its last past covariate, and nothing reads as one.
    """
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
        "past_covariates": tuple(name for name in panel.past_covariate_names if name != label),
        **({} if label is None else {"label": label}),
        "static": panel.static_real_names + panel.static_category_names,
    }


def panel_line(facts: dict[str, Any]) -> str:
    """`facts_of` in one line."""
    kinds = {"covariates": "covariates", "past_covariates": "past covariates", "static": "static"}
    beside = "".join(f", {words} {', '.join(facts[kind])}" for kind, words in kinds.items() if facts.get(kind))
    beside += f", labels {facts['label']}" if facts.get("label") else ""
    return (
        f"{facts['series']} series, {facts['rows']} steps of {facts['freq']} (season {facts['season']}), "
        f"{facts['first']} to {facts['last']}, {facts['not_observed']} not observed{beside}"
    )


def repaired_line(counts: Mapping[str, int]) -> str:
    """Changes by step in one line, most first: "fill 120, outliers 4"."""
    return ", ".join(f"{step} {count}" for step, count in sorted(counts.items(), key=lambda one: (-one[1], one[0])))


def warnings_of(facts: Mapping[str, Any]) -> list[str]:
    """Words for each repair that changed so much that the data or the step should be looked at."""
    shares = {step: count / facts["rows"] for step, count in facts.get("repaired", {}).items()}
    return [
        f"repair {step!r} changed {facts['repaired'][step]} values, {share:.0%} of the {facts['rows']} rows of the panel"
        for step, share in shares.items()
        if share > MUCH and step != "resample"  # which makes every step anew
    ]


def moment_text(moment: Any) -> str:
    """A timestamp without trailing zeros, or an integer step."""
    if not isinstance(moment, np.datetime64):
        return str(moment)
    return str(np.datetime_as_string(moment, unit="s")).removesuffix("T00:00:00")
