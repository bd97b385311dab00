"""One GPU over time, beside its peers: readings in buckets, its risk, and what happened to it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final, Literal

import polars as pl
import streamlit as st

from dashboard import queries
from dashboard.gpu.readings import READINGS, Reading

Source = Literal["telemetry", "rollups"]

_WHEN: Final[dict[Source, str]] = {"telemetry": "time", "rollups": "minute"}
MARKS: Final = 300
"""So many of what happened are shown, the newest ones: an error storm would hide the readings."""


@st.cache_data(ttl=4, show_spinner=False)
def life(
    lake: str, gpu: str, node_gpus: Sequence[str], span: tuple[datetime, datetime], *, bucket_s: int, source: Source
) -> pl.DataFrame:  # fmt: skip
    """One row per bucket of `bucket_s`: `time`, the readings, and of each its peers' `_low`, `_mid`, `_high`.

    Peers are those of `node_gpus` that the same job held in that bucket: their 10th, 50th and 90th percentile.
    Counters are reset-aware and count per minute. Null: the GPU would not say, or was not heard.
    """
    uuids = {f"g{n}": uuid for n, uuid in enumerate(sorted({gpu, *node_gpus}))}
    text = life_sql(source, ", ".join(f"${name}" for name in uuids))
    since, until = span
    return queries.ask(lake, text, gpu=gpu, since=since, until=until, bucket_s=bucket_s, **uuids)


def life_sql(source: Source, uuids: str) -> str:
    """The statement; `uuids` is the list of its placeholders."""
    names = [r.key for r in READINGS]
    own = ", ".join(f"own.{name}" for name in names)
    band = ", ".join(f"peers.{name}_{end}" for name in names for end in ("low", "mid", "high"))
    # names and expressions come from READINGS, values are parameters
    return f"""
        WITH {buckets_sql(source, uuids)},
        own AS (SELECT * FROM each WHERE gpu_uuid = $gpu),
        peers AS (
            SELECT each.bucket, count(*) AS peers, {", ".join(_quantiles(name) for name in names)}
            FROM each LEFT JOIN own ON own.bucket = each.bucket
            WHERE each.gpu_uuid <> $gpu AND (own.bucket IS NULL OR each.job IS NOT DISTINCT FROM own.job)
            GROUP BY each.bucket
        )
        SELECT coalesce(own.bucket, peers.bucket) AS time, coalesce(peers, 0) AS peers, {own}, {band}
        FROM own FULL JOIN peers ON own.bucket = peers.bucket
        ORDER BY time
        """  # noqa: S608


def buckets_sql(source: Source, uuids: str) -> str:
    """Two tables for WITH: `seen`, a row of `source` each, and `each`: GPU and bucket with every reading.

    Parameters: since, until, bucket_s, and those whose placeholders are in `uuids`.
    """
    when = _WHEN[source]
    inner = ", ".join(_value(r, source) for r in READINGS)
    taken = ", ".join(_taken(r, source) for r in READINGS)
    return f"""
        seen AS (
            SELECT
                time_bucket(to_seconds($bucket_s), {when}) AS bucket, gpu_uuid, gpu_index, {when} AS read_at, job,
                epoch({when}) - epoch(lag({when}) OVER one) AS step_s, {inner}
            FROM {source}
            WHERE gpu_uuid IN ({uuids}) AND {when} >= $since AND {when} <= $until
                AND date BETWEEN $since::DATE AND $until::DATE
            WINDOW one AS (PARTITION BY gpu_uuid ORDER BY {when})
        ),
        each AS (
            SELECT
                bucket, gpu_uuid, any_value(gpu_index) AS gpu_index, last(job ORDER BY read_at) AS job, {taken}
            FROM seen GROUP BY bucket, gpu_uuid
        )
        """  # noqa: S608


def _value(reading: Reading, source: Source) -> str:
    if source == "rollups":
        return f"{reading.minute} AS {reading.key}"
    if reading.take != "count":
        return f"{reading.raw} AS {reading.key}"
    now, before = f"({reading.raw})", f"lag({reading.raw}) OVER one"
    # a counter that fell began again at 0
    return f"CASE WHEN {now} < {before} THEN {now} ELSE {now} - {before} END AS {reading.key}"


def _taken(reading: Reading, source: Source) -> str:
    name = reading.key
    if reading.take == "mean":
        return f"avg({name}) AS {name}"
    if reading.take == "max":
        return f"max({name}) AS {name}"
    minutes = f"count({name})" if source == "rollups" else f"sum(step_s) FILTER ({name} IS NOT NULL) / 60"
    return f"sum({name}) / nullif({minutes}, 0) AS {name}"


def _quantiles(name: str) -> str:
    parts = {"low": 0.1, "mid": 0.5, "high": 0.9}
    return ", ".join(f"quantile_cont(each.{name}, {q}) AS {name}_{end}" for end, q in parts.items())


@st.cache_data(ttl=4, show_spinner=False)
def risks(lake: str, gpu: str, span: tuple[datetime, datetime], bucket_s: int) -> pl.DataFrame:
    """`time`, `risk` (the highest of each bucket; a minute at least), oldest first."""
    since, until = span
    return queries.ask(
        lake,
        """
        SELECT max(time) AS time, max(risk) AS risk
        FROM predictions
        WHERE gpu_uuid = $gpu AND time >= $since AND time <= $until AND date BETWEEN $since::DATE AND $until::DATE
        GROUP BY time_bucket(to_seconds($bucket_s), time)
        ORDER BY time
        """,
        gpu=gpu, since=since, until=until, bucket_s=max(60, bucket_s),
    )  # fmt: skip


@st.cache_data(ttl=4, show_spinner=False)
def marks(lake: str, gpu: str, span: tuple[datetime, datetime]) -> pl.DataFrame:
    """What happened, oldest first: `time`, `kind` (fault, event, incident, action), `what` and `detail` for people."""
    since, until = span
    return queries.ask(
        lake,
        """
        WITH told AS (
            SELECT
                time, CASE WHEN is_fault THEN 'fault' ELSE 'event' END AS kind,
                upper(kind[1]) || kind[2:] || ' ' || code || if(count > 1, ' x' || count, '') AS what, text AS detail
            FROM xid_events WHERE gpu_uuid = $gpu
            UNION ALL
            SELECT time, if(kind IN ('gpu_lost', 'gpu_missing'), 'fault', 'event'), replace(kind, '_', ' '), text
            FROM events_now WHERE gpu_uuid = $gpu AND kind NOT IN ('xid', 'sxid')
            UNION ALL
            SELECT time, 'action', action || ' ' || state, detail FROM actions_log WHERE gpu_uuid = $gpu
            UNION ALL
            SELECT time, 'incident', 'incident ' || change, summary FROM incidents
            WHERE gpu_uuid = $gpu AND change <> 'joined'
        )
        FROM (FROM told WHERE time >= $since AND time <= $until ORDER BY time DESC LIMIT $most) ORDER BY time
        """,
        gpu=gpu, since=since, until=until, most=MARKS,
    )  # fmt: skip
