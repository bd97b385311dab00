"""The durable queue on the node (SQLite WAL), which is also the stream where there is no broker.

Records of all topics share one growing sequence number. Every consumer group keeps its own position, so a
shipper, or an ingest worker and a watcher in other processes, read the same records independently.
Large values are stored compressed. Bounded by bytes as stored: when full, the oldest telemetry is dropped and
counted; events are never dropped.
"""

from __future__ import annotations

import sqlite3
import threading
import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import zstandard

from collector.errors import ForeshockError
from collector.records import TOPIC_EVENTS, TOPIC_TELEMETRY
from collector.reserve import Reserve

_SCHEMA = """
CREATE TABLE IF NOT EXISTS records (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, topic TEXT NOT NULL, key TEXT NOT NULL, value BLOB NOT NULL,
    packed INTEGER NOT NULL, rows INTEGER NOT NULL, time_s REAL NOT NULL);
CREATE INDEX IF NOT EXISTS records_by_topic ON records (topic, seq);
CREATE TABLE IF NOT EXISTS positions (
    grp TEXT NOT NULL, topic TEXT NOT NULL, next INTEGER NOT NULL, PRIMARY KEY (grp, topic));
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value NOT NULL);
INSERT OR IGNORE INTO facts VALUES ('bytes', 0), ('dropped_records', 0), ('dropped_rows', 0);
CREATE TRIGGER IF NOT EXISTS bytes_in AFTER INSERT ON records BEGIN
    UPDATE facts SET value = value + length(NEW.value) WHERE name = 'bytes'; END;
CREATE TRIGGER IF NOT EXISTS bytes_out AFTER DELETE ON records BEGIN
    UPDATE facts SET value = value - length(OLD.value) WHERE name = 'bytes'; END;
"""

_PACK_FROM_BYTES = 1024
_DROP_AT_ONCE = 64
"""Dropping a few more than needed keeps a full spool from paying for a delete on every append."""


_WAL_WAIT_S = 30.0


def _to_wal(db: sqlite3.Connection) -> None:
    """Write-ahead log on. SQLite does not wait here for another process that makes the same new file, so we do."""
    until_s = time.monotonic() + _WAL_WAIT_S
    while True:
        try:
            db.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError:
            if time.monotonic() > until_s:
                raise
            time.sleep(0.02)


class SpoolRecord(NamedTuple):
    """One spooled record. `seq` never repeats within `Spool.stream`."""

    seq: int
    topic: str
    key: str
    value: bytes


class SpoolState(NamedTuple):
    """What the spool holds and what it had to drop."""

    records: int
    bytes: int
    dropped_records: int
    dropped_rows: int
    """Samples that were in the dropped records."""


