"""N-HiTS of pytorch-forecasting: perceptrons that read the past at several rates and interpolate the future."""

from dataclasses import dataclass
from typing import Any, ClassVar, Self

from tsforecast.models.base import About
from tsforecast.models.feeding import HISTORY
from tsforecast.models.ptf_adapter import PtfForecaster, PtfShape, start_small
from tsforecast.nn.window_network import LEVELS

OWN = ("value", "seen", "step", "season_ago")  # columns that need no covariates: see `QuantileNetwork.feed`


@dataclass(frozen=True, kw_only=True)
class NHiTS(PtfForecaster):
    """Stacks of blocks, each pooling the window and forecasting at its own rate, as a correction of the seasonal skip.

    Its perceptrons read the covariates of the whole horizon at once: a forecast of fewer steps may differ a little from
    the beginning of one of all, where covariates of later steps are known.
    """

    name: ClassVar[str] = "nhits"
    about: ClassVar[About] = About(
        family="mlp",
        scope="global",
        source="Challu et al. 2023, N-HiTS; network: pytorch-forecasting",
        minimal_history=HISTORY,
        covariates=("known-future", "past", "static"),
    )

    hidden: int = 128  # width of the perceptrons
    stacks: int = 3  # each of another rate
    blocks: int = 1  # in each stack, with the same weights

    @classmethod
    def whole_numbers(cls) -> tuple[str, ...]:
        return (*super().whole_numbers(), "stacks", "blocks")

    @classmethod
    def tiny(cls) -> Self:
        return cls(context=16, hidden=8, stacks=2, dropout=0.0)

    def build_theirs(self, shape: PtfShape) -> Any:
        from pytorch_forecasting.metrics import QuantileLoss
        from pytorch_forecasting.models.nhits import NHiTS as Network

        pools = [max(min(2 ** (self.stacks - 1 - i), shape.horizon), 1) for i in range(self.stacks)]  # … 4, 2, 1
        network = Network(
            **shape.inputs(OWN),
            dataset_parameters={"target": "value"},
            time_varying_reals_encoder=["value", "seen", *shape.known_names, *shape.past_names],
            time_varying_reals_decoder=shape.known_names,
            context_length=shape.reads,
            prediction_length=shape.horizon,
            hidden_size=self.hidden,
            static_hidden_size=self.hidden,
            dropout=self.dropout,
            n_blocks=[self.blocks] * self.stacks,
            pooling_sizes=pools,
            downsample_frequencies=[min(int(pool**1.5), shape.horizon) for pool in pools],
            naive_level=False,  # the skip says more than the last value
            output_size=len(LEVELS),
            loss=QuantileLoss(quantiles=list(LEVELS)),
        )
        for block in set(network.model.blocks):
            start_small(block.layers.layers[-1])
        return network
