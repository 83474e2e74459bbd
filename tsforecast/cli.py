"""`tsforecast …`: words on a command line -> the library, the pipelines or the service, and an exit code.

The top layer: it may import everything, and imports nothing heavy before a command needs it.
"""

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines import checks, detect_file, one_file
from pipelines.__main__ import EXIT_CODES, add_run, add_schedule, guarded
from pipelines.option_words import on_one_file
from tsforecast import __version__

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]


def main(arguments: list[str] | None = None) -> int:
    """Run one command; an error is one line on stderr (with --debug a traceback) and an exit code."""
    parser = build_parser()
    args = parser.parse_args(arguments)
    if not hasattr(args, "run"):
        parser.print_help()
        return 2
    return guarded(args)


def build_parser() -> argparse.ArgumentParser:
    """The parser with all commands."""
    parser = argparse.ArgumentParser(
        prog="tsforecast",
        description="Forecast many time series and find anomalies in them: prepare, train, track, serve and schedule.",
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"tsforecast {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND")
    for add in (
        _add_models, _add_steps, _add_check, _add_decompose, add_run, _add_train, _add_backtest, _add_forecast, _add_detect,
        _add_serve, add_schedule, _add_mlflow,
    ):  # fmt: skip
        add(commands)
    return parser


def _command(commands: "Commands", name: str, words: str, run: Callable[[argparse.Namespace], int]) -> argparse.ArgumentParser:
    command = commands.add_parser(name, help=words, description=words[0].upper() + words[1:] + ".")
    command.add_argument("--debug", action="store_true", help="show the traceback of an error")
    command.set_defaults(run=run)
    return command


def _add_models(commands: "Commands") -> None:
    command = _command(commands, "models", "list the models, or say what one is and what its parameters mean", _models)
    command.add_argument("name", nargs="?", metavar="NAME", help="of one model; default: all")
    command.add_argument("--task", choices=("forecast", "anomaly"), default="forecast", help="models that forecast, or detect")
    form = command.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true")
    form.add_argument("--markdown", action="store_true", help="as the tables of README.md and docs/models.md")
    command.add_argument(
        "--write", nargs="+", default=[], metavar="FILE", help="put the tables between <!-- models --> and <!-- /models --> there"
    )


def _models(args: argparse.Namespace) -> int:
    import json

    from tsforecast.errors import ModelError
    from tsforecast.models import describe
    from tsforecast.models.registry import available_models

    if args.write:
        return _write_models([Path(file) for file in args.write])
    if args.name:
        try:
            one = describe.describe(args.name)
        except ImportError as error:
            raise ModelError(f"model {args.name!r} {describe.needs(error)}; install it to use this model") from error
        if args.markdown:
            print(describe.markdown_of_parameters([one]))
        else:
            print(json.dumps({one.name: one.to_json()}, indent=1) if args.json else describe.text_of_one(one))
        return 0
    found, missing = describe.describe_all(available_models(args.task))
    if args.json:
        known = {one.name: one.to_json() for one in found}
        print(json.dumps(known | {name: {"unavailable": describe.needs(error)} for name, error in missing.items()}, indent=1))
        return 0
    table = describe.markdown_of_all if args.task == "forecast" else describe.markdown_of_detectors
    print(table(found, missing) if args.markdown else describe.text_of_all(found, missing))
    return 0


def _write_models(files: list[Path]) -> int:
    from tsforecast.models import describe
    from tsforecast.models.registry import available_models

    found, missing = describe.describe_all()
    detectors, lacking = describe.describe_all(available_models("anomaly"))
    blocks = {
        "models": describe.markdown_of_all(found, missing),
        "parameters": describe.markdown_of_parameters(found),
        "detectors": describe.markdown_of_detectors(detectors, lacking),
        "detector parameters": describe.markdown_of_parameters(detectors),
    }
    for file in files:
        print(f"{file}: {'written' if describe.write_blocks(file, blocks) else 'as it was'}")
    return 0


def _add_steps(commands: "Commands") -> None:
    words = "list repairs, features, steps and augmentations of a recipe with their options"
    command = _command(commands, "steps", words, _steps)
    command.add_argument("table", nargs="?", choices=("repairs", "features", "steps", "augment"), help="default: all")
    command.add_argument("--write", metavar="FILE", help="put the tables into the blocks <!-- repairs --> … of a Markdown file")


def _steps(args: argparse.Namespace) -> int:
    from tsforecast import steps
    from tsforecast.models.describe import write_blocks

    if args.write:
        print(f"{args.write}: {'written' if write_blocks(Path(args.write), dict(steps.blocks())) else 'as it was'}")
        return 0
    print("\n\n".join(steps.text_of(table) for table in ([args.table] if args.table else steps.TABLES)))
    return 0


