"""How the imminence head is learnt and tried on a simulated fleet: later time, unseen GPUs, another fleet.

    day 2      learn      day 90 | 2 days | choose a threshold | 2 days | day 120      test      day 178

Half of the nodes are held out: nothing is learnt or chosen on them. Between the parts lie the horizon and the longest
window (models/split.py). Synthetic, all of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import polars as pl

from models import simulated, simulated_sample
from models.imminence import HORIZONS_S, Model, fit
from models.split import WINDOW_S, held_out, refuse_leaks
from models.telemetry_baselines import BASELINES, Score
from models.telemetry_scores import SERVED_S, Scoring, Seen, floors, together
from pipeline import labels
from pipeline.fleet import START, Fleet
from pipeline.fleet_params import FleetParams, Preset
from pipeline.training_set import WEIGHT

HELD_OUT_SHARE: Final = 0.5
EMBARGO: Final = timedelta(seconds=SERVED_S + WINDOW_S)
_DAY: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Setting:
    """A fleet and how densely it is looked at: shares of the node-days and nodes that nothing happens to."""

    gpus: int = 16_384
    days: int = 180
    precursors: Preset = "low"
    seed: int = 0
    fault_rate_factor: float = 1.0
    train_share: float = 0.02
    test_share: float = 0.05
    row_share: float = 0.25
    """Of the quiet minutes in a stretch that is learnt from."""
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


def times(fleet: Fleet) -> Times:
    """Half of the time to learn, a sixth to choose the threshold, a third to test."""
    days = fleet.params.days
    end = fleet.start + (days - 2) * _DAY
    chosen, tested = fleet.start + days // 2 * _DAY, fleet.start + days * 2 // 3 * _DAY
    return Times((fleet.start + 2 * _DAY, chosen), (chosen + EMBARGO, tested), (tested + EMBARGO, end))


@dataclass(frozen=True, slots=True)
class Learnt:
    """What was learnt, and from what. `matrix`: the training rows, `label` theirs at the served horizon."""

    model: Model
    baselines: Mapping[str, Score]
    floors: Mapping[str, float]
    matrix: pl.DataFrame
    label: pl.Series
    faults: pl.DataFrame


def known_faults(fleet: Fleet) -> pl.DataFrame:
    """Faults as the events tell them, and `has_precursor`, which only a simulator knows. Silent ones are missing."""
    told = simulated.known_faults(fleet).sort("time")
    truth = fleet.truth.select("gpu_uuid", "time", "has_precursor").sort("time")
    return told.join_asof(
        truth, on="time", by="gpu_uuid", strategy="nearest", tolerance="2m", check_sortedness=False
    ).with_columns(pl.col("has_precursor").fill_null(value=False))


def sides(fleet: Fleet, seed: int) -> tuple[list[int], list[int]]:
    """Indices of the nodes that are learnt from, and of those that are held out."""
    hidden = set(held_out(pl.Series(fleet.nodes), seed, HELD_OUT_SHARE))
    every = range(len(fleet.nodes))
    return [i for i in every if fleet.nodes[i] not in hidden], [i for i in every if fleet.nodes[i] in hidden]


def training_rows(setting: Setting, fleet: Fleet, faults: pl.DataFrame) -> pl.DataFrame:
    """Feature rows with weights of the nodes that are not held out."""
    since, until = times(fleet).train
    nodes, _ = sides(fleet, setting.seed)
    mine = faults.filter(pl.col("node").is_in([fleet.nodes[i] for i in nodes]), pl.col("time") < until)
    stretches = simulated_sample.training_stretches(
        fleet, mine, since, until, share=setting.train_share, seed=setting.seed, among=nodes
    )
    keep = simulated.fails_soon(mine, until)
    return pl.concat(
        simulated.training_frames(
            fleet, stretches, keep=keep, sample_share=setting.row_share, seed=setting.seed
        )
    )


def learn(setting: Setting, fleet: Fleet, faults: pl.DataFrame) -> Learnt:
    """The model and the baselines. `faults` after the training time are not looked at."""
    until = times(fleet).train[1]
    known = faults.filter(pl.col("time") < until)
    matrix = training_rows(setting, fleet, known)
    target = {h: labels.label(matrix, known, horizon_s=h, until=until) for h in HORIZONS_S}
    model = fit(matrix, target, seed=setting.seed)
    told = target[SERVED_S].is_not_null()
    rows, label = matrix.filter(told), target[SERVED_S].filter(told)
    y, weight = label.cast(pl.Float64).to_numpy(), rows[WEIGHT].to_numpy()
    baselines = {name: of(rows, y, weight) for name, of in BASELINES.items()}
    events = fleet.events(fleet.start, round((until - fleet.start).total_seconds()))
    return Learnt(model, baselines, floors(model, baselines, rows, events), rows, label, known)


def see(
    setting: Setting,
    fleet: Fleet,
    learnt: Learnt,
    faults: pl.DataFrame,
    window: tuple[datetime, datetime],
    among: list[int] | None,
) -> Seen:
    """All scorers on `window` of the fleet's nodes `among`: those with faults, and a share of the others."""
    since, until = window
    nodes = simulated_sample.test_nodes(
        fleet, faults, since, until, share=setting.test_share, seed=setting.seed + 1, among=among
    )
    names = nodes["name"].implode()
    events = fleet.events(fleet.start, round((until - fleet.start).total_seconds()))
    work = Scoring(
        learnt.model, learnt.baselines, learnt.floors, faults.filter(pl.col("node").is_in(names)),
        events.filter(pl.col("node").is_in(names)), nodes, until, setting.sample_share, setting.seed,
    )  # fmt: skip
    seen = together(
        simulated.mapped(work, fleet, nodes["node"].to_list(), since, until, processes=setting.processes)
    )
    check_no_leak(learnt, seen, unseen_gpus=False)
    return seen


def check_no_leak(learnt: Learnt, seen: Seen, *, unseen_gpus: bool) -> None:
    """Raises ForeshockError where what is judged is not new to what was learnt."""
    refuse_leaks(learnt.matrix, seen.sample, horizon_s=SERVED_S, unseen_gpus=unseen_gpus)
