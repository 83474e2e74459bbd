"""(B, D) -> (B, H, P) raw numbers of each step, and what they mean: a loss, quantiles that cannot cross, samples.

A head is the distribution of the scaled target around the point a forecast corrects, its base; or, `in_units`, of the
target itself, for counts and positive sizes, which have no meaning once scaled.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tsforecast.errors import OptionError
from tsforecast.nn import distributions as d
from tsforecast.nn import losses

LEVELS = (0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.975, 0.99)
SMALLEST_SCALE = 1e-3  # in scales of the window, or of log units
SMALLEST_ALPHA = 1e-6  # of a negative binomial distribution: nearly a Poisson one
SMALLEST_SHARE = 1e-3  # of the size of its window: what a target that is not positive counts as, in logs
SMALLEST_UNIFORM = 2.0**-25  # half of what a float32 generator can draw
STEEPEST = 20.0  # a link reaches from exp(-20) to exp(20) sizes of the window
SPREAD_RATE = 4.0  # how much faster the spread of a point head is learned than a weight
FARTHEST = 5.0  # spreads: a residual beyond counts as that far when the spread of a point head is learned
BINS, WIDEST_EDGE, EDGE_SCALE = 65, 20.0, 0.05  # the middle bin is 0.01 scales wide, the outermost 4


class Head(nn.Module, ABC):
    """The last layer of a network, and its loss. Fresh, it sits near its base whatever the state.

    Throughout: raw is (B, H, P); base (B, H) the scaled point to correct; size (B, 1) positive, mean |y| of the window
    in units of the target. Quantiles and samples are scaled too, or in units of the target if `in_units`.
    """

    in_units: ClassVar[bool] = False
    outputs: int  # P, raw numbers of each step

    def __init__(self, width: int, horizon: int, *, start: Sequence[float], per_step: bool = False) -> None:
        """`start` (P,): the raw numbers of a fresh head. `per_step`: states are (B, H, D), one for each step."""
        super().__init__()
        self.horizon, self.outputs = horizon, len(start)
        self.project = nn.Linear(width, self.outputs if per_step else horizon * self.outputs)
        with torch.no_grad():
            self.project.weight.mul_(0.1)
            self.project.bias.view(-1, self.outputs)[:] = torch.tensor(start)

    def forward(self, state: Tensor) -> Tensor:
        raw: Tensor = self.project(state).reshape(len(state), -1, self.outputs)  # (B, H, P)
        return raw

    @abstractmethod
    def loss(self, raw: Tensor, base: Tensor, target: Tensor, mask: Tensor, size: Tensor) -> Tensor:
        """Mean over the steps of `mask`, a scalar.

        Args:
            target: (B, H) scaled, or in units if `in_units`; anything where it is not observed.
            mask: (B, H) bool, True = observed.
        """

    @abstractmethod
    def invert(self, raw: Tensor, base: Tensor, size: Tensor, u: Tensor) -> Tensor:
        """(…, B, H): where the distribution function reaches `u`, which is in (0, 1) and broadcasts to (…, B, H)."""

    def quantiles(self, raw: Tensor, base: Tensor, size: Tensor, levels: Sequence[float]) -> Tensor:
        """(B, H, Q) float64, non-decreasing where `levels` ascend."""
        u = torch.tensor(tuple(levels), dtype=torch.float64, device=raw.device).view(-1, 1, 1)
        found = self.invert(raw.double(), base.double(), size.double(), u)
        return found.expand(len(u), *raw.shape[:2]).movedim(0, -1).cummax(-1).values

    def sample(self, raw: Tensor, base: Tensor, size: Tensor, uniforms: tuple[Tensor, Tensor]) -> Tensor:
        """(…, B, H) float64, one draw for each pair of independent uniforms; they broadcast to (…, B, H)."""
        return self.invert(raw.double(), base.double(), size.double(), _inside(uniforms[0]))


class QuantileHead(Head):
    """The median, and positive distances from it outwards, so that quantiles ascend whatever the weights.

    `levels` ascend and hold 0.5. Levels between them are interpolated in the normal score.
    """

    def __init__(self, width: int, horizon: int, levels: Sequence[float] = LEVELS, per_step: bool = False) -> None:
        steps = tuple(levels)
        middle = steps.index(0.5)
        start = [0.0 if q == middle else -1.5 for q in range(len(steps))]  # even distances
        super().__init__(width, horizon, start=start, per_step=per_step)
        self.levels, self.middle = steps, middle

    def loss(self, raw: Tensor, base: Tensor, target: Tensor, mask: Tensor, size: Tensor) -> Tensor:
        levels = torch.tensor(self.levels, dtype=raw.dtype, device=raw.device)
        return losses.pinball_loss(self._ladder(raw, base), target, mask, levels)

    def invert(self, raw: Tensor, base: Tensor, size: Tensor, u: Tensor) -> Tensor:
        levels = torch.tensor(self.levels, dtype=raw.dtype, device=raw.device)
        return d.ladder_quantile(u, self._ladder(raw, base), levels)

    def quantiles(self, raw: Tensor, base: Tensor, size: Tensor, levels: Sequence[float]) -> Tensor:
        if tuple(levels) == self.levels:  # no need to interpolate
            return self._ladder(raw, base).double()
        return super().quantiles(raw, base, size, levels)

    def _ladder(self, raw: Tensor, base: Tensor) -> Tensor:
        return quantiles_from_raw(raw, self.middle) + base.unsqueeze(-1)  # (B, H, Q)


class PointHead(Head):
    """One number for each step, and how far the truth lies from it: one spread for each step, the same for all windows.

    The spread is learned by the Gaussian likelihood of the residuals, which does not move the point; the value of the
    loss is that of the point alone. A horizon longer than the head's (read in patches) repeats the spreads.
    """

    def __init__(self, width: int, horizon: int, *, per_step: bool = False) -> None:
        super().__init__(width, horizon, start=(0.0,), per_step=per_step)
        self.log_spread = nn.Parameter(torch.full((horizon,), -0.5 / SPREAD_RATE))  # in steps of SPREAD_RATE

    @abstractmethod
    def point_loss(self, point: Tensor, target: Tensor, mask: Tensor) -> Tensor: ...

    def loss(self, raw: Tensor, base: Tensor, target: Tensor, mask: Tensor, size: Tensor) -> Tensor:
        point = base + raw[..., 0]
        spread = self._spread(raw)
        residual = torch.where(mask, target - point, 0.0).detach()
        residual = residual.clamp(-FARTHEST * spread.detach(), FARTHEST * spread.detach())
        unlikely = losses.nll_loss(d.normal_log_prob(residual, torch.zeros_like(residual), spread), mask)
        return self.point_loss(point, target, mask) + (unlikely - unlikely.detach())

    def invert(self, raw: Tensor, base: Tensor, size: Tensor, u: Tensor) -> Tensor:
        return d.normal_quantile(u, base + raw[..., 0], self._spread(raw))

    def _spread(self, raw: Tensor) -> Tensor:
        """(1, H) in scales."""
        repeats = -(-raw.shape[1] // self.horizon)
        log = (SPREAD_RATE * self.log_spread.to(raw.dtype)).repeat(repeats)[: raw.shape[1]]
        return _bent(log).exp().unsqueeze(0) + SMALLEST_SCALE


class MSEHead(PointHead):
    """The mean."""

    def point_loss(self, point: Tensor, target: Tensor, mask: Tensor) -> Tensor:
        return losses.mse_loss(point, target, mask)


class MAEHead(PointHead):
    """The median."""

    def point_loss(self, point: Tensor, target: Tensor, mask: Tensor) -> Tensor:
        return losses.mae_loss(point, target, mask)


class HuberHead(PointHead):
    """Between mean and median."""

    def point_loss(self, point: Tensor, target: Tensor, mask: Tensor) -> Tensor:
        return losses.huber_loss(point, target, mask)


class NormalHead(Head):
    """Normal around base + raw; raw: shift, scale."""

    def __init__(self, width: int, horizon: int, *, per_step: bool = False) -> None:
        super().__init__(width, horizon, start=(0.0, -0.5), per_step=per_step)

    def loss(self, raw: Tensor, base: Tensor, target: Tensor, mask: Tensor, size: Tensor) -> Tensor:
        location, scale = base + raw[..., 0], _scale(raw[..., 1])
        return losses.nll_loss(d.normal_log_prob(torch.where(mask, target, location.detach()), location, scale), mask)

    def invert(self, raw: Tensor, base: Tensor, size: Tensor, u: Tensor) -> Tensor:
        return d.normal_quantile(u, base + raw[..., 0], _scale(raw[..., 1]))


class StudentTHead(Head):
    """Student's t around base + raw, with more than 2 degrees of freedom, so that it has a variance; raw: shift, scale, df."""

    def __init__(self, width: int, horizon: int, *, per_step: bool = False) -> None:
        super().__init__(width, horizon, start=(0.0, -0.5, 3.0), per_step=per_step)

    def loss(self, raw: Tensor, base: Tensor, target: Tensor, mask: Tensor, size: Tensor) -> Tensor:
        location, scale, df = self._unpack(raw, base)
        log_prob = d.student_t_log_prob(torch.where(mask, target, location.detach()), location, scale, df)
        return losses.nll_loss(log_prob, mask)

    def invert(self, raw: Tensor, base: Tensor, size: Tensor, u: Tensor) -> Tensor:
        return d.student_t_quantile(u, *self._unpack(raw, base))

    def sample(self, raw: Tensor, base: Tensor, size: Tensor, uniforms: tuple[Tensor, Tensor]) -> Tensor:
        u, v = uniforms
        return d.student_t_sample(_inside(u), v.double(), *self._unpack(raw.double(), base.double()))

    def _unpack(self, raw: Tensor, base: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return base + raw[..., 0], _scale(raw[..., 1]), 2 + F.softplus(raw[..., 2])


class LogNormalHead(Head):
    """Log-normal sizes in units, for a target that is positive; raw: log of the median in sizes, scale of the log."""

    in_units = True

    def __init__(self, width: int, horizon: int, *, per_step: bool = False) -> None:
        super().__init__(width, horizon, start=(0.0, -0.5), per_step=per_step)

    def loss(self, raw: Tensor, base: Tensor, target: Tensor, mask: Tensor, size: Tensor) -> Tensor:
        """The density is that of target / size: the one of the target up to what no weight can change."""
        raw, share = raw.double(), _share(target, mask, size)
        return losses.nll_loss(d.log_normal_log_prob(share, _bent(raw[..., 0]), _scale(raw[..., 1])), mask)

    def invert(self, raw: Tensor, base: Tensor, size: Tensor, u: Tensor) -> Tensor:
        return size * d.log_normal_quantile(u, _bent(raw[..., 0]), _scale(raw[..., 1]))


class PoissonHead(Head):
    """Poisson counts; raw: log of the mean in sizes. Targets must not be negative."""

    in_units = True

    def __init__(self, width: int, horizon: int, *, per_step: bool = False) -> None:
        super().__init__(width, horizon, start=(0.0,), per_step=per_step)

    def loss(self, raw: Tensor, base: Tensor, target: Tensor, mask: Tensor, size: Tensor) -> Tensor:
        count = torch.where(mask, target, 0.0).double()
        return losses.nll_loss(d.poisson_log_prob(count, _mean(raw.double(), size)), mask)

    def invert(self, raw: Tensor, base: Tensor, size: Tensor, u: Tensor) -> Tensor:
        return d.poisson_quantile(u, _mean(raw, size))


class NegativeBinomialHead(Head):
    """Counts with variance mean + alpha * mean ** 2; raw: log of the mean in sizes, alpha. Targets must not be negative."""

    in_units = True

    def __init__(self, width: int, horizon: int, *, per_step: bool = False) -> None:
        super().__init__(width, horizon, start=(0.0, -0.5), per_step=per_step)

    def loss(self, raw: Tensor, base: Tensor, target: Tensor, mask: Tensor, size: Tensor) -> Tensor:
        count = torch.where(mask, target, 0.0).double()
        return losses.nll_loss(d.negative_binomial_log_prob(count, *self._unpack(raw.double(), size)), mask)

    def invert(self, raw: Tensor, base: Tensor, size: Tensor, u: Tensor) -> Tensor:
        return d.negative_binomial_quantile(u, *self._unpack(raw, size))

    def _unpack(self, raw: Tensor, size: Tensor) -> tuple[Tensor, Tensor]:
        return _mean(raw, size), F.softplus(raw[..., 1]) + SMALLEST_ALPHA


class CategoricalHead(Head):
    """Which bin target - base falls into, of bins that are narrow near 0; raw: logits. Any shape, several peaks too.

    The base gets no gradient: which bin is right does not change smoothly.
    """

    def __init__(self, width: int, horizon: int, *, per_step: bool = False) -> None:
        z = [edge / 0.5 for edge in _edges()[1:-1]]
        reached = [0.0, *(0.5 + 0.5 * x / math.sqrt(2 + x * x) for x in z), 1.0]  # Student's t with 2 degrees of freedom
        start = [math.log(above - below) for below, above in pairwise(reached)]
        super().__init__(width, horizon, start=start, per_step=per_step)

    def loss(self, raw: Tensor, base: Tensor, target: Tensor, mask: Tensor, size: Tensor) -> Tensor:
        inner = torch.tensor(_edges()[1:-1], dtype=raw.dtype, device=raw.device)
        residual = torch.where(mask, target - base, 0.0).detach().to(raw.dtype).contiguous()
        return losses.cross_entropy_loss(raw, torch.searchsorted(inner, residual), mask)

    def invert(self, raw: Tensor, base: Tensor, size: Tensor, u: Tensor) -> Tensor:
        edges = torch.tensor(_edges(), dtype=raw.dtype, device=raw.device)
        return base + d.histogram_quantile(u, raw.softmax(-1), edges)


class HurdleHead(Head):
    """Whether there is anything, and if so a log-normal size; raw: log odds, log of the median in sizes, scale of the log."""

    in_units = True

    def __init__(self, width: int, horizon: int, *, per_step: bool = False) -> None:
        super().__init__(width, horizon, start=(0.0, math.log(2), -0.5), per_step=per_step)  # half the steps, twice the size

    def loss(self, raw: Tensor, base: Tensor, target: Tensor, mask: Tensor, size: Tensor) -> Tensor:
        raw, occurs = raw.double(), mask & (target > 0)
        share = _share(target, occurs, size)
        log_prob = d.log_normal_log_prob(share, _bent(raw[..., 1]), _scale(raw[..., 2]))
        return losses.bce_loss(raw[..., 0], occurs, mask) + losses.nll_loss(torch.where(occurs, log_prob, 0.0), mask)

    def invert(self, raw: Tensor, base: Tensor, size: Tensor, u: Tensor) -> Tensor:
        return size * d.hurdle_quantile(u, raw[..., 0], _bent(raw[..., 1]), _scale(raw[..., 2]))


HEADS: dict[str, type[Head]] = {
    "quantile": QuantileHead,
    "mse": MSEHead,
    "mae": MAEHead,
    "huber": HuberHead,
    "normal": NormalHead,
    "student_t": StudentTHead,
    "log_normal": LogNormalHead,
    "poisson": PoissonHead,
    "negative_binomial": NegativeBinomialHead,
    "categorical": CategoricalHead,
    "hurdle": HurdleHead,
}


def build_head(name: str, width: int, horizon: int, *, per_step: bool = False) -> Head:
    """A fresh head called `name`.

    Raises:
        OptionError: there is none of that name.
    """
    if name not in HEADS:
        raise OptionError(f"no head {name!r}; there are {', '.join(HEADS)}", field="head")
    make: Callable[..., Head] = HEADS[name]
    return make(width, horizon, per_step=per_step)


def quantiles_from_raw(raw: Tensor, middle: int) -> Tensor:
    """(…, Q) free numbers -> (…, Q) ascending ones; column `middle` is kept as it is."""
    centre = raw[..., middle : middle + 1]
    above = centre + F.softplus(raw[..., middle + 1 :]).cumsum(-1)
    below = centre - F.softplus(raw[..., :middle]).flip(-1).cumsum(-1).flip(-1)
    return torch.cat([below, centre, above], dim=-1)


def _scale(raw: Tensor) -> Tensor:
    return F.softplus(raw) + SMALLEST_SCALE


def _bent(raw: Tensor) -> Tensor:
    """raw where it is small, bounded by `STEEPEST`: what can be exponentiated."""
    return STEEPEST * torch.tanh(raw / STEEPEST)


def _mean(raw: Tensor, size: Tensor) -> Tensor:
    """(B, H) in units."""
    return size * _bent(raw[..., 0]).exp()


def _share(target: Tensor, mask: Tensor, size: Tensor) -> Tensor:
    """(B, H) float64 positive: target / size; 1 where it is not observed."""
    share = (torch.where(mask, target, size) / size).double()
    return torch.where(share > 0, share, SMALLEST_SHARE)


def _inside(u: Tensor) -> Tensor:
    return u.double().clamp(SMALLEST_UNIFORM, 1 - SMALLEST_UNIFORM)


def _edges() -> list[float]:
    """Of the bins, (K + 1,) in scales: dense near 0. The outermost bins hold all that lies beyond, too."""
    reach = math.asinh(WIDEST_EDGE / EDGE_SCALE)
    return [EDGE_SCALE * math.sinh(reach * (2 * k / BINS - 1)) for k in range(BINS + 1)]
