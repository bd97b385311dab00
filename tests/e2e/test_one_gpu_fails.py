"""The whole chain as real processes: driver double, agent, stream, worker, watcher, bridge, training job."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import polars as pl
import pytest

from collector.config import Config, KafkaConfig, SpoolConfig
from collector.records import TOPIC_ALERTS, TOPIC_EVENTS, TOPIC_RISKS, TOPIC_TELEMETRY
from demo.training import resume_differs_by
from pipeline.decode import telemetry
from pipeline.lake import Lake
from pipeline.stream import Record, open_stream
from tests.double import Node, eventually
from tests.e2e.chain import Services
from tests.streams import on_topics

SICK = 5


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Node:
    return Node(tmp_path, monkeypatch)


@pytest.fixture(params=["embedded", pytest.param("kafka", marks=pytest.mark.kafka)])
def services(
    request: pytest.FixtureRequest, tmp_path: Path, node: Node
) -> Iterator[tuple[Services, KafkaConfig | None]]:
    kafka = None
    if request.param == "kafka":
        prefix = f"e{uuid.uuid4().hex[:8]}."
        kafka = KafkaConfig(bootstrap_servers=request.getfixturevalue("kafka_servers"), topic_prefix=prefix)
    running = Services(
        tmp_path,
        node,
        kafka=kafka.bootstrap_servers if kafka else "",
        prefix=kafka.topic_prefix if kafka else "",
    )
    yield running, kafka
    running.stop()


def rows(lake: Lake, table: str, **where: Any) -> pl.DataFrame:
    return lake.read(table).filter(*(pl.col(k) == v for k, v in where.items()))


def test_a_failing_gpu_becomes_a_checkpoint_on_disk_and_a_drained_node(
    services: tuple[Services, KafkaConfig | None], node: Node, tmp_path: Path
):
    chain, kafka = services
    chain.start_all()
    lake = Lake(tmp_path / "lake")

    # hop 1: the agent's samples are in the lake, of all eight GPUs
    eventually(lambda: lake.read("telemetry")["gpu_uuid"].n_unique() == 8, 40)
    if kafka:
        decoded, rejected = telemetry(on_topics(kafka, (TOPIC_TELEMETRY,)))
        assert decoded["gpu_index"].n_unique() == 8
        assert not rejected

    # hop 2: a fault develops; the worker's risk for that GPU rises, and for no other
    node.kernel(
        "NVRM: Xid (PCI:0000:ab:00): 63, pid='<unknown>', name=<unknown>, Row Remapper: New row marked"
    )
    node.set(
        SICK,
        nvlink_replay_errors=60,
        nvlink_crc_flit_errors=9000,
        remapped_rows_uncorrectable=2,
        remap_pending=1,
    )
    eventually(
        lambda: not rows(lake, "predictions", gpu_index=SICK).filter(pl.col("risk") > 0.5).is_empty(), 40
    )
    assert rows(lake, "predictions").filter(pl.col("gpu_index") != SICK)["risk"].max() < 0.5  # type: ignore[operator]

    # hop 3: one incident
    eventually(lambda: lake.read("incidents").height, 20)
    (incident,) = lake.read("incidents")["incident_id"].unique().to_list()

    # hop 4: the signed webhook was delivered, and the job's checkpoint is whole and on disk
    acknowledged = eventually(lambda: (p := chain.job / "train.checkpoint.json").exists() and p, 20)
    told = msgspec.json.decode(acknowledged.read_bytes())
    assert told["reason"] == "foreshock"
    losses = chain.job / "losses.csv"
    eventually(lambda: len(losses.read_text().split()) > told["step"] + 6)
    assert resume_differs_by(Path(told["path"]), losses, 5) == (5, 0.0)

    # hop 5: then the node is marked for draining
    drained = eventually(lambda: (p := tmp_path / "drained" / "n1").exists() and p.read_text(), 20)
    assert incident in drained
    assert acknowledged.stat().st_mtime <= (tmp_path / "drained" / "n1").stat().st_mtime

    # hop 6: the GPU dies; the incident fails, without a second one
    node.set(SICK, lost=1)
    node.kernel(
        "NVRM: Xid (PCI:0000:ab:00): 79, pid='<unknown>', name=<unknown>, GPU has fallen off the bus.",
        sequence=2,
    )
    node.xid(SICK, 79)
    eventually(lambda: not rows(lake, "incidents", change="failed").is_empty(), 20)
    assert lake.read("incidents")["incident_id"].n_unique() == 1
    eventually(lambda: not rows(lake, "actions", action="drain_now", state="acknowledged").is_empty(), 20)
    eventually(lambda: rows(lake, "actions", state="delivered").height >= 3, 20)
    delivered = rows(lake, "actions", state="delivered")
    assert sorted(delivered["action"]) == ["checkpoint", "drain", "drain_now"], "each action once"
    eventually(lambda: rows(lake, "events", kind="xid").height >= 2, 20)
    newest = lake.read("telemetry")["time"].max()
    eventually(lambda: lake.read("telemetry")["time"].max() > newest, 20)  # type: ignore[operator]
    codes = rows(lake, "events", kind="xid").unique("fingerprint")["code"].to_list()
    assert sorted(codes) == [63, 79], "kmsg and NVML told one fault"
    assert lake.read("telemetry")["synthetic"].all()
    if kafka:
        assert any(b'"code":79' in r.value for r in on_topics(kafka, (TOPIC_EVENTS,), 2))
        assert on_topics(kafka, (TOPIC_RISKS,))
        assert any(incident.encode() in r.value for r in on_topics(kafka, (TOPIC_ALERTS,)))


@pytest.mark.timeout(300)
def test_a_worker_killed_with_9_again_and_again_leaves_neither_gap_nor_duplicate(
    services: tuple[Services, KafkaConfig | None], node: Node, tmp_path: Path
):
    chain, kafka = services
    kills = 2 if kafka else 6  # on Kafka each successor first waits for the dead member's session to end
    lake = Lake(tmp_path / "lake")
    archive = _Archive(chain, kafka)
    chain.start("collect", "collect")
    for kill in range(kills):
        chain.start("ingest", "ingest")
        _another_minute(lake)
        chain.kill_9("ingest")
        node.kernel(f"NVRM: Xid (PCI:0000:18:00): {13 + kill}, pid=1, name=x, text", sequence=kill + 1)
    chain.start("ingest", "ingest")
    eventually(lambda: lake.read("events").height >= kills, 60)
    chain.running["collect"].terminate()
    chain.running.pop("collect").wait(timeout=20)
    sent, _ = telemetry(archive.read())
    eventually(lambda: lake.read("telemetry").height >= sent.height, 30)
    chain.running["ingest"].terminate()
    chain.running.pop("ingest").wait(timeout=20)

    stored, rollups = lake.read("telemetry"), lake.read("rollups")
    sample, minute = ["gpu_uuid", "time"], ["gpu_uuid", "minute"]
    assert stored.select(sample).sort(sample).equals(sent.select(sample).sort(sample)), "what was sent, once"
    assert rollups.height == rollups.select(minute).n_unique()
    assert rollups["samples"].sum() == _samples_in(stored, rollups)
    predicted = lake.read("predictions")
    assert predicted.select(minute).sort(minute).equals(rollups.select(minute).sort(minute))
    assert sorted(lake.read("events")["code"]) == [13 + k for k in range(kills)]


@pytest.mark.kafka
@pytest.mark.timeout(300)
def test_workers_that_come_and_go_leave_neither_gap_nor_duplicate(
    kafka_servers: str, node: Node, tmp_path: Path
):
    kafka = KafkaConfig(bootstrap_servers=kafka_servers, topic_prefix=f"e{uuid.uuid4().hex[:8]}.")
    chain = Services(tmp_path, node, kafka=kafka_servers, prefix=kafka.topic_prefix)
    lake = Lake(tmp_path / "lake")
    archive = _Archive(chain, kafka)
    try:
        chain.start("collect", "collect")
        for name in ("one", "two", "three"):
            chain.start(name, "ingest")
            _another_minute(lake)
        chain.running["one"].terminate()
        chain.running.pop("one").wait(timeout=20)
        _another_minute(lake)
        chain.running["collect"].terminate()
        chain.running.pop("collect").wait(timeout=20)
        sent, _ = telemetry(archive.read())
        eventually(lambda: lake.read("telemetry").height >= sent.height, 30)
    finally:
        chain.stop()
    stored, rollups = lake.read("telemetry"), lake.read("rollups")
    sample, minute = ["gpu_uuid", "time"], ["gpu_uuid", "minute"]
    assert stored.select(sample).sort(sample).equals(sent.select(sample).sort(sample)), "what was sent, once"
    assert rollups.height == rollups.select(minute).n_unique()
    assert rollups["samples"].sum() == _samples_in(stored, rollups)
    assert lake.read("predictions").select(minute).sort(minute).equals(rollups.select(minute).sort(minute))


def _another_minute(lake: Lake) -> None:
    """Wait until a minute is rolled up that was not there before."""
    before = lake.read("rollups")["minute"].max()
    eventually(lambda: lake.read("rollups")["minute"].max() not in (None, before), 60)


class _Archive:
    """Everything the agent ever put on the stream, whatever the worker has committed."""

    def __init__(self, chain: Services, kafka: KafkaConfig | None) -> None:
        config = (
            Config(kafka=kafka) if kafka else Config(spool=SpoolConfig(path=chain.directory / "spool.db"))
        )
        self._stream = open_stream(config, f"archive-{uuid.uuid4().hex[:6]}", [TOPIC_TELEMETRY])

    def read(self) -> list[Record]:
        taken: list[Record] = []
        quiet = 0
        while quiet < 4:
            polled = self._stream.poll(0.5)
            quiet = 0 if polled else quiet + 1
            taken.extend(polled)
        self._stream.close()
        return taken


def _samples_in(stored: pl.DataFrame, rollups: pl.DataFrame) -> int:
    """Samples that belong to the minutes that were rolled up."""
    minutes = rollups.select("gpu_uuid", "minute")
    timed = stored.with_columns(pl.col("time").dt.truncate("1m").alias("minute"))
    return timed.join(minutes, on=["gpu_uuid", "minute"], how="semi").height
