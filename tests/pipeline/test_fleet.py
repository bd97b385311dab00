from __future__ import annotations

import itertools
from datetime import datetime, timedelta

import polars as pl
import pytest

from collector.errors import ForeshockError
from collector.records import TOPIC_EVENTS, TOPIC_INVENTORY, TOPIC_TELEMETRY
from collector.xid_catalogue import is_fault
from pipeline import decode, fleet_wire
from pipeline.features import features
from pipeline.fleet import START, Fleet
from pipeline.fleet_params import Decoys, FleetParams
from pipeline.rollup import CARRY, rollup
from pipeline.stream import Record
from pipeline.tables import EVENTS, ROLLUPS, TELEMETRY

BUSY = FleetParams(
    days=3,
    fault_rate_factor=200,
    decoy_rate_factor=20,
    precursors="high",
    decoys=Decoys(driver_update_every_days=1.0),
)
"""Far more of everything than in life, so that a short test meets it."""
WHEN = START + timedelta(hours=30)


@pytest.fixture(scope="module")
def busy() -> Fleet:
    return Fleet(64, seed=3, params=BUSY)


def gathered(fleet: Fleet, t0: datetime, seconds: int, flush_s: int = 10) -> pl.DataFrame:
    return pl.concat(fleet.samples(t0, seconds, flush_s=flush_s)).sort("time", "gpu_uuid")


def around_faults(fleet: Fleet, before_s: int = 120, after_s: int = 120) -> pl.DataFrame:
    """Samples of the whole fleet around the first faults and their repairs."""
    times = [t for r in fleet.truth.head(8).rows(named=True) for t in (r["time"], r["repaired"])]
    ends = START + timedelta(days=3, seconds=-after_s)
    starts = [t - timedelta(seconds=before_s) for t in times if t < ends]
    spans = [gathered(fleet, t, before_s + after_s).with_columns(span=pl.lit(t)) for t in starts]
    return pl.concat(spans).unique(["time", "gpu_uuid"]).sort("gpu_uuid", "time")


def test_the_same_seed_gives_the_same_fleet_and_another_seed_another():
    one, same, other = (Fleet(32, seed=s, params=BUSY) for s in (5, 5, 6))
    assert gathered(one, WHEN, 30).equals(gathered(same, WHEN, 30))
    assert one.rollups(WHEN, 20).equals(same.rollups(WHEN, 20))
    assert one.events(START, 86_400).equals(same.events(START, 86_400))
    assert one.truth.equals(same.truth)
    assert not one.truth.equals(other.truth)
    assert not gathered(one, WHEN, 30).equals(gathered(other, WHEN, 30))


@pytest.mark.parametrize("flush_s", [1, 7, 60])
def test_samples_do_not_depend_on_how_they_are_asked_for(busy: Fleet, flush_s: int):
    at = busy.truth["time"][0].replace(microsecond=0) - timedelta(seconds=100)
    whole = gathered(busy, at, 200)
    assert gathered(busy, at, 200, flush_s).equals(whole)
    halves = [gathered(busy, at, 77), gathered(busy, at + timedelta(seconds=77), 123)]
    assert pl.concat(halves).equals(whole)


def test_minutes_do_not_depend_on_how_they_are_asked_for(busy: Fleet):
    whole = busy.rollups(WHEN, 300).sort("minute", "gpu_uuid")
    parts = [busy.rollups(WHEN + timedelta(minutes=m), n) for m, n in ((0, 1), (1, 100), (101, 199))]
    assert pl.concat(parts).sort("minute", "gpu_uuid").equals(whole)


