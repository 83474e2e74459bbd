"""The app -> its OpenAPI document, with the request that is read by hand and the problems that are answered."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic.json_schema import models_json_schema

from service import schemas
from service.examples import EXAMPLES

REF = "#/components/schemas/{model}"


def describe(app: FastAPI) -> dict[str, Any]:
    """The document; made once, then kept in `app.openapi_schema`."""
    if app.openapi_schema is None:
        document = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
        _, extra = models_json_schema(
            [(schemas.ForecastRequest, "validation"), (schemas.Problem, "serialization")], ref_template=REF
        )
        components = document.setdefault("components", {}).setdefault("schemas", {})
        components.update(extra["$defs"])
        for name in ("HTTPValidationError", "ValidationError"):  # FastAPI's own shape of errors, never answered here
            components.pop(name, None)
        for path in document["paths"].values():
            for operation in path.values():
                operation["responses"].setdefault("500", schemas.PROBLEMS[500])
        _describe_forecast(document["paths"]["/v1/forecast"]["post"])
        app.openapi_schema = document
    return app.openapi_schema


def _describe_forecast(operation: dict[str, Any]) -> None:
    """Add what FastAPI cannot see of `POST /v1/forecast`: its body, and the examples (whose nulls FastAPI would drop)."""
    asked = {name: {"summary": one["summary"], "value": one["request"]} for name, one in EXAMPLES.items()}
    answered = {name: {"summary": one["summary"], "value": one["answer"]} for name, one in EXAMPLES.items()}
    schema = {"$ref": REF.format(model="ForecastRequest")}
    operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema, "examples": asked}}}
    operation["responses"]["200"]["content"]["application/json"]["examples"] = answered
