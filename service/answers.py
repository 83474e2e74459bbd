"""Forecasts -> the JSON of an answer, with ids as they were given and in the order of the request."""

from collections.abc import Sequence

import numpy as np
import orjson

from service.errors import FieldError, invalid
from service.forecast_request import ForecastRequest
from service.loaded_models import ServedModel
from service.panels import Group
from tsforecast.forecast import Forecast
from tsforecast.panel import TimeArray


def answer_json(request: ForecastRequest, model: ServedModel, forecasts: Sequence[tuple[Group, Forecast]]) -> bytes:
    """The body of the answer.

    Raises:
        Problem: 422, a forecast is not finite (JSON has no word for that).
    """
    rows: list[dict[str, object]] = [{} for _ in request.series]
    for group, forecast in forecasts:
        _refuse_infinite(request, group, forecast)
        names = [str(level) for level in forecast.quantile_levels]
        moments = texts_of(forecast.timestamps, forecast.tz)
        fell = dict(forecast.fallbacks)
        by_level = np.ascontiguousarray(np.moveaxis(forecast.quantiles, 2, 1))  # (S, Q, H)
        for row, place in enumerate(group.places):
            rows[place] = {
                "id": request.series[place].given_id,
                "timestamps": moments[row],
                "quantiles": dict(zip(names, by_level[row], strict=True)),
            }
            if forecast.series_ids[row] in fell:
                rows[place]["fallback"] = fell[forecast.series_ids[row]]
    facts = {
        "name": model.name,
        "version": model.version,
        "trained_until": model.trained_until,
        "architecture": model.architecture,
    }
    return orjson.dumps({"model": facts, "forecasts": rows}, option=orjson.OPT_SERIALIZE_NUMPY)


def _refuse_infinite(request: ForecastRequest, group: Group, forecast: Forecast) -> None:
    if np.isfinite(forecast.quantiles).all():
        return
    errors = []
    for row in np.flatnonzero(~np.isfinite(forecast.quantiles).all(axis=(1, 2))):
        place = group.places[row]
        seen = [value for value in request.series[place].target if value is not None]
        message = f"its forecast is not a finite number; its values span {min(seen):g} to {max(seen):g}, rescale them"
        errors.append(FieldError(field=f"series[{place}].target", series=request.series[place].given_id, message=message))
    raise invalid(errors, kind="not-finite")


def texts_of(timestamps: TimeArray, tz: str | None) -> list[list[str]] | list[list[int]]:
    """(S, H) timestamps as ISO 8601 to the second (finer where they are), with the offset of their zone; integers as they are."""
    if timestamps.dtype.kind == "i":
        return timestamps.tolist()  # type: ignore[no-any-return]  # numpy types it as Any
    whole = (timestamps.astype("datetime64[s]") == timestamps).all()
    unit = "s" if whole else "ns"
    if len(timestamps) > 1 and (timestamps == timestamps[0]).all():  # most series of a request end together
        return [_iso(timestamps[0], unit, tz)] * len(timestamps)
    return [_iso(row, unit, tz) for row in timestamps]


def _iso(row: TimeArray, unit: str, tz: str | None) -> list[str]:
    if tz not in (None, "UTC"):
        import pandas as pd

        return [moment.isoformat() for moment in pd.DatetimeIndex(row.astype("datetime64[ns]")).tz_localize("UTC").tz_convert(tz)]
    texts: list[str] = np.datetime_as_string(row, unit=unit).tolist()  # type: ignore[call-overload]  # the unit is one of numpy's
    return [f"{text}Z" for text in texts] if tz else texts
