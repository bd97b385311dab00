"""The incidents page: what is open and was, the story of the first below it, and with `?incident=ID` that of one."""

from __future__ import annotations

from typing import Final

import polars as pl
import streamlit as st

from collector.config import Config
from dashboard import lateness, notices, now
from dashboard.incidents import story
from dashboard.incidents.evidence import words
from dashboard.incidents.queries import LISTED, listed
from dashboard.origin import synthetic_badge

CHOSEN: Final = "incident"
"""URL parameter of the incident whose story is told. Those of the filters are their names: `?state=open`."""

ANY: Final = "any"
STATES: Final = ("open", ANY, "failed", "recovered", "lapsed", "replaced")
"""`open` is whatever is not over: predicted, or failed and not yet closed."""
_SEVERITY_COLOURS: Final = {"critical": "red", "warning": "orange"}
_PICK: Final = "pick-an-incident"
_WHOLE: Final = 12
"""Rows that are shown without a scroll bar of their own."""


def page(config: Config) -> None:
    """The list, or the story of the one that the URL names."""
    chosen = st.query_params.get(CHOSEN)
    with notices.instead_of_tracebacks():
        if chosen:
            story.page(config, chosen, _back)
        else:
            _list_page(config)


def _back() -> None:
    """A button from the story to the list."""
    if st.button("All incidents", icon=":material/arrow_back:"):
        del st.query_params[CHOSEN]
        st.rerun()


def _list_page(config: Config) -> None:
    st.title("Incidents", anchor=False)
    st.fragment(_live, run_every=5.0)(config)


def _live(config: Config) -> None:
    with notices.instead_of_tracebacks():
        lake = str(config.lake.path)
        _fresh(config)
        rows = listed(lake)
        if rows.is_empty():
            st.info(f"No incident yet in the lake at `{lake}`.", icon=":material/check_circle:")
            st.markdown(
                "A risk at the alarm level or a terminal Xid opens one, where `foreshock watch` runs. "
                "`foreshock doctor` says what is missing; `foreshock demo` shows one on simulated GPUs."
            )
            return
        _counts(rows)
        chosen = _filtered(rows)
        if chosen.is_empty():
            _none(rows)
            return
        parts = _by_origin(chosen)
        for synthetic, part in parts:
            _table(part, synthetic=synthetic)
        with notices.instead_of_tracebacks():
            story.beneath(config, parts[0][1]["incident_id"][0])


def _fresh(config: Config) -> None:
    """Nothing open means little where nothing was heard."""
    newest = now.newest(str(config.lake.path)).row(0, named=True)
    with st.container(horizontal=True, vertical_alignment="center"):
        lateness.told(config, newest)
    lateness.warned(config, newest)


def _counts(rows: pl.DataFrame) -> None:
    """Each incident once: the open ones by severity, the others by how they ended."""
    still, over = rows.filter("is_open"), rows.filter(~pl.col("is_open"))
    with st.container(horizontal=True):
        for severity, colour in _SEVERITY_COLOURS.items():
            count = still.filter(pl.col("severity") == severity).height
            st.badge(f"{count} open, {severity}", color=colour if count else "gray")  # type: ignore[arg-type]
        for state, count in over.group_by("state").len().sort("state").iter_rows():
            st.badge(f"{count} {'failed, over' if state == 'failed' else state}", color="gray")
    if rows.height == LISTED:
        st.caption(
            f"The open ones and the newest, {LISTED:,} in all; `foreshock incidents list --all` has the rest."
        )


def _filtered(rows: pl.DataFrame) -> pl.DataFrame:
    with st.container(horizontal=True):
        state = st.selectbox("State", STATES, key="state", bind="query-params")
        asked = {name: _choice(rows, name) for name in ("severity", "node", "cause")}
    if state == "open":
        rows = rows.filter("is_open")
    elif state != ANY:
        rows = rows.filter(pl.col("state") == state)
    for name, wanted in asked.items():
        if wanted != ANY:
            rows = rows.filter(pl.col(name) == wanted)
    return rows


def _none(rows: pl.DataFrame) -> None:
    """No row is left: since nothing is open, or since the filters leave nothing."""
    if rows["is_open"].any() or st.session_state.get("state") != STATES[0]:
        st.info("No incident is like that. Widen the filters above.", icon=":material/filter_alt_off:")
    else:
        newest = max(rows["opened"].to_list())
        st.info(
            f"No incident is open. The newest was opened {newest:%Y-%m-%d %H:%M:%S} UTC: choose the state `{ANY}`.",
            icon=":material/check_circle:",
        )


def _choice(rows: pl.DataFrame, name: str) -> str:
    options = [ANY, *rows[name].drop_nulls().unique().sort()]
    chosen: str = st.selectbox(name.capitalize(), options, key=name, bind="query-params")
    return chosen


def _by_origin(rows: pl.DataFrame) -> list[tuple[bool, pl.DataFrame]]:
    """Measured and simulated incidents never stand in one table."""
    simulated = pl.col("synthetic").fill_null(value=False)
    parts = [(False, rows.filter(~simulated)), (True, rows.filter(simulated))]
    return [part for part in parts if part[1].height]


def _table(rows: pl.DataFrame, *, synthetic: bool) -> None:
    if synthetic:
        synthetic_badge()
    key = f"{_PICK}-{synthetic}"
    headline = pl.col("headline").str.strip_prefix("SYNTHETIC: ").str.replace(r" \(.*$", "")
    where = pl.concat_str("node", pl.format(" GPU {}", "gpu_index"), ignore_nulls=True).alias("where")
    done = pl.col("done").str.replace_all("_", " ").fill_null("nothing yet")
    shown = rows.select(
        pl.concat_str("severity", "state", separator=", ", ignore_nulls=True).alias("stands"), "opened", where, "risk",
        pl.col("cause").str.replace_all("_", " "), headline, done, "incident_id",
    )  # fmt: skip
    picked = st.dataframe(
        shown, key=key, on_select="rerun", selection_mode="single-row", hide_index=True,
        height="content" if rows.height <= _WHOLE else 480, alt="Incidents, open ones first, newest first",
        column_config={
            "stands": st.column_config.TextColumn("state", width=110),
            "opened": st.column_config.DatetimeColumn(
                "opened (UTC)", format="YYYY-MM-DD HH:mm:ss", timezone="UTC", width=150
            ),
            "risk": st.column_config.NumberColumn(format="%.2f", width=60),
            "headline": st.column_config.TextColumn("what", width="medium"),
            "done": st.column_config.TextColumn("what was done", width="large"),
            "incident_id": st.column_config.TextColumn("incident", width="small"),
        },
    )  # fmt: skip
    marked = picked.selection.rows
    _open(rows, rows["incident_id"][marked[0]] if marked and marked[0] < rows.height else None, key)


def _open(rows: pl.DataFrame, marked: str | None, key: str) -> None:
    """Go to the story of the marked row, or of one chosen by name, which needs no pointer."""
    labels = {
        row[
            "incident_id"
        ]: f"{row['opened']:%m-%d %H:%M} {row['node']} {words(row['cause'])} · {row['incident_id']}"
        for row in rows.head(200).iter_rows(named=True)
    }
    named = st.selectbox(
        "Tell the story of (or mark a row above)", list(labels), index=None, format_func=labels.__getitem__,
        key=f"{key}-by-name", placeholder="choose an incident",
    )  # fmt: skip
    chosen = marked or named
    if chosen:
        st.query_params[CHOSEN] = chosen
        st.rerun(scope="app")
