"""Panel -> batches of windows: here arrays become tensors.

All values lie flat on the device and are gathered there by index. Those of a memory-mapped panel, or of one too large for
the device, stay where they are, and each batch is gathered from them and sent.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, Self

import numpy as np
import torch
from torch import Tensor

from tsforecast.errors import CovariateError
from tsforecast.nn.window_network import WindowBatch
from tsforecast.panel import FloatArray, IntArray, Panel
from tsforecast.preprocessing.blocks import let_go, mapped_file, pieces
from tsforecast.preprocessing.calendar import (
    Zone,
    calendar_features,
    future_timestamps,
    zones_at,
    zones_of_future,
    zones_of_rows,
)
from tsforecast.preprocessing.windows import Windows

MOST_OF_DEVICE = 0.5  # share of the memory of a GPU that the values of a panel may take
READ_AT_ONCE = 128  # windows read from a memory map before it is let go
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

    def known_of(self, panel: Panel, rows: IntArray | slice = slice(None)) -> FloatArray:
        """(N, channels) of the rows of `panel`, or (…, channels) of some of them."""
        values = None if panel.covariates is None else panel.covariates[rows]
        parts = [_scaled(values, self.known, panel.target[rows].shape)]
        if self.calendar:
            parts.append(calendar_features(panel.timestamps[rows], panel.freq, _zones_of(panel, rows))[0])
        return np.concatenate(parts, axis=-1)

    def past_of(self, panel: Panel, rows: IntArray | slice = slice(None)) -> FloatArray:
        """(N, P) of the rows of `panel`, or (…, P) of some of them."""
        values = None if panel.past_covariates is None else panel.past_covariates[rows]
        return _scaled(values, self.past, panel.target[rows].shape)

    def future_of(self, panel: Panel, future: FloatArray | None, steps: int) -> FloatArray:
        """(S, steps, channels) of the steps after `panel`."""
        shape = (len(panel), steps)
        flat = None if future is None else np.asarray(future, dtype=np.float64).reshape(len(panel) * steps, -1)
        parts = [_scaled(flat, self.known, (len(panel) * steps,)).reshape(*shape, -1)]
        if self.calendar:
            parts.append(calendar_features(future_timestamps(panel, steps), panel.freq, zones_of_future(panel))[0])
        return np.concatenate(parts, axis=-1)

    def numbers_of(self, panel: Panel) -> np.ndarray:
        """(S, K) int64: the number of each category of each series."""
        tables = [{word: i + 1 for i, word in enumerate(words)} for words in self.categories]
        found = [[table.get(word, UNSEEN) for table, word in zip(tables, row, strict=True)] for row in panel.static_categories]
        return np.array(found, dtype=np.int64).reshape(len(panel), len(self.categories))


class RowValues(Protocol):
    """What the rows of a panel hold, by their numbers: tensors of any shape, and the answers, lie on the device."""

    def target(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """(values with 0 where there is none, is observed)."""

    def known(self, rows: Tensor) -> Tensor:
        """(…, channels)"""

    def past(self, rows: Tensor) -> Tensor:
        """(…, P)"""


class OnDevice:
    """All rows as flat tensors."""

    def __init__(self, panel: Panel, device: torch.device, inputs: Inputs) -> None:
        self.values = torch.from_numpy(np.nan_to_num(panel.target, nan=0.0)).to(device)
        self.observed = torch.from_numpy(np.isfinite(panel.target)).to(device)
        self.covariates = _tensor(inputs.known_of(panel), device) if inputs.channels(panel) else None
        self.past_covariates = _tensor(inputs.past_of(panel), device) if inputs.past else None

    def target(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        return self.values[rows], self.observed[rows]

    def known(self, rows: Tensor) -> Tensor:
        assert self.covariates is not None
        return self.covariates[rows]

    def past(self, rows: Tensor) -> Tensor:
        assert self.past_covariates is not None
        return self.past_covariates[rows]


class InPanel:
    """Rows that are read from the panel when they are wanted; a memory map keeps none of them in memory afterwards."""

    def __init__(self, panel: Panel, device: torch.device, inputs: Inputs) -> None:
        self.panel, self.device, self.inputs = panel, device, inputs

    def target(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        values = torch.from_numpy(self._read(lambda some: self.panel.target[some], rows))
        return values.nan_to_num(nan=0.0).to(self.device), values.isfinite().to(self.device)

    def known(self, rows: Tensor) -> Tensor:
        return _tensor(self._read(lambda some: self.inputs.known_of(self.panel, some), rows), self.device)

    def past(self, rows: Tensor) -> Tensor:
        return _tensor(self._read(lambda some: self.inputs.past_of(self.panel, some), rows), self.device)

    def _read(self, read: Callable[[IntArray], FloatArray], rows: Tensor) -> FloatArray:
        """What `read` makes of rows (B, W), few windows at a time: the system maps many pages around each that is looked at."""
        parts = []
        for some in pieces(rows.cpu().numpy(), READ_AT_ONCE):
            parts.append(read(some))
            for array in (self.panel.target, self.panel.timestamps, self.panel.covariates, self.panel.past_covariates):
                let_go(array)
        return np.concatenate(parts)


class WindowData:
    """The values of a panel, and batches gathered from them, on a device."""

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
        inputs = inputs or Inputs()
        stays = mapped_file(panel.target) is not None or _too_large(panel, inputs, device)
        self.rows: RowValues = InPanel(panel, device, inputs) if stays else OnDevice(panel, device, inputs)
        self.count = len(panel.target)
        self.first_negative = torch.from_numpy(first_negative(panel)).to(device)
        self.back = torch.arange(-context, horizon, device=device)
        self.context = context
        self.device = device
        self.has_known, self.has_past = bool(inputs.channels(panel)), bool(inputs.past)
        self.future = None if future is None else _tensor(future, device)
        self.static = _tensor(_scaled(panel.static_reals, inputs.static, (len(panel),)), device) if inputs.static else None
        self.category = torch.from_numpy(inputs.numbers_of(panel)).to(device) if inputs.categories else None

    def gather(self, windows: Windows) -> WindowBatch:
        origins, firsts, ends, series = (
            torch.from_numpy(np.ascontiguousarray(rows)).to(self.device).unsqueeze(1)
            for rows in (windows.origins, windows.firsts, windows.ends, windows.series)
        )
        rows = origins + self.back  # (B, T + H)
        inside = (rows >= firsts) & (rows < ends)
        rows = rows.clamp(0, self.count - 1)
        values, observed = self.rows.target(rows)
        there = inside & observed
        values = torch.where(there, values, 0.0)
        signed = self.first_negative[series] < origins  # (B, 1) what comes after the origin must not tell
        t, number = self.context, series.squeeze(1)
        return WindowBatch(
            past=values[:, :t],
            seen=there[:, :t],
            future=values[:, t:],
            known=there[:, t:],
            signed=signed,
            covariates=self._covariates(rows, inside, number),
            past_covariates=self.rows.past(rows[:, :t]) * inside[:, :t, None] if self.has_past else None,
            static=None if self.static is None else self.static[number],
            category=None if self.category is None else self.category[number],
        )

    def _covariates(self, rows: Tensor, inside: Tensor, series: Tensor) -> Tensor | None:
        """(B, T + H, channels)."""
        if not self.has_known:
            return None
        if self.future is None:
            return self.rows.known(rows) * inside.unsqueeze(-1)
        t = self.context
        return torch.cat([self.rows.known(rows[:, :t]) * inside[:, :t, None], self.future[series]], dim=1)


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


def _too_large(panel: Panel, inputs: Inputs, device: torch.device) -> bool:
    """Whether the values would take more than their share of a GPU."""
    if device.type != "cuda":
        return False
    channels = inputs.channels(panel) + len(inputs.past)
    needed = len(panel.target) * (8 + 1 + 4 * channels)  # float64, bool, float32
    return needed > MOST_OF_DEVICE * float(torch.cuda.get_device_properties(device).total_memory)


def first_negative(panel: Panel) -> IntArray:
    """The first row of each series with a value below zero, (S,), or the number of rows where there is none."""
    found = np.full(len(panel), len(panel.target), dtype=np.int64)
    start = 0
    for piece in pieces(panel.target):
        rows = start + np.flatnonzero(piece < 0)
        np.minimum.at(found, np.searchsorted(panel.offsets, rows, side="right") - 1, rows)
        start += len(piece)
    return found


def _sizes(values: FloatArray | None) -> tuple[tuple[float, float], ...]:
    """(mean, deviation) of each column over what is finite; deviation 1 of a constant one."""
    if values is None or not len(values):
        return ()
    found = []
    for column in values.T:
        mean, deviation = _size(column)
        found.append((mean, deviation if deviation > 1e-12 * max(abs(mean), 1e-300) else 1.0))
    return tuple(found)


def _size(column: FloatArray) -> tuple[float, float]:
    """(mean, deviation) over what is finite, in two passes; (0, 1) where nothing is."""
    count, total = 0, 0.0
    for piece in pieces(column):
        known = piece[np.isfinite(piece)]
        count, total = count + len(known), total + float(known.sum())
    if not count:
        return 0.0, 1.0
    mean = total / count
    squares = sum(float(((piece[np.isfinite(piece)] - mean) ** 2).sum()) for piece in pieces(column))
    return mean, float(np.sqrt(squares / count))


def _zones_of(panel: Panel, rows: IntArray | slice) -> Zone:
    if isinstance(rows, slice) or not panel.zones:
        return zones_of_rows(panel)
    return zones_at(panel.tz, panel.zones, np.searchsorted(panel.offsets, rows, side="right") - 1)


def _scaled(values: FloatArray | None, sizes: tuple[tuple[float, float], ...], shape: tuple[int, ...]) -> FloatArray:
    """(…, C) brought to size one; what is missing becomes the mean, 0. `shape` is that without the last axis."""
    if values is None or not sizes:
        return np.zeros((*shape, len(sizes)))
    mean, deviation = np.array(sizes).T
    scaled: FloatArray = np.clip((values - mean) / deviation, -10.0, 10.0)
    return np.nan_to_num(scaled, nan=0.0)


def _tensor(values: FloatArray, device: torch.device) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32)).to(device)
