"""A job with and without Foreshock on the same faults, many times over: means, intervals, and where the time went."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from alerting.economics import young_daly_interval_s
from alerting.policy import Rules
from alerting.settings import rules_of
from alerting.waste import Predictor, Run, job_mtbf_s
from collector.config import WatchConfig
from effective_time.alarms import Foreteller, foretell
from effective_time.faults import REPAIR_MEDIAN_S, draw
from effective_time.job import LOSSES
from effective_time.rates import Rates
from effective_time.simulate import Outcome, Setup, simulate
from effective_time.stack import Stack

GPUS_PER_NODE: Final = 8
MOST_RECALL: Final = 0.99
"""An interval for a perfect predictor is infinite; nobody should save that seldom."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """`recall` counts all interruptions that GPUs caused, whose share of all is the rates'; leads of C_p or more.

    `spare_nodes` None: one in 32, four at least. `limits_as_shipped`: the caps on drains are the policy's defaults;
    else `caps` (drained_nodes, predicted_drains); else a tenth of the nodes, which never hold anything back here.
    `repair_h` is the median of the repairs.
    """

    gpus: int
    rates: Rates
    stack: Stack
    recall: float = 0.0
    precision: float = 1.0
    days: float = 90.0
    spare_nodes: int | None = None
    lead_s: float = 1800.0
    migrate: bool = True
    limits_as_shipped: bool = False
    interval_s: float | None = None
    repair_h: float = REPAIR_MEDIAN_S / 3600.0
    caps: tuple[int, int] | None = None

    @property
    def nodes(self) -> int:
        return math.ceil(self.gpus / GPUS_PER_NODE)

    @property
    def spares(self) -> int:
        return max(4, self.nodes // 32) if self.spare_nodes is None else self.spare_nodes

    @property
    def run(self) -> Run:
        mtbf_s = job_mtbf_s(self.gpus, self.rates.faults_per_gpu_day)
        return Run(mtbf_s=mtbf_s, checkpoint_s=self.stack.checkpoint_s, recovery_s=self.stack.recovery_s)

    @property
    def recall_of_all(self) -> float:
        """Of the interruptions of any cause: r of the formulas."""
        return self.recall * self.rates.gpu_share

    @property
    def predictor(self) -> Predictor:
        """As the closed forms take it."""
        return Predictor(
            recall=self.recall_of_all, precision=self.precision,
            proactive_s=self.stack.proactive_s, move_s=self.stack.move_s,
        )  # fmt: skip

    @property
    def breaks_even_at(self) -> float:
        """The precision from which a planned move pays, (C_p + P) / (T/2 + U), on average over an interval."""
        interval_s = self.best_interval_s(foretold=False)
        return (self.stack.proactive_s + self.stack.move_s) / (interval_s / 2 + self.stack.recovery_s)

    @property
    def pays(self) -> bool:
        """Alarms are worth heeding: by a move; without leave to move, by a save that no regular one comes before."""
        if self.migrate:
            return self.precision >= self.breaks_even_at
        return self.lead_s < self.best_interval_s(foretold=False) / 2

    def best_interval_s(self, *, foretold: bool) -> float:
        """Young/Daly's, longer where faults are foretold and it pays (Aupy et al.); `interval_s` where it is given."""
        if self.interval_s is not None:
            return self.interval_s
        recall = min(self.recall_of_all, MOST_RECALL) if foretold and self.pays else 0.0
        return young_daly_interval_s(self.stack.checkpoint_s, self.run.mtbf_s, recall)


@dataclass(frozen=True, slots=True)
class Spread:
    """A mean over seeds and its 95 % interval (Student's t)."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """`gain` is paired: with less without, seed by seed. `lost_*`: share of the time by cause, mean over seeds."""

    case: Case
    seeds: int
    without: Spread
    with_: Spread
    gain: Spread
    lost_without: dict[str, float]
    lost_with: dict[str, float]
    mtbf_s: Spread
    """Between interruptions of the job that nobody foretells."""
    mtbf_with_s: Spread
    asked: dict[str, float]
    """Actions of the policy a day."""
    asked_on_risk: dict[str, float]
    """Of them those that a mere risk asked for."""
    avoided_share: float
    """Of all faults of the job's nodes, those whose node the job had left."""


