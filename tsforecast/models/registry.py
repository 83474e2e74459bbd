"""The table of models: name -> class, imported only when asked for. A new model is one file and one line here."""

from dataclasses import fields
from importlib import import_module
from typing import Any

from tsforecast.errors import OptionError, UnknownModel
from tsforecast.models.base import Forecaster

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
    "anomaly": {},
}


def available_models(task: str = "forecast") -> list[str]:
    """Names accepted by `build_model`, sorted; `task` is "forecast" or "anomaly"."""
    if task not in MODELS:
        raise OptionError(f"no task {task!r}; tasks: {', '.join(MODELS)}", field="task")
    return sorted(MODELS[task])


def model_class(name: str) -> type[Forecaster]:
    """Import the class of the model called `name`.

    Raises:
        UnknownModel: no model of that name; the message lists those there are.
    """
    for table in MODELS.values():
        if name in table:
            module, _, attribute = table[name].partition(":")
            found: type[Forecaster] = getattr(import_module(module), attribute)
            return found
    names = sorted(name for table in MODELS.values() for name in table)
    raise UnknownModel(f"no model {name!r}; available: {', '.join(names)}", field="model")


def build_model(name: str, **options: Any) -> Forecaster:
    """Build the recipe called `name`; options are the fields of its class.

    Raises:
        UnknownModel: no model of that name.
        OptionError: no option of that name, or a value out of range.
    """
    found = model_class(name)
    known = [field.name for field in fields(found)]  # type: ignore[arg-type]  # every recipe is a dataclass
    unknown = [option for option in options if option not in known]
    if unknown:
        from difflib import get_close_matches

        near = get_close_matches(unknown[0], known, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ";"
        raise OptionError(
            f"model {name!r} has no option {unknown[0]!r}{hint} Options: {', '.join(known) or 'none'}", field=unknown[0]
        )
    return found(**options)
