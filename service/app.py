"""`create_app(models, settings)`: the composition root. Nothing is built when this module is imported.

uvicorn --factory service.app:create_app        # or: python -m service
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from fastapi import FastAPI

from service.deps import Services
from service.detectors import Streams
from service.errors import install_error_handlers
from service.feedback import Feedback
from service.known_events import KnownEvents
from service.loaded_models import LoadedModels
from service.logs import ensure_logging
from service.middleware import RequestLog
from service.model_store import FolderStore, ModelStore, RegistryStore
from service.openapi import describe
from service.routes import anomalies, docs, forecast, health
from service.routes import models as model_routes
from service.settings import Settings
from service.warming import warm_up
from service.workers import Workers
from tsforecast import __version__

DESCRIPTION = """Send the histories of your series, get quantiles of their future, or what is out of the ordinary in them.

Errors are `application/problem+json` and name the field and the series. Every answer carries `X-Request-Id`; send one of
your own to find a request again in the log."""


def create_app(models: ModelStore | None = None, settings: Settings | None = None) -> FastAPI:
    """The service, ready to be run; its threads start with it.

    Args:
        models: where stored models lie; None = as the settings say.
        settings: None = from the environment.

    Raises:
        OptionError: a setting is wrong; the message names the variable.
    """
    settings = settings or Settings.from_env()
    folder = None if settings.state_dir is None else Path(settings.state_dir)
    feedback = Feedback(folder=folder, most=settings.max_feedback)
    services = Services(
        settings=settings,
        models=LoadedModels(
            store=models or store_of(settings),
            warm=partial(warm_up, torch_threads=settings.torch_threads),
            default=settings.default_model,
            capacity=settings.max_models,
            refresh_seconds=settings.refresh_seconds,
        ),
        workers=Workers(threads=settings.concurrency, max_waiting=settings.max_waiting),
        streams=Streams(
            folder=folder,
            capacity=settings.max_streams,
            most_stored=settings.max_stored_streams,
            seconds=settings.state_seconds,
            events=KnownEvents(folder=folder, most=settings.max_events),
            feedback=feedback,
        ),
        feedback=feedback,
    )
    app = FastAPI(
        title="tsforecast",
        version=__version__,
        description=DESCRIPTION,
        lifespan=_lifespan,
        docs_url=None,  # the pages of FastAPI load scripts from elsewhere; /docs is our own
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.services = services
    app.openapi = partial(describe, app)  # type: ignore[method-assign]  # the way FastAPI documents
    app.add_middleware(RequestLog)
    install_error_handlers(app)
    app.include_router(docs.router)
    app.include_router(health.router)
    app.include_router(forecast.router)
    app.include_router(anomalies.router)
    app.include_router(model_routes.router)
    return app


def store_of(settings: Settings) -> ModelStore:
    """The store that the settings name: a folder if there is one, else the MLflow registry."""
    if settings.model_dir is not None:
        return FolderStore(settings.model_dir)
    return RegistryStore.of(tracking_uri=settings.tracking_uri, mlruns=settings.mlruns)


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    services: Services = app.state.services
    ensure_logging()
    services.workers.start()
    services.models.start()
    await asyncio.to_thread(services.feedback.start)
    await asyncio.to_thread(services.streams.start)
    yield
    services.draining = True
    services.models.stop()
    await asyncio.to_thread(services.workers.stop, seconds=services.settings.shutdown_seconds)
    await asyncio.to_thread(services.streams.stop)
