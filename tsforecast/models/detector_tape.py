"""One channel of one series -> overlapping windows of it, and sums over the windows that cover a step."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from tsforecast.models.detector import Rows
from tsforecast.models.evidence import trailing_mean
from tsforecast.panel import FloatArray, IntArray

CHUNK = 8192  # windows that go through a network together
LARGEST = 1e6  # standard deviations that a network is shown; its arithmetic is in single precision
MOST_POSITIONS = 2_000_000  # windows that training draws from
LEAST_SEEN = 0.5  # share of a window that must be observed


@dataclass(frozen=True, kw_only=True, slots=True)
class View:
    """How long a window is, and how coarse: `window` points, each the mean of `every` steps."""

    window: int  # points
    every: int = 1  # steps from a point to the next

    @property
    def span(self) -> int:
        """Steps that a window covers."""
        return self.window * self.every


@dataclass(frozen=True, kw_only=True, slots=True)
class Column:
    """One channel as a network sees it: single precision, 0 where not observed, empty windows before its first step."""

    values: Tensor  # (P + T + E,)
    seen: Tensor  # the same, 1 where observed
    view: View
    steps: int  # T
    before: int  # P
    complete: bool  # whether every step is observed

    @property
    def first_judged(self) -> int:
        """The first step at which enough of the window that ends there is inside the series."""
        return (int(np.ceil(LEAST_SEEN * self.view.window)) - 1) * self.view.every

    @classmethod
    def of(cls, values: FloatArray, view: View) -> "Column":
        """Of the standardised values of a channel, (T,)."""
        coarse = trailing_mean(values, view.every) if view.every > 1 else values
        known = np.isfinite(coarse)
        before, after = view.span + view.every, view.span + view.every
        filled = np.clip(np.where(known, coarse, 0.0), -LARGEST, LARGEST).astype(np.float32)
        return cls(
            values=torch.from_numpy(np.pad(filled, (before, after))),
            seen=torch.from_numpy(np.pad(known.astype(np.float32), (before, after))),
            view=view,
            steps=len(values),
            before=before,
            complete=bool(known.all()),
        )

    def windows(self, first: int, count: int, *, shift: int = 0) -> tuple[Tensor, Tensor]:
        """(values, mask) of the windows that end at steps `first` … , (count, w) each, without a copy."""
        start = self.before + first - (self.view.window - 1) * self.view.every + shift
        shape, stride = (count, self.view.window), (1, self.view.every)
        return self.values.as_strided(shape, stride, start), self.seen.as_strided(shape, stride, start)

    def points(self, first: int, count: int) -> tuple[Tensor, Tensor]:
        """(values, mask) of the points at steps `first` …, (count,) each; before the first and after the last step 0."""
        rows = slice(self.before + first, self.before + first + count)
        return self.values[rows], self.seen[rows]

    def chunks(self, first: int = 0) -> Iterator[tuple[int, int]]:
        """(first step, count) of the windows that end at step `first` or later, a chunk at a time."""
        for start in range(max(first, self.first_judged), self.steps, CHUNK):
            yield start, min(CHUNK, self.steps - start)


class Overlap:
    """Sums over all windows that cover a step, of what each says about it."""

    def __init__(self, column: Column) -> None:
        self.column, self.before = column, (column.view.window - 1) * column.view.every
        self.total = torch.zeros(self.before + column.steps)
        self.count = None if column.complete else torch.zeros_like(self.total)

    def add(self, first: int, said: Tensor, weight: Tensor) -> None:
        """Add what the windows that end at steps `first` … say, (w, n), where `weight` (w, n) is 1 and not 0.

        Of a column without holes the weights are known: 1 at every step from the first on.
        """
        every = self.column.view.every
        add_diagonals(self.total, first, said if self.count is None else said * weight, every)
        if self.count is not None:
            add_diagonals(self.count, first, weight, every)

    def mean(self) -> FloatArray:
        """Mean over the windows that say something, (T,), NaN where none does."""
        total = self.total[self.before :].double().numpy()
        if self.count is None:
            view, steps = self.column.view, np.arange(self.column.steps)
            newest = np.minimum((self.column.steps - 1 - steps) // view.every, view.window - 1)
            oldest = np.maximum(-(-(self.column.first_judged - steps) // view.every), 0)
            count = np.maximum(newest - oldest + 1, 0).astype(np.float64)
        else:
            count = self.count[self.before :].double().numpy()
        found: FloatArray = np.where(count > 0, total / np.maximum(count, 1), np.nan)
        return found


def add_diagonals(total: Tensor, first: int, said: Tensor, every: int) -> None:
    """total[first + i + j * every] += said[j, i]: windows (w, n) back onto the clock."""
    count = said.shape[1]
    for j, row in enumerate(said.unbind()):
        start = first + j * every
        total[start : start + count].add_(row)


@dataclass(kw_only=True, slots=True)
class Tape:
    """All channels of all series end to end, and where windows to learn from end."""

    values: Tensor  # (L,)
    seen: Tensor  # (L,)
    ends: IntArray  # (W,) places of the last points of windows
    view: View
    owner: IntArray = field(default_factory=lambda: np.zeros(0, dtype=np.int64))  # (W,) series of each window

    @classmethod
    def of(cls, series: Sequence[Rows], view: View, *, ends: bool) -> "Tape":
        """Windows that lie whole in a series and are observed for at least half; with `ends` a step more on either side."""
        columns, places, owner, length = [], [], [], 0
        for i, rows in enumerate(series):
            for c in range(rows.values.shape[1]):
                column = Column.of(rows.values[:, c], view)
                first, last = view.span - view.every + ends * view.every, column.steps - ends * view.every
                if last > first:
                    steps = np.arange(first, last)
                    seen = np.concatenate([[0.0], np.cumsum(column.seen.numpy(), dtype=np.float64)])
                    if view.every == 1:
                        covered = seen[column.before + steps + 1] - seen[column.before + steps + 1 - view.window]
                    else:
                        covered = sum(column.seen.numpy()[column.before + steps - j * view.every] for j in range(view.window))
                    steps = steps[covered >= LEAST_SEEN * view.window]
                    places.append(length + column.before + steps)
                    owner.append(np.full(len(steps), i))
                columns.append(column)
                length += len(column.values)
        empty = np.zeros(0, dtype=np.int64)
        found, whose = np.concatenate([empty, *places]), np.concatenate([empty, *owner])
        if len(found) > MOST_POSITIONS:
            kept = np.linspace(0, len(found) - 1, MOST_POSITIONS).astype(np.int64)
            found, whose = found[kept], whose[kept]
        return cls(
            values=torch.cat([one.values for one in columns]) if columns else torch.zeros(0),
            seen=torch.cat([one.seen for one in columns]) if columns else torch.zeros(0),
            ends=found,
            view=view,
            owner=whose,
        )

    def __len__(self) -> int:
        return len(self.ends)

    def gather(self, chosen: IntArray, *, ends: bool, device: torch.device) -> tuple[Tensor, Tensor]:
        """(values, mask) of some windows, (B, w), or with `ends` (B, w + 2): the window, the point before, the point after."""
        w, every = self.view.window, self.view.every
        steps = torch.arange(w, device=device) * every - (w - 1) * every
        if ends:
            steps = torch.cat([steps, torch.tensor([-w * every, every], device=device)])
        index = torch.from_numpy(self.ends[chosen]).to(device)[:, None] + steps
        return self.values[index], self.seen[index]

    def to(self, device: torch.device) -> "Tape":
        self.values, self.seen = self.values.to(device), self.seen.to(device)
        return self
