"""Panel -> batches of windows: here arrays become tensors. All values lie flat on the device and are gathered by index."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from tsforecast.errors import CovariateError
from tsforecast.nn.window_network import WindowBatch
from tsforecast.panel import FloatArray, Panel
from tsforecast.preprocessing.calendar import calendar_features, future_timestamps
from tsforecast.preprocessing.windows import Windows

UNSEEN = 0  # number of a category that was not there in the fit


@dataclass(frozen=True, kw_only=True, slots=True)
class Inputs:
    """What besides the target enters a network, and how it is brought to size one; fitted once, stored with the model."""

    calendar: bool = False  # sines and cosines of the calendar as further covariates
    known: tuple[tuple[float, float], ...] = ()  # (mean, deviation) of each known-future covariate
    past: tuple[tuple[float, float], ...] = ()  # … of each past covariate
    static: tuple[tuple[float, float], ...] = ()  # … of each static feature
    categories: tuple[tuple[str, ...], ...] = ()  # words of each static category, ascending; number 0 is any other

    @classmethod
    def of(cls, panel: Panel, *, calendar: bool) -> Self:
        """As `panel` shows them."""
        columns = zip(*panel.static_categories, strict=True) if panel.static_categories else ()
        return cls(
            calendar=calendar,
            known=_sizes(panel.covariates),
            past=_sizes(panel.past_covariates),
            static=_sizes(panel.static_reals),
            categories=tuple(tuple(sorted(set(column))) for column in columns),
        )

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        pairs = {name: tuple((float(a), float(b)) for a, b in values[name]) for name in ("known", "past", "static")}
        return cls(calendar=values["calendar"], categories=tuple(map(tuple, values["categories"])), **pairs)

    def channels(self, panel: Panel) -> int:
        """Covariates whose future is known, with those of the calendar."""
        return len(self.known) + (len(calendar_features(panel.timestamps[:0], panel.freq, panel.tz)[1]) if self.calendar else 0)

    def known_of(self, panel: Panel) -> FloatArray:
        """(N, channels) of the rows of `panel`."""
        parts = [_scaled(panel.covariates, self.known, len(panel.target))]
        if self.calendar:
            parts.append(calendar_features(panel.timestamps, panel.freq, panel.tz)[0])
        return np.concatenate(parts, axis=-1)

    def future_of(self, panel: Panel, future: FloatArray | None, steps: int) -> FloatArray:
        """(S, steps, channels) of the steps after `panel`."""
        shape = (len(panel), steps)
        flat = None if future is None else np.asarray(future, dtype=np.float64).reshape(len(panel) * steps, -1)
        parts = [_scaled(flat, self.known, len(panel) * steps).reshape(*shape, -1)]
        if self.calendar:
            parts.append(calendar_features(future_timestamps(panel, steps), panel.freq, panel.tz)[0])
        return np.concatenate(parts, axis=-1)

    def numbers_of(self, panel: Panel) -> np.ndarray:
        """(S, K) int64: the number of each category of each series."""
        tables = [{word: i + 1 for i, word in enumerate(words)} for words in self.categories]
        found = [[table.get(word, UNSEEN) for table, word in zip(tables, row, strict=True)] for row in panel.static_categories]
        return np.array(found, dtype=np.int64).reshape(len(panel), len(self.categories))


class WindowData:
    """The values of a panel as flat tensors on a device, and batches gathered from them."""

    def __init__(
        self,
        panel: Panel,
        device: torch.device,
        *,
        context: int,
        horizon: int,
        inputs: Inputs | None = None,
        future: FloatArray | None = None,
    ) -> None:
        """`future` (S, steps, channels), see `Inputs.future_of`: what a forecast knows; without it, rows of the panel."""
        self.target = torch.from_numpy(np.nan_to_num(panel.target, nan=0.0)).to(device)
        self.observed = torch.from_numpy(np.isfinite(panel.target)).to(device)
        rows = np.where(panel.target < 0, np.arange(len(panel.target)), len(panel.target))
        first_negative = np.minimum.reduceat(rows, panel.offsets[:-1]) if len(panel) else rows  # (S,) absolute row
        self.first_negative = torch.from_numpy(first_negative).to(device)
        self.back = torch.arange(-context, horizon, device=device)
        self.context = context
        self.device = device
        inputs = inputs or Inputs()
        self.known = _tensor(inputs.known_of(panel), device) if inputs.channels(panel) else None
        self.future = None if future is None else _tensor(future, device)
        self.past = _tensor(_scaled(panel.past_covariates, inputs.past, len(panel.target)), device) if inputs.past else None
        self.static = _tensor(_scaled(panel.static_reals, inputs.static, len(panel)), device) if inputs.static else None
        self.category = torch.from_numpy(inputs.numbers_of(panel)).to(device) if inputs.categories else None

    def gather(self, windows: Windows) -> WindowBatch:
        origins, firsts, ends, series = (
            torch.from_numpy(np.ascontiguousarray(rows)).to(self.device).unsqueeze(1)
            for rows in (windows.origins, windows.firsts, windows.ends, windows.series)
        )
        rows = origins + self.back  # (B, T + H)
        inside = (rows >= firsts) & (rows < ends)
        rows = rows.clamp(0, len(self.target) - 1)
        there = inside & self.observed[rows]
        values = torch.where(there, self.target[rows], 0.0)
        signed = self.first_negative[series] < origins  # (B, 1) what comes after the origin must not tell
        t, number = self.context, series.squeeze(1)
        return WindowBatch(
            past=values[:, :t],
            seen=there[:, :t],
            future=values[:, t:],
            known=there[:, t:],
            signed=signed,
            covariates=self._covariates(rows, inside, number),
            past_covariates=None if self.past is None else self.past[rows[:, :t]] * inside[:, :t, None],
            static=None if self.static is None else self.static[number],
            category=None if self.category is None else self.category[number],
        )

    def _covariates(self, rows: Tensor, inside: Tensor, series: Tensor) -> Tensor | None:
        """(B, T + H, channels)."""
        if self.known is None:
            return None
        if self.future is None:
            return self.known[rows] * inside.unsqueeze(-1)
        t = self.context
        return torch.cat([self.known[rows[:, :t]] * inside[:, :t, None], self.future[series]], dim=1)


def check_future(panel: Panel, future: FloatArray | None) -> None:
    """Refuse a future with a hole, by its name.

    Raises:
        CovariateError: a value is NaN or infinite.
    """
    if future is None or np.isfinite(future).all():
        return
    series, step, channel = (int(place[0]) for place in np.nonzero(~np.isfinite(future)))
    raise CovariateError(
        f"covariate {panel.covariate_names[channel]!r} of series {panel.series_ids[series]!r} is {future[series, step, channel]} "
        f"at step {step + 1} of its future; give every step a number",
        series_id=panel.series_ids[series],
        field="future",
    )


def _sizes(values: FloatArray | None) -> tuple[tuple[float, float], ...]:
    """(mean, deviation) of each column over what is finite; deviation 1 of a constant one."""
    if values is None or not len(values):
        return ()
    finite = np.where(np.isfinite(values), values, np.nan)
    found = []
    for column in finite.T:
        known = column[~np.isnan(column)]
        mean, deviation = (float(known.mean()), float(known.std())) if len(known) else (0.0, 1.0)
        found.append((mean, deviation if deviation > 1e-12 * max(abs(mean), 1e-300) else 1.0))
    return tuple(found)


def _scaled(values: FloatArray | None, sizes: tuple[tuple[float, float], ...], rows: int) -> FloatArray:
    """(rows, C) brought to size one; what is missing becomes the mean, 0."""
    if values is None or not sizes:
        return np.zeros((rows, len(sizes)))
    mean, deviation = np.array(sizes).T
    scaled: FloatArray = np.clip((values - mean) / deviation, -10.0, 10.0)
    return np.nan_to_num(scaled, nan=0.0)


def _tensor(values: FloatArray, device: torch.device) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32)).to(device)
