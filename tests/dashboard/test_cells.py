"""The fleet fits one screen at any size, and trouble is never averaged away."""

from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboard.cells import MAX_CELLS, lay_out
from dashboard.charts import READINGS, Theme, heat_map, life
from tests.lake_fixture import END, RAMP_MINUTES, uuid

FLEET = {
    "node": pl.String, "gpu_index": pl.Int64, "gpu_uuid": pl.String, "state": pl.String,
    "temperature_c": pl.Int64, "power_w": pl.Float64, "risk": pl.Float64,
}  # fmt: skip


def _fleet(nodes: int, *, gpus: int = 8, risk: float | None = 0.01) -> pl.DataFrame:
    return pl.DataFrame(
        [
            {"node": f"n{n:05d}", "gpu_index": i, "gpu_uuid": uuid(n, i), "state": "ok", "risk": risk}
            for n in range(nodes)
            for i in range(gpus)
        ],
        schema=FLEET,
    )


@pytest.mark.parametrize(
    ("nodes", "level", "cells"),
    [(1, "gpu", 8), (32, "gpu", 256), (33, "node", 33), (1250, "node", 1250), (12_500, "block", 1786)],
)
def test_detail_gives_way_to_size(nodes: int, level: str, cells: int) -> None:
    found = lay_out(_fleet(nodes))
    assert (found.level, found.frame.height) == (level, cells)
    assert found.frame.height <= MAX_CELLS
    assert found.frame.select("row", "column").is_unique().all()


@given(
    nodes=st.integers(1, 60),
    trouble=st.lists(st.tuples(st.integers(0, 59), st.integers(0, 7), st.floats(0, 1)), max_size=8),
)
def test_the_highest_risk_and_the_worst_state_are_always_on_the_map(
    nodes: int, trouble: list[tuple[int, int, float]]
) -> None:
    risks = {uuid(n % nodes, i): risk for n, i, risk in trouble}
    fleet = _fleet(nodes).with_columns(
        risk=pl.col("gpu_uuid").replace_strict(risks, default=0.0, return_dtype=pl.Float64),
        state=pl.when(pl.col("gpu_uuid").is_in(list(risks))).then(pl.lit("lost")).otherwise(pl.lit("ok")),
    )
    for gpu_rows in (100, 4):
        frame = lay_out(fleet, gpu_rows=gpu_rows, max_cells=7).frame
        assert frame["risk"].max() == fleet["risk"].max()
        assert (frame["mark"] == "×").any() == bool(risks)


def test_a_block_leads_to_its_riskiest_gpu() -> None:
    fleet = _fleet(40).with_columns(risk=pl.when(pl.col("gpu_uuid") == uuid(17, 6)).then(0.8).otherwise(0.1))
    frame = lay_out(fleet).frame
    assert frame.filter(pl.col("risk") == 0.8)["gpu_uuid"].to_list() == [uuid(17, 6)]


def test_zero_is_a_risk_and_null_is_none() -> None:
    assert lay_out(_fleet(2, risk=0.0)).frame["risk"].null_count() == 0
    assert lay_out(_fleet(2, risk=None)).frame["risk"].null_count() == 16
    assert lay_out(_fleet(40, risk=None)).frame["risk"].null_count() == 40


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("nodes", [2, 40])
def test_the_map_is_a_valid_chart_of_every_cell(nodes: int, theme: Theme) -> None:
    cells = lay_out(_fleet(nodes))
    spec = heat_map(cells, (0.05, 0.5), theme).to_dict()
    assert len(next(iter(spec["datasets"].values()))) == cells.frame.height
    assert spec["layer"][0]["encoding"]["color"]["condition"]["scale"]["domain"][0] == 0.05


@pytest.mark.parametrize("reading", READINGS, ids=lambda reading: reading.column)
@pytest.mark.parametrize("known", [True, False])
def test_a_gpu_of_which_nothing_is_known_still_has_its_charts(reading: object, known: bool) -> None:
    assert reading in READINGS
    rows = pl.DataFrame(
        {"time": [END], "value": [1.0 if known else None]}, schema_overrides={"value": pl.Float64}
    )
    marks = pl.DataFrame({"time": [END], "kind": ["fault"], "what": ["Xid 79"], "detail": [""]})
    chosen = next(r for r in READINGS if r is reading)
    span = (END.replace(minute=60 - RAMP_MINUTES, hour=11), END)
    charts = [
        life(chosen, rows.rename({"value": chosen.column}), shown, span, "light", last=last)
        for shown in (marks, marks.clear())
        for last in (True, False)
    ]
    assert [len(chart.to_dict()["layer"]) for chart in charts] == [3, 3, 1, 1]
