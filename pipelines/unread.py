"""A recipe of a model + a panel -> what of the panel the model does not look at, in words: nothing is left out in silence."""

from tsforecast.errors import ForecastError
from tsforecast.models.base import COVARIATE_NAMES, WORDS, Forecaster
from tsforecast.models.registry import available_models, model_class
from tsforecast.panel import Panel

SHOWN = 4  # models named that do read it


def unread_of(model: Forecaster, panel: Panel) -> dict[str, tuple[str, ...]]:
    """Names of covariates and static features that `model` leaves out, by what they are called; {} = it reads them all."""
    if model.about.family == "baseline":  # it is there to be beaten, and reads nothing by intent
        return {}
    left = [kind for kind in COVARIATE_NAMES if kind not in model.about.covariates]
    names = {name: getattr(panel, name) for kind in left for name in COVARIATE_NAMES[kind]}
    return {WORDS[name]: columns for name, columns in names.items() if columns}


def unread_line(model: Forecaster, panel: Panel) -> str | None:
    """`unread_of` in one line that says which models read them; None where nothing is left out."""
    left = unread_of(model, panel)
    if not left:
        return None
    kinds = [kind for kind in COVARIATE_NAMES if any(WORDS[name] in left for name in COVARIATE_NAMES[kind])]
    able = [name for name in available_models() if _reads(name, kinds)]
    told = " and ".join(f"{words} {', '.join(columns)}" for words, columns in left.items())
    others = f"; {', '.join(able[:SHOWN])}{' and others' if len(able) > SHOWN else ''} read them" if able else ""
    return f"{model.name} does not read {told}: left out{others}"


def _reads(name: str, kinds: list[str]) -> bool:
    try:
        return set(kinds) <= set(model_class(name).about.covariates)
    except (ImportError, ForecastError):  # its package is not installed
        return False
