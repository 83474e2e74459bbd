"""Parameters of a distribution -> its log-density, and its quantiles: plain functions of tensors that broadcast.

Quantiles are the inverse of the distribution function at `u` in (0, 1), so that a uniform `u` gives a sample. Those that
torch has not are computed by scipy on the CPU, in double precision and without a gradient.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

LOG_2_PI = math.log(2 * math.pi)
EDGE = 1e-12  # levels closer to 0 or 1 count as that far
LARGEST_COUNT = 1e12  # that is found to the one; larger ones are those of the gamma distribution


def normal_log_prob(x: Tensor, location: Tensor, scale: Tensor) -> Tensor:
    return -0.5 * ((x - location) / scale) ** 2 - scale.log() - 0.5 * LOG_2_PI


def normal_quantile(u: Tensor, location: Tensor, scale: Tensor) -> Tensor:
    found: Tensor = location + scale * torch.special.ndtri(u)
    return found


def student_t_log_prob(x: Tensor, location: Tensor, scale: Tensor, df: Tensor) -> Tensor:
    z = (x - location) / scale
    constant = torch.lgamma((df + 1) / 2) - torch.lgamma(df / 2) - 0.5 * (df * math.pi).log() - scale.log()
    return constant - (df + 1) / 2 * torch.log1p(z**2 / df)


def student_t_quantile(u: Tensor, location: Tensor, scale: Tensor, df: Tensor) -> Tensor:
    from scipy.special import stdtrit

    return location + scale * _by_numpy(stdtrit, df, u)


def student_t_sample(u: Tensor, v: Tensor, location: Tensor, scale: Tensor, df: Tensor) -> Tensor:
    """Exact for any df, from two independent uniforms. Source: Bailey 1994, the polar method."""
    radius = (df * torch.expm1(-2 / df * u.log())).sqrt()
    return location + scale * radius * torch.cos(2 * math.pi * v)


def log_normal_log_prob(x: Tensor, location: Tensor, scale: Tensor) -> Tensor:
    """`location` and `scale` are those of log x; x > 0."""
    log = x.log()
    return normal_log_prob(log, location, scale) - log


def log_normal_quantile(u: Tensor, location: Tensor, scale: Tensor) -> Tensor:
    return normal_quantile(u, location, scale).exp()


def poisson_log_prob(count: Tensor, mean: Tensor) -> Tensor:
    return count * mean.log() - mean - torch.lgamma(count + 1)


def poisson_quantile(u: Tensor, mean: Tensor) -> Tensor:
    """The smallest count whose distribution function reaches `u`."""
    from scipy.special import gammaincinv, pdtr

    def invert(u: Any, mean: Any) -> Any:
        return _smallest_count(lambda k: pdtr(k, mean), u, gammaincinv(mean, u))

    return _by_numpy(invert, u, mean)


def negative_binomial_log_prob(count: Tensor, mean: Tensor, alpha: Tensor) -> Tensor:
    """Variance: mean + alpha * mean ** 2; alpha > 0."""
    n = 1 / alpha
    spread = torch.log1p(alpha * mean)
    constant = torch.lgamma(count + n) - torch.lgamma(n) - torch.lgamma(count + 1)
    return constant - n * spread + count * ((alpha * mean).log() - spread)


def negative_binomial_quantile(u: Tensor, mean: Tensor, alpha: Tensor) -> Tensor:
    """The smallest count whose distribution function reaches `u`."""
    from scipy.special import betainc, gammaincinv

    def invert(u: Any, mean: Any, alpha: Any) -> Any:
        shape = mean / (1 + alpha * mean)  # of the gamma distribution with the same mean and variance
        return _smallest_count(
            lambda k: betainc(1 / alpha, k + 1, 1 / (1 + alpha * mean)), u, gammaincinv(shape, u) * mean / shape
        )

    return _by_numpy(invert, u, mean, alpha)


def hurdle_quantile(u: Tensor, log_odds: Tensor, location: Tensor, scale: Tensor) -> Tensor:
    """Nothing with probability sigmoid(-log_odds), else a log-normal size."""
    never, chance = torch.sigmoid(-log_odds), torch.sigmoid(log_odds)
    within = ((u - never) / chance).clamp(EDGE, 1 - EDGE)
    return torch.where(u > never, log_normal_quantile(within, location, scale), 0.0)


def histogram_quantile(u: Tensor, probabilities: Tensor, edges: Tensor) -> Tensor:
    """Bins that are flat inside: (…, B, H), (B, H, K), (K + 1,) -> (…, B, H)."""
    reached = probabilities.cumsum(-1)  # (B, H, K)
    u = u + torch.zeros_like(reached[..., 0])  # (…, B, H)
    asked = u.reshape(-1, *u.shape[-2:]).movedim(0, -1).contiguous()  # (B, H, N)
    k = torch.searchsorted(reached, asked).clamp(max=probabilities.shape[-1] - 1)
    inside = probabilities.gather(-1, k)
    share = ((asked - (reached.gather(-1, k) - inside)) / inside.clamp(min=EDGE)).clamp(0, 1)
    found = edges[k] + share * (edges[k + 1] - edges[k])  # (B, H, N)
    return found.movedim(-1, 0).reshape(u.shape)


def ladder_quantile(u: Tensor, quantiles: Tensor, levels: Tensor) -> Tensor:
    """Between known quantiles linear in the normal score of the level, and so on beyond the outermost ones.

    Args:
        u: (…, B, H).
        quantiles: (B, H, Q) ascending.
        levels: (Q,) ascending.
    """
    u = u + torch.zeros_like(quantiles[..., 0])  # (…, B, H)
    values = quantiles.expand(*u.shape, -1)
    if len(levels) == 1:
        return values[..., 0]
    known, score = torch.special.ndtri(levels), torch.special.ndtri(u)
    upper = torch.searchsorted(known, score).clamp(1, len(levels) - 1)  # (…, B, H)
    below = values.gather(-1, (upper - 1).unsqueeze(-1)).squeeze(-1)
    above = values.gather(-1, upper.unsqueeze(-1)).squeeze(-1)
    weight = (score - known[upper - 1]) / (known[upper] - known[upper - 1])
    found: Tensor = below * (1 - weight) + above * weight
    return found


def _by_numpy(function: Callable[..., Any], *values: Tensor) -> Tensor:
    """float64 on the device of the first value."""
    arrays = (value.detach().to("cpu", torch.float64).numpy() for value in values)
    found = np.asarray(function(*arrays), dtype=np.float64)
    return torch.from_numpy(found).to(values[0].device)


def _smallest_count(reached: Callable[[Any], Any], u: Any, guess: Any) -> Any:
    """The smallest whole number k >= 0 with reached(k) >= u: gallop away from a guess, then halve.

    scipy's own inverses need fifty times as long for a Poisson, and miss in a few corners.
    """
    u, guess = np.broadcast_arrays(u, np.nan_to_num(guess))
    high, exact = np.maximum(np.ceil(guess - 0.5), 0.0), guess < LARGEST_COUNT
    low, stride = high - 1, 1.0
    while (short := exact & (reached(high) < u)).any():
        low, high, stride = np.where(short, high, low), np.where(short, high + stride, high), stride * 2
    stride = 1.0
    while (far := exact & (low >= 0) & (reached(np.maximum(low, 0)) >= u)).any():
        low, high, stride = np.where(far, np.maximum(low - stride, -1), low), np.where(far, low, high), stride * 2
    while (exact & (high - low > 1)).any():
        middle = np.floor((low + high) / 2)  # -1 only where low is -1 and high 0: settled
        enough = reached(np.maximum(middle, 0)) >= u
        low, high = np.where(enough, low, np.maximum(middle, low)), np.where(enough, np.maximum(middle, 0), high)
    return high
