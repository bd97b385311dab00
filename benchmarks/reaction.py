"""How fast a dead GPU reaches the job: kernel line written -> signal handled by the training rank.

    python benchmarks/reaction.py [--trials 200] [--json]

On a real Slurm (needs root and Debian's packages) with a real Kafka in between: the agent, the watcher and the
bridge run as they do in production, as processes of their own. Every trial is the first fault of another GPU,
so that it is an incident of its own, with its checkpoint, its drain and the lifting of that drain before the next
trial. A node of the driver double has 64 GPUs at most; for more trials the whole set-up is built again.
The kernel log is a FIFO, which wakes its reader as /dev/kmsg does. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from alerting.inbox import Inbox
from benchmarks.stream_broker import servers
from collector.config import KafkaConfig
from collector.records import TOPIC_INVENTORY
from tests.double import Node, eventually
from tests.e2e.chain import Services
from tests.real.slurm.cluster import Cluster, running_cluster, why_not
from tests.streams import on_topics

GPUS: Final = 64
TARGET_S: Final = 1.0
_TRAINER: Final = Path(__file__).parents[1] / "tests" / "real" / "slurm" / "trainer.py"
_XID: Final = "pid='<unknown>', name=<unknown>, GPU has fallen off the bus."


class Rig:
    """One node with its job, and the chain from its kernel log back to it."""

    def __init__(self, directory: Path, node: Node, slurm: Cluster, chain: Services) -> None:
        self.node, self.slurm, self.chain = node, slurm, chain
        self.work = directory / "work"
        self.bdfs = [str(v["pci_bdf"]) for v in node.values.values()]
        self.sequence = 0

    def start(self, kafka: KafkaConfig) -> None:
        """Until the job trains, the agent knows its GPUs, and a first line has been through the whole chain."""
        self.work.mkdir()
        self.chain.start("bridge", "bridge", "slurm")
        self.chain.start("watch", "watch")
        self.chain.start("collect", "collect")
        command = f"srun {sys.executable} -I {_TRAINER} {self.work} USR1"
        self.slurm.submit(command, f"--gres=gpu:h100:{len(self.bdfs)}")
        eventually(lambda: list(self.work.glob("ready.*")), 30)
        on_topics(kafka, (TOPIC_INVENTORY,), len(self.bdfs))

    def trial(self, gpu: int) -> float:
        """One fault on `gpu` -> seconds from the line to the handler in the job."""
        before = len(self.signals())
        written_s = time.time()
        self.sequence += 1
        self.node.kernel(f"NVRM: Xid (PCI:{self.bdfs[gpu]}): 79, {_XID}", sequence=self.sequence)
        eventually(lambda: len(self.signals()) > before, 30)
        return self.signals()[before] - written_s

    def signals(self) -> list[float]:
        """When each signal was handled, Unix seconds. Its line is whole once it ends in a newline."""
        file = self.work / "signals"
        lines = file.read_text().splitlines(keepends=True) if file.exists() else []
        return [int(line.split()[1]) / 1e9 for line in lines if line.endswith("\n")]

    def settle(self, trials: int) -> None:
        """Until both actions of every trial are done; then the drain is lifted, so that the next one is real."""
        eventually(lambda: self.done() == 2 * trials, 30)
        self.slurm.resume()

    def done(self) -> int:
        inbox = Inbox(self.chain.directory / "bridge.db")
        try:
            return inbox.counts().get("done", 0)
        finally:
            inbox.close()


@contextmanager
def rig(directory: Path, kafka_servers: str, gpus: int) -> Iterator[Rig]:
    """Built and torn down; `gpus` is how many first faults it has in it."""
    directory.mkdir()
    kafka = KafkaConfig(bootstrap_servers=kafka_servers, topic_prefix=f"r{random.getrandbits(32):08x}.")
    with pytest.MonkeyPatch.context() as patch, running_cluster(directory / "slurm", gpus=gpus) as slurm:
        for name, value in slurm.environment.items():
            patch.setenv(name, value)
        node = Node(directory, patch, gpus)
        node.kmsg.unlink()
        os.mkfifo(node.kmsg)
        chain = Services(directory, node, speed=1.0, kafka=kafka.bootstrap_servers, prefix=kafka.topic_prefix)
        _unlimited(chain.toml)
        built = Rig(directory, node, slurm, chain)
        try:
            built.start(kafka)
            yield built
        finally:
            chain.stop()


def _unlimited(toml: Path) -> None:
    """The policy asks a job for a few checkpoints an hour; here it shall ask at every fault."""
    toml.write_text(toml.read_text().replace("[watch]\n", "[watch]\ncheckpoints_per_job_hour = 1000000\n"))


def measure(trials: int) -> list[float]:
    """Seconds of each trial."""
    taken: list[float] = []
    with tempfile.TemporaryDirectory() as scratch, servers(Path(scratch) / "kafka") as kafka_servers:
        while len(taken) < trials:
            gpus = min(GPUS, trials - len(taken) + 1)
            with rig(Path(scratch) / f"rig-{len(taken)}", kafka_servers, gpus) as node:
                node.trial(0)  # the first event ever creates its topics; that wait is told apart
                node.settle(1)
                for gpu in range(1, gpus):
                    time.sleep(random.uniform(0.0, 0.3))  # at no fixed place in anybody's polling interval
                    taken.append(node.trial(gpu))
                    node.settle(gpu + 1)
    return taken


def summarise(taken: list[float]) -> dict[str, float | int | bool]:
    ordered = sorted(taken)
    cut = statistics.quantiles(ordered, n=100, method="inclusive") if len(ordered) > 1 else ordered * 99
    return {
        "trials": len(ordered), "p50_s": round(cut[49], 4), "p90_s": round(cut[89], 4), "p99_s": round(cut[98], 4),
        "min_s": round(ordered[0], 4), "max_s": round(ordered[-1], 4), "target_s": TARGET_S,
        "target_met": cut[98] < TARGET_S,
    }  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--json", action="store_true", help="only the JSON line")
    args = parser.parse_args()
    absent = why_not()
    if absent is not None:
        parser.error(absent)
    found = summarise(measure(args.trials))
    if not args.json:
        print(f"{found['trials']} faults, kernel line -> signal handled in the job, Slurm and Kafka real")
        print(
            f"  p50 {found['p50_s']} s   p90 {found['p90_s']} s   p99 {found['p99_s']} s   max {found['max_s']} s"
        )
        print(f"  target: p99 < {TARGET_S:g} s: {'met' if found['target_met'] else 'MISSED'}")
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
