"""`foreshock whatif` as a test asks it: its JSON, its text, its refusals. Short runs, the demo's model."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import foreshock

REGISTRY = Path(__file__).parents[2] / "demo" / "registry"
QUICK = ["--seeds", "2", "--days", "20"]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "foreshock.toml"
    path.write_text(f'[models]\nregistry = "{REGISTRY}"\n[lake]\npath = "{tmp_path / "lake"}"\n')
    return path


@pytest.fixture
def run(config: Path) -> Callable[..., int]:
    return lambda *argv: foreshock.main(["--config", str(config), "whatif", *QUICK, *argv])


@pytest.fixture
def tell(run: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    def told(*argv: str) -> str:
        assert run(*argv) == 0
        return capsys.readouterr().out

    return told


@pytest.fixture
def ask(tell: Callable[..., str]) -> Callable[..., dict[str, Any]]:
    def asked(*argv: str) -> dict[str, Any]:
        def refused(name: str) -> None:
            raise AssertionError(f"{name} is no JSON")

        answer: dict[str, Any] = json.loads(tell("--json", *argv), parse_constant=refused)
        return answer

    return asked


@pytest.fixture
def refused(run: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    def why(*argv: str) -> str:
        assert run(*argv) == 1
        return capsys.readouterr().err

    return why
