"""What the node agent costs: CPU and resident memory for 8 GPUs at 1 Hz, the driver's own time apart.

    python benchmarks/agent.py [--seconds 120] [--gpus 8] [--json]

It starts `foreshock collect` over the driver double and reads /proc. The double answers at once, so what is
measured is the agent and pynvml; the time spent inside NVML calls is reported by the agent itself and taken
off. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from collector.config import SpoolConfig
from collector.records import TOPIC_TELEMETRY
from collector.spool import Spool
from demo.nvml_double.build import build
from demo.nvml_double.values import default_gpu, node_values, write_values
from pipeline.decode import telemetry
from pipeline.stream import Record

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_WARM_UP_S = 5.0


def start(directory: Path, gpus: int) -> subprocess.Popen[bytes]:
    values = directory / "values"
    write_values(values, node_values({i: default_gpu(i) for i in range(gpus)}))
    (directory / "events").touch()
    os.mkfifo(directory / "kmsg")  # it wakes its reader as /dev/kmsg does; a plain file must be polled
    config = directory / "foreshock.toml"
    config.write_text(
        f'[collector]\nnode = "bench"\nsynthetic = true\nlisten = "127.0.0.1:0"\n'
        f'nvml_library = "{build()}"\nkmsg = "{directory}/kmsg"\n'
        f'[spool]\npath = "{directory}/spool.db"\n'
    )
    env = os.environ | {
        "FORESHOCK_NVML_DOUBLE": str(values),
        "FORESHOCK_NVML_DOUBLE_EVENTS": str(directory / "events"),
    }
    command = [sys.executable, "-I", "-m", "foreshock", "--config", str(config), "collect"]
    return subprocess.Popen(command, env=env, stderr=subprocess.DEVNULL)


def family(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(p for child in children for p in family(int(child)))]


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S


def memory_mib(pid: int, key: str) -> float:
    line = next(x for x in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines() if x.startswith(key))
    return int(line.split()[1]) / 1024


def driver_s(spool_path: Path) -> tuple[float, int]:
    """Seconds inside NVML and rows, as the agent's own rows say."""
    spool = Spool(spool_path, SpoolConfig().max_mib)
    records = [Record(r.topic, 0, r.seq, r.key, r.value) for r in spool.read([TOPIC_TELEMETRY], 0, 100_000)]
    rows, _ = telemetry(records)
    return float(rows["nvml_latency_us"].sum() or 0) / 1e6, rows.height


def measure(seconds: float, gpus: int) -> dict[str, float | int]:
    with tempfile.TemporaryDirectory() as scratch:
        directory = Path(scratch)
        agent = start(directory, gpus)
        try:
            time.sleep(_WARM_UP_S)
            before = sum(cpu_s(p) for p in family(agent.pid))
            driver_before, rows_before = driver_s(directory / "spool.db")
            began = time.monotonic()
            time.sleep(seconds)
            pids = family(agent.pid)
            used, wall = sum(cpu_s(p) for p in pids) - before, time.monotonic() - began
            memory = {k: sum(memory_mib(p, k) for p in pids) for k in ("Rss", "Pss")}
            one = memory_mib(agent.pid, "Rss")
        finally:
            agent.terminate()
            agent.wait()
        driver, rows = driver_s(directory / "spool.db")
    driver, rows = driver - driver_before, rows - rows_before
    return {
        "gpus": gpus, "seconds": round(wall, 1), "rows": rows, "cpu_percent_of_a_core": round(100 * used / wall, 3),
        "driver_percent_of_a_core": round(100 * driver / wall, 3),
        "agent_percent_of_a_core": round(100 * (used - driver) / wall, 3),
        "rss_mib": round(memory["Rss"], 1), "pss_mib": round(memory["Pss"], 1), "rss_parent_mib": round(one, 1),
    }  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=120.0, help="measure for this long after a warm-up")
    parser.add_argument("--gpus", type=int, default=8)
    parser.add_argument("--json", action="store_true", help="only the JSON line")
    args = parser.parse_args()
    found = measure(args.seconds, args.gpus)
    if not args.json:
        print(f"{found['gpus']} GPUs at 1 Hz for {found['seconds']} s, agent and its NVML process together")
        print(
            f"  CPU      {found['cpu_percent_of_a_core']} % of a core, {found['driver_percent_of_a_core']} % of it"
        )
        print(
            f"           inside NVML calls: the agent itself {found['agent_percent_of_a_core']} % (limit 1 %)"
        )
        print(
            f"  memory   {found['rss_mib']} MiB RSS in two processes, {found['pss_mib']} MiB proportional (limit 60)"
        )
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
