import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from service.errors import Problem
from service.workers import Workers


def run(scenario: Callable[[], object]) -> None:
    asyncio.run(scenario())  # type: ignore[arg-type]


@asynccontextmanager
async def started(*, threads: int = 1, max_waiting: int = 1) -> AsyncIterator[Workers]:
    workers = Workers(threads=threads, max_waiting=max_waiting)
    workers.start()
    yield workers
    assert workers.stop(seconds=10)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.001)


def test_work_is_done_in_another_thread_and_its_result_or_error_comes_back() -> None:
    async def scenario() -> None:
        async with started() as workers:
            assert await workers.run(threading.get_ident, seconds=5) != threading.get_ident()
            with pytest.raises(ZeroDivisionError):
                await workers.run(lambda: 1 / 0, seconds=5)
            assert await workers.run(lambda: "alive", seconds=5) == "alive"

    run(scenario)


def test_as_many_jobs_run_at_once_as_there_are_threads_and_no_more() -> None:
    async def scenario() -> None:
        running, most, lock = 0, 0, threading.Lock()
        both = threading.Barrier(2, timeout=10)  # breaks unless two run at the same time

        def work() -> None:
            nonlocal running, most
            with lock:
                running += 1
                most = max(most, running)
            both.wait()
            with lock:
                running -= 1

        async with started(threads=2, max_waiting=4) as workers:
            await asyncio.gather(*(workers.run(work, seconds=10) for _ in range(6)))
        assert most == 2

    run(scenario)


def test_who_comes_when_too_many_wait_is_sent_away_with_a_time_to_come_back() -> None:
    async def scenario() -> None:
        gate = threading.Event()
        async with started(threads=1, max_waiting=1) as workers:
            first, second = (asyncio.create_task(workers.run(gate.wait, seconds=10)) for _ in range(2))
            await until(lambda: workers.waiting == 1)
            with pytest.raises(Problem) as caught:
                await workers.run(lambda: None, seconds=10)
            gate.set()
            await asyncio.gather(first, second)
            assert await workers.run(lambda: "served again", seconds=10) == "served again"
        problem = caught.value
        assert (problem.status, problem.kind, problem.headers) == (503, "overloaded", {"Retry-After": "1"})
        assert problem.detail == "2 requests are being computed or wait; try again in 1 s"

    run(scenario)


def test_a_timeout_answers_504_but_the_running_work_keeps_counting() -> None:
    async def scenario() -> None:
        gate = threading.Event()
        async with started(threads=1, max_waiting=0) as workers:
            with pytest.raises(Problem, match=r"still computing after 0\.01 s") as caught:
                await workers.run(gate.wait, seconds=0.01)
            assert (caught.value.status, caught.value.kind) == (504, "timeout")
            with pytest.raises(Problem) as caught:  # the thread is still busy
                await workers.run(lambda: None, seconds=10)
            assert caught.value.status == 503
            gate.set()
            await until(lambda: workers._unfinished == 0)
            assert await workers.run(lambda: "free", seconds=10) == "free"

    run(scenario)


def test_a_job_that_timed_out_before_its_turn_is_never_done() -> None:
    async def scenario() -> None:
        gate, done = threading.Event(), []
        async with started(threads=1, max_waiting=1) as workers:
            first = asyncio.create_task(workers.run(gate.wait, seconds=10))
            await until(lambda: workers._unfinished == 1)
            with pytest.raises(Problem, match="still waiting for its turn"):
                await workers.run(lambda: done.append("too late"), seconds=0.01)
            assert workers._unfinished == 1  # its place in the queue is free again
            gate.set()
            await first
            await workers.run(lambda: None, seconds=10)
        assert done == []

    run(scenario)


def test_the_time_to_come_back_grows_with_the_queue_and_with_how_long_work_takes() -> None:
    workers = Workers(threads=2, max_waiting=100)
    assert workers.retry_after() == 1
    workers._unfinished, workers._mean_seconds = 12, 3.0  # 10 wait, 2 at a time
    assert workers.retry_after() == 17  # 3 s x 11 / 2 = 16.5
    workers._unfinished, workers._mean_seconds = 102, 30.0
    assert workers.retry_after() == 60


def test_work_that_never_ends_does_not_stop_the_service_from_stopping() -> None:
    gate = threading.Event()
    workers = Workers(threads=1, max_waiting=0)

    async def scenario() -> None:
        workers.start()
        with pytest.raises(Problem):
            await workers.run(gate.wait, seconds=0.01)
        began = time.monotonic()
        assert not workers.stop(seconds=0.05)
        assert time.monotonic() - began < 60

    run(scenario)
    gate.set()  # the loop is closed by now: the late answer is dropped, which must not raise in the thread
    workers._alive[0].join(10)
    assert not workers._alive[0].is_alive()
    assert workers._alive[0].daemon  # else the interpreter would wait for it at its end
