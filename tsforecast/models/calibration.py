"""Held-out windows and what a trained network says of them -> how much wider or narrower its intervals have to be."""

from typing import Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from tsforecast.models.feeding import Feed, Network, parts_of
from tsforecast.nn.scale import WindowScale
from tsforecast.nn.window_network import LEVELS, WindowBatch
from tsforecast.panel import FloatArray

SPREAD = "calibration.spread"  # name of the stored factors
MIDDLE = LEVELS.index(0.5)
PAIRS = len(LEVELS) - 1 - MIDDLE  # symmetric intervals, the narrowest first
REACH = (0.25, 4.0)  # the least and the most an interval is stretched
DOUBT = 20  # horizons of held-out steps at which a measured factor counts half


class Answering(Network, Protocol):
    """A network that can be asked for quantiles."""

    def answer(self, batch: WindowBatch) -> tuple[Tensor, WindowScale | None]:
        """(B, H, Q) at `LEVELS`: scaled, and the scale; or in units of the target, and None."""


Asked = TypeVar("Asked", bound=Answering)


def conformal_spread(feed: Feed[Asked], *, batch_size: int, most: int | None = None) -> FloatArray:
    """Factor for each level's distance from the median with which the held-out targets are covered, (Q,).

    A split-conformal correction (Romano et al. 2019) of each symmetric interval, shrunk towards 1 where there are
    few held-out steps. Both sides get one factor: which side errs is a matter of the days that were held out.

    Args:
        feed: of the fit; its network is trained.
        batch_size: windows asked at once.
        most: windows asked at all, evenly over the held-out ones.
    """
    spread = np.ones(len(LEVELS))
    measured = _ratios(feed, batch_size=batch_size, most=most)
    trust = len(measured) / (len(measured) + DOUBT * feed.plan.horizon)
    for pair in range(PAIRS if len(measured) else 0):
        found = np.quantile(measured[:, pair], 2 * LEVELS[MIDDLE + 1 + pair] - 1)
        spread[[MIDDLE + 1 + pair, MIDDLE - 1 - pair]] = np.exp(trust * np.log(np.clip(found, *REACH)))
    return spread


def _ratios(feed: Feed[Asked], *, batch_size: int, most: int | None) -> FloatArray:
    """Where each observed held-out step lies in each interval, (steps, PAIRS): 0 = on the median, 1 = on the edge."""
    data, network = feed.on(torch.device("cpu")), feed.network
    windows = feed.plan.validation if most is None else feed.plan.validation.spread_over(most)
    assert isinstance(network, nn.Module)
    network.eval()
    parts: list[FloatArray] = [np.zeros((0, PAIRS))]
    with torch.inference_mode():
        for rows in parts_of(windows, batch_size):
            batch = data.gather(rows)
            found, scale = network.answer(batch)
            target = batch.future if scale is None else scale.apply(batch.future)
            error = (target - found[..., MIDDLE]).unsqueeze(-1)  # (B, H, 1)
            above = (found[..., MIDDLE + 1 :] - found[..., MIDDLE : MIDDLE + 1]).clamp(min=1e-9)  # (B, H, PAIRS)
            below = (found[..., MIDDLE : MIDDLE + 1] - found[..., :MIDDLE]).flip(-1).clamp(min=1e-9)
            ratio = torch.where(error > 0, error / above, -error / below)
            parts.append(ratio[batch.known & batch.seen.any(1, keepdim=True)].double().numpy())
    return np.concatenate(parts)


def spread_quantiles(quantiles: FloatArray, spread: FloatArray) -> FloatArray:
    """(…, Q) quantiles with their distance from the median multiplied by `spread` (Q,); still non-decreasing."""
    centre = quantiles[..., MIDDLE : MIDDLE + 1]
    moved = centre + (quantiles - centre) * spread
    moved[..., MIDDLE:] = np.maximum.accumulate(moved[..., MIDDLE:], axis=-1)
    moved[..., MIDDLE::-1] = np.minimum.accumulate(moved[..., MIDDLE::-1], axis=-1)
    return moved
