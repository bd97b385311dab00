"""A node with GPUs to play with: the driver double's values file, and a config that points at it."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from collector.config import CollectorConfig
from demo.nvml_double.build import build
from demo.nvml_double.values import default_gpu, node_values, write_values


class Node:
    """GPUs behind the driver double, as one values file."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch, gpus: int = 8) -> None:
        self.library = str(build())
        self.kmsg = directory / "kmsg"
        self.events = directory / "nvml.events"
        self._file = directory / "nvml.values"
        self.values = {i: default_gpu(i) for i in range(gpus)}
        self.extra: dict[str, object] = {}
        for file in (self.kmsg, self.events):
            file.touch()
        self.write()
        monkeypatch.setenv("FORESHOCK_NVML_DOUBLE", str(self._file))
        monkeypatch.setenv("FORESHOCK_NVML_DOUBLE_EVENTS", str(self.events))

    def write(self) -> None:
        write_values(self._file, node_values(self.values) | self.extra)

    def set(self, gpu: int, **values: object) -> None:
        self.values[gpu].update(values)
        self.write()

    def xid(self, gpu: int, code: int) -> None:
        """The driver's event set delivers an Xid."""
        with self.events.open("a") as f:
            f.write(f"{gpu} {code}\n")

    def kernel(self, text: str, *, facility: int = 0, sequence: int = 1) -> None:
        """The kernel prints a line."""
        with self.kmsg.open("a") as f:
            f.write(f"{facility * 8 + 3},{sequence},1000,-;{text}\n")

    def config(self, **more: Any) -> CollectorConfig:
        settings: dict[str, Any] = {
            "node": "n1", "nvml_library": self.library, "kmsg": str(self.kmsg), "deadline_s": 0.5,
            "hang_retry_s": 0.2, "synthetic": True,
        }  # fmt: skip
        return CollectorConfig(**(settings | more))


def eventually(condition: Callable[[], Any], timeout_s: float = 10.0) -> Any:
    """The first truthy value of `condition`, asked again and again; fails after `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while not (value := condition()):
        if time.monotonic() > deadline:
            pytest.fail(f"not within {timeout_s:g} s: {condition}")
        time.sleep(0.02)
    return value
