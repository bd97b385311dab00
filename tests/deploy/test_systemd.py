"""The units: systemd itself finds nothing wrong with them, and they start what the command line knows."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from foreshock import main

UNITS = sorted((Path(__file__).parents[2] / "deploy/systemd").glob("*.service"))
FORESHOCK = "/opt/foreshock/bin/foreshock"


def _command(unit: Path) -> list[str]:
    (line,) = [u for u in unit.read_text("utf-8").splitlines() if u.startswith("ExecStart=")]
    return line.removeprefix("ExecStart=").split()


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_systemd_accepts_the_unit_and_calls_it_no_risk(unit: Path, tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze (Debian: systemd) is not here")
    # verify wants the command to be there; the test's own interpreter stands for it
    copy = tmp_path / unit.name
    copy.write_text(unit.read_text("utf-8").replace(FORESHOCK, sys.executable), "utf-8")
    said = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", copy], capture_output=True, text=True, check=False
    )
    assert [line for line in said.stderr.splitlines() if copy.name.split("@")[0] in line] == []
    assert said.returncode == 0
    # its exposure level, 0 to 100: what it calls "OK" is below 50
    exposed = ["systemd-analyze", "security", "--offline=yes", "--no-pager", "--threshold=49", str(copy)]
    assert subprocess.run(exposed, capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_a_unit_starts_a_command_that_there_is(unit: Path, capsys: pytest.CaptureFixture[str]) -> None:
    program, config, path, *command = _command(unit)
    assert (program, config, path) == (FORESHOCK, "--config", "/etc/foreshock/foreshock.toml")
    with pytest.raises(SystemExit) as asked:
        main([*command, "--help"])
    assert asked.value.code == 0
    told = capsys.readouterr().out
    assert all(option in told for option in command if option.startswith("-"))


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_only_what_needs_a_capability_has_one(unit: Path) -> None:
    held = {"foreshock-agent": "CAP_SYSLOG", "foreshock-bridge": "CAP_KILL"}
    assert f"CapabilityBoundingSet={held.get(unit.stem, '')}\n" in unit.read_text("utf-8")
