"""Samples -> minutes, batch by batch, without keeping a sample: one slot per GPU, one array per statistic.

A GPU's samples come in its own time order, so each GPU has one open minute. A batch is sorted by GPU once; then
every column is reduced over its segments in NumPy and merged into the slots. Memory is a few kilobytes per GPU,
whatever the rate. NaN stands for "not known" inside and becomes null on the way out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pipeline.columns import Counter, Floats, Ints, Last, Segments, Spread
from pipeline.tables import DELTAS, LASTS, ROLLUPS, STATISTICS

_NONE: Final = -1
_MINUTE_US: Final = 60_000_000
_FIRST_SLOTS: Final = 64
_TEXTS: Final = ("node", "pci_bdf", "gpu_state")
_MEASURED: Final = tuple(name for name, kept in STATISTICS.items() if kept)


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
        self._spreads = {name: Spread(self._size) for name in _MEASURED}
        self._counters = {name: Counter(self._size) for name in DELTAS}
        self._lasts = {f.name: Last(self._size) for f in LASTS}
        self._finished: list[pl.DataFrame] = []

    def add(self, rows: pl.DataFrame) -> None:
        """Take telemetry rows, each GPU's in time order and none of them before its open minute."""
        if rows.is_empty():
            return
        slots = self._slots(rows["gpu_uuid"])
        minutes = rows["time"].dt.epoch("us").to_numpy() // _MINUTE_US
        segments = Segments(slots)
        arranged = minutes[segments.order]
        of_segment = arranged[segments.starts]
        if (arranged == segments.spread(of_segment)).all():
            self._merge(rows, segments, segments.order, of_segment)
            return
        for minute in np.unique(minutes):  # some GPU passes from one minute to the next in this batch
            chosen = np.flatnonzero(minutes == minute)
            segments = Segments(slots[chosen])
            self._merge(rows, segments, chosen[segments.order], minute)

    def take(self, closed: Mapping[str, int]) -> pl.DataFrame:
        """ROLLUPS rows of the minutes up to `closed` (node -> minute since the epoch); they leave the slots."""
        nodes = self._text["node"][: len(self._slot_of)]
        limit = np.fromiter((closed.get(n, _NONE) for n in nodes), int, len(nodes))
        open_minute = self._minute[: len(nodes)]
        self._finish(np.flatnonzero((open_minute != _NONE) & (open_minute <= limit)))
        done = pl.concat([pl.DataFrame(schema=ROLLUPS), *self._finished])
        ready = done["minute"].dt.epoch("s") // 60 <= done["node"].replace_strict(
            dict(closed), default=_NONE, return_dtype=pl.Int64
        )
        self._finished = [done.filter(~ready)]
        return done.filter(ready).sort("gpu_uuid", "minute")

    def _merge(self, rows: pl.DataFrame, segments: Segments, order: Ints, minute: Ints) -> None:
        """Reduce `rows[order]` over `segments`; `minute` is each segment's, or one for all."""
        mine = segments.slots
        before = self._minute[mine]
        self._finish(mine[(before != _NONE) & (before < minute)])
        self._minute[mine] = minute
        everything = len(order) == rows.height and bool((order[1:] > order[:-1]).all())
        sub = rows if everything else rows[order]
        self._identify(sub, segments)
        for name, spread in self._spreads.items():
            if sub[name].null_count() < sub.height:
                spread.add(segments, _floats(sub[name]))
        for name, counter in self._counters.items():
            if sub[name].null_count() < sub.height:
                counter.add(segments, _floats(sub[name]))
        for name, last in self._lasts.items():
            if sub[name].null_count() < sub.height:
                last.add(segments, _floats(sub[name]))

    def _identify(self, sub: pl.DataFrame, segments: Segments) -> None:
        mine = segments.slots
        self._counts["samples"][mine] += segments.lengths
        self._counts["good_samples"][mine] += segments.total(
            (sub["gpu_state"] == "ok").fill_null(value=False).to_numpy()
        )
        failed = (sub["nvml_return"] != 0).fill_null(value=False).to_numpy()
        self._counts["nvml_errors"][mine] += segments.total(failed)
        gap = np.fmax.reduceat(_floats(sub["gap_s"]), segments.starts)
        self._gap[mine] = np.fmax(self._gap[mine], gap)
        ends = sub[segments.ends]
        self._synthetic[mine] |= np.logical_or.reduceat(
            sub["synthetic"].fill_null(value=False).to_numpy(), segments.starts
        )
        self._index[mine] = _floats(ends["gpu_index"])
        for name in _TEXTS:
            self._text[name][mine] = ends[name].to_numpy()
        if sub["job"].null_count() < sub.height:
            jobs = sub["job"].to_numpy()
            found, where = segments.last_valid(sub["job"].is_not_null().to_numpy())
            self._text["job"][mine[found]] = jobs[where[found]]

    def _finish(self, slots: Ints) -> None:
        """The open minutes of `slots` become rows; the slots are empty then, but remember their counters."""
        if not len(slots):
            return
        columns: dict[str, pl.Series | NDArray[np.generic]] = {
            "minute": pl.Series(self._minute[slots] * _MINUTE_US).cast(ROLLUPS["minute"]),
            "gpu_index": self._index[slots], "synthetic": self._synthetic[slots], "gap_max_s": self._gap[slots],
            **{name: counts[slots] for name, counts in self._counts.items()},
            **{name: pl.Series(text[slots].tolist(), dtype=pl.String) for name, text in self._text.items()},
        }  # fmt: skip
        for name, spread in self._spreads.items():
            columns |= {f"{name}_{s}": v for s, v in spread.take(slots, STATISTICS[name]).items()}
        columns |= {f"{name}_delta": counter.take(slots) for name, counter in self._counters.items()}
        columns |= {f"{name}_last": last.take(slots) for name, last in self._lasts.items()}
        frame = pl.DataFrame(columns)
        self._finished.append(
            frame.select(
                (pl.col(n).fill_nan(None) if frame.schema[n].is_float() else pl.col(n)).cast(kind)
                for n, kind in ROLLUPS.items()
            )
        )
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
