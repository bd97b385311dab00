"""A stretch of the lake scored again, minute by minute, and kept only where alarms could be made of it.

The features of a live worker are those of the lake to the last bit (tests/pipeline/test_recent.py), so what a scorer
says here is what it would have said live, but for events that reached the worker late.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import numpy as np
import polars as pl
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from collector.errors import ForeshockError
from pipeline import labels
from pipeline.lake import Lake
from pipeline.scoring import Scorer
from pipeline.signals import Floats
from pipeline.training_set import WEIGHT, training_set, uniform

RISK: Final = "risk"
_MINUTE: Final = timedelta(minutes=1)
_ENDED: Final = timedelta(hours=1)
_MOST_HELD: Final = 1_000_000
"""Risky minutes of one scorer; with more, the less risky half is let go and the floor rises."""


@dataclass(frozen=True, slots=True)
class Replay:
    """What was seen in [since, until).

    `risky`: per scorer gpu_uuid, node, time (of the decision), risk, weight, every minute over its floor, which is
    below its threshold. `exposure`: node, weight, gpu_days, node_days. `faults` (labels.FAULTS) on these nodes in
    that time, `known` with those before. `last_seen`: GPUs whose history ended. `sample`: features and `risk` of the
    first scorer.
    """

    since: datetime
    until: datetime
    minutes: int
    synthetic: bool
    risky: tuple[pl.DataFrame, ...]
    exposure: pl.DataFrame
    faults: pl.DataFrame
    known: pl.DataFrame
    last_seen: pl.DataFrame
    sample: pl.DataFrame

    @property
    def gpu_days(self) -> float:
        return self.minutes / 1440


def last_days(lake: Lake, days: float) -> tuple[datetime, datetime]:
    """[since, until) of the last `days` of the lake's rollups. Raises ForeshockError where there are none."""
    until = lake.scan("rollups", columns=("minute",)).max().collect(engine="streaming")["minute"][0]
    if until is None:
        raise ForeshockError("the lake has no rollups to score", hint="foreshock ingest fills it")
    return until + _MINUTE - timedelta(days=days), until + _MINUTE


def replay(
    lake: Lake,
    scorers: Sequence[Scorer],
    thresholds: Sequence[float],
    since: datetime,
    until: datetime,
    *,
    sample_rows: int = 0,
    seed: int = 0,
    rows_at_once: int = 1_000_000,
) -> Replay:
    """Score every minute of [since, until) with each scorer. Memory is that of `rows_at_once` rows, not of the time.

    About `sample_rows` rows are kept whole. Raises ForeshockError where the lake has nothing there.
    """
    lives, synthetic = _lives(lake, since, until)
    minutes = int(lives["minutes"].sum())
    if not minutes:
        raise ForeshockError(
            f"the lake has no rollups from {since:%Y-%m-%d %H:%M} to {until:%Y-%m-%d %H:%M}",
            hint="foreshock ingest fills it; or ask for more --days",
        )
    kept = [_Risky(threshold) for threshold in thresholds]
    share = min(1.0, sample_rows / minutes)
    watched, sample = [], []
    frames = training_set(lake, since, until, keep=_all, sample_share=1.0, rows_at_once=rows_at_once)
    for frame in frames:
        with threadpool_limits(1):  # trees on several threads wait for each other on a busy machine
            risks = [scorer.score(frame)[RISK].to_numpy() for scorer in scorers]
        for risky, risk in zip(kept, risks, strict=True):
            risky.add(frame, risk)
        watched.append(frame.group_by("node").agg(gpus=pl.len(), minutes=pl.col("minute").n_unique()))
        drawn = pl.Series(uniform(frame["gpu_uuid"], frame["minute"], seed) < share)
        sample.append(frame.with_columns(pl.Series(RISK, risks[0])).filter(drawn).drop(WEIGHT))
    exposure = _exposure(pl.concat(watched))
    known = labels.faults(lake.read("events").filter(pl.col("time") < until))
    known = known.filter(pl.col("node").is_in(exposure["node"].implode()))
    ended = lives.filter(pl.col("last") < until - _ENDED).select("gpu_uuid", "last")
    return Replay(
        since, until, minutes, synthetic, tuple(r.rows() for r in kept), exposure,
        known.filter(pl.col("time") >= since), known, ended, pl.concat(sample),
    )  # fmt: skip


def _lives(lake: Lake, since: datetime, until: datetime) -> tuple[pl.DataFrame, bool]:
    """(gpu_uuid, minutes, last) and whether any of it is synthetic."""
    rows = lake.scan("rollups", since=since, columns=("gpu_uuid", "minute", "synthetic"))
    told = (
        rows.filter(pl.col("minute") < until)
        .group_by("gpu_uuid")
        .agg(minutes=pl.len(), last=pl.col("minute").max(), synthetic=pl.col("synthetic").any())
        .collect(engine="streaming")
    )
    return told, bool(told["synthetic"].any())


def _all(rows: pl.DataFrame) -> pl.Series:
    return rows["minute"].is_not_null()


def _exposure(watched: pl.DataFrame) -> pl.DataFrame:
    """The parts do not overlap in time, so their minutes add up."""
    return (
        watched.group_by("node")
        .agg(
            pl.lit(1.0).alias(WEIGHT),
            gpu_days=pl.col("gpus").sum() / 1440,
            node_days=pl.col("minutes").sum() / 1440,
        )
        .sort("node")
    )


class _Risky:
    """One scorer's minutes over a floor that rises as they become many, and stays below its threshold."""

    def __init__(self, threshold: float) -> None:
        self._highest = float(np.nextafter(threshold, -np.inf))
        self._floor, self._held = 0.0, 0
        self._parts: list[pl.DataFrame] = []

    def add(self, frame: pl.DataFrame, risk: Floats) -> None:
        over = risk > self._floor
        time = (pl.col("minute") + _MINUTE).alias("time")
        rows = frame.select("gpu_uuid", "node", time, WEIGHT).filter(pl.Series(over))
        self._parts.append(rows.with_columns(pl.Series(RISK, risk[over], dtype=pl.Float64)))
        self._held += rows.height
        if self._held > _MOST_HELD and self._floor < self._highest:
            self._raise_floor()

    def rows(self) -> pl.DataFrame:
        return pl.concat(self._parts)

    def _raise_floor(self) -> None:
        rows = self.rows()
        middle = float(np.median(rows[RISK].to_numpy()))
        self._floor = max(self._floor, min(middle, self._highest))
        self._parts = [rows.filter(pl.col(RISK) > self._floor)]
        self._held = self._parts[0].height
