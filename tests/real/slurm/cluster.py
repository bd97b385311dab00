"""A real Slurm of one node on loopback, in a temporary directory: Debian's munged, slurmctld and slurmd.

Its GPUs are device files without a driver (character major 195, NVIDIA's): Slurm counts them, nothing opens them.
Needs root, for mknod and because slurmd starts jobs.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import stat
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.real.kafka.broker import free_port

START_TIMEOUT_S = 30.0
PROGRAMS = ("munged", "slurmctld", "slurmd", "scontrol", "sbatch", "sinfo", "scancel")
_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
_NVIDIA_MAJOR = 195


def why_not() -> str | None:
    """Why no Slurm can be started here; None when it can."""
    absent = [name for name in PROGRAMS if shutil.which(name, path=_PATH) is None]
    if absent:
        return f"no {', '.join(absent)} here: apt-get install slurmctld slurmd slurm-client munge"
    return "a real Slurm needs root (mknod, and slurmd starts jobs)" if os.geteuid() != 0 else None


class Cluster:
    """One running node. `environment` makes scontrol and its kin of a child process speak to it."""

    def __init__(self, directory: Path, node: str = "n1", gpus: int = 8) -> None:
        self.directory = directory
        self.node = node
        self.environment = {"SLURM_CONF": str(directory / "slurm.conf"), "PATH": _PATH}
        for name in ("munge", "dev", "state", "spool"):
            (directory / name).mkdir(parents=True)
        for gpu in range(gpus):
            device = os.makedev(_NVIDIA_MAJOR, gpu)
            os.mknod(directory / "dev" / f"nvidia{gpu}", stat.S_IFCHR | 0o666, device)
        self._write(gpus)

    def _write(self, gpus: int) -> None:
        d, host = self.directory, socket.gethostname()
        devices = f"{d}/dev/nvidia[0-{gpus - 1}]" if gpus > 1 else f"{d}/dev/nvidia0"
        (d / "slurm.conf").write_text(f"""
