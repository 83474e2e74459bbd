"""Any error -> one `application/problem+json` answer (RFC 9457). The only place that knows which status says what.

Members: `type` (a URN to branch on), `title`, `status`, `detail`, `errors` (a list of field, series, message) and
`request_id`. What went wrong inside the service is logged, never told.
"""

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING

import orjson
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.types import Scope

from tsforecast.errors import (
    ArtifactError,
    DataError,
    ForecastError,
    HorizonError,
    ModelError,
    OptionError,
    TrackingError,
    UnknownModel,
)

if TYPE_CHECKING:
    from service.forecast_request import SeriesRequest

log = logging.getLogger("service.errors")
PROBLEM_JSON = "application/problem+json"
MAX_ERRORS = 50  # entries of `errors`; the rest is counted in `detail`

STATUS: dict[type[ForecastError], int] = {  # the most specific class wins
    DataError: 422,
    UnknownModel: 404,
    OptionError: 422,
    HorizonError: 422,
    ArtifactError: 500,
    ModelError: 409,
    TrackingError: 503,
    ForecastError: 500,
}
REQUEST_FIELDS = {
    "targets": "target",
    "starts": "start",
    "ids": "id",
    "y": "target",
    "ds": "timestamps",
    "unique_id": "id",
}  # the library's word: ours


@dataclass(frozen=True, kw_only=True, slots=True)
class FieldError:
    """One thing wrong with a request."""

    field: str  # path in the request, e.g. "series[3].target[17]"
    message: str
    series: str | int | None = None  # id, as given


class Problem(Exception):
    """An answer that is no success, raised wherever it is found out."""

    def __init__(
        self,
        status: int,
        kind: str,
        detail: str,
        *,
        title: str | None = None,
        errors: Sequence[FieldError] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status, self.kind, self.detail = status, kind, detail
        self.title = title or HTTPStatus(status).phrase
        self.errors = tuple(errors)
        self.headers = dict(headers or {})


def invalid(errors: Sequence[FieldError], *, kind: str = "invalid-request") -> Problem:
    """The 422 that lists `errors` (at least one), at most MAX_ERRORS of them."""
    first, more = errors[0], len(errors) - 1
    detail = f"{first.field}: {first.message}"
    if more:
        detail += f" (and {more} more; `errors` lists {'all' if len(errors) <= MAX_ERRORS else f'the first {MAX_ERRORS}'})"
    return Problem(422, kind, detail, title="The request cannot be answered as it is", errors=errors[:MAX_ERRORS])


def status_of(error: ForecastError) -> int:
    return next(STATUS[cls] for cls in type(error).__mro__ if cls in STATUS)


def problem_of(error: ForecastError, *, series: Sequence["SeriesRequest"] = (), places: Sequence[int] = ()) -> Problem:
    """What the library refused, as an answer.

    Args:
        error: names its series and field where it can.
        series: those of the request, so that the field is a path a caller can follow and the id the one that was given.
        places: indices of those that were asked together: what is wrong with their step is wrong with all of them.
    """
    status, kind = status_of(error), _kebab(type(error).__name__)
    if status >= 500:
        log.error("%s: %s", type(error).__name__, error, exc_info=error)
        if isinstance(error, TrackingError):
            return Problem(503, kind, "the model registry cannot be reached; try again", headers={"Retry-After": "5"})
        return Problem(status, kind, "the model cannot be used; the log of the service says why under this request_id")
    field = REQUEST_FIELDS.get(error.field or "", error.field or "")
    given: str | int | None = error.series_id
    for place, one in enumerate(series if error.series_id is not None else ()):
        if one.series_id == error.series_id:
            given = one.given_id
            field = f"series[{place}].{field}" if field else f"series[{place}]"
    if field == "freq" and places:
        errors = [
            FieldError(field=f"series[{i}].freq", series=series[i].given_id, message=str(error)) for i in places[:MAX_ERRORS]
        ]
    else:
        errors = [FieldError(field=field, series=given, message=str(error))] if field else []
    return Problem(status, kind, str(error), errors=errors)


def problem_response(problem: Problem, scope: Scope) -> Response:
    """The answer, with the request id of `scope` in it."""
    facts = scope.get("tsforecast", {})
    facts["problem"] = problem.kind
    body = {
        "type": f"urn:tsforecast:{problem.kind}",
        "title": problem.title,
        "status": problem.status,
        "detail": problem.detail,
        "errors": [{"field": e.field, "series": e.series, "message": e.message} for e in problem.errors],
        "request_id": facts.get("request_id"),
    }
    return Response(_dump(body), status_code=problem.status, headers=problem.headers, media_type=PROBLEM_JSON)


def _dump(body: object) -> bytes:
    """JSON of `body`; text that is no valid Unicode (a surrogate from a header or a path) is replaced, never fatal."""
    try:
        return orjson.dumps(body)
    except TypeError:
        import json

        return json.dumps(body).encode("utf-8", "replace")


def internal_problem() -> Problem:
    return Problem(500, "internal", "something went wrong inside the service; its log says what under this request_id")


def install_error_handlers(app: FastAPI) -> None:
    """Make every error of `app` a problem; what is not foreseen is answered by the middleware."""

    @app.exception_handler(Problem)
    async def _problem(request: Request, error: Problem) -> Response:
        return problem_response(error, request.scope)

    @app.exception_handler(ForecastError)
    async def _library(request: Request, error: ForecastError) -> Response:
        return problem_response(problem_of(error), request.scope)

    @app.exception_handler(RequestValidationError)
    async def _query(request: Request, error: RequestValidationError) -> Response:
        return problem_response(_of_query(error), request.scope)

    @app.exception_handler(HTTPException)
    async def _http(request: Request, error: HTTPException) -> Response:
        return problem_response(_of_http(error, request), request.scope)


def _of_query(error: RequestValidationError) -> Problem:
    """What FastAPI found wrong with the parameters of an address; bodies are read by hand."""
    found = ((str(one["loc"][-1]), str(one["msg"])) for one in error.errors())
    return invalid([FieldError(field=name, message=says[:1].lower() + says[1:]) for name, says in found])


def _of_http(error: HTTPException, request: Request) -> Problem:
    headers = dict(error.headers or {})
    if error.status_code == 404:
        return Problem(404, "not-found", f"there is nothing at {request.url.path}; GET /openapi.json lists what there is")
    if error.status_code == 405:
        return Problem(
            405,
            "method-not-allowed",
            f"{request.method} is not allowed here; use {headers.get('Allow', 'another')}",
            headers=headers,
        )
    return Problem(error.status_code, _kebab(HTTPStatus(error.status_code).phrase), str(error.detail), headers=headers)


def _kebab(words: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])|[\s_]+", "-", words).lower()
