"""Starts benchmarks/stream_quix.py with the interpreter that has Quix Streams, and reads what it found."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import uuid
from pathlib import Path
from typing import IO, Any, Final, NamedTuple

from collector.config import KafkaConfig
from collector.records import TOPIC_TELEMETRY
from pipeline.tables import DELTAS, LASTS, STATISTICS

VARIABLE: Final = "FORESHOCK_QUIX_PYTHON"
HOW_TO: Final = (
    "ratio_to_quix is left out: python3 -m venv ~/.cache/foreshock-quix && ~/.cache/foreshock-quix/bin/pip install "
    f"quixstreams polars, then --quix-python ~/.cache/foreshock-quix/bin/python (or ${VARIABLE})"
)
_WARM_S: Final = 2.0
_FEW: Final = (
    "power_w", "temperature_c", "memory_temperature_c", "sm_util_pct", "mem_util_pct", "sm_clock_mhz",
    "memory_used_mib", "nvml_latency_us", "energy_j", "pcie_replay",
)  # fmt: skip


class Quix(NamedTuple):
    """`samples_per_s` of all processes together; `columns` telemetry columns were aggregated."""

    samples_per_s: float
    columns: int
    windows: int


def columns(few: bool) -> dict[str, list[str]]:
    """Statistics by telemetry column as pipeline/tables.py has them: all of the rollup, or ten columns."""
    wanted: dict[str, list[str]] = {name: list(kept) for name, kept in STATISTICS.items() if kept}
    for name in DELTAS:
        wanted.setdefault(name, []).append("delta")
    for field in LASTS:
        wanted.setdefault(field.name, []).append("last")
    return {name: kept for name, kept in wanted.items() if not few or name in _FEW}


def quix(python: str, config: KafkaConfig, processes: int, seconds: float, *, few: bool = False) -> Quix:
    """Let `processes` processes of one Quix application at the topic for `seconds`; all are at work in the span."""
    wanted = columns(few)
    with tempfile.TemporaryDirectory() as scratch, tempfile.TemporaryFile("w+") as said:
        task = {
            "address": config.bootstrap_servers, "topic": config.topic_prefix + TOPIC_TELEMETRY, "seconds": seconds,
            "group": f"quix-{uuid.uuid4().hex}", "columns": wanted,
        }  # fmt: skip
        script = Path(__file__).with_name("stream_quix.py")
        running = [_start(python, script, task | {"state": f"{scratch}/{i}"}, said) for i in range(processes)]
        try:
            found = [_answer(process, seconds + 120, said) for process in running]
        finally:
            for process in running:
                process.kill()
                process.wait()
    begin = max(f["marks"][0][0] for f in found) + _WARM_S
    end = min(f["marks"][-1][0] for f in found)
    rate = sum(_rate(f["marks"], begin, end) for f in found)
    return Quix(rate, len(wanted), sum(f["windows"] for f in found))


def _start(python: str, script: Path, task: dict[str, Any], said: IO[str]) -> subprocess.Popen[str]:
    # Polars reads one small message at a time here: more threads than one are in one another's way.
    alone = os.environ | {"POLARS_MAX_THREADS": "1"}
    process = subprocess.Popen(
        [python, str(script)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=said,
        text=True,
        env=alone,
    )
    assert process.stdin is not None
    process.stdin.write(json.dumps(task))
    process.stdin.close()
    process.stdin = None
    return process


def _answer(process: subprocess.Popen[str], timeout_s: float, said: IO[str]) -> dict[str, Any]:
    out, _ = process.communicate(timeout=timeout_s)
    if process.returncode:
        said.seek(0)
        raise RuntimeError(f"the Quix process failed with status {process.returncode}: {said.read()[-2000:]}")
    answer: dict[str, Any] = json.loads(out.splitlines()[-1])
    return answer


def _rate(marks: list[list[float]], begin: float, end: float) -> float:
    inside = [(t, n) for t, n in marks if begin <= t <= end]
    if len(inside) < 2:
        raise RuntimeError("the Quix processes were not at work at the same time for long enough")
    (t0, n0), (t1, n1) = inside[0], inside[-1]
    return (n1 - n0) / (t1 - t0)
