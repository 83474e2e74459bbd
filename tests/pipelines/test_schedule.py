"""Each slot is run once, whoever schedules, and what was under way when everything was killed is taken up again."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pipelines.ledger import LEASE, Ledger
from pipelines.recipe import RecipeFile
from pipelines.schedule import Outside, Scheduler, stop_on_signals
from tests.pipelines.fakes import RECIPE, TREND
from tsforecast.errors import RecipeError

Write = Callable[..., RecipeFile]
NOW = datetime(2024, 1, 17, 14, 30, tzinfo=UTC)
DAILY = '[schedule]\ncron = "0 6 * * *"\ntimezone = "Europe/Berlin"\n'
SLOT = datetime(2024, 1, 17, 5, 0, tzinfo=UTC)  # 06:00 in Berlin


class FakeProcess:
    """A run that ends with `code`; None = runs until it is asked to end, and then notes that."""

    def __init__(self, code: int | None, on_wait: Callable[[], None] = lambda: None) -> None:
        self.code, self.on_wait, self.terminated = code, on_wait, False

    def wait(self, timeout: float | None = None) -> int:
        self.on_wait()
        if self.code is None and not self.terminated:
            raise subprocess.TimeoutExpired("run", timeout or 0.0)
        return -15 if self.code is None else self.code

    def terminate(self) -> None:
        self.terminated = True

    def kill(self) -> None:
        raise AssertionError("it ended when asked")


class World:
    """A clock that stands still unless told, and a record of what was started."""

    def __init__(self, folder: Path) -> None:
        self.now, self.folder = NOW, folder
        self.started: list[tuple[str, str]] = []
        self.process: Callable[[], FakeProcess] = lambda: FakeProcess(0)
        self.told: list[str] = []
        self.stop = threading.Event()

    def start(self, file: RecipeFile, as_of: str) -> FakeProcess:
        self.started.append((file.recipe.name, as_of))
        return self.process()

    def scheduler(self, *files: RecipeFile, owner: str = "one") -> Scheduler:
        outside = Outside(clock=lambda: self.now, start=self.start, stop=self.stop, tell=self.told.append)
        return Scheduler(files, ledger=Ledger(self.folder / "schedule.db", owner=owner), outside=outside)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.fixture
def daily(write: Write) -> RecipeFile:
    return write(DAILY, TREND)


def test_the_latest_missed_slot_is_run_once_as_of_its_wall_clock(world: World, daily: RecipeFile) -> None:
    scheduler = world.scheduler(daily)
    assert scheduler.run_due() == [("quarters", "2024-01-17T06:00:00+01:00", 0)]
    assert scheduler.run_due() == []
    world.now += timedelta(days=3)
    assert scheduler.run_due() == [("quarters", "2024-01-20T06:00:00+01:00", 0)]  # the 18th and 19th are past
    assert [entry.state for entry in scheduler.ledger.entries()] == ["done", "done"]


def test_a_slot_belongs_to_one_scheduler(world: World, daily: RecipeFile) -> None:
    one, other = world.scheduler(daily), world.scheduler(daily, owner="other")
    answers: list[list[tuple[str, str, int | None]]] = []

    def process() -> FakeProcess:  # while one runs, the other looks
        return FakeProcess(0, on_wait=lambda: answers.append(other.run_due()))

    world.process = process
    one.run_due()
    assert answers == [[]]
    assert len(world.started) == 1


def test_many_claims_at_once_give_the_slot_to_one(tmp_path: Path) -> None:
    ledgers = [Ledger(tmp_path / "s.db", owner=str(i)) for i in range(8)]
    won: list[bool] = []
    threads = [
        threading.Thread(target=lambda one=one: won.append(one.claim("r", slot=SLOT, as_of="x", now=NOW))) for one in ledgers
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(won) == [False] * 7 + [True]


def test_a_slot_whose_worker_died_is_taken_over_when_its_lease_has_run_out(world: World, daily: RecipeFile) -> None:
    dead = Ledger(world.folder / "schedule.db", owner="dead")
    assert dead.claim("quarters", slot=SLOT - timedelta(days=1), as_of="2024-01-16T06:00:00+01:00", now=NOW)
    scheduler = world.scheduler(daily)
    assert [as_of for _, as_of, _ in scheduler.run_due()] == ["2024-01-17T06:00:00+01:00"]  # the lease still holds
    world.now += LEASE + timedelta(seconds=1)
    assert [as_of for _, as_of, _ in scheduler.run_due()] == ["2024-01-16T06:00:00+01:00"]
    first = scheduler.ledger.entries()[0]
    assert (first.state, first.owner, first.attempts) == ("done", "one", 2)
    assert not dead.renew("quarters", slot=SLOT - timedelta(days=1), now=world.now)


def test_a_long_run_keeps_its_lease(world: World, daily: RecipeFile) -> None:
    other = world.scheduler(daily, owner="other")
    looks: list[object] = []

    def process() -> FakeProcess:
        process = FakeProcess(None)

        def later() -> None:
            world.now += LEASE / 2
            looks.append(other.run_due())
            if len(looks) == 6:
                process.code = 0

        process.on_wait = later
        return process

    world.process = process
    assert world.scheduler(daily).run_due()[0][2] == 0
    assert looks == [[]] * 6


def test_a_stop_ends_the_run_and_gives_its_slot_back(world: World, daily: RecipeFile) -> None:
    running = FakeProcess(None, on_wait=world.stop.set)
    world.process = lambda: running
    scheduler = world.scheduler(daily)
    assert scheduler.run_due() == [("quarters", "2024-01-17T06:00:00+01:00", None)]
    assert running.terminated
    assert scheduler.ledger.entries()[0].state == "released"
    world.stop.clear()
    world.process = lambda: FakeProcess(0)
    assert world.scheduler(daily, owner="next").run_due() == [("quarters", "2024-01-17T06:00:00+01:00", 0)]


@pytest.mark.parametrize(("code", "state"), [(0, "done"), (3, "done"), (4, "done"), (1, "failed"), (2, "failed"), (-9, "failed")])
def test_the_ledger_notes_how_a_run_ended(world: World, daily: RecipeFile, code: int, state: str) -> None:
    world.process = lambda: FakeProcess(code)
    scheduler = world.scheduler(daily)
    scheduler.run_due()
    assert (scheduler.ledger.entries()[0].state, scheduler.ledger.entries()[0].exit_code) == (state, code)
    assert scheduler.run_due() == []
    assert world.told[-1] == f"quarters: {state} as of 2024-01-17T06:00:00+01:00, exit code {code}"


def test_a_run_folder_in_use_is_tried_again(world: World, daily: RecipeFile) -> None:
    world.process = lambda: FakeProcess(5)
    scheduler = world.scheduler(daily)
    scheduler.run_due()
    world.process = lambda: FakeProcess(0)
    assert scheduler.run_due() == [("quarters", "2024-01-17T06:00:00+01:00", 0)]


def test_forever_ends_at_the_stop_and_sleeps_no_longer_than_to_the_next_slot(world: World, daily: RecipeFile) -> None:
    scheduler = world.scheduler(daily)
    world.now = SLOT - timedelta(seconds=2)
    assert scheduler.seconds_to_next() == 2.0
    world.now = SLOT
    assert scheduler.seconds_to_next() == 5.0
    world.process = lambda: FakeProcess(0, on_wait=world.stop.set)
    scheduler.run_forever()
    assert world.told[0] == "quarters: next at 2024-01-18 06:00:00+01:00"
    assert len(world.started) == 1


def test_recipes_that_cannot_be_scheduled_are_named(world: World, write: Write, daily: RecipeFile) -> None:
    with pytest.raises(RecipeError, match=r'other\.toml: \[schedule\] is missing; add cron = "0 6 \* \* \*"'):
        world.scheduler(write(TREND, name="other.toml"))
    with pytest.raises(RecipeError, match="two recipes are called 'quarters'; the ledger tells them apart by name"):
        world.scheduler(daily, write(DAILY, TREND, name="other.toml"))


def test_sigterm_sets_the_stop() -> None:
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        stop = stop_on_signals()
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.wait(5)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def test_the_command_runs_what_is_due_in_a_process_of_its_own(write: Write, tmp_path: Path) -> None:
    minutely = '[schedule]\ncron = "* * * * *"\n'
    write(minutely, '[[models]]\nname = "seasonal_naive"\n', head=RECIPE)
    command = [sys.executable, "-m", "pipelines", "schedule", "recipe.toml", "--once-due"]
    root = str(Path(__file__).parents[2])
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": root}, check=False
    )
    assert done.returncode == 4, done.stderr  # nothing but the baseline: nothing to promote
    assert "quarters: done as of " in done.stderr and "exit code 4" in done.stderr
    (folder,) = (tmp_path / "runs" / "quarters").iterdir()
    assert (folder / "forecast.parquet").exists()
    assert [entry.state for entry in Ledger(tmp_path / "runs" / "schedule.db", owner="x").entries()] == ["done"]
