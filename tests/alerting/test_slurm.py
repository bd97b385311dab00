"""Arguments and parsing only. The texts are what Slurm 22.05.8 printed, with GRES from its documentation.

A real Slurm is not used here: a test must not drain whatever cluster `scontrol` on this machine points to.
"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerting.action import Action, reason_line
from alerting.slurm import SlurmAdapter, drain_arguments, hosts, jobs_on_gpu, parse_node, pids_of, single_node
from collector.config import BridgeConfig
from collector.errors import ConfigError, ForeshockError

NODE = (
    "NodeName=vm Arch=x86_64 CoresPerSocket=1 CPUTot=16 Gres=gpu:h100:8 State=MIXED+DRAIN+NOT_RESPONDING "
    "ThreadsPerCore=1 Partitions=gpu  BootTime=2026-11-24T02:19:35 ExtSensorsTemp=n/s "
    "Reason=foreshock:inc-1 GPU 3 GPU-abc risk=0.93 [root@2026-11-24T02:47:32]\n"
)
JOB = (
    "JobId={job} JobName=wrap UserId=root(0) JobState={state} Reason=None NodeList={nodes} NumNodes=1 "
    "JOB_GRES=gpu:h100:2 Nodes={nodes} CPU_IDs=0 Mem=0 GRES=gpu:h100:2(IDX:{idx}) MinCPUsNode=1\n"
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


def test_only_running_jobs_that_hold_the_gpu_are_found():
    text = (
        JOB.format(job=1, state="RUNNING", nodes="n[01-04,7]", idx="0-3,6")
        + JOB.format(job=2, state="RUNNING", nodes="n02", idx="4-5")
        + JOB.format(job=3, state="PENDING", nodes="n02", idx="3")
    )
    assert jobs_on_gpu(text, "n02", 3) == ["1"]
    assert jobs_on_gpu(text, "n02", 5) == ["2"]
    assert jobs_on_gpu(text, "n02", 7) == []
    assert jobs_on_gpu(text, "n2", 3) == []
    assert jobs_on_gpu(text, "n02", None) == []
    assert jobs_on_gpu("No jobs in the system\n", "n02", 3) == []


def test_folded_host_lists():
    assert hosts("n[01-03,7],login,gpu-[9-10]-ib") == {
        "n01", "n02", "n03", "n7", "login", "gpu-9-ib", "gpu-10-ib",
    }  # fmt: skip


def test_pids_come_once():
    assert pids_of(PIDS) == [12612, 12596]
    assert pids_of("") == []


@given(st.text(max_size=300))
def test_no_output_makes_the_readers_fall_over(text):
    parse_node(text)
    pids_of(text)


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
    with pytest.raises(ConfigError):
        SlurmAdapter(BridgeConfig(signal="KILL"))
