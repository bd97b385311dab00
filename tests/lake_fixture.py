"""A small lake as the demo leaves it: synthetic, and one GPU of it fails in front of our eyes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl

from pipeline.lake import Lake

END = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
JOB = "4711"
"""It holds every GPU."""
RAMP_MINUTES = 12
"""From so many minutes before the end, the NVLink of the failing GPU makes errors."""


@dataclass(frozen=True)
class Story:
    """What `make_lake` laid down. `failing` and `noisy` are UUIDs; the noisy one meets application Xids."""

    path: Path
    gpus: int
    failing: str
    noisy: str
    xid_time: datetime


def uuid(node: int, index: int) -> str:
    return f"GPU-{node:08x}-0000-4000-8000-{index:012x}"


def make_lake(
    path: Path,
    *,
    nodes: int = 2,
    minutes: int = 30,
    step_s: int = 10,
    end: datetime = END,
    synthetic: bool = True,
) -> Story:
    """All tables, `nodes` x 8 GPUs, ending at `end`; GPU 3 of the last node meets Xid 79 before that."""
    lake = Lake(path)
    fleet = _fleet(nodes, synthetic)
    failing, noisy = uuid(nodes - 1, 3), uuid(0, 5)
    xid_time = end - timedelta(minutes=1)
    telemetry = _telemetry(fleet, failing, minutes, step_s, end)
    predictions = _predictions(fleet, failing, minutes, end)
    lake.append("telemetry", telemetry)
    lake.append("rollups", _rollups(telemetry))
    lake.append("predictions", predictions)
    lake.append(
        "inventory", fleet.drop("n").with_columns(time=pl.lit(xid_time), name=pl.lit("a simulated H100"))
    )
    lake.append("events", _events(fleet, failing, noisy, xid_time))
    lake.append("incidents", _incidents(fleet, failing, end))
    lake.append("actions", _actions(fleet, failing, end))
    return Story(path, fleet.height, failing, noisy, xid_time)


def _fleet(nodes: int, synthetic: bool) -> pl.DataFrame:
    return pl.DataFrame(
        [
            {"node": f"node{n + 1:04d}", "gpu_uuid": uuid(n, i), "gpu_index": i,
             "pci_bdf": f"0000:{0x18 + 8 * i:02x}:00", "synthetic": synthetic, "n": n}
            for n in range(nodes)
            for i in range(8)
        ]
    )  # fmt: skip


def _telemetry(fleet: pl.DataFrame, failing: str, minutes: int, step_s: int, end: datetime) -> pl.DataFrame:
    ticks = pl.DataFrame({"age_s": np.arange(minutes * 60, 0, -step_s)})
    rows = fleet.join(ticks, how="cross").with_columns(
        pl.lit(end).alias("time") - pl.duration(seconds=pl.col("age_s"))
    )
    random = np.random.default_rng(7)
    noise = random.normal(0, 1.5, rows.height)
    wave = pl.lit(pl.Series(8 * np.sin(rows["age_s"].to_numpy() / 90) + noise))
    bad = pl.col("gpu_uuid") == failing
    ramp_s = (RAMP_MINUTES * 60 - pl.col("age_s")).clip(0)
    dead = bad & (pl.col("age_s") <= 60)
    readings = {
        "temperature_c": (58 + pl.col("gpu_index") + wave + bad * ramp_s / 90).round(),
        "power_w": 420 + 12 * wave - pl.when(bad).then(ramp_s / 8).otherwise(0),
        "nvlink_crc_data_errors": 40 + pl.when(bad).then((ramp_s / 30) ** 2.4).otherwise(0),
        "nvlink_crc_flit_errors": pl.lit(3),
        "sm_util_pct": (90 + wave / 2).clip(0, 100).round(),
        "memory_used_mib": pl.lit(61_000.0),
        "energy_j": 420.0 * (minutes * 60 - pl.col("age_s")),
    }  # fmt: skip
    return rows.select(
        *fleet.columns[:-1],
        "time",
        gpu_state=pl.when(dead).then(pl.lit("lost")).otherwise(pl.lit("ok")),
        nvml_return=pl.when(dead).then(15).otherwise(0),
        nvml_latency_us=pl.when(bad & (pl.col("age_s") < 180)).then(240_000).otherwise(900),
        gap_s=pl.when(dead).then(60.0 - pl.col("age_s")).otherwise(float(step_s)),
        **{name: pl.when(~dead).then(value) for name, value in readings.items()},
        job=pl.lit(JOB),
        stream=pl.lit("fixture"),
        seq=pl.col("age_s"),
    )


def _rollups(telemetry: pl.DataFrame) -> pl.DataFrame:
    return (
        telemetry.with_columns(minute=pl.col("time").dt.truncate("1m"))
        .group_by(
            "minute", "node", "gpu_uuid", "gpu_index", "pci_bdf", "synthetic", "job", maintain_order=True
        )
        .agg(
            samples=pl.len(),
            good_samples=(pl.col("gpu_state") == "ok").sum(),
            gpu_state=pl.col("gpu_state").last(),
            nvml_errors=(pl.col("nvml_return") != 0).sum(),
            gap_max_s=pl.col("gap_s").max(),
            temperature_c_mean=pl.col("temperature_c").mean(),
            temperature_c_max=pl.col("temperature_c").max(),
            power_w_mean=pl.col("power_w").mean(),
            energy_j_delta=pl.col("energy_j").max() - pl.col("energy_j").min(),
            nvlink_crc_data_errors_delta=pl.col("nvlink_crc_data_errors").max()
            - pl.col("nvlink_crc_data_errors").min(),
            nvml_latency_us_max=pl.col("nvml_latency_us").max().cast(pl.Float64),
        )
    )


def _predictions(fleet: pl.DataFrame, failing: str, minutes: int, end: datetime) -> pl.DataFrame:
    ages = pl.DataFrame({"age_min": list(range(minutes, 0, -1))})
    calm = 0.004 + 0.03 * ((pl.col("gpu_index") * 7 + pl.col("n") * 3) % 11) / 11
    climb = 0.94 / (1 + (pl.col("age_min").cast(pl.Float64) - RAMP_MINUTES / 2).exp())
    rows = fleet.join(ages, how="cross")
    reasons = [
        {"feature": "nvlink_crc_per_min", "value": 212.0, "healthy": "below 5", "share": 0.71,
         "text": "NVLink CRC errors rise"},
        {"feature": "gap_s", "value": 12.5, "healthy": "below 3", "share": 0.2, "text": "it answers late"},
        {"feature": "temperature_c", "value": 66.0, "healthy": "30 to 85", "share": -0.02, "text": ""},
    ]  # fmt: skip
    shown = pl.Series([reasons if u == failing else [] for u in rows["gpu_uuid"]])
    return rows.select(
        *fleet.columns[:-1],
        time=pl.lit(end) - pl.duration(minutes=pl.col("age_min") - 1),
        minute=pl.lit(end) - pl.duration(minutes=pl.col("age_min")),
        risk=pl.when(pl.col("gpu_uuid") == failing).then(climb).otherwise(calm),
        horizon_s=pl.lit(3600),
        model_id=pl.lit("rules-1"),
        feature_set=pl.lit("f0"),
        reasons=shown,
    )


def _events(fleet: pl.DataFrame, failing: str, noisy: str, xid_time: datetime) -> pl.DataFrame:
    def event(gpu: str, code: int, time: datetime, text: str, count: int = 1) -> dict[str, object]:
        slot = fleet.row(by_predicate=pl.col("gpu_uuid") == gpu, named=True)
        del slot["n"]
        return slot | {
            "time": time, "fingerprint": f"{gpu}-{code}-{time:%H%M%S}", "kind": "xid", "source": "sim",
            "code": code, "text": text, "count": count,
        }  # fmt: skip

    return pl.DataFrame(
        [
            event(noisy, 31, xid_time - timedelta(minutes=9), "MMU Fault: ENGINE GRAPHICS", 40),
            event(failing, 63, xid_time - timedelta(minutes=5), "Row Remapper: row remapping event"),
            event(failing, 79, xid_time, "GPU has fallen off the bus."),
        ]
    )


def _incidents(fleet: pl.DataFrame, failing: str, end: datetime) -> pl.DataFrame:
    slot = fleet.row(by_predicate=pl.col("gpu_uuid") == failing, named=True)
    del slot["n"]
    opened = end - timedelta(minutes=6)
    common = slot | {
        "incident_id": "inc-1", "cause": "nvlink", "opened": opened, "evidence": "[]",
    }  # fmt: skip
    first = {
        "time": opened, "change": "opened", "state": "open", "severity": "warning", "risk": 0.55, "code": None,
        "summary": "risk 0.55: NVLink CRC errors rise",
    }  # fmt: skip
    second = {
        "time": end - timedelta(minutes=1), "change": "failed", "state": "failed", "severity": "critical", "risk": 0.93,
        "code": 79, "summary": "Xid 79: off the bus",
    }  # fmt: skip
    return pl.DataFrame([common | first, common | second])


def _actions(fleet: pl.DataFrame, failing: str, end: datetime) -> pl.DataFrame:
    slot = fleet.row(by_predicate=pl.col("gpu_uuid") == failing, named=True)
    common = {
        "incident_id": "inc-1", "action": "checkpoint", "intent": "checkpoint",
        "action_id": "inc-1-checkpoint", "node": slot["node"], "gpu_uuid": failing,
        "synthetic": slot["synthetic"],
    }  # fmt: skip
    opened = end - timedelta(minutes=6)
    told = [
        ("decided", 0, "p 0.55 > 0.02"),
        ("delivered", 1, ""),
        ("acknowledged", 9, "checkpoint of step 812"),
    ]
    return pl.DataFrame(
        [common | {"time": opened + timedelta(seconds=s), "state": t, "detail": d} for t, s, d in told]
    )
