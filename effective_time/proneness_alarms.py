"""The alarms that the proneness head would have raised on a real trace, as `foreshock evaluate` raises them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from alerting.waste import DAY_S
from effective_time.alarms import FALSE, Alarms
from effective_time.faults import Faults
from models import metrics, proneness
from models.evaluate import PROTOCOLS, decision_days, split
from models.history import Rows, Trace, rows, target_faults
from pipeline.signals import Floats, Ints

CUT_DAY: Final = 150.0
BUDGET: Final = 1.0
"""Alarms a day per 10,000 GPUs: the largest that the model's card tells of."""


@dataclass(frozen=True, slots=True)
class Head:
    """Learnt from days before CUT_DAY. `test` are the decisions after it, `probability` [len(test)] of a fault."""

    trace: Trace
    horizon_days: float
    candidate: str
    test: Rows
    probability: Floats


def learn(trace: Trace, horizon_days: float) -> Head:
    """The head for a horizon, trained and calibrated on the days before CUT_DAY alone."""
    days = decision_days(PROTOCOLS["nodetrace"], trace, horizon_days)
    train, test = split(rows(trace, days, horizon_days), CUT_DAY, horizon_days)
    choice, probability = proneness.calibrated(train, horizon_days)
    return Head(trace, horizon_days, choice.name, test, probability(test))


def alarms(head: Head, faults: Faults, place: Ints, seed: int) -> Alarms:
    """At the budget; the seed draws who goes first of equals. Node numbers by `place`, seconds since CUT_DAY.

    True: a GPU's fault of the node comes within the horizon. `faults` begin at CUT_DAY.
    """
    trace, test = head.trace, head.test
    watch = metrics.Watch(*target_faults(trace), head.horizon_days, trace.gpus_per_unit, len(trace.units))
    day, unit = metrics.raised(test, head.probability, watch, BUDGET, seed)
    said = np.full((int(test.day.max()) + 1, len(trace.units)), np.nan)
    said[test.day.astype(np.int64), test.unit] = head.probability
    node, time_s, ends_s = place[unit], (day - CUT_DAY) * DAY_S, (day + head.horizon_days - CUT_DAY) * DAY_S
    fault = _first(faults, time_s, node, ends_s)
    ends_s[fault != FALSE] = faults.time_s[fault[fault != FALSE]]
    return Alarms(time_s, node, fault, ends_s - time_s, said[day.astype(np.int64), unit])


def _first(faults: Faults, time_s: Floats, node: Ints, ends_s: Floats) -> Ints:
    """The number of the node's first GPU fault in [time, end), FALSE where there is none."""
    if not len(faults):
        return np.full(len(node), FALSE)
    comes = faults.of_gpu & (faults.node == node[:, None])
    comes &= (faults.time_s >= time_s[:, None]) & (faults.time_s < ends_s[:, None])
    found: Ints = np.where(comes.any(axis=1), comes.argmax(axis=1), FALSE)
    return found
