"""The fleet fits one screen at any size, and trouble is never averaged away."""

from __future__ import annotations

import json

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboard.colours import COLOURS, MARKS, STATES, Theme, alarmed
from dashboard.fleet.cell_map import gpu_at
from dashboard.fleet.cells import MAX_CELLS, lay_out, scoped
from dashboard.fleet.picture import picture
from dashboard.fleet.racks import with_racks
from tests.lake_fixture import uuid

FLEET = {
    "node": pl.String, "gpu_index": pl.Int64, "gpu_uuid": pl.String, "state": pl.String,
    "temperature_c": pl.Int64, "power_w": pl.Float64, "gap_s": pl.Float64, "risk": pl.Float64,
    "alarm_level": pl.Float64,
}  # fmt: skip
RISK = COLOURS["risk"]


def _fleet(nodes: int, *, gpus: int = 8, risk: float | None = 0.01, name: str = "n{:05d}") -> pl.DataFrame:
    return pl.DataFrame(
        [
            {"node": name.format(n), "gpu_index": i, "gpu_uuid": uuid(n, i), "state": "ok", "risk": risk,
             "alarm_level": 0.5}
            for n in range(nodes)
            for i in range(gpus)
        ],
        schema=FLEET,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("nodes", "level", "cells"),
    [(1, "gpu", 8), (1_280, "gpu", 10_240), (1_281, "node", 1_281), (10_240, "node", 10_240), (12_500, "block", 1_563)],
)  # fmt: skip
def test_detail_gives_way_to_size(nodes: int, level: str, cells: int) -> None:
    found = lay_out(scoped(_fleet(nodes)), RISK)
    assert (found.level, found.frame.height) == (level, cells)
    assert found.frame.height <= MAX_CELLS
    assert found.gpus == 8 * nodes


def test_a_block_of_a_large_fleet_opens_into_its_gpus() -> None:
    fleet = _fleet(40)
    blocks = lay_out(scoped(fleet, max_cells=16), RISK, max_cells=16)
    assert (blocks.level, blocks.frame["label"].to_list()) == (
        "block",
        [f"n{n:05d}" for n in range(0, 40, 8)],
    )
    inside = scoped(fleet, block="n00008", max_cells=16)
    assert inside["node"].unique().sort().to_list() == [f"n{n:05d}" for n in range(8, 16)]
    assert lay_out(inside, RISK, max_cells=64).level == "gpu"
    assert scoped(fleet, block="n00011", max_cells=16).equals(inside)  # any node of it names it
    assert scoped(fleet, node="n00011")["gpu_uuid"].n_unique() == 8
    assert scoped(fleet, block="gone").is_empty()
    assert scoped(fleet, node="gone").is_empty()


