"""Faults and labels are what looking at each event and each row, one after the other, says."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import msgspec
import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from collector import xid_catalogue
from collector.errors import ForeshockError
from pipeline.event_history import EventHistory, is_a_fault
from pipeline.fleet import Fleet
from pipeline.fleet_params import FleetParams
from pipeline.labels import CLASSES, DEFINITION, FAULTS, LabelDefinition, faults, label
from pipeline.tables import EVENTS, TIME
from tests.pipeline.samples import START

S = timedelta(seconds=1)
SHORT = LabelDefinition(
    min_lead_s=300, blind_s=900, episode_s=600, application_jobs=2, application_within_s=7200
)
AT_ONCE = LabelDefinition(min_lead_s=0, blind_s=900)
CLASS_OF = {79: "off_bus", 48: "memory", 145: "nvlink", 31: "application", 13: "application", 119: "gsp"}
RESETS = {"gpu reset required", "node reboot required", "os reboot", "pf flr", "drain p2p"}


def told(second: float, code: int | None = 79, **more: Any) -> dict[str, Any]:
    named = {
        "time": START + second * S, "fingerprint": f"{second}-{code}-{sorted(more.items())}", "node": "n0",
        "kind": "xid" if code else "gpu_lost", "gpu_uuid": "GPU-0-0", "pci_bdf": "0000:00:00", "code": code,
        "text": "", "count": 1, "seq": 1, "source": "sim", "synthetic": True,
    }  # fmt: skip
    return named | more


def lake(*rows: dict[str, Any]) -> pl.DataFrame:
    return pl.DataFrame(list(rows), schema=EVENTS, infer_schema_length=None)


def minutes(*at: int, gpu: str = "GPU-0-0", node: str = "n0", bdf: str | None = "0000:00:00") -> pl.DataFrame:
    rows = [(gpu, START + timedelta(minutes=m), node, bdf) for m in at]
    return pl.DataFrame(
        rows, schema={"gpu_uuid": pl.String, "minute": TIME, "node": pl.String, "pci_bdf": pl.String}, orient="row"
    )  # fmt: skip


def labels(
    rows: pl.DataFrame, *events: dict[str, Any], horizon_s: int = 3600, **more: Any
) -> list[bool | None]:
    asked: dict[str, Any] = {"until": START + timedelta(days=9)} | more
    found: list[bool | None] = label(rows, faults(lake(*events)), horizon_s=horizon_s, **asked).to_list()
    return found


# --- the oracle


def drawn_events(seed: int, count: int = 40) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(count):
        node, gpu = int(rng.integers(2)), int(rng.integers(2))
        kind = str(
            rng.choice(["xid"] * 8 + ["sxid", "gpu_lost", "gpu_missing", "nvml_hang", "nvml_recovered"])
        )
        nameless = rng.random() < 0.2
        row = told(
            int(rng.integers(0, 12 * 60)) * 60 + int(rng.choice([0, 0, 7])),
            int(rng.choice([79, 48, 119, 31, 31, 13, 43, 63, 145, 154, 999])) if kind == "xid" else None,
            fingerprint=f"f{i}", kind=kind, node=f"n{node}", job=[None, "1", "2", "3"][rng.integers(4)],
            gpu_uuid=None if nameless else f"GPU-{node}-{gpu}", text=str(rng.choice(["Fatal", "Nonfatal", ""])),
            pci_bdf=None if nameless and rng.random() < 0.5 else f"0000:{gpu:02x}:00",
            root_code=[None, None, 48, 31][rng.integers(4)],
            recovery_action=[None, "None", "GPU Reset Required", " drain p2p", "Drain and Reset"][rng.integers(5)]
            if rng.random() < 0.3 else None,
        )  # fmt: skip
        rows.append(row)
        if rng.random() < 0.3:
            later = row["time"] + int(rng.integers(1, 30)) * 60 * S
            rows.append(row | {"count": 5, "seq": 2, "last_time": later, "gpu_uuid": f"GPU-{node}-{gpu}"})
    return lake(*rows).sample(fraction=1, shuffle=True, seed=seed)


def drawn_rows(seed: int, count: int = 60) -> pl.DataFrame:
    rng = np.random.default_rng(seed + 1)
    parts = []
    for _ in range(count):
        node, gpu = int(rng.integers(2)), int(rng.integers(2))
        bdf = None if rng.random() < 0.1 else f"0000:{gpu:02x}:00"
        home = node if rng.random() < 0.9 else 1 - node  # the card was moved
        minute = int(rng.integers(-60, 13 * 60))
        parts.append(minutes(minute, gpu=f"GPU-{node}-{gpu}", node=f"n{home}", bdf=bdf))
    return pl.concat(parts)


def who(e: dict[str, Any]) -> tuple[Any, ...]:
    if e["gpu_uuid"] is not None:
        return (e["gpu_uuid"],)
    return (e["node"],) if e["pci_bdf"] is None else (e["node"], e["pci_bdf"])


def class_of(e: dict[str, Any]) -> str:
    if e["gpu_uuid"] is None and e["pci_bdf"] is None:
        return "node"
    if e["kind"] != "xid":
        return "hang" if e["kind"] == "nvml_hang" else "off_bus"
    code = e["root_code"] if e["code"] == 154 else e["code"]
    return CLASS_OF.get(code) or {43: "application", 63: "memory"}.get(code, "other")


def calls(e: dict[str, Any]) -> bool:
    return e["kind"] == "xid" and e["code"] in (13, 31) and e["root_code"] is None and e["job"] is not None


def faulty(e: dict[str, Any], told_once: list[dict[str, Any]], d: LabelDefinition) -> bool:
    if e["kind"] in ("gpu_lost", "gpu_missing", "nvml_hang"):
        return True
    if e["kind"] != "xid":
        return False
    if xid_catalogue.is_fault(e["code"], fatal=e["text"] == "Fatal"):
        return True
    if (e["recovery_action"] or "").strip().lower() in RESETS:
        return True
    begin = e["time"] - d.application_within_s * S
    same = [o for o in told_once if calls(o) and who(o) == who(e) and begin < o["time"] <= e["time"]]
    return calls(e) and len({o["job"] for o in same}) >= d.application_jobs


def slow_faults(events: pl.DataFrame, d: LabelDefinition) -> list[dict[str, Any]]:
    newest: dict[str, dict[str, Any]] = {}
    for e in events.sort("count", "seq").iter_rows(named=True):
        newest[e["fingerprint"]] = e
    told_once = list(newest.values())

    found: list[dict[str, Any]] = []
    last: dict[tuple[Any, ...], dict[str, Any]] = {}
    first_code_first = sorted(
        (e for e in told_once if faulty(e, told_once, d)),
        key=lambda e: (e["time"], e["code"] is None, e["code"], e["fingerprint"]),
    )
    for e in first_code_first:
        end, episode = max(e["time"], e["last_time"] or e["time"]), last.get(who(e))
        if episode is not None and e["time"] - episode["last_time"] <= d.episode_s * S:
            episode["last_time"] = max(episode["last_time"], end)
            if episode["code"] is None and e["code"] is not None:
                episode |= {"code": e["code"], "class": class_of(e)}
            episode["pci_bdf"] = episode["pci_bdf"] or e["pci_bdf"]
            continue
        named = {n: e[n] for n in ("time", "node", "gpu_uuid", "pci_bdf", "code")}
        fresh = named | {"class": class_of(e), "repeat": episode is not None, "last_time": end, "who": who(e)}
        last[who(e)] = fresh
        found.append(fresh)
    return found


def slow_label(
    row: dict[str, Any], known: list[dict[str, Any]], horizon_s: int,
    ends: list[datetime], d: LabelDefinition
) -> bool | None:  # fmt: skip
    until = ends[0]
    at = row["minute"] + 60 * S
    mine = [
        f for f in known
        if f["time"] <= until and f["who"] in ((row["gpu_uuid"],), (row["node"],), (row["node"], row["pci_bdf"]))
    ]  # fmt: skip
    coming = [f["time"] for f in mine if f["time"] >= at]
    if any(t < at + d.min_lead_s * S for t in coming):
        return None
    if any(f["time"] < at < f["last_time"] + d.blind_s * S for f in mine):
        return None
    if any(t <= at + horizon_s * S for t in coming):
        return True
    return None if at + horizon_s * S > min([until, *(t for t in ends[1:] if t >= row["minute"])]) else False


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 100_000), st.sampled_from([SHORT, DEFINITION]))
def test_faults_are_what_looking_at_each_event_says(seed: int, definition: LabelDefinition):
    events = drawn_events(seed)
    meant = pl.DataFrame(slow_faults(events, definition), schema=FAULTS, infer_schema_length=None)
    found = faults(events, definition)
    assert found.schema == FAULTS
    assert found["time"].is_sorted()
    assert_frame_equal(found, meant, check_row_order=False)
    assert set(found["class"]) <= set(CLASSES)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 100_000), st.sampled_from([300, 600, 3600, 86_400]),
    st.sampled_from([SHORT, AT_ONCE, DEFINITION]),
    st.booleans(),
)  # fmt: skip
def test_labels_are_what_looking_at_each_fault_says(
    seed: int, horizon_s: int, d: LabelDefinition, ends: bool
):
    events, rows = drawn_events(seed, 12), drawn_rows(seed)
    until = START + timedelta(hours=11)
    histories = [("GPU-0-0", 5), ("GPU-0-0", 8), ("GPU-1-0", 9), ("GPU-9-9", 0)] if ends else []
    lasts = [(gpu, START + timedelta(hours=h)) for gpu, h in histories]
    seen = pl.DataFrame(lasts, schema={"gpu_uuid": pl.String, "last": TIME}, orient="row")
    known = slow_faults(events, d)
    meant = [
        slow_label(r, known, horizon_s, [until, *(t for gpu, t in lasts if gpu == r["gpu_uuid"])], d)
        for r in rows.iter_rows(named=True)
    ]
    found = label(
        rows,
        faults(events, d),
        horizon_s=horizon_s,
        until=until,
        last_seen=seen if ends else None,
        definition=d,
    )
    assert found.dtype == pl.Boolean
    assert found.to_list() == meant


# --- by example


def test_a_label_is_true_from_the_least_lead_to_the_horizon():
    fault = told(100 * 60)
    before = minutes(38, 39, 40, 94, 95, 99, 100, 158, 159)
    assert labels(before, fault) == [False, True, True, True, None, None, None, None, False]


def test_a_fault_at_the_decision_itself_is_still_to_come():
    known = faults(lake(told(6000)))
    found = label(minutes(99), known, horizon_s=60, until=START + timedelta(days=1), definition=AT_ONCE)
    assert found.to_list() == [True]


def test_a_fault_after_what_was_seen_is_not_known():
    rows, until = minutes(30, 50, 90), START + timedelta(minutes=120)
    assert labels(rows, told(121 * 60), until=until) == [False, False, None]
    assert labels(rows, told(120 * 60), until=until) == [False, False, True], "the end itself was seen"


def test_a_swap_ends_a_history_but_hides_no_fault_that_was_seen():
    last = pl.DataFrame({"gpu_uuid": ["GPU-0-0"], "last": [START + timedelta(minutes=90)]}).cast(
        {"last": TIME}
    )
    rows = minutes(0, 29, 30, 50)
    assert labels(rows, last_seen=last) == [False, False, None, None]
    assert labels(rows, told(100 * 60), last_seen=last) == [False, False, None, True]
    assert labels(minutes(50, gpu="GPU-other"), last_seen=last) == [False]
    assert labels(minutes(89, 90, 91), last_seen=last) == [None, None, False], "a repair: another history"


def test_a_blind_time_begins_after_the_last_code_of_an_episode():
    storm = [told(s * 60, 48) for s in (0, 25, 50)]
    assert faults(lake(*storm)).height == 1
    assert labels(minutes(59, 108, 109), *storm) == [None, None, False]
    growing = told(0, 48, last_time=START + timedelta(minutes=50))
    assert labels(minutes(59, 108, 109), growing) == [None, None, False]


def test_an_episode_is_named_by_its_first_code():
    (row,) = faults(lake(told(0, None), told(2, 48), told(5, 63), told(9, 79))).to_dicts()
    assert (row["class"], row["code"], row["time"], row["repeat"]) == ("memory", 48, START, False)
    (one, two) = faults(lake(told(0, 119), told(1801, 79))).to_dicts()
    assert [one["class"], two["class"], two["repeat"]] == ["gsp", "off_bus", True]


def test_an_application_error_is_a_fault_only_under_one_job_after_the_other():
    def under(code: int, *jobs: str | None) -> pl.DataFrame:
        return faults(lake(*(told(7200 * i, code, job=j) for i, j in enumerate(jobs))))

    assert under(31, *"aaaaaaaa").is_empty()
    assert under(31, "a", "b", "b", None).is_empty()
    assert under(43, *"abcdefgh").is_empty(), "a consequence, whatever it follows"
    (row,) = under(31, "a", "b", "c").to_dicts()
    assert (row["class"], row["time"]) == ("application", START + 14_400 * S)
    slow = lake(*(told(43_200 * i, 31, job=str(i)) for i in range(6)))
    assert faults(slow).is_empty(), "two in any 24 hours"


def test_what_the_driver_asks_for_is_a_fault_of_the_class_it_follows():
    asked = told(0, 154, recovery_action="Node Reboot Required", root_code=94)
    assert faults(lake(asked))["class"].to_list() == ["memory"]
    assert faults(lake(asked | {"root_code": None}))["class"].to_list() == ["other"]
    assert faults(lake(asked | {"recovery_action": "None"})).is_empty()


def test_an_event_without_a_gpu_is_its_slots_and_without_an_address_its_nodes():
    both = pl.concat(
        [minutes(60), minutes(60, gpu="GPU-0-1", bdf="0000:01:00"), minutes(60, gpu="GPU-1-0", node="n1")]
    )
    slot, node = told(6000, gpu_uuid=None), told(6000, None, kind="gpu_missing", gpu_uuid=None, pci_bdf=None)
    assert labels(both, slot) == [True, False, False]
    assert labels(both, node) == [True, True, False]
    assert faults(lake(node))["class"].to_list() == ["node"]


def test_a_label_and_the_history_features_mean_the_same_faults():
    """Where no driver asks for a reset and no application error repeats, one fault is one in both."""
    far_apart = lake(
        *(told(7200 * i, c) for i, c in enumerate([79, 48, 31, 63, 119, 43, 999])), told(60_000, None)
    )
    row = minutes(60 * 24)
    counted = EventHistory(far_apart).features(row)["fault_events_90d"][0]
    assert counted == faults(far_apart).height == far_apart.filter(is_a_fault()).height == 4


def test_every_fault_of_a_simulated_fleet_that_has_a_code_is_found_and_nothing_else():
    """Synthetic. Two classes share Xid 48 or 79, so the code tells less than the truth."""
    fleet = Fleet(512, seed=7, params=FleetParams(days=20, fault_rate_factor=40.0))
    truth = fleet.truth.filter(pl.col("class") != "sdc")
    found = faults(fleet.events(fleet.start, 20 * 86_400))
    assert truth.height > 50
    told_of = truth.join(found, on=["gpu_uuid", "time"], how="anti")
    # a fault that hits while the last one is repaired is in its episode
    assert told_of.height <= 0.02 * truth.height
    hardware = found.filter(pl.col("class") != "application")
    assert hardware.join(truth, on=["gpu_uuid", "time"], how="anti").is_empty()
    assert found.height - hardware.height <= 0.02 * truth.height


def test_the_digest_names_the_definition_and_the_sites_codes():
    assert DEFINITION.digest == LabelDefinition().digest
    assert LabelDefinition(min_lead_s=600).digest != DEFINITION.digest
    assert DEFINITION.as_dict()["application_codes"] == [13, 31]
    before, entry = DEFINITION.digest, xid_catalogue.lookup(63)
    assert entry is not None
    xid_catalogue.use({63: msgspec.structs.replace(entry, label="fault")})
    try:
        assert DEFINITION.digest != before
    finally:
        xid_catalogue.use({})


def test_no_events_no_faults_and_a_horizon_below_the_least_lead_is_refused():
    assert_frame_equal(faults(lake()), pl.DataFrame(schema=FAULTS))
    assert labels(minutes(1, 2)) == [False, False]
    assert labels(minutes()) == []
    with pytest.raises(ForeshockError, match="least lead"):
        labels(minutes(1), horizon_s=299)
