"""`bridge command` with real processes and a real drain command."""

import json
import os
import sys
import time

import pytest

from alerting.action import Action
from alerting.command import CommandAdapter
from alerting.execute import execute
from collector.config import BridgeConfig
from collector.errors import ConfigError, ForeshockError
from tests.alerting.processes import trainer

ACTION = Action(
    action_id="i1.checkpoint", incident_id="i1", action="checkpoint", intent="checkpoint", time=1.0, node="n1",
    gpu_uuid="GPU-a", gpu_index=3, pci_bdf="0000:3b:00", risk=0.93, reasons=(), summary="", detail="",
    synthetic=True, dry_run=False,
)  # fmt: skip


def adapter(tmp_path, **more) -> CommandAdapter:
    fields = {
        "acknowledge_timeout_s": 10.0,
        "pid_dir": str(tmp_path),
        "acknowledge_dir": str(tmp_path),
        **more,
    }
    return CommandAdapter(BridgeConfig(**fields))


def test_a_job_that_saves_is_waited_for_and_its_step_reported(tmp_path):
    acknowledged = tmp_path / "run.checkpoint.json"
    acknowledged.write_text('{"step": 7}')  # from an earlier checkpoint: must not count
    with trainer("trap", acknowledged) as process:
        (tmp_path / "run.pid").write_text(f"{process.pid}\n")
        outcome = adapter(tmp_path).checkpoint(ACTION)
    assert (outcome.ok, outcome.step) == (True, 1200)
    assert outcome.seconds is not None
    assert outcome.seconds < 5
    assert "run at step 1200" in outcome.detail


def test_a_job_that_the_signal_would_kill_lives_and_the_outcome_says_so(tmp_path):
    with trainer("default") as process:
        (tmp_path / "run.pid").write_text(str(process.pid))
        outcome = adapter(tmp_path).checkpoint(ACTION)
        assert process.poll() is None
    assert not outcome.ok
    assert "does not handle SIGUSR1, which would kill it" in outcome.detail


def test_a_job_that_does_not_answer_is_waited_for_only_so_long(tmp_path):
    with trainer("trap", tmp_path / "elsewhere.json") as process:
        (tmp_path / "run.pid").write_text(str(process.pid))
        begun_s = time.monotonic()
        outcome = adapter(tmp_path, acknowledge_timeout_s=0.3).checkpoint(ACTION)
        assert time.monotonic() - begun_s < 5
    assert not outcome.ok
    assert "run did not answer within 0.3 s" in outcome.detail


def test_one_job_that_cannot_save_does_not_keep_the_other_from_it(tmp_path):
    with trainer("trap", tmp_path / "a.checkpoint.json") as trap, trainer("default") as default:
        (tmp_path / "a.pid").write_text(str(trap.pid))
        (tmp_path / "b.pid").write_text(str(default.pid))
        (tmp_path / "c.pid").write_text("no number")
        outcome = adapter(tmp_path).checkpoint(ACTION)
        assert default.poll() is None
    assert outcome.ok
    assert "a at step 1200" in outcome.detail
    assert "c.pid: not a pid file" in outcome.detail


def test_a_pid_file_older_than_its_process_is_not_trusted(tmp_path):
    with trainer("trap", tmp_path / "run.checkpoint.json") as process:
        file = tmp_path / "run.pid"
        file.write_text(str(process.pid))
        os.utime(file, (1_000_000_000, 1_000_000_000))
        outcome = adapter(tmp_path).checkpoint(ACTION)
    assert not outcome.ok
    assert "another process has this pid now" in outcome.detail


@pytest.mark.parametrize(("text", "why"), [("999999999", "gone"), ("-1", "gone"), ("", "not a pid file")])
def test_a_useless_pid_file_is_named(tmp_path, text, why):
    (tmp_path / "run.pid").write_text(text)
    outcome = adapter(tmp_path).checkpoint(ACTION)
    assert not outcome.ok
    assert why in outcome.detail


def test_an_empty_directory_is_said(tmp_path):
    assert "no .pid file" in adapter(tmp_path).checkpoint(ACTION).detail


def test_the_drain_command_gets_the_incident_in_its_environment_and_no_shell(tmp_path):
    out = tmp_path / "env.json"
    script = (
        "import json, os, sys; json.dump({k: v for k, v in os.environ.items() if k.startswith('FORESHOCK_')},"
        " open(sys.argv[1], 'w')); print(sys.argv[2])"
    )
    command = (sys.executable, "-c", script, str(out), "$HOME; `id`")
    outcome = adapter(tmp_path, drain_command=command).drain(ACTION)
    assert outcome.ok
    assert "exited 0: $HOME; `id`" in outcome.detail
    env = json.loads(out.read_text())
    assert env["FORESHOCK_INCIDENT"] == "i1"
    assert (env["FORESHOCK_NODE"], env["FORESHOCK_GPU_UUID"]) == ("n1", "GPU-a")
    assert env["FORESHOCK_REASON"] == "foreshock:i1 GPU 3 GPU-a risk=0.93"


def test_a_drain_command_that_fails_or_is_missing_is_told(tmp_path):
    failing = (sys.executable, "-c", "import sys; sys.exit('no such node')")
    outcome = adapter(tmp_path, drain_command=failing).drain(ACTION)
    assert (outcome.ok, outcome.detail.endswith("exited 1: no such node")) == (False, True)
    with pytest.raises(ConfigError, match="drain_command"):
        adapter(tmp_path).drain(ACTION)
    with pytest.raises(ForeshockError, match="No such file"):
        adapter(tmp_path, drain_command=("/nonexistent/drain",)).drain(ACTION)


def test_a_command_that_hangs_is_ended_with_its_children():
    begun_s = time.monotonic()
    with pytest.raises(ForeshockError, match=r"longer than 0\.3 s"):
        execute(["sh", "-c", "sleep 60 & sleep 60"], 0.3)
    assert time.monotonic() - begun_s < 5
