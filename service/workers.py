"""Work -> its result, in a bounded number of threads, within a bounded time. Keeps computing off the event loop.

A thread cannot be stopped: after a timeout its work goes on, its answer is dropped, and it keeps counting against the
bound until it ends, so that timeouts never let more than `threads` computations run.
"""

import asyncio
import logging
import math
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from service.errors import Problem

log = logging.getLogger("service.workers")
Result = TypeVar("Result")


@dataclass(kw_only=True, slots=True, eq=False)
class _Job:
    work: Callable[[], Any]
    loop: asyncio.AbstractEventLoop
    done: "asyncio.Future[Any]"
    started: bool = False  # set by the thread
    counted: bool = True  # read and written on the event loop only


@dataclass(kw_only=True, slots=True, eq=False)
class Workers:
    """Threads that take jobs in order of arrival. Build it anywhere, use it from one event loop."""

    threads: int
    max_waiting: int  # jobs
    _queue: "queue.SimpleQueue[_Job | None]" = field(default_factory=queue.SimpleQueue)
    _alive: list[threading.Thread] = field(default_factory=list)
    _unfinished: int = 0  # jobs that wait or run
    _mean_seconds: float = 0.1  # of the latest jobs, exponentially weighted

    def start(self) -> None:
        """Start the threads; they are daemons, so a computation that never ends does not keep the process alive."""
        for number in range(self.threads):
            thread = threading.Thread(target=self._serve, name=f"forecast-{number}", daemon=True)
            thread.start()
            self._alive.append(thread)

    def stop(self, *, seconds: float) -> bool:
        """Take no new jobs and wait up to `seconds` for those there are; True if all ended."""
        for _ in self._alive:
            self._queue.put(None)
        end = time.monotonic() + seconds
        for thread in self._alive:
            thread.join(max(0.0, end - time.monotonic()))
        return not any(thread.is_alive() for thread in self._alive)

    @property
    def waiting(self) -> int:
        """Jobs that no thread has taken yet."""
        return max(0, self._unfinished - self.threads)

    def retry_after(self) -> int:
        """Seconds until a thread is likely to be free, from how long the latest jobs took: 1 … 60."""
        return min(60, max(1, math.ceil(self._mean_seconds * (self.waiting + 1) / self.threads)))

    async def run(self, work: Callable[[], Result], *, seconds: float) -> Result:
        """The result of `work()`, or what it raised.

        Raises:
            Problem: 503 when too many wait already, 504 when it is not done after `seconds`.
        """
        if self._unfinished >= self.threads + self.max_waiting:
            after = self.retry_after()
            raise Problem(
                503,
                "overloaded",
                f"{self._unfinished} requests are being computed or wait; try again in {after} s",
                headers={"Retry-After": str(after)},
            )
        loop = asyncio.get_running_loop()
        job = _Job(work=work, loop=loop, done=loop.create_future())
        self._unfinished += 1
        self._queue.put(job)
        limit = asyncio.timeout(seconds)
        try:
            async with limit:
                result: Result = await job.done
                return result
        except TimeoutError:
            if not limit.expired():
                raise
            doing = "computing" if job.started else "waiting for its turn"
            detail = f"the request was still {doing} after {seconds:g} s; ask for fewer series or steps, or try again later"
            raise Problem(504, "timeout", detail, headers={"Retry-After": str(self.retry_after())}) from None
        finally:
            if not job.started:
                self._release(job)

    def _release(self, job: _Job) -> None:
        if job.counted:
            job.counted = False
            self._unfinished -= 1

    def _serve(self) -> None:
        while (job := self._queue.get()) is not None:
            if job.done.cancelled():  # its caller has gone before its turn came
                continue
            job.started = True
            began = time.perf_counter()
            result, error = None, None
            try:
                result = job.work()
            except BaseException as raised:
                error = raised
            try:
                job.loop.call_soon_threadsafe(self._finish, job, result, error, time.perf_counter() - began)
            except RuntimeError:
                log.warning("the service ended before a computation did; its answer is dropped")
                return

    def _finish(self, job: _Job, result: Any, error: BaseException | None, seconds: float) -> None:
        """Back on the event loop."""
        self._mean_seconds += 0.2 * (seconds - self._mean_seconds)
        self._release(job)
        if job.done.done():
            if error is not None:
                log.error("a computation failed after its request had timed out", exc_info=error)
            return
        if error is None:
            job.done.set_result(result)
        else:
            job.done.set_exception(error)
