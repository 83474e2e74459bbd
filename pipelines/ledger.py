"""Which run was due, who took it, how it ended: one SQLite table, the truth about scheduled runs.

A slot (recipe, moment) is claimed once, whoever asks: the claim is one transaction. Who has claimed renews a lease while
it works; a lease that has run out means that the worker is dead, and the slot may be taken over.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal

LEASE = timedelta(seconds=30)
TABLE = """
CREATE TABLE IF NOT EXISTS runs (
    recipe TEXT NOT NULL,
    slot TEXT NOT NULL,          -- when it was due, ISO 8601 in UTC
    as_of TEXT NOT NULL,         -- the same moment on the schedule's wall clock, as the run is told
    state TEXT NOT NULL,         -- running | done | failed | released
    owner TEXT NOT NULL,
    lease_until TEXT NOT NULL,   -- ISO 8601 in UTC
    attempts INTEGER NOT NULL,
    exit_code INTEGER,
    PRIMARY KEY (recipe, slot)
)
"""
State = Literal["done", "failed", "released"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One scheduled run."""

    recipe: str
    slot: str
    as_of: str
    state: str
    owner: str
    lease_until: str
    attempts: int
    exit_code: int | None


class Ledger:
    """The table of scheduled runs. Several schedulers may share it; each call is one transaction."""

    def __init__(self, path: Path, *, owner: str) -> None:
        self.path, self.owner = path, owner
        path.parent.mkdir(parents=True, exist_ok=True)
        with self._transaction() as connection:
            connection.execute(TABLE)

    def claim(self, recipe: str, *, slot: datetime, as_of: str, now: datetime) -> bool:
        """Take the slot if it is free: never taken, released, or left by a worker whose lease has run out."""
        key, moment, lease = slot.isoformat(), now.isoformat(), (now + LEASE).isoformat()
        with self._transaction() as connection:
            new = connection.execute(
                "INSERT INTO runs VALUES (?, ?, ?, 'running', ?, ?, 1, NULL) ON CONFLICT DO NOTHING",
                (recipe, key, as_of, self.owner, lease),
            )
            taken_over = connection.execute(
                "UPDATE runs SET state = 'running', owner = ?, lease_until = ?, attempts = attempts + 1 "
                "WHERE recipe = ? AND slot = ? AND (state = 'released' OR (state = 'running' AND lease_until < ?))",
                (self.owner, lease, recipe, key, moment),
            )
            return new.rowcount + taken_over.rowcount > 0

    def renew(self, recipe: str, *, slot: datetime, now: datetime) -> bool:
        """Say that the work goes on; False when somebody else has taken the slot over."""
        with self._transaction() as connection:
            done = connection.execute(
                "UPDATE runs SET lease_until = ? WHERE recipe = ? AND slot = ? AND owner = ? AND state = 'running'",
                ((now + LEASE).isoformat(), recipe, slot.isoformat(), self.owner),
            )
            return done.rowcount > 0

    def end(self, recipe: str, *, slot: datetime, state: State, exit_code: int | None) -> None:
        """Note how the run ended; "released" gives the slot back, to be taken again."""
        with self._transaction() as connection:
            connection.execute(
                "UPDATE runs SET state = ?, exit_code = ? WHERE recipe = ? AND slot = ? AND owner = ? AND state = 'running'",
                (state, exit_code, recipe, slot.isoformat(), self.owner),
            )

    def unfinished(self, recipe: str) -> list[datetime]:
        """Slots that were taken and neither done nor failed, oldest first."""
        with self._transaction() as connection:
            rows = connection.execute(
                "SELECT slot FROM runs WHERE recipe = ? AND state IN ('running', 'released') ORDER BY slot", (recipe,)
            ).fetchall()
        return [datetime.fromisoformat(slot) for (slot,) in rows]

    def entries(self) -> list[Entry]:
        """All rows, oldest slot first."""
        with self._transaction() as connection:
            columns = "recipe, slot, as_of, state, owner, lease_until, attempts, exit_code"
            rows = connection.execute(f"SELECT {columns} FROM runs ORDER BY slot, recipe").fetchall()  # constants
        return [Entry(**dict(zip(columns.split(", "), row, strict=True))) for row in rows]

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """Begin by taking the write lock, so that what is read stays true until the end."""
        with closing(sqlite3.connect(self.path, timeout=30, isolation_level=None)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                connection.execute("ROLLBACK")
                raise
