"""(B, L, C) covariates -> (B, L) what they add to a scaled window: the linear part, known before training begins.

A price cut lifts sales in the past and in the future. Its linear effect is taken out of the past and added to the
future, so that the seasonal skip repeats the series as it would have been; the network corrects on top of that.
"""

import torch
from torch import Tensor, nn

from tsforecast.nn.scale import WindowScale

RIDGE = 1e-2  # weight of the prior, as a share of the number of differences
LARGEST_FACTOR = 1e3  # of a nearly constant window


class LinearEffect(nn.Module):
    """One coefficient for each covariate: in log units where a window is seen through the logarithm, else in scales."""

    def __init__(self, covariates: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(covariates))

    def forward(self, covariates: Tensor, factor: Tensor) -> Tensor:
        """(B, L, C), (B, 1) of `effect_factor` -> (B, L), in scales of the window."""
        added: Tensor = (covariates[..., : len(self.weight)] @ self.weight) * factor
        return added

    @torch.no_grad()
    def begin(self, x: Tensor, seen: Tensor, covariates: Tensor | None, factor: Tensor, *, season: int) -> None:
        """Take the estimate from windows of the fit, see `estimate_effects`; `covariates` (B, L, C) may reach beyond them."""
        assert covariates is not None  # a network with effects was told of covariates
        known = covariates[:, : x.shape[1], : len(self.weight)].float()
        self.weight.copy_(estimate_effects(x, seen, known, factor, season=season))


def effect_factor(scale: WindowScale) -> Tensor:
    """(B, 1) float32: what turns an effect into scales of a window; 1 unless the window is seen through the logarithm."""
    factor = (1.0 / scale.scale).clamp(max=LARGEST_FACTOR)
    return torch.where(scale.curved, factor, torch.ones_like(factor)).to(torch.float32)


def estimate_effects(x: Tensor, seen: Tensor, covariates: Tensor, factor: Tensor, *, season: int) -> Tensor:
    """Ridge estimate of the coefficients of `LinearEffect`, (C,).

    Differences over a season rid a window of its level and its season, so that what is left can be regressed.

    Args:
        x: (B, T) scaled values.
        seen: (B, T) bool.
        covariates: (B, T, C).
        factor: (B, 1), see `effect_factor`.
        season: steps.

    Source: Hoerl & Kennard 1970.
    """
    lag = season if x.shape[1] > season else 1
    pairs = seen[:, lag:] & seen[:, :-lag]
    change = ((x[:, lag:] - x[:, :-lag]) / factor)[pairs].double()  # (M,)
    moves = (covariates[:, lag:] - covariates[:, :-lag])[pairs].double()  # (M, C)
    if not len(change):
        return covariates.new_zeros(covariates.shape[-1])
    spread = change.abs().median().clamp(min=1e-9) * 10
    change = change.clamp(-spread, spread)  # one outlier must not decide an effect
    prior = RIDGE * len(change) * torch.eye(moves.shape[1], dtype=torch.float64, device=moves.device)
    found: Tensor = torch.linalg.solve(moves.T @ moves + prior, moves.T @ change)
    return found.to(torch.float32)
