"""What the lake is asked: the ten questions of docs/analysts.md, and ten that scan raw samples, each timed."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from benchmarks.lake_rows import Fleet
from pipeline.lake import Lake
from pipeline.sql import Desk, Limits, connect

PAGE = Path(__file__).parents[1] / "docs" / "analysts.md"
TARGET_S = 1.0

RAW = {
    "the lake's rows": "SELECT count(*) FROM telemetry",
    "one GPU, every reading, one minute": "FROM telemetry WHERE gpu_uuid = $gpu AND time >= $at AND time < $to",
    "one GPU by minute": "SELECT time_bucket(INTERVAL 1 MINUTE, time) AS minute, avg(power_w), max(temperature_c) "
    "FROM telemetry WHERE gpu_uuid = $gpu GROUP BY 1 ORDER BY 1",
    "one node against its GPUs": "SELECT gpu_index, avg(sm_util_pct), max(nvml_latency_us), max(gap_s) "
    "FROM telemetry WHERE node = $node GROUP BY 1 ORDER BY 1",
    "fleet power by minute": "SELECT epoch_us(time) // 60_000_000 AS minute, avg(power_w), sum(power_w) "
    "FROM telemetry GROUP BY 1 ORDER BY 1",
    "the ten hottest": "SELECT gpu_uuid, max(temperature_c) AS c FROM telemetry GROUP BY 1 ORDER BY 2 DESC LIMIT 10",
    "energy by job": "SELECT job, sum(j) FROM (SELECT job, gpu_uuid, max(energy_j) - min(energy_j) AS j "
    "FROM telemetry GROUP BY 1, 2) GROUP BY 1 ORDER BY 2 DESC LIMIT 10",
    "link errors, worst ten": "SELECT gpu_uuid, max(nvlink_crc_flit_errors) - min(nvlink_crc_flit_errors) AS n "
    "FROM telemetry GROUP BY 1 ORDER BY 2 DESC LIMIT 10",
    "throttled samples": "SELECT node, count(*) FROM telemetry WHERE clock_event_reasons & 64 <> 0 "
    "GROUP BY 1 ORDER BY 2 DESC LIMIT 10",
    "every GPU's last row": "SELECT gpu_uuid, time, gpu_state, power_w FROM gpu_now",
}
"""The hard way: what minutes (gpu_minute) answer as well is asked of every sample."""

_NONE_IS_AN_ANSWER = (
    "throttled samples",
    "Which cards fail again and again, and is it the card or the slot?",  # within an hour nobody fails twice
)


@dataclass(frozen=True, slots=True)
class Answered:
    """Seconds of the wall clock. `first` is on a desk that has read nothing yet, `again` the same query once more."""

    connect_s: float
    first_s: dict[str, float]
    again_s: dict[str, float]

    def over(self) -> list[str]:
        return [name for name, took_s in self.first_s.items() if took_s > TARGET_S]


def questions() -> dict[str, str]:
    """Heading -> SQL of docs/analysts.md."""
    found = re.findall(
        r"^## \d+\. ([^\n]+\?)\n\n```sql\n(.*?)```", PAGE.read_text(), re.DOTALL | re.MULTILINE
    )
    return dict(found)


def ask(lake: Lake, gpus: int, queries: dict[str, str]) -> Answered:
    some = next(Fleet(gpus).blocks(1, 1)).row(gpus // 2, named=True)
    known = {
        "gpu": some["gpu_uuid"], "node": some["node"], "at": some["time"],
        "to": some["time"] + timedelta(minutes=1),
    }  # fmt: skip
    begun_s = time.perf_counter()
    with connect(lake.files, lake.path, Limits(time_s=600)) as desk:
        answered = Answered(time.perf_counter() - begun_s, {}, {})
        for name, sql in queries.items():
            params = {k: v for k, v in known.items() if f"${k}" in sql}
            for took in (answered.first_s, answered.again_s):
                took[name] = _timed(desk, name, sql, params)
    return answered


def _timed(desk: Desk, name: str, sql: str, params: dict[str, Any]) -> float:
    begun_s = time.perf_counter()
    assert desk.query(sql, params).height > 0 or name in _NONE_IS_AN_ANSWER, f"{name}: nothing"
    return round(time.perf_counter() - begun_s, 4)
