"""The fleet by the minute, without its samples: rows of ROLLUPS from the same processes.

Counters are exact (value at the minute's last second). Means, extremes and spreads come from the job's 60 seconds and
the distribution of the card's own noise. Where a GPU was silent for part of a minute, the samples are counted
exactly, and the readings are those of the whole minute; where it never answered they are null.
What is not asked for is not computed: every column is made from statistics that are called for by name.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, Final

import numpy as np
import polars as pl

from pipeline.fleet_cards import PROMPT_SHARE
from pipeline.fleet_effects import Signal
from pipeline.fleet_jobs import LEVELS
from pipeline.fleet_latency import OWN_SD, host_factor, of_gpu, of_node
from pipeline.fleet_noise import Floats, Ints
from pipeline.fleet_samples import CAPPED_US_PER_S, CONSTANTS, COUNTER_COLUMNS, MEMORY_ABOVE_C, SLOWDOWN_C
from pipeline.fleet_silence import STATE_NAMES, Silence, silence
from pipeline.fleet_span import Span, Statistic, widened
from pipeline.tables import ROLLUPS, STATISTICS

_EXTREME: Final = 2.3
"""Expected highest of 60 normal deviates, in standard deviations."""
_DENSE: Final = ("energy_j", "nvlink_tx_kib", "nvlink_rx_kib", "power_violation_us")


def rollups(span: Span) -> pl.DataFrame:
    """The wanted columns of ROLLUPS, sorted by GPU slot and minute. What is not simulated is null."""
    quiet = silence(span.effects, span.minutes_s)
    columns: dict[str, Any] = {}
    for made in (_power, _heat, _work, _latency, _counters, _states, _constants):
        columns |= made(span)
    # a column that is the same everywhere is a number here, and costs nothing
    readings = _frame(span, {n: v for n, v in columns.items() if n in span.wanted})
    unread = quiet.good_samples.reshape(-1) == 0
    if unread.any() and readings.width:
        readings = readings.select(pl.when(~pl.Series(unread)).then(pl.all()))
    rows = pl.concat([_identity(span), _plane(span, quiet), readings], how="horizontal")
    rows = rows.select(
        pl.col(n).cast(k) if n in rows.columns else pl.lit(None, dtype=k).alias(n)
        for n, k in ROLLUPS.items()
        if n in span.wanted
    )
    here = quiet.samples.reshape(-1) > 0
    return rows if here.all() else rows.filter(pl.Series(here))


def _frame(span: Span, columns: dict[str, Any]) -> pl.DataFrame:
    """Arrays that broadcast to the span's shape as columns."""
    rows = span.shape[0] * span.shape[1]
    return pl.DataFrame(
        [
            pl.repeat(v, rows, eager=True).alias(n)
            if np.ndim(v) == 0
            else pl.Series(n, np.broadcast_to(v, span.shape).reshape(-1))
            for n, v in columns.items()
        ]
    )


def _plane(span: Span, quiet: Silence) -> pl.DataFrame:
    counted = {n: v for n, v in quiet._asdict().items() if n in span.wanted}
    rows = _frame(span, counted).get_columns()
    if "gpu_state" in span.wanted:
        names = pl.Series(STATE_NAMES).gather(pl.Series(quiet.state.reshape(-1)))
        rows.append(names.alias("gpu_state"))
    return pl.DataFrame(rows)


def _identity(span: Span) -> pl.DataFrame:
    world, minutes = span.world, span.minutes_s.size
    node, index = np.divmod(span.slot, world.params.gpus_per_node)
    each = {
        "node": (world.cards.nodes, node),
        "gpu_uuid": (world.cards.uuids, span.card),
        "pci_bdf": (world.cards.bdfs, index),
    }
    minute_us = world.start_us + np.tile((span.minutes_s * 1e6).astype(np.int64), span.slot.size)
    columns = {
        "minute": pl.Series(minute_us).cast(ROLLUPS["minute"]),
        "gpu_index": pl.Series(np.repeat(index, minutes)),
        "synthetic": pl.repeat(True, minute_us.size, eager=True),
    }
    for name, (names, which) in each.items():
        columns[name] = pl.Series([names[i] for i in which.tolist()]).gather(_row(span))
    if "job" in span.wanted:
        columns["job"] = _jobs(span)
    return pl.DataFrame({n: c for n, c in columns.items() if n in span.wanted})


