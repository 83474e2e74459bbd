"""A fitted network -> the beginning of another fit: its sizes, its inputs and its weights."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Tensor, nn

from tsforecast.errors import CovariateError, HorizonError, OptionError
from tsforecast.models.window_data import Inputs
from tsforecast.nn.window_network import NetworkShape
from tsforecast.panel import Panel

if TYPE_CHECKING:
    from tsforecast.models.base import Predictor
    from tsforecast.models.window_forecaster import WindowForecaster

THAWED_RATE = 0.25  # of the learning rate, once all layers are trained
FROZEN_SHARE = 0.25  # of the epochs in which only the head is trained, unless the caller says
HEADS = ("head.", "skip.", "ahead.", "effect.")  # names of what is trained first


@dataclass(frozen=True, kw_only=True, slots=True)
class Start:
    """Where a fit begins; empty = from fresh weights."""

    shape: NetworkShape | None = None
    inputs: Inputs | None = None
    weights: Mapping[str, Tensor] = field(default_factory=dict, repr=False)
    fingerprint: str = ""

    @classmethod
    def of(cls, recipe: "WindowForecaster", panel: Panel, horizon: int, parent: "Predictor | None") -> Self:
        """What `parent` gives a fit of `recipe` on `panel`.

        Raises:
            OptionError: the parent is of another model or of other sizes; HorizonError: it reaches less far;
            CovariateError: it read other covariates.
        """
        from tsforecast.models.window_forecaster import WindowPredictor

        if parent is None:
            return cls()
        if not isinstance(parent, WindowPredictor) or parent.recipe.name != recipe.name:
            raise OptionError(
                f"start_from is a fitted {parent.recipe.name!r}, a {recipe.name!r} can only start from another {recipe.name!r}; "
                f"build model {parent.recipe.name!r}, or fit without start_from",
                field="start_from",
            )
        shape = parent.network.shape
        _check_sizes(recipe, shape)
        if horizon > shape.horizon:
            raise HorizonError(
                f"start_from reaches {shape.horizon} steps, {horizon} are asked; ask for at most {shape.horizon}, "
                f"or fit the parent with horizon={horizon}",
                field="horizon",
            )
        if panel.season != parent.facts.season:
            raise OptionError(
                f"start_from learned seasons of {parent.facts.season} steps, these series have {panel.season}; "
                f"build the panel with season={parent.facts.season} if that is theirs",
                field="start_from",
            )
        for attribute in ("covariate_names", "past_covariate_names", "static_real_names", "static_category_names"):
            if getattr(parent.facts, attribute) != getattr(panel, attribute):
                raise CovariateError(
                    f"start_from was fitted with {attribute} {list(getattr(parent.facts, attribute))}, "
                    f"the panel has {list(getattr(panel, attribute))}; give both the same",
                    field="covariates",
                )
        weights = parent.network.state_dict()
        digest = hashlib.sha256()
        for value in weights.values():
            digest.update(value.numpy().tobytes())
        return cls(shape=shape, inputs=parent.inputs, weights=weights, fingerprint=digest.hexdigest())

    def schedule(self, epochs: int, freeze: int | None) -> dict[str, Any]:
        """Options of a `Job`: first the head alone, then everything, gently.

        Raises:
            OptionError: `freeze` is no number of epochs, or there is nothing to start from.
        """
        if freeze is not None and (not isinstance(freeze, int) or isinstance(freeze, bool) or freeze < 0):
            raise OptionError(f"freeze must be a number of epochs, got {freeze!r}", field="freeze")
        if not self.weights:
            if freeze:
                raise OptionError("freeze needs start_from: fresh weights have nothing to keep", field="freeze")
            return {}
        frozen: Callable[[str], bool] = lambda name: not name.startswith(HEADS)  # noqa: E731  # one line says it
        epochs_frozen = max(1, round(FROZEN_SHARE * epochs)) if freeze is None else freeze
        return {"frozen": frozen, "frozen_epochs": epochs_frozen, "thawed_rate": THAWED_RATE}


def take_over(network: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Give `network` the weights of its parent."""
    with torch.no_grad():
        network.load_state_dict({name: value.clone() for name, value in weights.items()})


def _check_sizes(recipe: "WindowForecaster", shape: NetworkShape) -> None:
    for name in ("context", "patch", "hidden", "head", "skip"):
        wanted, there = getattr(recipe, name), getattr(shape, name)
        if wanted is not None and wanted != there:
            raise OptionError(f"start_from has {name} {there!r}, {wanted!r} is asked; leave {name} as it is there", field=name)
