"""What the features read of a rollup row: a few numbers out of its hundreds of columns.

A reader of the lake selects KEYS and INPUTS and nothing else; live scoring keeps each signal only as long as its
longest window. NaN is "not known" here, as null is in the lake.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

KEYS: Final = ("gpu_uuid", "minute", "node", "gpu_index", "pci_bdf", "synthetic")
_DOWN: Final = ("lost", "hung", "missing")


@dataclass(frozen=True, slots=True)
class Signal:
    """The sum of `columns`, unknown where one of them is. `minutes` is the longest window a feature takes of it.

    With `day`, sums per clock hour are kept for 24 hours. Those are integer counters: added in any order, by the
    lake or minute by minute, their sums are the same to the last bit.
    """

    name: str
    columns: tuple[str, ...]
    minutes: int = 1
    day: bool = False


SIGNALS: Final = (
    Signal("crc", ("nvlink_crc_flit_errors_delta", "nvlink_crc_data_errors_delta"), 10),
    Signal("replay", ("nvlink_replay_errors_delta", "nvlink_recovery_errors_delta"), 10, day=True),
    Signal("pcie_replay", ("pcie_replay_delta",), 10),
    Signal("pcie_width", ("pcie_width_last",), 60),
    Signal("sbe", ("ecc_sbe_volatile_delta",), 60, day=True),
    Signal("sram", ("sram_correctable_volatile_delta",), 60),
    Signal("dbe", ("ecc_dbe_volatile_delta",), 60),
    Signal("remapped_uncorrectable", ("remapped_rows_uncorrectable_delta",), 60),
    Signal("remapped", ("remapped_rows_correctable_delta", "remapped_rows_uncorrectable_delta"), day=True),
    Signal("remapped_rows", ("remapped_rows_correctable_last", "remapped_rows_uncorrectable_last")),
    Signal("remap_pending", ("remap_pending_last",)),
    Signal("remap_failure", ("remap_failure_last",)),
    Signal("recovery_action", ("recovery_action_last",)),
    Signal("thermal_us", ("thermal_violation_us_delta",), 10, day=True),
    Signal("temperature_c", ("temperature_c_mean",), 60),
    Signal("power_w", ("power_w_mean",), 60),
    Signal("gap_s", ("gap_max_s",), 10),
    Signal("samples", ("samples",), 10),
    Signal("good_samples", ("good_samples",), 10),
    Signal("nvml_errors", ("nvml_errors",), 10),
    Signal("latency_us", ("nvml_latency_us_mean",), 60),
    Signal("down", ("gpu_state",)),
)
DAY_SIGNALS: Final = tuple(s for s in SIGNALS if s.day)
INPUTS: Final = tuple(dict.fromkeys(c for s in SIGNALS for c in s.columns))
"""Columns of ROLLUPS that the features are made from, beside KEYS."""

LOOK_BACK_MINUTES: Final = max(s.minutes for s in SIGNALS)
"""The longest window over minutes: the row's own minute and those before it."""
LOOK_BACK_HOURS: Final = 24
"""The day tier: the running clock hour and the 23 before it."""


def measured(rows: pl.DataFrame) -> dict[str, Floats]:
    """Every signal of `rows` (KEYS and INPUTS columns at least), one value per row."""
    found = rows.select(expression(s).cast(pl.Float64).fill_null(np.nan).alias(s.name) for s in SIGNALS)
    return {s.name: found[s.name].to_numpy() for s in SIGNALS}


def expression(signal: Signal) -> pl.Expr:
    """The signal as Polars computes it, null where unknown."""
    if signal.name == "down":
        return pl.col("gpu_state").is_in(_DOWN)
    first, *others = (pl.col(c) for c in signal.columns)
    return sum(others, start=first)


def minute_numbers(rows: pl.DataFrame) -> Ints:
    """`minute` as whole minutes since the Unix epoch."""
    return rows["minute"].dt.epoch("s").to_numpy() // 60


def codes(names: pl.Series) -> Ints:
    """Each name as a number, 0 .. n - 1, in the order of the names."""
    distinct = names.unique().sort().to_frame("name").with_row_index("code")
    found = names.to_frame("name").join(distinct, on="name", how="left", maintain_order="left")
    return found["code"].to_numpy().astype(np.int64)
