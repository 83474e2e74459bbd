"""State and past of a window -> what the seasons before say about each horizon step, (B, H).

The point a forecast is a correction of: with the last season alone it is the seasonal naive forecast, with a season of
one step the last value (Zeng et al. 2023, NLinear). Here the network chooses among the last seasons, so that a Monday
may look at the Monday before, not at the Sunday.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

MOST_CYCLES = 16  # seasons looked back at
NEVER = -1e9  # logit of a missing step; finite, so that a place never seen has a gradient of 0 and not NaN
RECENCY = 1.5  # how much less a season counts at first than the one after it, in logits


class SeasonalAttention(nn.Module):
    """For each season ahead, a weighted mean of the same step in the last seasons; missing steps do not count."""

    def __init__(self, width: int, *, context: int, horizon: int, season: int) -> None:
        super().__init__()
        self.horizon, self.season = horizon, season
        self.cycles = min(-(-context // season), MOST_CYCLES)
        self.ahead = -(-horizon // season)  # seasons in the horizon, the last one maybe cut
        self.weigh = nn.Linear(width, self.ahead * self.cycles)
        with torch.no_grad():
            self.weigh.weight.zero_()  # start with the same weights for every window: mostly the last season
            age = torch.arange(self.cycles - 1, -1, -1.0)
            self.weigh.bias.view(self.ahead, self.cycles)[:] = -RECENCY * age

    def forward(self, state: Tensor, x: Tensor, seen: Tensor) -> Tensor:
        """(B, D), (B, T) scaled values, (B, T) bool -> (B, H); 0 where a place of the season was never seen."""
        steps = self.cycles * self.season
        x, seen = x[:, -steps:], seen[:, -steps:]
        pad = steps - x.shape[1]
        values = F.pad(x, (pad, 0)).view(len(x), 1, self.cycles, self.season)
        there = F.pad(seen, (pad, 0)).view(len(x), 1, self.cycles, self.season)
        logits = self.weigh(state).view(len(x), self.ahead, self.cycles, 1)
        weights = torch.where(there, logits, NEVER).softmax(2)  # (B, ahead, cycles, season)
        base = (weights * values).sum(2)  # (B, ahead, season)
        return base.flatten(1)[:, : self.horizon]
