"""What a predictor of a measured recall and precision would have said of given faults, true and false."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from alerting.economics import positive, share
from effective_time.faults import Faults
from pipeline.signals import Floats, Ints

FALSE: Final = -1
LEAD_MEDIAN_S: Final = 1800.0
LEAD_SIGMA: Final = 1.0


@dataclass(frozen=True, slots=True)
class Alarms:
    """In order of time, seconds since the start of the run; arrays [n].

    `fault`: the number of the fault that it foretells, FALSE where none comes. `lasts_s`: how long the risk stays up
    where no fault ends it. `probability`: what the predictor says, in 0..1.
    """

    time_s: Floats
    node: Ints
    fault: Ints
    lasts_s: Floats
    probability: Floats

    def __len__(self) -> int:
        return len(self.time_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class Foreteller:
    """`recall` of all faults that GPUs caused, with a lead of `least_lead_s` or more. Log-normal leads (assumed).

    `precision` is also the probability that each alarm carries: what a calibrated model says on average.
    """

    recall: float
    precision: float
    least_lead_s: float = 0.0
    lead_median_s: float = LEAD_MEDIAN_S
    lead_sigma: float = LEAD_SIGMA
    horizon_s: float = 3600.0

    def __post_init__(self) -> None:
        share(recall=self.recall, precision=self.precision)
        positive(precision=self.precision, horizon_s=self.horizon_s)


def foretell(faults: Faults, by: Foreteller, seed: int) -> Alarms:
    """True alarms ahead of the faults it is lucky with; false ones at random, as many as its precision allows."""
    rng = np.random.default_rng([seed, 2])
    lead_s = np.maximum(by.least_lead_s, by.lead_median_s * rng.lognormal(0.0, by.lead_sigma, len(faults)))
    told = np.flatnonzero(faults.of_gpu & (faults.luck < by.recall) & (faults.time_s >= lead_s))
    wrong = int(rng.poisson(by.recall * faults.of_gpu.sum() * (1 - by.precision) / by.precision))
    time_s = np.concatenate([faults.time_s[told] - lead_s[told], rng.uniform(0.0, faults.until_s, wrong)])
    order = np.argsort(time_s, kind="stable")
    return Alarms(
        time_s[order],
        np.concatenate([faults.node[told], rng.integers(0, faults.nodes, wrong)])[order],
        np.concatenate([told, np.full(wrong, FALSE)])[order],
        np.concatenate([lead_s[told], np.full(wrong, by.horizon_s)])[order],
        np.full(len(order), by.precision),
    )
