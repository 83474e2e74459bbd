"""GET / and /docs: a page for people, made of one file; it reads /openapi.json and needs nothing from elsewhere."""

from functools import lru_cache
from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import HTMLResponse, RedirectResponse

import service

router = APIRouter(include_in_schema=False)
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; "
    "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


@router.get("/")
async def home() -> RedirectResponse:
    return RedirectResponse("/docs")


@router.get("/docs")
async def docs() -> HTMLResponse:
    return HTMLResponse(_page(), headers=HEADERS)


@lru_cache(maxsize=1)
def _page() -> str:
    assert service.__file__ is not None
    return (Path(service.__file__).parent / "web" / "docs.html").read_text(encoding="utf-8")
