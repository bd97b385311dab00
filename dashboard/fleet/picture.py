"""Cells as the few strings and lists that the browser draws from (cell_map.js). Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import polars as pl

from dashboard.colours import STATES, UNKNOWN, Colour, mark
from dashboard.fleet.cells import Cells, Level

_KIND: Final[dict[Level, str]] = {
    "gpu": "one cell, one GPU",
    "node": "one cell, one node: its worst GPU",
    "block": "one cell, one block of nodes: its worst GPU",
}
_LARGEST_PX: Final[dict[Level, int]] = {"gpu": 84, "node": 26, "block": 34}


def picture(cells: Cells, colour: Colour) -> dict[str, Any]:
    """JSON for the map. A cell's band and state are one character each; `.` is a place where no GPU is."""
    frame = cells.frame
    counts = dict(frame["band"].value_counts().iter_rows())
    states = sorted(set(frame["state"]) - {"ok"}, key=lambda s: STATES.index(s) if s in STATES else 2)
    return {
        "level": cells.level,
        "title": colour.title,
        "unit": colour.unit,
        "decimals": colour.decimals,
        "kind": _KIND[cells.level],
        "about": f"Map of {cells.gpus:,} GPUs, {frame.height:,} cells, coloured by {colour.title.lower()}",
        "bands": list(colour.bands),
        "counts": [counts.get(n, 0) for n in range(len(colour.bands))],
        "unknown": {"text": colour.unknown, "count": counts.get(None, 0)},
        "palette": {theme: [*shades, UNKNOWN[theme]] for theme, shades in colour.palette.items()},
        "states": list(STATES),
        "marks": _marks(states),
        "largest": _LARGEST_PX[cells.level],
        "groups": list(_groups(cells)),
    }


def _marks(states: list[str]) -> dict[str, str]:
    """Two states may share a mark."""
    told: dict[str, list[str]] = {}
    for state in states:
        told.setdefault(mark(state), []).append(state)
    return {mark: " or ".join(of) for mark, of in told.items()}


def _groups(cells: Cells) -> Iterator[dict[str, Any]]:
    """Group by group. The columns become strings and lists once for all: a fleet may have hundreds of groups."""
    frame = _with_empty_places(cells.frame) if cells.level == "gpu" else cells.frame
    told, at = _cells(frame), 0
    for name, count, across in _sizes(frame, cells.level).iter_rows():
        part = {key: values[at : at + count] for key, values in told.items()}
        if cells.level == "gpu":
            part["labels"] = part["labels"][::across]
        yield {"name": name or "", "across": across, **part}
        at += count


def _sizes(frame: pl.DataFrame, level: Level) -> pl.DataFrame:
    """Group, cells, and how many of them stand side by side."""
    if level == "gpu":
        across = pl.col("column").max() + 1
    else:
        wide = 2.2 if level == "block" else 1
        across = (pl.len() * wide).sqrt().ceil().cast(pl.Int64)
    return frame.group_by("group", maintain_order=True).agg(pl.len(), across.alias("across"))


def _with_empty_places(frame: pl.DataFrame) -> pl.DataFrame:
    """One row for each node, one column for each place of its group: also those where no GPU is."""
    nodes = frame.group_by("group", "label", maintain_order=True).agg()
    most = frame.group_by("group").agg(pl.col("column").max().alias("most"))
    places = (
        nodes.join(most, on="group", nulls_equal=True, maintain_order="left")
        .with_columns(column=pl.int_ranges(pl.col("most") + 1, dtype=pl.Int64))
        .drop("most")
        .explode("column")
    )
    keys = ["group", "label", "column"]
    return places.join(frame, on=keys, how="left", nulls_equal=True, maintain_order="left")


def _cells(frame: pl.DataFrame) -> dict[str, Any]:
    """Of every cell: band, mark and state as one character, value, and what its tooltip says beside."""
    states, values = frame["state"].to_list(), frame["value"]
    bands = frame["band"].to_list()
    letters = {state: str(number) for number, state in enumerate(STATES)}
    text = values.dtype == pl.String
    more = {"index": frame["index"].to_list()} if "index" in frame.columns else {}
    if "gpu_uuid" not in frame.columns:
        more = {"gpus": frame["gpus"].to_list(), "bad": frame["bad"].to_list()}
    return {
        "labels": frame["label"].to_list(),
        "cells": "".join(
            "." if state is None else "?" if band is None else str(band)
            for band, state in zip(bands, states, strict=True)
        ),
        "marks": "".join(" " if state is None else mark(state) for state in states),
        "values": [] if text else values.cast(pl.Float64).round(4).to_list(),
        "told": "".join(letters.get(state, "2") for state in states),
        **more,
    }  # fmt: skip
