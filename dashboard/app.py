"""What `streamlit run` runs: the pages and their menu. `foreshock dashboard` starts it (dashboard/serve.py)."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Final

import streamlit as st

from collector.config import Config
from collector.config_file import load
from collector.errors import ForeshockError
from dashboard import notices, visitor
from dashboard.desk import page as desk
from dashboard.effective import page as effective
from dashboard.fleet import page as fleet
from dashboard.gpu import page as gpu
from dashboard.incidents import page as incidents
from dashboard.model import page as model

_STYLE: Final = Path(__file__).with_name("style.css")


def main() -> None:
    st.set_page_config(page_title="Foreshock", page_icon="🌋", layout="wide")
    st.html(_STYLE)
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
        ),
        st.Page(lambda: gpu.page(config), title="GPU", icon=":material/memory:", url_path="gpu"),
        st.Page(
            lambda: incidents.page(config),
            title="Incidents",
            icon=":material/notification_important:",
            url_path="incidents",
        ),
        st.Page(
            lambda: model.page(config), title="Model", icon=":material/model_training:", url_path="model"
        ),
        st.Page(
            lambda: effective.page(config),
            title="Effective time",
            icon=":material/timelapse:",
            url_path="effective",
        ),
        st.Page(lambda: desk.page(config), title="SQL", icon=":material/database:", url_path="sql"),
    ]
    who = visitor.of(config)
    chosen = st.navigation(pages, position="top" if visitor.may_read(who) else "hidden")
    if visitor.may_read(who):
        chosen.run()
        visitor.goodbye(config, who)
    else:
        visitor.refuse(config)


def _config() -> Config:
    """$FORESHOCK_CONFIG or the usual places; $FORESHOCK_LAKE names another lake."""
    config = load()
    lake = os.environ.get("FORESHOCK_LAKE")
    if not lake:
        return config
    return dataclasses.replace(config, lake=dataclasses.replace(config.lake, path=Path(lake)))


if __name__ == "__main__":
    main()
