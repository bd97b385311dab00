"""The fleet at 1 Hz: rows of TELEMETRY, as the agents of some nodes would have read them.

Arrays have the axes (node, tick, GPU), the order of rows in an agent's flush.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pipeline.fleet_cards import PROMPT_SHARE
from pipeline.fleet_effects import Signal
from pipeline.fleet_jobs import LEVELS, Load
from pipeline.fleet_latency import OWN_SD, host_factor, of_gpu, of_node
from pipeline.fleet_noise import Bools, Floats, Ints, bits, normal
from pipeline.fleet_world import World
from pipeline.tables import TELEMETRY

COUNTER_COLUMNS: Final = {
    "ecc_sbe_volatile": Signal.SBE_VOLATILE, "ecc_sbe_aggregate": Signal.SBE_AGGREGATE,
    "ecc_dbe_volatile": Signal.DBE_VOLATILE, "ecc_dbe_aggregate": Signal.DBE_AGGREGATE,
    "remapped_rows_correctable": Signal.REMAP_CORRECTABLE,
    "remapped_rows_uncorrectable": Signal.REMAP_UNCORRECTABLE,
    "pcie_replay": Signal.PCIE_REPLAY, "nvlink_crc_flit_errors": Signal.NVLINK_FLIT,
    "nvlink_crc_data_errors": Signal.NVLINK_DATA, "nvlink_replay_errors": Signal.NVLINK_REPLAY,
    "nvlink_recovery_errors": Signal.NVLINK_RECOVERY, "sram_correctable_volatile": Signal.SRAM_VOLATILE,
    "sram_correctable_aggregate": Signal.SRAM_AGGREGATE, "thermal_violation_us": Signal.THERMAL_US,
}  # fmt: skip
CONSTANTS: Final = {
    "power_limit_w": 700.0, "mem_clock_mhz": 2619, "memory_total_mib": 81_559.0, "memory_reserved_mib": 551.0,
    "pcie_generation": 5, "nvlinks_active": 18, "remap_failure": 0, "recovery_action": 0,
}  # fmt: skip
CAPPED_US_PER_S: Final = 6e5
"""How much of each second a fully loaded GPU spends at its power limit."""
MEMORY_ABOVE_C: Final = 8.0
SLOWDOWN_C: Final = 87.0
_IDLE, _POWER_CAP, _SW_THERMAL = 0x1, 0x4, 0x20
_DOWN: Final = ((Signal.UNREAD, "unread"), (Signal.HUNG, "hung"), (Signal.LOST, "lost"))
_STATES: Final = pl.Series(["ok", *(name for _, name in _DOWN)])
_LOST: Final = 15
"""NVML_ERROR_GPU_IS_LOST."""


class Part:
    """Nodes [first, last) over `ticks` seconds of the minute at `minute_s`."""

    def __init__(
        self, world: World, load: Load, minute_s: float, ticks: Ints, nodes: tuple[int, int]
    ) -> None:
        self.world, self.ticks = world, ticks
        self.per_node = world.params.gpus_per_node
        self.first, self.last = nodes[0] * self.per_node, nodes[1] * self.per_node
        self.shape = (nodes[1] - nodes[0], ticks.size, self.per_node)
        self.times_s: Floats = minute_s + ticks.astype(np.float64)
        block = world.jobs.block_of_node[nodes[0] : nodes[1]]
        self.profile: Ints = load.profile[block, 0][:, ticks, None]
        self.power_w: Floats = load.power_w[block, 0][:, ticks, None]
        self.heat_w: Floats = load.heat_w[block, 0][:, ticks, None]
        self.job: Ints = load.job[block, 0][:, ticks, None]
        self.slot: Ints = np.arange(self.first, self.last).reshape(-1, 1, self.per_node)
        self.card: Ints = world.cards.at(minute_s)[self.slot]
        self.noise = bits(world.seed, self.slot, self.times_s.astype(np.int64)[None, :, None])

    def level(self, name: str) -> Floats:
        """A level of the jobs' profiles: shape (node, tick, 1)."""
        out: Floats = LEVELS[name][self.profile]
        return out

    def flat(self, value: Any) -> NDArray[Any]:
        """Any broadcastable array as one column."""
        out: NDArray[Any] = np.broadcast_to(value, self.shape).reshape(-1)
        return out

    def counter(self, signal: Signal) -> Floats:
        return self._laid_out(self.world.effects.counter(signal, self.first, self.last, self.times_s))

    def gauge(self, signal: Signal) -> Floats | None:
        """Sum of episodes; None where there is none, which is nearly always."""
        effects = self.world.effects
        if not effects.touched(signal, float(self.times_s[0]), float(self.times_s[-1]) + 1e-6).slot.size:
            return None
        found = self._laid_out(effects.gauge(signal, self.first, self.last, self.times_s))
        return found if found.any() else None

    def since_reset(self, name: str) -> Floats:
        """A job level's integral since driver load: exact at each tick."""
        shape = (self.shape[0], 1, self.per_node)
        slot = self.slot.reshape(-1)
        first = self.world.since_reset(name, slot, np.full(slot.size, self.times_s[0])).reshape(shape)
        block = self.world.blocks(self.slot[:, 0, 0])[:, None]
        at = self.world.jobs.integral(
            name, block, np.broadcast_to(self.times_s, (self.shape[0], self.ticks.size))
        )
        return first + (at - at[:, :1])[..., None]

    def _laid_out(self, found: Floats) -> Floats:
        return found.reshape(self.shape[0], self.per_node, -1).transpose(0, 2, 1)


