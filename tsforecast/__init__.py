"""Forecast many time series: raw frame -> Panel -> transforms -> windows -> model -> Forecast.

Shape letters used in every docstring of this package:
    S series   N rows of all series together   H horizon steps   Q quantile levels
    B windows in a batch   T context steps   C covariate channels   D hidden channels

Importing this package loads nothing heavy; a name's module is loaded when the name is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tsforecast.anomaly.alarms import AlarmRules
    from tsforecast.anomaly.report import AnomalyReport
    from tsforecast.checking.whole import check
    from tsforecast.comparison import compare_series
    from tsforecast.flow import FittedFlow, ForecastFlow, load_model
    from tsforecast.forecast import Forecast
    from tsforecast.models.fitted_detector import FittedDetector, load_detector
    from tsforecast.models.registry import available_models, build_model
    from tsforecast.nn.augmentations import build_augmentation
    from tsforecast.nn.config import TrainConfig
    from tsforecast.panel import Panel
    from tsforecast.preprocessing.features import build_feature
    from tsforecast.preprocessing.parquet import panel_from_parquet
    from tsforecast.preprocessing.repairs import build_repair, repair
    from tsforecast.preprocessing.seasonality import detect_seasons
    from tsforecast.preprocessing.splits import split_panel
    from tsforecast.preprocessing.stored import open_panel, store_panel
    from tsforecast.preprocessing.transforms import build_transform
    from tsforecast.preprocessing.validate import future_from_frame, panel_from_frame

_HOMES = {
    "AlarmRules": "tsforecast.anomaly.alarms",
    "AnomalyReport": "tsforecast.anomaly.report",
    "FittedDetector": "tsforecast.models.fitted_detector",
    "FittedFlow": "tsforecast.flow",
    "Forecast": "tsforecast.forecast",
    "ForecastFlow": "tsforecast.flow",
    "Panel": "tsforecast.panel",
    "TrainConfig": "tsforecast.nn.config",
    "available_models": "tsforecast.models.registry",
    "build_augmentation": "tsforecast.nn.augmentations",
    "build_feature": "tsforecast.preprocessing.features",
    "build_model": "tsforecast.models.registry",
    "build_repair": "tsforecast.preprocessing.repairs",
    "build_transform": "tsforecast.preprocessing.transforms",
    "check": "tsforecast.checking.whole",
    "compare_series": "tsforecast.comparison",
    "detect_seasons": "tsforecast.preprocessing.seasonality",
    "future_from_frame": "tsforecast.preprocessing.validate",
    "load_detector": "tsforecast.models.fitted_detector",
    "load_model": "tsforecast.flow",
    "open_panel": "tsforecast.preprocessing.stored",
    "panel_from_frame": "tsforecast.preprocessing.validate",
    "panel_from_parquet": "tsforecast.preprocessing.parquet",
    "repair": "tsforecast.preprocessing.repairs",
    "split_panel": "tsforecast.preprocessing.splits",
    "store_panel": "tsforecast.preprocessing.stored",
}
__all__ = [
    "AlarmRules",
    "AnomalyReport",
    "FittedDetector",
    "FittedFlow",
    "Forecast",
    "ForecastFlow",
    "Panel",
    "TrainConfig",
    "available_models",
    "build_augmentation",
    "build_feature",
    "build_model",
    "build_repair",
    "build_transform",
    "check",
    "compare_series",
    "detect_seasons",
    "future_from_frame",
    "load_detector",
    "load_model",
    "open_panel",
    "panel_from_frame",
    "panel_from_parquet",
    "repair",
    "split_panel",
    "store_panel",
]
__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'tsforecast' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
