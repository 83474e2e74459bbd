"""The app -> its OpenAPI document, with the requests that are read by hand and the problems that are answered."""

from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from service import anomaly_schemas, schemas
from service.anomaly_examples import DETECT_EXAMPLES, FEEDBACK_EXAMPLES, SCORE_EXAMPLES
from service.examples import EXAMPLES

REF = "#/components/schemas/{model}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Body:
    """A request that is read by hand."""

    schema: type[BaseModel]
    examples: dict[str, dict[str, Any]]


BODIES = {
    "/v1/forecast": Body(schema=schemas.ForecastRequest, examples=EXAMPLES),
    "/v1/anomalies": Body(schema=anomaly_schemas.AnomalyRequest, examples=DETECT_EXAMPLES),
    "/v1/anomalies/score": Body(schema=anomaly_schemas.ScoreRequest, examples=SCORE_EXAMPLES),
    "/v1/anomalies/feedback": Body(schema=anomaly_schemas.FeedbackRequest, examples=FEEDBACK_EXAMPLES),
}


def describe(app: FastAPI) -> dict[str, Any]:
    """The document; made once, then kept in `app.openapi_schema`."""
    if app.openapi_schema is None:
        document = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
        models: list[tuple[Any, Any]] = [(body.schema, "validation") for body in BODIES.values()]
        _, extra = models_json_schema([*models, (schemas.Problem, "serialization")], ref_template=REF)
        components = document.setdefault("components", {}).setdefault("schemas", {})
        components.update(extra["$defs"])
        for name in ("HTTPValidationError", "ValidationError"):  # FastAPI's own shape of errors, never answered here
            components.pop(name, None)
        for path in document["paths"].values():
            for operation in path.values():
                operation["responses"].setdefault("500", schemas.PROBLEMS[500])
        for where, body in BODIES.items():
            _describe(document["paths"][where]["post"], body)
        app.openapi_schema = document
    return app.openapi_schema


def _describe(operation: dict[str, Any], body: Body) -> None:
    """Add what FastAPI cannot see of a POST: its body, and the examples (whose nulls FastAPI would drop)."""
    asked = {name: {"summary": one["summary"], "value": one["request"]} for name, one in body.examples.items()}
    answered = {name: {"summary": one["summary"], "value": one["answer"]} for name, one in body.examples.items()}
    schema = {"$ref": REF.format(model=body.schema.__name__)}
    operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema, "examples": asked}}}
    operation["responses"]["200"]["content"]["application/json"]["examples"] = answered
