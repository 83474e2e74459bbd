"""(B, T, C_in) -> (B, T, C_out): convolutions over time that never look ahead."""

import torch.nn.functional as F
from torch import Tensor, nn

from tsforecast.nn.mlp import activation


class CausalConv1d(nn.Module):
    """Dilated convolution whose output at step t reads steps t - dilation * (kernel - 1) … t only."""

    def __init__(self, inputs: int, outputs: int, *, kernel: int, dilation: int = 1) -> None:
        super().__init__()
        self.reach = dilation * (kernel - 1)  # steps back
        self.conv = nn.Conv1d(inputs, outputs, kernel, dilation=dilation)

    def forward(self, x: Tensor) -> Tensor:
        padded = F.pad(x.transpose(1, 2), (self.reach, 0))  # (B, C_in, reach + T)
        y: Tensor = self.conv(padded).transpose(1, 2)  # (B, T, C_out)
        return y


class ResidualConvBlock(nn.Module):
    """Two causal convolutions with a skip: x + conv(act(conv(norm(x))))."""

    def __init__(self, width: int, *, kernel: int, dilation: int = 1, activate: str = "gelu", dropout: float = 0.0) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.first = CausalConv1d(width, width, kernel=kernel, dilation=dilation)
        self.activate = activation(activate)
        self.drop = nn.Dropout(dropout)
        self.second = CausalConv1d(width, width, kernel=kernel, dilation=dilation)
        self.reach = self.first.reach + self.second.reach

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = x + self.second(self.drop(self.activate(self.first(self.norm(x)))))
        return y
