"""One channel of one series -> overlapping windows of it, and sums over the windows that cover a step."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from tsforecast.models.detector import Rows
from tsforecast.models.evidence import LEAST_SEEN, judgeable, steps_of
from tsforecast.panel import FloatArray, IntArray

CHUNK = 8192  # windows that go through a network together
LARGEST = 1e6  # standard deviations that a network is shown; its arithmetic is in single precision
MOST_POSITIONS = 2_000_000  # windows that training draws from


@dataclass(frozen=True, kw_only=True, slots=True)
class Column:
    """One channel as a network sees it: single precision, 0 where not observed, empty windows before its first step."""

    values: Tensor  # (P + T + E,)
    seen: Tensor  # the same, 1 where observed
    window: int  # steps, w
    steps: int  # T
    before: int  # P
    complete: bool  # whether every step is observed

    def first_with(self, share: float) -> int:
        """The first step at which that share of the window that ends there is inside the series."""
        return steps_of(share, self.window) - 1

    @classmethod
    def of(cls, values: FloatArray, window: int) -> "Column":
        """Of the standardised values of a channel, (T,), in windows of so many steps."""
        known, beside = np.isfinite(values), window + 1
        filled = np.clip(np.where(known, values, 0.0), -LARGEST, LARGEST).astype(np.float32)
        return cls(
            values=torch.from_numpy(np.pad(filled, beside)),
            seen=torch.from_numpy(np.pad(known.astype(np.float32), beside)),
            window=window,
            steps=len(values),
            before=beside,
            complete=bool(known.all()),
        )

    def judgeable(self, least_seen: float) -> Tensor:
        """Which of the windows that end at each step are judged, (T,), see `evidence.judgeable`."""
        if self.complete:
            return torch.arange(self.steps) >= self.first_with(least_seen)
        seen = self.seen[self.before : self.before + self.steps].numpy() > 0
        return torch.from_numpy(judgeable(seen[:, None], self.window, least_seen)[:, 0])

    def windows(self, first: int, count: int) -> tuple[Tensor, Tensor]:
        """(values, mask) of the windows that end at steps `first` … , (count, w) each, without a copy."""
        shape, start = (count, self.window), self.before + first - (self.window - 1)
        return self.values.as_strided(shape, (1, 1), start), self.seen.as_strided(shape, (1, 1), start)

    def points(self, first: int, count: int) -> tuple[Tensor, Tensor]:
        """(values, mask) of the points at steps `first` …, (count,) each; before the first and after the last step 0."""
        rows = slice(self.before + first, self.before + first + count)
        return self.values[rows], self.seen[rows]

    def chunks(self, first: int = 0) -> Iterator[tuple[int, int]]:
        """(first step, count) of the windows that end at step `first` or later, a chunk at a time."""
        start = max(first, self.first_with(LEAST_SEEN))
        if self.complete and start < (whole := min(self.window, self.steps)):
            yield start, whole - start  # those that begin before the first step, alone: the others have no holes
            start = whole
        for at in range(start, self.steps, CHUNK):
            yield at, min(CHUNK, self.steps - at)


class Overlap:
    """Sums over all windows that cover a step and are observed for a `share`, of what each says about it."""

    def __init__(self, column: Column, share: float) -> None:
        self.first = column.first_with(share)
        self.column, self.before = column, column.window - 1
        self.total = torch.zeros(self.before + column.steps)
        self.count = None if column.complete else torch.zeros_like(self.total)

    def add(self, first: int, said: Tensor, weight: Tensor | None) -> None:
        """Add what the windows that end at steps `first` … say, (w, n), where `weight` (w, n) is 1; None = everywhere.

        Of a column without holes it is known how many windows say something, and nothing is counted.
        """
        add_diagonals(self.total, first, said if weight is None else said * weight)
        if self.count is not None:
            add_diagonals(self.count, first, torch.ones_like(said) if weight is None else weight)

    def mean(self) -> FloatArray:
        """Mean over the windows that say something, (T,), NaN where none does."""
        total = self.total[self.before :].double().numpy()
        if self.count is None:
            steps = np.arange(self.column.steps)
            newest = np.minimum(self.column.steps - 1 - steps, self.column.window - 1)
            oldest = np.maximum(self.first - steps, 0)
            count = np.maximum(newest - oldest + 1, 0).astype(np.float64)
        else:
            count = self.count[self.before :].double().numpy()
        found: FloatArray = np.where(count > 0, total / np.maximum(count, 1), np.nan)
        return found


def add_diagonals(total: Tensor, first: int, said: Tensor) -> None:
    """total[first + i + j] += said[j, i]: windows (w, n) back onto the clock."""
    count = said.shape[1]
    for start, row in enumerate(said.unbind(), first):
        total[start : start + count].add_(row)


@dataclass(kw_only=True, slots=True)
class Tape:
    """All channels of all series end to end, and where windows to learn from end."""

    values: Tensor  # (L,)
    seen: Tensor  # (L,)
    ends: IntArray  # (W,) places of the last points of windows
    window: int  # steps, w

    @classmethod
    def of(cls, series: Sequence[Rows], window: int, *, ends: bool) -> "Tape":
        """Windows that lie whole in a series and are observed for at least half; with `ends` a step more on either side."""
        columns, places, length = [], [np.zeros(0, dtype=np.int64)], 0
        for rows in series:
            for c in range(rows.values.shape[1]):
                column = Column.of(rows.values[:, c], window)
                steps = np.arange(window - 1 + ends, column.steps - ends)
                seen = np.concatenate([[0.0], np.cumsum(column.seen.numpy(), dtype=np.float64)])
                covered = seen[column.before + steps + 1] - seen[column.before + steps + 1 - window]
                places.append(length + column.before + steps[covered >= LEAST_SEEN * window])
                columns.append(column)
                length += len(column.values)
        found = np.concatenate(places)
        if len(found) > MOST_POSITIONS:
            found = found[np.linspace(0, len(found) - 1, MOST_POSITIONS).astype(np.int64)]
        return cls(
            values=torch.cat([one.values for one in columns]) if columns else torch.zeros(0),
            seen=torch.cat([one.seen for one in columns]) if columns else torch.zeros(0),
            ends=found,
            window=window,
        )

    def __len__(self) -> int:
        return len(self.ends)

    def gather(self, chosen: IntArray, *, ends: bool, device: torch.device) -> tuple[Tensor, Tensor]:
        """(values, mask) of some windows, (B, w), or with `ends` (B, w + 2): the window, the point before, the point after."""
        steps = torch.arange(1 - self.window, 1, device=device)
        if ends:
            steps = torch.cat([steps, torch.tensor([-self.window, 1], device=device)])
        index = torch.from_numpy(self.ends[chosen]).to(device)[:, None] + steps
        return self.values[index], self.seen[index]

    def to(self, device: torch.device) -> "Tape":
        self.values, self.seen = self.values.to(device), self.seen.to(device)
        return self
