"""The forms by which a person acknowledges, silences or notes an incident. Drawn only where `dashboard.may_write`."""

from __future__ import annotations

from typing import Final

import streamlit as st

from collector.config import Config
from collector.errors import ForeshockError
from dashboard import notices
from dashboard.incidents.door import LONGEST_SILENCE_H, LONGEST_TEXT, Verb, Word, tell
from dashboard.visitor import Signer, signer

_VERBS: Final[dict[Verb, tuple[str, str]]] = {
    "ack": ("Acknowledge", "somebody works on it, so that nobody else starts"),
    "silence": ("Silence", "it asks for nothing new until the time is over"),
    "note": ("Note", "what the next one should know"),
}


def draw(config: Config, incident_id: str) -> None:
    """The form. What it sends is signed with the name of the header or login, else with the name that is given."""
    who = signer(config, st.user.to_dict(), st.context.headers)
    if who.name is None and not who.asked:
        _nobody(config)
        return
    verb = st.segmented_control(
        "What",
        list(_VERBS),
        format_func=lambda v: _VERBS[v][0],
        default="ack",
        required=True,
        key="word-verb",
    )
    with st.form("word", clear_on_submit=True, enter_to_submit=False):
        st.caption(_VERBS[verb][1])
        by = _by(who)
        text = st.text_input("Text", key="word-text", max_chars=LONGEST_TEXT)
        hours = _hours() if verb == "silence" else None
        sent = st.form_submit_button(_VERBS[verb][0], type="primary")
    if sent:
        _send(config, Word(verb, incident_id, by.strip(), text, hours))


def _by(who: Signer) -> str:
    if who.name is not None:
        st.caption(f"Signed: {who.name}")
        return who.name
    return st.text_input(
        "Your name",
        key="word-by",
        max_chars=100,
        help="Nobody checks it: no login and no proxy is configured",
    )


def _hours() -> float:
    return st.number_input(
        "Hours", min_value=0.25, max_value=LONGEST_SILENCE_H, value=4.0, step=0.25, key="word-hours"
    )


def _nobody(config: Config) -> None:
    header = config.dashboard.user_header
    if header:
        st.warning(f"The proxy did not say who you are (header `{header}`), so this page only reads for you.")
    else:
        st.warning("Log in to acknowledge, silence or note; until then this page only reads for you.")


def _send(config: Config, word: Word) -> None:
    try:
        with st.spinner("telling the watcher"):
            said = tell(config, word)
    except ForeshockError as e:
        notices.say(e)
        return
    st.success(said, icon=":material/done:")
