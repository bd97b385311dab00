"""The map on the page: which part of the fleet, coloured by what, and where a click leads. All of it is in the URL."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import polars as pl
import streamlit as st

from dashboard.colours import COLOURS, Colour
from dashboard.fleet import cells
from dashboard.fleet.lists import plain
from dashboard.fleet.picture import picture

KEY: Final = "fleet-map"
_GO: Final = "fleet-go"
_SHOWN: Final = "fleet-shown"
_HTML: Final = """<div class="fleet-map"><div class="legend"></div>
<canvas tabindex="0" role="application"></canvas><div class="tip" hidden></div>
<div class="spoken" aria-live="polite"></div></div>"""
_HERE: Final = Path(__file__).parent

_component = st.components.v2.component(
    "foreshock_fleet_map",
    html=_HTML,
    css=(_HERE / "cell_map.css").read_text(),
    js=(_HERE / "cell_map.js").read_text(),
    isolate_styles=False,  # a shadow root would hide the map from tests and from people's own style sheets
)


def draw(fleet: pl.DataFrame) -> None:
    """Selector, path and map. `fleet` with `alarm_level`; not empty."""
    _follow()
    block, node = st.query_params.get("block"), st.query_params.get("node")
    colour = _head(fleet.height, node or block)
    shown = cells.scoped(fleet, block=block, node=node)
    if shown.is_empty():
        st.info(f"No `{node or block}` in the newest day of the lake.", icon=":material/search_off:")
        return
    found = cells.lay_out(shown, colour)
    st.session_state[_SHOWN] = found.frame if found.level == "gpu" else None
    _component(key=KEY, data=picture(found, colour), on_chosen_change=_chosen)


def _head(gpus: int, part: str | None) -> Colour:
    with st.container(horizontal=True, vertical_alignment="bottom"):
        if part:
            st.button(f"All {gpus:,} GPUs", icon=":material/arrow_back:", key="whole-fleet", on_click=_whole)
            st.markdown(f"**{plain(part)}**", width="content")
        name = st.segmented_control(
            "Colour of a cell",
            list(COLOURS),
            default="risk",
            key="colour",
            required=True,
            bind="query-params",
        )
    return COLOURS[name]


def _whole() -> None:
    for name in ("block", "node"):
        st.query_params.pop(name, None)


def _chosen() -> None:
    """A block opens here; a node and a GPU have a page of their own."""
    chosen = st.session_state[KEY].get("chosen")
    if not chosen or not chosen.get("name"):
        return
    if chosen["kind"] == "block":
        _whole()
        st.query_params["block"] = chosen["name"]
        return
    target = {"node": chosen["name"]}
    if chosen["kind"] == "gpu":
        uuid = gpu_at(st.session_state.get(_SHOWN), chosen)
        target = {"gpu": uuid} if uuid else target
    st.session_state[_GO] = target


def gpu_at(frame: pl.DataFrame | None, chosen: Mapping[str, Any]) -> str | None:
    """The UUID at that place of the map that was drawn last."""
    if frame is None:
        return None
    at = frame.filter((pl.col("label") == chosen["name"]) & (pl.col("column") == chosen["column"]))
    return str(at["gpu_uuid"][0]) if at.height else None


def _follow() -> None:
    """In the script's run and not in the callback, where Streamlit cannot change the page."""
    if target := st.session_state.pop(_GO, None):
        st.switch_page(st.Page(_nothing, title="GPU", url_path="gpu"), query_params=target)


def _nothing() -> None:
    """Stands for a page that app.py registers: only its URL counts."""
