"""What was decided and is not out yet, in a file that survives kill -9.

Messages on their way to the receivers, each for one sink with retries of its own, and log rows on their way to
the lake; both are kept in one transaction. So neither a dead receiver nor a slow lake ever delays a decision, and
a restart finds both.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from alerting.action import Action
from alerting.durable import DurableFile
from alerting.incident import IncidentRow
from alerting.message import Message, Row, columns, decode, decode_row, is_urgent, journal_columns
from alerting.outbox_schema import SCHEMA, migrate

WEBHOOK: Final = "webhook"
"""The sink that actions go to."""
FIRST_DELAY_S: Final = 0.5
LONGEST_DELAY_S: Final = 60.0
LONGEST_ASKED_DELAY_S: Final = 600.0
"""A receiver that asks for a longer pause than this does not get it."""


class Pending(NamedTuple):
    """A message that is due. `attempts` counts the failed ones so far; `thread` is its incident."""

    id: str
    thread: str
    message: Message
    attempts: int

    @property
    def action(self) -> Action:
        """The message of the webhook sink."""
        assert isinstance(self.message, Action)
        return self.message

    @property
    def urgent(self) -> bool:
        """It waits for nothing: the fault has happened."""
        return is_urgent(self.message)


class Journaled(NamedTuple):
    """A log row that the lake has not confirmed."""

    seq: int
    table: str
    row: Row


class DeadLetter(NamedTuple):
    """A message that nobody took before its deadline, or that the receiver refused for good."""

    sink: str
    id: str
    message: Message
    attempts: int
    error: str

    @property
    def action(self) -> Action:
        """The message of the webhook sink."""
        assert isinstance(self.message, Action)
        return self.message


class Outbox:
    """The file. Times are real Unix seconds: a receiver is away in real time, whatever the demo's clock says."""

    def __init__(self, path: Path, *, jitter: random.Random | None = None) -> None:
        """Open or make it; a file of an older version is brought forward. Raises ForeshockError if unwritable."""
        self._file = DurableFile(path, SCHEMA)
        with self._file.transaction() as c:
            migrate(c)
        self._jitter = jitter or random.Random()

    def enqueue(
        self,
        actions: Sequence[Action],
        rows: Sequence[Row] = (),
        *,
        now_s: float,
        deliver_for_s: float,
        notify: Mapping[str, Sequence[IncidentRow]] | None = None,
    ) -> int:
        """Keep all or nothing; durable on return. A known action_id is left alone. -> number of new actions.

        `notify` is what each further sink shall be told. An action in dry run is kept and never sent.
        """
        new = 0
        with self._file.transaction() as c:
            for a in actions:
                state = "dry_run" if a.dry_run else "waiting"
                new += c.execute(_INSERT, columns(WEBHOOK, a, state, now_s, deliver_for_s)).rowcount
            for sink, changes in (notify or {}).items():
                c.executemany(_INSERT, [columns(sink, r, "waiting", now_s, deliver_for_s) for r in changes])
            c.executemany(
                "INSERT INTO journal(lake_table, row) VALUES (?, ?)", [journal_columns(r) for r in rows]
            )
        return new

    def pending(self, now_s: float, limit: int = 16, *, sink: str = WEBHOOK) -> list[Pending]:
        """Messages of one sink that are due, oldest first.

        None is due while an older one of its incident pauses, so that nothing overtakes it; but a `drain_now`
        waits for nothing: the fault has happened.
        """
        rows = self._file.rows(
            "SELECT id, thread, kind, body, attempts FROM messages AS a"
            " WHERE state = 'waiting' AND sink = ? AND next_s <= ? AND (urgent OR NOT EXISTS"
            " (SELECT 1 FROM messages AS b WHERE b.state = 'waiting' AND b.sink = a.sink AND b.thread = a.thread"
            " AND b.seq < a.seq AND b.next_s > ?)) ORDER BY seq LIMIT ?",
            sink, now_s, now_s, limit,
        )  # fmt: skip
        return [Pending(str(id_), str(t), decode(kind, body), int(str(n))) for id_, t, kind, body, n in rows]

    def delivered(self, message_id: str, row: Row | None = None, *, sink: str = WEBHOOK) -> None:
        """The receiver has it."""
        self._finish(sink, message_id, "delivered", "", row)

    def dead(self, message_id: str, error: str, row: Row | None = None, *, sink: str = WEBHOOK) -> None:
        """Nobody will try again; it stays visible in `dead_letters`."""
        self._finish(sink, message_id, "dead", error, row)

    def failed(
        self, message_id: str, error: str, now_s: float, *, sink: str = WEBHOOK, retry_after_s: float = 0.0
    ) -> bool:
        """Not this time. -> False when the next try would come after the deadline: then call `dead`."""
        with self._file.transaction() as c:
            attempts, deadline_s = c.execute(
                "SELECT attempts, deadline_s FROM messages WHERE sink = ? AND id = ?", (sink, message_id)
            ).fetchone()
            next_s = now_s + max(self._delay_s(attempts), min(retry_after_s, LONGEST_ASKED_DELAY_S))
            c.execute(
                "UPDATE messages SET attempts = attempts + 1, next_s = ?, error = ? WHERE sink = ? AND id = ?",
                (next_s, error, sink, message_id),
            )
        return bool(next_s <= deadline_s)

    def retry(self, message_id: str, *, now_s: float, deliver_for_s: float) -> int:
        """Dead letters of this name wait again, as if they were new. -> how many (one for each sink)."""
        with self._file.transaction() as c:
            return c.execute(
                "UPDATE messages SET state = 'waiting', attempts = 0, next_s = ?, deadline_s = ?"
                " WHERE id = ? AND state = 'dead'",
                (now_s, now_s + deliver_for_s, message_id),
            ).rowcount

    def dead_letters(self) -> list[DeadLetter]:
        """For a person to look at, oldest first."""
        rows = self._file.rows(
            "SELECT sink, id, kind, body, attempts, error FROM messages WHERE state = 'dead' ORDER BY seq"
        )
        return [
            DeadLetter(str(sink), str(id_), decode(kind, body), int(str(n)), str(e))
            for sink, id_, kind, body, n, e in rows
        ]

    def told(self, sink: str, incident_id: str | None = None) -> list[IncidentRow]:
        """The newest change of each incident (or of this one) that this sink was told, or that it would not take."""
        rows = self._file.rows(
            "SELECT kind, body FROM messages WHERE seq IN (SELECT max(seq) FROM messages WHERE sink = ?1"
            " AND (?2 IS NULL OR thread = ?2) AND state IN ('delivered', 'dead') GROUP BY thread) ORDER BY seq",
            sink, incident_id,
        )  # fmt: skip
        found = [decode(kind, body) for kind, body in rows]
        return [row for row in found if isinstance(row, IncidentRow)]

    def counts(self, sink: str | None = None) -> dict[str, int]:
        """Messages (of one sink) by state: waiting, delivered, dead, dry_run."""
        rows = self._file.rows(
            "SELECT state, count(*) FROM messages WHERE ?1 IS NULL OR sink = ?1 GROUP BY state", sink
        )
        return {str(state): int(str(n)) for state, n in rows}

    def journaled(self, limit: int = 500) -> list[Journaled]:
        """Log rows for the lake, oldest first."""
        rows = self._file.rows("SELECT seq, lake_table, row FROM journal ORDER BY seq LIMIT ?", limit)
        return [
            Journaled(int(str(seq)), str(table), decode_row(str(table), blob)) for seq, table, blob in rows
        ]

    def forget(self, seqs: Sequence[int]) -> None:
        """The lake has these rows."""
        with self._file.transaction() as c:
            c.executemany("DELETE FROM journal WHERE seq = ?", [(seq,) for seq in seqs])

    def close(self) -> None:
        self._file.close()

    def _finish(self, sink: str, message_id: str, state: str, error: str, row: Row | None) -> None:
        with self._file.transaction() as c:
            c.execute(
                "UPDATE messages SET state = ?, error = ? WHERE sink = ? AND id = ?",
                (state, error, sink, message_id),
            )
            if row is not None:
                c.execute("INSERT INTO journal(lake_table, row) VALUES (?, ?)", journal_columns(row))

    def _delay_s(self, attempts: int) -> float:
        """Doubling, capped, with jitter: many watchers must not knock on a waking receiver together."""
        longest_s = min(LONGEST_DELAY_S, FIRST_DELAY_S * 2.0 ** min(attempts, 20))
        return longest_s * self._jitter.uniform(0.5, 1.0)


_INSERT: Final = (
    "INSERT OR IGNORE INTO messages(sink, id, thread, kind, body, urgent, state, next_s, deadline_s)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
