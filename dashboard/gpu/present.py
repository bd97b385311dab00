"""One GPU as it stands: who it is, its last reading, its risk with reasons, its incident and what was done."""

from __future__ import annotations

from datetime import datetime

import polars as pl
import streamlit as st

from dashboard import queries


@st.cache_data(ttl=2, show_spinner=False)
def last_reading(lake: str, gpu: str) -> pl.DataFrame:
    """Its newest row of telemetry in the newest day of the lake, or none."""
    return queries.ask(
        lake,
        """
        WITH newest AS (SELECT time FROM telemetry ORDER BY time DESC LIMIT 1)
        SELECT time, node, gpu_index, pci_bdf, gpu_state, job, temperature_c, power_w, sm_util_pct, gap_s, synthetic
        FROM telemetry
        WHERE gpu_uuid = $gpu AND time >= (SELECT time FROM newest) - INTERVAL 1 DAY
            AND date >= ((SELECT time FROM newest) - INTERVAL 1 DAY)::DATE
        ORDER BY time DESC LIMIT 1
        """,
        gpu=gpu,
    )


@st.cache_data(ttl=10, show_spinner=False)
def last_known(lake: str, gpu: str) -> pl.DataFrame:
    """Each reading and the job as the GPU last told it in its newest day, and when (`_at`): one row, null if never."""
    told = ", ".join(
        f"arg_max({name}, time) AS {name}, max(time) FILTER ({name} IS NOT NULL) AS {name}_at"
        for name in ("temperature_c", "power_w", "sm_util_pct", "job")
    )
    return queries.ask(
        lake,
        f"""
        WITH newest AS (SELECT time FROM telemetry ORDER BY time DESC LIMIT 1)
        SELECT {told} FROM telemetry
        WHERE gpu_uuid = $gpu AND time >= (SELECT time FROM newest) - INTERVAL 1 DAY
            AND date >= ((SELECT time FROM newest) - INTERVAL 1 DAY)::DATE
        """,  # noqa: S608
        gpu=gpu,
    )


@st.cache_data(ttl=30, show_spinner=False)
def last_heard(lake: str, gpu: str) -> pl.DataFrame:
    """For a GPU that is gone: its last minute ever, and where it was then. At most one row."""
    return queries.ask(
        lake,
        """
        WITH heard AS (
            SELECT minute AS time, node, gpu_index, pci_bdf, synthetic FROM rollups WHERE gpu_uuid = $gpu
            UNION ALL
            SELECT time, node, gpu_index, pci_bdf, synthetic FROM inventory WHERE gpu_uuid = $gpu
            UNION ALL
            SELECT time, node, gpu_index, pci_bdf, synthetic FROM events WHERE gpu_uuid = $gpu
        )
        FROM heard ORDER BY time DESC LIMIT 1
        """,
        gpu=gpu,
    )


@st.cache_data(ttl=30, show_spinner=False)
def inventory(lake: str, gpu: str) -> pl.DataFrame:
    """As it was last described: at most one row."""
    return queries.ask(
        lake,
        """
        SELECT time, name, serial, vbios_version, driver_version, gsp_firmware_version, board_part_number
        FROM inventory WHERE gpu_uuid = $gpu ORDER BY time DESC, seq DESC LIMIT 1
        """,
        gpu=gpu,
    )


@st.cache_data(ttl=30, show_spinner=False)
def neighbours(lake: str, node: str) -> list[str]:
    """UUIDs that were ever described in this node."""
    rows = queries.ask(lake, "SELECT DISTINCT gpu_uuid FROM inventory WHERE node = $node", node=node)
    return rows["gpu_uuid"].to_list()


@st.cache_data(ttl=2, show_spinner=False)
def prediction(lake: str, gpu: str, until: datetime) -> pl.DataFrame:
    """The newest prediction up to `until` with its reasons; at most one row, not older than 30 days before."""
    return queries.ask(
        lake,
        """
        SELECT time, risk, horizon_s, model_id, feature_set, reasons FROM predictions
        WHERE gpu_uuid = $gpu AND time <= $until AND time >= $until::TIMESTAMPTZ - INTERVAL 30 DAY
            AND date BETWEEN ($until::TIMESTAMPTZ - INTERVAL 30 DAY)::DATE AND $until::DATE
        ORDER BY time DESC LIMIT 1
        """,
        gpu=gpu, until=until,
    )  # fmt: skip


@st.cache_data(ttl=2, show_spinner=False)
def incident(lake: str, gpu: str, incident_id: str | None) -> pl.DataFrame:
    """The incident that is asked for, else the GPU's open one, else none: at most one row."""
    return queries.ask(
        lake,
        """
        SELECT incident_id, time, opened, state, is_open, severity, cause, risk, code, summary
        FROM incidents_now
        WHERE gpu_uuid = $gpu AND (incident_id = $id OR is_open)
        ORDER BY coalesce(incident_id = $id, false) DESC, time DESC LIMIT 1
        """,
        gpu=gpu, id=incident_id,
    )  # fmt: skip


@st.cache_data(ttl=2, show_spinner=False)
def done(lake: str, incident_id: str) -> pl.DataFrame:
    """What was done about an incident, one row per action as it stands: action, state, detail, time."""
    return queries.ask(
        lake,
        """
        SELECT
            max(time) AS time, arg_max(action, time) AS action, arg_max(state, time) AS state,
            arg_max(detail, time) AS detail
        FROM actions WHERE incident_id = $id GROUP BY action_id ORDER BY time
        """,
        id=incident_id,
    )


@st.cache_data(ttl=4, show_spinner=False)
def failures(lake: str, gpu: str, since: datetime) -> pl.DataFrame:
    """Signs of a fault from `since` on: `time` and `what`, newest first."""
    return queries.ask(
        lake,
        """
        SELECT time, 'Xid ' || code AS what, text FROM xid_events
        WHERE gpu_uuid = $gpu AND is_fault AND coalesce(last_time, time) >= $since
        UNION ALL
        SELECT time, replace(kind, '_', ' ') AS what, text FROM events_now
        WHERE gpu_uuid = $gpu AND kind IN ('gpu_lost', 'gpu_missing') AND time >= $since
        ORDER BY time DESC
        """,
        gpu=gpu, since=since,
    )  # fmt: skip
