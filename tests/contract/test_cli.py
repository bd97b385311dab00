from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import foreshock

COMMANDS = [
    "collect",
    "ingest",
    "watch",
    "bridge",
    "dead-letters",
    "incidents",
    "demo",
    "ettr",
    "whatif",
    "top",
    "sql",
    "dashboard",
    "doctor",
    "evaluate",
    "train",
    "models",
    "xid",
    "xid decode",
    "xid explain",
    "xid diff",
]
ROOT = Path(__file__).parents[2]


def run(*argv: str, cwd: Path, stdin: str = "", **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-I", "-m", "foreshock", *argv],
        input=stdin, capture_output=True, text=True, cwd=cwd, env={**os.environ, **env}, timeout=60,
    )  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_teaches_itself(command: str, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as e:
        foreshock.main([*command.split(), "--help"])
    assert e.value.code == 0
    text = capsys.readouterr().out
    assert len(text.splitlines()) > 5


@pytest.mark.parametrize("argv", [["nonsense"], ["bridge", "nomad"], ["collect", "--wat"], []])
def test_wrong_use_is_exit_2_with_a_way_on(argv: list[str], tmp_path: Path):
    done = run(*argv, cwd=tmp_path)
    assert done.returncode == 2
    assert "Try: " in done.stderr


def test_an_unknown_key_is_refused_with_the_nearest_name(tmp_path: Path):
    (tmp_path / "foreshock.toml").write_text("[collector]\nintervl_s = 1\n")
    done = run("doctor", cwd=tmp_path)
    assert done.returncode == 2
    assert "collector.intervl_s" in done.stderr
    assert "did you mean interval_s?" in done.stderr


def test_no_driver_is_exit_1_with_the_mend(tmp_path: Path):
    config = tmp_path / "foreshock.toml"
    config.write_text('[collector]\nnvml_library = "/nonexistent/libnvidia-ml.so.1"\n')
    done = run("--config", str(config), "collect", "--once", "--stdout", cwd=tmp_path)
    assert done.returncode == 1
    assert "NVML" in done.stderr
    assert "Try: foreshock doctor" in done.stderr


def test_a_wrong_broker_is_exit_1_with_the_mend(tmp_path: Path):
    config = tmp_path / "foreshock.toml"
    config.write_text(f'[kafka]\nbootstrap_servers = "127.0.0.1:1"\n[lake]\npath = "{tmp_path}/lake"\n')
    done = run("--config", str(config), "ingest", cwd=tmp_path)
    assert done.returncode == 1
    assert "kafka 127.0.0.1:1" in done.stderr
    assert "Traceback" not in done.stderr


def test_doctor_names_each_part_and_its_mend(tmp_path: Path):
    config = tmp_path / "foreshock.toml"
    config.write_text(
        '[collector]\nnvml_library = "/nonexistent.so"\n'
        f'[spool]\npath = "{tmp_path}/s.db"\n[lake]\npath = "{tmp_path}/l"\n'
    )
    done = run("--config", str(config), "doctor", "--json", cwd=tmp_path)
    checks = {c["name"]: c for c in json.loads(done.stdout)}
    assert done.returncode == 1
    assert checks["nvml"]["status"] == "broken"
    assert "driver" in checks["nvml"]["mend"]
    assert {"kmsg", "spool", "kafka", "lake", "slurm", "kubernetes", "webhook", "extras"} <= set(checks)


def test_xid_decode_is_one_json_or_null_per_line(tmp_path: Path):
    lines = "hello\n<3>NVRM: Xid (PCI:0000:18:00): 45, pid=7, name=python3, Ch 1 caused by previous Xid 79\n"
    done = run("xid", "decode", cwd=tmp_path, stdin=lines)
    first, second = (json.loads(line) for line in done.stdout.splitlines())
    assert first is None
    wanted = {
        "kind": "xid",
        "code": 45,
        "pci_bdf": "0000:18:00",
        "pid": 7,
        "process": "python3",
        "root_code": 79,
    }
    assert {k: second[k] for k in wanted} == wanted


def test_xid_explain_says_what_to_do_and_unknown_codes_fail(tmp_path: Path):
    assert "bus" in run("xid", "explain", "79", cwd=tmp_path).stdout
    assert json.loads(run("xid", "explain", "79", "--json", cwd=tmp_path).stdout)["code"] == 79
    assert run("xid", "explain", "99999", cwd=tmp_path).returncode == 1


def test_a_closed_pipe_is_no_traceback(tmp_path: Path):
    script = f"yes 'no event' | head -100000 | {sys.executable} -I -m foreshock xid decode | head -1"
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, timeout=60, cwd=tmp_path)
    assert done.stdout == "null\n"
    assert "Traceback" not in done.stderr


def test_a_foreign_pipeline_package_on_pythonpath_does_not_get_in(tmp_path: Path):
    (tmp_path / "pipeline").mkdir()
    (tmp_path / "pipeline" / "__init__.py").write_text("raise SystemExit('hijacked')")
    command = Path(sys.executable).parent / "foreshock"
    done = subprocess.run(
        [str(command), "sql", "--json", "SELECT 1 AS one"], capture_output=True, text=True, cwd=tmp_path, timeout=60,
        env={**os.environ, "PYTHONPATH": str(tmp_path), "FORESHOCK_CONFIG": str(_lake_config(tmp_path))},
    )  # fmt: skip
    assert json.loads(done.stdout) == [{"one": 1}], done.stderr


def _lake_config(directory: Path) -> Path:
    config = directory / "f.toml"
    config.write_text(f'[lake]\npath = "{directory}/lake"\n')
    return config


def test_every_command_of_the_readme_exists():
    shown = re.findall(
        r"^(?:\.venv/bin/)?foreshock (?:--config \S+ )?([\w-]+)", (ROOT / "README.md").read_text(), re.M
    )
    assert len(shown) >= 5
    assert set(shown) <= {c.split()[0] for c in COMMANDS}
