"""What the threshold is chosen on: the weeks after those that were learnt from, of every fleet that was learnt from.

The precision of rare alarms is a ratio of small numbers: on one fleet's month, with a dozen faults that announce
themselves, the best threshold is mostly luck. Scored are all node-days with a fault ahead, a fault in the week before
or something notable, and a share of the others. Synthetic, all of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import polars as pl
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from models import simulated, simulated_sample
from models.imminence import Model
from models.learning import Learnt
from models.progress import Tick
from models.simulated_protocol import Setting, known_faults, other_seeds, sides, times
from models.telemetry_results import curve_of
from models.telemetry_scores import OURS, SERVED_S, over

_THRESHOLDS: Final = 160


@dataclass(frozen=True, slots=True)
class _Job:
    """One fleet, and which of its nodes (indices; None: all)."""

    setting: Setting
    seed: int
    among: Sequence[int] | None
    model: Model
    floor: float


@dataclass(frozen=True, slots=True)
class _Days:
    """`risky` (gpu_uuid, node, time, risk, weight) and `faults` of one fleet, under its name; `gpu_days` in all."""

    risky: pl.DataFrame
    faults: pl.DataFrame
    gpu_days: float


def operating_curve(setting: Setting, learnt: Learnt, tick: Tick | None = None) -> pl.DataFrame:
    """curves.operating_curve of the served horizon on the time to choose, at up to 160 of its own scores."""
    fleet = setting.fleet()
    floor = learnt.floors[OURS]
    jobs = [_Job(setting, setting.seed, sides(fleet, setting.seed)[0], learnt.model, floor)]
    jobs += [_Job(setting, seed, None, learnt.model, floor) for seed in other_seeds(setting)]
    parts = simulated.in_processes(_scored, jobs, setting.processes, tick)
    return curve_of(
        pl.concat([p.risky for p in parts]), pl.concat([p.faults for p in parts]), sum(p.gpu_days for p in parts),
        until=times(fleet).choose[1], count=_THRESHOLDS,
    )  # fmt: skip


def _scored(job: _Job) -> _Days:
    setting, model = job.setting, job.model
    fleet = setting.fleet(job.seed)
    since, until = times(fleet).choose
    nodes = range(len(fleet.nodes)) if job.among is None else job.among
    names = pl.Series([fleet.nodes[i] for i in nodes])
    faults = known_faults(fleet).filter(pl.col("node").is_in(names.implode()))
    stretches = simulated_sample.training_stretches(
        fleet,
        faults,
        since,
        until,
        share=setting.train_share,
        notable_share=1.0,
        seed=setting.seed,
        among=nodes,
    )

    def risky(rows: pl.DataFrame) -> pl.Series:
        return pl.Series(model.probability(rows, SERVED_S) > job.floor)

    with threadpool_limits(1):
        frames = [
            over(rows, model.probability(rows, SERVED_S), job.floor)
            for rows in simulated.training_frames(fleet, stretches, keep=risky, sample_share=0.0)
        ]
    here = faults.filter(pl.col("time") >= since, pl.col("time") < until)
    gpu_days = len(nodes) * fleet.params.gpus_per_node * (until - since).total_seconds() / 86_400
    return _Days(_named(pl.concat(frames), job.seed), _named(here, job.seed), gpu_days)


def _named(rows: pl.DataFrame, seed: int) -> pl.DataFrame:
    """Nodes and GPUs of two fleets have the same names."""
    return rows.with_columns(
        pl.format("fleet {} {}", pl.lit(seed), pl.col(name)).alias(name) for name in ("node", "gpu_uuid")
    )
