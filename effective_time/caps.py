"""How many nodes are away at once: what the caps on drains and the spare nodes have to hold.

Faults come at random and repairs take their time, so the nodes away are Poisson whatever the spread of the repairs
(an M/G/infinity queue), with a mean of rate x mean stay (Little).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from alerting.waste import DAY_S
from collector.config import WatchConfig
from effective_time.alarms import LEAD_SIGMA
from effective_time.compare import Case
from effective_time.faults import REPAIR_SIGMA

ENOUGH: Final = 0.999
"""Share of the time in which they hold nothing back."""
_HORIZON_S: Final = 3600.0


@dataclass(frozen=True, slots=True)
class Caps:
    """Nodes. `drained_nodes` and `predicted_drains` as in the [watch] section; never less than as shipped.

    `spare_nodes`: with so many the job waits for none in ENOUGH of the time.
    """

    drained_nodes: int
    predicted_drains: int
    spare_nodes: int


def needed(case: Case) -> Caps:
    """For the case's faults, repairs and alarms, in the steady state."""
    shipped = WatchConfig()
    faults_s = case.rates.faults_per_gpu_day / DAY_S * case.gpus * (1 + case.spares / case.nodes)
    told_s = case.recall_of_all * faults_s
    repaired = faults_s * 3600.0 * mean_repair_h(case)
    wrong = told_s * (1 - case.precision) / case.precision * (_HORIZON_S + shipped.clear_s)
    ahead = told_s * case.lead_s * math.exp(LEAD_SIGMA**2 / 2)
    drained = most(repaired + wrong + ahead)
    return Caps(
        max(shipped.drained_nodes, drained), max(shipped.predicted_drains, most(wrong + ahead)), drained
    )


def mean_repair_h(case: Case) -> float:
    """Of log-normal repairs of the case's median."""
    return case.repair_h * math.exp(REPAIR_SIGMA**2 / 2)


def most(mean: float, enough: float = ENOUGH) -> int:
    """The least n that a Poisson number of this mean does not exceed with probability `enough`."""
    log_p, n, below = -mean, 0, math.exp(-mean)
    while below < enough and n < 10 * mean + 100:
        n += 1
        log_p += math.log(mean) - math.log(n)
        below += math.exp(log_p)
    return n
