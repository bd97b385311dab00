"""What a bridge has accepted, in a file that survives kill -9: written before acting, with the outcome after.

The action's id is the key, so a message that comes twice is done once. What was begun and not finished when the
process died is begun again, but not when it has become old: a drain that is executed a day late does harm.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from alerting.action import Action, Outcome
from alerting.durable import DurableFile

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS requests(
    seq INTEGER PRIMARY KEY AUTOINCREMENT, action_id TEXT NOT NULL UNIQUE, incident_id TEXT NOT NULL,
    name TEXT NOT NULL, action BLOB NOT NULL, state TEXT NOT NULL, received_s REAL NOT NULL,
    outcome BLOB);
CREATE INDEX IF NOT EXISTS unfinished ON requests(seq) WHERE state IN ('received', 'running');
"""


class Accepted(NamedTuple):
    """`new` is false for a repeat; `state` is received, running or done; `outcome` once it is done."""

    new: bool
    state: str
    outcome: Outcome | None


class Inbox:
    """The file. Times are real Unix seconds."""

    def __init__(self, path: Path) -> None:
        """Open or make it. Raises ForeshockError when it cannot be written."""
        self._file = DurableFile(path, _SCHEMA)

    def accept(self, action: Action, now_s: float) -> Accepted:
        """Keep it, durable on return; or say what became of it when it came before."""
        with self._file.transaction() as c:
            new = c.execute(
                "INSERT OR IGNORE INTO requests(action_id, incident_id, name, action, state, received_s)"
                " VALUES (?, ?, ?, ?, 'received', ?)",
                (action.action_id, action.incident_id, action.action, msgspec.json.encode(action), now_s),
            ).rowcount
        [(state, outcome)] = self._file.rows(
            "SELECT state, outcome FROM requests WHERE action_id = ?", action.action_id
        )
        return Accepted(new == 1, str(state), _outcome(outcome))

    def claim(self) -> Action | None:
        """The next action to do, now marked as running.

        Within an incident one at a time and in order, so that a checkpoint is not overtaken by the drain;
        but `drain_now` waits for nothing: the fault has happened.
        """
        with self._file.transaction() as c:
            row = c.execute(
                "SELECT seq, action FROM requests AS a WHERE state = 'received' AND (name = 'drain_now' OR NOT"
                " EXISTS (SELECT 1 FROM requests AS b WHERE b.incident_id = a.incident_id AND b.seq < a.seq"
                " AND b.state IN ('received', 'running'))) ORDER BY seq LIMIT 1"
            ).fetchone()
            if row is None:
                return None
            c.execute("UPDATE requests SET state = 'running' WHERE seq = ?", (row[0],))
        return msgspec.json.decode(row[1], type=Action)

    def finish(self, action_id: str, outcome: Outcome) -> None:
        """Done, for better or worse."""
        with self._file.transaction() as c:
            c.execute(
                "UPDATE requests SET state = 'done', outcome = ? WHERE action_id = ?",
                (msgspec.json.encode(outcome), action_id),
            )

    def resume(self, now_s: float, max_age_s: float) -> tuple[int, int]:
        """After a start: what was running is to do again, what is too old is closed. -> (resumed, expired)."""
        too_old = Outcome(ok=False, detail=f"expired: not finished within {max_age_s:.0f} s, then restarted")
        with self._file.transaction() as c:
            expired = c.execute(
                "UPDATE requests SET state = 'done', outcome = ?"
                " WHERE state IN ('received', 'running') AND received_s < ?",
                (msgspec.json.encode(too_old), now_s - max_age_s),
            ).rowcount
            resumed = c.execute("UPDATE requests SET state = 'received' WHERE state = 'running'").rowcount
        return resumed, expired

    def counts(self) -> dict[str, int]:
        """Requests by state."""
        rows = self._file.rows("SELECT state, count(*) FROM requests GROUP BY state")
        return {str(state): int(str(n)) for state, n in rows}

    def close(self) -> None:
        self._file.close()


def _outcome(blob: object) -> Outcome | None:
    return msgspec.json.decode(blob, type=Outcome) if isinstance(blob, bytes) else None
