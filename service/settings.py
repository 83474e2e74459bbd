"""Environment -> Settings: what differs between machines, read once at start-up."""

import os
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, fields
from difflib import get_close_matches
from typing import Any

from tsforecast.errors import OptionError

PREFIX = "TSF_"
OTHERS = ("TSF_DATA_DIR",)  # read by tests and recipes, no business of the service


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """Where models come from and how much one caller may ask; field `port` is the variable TSF_PORT, and so on."""

    # where models come from
    default_model: str | None = None  # reference used when a request names none; None = the only stored forecaster
    model_dir: str | None = None  # a saved model, or a folder of them, served without MLflow
    tracking_uri: str | None = None  # MLflow store or server; None = the local one in `mlruns`
    mlruns: str = "mlruns"  # folder of the local MLflow store
    max_models: int = 4  # models kept in memory; the least recently asked goes first
    refresh_seconds: float = 30.0  # how often aliases are looked up again
    # what one request may ask
    max_horizon: int = 1_000  # steps
    max_series: int = 10_000
    max_points: int = 100_000  # of one series
    max_total_points: int = 1_000_000  # of all series of a request, with the missing steps that a stream would judge before them
    max_quantile_levels: int = 99
    max_answer_values: int = 2_000_000  # series x horizon x quantile levels
    max_body_bytes: int = 32 * 1024 * 1024
    # anomalies
    max_channels: int = 64  # of one series
    max_detect_points: int = 200_000  # values that POST /v1/anomalies learns from
    max_streams: int = 500  # series x channels judged as they come, about 1 MB each; the least recently asked leaves memory first
    max_events: int = 10_000  # of all streams that are remembered; the oldest go first
    max_feedback: int = 10_000  # verdicts that are remembered; the oldest go first
    state_dir: str | None = None  # where streams, events and feedback outlive the service; None = they do not
    max_stored_streams: int = 10_000  # streams in that folder; the least recently written goes first
    state_seconds: float = 60.0  # how often changes are written there
    # how much is done at once
    concurrency: int = 2  # requests computed at the same time, each in a thread
    max_waiting: int = 32  # requests that may wait for one of these threads
    torch_threads: int = 1  # threads of one computation
    request_seconds: float = 30.0  # waiting and computing; then 504
    body_seconds: float = 10.0  # for a client to send its body; then 408
    # the server
    host: str = "127.0.0.1"
    port: int = 8000  # 0 = any free one
    drain_seconds: float = 0.0  # not ready but still answering, between the signal and the end
    shutdown_seconds: float = 20.0  # for requests in flight to finish

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, int | float) and not isinstance(value, bool):
                least = 0 if field.name in ("port", "drain_seconds", "shutdown_seconds", "max_waiting") else 1
                if isinstance(value, float) and least == 1:
                    least = 0.01  # type: ignore[assignment]  # seconds may be fractions
                if not least <= value < float("inf"):
                    raise OptionError(
                        f"{_variable(field.name)} must be at least {least}, got {value}", field=_variable(field.name)
                    )
        if self.port > 65_535:
            raise OptionError(f"TSF_PORT must be at most 65535, got {self.port}", field="TSF_PORT")

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> "Settings":
        """The settings that the TSF_… variables say, defaults elsewhere; an empty variable counts as not set.

        Raises:
            OptionError: a value cannot be read or is out of range, or a variable looks like a misspelt one.
        """
        environ = os.environ if environ is None else environ
        kinds = typing.get_type_hints(cls)
        known = {_variable(field.name): field.name for field in fields(cls)}
        _refuse_misspelt(environ, list(known))
        given = {
            name: _read(variable, environ[variable], kinds[name]) for variable, name in known.items() if environ.get(variable)
        }
        return cls(**given)  # type: ignore[arg-type]  # each was read as its own type


def _variable(name: str) -> str:
    return PREFIX + name.upper()


def _read(variable: str, text: str, kind: Any) -> str | int | float:
    if isinstance(kind, types.UnionType):  # str | None
        kind = typing.get_args(kind)[0]
    words = {int: "a whole number", float: "a number"}
    try:
        value: str | int | float = kind(text)
    except ValueError as error:
        raise OptionError(f"{variable} must be {words[kind]}, got {text!r}", field=variable) from error
    return value


def _refuse_misspelt(environ: Mapping[str, str], known: list[str]) -> None:
    """A variable almost called like a setting would otherwise be ignored in silence."""
    for variable in environ:
        if variable.startswith(PREFIX) and variable not in known and variable not in OTHERS:
            near = get_close_matches(variable, known, n=1, cutoff=0.85)
            if near:
                raise OptionError(f"{variable} is no setting; did you mean {near[0]}?", field=variable)