ClusterName=trial
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={free_port()}
SlurmdPort={free_port()}
AuthType=auth/munge
AuthInfo=socket={d}/munge/socket
CryptoType=crypto/munge
SlurmUser=root
SlurmdUser=root
StateSaveLocation={d}/state
SlurmdSpoolDir={d}/spool
SlurmctldPidFile={d}/slurmctld.pid
SlurmdPidFile={d}/slurmd.pid
SlurmctldLogFile={d}/slurmctld.log
SlurmdLogFile={d}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
ReturnToService=2
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
GresTypes=gpu
SlurmdParameters=config_overrides
SchedulerParameters=sched_interval=1
KillWait=2
NodeName={self.node} NodeAddr=127.0.0.1 CPUs=16 Gres=gpu:h100:{gpus}
PartitionName=gpu Nodes={self.node} Default=YES
""")
        (d / "gres.conf").write_text(
            f"AutoDetect=off\nNodeName={self.node} Name=gpu Type=h100 File={devices}\n"
        )

    def start(self) -> None:
        """Returns when the node is idle."""
        munge = self.directory / "munge"
        (munge / "key").write_bytes(os.urandom(128))
        (munge / "key").chmod(0o400)
        files = {
            "key-file": "key",
            "socket": "socket",
            "pid-file": "pid",
            "log-file": "log",
            "seed-file": "seed",
        }
        self._daemon("munged", "--force", *(f"--{k}={munge}/{v}" for k, v in files.items()))
        self._daemon("slurmctld", "-c", "-f", str(self.directory / "slurm.conf"))
        self._daemon("slurmd", "-f", str(self.directory / "slurm.conf"), "-N", self.node)
        self._await(lambda: "idle" in self.run("sinfo", "-h", "-o", "%T", may_fail=True))

    def _daemon(self, *argv: str) -> None:
        """It detaches itself; its output goes nowhere, or whoever waits for our pipes would wait for it."""
        quiet = subprocess.DEVNULL
        subprocess.run(
            argv, check=True, timeout=START_TIMEOUT_S, env={**os.environ, **self.environment},
            stdin=quiet, stdout=quiet, stderr=quiet,
        )  # fmt: skip

    def run(self, *argv: str, may_fail: bool = False) -> str:
        """One of Slurm's commands on this cluster -> what it printed."""
        done = subprocess.run(
            argv,
            capture_output=True,
            text=True,
            timeout=START_TIMEOUT_S,
            env={**os.environ, **self.environment},
        )
        if done.returncode and not may_fail:
            raise RuntimeError(f"{argv}: {done.stderr}")
        return done.stdout

    def submit(self, script: str, *options: str) -> str:
        """A batch job -> its id, once it runs."""
        file = self.directory / f"batch-{time.monotonic_ns()}.sh"
        file.write_text(f"#!/bin/bash\n{script}\n")
        out = f"--output={self.directory}/job-%j.out"
        job = self.run("sbatch", "--parsable", out, *options, str(file)).strip()
        self._await(lambda: f"JobId={job} " in self.job(job) and "JobState=RUNNING" in self.job(job))
        return job

    def job(self, job: str) -> str:
        """`scontrol show job`, empty when it is forgotten."""
        return self.run("scontrol", "show", "job", "--oneliner", job, may_fail=True)

    def show(self) -> str:
        """`scontrol show node`."""
        return self.run("scontrol", "show", "node", self.node, "--oneliner")

    def resume(self) -> None:
        """Lift any drain; a node that has none refuses, which is as good."""
        self.run("scontrol", "update", f"NodeName={self.node}", "State=RESUME", may_fail=True)
        self._await(lambda: "DRAIN" not in self.show())

    def cancel_all(self) -> None:
        """End every job, and wait until no step of theirs lives."""
        self.run(
            "scancel", "--user=root", "--full", "--signal=KILL", may_fail=True
        )  # no grace: it is a trial
        self.run("scancel", "--user=root", may_fail=True)
        self._await(lambda: self.run("squeue", "-h").strip() == "")

    def _await(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while not condition():
            if time.monotonic() > deadline:
                logs = [(self.directory / f"{n}.log").read_text()[-1500:] for n in ("slurmctld", "slurmd")]
                raise RuntimeError("Slurm is not where it should be:\n" + "\n".join(logs))
            time.sleep(0.02)

    def stop(self) -> None:
        """Jobs first, since a slurmstepd outlives its slurmd; then the daemons."""
        with suppress(RuntimeError, subprocess.SubprocessError):
            self.cancel_all()
        pids = [_pid(self.directory / name) for name in ("slurmd.pid", "slurmctld.pid", "munge/pid")]
        _end([p for p in [*pids, *_helpers(self.directory)] if p is not None])


def _pid(file: Path) -> int | None:
    with suppress(OSError, ValueError):
        return int(file.read_text())
    return None


def _helpers(directory: Path) -> list[int]:
    """Children of our daemons that may outlive them; they carry our configuration's path in their environment."""
    found = []
    for environ in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            ours = f"SLURM_CONF={directory}/slurm.conf".encode() in environ.read_bytes().split(b"\0")
            if ours and (environ.parent / "comm").read_text().startswith(("slurmstepd", "slurmscriptd")):
                found.append(int(environ.parent.name))
    return found


def _end(pids: list[int]) -> None:
    """TERM for all, KILL for who is still there after a while."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + 10
    while any(Path(f"/proc/{pid}").exists() for pid in pids):
        if time.monotonic() > deadline:
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            return
        time.sleep(0.02)


@contextmanager
def running_cluster(directory: Path, node: str = "n1", gpus: int = 8) -> Iterator[Cluster]:
    """Start one, hand it over, end everything."""
    cluster = Cluster(directory, node, gpus)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()
