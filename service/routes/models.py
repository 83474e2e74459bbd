"""GET /v1/models and /v1/models/{name}: what can be asked, and what could be trained."""

from dataclasses import MISSING, fields
from functools import lru_cache

from fastapi import APIRouter

from service.deps import Needs, Services
from service.model_store import StoredModel
from service.schemas import PROBLEMS, Architecture, Model, ModelList, Option, Stored, Version
from tsforecast.errors import UnknownModel
from tsforecast.models.base import Forecaster
from tsforecast.models.registry import available_models, model_class

router = APIRouter(prefix="/v1/models", tags=["models"])


@router.get(
    "",
    summary="Stored models and architectures",
    response_description="what there is",
    responses={status: PROBLEMS[status] for status in (503, 504)},
)
async def list_models(services: Needs) -> ModelList:
    """All stored models with their versions, and the architectures with their options."""
    return await services.workers.run(lambda: _list(services), seconds=services.settings.request_seconds)


@router.get(
    "/{name}",
    summary="One model",
    response_description="what there is under that name",
    responses={status: PROBLEMS[status] for status in (404, 422, 503, 504)},
)
async def describe_model(name: str, services: Needs) -> Model:
    """The stored versions of the model called `name`, and the architecture of that name, if there is one."""
    return await services.workers.run(lambda: _one(services, name), seconds=services.settings.request_seconds)


def _list(services: Services) -> ModelList:
    default = services.models.default_model
    architectures, unavailable = [], {}
    for name in available_models():
        try:
            architectures.append(_architecture(name))
        except ImportError as error:
            unavailable[name] = str(error)
    return ModelList(
        default=f"{default.name}/{default.version}" if default else None,
        served=[_stored(services, name) for name in services.models.store.names()],
        architectures=architectures,
        unavailable=unavailable,
    )


def _one(services: Services, name: str) -> Model:
    architecture = _architecture(name) if name in available_models() else None
    try:
        versions = _stored(services, name).versions
    except UnknownModel:
        if architecture is None:
            raise
        versions = []
    return Model(name=name, versions=versions, architecture=architecture)


def _stored(services: Services, name: str) -> Stored:
    return Stored(name=name, versions=[_version(stored) for stored in services.models.store.versions(name)])


def _version(stored: StoredModel) -> Version:
    return Version(
        version=stored.version,
        aliases=list(stored.aliases),
        architecture=stored.architecture,
        horizon=stored.horizon,
        freq=stored.freq,
        season=stored.season,
        trained_until=stored.trained_until,
        scores=dict(stored.scores),  # NaN becomes null
    )


@lru_cache(maxsize=256)
def _architecture(name: str) -> Architecture:
    found = model_class(name)
    about = found.about
    return Architecture(
        name=name,
        family=about.family,
        scope=about.scope,
        source=about.source,
        minimal_history=about.minimal_history,
        covariates=about.covariates,
        needs_training=about.needs_training,
        options=_options(found),
    )


def _options(found: type[Forecaster]) -> dict[str, Option]:
    """Field of the recipe -> its type in words and its default."""
    options = {}
    for field in fields(found):  # type: ignore[arg-type]  # every recipe is a dataclass
        default = field.default
        if default is MISSING:
            default = field.default_factory() if field.default_factory is not MISSING else None
        kind = field.type.__name__ if isinstance(field.type, type) else str(field.type).replace("typing.", "")
        options[field.name] = Option(type=kind, default=list(default) if isinstance(default, tuple) else default)
    return options
