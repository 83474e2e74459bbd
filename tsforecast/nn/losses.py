"""Predictions and targets -> one number to make small. Steps whose target is missing do not count."""

import torch
from torch import Tensor


def pinball_loss(predicted: Tensor, target: Tensor, mask: Tensor, levels: Tensor) -> Tensor:
    """Mean quantile (pinball) loss, times 2 so that the level 0.5 gives the absolute error.

    Args:
        predicted: (B, H, Q).
        target: (B, H); what stands where `mask` is False does not matter.
        mask: (B, H) bool, True = observed.
        levels: (Q,) in (0, 1).

    Source: Koenker & Bassett 1978.
    """
    error = torch.where(mask, target, 0.0).unsqueeze(-1) - predicted  # (B, H, Q)
    loss = 2 * torch.maximum(levels * error, (levels - 1) * error).mean(-1)  # (B, H)
    return (loss * mask).sum() / mask.sum().clamp(min=1)
