"""Long arrays -> pieces of them, so that temporaries stay small and what a memory map has read is let go again."""

import mmap
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from tsforecast.panel import IntArray

PIECE = 1 << 18  # rows


def pieces(array: npt.NDArray[Any], size: int = PIECE) -> Iterator[npt.NDArray[Any]]:
    """`array`, `size` rows at a time, as views."""
    for start in range(0, len(array), size):
        yield array[start : start + size]
        let_go(array)


def series_blocks(offsets: IntArray, most: int = PIECE) -> Iterator[slice]:
    """The numbers of the series, cut where at most `most` rows lie between; a longer series has a block of its own."""
    first, count = 0, len(offsets) - 1
    while first < count:
        last = max(int(np.searchsorted(offsets, offsets[first] + most, side="right")) - 1, first + 1)
        yield slice(first, last)
        first = last


def mapped_file(array: npt.NDArray[Any] | None) -> mmap.mmap | None:
    """The read-only memory map that the values of `array` lie in; None where they lie in memory."""
    mapped = False
    below: Any = array
    while isinstance(below, np.ndarray):
        mapped = mapped or (isinstance(below, np.memmap) and below.mode == "r")  # other modes may have changes of their own
        below = below.base
    return below if mapped and isinstance(below, mmap.mmap) else None


def let_go(array: npt.NDArray[Any] | None) -> None:
    """Give back the memory that reading a memory-mapped array has taken; it is read again when it is wanted again."""
    found = mapped_file(array)
    if found is not None and hasattr(mmap, "MADV_DONTNEED"):
        found.madvise(mmap.MADV_DONTNEED)
