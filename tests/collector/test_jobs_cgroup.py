"""Texts of /proc/PID/cgroup. Slurm 22.05's (v1, freezer and devices) and the plain host's were recorded; the
others are in the form that Slurm's cgroup/v2 plugin, kubelet and the container runtimes document."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.jobs_cgroup import PodPlace, SlurmPlace, pod_of_cgroup, slurm_job_of_cgroup

SLURM_2205_BATCH = """\
9:name=systemd:/
8:pids:/
7:blkio:/
6:freezer:/slurm_vm/uid_0/job_1/step_batch
5:devices:/
4:memory:/process_api/559ca66fef7dc796c8c2d2a9e65440e0
3:cpuset:/
2:cpuacct:/
1:cpu:/
0::/
"""
SLURM_2205_TASK = SLURM_2205_BATCH.replace("step_batch", "step_0").replace(
    "devices:/\n", "devices:/slurm_vm/uid_0/job_1/step_0/task_1\n"
)
ID = "4c01db0b339c3f4b5e0f4d1e0c7f2a3b4c5d6e7f8091a2b3c4d5e6f708192a3b"
UID = "1b2c3d4e-5f6a-7b8c-9d0e-1f2a3b4c5d6e"
SLICE = UID.replace("-", "_")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (SLURM_2205_BATCH, SlurmPlace("1", "batch", None, 0)),
        (SLURM_2205_TASK, SlurmPlace("1", "0", "1", 0)),
        ("11:memory:/slurm/uid_1000/job_778/step_extern\n", SlurmPlace("778", "extern", None, 1000)),
        ("0::/system.slice/slurmstepd.scope/job_42/step_0/user/task_3\n", SlurmPlace("42", "0", "3", None)),
        ("0::/system.slice/slurmstepd.scope/job_42/step_batch/user/task_special\n",
         SlurmPlace("42", "batch", "special", None)),
        ("0::/system.slice/gpu07_slurmstepd.scope/job_42/step_interactive/slurm\n",
         SlurmPlace("42", "interactive", None, None)),
        ("0::/system.slice/slurmstepd.scope/job_42\n", SlurmPlace("42", None, None, None)),
        ("0::/system.slice/slurmstepd.scope/system\n", None),
        ("0::/system.slice/slurmd.service\n", None),
        ("0::/user.slice/user-1000.slice/job_7/step_0\n", None),
        ("", None),
        ("0::/\n", None),
    ],
)  # fmt: skip
def test_the_slurm_job_is_read_from_every_form(text: str, expected: SlurmPlace | None):
    assert slurm_job_of_cgroup(text) == expected


@pytest.mark.parametrize(
    "path",
    [
        f"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{SLICE}.slice/cri-containerd-{ID}.scope",
        f"/kubepods.slice/kubepods-pod{SLICE}.slice/crio-{ID}.scope",
        f"/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{SLICE}.slice/docker-{ID}.scope",
        f"/kubepods.slice/kubepods-pod{SLICE}.slice/cri-containerd-{ID}.scope/init.scope",
        f"/kubepods/burstable/pod{UID}/{ID}",
        f"/kubepods/pod{UID}/{ID}",
        f"/system.slice/containerd.service/kubepods-burstable-pod{SLICE}.slice:cri-containerd:{ID}",
        f"/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-besteffort.slice/"
        f"kubelet-kubepods-besteffort-pod{SLICE}.slice/cri-containerd-{ID}.scope",
        f"/docker/{'f' * 64}/kubelet/kubepods/burstable/pod{UID}/{ID}",
    ],
)
@pytest.mark.parametrize("prefix", ["0::", "11:memory:", "5:cpu,cpuacct:"])
def test_the_pod_is_read_from_every_form(path: str, prefix: str):
    assert pod_of_cgroup(f"12:pids:/\n{prefix}{path}\n") == PodPlace(UID, ID)


def test_a_static_pod_has_a_hash_for_a_uid():
    uid = "0123456789abcdef0123456789abcdef"
    assert pod_of_cgroup(f"0::/kubepods/burstable/pod{uid}/{ID}\n") == PodPlace(uid, ID)


@pytest.mark.parametrize(
    "text",
    [
        "0::/\n",
        f"0::/docker/{ID}\n",
        "0::/user.slice/pod1.slice\n",
        f"0::/system.slice/tripod{UID}x\n",
        "0::/../../..\n",
    ],
)
def test_what_is_no_pod_is_none(text: str):
    assert pod_of_cgroup(text) is None


@given(st.text(alphabet=st.sampled_from("0:/slurm_uidjob_step_pod-kbe1af\n"), max_size=300))
def test_no_text_can_raise(text: str):
    slurm_job_of_cgroup(text)
    pod_of_cgroup(text)


def test_a_text_without_end_is_not_slow():
    import time

    began = time.perf_counter()
    for text in (
        "0::" + "/pod" * 200_000,
        "0::/" + "a" * 1_000_000,
        "0::" + "/slurm_" * 200_000,
        ":\n" * 500_000,
    ):
        slurm_job_of_cgroup(text)
        pod_of_cgroup(text)
    assert time.perf_counter() - began < 2
