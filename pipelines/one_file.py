"""One data file, no recipe: train, backtest and forecast from the command line."""

import argparse
import json
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.environment import Environment
from pipelines.fallbacks import fallback_line
from pipelines.io import kind_of, read_timed, write_frame
from pipelines.option_words import PICTURES, TABLES, check_ending
from pipelines.panels import panel_of
from pipelines.recipe import PanelOptions, Source, check_freeze
from pipelines.tables import read_table
from pipelines.unread import unread_line
from tsforecast.errors import OptionError
from tsforecast.nn.config import TrainConfig
from tsforecast.panel import Panel

if TYPE_CHECKING:
    from tsforecast.flow import ForecastFlow
    from tsforecast.tracking import Tracker

MOST_REDUCED = 10  # series named that are too short for a season
SHOWN_SCORES = ("mase", "rmsse", "smape", "wql", "coverage_80", "owa")


def add_data_arguments(command: argparse.ArgumentParser) -> None:
    """What says how a file is read."""
    command.add_argument("data", metavar="DATA", help="CSV or Parquet file, one row per series and time")
    command.add_argument("--id", default="unique_id", metavar="COLUMN", help="column that names the series (default: unique_id)")
    command.add_argument("--time", default="ds", metavar="COLUMN", help="column of timestamps or integer steps (default: ds)")
    command.add_argument("--target", default="y", metavar="COLUMN", help="column of values (default: y)")
    command.add_argument("--series", metavar="NAME", help="name of the only series, for a file without an id column")
    command.add_argument(
        "--past-covariates", type=_names, default=(), metavar="A,B", help="columns of numbers known up to the present only"
    )
    command.add_argument(
        "--static", metavar="FILE", help="CSV or Parquet with one row per series, ids in the column that --id names"
    )
    command.add_argument(
        "--static-columns", type=_names, default=(), metavar="A,B", help="of that file; without it, columns that are constant"
    )
    command.add_argument("--freq", help="pandas alias such as h, D, W-SUN, MS; default: told from the data")
    command.add_argument(
        "--season", type=_season, metavar="STEPS", help="steps in a season, or auto: as the data show; default: from the freq"
    )
    command.add_argument("--tz", metavar="ZONE", help="zone of the wall clock of local times, such as Europe/Berlin")
    command.add_argument(
        "--missing-steps", choices=("error", "insert"), default="error", help="missing timestamps: refuse, or insert"
    )


def add_model_arguments(command: argparse.ArgumentParser) -> None:
    """What says which model, and how it is trained."""
    command.add_argument("--model", required=True, metavar="NAME", help="see `tsforecast models`")
    command.add_argument("--horizon", type=int, required=True, metavar="STEPS")
    command.add_argument("--option", action="append", default=[], metavar="NAME=VALUE", help="option of the model, repeatable")
    command.add_argument("--train", action="append", default=[], metavar="NAME=VALUE", help="training option, repeatable")
    command.add_argument("--seed", type=int, default=0)
    command.add_argument(
        "--start-from", metavar="MODEL", help="fitted model to tune on: its folder, or name, name@alias, name/version"
    )
    command.add_argument(
        "--freeze", type=int, metavar="EPOCHS", help="in which only the head is trained, with --start-from; default: a quarter"
    )


def _season(text: str) -> int | str:
    return text if text == "auto" else int(text)


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def panel_from_arguments(args: argparse.Namespace) -> Panel:
    """The panel in the file.

    Raises:
        DataError: it cannot be read, or makes no panel.
    """
    source = source_from_arguments(args)
    frame = read_timed(source, folder=Path(), environment=Environment({}))
    return panel_of(frame, options_from_arguments(args), source)


def source_from_arguments(args: argparse.Namespace, **in_place: Any) -> Source:
    """The file, as a recipe would name it; `in_place` of what the arguments say."""
    fields = {
        "kind": kind_of(Path(args.data)), "path": args.data, "id": args.id, "time": args.time, "target": args.target,
        "series": args.series, "past_covariates": args.past_covariates, "static_path": args.static,
        "static_columns": args.static_columns,
    }  # fmt: skip
    return Source(**(fields | in_place))


def options_from_arguments(args: argparse.Namespace) -> PanelOptions:
    """How the file becomes a panel, as a recipe would say it."""
    freq = int(args.freq) if args.freq and args.freq.isdecimal() else args.freq
    return PanelOptions(freq=freq, season=args.season, missing_steps=args.missing_steps, tz=args.tz)


def train(args: argparse.Namespace) -> int:
    """Fit one model on all of the file and save it."""
    flow, options = flow_from_arguments(args)
    panel = panel_from_arguments(args)
    left_out = unread_line(flow.model, panel)
    if left_out:
        print(f"tsforecast: {left_out}", file=sys.stderr)
    fitted = flow.fit(panel, horizon=args.horizon, seed=args.seed, train=options)
    folder = fitted.save(args.out)
    facts = fitted.facts
    told = f"{facts.series} series, {facts.observations} observations, trained until {facts.trained_until}"
    start = f"tuned from {args.start_from}, " if args.start_from else ""
    print(f"{flow.model.name}: {start}{told}, saved in {folder}")
    return 0


