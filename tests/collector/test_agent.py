from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import msgspec
import polars as pl
import pytest

from collector import job_watch
from collector.agent import Agent
from collector.clock import SystemClock
from collector.config import CollectorConfig
from collector.records import TOPIC_EVENTS, TOPIC_INVENTORY, TOPIC_TELEMETRY, Event, Inventory
from collector.spool import Spool
from pipeline import decode
from pipeline.stream import Record
from tests.double import Node, eventually

_OFF_THE_BUS = "NVRM: Xid (PCI:0000:ab:00): 79, pid='<unknown>', name=<unknown>, GPU has fallen off the bus."


@contextmanager
def running(node: Node, directory: Path, **config: Any) -> Iterator[Spool]:
    spool = Spool(directory / "spool.db", 100)
    agent = Agent(
        node.config(interval_s=0.05, flush_s=0.2, **config), spool, SystemClock(), directory / "journal"
    )
    stop = threading.Event()
    thread = threading.Thread(target=agent.run, args=(stop,))
    thread.start()
    try:
        eventually(lambda: spool.read([TOPIC_TELEMETRY], 0, 1))
        yield spool
    finally:
        stop.set()
        thread.join(timeout=10)
        spool.close()


def events(spool: Spool) -> list[Event]:
    return [msgspec.json.decode(r.value, type=Event) for r in spool.read([TOPIC_EVENTS], 0, 1000)]


def test_an_xid_by_kmsg_and_by_nvml_is_one_event_with_its_gpu_and_process(node: Node, tmp_path: Path):
    with running(node, tmp_path) as spool:
        node.xid(5, 79)
        node.kernel(_OFF_THE_BUS)
        eventually(lambda: events(spool))
        node.kernel("NVRM: Xid (PCI:0000:18:00): 13, pid=77, name=python3, Graphics Exception", sequence=2)
        found = eventually(lambda: len(e := events(spool)) >= 2 and e)
    assert [(e.code, e.source, e.gpu_index, e.process) for e in found] == [
        (79, "kmsg", 5, None),
        (13, "kmsg", 0, "python3"),
    ]
    assert found[0].gpu_uuid == node.values[5]["uuid"]
    assert all(e.synthetic and e.fingerprint for e in found)


def test_an_xid_that_only_nvml_saw_is_an_event_too(node: Node, tmp_path: Path):
    with running(node, tmp_path, kmsg="") as spool:
        node.xid(2, 48)
        (found,) = eventually(lambda: events(spool))
    assert (found.code, found.source, found.gpu_index) == (48, "nvml", 2)


def test_a_line_that_user_space_forged_is_no_event(node: Node, tmp_path: Path):
    with running(node, tmp_path) as spool:
        node.kernel(_OFF_THE_BUS, facility=1, sequence=1)
        node.kernel("NVRM: Xid (PCI:0000:18:00): 48, pid=1, name=x, DBE", sequence=2)
        eventually(lambda: events(spool))
        assert [e.code for e in events(spool)] == [48]


def test_a_hang_stops_neither_the_ticks_nor_the_kernel_lines(node: Node, tmp_path: Path):
    with running(node, tmp_path, hang_retry_s=60.0) as spool:
        node.set(1, hang=1)
        node.kernel(_OFF_THE_BUS)
        kinds = eventually(lambda: {"nvml_hang", "xid"} <= {e.kind for e in events(spool)} and "both")
        assert kinds
        before = len(spool.read([TOPIC_TELEMETRY], 0, 10_000))
        eventually(lambda: len(spool.read([TOPIC_TELEMETRY], 0, 10_000)) > before + 2)
        records = [
            Record(r.topic, 0, r.seq, r.key, r.value) for r in spool.read([TOPIC_TELEMETRY], 0, 10_000)
        ]
    rows, rejected = decode.telemetry(records)
    last = rows.filter(rows["time"] == rows["time"].max()).sort("gpu_index")
    assert last["gpu_state"].to_list() == ["ok", "hung", *["ok"] * 6]
    assert last["power_w"].is_null().to_list() == [False, True, *[False] * 6]
    assert not rejected


def test_without_nvml_the_kernel_log_is_still_followed(node: Node, tmp_path: Path):
    node.extra = {"init": "!9"}
    node.write()
    spool = Spool(tmp_path / "spool.db", 100)
    stop = threading.Event()
    agent = Agent(node.config(), spool, SystemClock(), tmp_path / "journal")
    thread = threading.Thread(target=agent.run, args=(stop,))
    thread.start()
    node.kernel(_OFF_THE_BUS)
    found = eventually(lambda: events(spool))
    stop.set()
    thread.join(timeout=15)
    assert (found[0].code, found[0].pci_bdf, found[0].gpu_uuid) == (79, "0000:ab:00", None)


