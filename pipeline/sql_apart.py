"""Ask the lake in a child process (pipeline/sql_child.py), and wait for it without being held by it."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

import msgspec
import polars as pl

from collector.errors import ForeshockError
from pipeline.sql import Limits
from pipeline.sql_child import BEGUN, GRACE_S, START_S, Head, Question, out_of_memory

AT_ONCE: Final = 4
"""Questions of one server at a time. Each may use its whole memory limit."""
_WAIT_S: Final = 5.0
_TICK_S: Final = 0.1

log = logging.getLogger("foreshock.sql")
_places = threading.BoundedSemaphore(AT_ONCE)


@dataclass(frozen=True, slots=True)
class Answer:
    """At most `row_limit` rows, whether there were more, and how long DuckDB took (seconds)."""

    rows: pl.DataFrame
    is_cut: bool
    elapsed_s: float


@dataclass(frozen=True, slots=True)
class _Files:
    into: IO[bytes]
    out: IO[bytes]
    err: IO[bytes]


def ask(
    lake: Path,
    text: str,
    limits: Limits,
    *,
    row_limit: int,
    xid_overrides: str = "",
    tick: Callable[[float], None] = lambda elapsed_s: None,
) -> Answer:
    """Answer `text` over the lake's present snapshot. `tick(elapsed_s)` is called while it runs.

    Where `tick` raises, the question is ended at once and the error goes on.
    Raises ForeshockError for what may not be asked, fails, takes too long or too much memory.
    """
    if not _places.acquire(timeout=_WAIT_S):
        raise ForeshockError(f"{AT_ONCE} queries are running already", hint="ask again in a moment")
    try:
        question = Question(
            _sendable(text), str(lake.absolute()), limits.memory_mib, limits.threads, limits.time_s,
            row_limit + 1, str(Path(xid_overrides).absolute()) if xid_overrides else "",
        )  # fmt: skip
        with contextlib.ExitStack() as opened:
            # files, not pipes: nobody has to read while the child writes
            files = _Files(*(opened.enter_context(tempfile.TemporaryFile()) for _ in range(3)))
            files.into.write(msgspec.json.encode(question))
            files.into.seek(0)
            return _read(files, _run(files, limits, tick), limits, row_limit)
    finally:
        _places.release()


def _sendable(text: str) -> str:
    """Lone surrogates cannot be sent; the child refuses what stands in their place."""
    return "".join("\0" if "\ud800" <= c <= "\udfff" else c for c in text)


def _run(files: _Files, limits: Limits, tick: Callable[[float], None]) -> int | None:
    """The child's exit status; None where it was ended at its time limit."""
    # isolated, in no folder and with no environment of ours: nothing to find there
    child = subprocess.Popen(
        [sys.executable, "-I", "-m", "pipeline.sql_child"], stdin=files.into, stdout=files.out,
        stderr=files.err, cwd="/", env=_environment(limits),
    )  # fmt: skip
    start_s = time.monotonic()
    end_s = start_s + START_S
    began = False
    try:
        while True:
            try:
                return child.wait(timeout=_TICK_S)
            except subprocess.TimeoutExpired:
                now_s = time.monotonic()
            if not began and os.fstat(files.out.fileno()).st_size > 0:
                began, end_s = True, now_s + limits.time_s + GRACE_S
            if now_s > end_s:
                return None
            tick(now_s - start_s)
    finally:
        child.kill()
        child.wait()


def _environment(limits: Limits) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "LD_LIBRARY_PATH") if name in os.environ}
    # one arena per thread would count as memory that is not used
    return kept | {"POLARS_MAX_THREADS": str(limits.threads), "MALLOC_ARENA_MAX": "2", "HOME": "/"}


def _read(files: _Files, code: int | None, limits: Limits, row_limit: int) -> Answer:
    files.out.seek(0)
    began, first = files.out.readline() == BEGUN, files.out.readline()
    head = msgspec.json.decode(first, type=Head) if first.endswith(b"\n") else None
    if head is not None and head.error:
        raise ForeshockError(head.error, hint=head.hint)
    if not began:
        _log_end(files.err, code)
        raise ForeshockError(f"the lake did not open within {START_S:g} s", hint="run `foreshock doctor`")
    if code is None or code == -signal.SIGALRM:
        raise ForeshockError(
            f"the query ran longer than {limits.time_s:g} s and was stopped",
            hint="narrow it: WHERE date = '...'",
        )
    if head is None or code != 0:
        _log_end(files.err, code)
        said = out_of_memory(limits.memory_mib)
        raise ForeshockError(said.error, hint=said.hint)
    rows = pl.read_ipc(files.out.read())
    return Answer(rows.head(row_limit), rows.height > row_limit, head.elapsed_s)


def _log_end(err: IO[bytes], code: int | None) -> None:
    err.seek(0)
    log.warning("a query's process ended with %s: %s", code, err.read().decode("utf-8", "replace")[-2000:])
