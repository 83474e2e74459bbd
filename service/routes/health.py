"""GET /livez and /readyz: is the process alive, and may it be sent requests?"""

from fastapi import APIRouter

from service.deps import Needs
from service.errors import Problem
from service.schemas import PROBLEMS, Health

router = APIRouter(tags=["health"])


@router.get("/livez", summary="Is the process alive?", response_description="it is")
async def livez() -> Health:
    """Answers as long as the process can answer at all; says nothing about models."""
    return Health(status="alive")


@router.get("/readyz", summary="May it be sent requests?", response_description="it may", responses={503: PROBLEMS[503]})
async def readyz(services: Needs) -> Health:
    """200 when the default model is loaded and warm, or where only detectors are stored, of which none is a default; 503
    with the reason before that, and while the service ends.
    """
    if services.draining:
        raise Problem(503, "draining", "the service is ending; send requests elsewhere")
    reason = services.models.not_ready
    if reason is not None:
        raise Problem(503, "not-ready", reason, headers={"Retry-After": "5"})
    return Health(status="ready")
