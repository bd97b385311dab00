"""The reference loops as real processes: asked by signal and by flag, killed, resumed, asked to leave."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alerting.action import Action
from alerting.command import CommandAdapter
from collector.config import BridgeConfig
from tests.double import eventually

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"


@contextmanager
def training(folder: Path, **arguments: str) -> Iterator[subprocess.Popen[str]]:
    """`train_numpy.py` on synthetic data, 5 ms a step, acknowledging in `folder`."""
    told = {"every": "1000000", "steps": "1000000", "step-s": "0.005"} | arguments
    argv = [sys.executable, str(EXAMPLES / "train_numpy.py"), "--folder", str(folder)]
    env = os.environ | {
        "FORESHOCK_JOB": "run", "FORESHOCK_CHECKPOINT_DIR": str(folder), "PYTHONPATH": str(ROOT),
        "FORESHOCK_CHECKPOINT_FLAG": str(folder / "run.checkpoint-request"), "OPENBLAS_NUM_THREADS": "1",
    }  # fmt: skip
    argv += [word for name, value in told.items() for word in (f"--{name}", value)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, env=env) as process:
        (folder / "run.pid").write_text(str(process.pid))
        try:
            yield process
        finally:
            process.kill()


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def acknowledged(folder: Path) -> Any:
    """What the trainer told last; None while it has not told of the end of a save."""
    file = folder / "run.checkpoint.json"
    told = json.loads(file.read_text()) if file.exists() else {"finished": None}
    return None if told["finished"] is None else told


def ask(folder: Path, action: str, **more: Any) -> Any:
    config = BridgeConfig(
        pid_dir=str(folder), acknowledge_dir=str(folder), acknowledge_timeout_s=20.0,
        drain_command=(sys.executable, "-c", ""), **more,
    )  # fmt: skip
    request = Action(
        action_id="i1.x", incident_id="i1", action="checkpoint", intent="checkpoint", time=1.0, node="n1",
        gpu_uuid="GPU-a", gpu_index=0, pci_bdf=None, risk=0.9, reasons=(), summary="", detail="",
        synthetic=True, dry_run=False,
    )  # fmt: skip
    return getattr(CommandAdapter(config), action)(request)


def test_a_run_that_saved_on_a_signal_and_was_killed_goes_on_at_that_step(tmp_path: Path):
    with training(tmp_path) as process:
        assert line(process).startswith("step 0: begun")
        os.kill(process.pid, signal.SIGUSR1)
        told = eventually(lambda: acknowledged(tmp_path))
        process.send_signal(signal.SIGKILL)
        assert process.wait(timeout=10) == -signal.SIGKILL
    assert told["job"] == "run"
    assert told["step"] > 0
    assert told["started"] <= told["finished"]
    with training(tmp_path) as process:
        assert line(process).startswith(f"step {told['step']}: resumed")


def test_an_interrupted_run_learns_what_an_uninterrupted_one_does(tmp_path: Path):
    whole, parted = tmp_path / "whole", tmp_path / "parted"
    for folder in (whole, parted):
        folder.mkdir()
    with training(whole, **{"steps": "60", "step-s": "0"}) as process:
        assert process.stdout is not None
        last = process.stdout.read().splitlines()[-1]
    with training(parted, **{"steps": "60", "step-s": "0.05"}) as process:
        line(process)
        os.kill(process.pid, signal.SIGTERM)
        assert process.wait(timeout=10) == 0
    assert 0 < acknowledged(parted)["step"] < 60
    with training(parted, **{"steps": "60", "step-s": "0"}) as process:
        assert process.stdout is not None
        assert process.stdout.read().splitlines()[-1] == last


def test_the_bridge_asks_waits_and_tells_step_and_seconds(tmp_path: Path):
    with training(tmp_path) as process:
        line(process)
        saved = ask(tmp_path, "checkpoint")
        assert saved.ok, saved.detail
        assert process.poll() is None  # it goes on
        left = ask(tmp_path, "migrate")
        assert left.ok, left.detail
        assert process.wait(timeout=5) == 0
    assert left.step > saved.step
    assert f"run at step {saved.step} in " in saved.detail
    assert f"1 of 1 processes left; run at step {left.step} in " in left.detail


def test_a_run_is_asked_by_its_flag_alone(tmp_path: Path):
    with training(tmp_path) as process:
        line(process)
        (tmp_path / "run.pid").unlink()
        saved = ask(tmp_path, "checkpoint", flag_dir=str(tmp_path))
        assert saved.ok, saved.detail
        assert process.poll() is None
    assert saved.step is not None


def test_each_example_explains_itself_or_says_what_is_missing():
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / "train_numpy.py"), "--help"], capture_output=True, text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert (done.returncode, "--every" in done.stdout) == (0, True)
    compile((EXAMPLES / "train_torch.py").read_text(), "train_torch.py", "exec")
    hidden = f"import sys, runpy; sys.modules['torch'] = None; runpy.run_path({str(EXAMPLES / 'train_torch.py')!r})"
    done = subprocess.run(
        [sys.executable, "-c", hidden],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert (done.returncode, "needs PyTorch" in done.stderr) == (1, True)
    assert "Traceback" not in done.stderr
