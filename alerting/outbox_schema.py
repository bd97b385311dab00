"""The tables of the outbox file, and the way of an older file into them."""

from __future__ import annotations

import sqlite3
from typing import Final

SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS messages(
    seq INTEGER PRIMARY KEY AUTOINCREMENT, sink TEXT NOT NULL, id TEXT NOT NULL, thread TEXT NOT NULL,
    kind TEXT NOT NULL, body BLOB NOT NULL, urgent INTEGER NOT NULL, state TEXT NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0, next_s REAL NOT NULL, deadline_s REAL NOT NULL,
    error TEXT NOT NULL DEFAULT '', UNIQUE(sink, id));
CREATE INDEX IF NOT EXISTS messages_due ON messages(sink, next_s) WHERE state = 'waiting';
CREATE INDEX IF NOT EXISTS messages_in_order ON messages(sink, thread, seq);
CREATE TABLE IF NOT EXISTS journal(
    seq INTEGER PRIMARY KEY AUTOINCREMENT, lake_table TEXT NOT NULL, row BLOB NOT NULL);
"""


def migrate(connection: sqlite3.Connection) -> None:
    """Version 1 held actions for the one webhook in a table of their own. Call it in a transaction.

    It is carried over as often as it is there: an older version that ran in between has made it anew.
    """
    known = connection.execute("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'actions'")
    if known.fetchone() is None:
        return
    connection.execute(
        "INSERT OR IGNORE INTO messages(sink, id, thread, kind, body, urgent, state, attempts, next_s, deadline_s,"
        " error) SELECT 'webhook', action_id, json_extract(CAST(action AS TEXT), '$.incident_id'), 'action',"
        " action, json_extract(CAST(action AS TEXT), '$.action') = 'drain_now', state, attempts, next_s,"
        " deadline_s, error FROM actions ORDER BY seq"
    )
    connection.execute("DROP TABLE actions")