class Spool:
    """Open (or make) the spool at `path`. Safe to share between threads, and between processes.

    `max_mib` bounds the sum of the values as stored. `reserve_bytes` of disk are held for events when the disk is full
    (the agent holds them; readers do not). Raises ForeshockError when the file cannot be opened.
    """

    def __init__(self, path: Path, max_mib: float, *, reserve_bytes: int = 0) -> None:
        self._max_bytes = int(max_mib * 2**20)
        self._lock = threading.Lock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(path, timeout=30.0, isolation_level=None, check_same_thread=False)
            _to_wal(self._db)
            # A node that loses a GPU often loses its power or its kernel next: every commit reaches the disk.
            self._db.execute("PRAGMA synchronous=FULL")
            self._db.execute("PRAGMA cache_size=-256")  # KiB: records are written once and read once
            self._db.executescript(_SCHEMA)
        except (OSError, sqlite3.Error) as e:
            raise ForeshockError(
                f"spool {path}: {e}",
                hint="set spool.path in foreshock.toml to a directory this user may write",
            ) from e
        self._db.execute("INSERT OR IGNORE INTO facts VALUES ('stream', ?)", (uuid.uuid4().hex,))
        self.stream = str(self.fact("stream"))
        """Names this spool for ever: with `seq` it identifies a record that was sent twice."""
        self._reserve = Reserve(path.with_suffix(".reserve"), reserve_bytes)

    def append(
        self,
        topic: str,
        key: str,
        value: bytes,
        *,
        rows: int = 1,
        facts: Mapping[str, str | int] | None = None,
    ) -> int:
        """Store one record durably, and with it (in the same transaction) `facts`; its sequence number.

        On a full disk an event takes the reserved space; telemetry raises sqlite3.OperationalError.
        """
        try:
            return self._append(topic, key, value, rows, facts or {})
        except sqlite3.OperationalError:
            if topic != TOPIC_EVENTS or not self._reserve.release():
                raise
            return self._append(topic, key, value, rows, facts or {})

    def _append(self, topic: str, key: str, value: bytes, rows: int, facts: Mapping[str, str | int]) -> int:
        packed = len(value) >= _PACK_FROM_BYTES
        stored = zstandard.compress(value, 1) if packed else value
        with self._lock, self._db:
            self._db.execute("BEGIN IMMEDIATE")
            if topic == TOPIC_TELEMETRY:
                self._make_room(len(stored))
            cursor = self._db.execute(
                "INSERT INTO records (topic, key, value, packed, rows, time_s) VALUES (?, ?, ?, ?, ?, ?)",
                (topic, key, stored, packed, rows, time.time()),
            )
            for name, fact in facts.items():
                self._set_fact(name, fact)
        if topic == TOPIC_TELEMETRY:
            self._reserve.hold()
        return int(cursor.lastrowid or 0)

    def _make_room(self, incoming_bytes: int) -> None:
        excess = int(self._fact("bytes") or 0) + incoming_bytes - self._max_bytes
        while excess > 0:
            oldest = self._db.execute(
                "SELECT seq, length(value), rows FROM records WHERE topic != ? ORDER BY seq LIMIT ?",
                (TOPIC_EVENTS, _DROP_AT_ONCE),
            ).fetchall()
            if not oldest:
                return
            self._db.executemany("DELETE FROM records WHERE seq = ?", [(seq,) for seq, _, _ in oldest])
            self._add("dropped_records", len(oldest))
            self._add("dropped_rows", sum(rows for _, _, rows in oldest))
            excess -= sum(size for _, size, _ in oldest)

    def subscribe(self, group: str, topics: Iterable[str]) -> None:
        """Make `group` a reader of `topics`, from the oldest record on: what it has not read is kept."""
        with self._lock, self._db:
            self._db.executemany(
                "INSERT OR IGNORE INTO positions VALUES (?, ?, 0)", [(group, t) for t in topics]
            )

    def read(self, topics: Sequence[str], after_seq: int, limit: int) -> list[SpoolRecord]:
        """Up to `limit` records of `topics` with seq > `after_seq`, in order."""
        marks = ",".join("?" * len(topics))
        with self._lock:
            rows = self._db.execute(
                f"SELECT seq, topic, key, value, packed FROM records WHERE topic IN ({marks}) AND seq > ?"  # noqa: S608
                " ORDER BY seq LIMIT ?",
                (*topics, after_seq, limit),
            ).fetchall()
        return [
            SpoolRecord(seq, topic, key, zstandard.decompress(value) if packed else value)
            for seq, topic, key, value, packed in rows
        ]

    def position(self, group: str, topic: str) -> int:
        """The first sequence number that `group` has not committed in `topic`."""
        with self._lock:
            row = self._db.execute(
                "SELECT next FROM positions WHERE grp = ? AND topic = ?", (group, topic)
            ).fetchone()
        return int(row[0]) if row else 0

    def commit(self, group: str, topic: str, next_seq: int) -> None:
        """`group` is done with everything below `next_seq`; what no reader needs any more is deleted."""
        with self._lock, self._db:
            self._db.execute("BEGIN IMMEDIATE")
            self._db.execute(
                "INSERT INTO positions VALUES (?, ?, ?)"
                " ON CONFLICT (grp, topic) DO UPDATE SET next = max(next, excluded.next)",
                (group, topic, next_seq),
            )
            self._db.execute(
                "DELETE FROM records WHERE topic = ?1 AND seq <"
                " (SELECT min(next) FROM positions WHERE topic = ?1)",
                (topic,),
            )

    def state(self) -> SpoolState:
        """How full it is and what was dropped."""
        with self._lock:
            (records,) = self._db.execute("SELECT count(*) FROM records").fetchone()
            facts = dict(self._db.execute("SELECT name, value FROM facts"))
        bytes_, dropped, rows = (int(facts[name]) for name in ("bytes", "dropped_records", "dropped_rows"))
        return SpoolState(records, bytes_, dropped, rows)

    def oldest_s(self, topics: Sequence[str]) -> float | None:
        """Unix time at which the oldest waiting record of `topics` came in; None when there is none."""
        marks = ",".join("?" * len(topics))
        with self._lock:
            (found,) = self._db.execute(
                f"SELECT min(time_s) FROM records WHERE topic IN ({marks})",  # noqa: S608
                tuple(topics),
            ).fetchone()
        return None if found is None else float(found)

    def fact(self, name: str) -> str | int | None:
        """A small value kept beside the records, e.g. how far the kernel log was read."""
        with self._lock:
            return self._fact(name)

    def set_fact(self, name: str, value: str | int) -> None:
        with self._lock, self._db:
            self._set_fact(name, value)

    def add_to_fact(self, name: str, amount: int) -> None:
        """Count something durably, e.g. samples that the disk refused."""
        with self._lock, self._db:
            self._db.execute("INSERT OR IGNORE INTO facts VALUES (?, 0)", (name,))
            self._add(name, amount)

    def _set_fact(self, name: str, value: str | int) -> None:
        self._db.execute(
            "INSERT INTO facts VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
            (name, value),
        )

    def _fact(self, name: str) -> str | int | None:
        row = self._db.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
        return row[0] if row else None

    def _add(self, name: str, amount: int) -> None:
        self._db.execute("UPDATE facts SET value = value + ? WHERE name = ?", (amount, name))

    def close(self) -> None:
        with self._lock:
            self._db.close()