def backtest(args: argparse.Namespace) -> int:
    """Score one model on the file."""
    from pipelines.transfer import StartedFlow, refuse_look_ahead
    from tsforecast.backtest import backtest as run

    check_ending(args, "out", TABLES)
    flow, options = flow_from_arguments(args)
    panel = panel_from_arguments(args)
    if isinstance(flow, StartedFlow):
        refuse_look_ahead(flow.parent, args.start_from, panel, horizon=args.horizon, folds=args.folds, step=args.step)
    result = run(
        flow, panel, horizon=args.horizon, folds=args.folds, step=args.step, refit=args.refit, seed=args.seed, train=options
    )
    scores = result.scores()
    if args.out:
        write_frame(result.to_frame(), Path(args.out))
    if args.json:
        print(json.dumps({name: value if value == value else None for name, value in scores.items()}, indent=1))
        return 0
    shown = "  ".join(f"{name} {scores[name]:.4g}" for name in SHOWN_SCORES if name in scores)
    print(f"{flow.model.name}: {shown}  ({len(result.folds)} folds of {args.horizon} steps)")
    for one in result.skipped:
        print(f"  not scored: {one.series_id} at {one.origin}: {one.reason}")
    for fell in result.fallbacks:
        print(f"  scored by fallback: {fell.series_id} at {fell.origin}: {fell.reason}")
    return 0


def forecast(args: argparse.Namespace) -> int:
    """Forecast the file with a saved or registered model, to a file or stdout."""
    check_ending(args, "out", TABLES)
    flow = _load(args.model)
    panel = panel_from_arguments(args)
    found = flow.predict(panel, horizon=args.horizon, quantile_levels=levels_of(args.quantile_levels))
    fell, frame = fallback_line(found), found.to_frame()
    if fell:
        print(f"tsforecast: {fell}", file=sys.stderr)
    if args.out:
        print(write_frame(frame, Path(args.out)))
    else:
        print(frame.to_csv(index=False), end="")
    return 0


def decompose(args: argparse.Namespace) -> int:
    """Say which seasons the file has and how much its parts explain; the parts to a file, one series to a picture."""
    from tsforecast.decompose import decompose as take_apart
    from tsforecast.preprocessing.seasonality import recommend

    check_ending(args, "out", TABLES)
    check_ending(args, "plot", PICTURES)
    panel = panel_from_arguments(args)
    if args.only is not None:
        if args.only not in panel.series_ids:
            shown = ", ".join(repr(one) for one in panel.series_ids[:3])
            raise OptionError(f"no series {args.only!r} in {args.data}, which has {len(panel)}: {shown} …", field="only")
        panel = panel.select([panel.series_ids.index(args.only)])
    advice = recommend(panel, args.horizon)
    chosen = tuple(season.period for season in advice.seasons) or None if args.seasons is None else steps_of(args.seasons)
    found = take_apart(panel, seasons=chosen, robust=args.robust)
    print(f"{advice.reason}: season {advice.season}, context {advice.context}")
    strengths = found.strengths().drop(columns="unique_id").median()
    print("strength, median over series: " + "  ".join(f"{name} {value:.2f}" for name, value in strengths.items()))
    for series_id, reason in found.reduced[:MOST_REDUCED]:
        print(f"  not shown: {series_id}: {reason}")
    if len(found.reduced) > MOST_REDUCED:
        print(f"  and {len(found.reduced) - MOST_REDUCED} series more")
    if args.out:
        print(write_frame(found.to_frame(), Path(args.out)))
    if args.plot:
        from tsforecast.plots import plot_decomposition, save

        print(save(plot_decomposition(found), args.plot))
    return 0


def steps_of(text: str) -> tuple[int, ...]:
    """Comma-separated numbers of steps.

    Raises:
        OptionError: one is no whole number.
    """
    try:
        return tuple(int(one) for one in text.split(",") if one.strip())
    except ValueError as error:
        raise OptionError(f"--seasons takes whole numbers such as 24,168, got {text!r}", field="seasons") from error


def flow_from_arguments(args: argparse.Namespace) -> "tuple[ForecastFlow, TrainConfig]":
    """The flow, from the model of --start-from if there is one, and its training options.

    Raises:
        UnknownModel, OptionError, RecipeError: a name or value is wrong.
    """
    from pipelines.transfer import find_parent, load_parent, started
    from tsforecast.flow import ForecastFlow
    from tsforecast.models.registry import build_forecaster

    options = read_table(TrainConfig, pairs_of(args.train, "--train"), file="--train")
    flow = ForecastFlow(model=build_forecaster(args.model, **pairs_of(args.option, "--option")))
    check_freeze(args.freeze, args.start_from)
    if args.start_from is None:
        return flow, options
    parent = find_parent(args.start_from, folder=Path(), tracker=_tracker)
    return started(flow, load_parent(parent, model=args.model, folder=Path(), tracker=_tracker), args.freeze), options


def pairs_of(texts: Sequence[str], option: str) -> dict[str, Any]:
    """NAME=VALUE texts as a mapping; values are read as TOML (3, 0.1, true, [1, 2]), and as plain text where they are not.

    Raises:
        OptionError: a text without "=".
    """
    values: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise OptionError(f"{option} takes NAME=VALUE, got {text!r}", field=option)
        try:
            values[name] = tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError:
            values[name] = value
    return values


def levels_of(text: str) -> tuple[float, ...]:
    """Comma-separated levels.

    Raises:
        OptionError: one is no number.
    """
    try:
        return tuple(float(level) for level in text.split(","))
    except ValueError as error:
        raise OptionError(
            f"--quantile-levels takes numbers such as 0.1,0.5,0.9, got {text!r}", field="quantile_levels"
        ) from error


def _load(reference: str) -> Any:
    """The flow in a folder, or that of a registry reference (name, name@alias, name/3)."""
    from tsforecast.flow import load_model

    if Path(reference).is_dir():
        return load_model(reference)
    flow, _ = _tracker().load(reference)
    return flow


def _tracker() -> "Tracker":
    """The tracking store of this machine."""
    import os

    from pipelines.tracked import machine_tracker

    return machine_tracker(Environment(os.environ))
