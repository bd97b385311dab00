from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector import jobs_process
from collector.job import Holder, Job, PodDevice
from collector.jobs import Jobs
from collector.jobs_group import numbers
from collector.jobs_mapping import job_ids
from collector.jobs_process import job_variables

A, B = "GPU-aaaa", "GPU-bbbb"
POD_UID = "1b2c3d4e-5f6a-7b8c-9d0e-1f2a3b4c5d6e"
CONTAINER = "ab" * 32
NOBODY = 2**22 + 1
"""Above the kernel's largest pid."""

Start = Callable[..., int]


@pytest.fixture
def start() -> Iterator[Start]:
    """Start a real process with these variables in its environment; -> its pid."""
    running: list[subprocess.Popen[bytes]] = []

    def start(code: str = "", **environment: str) -> int:
        program = f"import sys; {code or 'pass'}; print(flush=True); sys.stdin.read()"
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", program],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment,
        )  # fmt: skip
        running.append(process)
        assert process.stdout is not None
        process.stdout.readline()  # it is past exec: its environment is its own
        return process.pid

    yield start
    for process in running:
        process.kill()
        process.communicate()


def gpu(uuid: str = A, index: int = 0, *pids: int) -> Holder:
    return Holder(uuid, index, index, pids)


class Proc:
    """A /proc of files, for control groups that this machine cannot make."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def add(self, pid: int, cgroup: str, started: int = 100, **environment: str) -> int:
        directory = self.root / str(pid)
        directory.mkdir(exist_ok=True)
        (directory / "stat").write_text(f"{pid} (a) b) c) S " + " ".join(["0"] * 18) + f" {started} 0\n")
        (directory / "cgroup").write_text(cgroup)
        (directory / "environ").write_bytes(b"\0".join(f"{k}={v}".encode() for k, v in environment.items()))
        return pid


@pytest.fixture
def proc(tmp_path: Path) -> Proc:
    root = tmp_path / "proc"
    root.mkdir()
    return Proc(root)


def slurm(job: int, step: str = "0", uid: int = 1000) -> str:
    return f"6:freezer:/slurm_vm/uid_{uid}/job_{job}/step_{step}\n0::/\n"


POD_GROUP = f"0::/kubepods/burstable/pod{POD_UID}/{CONTAINER}\n"


def test_a_real_process_tells_its_job_by_its_environment(start: Start):
    pid = start(
        SLURM_JOB_ID="4711", SLURM_STEP_ID="0", SLURM_JOB_NAME="train llm", SLURM_PROCID="3",
        SLURM_JOB_NUM_NODES="2", SLURM_STEP_GPUS="0,1", WORLD_SIZE="16", RANK="11",
    )  # fmt: skip
    jobs = Jobs().of([gpu(A, 0, pid), gpu(B, 1)], 0.0)
    assert jobs == {
        (A, None): (
            Job(source="environment", job_id="4711", step="0", uid=os.getuid(), name="train llm", pids=(pid,),
                ranks=(11,), gpus=(0, 1), nodes=2, world_size=16),
        ),
        (B, None): (),
    }  # fmt: skip


@pytest.fixture
def control_group() -> Iterator[Callable[[str, int], None]]:
    """Put a real process into a real control group of that path (cgroup v1 freezer, else v2)."""
    root = next((r for r in ("/sys/fs/cgroup/freezer", "/sys/fs/cgroup") if os.access(r, os.W_OK)), None)
    made: list[Path] = []

    def put(path: str, pid: int) -> None:
        if root is None:
            pytest.skip("control groups cannot be made here (needs root and a writable /sys/fs/cgroup)")
        directory = Path(root)
        for part in path.strip("/").split("/"):
            directory /= part
            if not directory.exists():
                try:
                    directory.mkdir()
                except OSError as e:
                    pytest.skip(f"control groups cannot be made here ({e.strerror})")
                made.append(directory)
        (directory / "cgroup.procs").write_text(str(pid))

    yield put
    for directory in reversed(made):
        for pid in (directory / "cgroup.procs").read_text().split():
            (Path(str(root)) / "cgroup.procs").write_text(pid)
        directory.rmdir()


def test_a_real_control_group_outranks_the_environment(
    start: Start, control_group: Callable[[str, int], None]
):
    in_slurm, in_pod = start(SLURM_JOB_ID="1"), start(SLURM_JOB_ID="1")
    control_group("/slurm_foreshock-test/uid_1000/job_4711/step_0", in_slurm)
    control_group(f"/kubepods-foreshock-test/burstable/pod{POD_UID}/{CONTAINER}", in_pod)
    found = Jobs().of([gpu(A, 0, in_slurm), gpu(B, 1, in_pod)], 0.0)
    assert [(j.source, j.job_id, j.step, j.uid) for j in found[A, None]] == [("slurm", "4711", "0", 1000)]
    assert [(j.source, j.job_id, j.pod_uid) for j in found[B, None]] == [("kubernetes", None, POD_UID)]


def test_a_process_that_is_gone_is_no_job_and_no_error(start: Start):
    pid = start(SLURM_JOB_ID="1")
    os.kill(pid, signal.SIGKILL)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    jobs = Jobs()
    assert jobs.of([gpu(A, 0, NOBODY)], 0.0) == {(A, None): ()}
    zombie = jobs.of([gpu(A, 0, pid)], 0.0)[A, None]  # its environment is gone, its stat is not
    assert zombie == ()


def test_processes_without_a_job_hold_the_gpu_for_none(start: Start):
    assert Jobs().of([gpu(A, 0, start())], 0.0) == {(A, None): ()}


def test_the_ranks_of_one_step_are_one_job(start: Start):
    pids = [start(SLURM_JOB_ID="5", SLURM_STEP_ID="1", SLURM_PROCID=str(rank)) for rank in (1, 0)]
    (job,) = Jobs().of([gpu(A, 0, *pids)], 0.0)[A, None]
    assert job.pids == tuple(sorted(pids))
    assert job.ranks == (0, 1)


def test_only_processes_that_handle_the_signal_can_be_signalled(start: Start):
    deaf = start(SLURM_JOB_ID="5")
    trained = start("import signal; signal.signal(signal.SIGUSR1, lambda *_: None)", SLURM_JOB_ID="5")
    jobs = Jobs()
    (job,) = jobs.of([gpu(A, 0, deaf, trained)], 0.0)[A, None]
    assert jobs.signal_capable(job, signal.SIGUSR1) == (trained,)
    assert jobs.signal_capable(Job(source="slurm", pids=(NOBODY,)), signal.SIGUSR1) == ()


def test_the_control_group_outranks_what_the_user_says(proc: Proc):
    pid = proc.add(7, slurm(42), SLURM_JOB_ID="1", SLURM_JOB_NAME="forged", SLURM_STEP_GPUS="0-7", RANK="2")
    (job,) = Jobs(proc=str(proc.root)).of([gpu(A, 0, pid)], 0.0)[A, None]
    assert (job.source, job.job_id, job.step, job.uid) == ("slurm", "42", "0", 1000)
    assert (job.name, job.gpus, job.ranks) == (None, (), (2,))


def test_a_container_in_a_pod_is_a_kubernetes_job(proc: Proc):
    pid = proc.add(7, POD_GROUP, SLURM_JOB_ID="99", WORLD_SIZE="8")
    (job,) = Jobs(proc=str(proc.root)).of([gpu(A, 0, pid)], 0.0)[A, None]
    assert (job.source, job.pod_uid, job.container_id) == ("kubernetes", POD_UID, CONTAINER)
    assert (job.job_id, job.world_size, job.label) == (None, 8, POD_UID)


def test_a_gpu_that_slurm_gave_to_a_job_is_its_own_before_anything_runs_on_it(proc: Proc):
    pid = proc.add(7, slurm(42), SLURM_JOB_ID="42", SLURM_STEP_GPUS="0-1", SLURM_JOB_NUM_NODES="1")
    jobs = Jobs(proc=str(proc.root)).of([gpu(A, 0, pid), gpu(B, 1), gpu("GPU-c", 2)], 0.0)
    assert [j.job_id for j in jobs[B, None]] == ["42"]
    assert jobs[B, None][0].pids == ()
    assert jobs["GPU-c", None] == ()


def test_the_first_nodes_gpus_are_not_taken_for_this_nodes(proc: Proc):
    pid = proc.add(7, slurm(42), SLURM_JOB_ID="42", SLURM_JOB_GPUS="0-7", SLURM_JOB_NUM_NODES="2")
    assert Jobs(proc=str(proc.root)).of([gpu(A, 0, pid), gpu(B, 1)], 0.0)[B, None] == ()


def test_the_mapping_directory_is_asked_first(tmp_path: Path, proc: Proc):
    (tmp_path / "0").write_text("4711\n\n4712\n4711\nnot a job id: \x00\n")
    (tmp_path / "1.7").write_text("9\n")
    pid = proc.add(7, slurm(4712), SLURM_JOB_ID="4712", SLURM_JOB_NAME="x")
    jobs = Jobs(mapping_dir=str(tmp_path), proc=str(proc.root))
    instance = Holder(B, 1, 1, (), instance=7, mig_uuid="MIG-1")
    found = jobs.of([gpu(A, 0, pid), gpu(B, 1), instance], 0.0)
    assert [(j.source, j.job_id, j.name, j.pids) for j in found[A, None]] == [
        ("mapping", "4711", None, ()), ("mapping", "4712", "x", (7,)),
    ]  # fmt: skip
    assert found[B, None] == ()
    assert [j.job_id for j in found[B, 7]] == ["9"]


def test_the_mapping_is_followed_at_once(tmp_path: Path):
    jobs = Jobs(mapping_dir=str(tmp_path))
    seen = []
    for text in ("1\n", "22\n", "", None, "3\n"):
        path = tmp_path / "0"
        path.unlink(missing_ok=True) if text is None else path.write_text(text)
        seen.append([j.job_id for j in jobs.of([gpu()], 0.0)[A, None]])
    assert seen == [["1"], ["22"], [], [], ["3"]]


def test_a_mapping_that_cannot_be_read_is_no_job(tmp_path: Path):
    (tmp_path / "0").mkdir()
    assert Jobs(mapping_dir=str(tmp_path)).of([gpu()], 0.0) == {(A, None): ()}
    assert Jobs(mapping_dir=str(tmp_path / "gone")).of([gpu()], 0.0) == {(A, None): ()}


def test_a_tick_costs_nothing_while_nothing_changes(proc: Proc, monkeypatch: pytest.MonkeyPatch):
    pids = [proc.add(pid, slurm(42)) for pid in range(10, 18)]
    jobs = Jobs(proc=str(proc.root), recheck_s=30)
    first = jobs.of([gpu(A, 0, *pids)], 0.0)

    def refuse(*_: object) -> None:
        raise AssertionError("a file was opened")

    with monkeypatch.context() as m:
        m.setattr(os, "open", refuse)
        assert jobs.of([gpu(A, 0, *pids)], 29.0) == first
        with pytest.raises(AssertionError):
            jobs.of([gpu(A, 0, *pids)], 30.0)


def test_a_new_process_costs_one_look_and_not_its_neighbours(proc: Proc, monkeypatch: pytest.MonkeyPatch):
    pids = [proc.add(pid, slurm(42)) for pid in range(10, 18)]
    jobs = Jobs(proc=str(proc.root))
    jobs.of([gpu(A, 0, *pids[:-1])], 0.0)
    looked: list[int] = []
    real = jobs_process.look

    def look(proc_: Path, pid: int, started: int) -> jobs_process.Process | None:
        looked.append(pid)
        return real(proc_, pid, started)

    monkeypatch.setattr(jobs_process, "look", look)
    jobs.of([gpu(A, 0, *pids)], 1.0)
    assert looked == [17]


def test_a_pid_that_another_process_took_is_looked_at_again(proc: Proc):
    proc.add(7, slurm(42), started=100)
    jobs = Jobs(proc=str(proc.root), recheck_s=30)
    assert jobs.of([gpu(A, 0, 7)], 0.0)[A, None][0].job_id == "42"
    proc.add(7, slurm(43), started=200)
    assert jobs.of([gpu(A, 0, 7)], 31.0)[A, None][0].job_id == "43"


def test_a_crowd_of_processes_is_looked_at_over_several_calls(proc: Proc):
    pids = [proc.add(pid, slurm(pid)) for pid in range(100, 150)]
    jobs = Jobs(proc=str(proc.root), max_processes=20)
    counts = [len(jobs.of([gpu(A, 0, *pids)], float(t))[A, None]) for t in range(4)]
    assert counts == [20, 40, 50, 50]
    assert jobs.deferred == 30 + 10


def test_kubelet_names_the_pod_and_knows_idle_gpus(proc: Proc):
    devices = [
        PodDevice(A, "ml", "trainer-0", "main"), PodDevice("nvidia1", "ml", "idle", "main"),
        PodDevice("MIG-1", "ml", "small", "main"), PodDevice("nvidia3/gi5", "ml", "google", "main"),
        PodDevice("GPU-s::0", "ml", "shared-a", "c"), PodDevice("GPU-s::1", "ml", "shared-b", "c"),
    ]  # fmt: skip
    pid = proc.add(7, POD_GROUP)
    jobs = Jobs(proc=str(proc.root), pods=lambda: devices)
    found = jobs.of(
        [gpu(A, 0, pid), gpu(B, 1), Holder("GPU-c", 2, 2, (), 4, "MIG-1"), Holder("GPU-d", 3, 3, (), 5, "MIG-2"),
         gpu("GPU-s", 4), gpu("GPU-free", 5)],
        0.0,
    )  # fmt: skip
    (trainer,) = found[A, None]
    assert (trainer.source, trainer.label, trainer.pod_uid, trainer.pids) == (
        "kubernetes", "ml/trainer-0", POD_UID, (7,),
    )  # fmt: skip
    assert [(j.source, j.label) for j in found[B, None]] == [("kubelet", "ml/idle")]
    assert [j.pod for j in found["GPU-c", 4]] == ["small"]
    assert [j.pod for j in found["GPU-d", 5]] == ["google"]
    assert [j.pod for j in found["GPU-s", None]] == ["shared-a", "shared-b"]
    assert found["GPU-free", None] == ()


def test_a_kubelet_that_does_not_answer_is_asked_ever_more_rarely():
    asked = []

    def pods() -> list[PodDevice]:
        asked.append(now_s)
        raise TimeoutError("kubelet did not answer in time")

    jobs = Jobs(pods=pods, recheck_s=10)
    for now_s in (float(t) for t in range(0, 400, 5)):
        assert jobs.of([gpu()], now_s) == {(A, None): ()}
    assert asked == [0.0, 20.0, 60.0, 140.0, 300.0]


def test_what_it_remembers_of_processes_does_not_grow(proc: Proc):
    jobs = Jobs(proc=str(proc.root))
    for pid in range(1000, 1200):
        jobs.of([gpu(A, 0, proc.add(pid, slurm(1)))], 0.0)
    assert len(jobs._processes) == 1


def test_eight_gpus_cost_microseconds_when_nothing_changes(proc: Proc, tmp_path: Path):
    for index in range(8):
        (tmp_path / str(index)).write_text("42\n")
    holders = [gpu(f"GPU-{i}", i, proc.add(100 + i, slurm(42))) for i in range(8)]
    jobs = Jobs(mapping_dir=str(tmp_path), proc=str(proc.root))
    jobs.of(holders, 0.0)
    began = time.perf_counter()
    for _ in range(100):
        jobs.of(holders, 1.0)
    assert (time.perf_counter() - began) / 100 < 0.002


def test_numbers_of_a_list():
    assert numbers("0-2,5") == (0, 1, 2, 5)
    assert numbers("7") == (7,)
    for bad in ("", "x", "3-1", "0-999999999", "1,,2", "-1", "0-63," * 100):
        assert numbers(bad) == ()


@given(st.binary(max_size=400))
def test_no_bytes_can_raise(raw: bytes):
    job_variables(raw)
    job_ids(raw)


@given(st.text(max_size=40))
def test_numbers_of_no_text_raise(text: str):
    assert len(numbers(text)) < 200