@pytest.mark.parametrize(
    ("name", "racks"),
    [
        ("rack{0:03d}-node{1:02d}", [f"rack{r:03d}" for r in range(4)]),
        ("dgx-r{0}u{1}", [f"dgx-r{r}" for r in range(4)]),
        ("pod1.rack{0}.node{1}.example", [f"pod1.rack{r}" for r in range(4)]),
    ],
)
def test_racks_come_from_the_names_of_nodes(name: str, racks: list[str]) -> None:
    nodes = pl.DataFrame({"node": [name.format(n // 10, n % 10) for n in range(40)]})
    assert with_racks(nodes, 32)["rack"].unique().sort().to_list() == racks


@pytest.mark.parametrize("name", ["node{:04d}", "gpu-h100-node{:04d}", "h{:x}"])
def test_names_without_racks_make_blocks_of_neighbours(name: str) -> None:
    nodes = pl.DataFrame({"node": [name.format(n) for n in range(300)]})
    sizes = with_racks(nodes, 32)["rack"].value_counts()["count"]
    assert sizes.to_list().count(32) == 9
    assert sizes.sum() == 300


def test_a_gpu_of_no_known_node_is_on_the_map() -> None:
    fleet = pl.concat(
        [_fleet(2), _fleet(1, gpus=1).with_columns(node=pl.lit(None, pl.String), gpu_index=None)]
    )
    told = picture(lay_out(scoped(fleet), RISK), RISK)
    assert sum(group["cells"].count("0") for group in told["groups"]) == 17


@given(
    nodes=st.integers(1, 60),
    trouble=st.lists(st.tuples(st.integers(0, 59), st.integers(0, 7), st.floats(0, 1)), max_size=8),
    max_cells=st.sampled_from([1_000, 100, 12]),
)
def test_the_highest_risk_and_the_worst_state_are_always_on_the_map(
    nodes: int, trouble: list[tuple[int, int, float]], max_cells: int
) -> None:
    risks = {uuid(n % nodes, i): risk for n, i, risk in trouble}
    fleet = _fleet(nodes).with_columns(
        risk=pl.col("gpu_uuid").replace_strict(risks, default=0.0, return_dtype=pl.Float64),
        state=pl.when(pl.col("gpu_uuid").is_in(list(risks))).then(pl.lit("lost")).otherwise(pl.lit("ok")),
    )
    found = lay_out(scoped(fleet, max_cells=max_cells), RISK, max_cells=max_cells)
    assert found.frame["value"].max() == fleet["risk"].max()
    assert found.frame["gpus"].sum() == fleet.height
    assert found.frame["bad"].sum() == len(risks)
    told = picture(found, RISK)
    assert ("×" in "".join(group["marks"] for group in told["groups"])) == bool(risks)


def test_zero_is_a_risk_and_null_is_none() -> None:
    for max_cells in (1_000, 60, 3):
        zero = lay_out(scoped(_fleet(40, risk=0.0)), RISK, max_cells=max_cells).frame
        none = lay_out(scoped(_fleet(40, risk=None)), RISK, max_cells=max_cells).frame
        assert zero["band"].unique().to_list() == [0]
        assert none["band"].null_count() == none.height


@pytest.mark.parametrize(
    ("risk", "level", "band"),
    [(0.0, 0.5, 0), (0.05, 0.5, 1), (0.25, 0.5, 2), (0.5, 0.5, 3), (0.75, 0.5, 4), (0.049, 0.5, 0),
     (0.02, 0.02, 3), (0.51, 0.02, 4), (0.0, 0.0, 3), (1.0, 1.0, 4), (float("nan"), 0.5, None)],
)  # fmt: skip
def test_a_risk_is_coloured_by_the_alarm_level_of_its_model(
    risk: float, level: float, band: int | None
) -> None:
    fleet = _fleet(1, gpus=1).with_columns(risk=pl.lit(risk), alarm_level=pl.lit(level))
    assert lay_out(scoped(fleet), RISK).frame["band"].to_list() == [band]


def test_alarms_are_counted_by_each_models_own_level() -> None:
    fleet = _fleet(1).with_columns(
        risk=pl.Series([0.1, 0.1, 0.4, 0.5, None, 0.02, 0.0, 1.0]),
        alarm_level=pl.Series([0.05, 0.5, 0.5, 0.5, 0.5, 0.05, 0.05, 0.5]),
    )
    assert alarmed(fleet) == 3
    assert alarmed(fleet, 0.5) == 4


@pytest.mark.parametrize(("reading", "band"), [(None, None), (0, 0), (49, 0), (50, 1), (84.9, 3), (85, 4)])
def test_readings_fall_into_bands(reading: float | None, band: int | None) -> None:
    fleet = _fleet(1, gpus=1).with_columns(temperature_c=pl.lit(reading, pl.Float64))
    assert lay_out(scoped(fleet), COLOURS["temperature"]).frame["band"].to_list() == [band]


def test_every_state_has_a_mark_a_band_and_a_colour_in_both_themes() -> None:
    state = COLOURS["state"]
    fleet = _fleet(1, gpus=len(STATES)).with_columns(state=pl.Series(STATES))
    assert lay_out(scoped(fleet), state).frame["band"].to_list() == list(range(len(STATES)))
    assert set(MARKS) == set(STATES)
    themes: tuple[Theme, ...] = ("light", "dark")
    for colour in COLOURS.values():
        assert all(len(colour.palette[theme]) == len(colour.bands) for theme in themes)


@pytest.mark.parametrize("colour", COLOURS.values(), ids=COLOURS)
@pytest.mark.parametrize("max_cells", [1_000, 60, 3])
def test_the_picture_is_json_that_accounts_for_every_gpu(colour: object, max_cells: int) -> None:
    chosen = next(c for c in COLOURS.values() if c is colour)
    found = lay_out(scoped(_fleet(40, name="rack{:03d}-node1").head(300)), chosen, max_cells=max_cells)
    told = json.loads(json.dumps(picture(found, chosen), allow_nan=False))
    cells = "".join(group["cells"] for group in told["groups"])
    assert len(cells.replace(".", "")) == found.frame.height
    assert sum(told["counts"]) + told["unknown"]["count"] == found.frame.height
    for group in told["groups"]:
        assert len(group["cells"]) == len(group["marks"]) == len(group["told"])


def test_a_gpu_that_is_missing_leaves_its_place_empty_and_a_swapped_card_stands_beside_the_old_one() -> None:
    fleet = _fleet(2).filter(pl.col("gpu_uuid") != uuid(0, 3))
    swapped = _fleet(1, gpus=1).with_columns(gpu_uuid=pl.lit("GPU-new"), node=pl.lit("n00001"))
    told = picture(lay_out(scoped(pl.concat([fleet, swapped])), RISK), RISK)
    (group,) = told["groups"]
    assert group["across"] == 9
    assert group["cells"][:9] == "000.0000."
    assert group["index"][9:] == [0, 0, 1, 2, 3, 4, 5, 6, 7]


def test_the_picture_of_ten_thousand_gpus_is_small() -> None:
    fleet = _fleet(1_250).with_columns(risk=pl.int_range(pl.len()) / 10_007)
    told = json.dumps(picture(lay_out(scoped(fleet), RISK), RISK))
    assert len(told) < 200_000


def test_a_place_on_the_map_is_a_gpu() -> None:
    frame = pl.DataFrame({"label": ["a", "a", "b"], "column": [0, 1, 0], "gpu_uuid": ["x", "y", "z"]})
    assert gpu_at(frame, {"name": "a", "column": 1}) == "y"
    assert gpu_at(frame, {"name": "a", "column": 2}) is None
    assert gpu_at(None, {"name": "a", "column": 1}) is None
