"""What the fleet works on: synchronous jobs over blocks of nodes, with warm-up, checkpoints, stalls and idle gaps.

A block's nodes run one job at a time, in step; a fault under it ends the job. Levels are of one GPU at 1 Hz.
The profiles are means of recorded H100 jobs; tests/pipeline/test_fleet_real.py holds them against the recordings.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.fleet_noise import Floats, Ints, bits, normal

_KEY_S: Final = 1e10
"""Blocks lie this far apart in one sorted key of (block, time)."""
WARM_S: Final = 120
"""The heat of a GPU forgets what was longer ago: six times its lag."""
LAG_S: Final = 20.0
_LOADING_S: Final = 90.0
_JOB_MEDIAN_S: Final = 6 * 3600.0
_STALL_SHARE: Final = 0.15
_BLOCK_NODES: Final = (1, 2, 4, 8, 16, 32, 64, 128)
_BLOCK_WEIGHTS: Final = (0.25, 0.15, 0.15, 0.15, 0.12, 0.08, 0.06, 0.04)


class Profile(NamedTuple):
    """Levels of a GPU in one phase. `common_w` moves all GPUs of a job together, `own_w` each alone (1 s sd)."""

    name: str
    power_w: float
    sm_util_pct: float
    mem_util_pct: float
    sm_active_pct: float
    tensor_active_pct: float
    dram_active_pct: float
    nvlink_mibps: float
    memory_used_mib: float
    sm_clock_mhz: float
    capped: float
    common_w: float
    own_w: float


# fmt: off
PROFILES: Final = (
    Profile("idle", 70.5, 0, 0, 0, 0, 0, 0, 4, 1980, 0, .3, .8),
    Profile("loading", 121, .6, 0, 1, 0, 0, 10, 16_000, 1980, 0, 1, 1.5),
    Profile("stalled", 125, 100, 0, 1, 0, 0, 0, 60_000, 1980, 0, 1, 1.5),
    Profile("checkpoint", 140, 4, 2, 3, 0, 3, 300, 60_000, 1980, 0, 4, 4),
    Profile("pretraining", 687, 99.8, 48, 88, 58, 37, 1450, 70_500, 1755, 1, 5, 7),
    Profile("training", 547, 85, 42, 64, 19, 32, 8500, 11_900, 1980, 0, 18, 10),
    Profile("finetuning", 418, 99.4, 41, 45, 11, 32, 48_000, 31_300, 1980, 0, 4, 10),
    Profile("inference", 207, 69, 19, 24, 4, 15, 0, 18_600, 1980, 0, 7, 8),
)
# fmt: on
_IDLE, _LOADING, _STALLED, _CHECKPOINT = range(4)
_WORK: Final = (4, 5, 6, 7)
_WORK_WEIGHTS: Final = (0.5, 0.2, 0.2, 0.1)
LEVELS: Final = {f: np.array([getattr(p, f) for p in PROFILES]) for f in Profile._fields if f != "name"}


class Load(NamedTuple):
    """Per block, minute and second: shape (blocks, minutes, 60). `heat_w` is `power_w` through the first-order lag."""

    profile: Ints
    power_w: Floats
    heat_w: Floats
    job: Ints


class Jobs:
    """The schedule of every block. `job_names[i]` is the job id of job number i; -1 is no job."""

    def __init__(self, nodes: int, node_kills_s: dict[int, list[float]], horizon_s: float, seed: int) -> None:
        self._seed = seed
        self.block_of_node = _blocks(nodes, np.random.default_rng([seed, 2]))
        self.blocks = int(self.block_of_node[-1]) + 1
        kills: dict[int, list[float]] = {}
        for node, times in node_kills_s.items():
            kills.setdefault(int(self.block_of_node[node]), []).extend(times)
        rows: list[tuple[float, int, float, float, int]] = []
        self.job_names: list[str] = []
        for block in range(self.blocks):
            self._schedule(block, sorted(kills.get(block, [])), horizon_s, rows)
        key, kind, period_s, checkpoint_s, job = (np.array(x) for x in zip(*rows, strict=True))
        self._key: Floats = key
        self._kind: Ints = kind.astype(np.int64)
        self._period_s, self._checkpoint_s, self._job = period_s, checkpoint_s, job
        self._prefix = {name: self._prefix_of(LEVELS[name]) for name in ("power_w", "nvlink_mibps", "capped")}

    def _schedule(
        self,
        block: int,
        kills_s: list[float],
        horizon_s: float,
        rows: list[tuple[float, int, float, float, int]],
    ) -> None:
        rng = np.random.default_rng([self._seed, 3, block])
        at_s = -float(np.floor(rng.uniform(0, 7200))) - 2 * WARM_S
        origin = block * _KEY_S
        pending = iter([*kills_s, float("inf")])
        kill_s = next(pending)
        while at_s < horizon_s:
            job = len(self.job_names)
            self.job_names.append(f"sim-{block:05d}-{job:07d}")
            work = int(rng.choice(_WORK, p=_WORK_WEIGHTS))
            period_s = float(rng.integers(900, 3600))
            starts = at_s + _LOADING_S
            while kill_s < starts:
                kill_s = next(pending)
            end_s = min(starts + np.floor(_JOB_MEDIAN_S * np.exp(0.8 * rng.standard_normal())) + 300, kill_s)
            checkpoint_s = float(rng.integers(10, 60)) if work != _WORK[-1] else 0.0
            rows.append((origin + at_s, _LOADING, 1e12, 0.0, job))
            rows.append((origin + starts, work, period_s, checkpoint_s, job))
            if rng.random() < _STALL_SHARE:
                stall_s = starts + np.floor((end_s - starts) * rng.uniform(0.2, 0.8))
                again_s = min(stall_s + float(rng.integers(120, 900)), end_s)
                rows.append((origin + stall_s, _STALLED, 1e12, 0.0, job))
                rows.append((origin + again_s, work, period_s, checkpoint_s, job))
            rows.append((origin + end_s, _IDLE, 1e12, 0.0, -1))
            at_s = float(end_s + rng.integers(300, 2400))

    def load(self, minutes_s: Floats, blocks: Ints | None = None) -> Load:
        """The 60 seconds of each of these minutes, which follow each other, of `blocks` (all unless given).

        The heat is always run in from the same second before the minute, so it does not depend on who asks.
        """
        block = np.arange(self.blocks) if blocks is None else blocks
        minutes, before = minutes_s.size, WARM_S // 60
        begin_s = float(minutes_s[0]) - WARM_S
        row, profile = self._phases(block, begin_s, minutes + before)
        seconds = int(begin_s) + np.arange((minutes + before) * 60)
        noise = normal(bits(self._seed + 5, block[:, None], seconds), 0).reshape(profile.shape)
        power_w = np.maximum(LEVELS["power_w"][profile] + LEVELS["common_w"][profile] * noise, 60.0)
        heat_w = _heat(power_w, minutes)
        return Load(profile[:, before:], power_w[:, before:], heat_w, self._job[row[:, before:]])

    def integral(self, name: str, block: Ints, at_s: Floats) -> Floats:
        """Integral over time of a level ("power_w", "nvlink_mibps", "capped") of a block up to `at_s`."""
        row = self._row(block, at_s)
        elapsed = at_s + block * _KEY_S - self._key[row]
        out: Floats = self._prefix[name][row] + self._part(LEVELS[name], row, elapsed)
        return out

    def job_at(self, block: Ints, at_s: Floats) -> Ints:
        """Number of the job that holds `block` at `at_s`; -1 is none."""
        found: Ints = self._job[self._row(block, at_s)]
        return found

    def _row(self, block: Ints, at_s: Floats) -> Ints:
        return np.searchsorted(self._key, block * _KEY_S + at_s, side="right") - 1

    def _phases(self, block: Ints, begin_s: float, minutes: int) -> tuple[Ints, Ints]:
        """Row of the schedule and number of the profile at each second: shape (blocks, minutes, 60).

        Most minutes are all of one phase. The others are looked at second by second.
        """
        # before its first job a block does what that job does first
        first = np.searchsorted(self._key, block * _KEY_S - _KEY_S / 2)
        at_s: Floats = begin_s + 60 * np.arange(minutes + 1, dtype=np.float64)
        edge = np.maximum(self._row(block[:, None], at_s), first[:, None])
        now = edge[:, :-1]
        within = (at_s[:-1] + block[:, None] * _KEY_S - self._key[now]) % self._period_s[now]
        saves = within + 60 > self._period_s[now] - self._checkpoint_s[now]
        row, profile = (np.repeat(x[..., None], 60, axis=-1) for x in (now, self._kind[now]))
        which, minute = np.nonzero((edge[:, 1:] != now) | saves)
        seconds: Floats = at_s[minute][:, None] + np.arange(60)
        place = block[which][:, None]
        found = np.maximum(self._row(place, seconds), first[which][:, None])
        within = (seconds + place * _KEY_S - self._key[found]) % self._period_s[found]
        saving = within >= self._period_s[found] - self._checkpoint_s[found]
        row[which, minute] = found
        profile[which, minute] = np.where(saving, _CHECKPOINT, self._kind[found])
        return row, profile

    def _part(self, level: Floats, row: Ints, elapsed: Floats) -> Floats:
        period_s, checkpoint_s = self._period_s[row], self._checkpoint_s[row]
        whole, rest = np.divmod(elapsed, period_s)
        saving_s = whole * checkpoint_s + np.maximum(rest - (period_s - checkpoint_s), 0.0)
        base = level[self._kind[row]]
        out: Floats = base * elapsed - (base - level[_CHECKPOINT]) * saving_s
        return out

    def _prefix_of(self, level: Floats) -> Floats:
        """Integral of `level` from each block's first row to each row."""
        rows = np.arange(self._key.size)
        block = np.round(self._key / _KEY_S)
        same = np.concatenate([block[1:] == block[:-1], [False]])
        width = np.where(same, np.roll(self._key, -1) - self._key, 0.0)
        total = np.concatenate([[0.0], np.cumsum(self._part(level, rows, width))[:-1]])
        first = np.searchsorted(block, block, side="left")
        out: Floats = total - total[first]
        return out


def _heat(power_w: Floats, minutes: int) -> Floats:
    """`power_w` (blocks, 2 + minutes, 60) through the lag, of all but the first two minutes."""
    second_w = np.ascontiguousarray(power_w.transpose(2, 0, 1))
    state = second_w[0, :, :minutes].copy()
    step = np.empty_like(state)
    heat_w = np.empty((60, *state.shape))
    for i in range(1, WARM_S + 60):
        np.subtract(second_w[i % 60, :, i // 60 : i // 60 + minutes], state, out=step)
        step /= LAG_S
        state += step
        if i >= WARM_S:
            heat_w[i - WARM_S] = state
    return np.ascontiguousarray(heat_w.transpose(1, 2, 0))


def _blocks(nodes: int, rng: np.random.Generator) -> Ints:
    """Block number of every node: neighbours work together."""
    sizes: list[int] = []
    while sum(sizes) < nodes:
        sizes.append(int(rng.choice(_BLOCK_NODES, p=_BLOCK_WEIGHTS)))
    out: NDArray[np.int64] = np.repeat(np.arange(len(sizes)), sizes)[:nodes]
    return out