def test_minutes_say_what_a_rollup_of_the_samples_says(busy: Fleet):
    """Counters, counts and states exactly; means within the noise of 60 seconds."""
    at = busy.truth["time"][0].replace(second=0) - timedelta(minutes=20)
    rows = pl.concat(busy.samples(at, 2400)).with_columns(stream=pl.lit("s"), seq=pl.lit(1, dtype=pl.Int64))
    made = rollup(rows, pl.DataFrame(schema=CARRY))
    both = made.join(
        busy.rollups(at, 40), on=["gpu_uuid", "minute"], how="full", suffix="_direct", coalesce=True
    )
    assert both.height == made.height
    exact = ["node", "job", "samples", "good_samples", "gpu_state", "nvml_errors", "gap_max_s", "gpu_index"]
    for name in exact:
        assert both[name].eq_missing(both[f"{name}_direct"]).all(), name
    before = pl.col("good_samples").shift(1).over("gpu_uuid", order_by="minute")
    whole = both.filter((pl.col("good_samples") == 60) & (before == 60))
    assert whole.height > 1000
    for name in (n for n in ROLLUPS if n.endswith(("_delta", "_last"))):
        assert whole[name].cast(float).eq_missing(whole[f"{name}_direct"].cast(float)).all(), name
    for name, tolerance in (
        ("power_w", 8),
        ("temperature_c", 0.6),
        ("sm_util_pct", 3),
        ("mem_util_pct", 5),
        ("nvml_latency_us", 60),
    ):
        apart = (whole[f"{name}_mean"] - whole[f"{name}_mean_direct"]).abs()
        assert apart.quantile(0.99) <= tolerance, name  # type: ignore[operator]


def test_every_row_is_synthetic(busy: Fleet):
    frames = [gathered(busy, WHEN, 20), busy.rollups(WHEN, 5), busy.events(START, 3 * 86_400), busy.truth]
    for rows in frames:
        assert rows.height > 0
        assert rows["synthetic"].eq_missing(True).all()
    assert all(i.synthetic for i in busy.inventory())
    assert all(e.source == "sim" for e in busy.event_records(START, 86_400))


def test_counters_fall_only_where_a_driver_was_loaded_again(busy: Fleet):
    rows = around_faults(busy)
    volatile = [
        "ecc_sbe_volatile",
        "ecc_dbe_volatile",
        "pcie_replay",
        "energy_j",
        "nvlink_crc_flit_errors",
        "thermal_violation_us",
    ]
    lifetime = [
        "ecc_sbe_aggregate",
        "ecc_dbe_aggregate",
        "remapped_rows_correctable",
        "remapped_rows_uncorrectable",
    ]
    repairs = set(busy.truth["repaired"])
    for name in lifetime + volatile:
        known = rows.drop_nulls(name).with_columns(pl.col(name).diff().over("gpu_uuid", "span").alias("rise"))
        fell = known.filter(pl.col("rise") < 0)
        if name in lifetime:
            assert fell.is_empty(), name
        resets = [t for t in fell["time"] if t not in repairs and t.second != 0]
        assert not resets, name
    assert (
        rows.with_columns(pl.col("energy_j").diff().over("gpu_uuid", "span").alias("rise"))
        .filter(pl.col("rise") < 0)
        .height
        > 0
    )


def test_a_swap_puts_a_new_card_in_the_slot(busy: Fleet):
    swap = busy.truth.filter(pl.col("swapped")).row(0, named=True)
    slot = (pl.col("node") == swap["node"]) & (pl.col("gpu_index") == swap["gpu_index"])
    rows = gathered(busy, swap["repaired"] - timedelta(seconds=5), 10).filter(slot)
    assert rows["gpu_uuid"].n_unique() == 2
    new = rows.filter(pl.col("time") >= swap["repaired"])
    assert new["gpu_uuid"].to_list() != [swap["gpu_uuid"]] * new.height
    assert new["ecc_dbe_aggregate"].max() == 0
    assert new["gpu_uuid"][0] in {i.gpu_uuid for i in busy.inventory()}


def test_a_lost_gpu_has_rows_without_readings(busy: Fleet):
    fault = busy.truth.filter(pl.col("class") == "off_bus").row(0, named=True)
    slot = pl.col("gpu_uuid") == fault["gpu_uuid"]
    rows = gathered(busy, fault["time"], 30).filter(slot)
    assert set(rows["gpu_state"]) == {"lost"}
    assert rows["power_w"].null_count() == rows.height
    assert rows["gap_s"].to_list() == [1.0 + i for i in range(rows.height)]


def test_decoys_make_no_fault():
    quiet = Fleet(256, seed=1, params=FleetParams(days=4, fault_rate_factor=0, decoy_rate_factor=30))
    assert quiet.truth.is_empty()
    events = quiet.events(START, 4 * 86_400)
    assert events.height > 100
    assert not any(is_fault(c) for c in events["code"].unique())
    minutes = pl.concat(quiet.rollup_parts(START + timedelta(days=3), 600))
    assert set(minutes["gpu_state"]) == {"ok"}
    assert minutes["samples"].min() < 60, "scrapes are missing"  # type: ignore[operator]
    assert minutes["ecc_sbe_volatile_last"].max() > 100, "storms of corrected errors"  # type: ignore[operator]
    assert minutes["remapped_rows_correctable_last"].max() > 3, "rows are remapped"  # type: ignore[operator]
    assert minutes["ecc_dbe_volatile_last"].max() == 0


