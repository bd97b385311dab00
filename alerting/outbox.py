"""What was decided and is not out yet, in a file that survives kill -9.

Two queues in one transaction: actions on their way to the receiver, and log rows on their way to the lake.
So neither a dead receiver nor a slow lake ever delays a decision, and a restart finds both.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from alerting.action import Action, ActionRow
from alerting.durable import DurableFile
from alerting.incident import IncidentRow

Row = IncidentRow | ActionRow

FIRST_DELAY_S: Final = 0.5
LONGEST_DELAY_S: Final = 60.0

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS actions(
    seq INTEGER PRIMARY KEY AUTOINCREMENT, action_id TEXT NOT NULL UNIQUE, action BLOB NOT NULL,
    state TEXT NOT NULL, attempts INTEGER NOT NULL DEFAULT 0, next_s REAL NOT NULL, deadline_s REAL NOT NULL,
    error TEXT NOT NULL DEFAULT '');
CREATE INDEX IF NOT EXISTS waiting ON actions(next_s) WHERE state = 'waiting';
CREATE TABLE IF NOT EXISTS journal(
    seq INTEGER PRIMARY KEY AUTOINCREMENT, lake_table TEXT NOT NULL, row BLOB NOT NULL);
"""


class Pending(NamedTuple):
    """An action that is due. `attempts` counts the failed ones so far."""

    action: Action
    attempts: int


class Journaled(NamedTuple):
    """A log row that the lake has not confirmed."""

    seq: int
    table: str
    row: Row


class DeadLetter(NamedTuple):
    """An action that nobody took before its deadline, or that the receiver refused for good."""

    action: Action
    attempts: int
    error: str


class Outbox:
    """The file. Times are real Unix seconds: a receiver is away in real time, whatever the demo's clock says."""

    def __init__(self, path: Path, *, jitter: random.Random | None = None) -> None:
        """Open or make it. Raises ForeshockError when it cannot be written."""
        self._file = DurableFile(path, _SCHEMA)
        self._jitter = jitter or random.Random()

    def enqueue(
        self, actions: Sequence[Action], rows: Sequence[Row] = (), *, now_s: float, deliver_for_s: float
    ) -> int:
        """Keep both or neither; durable on return. A known action_id is left alone. -> number of new actions."""
        new = 0
        with self._file.transaction() as c:
            for a in actions:
                state = "dry_run" if a.dry_run else "waiting"
                values = (a.action_id, msgspec.json.encode(a), state, now_s, now_s + deliver_for_s)
                new += c.execute(
                    "INSERT OR IGNORE INTO actions(action_id, action, state, next_s, deadline_s)"
                    " VALUES (?, ?, ?, ?, ?)",
                    values,
                ).rowcount
            c.executemany("INSERT INTO journal(lake_table, row) VALUES (?, ?)", [_journal(r) for r in rows])
        return new

    def pending(self, now_s: float, limit: int = 16) -> list[Pending]:
        """Actions that are due, oldest first."""
        rows = self._file.rows(
            "SELECT action, attempts FROM actions"
            " WHERE state = 'waiting' AND next_s <= ? ORDER BY seq LIMIT ?",
            now_s,
            limit,
        )
        return [Pending(_action(blob), int(str(attempts))) for blob, attempts in rows]

    def delivered(self, action_id: str, row: Row) -> None:
        """The receiver has it."""
        self._finish(action_id, "delivered", "", row)

    def dead(self, action_id: str, error: str, row: Row) -> None:
        """Nobody will try again; it stays visible in `dead_letters`."""
        self._finish(action_id, "dead", error, row)

    def failed(self, action_id: str, error: str, now_s: float) -> bool:
        """Not this time. -> False when the next try would come after the deadline: then call `dead`."""
        with self._file.transaction() as c:
            attempts, deadline_s = c.execute(
                "SELECT attempts, deadline_s FROM actions WHERE action_id = ?", (action_id,)
            ).fetchone()
            next_s = now_s + self._delay_s(attempts)
            c.execute(
                "UPDATE actions SET attempts = attempts + 1, next_s = ?, error = ? WHERE action_id = ?",
                (next_s, error, action_id),
            )
        return bool(next_s <= deadline_s)

    def dead_letters(self) -> list[DeadLetter]:
        """For a person to look at."""
        rows = self._file.rows(
            "SELECT action, attempts, error FROM actions WHERE state = 'dead' ORDER BY seq"
        )
        return [DeadLetter(_action(a), int(str(n)), str(e)) for a, n, e in rows]

    def counts(self) -> dict[str, int]:
        """Actions by state: waiting, delivered, dead, dry_run."""
        rows = self._file.rows("SELECT state, count(*) FROM actions GROUP BY state")
        return {str(state): int(str(n)) for state, n in rows}

    def journaled(self, limit: int = 500) -> list[Journaled]:
        """Log rows for the lake, oldest first."""
        rows = self._file.rows("SELECT seq, lake_table, row FROM journal ORDER BY seq LIMIT ?", limit)
        return [Journaled(int(str(seq)), str(table), _row(str(table), blob)) for seq, table, blob in rows]

    def forget(self, seqs: Sequence[int]) -> None:
        """The lake has these rows."""
        with self._file.transaction() as c:
            c.executemany("DELETE FROM journal WHERE seq = ?", [(seq,) for seq in seqs])

    def close(self) -> None:
        self._file.close()

    def _finish(self, action_id: str, state: str, error: str, row: Row) -> None:
        with self._file.transaction() as c:
            c.execute(
                "UPDATE actions SET state = ?, error = ? WHERE action_id = ?", (state, error, action_id)
            )
            c.execute("INSERT INTO journal(lake_table, row) VALUES (?, ?)", _journal(row))

    def _delay_s(self, attempts: int) -> float:
        """Doubling, capped, with jitter: many watchers must not knock on a waking receiver together."""
        longest_s = min(LONGEST_DELAY_S, FIRST_DELAY_S * 2.0 ** min(attempts, 20))
        return longest_s * self._jitter.uniform(0.5, 1.0)


def _journal(row: Row) -> tuple[str, bytes]:
    return ("incidents" if isinstance(row, IncidentRow) else "actions"), msgspec.json.encode(row)


def _action(blob: object) -> Action:
    assert isinstance(blob, bytes)
    return msgspec.json.decode(blob, type=Action)


def _row(table: str, blob: object) -> Row:
    assert isinstance(blob, bytes)
    if table == "incidents":
        return msgspec.json.decode(blob, type=IncidentRow)
    return msgspec.json.decode(blob, type=ActionRow)
