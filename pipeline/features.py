"""Rollups and events -> one row of features per GPU per minute. THE function of training and of live scoring.

Every feature sees only what was known at the end of its minute. `FEATURES` is the one table: the matrix, the
documentation and the hash that every model and prediction carries are made from it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import polars as pl

from collector.xid_catalogue import is_application, is_fault, is_precursor

KEYS: Final = ("gpu_uuid", "minute", "node", "gpu_index", "pci_bdf", "synthetic")
EVENT_WINDOW_MINUTES: Final = 24 * 60
LOOK_BACK_MINUTES: Final = 60
"""The longest rollup window: live scoring needs this much history, and no more."""


@dataclass(frozen=True, slots=True)
class Feature:
    """One column of the matrix. `window_minutes` 0 means the minute itself."""

    name: str
    unit: str
    window_minutes: int
    source: str
    why: str


# fmt: off
FEATURES: Final[tuple[Feature, ...]] = (
    Feature("nvlink_crc_3m", "errors", 3, "nvlink_crc_flit+data deltas", "the ramp now; DCGM fails a link at 100 CRC/s"),
    Feature("nvlink_crc_10m", "errors", 10, "nvlink_crc_flit+data deltas", "a link that degrades for minutes"),
    Feature("nvlink_replay_10m", "errors", 10, "nvlink replay+recovery deltas", "DCGM fails a GPU on any replay or recovery"),
    Feature("pcie_replay_10m", "errors", 10, "pcie_replay delta", "precedes Xid 79 sometimes"),
    Feature("pcie_width_drop", "lanes", 60, "pcie_width", "PCIe downgrade: 8.6 % of Minder's faults"),
    Feature("ecc_sbe_60m", "errors", 60, "ecc_sbe_volatile delta", "weak alone (Calchas), watched as Xid 92"),
    Feature("ecc_dbe_60m", "errors", 60, "ecc_dbe_volatile delta", "terminal for the job (Xid 48)"),
    Feature("remapped_uncorrectable_60m", "rows", 60, "remapped_rows_uncorrectable delta", "strongest memory precursor"),
    Feature("remapped_rows", "rows", 0, "remapped rows, both kinds", ">10 rows: 83 % of nodes regress; 1-10: 5.6 % (SuperBench)"),
    Feature("remap_pending", "0/1", 0, "remap_pending", "a reset is due"),
    Feature("remap_failure", "0/1", 0, "remap_failure", "spare rows are gone: replace"),
    Feature("recovery_action", "code", 0, "recovery_action (field 230)", "the driver's own verdict"),
    Feature("thermal_violation_10m", "us", 10, "thermal_violation_us delta", "throttled by temperature"),
    Feature("temperature_peer_delta_c", "C", 0, "temperature_c against the node's median", "a card that cools worse than its neighbours"),
    Feature("power_swing_15m", "W", 15, "power_w range of minute means", "larger before DBEs on Summit (Oles et al., ICS'24)"),
    Feature("gap_excess_10m", "s", 10, "gap_s against the node's median", "scrape gaps: the early sign of off-bus faults (GWDG 2026); a gap of the whole node is not this GPU's"),
    Feature("bad_sample_share_10m", "ratio", 10, "good_samples / samples", "a GPU that answers only sometimes"),
    Feature("nvml_errors_10m", "samples", 10, "nvml_return", "failing driver calls"),
    Feature("nvml_latency_ratio", "ratio", 60, "nvml_latency_us max 3 min / median 60 min", "proxy for GSP RPC latency (Xid 119)"),
    Feature("gpu_down", "0/1", 0, "gpu_state", "lost or hung: it has failed already"),
    Feature("fault_events_24h", "events", EVENT_WINDOW_MINUTES, "events, fault codes", "recurrence is the best predictor (Summit, ISEE, RSC)"),
    Feature("precursor_events_24h", "events", EVENT_WINDOW_MINUTES, "events, codes 63 92 94 121", "named precursors"),
    Feature("application_events_24h", "events", EVENT_WINDOW_MINUTES, "events, codes 13 31 43 45", "mostly the job, not the GPU"),
)
# fmt: on

NAMES: Final = tuple(f.name for f in FEATURES)
FEATURE_SET: Final = hashlib.blake2b(repr(FEATURES).encode(), digest_size=8).hexdigest()
"""Hash of the table. A model trained on another feature set is refused."""


def features(rollups: pl.DataFrame, events: pl.DataFrame, *, since: datetime | None = None) -> pl.DataFrame:
    """Feature matrix: KEYS and one Float64 column per feature, a row per row of `rollups`.

    With `since` (a minute) only rows from there on are returned; earlier rollups serve as their history.
    Null means unknown. `rollups` and `events` have the columns of `pipeline.tables`.
    """
    ordered = rollups.with_columns(_derived()).sort("gpu_uuid", "minute")
    ordered = ordered.with_columns(
        (pl.col("temperature_c_mean") - pl.col("temperature_c_mean").median().over("node", "minute")).alias(
            "temperature_peer_delta_c"
        )
    )
    out = ordered
    for window in (3, 10, 15, 60):
        out = out.join(_rolled(ordered, window), on=["gpu_uuid", "minute"], how="left")
    out = out.with_columns(_combined())
    if since is not None:
        out = out.filter(pl.col("minute") >= since)
    out = _with_event_counts(out, events)
    return out.select(*KEYS, *(pl.col(n).cast(pl.Float64) for n in NAMES))


def _derived() -> list[pl.Expr]:
    return [
        (pl.col("nvlink_crc_flit_errors_delta") + pl.col("nvlink_crc_data_errors_delta")).alias("_crc"),
        (pl.col("nvlink_replay_errors_delta") + pl.col("nvlink_recovery_errors_delta")).alias("_replay"),
        (pl.col("remapped_rows_correctable_last") + pl.col("remapped_rows_uncorrectable_last")).alias(
            "remapped_rows"
        ),
        pl.col("remap_pending_last").alias("remap_pending"),
        pl.col("remap_failure_last").alias("remap_failure"),
        pl.col("recovery_action_last").alias("recovery_action"),
        pl.col("gpu_state").is_in(["lost", "hung", "missing"]).alias("gpu_down"),
    ]


def _known_sum(column: str, name: str) -> pl.Expr:
    return pl.when(pl.col(column).count() > 0).then(pl.col(column).sum()).alias(name)


def _rolled(ordered: pl.DataFrame, window_minutes: int) -> pl.DataFrame:
    """Aggregates over (minute - window, minute], per GPU."""
    return ordered.rolling("minute", period=f"{window_minutes}m", group_by="gpu_uuid").agg(
        _aggregates(window_minutes)
    )


def _aggregates(window_minutes: int) -> list[pl.Expr]:
    power = pl.col("power_w_mean")
    return {
        3: [
            _known_sum("_crc", "nvlink_crc_3m"),
            pl.col("nvml_latency_us_max").max().alias("_latency_max_3m"),
        ],
        10: [
            _known_sum("_crc", "nvlink_crc_10m"),
            _known_sum("_replay", "nvlink_replay_10m"),
            _known_sum("pcie_replay_delta", "pcie_replay_10m"),
            _known_sum("thermal_violation_us_delta", "thermal_violation_10m"),
            pl.col("gap_max_s").max().alias("_gap_max_10m"),
            pl.col("nvml_errors").sum().alias("nvml_errors_10m"),
            (1 - pl.col("good_samples").sum() / pl.col("samples").sum()).alias("bad_sample_share_10m"),
        ],
        15: [(power.max() - power.min()).alias("power_swing_15m")],
        60: [
            pl.col("pcie_width_last").max().alias("_width_max_60m"),
            _known_sum("ecc_sbe_volatile_delta", "ecc_sbe_60m"),
            _known_sum("ecc_dbe_volatile_delta", "ecc_dbe_60m"),
            _known_sum("remapped_rows_uncorrectable_delta", "remapped_uncorrectable_60m"),
            pl.col("nvml_latency_us_mean").median().alias("_latency_median_60m"),
        ],
    }[window_minutes]


def _against_node(column: str) -> pl.Expr:
    """Above the node's median at the same minute; a lone GPU has no peers to be measured against."""
    value, peers = pl.col(column), pl.len().over("node", "minute")
    return pl.when(peers > 1).then(value - value.median().over("node", "minute")).otherwise(value)


