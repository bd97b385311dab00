"""Which samples of a minute are there and good: exact, second by second, where a GPU or its node was silent."""

from __future__ import annotations

from typing import Final

import numpy as np
import polars as pl

from pipeline.fleet_effects import Signal
from pipeline.fleet_noise import Bools, Floats, Ints
from pipeline.fleet_world import World

_STATES: Final = ((Signal.UNREAD, "unread"), (Signal.HUNG, "hung"), (Signal.LOST, "lost"))


def silence(world: World, minutes_s: Floats) -> pl.DataFrame:
    """samples, good_samples, gpu_state, nvml_errors and gap_max_s of every (slot, minute)."""
    shape = (world.gpus, minutes_s.size)
    samples, good = np.full(shape, 60), np.full(shape, 60)
    errors, gap_s, state = np.zeros(shape, np.int64), np.ones(shape), np.zeros(shape, np.int64)
    slot, minute = np.nonzero(_touched(world, minutes_s))
    if slot.size:
        times_s = minutes_s[minute][:, None] + np.arange(60)
        present = world.effects.gauge_at(Signal.NODE_GAP, slot, times_s) == 0
        code = _codes(world, slot, times_s)
        gap = np.rint(world.effects.gauge_at(Signal.GAP_S, slot, times_s))
        at = slot, minute
        samples[at] = present.sum(1)
        good[at] = (present & (code == 0)).sum(1)
        errors[at] = (present & (code == len(_STATES))).sum(1)
        gap_s[at] = 1 + np.where(present, gap, 0).max(1)
        last = 59 - np.argmax(present[:, ::-1], axis=1)
        state[at] = np.take_along_axis(code, last[:, None], axis=1)[:, 0]
    names = pl.Series(["ok", *(name for _, name in _STATES)])
    return pl.DataFrame([
        pl.Series("samples", samples.reshape(-1)),
        pl.Series("good_samples", good.reshape(-1)),
        names.gather(pl.Series(state.reshape(-1))).alias("gpu_state"),
        pl.Series("nvml_errors", errors.reshape(-1)),
        pl.Series("gap_max_s", gap_s.reshape(-1)),
    ])  # fmt: skip


def _codes(world: World, slot: Ints, times_s: Floats) -> Ints:
    out = np.zeros(times_s.shape, np.int64)
    for index, (signal, _) in enumerate(_STATES, start=1):
        out = np.maximum(out, (world.effects.gauge_at(signal, slot, times_s) > 0) * index)
    return out


def _touched(world: World, minutes_s: Floats) -> Bools:
    """Where there may be silence: the minutes that an episode overlaps."""
    near = world.effects.touched(Signal.GAP_S, float(minutes_s[0]), float(minutes_s[-1]) + 60)
    out = np.zeros((world.gpus, minutes_s.size), dtype=bool)
    overlaps = (near.begin[:, None] < minutes_s + 60) & (near.end[:, None] > minutes_s)
    which, minute = np.nonzero(overlaps)
    out[near.slot[which], minute] = True
    return out
