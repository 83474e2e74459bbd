"""Forecast many time series: raw frame -> Panel -> transforms -> windows -> model -> Forecast.

Shape letters used in every docstring of this package:
    S series   N rows of all series together   H horizon steps   Q quantile levels
    B windows in a batch   T context steps   C covariate channels   D hidden channels

Importing this package loads nothing heavy; a name's module is loaded when the name is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tsforecast.flow import FittedFlow, ForecastFlow, load_model
    from tsforecast.forecast import Forecast
    from tsforecast.models.registry import available_models, build_model
    from tsforecast.nn.config import TrainConfig
    from tsforecast.panel import Panel
    from tsforecast.preprocessing.validate import future_from_frame, panel_from_frame

_HOMES = {
    "FittedFlow": "tsforecast.flow",
    "Forecast": "tsforecast.forecast",
    "ForecastFlow": "tsforecast.flow",
    "Panel": "tsforecast.panel",
    "TrainConfig": "tsforecast.nn.config",
    "available_models": "tsforecast.models.registry",
    "build_model": "tsforecast.models.registry",
    "future_from_frame": "tsforecast.preprocessing.validate",
    "load_model": "tsforecast.flow",
    "panel_from_frame": "tsforecast.preprocessing.validate",
}
__all__ = [
    "FittedFlow",
    "Forecast",
    "ForecastFlow",
    "Panel",
    "TrainConfig",
    "available_models",
    "build_model",
    "future_from_frame",
    "load_model",
    "panel_from_frame",
]
__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'tsforecast' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
