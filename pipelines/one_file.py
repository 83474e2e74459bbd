"""One data file, no recipe: train, backtest and forecast from the command line, and check what a file holds."""

import argparse
import json
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.as_of import parse_times
from pipelines.environment import Environment
from pipelines.fallbacks import fallback_line
from pipelines.io import kind_of, read_source, write_frame
from pipelines.panels import facts_of, panel_line, panel_of
from pipelines.recipe import PanelOptions, Source, check_freeze
from pipelines.tables import read_table
from tsforecast.errors import OptionError
from tsforecast.nn.config import TrainConfig
from tsforecast.panel import Panel

if TYPE_CHECKING:
    from tsforecast.flow import ForecastFlow
    from tsforecast.tracking import Tracker

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
    command.add_argument("--season", type=int, metavar="STEPS", help="steps in a season; default: from the frequency")
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


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def panel_from_arguments(args: argparse.Namespace) -> Panel:
    """The panel in the file.

    Raises:
        DataError: it cannot be read, or makes no panel.
    """
    kind: Any = kind_of(Path(args.data))
    source = Source(
        kind=kind, path=args.data, id=args.id, time=args.time, target=args.target, series=args.series,
        past_covariates=args.past_covariates, static_path=args.static, static_columns=args.static_columns,
    )  # fmt: skip
    freq = int(args.freq) if args.freq and args.freq.isdecimal() else args.freq
    frame = parse_times(read_source(source, folder=Path(), environment=Environment({})), "ds")
    return panel_of(frame, PanelOptions(freq=freq, season=args.season, missing_steps=args.missing_steps), source)


def check(args: argparse.Namespace) -> int:
    """Say what panel a file makes, or, for a recipe, its source."""
    if args.data.endswith(".toml"):
        facts, title = _facts_of_recipe(args.data)
    else:
        facts, title = facts_of(panel_from_arguments(args)), args.data
    print(json.dumps(facts, indent=1) if args.json else f"{title}: {panel_line(facts)}\n  {_lengths(facts)}")
    return 0


def train(args: argparse.Namespace) -> int:
    """Fit one model on all of the file and save it."""
    flow, options = flow_from_arguments(args)
    fitted = flow.fit(panel_from_arguments(args), horizon=args.horizon, seed=args.seed, train=options)
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


def flow_from_arguments(args: argparse.Namespace) -> "tuple[ForecastFlow, TrainConfig]":
    """The flow, from the model of --start-from if there is one, and its training options.

    Raises:
        UnknownModel, OptionError, RecipeError: a name or value is wrong.
    """
    from pipelines.transfer import find_parent, load_parent, started
    from tsforecast.flow import ForecastFlow
    from tsforecast.models.registry import build_model

    options = read_table(TrainConfig, pairs_of(args.train, "--train"), file="--train")
    flow = ForecastFlow(model=build_model(args.model, **pairs_of(args.option, "--option")))
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


def _facts_of_recipe(path: str) -> tuple[dict[str, Any], str]:
    """What the source of a recipe makes, after checking all its names."""
    import os

    from pipelines.cron import trigger_of
    from pipelines.flows import check_names
    from pipelines.recipe import read_recipe

    file = read_recipe(path)
    check_names(file)
    if file.recipe.schedule is not None:
        trigger_of(file.recipe.schedule)
    frame = read_source(file.recipe.source, folder=file.folder, environment=Environment(os.environ))
    panel = panel_of(parse_times(frame, "ds"), file.recipe.panel, file.recipe.source, folder=file.folder)
    return facts_of(panel), f"{path} is in order"


def _lengths(facts: dict[str, Any]) -> str:
    return f"lengths from {facts['shortest']} to {facts['longest']} steps"
