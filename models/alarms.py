"""From risks a minute to alarms an operator would have seen, and which of them were right.

The time of a risk is its decision time. Risks below some floor need not be there: what is not there is not over.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

import polars as pl

MINUTE_S: Final = 60


@dataclass(frozen=True, slots=True)
class Terms:
    """What is called an alarm and what is called right, in seconds. `stand_s`, `minutes_over`: see `alarms`."""

    horizon_s: float
    min_lead_s: float = 300.0
    stand_s: float = 3600.0
    blind_s: float = 3600.0
    minutes_over: int = 1


def watched(risky: pl.DataFrame, faults: pl.DataFrame, *, blind_s: float) -> pl.DataFrame:
    """`risky` in order, without the minutes of an open episode: [time, last_time (or time) + blind_s) of a fault.

    Adds `next_fault`, the time of the GPU's first fault strictly after the row; null: none is known. Which faults
    are a GPU's: see `judge`.
    """
    of_gpu = _of_gpus(risky, faults)
    ended = pl.max_horizontal("time", "last_time") if "last_time" in faults.columns else pl.col("time")
    blind = of_gpu.select("gpu_uuid", "time", blind=ended + _duration(blind_s))
    rows = _asof(risky.sort("gpu_uuid", "time"), blind, "backward")
    rows = rows.filter((pl.col("time") >= pl.col("blind")).fill_null(value=True)).drop("blind")
    return _asof(rows, of_gpu.select("gpu_uuid", "time", next_fault="time"), "forward")


def _of_gpus(rows: pl.DataFrame, faults: pl.DataFrame) -> pl.DataFrame:
    """`faults` by GPU and time, numbered (`_fault`); one that names no GPU and no slot is of every GPU on its node."""
    known = faults.with_row_index("_fault")
    nobody = pl.col("gpu_uuid").is_null()
    if "pci_bdf" in faults.columns:
        nobody &= pl.col("pci_bdf").is_null()
    if "node" in faults.columns:
        there = rows.select("gpu_uuid", "node").unique()
        spread = known.filter(nobody).drop("gpu_uuid").join(there, on="node")
        known = pl.concat([known, spread.select(known.columns)])
    return known.filter(pl.col("gpu_uuid").is_not_null()).sort("gpu_uuid", "time")


def alarms(risky: pl.DataFrame, threshold: float, *, stand_s: float, minutes_over: int = 1) -> pl.DataFrame:
    """gpu_uuid, node, time, last, until, weight, peak: one row per alarm, by GPU and time.

    `risky`: gpu_uuid, node, time, risk, weight, one row per GPU and minute, in any order; or what `watched` gave.

    - A minute is *over* when risk >= threshold.
    - An alarm opens at `time`, the first minute that is over as the `minutes_over` - 1 minutes before it were, while
      no alarm of the GPU stands.
    - Every minute over while it stands keeps it standing: `last` is the last of them, and it stands until
      `until` = last + stand_s, that moment included. One long excursion is one alarm.
    - A fault ends it (`watched` rows only): `until` is then the fault's time, and what comes after the episode is a
      new alarm.

    `peak` is its highest risk, `weight` that of its node.
    """
    rows = risky if "next_fault" in risky.columns else _unwatched(risky)
    over = rows.filter(pl.col("risk") >= threshold)
    gap = pl.col("time").diff()
    other = pl.any_horizontal(
        pl.col("gpu_uuid").ne_missing(pl.col("gpu_uuid").shift()),
        pl.col("next_fault").ne_missing(pl.col("next_fault").shift()),
    )
    apart = (other | (gap > _duration(stand_s))).fill_null(value=True)
    broken = (other | (gap != _duration(MINUTE_S))).fill_null(value=True)
    hot = _place_in_run(broken) >= minutes_over
    marked = over.with_columns(alarm=apart.cum_sum(), apart=apart, hot=hot)
    return _collapsed(marked if minutes_over == 1 else _from_first_hot(marked), stand_s)


def _unwatched(risky: pl.DataFrame) -> pl.DataFrame:
    nothing = pl.lit(None, risky.schema["time"]).alias("next_fault")
    return risky.sort("gpu_uuid", "time").with_columns(nothing)


def _place_in_run(broken: pl.Expr) -> pl.Expr:
    """1, 2, 3 ... along a run of rows; a run starts where `broken`."""
    row = pl.int_range(pl.len())
    return row - pl.when(broken).then(row).forward_fill() + 1


def _from_first_hot(marked: pl.DataFrame) -> pl.DataFrame:
    so_far = pl.col("hot").cast(pl.Int64).cum_sum()
    before = pl.when("apart").then(so_far - pl.col("hot").cast(pl.Int64)).forward_fill()
    return marked.filter(so_far > before)


def _collapsed(rows: pl.DataFrame, stand_s: float) -> pl.DataFrame:
    found = rows.group_by("alarm", maintain_order=True).agg(
        pl.col("gpu_uuid", "node", "time").first(),
        pl.col("time").last().alias("last"),
        pl.col("next_fault", "weight").first(),
        pl.col("risk").max().alias("peak"),
    )
    until = pl.min_horizontal(pl.col("last") + _duration(stand_s), "next_fault")
    return found.select("gpu_uuid", "node", "time", "last", until.alias("until"), "weight", "peak")


def judge(
    raised: pl.DataFrame,
    faults: pl.DataFrame,
    *,
    horizon_s: float,
    min_lead_s: float,
    until: datetime | None = None,
    last_seen: pl.DataFrame | None = None,
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """(alarms with true, late, fault_time, lead_s; faults with caught, lead_s).

    An alarm speaks for one fault: the first of its GPU strictly after it opened (`fault_time`). Each minute over
    claims a fault within `horizon_s`, so the claim of an alarm ends at last + horizon_s, however long it stands.
    Lead is the fault's time minus the alarm's opening.

    - `true`: lead >= min_lead_s and the fault comes by the end of the claim, both ends included. `lead_s` is null
      elsewhere.
    - `late`: lead < min_lead_s: nothing could be done. Not true, and counted against precision.
    - `true` is null, not to be judged, for an alarm that opened less than `horizon_s` before `until` (the end of the
      data), right or wrong: there only the right ones would be known; and for one without a fault whose GPU was
      swapped or repaired before its claim ended (`last_seen`: gpu_uuid, last; the first `last` after the opening).
    - `caught`: a true alarm spoke for the fault. `lead_s` is that of the last of them to open, the least flattering.
    - A fault that names neither GPU nor slot is one of every GPU on its node; one that names a slot only is never
      caught, for risks have no slot.
    """
    horizon, lead = _duration(horizon_s), pl.col("fault_time") - pl.col("time")
    of_gpu = _of_gpus(raised, faults).select("gpu_uuid", "time", "_fault", fault_time="time")
    rows = _asof(raised.sort("gpu_uuid", "time"), of_gpu, "forward")
    claimed = (pl.col("fault_time") <= pl.col("last") + horizon).fill_null(value=False)
    in_time = (lead >= _duration(min_lead_s)).fill_null(value=False)
    rows = rows.with_columns(late=claimed & ~in_time, right=claimed & in_time)
    caught = rows.filter("right").group_by("_fault").agg(lead.min().alias("lead_s"))
    gone = _gone(rows, last_seen, horizon) & ~claimed
    if until is not None:
        gone |= pl.col("time") + horizon > until
    rows = rows.with_columns(
        pl.when(~gone).then("right").alias("true"),
        pl.when("right").then(_seconds(lead)).alias("lead_s"),
    ).drop("right", "_fault")
    told = faults.drop("lead_s", "caught", strict=False).with_row_index("_fault")
    told = told.join(caught, on="_fault", how="left", maintain_order="left").drop("_fault")
    return rows, told.with_columns(caught=pl.col("lead_s").is_not_null(), lead_s=_seconds(pl.col("lead_s")))


def _gone(rows: pl.DataFrame, last_seen: pl.DataFrame | None, horizon: pl.Expr) -> pl.Expr:
    if last_seen is None:
        return pl.lit(value=False)
    ends = last_seen.select("gpu_uuid", time="last", end="last").drop_nulls().sort("gpu_uuid", "time")
    end = _asof(rows.select("gpu_uuid", "time"), ends, "forward")["end"]
    return (pl.lit(end) < pl.col("last") + horizon).fill_null(value=False)


def _asof(rows: pl.DataFrame, known: pl.DataFrame, strategy: Literal["backward", "forward"]) -> pl.DataFrame:
    """Each row with the nearest of `known`: at or before it, or strictly after. Both sorted by GPU, then time."""
    return rows.join_asof(
        known, on="time", by="gpu_uuid", strategy=strategy, allow_exact_matches=strategy == "backward",
        check_sortedness=False,
    )  # fmt: skip


def _duration(seconds: float) -> pl.Expr:
    return pl.duration(microseconds=round(seconds * 1e6))


def _seconds(duration: pl.Expr) -> pl.Expr:
    return duration.dt.total_microseconds() / 1e6
