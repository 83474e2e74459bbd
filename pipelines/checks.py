"""`tsforecast check`: a data file, or the source of a recipe -> what is wrong with it, what was repaired, and an exit code."""

import argparse
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.as_of import parse_times
from pipelines.column_types import with_types
from pipelines.environment import Environment
from pipelines.files import written_aside
from pipelines.io import read_source
from pipelines.one_file import options_from_arguments, source_from_arguments
from pipelines.option_words import check_ending
from pipelines.panels import facts_of, panel_line, repaired_panel_of
from pipelines.recipe import PanelOptions, Recipe, RecipeFile, Source, Step
from tsforecast.errors import DataError, SchemaError

if TYPE_CHECKING:
    import pandas as pd

    from tsforecast.checking.report import DataReport
    from tsforecast.panel import Panel

OK, REPAIRED = 0, 6


@dataclass(frozen=True, kw_only=True, slots=True)
class Checked:
    """What was found out of a source."""

    title: str
    report: "DataReport"
    panel: "Panel | None"  # None where none could be made, even with the repairs
    error: DataError | None  # why not
    label: str | None = None  # column of known anomalies


def add_check_arguments(command: argparse.ArgumentParser) -> None:
    """How the answer is given."""
    command.add_argument("--json", action="store_true", help="all findings as JSON")
    command.add_argument("--html", metavar="FILE", help="write the report as a page with pictures too")
    command.add_argument("--most", type=int, default=30, metavar="N", help="findings printed at most (default: 30)")


def check(args: argparse.Namespace) -> int:
    """Say what a file or the source of a recipe holds, what is wrong with it, and what panel it makes.

    Raises:
        DataError: no panel can be made, after the report is printed; RecipeError: the recipe is at fault.
    """
    check_ending(args, "html", (".html", ".htm"))
    checked = check_recipe(args.data) if args.data.endswith(".toml") else check_file(args)
    if args.json:
        panel = {} if checked.panel is None else {"panel": facts_of(checked.panel, label=checked.label)}
        print(json.dumps(panel | checked.report.to_json(), indent=1, allow_nan=False))
    else:
        if checked.panel is not None:
            facts = facts_of(checked.panel, label=checked.label)
            print(f"{checked.title}: {panel_line(facts)}\n  lengths from {facts['shortest']} to {facts['longest']} steps")
        print(checked.report.to_text(most=args.most))
    if args.html:
        from tsforecast.checking.html import html_of

        with written_aside(Path(args.html)) as aside:
            aside.write_text(html_of(checked.report, title=args.data), encoding="utf-8")
    if checked.error is not None:
        raise checked.error
    return REPAIRED if checked.report.verdict == "repaired" else OK


def check_file(args: argparse.Namespace) -> Checked:
    """One data file; missing steps are all that is repaired, where the options say so."""
    frame = _with_times(read_source(source_from_arguments(args), folder=Path(), environment=Environment({})))
    return checked_frame(
        frame, source=source_from_arguments(args), options=options_from_arguments(args), steps=(), folder=Path(), title=args.data
    )


def check_recipe(path: str) -> Checked:
    """The source of a recipe, after all names in the recipe were checked.

    Raises:
        RecipeError: the recipe is at fault.
    """
    from pipelines.cron import trigger_of
    from pipelines.flows import check_names
    from pipelines.recipe import read_recipe

    file = read_recipe(path)
    check_names(file)
    recipe = file.recipe
    if recipe.schedule is not None:
        trigger_of(recipe.schedule)
    frame = _with_times(read_source(recipe.source, folder=file.folder, environment=Environment(os.environ)))
    checked = checked_frame(
        frame,
        source=recipe.source,
        options=recipe.panel,
        steps=recipe.repairs,
        folder=file.folder,
        title=f"{path} is in order",
        horizon=recipe.forecast.horizon if isinstance(recipe, Recipe) else None,
    )
    error = None if checked.panel is None else _feature_error(file, checked.panel)
    return checked if error is None else replace(checked, report=replace(checked.report, refusal=str(error)), error=error)


def _feature_error(file: RecipeFile, panel: "Panel") -> DataError | None:
    """What a feature lacks for the forecast after `panel`, such as a calendar of events that ends too early."""
    from pipelines.flows import flow_of
    from tsforecast.preprocessing.feature import KnownFeature, future_of

    if not isinstance(file.recipe, Recipe):
        return None
    try:
        fitted = [one.fit(panel) for one in flow_of(file.recipe, file.recipe.models[0], folder=file.folder).features]
        future_of(panel, [one for one in fitted if isinstance(one, KnownFeature)], file.recipe.forecast.horizon)
    except DataError as error:
        return error
    return None


def checked_frame(
    frame: "pd.DataFrame",
    *,
    source: Source,
    options: PanelOptions,
    steps: tuple[Step, ...],
    folder: Path,
    title: str,
    horizon: int | None = None,
) -> Checked:
    """Look at the raw rows, then make the panel of them with all that the recipe repairs."""
    from tsforecast.checking.whole import check as look

    raw = frame
    try:
        typed = with_types(frame, source)
        raw, named = typed.frame, typed.source
    except DataError:  # a value is not of its type: the panel below says so, the report is of the others
        known, past = (tuple(set(names) - set(source.types)) for names in (source.covariates, source.past_covariates))
        named = replace(source, covariates=known, past_covariates=past, types={})
    report = look(
        raw,
        freq=None if options.resample is not None else options.freq,
        season=None if options.season == "auto" else options.season,
        covariates=named.covariates,
        past_covariates=named.known_so_far(),
        horizon=horizon,
    )
    try:
        made = repaired_panel_of(frame, options, source, steps=steps, folder=folder)
    except DataError as error:
        return Checked(title=title, report=replace(report, refusal=str(error)), panel=None, error=error)
    report = replace(report, refusal=None, repairs=_repairs(made.counts))
    return Checked(title=title, report=report, panel=made.panel, error=None, label=source.label)


def _repairs(counts: Mapping[str, int]) -> dict[str, Any]:
    return {step: count for step, count in counts.items() if count}


def _with_times(frame: "pd.DataFrame") -> "pd.DataFrame":
    """Texts as timestamps; as they are where one of them cannot be read, for the report to say so."""
    try:
        return parse_times(frame, "ds")
    except SchemaError:
        return frame
