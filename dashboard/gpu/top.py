"""The head of the GPU page: what it is, how it stands, is the alert true, and what was done about it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, Final

import polars as pl
import streamlit as st

from collector.config import Config
from dashboard import freshness, lateness, queries
from dashboard.gpu import life_queries, present
from dashboard.gpu.facts import Facts, Row
from dashboard.gpu.signs import Verdict, Word, differences, verdict
from dashboard.gpu.words import link, plain
from dashboard.origin import synthetic_badge

_BEFORE: Final = timedelta(minutes=15)
"""Signs from so long before the incident opened count; without one, those of the last hour."""
_BOXES: Final[Mapping[Word, tuple[Callable[..., object], str]]] = {
    "failed": (st.error, ":material/dangerous:"),
    "likely": (st.error, ":material/priority_high:"),
    "alone": (st.warning, ":material/help:"),
    "odd": (st.warning, ":material/visibility:"),
    "calm": (st.success, ":material/check:"),
}


def head(config: Config, facts: Facts, level: float) -> None:
    """Freshness, identity, and how it stands now; the page's title has its name."""
    last = facts.last
    newest = queries.newest(str(config.lake.path)).row(0, named=True) | {"telemetry": facts.newest}
    with st.container(horizontal=True, vertical_alignment="center"):
        if last["synthetic"]:
            synthetic_badge()
        st.badge(facts.state, color="green" if facts.state == "ok" else "red")
        lateness.told(config, newest)
    lateness.warned(config, newest)
    with st.container(key="gpu-identity"):
        st.caption(_identity(facts), unsafe_allow_html=True)
    _numbers(str(config.lake.path), facts, level)


def _identity(facts: Facts) -> str:
    told = facts.inventory or {}
    parts = {
        "PCI": facts.last["pci_bdf"], "model": told.get("name"), "serial": told.get("serial"),
        "part": told.get("board_part_number"), "VBIOS": told.get("vbios_version"),
        "driver": told.get("driver_version"), "GSP": told.get("gsp_firmware_version"),
    }  # fmt: skip
    text = [f"{name} {plain(value)}" for name, value in parts.items() if value]
    node = link("gpu", f"all GPUs of {facts.last['node']}", node=facts.last["node"])
    # where nobody chose this GPU the address bar does not name it: its UUID does, to be pasted in chat
    own = link("gpu", facts.gpu, gpu=facts.gpu)
    return " · ".join([own, *text, *([] if told else ["no inventory yet"]), node])


def _numbers(lake: str, facts: Facts, level: float) -> None:
    risk = facts.prediction
    before = _before_it_failed(lake, facts)
    shown = {
        "Risk": ("not scored", None) if risk is None else (f"{risk['risk']:.2f}", f"alarm at {level:.2g}"),
        "Temperature": _number(facts, before, "temperature_c", "°C"),
        "Power": _number(facts, before, "power_w", "W"),
        "SM utilisation": _number(facts, before, "sm_util_pct", "%"),
        "Job": _job(facts, before),
        "Last heard (UTC)": _heard(facts),
    }
    with st.container(horizontal=True, key="gpu-numbers"):
        for label, (value, note) in shown.items():
            st.metric(label, value, note, delta_color="off", delta_arrow="off", border=True, height="stretch")


def _before_it_failed(lake: str, facts: Facts) -> Row:
    """What a GPU that fails last answered: a row with null readings is no news of it. Empty for one that works."""
    if facts.state == "ok":
        return {}
    rows = present.last_known(lake, facts.gpu)
    return {} if rows.is_empty() else rows.row(0, named=True)


def _number(facts: Facts, before: Row, column: str, unit: str) -> tuple[str, str | None]:
    value, note = facts.last.get(column), None
    if value is None:
        value, note = before.get(column), _age(facts, before.get(f"{column}_at"))
    return ("no reading", None) if value is None else (f"{value:.0f} {unit}", note)


def _job(facts: Facts, before: Row) -> tuple[str, str | None]:
    job = facts.last.get("job")
    if job is None and before.get("job") is not None:
        return str(before["job"]), _age(facts, before["job_at"])
    return str(job or "none known"), None


def _age(facts: Facts, at: datetime | None) -> str | None:
    return None if at is None else f"last known {freshness.spoken((facts.newest - at).total_seconds())} ago"


def _heard(facts: Facts) -> tuple[str, str]:
    at: datetime = facts.last["time"]
    form = "%H:%M:%S" if at.date() == facts.newest.date() else "%m-%d %H:%M"
    behind_s = (facts.newest - at).total_seconds()
    behind = "the newest row" if behind_s < 1 else f"{freshness.spoken(behind_s)} before the newest"
    return f"{at:{form}}", behind


def is_it_true(lake: str, facts: Facts, level: float) -> None:
    """The verdict and its signs."""
    found = judge(lake, facts, level)
    box, icon = _BOXES[found.word]
    signs = "".join(f"\n- {sign}" for sign in found.signs)
    box(f"**{found.sentence}**{signs}", icon=icon)


def judge(lake: str, facts: Facts, level: float) -> Verdict:
    """What speaks for the alert beside the risk itself."""
    incident = facts.incident
    open_now = incident is not None and bool(incident["is_open"])
    begun = incident["opened"] - _BEFORE if incident is not None and open_now else facts.newest
    since = max(min(begun, facts.newest - timedelta(hours=1)), facts.newest - timedelta(days=1))
    failed = present.failures(lake, facts.gpu, since)
    whole = facts.newest.replace(second=0, microsecond=0) + timedelta(minutes=1)
    rows = life_queries.life(lake, facts.gpu, facts.peers, (since, whole), bucket_s=60, source="rollups")
    risk = facts.prediction
    return verdict(
        alarmed=open_now or (risk is not None and risk["risk"] >= level),
        failed=[_failure(row) for row in failed.head(4).iter_rows(named=True)],
        state=facts.state,
        differs=differences(rows),
    )


def _failure(row: Mapping[str, Any]) -> str:
    return f"**{row['what']}** at {row['time']:%H:%M:%S}: {plain(row['text'])}"


def what_was_done(lake: str, facts: Facts) -> None:
    """The open incident, or the one that the URL names, and its actions as they stand."""
    found = facts.incident
    if found is None:
        st.info(
            "No open incident. A risk at the alarm level or a terminal Xid opens one.",
            icon=":material/inbox:",
        )
        return
    stands = "Open incident" if found["is_open"] else f"Incident, {found['state']}"
    kind = plain(f"{found['severity']}, {found['cause']}")
    with st.container(border=True):
        st.markdown(
            f"**{stands}** ({kind}), opened {found['opened']:%Y-%m-%d %H:%M:%S} UTC. "
            f"{link('incidents', 'Its story', incident=found['incident_id'])}",
            unsafe_allow_html=True,
        )
        if found["summary"]:
            st.markdown(
                plain(str(found["summary"]).splitlines()[0])
            )  # the rest of the notice stands on this page
        _actions(present.done(lake, found["incident_id"]))


def _actions(rows: pl.DataFrame) -> None:
    if rows.is_empty():
        st.caption("Nothing was done yet.")
        return
    st.dataframe(
        rows.select("time", "action", "state", "detail"),
        hide_index=True,
        height=38 + 35 * min(rows.height, 5),
        column_config={
            "time": st.column_config.DatetimeColumn("UTC", format="HH:mm:ss", timezone="UTC", width=80)
        },
        alt="What was done about this incident, one row per action as it stands",
    )
