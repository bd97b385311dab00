"""How fast kernel lines are decoded, as a ratio to `grep -c NVRM` over the same file in the same run.

grep only counts; decode reads every line, finds the Xids among them and takes them apart. The ratio travels
between machines, the lines per second do not.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from benchmarks.xid_mutate import damage
from collector.xid import decode

HOST_LINES = (
    '[{t:.6f}] audit: type=1400 audit(1753325017.308:5): apparmor="STATUS" operation="profile_load" pid={n}',
    "Dec  2 11:38:27 node001 kernel: [{t:.6f}] mlx5_core 0000:5d:00.0: Port module event: module {n}, Cable plugged",
    "[{t:.6f}] pcieport 0000:00:03.1: AER: Correctable error message received from 0000:00:00.0 ({n})",
    "2026-10-02T20:53:38-07:00 node030 kernel: r8169 0000:06:00.0 eth0: RTL8125B, XID 641, IRQ {n}",
    "6,{n},227986678,-;IPv6: ADDRCONF(NETDEV_CHANGE): calib317e2eeb40: link becomes ready",
    "Oct  3 01:02:03 node002 systemd[1]: Started Session {n} of User train.",
)
DRIVER_LINES = (
    "[{t:.6f}] NVRM: GPU at PCI:0000:0a:00: GPU-52e6b438-f2a7-269e-6513-0c5ca6a3a450 ({n})",
    "[{t:.6f}] NVRM: nvAssertOkFailedNoLog: Assertion failed: Reset required [NV_ERR_RESET_REQUIRED] ({n})",
)
XID_LINES = (
    "[{t:.6f}] NVRM: Xid (PCI:0000:0a:00): 31, pid={n}, name=python3, Ch 00000010, intr 00000000. MMU Fault",
    "4,{n},9370042162,-;NVRM: Xid (PCI:0000:17:00): 119, pid=<unknown>, name=<unknown>, Timeout after 6s",
    "[{t:.6f}] nvidia-nvswitch3: SXid (PCI:0000:04:00.0): 22013, Non-fatal, Link 44 Minion Link DLREQ ({n})",
)


def write_log(path: Path, lines: int, seed: int = 1) -> int:
    """A synthetic kernel log: 1 line in 100 is the driver's, half of those are Xids. Returns how many are."""
    rng = random.Random(seed)
    xids = 0
    with path.open("w", encoding="utf-8") as log:
        for n in range(lines):
            draw = rng.random()
            kind = XID_LINES if draw < 0.005 else DRIVER_LINES if draw < 0.01 else HOST_LINES
            xids += kind is XID_LINES
            log.write(rng.choice(kind).format(t=n / 7, n=n) + "\n")
    return xids


def decode_file(path: Path) -> int:
    """Every line through decode, from bytes, as the agent does it; the number of Xids found."""
    with path.open("rb") as log:
        return sum(decode(raw.decode("utf-8", "replace")) is not None for raw in log)


def grep_file(path: Path) -> int:
    out = subprocess.run(
        ["grep", "-c", "NVRM", str(path)], capture_output=True, check=True, env={**os.environ, "LC_ALL": "C"}
    )
    return int(out.stdout)


def best_s(work: Callable[[Path], int], path: Path, runs: int) -> tuple[float, int]:
    """The fastest of `runs`, in seconds, and what the work returned."""
    best, result = float("inf"), 0
    for _ in range(runs):
        start = time.perf_counter()
        result = work(path)
        best = min(best, time.perf_counter() - start)
    return best, result


def measure(lines: int, runs: int) -> dict[str, float | int | bool]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "kernel.log"
        planted = write_log(path, lines)
        grep_s, _ = best_s(grep_file, path, runs)
        decode_s, found = best_s(decode_file, path, runs)
    return {
        "lines": lines,
        "synthetic": True,
        "xids_planted": planted,
        "xids_found": found,
        "decode_lines_per_s": round(lines / decode_s),
        "decode_us_per_line": round(decode_s / lines * 1e6, 3),
        "grep_lines_per_s": round(lines / grep_s),
        "decode_to_grep_time_ratio": round(decode_s / grep_s, 1),
    }


def mutate(count: int, corpus: Path | None) -> int:
    """Print what `count` damaged lines came to. 1 where one of them crashed the decoder."""
    if corpus is None:
        lines = [template.format(t=1.5, n=7) for template in (*HOST_LINES, *DRIVER_LINES, *XID_LINES)]
    else:
        lines = [json.loads(raw)["line"] for raw in corpus.read_text(encoding="utf-8").splitlines()]
    found = damage(lines, count)
    print(f"damaged lines  {found.lines:>12,}   from {len(lines)} lines")
    print(f"crashes        {found.crashed:>12,}")
    print(f"still an Xid   {found.decoded:>12,}")
    print(f"slowest        {found.slowest_us:>12} us   {found.slowest_line[:60]!r}")
    print(json.dumps(msgspec.to_builtins(found)))
    return 1 if found.crashed else 0


def main() -> int:
    parser = argparse.ArgumentParser(
        description="Decode a synthetic kernel log (1 driver line in 100) and compare with `grep -c NVRM` on it.",
        epilog="example: python benchmarks/xid_decode.py --lines 200000. The last line of the output is one JSON "
        "object; decode_to_grep_time_ratio says how many times longer than grep the decoder takes. A kernel that "
        "floods its log writes some 10,000 lines/s: the decoder has to stay well above that.",
    )
    parser.add_argument("--lines", type=int, default=500_000, help="lines in the log (default: %(default)s)")
    parser.add_argument(
        "--runs", type=int, default=3, help="the fastest of this many counts (default: %(default)s)"
    )
    parser.add_argument(
        "--mutate",
        type=int,
        metavar="N",
        help="instead: decode N damaged lines; the slowest, and how many crashed",
    )
    parser.add_argument(
        "--corpus",
        type=Path,
        metavar="JSONL",
        help="lines to damage (objects with a `line`); default: our own",
    )
    parser.add_argument("--json", action="store_true", help="print the JSON object only")
    args = parser.parse_args()
    if args.lines < 1 or args.runs < 1 or (args.mutate is not None and args.mutate < 1):
        parser.error("--lines, --runs and --mutate must be at least 1")
    if args.mutate is not None:
        return mutate(args.mutate, args.corpus)
    result = measure(args.lines, args.runs)
    if not args.json:
        print(
            f"decode  {result['decode_lines_per_s']:>12,} lines/s   {result['decode_us_per_line']} us a line"
        )
        print(f"grep    {result['grep_lines_per_s']:>12,} lines/s   counts only")
        print(f"ratio   {result['decode_to_grep_time_ratio']:>12} times the time of grep")
        print(f"found   {result['xids_found']} of {result['xids_planted']} Xids")
    print(json.dumps(result))
    return 0 if result["xids_found"] == result["xids_planted"] else 1


if __name__ == "__main__":
    raise SystemExit(main())
