"""Arguments and parsing only; the texts are what Slurm 22.05.8 printed. The adapter on a real one: tests/real/slurm.

Nothing here starts scontrol: a test must not drain whatever cluster this machine's points to.
"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerting.action import Action, reason_line
from alerting.slurm import SlurmAdapter
from alerting.slurm_jobs import Job, hosts, jobs_on_gpu, parse_pids, wished_signal
from alerting.slurm_node import Node, parse_node, single_node
from alerting.slurm_scontrol import drain_arguments
from collector.config import BridgeConfig
from collector.errors import ConfigError, ForeshockError

NODE = (
    "NodeName=vm Arch=x86_64 CoresPerSocket=1 CPUTot=16 Gres=gpu:h100:8 State=MIXED+DRAIN+NOT_RESPONDING "
    "ThreadsPerCore=1 Partitions=gpu  BootTime=2026-11-24T02:19:35 ExtSensorsTemp=n/s "
    "Reason=foreshock:inc-1 GPU 3 GPU-abc risk=0.93 [root@2026-11-24T02:47:32]\n"
)
JOB = (
    "JobId={job} JobName=wrap UserId=root(0) JobState={state} Reason=None NodeList={nodes} NumNodes=1 "
    "Requeue=1 BatchFlag=1 JOB_GRES=gpu:h100:2   Nodes={nodes} CPU_IDs=0 Mem=0 GRES=gpu:h100:2(IDX:{idx}) "
    "MinCPUsNode=1 WorkDir=/work Comment={comment}  StdErr=/job.out TresPerNode=gres:gpu:h100:2 \n"
)
PIDS = """PID      JOBID    STEPID   LOCALID GLOBALID
12612    1        0        0       0
12596    1        batch    0       0
12612    1        batch    -       -
"""


def action(node: str = "vm") -> Action:
    return Action(
        action_id="inc-7.drain", incident_id="inc-7", action="drain", intent="no_new_work", time=1.0, node=node,
        gpu_uuid="GPU-a", gpu_index=3, pci_bdf=None, risk=0.93, reasons=(), summary="", detail="",
        synthetic=True, dry_run=False,
    )  # fmt: skip


def test_a_drained_node_and_its_owner_are_read():
    node = parse_node(NODE)
    assert node.is_drained
    assert node.reason == "foreshock:inc-1 GPU 3 GPU-abc risk=0.93"
    assert not parse_node("NodeName=vm State=IDLE ThreadsPerCore=1").is_drained
    assert parse_node("NodeName=vm State=DRAINED* ThreadsPerCore=1").is_drained


def test_the_reason_is_one_argument():
    assert drain_arguments("vm", reason_line(action())) == (
        "update", "NodeName=vm", "State=DRAIN", "Reason=foreshock:inc-7 GPU 3 GPU-a risk=0.93",
    )  # fmt: skip


@pytest.mark.parametrize("name", ["ALL", "all", "n[1-500]", "n1,n2", "", "-h", "n1 State=DOWN"])
def test_a_message_can_never_reach_more_than_one_node(name):
    with pytest.raises(ForeshockError, match="not one node"):
        single_node(name)
    with pytest.raises(ForeshockError, match="not one node"):
        SlurmAdapter(BridgeConfig()).drain(action(name))


def job_text(job: int, state: str, nodes: str, idx: str, comment: str = "(null)") -> str:
    return JOB.format(job=job, state=state, nodes=nodes, idx=idx, comment=comment)


def test_only_running_jobs_that_hold_the_gpu_are_found():
    text = (
        job_text(1, "RUNNING", "n[01-04,7]", "0-3,6")
        + job_text(2, "RUNNING", "n02", "4-5")
        + job_text(3, "PENDING", "n02", "3")
    )

    def found(node: str, gpu_index: int | None) -> list[str]:
        return [job.job_id for job in jobs_on_gpu(text, node, gpu_index)]

    assert found("n02", 3) == ["1"]
    assert found("n02", 5) == ["2"]
    assert found("n02", 7) == []
    assert found("n2", 3) == []
    assert found("n02", None) == []
    assert jobs_on_gpu("No jobs in the system\n", "n02", 3) == []


@pytest.mark.parametrize(
    ("comment", "signal", "migrate"),
    [
        ("(null)", None, None),
        ("foreshock:signal=USR2", "USR2", None),
        ("ablation 7 foreshock:signal=USR2 foreshock:migrate=TERM", "USR2", "TERM"),
        ("foreshock:none", "none", "none"),
        ("foreshock:nonesuch notforeshock:none", None, None),
    ],
)
def test_a_jobs_comment_says_what_it_wants(comment: str, signal: str | None, migrate: str | None):
    (job,) = jobs_on_gpu(job_text(1, "RUNNING", "n1", "0", comment), "n1", 0)
    assert job.requeueable
    assert (wished_signal(job, "signal"), wished_signal(job, "migrate")) == (signal, migrate)


def test_the_administrators_comment_comes_first():
    job = Job("1", nodes=1, requeueable=True, wishes=("foreshock:signal=TERM", "foreshock:none"))
    assert wished_signal(job, "signal") == "TERM"
    assert wished_signal(job, "migrate") == "none"


@pytest.mark.parametrize(
    ("reason", "incidents"),
    [
        ("foreshock:inc-1 GPU 3 GPU-abc risk=0.93", ("inc-1",)),
        ("foreshock:inc-1 GPU", ("inc-1",)),
        ("foreshock:inc-1 GPU 0000:ab:00.0", ("inc-1",)),
        ("foreshock:inc-1 GPU 3 GPU-a; foreshock:inc-2 GPU 4 GPU-b", ("inc-1", "inc-2")),
        ("foreshock:inc-1 GPU 3 GPU-a, RMA opened", ()),
        ("foreshock:inc-1 GPU 3 GPU-a; bad fan", ()),
        ("bad fan; foreshock:inc-1 GPU 3 GPU-a", ()),
        ("foreshock:", ()),
        ("", ()),
    ],
)
def test_a_reason_is_ours_only_as_a_whole(reason: str, incidents: tuple[str, ...]):
    assert Node(frozenset({"DRAIN"}), reason).incidents == incidents


def test_folded_host_lists():
    assert hosts("n[01-03,7],login,gpu-[9-10]-ib") == {
        "n01", "n02", "n03", "n7", "login", "gpu-9-ib", "gpu-10-ib",
    }  # fmt: skip


def test_processes_come_once_and_the_batch_script_is_told_apart():
    listed = parse_pids(PIDS)
    assert [(p.pid, p.job_id, p.is_batch_script) for p in listed] == [(12612, "1", False), (12596, "1", True)]
    assert parse_pids("") == []


@given(st.text(max_size=300))
def test_no_output_makes_the_readers_fall_over(text):
    Node(parse_node(text).flags, text).incidents  # noqa: B018 - that it answers at all
    parse_pids(text)
    jobs_on_gpu(f"JobId=1 JobState=RUNNING {text}", "n1", 0)


@given(st.text(max_size=80), st.text(max_size=80))
def test_no_name_breaks_the_reason(incident, uuid):
    odd = Action(
        action_id="a", incident_id=incident, action="drain", intent="no_new_work", time=1.0, node="n",
        gpu_uuid=uuid, gpu_index=None, pci_bdf=None, risk=None, reasons=(), summary="", detail="",
        synthetic=True, dry_run=False,
    )  # fmt: skip
    line = reason_line(odd)
    assert line.startswith("foreshock:")
    assert line.isascii()
    assert line.isprintable()
    assert len(line) <= 200


def test_without_scontrol_the_error_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ForeshockError, match="scontrol: No such file") as told:
        SlurmAdapter(BridgeConfig()).drain(action())
    assert "slurm-client" in told.value.hint


def test_a_signal_nobody_can_handle_is_found_at_the_start():
    with pytest.raises(ConfigError, match=r"bridge\.signal: 'KILL'"):
        SlurmAdapter(BridgeConfig(signal="KILL"))
    with pytest.raises(ConfigError, match=r"bridge\.migrate_signal: 'STOP'"):
        SlurmAdapter(BridgeConfig(migrate_signal="STOP"))
