"""The fleet by the minute, without its samples: rows of ROLLUPS from the same processes.

Counters are exact (value at the minute's last second). Means, extremes and spreads come from the job's 60 seconds and
the distribution of the card's own noise. Where a GPU was silent for part of a minute, the samples are counted
exactly, and the readings are those of the whole minute; where it never answered they are null.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pipeline.fleet_cards import PROMPT_SHARE
from pipeline.fleet_effects import Signal
from pipeline.fleet_jobs import LEVELS, Load
from pipeline.fleet_noise import Floats, Ints, bits, normal
from pipeline.fleet_samples import CAPPED_US_PER_S, CONSTANTS, COUNTER_COLUMNS, MEMORY_ABOVE_C, SLOWDOWN_C
from pipeline.fleet_silence import silence
from pipeline.fleet_world import World
from pipeline.tables import ROLLUPS, STATISTICS

_EXTREME: Final = 2.3
"""Expected highest of 60 normal deviates, in standard deviations."""
_SEEN_EXTREME: Final = 1.5
"""What the card's own noise adds where the job's own extremes are already taken."""
_LATENCY_SD: Final = 0.14
_DENSE: Final = ("energy_j", "nvlink_tx_kib", "nvlink_rx_kib", "power_violation_us")


class Span:
    """All slots over whole minutes that begin at `minutes_s`; no swap within. Arrays are (slot, minute)."""

    def __init__(self, world: World, load: Load, minutes_s: Floats) -> None:
        self.world, self.minutes_s = world, minutes_s
        self.slot: Ints = np.arange(world.gpus)
        self.card = world.cards.at(float(minutes_s[0]))
        self.block = world.blocks(self.slot)
        self.load = load
        self.shape = (world.gpus, minutes_s.size)
        self.noise = bits(world.seed + 1, self.slot[:, None], (minutes_s / 60).astype(np.int64)[None, :])

    def of_jobs(self, per_second: Floats) -> dict[str, Floats]:
        """Statistics over the seconds of (block, minute, second) values, for every slot."""
        found = {
            "mean": per_second.mean(-1),
            "min": per_second.min(-1),
            "max": per_second.max(-1),
            "std": per_second.std(-1),
        }
        return {s: v[self.block] for s, v in found.items()}

    def level(self, name: str) -> dict[str, Floats]:
        return self.of_jobs(LEVELS[name][self.load.profile])


def rollups(span: Span) -> pl.DataFrame:
    """All columns of ROLLUPS, sorted by GPU slot and minute. What is not simulated is null."""
    plane = silence(span.world, span.minutes_s)
    columns = _power(span) | _work(span) | _latency(span) | _counters(span) | _states(span)
    readings = pl.DataFrame(
        {n: pl.Series(n, np.broadcast_to(v, span.shape).reshape(-1)) for n, v in columns.items()}
    )
    for name, value in CONSTANTS.items():
        kept = [(f"{name}_{s}", 0.0 if s == "std" else value) for s in STATISTICS[name]] or [
            (f"{name}_last", value)
        ]
        readings = readings.with_columns(pl.lit(v).alias(n) for n, v in kept)
    readings = readings.with_columns(pl.when(plane["good_samples"] > 0).then(pl.all()))
    rows = pl.concat([_identity(span), plane, readings], how="horizontal")
    rows = rows.select(
        pl.col(n).cast(k) if n in rows.columns else pl.lit(None, dtype=k).alias(n) for n, k in ROLLUPS.items()
    )
    return rows.filter(pl.col("samples") > 0)


def _identity(span: Span) -> pl.DataFrame:
    world, minutes = span.world, span.minutes_s.size
    index = np.arange(world.gpus) % world.params.gpus_per_node
    job = _last_job(span.load.job)[span.block].reshape(-1)
    each = {
        "node": pl.Series(world.cards.nodes).gather(pl.Series(span.slot // world.params.gpus_per_node)),
        "gpu_uuid": pl.Series(world.cards.uuids).gather(pl.Series(span.card)),
        "gpu_index": pl.Series(index),
        "pci_bdf": pl.Series(world.cards.bdfs).gather(pl.Series(index)),
    }
    row = pl.Series(np.repeat(span.slot, minutes))
    minute_us = world.start_us + np.tile((span.minutes_s * 1e6).astype(np.int64), world.gpus)
    return pl.DataFrame([
        pl.Series("minute", minute_us).cast(ROLLUPS["minute"]),
        *(s.gather(row).alias(n) for n, s in each.items()),
        pl.Series(world.jobs.job_names).gather(pl.Series(np.maximum(job, 0))).alias("job"),
    ]).with_columns(
        pl.lit(True).alias("synthetic"), pl.when(pl.Series(job) >= 0).then(pl.col("job")).alias("job")
    )  # fmt: skip


def _last_job(job: Ints) -> Ints:
    """The last job of each minute; -1 where there was none."""
    last = 59 - np.argmax(job[..., ::-1] >= 0, axis=-1)
    return np.take_along_axis(job, last[..., None], axis=-1)[..., 0]


def _named(name: str, statistics: dict[str, Any]) -> dict[str, Any]:
    return {f"{name}_{s}": statistics[s] for s in STATISTICS[name]}


def _widened(of_job: dict[str, Floats], own_sd: Floats, z: NDArray[np.float32]) -> dict[str, Floats]:
    """The job's statistics and the card's own noise around them."""
    return {
        "mean": of_job["mean"] + own_sd * z / np.sqrt(60),
        "min": of_job["min"] - _SEEN_EXTREME * own_sd,
        "max": of_job["max"] + _SEEN_EXTREME * own_sd,
        "std": np.hypot(of_job["std"], own_sd),
    }


def _power(span: Span) -> dict[str, Any]:
    cards, card, load = span.world.cards, span.card, span.load
    factor = cards.power_factor[card][:, None]
    watts = {s: factor * v for s, v in span.of_jobs(load.power_w).items()}
    power = _widened(watts, span.level("own_w")["mean"], normal(span.noise, 0))
    power = {s: v if s == "std" else np.clip(v, 55.0, 702.0) for s, v in power.items()}
    warmth = span.of_jobs(PROMPT_SHARE * load.power_w + (1 - PROMPT_SHARE) * load.heat_w)
    slope = (cards.c_per_w(span.slot, card) * cards.power_factor[card])[:, None]
    heat = {s: slope * v if s == "std" else cards.inlet_c[:, None] + slope * v for s, v in warmth.items()}
    more = span.world.effects.gauge(Signal.TEMPERATURE_C, 0, span.world.gpus, span.minutes_s + 30)
    heat = {s: v if s == "std" else v + more for s, v in heat.items()}
    heat = _widened(heat, np.full((1, 1), 0.4), normal(span.noise, 1))
    heat = {s: np.rint(v) if s in ("min", "max") else v for s, v in heat.items()}
    memory = {s: v if s == "std" else v + MEMORY_ABOVE_C for s, v in heat.items()}
    slowed = 400.0 * (heat["mean"] > SLOWDOWN_C - 4)
    clock = {s: v if s == "std" else v - slowed for s, v in span.level("sm_clock_mhz").items()}
    named = {f"power_{k}w": power for k in ("", "average_", "instant_")}
    out: dict[str, Any] = {}
    for name, statistics in (named | {"temperature_c": heat, "memory_temperature_c": memory}).items():
        out |= _named(name, statistics)
    out |= _named("temperature_margin_c", {"min": SLOWDOWN_C - heat["max"]})
    return out | _named("sm_clock_mhz", clock) | _named("graphics_clock_mhz", clock)


def _work(span: Span) -> dict[str, Any]:
    out: dict[str, Any] = {}
    z = normal(span.noise, 2)
    for name in ("sm_util_pct", "mem_util_pct"):
        at = span.level(name)
        own = np.minimum(at["mean"], 100 - at["mean"]) * 0.1
        wide = _widened(at, own, z)
        out |= _named(name, {s: np.clip(v, 0, 100) for s, v in wide.items()})
    for name in ("sm_active_pct", "tensor_active_pct", "dram_active_pct"):
        out |= _named(name, span.level(name))
    for name in ("nvlink_tx_mibps", "nvlink_rx_mibps"):
        out |= _named(name, span.level("nvlink_mibps"))
    used = span.level("memory_used_mib")
    free = {"min": CONSTANTS["memory_total_mib"] - 551.0 - used["max"]}
    busy = span.of_jobs((span.load.job >= 0).astype(np.float64))
    return (
        out
        | _named("memory_used_mib", used)
        | _named("memory_free_mib", free)
        | _named("compute_processes", busy)
    )


def _latency(span: Span) -> dict[str, Any]:
    us = span.world.cards.latency_us[span.card][:, None]
    rise = span.world.effects.gauge(Signal.LATENCY_FACTOR, 0, span.world.gpus, span.minutes_s + 30)
    mean = us * (1 + rise) * (1 + 0.5 * _LATENCY_SD**2)
    spread = np.exp(_EXTREME * _LATENCY_SD)
    return _named(
        "nvml_latency_us",
        {"mean": mean, "min": mean / spread, "max": mean * spread, "std": _LATENCY_SD * mean},
    )


def _counters(span: Span) -> dict[str, Any]:
    out: dict[str, Any] = {}
    at_s = np.concatenate([span.minutes_s[:1] - 1, span.minutes_s + 59])
    for name, signal in COUNTER_COLUMNS.items():
        out |= _delta_and_last(name, span.world.effects.counter(signal, 0, span.world.gpus, at_s))
    slot = np.broadcast_to(span.slot[:, None], (span.world.gpus, at_s.size))
    since = {
        n: span.world.since_reset(n, slot, np.maximum(at_s, 0)) for n in ("power_w", "nvlink_mibps", "capped")
    }
    factor = span.world.cards.power_factor[span.card][:, None]
    kib = np.floor(1024 * since["nvlink_mibps"])
    dense = (factor * since["power_w"], kib, kib, np.floor(CAPPED_US_PER_S * since["capped"]))
    for name, values in zip(_DENSE, dense, strict=True):
        out |= _delta_and_last(name, values)
    return out


def _delta_and_last(name: str, values: Floats) -> dict[str, Any]:
    """Reset-aware: a counter that fell started again from zero. The fleet's first minute has 59 s of it."""
    before, now = values[:, :-1], values[:, 1:]
    both = {f"{name}_delta": np.where(now < before, now, now - before), f"{name}_last": now}
    return {n: v for n, v in both.items() if n in ROLLUPS}


def _states(span: Span) -> dict[str, Any]:
    effects, gpus, last_s = span.world.effects, span.world.gpus, span.minutes_s + 59
    drop = effects.gauge(Signal.WIDTH_DROP, 0, gpus, last_s)
    pending = effects.gauge(Signal.REMAP_PENDING, 0, gpus, last_s)
    idle = (span.load.job[..., -1] < 0)[span.block]
    capped = LEVELS["capped"][span.load.profile[..., -1]][span.block] > 0
    return {
        "pcie_width_last": 16 - np.minimum(drop, 15).astype(np.int64),
        "remap_pending_last": (pending > 0).astype(np.int64),
        "clock_event_reasons_last": np.where(idle, 1, np.where(capped, 4, 0)),
    }
