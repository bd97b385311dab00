"""Every scorer on every minute of the chosen nodes, kept only where it matters: the risky minutes, and a sample.

Hundreds of millions of minutes do not fit, and need not: alarms are made of the minutes over a floor, rankings are
judged on the minutes before faults and a known share of the others.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import numpy as np
import polars as pl
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from models.imminence import HORIZONS_S, Model
from models.telemetry_baselines import SLOW, Score
from pipeline import labels
from pipeline.signals import Floats
from pipeline.training_set import WEIGHT, uniform

OURS: Final = "foreshock imminence"
COUNT: Final = "count"
"""For how many minutes of its node a row of the sample stands."""
SERVED_S: Final = 3600
"""The horizon whose risk raises alarms. Most signs come within the hour before; a day before most rows have none, and
trees that must explain those learn less of the ones that have."""
LONGEST_S: Final = max(HORIZONS_S)
_FLOOR: Final = 0.998
"""Alarms are made of the riskiest minutes only: more than one in 500 over a threshold is no budget anybody has."""


@dataclass(frozen=True, slots=True)
class Seen:
    """`risky`: scorer -> gpu_uuid, node, time, risk, weight. `sample`: KEYS, features, `weight` and `count`.

    `exposure`: node, weight, gpu_days, node_days, as watched.
    """

    risky: dict[str, pl.DataFrame]
    sample: pl.DataFrame
    exposure: pl.DataFrame


def together(parts: Iterable[Seen]) -> Seen:
    """Of different nodes."""
    every = list(parts)
    return Seen(
        {name: pl.concat([p.risky[name] for p in every]) for name in every[0].risky},
        pl.concat([p.sample for p in every]),
        pl.concat([p.exposure for p in every]),
    )


@dataclass(frozen=True, slots=True)
class Scoring:
    """Work for feature frames of some nodes; it can be pickled. `nodes`: name and weight."""

    model: Model
    baselines: Mapping[str, Score]
    floors: Mapping[str, float]
    faults: pl.DataFrame
    events: pl.DataFrame
    nodes: pl.DataFrame
    until: datetime
    sample_share: float
    seed: int = 0

    def __call__(self, frames: Iterable[pl.DataFrame]) -> Seen:
        with threadpool_limits(1):  # the other cores have processes of their own
            return self._seen(frames)

    def _seen(self, frames: Iterable[pl.DataFrame]) -> Seen:
        score = scores(self.model, self.baselines, SERVED_S, leave_out=SLOW)
        risky: dict[str, list[pl.DataFrame]] = {name: [] for name in score}
        sample, watched = [], []
        for frame in frames:
            rows = frame.join(
                self.nodes.select(pl.col("name").alias("node"), WEIGHT), on="node", maintain_order="left"
            )
            sample.append(self._sampled(rows))
            watched.append(
                rows.group_by("node", "minute").agg(pl.len().alias("gpus"), pl.col(WEIGHT).first())
            )
            for name, of in score.items():
                risky[name].append(over(rows, of(rows, self.events), self.floors[name]))
        per_node = (
            pl.concat(watched)
            .group_by("node")
            .agg(pl.col(WEIGHT).first(), gpu_days=pl.col("gpus").sum() / 1440, node_days=pl.len() / 1440)
        )
        return Seen({n: pl.concat(r) for n, r in risky.items()}, pl.concat(sample), per_node.sort("node"))

    def _sampled(self, rows: pl.DataFrame) -> pl.DataFrame:
        soon = labels.label(rows, self.faults, horizon_s=LONGEST_S, until=self.until)
        drawn = pl.Series(uniform(rows["gpu_uuid"], rows["minute"], self.seed) < self.sample_share)
        before = soon.fill_null(value=False)
        count = pl.when(before).then(1.0).otherwise(1 / self.sample_share)
        return rows.with_columns(pl.select(count).to_series().alias(COUNT)).filter(before | drawn)


def scores(
    model: Model, baselines: Mapping[str, Score], horizon_s: int, leave_out: Iterable[str] = ()
) -> dict[str, Score]:
    """Ours and the others behind one call."""

    def ours(matrix: pl.DataFrame, _events: pl.DataFrame) -> Floats:
        return model.probability(matrix, horizon_s)

    return {OURS: ours} | {n: s for n, s in baselines.items() if n not in set(leave_out)}


def floors(
    model: Model, baselines: Mapping[str, Score], rows: pl.DataFrame, events: pl.DataFrame
) -> dict[str, float]:
    """Per scorer the score that one minute in 500 of `rows` (features and weight) is over."""
    weight = rows[WEIGHT].to_numpy()
    found = {}
    for name, score in scores(model, baselines, SERVED_S, leave_out=SLOW).items():
        risk = score(rows, events)
        order = np.argsort(risk, kind="stable")
        share = np.cumsum(weight[order]) / weight.sum()
        found[name] = float(risk[order[min(int(np.searchsorted(share, _FLOOR)), len(risk) - 1)]])
    return found


def over(rows: pl.DataFrame, risk: Floats, floor: float) -> pl.DataFrame:
    """gpu_uuid, node, time of decision, weight, risk of the `rows` whose risk is over `floor`."""
    above = risk > floor
    time = (pl.col("minute") + timedelta(minutes=1)).alias("time")
    chosen = rows.select("gpu_uuid", "node", time, WEIGHT).filter(above)
    return chosen.with_columns(pl.Series("risk", risk[above], dtype=pl.Float64))
