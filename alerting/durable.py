"""A SQLite file that survives kill -9 and power loss: WAL, and an fsync at every commit."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock

from collector.errors import ForeshockError


class DurableFile:
    """One connection, one lock: threads of one process take turns; other processes may read beside it."""

    def __init__(self, path: Path, schema: str) -> None:
        """Open or make the file. Raises ForeshockError when it cannot be written."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=5)
            self._connection.executescript(f"PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; {schema}")
        except (OSError, sqlite3.Error) as e:
            raise ForeshockError(f"{path}: {e}", hint="give a path on a local disk that we may write") from e
        self._lock = Lock()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All or nothing; durable when it returns."""
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")

    def rows(self, query: str, *values: object) -> list[tuple[object, ...]]:
        """The rows of one query."""
        with self._lock:
            return self._connection.execute(query, values).fetchall()

    def close(self) -> None:
        with self._lock:
            self._connection.close()
