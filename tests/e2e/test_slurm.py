"""The chain on a real Slurm and a real Kafka: an Xid line in, a checkpoint and a drained node out, and back."""

from __future__ import annotations

import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import msgspec
import polars as pl
import pytest

from alerting.action import Action
from alerting.webhook import Sender
from collector.config import KafkaConfig
from collector.records import TOPIC_INVENTORY
from pipeline.lake import Lake
from tests.double import Node, eventually
from tests.e2e.chain import Services
from tests.real.slurm.cluster import Cluster, running_cluster, why_not
from tests.streams import on_topics

TRAINER = Path(__file__).parents[1] / "real" / "slurm" / "trainer.py"

pytestmark = [
    pytest.mark.kafka,
    pytest.mark.skipif(why_not() is not None, reason=why_not() or ""),
]


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """The chain's node is n1, and so is Slurm's."""
    with running_cluster(tmp_path / "slurm") as cluster:
        for name, value in cluster.environment.items():
            monkeypatch.setenv(name, value)
        yield cluster


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Node:
    return Node(tmp_path, monkeypatch)


@pytest.fixture
def chain(tmp_path: Path, node: Node, slurm: Cluster, kafka_servers: str) -> Iterator[Services]:
    prefix = f"e{uuid.uuid4().hex[:8]}."
    running = Services(tmp_path, node, speed=1.0, kafka=kafka_servers, prefix=prefix)
    running.start("bridge", "bridge", "slurm")
    running.start("watch", "watch")
    running.start("collect", "collect")
    on_topics(KafkaConfig(bootstrap_servers=kafka_servers, topic_prefix=prefix), (TOPIC_INVENTORY,), 8)
    yield running
    running.stop()


def done(lake: Lake, name: str) -> pl.DataFrame:
    return lake.read("actions").filter(
        pl.col("action") == name, pl.col("state").is_in(["acknowledged", "failed"])
    )


def release(chain: Services, incident: str) -> None:
    """What the watcher sends when the cause has cleared, signed with its secret."""
    send = Sender(f"http://127.0.0.1:{chain.port}/v1/actions", str(chain.directory / "secret"), 5.0)
    send(Action(
        action_id=f"{incident}.release", incident_id=incident, action="release", intent="resume", time=1.0,
        node="n1", gpu_uuid=None, gpu_index=None, pci_bdf=None, risk=None, reasons=(), summary="", detail="",
        synthetic=True, dry_run=False,
    ))  # fmt: skip
    send.close()


def test_an_xid_line_becomes_a_checkpoint_and_a_drain_and_only_our_drain_is_lifted(
    chain: Services, node: Node, slurm: Cluster, tmp_path: Path
):
    lake = Lake(tmp_path / "lake")
    work = tmp_path / "work"
    work.mkdir()
    job = slurm.submit(f"srun {sys.executable} -I {TRAINER} {work} USR1", "--gres=gpu:h100:8")
    eventually(lambda: list(work.glob("ready.*")), 20)

    # the GPU falls off the bus: the job has its checkpoint, and the node is drained in our name
    node.kernel(
        "NVRM: Xid (PCI:0000:ab:00): 79, pid='<unknown>', name=<unknown>, GPU has fallen off the bus."
    )
    told = msgspec.json.decode(
        eventually(lambda: (f := work / "checkpoint.json").exists() and f.read_bytes(), 30)
    )
    assert told["asked_by"] == ["USR1"]
    eventually(lambda: done(lake, "drain_now").height and lake.read("incidents").height, 20)
    (incident,) = lake.read("incidents")["incident_id"].unique().to_list()
    assert f"Reason=foreshock:{incident} GPU 5 " in slurm.show()
    assert "MIXED+DRAIN" in slurm.show()
    assert "JobState=RUNNING" in slurm.job(job), "it does not handle TERM, so nobody sent it"
    eventually(lambda: done(lake, "checkpoint").height, 20)
    (asked,) = done(lake, "checkpoint")["detail"].to_list()
    assert asked == f"job {job}: 1 training ranks on this node signalled"
    (moved,) = done(lake, "drain_now")["detail"].to_list()
    assert "does not handle SIGTERM, which would kill it" in moved

    # the cause clears: our drain is lifted
    release(chain, incident)
    eventually(lambda: done(lake, "release").height == 1, 20)
    assert "DRAIN" not in slurm.show()

    # an administrator drains; the next GPU that fails neither changes that nor lifts it
    slurm.run("scontrol", "update", "NodeName=n1", "State=DRAIN", "Reason=bad fan")
    before = slurm.show().partition("Reason=")[2]
    node.kernel(
        "NVRM: Xid (PCI:0000:18:00): 79, pid='<unknown>', name=<unknown>, GPU has fallen off the bus.",
        sequence=2,
    )
    eventually(lambda: done(lake, "drain_now").height == lake.read("incidents").height == 2, 20)
    second = lake.read("incidents").filter(pl.col("incident_id") != incident)["incident_id"][0]
    release(chain, second)
    eventually(lambda: done(lake, "release").height == 2, 20)
    assert "left alone: bad fan" in "".join(done(lake, "release")["detail"])
    assert slurm.show().partition("Reason=")[2] == before
