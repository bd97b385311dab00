"""The story of one incident: what happened, why, what was done and with what arithmetic, and what to do now."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

import polars as pl
import streamlit as st

from collector import runbook_docs
from collector.config import Config
from dashboard import notices
from dashboard.incidents import form
from dashboard.incidents.evidence import Evidence, decode, headline, is_recorded, timeline, words
from dashboard.incidents.queries import actions_of, job_of, log_of
from dashboard.origin import synthetic_badge

_CHANGES: Final = {"asked": "asks", "held": "holds back"}
_COLOURS: Final = {"critical": "red", "warning": "orange"}
_STANDS: Final = {
    "open": "predicted, not failed", "failed": "failed", "recovered": "over: recovered",
    "lapsed": "over: nothing was heard for long", "replaced": "over: another card is in the slot",
}  # fmt: skip


def page(config: Config, incident_id: str, back: Callable[[], None]) -> None:
    """Draw it, and what changes every five seconds; the forms stand still, so that nobody's typing is lost."""
    lake = str(config.lake.path)
    back()
    if log_of(lake, incident_id).is_empty():
        st.info(f"No incident `{incident_id}` in the lake at `{lake}`.", icon=":material/search_off:")
        st.caption("Try: choose one of the list, or `foreshock incidents list --all`.")
        return
    st.fragment(_live, run_every=5.0)(lake, incident_id)
    row = log_of(lake, incident_id).row(-1, named=True)
    left, right = st.columns([3, 2], gap="medium")
    with left, notices.instead_of_tracebacks():
        _to_do(config, row)
    with right, notices.instead_of_tracebacks():
        _say_something(config, incident_id)


def beneath(config: Config, incident_id: str) -> None:
    """The same below the list, whose fragment draws it; the forms stand still, on the page of its own."""
    log = log_of(str(config.lake.path), incident_id)
    if log.is_empty():
        return
    st.divider()
    _told(str(config.lake.path), incident_id, log, st.header)
    _to_do(config, log.row(-1, named=True))


def _live(lake: str, incident_id: str) -> None:
    with notices.instead_of_tracebacks():
        log = log_of(lake, incident_id)
        if not log.is_empty():
            _told(lake, incident_id, log, st.title)


def _told(lake: str, incident_id: str, log: pl.DataFrame, heading: Callable[..., object]) -> None:
    row = log.row(-1, named=True)
    evidence = decode(row["evidence"])
    heading(_named(row), anchor=False)
    _header(row, evidence)
    left, right = st.columns([3, 2], gap="medium")
    with left:
        _happened(log)
        _done(actions_of(lake, incident_id))
    with right:
        _links(row, incident_id)
        _job(lake, row, evidence)
        _why(row, evidence)


def _named(row: Mapping[str, Any]) -> str:
    """What it is and where, in a line."""
    what = headline(row["summary"]).partition(" (")[0] or words(str(row["cause"]))
    return what if str(row["node"]) in what else f"{what} on {_where(row)}"


def _where(row: Mapping[str, Any]) -> str:
    return f"{row['node']}" + ("" if row["gpu_index"] is None else f" GPU {row['gpu_index']}")


def _header(row: Mapping[str, Any], evidence: Evidence | None) -> None:
    with st.container(horizontal=True):
        if row["synthetic"]:
            synthetic_badge()
        st.badge(str(row["severity"]), color=_COLOURS.get(row["severity"], "gray"))  # type: ignore[arg-type]
        st.badge(_STANDS.get(row["state"], str(row["state"])), color="gray")
        if evidence is not None and evidence.acknowledged_by:
            st.badge(f"acknowledged by {evidence.acknowledged_by}", color="blue", icon=":material/done:")
        if evidence is not None and evidence.silenced_until_s is not None:
            until = datetime.fromtimestamp(evidence.silenced_until_s, UTC)
            st.badge(
                f"silenced until {until:%Y-%m-%d %H:%M} UTC",
                color="blue",
                icon=":material/notifications_off:",
            )
    st.caption(_facts(row, evidence))


def _facts(row: Mapping[str, Any], evidence: Evidence | None) -> str:
    told = [f"cause {words(str(row['cause']))}", f"opened {row['opened']:%Y-%m-%d %H:%M:%S} UTC"]
    if evidence is not None and evidence.peak_risk is not None:
        within = "" if evidence.horizon_s is None else f" within {evidence.horizon_s / 60:.0f} min"
        told.append(
            f"risk at most {evidence.peak_risk:.2f}{within} by {evidence.model_id or 'an unnamed model'}"
        )
    elif row["risk"] is not None:
        told.append(f"risk {row['risk']:.2f}")
    if evidence is not None and evidence.count is not None:
        told.append(f"{evidence.count} signals")
    return " · ".join(told)


