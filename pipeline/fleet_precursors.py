"""What a fault does to the telemetry and the event log: its precursor where it has one, and its end."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.random import Generator

from pipeline.fleet_effects import Effects, Signal, add_silence, effect
from pipeline.fleet_faults import Faults
from pipeline.fleet_noise import Floats, Ints
from pipeline.fleet_params import CLASS_NAMES, CLASSES, FaultClass


class Happening(NamedTuple):
    """One Xid of one slot; `root` is the code of the Xid it is a consequence of. Seconds since the fleet's start."""

    at_s: float
    slot: int
    code: int
    repeats: int = 1
    last_s: float | None = None
    root: int | None = None


_ROW_REMAP: Final = 63
_CONTAINED: Final = 94


def add_faults(effects: Effects, faults: Faults, rng: Generator) -> list[Happening]:
    """Put the marks of all faults into `effects` and return their events, not sorted."""
    happenings: list[Happening] = []
    for index, fault in enumerate(CLASSES):
        mine = faults.kind == index
        slot, at_s, repaired_s = faults.slot[mine], faults.at_s[mine], faults.repaired_s[mine]
        _end(effects, fault, slot, at_s, repaired_s)
        happenings += _codes(fault.codes, slot, at_s)
        warned = mine & (faults.lead_s > 0)
        if warned.any():
            begin = faults.at_s[warned] - faults.lead_s[warned]
            happenings += _warn(
                effects, fault.name, Lead(faults.slot[warned], begin, faults.at_s[warned]), rng
            )
    return happenings


def _codes(codes: tuple[int, ...], slot: Ints, at_s: Floats) -> list[Happening]:
    """The Xids of a fault come within a second of each other (Delta: the chains are seconds long)."""
    return [
        Happening(float(t) + 0.2 * i, int(s), code, root=codes[0] if i else None)
        for s, t in zip(slot, at_s, strict=True)
        for i, code in enumerate(codes)
    ]


def _end(effects: Effects, fault: FaultClass, slot: Ints, at_s: Floats, repaired_s: Floats) -> None:
    name = fault.name
    if fault.down != "ok":
        signal = Signal.LOST if fault.down == "lost" else Signal.HUNG
        add_silence(effects, signal, slot, at_s, repaired_s)
    if name in ("hbm", "sram"):
        effects.add(Signal.DBE_VOLATILE, effect(slot, at_s, at_s, 1))
    if name == "hbm":
        effects.add(Signal.REMAP_UNCORRECTABLE, effect(slot, at_s + 1, at_s + 1, 1))
        effects.add(Signal.REMAP_PENDING, effect(slot, at_s + 1, repaired_s, 1, 0))
    if name == "nvlink":
        effects.add(Signal.NVLINK_RECOVERY, effect(slot, at_s, at_s, 2))


class Lead(NamedTuple):
    """From the first sign of each fault to the fault."""

    slot: Ints
    begin: Floats
    at_s: Floats


def _warn(effects: Effects, name: str, lead: Lead, rng: Generator) -> list[Happening]:
    slot, begin, at_s = lead
    if name == "hbm":
        return _memory(effects, slot, begin, at_s, rng)
    if name == "off_bus":
        _pcie(effects, slot, begin, at_s, rng)
        _gaps(effects, slot, begin, at_s, rng)
    elif name == "nvlink":
        _nvlink(effects, slot, begin, at_s, rng)
    elif name == "engine":
        _pcie(effects, slot, begin, at_s, rng)
        effects.add(Signal.LATENCY_FACTOR, effect(slot, begin, at_s, _spread(rng, slot, 4), 2))
    elif name == "sram":
        effects.add(Signal.SRAM_VOLATILE, effect(slot, begin, at_s, _spread(rng, slot, 60), 2))
    elif name == "gsp":
        effects.add(Signal.LATENCY_FACTOR, effect(slot, begin, at_s, _spread(rng, slot, 60), 2))
    elif name == "thermal":
        effects.add(Signal.TEMPERATURE_C, effect(slot, begin, at_s, rng.uniform(12, 25, slot.size)))
        effects.add(Signal.THERMAL_US, effect(slot, (begin + at_s) / 2, at_s, 2e5 * (at_s - begin), 2))
    else:
        raise AssertionError(f"{name} of {CLASS_NAMES} has no precursor")
    return []


def _spread(rng: Generator, slot: Ints, median: float) -> Floats:
    return np.ceil(median * np.exp(0.6 * rng.standard_normal(slot.size)))


def _memory(effects: Effects, slot: Ints, begin: Floats, at_s: Floats, rng: Generator) -> list[Happening]:
    """Corrected errors grow, and rows are remapped on the way, each with its Xid 63."""
    effects.add(Signal.SBE_VOLATILE, effect(slot, begin, at_s, _spread(rng, slot, 200), 3))
    out: list[Happening] = []
    for s, b, e in zip(slot, begin, at_s, strict=True):
        for t in np.floor(np.sort(b + (e - b) * rng.random(rng.integers(1, 6)) ** 0.5)):
            effects.add(Signal.REMAP_CORRECTABLE, effect(s, t, t, 1))
            out.append(Happening(float(t), int(s), _ROW_REMAP))
        if rng.random() < 0.3:
            out.append(Happening(float(np.floor(b + 0.8 * (e - b))), int(s), _CONTAINED))
    return out


def _nvlink(effects: Effects, slot: Ints, begin: Floats, at_s: Floats, rng: Generator) -> None:
    effects.add(Signal.NVLINK_FLIT, effect(slot, begin, at_s, _spread(rng, slot, 3000), 2))
    effects.add(Signal.NVLINK_DATA, effect(slot, begin, at_s, _spread(rng, slot, 500), 2))
    effects.add(
        Signal.NVLINK_REPLAY, effect(slot, begin + 0.6 * (at_s - begin), at_s, _spread(rng, slot, 12))
    )


def _pcie(effects: Effects, slot: Ints, begin: Floats, at_s: Floats, rng: Generator) -> None:
    effects.add(Signal.PCIE_REPLAY, effect(slot, begin, at_s, _spread(rng, slot, 250), 2))
    narrow = rng.random(slot.size) < 0.3
    effects.add(
        Signal.WIDTH_DROP, effect(slot[narrow], (begin + 0.7 * (at_s - begin))[narrow], at_s[narrow], 8, 0)
    )


def _gaps(effects: Effects, slot: Ints, begin: Floats, at_s: Floats, rng: Generator) -> None:
    """The GPU does not answer now and then: the one early sign of off-bus faults that is published (GWDG 2026)."""
    for part in (0.3, 0.6, 0.8, 0.95):
        gap = np.floor(begin + part * (at_s - begin))
        # it answers once more before it fails
        end = np.minimum(gap + rng.integers(8, 40, slot.size), at_s - 2)
        add_silence(effects, Signal.UNREAD, slot, gap, end)
