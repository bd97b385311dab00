"""Which samples of a minute are there and good: exact, second by second, where a GPU or its node was silent."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from pipeline.fleet_effects import Effects, Signal
from pipeline.fleet_noise import Bools, Floats, Ints

_STATES: Final = ((Signal.UNREAD, "unread"), (Signal.HUNG, "hung"), (Signal.LOST, "lost"))
STATE_NAMES: Final = ("ok", *(name for _, name in _STATES))


class Silence(NamedTuple):
    """Of every (slot, minute): shape (slots, minutes). `state` is an index into `STATE_NAMES`."""

    samples: Ints
    good_samples: Ints
    nvml_errors: Ints
    gap_max_s: Floats
    state: Ints


def silence(effects: Effects, minutes_s: Floats) -> Silence:
    """What of each minute was silent, of all slots of `effects`."""
    shape = (effects.slots, minutes_s.size)
    samples, good = np.full(shape, 60), np.full(shape, 60)
    errors, gap_s, state = np.zeros(shape, np.int64), np.ones(shape), np.zeros(shape, np.int64)
    slot, minute = np.nonzero(_touched(effects, minutes_s))
    if slot.size:
        times_s = minutes_s[minute][:, None] + np.arange(60)
        present = effects.gauge_at(Signal.NODE_GAP, slot, times_s) == 0
        code = _codes(effects, slot, times_s)
        gap = np.rint(effects.gauge_at(Signal.GAP_S, slot, times_s))
        at = slot, minute
        samples[at] = present.sum(1)
        good[at] = (present & (code == 0)).sum(1)
        errors[at] = (present & (code == len(_STATES))).sum(1)
        gap_s[at] = 1 + np.where(present, gap, 0).max(1)
        last = 59 - np.argmax(present[:, ::-1], axis=1)
        state[at] = np.take_along_axis(code, last[:, None], axis=1)[:, 0]
    return Silence(samples, good, errors, gap_s, state)


def _codes(effects: Effects, slot: Ints, times_s: Floats) -> Ints:
    out = np.zeros(times_s.shape, np.int64)
    for index, (signal, _) in enumerate(_STATES, start=1):
        out = np.maximum(out, (effects.gauge_at(signal, slot, times_s) > 0) * index)
    return out


def _touched(effects: Effects, minutes_s: Floats) -> Bools:
    """Where there may be silence: the minutes that an episode overlaps."""
    near = effects.touched(Signal.GAP_S, float(minutes_s[0]), float(minutes_s[-1]) + 60)
    out = np.zeros((effects.slots, minutes_s.size), dtype=bool)
    overlaps = (near.begin[:, None] < minutes_s + 60) & (near.end[:, None] > minutes_s)
    which, minute = np.nonzero(overlaps)
    out[near.slot[which], minute] = True
    return out