def _happened(log: pl.DataFrame) -> None:
    st.subheader("What happened", anchor=False)
    entries = timeline(list(log.iter_rows(named=True)))
    shown = pl.DataFrame(
        {
            "UTC": [f"{e.time:%m-%d %H:%M:%S}" for e in entries],
            "change": [_CHANGES.get(e.what, e.what) for e in entries],
            "what it tells": [e.told for e in entries],
        }
    )
    st.table(shown, border="horizontal", hide_index=True, alt="Changes of this incident, oldest first")


def _done(actions: pl.DataFrame) -> None:
    st.subheader("What was done", anchor=False)
    if actions.is_empty():
        st.caption("Nothing was asked of any scheduler so far.")
        return
    took = ((pl.col("last_time") - pl.col("time")).dt.total_milliseconds() / 1e3).round(1)
    shown = actions.select(
        pl.col("time").dt.strftime("%m-%d %H:%M:%S").alias("UTC"),
        pl.col("action").str.replace_all("_", " "),
        pl.col("arithmetic").fill_null("").alias("why: the arithmetic"),
        pl.when(pl.col("state") == "dry_run")
        .then(pl.lit("dry run: nothing was sent"))
        .otherwise(pl.format("{} after {} s", "state", took))
        .alias("stands"),
        pl.col("outcome").fill_null("no answer yet").alias("what came of it"),
    )
    st.table(
        shown, border="horizontal", hide_index=True, alt="Actions of this incident, in the order of asking"
    )


def _links(row: Mapping[str, Any], incident_id: str) -> None:
    st.markdown(f"**{_where(row)}** · `{row['gpu_uuid'] or row['pci_bdf'] or 'no GPU named'}`")
    if row["gpu_uuid"]:
        st.page_link(
            st.Page(_nothing, title="GPU", url_path="gpu"),
            label=":blue[The life of this GPU around that time]",
            icon=":material/arrow_forward:",
            icon_position="right",
            query_params={"gpu": str(row["gpu_uuid"]), "incident": incident_id},
        )


def _nothing() -> None:
    """Stands for a page that app.py registers: a link needs its URL only."""


def _job(lake: str, row: Mapping[str, Any], evidence: Evidence | None) -> None:
    found = job_of(lake, row["gpu_uuid"], evidence.job if evidence is not None else None, row["opened"])
    if found.is_empty():
        st.markdown("**Job hit**: none is known to have held this GPU.")
        return
    job = found.row(0, named=True)
    size = f", on {job['gpus']} GPUs of {job['nodes']} nodes when it opened" if job["gpus"] else ""
    st.markdown(f"**Job hit**: `{job['job']}`{size}. One dead GPU stops all of it.")


def _why(row: Mapping[str, Any], evidence: Evidence | None) -> None:
    st.subheader("Why", anchor=False)
    if evidence is None:
        unread = "Its evidence cannot be read: was it written by another version of Foreshock?"
        st.caption(unread if is_recorded(row["evidence"]) else "No evidence was recorded with it.")
        return
    if not evidence.reasons:
        st.caption("No prediction came before it: the driver or the node reported it.")
    else:
        shown = pl.DataFrame(
            {
                "sign": [r.text or r.feature for r in evidence.reasons],
                "value": ["no value" if r.value is None else f"{r.value:g}" for r in evidence.reasons],
                "healthy": [r.healthy for r in evidence.reasons],
                "share": [f"{r.share:+.2f}" for r in evidence.reasons],
            }
        )
        st.table(
            shown, border="horizontal", hide_index=True, alt="Reasons of the highest risk, strongest first"
        )
    for name, why in evidence.held.items():
        st.markdown(f"**Held back, {words(name)}**: {why}")
    for note in evidence.notes:
        st.text(note)


def _to_do(config: Config, row: Mapping[str, Any]) -> None:
    """The runbook's text: of the fault where it has come, then of the cause that the incident was opened with."""
    st.subheader("What to do", anchor=False)
    cause = str(row["cause"])
    code = f"xid_{row['code']}" if row["state"] == "failed" and row["code"] is not None else cause
    sections = {name: runbook_docs.section(name) for name in (code, cause)}
    for name, text in sections.items():
        if text is None:
            st.caption(
                f"The runbook has no section on {words(name)}. `foreshock xid explain CODE` explains a code."
            )
        else:
            if len(sections) > 1 and name == cause:
                st.markdown(f"**{cause}**, as it was opened")
            st.markdown(text)
    url = config.watch.runbook_url
    if url:
        at = url.replace("{cause}", cause) if "{cause}" in url else f"{url.rstrip('/')}/{cause}"
        st.link_button("Runbook of this site", at)


def _say_something(config: Config, incident_id: str) -> None:
    st.subheader("Say something", anchor=False)
    if config.dashboard.may_write:
        form.draw(config, incident_id)
    else:
        st.caption("This page only reads. In a shell:")
    named = shlex.quote(incident_id)
    st.code(
        f'foreshock incidents ack {named} --text "on it"\n'
        f'foreshock incidents silence {named} --for 4 --text "known"\n'
        f'foreshock incidents note {named} --text "what I saw"',
        language="bash",
        wrap_lines=True,
    )
