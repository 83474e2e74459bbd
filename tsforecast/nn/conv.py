"""(B, T, C_in) -> (B, T, C_out): convolutions over time, stacks of them by name, and pools that end them.

Causal ones never look ahead. The others look both ways, and may, since all they are shown lies before the origin.
"""

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tsforecast.errors import OptionError
from tsforecast.nn.mlp import activation


class CausalConv1d(nn.Module):
    """Dilated convolution whose output at step t reads steps t - dilation * (kernel - 1) … t only.

    With a `stride` the outputs are those of the newest step, of `stride` steps before, and so on.
    """

    def __init__(self, inputs: int, outputs: int, *, kernel: int, dilation: int = 1, stride: int = 1) -> None:
        super().__init__()
        self.reach, self.stride = dilation * (kernel - 1), stride  # steps back
        self.conv = nn.Conv1d(inputs, outputs, kernel, dilation=dilation, stride=stride)

    def forward(self, x: Tensor) -> Tensor:
        padded = F.pad(x.transpose(1, 2), (self.reach, 0))  # (B, C_in, reach + T)
        padded = padded[..., (x.shape[1] - 1) % self.stride :]
        y: Tensor = self.conv(padded).transpose(1, 2)  # (B, ceil(T / stride), C_out)
        return y


class Conv1d(nn.Module):
    """Convolution that looks both ways. "same" padding gives ceil(T / stride) steps, "valid" reads no padding."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        kernel: int,
        stride: int = 1,
        padding: Literal["same", "valid"] | int = "same",
        dilation: int = 1,
        groups: int = 1,
    ) -> None:
        super().__init__()
        reach = dilation * (kernel - 1)
        if padding == "same":
            self.pad = (reach // 2, reach - reach // 2)
        elif padding == "valid":
            self.pad = (0, 0)
        elif isinstance(padding, int) and padding >= 0:
            self.pad = (padding, padding)
        else:
            raise OptionError(f"padding must be same, valid or a number of steps, got {padding!r}", field="padding")
        self.conv = nn.Conv1d(inputs, outputs, kernel, stride=stride, dilation=dilation, groups=groups)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(F.pad(x.transpose(1, 2), self.pad)).transpose(1, 2)  # (B, T', C_out)
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


class TemporalConvNet(nn.Module):
    """Residual blocks of causal convolutions, the dilation doubling, as many as it takes to see `steps` steps.

    Source: van den Oord et al. 2016, WaveNet; Bai, Kolter & Koltun 2018.
    """

    def __init__(self, width: int, *, steps: int, kernel: int = 3, dropout: float = 0.0) -> None:
        super().__init__()
        if kernel < 2:
            raise OptionError(f"kernel must be at least 2 to look back, got {kernel!r}", field="kernel")
        blocks: list[nn.Module] = []
        self.receptive_field = 1  # steps that the newest output has read
        while self.receptive_field < steps or not blocks:
            block = ResidualConvBlock(width, kernel=kernel, dilation=2 ** len(blocks), dropout=dropout)
            blocks.append(block)
            self.receptive_field += block.reach
        self.blocks = nn.Sequential(*blocks)
        assert self.receptive_field >= steps

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.blocks(x)
        return y


class PlainBlock(nn.Module):
    """act(norm(conv(x)))."""

    def __init__(self, width: int, *, kernel: int, dropout: float, activate: str) -> None:
        super().__init__()
        self.conv, self.norm = Conv1d(width, width, kernel=kernel), nn.LayerNorm(width)
        self.activate, self.drop = activation(activate), nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.drop(self.activate(self.norm(self.conv(x))))
        return y


class VGGBlock(nn.Module):
    """Two plain blocks, three steps wide whatever `kernel` is. Source: Simonyan & Zisserman 2015."""

    def __init__(self, width: int, *, kernel: int, dropout: float, activate: str) -> None:
        super().__init__()
        self.first = PlainBlock(width, kernel=3, dropout=0.0, activate=activate)
        self.second = PlainBlock(width, kernel=3, dropout=dropout, activate=activate)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.second(self.first(x))
        return y


class ResNetBlock(nn.Module):
    """x + conv(act(norm(conv(act(norm(x)))))). Source: He et al. 2016, with pre-activation."""

    def __init__(self, width: int, *, kernel: int, dropout: float, activate: str) -> None:
        super().__init__()
        self.norm, self.last_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.first, self.second = Conv1d(width, width, kernel=kernel), Conv1d(width, width, kernel=kernel)
        self.activate, self.drop = activation(activate), nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        z = self.first(self.activate(self.norm(x)))
        y: Tensor = x + self.second(self.drop(self.activate(self.last_norm(z))))
        return y


class InceptionBlock(nn.Module):
    """x + what three kernels, of about one, two and four times the width asked for, and a pooled branch see side by side.

    Source: Ismail Fawaz et al. 2020, InceptionTime.
    """

    def __init__(self, width: int, *, kernel: int, dropout: float, activate: str) -> None:
        super().__init__()
        quarter = -(-width // 4)
        shares = [width // 4 + (k < width % 4) for k in range(4)]
        self.narrow = Conv1d(width, quarter, kernel=1)  # the bottleneck
        kernels = (kernel, 2 * kernel - 1, 4 * kernel - 3)
        self.branches = nn.ModuleList(
            Conv1d(quarter, share, kernel=wide) for share, wide in zip(shares, kernels, strict=False) if share
        )
        self.pooled = Conv1d(width, shares[3], kernel=1) if shares[3] else None
        self.norm, self.activate, self.drop = nn.LayerNorm(width), activation(activate), nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        narrow = self.narrow(x)
        seen = [branch(narrow) for branch in self.branches]
        if self.pooled is not None:
            seen.append(self.pooled(max_pool(x, 3, stride=1, padding=1)))
        y: Tensor = x + self.drop(self.activate(self.norm(torch.cat(seen, dim=-1))))
        return y


class DepthwiseBlock(nn.Module):
    """x + perceptron(norm(conv of each channel alone)), the kernel twice as wide as asked for.

    Source: Liu et al. 2022, ConvNeXt; Luo & Wang 2024, ModernTCN.
    """

    def __init__(self, width: int, *, kernel: int, dropout: float, activate: str) -> None:
        super().__init__()
        self.depthwise = Conv1d(width, width, kernel=2 * kernel + 1, groups=width)
        self.norm, self.activate, self.drop = nn.LayerNorm(width), activation(activate), nn.Dropout(dropout)
        self.expand, self.shrink = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = x + self.shrink(self.drop(self.activate(self.expand(self.norm(self.depthwise(x))))))
        return y


STACKS: dict[str, Callable[..., nn.Module]] = {
    "plain": PlainBlock,
    "vgg": VGGBlock,
    "inception": InceptionBlock,
    "resnet": ResNetBlock,
    "depthwise": DepthwiseBlock,
}


class ConvStack(nn.Module):
    """(B, T, D) -> (B, T, D): `layers` blocks of one kind, see `STACKS`.

    Raises:
        OptionError: there is no kind of that name.
    """

    def __init__(
        self, kind: str, width: int, *, layers: int, kernel: int = 3, dropout: float = 0.0, activate: str = "gelu"
    ) -> None:
        super().__init__()
        if kind not in STACKS:
            raise OptionError(f"no stack {kind!r}; there are {', '.join(STACKS)}", field="stack")
        make = STACKS[kind]
        self.blocks = nn.Sequential(*(make(width, kernel=kernel, dropout=dropout, activate=activate) for _ in range(layers)))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.blocks(x)
        return y


def max_pool(x: Tensor, kernel: int, *, stride: int | None = None, padding: int = 0) -> Tensor:
    """(B, T, C) -> (B, T', C): the largest of `kernel` steps, every `stride` steps (None = `kernel`)."""
    return F.max_pool1d(x.transpose(1, 2), kernel, stride or kernel, padding).transpose(1, 2)


def avg_pool(x: Tensor, kernel: int, *, stride: int | None = None) -> Tensor:
    """(B, T, C) -> (B, T', C): the mean of `kernel` steps, every `stride` steps (None = `kernel`)."""
    return F.avg_pool1d(x.transpose(1, 2), kernel, stride or kernel).transpose(1, 2)


POOLS: dict[str, Callable[[Tensor], Tensor]] = {
    "average": lambda x: x.mean(1),
    "max": lambda x: x.amax(1),
    "last": lambda x: x[:, -1],
}


class Pool(nn.Module):
    """(B, T, D) -> (B, D)."""

    def __init__(self, name: str) -> None:
        super().__init__()
        if name not in POOLS:
            raise OptionError(f"no pooling {name!r}; there are {', '.join(POOLS)}", field="pooling")
        self.name = name

    def forward(self, x: Tensor) -> Tensor:
        return POOLS[self.name](x)


def pool(name: str) -> nn.Module:
    """The pool over all steps called `name`, (B, T, D) -> (B, D).

    Raises:
        OptionError: there is none of that name.
    """
    return Pool(name)
