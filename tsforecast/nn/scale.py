"""(B, T) windows -> location and scale of each, (B, 1): what makes one network fit series of all sizes.

Robust by default: one outlier must not decide the units of a window.
"""

from typing import Literal

import torch
from torch import Tensor

Scaling = Literal["robust", "standard", "mean_abs", "none"]
RELATIVE_FLOOR = 1e-6  # smallest scale as a share of the size of the values …
ABSOLUTE_FLOOR = 1e-9  # … and in units of the target, for windows of zeros
MAD_TO_SIGMA = 1.4826  # of a normal distribution


def window_scale(x: Tensor, mask: Tensor, *, scaling: Scaling = "robust") -> tuple[Tensor, Tensor]:
    """Location and scale of the observed steps of each window.

    Args:
        x: (B, T) values; what stands where `mask` is False does not matter.
        mask: (B, T) bool, True = observed.
        scaling: "robust" (median; 1.4826 x median absolute deviation, or the mean one where more than half of
            the values are equal), "standard" (mean, standard deviation), "mean_abs" (0, mean |x|), "none" (0, 1).

    Returns:
        (location, scale), each (B, 1). The scale of a constant or empty window is a small positive floor.
    """
    if scaling == "none":
        return x.new_zeros(len(x), 1), x.new_ones(len(x), 1)
    count = mask.sum(1, keepdim=True).clamp(min=1)
    seen = torch.where(mask, x, torch.zeros_like(x))
    size = seen.abs().sum(1, keepdim=True) / count  # (B, 1) mean |x|
    if scaling == "mean_abs":
        location, scale = torch.zeros_like(size), size
    elif scaling == "standard":
        location = seen.sum(1, keepdim=True) / count
        scale = (torch.where(mask, x - location, 0.0).square().sum(1, keepdim=True) / count).sqrt()
    else:
        location = masked_median(x, mask)
        deviation = (x - location).abs()
        scale = MAD_TO_SIGMA * masked_median(deviation, mask)
        mean_deviation = torch.where(mask, deviation, 0.0).sum(1, keepdim=True) / count
        scale = torch.where(scale > RELATIVE_FLOOR * location.abs() + ABSOLUTE_FLOOR, scale, mean_deviation)
    return location, torch.maximum(scale, RELATIVE_FLOOR * size + ABSOLUTE_FLOOR)


def masked_median(x: Tensor, mask: Tensor) -> Tensor:
    """Median of the observed steps of each window, (B, 1); the mean of the middle two; 0 where none is observed."""
    ordered = torch.where(mask, x, torch.inf).sort(1).values
    count = mask.sum(1, keepdim=True)
    lower = ordered.gather(1, ((count - 1) // 2).clamp(min=0))
    upper = ordered.gather(1, (count // 2).clamp(max=x.shape[1] - 1))
    return torch.where(count > 0, (lower + upper) / 2, 0.0)
