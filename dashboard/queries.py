"""Everything the pages ask of the lake, as named functions that return rows. Nothing here writes or scores.

`lake` is the lake's folder. Answers are kept for a second or two, so that many open browsers cost as much as one.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import polars as pl
import streamlit as st

from pipeline.lake import Lake
from pipeline.sql import Desk, Limits, connect
from pipeline.tables import TABLES

SILENT_S = 60
"""A GPU whose last row is this much older than the lake's newest is silent, whatever that row said."""

Snapshot = tuple[tuple[str, tuple[str, ...]], ...]


@st.cache_data(ttl=1, show_spinner=False)
def _snapshot(lake: str) -> Snapshot:
    door = Lake(Path(lake))
    return tuple((table, tuple(door.files(table))) for table in TABLES)


@st.cache_resource(max_entries=2, show_spinner=False)
def _desk(lake: str, snapshot: Snapshot) -> Desk:
    """One desk per state of the lake: opening it reads every file's footer, so only do that when they change."""
    files = {table: list(paths) for table, paths in snapshot}
    return connect(files.__getitem__, Path(lake), Limits(time_s=10))


def _ask(lake: str, text: str, **params: object) -> pl.DataFrame:
    return _desk(lake, _snapshot(lake)).query(text, params or None)


@st.cache_data(ttl=2, show_spinner=False)
def newest(lake: str) -> pl.DataFrame:
    """One row: the newest time of each kind of row; null where there is none."""
    return _ask(
        lake,
        """
        SELECT
            (SELECT max(time) FROM telemetry) AS telemetry,
            (SELECT max(time) FROM predictions) AS predictions,
            (SELECT max(time) FROM events) AS events
        """,
    )


@st.cache_data(ttl=2, show_spinner=False)
def fleet(lake: str) -> pl.DataFrame:
    """One row per GPU: where it is, its state, last readings and risk. Null risk: never scored."""
    return _ask(
        lake,
        """
        SELECT
            coalesce(g.node, r.node) AS node, coalesce(g.gpu_index, r.gpu_index) AS gpu_index,
            coalesce(g.gpu_uuid, r.gpu_uuid) AS gpu_uuid,
            CASE
                WHEN g.time IS NULL OR g.time < (SELECT max(time) FROM gpu_now) - to_seconds($silent_s) THEN 'silent'
                ELSE g.gpu_state
            END AS state,
            g.time, g.temperature_c, g.power_w, g.gap_s, r.risk, r.time AS risk_time,
            r.reasons[1].text AS why,
            coalesce(g.synthetic, r.synthetic) AS synthetic
        FROM gpu_now AS g FULL JOIN risk_now AS r ON g.gpu_uuid = r.gpu_uuid
        ORDER BY node, gpu_index, gpu_uuid
        """,
        silent_s=SILENT_S,
    )


@st.cache_data(ttl=2, show_spinner=False)
def incidents(lake: str, limit: int = 50) -> pl.DataFrame:
    """The newest incidents, open ones first, with what was done about each."""
    return _ask(
        lake,
        """
        WITH stands AS (
            SELECT incident_id, action_id, arg_max(action || ' ' || state, time) AS done, max(time) AS time
            FROM actions GROUP BY incident_id, action_id
        ),
        done AS (SELECT incident_id, string_agg(done, ', ' ORDER BY time) AS done FROM stands GROUP BY incident_id)
        SELECT i.time, i.opened, i.state, i.is_open, i.severity, i.node, i.gpu_index, i.gpu_uuid, i.summary, d.done
        FROM incidents_now AS i LEFT JOIN done AS d USING (incident_id)
        ORDER BY i.is_open DESC, i.time DESC
        LIMIT $limit
        """,
        limit=limit,
    )


@st.cache_data(ttl=2, show_spinner=False)
def telemetry_of(lake: str, gpu: str, since: datetime, bucket_s: int) -> pl.DataFrame:
    """One GPU's readings in buckets of `bucket_s`; `nvlink_crc_per_s` is reset-aware, null where unsupported."""
    return _ask(
        lake,
        """
        WITH buckets AS (
            SELECT
                time_bucket(to_seconds($bucket_s), t.time) AS time, avg(temperature_c) AS temperature_c,
                avg(power_w) AS power_w, max(gap_s) AS gap_s,
                arg_max(list_sum([nvlink_crc_flit_errors, nvlink_crc_data_errors]), t.time) AS crc,
                max(t.time) FILTER (nvlink_crc_data_errors IS NOT NULL) AS read_at
            FROM telemetry AS t
            WHERE gpu_uuid = $gpu AND t.time >= $since AND date >= $since::DATE
            GROUP BY 1
        ),
        steps AS (
            SELECT *, lag(crc) OVER w AS crc_before, lag(read_at) OVER w AS read_before
            FROM buckets WINDOW w AS (ORDER BY time)
        )
        SELECT
            time, temperature_c, power_w, gap_s,
            CASE
                WHEN crc_before IS NULL THEN NULL
                WHEN crc < crc_before THEN crc  -- the counter began again at 0
                ELSE crc - crc_before
            END / nullif(epoch(read_at) - epoch(read_before), 0) AS nvlink_crc_per_s
        FROM steps
        ORDER BY time
        """,
        gpu=gpu,
        since=since,
        bucket_s=bucket_s,
    )


@st.cache_data(ttl=2, show_spinner=False)
def risks_of(lake: str, gpu: str, since: datetime) -> pl.DataFrame:
    """One GPU's risk over time, newest last, each with its reasons."""
    return _ask(
        lake,
        """
        SELECT time, risk, horizon_s, model_id, reasons
        FROM predictions
        WHERE gpu_uuid = $gpu AND time >= $since
        ORDER BY time
        """,
        gpu=gpu,
        since=since,
    )


@st.cache_data(ttl=2, show_spinner=False)
def marks_of(lake: str, gpu: str, since: datetime) -> pl.DataFrame:
    """What happened to one GPU: `kind` is fault, event or action; `what` and `detail` are for people."""
    return _ask(
        lake,
        """
        SELECT
            time, CASE WHEN is_fault THEN 'fault' ELSE 'event' END AS kind,
            upper(kind[1]) || kind[2:] || ' ' || code || if(count > 1, ' x' || count, '') AS what, text AS detail
        FROM xid_events WHERE gpu_uuid = $gpu AND time >= $since
        UNION ALL
        SELECT time, if(kind IN ('gpu_lost', 'gpu_missing'), 'fault', 'event'), replace(kind, '_', ' '), text
        FROM events WHERE gpu_uuid = $gpu AND time >= $since AND kind NOT IN ('xid', 'sxid')
        UNION ALL
        SELECT time, 'action', action || ' ' || state, detail
        FROM actions_log WHERE gpu_uuid = $gpu AND time >= $since
        ORDER BY time
        """,
        gpu=gpu,
        since=since,
    )