def samples(part: Part) -> pl.DataFrame:
    """All columns of TELEMETRY but stream and seq, sorted by node, time, GPU. What is not simulated is null."""
    silent = _silence(part)
    columns = _work(part) | _heat(part) | _counters(part) | _links(part)
    readings = pl.DataFrame({n: pl.Series(n, part.flat(v)) for n, v in columns.items()})
    readings = readings.with_columns(pl.lit(v).alias(n) for n, v in CONSTANTS.items())
    readings = readings.with_columns(
        (pl.col("memory_total_mib") - 551.0 - pl.col("memory_used_mib")).alias("memory_free_mib")
    )
    if silent is not None:
        down = pl.Series(part.flat(silent > 0))
        readings = readings.with_columns(pl.when(~down).then(pl.all()))
    rows = pl.concat([_identity(part, silent), readings], how="horizontal")
    kinds = ((n, k) for n, k in TELEMETRY.items() if n not in ("stream", "seq"))
    rows = rows.select(
        pl.col(n).cast(k) if n in rows.columns else pl.lit(None, dtype=k).alias(n) for n, k in kinds
    )
    away = part.gauge(Signal.NODE_GAP)
    return rows if away is None else rows.filter(pl.Series(part.flat(away == 0)))


def _silence(part: Part) -> Ints | None:
    """0 where the GPU answers, else the index of its state in `_STATES`."""
    out: Ints | None = None
    for index, (signal, _) in enumerate(_DOWN, start=1):
        if (found := part.gauge(signal)) is not None:
            out = np.maximum(np.zeros(part.shape, np.int64) if out is None else out, (found > 0) * index)
    return out


def _identity(part: Part, silent: Ints | None) -> pl.DataFrame:
    world = part.world
    state = np.zeros(1, np.int64) if silent is None else silent
    latency_us = _latency_us(part)
    gap = part.gauge(Signal.GAP_S)
    node = np.arange(part.first, part.last, part.per_node)[:, None, None] // part.per_node
    time_us = world.start_us + (part.times_s * 1e6).astype(np.int64)[None, :, None]
    names = (
        ("node", pl.Series(world.cards.nodes), node),
        ("gpu_uuid", pl.Series(world.cards.uuids), part.card),
    )
    return pl.DataFrame([
        pl.Series("time", part.flat(time_us)).cast(TELEMETRY["time"]),
        *(all_of.gather(pl.Series(part.flat(which))).alias(name) for name, all_of, which in names),
        pl.Series("gpu_index", part.flat(np.arange(part.per_node))),
        pl.Series(world.cards.bdfs).gather(pl.Series(part.flat(np.arange(part.per_node)))).alias("pci_bdf"),
        pl.Series(world.jobs.job_names).gather(pl.Series(part.flat(np.maximum(part.job, 0)))).alias("job"),
        pl.Series("_job", part.flat(part.job)),
        _STATES.gather(pl.Series(part.flat(state))).alias("gpu_state"),
        pl.Series("_state", part.flat(state)),
        pl.Series("nvml_latency_us", part.flat(latency_us.astype(np.int64))),
        pl.Series("gap_s", part.flat(1.0 if gap is None else 1.0 + np.rint(gap))),
    ]).select(
        pl.exclude("job", "_job", "_state", "nvml_latency_us"),
        pl.when(pl.col("_state") == 0).then(pl.col("nvml_latency_us")).alias("nvml_latency_us"),
        pl.lit(True).alias("synthetic"),
        pl.when(pl.col("_job") >= 0).then(pl.col("job")).alias("job"),
        pl.when(pl.col("_state") == 0).then(0).when(pl.col("gpu_state") == "lost").then(_LOST).alias("nvml_return"),
    )  # fmt: skip


