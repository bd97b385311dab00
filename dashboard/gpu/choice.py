"""Which GPU and which time the page is about. Both live in the URL, so that a link can be pasted in chat."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import polars as pl
import streamlit as st

from dashboard.gpu.life_queries import Source


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of time, the buckets it is shown in (about 600 at most), and where they are read."""

    seconds: int
    bucket_s: int
    source: Source


WINDOWS: Final[dict[str, Window]] = {
    "15m": Window(900, 2, "telemetry"),
    "1h": Window(3_600, 10, "telemetry"),
    "6h": Window(21_600, 60, "rollups"),
    "24h": Window(86_400, 180, "rollups"),
    "7d": Window(604_800, 1_200, "rollups"),
    "30d": Window(2_592_000, 5_400, "rollups"),
}
"""By what stands in the URL."""

USUAL: Final = "1h"
_CHOSEN: Final = "gpu-chosen"
_WRITTEN: Final = "gpu-chosen-written"
_UNASKED: Final = "gpu-unasked"
_MANY: Final = 2_000
"""GPUs. Of a larger fleet, an hour as measured takes seconds to read: it is shown by the minute."""
OFFERED: Final = 200
"""GPUs in the select box, riskiest first. Any other is reached by its UUID, its node and index, or the map."""


def window_of(name: str, gpus: int) -> Window:
    """The window that `name` stands for in a fleet of so many."""
    found = WINDOWS[name]
    return Window(found.seconds, 60, "rollups") if gpus > _MANY and found.seconds == 3_600 else found


@dataclass(frozen=True, slots=True)
class Offer:
    """The chosen UUID (or what was typed, where nothing is called so) among those of the select box."""

    chosen: str
    options: list[str]
    labels: Mapping[str, str]


def gpu(fleet: pl.DataFrame) -> Offer | None:
    """Which GPU the URL or the select box means; the riskiest where neither says. None where there is no GPU.

    It draws nothing, so that the page's title can stand above the select box.
    """
    ranked = fleet.sort("risk", descending=True, nulls_last=True)
    labels = {row["gpu_uuid"]: _label(row) for row in ranked.iter_rows(named=True)}
    options = ranked["gpu_uuid"].head(OFFERED).to_list()
    asked = _asked(next(iter(options), None))
    if asked is None:
        return None
    wanted = resolve(labels, asked)
    if wanted not in options:
        options.append(wanted)
    _keep(wanted)
    return Offer(wanted, options, labels)


def select(offer: Offer) -> None:
    """The select box. A choice of its is seen by `gpu` in the run that it starts."""
    st.session_state[_CHOSEN] = offer.chosen
    st.selectbox(
        "GPU, riskiest first (or type a node, an index, a UUID)",
        offer.options,
        format_func=lambda uuid: offer.labels.get(uuid, uuid),
        key=_CHOSEN,
        accept_new_options=True,
        width=560,
    )


def window() -> str:
    """A key of WINDOWS. Streamlit keeps it in the URL, and leaves the usual one out."""
    chosen = st.segmented_control(
        "Time", list(WINDOWS), default=USUAL, key="window", required=True, bind="query-params"
    )
    return chosen if chosen in WINDOWS else USUAL


def resolve(labels: Mapping[str, str], text: str) -> str:
    """The UUID that `text` means: a UUID, or what stands in a label (the riskiest such GPU); else itself."""
    if text in labels:
        return text
    asked = " ".join(text.lower().split())
    whole = (uuid for uuid, label in labels.items() if f"{asked} " in f"{label.lower()} ")
    part = (uuid for uuid, label in labels.items() if asked in label.lower())
    return next(whole, None) or next(part, text)


def _asked(riskiest: str | None) -> str | None:
    """What the select box holds, unless the URL was changed by somebody else since it was written."""
    given, written = st.query_params.get("gpu"), st.session_state.get(_WRITTEN)
    held = st.session_state.get(_CHOSEN)
    if given is not None and given != written:
        return given
    if given is None and (written is not None or held is None):
        # the page's bare address, from the menu or by Back
        st.session_state[_WRITTEN] = None
        st.session_state[_UNASKED] = riskiest
        return riskiest
    return given if held is None else str(held)


def _keep(chosen: str) -> None:
    """Into the URL, but for the GPU that nobody asked for.

    Each writing is an entry of the browser's history: one that nobody made takes a Back of its own to leave.
    """
    if "gpu" not in st.query_params and chosen == st.session_state.get(_UNASKED):
        return
    st.session_state[_WRITTEN] = chosen
    if st.query_params.get("gpu") != chosen:
        st.query_params["gpu"] = chosen


def _label(row: dict[str, Any]) -> str:
    risk = "not scored" if row["risk"] is None else f"risk {row['risk']:.2f}"
    index = "?" if row["gpu_index"] is None else row["gpu_index"]
    return f"{row['node']} GPU {index} · {risk} · {row['state']} · {row['gpu_uuid']}"
