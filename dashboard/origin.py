"""Whether what is shown was measured or simulated, said in the same way wherever it is."""

from __future__ import annotations

import streamlit as st


def synthetic_badge() -> None:
    st.badge("synthetic data", color="violet", icon=":material/science:", help="simulated, not measured")