def test_what_is_in_memory_is_flushed_at_the_end(node: Node, tmp_path: Path):
    spool = Spool(tmp_path / "spool.db", 100)
    agent = Agent(node.config(flush_s=3600.0), spool, SystemClock(), tmp_path / "journal")
    rows = agent.tick()
    agent.close()
    (record,) = spool.read([TOPIC_TELEMETRY], 0, 10)
    decoded, _ = decode.telemetry([Record(record.topic, 0, record.seq, record.key, record.value)])
    assert decoded.height == len(rows) == 8
    assert decoded["synthetic"].all()


def test_rows_and_events_name_the_job_that_holds_the_gpu(
    node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(job_watch, "EVERY_S", 0.05)
    env = {"SLURM_JOB_ID": "4242", "SLURM_PROCID": "3", "PATH": os.environ["PATH"]}
    trainer = subprocess.Popen(["sleep", "60"], env=env)
    try:
        node.set(5, pids=str(trainer.pid), compute_processes=1)
        with running(node, tmp_path) as spool:
            eventually(lambda: "4242" in set(telemetry_of(spool)["job"].drop_nulls()))
            node.kernel(_OFF_THE_BUS)
            (found,) = eventually(lambda: events(spool))
            rows = telemetry_of(spool)
    finally:
        trainer.kill()
        trainer.wait()
    assert (found.code, found.job) == (79, "4242")
    last = rows.filter(rows["time"] == rows["time"].max()).sort("gpu_index")
    assert last["job"].to_list() == [None] * 5 + ["4242"] + [None] * 2


def telemetry_of(spool: Spool) -> pl.DataFrame:
    records = [Record(r.topic, 0, r.seq, r.key, r.value) for r in spool.read([TOPIC_TELEMETRY], 0, 10_000)]
    return decode.telemetry(records)[0]


def test_who_the_gpus_are_is_told_once(node: Node, tmp_path: Path):
    with running(node, tmp_path) as spool:
        records = eventually(lambda: len(r := spool.read([TOPIC_INVENTORY], 0, 100)) >= 8 and r)
        eventually(lambda: len(spool.read([TOPIC_TELEMETRY], 0, 100)) > 5)
        assert len(spool.read([TOPIC_INVENTORY], 0, 100)) == 8
    known = [msgspec.json.decode(r.value, type=Inventory) for r in records]
    assert sorted(str(k.gpu_uuid) for k in known) == sorted(str(v["uuid"]) for v in node.values.values())
    assert all(k.serial and k.vbios_version and k.driver_version and k.synthetic for k in known)


def test_a_dcgm_exporter_feeds_the_same_rows(tmp_path: Path, shared_data: Path):
    file = shared_data / "dcgm_metrics" / "real_issue_dcgm_exporter_250_v100_hpc.prom"
    with serving(file.read_bytes()) as url:
        spool = Spool(tmp_path / "spool.db", 100)
        config = CollectorConfig(node="n1", dcgm_url=url, kmsg="")
        agent = Agent(config, spool, SystemClock(), tmp_path / "journal")
        agent.tick()
        counts = agent.status().source
        agent.close()
    assert (counts["dcgm_scrapes"], counts["dcgm_scrape_failures"]) == (1, 0)
    rows = telemetry_of(spool)
    assert rows.height > 0
    assert rows["gpu_state"].unique().to_list() == ["ok"]
    assert rows["temperature_c"].drop_nulls().is_between(10, 110).all()


@contextmanager
def serving(body: bytes) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/metrics"
        server.shutdown()
        thread.join()


def test_a_gpu_that_was_lost_before_the_agent_started_again_is_still_reported(node: Node, tmp_path: Path):
    with running(node, tmp_path) as spool:
        eventually(lambda: len(spool.read([TOPIC_INVENTORY], 0, 100)) >= 8)
    node.set(5, lost=1)
    with running(node, tmp_path) as spool:
        eventually(lambda: "lost" in set(telemetry_of(spool)["gpu_state"]))
        rows = telemetry_of(spool)
    lost = rows.filter(rows["gpu_state"] == "lost")
    assert lost["gpu_uuid"].unique().to_list() == [node.values[5]["uuid"]]
    last = rows.filter(rows["time"] == rows["time"].max())
    assert sorted(last["gpu_state"]) == ["lost", *["ok"] * 7]
