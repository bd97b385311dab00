from __future__ import annotations

import math
from datetime import timedelta

import numpy as np
import polars as pl
import pytest

from pipeline import fleet_faults
from pipeline.fleet import START, Fleet
from pipeline.fleet_faults import Faults
from pipeline.fleet_params import CLASS_NAMES, CLASSES, LLAMA3_GPU_DAYS, Decoys, FleetParams, Preset

SEEDS = 40
LLAMA3 = FleetParams(days=54)


def drawn(params: FleetParams) -> Faults:
    """Forty fleets of Llama 3's size and time."""
    runs = [
        fleet_faults.draw(16_384, np.arange(819), params, np.random.default_rng([seed, 99]))
        for seed in range(SEEDS)
    ]
    return Faults(*(np.concatenate(x) for x in zip(*runs, strict=True)))


@pytest.fixture(scope="module")
def faults() -> Faults:
    return drawn(LLAMA3)


def test_the_table_is_llama_3s_by_count():
    assert sum(c.count for c in CLASSES) == 268
    assert sum(c.count for c in CLASSES if c.name in ("off_bus", "nvlink", "engine")) == 148
    assert LLAMA3_GPU_DAYS == 54 * 16_384


@pytest.mark.parametrize("index", range(len(CLASSES)), ids=CLASS_NAMES)
def test_each_class_comes_at_its_rate(faults: Faults, index: int):
    """Within 4 standard deviations; a chain that goes on with probability q spreads the count by (1 + q) / (1 - q)."""
    fault = CLASSES[index]
    found, expected = int((faults.kind == index).sum()), fault.count * SEEDS
    sigma = math.sqrt(expected * (1 + fault.follow) / (1 - fault.follow))
    # gaps longer than the burn-in are lost: at most 3 % of the repeats
    assert abs(found - expected) <= 4 * sigma + 0.03 * expected


@pytest.mark.parametrize("index", range(len(CLASSES)), ids=CLASS_NAMES)
def test_repeats_have_their_share(faults: Faults, index: int):
    mine = faults.kind == index
    share, n = faults.repeat[mine].mean(), int(mine.sum())
    q = CLASSES[index].follow
    assert abs(share - q) <= 4 * math.sqrt(q * (1 - q) / n) * 1.5 + 0.03


@pytest.mark.parametrize("preset", ["low", "high", "zero"])
def test_precursors_have_their_share_in_every_class(preset: Preset):
    params = FleetParams(days=54, precursors=preset)
    found = drawn(params)
    for index, fault in enumerate(CLASSES):
        mine = found.kind == index
        share, phi = (found.lead_s[mine] > 0).mean(), params.phi(fault)
        assert abs(share - phi) <= 4 * math.sqrt(phi * (1 - phi) / mine.sum()) + 1e-9, fault.name
    leads = found.lead_s[found.lead_s > 0]
    assert leads.size == 0 or leads.min() >= 300


def test_the_gaps_of_an_offender_have_summits_median():
    """Summit: median 20 h between the DBEs of one GPU; a gap cut off by the end of the year counts as none."""
    fleet = Fleet(16_384, seed=2, params=FleetParams(days=365, decoys=_NO_DECOYS))
    rows = fleet.truth.filter(pl.col("class") == "hbm").sort("gpu_uuid", "time")
    gaps_h = (
        rows.select(pl.col("time").diff().over("gpu_uuid").dt.total_seconds() / 3600).to_series().drop_nulls()
    )
    assert 12 <= gaps_h.median() <= 40  # type: ignore[operator]


def test_a_minority_makes_most_of_the_faults(faults: Faults):
    """The weak 5 % make 40 % of the first faults, and as many of their repeats."""
    assert 0.36 <= (faults.slot < 819).mean() <= 0.50


_NO_DECOYS = Decoys(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1e9)


@pytest.mark.parametrize(
    ("kind", "column"),
    [
        ("hbm", "ecc_sbe_volatile"),
        ("nvlink", "nvlink_crc_flit_errors"),
        ("off_bus", "pcie_replay"),
        ("sram", "sram_correctable_volatile"),
    ],
)
def test_only_faults_with_a_precursor_show_one(kind: str, column: str):
    params = FleetParams(days=20, fault_rate_factor=10, precursors="high", decoys=_NO_DECOYS)
    fleet = Fleet(4096, seed=4, params=params)
    inside = (pl.col("time") > START + timedelta(days=5)) & (pl.col("class") == kind) & ~pl.col("seen_before")
    for warned in (True, False):
        fault = fleet.truth.filter(inside & (pl.col("has_precursor") == warned)).row(0, named=True)
        lead_s = fault["lead_s"] or 1800.0
        at = fault["time"] - timedelta(seconds=2)
        early = fault["time"] - timedelta(seconds=lead_s + 10)
        now, then = (
            next(
                r
                for f in fleet.samples(t, 1)
                for r in f.filter(pl.col("gpu_uuid") == fault["gpu_uuid"])[column]
            )
            for t in (at, early)
        )
        assert (now - then > 5) == warned


def test_precursors_zero_leaves_only_abrupt_faults():
    fleet = Fleet(1024, seed=1, params=FleetParams(days=10, fault_rate_factor=50, precursors="zero"))
    assert fleet.truth.height > 50
    assert not fleet.truth["has_precursor"].any()
    assert fleet.truth["lead_s"].null_count() == fleet.truth.height
