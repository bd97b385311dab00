"""One GPU's past: its Xids, the jobs that ran on it, who sat in its slot, and what its memory has had to mend."""

from __future__ import annotations

from datetime import datetime

import polars as pl
import streamlit as st

from dashboard import queries

JOBS = 50
"""The newest jobs that are shown."""


@st.cache_data(ttl=10, show_spinner=False)
def xids(lake: str, gpu: str) -> pl.DataFrame:
    """One row per code: kind, code, is_fault, times, first, last, text of the last; the newest first."""
    return queries.ask(
        lake,
        """
        SELECT
            kind, code, bool_or(is_fault) AS is_fault, sum(count)::BIGINT AS times, min(time) AS first,
            max(coalesce(last_time, time)) AS last, arg_max(text, time) AS text
        FROM xid_events WHERE gpu_uuid = $gpu GROUP BY kind, code ORDER BY is_fault DESC, last DESC
        """,
        gpu=gpu,
    )


@st.cache_data(ttl=60, show_spinner=False)
def jobs(lake: str, gpu: str, since: datetime, until: datetime) -> pl.DataFrame:
    """Jobs that held the GPU: job, began, ended, minutes; `own_fault` and `other_fault` are what ended them.

    A job ended by a fault when one came while it ran or within two minutes after. `other_fault` is one of another
    GPU that the event itself puts down to the same job.
    """
    return queries.ask(
        lake,
        """
        WITH held AS (
            SELECT job, minute, count_if(job IS DISTINCT FROM before) OVER (ORDER BY minute) AS stretch
            FROM (
                SELECT job, minute, lag(job) OVER (ORDER BY minute) AS before FROM rollups
                WHERE gpu_uuid = $gpu AND minute BETWEEN $since AND $until
                    AND date BETWEEN $since::DATE AND $until::DATE
            )
        ),
        ran AS (
            SELECT job, min(minute) AS began, max(minute) + INTERVAL 1 MINUTE AS ended, count(*) AS minutes
            FROM held WHERE job IS NOT NULL GROUP BY job, stretch
            ORDER BY began DESC LIMIT $most
        ),
        told AS (
            SELECT time, gpu_uuid, job, coalesce('Xid ' || first_code, replace(first_kind, '_', ' ')) AS what
            FROM faults
        )
        SELECT
            ran.*,
            arg_max(told.what, told.time) FILTER (told.gpu_uuid = $gpu) AS own_fault,
            arg_max(told.what, told.time) FILTER (told.gpu_uuid IS DISTINCT FROM $gpu) AS other_fault
        FROM ran LEFT JOIN told
            ON told.time BETWEEN ran.began AND ran.ended + INTERVAL 2 MINUTE
                AND (told.gpu_uuid = $gpu OR told.job = ran.job)
        GROUP BY ALL
        ORDER BY began DESC
        """,
        gpu=gpu, since=since, until=until, most=JOBS,
    )  # fmt: skip


@st.cache_data(ttl=60, show_spinner=False)
def slot(lake: str, node: str, pci_bdf: str | None, gpu_index: int | None) -> pl.DataFrame:
    """Every card that was seen in a slot: gpu_uuid, serial, first, last, and its faults while there; newest first.

    A slot is a PCI address of a node; only where that is not known, an index.
    """
    return queries.ask(
        lake,
        """
        WITH seen AS (
            SELECT gpu_uuid, minute AS time, NULL AS serial FROM rollups
            WHERE node = $node AND if($bdf::VARCHAR IS NULL, gpu_index = $index, pci_bdf = $bdf)
            UNION ALL
            SELECT gpu_uuid, time, serial FROM inventory
            WHERE node = $node AND if($bdf::VARCHAR IS NULL, gpu_index = $index, pci_bdf = $bdf)
        ),
        cards AS (
            SELECT gpu_uuid, max(serial) AS serial, min(time) AS first, max(time) AS last FROM seen
            WHERE gpu_uuid IS NOT NULL GROUP BY gpu_uuid
        ),
        failed AS (
            SELECT
                gpu_uuid, count(*) AS faults, max(time) AS last_fault,
                arg_max(coalesce('Xid ' || first_code, replace(first_kind, '_', ' ')), time) AS fault
            FROM faults
            WHERE node = $node AND if($bdf::VARCHAR IS NULL, gpu_index = $index, pci_bdf = $bdf)
            GROUP BY gpu_uuid
        )
        SELECT cards.*, coalesce(faults, 0) AS faults, last_fault, fault
        FROM cards LEFT JOIN failed USING (gpu_uuid)
        ORDER BY last DESC, first DESC
        """,
        node=node, bdf=pci_bdf, index=gpu_index,
    )  # fmt: skip


@st.cache_data(ttl=30, show_spinner=False)
def memory(lake: str, gpu: str, since: datetime) -> pl.DataFrame:
    """One row: repairs and lifetime errors as last told from `since` on; null where the GPU never said."""
    return queries.ask(
        lake,
        """
        SELECT
            arg_max(remapped_rows_correctable_last, minute) AS remapped_correctable,
            arg_max(remapped_rows_uncorrectable_last, minute) AS remapped_uncorrectable,
            arg_max(remap_pending_last, minute) AS remap_pending,
            arg_max(remap_failure_last, minute) AS remap_failure,
            arg_max(ecc_sbe_aggregate_last, minute) AS ecc_corrected,
            arg_max(ecc_dbe_aggregate_last, minute) AS ecc_uncorrected,
            arg_max(retired_pages_sbe_last + retired_pages_dbe_last, minute) AS retired_pages,
            arg_max(sram_threshold_exceeded_last, minute) AS sram_threshold_exceeded,
            arg_max(pcie_replay_last, minute) AS pcie_replays
        FROM rollups WHERE gpu_uuid = $gpu AND minute >= $since AND date >= $since::DATE
        """,
        gpu=gpu, since=since,
    )  # fmt: skip