def _row(span: Span) -> pl.Series:
    """Place of each row's slot."""
    return pl.Series(np.repeat(np.arange(span.slot.size), span.minutes_s.size))


def _jobs(span: Span) -> pl.Series:
    """The last job of each minute; null where there was none."""
    job = span.load.job
    last = 59 - np.argmax(job[..., ::-1] >= 0, axis=-1)
    number = pl.Series(np.take_along_axis(job, last[..., None], axis=-1)[..., 0][span.block].reshape(-1))
    names = pl.Series(span.world.jobs.job_names, dtype=pl.String()).gather(number.clip(lower_bound=0))
    return pl.select(pl.when(number >= 0).then(names)).to_series()


def _power(span: Span) -> dict[str, Any]:
    if not span.wants("power_"):
        return {}
    factor = span.world.cards.power_factor[span.card][:, None]
    of_job = span.of_jobs(lambda: span.load.power_w)
    wide = widened(lambda s: factor * of_job(s), span.level("own_w")("mean"), span, 0)

    @cache
    def watts(name: str) -> Any:
        return wide(name) if name == "std" else np.clip(wide(name), 55.0, 702.0)

    return {n: v for k in ("", "average_", "instant_") for n, v in span.named(f"power_{k}w", watts).items()}


def _celsius(span: Span) -> Statistic:
    cards, load = span.world.cards, span.load
    of_job = span.of_jobs(lambda: PROMPT_SHARE * load.power_w + (1 - PROMPT_SHARE) * load.heat_w)
    slope = (cards.c_per_w(span.slot, span.card) * cards.power_factor[span.card])[:, None]
    inlet_c = cards.inlet_c[span.slot][:, None]
    more = span.gauge(Signal.TEMPERATURE_C, span.minutes_s + 30)

    def heat(name: str) -> Any:
        value = slope * of_job(name)
        return value if name == "std" else inlet_c + value + more

    wide = widened(heat, np.full((1, 1), 0.4), span, 1)

    @cache
    def celsius(name: str) -> Any:
        return np.rint(wide(name)) if name in ("min", "max") else wide(name)

    return celsius


def _heat(span: Span) -> dict[str, Any]:
    if not span.wants("temperature_", "memory_temperature_", "sm_clock_", "graphics_clock_"):
        return {}
    celsius, of_job = _celsius(span), span.level("sm_clock_mhz")

    @cache
    def clock(name: str) -> Any:
        slowed = 0.0 if name == "std" else 400.0 * (celsius("mean") > SLOWDOWN_C - 4)
        return of_job(name) - slowed

    return (
        span.named("temperature_c", celsius)
        | span.named("memory_temperature_c", lambda s: celsius(s) + (0 if s == "std" else MEMORY_ABOVE_C))
        | span.named("temperature_margin_c", lambda _: SLOWDOWN_C - celsius("max"))
        | span.named("sm_clock_mhz", clock)
        | span.named("graphics_clock_mhz", clock)
    )


def _work(span: Span) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for name in ("sm_util_pct", "mem_util_pct"):
        if span.wants(name):
            out |= span.named(name, _utilisation(span, name))
    for name in ("sm_active_pct", "tensor_active_pct", "dram_active_pct", "memory_used_mib"):
        out |= span.named(name, span.level(name))
    for name in ("nvlink_tx_mibps", "nvlink_rx_mibps"):
        out |= span.named(name, span.level("nvlink_mibps"))
    used = span.level("memory_used_mib")
    busy = span.of_jobs(lambda: (span.load.job >= 0).astype(np.float64))
    out |= span.named("memory_free_mib", lambda _: CONSTANTS["memory_total_mib"] - 551.0 - used("max"))
    return out | span.named("compute_processes", busy)


def _utilisation(span: Span, name: str) -> Statistic:
    at = span.level(name)
    wide = widened(at, np.minimum(at("mean"), 100 - at("mean")) * 0.1, span, 2)
    return lambda s: np.clip(wide(s), 0, 100)