def _combined() -> list[pl.Expr]:
    return [
        _against_node("_gap_max_10m").alias("gap_excess_10m"),
        (pl.col("_width_max_60m") - pl.col("pcie_width_last")).alias("pcie_width_drop"),
        (pl.col("_latency_max_3m") / pl.col("_latency_median_60m")).alias("nvml_latency_ratio"),
    ]


_CLASSES: Final = {
    "fault_events_24h": is_fault,
    "precursor_events_24h": is_precursor,
    "application_events_24h": is_application,
}


def _with_event_counts(rows: pl.DataFrame, events: pl.DataFrame) -> pl.DataFrame:
    """Count each class of events in the window that ends with the row's minute (exclusive)."""
    ended = rows.with_columns((pl.col("minute") + pl.duration(minutes=1)).alias("_end"))
    began = pl.col("_end") - pl.duration(minutes=EVENT_WINDOW_MINUTES)
    out = ended.with_columns(began.alias("_begin"))
    for name, belongs in _CLASSES.items():
        codes = [c for c in events["code"].drop_nulls().unique().to_list() if belongs(int(c))]
        # A driver replays its ring buffer after a restart: one fingerprint counts once.
        chosen = events.filter(pl.col("code").is_in(codes), pl.col("kind") == "xid").unique("fingerprint")
        totals = (
            chosen.sort("time")
            .group_by("gpu_uuid", "time", maintain_order=True)
            .len()
            .with_columns(pl.col("len").cum_sum().over("gpu_uuid").cast(pl.Float64).alias("_total"))
            .select("gpu_uuid", "time", "_total")
            .sort("time")
        )
        upto_end = _total_before(out, totals, "_end")
        upto_begin = _total_before(out, totals, "_begin")
        out = out.with_columns((upto_end - upto_begin).alias(name))
    return out


def _total_before(rows: pl.DataFrame, totals: pl.DataFrame, at: str) -> pl.Series:
    """Per row: how many events of its GPU lie strictly before column `at`."""
    numbered = rows.select("gpu_uuid", at).with_row_index("_row").sort(at)
    joined = numbered.join_asof(
        totals,
        left_on=at,
        right_on="time",
        by="gpu_uuid",
        strategy="backward",
        allow_exact_matches=False,
        check_sortedness=False,  # both are sorted just above
    )
    return joined.sort("_row")["_total"].fill_null(0.0)
