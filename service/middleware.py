"""Request -> the same request with an id, and one log line about it. Also the last net: what escapes becomes a 500.

Plain ASGI, because it is on the path of every request.
"""

import logging
import re
import time
import uuid

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import internal_problem, problem_response

log = logging.getLogger("service.request")
REQUEST_ID = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}")  # what may be echoed and logged; anything else is replaced
QUIET = ("/livez", "/readyz")  # asked every few seconds by machines


class RequestLog:
    """Gives `scope["tsforecast"]` (request_id and what routes add to it), logs the request, answers unforeseen errors."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began = time.perf_counter()
        asked = Headers(scope=scope).get("x-request-id", "")
        request_id = asked if REQUEST_ID.fullmatch(asked) else uuid.uuid4().hex
        facts = scope["tsforecast"] = {"request_id": request_id}
        status = 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["X-Request-Id"] = request_id
            await send(message)

        try:
            await self.app(scope, receive, send_with_id)
        except Exception:
            log.exception("unforeseen error", extra={"facts": {"request_id": request_id}})
            if status:
                raise  # half an answer is out: the server has to cut the connection
            await problem_response(internal_problem(), scope)(scope, receive, send_with_id)
        finally:
            self._write(scope, status, facts, time.perf_counter() - began)

    def _write(self, scope: Scope, status: int, facts: dict[str, object], seconds: float) -> None:
        if scope["path"] in QUIET and status < 400:
            return
        route = getattr(scope.get("route"), "path", None) or "unmatched"  # the template: no ids, no secrets, few values
        line = {"method": scope["method"], "route": route, "status": status, "ms": round(seconds * 1000, 2), **facts}
        log.info("%s %s %d", line["method"], route, status, extra={"facts": line})
