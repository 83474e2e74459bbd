"""(B, T, C) -> (B, D) or (B, T, D): recurrent networks, which have read every step before the one they are read at."""

from typing import Literal, get_args

import torch
from torch import Tensor, nn

from tsforecast.errors import OptionError

Cell = Literal["lstm", "gru", "rnn"]


class RecurrentCore(nn.Module):
    """Stacked LSTM, GRU or tanh network read at its last step.

    Read only there: a network that maps its k-th last state to the k-th horizon step forecasts the first steps
    without the newest observations.
    """

    def __init__(self, cell: Cell, inputs: int, hidden: int, *, layers: int = 1, dropout: float = 0.0) -> None:
        super().__init__()
        self.rnn = _recurrence(cell, inputs, hidden, layers=layers, dropout=dropout)

    def forward(self, x: Tensor) -> Tensor:
        states, _ = self.rnn(x)  # (B, T, D)
        last: Tensor = states[:, -1]
        return last


class RecurrentEncoder(nn.Module):
    """All states of a recurrent network, and the one that has read every step; maybe read from both ends.

    `width`, D', is `hidden`, or twice that if `bidirectional`: the last state then is that of the newest step read
    forwards, with that of the oldest step read backwards.
    """

    def __init__(
        self,
        cell: Cell,
        inputs: int,
        hidden: int,
        *,
        layers: int = 1,
        dropout: float = 0.0,
        bidirectional: bool = False,
    ) -> None:
        super().__init__()
        self.hidden, self.width = hidden, 2 * hidden if bidirectional else hidden
        self.rnn = _recurrence(cell, inputs, hidden, layers=layers, dropout=dropout, bidirectional=bidirectional)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T, C) -> states (B, T, D'), last (B, D')."""
        states, _ = self.rnn(x)
        last = torch.cat([states[:, -1, : self.hidden], states[:, 0, self.hidden :]], dim=-1)
        return states, last


def _recurrence(
    cell: str, inputs: int, hidden: int, *, layers: int, dropout: float, bidirectional: bool = False
) -> nn.LSTM | nn.GRU | nn.RNN:
    kinds = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}
    if cell not in kinds:
        raise OptionError(f"no recurrent cell {cell!r}; there are {', '.join(get_args(Cell))}", field="cell")
    rnn: nn.LSTM | nn.GRU | nn.RNN = kinds[cell](
        inputs,
        hidden,
        num_layers=layers,
        batch_first=True,
        dropout=dropout if layers > 1 else 0.0,
        bidirectional=bidirectional,
    )
    for name, weight in rnn.named_parameters():
        if name.startswith("weight_hh"):
            for gate in weight.data.chunk(len(weight) // hidden):
                nn.init.orthogonal_(gate)
        elif name.startswith("bias"):
            nn.init.zeros_(weight)
            if cell == "lstm" and name.startswith("bias_ih"):
                with torch.no_grad():
                    weight[hidden : 2 * hidden].fill_(1.0)  # forget gate open at first: Jozefowicz et al. 2015
    return rnn
