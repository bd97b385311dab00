"""The effective-time page: what was measured on this lake, what took the rest, and what would change it."""

from __future__ import annotations

import streamlit as st

from collector.config import Config
from dashboard import notices
from dashboard.colours import Theme
from dashboard.effective import measured as effective_measured
from dashboard.effective import whatif as effective_whatif


def page(config: Config) -> None:
    """Draw the page once: its numbers are of days, and the what-if costs a second."""
    st.title("Effective time", anchor=False)
    theme: Theme = "dark" if st.context.theme.type == "dark" else "light"
    measured, whatif = st.tabs(["Measured on this lake", "What if"])
    with measured, notices.instead_of_tracebacks():
        effective_measured.draw(str(config.lake.path), theme)
    with whatif, notices.instead_of_tracebacks():
        effective_whatif.draw(config, theme)
