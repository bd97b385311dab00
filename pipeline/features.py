"""Rollups and events -> one row of features per GPU per minute. The same code for training and for live scoring.

Every feature sees only what was known at the end of its minute. `FEATURES` is the one table: the matrix, the
documentation (docs/features.md) and the hash that every model and prediction carries are made from it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import numpy as np
import polars as pl

from pipeline.blocks import blocks
from pipeline.event_history import EventHistory
from pipeline.minute_features import minute_features
from pipeline.signals import INPUTS, KEYS, Floats, minute_numbers
from pipeline.tables import ROLLUPS

__all__ = [
    "EMPTY",
    "FEATURES",
    "FEATURE_SET",
    "INPUTS",
    "KEYS",
    "NAMES",
    "features",
    "matrix",
]

_GPU_MINUTE: Final = ("gpu_uuid", "minute")
_EVER: Final = 0


@dataclass(frozen=True, slots=True)
class Feature:
    """One column of the matrix. `window` is how far it looks back; "" is the minute itself."""

    name: str
    unit: str
    window: str
    source: str
    why: str
    literature: str


_DAY: Final = "24 h by the clock hour"

# fmt: off
FEATURES: Final[tuple[Feature, ...]] = (
    Feature("nvlink_crc_3m", "errors", "3 min", "nvlink_crc_flit+data deltas", "the ramp now", "DCGM health watch: a link with 100 CRC errors/s fails"),
    Feature("nvlink_crc_10m", "errors", "10 min", "nvlink_crc_flit+data deltas", "a link that degrades for minutes", "DCGM health watch"),
    Feature("nvlink_crc_minutes_10m", "min", "10 min", "minutes with NVLink CRC errors", "a link that fails repeats; a lone burst is none", "judged: persistence tells growth from noise"),
    Feature("nvlink_replay_10m", "errors", "10 min", "nvlink replay+recovery deltas", "any is a fault to NVIDIA's own watch", "DCGM health watch: fails a GPU on any replay or recovery"),
    Feature("nvlink_replay_24h", "errors", _DAY, "nvlink replay+recovery deltas", "a link that comes back again and again", "Delta (A100): 66 % of NVLink errors recur on the same GPU"),
    Feature("pcie_replay_10m", "errors", "10 min", "pcie_replay delta", "precedes Xid 79 sometimes", "RSC (HPCA'25): 43 % of PCIe errors come with Xid 79"),
    Feature("pcie_replay_minutes_10m", "min", "10 min", "minutes with PCIe replays", "a link that fails repeats; a lone burst is none", "judged: persistence tells growth from noise"),
    Feature("pcie_width_drop", "lanes", "60 min", "pcie_width, the largest against now", "the link lost lanes", "Minder (NSDI'25): PCIe downgrade is 8.6 % of faults"),
    Feature("ecc_sbe_60m", "errors", "60 min", "ecc_sbe_volatile delta", "weak alone, watched as Xid 92", "Calchas (ATC'24): no clear rate of CEs before UEs"),
    Feature("ecc_sbe_24h", "errors", _DAY, "ecc_sbe_volatile delta", "a cell that wears, and not one storm", "Nie et al. (DSN'18): SBE history of node and job"),
    Feature("sram_correctable_60m", "errors", "60 min", "sram_correctable_volatile delta", "errors in caches and registers, which no remap mends", "NVIDIA: nvmlEccSramErrorStatus_t, its threshold for replacement; Llama 3: 4.5 % of interruptions"),
    Feature("ecc_dbe_60m", "errors", "60 min", "ecc_dbe_volatile delta", "terminal for the job (Xid 48)", "Delta: Xid 48 ends about 90 % of jobs"),
    Feature("remapped_uncorrectable_60m", "rows", "60 min", "remapped_rows_uncorrectable delta", "the strongest memory precursor", "SuperBench (ATC'24); NVIDIA GPU memory error management"),
    Feature("remapped_rows_24h", "rows", _DAY, "remapped rows of both kinds, deltas", "growth, where the total says only that there was some", "Lablup, 504 B200 (2026): 254 remaps without an Xid, then gone"),
    Feature("remapped_rows", "rows", "", "remapped rows of both kinds", "more than 10: the node regresses", "SuperBench: > 10 rows 83 % of nodes regress, 1-10 5.6 %"),
    Feature("remap_pending", "0/1", "", "remap_pending", "a reset is due", "NVIDIA GPU memory error management"),
    Feature("remap_failure", "0/1", "", "remap_failure", "the spare rows are gone: replace", "NVIDIA RMA criterion"),
    Feature("recovery_action", "code", "", "recovery_action (field 230)", "the driver's own verdict", "NVML: nvmlDeviceGpuRecoveryAction_t"),
    Feature("thermal_violation_10m", "us", "10 min", "thermal_violation_us delta", "throttled by temperature", "DCGM health watch: thermal violations"),
    Feature("thermal_violation_24h", "us", _DAY, "thermal_violation_us delta", "a cooler that fails slowly, and not one warm job", "Llama 3 (table 5): thermal interface and sensor are 1.4 % of interruptions"),
    Feature("temperature_peer_delta_c", "C", "", "temperature_c against the node's median", "cools worse than its neighbours", "Nie et al. (DSN'18): neighbours' temperature; weak on Titan and Summit"),
    Feature("temperature_own_delta_c", "C", "60 min", "temperature_c against itself at power within 10 %", "warmer than an hour ago at the same work: cooling changed", "judged"),
    Feature("power_swing_15m", "W", "15 min", "power_w, range of minute means", "larger before double-bit errors", "Oles et al. (ICS'24), Summit"),
    Feature("gap_excess_10m", "s", "10 min", "gap_s, largest, against the node's median", "scrape gaps; a gap of the whole node is not this GPU's", "When GPUs Fail Quietly (GWDG 2026): the early sign of off-bus faults"),
    Feature("bad_sample_share_10m", "ratio", "10 min", "good_samples / samples", "a GPU that answers only sometimes", "When GPUs Fail Quietly (GWDG 2026)"),
    Feature("nvml_errors_10m", "samples", "10 min", "nvml_return", "failing driver calls", "When GPUs Fail Quietly (GWDG 2026): the observability plane"),
    Feature("nvml_latency_ratio", "ratio", "60 min", "nvml_latency_us + 1000, mean of 3 min / of the 57 min before, against the node's median", "proxy for the latency of GSP calls (Xid 119)", "judged: no counter tells it"),
    Feature("gpu_down", "0/1", "", "gpu_state", "lost or hung: it has failed already", "definition"),
    Feature("fault_events_24h", "events", "24 h", "events: fault codes, lost, missing, hung", "recurrence is the best predictor", "Summit: 44 % of DBEs within 120 h of another; ISEE; RSC lemon nodes"),
    Feature("fault_events_7d", "events", "7 d", "events: fault codes, lost, missing, hung", "most repeats come within days", "Summit: median 20 h, mean 20 d between DBEs of a GPU"),
    Feature("fault_events_90d", "events", "90 d", "events: fault codes, lost, missing, hung", "the repeat offender", "HeaRank (KDD'26): 5 % of nodes have 64 % of failures; RSC: 28 days"),
    Feature("hours_since_fault", "h", "90 d", "events: fault codes, lost, missing, hung", "null where there was none: risk falls with time", "Summit: streaks are at most 5 days apart"),
    Feature("precursor_events_24h", "events", "24 h", "events: codes 63 92 94 121 156 160 164", "named precursors", "NVIDIA Xid catalogue: what tends to follow each code"),
    Feature("application_events_24h", "events", "24 h", "events: codes 13 31 43 45", "mostly the job, not the GPU", "Delta: 60 % (A100), 95 % (H100) of critical events"),
    Feature("node_fault_events_24h", "events", "24 h", "faults of the node's other GPUs", "board, power, switch and cooling are shared", "Delta: 14 % of NVLink errors spread to a neighbour"),
    Feature("slot_fault_events_90d", "events", "90 d", "faults of other cards in this node and pci_bdf", "a slot that kills cards", "Summit: slots differ (centre GPUs fail less)"),
)
# fmt: on

NAMES: Final = tuple(f.name for f in FEATURES)
FEATURE_SET: Final = hashlib.blake2b(repr(FEATURES).encode(), digest_size=8).hexdigest()
"""Hash of the table. A model trained on another feature set is refused."""
_SCHEMA: Final = pl.Schema({k: ROLLUPS[k] for k in KEYS} | dict.fromkeys(NAMES, pl.Float64()))
EMPTY: Final = pl.DataFrame(schema=_SCHEMA)
"""The matrix without rows."""


def features(rollups: pl.DataFrame, events: pl.DataFrame, *, since: datetime | None = None) -> pl.DataFrame:
    """Feature matrix: KEYS and one Float64 column per feature, a row per GPU and minute, in the order of `rollups`.

    With `since` (a minute) only rows from there on are returned; earlier rollups serve as their history, and a day
    of it makes them whole. Null means unknown. `rollups` has KEYS and INPUTS columns at least, in any order; of a
    minute that it holds twice the first row counts. `events` has EVENT_COLUMNS at least, of 90 days for the same.
    """
    once = rollups.select(*KEYS, *INPUTS)
    if once.select(_GPU_MINUTE).is_duplicated().any():
        once = once.unique(_GPU_MINUTE, keep="first", maintain_order=True)
    first = _EVER if since is None else int(since.timestamp()) // 60
    wanted = minute_numbers(once) >= first
    place = np.cumsum(wanted) - 1
    rows = once.select(KEYS).filter(wanted)
    values = {name: np.full(rows.height, np.nan) for name in NAMES}
    for block in blocks(once, first):
        for name, found in minute_features(block).items():
            values[name][place[block.rows.at]] = found[block.place]
    return matrix(rows, values | EventHistory(events).features(rows))


def matrix(rows: pl.DataFrame, values: Mapping[str, Floats]) -> pl.DataFrame:
    """KEYS of `rows` beside the features, one value per row; NaN becomes null."""
    columns = [pl.Series(name, values[name], dtype=pl.Float64, nan_to_null=True) for name in NAMES]
    return rows.select(KEYS).with_columns(columns).cast(_SCHEMA)
