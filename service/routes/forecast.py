"""POST /v1/forecast: histories in, quantiles of their future out."""

import time

from fastapi import APIRouter, Request, Response

from service.answers import answer_json
from service.deps import Needs, Services, decode, read_body
from service.errors import FieldError, invalid, problem_of
from service.forecast_request import ForecastRequest, check_answer_size, read_request
from service.loaded_models import ServedModel
from service.panels import Group, panels_of
from service.schemas import PROBLEMS, ForecastAnswer
from tsforecast.errors import ForecastError
from tsforecast.forecast import Forecast

router = APIRouter(prefix="/v1/forecast", tags=["forecast"])


@router.post(
    "",
    summary="Forecast many series at once",
    response_model=ForecastAnswer,
    response_description="one forecast per series",
    responses={status: PROBLEMS[status] for status in (400, 404, 408, 409, 413, 415, 422, 503, 504)},
)
async def forecast(request: Request, services: Needs) -> Response:
    """Quantiles of the steps that follow each series, from its own history and a trained model.

    Series may be of different lengths and have `null` where nothing was observed; the forecast starts one step after the
    last row, observed or not. Series of the same step are forecast in one call of the model. Same request and same model
    version, same numbers. A series that the model could not forecast, and something simpler did, says so in `fallback`.
    """
    body = await read_body(request, services)
    facts = request.scope["tsforecast"]
    facts["bytes_in"] = len(body)
    answer = await services.workers.run(lambda: _answer(body, services, facts), seconds=services.settings.request_seconds)
    facts["bytes_out"] = len(answer)
    return Response(answer, media_type="application/json")


def _answer(body: bytes, services: Services, facts: dict[str, object]) -> bytes:
    """All that costs time; runs in a worker thread. `facts` gets what the log line says of the request."""
    asked = read_request(decode(body), services.settings)
    facts["series"], facts["points"] = len(asked.series), sum(len(one.target) for one in asked.series)
    model = services.models.get(asked.model)
    facts["model"], facts["version"] = model.name, model.version
    horizon = facts["horizon"] = _horizon(asked, model)
    check_answer_size(asked, horizon, services.settings)
    groups = panels_of(asked.series, model.facts)
    began = time.perf_counter()
    forecasts = [(group, _predict(asked, model, group, horizon)) for group in groups]
    fell = sum(len(forecast.fallbacks) for _, forecast in forecasts)
    if fell:
        facts["series_fallback"] = fell
    facts["model_ms"] = round((time.perf_counter() - began) * 1000, 2)
    return answer_json(asked, model, forecasts)


def _horizon(asked: ForecastRequest, model: ServedModel) -> int:
    if asked.horizon is not None:
        return asked.horizon
    if model.facts is None:
        message = f"is missing: {model.name!r} was not trained for one; say how many steps ahead"
        raise invalid([FieldError(field="horizon", message=message)])
    return model.facts.horizon


def _predict(asked: ForecastRequest, model: ServedModel, group: Group, horizon: int) -> Forecast:
    try:
        return model.predict(group.panel, horizon=horizon, quantile_levels=asked.quantile_levels)
    except ForecastError as error:
        raise problem_of(error, series=asked.series, places=group.places) from error
