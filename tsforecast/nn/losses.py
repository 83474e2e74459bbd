"""Predictions and targets -> one number to make small. Steps whose target is missing do not count.

In all of them `mask` is (B, H) bool, True = observed, and what the target holds where it is False does not matter: it
may be NaN, and the gradient there is 0.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def masked_mean(loss: Tensor, mask: Tensor) -> Tensor:
    """Mean of (B, H) over the steps of `mask`; 0 where there is none. `loss` must be finite everywhere."""
    return (loss * mask).sum() / mask.sum().clamp(min=1)


def mse_loss(predicted: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Mean squared error of (B, H)."""
    return masked_mean(F.mse_loss(predicted, torch.where(mask, target, 0.0), reduction="none"), mask)


def mae_loss(predicted: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Mean absolute error of (B, H)."""
    return masked_mean(F.l1_loss(predicted, torch.where(mask, target, 0.0), reduction="none"), mask)


def huber_loss(predicted: Tensor, target: Tensor, mask: Tensor, *, delta: float = 1.0) -> Tensor:
    """Squared error / 2 up to `delta`, linear beyond it, of (B, H). Source: Huber 1964."""
    return masked_mean(F.huber_loss(predicted, torch.where(mask, target, 0.0), reduction="none", delta=delta), mask)


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
    return masked_mean(loss, mask)


def nll_loss(log_prob: Tensor, mask: Tensor) -> Tensor:
    """Mean negative log-likelihood; `log_prob` (B, H) must be finite where `mask` is False too."""
    return masked_mean(-log_prob, mask)


def cross_entropy_loss(logits: Tensor, label: Tensor, mask: Tensor) -> Tensor:
    """Cross-entropy of (B, H, K) logits and (B, H) whole numbers in 0 … K - 1."""
    label = torch.where(mask, label, 0)
    return nll_loss(logits.log_softmax(-1).gather(-1, label.unsqueeze(-1)).squeeze(-1), mask)


def bce_loss(logits: Tensor, occurs: Tensor, mask: Tensor) -> Tensor:
    """Binary cross-entropy of (B, H) logits and (B, H) 0 or 1, or bool."""
    label = torch.where(mask, occurs.to(logits.dtype), 0.0)
    return masked_mean(F.binary_cross_entropy_with_logits(logits, label, reduction="none"), mask)
