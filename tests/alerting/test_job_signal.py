"""With real processes: the point is who survives."""

import os
import signal
import subprocess

import pytest

from alerting.job_signal import (
    Process,
    Skipped,
    checkpoint_processes,
    handles,
    signal_number,
    started_ticks,
    started_unix_s,
)
from collector.errors import ConfigError
from tests.alerting.processes import trainer

USR1 = int(signal.SIGUSR1)


def test_only_a_process_that_handles_the_signal_gets_it_and_the_others_survive(tmp_path):
    saved = tmp_path / "saved.json"
    with trainer("trap", saved) as trap, trainer("default") as default, trainer("ignore") as ignore:
        assert [handles(p.pid, USR1) for p in (trap, default, ignore)] == [True, False, False]
        done = checkpoint_processes([Process(p.pid) for p in (default, trap, ignore)], USR1)
        assert done.sent == (trap.pid,)
        assert done.skipped == (
            Skipped(default.pid, "does not handle SIGUSR1, which would kill it"),
            Skipped(ignore.pid, "ignores SIGUSR1"),
        )
        for process in (default, ignore, trap):
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(0.1)
    assert saved.exists()


def test_the_gate_is_no_theatre_the_signal_does_kill_who_does_not_handle_it():
    with trainer("default") as process:
        os.kill(process.pid, USR1)
        assert process.wait(5) == -USR1


def test_a_pid_that_was_reused_is_left_alone(tmp_path):
    saved = tmp_path / "saved.json"
    with trainer("trap", saved) as process:
        ticks = started_ticks(process.pid)
        assert ticks is not None
        done = checkpoint_processes([Process(process.pid, ticks - 1)], USR1)
        assert done.skipped == (Skipped(process.pid, "another process has this pid now"),)
        assert checkpoint_processes([Process(process.pid, ticks)], USR1).sent == (process.pid,)


def test_a_process_that_is_gone_is_said_to_be_gone():
    with trainer("trap") as process:
        pass
    assert checkpoint_processes([Process(process.pid)], USR1).skipped == (
        Skipped(process.pid, "no such process"),
    )
    assert not handles(process.pid, USR1)
    assert started_ticks(process.pid) is None
    assert started_unix_s(process.pid) is None


def test_a_name_with_spaces_and_brackets_does_not_confuse_the_start_time(tmp_path):
    odd = tmp_path / "a ) b (c"
    odd.symlink_to("/bin/sleep")
    with subprocess.Popen([str(odd), "30"]) as process:
        assert started_ticks(process.pid) is not None
        process.kill()


def test_signals_that_nobody_can_handle_are_refused():
    assert signal_number("USR1") == signal_number("SIGUSR1") == USR1
    for name in ("KILL", "STOP", "NOPE", ""):
        with pytest.raises(ConfigError):
            signal_number(name)
