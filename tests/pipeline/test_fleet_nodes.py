"""Some nodes of a fleet are what they are in the whole of it, and cost what they are."""

from __future__ import annotations

from datetime import timedelta

import polars as pl
import pytest

from collector.errors import ForeshockError
from pipeline.fleet import START, Fleet
from pipeline.fleet_params import Decoys, FleetParams
from pipeline.signals import INPUTS, KEYS
from pipeline.tables import ROLLUPS

MINUTES = 2 * 1440
NODES = (2, 3, 7)


@pytest.fixture(scope="module")
def fleet() -> Fleet:
    """Twelve nodes with far more of everything than in life: swaps, resets, gaps, every precursor."""
    return Fleet(
        96,
        seed=1,
        params=FleetParams(
            days=2,
            fault_rate_factor=400,
            decoy_rate_factor=100,
            precursors="high",
            swap_share=0.8,
            decoys=Decoys(driver_update_every_days=1.0),
        ),
    )


@pytest.fixture(scope="module")
def whole(fleet: Fleet) -> pl.DataFrame:
    return fleet.rollups(START, MINUTES).sort("node", "gpu_index", "minute")


def of_nodes(fleet: Fleet, nodes, **asked) -> pl.DataFrame:
    parts = list(fleet.rollup_parts(START, MINUTES, nodes=nodes, **asked))
    return pl.concat(parts).sort("node", "gpu_index", "minute")


@pytest.mark.parametrize("nodes", [NODES, (0,), (11, 4, 3, 3), range(12)])
def test_rows_of_some_nodes_are_those_of_the_whole_fleet_bit_for_bit(
    fleet: Fleet, whole: pl.DataFrame, nodes
):
    names = [fleet.nodes[i] for i in nodes]
    expected = whole.filter(pl.col("node").is_in(names))
    assert expected.height > 0.9 * len(set(nodes)) * 8 * MINUTES
    assert of_nodes(fleet, nodes).equals(expected)


def test_the_fleet_of_this_test_has_what_could_go_wrong(fleet: Fleet, whole: pl.DataFrame):
    mine = whole.filter(pl.col("node").is_in([fleet.nodes[i] for i in NODES]))
    swaps = fleet.truth.filter("swapped", pl.col("repaired") < START + timedelta(days=2))["node"].to_list()
    assert set(swaps) & {fleet.nodes[i] for i in NODES}
    assert set(swaps) - {fleet.nodes[i] for i in NODES}, "where the whole fleet is cut and the nodes are not"
    assert set(mine["gpu_state"]) >= {"ok", "lost", "hung"}
    assert mine.height < len(NODES) * 8 * MINUTES, "whole minutes are missing"
    assert mine["power_w_mean"].null_count() > 0
    for name in ("ecc_sbe_volatile_delta", "nvlink_crc_flit_errors_delta", "remapped_rows_correctable_delta"):
        assert mine[name].sum() > 0, name


@pytest.mark.parametrize("columns", [(*KEYS, *INPUTS), ("node", "gpu_index", "minute", "power_w_std")])
def test_columns_that_are_asked_for_have_the_same_values(fleet: Fleet, whole: pl.DataFrame, columns):
    expected = whole.filter(pl.col("node").is_in([fleet.nodes[i] for i in NODES]))
    found = of_nodes(fleet, NODES, columns=columns)
    assert found.equals(expected.select(n for n in ROLLUPS if n in columns))


@pytest.mark.parametrize("column", [n for n in ROLLUPS if n not in ("node", "gpu_index", "minute")])
def test_any_column_can_be_had_alone(fleet: Fleet, whole: pl.DataFrame, column: str):
    """What it is made from is made with it."""
    first = pl.concat(
        fleet.rollup_parts(START, 90, nodes=[3], columns=["node", "gpu_index", "minute", column])
    )
    end = START + timedelta(minutes=90)
    expected = whole.filter(pl.col("node") == fleet.nodes[3], pl.col("minute") < end).select(first.columns)
    assert first.sort("gpu_index", "minute").equals(expected)


def test_no_nodes_no_rows(fleet: Fleet):
    assert list(fleet.rollup_parts(START, 10, nodes=[])) == []


@pytest.mark.parametrize("nodes", [[12], [-1, 2]])
def test_a_node_that_the_fleet_does_not_have_is_an_error(fleet: Fleet, nodes: list[int]):
    with pytest.raises(ForeshockError, match="is not in a simulated fleet of 12"):
        next(fleet.rollup_parts(START, 10, nodes=nodes))


def test_a_column_that_rollups_do_not_have_is_an_error(fleet: Fleet):
    with pytest.raises(ForeshockError, match="no column power"):
        next(fleet.rollup_parts(START, 10, columns=["minute", "power"]))
