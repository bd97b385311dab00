"""What the GPU has been through: its Xids explained, its jobs, its slot's cards, and what its memory mended."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

import polars as pl
import streamlit as st

from collector import runbook_docs
from collector.xid_catalogue import explain
from dashboard.gpu import past_queries
from dashboard.gpu.facts import Facts
from dashboard.gpu.words import plain

_LOOK_BACK: Final = timedelta(days=30)
_MEMORY: Final = {
    "remapped_uncorrectable": "rows remapped after uncorrected errors",
    "remapped_correctable": "rows remapped after corrected errors",
    "remap_pending": "row remap waits for a reset",
    "remap_failure": "row remap failed",
    "ecc_uncorrected": "ECC errors uncorrected, lifetime",
    "ecc_corrected": "ECC errors corrected, lifetime",
    "retired_pages": "retired pages",
    "sram_threshold_exceeded": "NVIDIA's SRAM error threshold passed",
    "pcie_replays": "PCIe replays since the driver loaded",
}
_FLAGS: Final = ("remap_pending", "remap_failure", "sram_threshold_exceeded")


def what_to_do(facts: Facts) -> None:
    """The runbook's text for the incident; open while the incident is. A fault that came goes before a foretold one."""
    found = facts.incident
    if found is None:
        return
    causes = [found["cause"]] if found["code"] is None else [f"xid_{found['code']}", found["cause"]]
    texts = {cause: text for cause in causes if (text := runbook_docs.section(cause))}
    if not texts:
        st.caption(f"The runbook has no section on `{found['cause']}`.")
    for cause, text in texts.items():
        first = cause == next(iter(texts))
        with st.expander(
            f"What to do: {cause}", expanded=first and bool(found["is_open"]), icon=":material/menu_book:"
        ):
            st.markdown(text)


def xids(lake: str, facts: Facts) -> None:
    """Each code that the GPU met: how often, what it means, what NVIDIA says, what Foreshock does."""
    st.subheader("Xid history", anchor=False)
    rows = past_queries.xids(lake, facts.gpu)
    if rows.is_empty():
        st.caption("No Xid of this GPU is in the lake.")
        return
    told = [_explained(row) for row in rows.iter_rows(named=True)]
    st.table(pl.DataFrame(told), border="horizontal", hide_index=True)


def _explained(row: Mapping[str, Any]) -> dict[str, str]:
    found = explain(row["code"], "sxid" if row["kind"] == "sxid" else "xid")
    first, last = f"{row['first']:%Y-%m-%d %H:%M}", f"{row['last']:%Y-%m-%d %H:%M}"
    return {
        "Xid": f"**{row['code']}** :red-badge[fault]" if row["is_fault"] else f"**{row['code']}**",
        "times": f"{row['times']:,}",
        "last (UTC)": last if first == last else f"{last}, first {first}",
        "meaning": found.meaning if found else "in no catalogue",
        "GPU gone?": found.gpu_gone if found else "",
        "NVIDIA says": found.nvidia if found else "",
        "Foreshock does": f"{found.action}: {found.action_text}" if found else "",
        "the line": plain(row["text"] or ""),
    }


def jobs(lake: str, facts: Facts) -> None:
    """The jobs of 30 days, and what ended each."""
    st.subheader("Jobs that ran on it", anchor=False)
    until = facts.last["time"]
    rows = past_queries.jobs(lake, facts.gpu, until - _LOOK_BACK, until)
    if rows.is_empty():
        st.caption("No job is known of it in 30 days. The agent's `[jobs]` settings say how jobs are found.")
        return
    st.dataframe(
        rows.select("job", "began", "ended", "minutes", ended_by(facts)),
        hide_index=True,
        height=38 + 35 * min(rows.height, 8),
        column_config={
            name: st.column_config.DatetimeColumn(f"{name} (UTC)", format="MM-DD HH:mm", timezone="UTC")
            for name in ("began", "ended")
        },
        alt="Jobs that held this GPU in 30 days, newest first, and what ended each",
    )


