"""What is known of a GPU's past from events: how often, how lately, on this node, in this slot.

Every count is of events strictly before the end of the row's minute, one fingerprint counted once, as it was first
told: what is learnt of it later changes no earlier row. Most GPUs have no events, and cost nothing here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Final

import numpy as np
import polars as pl

from collector.xid_catalogue import is_application, is_fault, is_precursor
from pipeline.signals import Floats, Ints

EVENT_LOOK_BACK_DAYS: Final = 90
"""No feature looks further back than this, in training or live."""
EVENT_COLUMNS: Final = (
    "time", "fingerprint", "node", "gpu_uuid", "pci_bdf", "kind", "code", "text", "count", "last_time",
)  # fmt: skip
"""Columns of EVENTS that the history is made from."""
FAULT_KINDS: Final = ("gpu_lost", "gpu_missing", "nvml_hang")
"""Kinds of event that are a fault without a code."""

_DAY_US: Final = 86_400_000_000
_MINUTE_US: Final = 60_000_000
_SLOT: Final = ("node", "pci_bdf")


class EventHistory:
    """`events` has EVENT_COLUMNS at least, in any order, repeats allowed. It does not change afterwards."""

    def __init__(self, events: pl.DataFrame) -> None:
        once = as_first_told(events)
        faults = once.filter(is_a_fault())
        self._faults = _Timeline(faults, ("gpu_uuid",))
        self._precursors = _Timeline(once.filter(_has_code(is_precursor)), ("gpu_uuid",))
        self._application = _Timeline(once.filter(_has_code(is_application)), ("gpu_uuid",))
        self._of_node = _Timeline(faults, ("node",))
        self._own_on_node = _Timeline(faults, ("gpu_uuid", "node"))
        self._of_slot = _Timeline(faults, _SLOT)
        self._own_in_slot = _Timeline(faults, ("gpu_uuid", *_SLOT))

    def features(self, rows: pl.DataFrame) -> dict[str, Floats]:
        """Feature -> one value per row of `rows` (KEYS). Counts are never unknown; `hours_since_fault` may be NaN.

        An event that names no GPU is, for its node and slot, one of another GPU.
        """
        end_us = rows["minute"].dt.epoch("us").to_numpy() + _MINUTE_US
        node = self._of_node.count(rows, end_us, 1) - self._own_on_node.count(rows, end_us, 1)
        slot = self._of_slot.count(rows, end_us, 90) - self._own_in_slot.count(rows, end_us, 90)
        return {
            "fault_events_24h": self._faults.count(rows, end_us, 1),
            "fault_events_7d": self._faults.count(rows, end_us, 7),
            "fault_events_90d": self._faults.count(rows, end_us, EVENT_LOOK_BACK_DAYS),
            "hours_since_fault": self._faults.hours_since(rows, end_us, EVENT_LOOK_BACK_DAYS),
            "precursor_events_24h": self._precursors.count(rows, end_us, 1),
            "application_events_24h": self._application.count(rows, end_us, 1),
            "node_fault_events_24h": node,
            "slot_fault_events_90d": slot,
        }


def as_first_told(events: pl.DataFrame) -> pl.DataFrame:
    """EVENT_COLUMNS of each fingerprint's first row, in the order of time."""
    told = events.select(EVENT_COLUMNS).sort("time", "last_time", "count", nulls_last=False)
    return told.unique("fingerprint", keep="first", maintain_order=True)


def needed(events: pl.DataFrame, oldest: datetime) -> pl.DataFrame:
    """The events that rows from `oldest` on may look at: faults of 90 days, the others of one."""
    faults = is_a_fault() & (pl.col("time") >= oldest - timedelta(days=EVENT_LOOK_BACK_DAYS))
    return as_first_told(events).filter(faults | (pl.col("time") >= oldest - timedelta(days=1)))


def is_a_fault() -> pl.Expr:
    """A GPU lost or hung, or a fault's Xid. NVLink5 codes (144-150) are faults where their line says Fatal."""
    said_fatal = pl.col("text").str.contains(r"(?i)\bfatal\b") & ~pl.col("text").str.contains(
        "(?i)non-?fatal"
    )
    fatal = _has_code(lambda code: is_fault(code, fatal=True)) & said_fatal.fill_null(value=False)
    return pl.col("kind").is_in(FAULT_KINDS) | _has_code(is_fault) | fatal


def _has_code(belongs: Callable[[int], bool]) -> pl.Expr:
    codes = [code for code in range(_CODES) if belongs(code)]
    return (pl.col("kind") == "xid") & pl.col("code").is_in(codes).fill_null(value=False)


_CODES: Final = 1000
"""Xids are far below; SXids, which begin at 10,000, are no GPU's."""


class _Timeline:
    """The times of events per key, e.g. per GPU: counts before a time, for rows that have such a key."""

    def __init__(self, events: pl.DataFrame, key: Sequence[str]) -> None:
        self._key = list(key)
        named = events.drop_nulls(self._key)
        self._keys = named.select(self._key).unique(maintain_order=True).with_row_index("_code")
        code = named.join(self._keys, on=self._key, how="left", maintain_order="left")["_code"].to_numpy()
        time_us = named["time"].dt.epoch("us").to_numpy()
        order = np.lexsort((time_us, code))
        self._time_us: Ints = time_us[order]
        # (key, time) as one growing number: searched at once for all rows
        self._moments = np.unique(time_us)
        self._stride = len(self._moments) + 1
        self._places = code[order].astype(np.int64) * self._stride + np.searchsorted(
            self._moments, self._time_us
        )

    def count(self, rows: pl.DataFrame, end_us: Ints, days: int) -> Floats:
        """Events of each row's key in [end - days, end)."""
        out = np.zeros(rows.height)
        mine, code = self._matching(rows)
        end = end_us[mine]
        out[mine] = self._before(code, end) - self._before(code, end - days * _DAY_US)
        return out

    def hours_since(self, rows: pl.DataFrame, end_us: Ints, days: int) -> Floats:
        """From the last event before each row's end to that end; NaN where there is none within `days`."""
        out = np.full(rows.height, np.nan)
        mine, code = self._matching(rows)
        end = end_us[mine]
        last = self._before(code, end)
        some = last > self._before(code, end - days * _DAY_US)
        out[mine[some]] = (end[some] - self._time_us[last[some] - 1]) / 3.6e9
        return out

    def _matching(self, rows: pl.DataFrame) -> tuple[Ints, Ints]:
        """The rows that have a key with events, and its number."""
        if self._keys.is_empty():
            return np.empty(0, np.int64), np.empty(0, np.int64)
        found = rows.select(self._key).with_row_index("_row").join(self._keys, on=self._key)
        return found["_row"].to_numpy().astype(np.int64), found["_code"].to_numpy().astype(np.int64)

    def _before(self, code: Ints, time_us: Ints) -> Ints:
        """How many events of all lower keys, and of this key strictly before `time_us`, there are."""
        rank = np.searchsorted(self._moments, time_us)
        return np.searchsorted(self._places, code * self._stride + rank)
