"""Recipes with a cron line -> runs, each slot once: what `tsforecast schedule` does.

The scheduler looks at the clock, claims what is due in the ledger, and starts each run as a process of its own: a run
that dies takes nobody with it, and the scheduler loads neither pandas nor torch. Of the slots missed while nobody
watched, the latest is run; one that was under way when everything was killed is taken up again where it stood.
"""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Protocol

from pipelines.cron import latest_slot, next_slot, trigger_of
from pipelines.ledger import LEASE, Ledger, State
from pipelines.recipe import RecipeFile
from tsforecast.errors import RecipeError

LEDGER = "schedule.db"
LONGEST_SLEEP = 5.0  # seconds: until a slot that another scheduler gave up is seen
PATIENCE = 30.0  # seconds that a run is given to end after SIGTERM
DONE_CODES, BUSY = (0, 3, 4), 5  # see pipelines/__main__.py


class Process(Protocol):
    """What the scheduler needs of a started run."""

    def wait(self, timeout: float | None = None) -> int: ...

    def terminate(self) -> None: ...

    def kill(self) -> None: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Outside:
    """What the scheduler does not decide: the time, what a start is, and when to stop. Tests put their own here."""

    clock: Callable[[], datetime]  # now, with a zone
    start: Callable[[RecipeFile, str], Process]  # recipe, as_of
    stop: threading.Event
    tell: Callable[[str], None]


class Scheduler:
    """Runs recipes when their slots come, one at a time."""

    def __init__(self, files: Sequence[RecipeFile], *, ledger: Ledger, outside: Outside) -> None:
        """Raises RecipeError when a recipe has no [schedule], a bad cron line, or the name of another."""
        self.ledger, self.outside = ledger, outside
        self.files = {file.recipe.name: file for file in files}
        if len(self.files) < len(files):
            names = [file.recipe.name for file in files]
            twice = next(name for name in names if names.count(name) > 1)
            raise RecipeError(f"two recipes are called {twice!r}; the ledger tells them apart by name", field="name")
        self.triggers = {}
        for name, file in self.files.items():
            if file.recipe.schedule is None:
                raise RecipeError(f'{file.path.name}: [schedule] is missing; add cron = "0 6 * * *"', field="schedule")
            self.triggers[name] = trigger_of(file.recipe.schedule)

    def due(self) -> list[tuple[str, datetime]]:
        """(recipe, slot) to run now: first what was begun and not ended, then the latest slot of each recipe."""
        now = self.outside.clock()
        begun = [(name, slot) for name in self.files for slot in self.ledger.unfinished(name)]
        latest = [(name, latest_slot(trigger, now)) for name, trigger in self.triggers.items()]
        return begun + [(name, slot) for name, slot in latest if slot is not None and (name, slot) not in begun]

    def run_due(self) -> list[tuple[str, str, int | None]]:
        """Run everything due that can be claimed; return (recipe, as_of, exit code) of each, None = stopped before its end."""
        results = []
        for name, slot in self.due():
            if self.outside.stop.is_set():
                break
            as_of = self.as_of(name, slot)
            if self.ledger.claim(name, slot=slot.astimezone(UTC), as_of=as_of, now=self.outside.clock().astimezone(UTC)):
                results.append((name, as_of, self._run(name, slot.astimezone(UTC), as_of)))
        return results

    def run_forever(self) -> None:
        """Run what is due, wait for the next slot, again; until `stop` is set."""
        for name, trigger in self.triggers.items():
            self.outside.tell(f"{name}: next at {next_slot(trigger, self.outside.clock())}")
        while not self.outside.stop.is_set():
            self.run_due()
            self.outside.stop.wait(self.seconds_to_next())

    def seconds_to_next(self) -> float:
        """Until the next slot of any recipe, at most `LONGEST_SLEEP`."""
        now = self.outside.clock()
        slots = [slot for trigger in self.triggers.values() if (slot := next_slot(trigger, now)) is not None]
        return min([LONGEST_SLEEP, *((slot - now).total_seconds() for slot in slots)])

    def as_of(self, name: str, slot: datetime) -> str:
        """The slot on the wall clock of its schedule, with its offset, as the run is told."""
        zone = self.triggers[name].timezone
        return slot.astimezone(zone).isoformat()

    def _run(self, name: str, slot: datetime, as_of: str) -> int | None:
        """Start the run and keep its lease alive until it ends; give the slot back when we are told to stop."""
        self.outside.tell(f"{name}: running as of {as_of}")
        process = self.outside.start(self.files[name], as_of)
        renew_at = self.outside.clock() + LEASE / 3
        while True:
            try:
                code = process.wait(timeout=0.2)
                break
            except subprocess.TimeoutExpired:
                pass
            if self.outside.stop.is_set():
                _end(process)
                self.ledger.end(name, slot=slot, state="released", exit_code=None)
                self.outside.tell(f"{name}: stopped as of {as_of}, the next scheduler goes on with it")
                return None
            if self.outside.clock() >= renew_at:
                self.ledger.renew(name, slot=slot, now=self.outside.clock().astimezone(UTC))
                renew_at = self.outside.clock() + LEASE / 3
        state: State = "done" if code in DONE_CODES else "released" if code == BUSY else "failed"
        self.ledger.end(name, slot=slot, state=state, exit_code=code)
        self.outside.tell(f"{name}: {state} as of {as_of}, exit code {code}")
        return code


def _end(process: Process) -> None:
    """Ask the run to end, wait, and kill it when it does not."""
    process.terminate()
    try:
        process.wait(timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def start_process(folder: Path) -> Callable[[RecipeFile, str], Process]:
    """What starts `python -m pipelines run RECIPE --as-of T`, in a session of its own, so that Ctrl-C reaches us alone."""

    def start(file: RecipeFile, as_of: str) -> Process:
        command = [sys.executable, "-m", "pipelines", "run", str(file.path), "--as-of", as_of, "--folder", str(folder)]
        return subprocess.Popen(command, start_new_session=True)  # our own interpreter and module

    return start


def stop_on_signals() -> threading.Event:
    """An event that SIGTERM and SIGINT set."""
    stop = threading.Event()

    def handle(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    signal.signal(signal.SIGTERM, handle)
    signal.signal(signal.SIGINT, handle)
    return stop


def owner_name(host: str, now: datetime) -> str:
    """Who claims: host, process and start, so that a process number used again is another owner."""
    return f"{host}:{os.getpid()}:{now.isoformat()}"
