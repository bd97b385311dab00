"""What the model page asks of the lake: who scored, what was alarmed, and which faults were foretold."""

from __future__ import annotations

from typing import Final

import polars as pl
import streamlit as st

from dashboard.queries import ask
from pipeline.labels import DEFINITION

SCORED_DAYS: Final = 7
"""Predictions are many: a row per GPU and minute."""
ALARM_DAYS: Final = 14
"""Counting the GPUs of a day reads its rollups, which are as many."""
_KEPT_S: Final = 300


@st.cache_data(ttl=_KEPT_S, show_spinner=False)
def scored(lake: str) -> pl.DataFrame:
    """bucket, model_id, synthetic, predictions, gpus, highest: per hour over the newest days that have predictions."""
    return ask(
        lake,
        """
        SELECT
            time_bucket(INTERVAL 1 HOUR, time) AS bucket, model_id, coalesce(synthetic, false) AS synthetic,
            count(*) AS predictions, approx_count_distinct(gpu_uuid) AS gpus, max(risk) AS highest
        FROM predictions
        WHERE date > (SELECT max(time) FROM predictions)::DATE - $days
            AND time > (SELECT max(time) FROM predictions) - to_days($days)
        GROUP BY ALL
        ORDER BY 1, 2, 3
        """,
        days=SCORED_DAYS,
    )


@st.cache_data(ttl=_KEPT_S, show_spinner=False)
def alarms(lake: str) -> pl.DataFrame:
    """date, synthetic, alarms, gpus: incidents that a risk opened, per day, and the GPUs heard from on it."""
    return ask(
        lake,
        """
        WITH heard AS (
            SELECT date, coalesce(synthetic, false) AS synthetic, approx_count_distinct(gpu_uuid) AS gpus
            FROM rollups
            WHERE date > (SELECT max(minute) FROM rollups)::DATE - $days
            GROUP BY ALL
        ),
        opened AS (
            SELECT opened::DATE AS date, coalesce(synthetic, false) AS synthetic, count(*) AS alarms
            FROM incidents_now
            WHERE cause = 'predicted_fault'
            GROUP BY ALL
        )
        SELECT date, synthetic, coalesce(alarms, 0) AS alarms, gpus
        FROM heard LEFT JOIN opened USING (date, synthetic)
        ORDER BY date, synthetic
        """,
        days=ALARM_DAYS,
    )


@st.cache_data(ttl=30, show_spinner=False)
def foretold(lake: str) -> pl.DataFrame:
    """One row per origin: what became of incidents that a risk opened, and of those that a fault did.

    `lead_s`: from the opening until the watcher heard of the fault, its median over the faults that were foretold.
    `in_time`: those early enough to save a checkpoint, by the label's own least lead.
    """
    return ask(
        lake,
        """
        WITH failed AS (
            SELECT incident_id, min(time) AS failed_at FROM incidents WHERE state = 'failed' GROUP BY incident_id
        ),
        told AS (
            SELECT
                coalesce(i.synthetic, false) AS synthetic, i.cause = 'predicted_fault' AS predicted, i.is_open,
                f.failed_at, epoch(f.failed_at) - epoch(i.opened) AS lead_s
            FROM incidents_now AS i LEFT JOIN failed AS f USING (incident_id)
        )
        SELECT
            synthetic,
            count(*) FILTER (failed_at IS NOT NULL) AS faults,
            count(*) FILTER (failed_at IS NOT NULL AND predicted) AS foretold,
            count(*) FILTER (failed_at IS NOT NULL AND predicted AND lead_s >= $min_lead_s) AS in_time,
            median(lead_s) FILTER (failed_at IS NOT NULL AND predicted) AS lead_s,
            count(*) FILTER (predicted AND failed_at IS NULL AND NOT is_open) AS in_vain,
            count(*) FILTER (predicted AND failed_at IS NULL AND is_open) AS waiting
        FROM told
        GROUP BY synthetic
        ORDER BY synthetic
        """,
        min_lead_s=DEFINITION.min_lead_s,
    )
