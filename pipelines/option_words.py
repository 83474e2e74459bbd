"""What went wrong with one file, said in the names of a recipe or of the library -> the same in the options of the command.

The commands on one file read it as a recipe would, so an error may speak of `source.target` or `missing_steps='insert'`.
"""

import argparse
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from tsforecast.errors import ForecastError, OptionError

TABLES = (".csv", ".parquet", ".pq")
EVENTS = (".json", ".jsonl", *TABLES)
PICTURES = (".png", ".svg", ".pdf")

OPTIONS = {  # field of a recipe, or argument of the library -> option
    "id": "--id", "time": "--time", "target": "--target", "series": "--series", "label": "--labels", "path": "DATA",
    "past_covariates": "--past-covariates", "static_path": "--static", "static_columns": "--static-columns",
    "freq": "--freq", "season": "--season", "level": "--level", "horizon": "--horizon", "folds": "--folds", "step": "--step",
    "quantile_levels": "--quantile-levels", "freeze": "--freeze", "start_from": "--start-from",
}  # fmt: skip
NO_FIRST_WORDS = ("series", "path")  # an error that begins with one of the others is about that option; these are plain words
WAYS_OUT = (
    (r"set source\.series", "pass --series NAME"),
    (r", as source\.types declares", ""),
    (r"pass freq, such as freq='([^']+)'", r"pass --freq, such as --freq \1"),
    (r"freq='([^']+)'", r"--freq \1"),
    (r"pass the (right freq|freq of)", lambda found: f"pass the {found[1].replace('freq', '--freq')}"),
    (r"unknown freq", "unknown --freq"),
    (r"fit with horizon=(\d+)", r"fit with --horizon \1"),
    (r"^(the model was fitted with past covariates .*, the panel has .*\])$", r"\1; name them by --past-covariates"),
    (r"is the column of (\w+) too", lambda found: f"is the column of {OPTIONS.get(found[1], found[1])} too"),
    (r"missing_steps='(\w+)'", r"--missing-steps \1"),
    (r"pass tz, such as '([^']+)'", r"pass --tz, such as --tz \1"),
    (r"\btz='([^']+)'", r"--tz \1"),
    (r"^'tz' has zone (.*); convert it, as in .*$", r"--tz has zone \1; give a name such as Europe/Berlin"),
    (r"without start_from", "without --start-from"),
    (r"\balarms\.(\w+)", r"\1"),
    (r"the repair '", "a recipe's repair '"),
    (r": pd\.to_numeric\(.*\)$", ""),
)  # fmt: skip


def on_one_file(command: Callable[[argparse.Namespace], int]) -> Callable[[argparse.Namespace], int]:
    """The command with its errors in words of its options."""
    return partial(_told_in_options, command)


def _told_in_options(command: Callable[[argparse.Namespace], int], args: argparse.Namespace) -> int:
    if str(args.data).endswith(".toml"):  # of a recipe, whose own words are right
        return command(args)
    with in_options(args):
        return command(args)


@contextmanager
def in_options(args: argparse.Namespace) -> Iterator[None]:
    """Errors of the block keep their class, and name options of the command line."""
    try:
        yield
    except ForecastError as error:
        error.args = (in_words_of(args, str(error)),)
        raise


def in_words_of(args: argparse.Namespace, message: str) -> str:
    """`message` with options of the command in place of fields of a recipe and arguments of the library."""
    channels = getattr(args, "channels", ())
    from_channels = bool(channels) and args.target not in channels  # the first of them is the target then
    options = OPTIONS | ({"target": "--channels"} if from_channels else {})

    def option(found: "re.Match[str]") -> str:
        column, field = found[1], found[2]
        said = "--channels" if field == "past_covariates" and column in channels else options.get(field, field)
        return f"{column!r} ({said})"

    said = re.sub(r"'([^']*)' \(source\.(\w+)\)", option, message)
    said = re.sub(r"^the source has no column", f"{args.data} has no column", said)
    said = re.sub(r"^(the frame|the source) has no rows; .*$", f"{args.data} has no rows", said)
    for pattern, words in WAYS_OUT:
        said = re.sub(pattern, words, said)
    first, space, rest = said.partition(" ")
    if first == "past_covariates" and rest.split("'")[1:2] and rest.split("'")[1] in channels:
        return f"--channels {rest}"
    if first in options and first not in NO_FIRST_WORDS:
        return options[first] + space + rest
    return said


def check_ending(args: argparse.Namespace, option: str, endings: tuple[str, ...]) -> None:
    """Refuse a file to write whose name does not say one of the formats.

    Raises:
        OptionError: it has another ending, or none.
    """
    path = getattr(args, option)
    if path is not None and Path(path).suffix.lower() not in endings:
        known = f"{', '.join(endings[:-1])} or {endings[-1]}"
        raise OptionError(
            f"--{option} writes files that end in {known}, got {path!r}; give it one of these endings", field=option
        )
