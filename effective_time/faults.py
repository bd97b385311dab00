"""What befalls the nodes of a cluster, whatever anybody does about it: drawn from a rate, the same for both arms.

Times are seconds since the start of the run.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from alerting.waste import DAY_S
from models.calibrate import Bools
from pipeline.signals import Floats, Ints

REPAIR_MEDIAN_S: Final = 12 * 3600.0
"""Assumed: most nodes are back the same day (SuperBench: 61.9 %), one in ten after weeks."""
REPAIR_SIGMA: Final = 1.6


@dataclass(frozen=True, slots=True)
class Faults:
    """In order of time. `repair_s`: from the fault until the node can work again. All arrays [n].

    `of_gpu`: a GPU was the cause, so telemetry may have told. `luck`: a number in 0..1 each: a predictor of recall r
    foretells those below r, so that a better one foretells all that a worse one does.
    """

    nodes: int
    until_s: float
    time_s: Floats
    node: Ints
    repair_s: Floats
    of_gpu: Bools
    luck: Floats

    def __len__(self) -> int:
        return len(self.time_s)


def draw(
    *, nodes: int, faults_per_node_day: float, days: float, seed: int, gpu_share: float = 1.0,
    repair_median_s: float = REPAIR_MEDIAN_S, repair_sigma: float = REPAIR_SIGMA,
) -> Faults:  # fmt: skip
    """Independent faults at a constant rate (a Poisson process) on every node; repairs log-normal."""
    rng = np.random.default_rng([seed, 1])
    until_s = days * DAY_S
    n = rng.poisson(nodes * faults_per_node_day * days)
    return Faults(
        nodes, until_s, np.sort(rng.uniform(0.0, until_s, n)), rng.integers(0, nodes, n),
        repair_median_s * rng.lognormal(0.0, repair_sigma, n), rng.random(n) < gpu_share, rng.random(n),
    )  # fmt: skip
