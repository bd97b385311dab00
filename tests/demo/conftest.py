"""The driver double for tests: each gets a process of its own, since pynvml keeps the library it loaded.

A test's inner function runs there: its source is sent over, and it imports what it needs from nvml_probe.
"""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from demo.nvml_double.build import build
from demo.nvml_double.values import default_gpu, node_values, write_values

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def library(tmp_path_factory) -> Path:
    return build(tmp_path_factory.mktemp("double"))


@pytest.fixture
def in_child(library: Path, tmp_path: Path) -> Callable[[Callable[[], None]], None]:
    values, events = tmp_path / "values.txt", tmp_path / "events.txt"
    write_values(values, node_values({gpu: default_gpu(gpu) for gpu in range(8)}))
    environment = {
        **os.environ,
        "FORESHOCK_NVML_DOUBLE": str(values),
        "FORESHOCK_NVML_DOUBLE_EVENTS": str(events),
        "NVML_DOUBLE_LIBRARY": str(library),
    }

    def run(body: Callable[[], None]) -> None:
        source = f"{textwrap.dedent(inspect.getsource(body))}\n{body.__name__}()\n"
        done = subprocess.run(
            [sys.executable, "-c", source],
            cwd=ROOT, env=environment, capture_output=True, text=True, timeout=30, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr

    return run
