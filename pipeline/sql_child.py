"""One question in a process of its own, so that what cannot be interrupted can be ended, and its memory with it.

DuckDB looks for an interrupt between blocks of rows and counts the memory of its buffers. A single call like
`levenshtein(repeat(...), repeat(...))` runs for hours within one block, and takes memory that nobody counts. What
strangers may type into a browser therefore runs here: the operating system limits its memory and its time.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import sys
from pathlib import Path
from typing import IO, Final

import msgspec

from collector.errors import ForeshockError

OVERHEAD_MIB: Final = 1024
"""What Python, Polars and DuckDB take beside the memory that DuckDB is given."""
GRACE_S: Final = 2.0
"""After the time limit, for DuckDB to stop by itself and say so."""
START_S: Final = 20.0
"""To start Python and open the lake, on a busy machine."""
BEGUN: Final = b"begun\n"
"""Written once the lake is open: from here on the time counts."""
MOST_BYTES: Final = 512 << 20
"""Of one answer."""


class Question(msgspec.Struct, frozen=True):
    """What the child reads from standard input, as JSON."""

    text: str
    lake: str
    memory_mib: int
    threads: int
    time_s: float
    row_limit: int
    xid_overrides: str = ""


class Head(msgspec.Struct, frozen=True):
    """The line after BEGUN of what it writes; Arrow IPC follows, unless `error` says why not."""

    error: str = ""
    hint: str = ""
    elapsed_s: float = 0.0


def main() -> int:
    """Read a question, write its answer."""
    question = msgspec.json.decode(sys.stdin.buffer.read(), type=Question)
    _limit(question)
    out = sys.stdout.buffer
    try:
        _answer(question, out)
    except ForeshockError as e:
        _refuse(out, Head(str(e), e.hint))
    except MemoryError:
        _refuse(out, out_of_memory(question.memory_mib))
    return 0


def out_of_memory(memory_mib: int) -> Head:
    """What is said where the limit on memory was met."""
    said = f"the query or its answer needed more than the {memory_mib} MiB of memory that it may use"
    return Head(said, "read fewer days (WHERE date = ...) or aggregate first")


def _limit(question: Question) -> None:
    """Limits that hold whatever the libraries do, and hold when nobody is left to watch."""
    memory = (question.memory_mib + OVERHEAD_MIB) << 20
    resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (MOST_BYTES, MOST_BYTES))
    # no handler: the system ends us, also within a call that returns to no interpreter
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, START_S)
    os.nice(5)  # beside whoever else answers on this machine
    with contextlib.suppress(OSError):  # where the machine runs short, this one goes first
        Path("/proc/self/oom_score_adj").write_text("1000")


def _answer(question: Question, out: IO[bytes]) -> None:
    import time

    from pipeline.lake import Lake
    from pipeline.sql import Limits, connect

    if question.xid_overrides:
        from collector import xid_catalogue
        from collector.xid_overrides import load_overrides

        xid_catalogue.use(load_overrides(question.xid_overrides))
    lake = Lake(Path(question.lake))
    limits = Limits(question.memory_mib, question.threads, question.time_s)
    with connect(lake.files, lake.path, limits) as desk:
        signal.setitimer(signal.ITIMER_REAL, question.time_s + GRACE_S)
        _write(out, BEGUN)
        start_s = time.monotonic()
        rows = desk.query(question.text, row_limit=question.row_limit)
        _write(out, msgspec.json.encode(Head(elapsed_s=time.monotonic() - start_s)) + b"\n")
        rows.write_ipc(out)
    out.flush()


def _refuse(out: IO[bytes], head: Head) -> None:
    """Also where the lake never opened: the reader finds the reason on the second line."""
    out.seek(0)
    out.truncate()
    _write(out, BEGUN + msgspec.json.encode(head) + b"\n")


def _write(out: IO[bytes], what: bytes) -> None:
    out.write(what)
    out.flush()


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    os._exit(code)  # an unwound interpreter has nothing to add, and may say much about what it leaked
