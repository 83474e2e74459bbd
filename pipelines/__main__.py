"""`python -m pipelines run RECIPE` and `python -m pipelines schedule RECIPE …`: commands in, exit codes out.

`tsforecast run` and `tsforecast schedule` are these; errors of the library become exit codes here and nowhere else.
"""

import argparse
import json
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from tsforecast.errors import ForecastError, HorizonError, NotBetter, OptionError, RecipeError, UnknownModel

OK, FAILED, USAGE, PARTIAL, REFUSED, BUSY, STOPPED = 0, 1, 2, 3, 4, 5, 130
EXIT_CODES = """exit codes:
  0  done
  1  the data or a model is at fault, or a store cannot be used
  2  the recipe or the command line is at fault
  3  partial: a model failed, the others and the forecast are there
  4  promotion refused: no model beats the baseline; the forecast is the baseline's
  5  another process runs the same recipe for the same moment
  6  check: the data had faults, and what the options or the recipe repair is enough to make a panel
  7  detect, and run of a recipe with [detect]: there are events, and --fail-on-event was given; without it they are 0
130  stopped by Ctrl-C or SIGTERM; run again to go on
"""


def main(arguments: list[str] | None = None) -> int:
    """Parse, run, answer with an exit code."""
    parser = argparse.ArgumentParser(prog="python -m pipelines", description=__doc__.splitlines()[0] if __doc__ else None)
    commands = parser.add_subparsers(dest="command", required=True)
    add_run(commands)
    add_schedule(commands)
    args = parser.parse_args(arguments)
    return guarded(args)


def add_run(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """The command `run`."""
    command = commands.add_parser(
        "run",
        help="run a recipe: prepare, train, backtest, promote, forecast; or prepare, detect",
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument("recipe", metavar="RECIPE", help="path of a recipe.toml")
    command.add_argument("--as-of", metavar="T", help="run as of this timestamp or integer step; default: the last in the data")
    command.add_argument("--jobs", metavar="A,B", default="", help="only these jobs, comma-separated")
    command.add_argument("--folder", metavar="DIR", default="runs", help="where run folders are made (default: runs)")
    command.add_argument("--force", action="store_true", help="run the jobs again even where nothing changed")
    command.add_argument("--json", action="store_true", help="print the summary as JSON")
    command.add_argument(
        "--fail-on-event", action="store_true", help="of a recipe with [detect]: exit code 7 where there are events"
    )
    command.add_argument("--quiet", action="store_true", help="no progress on stderr")
    _add_debug(command)
    command.set_defaults(run=_run)


def add_schedule(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """The command `schedule`."""
    command = commands.add_parser("schedule", help="run recipes when their cron line says so, until SIGTERM")
    command.add_argument("recipes", metavar="RECIPE", nargs="+", help="recipes with a [schedule] table")
    command.add_argument("--folder", metavar="DIR", default="runs", help="run folders and the ledger schedule.db (default: runs)")
    command.add_argument("--once-due", action="store_true", help="run what is due now, and end")
    _add_debug(command)
    command.set_defaults(run=_schedule)


def _add_debug(command: argparse.ArgumentParser) -> None:
    command.add_argument("--debug", action="store_true", help="show the traceback of an error")


def guarded(args: argparse.Namespace) -> int:
    """Run the command of `args`; an error is one line on stderr and an exit code. SIGTERM ends it as Ctrl-C does."""
    try:
        with _sigterm_as_interrupt():
            code: int = args.run(args)
            return code
    except KeyboardInterrupt:
        print("tsforecast: stopped", file=sys.stderr)
        return STOPPED
    except BrokenPipeError:  # the reader of our output is gone, e.g. `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except Exception as error:
        if getattr(args, "debug", False):
            raise
        if isinstance(error, ForecastError):
            print(f"tsforecast: {error}", file=sys.stderr)
        else:
            print(f"tsforecast: unexpected {type(error).__name__}: {error}; --debug shows where", file=sys.stderr)
        return exit_code_of(error)


@contextmanager
def _sigterm_as_interrupt() -> Iterator[None]:
    """Let SIGTERM raise KeyboardInterrupt in the block, so that files written aside are removed and child processes end."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():  # only the main thread may have handlers
        yield
        return
    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def exit_code_of(error: Exception) -> int:
    """The exit code that answers an error."""
    from pipelines.workspace import Busy, NotYet

    if isinstance(error, Busy):
        return BUSY
    if isinstance(error, RecipeError | OptionError | UnknownModel | HorizonError | NotYet):
        return USAGE
    return REFUSED if isinstance(error, NotBetter) else FAILED


def _run(args: argparse.Namespace) -> int:
    from pipelines.environment import Environment
    from pipelines.recipe import read_recipe
    from pipelines.runner import RunOptions, run_recipe
    from pipelines.summary import exit_code, summary_of, to_text

    options = RunOptions(
        as_of=args.as_of,
        jobs=tuple(name.strip() for name in args.jobs.split(",") if name.strip()),
        folder=Path(args.folder),
        force=args.force,
    )
    environment = Environment(os.environ)
    work = run_recipe(read_recipe(args.recipe), options=options, environment=environment, tell=_silent if args.quiet else tell)
    summary = summary_of(work)
    print(json.dumps(summary, indent=1) if args.json else environment.hide(to_text(summary)))
    return exit_code(summary, fail_on_event=args.fail_on_event)


def _schedule(args: argparse.Namespace) -> int:
    import socket
    from datetime import UTC, datetime

    from pipelines.ledger import Ledger
    from pipelines.recipe import read_recipe
    from pipelines.schedule import LEDGER, Outside, Scheduler, owner_name, start_process, stop_on_signals

    def now() -> datetime:
        return datetime.now(UTC)

    folder = Path(args.folder)
    files = [read_recipe(path) for path in args.recipes]
    outside = Outside(clock=now, start=start_process(folder), stop=stop_on_signals(), tell=tell)
    ledger = Ledger(folder / LEDGER, owner=owner_name(socket.gethostname(), now()))
    scheduler = Scheduler(files, ledger=ledger, outside=outside)
    if args.once_due:
        codes = [code for _, _, code in scheduler.run_due()]
        return max((code or OK for code in codes), default=OK)
    scheduler.run_forever()
    return OK


def tell(line: str) -> None:
    """A line of progress, on stderr so that stdout stays for results."""
    print(line, file=sys.stderr, flush=True)


def _silent(_line: str) -> None:
    """No progress."""


if __name__ == "__main__":
    sys.exit(main())
