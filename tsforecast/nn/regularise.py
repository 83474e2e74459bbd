"""A network -> a penalty on its weights, to be added to a loss. Biases, norms and other vectors go free."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn


def l1_penalty(network: nn.Module, weight: float) -> Tensor:
    """weight * sum |w|: drives weights to 0. Source: Tibshirani 1996."""
    return weight * sum((w.abs().sum() for w in _weights(network)), torch.zeros(()))


def l2_penalty(network: nn.Module, weight: float) -> Tensor:
    """weight * sum w ** 2: keeps weights small. Source: Hoerl & Kennard 1970."""
    return weight * sum((w.square().sum() for w in _weights(network)), torch.zeros(()))


def _weights(network: nn.Module) -> Iterator[Tensor]:
    return (parameter for parameter in network.parameters() if parameter.ndim >= 2)