def _latency_us(part: Part) -> Floats:
    world = part.world
    own = np.exp(OWN_SD * normal(part.noise, 3))
    if (factor := part.gauge(Signal.LATENCY_FACTOR)) is not None:
        own = own * (1 + factor)
    node, minute = part.slot // part.per_node, (part.times_s[None, :1, None] / 60).astype(np.int64)
    for late in (of_node(world.seed, node, minute), of_gpu(world.seed, part.slot, minute)):
        own = own + late.factor * (part.ticks[None, :, None] == late.second)
    slow = host_factor(world.seed, node, part.times_s[None, :1, None])
    out: Floats = world.cards.latency_us[part.card] * slow * own
    return out


def _work(part: Part) -> dict[str, Any]:
    wobble = 1 + 0.02 * normal(part.noise, 2)
    shaky = {n: part.level(n) for n in ("sm_util_pct", "mem_util_pct")}
    spread = {n: np.minimum(v, 100 - v) * 0.1 for n, v in shaky.items()}
    z = normal(part.noise, 2)
    used = part.level("memory_used_mib")
    out: dict[str, Any] = {n: np.rint(v + spread[n] * z).astype(np.int64) for n, v in shaky.items()}
    for name in ("sm_active_pct", "tensor_active_pct", "dram_active_pct"):
        out[name] = (part.level(name).astype(np.float32) * wobble).astype(np.float32)
    nvlink = (part.level("nvlink_mibps").astype(np.float32) * wobble).astype(np.float32)
    return out | {
        "nvlink_tx_mibps": nvlink, "nvlink_rx_mibps": nvlink,
        "memory_used_mib": used, "compute_processes": (part.job >= 0).astype(np.int64),
    }  # fmt: skip


def _heat(part: Part) -> dict[str, Any]:
    cards = part.world.cards
    factor = cards.power_factor[part.card]
    power_w = np.clip(factor * part.power_w + part.level("own_w") * normal(part.noise, 0), 55.0, 702.0)
    warmth_w = PROMPT_SHARE * part.power_w + (1 - PROMPT_SHARE) * part.heat_w
    temperature_c = cards.inlet_c[part.slot] + cards.c_per_w(part.slot, part.card) * factor * warmth_w
    throttled: Bools | bool = False
    if (more := part.gauge(Signal.TEMPERATURE_C)) is not None:
        temperature_c = temperature_c + more
        throttled = temperature_c > SLOWDOWN_C - 4
    celsius = np.rint(temperature_c + 0.3 * normal(part.noise, 1)).astype(np.int64)
    capped = part.level("capped") > 0
    idle = part.job < 0
    clock = (part.level("sm_clock_mhz") - 400 * np.asarray(throttled)).astype(np.int64)
    reasons = np.where(throttled, _SW_THERMAL, 0) | np.where(capped, _POWER_CAP, 0) | np.where(idle, _IDLE, 0)
    return {
        "power_w": power_w, "power_average_w": power_w, "power_instant_w": power_w, "temperature_c": celsius,
        "memory_temperature_c": celsius + int(MEMORY_ABOVE_C), "temperature_margin_c": int(SLOWDOWN_C) - celsius,
        "sm_clock_mhz": clock, "graphics_clock_mhz": clock, "clock_event_reasons": reasons,
    }  # fmt: skip


def _counters(part: Part) -> dict[str, Any]:
    cards = part.world.cards
    energy_j = cards.power_factor[part.card] * part.since_reset("power_w")
    nvlink_kib = (1024 * part.since_reset("nvlink_mibps")).astype(np.int64)
    return {
        "energy_j": energy_j, "nvlink_tx_kib": nvlink_kib, "nvlink_rx_kib": nvlink_kib,
        "power_violation_us": (CAPPED_US_PER_S * part.since_reset("capped")).astype(np.int64),
        **{name: part.counter(signal).astype(np.int64) for name, signal in COUNTER_COLUMNS.items()},
    }  # fmt: skip


def _links(part: Part) -> dict[str, Any]:
    drop, pending = part.gauge(Signal.WIDTH_DROP), part.gauge(Signal.REMAP_PENDING)
    return {
        "pcie_width": np.int64(16) if drop is None else 16 - np.minimum(drop, 15).astype(np.int64),
        "remap_pending": np.int64(0) if pending is None else (pending > 0).astype(np.int64),
    }
