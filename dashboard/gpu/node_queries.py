"""The GPUs of one node over time."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import polars as pl
import streamlit as st

from dashboard import queries
from dashboard.gpu.life_queries import Source, buckets_sql


@st.cache_data(ttl=4, show_spinner=False)
def node_life(
    lake: str, gpus: Sequence[str], span: tuple[datetime, datetime], bucket_s: int, source: Source
) -> pl.DataFrame:
    """One row per GPU and bucket: `time`, `gpu_uuid`, `gpu_index` and the readings, oldest first."""
    uuids = {f"g{n}": uuid for n, uuid in enumerate(gpus)}
    text = buckets_sql(source, ", ".join(f"${name}" for name in uuids))
    since, until = span
    return queries.ask(
        lake,
        f"WITH {text} SELECT bucket AS time, * EXCLUDE (bucket, job) FROM each ORDER BY time, gpu_index",  # noqa: S608
        since=since, until=until, bucket_s=bucket_s, **uuids,
    )  # fmt: skip