def _latency(span: Span) -> dict[str, Any]:
    if not span.wants("nvml_latency_us"):
        return {}
    seed, slot, minute = span.world.seed, span.slot[:, None], (span.minutes_s / 60).astype(np.int64)[None, :]
    nodes, inverse = np.unique(span.slot // span.world.params.gpus_per_node, return_inverse=True)
    late = of_node(seed, nodes[:, None], minute).factor[inverse], of_gpu(seed, slot, minute).factor
    us = (
        span.world.cards.latency_us[span.card][:, None]
        * host_factor(seed, nodes[:, None], span.minutes_s[None, :])[inverse]
    )
    slow = 1 + span.gauge(Signal.LATENCY_FACTOR, span.minutes_s + 30)
    spread = np.exp(_EXTREME * OWN_SD)
    of: dict[str, Callable[[], Floats]] = {
        "mean": lambda: slow * (1 + 0.5 * OWN_SD**2) + (late[0] + late[1]) / 60,
        "min": lambda: slow / spread,
        "max": lambda: np.maximum(slow * spread, slow + np.maximum(*late)),
        "std": lambda: np.sqrt((OWN_SD * slow) ** 2 + (late[0] ** 2 + late[1] ** 2) / 60),
    }
    return span.named("nvml_latency_us", lambda name: us * of[name]())


def _counters(span: Span) -> dict[str, Any]:
    out: dict[str, Any] = {}
    at_s = np.concatenate([span.minutes_s[:1] - 1, span.minutes_s + 59])
    for name, signal in COUNTER_COLUMNS.items():
        if span.wants(name):
            out |= _sparse(name, *span.effects.moving(signal, at_s), span.shape)
    if not span.wants(*_DENSE):
        return out
    slot = np.broadcast_to(span.slot[:, None], (span.slot.size, at_s.size))
    since = {
        n: span.world.since_reset(n, slot, np.maximum(at_s, 0)) for n in ("power_w", "nvlink_mibps", "capped")
    }
    factor = span.world.cards.power_factor[span.card][:, None]
    kib = np.floor(1024 * since["nvlink_mibps"])
    dense = (factor * since["power_w"], kib, kib, np.floor(CAPPED_US_PER_S * since["capped"]))
    for name, values in zip(_DENSE, dense, strict=True):
        out |= {f"{name}_delta": _rise(values), f"{name}_last": values[:, 1:]}
    return out


def _rise(values: Floats) -> Floats:
    """Reset-aware: a counter that fell started again from zero. The fleet's first minute has 59 s of it."""
    before, now = values[:, :-1], values[:, 1:]
    return np.where(now < before, now, now - before)


def _sparse(name: str, before: Floats, moved: Ints, values: Floats, shape: tuple[int, int]) -> dict[str, Any]:
    """A counter that moves on a few slots and stands on the others."""
    if not moved.size:
        return {f"{name}_delta": 0.0, f"{name}_last": before[:, None] if before.any() else 0.0}
    delta, last = np.zeros(shape), np.repeat(before[:, None], shape[1], axis=1)
    delta[moved], last[moved] = _rise(values), values[:, 1:]
    return {f"{name}_delta": delta, f"{name}_last": last}


def _states(span: Span) -> dict[str, Any]:
    last_s = span.minutes_s + 59
    drop = np.asarray(span.gauge(Signal.WIDTH_DROP, last_s))
    pending = np.asarray(span.gauge(Signal.REMAP_PENDING, last_s))
    idle = (span.load.job[..., -1] < 0)[span.block]
    capped = LEVELS["capped"][span.load.profile[..., -1]][span.block] > 0
    return {
        "pcie_width_last": 16 - np.minimum(drop, 15).astype(np.int64),
        "remap_pending_last": (pending > 0).astype(np.int64),
        "clock_event_reasons_last": np.where(idle, 1, np.where(capped, 4, 0)),
    }


def _constants(_: Span) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for name, value in CONSTANTS.items():
        kept = STATISTICS[name]
        out |= (
            {f"{name}_{s}": 0.0 if s == "std" else value for s in kept} if kept else {f"{name}_last": value}
        )
    return out
