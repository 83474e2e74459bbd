"""(B, T) windows -> numbers of size one and back: what lets one network fit series of all sizes and shapes.

Robust by default: one outlier must not decide the units of a window.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Scaling = Literal["robust", "standard", "mean_abs", "none"]
Space = Literal["auto", "linear"]
LOG_OFFSET = 0.01  # of the log space, as a share of the window's mean: what a zero counts as
RELATIVE_FLOOR = 1e-10  # smallest scale as a share of the size of the values: above the noise of float64 …
ABSOLUTE_FLOOR = 1e-30  # … and in units of the target, for windows of zeros
MOST_ZEROS = 0.05  # share of zeros up to which a window is seen through the logarithm
MOST_LOG = 7.0  # a forecast is at most e^7 = 1,100 times the mean of its window: a log effect on a window of zeros knows no bound
MAD_TO_SIGMA = 1.4826  # of a normal distribution


@dataclass(frozen=True, slots=True)
class WindowScale:
    """How each window of a batch was brought to size one: z = (g(y) - location) / scale.

    g is log(y + offset) where `curved`, else y itself. It increases, so quantiles go through it and back.
    """

    location: Tensor  # (B, 1) float64
    scale: Tensor  # (B, 1) float64, positive
    offset: Tensor  # (B, 1) float64, positive
    curved: Tensor  # (B, 1) bool
    ceiling: Tensor  # (B, 1) float64: largest log a forecast may have

    @classmethod
    def of(
        cls,
        past: Tensor,
        seen: Tensor,
        *,
        signed: Tensor | None = None,
        scaling: Scaling = "robust",
        space: Space = "auto",
    ) -> "WindowScale":
        """Read off the observed steps of (B, T) windows.

        In space "auto" a window of a series without negative values is seen through the logarithm: its spread then
        means a share, which is what grows with the level in sales, loads and counts. Other windows stay linear, and so
        do those with many zeros: a zero lies so far below a sale there that the quantiles above explode.

        Args:
            past: (B, T) values.
            seen: (B, T) bool, True = observed.
            signed: (B, 1) bool, True where the series was negative before the window: a temperature above zero for
                a while can fall below it again. None = judge by the window alone.
            scaling: of what the logarithm made.
            space: "auto" or "linear".
        """
        mean = torch.where(seen, past, 0.0).sum(1, keepdim=True) / seen.sum(1, keepdim=True).clamp(min=1)
        zeros = (seen & (past == 0)).sum(1, keepdim=True) / seen.sum(1, keepdim=True).clamp(min=1)
        curved = (~(seen & (past < 0))).all(1, keepdim=True) & (LOG_OFFSET * mean > 0) & (zeros <= MOST_ZEROS)
        if signed is not None:
            curved = curved & ~signed
        if space == "linear":
            curved = torch.zeros_like(curved)
        offset = torch.where(curved, LOG_OFFSET * mean, 1.0)
        ceiling = torch.where(curved, mean, 1.0).log() + MOST_LOG
        bent = torch.where(curved, (past + offset).clamp(min=0).log(), past)
        location, scale = window_scale(torch.where(seen, bent, 0.0), seen, scaling=scaling)
        return cls(location, scale, offset, curved, ceiling)

    def apply(self, y: Tensor) -> Tensor:
        """(B, T) values in units of the target -> (B, T) scaled ones."""
        floor = 1e-3 * self.offset  # below the smallest value of the window: -offset itself has no logarithm
        bent = torch.where(self.curved, torch.maximum(y + self.offset, floor).log(), y)
        return (bent - self.location) / self.scale

    def invert(self, z: Tensor) -> Tensor:
        """(B, H, Q) scaled values -> (B, H, Q) in units of the target."""
        bent = self.location.unsqueeze(-1) + self.scale.unsqueeze(-1) * z
        curved = self.curved.unsqueeze(-1)
        lowered = torch.minimum(bent, self.ceiling.unsqueeze(-1))
        straight = torch.where(curved, lowered, 0.0).exp() - self.offset.unsqueeze(-1)
        return torch.where(curved, straight, bent)


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
