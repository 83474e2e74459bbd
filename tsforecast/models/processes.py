"""Chunks of tasks -> their answers, in parallel processes: for models that are fitted series by series."""

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from itertools import pairwise
from typing import TypeVar

import numpy as np

from tsforecast.errors import ModelError

Task = TypeVar("Task")
Answer = TypeVar("Answer")


def cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def split(tasks: Sequence[Task], *, seconds: float, chunk_seconds: float, workers: int) -> list[Sequence[Task]]:
    """The tasks, `seconds` of work, in parts of about `chunk_seconds`, but no fewer parts than there are workers."""
    parts = min(max(round(seconds / chunk_seconds), workers), len(tasks))
    edges = np.linspace(0, len(tasks), max(parts, 1) + 1).round().astype(int)
    return [tasks[start:stop] for start, stop in pairwise(edges)]


def in_processes(
    work: Callable[[Sequence[Task]], list[Answer]], chunks: Sequence[Sequence[Task]], *, workers: int, doing: Callable[[], str]
) -> Iterator[tuple[int, list[Answer]]]:
    """(number of a chunk, `work` of it), in the order they are done; `doing` says what was under way if a process dies.

    Raises:
        ModelError: a worker process died.
    """
    method = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
    pool = ProcessPoolExecutor(
        max_workers=min(workers, len(chunks)),
        mp_context=multiprocessing.get_context(method),
        initializer=os.putenv,  # runs before numpy is loaded, which reads it once; workers times threads thrash a machine
        initargs=("OMP_NUM_THREADS", "1"),
    )
    try:
        futures = {pool.submit(work, chunk): i for i, chunk in enumerate(chunks)}
        for future in as_completed(futures):
            yield futures[future], future.result()
    except BrokenProcessPool as error:
        raise ModelError(
            f"a worker process died while {doing()}; when memory ran out, "
            "use fewer processes (train.workers); a script has to start its work under if __name__ == '__main__'"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)
