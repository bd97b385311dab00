"""The page of one GPU, or of one node: whether the alert is true, and what to do."""

from __future__ import annotations

from typing import Final

import polars as pl
import streamlit as st

from collector.config import Config
from dashboard import operating_point, queries
from dashboard.colours import Theme
from dashboard.gpu import choice, life, past, top
from dashboard.gpu import facts as gpu_facts
from dashboard.gpu import node as gpu_node
from dashboard.gpu.choice import Window
from dashboard.gpu.facts import Row
from dashboard.gpu.life_chart import View
from dashboard.notices import instead_of_tracebacks

_REFRESH_S: Final = {"telemetry": 5.0, "rollups": 60.0}


def page(config: Config) -> None:
    """`?gpu=UUID&window=1h[&incident=ID]`, or `?node=NAME&window=1h`. It draws itself again while it is open."""
    with instead_of_tracebacks():
        _page(config)


def _page(config: Config) -> None:
    lake = str(config.lake.path)
    fleet = queries.fleet(lake)
    node = None if "gpu" in st.query_params else st.query_params.get("node")
    offer = None if node else choice.gpu(fleet)
    if not node and offer is None:
        _empty(config)
        return
    chosen = None if offer is None else offer.chosen
    incident = st.query_params.get("incident")
    st.title(node or _title(lake, str(chosen), fleet, incident), anchor=False)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        if offer is not None:
            choice.select(offer)
        window = choice.window_of(choice.window(), fleet.height)
    refresh = st.fragment(_live, run_every=_REFRESH_S[window.source])
    refresh(config, node, chosen, window, incident)


def _title(lake: str, chosen: str, fleet: pl.DataFrame, incident: str | None) -> str:
    facts = gpu_facts.of(lake, chosen, fleet, incident)
    return "GPU" if facts is None else facts.where


def _live(config: Config, node: str | None, chosen: str | None, window: Window, incident: str | None) -> None:
    with instead_of_tracebacks():
        lake = str(config.lake.path)
        fleet = queries.fleet(lake)
        if node or chosen is None:
            gpu_node.page(config, fleet, str(node), window, _theme())
            return
        _one(config, chosen, fleet, window, incident)


def _one(config: Config, chosen: str, fleet: pl.DataFrame, window: Window, incident: str | None) -> None:
    lake = str(config.lake.path)
    facts = gpu_facts.of(lake, chosen, fleet, incident)
    if facts is None:
        st.info(
            f"No GPU `{chosen}` in the lake. Choose another above: a node, an index or a part of a UUID will do."
        )
        return
    level = _level(config, facts.prediction)
    asked = incident is not None and facts.incident is not None and facts.incident["incident_id"] == incident
    view = View(gpu_facts.span(facts, window, asked=asked), _theme())
    top.head(config, facts, level)
    left, right = st.columns(2, gap="medium")
    with left, instead_of_tracebacks():
        top.is_it_true(lake, facts, level)
    with right, instead_of_tracebacks():
        top.what_was_done(lake, facts)
    left, right = st.columns([3, 2], gap="medium")
    with left, instead_of_tracebacks():
        life.draw(lake, facts, view, window, level)
        life.happened(lake, facts, view.span)
    with right, instead_of_tracebacks():
        past.what_to_do(facts)
        life.why(lake, facts, view)
    with instead_of_tracebacks():
        past.xids(lake, facts)
        left, right = st.columns([3, 2], gap="medium")
        with left:
            past.jobs(lake, facts)
            past.slot(lake, facts)
        with right:
            past.memory(lake, facts)


def _level(config: Config, prediction: Row | None) -> float:
    """The risk from which on the model that scored this GPU raises an alarm."""
    return operating_point.level_of(config, None if prediction is None else prediction["model_id"])


def _empty(config: Config) -> None:
    st.title("GPU", anchor=False)
    st.info(
        f"No GPU yet: the lake at `{config.lake.path}` has no telemetry.", icon=":material/hourglass_empty:"
    )
    st.markdown(
        "Start an agent (`foreshock collect`) and the worker (`foreshock ingest`), or watch it all work on "
        "simulated GPUs: `foreshock demo`. `foreshock doctor` says what is missing."
    )


def _theme() -> Theme:
    """What the browser shows now. Unknown before its first answer; light then, Streamlit's own default."""
    return "dark" if st.context.theme.type == "dark" else "light"
