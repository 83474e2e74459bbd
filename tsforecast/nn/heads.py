"""(B, D) -> (B, H, Q): quantiles that cannot cross."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class QuantileHead(nn.Module):
    """The median, and positive distances from it outwards, so that quantiles ascend whatever the weights.

    `levels` ascend and hold 0.5.
    """

    def __init__(self, width: int, horizon: int, levels: tuple[float, ...]) -> None:
        super().__init__()
        self.horizon, self.levels = horizon, levels
        self.middle = levels.index(0.5)
        self.project = nn.Linear(width, horizon * len(levels))
        with torch.no_grad():
            self.project.weight.mul_(0.1)  # start at the skip, with even distances between the levels
            self.project.bias.zero_()
            self.project.bias.view(horizon, -1)[:, [q for q in range(len(levels)) if q != self.middle]] = -1.5

    def forward(self, x: Tensor) -> Tensor:
        raw = self.project(x).view(len(x), self.horizon, len(self.levels))
        return quantiles_from_raw(raw, self.middle)


def quantiles_from_raw(raw: Tensor, middle: int) -> Tensor:
    """(…, Q) free numbers -> (…, Q) ascending ones; column `middle` is kept as it is."""
    centre = raw[..., middle : middle + 1]
    above = centre + F.softplus(raw[..., middle + 1 :]).cumsum(-1)
    below = centre - F.softplus(raw[..., :middle]).flip(-1).cumsum(-1).flip(-1)
    return torch.cat([below, centre, above], dim=-1)
