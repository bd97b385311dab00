"""The Slurm adapter on a real Slurm: who is signalled, whose drain is lifted, who is requeued."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from alerting.action import INTENTS, Action, ActionName
from alerting.slurm import SlurmAdapter
from collector.config import BridgeConfig
from tests.double import eventually
from tests.real.slurm.cluster import Cluster, running_cluster, why_not

TRAINER = Path(__file__).with_name("trainer.py")

pytestmark = pytest.mark.skipif(why_not() is not None, reason=why_not() or "")


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with running_cluster(tmp_path_factory.mktemp("slurm")) as cluster:
        yield cluster


@pytest.fixture
def slurm(real: Cluster, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    for name, value in real.environment.items():
        monkeypatch.setenv(name, value)
    yield real
    real.cancel_all()
    real.resume()


def action(name: ActionName, *, gpu: int = 0, incident: str = "inc-1") -> Action:
    return Action(
        action_id=f"{incident}.{name}", incident_id=incident, action=name, intent=INTENTS[name], time=1.0, node="n1",
        gpu_uuid=f"GPU-{gpu}", gpu_index=gpu, pci_bdf=None, risk=0.93, reasons=(), summary="", detail="",
        synthetic=True, dry_run=False,
    )  # fmt: skip


def trainer(directory: Path, *handles: str) -> str:
    directory.mkdir()
    return f"{sys.executable} -I {TRAINER} {directory} {' '.join(handles)}"


def is_ready(directory: Path, ranks: int = 1) -> None:
    eventually(lambda: len(list(directory.glob("ready.*"))) == ranks)


def signals(directory: Path) -> list[tuple[str, str]]:
    """(signal, role) of each that arrived."""
    file = directory / "signals"
    lines = file.read_text().splitlines() if file.exists() else []
    return [(words[0], words[2]) for words in map(str.split, lines)]


def test_the_ranks_are_signalled_and_nobody_else_is(slurm: Cluster, tmp_path: Path):
    """The batch shell traps USR1, srun and the loaders would take it too; only ranks get it, and all of them do."""
    step, child, shell = tmp_path / "step", tmp_path / "child", tmp_path / "shell"
    job = slurm.submit(
        f"trap 'touch {shell}' USR1\n{trainer(child, 'USR1')} &\n"
        f"srun --ntasks=2 --overlap {trainer(step, 'USR1')} &\nwhile true; do wait; done",
        "--gres=gpu:h100:2", "--ntasks=2",
    )  # fmt: skip
    is_ready(step, 2)
    is_ready(child)

    outcome = SlurmAdapter(BridgeConfig()).checkpoint(action("checkpoint", gpu=1))
    assert outcome.ok, outcome.detail
    assert outcome.detail == f"job {job}: 3 training ranks on this node signalled"
    eventually(lambda: len(signals(step)) == 2 and len(signals(child)) == 1)
    eventually((step / "checkpoint.json").exists)
    assert {*signals(step), *signals(child)} == {("USR1", "rank")}
    assert not shell.exists()
    assert "JobState=RUNNING" in slurm.job(job)


def test_a_job_that_the_signal_would_kill_is_left_alone_and_said_so(slurm: Cluster, tmp_path: Path):
    job = slurm.submit(f"srun {trainer(tmp_path / 'job')}", "--gres=gpu:h100:1")
    is_ready(tmp_path / "job")
    outcome = SlurmAdapter(BridgeConfig()).checkpoint(action("checkpoint"))
    assert not outcome.ok
    assert "does not handle SIGUSR1, which would kill it" in outcome.detail
    assert outcome.detail.endswith("advisory only")
    assert "JobState=RUNNING" in slurm.job(job)


def test_only_the_jobs_on_that_gpu_are_asked(slurm: Cluster, tmp_path: Path):
    slurm.submit(f"srun {trainer(tmp_path / 'other', 'USR1')}", "--gres=gpu:h100:1")
    is_ready(tmp_path / "other")
    outcome = SlurmAdapter(BridgeConfig()).checkpoint(action("checkpoint", gpu=6))
    assert outcome.detail == "no running job on n1 shows GPU 6; advisory only"
    assert signals(tmp_path / "other") == []


@pytest.mark.parametrize(
    ("options", "admin", "got"),
    [
        (["--comment=foreshock:signal=USR2"], None, [("USR2", "rank")]),
        (["--comment=mine foreshock:none"], None, []),
        (["--comment=foreshock:none"], "foreshock:signal=USR1", [("USR1", "rank")]),
        (["--export=ALL,FORESHOCK_SIGNAL=USR2"], None, [("USR2", "rank")]),
        (["--export=ALL,FORESHOCK_SIGNAL=none"], None, []),
        (["--comment=foreshock:signal=KILL"], None, []),
    ],
)
def test_a_job_says_which_signal_it_wants(
    slurm: Cluster,
    tmp_path: Path,
    options: list[str],
    admin: str | None,
    got: list[tuple[str, str]],
):
    work = tmp_path / "job"
    job = slurm.submit(f"srun {trainer(work, 'USR1', 'USR2')}", "--gres=gpu:h100:1", *options)
    if admin is not None:
        slurm.run("scontrol", "update", f"JobId={job}", f"AdminComment={admin}")
    is_ready(work)
    outcome = SlurmAdapter(BridgeConfig()).checkpoint(action("checkpoint"))
    assert outcome.ok is bool(got), outcome.detail
    eventually(lambda: len(signals(work)) >= len(got))
    assert signals(work) == got
    assert bool(got) or "advisory only" in outcome.detail


def test_our_drain_is_lifted_and_lifting_twice_is_lifting_once(slurm: Cluster):
    adapter = SlurmAdapter(BridgeConfig())
    assert "drained: foreshock:inc-1 GPU 0 GPU-0 risk=0.93" in adapter.drain(action("drain")).detail
    assert "drained already, by us" in adapter.drain(action("drain")).detail
    assert "Reason=foreshock:inc-1 GPU 0 GPU-0 risk=0.93 [root@" in slurm.show()
    assert "for inc-1, left alone" in adapter.release(action("release", incident="inc-2")).detail, "another's"
    assert "DRAIN" in slurm.show()
    assert adapter.release(action("release")).detail == "n1: our drain for inc-1 is lifted"
    assert "DRAIN" not in slurm.show()
    assert "Reason=" not in slurm.show()
    assert adapter.release(action("release")).detail == "n1 is not drained: nothing to lift"


def test_a_node_with_two_incidents_stays_drained_until_both_are_over(slurm: Cluster):
    adapter = SlurmAdapter(BridgeConfig())
    adapter.drain(action("drain", incident="inc-1"))
    adapter.drain(action("drain", incident="inc-2", gpu=3))
    assert "stays drained for others: foreshock:inc-2" in adapter.release(action("release")).detail
    assert "Reason=foreshock:inc-2 GPU 3 GPU-3 risk=0.93 [" in slurm.show()
    adapter.release(action("release", incident="inc-2"))
    assert "DRAIN" not in slurm.show()


@pytest.mark.parametrize("reason", ["bad fan", "foreshock:inc-1 GPU 0 GPU-0 risk=0.93 keep it, RMA opened"])
def test_an_administrators_drain_is_never_touched(slurm: Cluster, reason: str):
    slurm.run("scontrol", "update", "NodeName=n1", "State=DRAIN", f"Reason={reason}")
    before = slurm.show().partition("Reason=")[2]
    adapter = SlurmAdapter(BridgeConfig())
    assert "somebody else" in adapter.drain(action("drain")).detail
    assert "somebody else, left alone" in adapter.release(action("release")).detail
    assert slurm.show().partition("Reason=")[2] == before


def test_a_drain_of_ours_that_an_administrator_took_over_is_theirs(slurm: Cluster):
    adapter = SlurmAdapter(BridgeConfig())
    adapter.drain(action("drain"))
    slurm.run("scontrol", "update", "NodeName=n1", "Reason=power work until Monday")
    assert "left alone: power work until Monday" in adapter.release(action("release")).detail
    assert "DRAIN" in slurm.show()


def test_a_node_that_is_down_stays_down_when_our_drain_is_lifted(slurm: Cluster):
    adapter = SlurmAdapter(BridgeConfig())
    for _ in range(5):  # its own slurmd may bring it back at any moment (ReturnToService=2)
        slurm.run("scontrol", "update", "NodeName=n1", "State=DOWN", "Reason=x")
        adapter.drain(action("drain"))
        drained = slurm.show()
        adapter.release(action("release"))
        shown = slurm.show()
        if "State=DOWN+DRAIN" in drained and "State=DOWN" in shown:
            break
    assert "State=DOWN+DRAIN" in drained
    slurm.run("scontrol", "update", "NodeName=n1", "State=RESUME", may_fail=True)
    assert "State=DOWN" in shown
    assert "DRAIN" not in shown


def test_migrating_drains_first_and_waits_until_the_job_has_left(slurm: Cluster, tmp_path: Path):
    job = slurm.submit(f"srun {trainer(tmp_path / 'job', 'TERM')}", "--gres=gpu:h100:1")
    is_ready(tmp_path / "job")
    outcome = SlurmAdapter(BridgeConfig()).migrate(action("drain_now"))
    assert outcome.ok, outcome.detail
    drained, asked, left = outcome.detail.split("; ")
    assert drained.startswith("n1 drained: foreshock:inc-1")
    assert asked == f"job {job}: 1 training ranks on this node signalled"
    assert left.startswith(f"job {job} left the node after ")
    assert outcome.seconds is not None
    assert outcome.seconds < 10
    assert signals(tmp_path / "job") == [("TERM", "rank")]
    assert (tmp_path / "job" / "checkpoint.json").exists()


@pytest.mark.parametrize("requeue", [False, True])
def test_a_job_that_stays_is_requeued_only_if_the_operator_allows_it(
    slurm: Cluster, tmp_path: Path, requeue: bool
):
    job = slurm.submit(f"srun {trainer(tmp_path / 'job', 'stay-TERM')}", "--gres=gpu:h100:1")
    is_ready(tmp_path / "job")
    begun_s = time.monotonic()
    outcome = SlurmAdapter(BridgeConfig(acknowledge_timeout_s=1.0, requeue=requeue)).migrate(
        action("drain_now")
    )
    assert time.monotonic() - begun_s > 1.0
    assert outcome.ok is requeue
    if requeue:
        assert outcome.detail.endswith(f"job {job} requeued")
        eventually(lambda: "Restarts=1" in slurm.job(job), 20)
    else:
        assert outcome.detail.endswith(f"job {job} is still here: bridge.requeue is off")
        assert "JobState=RUNNING" in slurm.job(job)
        assert "Restarts=0" in slurm.job(job)
