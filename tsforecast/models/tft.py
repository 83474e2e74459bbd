"""Temporal Fusion Transformer of pytorch-forecasting: quantiles, and what it looked at to give them."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from tsforecast.errors import OptionError
from tsforecast.models.base import About
from tsforecast.models.feeding import HISTORY
from tsforecast.models.ptf_adapter import PtfForecaster, PtfPredictor, PtfShape, QuantileNetwork, start_small
from tsforecast.nn.window_network import LEVELS
from tsforecast.panel import FloatArray, Panel
from tsforecast.preprocessing.calendar import calendar_features

OWN = ("value", "seen", "step", "season_ago")  # columns that need no covariates: see `QuantileNetwork.feed`


@dataclass(frozen=True, kw_only=True)
class TFT(PtfForecaster):
    """Variable selection, an LSTM over past and future, and attention from each step ahead to all before it.

    Around the shared scale, seasonal skip and linear effect of known covariates: it corrects what they say. A window
    before the start of its series is marked as not seen, not cut off.
    """

    name: ClassVar[str] = "tft"
    about: ClassVar[About] = About(
        family="attention",
        scope="global",
        source="Lim et al. 2021, Temporal Fusion Transformers; network: pytorch-forecasting",
        minimal_history=HISTORY,
        covariates=("known-future", "past", "static"),
    )

    heads: int = 4  # of the attention; they divide `hidden`
    layers: int = 1  # of the LSTM

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.hidden % self.heads:
            raise OptionError(f"heads must divide hidden {self.hidden}, got {self.heads}", field="heads")

    @classmethod
    def whole_numbers(cls) -> tuple[str, ...]:
        return (*super().whole_numbers(), "heads", "layers")

    @classmethod
    def tiny(cls) -> Self:
        return cls(context=16, hidden=4, heads=1, dropout=0.0)

    @classmethod
    def predictor_class(cls) -> "type[TFTPredictor]":
        return TFTPredictor

    def build_theirs(self, shape: PtfShape) -> Any:
        from pytorch_forecasting.metrics import QuantileLoss
        from pytorch_forecasting.models.temporal_fusion_transformer import TemporalFusionTransformer

        network = TemporalFusionTransformer(
            **shape.inputs(OWN),
            time_varying_reals_encoder=[*OWN, *shape.known_names, *shape.past_names],
            time_varying_reals_decoder=[*OWN[2:], *shape.known_names],
            hidden_size=self.hidden,
            hidden_continuous_size=max(self.hidden // 2, 1),
            lstm_layers=self.layers,
            attention_head_size=self.heads,
            dropout=self.dropout,
            max_encoder_length=shape.reads,
            output_size=len(LEVELS),
            loss=QuantileLoss(quantiles=list(LEVELS)),
            mask_bias=-float("inf"),  # their -1e9 is none in half precision
        )
        start_small(network.output_layer)
        return network


@dataclass(frozen=True, kw_only=True, slots=True)
class Interpretation:
    """What a TFT looked at, in the mean over the series it was asked for. Shares add up to 1.

    A share says how much of a variable went on into the network, which is not how much of the forecast it explains:
    a straight effect of a covariate is in `effects`, and the network sees the series without it.
    """

    encoder_importance: dict[str, float]  # of each variable of the past: share
    decoder_importance: dict[str, float]  # … of the future
    static_importance: dict[str, float]  # … of a whole series; empty without any
    attention: FloatArray  # (T,) share of each step of the context, oldest first, over all steps ahead
    effects: dict[str, float]  # known-future covariate -> what one deviation of it adds, in scales (or logs) of a window


class TFTPredictor(PtfPredictor):
    """A trained TFT that can say what it looked at."""

    def interpret(self, panel: Panel, *, future: FloatArray | None = None) -> Interpretation:
        """What the forecast of all horizon steps after `panel` looks at.

        Args:
            panel: histories, as for `predict`.
            future: known-future covariates, (S, H, C).

        Raises:
            As `predict`.
        """
        steps = self.check_request(panel, None, future)
        network = self.network
        assert isinstance(network, QuantileNetwork)
        names = self._names(panel)
        encoder: list[Tensor] = []
        decoder: list[Tensor] = []
        static: list[Tensor] = []
        attention: list[Tensor] = []
        with torch.inference_mode():
            for batch in self.batches(panel, steps, future):
                out = network.call(network.feed(batch)[0])
                encoder.append(out["encoder_variables"].squeeze(-2).mean(1))  # (B, V)
                decoder.append(out["decoder_variables"].squeeze(-2).mean(1))
                static.append(out["static_variables"].squeeze(1))
                attention.append(out["encoder_attention"].mean((1, 2)))  # (B, H, heads, T) -> (B, T)
        theirs = network.theirs
        return Interpretation(
            encoder_importance=_shares(theirs.encoder_variables, encoder, names),
            decoder_importance=_shares(theirs.decoder_variables, decoder, names),
            static_importance=_shares(theirs.static_variables, static, names),
            attention=_normal(attention),
            effects=dict(zip(panel.covariate_names, self._effects(), strict=True)),
        )

    def _effects(self) -> list[float]:
        return list(map(float, self.network.effect.weight)) if self.network.shape.effects else []

    def _names(self, panel: Panel) -> dict[str, str]:
        """Name inside the network -> name for the user."""
        waves = calendar_features(panel.timestamps[:0], panel.freq, panel.tz)[1] if self.inputs.calendar else ()
        shape = self.network.shape
        inside = [*shape.known_names, *shape.past_names, *shape.static_names, *shape.category_names]
        known = (*panel.covariate_names, *waves)
        outside = (*known, *panel.past_covariate_names, *panel.static_real_names, *panel.static_category_names)
        return dict(zip(OWN, OWN, strict=True)) | dict(zip(inside, outside, strict=True))


def _shares(variables: Iterable[str], weights: list[Tensor], names: dict[str, str]) -> dict[str, float]:
    return {names[name]: float(share) for name, share in zip(variables, _normal(weights), strict=True)}


def _normal(weights: list[Tensor]) -> FloatArray:
    """(B, V) weights of some batches -> their mean over all series, adding up to 1, (V,)."""
    mean = np.concatenate([part.double().numpy() for part in weights]).mean(0)
    shares: FloatArray = mean / mean.sum()
    return shares