def ended_by(facts: Facts) -> pl.Expr:
    """How a job ended: by a fault here, by one elsewhere in the job, not yet, or without a fault."""
    runs = pl.lit(facts.state == "ok") & (
        pl.col("ended") >= pl.lit(facts.last["time"] - timedelta(minutes=3))
    )
    return (
        pl.when(pl.col("own_fault").is_not_null())
        .then(pl.format("{} of this GPU", "own_fault"))
        .when(pl.col("other_fault").is_not_null())
        .then(pl.format("{} of another GPU", "other_fault"))
        .when(runs)
        .then(pl.lit("runs"))
        .otherwise(pl.lit("no fault"))
        .alias("ended by")
    )  # fmt: skip


def slot(lake: str, facts: Facts) -> None:
    """Every card that sat in this slot, and whether the one before failed too."""
    st.subheader("Its slot", anchor=False)
    last = facts.last
    rows = past_queries.slot(lake, last["node"], last["pci_bdf"], last["gpu_index"])
    place = last["pci_bdf"] or f"index {last['gpu_index']}"
    st.markdown(before(rows, facts.gpu, plain(f"{last['node']} {place}")))
    others = rows.filter(pl.col("gpu_uuid") != facts.gpu)
    if others.is_empty():
        return
    st.dataframe(
        rows.select(pl.format("gpu?gpu={}", "gpu_uuid").alias("card"), "serial", "first", "last", "faults", "fault"),
        hide_index=True,
        height=38 + 35 * min(rows.height, 6),
        column_config={
            "card": st.column_config.LinkColumn("card", display_text=r"gpu\?gpu=(.*)"),
            "first": st.column_config.DatetimeColumn("from (UTC)", format="YYYY-MM-DD HH:mm", timezone="UTC"),
            "last": st.column_config.DatetimeColumn("to (UTC)", format="YYYY-MM-DD HH:mm", timezone="UTC"),
            "fault": st.column_config.TextColumn("last fault"),
        },
        alt="Cards that were in this slot, newest first, and their faults there",
    )  # fmt: skip


def before(rows: pl.DataFrame, gpu: str, place: str) -> str:
    """One sentence on the card that sat here before `gpu`. `rows` as past_queries.slot gives them."""
    own = rows.filter(pl.col("gpu_uuid") == gpu)
    others = rows.filter(pl.col("gpu_uuid") != gpu)
    if own.height:
        others = others.filter(pl.col("first") < own["first"][0])
    if others.is_empty():
        return f"Slot {place}: no other card was seen in it before this one."
    last = others.row(0, named=True)
    name = f"`{last['gpu_uuid']}`, until {last['last']:%Y-%m-%d %H:%M} UTC"
    if last["faults"] == 0:
        return f"Slot {place}: the card before this one ({name}) did not fail here."
    failed = f"{last['faults']} time{'s' if last['faults'] > 1 else ''}, last {last['fault']}"
    return (
        f"Slot {place}: **the card before this one failed here too** ({failed}; {name}). "
        "Look at the slot, the riser and the cooling before you swap again."
    )


def memory(lake: str, facts: Facts) -> None:
    """Repairs and lifetime errors. What the GPU does not tell is not shown: null is not 0."""
    st.subheader("Memory and links, totals", anchor=False)
    told = past_queries.memory(lake, facts.gpu, facts.last["time"] - timedelta(days=7)).row(0, named=True)
    known = {name: told[name] for name in _MEMORY if told[name] is not None}
    if not known:
        st.caption("The driver tells no repairs and no ECC totals of this GPU.")
        return
    lines = [
        f"- {_MEMORY[name]}: **{('yes' if value else 'no') if name in _FLAGS else format(value, ',.0f')}**"
        for name, value in known.items()
    ]
    st.markdown("\n".join(lines))
