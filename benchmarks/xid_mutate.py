"""Real kernel lines, damaged at random: does any of them crash the decoder or make it slow?

Deterministic: a seed gives the same lines again. The mutations are those a log meets (cut, doubled, interleaved,
wrong bytes) and those that hurt a regular expression (long runs of what a pattern repeats).
"""

from __future__ import annotations

import contextlib
import gc
import random
import time
from collections.abc import Iterator, Sequence

import msgspec

from collector.xid import decode

_RUNS = (
    "NVRM: Xid (PCI:",
    "pid=",
    "name=",
    "\\",
    '"',
    "RST: ",
    "Link ",
    "0x00000000 ",
    " ",
    "(",
    "0",
    "nvidia-nvswitch",
)
_PIECES = (
    "NVRM:", "Xid", "SXid", "(PCI:0000:18:00)", "(PCI:", "):", ": 79", ", pid=", "name=", "'<unknown>'",
    "fallen off the bus", "caused by previous Xid ", "\x1b[31m", "\x00", "\\x0a", "#012", "\n", '"', "\\u003c",
    "\\ud83d", "é", "中", "\u202e",
    "GPU-I:", "RST: Yes", "Fatal", "Severity ", "99999999999999999999", "(0x", "{\"log\":\"",
)  # fmt: skip


class Damage(msgspec.Struct, frozen=True, kw_only=True):
    """What `lines` damaged lines came to. `crashes` holds the first few lines that raised, with the error."""

    lines: int
    crashed: int
    slowest_us: float
    slowest_line: str
    decoded: int
    crashes: tuple[str, ...]


def mutated(lines: Sequence[str], count: int, seed: int = 1) -> Iterator[str]:
    """`count` damaged copies of `lines`, each damaged one to four times."""
    rng = random.Random(seed)
    for _ in range(count):
        line = rng.choice(lines)
        for _ in range(rng.randint(1, 4)):
            line = _damaged(line, rng, lines)
        yield line


def _damaged(line: str, rng: random.Random, lines: Sequence[str]) -> str:
    at = rng.randrange(len(line) + 1)
    to = min(len(line), at + rng.randint(1, 12))
    if rng.randrange(8) == 0:
        return line[:at] if rng.random() < 0.5 else line[at:]
    wrong = chr(rng.choice((rng.randrange(256), rng.randrange(0x10FFFF))))
    run = rng.choice(_RUNS) * rng.choice((2, 16, 200))
    put, skip_to = rng.choice((
        ("", to), (line[at:to] * 2, to), (wrong, at), (wrong, to), (rng.choice(_PIECES), at),
        (rng.choice(lines), at), (run, at),
    ))  # fmt: skip
    return line[:at] + put + line[skip_to:]


def damage(lines: Sequence[str], count: int, seed: int = 1) -> Damage:
    """Decode `count` damaged lines. The slowest is timed again, at its best of five: one pause is not the decoder."""
    crashes: list[str] = []
    crashed = decoded = 0
    suspects: list[tuple[float, str]] = []
    gc.disable()
    try:
        for line in mutated(lines, count, seed):
            start = time.perf_counter()
            try:
                decoded += decode(line) is not None
            except Exception as e:  # noqa: BLE001 - what it raises is what is looked for
                crashed += 1
                crashes = [*crashes, f"{line!r}: {e!r}"][:5]
            suspects.append((time.perf_counter() - start, line))
            if len(suspects) >= 2000:
                suspects = sorted(suspects, reverse=True)[:20]
    finally:
        gc.enable()
    slowest_s, slowest = max((_best_s(line), line) for _, line in sorted(suspects, reverse=True)[:20])
    return Damage(
        lines=count, crashed=crashed, slowest_us=round(slowest_s * 1e6, 1), slowest_line=slowest[:200],
        decoded=decoded, crashes=tuple(crashes),
    )  # fmt: skip


def _best_s(line: str) -> float:
    best = float("inf")
    for _ in range(5):
        start = time.perf_counter()
        with contextlib.suppress(Exception):  # counted by the caller
            decode(line)
        best = min(best, time.perf_counter() - start)
    return best
