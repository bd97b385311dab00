"""The analyst's desk: the worked questions, and any other SELECT, over the lake as it is now.

Each query runs in a process of its own (pipeline/sql_apart.py) with limits on time, memory and rows. Stop, a closed
browser or another page end it.
"""

from __future__ import annotations

import contextlib
from typing import Final

import streamlit as st

from collector.config import Config
from collector.errors import ForeshockError
from dashboard import notices, queries
from dashboard.desk import result, views
from dashboard.fleet.page import theme
from dashboard.origin import synthetic_badge
from pipeline.questions import Question, questions
from pipeline.sql import Limits
from pipeline.sql_apart import Answer, ask

ASKED: Final = "q"
"""URL parameter: the number of a worked question, or SQL. SQL from a link is shown, and run by a click only."""

LIMITS: Final = Limits(memory_mib=1024, threads=2, time_s=20.0)
ROWS: Final = 10_000
_LONGEST_LINK: Final = 1_500
"""Characters of SQL that chats and proxies carry in a URL."""

_TEXT: Final = "desk-text"
_CHOSEN: Final = "desk-chosen"
_WANTED: Final = "desk-wanted"
_RUNNING: Final = "desk-running"
_ANSWER: Final = "desk-answer"
_SEEN: Final = "desk-seen"


def page(config: Config) -> None:
    """Draw the page; run what was asked for."""
    with notices.instead_of_tracebacks():
        lake = str(config.lake.path)
        _from_url()
        _title(lake)
        left, right = st.columns([7, 3], gap="medium")
        with right, notices.instead_of_tracebacks():
            views.listing(lake)
        with left:
            _editor()
            place = st.empty()
        _run(config, place)
        _outcome()


def _title(lake: str) -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        st.title("SQL", width="content", anchor=False)
        with contextlib.suppress(ForeshockError):  # the list of views says what is wrong with the lake
            if queries.ask(lake, "SELECT bool_or(synthetic) AS any FROM gpu_now").item():
                synthetic_badge()
        st.caption(
            f"Read-only, in UTC. A query may take {LIMITS.time_s:g} s, {LIMITS.memory_mib:,} MiB and {ROWS:,} rows.",
            width="content",
        )


def _from_url() -> None:
    """The question that the URL names, once: what is typed afterwards stands."""
    asked = st.query_params.get(ASKED, "")
    if _TEXT in st.session_state and asked == st.session_state.get(_SEEN):
        return
    st.session_state[_SEEN] = asked
    known = _by_number(asked) if asked else questions()[0]
    if known is None:
        st.session_state[_TEXT] = asked
        return
    _choose(known, run=bool(asked))


def _by_number(asked: str) -> Question | None:
    return next((q for q in questions() if asked.strip() == str(q.number)), None)


def _choose(question: Question, *, run: bool) -> None:
    st.session_state[_CHOSEN] = question.number
    st.session_state[_TEXT] = question.sql.rstrip()
    if run:
        st.session_state[_WANTED] = True


def _picked() -> None:
    question = _by_number(str(st.session_state[_CHOSEN]))
    if question is not None:
        _choose(question, run=True)


def _editor() -> None:
    titles = {q.number: f"{q.number}. {q.title}" for q in questions()}
    st.selectbox(
        "Worked questions", list(titles), index=None, format_func=titles.__getitem__, key=_CHOSEN,
        on_change=_picked, placeholder="Choose one of ten, or write your own below",
    )  # fmt: skip
    st.text_area("SQL, one SELECT over the views", key=_TEXT, height=210)
    with st.container(horizontal=True, vertical_alignment="center"):
        if st.button("Run", type="primary", icon=":material/play_arrow:", shortcut="Mod+Enter"):
            st.session_state[_WANTED] = True
        # any click ends the run of the page that waits for the query, and the query with it
        st.button("Stop", icon=":material/stop:")
    question = _shown_question()
    if question is not None:
        st.caption(question.meaning)


def _shown_question() -> Question | None:
    text = str(st.session_state[_TEXT]).strip()
    return next((q for q in questions() if q.sql.strip() == text), None)


def _run(config: Config, place: st.delta_generator.DeltaGenerator) -> None:
    if not st.session_state.pop(_WANTED, False):
        return
    text = str(st.session_state[_TEXT])
    if not text.strip():
        st.session_state[_ANSWER] = ForeshockError(
            "there is nothing to ask yet", hint="choose a worked question"
        )
        return
    _to_url(text)
    st.session_state.pop(_ANSWER, None)
    st.session_state[_RUNNING] = True
    try:
        st.session_state[_ANSWER] = ask(
            config.lake.path, text, LIMITS, row_limit=ROWS, xid_overrides=config.collector.xid_overrides,
            tick=lambda elapsed_s: _say_running(place, elapsed_s),
        )  # fmt: skip
    except ForeshockError as e:
        st.session_state[_ANSWER] = e
    place.empty()
    del st.session_state[_RUNNING]


def _say_running(place: st.delta_generator.DeltaGenerator, elapsed_s: float) -> None:
    """Also the place where Streamlit leaves this run of the page when somebody clicks or goes away."""
    place.caption(f"Running for {elapsed_s:.0f} s …")


def _to_url(text: str) -> None:
    question = _shown_question()
    asked = str(question.number) if question else text
    if len(asked) > _LONGEST_LINK:
        st.query_params.pop(ASKED, None)
        asked = ""
    else:
        st.query_params[ASKED] = asked
    st.session_state[_SEEN] = asked


def _outcome() -> None:
    found: Answer | ForeshockError | None = st.session_state.get(_ANSWER)
    if isinstance(found, ForeshockError):
        notices.say(found)
    elif found is not None:
        result.show(found, ROWS, theme())
    elif st.session_state.pop(_RUNNING, False):
        st.info("The query was stopped.", icon=":material/stop_circle:")
    else:
        st.caption("Press Run (Ctrl+Enter in the editor).")
