"""The shapes of requests and answers, for the documentation and for clients that generate code from it.

Requests are read by `service/forecast_request.py`, by hand and for speed; a test keeps the two in step.
"""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.json_schema import SkipJsonSchema

from tsforecast.forecast import DEFAULT_QUANTILE_LEVELS


def without_default(schema: dict[str, Any]) -> None:
    """A field that is left out of an answer where it has nothing to say, rather than null there."""
    schema.pop("default")


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Health(Strict):
    status: Literal["alive", "ready"]


class Series(Strict):
    """One series: its clock (start + freq, or timestamps) and its values, oldest first."""

    id: str | int = Field(description="comes back with the forecast; unique in the request")
    target: list[float | None] = Field(description="one value per step, null = not observed; not all of them null", min_length=1)
    start: str | int | None = Field(
        None, description="timestamp of the first value, ISO 8601 (an integer on an integer clock); needs `freq`"
    )
    freq: str | int | None = Field(
        None,
        description="step: a pandas offset alias such as h, D, W-SUN, MS, QS, 15min, or an integer on an integer clock; "
        "with `timestamps` it may be left out: that of the model is meant, or, without training, what they show",
    )
    tz: str | None = Field(
        None,
        description="zone of the wall clock, such as Europe/Berlin: that of timestamps without UTC offset, and the one by which "
        "daily and longer steps go; default: none, and UTC (or the zone of the model) where timestamps have offsets",
    )
    timestamps: list[str] | list[int] | None = Field(
        None,
        description="instead of `start`: one timestamp per value, without gaps, all with or all without UTC offset",
    )


class ForecastRequest(Strict):
    """Histories and what is asked about their future."""

    series: list[Series] = Field(min_length=1)
    horizon: int | None = Field(
        None, ge=1, description="steps ahead; default: the longest the model can, for a model that was trained"
    )
    quantile_levels: list[float] | None = Field(
        None, description=f"levels in (0, 1), ascending; default {list(DEFAULT_QUANTILE_LEVELS)}; not together with `level`"
    )
    level: list[float] | None = Field(
        None,
        description="coverage of central intervals in percent: [80] asks for the quantiles 0.1 and 0.9; the median comes too",
    )
    model: str | None = Field(
        None,
        description="name (its champion), name@alias or name/version of a stored model, or the name of an architecture "
        "that needs no training; default: the default model of the service",
    )


class ModelFacts(Strict):
    """Which model made the forecasts: with the same request and version, the same numbers."""

    name: str
    version: str
    trained_until: str | None = Field(description="last timestamp of the data it was trained on; null: it needs no training")
    architecture: str


class SeriesForecast(Strict):
    id: str | int
    timestamps: list[str] | list[int] = Field(description="of the forecast steps, ISO 8601 (integers on an integer clock)")
    quantiles: dict[str, list[float]] = Field(description="by level, one value per timestamp, in the units of the target")
    fallback: str | SkipJsonSchema[None] = Field(
        None,
        description="only where the model could not forecast this series and something simpler did: why, and what",
        json_schema_extra=without_default,
    )


class ForecastAnswer(Strict):
    model: ModelFacts
    forecasts: list[SeriesForecast] = Field(description="one per series, in the order of the request")


class Version(Strict):
    """One stored version of a model; null where its store does not know."""

    version: str
    task: Literal["forecast", "anomaly"] = Field(description="anomaly: a detector, for POST /v1/anomalies/score")
    aliases: list[str]
    architecture: str | None
    horizon: int | None = Field(description="longest one, steps; null for a detector")
    channels: list[str] = Field(description="that a detector judges, in its order; empty for a forecaster")
    freq: str | int | None
    season: int | None = Field(description="steps")
    trained_until: str | None
    scores: dict[str, float | None] = Field(description="metrics of its backtest; null: not a number there")


class Stored(Strict):
    name: str
    versions: list[Version] = Field(description="newest first")


class Option(Strict):
    type: str
    default: Any
    words: str = Field(description="meaning and unit")


class Architecture(Strict):
    """A kind of model that `tsforecast` can train."""

    name: str
    task: Literal["forecast", "anomaly"] = Field(description="anomaly: a detector, for POST /v1/anomalies")
    words: str = Field(description="what it is, in a sentence")
    family: str
    scope: Literal["local", "global"] = Field(description="one fit per series, or one over all series")
    source: str
    minimal_history: str
    covariates: list[str] = Field(description="kinds it reads: known-future, past, static")
    needs_training: bool = Field(description="false: may be asked by its name without being stored")
    transfers: bool = Field(description="true: its training can start from a trained one")
    samples: bool = Field(description="true: it has sample paths, not only the quantiles of each step")
    uses: list[str] = Field(description="what a detector can do besides judging: denoise, impute, latent, generate")
    options: dict[str, Option] = Field(description="options of its recipe")


class Model(Stored):
    """What is stored under a name, and the architecture of that name, if any."""

    architecture: Architecture | None


class ModelList(Strict):
    default: str | None = Field(description="name/version of the default model; null while none is loaded")
    served: list[Stored]
    architectures: list[Architecture]
    unavailable: dict[str, str] = Field(
        description="why: architectures that this installation lacks a package for, and stored models that are damaged"
    )


class ProblemError(Strict):
    field: str = Field(description="path in the request, e.g. series[3].target[17]")
    series: str | int | None = Field(description="id of the series")
    message: str


class Problem(Strict):
    """What every answer that is no success looks like (RFC 9457)."""

    type: str = Field(description="URN to branch on")
    title: str
    status: int
    detail: str
    errors: list[ProblemError]
    request_id: str | None


_SAYS = {
    400: "the body is not valid JSON",
    404: "no such model",
    408: "the body did not arrive in time",
    409: "the model cannot do this",
    413: "the body is too large",
    415: "the body is not declared as JSON",
    422: "a field or a series is wrong; `errors` names each",
    500: "a fault of the service; its log says more under `request_id`",
    503: "not ready, overloaded, or the model registry is away; see Retry-After",
    504: "not computed in time",
}
PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {
        "description": says,
        "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
    for status, says in _SAYS.items()
}
