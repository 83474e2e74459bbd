"""GET /v1/models and /v1/models/{name}: what can be asked, and what could be trained."""

from fastapi import APIRouter

from service.deps import Needs, Services
from service.model_names import with_hint
from service.model_store import StoredModel, Task
from service.schemas import PROBLEMS, Architecture, Model, ModelList, Stored, Version
from tsforecast.errors import ArtifactError, UnknownModel
from tsforecast.models.describe import Description, describe, describe_all
from tsforecast.models.registry import MODELS, available_models

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
    found, missing = describe_all([name for task in MODELS for name in available_models(task)])
    served, unavailable = [], {name: str(error) for name, error in missing.items()}
    for name in services.models.store.names():
        try:
            served.append(_stored(services, name))
        except ArtifactError as error:
            unavailable[name] = str(error)
    return ModelList(
        default=f"{default.name}/{default.version}" if default else None,
        served=served,
        architectures=[_architecture(one) for one in found],
        unavailable=unavailable,
    )


def _one(services: Services, name: str) -> Model:
    try:
        architecture = _architecture(describe(name)) if any(name in table for table in MODELS.values()) else None
    except ImportError:  # the list says what is missing
        architecture = None
    try:
        versions = _stored(services, name).versions
    except UnknownModel as error:
        if architecture is None:
            raise with_hint(error, name, services.models.store) from error
        versions = []
    return Model(name=name, versions=versions, architecture=architecture)


def _stored(services: Services, name: str) -> Stored:
    return Stored(name=name, versions=[_version(stored) for stored in services.models.store.versions(name)])


def _version(stored: StoredModel) -> Version:
    return Version(
        version=stored.version,
        task=stored.task,
        aliases=list(stored.aliases),
        architecture=stored.architecture,
        horizon=stored.horizon,
        channels=list(stored.channels),
        freq=stored.freq,
        season=stored.season,
        trained_until=stored.trained_until,
        scores=dict(stored.scores),  # NaN becomes null
    )


def _architecture(one: Description) -> Architecture:
    facts = one.to_json()
    task: Task = "anomaly" if one.name in MODELS["anomaly"] else "forecast"
    return Architecture(name=one.name, task=task, options=facts.pop("parameters"), **facts)
