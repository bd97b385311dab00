"""What the incidents page asks of the lake."""

from __future__ import annotations

from datetime import datetime
from typing import Final

import polars as pl
import streamlit as st

from dashboard.queries import ask

LISTED: Final = 2_000
"""The open ones first, then the newest: older closed ones are for `foreshock incidents list --all` and SQL."""


@st.cache_data(ttl=2, show_spinner=False)
def listed(lake: str) -> pl.DataFrame:
    """Each incident as it stands, open ones first, newest first. `headline` is the first line of its summary."""
    return ask(
        lake,
        """
        WITH stands AS (
            SELECT incident_id, action_id, arg_max(action || ' ' || state, time) AS done, max(time) AS time
            FROM actions GROUP BY incident_id, action_id
        ),
        done AS (SELECT incident_id, string_agg(done, ', ' ORDER BY time) AS done FROM stands GROUP BY incident_id)
        SELECT
            i.incident_id, i.opened, i.time, i.is_open, i.state, i.severity, i.cause, i.node, i.gpu_index, i.gpu_uuid,
            i.risk, split_part(i.summary, chr(10), 1) AS headline, d.done, i.synthetic
        FROM incidents_now AS i LEFT JOIN done AS d USING (incident_id)
        ORDER BY i.is_open DESC, i.opened DESC, i.incident_id
        LIMIT $limit
        """,
        limit=LISTED,
    )


@st.cache_data(ttl=2, show_spinner=False)
def log_of(lake: str, incident_id: str) -> pl.DataFrame:
    """Every row of one incident, oldest first; empty where the lake does not know it."""
    return ask(
        lake,
        """
        SELECT
            time, change, state, severity, cause, node, gpu_uuid, gpu_index, pci_bdf, opened, risk, code, summary,
            evidence, synthetic
        FROM incidents
        WHERE incident_id = $incident_id
        ORDER BY time, list_position(['open', 'failed', 'recovered', 'lapsed', 'replaced'], state)
        """,
        incident_id=incident_id,
    )


@st.cache_data(ttl=2, show_spinner=False)
def actions_of(lake: str, incident_id: str) -> pl.DataFrame:
    """One row per action, in the order of asking: the arithmetic, where it stands, and what came of it."""
    return ask(
        lake,
        """
        WITH rows AS (
            SELECT *, list_position(['decided', 'dry_run', 'delivered', 'acknowledged', 'failed'], state) AS step
            FROM actions WHERE incident_id = $incident_id
        )
        SELECT
            min(time) AS time, any_value(action) AS action, arg_min(detail, (time, step)) AS arithmetic,
            arg_max(state, (time, step)) AS state, max(time) AS last_time,
            CASE WHEN count(*) > 1 THEN arg_max(detail, (time, step)) END AS outcome
        FROM rows
        GROUP BY action_id
        ORDER BY 1, 2
        """,
        incident_id=incident_id,
    )


@st.cache_data(ttl=30, show_spinner=False)
def job_of(lake: str, gpu_uuid: str | None, job: str | None, opened: datetime) -> pl.DataFrame:
    """The job on the GPU (`job`, else the one that held it in the ten minutes before), and its size then; or no row."""
    return ask(
        lake,
        """
        WITH near AS (
            SELECT job, gpu_uuid, node, minute
            FROM rollups
            WHERE minute BETWEEN $opened::TIMESTAMPTZ - INTERVAL 10 MINUTE AND $opened::TIMESTAMPTZ
                AND date >= ($opened::TIMESTAMPTZ - INTERVAL 1 DAY)::DATE AND job IS NOT NULL
        ),
        named AS (
            SELECT coalesce($job, arg_max(job, minute) FILTER (gpu_uuid = $gpu)) AS job FROM near
        )
        SELECT
            n.job, count(DISTINCT r.gpu_uuid) AS gpus, count(DISTINCT r.node) AS nodes
        FROM named AS n LEFT JOIN near AS r ON r.job = n.job
        WHERE n.job IS NOT NULL
        GROUP BY n.job
        """,
        gpu=gpu_uuid,
        job=job,
        opened=opened,
    )
