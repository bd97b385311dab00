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
_MANY: Final = 2_000
"""GPUs. Of a larger fleet, an hour as measured takes seconds to read: it is shown by the minute."""
OFFERED: Final = 200
"""GPUs in the select box, riskiest first. Any other is reached by its UUID, its node and index, or the map."""


def window_of(name: str, gpus: int) -> Window:
    """The window that `name` stands for in a fleet of so many."""
    found = WINDOWS[name]
    return Window(found.seconds, 60, "rollups") if gpus > _MANY and found.seconds == 3_600 else found


def gpu(fleet: pl.DataFrame) -> str | None:
    """The chosen UUID (or what was typed, where nothing is called so); None where there is no GPU at all."""
    ranked = fleet.sort("risk", descending=True, nulls_last=True)
    labels = {row["gpu_uuid"]: _label(row) for row in ranked.iter_rows(named=True)}
    options = ranked["gpu_uuid"].head(OFFERED).to_list()
    asked = _state("gpu", "gpu-chosen") or next(iter(options), None)
    if asked is None:
        return None
    wanted = resolve(labels, asked)
    if wanted not in options:
        options.append(wanted)
    st.session_state["gpu-chosen"] = wanted
    chosen = st.selectbox(
        "GPU, riskiest first (or type a node, an index, a UUID)",
        options,
        format_func=lambda uuid: labels.get(uuid, uuid),
        key="gpu-chosen",
        accept_new_options=True,
        width=560,
    )
    return _keep("gpu", resolve(labels, str(chosen)))


def window() -> str:
    """A key of WINDOWS."""
    wanted = _state("window", "gpu-window")
    st.session_state["gpu-window"] = wanted if wanted in WINDOWS else USUAL
    chosen = st.segmented_control("Time", list(WINDOWS), key="gpu-window", required=True)
    return _keep("window", str(chosen))


def resolve(labels: Mapping[str, str], text: str) -> str:
    """The UUID that `text` means: a UUID, or what stands in a label (the riskiest such GPU); else itself."""
    if text in labels:
        return text
    asked = " ".join(text.lower().split())
    whole = (uuid for uuid, label in labels.items() if f"{asked} " in f"{label.lower()} ")
    part = (uuid for uuid, label in labels.items() if asked in label.lower())
    return next(whole, None) or next(part, text)


def _state(parameter: str, key: str) -> str | None:
    """What the widget holds, unless the URL was changed by somebody else since it was written."""
    given = st.query_params.get(parameter)
    if given is not None and given != st.session_state.get(f"{key}-written"):
        return given
    held = st.session_state.get(key)
    return given if held is None else str(held)


def _keep(parameter: str, value: str) -> str:
    st.session_state[f"gpu-{'chosen' if parameter == 'gpu' else parameter}-written"] = value
    if st.query_params.get(parameter) != value:
        st.query_params[parameter] = value
    return value


def _label(row: dict[str, Any]) -> str:
    risk = "not scored" if row["risk"] is None else f"risk {row['risk']:.2f}"
    index = "?" if row["gpu_index"] is None else row["gpu_index"]
    return f"{row['node']} GPU {index} · {risk} · {row['state']} · {row['gpu_uuid']}"
