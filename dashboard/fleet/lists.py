"""What stands beside the map: the newest incidents and the riskiest GPUs, each a link to its own page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import polars as pl
import streamlit as st

from dashboard import now
from dashboard.colours import mark

_SHOWN: Final = 6


def incidents(lake: str) -> None:
    """The newest, open ones first."""
    st.subheader("Incidents", anchor=False)
    rows = now.incidents(lake)
    if rows.is_empty():
        st.caption("None so far. A risk at the alarm level or a terminal Xid opens one.")
        return
    with st.container(gap="xsmall"):
        for row in rows.head(_SHOWN).iter_rows(named=True):
            stands = ", ".join(part for part in (row["severity"], row["state"]) if part)
            done = plain((row["done"] or "nothing done yet").replace("_", " "))
            _entry(
                "incidents",
                {"incident": row["incident_id"]},
                f":blue[**{plain(where(row))}**] · {plain(row['summary'] or 'no summary')}",
                f"{stands} · {row['time']:%m-%d %H:%M} UTC · {done}",
            )
    opened = int(rows["is_open"].sum())
    st.caption(f"{opened} open" + (f" of the newest {rows.height}" if rows.height > _SHOWN else ""))


def riskiest(fleet: pl.DataFrame) -> None:
    """By their distance from the alarm level of the model that scored them. `fleet` with `alarm_level`."""
    scored = fleet.filter(pl.col("risk").is_not_null())
    if scored.is_empty():
        return
    st.subheader("Riskiest GPUs", anchor=False)
    # not the bare risk: 0.1 of a model that alarms at 0.05 is more than 0.4 of one that alarms at 0.5
    ratio = (
        pl.when(pl.col("alarm_level") > 0)
        .then(pl.col("risk") / pl.col("alarm_level"))
        .otherwise(pl.col("risk"))
    )
    rows = scored.with_columns(ratio=ratio).sort("ratio", "gpu_uuid", descending=[True, False]).head(_SHOWN)
    with st.container(gap="xsmall"):
        for row in rows.iter_rows(named=True):
            alarm = row["risk"] >= row["alarm_level"]
            level = "at the alarm level" if alarm else f"{row['ratio']:.0%} of the alarm level"
            state = "" if row["state"] == "ok" else f" · {mark(row['state'])} {row['state']}"
            _entry(
                "gpu",
                {"gpu": row["gpu_uuid"]},
                f":blue[**{plain(where(row))}**] · risk {row['risk']:.2f}, {level}{state}",
                plain(row["why"] or "nothing unusual"),
            )


def where(row: Mapping[str, Any]) -> str:
    """Node and GPU."""
    index = "" if row["gpu_index"] is None else f" GPU {row['gpu_index']}"
    return f"{row['node'] or 'unknown node'}{index}"


def plain(text: str) -> str:
    """Names and sentences come from nodes: no Markdown of theirs is obeyed."""
    return "".join(f"\\{c}" if c in "\\`*_{}[]()#+-!|<>:$~" else c for c in text)


def _entry(page: str, target: dict[str, str], label: str, below: str) -> None:
    with st.container(gap=None):
        st.page_link(st.Page(_nothing, title=page, url_path=page), label=label, query_params=target)
        st.caption(below)


def _nothing() -> None:
    """Stands for a page that app.py registers: a link needs its URL only."""
