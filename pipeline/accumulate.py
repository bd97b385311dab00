"""Samples -> minutes, batch by batch, without keeping a sample: one slot per GPU, one array per statistic.

A GPU's samples come in its own time order, so each GPU has one open minute. A batch is laid out by GPU once
(pipeline.columns.Grid); then every column is reduced in NumPy and merged into the slots. Memory is a few
kilobytes per GPU, whatever the rate. NaN stands for "not known" inside and becomes null on the way out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pipeline.columns import Counter, Floats, Grid, Ints, Last, Spread, last_known
from pipeline.tables import DELTAS, LASTS, ROLLUPS, STATISTICS

_NONE: Final = -1
_MINUTE_US: Final = 60_000_000
_FIRST_SLOTS: Final = 64
_TEXTS: Final = ("node", "pci_bdf", "gpu_state")
_MEASURED: Final = tuple(name for name, kept in STATISTICS.items() if kept)
_REDUCED: Final = tuple(dict.fromkeys([*_MEASURED, *DELTAS, *(f.name for f in LASTS)]))
_Finished = dict[str, NDArray[Any]]
"""Columns of ROLLUPS for some GPUs, `minute` since the epoch and NaN for null."""


class MinuteAccumulator:
    """`carry` (pipeline.rollup.CARRY) holds the counters that each GPU's first delta starts from."""

    def __init__(self, carry: pl.DataFrame) -> None:
        self._slot_of: dict[str, int] = {}
        self._carry = {uuid: i for i, uuid in enumerate(carry["gpu_uuid"])}
        self._carried = {c: carry[c].to_numpy().astype(float) for c in DELTAS}
        self._size = _FIRST_SLOTS
        self._minute: Ints = np.full(self._size, _NONE)
        self._counts: dict[str, Ints] = {
            n: np.zeros(self._size, int) for n in ("samples", "good_samples", "nvml_errors")
        }
        self._gap: Floats = np.full(self._size, np.nan)
        self._synthetic: NDArray[np.bool_] = np.zeros(self._size, bool)
        self._index: Floats = np.full(self._size, np.nan)
        self._text: dict[str, NDArray[np.object_]] = {
            n: np.full(self._size, None, object) for n in (*_TEXTS, "job", "gpu_uuid")
        }
        self._spreads = {name: Spread(self._size, STATISTICS[name]) for name in _MEASURED}
        self._counters = {name: Counter(self._size) for name in DELTAS}
        self._lasts = {f.name: Last(self._size) for f in LASTS}
        self._finished: list[_Finished] = []
        self._waiting = pl.DataFrame(schema=ROLLUPS)

    def add(self, rows: pl.DataFrame) -> None:
        """Take telemetry rows, each GPU's in time order and none of them before its open minute."""
        if rows.is_empty():
            return
        slots = self._slots(rows["gpu_uuid"])
        minutes = rows["time"].dt.epoch("us").to_numpy() // _MINUTE_US
        every = np.unique(minutes)
        for minute in every:
            chosen = np.flatnonzero(minutes == minute) if len(every) > 1 else np.arange(rows.height)
            for grid in Grid.of(slots[chosen], chosen):
                self._merge(rows, grid, int(minute))

    def take(self, closed: Mapping[str, int]) -> pl.DataFrame:
        """ROLLUPS rows of the minutes up to `closed` (node -> minute since the epoch); they leave the slots."""
        nodes = self._text["node"][: len(self._slot_of)]
        limit = np.fromiter((closed.get(n, _NONE) for n in nodes), int, len(nodes))
        open_minute = self._minute[: len(nodes)]
        self._finish(np.flatnonzero((open_minute != _NONE) & (open_minute <= limit)))
        done = pl.concat([self._waiting, *_framed(self._finished)])
        ready = done["minute"].dt.epoch("s") // 60 <= done["node"].replace_strict(
            dict(closed), default=_NONE, return_dtype=pl.Int64
        )
        self._finished, self._waiting = [], done.filter(~ready)
        return done.filter(ready).sort("gpu_uuid", "minute")

    def _merge(self, rows: pl.DataFrame, grid: Grid, minute: int) -> None:
        """Reduce the rows of `grid`, all of them of one minute."""
        mine = grid.slots
        before = self._minute[mine]
        self._finish(mine[(before != _NONE) & (before < minute)])
        self._minute[mine] = minute
        self._identify(rows, grid)
        for name in _REDUCED:
            column = rows[name]
            unknown = column.null_count()
            if unknown == rows.height:
                continue
            values, whole = _floats(column), unknown == 0
            if name in self._spreads or name in self._counters or not whole:
                self._reduce(name, grid, grid.take(values), whole=whole and grid.even)
            else:
                self._lasts[name].add(mine, values[grid.ends])

    def _reduce(self, name: str, grid: Grid, values: Floats, *, whole: bool) -> None:
        if name in self._spreads:
            self._spreads[name].add(grid, values, whole=whole)
        if name in self._counters:
            self._counters[name].add(grid, values, whole=whole)
        if name in self._lasts:
            self._lasts[name].add(grid.slots, values[-1] if whole else last_known(values))

    def _identify(self, rows: pl.DataFrame, grid: Grid) -> None:
        mine = grid.slots
        self._counts["samples"][mine] += grid.lengths
        for name, true in (
            ("good_samples", rows["gpu_state"] == "ok"),
            ("nvml_errors", rows["nvml_return"] != 0),
        ):
            self._counts[name][mine] += grid.total(true.fill_null(value=False).to_numpy())
        gap = np.fmax.reduce(grid.take(_floats(rows["gap_s"])), axis=0)
        self._gap[mine] = np.fmax(self._gap[mine], gap)
        self._synthetic[mine] |= grid.total(rows["synthetic"].fill_null(value=False).to_numpy()) > 0
        self._index[mine] = _floats(rows["gpu_index"])[grid.ends]
        for name in _TEXTS:
            self._text[name][mine] = rows[name].gather(grid.ends).to_numpy()
        if rows["job"].null_count() < rows.height:
            place = np.where(rows["job"].is_not_null(), np.arange(rows.height, dtype=float), np.nan)
            last = last_known(grid.take(place))
            known = ~np.isnan(last)
            self._text["job"][mine[known]] = rows["job"].gather(last[known].astype(int)).to_numpy()

    def _finish(self, slots: Ints) -> None:
        """The open minutes of `slots` become rows; the slots are empty then, but remember their counters."""
        if not len(slots):
            return
        columns: _Finished = {
            "minute": self._minute[slots], "gpu_index": self._index[slots], "synthetic": self._synthetic[slots],
            "gap_max_s": self._gap[slots],
            **{name: counts[slots] for name, counts in self._counts.items()},
            **{name: text[slots] for name, text in self._text.items()},
        }  # fmt: skip
        for name, spread in self._spreads.items():
            columns |= {f"{name}_{s}": v for s, v in spread.take(slots).items()}
        columns |= {f"{name}_delta": counter.take(slots) for name, counter in self._counters.items()}
        columns |= {f"{name}_last": last.take(slots) for name, last in self._lasts.items()}
        self._finished.append(columns)
        self._minute[slots] = _NONE
        self._gap[slots] = np.nan
        self._synthetic[slots] = False
        self._text["job"][slots] = None
        for counts in self._counts.values():
            counts[slots] = 0

    def _slots(self, uuids: pl.Series) -> Ints:
        distinct = uuids.unique(maintain_order=True)
        for uuid in distinct:
            if uuid not in self._slot_of:
                self._new_slot(uuid)
        table = pl.DataFrame(
            {"gpu_uuid": distinct, "slot": [self._slot_of[u] for u in distinct]},
            schema={"gpu_uuid": pl.String(), "slot": pl.Int64()},
        )
        found = uuids.to_frame().join(table, on="gpu_uuid", how="left", maintain_order="left")
        return found["slot"].to_numpy()

    def _new_slot(self, uuid: str) -> None:
        slot = self._slot_of[uuid] = len(self._slot_of)
        if slot == self._size:
            self._grow()
        self._text["gpu_uuid"][slot] = uuid
        carried = self._carry.get(uuid)
        if carried is not None:
            for name, counter in self._counters.items():
                counter.previous[slot] = self._carried[name][carried]

    def _grow(self) -> None:
        more = self._size
        self._size *= 2
        self._minute = np.concatenate([self._minute, np.full(more, _NONE)])
        self._gap = np.concatenate([self._gap, np.full(more, np.nan)])
        self._index = np.concatenate([self._index, np.full(more, np.nan)])
        self._synthetic = np.concatenate([self._synthetic, np.zeros(more, bool)])
        self._counts = {n: np.concatenate([a, np.zeros(more, int)]) for n, a in self._counts.items()}
        self._text = {n: np.concatenate([a, np.full(more, None, object)]) for n, a in self._text.items()}
        for columns in (self._spreads, self._counters, self._lasts):
            for column in columns.values():
                column.grow(more)


def _floats(series: pl.Series) -> Floats:
    """Null -> NaN. Counters above 2**53 lose their last digits, which no delta of a minute is made of."""
    return series.cast(pl.Float64).to_numpy()


def _framed(finished: Sequence[_Finished]) -> Iterator[pl.DataFrame]:
    """The rows of all at once: 250 columns are made a frame once a minute, not once a batch."""
    if not finished:
        return
    columns = {name: np.concatenate([some[name] for some in finished]) for name in finished[0]}
    texts = {
        name: pl.Series(columns[name].tolist(), dtype=pl.String) for name in (*_TEXTS, "job", "gpu_uuid")
    }
    minute = pl.Series(columns["minute"] * _MINUTE_US).cast(ROLLUPS["minute"])
    frame = pl.DataFrame(columns | texts | {"minute": minute})
    made = frame.schema  # asked once: it is put together anew each time
    yield frame.select(
        (pl.col(n).fill_nan(None) if made[n].is_float() else pl.col(n)).cast(kind)
        for n, kind in ROLLUPS.items()
    )
