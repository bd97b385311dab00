"""`bridge command` with real processes and a real drain command."""

import json
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import msgspec
import pytest

from alerting.action import Action
from alerting.command import CommandAdapter
from alerting.execute import execute
from collector.config import BridgeConfig
from collector.errors import ConfigError, ForeshockError
from tests.alerting.processes import trainer
from tests.double import eventually

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


MIGRATE = msgspec.structs.replace(ACTION, action_id="i1.drain_now", action="drain_now", intent="migrate")
DRAINS = (sys.executable, "-c", "print('drained')")


def test_a_save_that_has_only_begun_is_not_taken_for_one_that_is_done(tmp_path):
    with trainer("slow", tmp_path / "run.checkpoint.json") as process:
        (tmp_path / "run.pid").write_text(str(process.pid))
        outcome = adapter(tmp_path).checkpoint(ACTION)
    assert (outcome.ok, outcome.step) == (True, 1200)
    assert outcome.seconds is not None
    assert outcome.seconds >= 0.3
    assert "run at step 1200 in 0.3 s" in outcome.detail


def test_a_job_without_a_handler_is_asked_by_the_flag_it_keeps(tmp_path):
    flag = tmp_path / "run.checkpoint-request"
    flag.touch()
    os.utime(flag, (1, 1))
    with trainer("default") as process:
        (tmp_path / "run.pid").write_text(str(process.pid))
        outcome = adapter(tmp_path, flag_dir=str(tmp_path), acknowledge_timeout_s=0.2).checkpoint(ACTION)
        assert process.poll() is None
    assert flag.stat().st_mtime > 1
    assert "run did not answer" in outcome.detail


def test_a_job_that_only_keeps_a_flag_is_asked_and_its_answer_read(tmp_path):
    flag = tmp_path / "pod-1.checkpoint-request"
    flag.touch()
    os.utime(flag, (1, 1))
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(adapter(tmp_path, flag_dir=str(tmp_path), pid_dir="").checkpoint, ACTION)
        eventually(lambda: flag.stat().st_mtime > 1)
        told = {"step": 7, "started": 100.0, "finished": 101.5}
        (tmp_path / "part").write_text(json.dumps(told))
        (tmp_path / "part").rename(tmp_path / "pod-1.checkpoint.json")
        outcome = asked.result(timeout=10)
    assert (outcome.ok, outcome.step) == (True, 7)
    assert "pod-1 at step 7 in 1.5 s" in outcome.detail


def test_a_flag_is_never_made_and_a_link_never_touched(tmp_path):
    target = tmp_path / "somebody-elses-file"
    target.touch()
    os.utime(target, (1, 1))
    (tmp_path / "run.checkpoint-request").symlink_to(target)
    with trainer("default") as process:
        for name in ("run", "other"):
            (tmp_path / f"{name}.pid").write_text(str(process.pid))
        outcome = adapter(tmp_path, flag_dir=str(tmp_path)).checkpoint(ACTION)
    assert not outcome.ok
    assert target.stat().st_mtime == 1
    assert not (tmp_path / "other.checkpoint-request").exists()


def test_migrate_drains_first_then_the_job_saves_and_is_waited_for_until_it_is_gone(tmp_path):
    order = tmp_path / "order"
    script = f"import pathlib; pathlib.Path({str(order)!r}).write_text(str(__import__('time').time()))"
    with trainer("slow", tmp_path / "run.checkpoint.json") as process:
        (tmp_path / "run.pid").write_text(str(process.pid))
        outcome = adapter(tmp_path, drain_command=(sys.executable, "-c", script)).migrate(MIGRATE)
        assert process.wait(timeout=1) == 0
    assert (outcome.ok, outcome.step) == (True, 1200)
    assert "1 of 1 processes left; run at step 1200 in 0.3 s" in outcome.detail
    saved = json.loads((tmp_path / "run.checkpoint.json").read_text())
    assert float(order.read_text()) <= saved["started"]


def test_a_job_that_does_not_leave_is_said_and_not_killed(tmp_path):
    with trainer("stay", tmp_path / "run.checkpoint.json") as process:
        (tmp_path / "run.pid").write_text(str(process.pid))
        outcome = adapter(tmp_path, drain_command=DRAINS, acknowledge_timeout_s=0.3).migrate(MIGRATE)
        assert process.poll() is None
        assert f"pid {process.pid} is still there" in outcome.detail
    assert not outcome.ok
    assert outcome.step == 1200


def test_a_job_that_term_would_kill_is_left_alone(tmp_path):
    with trainer("default") as process:
        (tmp_path / "run.pid").write_text(str(process.pid))
        outcome = adapter(tmp_path, drain_command=DRAINS).migrate(MIGRATE)
        assert process.poll() is None
    assert not outcome.ok
    assert "does not handle SIGTERM, which would kill it" in outcome.detail


def test_nothing_is_asked_to_leave_a_node_that_could_not_be_drained(tmp_path):
    failing = (sys.executable, "-c", "import sys; sys.exit('no such node')")
    with trainer("trap", tmp_path / "run.checkpoint.json") as process:
        (tmp_path / "run.pid").write_text(str(process.pid))
        outcome = adapter(tmp_path, drain_command=failing).migrate(MIGRATE)
        assert process.poll() is None
    assert not outcome.ok
    assert "nothing was asked to leave" in outcome.detail


def test_an_empty_node_is_drained_and_that_is_all(tmp_path):
    assert adapter(tmp_path, drain_command=DRAINS, pid_dir="").migrate(MIGRATE).ok


def test_release_runs_its_command_for_this_incident_or_says_that_there_is_none(tmp_path):
    release = msgspec.structs.replace(ACTION, action="release", intent="resume")
    command = (sys.executable, "-c", "import os; print('lifted', os.environ['FORESHOCK_INCIDENT'])")
    outcome = adapter(tmp_path, release_command=command).release(release)
    assert (outcome.ok, outcome.detail.endswith("exited 0: lifted i1")) == (True, True)
    outcome = adapter(tmp_path).release(release)
    assert not outcome.ok
    assert "bridge.release_command is not set" in outcome.detail
