"""Run one program of the operator, without a shell, with a deadline that holds for its children too."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple

from collector.errors import ForeshockError


class Finished(NamedTuple):
    """How it ended. `code` is 0 for success; `output` is stdout, `error` the end of stderr."""

    code: int
    output: str
    error: str


def execute(
    argv: Sequence[str], timeout_s: float, *, env: Mapping[str, str] | None = None, hint: str = ""
) -> Finished:
    """Run it to its end. Raises ForeshockError when it cannot start or takes longer than `timeout_s`."""
    try:
        process = subprocess.Popen(
            list(argv),
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace",
            env={**os.environ, **(env or {})}, start_new_session=True,
        )  # fmt: skip
    except OSError as e:
        raise ForeshockError(f"{argv[0]}: {e.strerror}", hint=hint) from e
    with process:
        try:
            output, error = process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired as e:
            _end_group(process)
            raise ForeshockError(f"{argv[0]}: took longer than {timeout_s:g} s", hint=hint) from e
    return Finished(process.returncode, output, error.strip()[-500:])


def _end_group(process: subprocess.Popen[str]) -> None:
    """Kill the whole session: a grandchild that holds the pipe would keep us waiting for ever."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
