"""How the imminence head is learnt and tried on a simulated fleet: later time, unseen GPUs, another fleet.

    day 2      learn      day 90 | 2 days | choose a threshold | 2 days | day 120      test      day 178

Four other fleets are learnt and chosen on too. Half of the nodes are held out: nothing is learnt or chosen on them.
Between the parts lie the horizon and the longest window (models/split.py). Synthetic, all of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import polars as pl
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from models import simulated, simulated_sample
from models.learning import EMBARGO, Learnt, check_no_leak, learn_from
from models.progress import Tick
from models.split import held_out
from models.telemetry_scores import Scoring, Seen, together
from pipeline.fleet import START, Fleet
from pipeline.fleet_params import FleetParams, Preset

HELD_OUT_SHARE: Final = 0.5
_DAY: Final = timedelta(days=1)
_TEST: Final = timedelta(days=30)
_ALL_KEPT_S: Final = 7200
"""Minutes this close before a fault are all learnt from; there signs are strongest, and most differ."""


@dataclass(frozen=True, slots=True)
class Setting:
    """A fleet and how densely it is looked at: shares of the node-days and nodes that nothing happens to."""

    gpus: int = 16_384
    days: int = 180
    precursors: Preset = "low"
    seed: int = 0
    fault_rate_factor: float = 1.0
    other_fleets: int = 4
    """Fleets of other seeds that are learnt from too, each for as long: a fleet alone has few faults to learn from."""
    train_share: float = 0.004
    """Of the node-days that nothing happens to, where it is learnt and where the threshold is chosen."""
    notable_train_share: float = 0.25
    """Of the node-days with storms of errors, remaps and the like, most of them before no fault."""
    test_share: float = 0.03
    notable_test_share: float = 0.3
    row_share: float = 0.06
    """Of the minutes in a stretch that is learnt from and that no fault follows within two hours."""
    sample_share: float = 0.005
    """Of the quiet minutes that rankings are judged on."""
    processes: int = 2

    def fleet(self, seed: int | None = None) -> Fleet:
        params = FleetParams(
            days=self.days, precursors=self.precursors, fault_rate_factor=self.fault_rate_factor
        )
        return Fleet(self.gpus, self.seed if seed is None else seed, START, params)


@dataclass(frozen=True, slots=True)
class Times:
    """Begin and end (exclusive) of each part."""

    train: tuple[datetime, datetime]
    choose: tuple[datetime, datetime]
    test: tuple[datetime, datetime]
    later: tuple[datetime, datetime]
    """All that follows what is learnt from: a longer test, where no threshold is chosen."""


def times(fleet: Fleet) -> Times:
    """Half of the time to learn, a sixth to choose the threshold, up to 30 days of the rest to test."""
    days = fleet.params.days
    end = fleet.start + (days - 2) * _DAY
    chosen, tested = fleet.start + days // 2 * _DAY, fleet.start + days * 2 // 3 * _DAY
    begin = tested + EMBARGO
    return Times(
        (fleet.start + 2 * _DAY, chosen), (chosen + EMBARGO, tested), (begin, min(end, begin + _TEST)),
        (chosen + EMBARGO, end),
    )  # fmt: skip


def known_faults(fleet: Fleet) -> pl.DataFrame:
    """Faults as the events tell them, and `has_precursor`, which only a simulator knows. Silent ones are missing."""
    told = simulated.known_faults(fleet).sort("time")
    truth = fleet.truth.select("gpu_uuid", "time", "has_precursor").sort("time")
    return told.join_asof(
        truth, on="time", by="gpu_uuid", strategy="nearest", tolerance="2m", check_sortedness=False
    ).with_columns(pl.col("has_precursor").fill_null(value=False))


def events_until(fleet: Fleet, until: datetime) -> pl.DataFrame:
    """All of them from the fleet's start on."""
    return fleet.events(fleet.start, round((until - fleet.start).total_seconds()))


def sides(fleet: Fleet, seed: int) -> tuple[list[int], list[int]]:
    """Indices of the nodes that are learnt from, and of those that are held out."""
    hidden = set(held_out(pl.Series(fleet.nodes), seed, HELD_OUT_SHARE))
    every = range(len(fleet.nodes))
    return [i for i in every if fleet.nodes[i] not in hidden], [i for i in every if fleet.nodes[i] in hidden]


def learn(setting: Setting, fleet: Fleet, faults: pl.DataFrame, tick: Tick | None = None) -> Learnt:
    """The model and the baselines. `faults` after the training time are not looked at."""
    until = times(fleet).train[1]
    own, _ = sides(fleet, setting.seed)
    jobs = [(setting, setting.seed, own)] + [(setting, s, None) for s in other_seeds(setting)]
    parts = simulated.in_processes(_part, jobs, setting.processes, tick)
    matrix, known, events = (pl.concat(p) for p in zip(*parts, strict=True))
    return learn_from(matrix, known, events, until=until, seed=setting.seed)


def other_seeds(setting: Setting) -> list[int]:
    """None of them is a fleet that anything is tried on."""
    return [setting.seed + 100 + i for i in range(setting.other_fleets)]


def _part(job: tuple[Setting, int, list[int] | None]) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """(rows with weights, faults, events) of one fleet's time to learn, on `nodes`; nodes are named by their fleet."""
    setting, seed, nodes = job
    fleet = setting.fleet(seed)
    since, until = times(fleet).train
    faults = known_faults(fleet).filter(pl.col("time") < until)
    if nodes is not None:
        faults = faults.filter(pl.col("node").is_in([fleet.nodes[i] for i in nodes]))
    stretches = simulated_sample.training_stretches(
        fleet, faults, since, until, share=setting.train_share, notable_share=setting.notable_train_share,
        seed=seed, among=nodes,
    )  # fmt: skip
    keep = simulated.fails_soon(faults, until, horizon_s=_ALL_KEPT_S)
    with threadpool_limits(1):
        frames = simulated.training_frames(
            fleet, stretches, keep=keep, sample_share=setting.row_share, seed=seed
        )
        matrix = pl.concat(frames)
    events = events_until(fleet, until)
    named = pl.col("node") if seed == setting.seed else pl.format("fleet {} {}", pl.lit(seed), "node")
    events = events.filter(pl.col("gpu_uuid").is_in(matrix["gpu_uuid"].unique().implode()))
    return tuple(x.with_columns(named.alias("node")) for x in (matrix, faults, events))  # type: ignore[return-value]


def see(
    setting: Setting,
    fleet: Fleet,
    learnt: Learnt,
    faults: pl.DataFrame,
    *,
    window: tuple[datetime, datetime],
    among: list[int] | None,
    tick: Tick | None = None,
) -> Seen:
    """All scorers on `window` of the fleet's nodes `among`: those with faults, and a share of the others."""
    since, until = window
    nodes = simulated_sample.test_nodes(
        fleet, faults, since, until, share=setting.test_share, notable_share=setting.notable_test_share,
        seed=setting.seed + 1, among=among,
    )  # fmt: skip
    names = nodes["name"].implode()
    events = events_until(fleet, until)
    work = Scoring(
        learnt.model, learnt.baselines, learnt.floors, faults.filter(pl.col("node").is_in(names)),
        events.filter(pl.col("node").is_in(names)), nodes, until, setting.sample_share, setting.seed,
    )  # fmt: skip
    seen = together(
        simulated.mapped(
            work, fleet, nodes["node"].to_list(), since, until, processes=setting.processes, tick=tick
        )
    )
    check_no_leak(learnt, seen, unseen_gpus=False)
    return seen