def _add_check(commands: "Commands") -> None:
    words = "say what a file, or the source of a recipe, holds, what is wrong with it, and what panel it makes"
    command = _command(commands, "check", words, on_one_file(checks.check))
    one_file.add_data_arguments(command)
    checks.add_check_arguments(command)


def _add_decompose(commands: "Commands") -> None:
    words = "say which seasons a file has, and take its series apart into trend, seasons and remainder"
    command = _command(commands, "decompose", words, on_one_file(one_file.decompose))
    one_file.add_data_arguments(command)
    command.add_argument("--only", metavar="ID", help="of one series; default: all")
    command.add_argument("--seasons", metavar="STEPS,STEPS", help="such as 24,168; default: those that are found")
    command.add_argument("--robust", action="store_true", help="keep outliers out of trend and seasons; slower")
    command.add_argument("--horizon", type=int, default=1, metavar="STEPS", help="to recommend a context for; default: 1")
    command.add_argument("--out", metavar="FILE", help="the parts of every series, .csv or .parquet")
    command.add_argument("--plot", metavar="FILE", help="a picture of the first series, or of --only: .png, .svg or .pdf")


def _add_train(commands: "Commands") -> None:
    command = _command(commands, "train", "fit one model on a file and save it", on_one_file(one_file.train))
    one_file.add_data_arguments(command)
    one_file.add_model_arguments(command)
    command.add_argument("--out", required=True, metavar="DIR", help="folder of the saved model")


def _add_backtest(commands: "Commands") -> None:
    command = _command(
        commands, "backtest", "score one model on a file, from moments of the past", on_one_file(one_file.backtest)
    )
    one_file.add_data_arguments(command)
    one_file.add_model_arguments(command)
    command.add_argument("--folds", type=int, default=3)
    command.add_argument("--step", type=int, metavar="STEPS", help="between folds; default: the horizon")
    command.add_argument("--refit", action="store_true", help="train anew at each fold, not once before the first")
    command.add_argument("--out", metavar="FILE", help="forecasts beside what came, .csv or .parquet")
    command.add_argument("--json", action="store_true", help="print all scores as JSON")


def _add_forecast(commands: "Commands") -> None:
    command = _command(commands, "forecast", "forecast a file with a saved or registered model", on_one_file(one_file.forecast))
    command.add_argument(
        "model", metavar="MODEL", help="folder of a saved model, or name, name@alias, name/version of the registry"
    )
    one_file.add_data_arguments(command)
    command.add_argument("--horizon", type=int, metavar="STEPS", help="default: the longest the model can")
    command.add_argument("--quantile-levels", default="0.1,0.5,0.9", metavar="Q,Q")
    command.add_argument("--out", metavar="FILE", help=".csv or .parquet; default: CSV to stdout")


def _add_detect(commands: "Commands") -> None:
    words = "find what is out of the ordinary in a file, with a detector that is fitted on it or was saved"
    command = _command(commands, "detect", words, on_one_file(detect_file.detect))
    one_file.add_data_arguments(command)
    detect_file.add_detect_arguments(command)


def _add_serve(commands: "Commands") -> None:
    words = "answer POST /v1/forecast over HTTP; settings are the TSF_… environment variables"
    command = _command(commands, "serve", words, _serve)
    command.add_argument("--host", help="in place of TSF_HOST")
    command.add_argument("--port", type=int, help="in place of TSF_PORT")
    command.add_argument("--model-dir", metavar="DIR", help="in place of TSF_MODEL_DIR: a saved model, or a folder of them")


def _serve(args: argparse.Namespace) -> int:
    for name in ("host", "port", "model_dir"):
        value = getattr(args, name)
        if value is not None:
            os.environ[f"TSF_{name.upper()}"] = str(value)
    from service.__main__ import main as serve

    return serve()


def _add_mlflow(commands: "Commands") -> None:
    command = _command(commands, "mlflow", "open the MLflow UI on the tracking store, until Ctrl-C", _mlflow)
    command.add_argument("--host", default="127.0.0.1")
    command.add_argument("--port", type=int, default=5000)


def _mlflow(args: argparse.Namespace) -> int:
    from pipelines.environment import Environment
    from pipelines.tracked import machine_tracker
    from tsforecast.tracking import mlflow_ui_command

    _check_free(args.host, args.port)
    command, environment = mlflow_ui_command(machine_tracker(Environment(os.environ)), host=args.host, port=args.port)
    print(f"MLflow UI at http://{args.host}:{args.port}, Ctrl-C ends it", flush=True)
    os.execve(command[0], command, environment)


def _check_free(host: str, port: int) -> None:
    """MLflow's server would say that the port is taken, and end as if all were well."""
    import socket

    from tsforecast.errors import TrackingError

    try:
        with socket.create_server((host, port)):
            return
    except OSError as error:
        raise TrackingError(
            f"cannot listen on {host}:{port}: {os.strerror(error.errno or 0)}; choose another --port", field="port"
        ) from error


if __name__ == "__main__":
    sys.exit(main())
