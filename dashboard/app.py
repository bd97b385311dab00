"""What `streamlit run` runs: the pages and their menu. `foreshock dashboard` starts it (dashboard/serve.py)."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import streamlit as st

from collector.config import Config
from collector.config_file import load
from collector.errors import ForeshockError
from dashboard import fleet, notices


def main() -> None:
    st.set_page_config(page_title="Foreshock", page_icon="🌋", layout="wide")
    try:
        config = _config()
    except ForeshockError as e:
        notices.say(e)
        return
    pages = [
        st.Page(
            lambda: fleet.page(config),
            title="Fleet",
            icon=":material/grid_view:",
            url_path="fleet",
            default=True,
        )
    ]
    st.navigation(pages, position="top").run()


def _config() -> Config:
    """$FORESHOCK_CONFIG or the usual places; $FORESHOCK_LAKE names another lake."""
    config = load()
    lake = os.environ.get("FORESHOCK_LAKE")
    if not lake:
        return config
    return dataclasses.replace(config, lake=dataclasses.replace(config.lake, path=Path(lake)))


if __name__ == "__main__":
    main()
