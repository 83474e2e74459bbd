"""(B, T, C) -> (B, D): the last hidden state of a recurrent network, which has read every step."""

from typing import Literal

import torch
from torch import Tensor, nn

Cell = Literal["lstm", "gru"]


class RecurrentCore(nn.Module):
    """Stacked LSTM or GRU read at its last step.

    Read only there: a network that maps its k-th last state to the k-th horizon step forecasts the first steps
    without the newest observations.
    """

    def __init__(self, cell: Cell, inputs: int, hidden: int, *, layers: int = 1, dropout: float = 0.0) -> None:
        super().__init__()
        kind = nn.LSTM if cell == "lstm" else nn.GRU
        self.rnn = kind(inputs, hidden, num_layers=layers, batch_first=True, dropout=dropout if layers > 1 else 0.0)
        for name, weight in self.rnn.named_parameters():
            if name.startswith("weight_hh"):
                for gate in weight.data.chunk(len(weight) // hidden):
                    nn.init.orthogonal_(gate)
            elif name.startswith("bias"):
                nn.init.zeros_(weight)
                if cell == "lstm" and name.startswith("bias_ih"):
                    with torch.no_grad():
                        weight[hidden : 2 * hidden].fill_(1.0)  # forget gate open at first: Jozefowicz et al. 2015

    def forward(self, x: Tensor) -> Tensor:
        states, _ = self.rnn(x)  # (B, T, D)
        last: Tensor = states[:, -1]
        return last