def test_what_goes_on_the_stream_is_read_by_the_workers_decoder(busy: Fleet):
    sent = list(busy.ipc_batches(WHEN, 20))
    assert [n for n, _ in sent] == [*busy.nodes, *busy.nodes]
    records = [Record(TOPIC_TELEMETRY, 0, i, n, v, "s", i) for i, (n, v) in enumerate(sent)]
    read, rejected = decode.telemetry(records)
    assert not rejected
    expected = pl.concat(busy.samples(WHEN, 20))
    names = [n for n in TELEMETRY if n not in ("stream", "seq")]
    assert read.select(names).equals(expected.select(names))


def test_records_filled_from_a_template_are_the_encoders_own_bytes(busy: Fleet):
    """Around a fault, so that healthy, idle, silent and missing nodes are all there."""
    at = busy.truth.filter(pl.col("class") == "off_bus")["time"][0]
    kinds = set()
    for frame in busy.samples(at - timedelta(seconds=20), 60):
        nodes = frame.partition_by("node", maintain_order=True)
        for (node, value), rows in zip(fleet_wire.records(frame), nodes, strict=True):
            assert rows["node"][0] == node
            if (rows["gpu_state"] == "ok").all():
                assert value == fleet_wire.encoded(rows)
            else:  # what lies under a null is nobody's business
                assert pl.read_ipc_stream(value).equals(pl.read_ipc_stream(fleet_wire.encoded(rows)))
        kinds |= set(frame["gpu_state"])
    assert kinds >= {"ok", "lost"}


def test_events_and_inventory_travel_as_the_agents_records(busy: Fleet):
    sent = list(busy.event_json(START, 86_400))
    read, rejected = decode.events(
        [Record(TOPIC_EVENTS, 0, i, n, v, busy.stream, i) for i, (n, v) in enumerate(sent)]
    )
    assert not rejected
    assert read.select(EVENTS.names()).equals(busy.events(START, 86_400))
    import msgspec

    cards = [
        Record(TOPIC_INVENTORY, 0, i, c.node, msgspec.json.encode(c)) for i, c in enumerate(busy.inventory())
    ]
    inventory, rejected = decode.inventory(cards)
    assert not rejected
    assert inventory["gpu_uuid"].n_unique() == inventory.height


def test_a_fault_ends_the_job_of_all_its_nodes(busy: Fleet):
    fault = busy.truth.filter(pl.col("class") != "sdc").row(0, named=True)
    at = fault["time"]
    (job,) = gathered(busy, at - timedelta(seconds=1), 1).filter(pl.col("gpu_uuid") == fault["gpu_uuid"])[
        "job"
    ]
    assert job is None or job not in gathered(busy, at, 5)["job"].to_list()


def test_features_are_made_from_its_minutes_and_events():
    """The function of training and live scoring reads them, and sees a fault's precursor before the fault."""
    fleet = Fleet(512, seed=8, params=BUSY)
    nvlink = fleet.truth.filter((pl.col("class") == "nvlink") & pl.col("has_precursor")).row(0, named=True)
    at = nvlink["time"].replace(second=0)
    rows = features(fleet.rollups(at - timedelta(minutes=10), 10), fleet.events(START, 3 * 86_400))
    last = rows.filter(
        (pl.col("gpu_uuid") == nvlink["gpu_uuid"]) & (pl.col("minute") == at - timedelta(minutes=1))
    )
    assert last["nvlink_crc_3m"][0] > 10


def test_asking_outside_the_history_says_so(busy: Fleet):
    with pytest.raises(ForeshockError, match="not in the simulated fleet's 3 days"):
        next(busy.samples(START + timedelta(days=2, hours=23, minutes=59), 3600))
    with pytest.raises(ForeshockError, match="does not fill nodes"):
        Fleet(13)


def test_frames_are_in_the_order_of_an_agents_flush(busy: Fleet):
    for rows in itertools.islice(busy.samples(WHEN, 10), 2):
        assert rows.schema == {n: k for n, k in TELEMETRY.items() if n not in ("stream", "seq")}
        assert rows.equals(rows.sort("node", "time", "gpu_index"))