def compare(case: Case, seeds: Iterable[int]) -> Comparison:
    """Simulate both arms for each seed. Synthetic faults at the case's rates."""
    pairs = [_pair(case, seed) for seed in seeds]
    plain, ours = [p for p, _ in pairs], [o for _, o in pairs]
    met = sum(o.avoided + o.interruptions for o in ours)
    return Comparison(
        case, len(pairs), share_spread([o.ettr for o in plain]), share_spread([o.ettr for o in ours]),
        spread([o.ettr - p.ettr for p, o in pairs]), lost_share(plain), lost_share(ours),
        _mtbf_s(plain), _mtbf_s(ours),
        _a_day([o.asked for o in ours], case.days), _a_day([o.asked_on_risk for o in ours], case.days),
        sum(o.avoided for o in ours) / met if met else 0.0,
    )  # fmt: skip


def rules(case: Case) -> Rules:
    """The production policy, armed, told what the job costs; its alarm level is the predictor's own."""
    config = WatchConfig(
        dry_run=False, migrate=case.migrate, alarm_level=case.precision, own_level=False,
        job_interval_s=case.best_interval_s(foretold=True), job_checkpoint_s=case.stack.checkpoint_s,
        job_recovery_s=case.stack.recovery_s, job_move_s=case.stack.move_s,
    )  # fmt: skip
    if not case.limits_as_shipped:
        most = max(config.drained_nodes, case.nodes // 10)
        drained, predicted = case.caps or (most, most)
        config = replace(config, drained_nodes=drained, predicted_drains=predicted)
    return rules_of(config)


def setup(case: Case, *, foretold: bool) -> Setup:
    """The job of the case, at the interval that suits the arm."""
    return Setup(
        run=case.run, interval_s=case.best_interval_s(foretold=foretold), nodes_in_job=case.nodes,
        proactive_s=case.stack.proactive_s, move_s=case.stack.move_s,
    )  # fmt: skip


def lost_share(outcomes: Sequence[Outcome]) -> dict[str, float]:
    """Share of the time that each cause took, over all of them."""
    span_s = sum(o.span_s for o in outcomes)
    return {cause: sum(o.lost_s[cause] for o in outcomes) / span_s for cause in LOSSES}


def spread(values: Sequence[float]) -> Spread:
    """Mean and 95 % interval; the mean alone three times where there is one value."""
    from scipy.special import stdtrit

    mean = float(np.mean(values))
    if len(values) < 2:
        return Spread(mean, mean, mean)
    half = float(stdtrit(len(values) - 1, 0.975) * np.std(values, ddof=1) / math.sqrt(len(values)))
    return Spread(mean, mean - half, mean + half)


def share_spread(values: Sequence[float]) -> Spread:
    """As `spread`, of shares: few runs that differ much know no more than that it is in 0..1."""
    s = spread(values)
    return Spread(s.mean, max(0.0, s.low), min(1.0, s.high))


def _pair(case: Case, seed: int) -> tuple[Outcome, Outcome]:
    world = draw(
        nodes=case.nodes + case.spares, faults_per_node_day=case.rates.faults_per_gpu_day * case.gpus / case.nodes,
        days=case.days, seed=seed, gpu_share=case.rates.gpu_share, repair_median_s=3600.0 * case.repair_h,
    )  # fmt: skip
    plain = simulate(world, setup(case, foretold=False))
    if case.recall == 0.0:
        return plain, plain
    by = Foreteller(
        recall=case.recall, precision=case.precision, lead_median_s=case.lead_s,
        least_lead_s=case.stack.proactive_s,
    )  # fmt: skip
    return plain, simulate(world, setup(case, foretold=True), foretell(world, by, seed), rules(case))


def _a_day(counts: Sequence[dict[str, int]], days: float) -> dict[str, float]:
    found: Counter[str] = sum((Counter(c) for c in counts), Counter())
    return {name: n / (len(counts) * days) for name, n in found.items()}


def _mtbf_s(outcomes: Sequence[Outcome]) -> Spread:
    """The inverse of the mean rate, so that a run without an interruption counts; inf where none had one."""
    rate = spread([o.interruptions / o.span_s for o in outcomes])
    mean, high, low = (1.0 / r if r > 0.0 else math.inf for r in (rate.mean, rate.low, rate.high))
    return Spread(mean, low, high)
