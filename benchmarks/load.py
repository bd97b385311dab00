"""Telemetry records in numbers: real records as templates, with the values that move written over in place.

Arrow IPC is not compressed inside, so that the values of a column lie together at a fixed place: what makes a
record another node's, at another time, is some thirty slices. Encoding each from Python rows would be slower than
reading. Gauges come out of a pool of a quarter of a million drawn samples: a few dozen templates alone would
repeat so often that the lake's files shrink to a tenth of what a fleet's take. The values are synthetic.
"""

from __future__ import annotations

import random
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.load_values import COUNTING, ROW_TIME_US, moving_values, steady_values
from collector.batch import encode
from collector.records import FIELDS

TEMPLATES: Final = 48
_POOL_S: Final = 32_768
"""Seconds of one node in the pool."""
_NODE: Final = "node-%06d"
_UUID: Final = "GPU-%06d-%02d"
_JOB: Final = "%07d"
_NODES_OF_A_JOB: Final = 16
_NO_NODE: Final = 999_999
_MIX: Final = 0x9E3779B97F4A7C15


class _Counter(NamedTuple):
    """A counter that grows: its place, what each row (ticks, gpus) has at least, and its growth a second."""

    at: int
    least: NDArray[np.float64]
    type: type[np.float64 | np.int64]
    rate: float
    is_slow: bool


class Load:
    """What `gpus` GPUs of one node put on the stream every `ticks` seconds, for as many nodes as one likes."""

    def __init__(self, gpus: int, ticks: int, *, templates: int = TEMPLATES, seed: int = 0) -> None:
        self._ticks = ticks
        rng = np.random.default_rng(seed)
        pool = moving_values(rng, _POOL_S, gpus)
        noise: NDArray[np.float64] = rng.random((_POOL_S, gpus))
        draw = random.Random(seed)
        self._templates = [_Template(draw, gpus, ticks, pool, noise) for _ in range(templates)]

    def value(self, node: int, flush: int, begin_us: int) -> bytearray:
        """The record number `flush` (from 0) of `node` in a fleet that began to report at `begin_us`."""
        mixed = ((node << 24) + flush) * _MIX >> 17  # another place in the pool for each record
        template = self._templates[mixed % len(self._templates)]
        begin = (mixed >> 8) % (_POOL_S - self._ticks)
        return template.value(node, flush, begin_us + flush * self._ticks * 1_000_000, begin)

    @staticmethod
    def key(node: int) -> bytes:
        return (_NODE % node).encode()


class _Template:
    def __init__(
        self, rng: random.Random, gpus: int, ticks: int, pool: dict[str, NDArray[Any]], noise: NDArray[np.float64]
    ) -> None:  # fmt: skip
        self._gpus, self._ticks, self._noise = gpus, ticks, noise
        cards = [_named(steady_values(rng, gpu), gpu) for gpu in range(gpus)]
        # Written over in every record; here they only make their columns' places easy to find.
        drawn = {name: values[:ticks] for name, values in pool.items()}
        rows = [
            cards[gpu]
            | {name: drawn[name][tick, gpu].item() for name in drawn}
            | {name: cards[gpu][name] + rate * (tick + rng.random()) for name, rate in COUNTING.items()}
            | {"time": ROW_TIME_US + tick * 1_000_000}
            for tick in range(ticks)
            for gpu in range(gpus)
        ]
        columns = {f.name: [_typed(row.get(f.name), f.type) for row in rows] for f in FIELDS}
        self._bytes = encode(list(zip(*columns.values(), strict=True)))
        self._times = np.repeat(np.arange(ticks, dtype=np.int64) * 1_000_000, gpus)
        self._time_at = self._find(np.array(columns["time"], np.int64).tobytes())
        self._text_at = {n: self._find("".join(columns[n]).encode()) for n in ("node", "gpu_uuid", "job")}
        self._pool = [(self._find(drawn[name].tobytes()), values) for name, values in pool.items()]
        self._counting = [self._counter(name, columns, cards) for name in COUNTING]

    def _find(self, column: bytes) -> int:
        """Where the values of a column lie; it must be one place."""
        at = self._bytes.find(column)
        assert at >= 0
        assert self._bytes.find(column, at + 1) < 0
        return at

    def _counter(self, name: str, columns: dict[str, list[Any]], cards: list[dict[str, Any]]) -> _Counter:
        field = next(f for f in FIELDS if f.name == name)
        kind = np.float64 if field.type == "float64" else np.int64
        steps = np.arange(self._ticks) * (field.every_s <= 1)
        least = np.array([card[name] for card in cards], np.float64) + COUNTING[name] * steps[:, None]
        at = self._find(np.array(columns[name], kind).tobytes())
        return _Counter(at, least, kind, COUNTING[name], field.every_s > 1)

    def value(self, node: int, flush: int, begin_us: int, place: int) -> bytearray:
        out = bytearray(self._bytes)
        rows = self._ticks * self._gpus
        _put(out, self._time_at, (self._times + (begin_us + place % 997)).tobytes())
        _put(out, self._text_at["node"], (_NODE % node).encode() * rows)
        uuids = "".join(_UUID % (node, gpu) for gpu in range(self._gpus)).encode()
        _put(out, self._text_at["gpu_uuid"], uuids * self._ticks)
        _put(out, self._text_at["job"], (_JOB % (4_000_000 + node // _NODES_OF_A_JOB)).encode() * rows)
        for at, values in self._pool:
            _put(out, at, values[place : place + self._ticks].tobytes())
        noise = self._noise[place : place + self._ticks]
        for c in self._counting:
            step = (noise[:1] if c.is_slow else noise) * (0.99 * c.rate) + c.rate * self._ticks * flush
            _put(out, c.at, (c.least + step).round(3).astype(c.type).tobytes())
        return out


def _named(values: dict[str, Any], gpu: int) -> dict[str, Any]:
    return values | {"node": _NODE % _NO_NODE, "gpu_uuid": _UUID % (_NO_NODE, gpu), "job": _JOB % _NO_NODE}


def _typed(value: Any, kind: str) -> Any:
    return int(value) if kind == "int64" and isinstance(value, float) else value


def _put(out: bytearray, at: int, new: bytes) -> None:
    out[at : at + len(new)] = new
