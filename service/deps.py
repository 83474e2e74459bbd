"""What a route needs -> shown as a type in its signature: `services: Needs` and the bounded body of a request."""

import asyncio
from dataclasses import dataclass
from typing import Annotated

import orjson
from fastapi import Depends, Request
from starlette.requests import ClientDisconnect

from service.detectors import Streams
from service.errors import Problem
from service.feedback import Feedback
from service.loaded_models import LoadedModels
from service.settings import Settings
from service.workers import Workers


@dataclass(kw_only=True, eq=False)
class Services:
    """Everything `create_app` puts together; one per app."""

    settings: Settings
    models: LoadedModels
    workers: Workers
    streams: Streams
    feedback: Feedback
    draining: bool = False  # the end is near: not ready, still answering
    body_bytes: int = 0  # of bodies being read right now


def services_of(request: Request) -> Services:
    found: Services = request.app.state.services
    return found


Needs = Annotated[Services, Depends(services_of)]


async def read_body(request: Request, services: Services) -> bytes:
    """The body of a JSON request, bounded in bytes and in time.

    Raises:
        Problem: 415 not JSON, 413 too large, 408 too slow, 503 too many bodies at once.
    """
    _check_content_type(request)
    limit = services.settings.max_body_bytes
    told = request.headers.get("content-length", "")
    if told.isdigit() and int(told) > limit:
        raise _too_large(limit)
    chunks: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(services.settings.body_seconds):
            async for chunk in request.stream():
                size += len(chunk)
                services.body_bytes += len(chunk)
                if size > limit:
                    raise _too_large(limit)
                if services.body_bytes > 4 * limit:
                    raise Problem(
                        503, "overloaded", "too many large bodies are being read; try again", headers={"Retry-After": "1"}
                    )
                chunks.append(chunk)
    except TimeoutError:
        detail = f"the body was not complete after {services.settings.body_seconds:g} s; send it at once"
        raise Problem(408, "slow-body", detail, headers={"Connection": "close"}) from None
    except ClientDisconnect:
        raise Problem(400, "client-gone", "the connection ended before the body did") from None
    finally:
        services.body_bytes -= size
    return b"".join(chunks)


def decode(body: bytes) -> object:
    """The JSON value of a body.

    Raises:
        Problem: 400.
    """
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        detail = f"the body is not valid JSON: {error}; NaN and Infinity are no JSON, write null for what was not observed"
        raise Problem(400, "malformed-json", detail) from None


def _too_large(limit: int) -> Problem:
    # The rest of the body stays unread, so the connection cannot be used again.
    return Problem(
        413, "body-too-large", f"the body is larger than {limit} bytes; split the request", headers={"Connection": "close"}
    )


def _check_content_type(request: Request) -> None:
    kind = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    if kind != "application/json" and not kind.endswith("+json"):
        raise Problem(415, "not-json", f"the body is declared as {kind!r}; send JSON with Content-Type: application/json")
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("", "identity"):
        raise Problem(415, "encoded-body", f"the body is encoded as {encoding!r}; send it plain, without Content-Encoding")
