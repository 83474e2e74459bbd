"""The table of models: name -> class, imported only when asked for. A new model is one file and one line here."""

from dataclasses import fields
from importlib import import_module
from typing import Any, cast

from tsforecast.errors import OptionError, UnknownModel, did_you_mean
from tsforecast.models.base import Forecaster
from tsforecast.models.detector import Detector

MODELS: dict[str, dict[str, str]] = {
    "forecast": {
        "auto_arima": "tsforecast.models.auto_arima:AutoARIMA",
        "auto_ets": "tsforecast.models.auto_ets:AutoETS",
        "auto_theta": "tsforecast.models.auto_theta:AutoTheta",
        "cnn": "tsforecast.models.cnn:CNN",
        "croston": "tsforecast.models.croston:Croston",
        "deepar": "tsforecast.models.deepar:DeepAR",
        "gru": "tsforecast.models.gru:GRU",
        "linear": "tsforecast.models.linear:Linear",
        "lstm": "tsforecast.models.lstm:LSTM",
        "mlp": "tsforecast.models.mlp:MLPModel",
        "mstl": "tsforecast.models.mstl:MSTL",
        "nhits": "tsforecast.models.nhits:NHiTS",
        "nlinear": "tsforecast.models.nlinear:NLinear",
        "prophet": "tsforecast.models.prophet:ProphetModel",
        "ptf_deepar": "tsforecast.models.ptf_deepar:PtfDeepAR",
        "rnn": "tsforecast.models.rnn:RNN",
        "seasonal_naive": "tsforecast.models.seasonal_naive:SeasonalNaive",
        "seq2seq": "tsforecast.models.seq2seq:Seq2Seq",
        "tcn": "tsforecast.models.tcn:TCN",
        "tft": "tsforecast.models.tft:TFT",
        "transformer": "tsforecast.models.transformer:Transformer",
        "tsb": "tsforecast.models.tsb:TSB",
    },
    "anomaly": {
        "autoencoder": "tsforecast.models.autoencoder:Autoencoder",
        "channel_pca": "tsforecast.models.channel_pca:ChannelPCA",
        "ensemble": "tsforecast.models.ensemble:Ensemble",
        "local_level": "tsforecast.models.local_level:LocalLevel",
        "lstm_autoencoder": "tsforecast.models.lstm_autoencoder:LSTMAutoencoder",
        "vae": "tsforecast.models.vae:VAE",
        "forecast_residual": "tsforecast.models.forecast_residual:ForecastResidual",
        "isolation_forest": "tsforecast.models.isolation_forest:IsolationForest",
        "pca_remainder": "tsforecast.models.pca_remainder:PCARemainder",
        "seasonal_residual": "tsforecast.models.seasonal_residual:SeasonalResidual",
        "shape_neighbour": "tsforecast.models.shape_neighbour:ShapeNeighbour",
        "window_energy": "tsforecast.models.window_energy:WindowEnergy",
    },
}


def available_models(task: str = "forecast") -> list[str]:
    """Names accepted by `build_model`, sorted; `task` is "forecast" or "anomaly"."""
    if task not in MODELS:
        raise OptionError(f"no task {task!r}; tasks: {', '.join(MODELS)}", field="task")
    return sorted(MODELS[task])


def model_class(name: str) -> type[Forecaster]:
    """Import the class of the forecaster called `name`.

    Raises:
        UnknownModel: no model of that name; the message lists those there are.
        OptionError: a detector has that name.
    """
    found = _class(name)
    if name in MODELS["anomaly"]:
        raise OptionError(f"{name!r} detects anomalies and makes no forecasts; ask for them with score", field="model")
    return cast("type[Forecaster]", found)


def detector_class(name: str) -> type[Detector]:
    """Import the class of the detector called `name`.

    Raises:
        UnknownModel: no model of that name; the message lists those there are.
        OptionError: a forecaster has that name.
    """
    found = _class(name)
    if name in MODELS["forecast"]:
        raise OptionError(
            f"{name!r} forecasts and detects nothing; 'forecast_residual' makes a detector of it: forecaster={name!r}",
            field="model",
        )
    return cast("type[Detector]", found)


def recipe_class(name: str) -> type[Forecaster] | type[Detector]:
    """Import the class of the model called `name`, whatever its task.

    Raises:
        UnknownModel: no model of that name; the message lists those there are.
    """
    return cast("type[Forecaster] | type[Detector]", _class(name))


def _class(name: str) -> object:
    for table in MODELS.values():
        if name in table:
            module, _, attribute = table[name].partition(":")
            return getattr(import_module(module), attribute)
    names = sorted(name for table in MODELS.values() for name in table)
    raise UnknownModel(f"no model {name!r}; available: {', '.join(names)}", field="model")


def build_model(name: str, **options: Any) -> Any:
    """Build the recipe called `name`, a Forecaster or a Detector; options are the fields of its class.

    Raises:
        UnknownModel: no model of that name.
        OptionError: no option of that name, or a value out of range.
    """
    return _built(name, recipe_class(name), options)


def build_forecaster(name: str, **options: Any) -> Forecaster:
    """As `build_model`, for a recipe that has to forecast."""
    return cast("Forecaster", _built(name, model_class(name), options))


def build_detector(name: str, **options: Any) -> Detector:
    """As `build_model`, for a recipe that has to detect anomalies."""
    return cast("Detector", _built(name, detector_class(name), options))


def _built(name: str, found: type, options: dict[str, Any]) -> object:
    known = [field.name for field in fields(found)]
    unknown = [option for option in options if option not in known]
    if unknown:
        hint = did_you_mean(unknown[0], known) or ";"
        raise OptionError(
            f"model {name!r} has no option {unknown[0]!r}{hint} Options: {', '.join(known) or 'none'}", field=unknown[0]
        )
    return found(**options)
