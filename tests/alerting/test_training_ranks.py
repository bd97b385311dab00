"""With real processes: who of a family is a rank."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from alerting.training_ranks import environment, is_launcher, is_shell, training_ranks

USR1 = int(signal.SIGUSR1)
RANK = (
    "import os, signal, sys; signal.signal(signal.SIGUSR1, lambda *_: None); child = os.fork()\n"
    "if child: print(child, flush=True)\n"
    "os.read(0, 1)"
)


@contextlib.contextmanager
def running(*argv: str) -> Iterator[tuple[int, int]]:
    """A process that prints a pid when it is ready, and lives until its stdin closes. -> (its pid, the printed)."""
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process.pid, int(process.stdout.readline())
        process.kill()


def test_a_forked_loader_inherits_the_handler_and_is_not_asked_to_save_too():
    with running(sys.executable, "-c", RANK) as (rank, loader):
        assert training_ranks({loader: USR1, rank: USR1}) == [rank]
        assert training_ranks({loader: USR1}) == [loader], "but alone it is the eldest that was named"


def test_a_shell_that_traps_is_asked_only_where_nothing_below_it_handles_the_signal(tmp_path: Path):
    script = tmp_path / "rank.py"
    script.write_text(RANK)
    above = f"trap : USR1; {sys.executable} {script}; true"
    with running("bash", "-c", above) as (shell, loader):
        rank = int(Path(f"/proc/{loader}/status").read_text().partition("PPid:\t")[2].split()[0])
        assert is_shell(shell)
        assert training_ranks({shell: USR1, rank: USR1, loader: USR1}) == [rank]
    with running("bash", "-c", "trap : USR1; echo $$; read x") as (shell, _):
        assert training_ranks({shell: USR1}) == [shell]


@pytest.mark.parametrize("name", ["torchrun", "srun", "mpirun", "accelerate", "train.py"])
def test_a_launcher_is_known_by_what_is_run_under_whatever_interpreter(tmp_path: Path, name: str):
    script = tmp_path / name
    script.write_text(RANK)
    with running(sys.executable, "-u", str(script), "--nproc=8") as (pid, child):
        assert is_launcher(pid) is (name != "train.py")
        assert training_ranks({pid: USR1}) == ([pid] if name == "train.py" else [])
        assert training_ranks({child: USR1, pid: USR1}) == ([pid] if name == "train.py" else [])


def test_a_launcher_run_as_a_module_is_known(tmp_path: Path):
    package = tmp_path / "torch" / "distributed"
    package.mkdir(parents=True)
    (package / "run.py").write_text(RANK)
    argv = ["-c", f"import os; os.chdir({str(tmp_path)!r}); os.execv({sys.executable!r}, "]
    argv[1] += f"[{sys.executable!r}, '-u', '-m', 'torch.distributed.run', 'train.py'])"
    with running(sys.executable, *argv) as (pid, _):
        assert is_launcher(pid)


def test_the_environment_of_a_process_is_read(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("FORESHOCK_SIGNAL", "USR2")
    with running(sys.executable, "-c", RANK) as (pid, _):
        assert environment(pid, "FORESHOCK_SIGNAL") == "USR2"
        assert environment(pid, "FORESHOCK") is None
    assert environment(pid, "FORESHOCK_SIGNAL") is None


def test_a_process_that_is_gone_is_nothing():
    with running(sys.executable, "-c", RANK) as (pid, _):
        pass
    assert not is_launcher(pid)
    assert not is_shell(pid)
    assert training_ranks({pid: USR1}) == []
