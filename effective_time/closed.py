"""A case by the closed forms of `alerting.waste`, and their inverses: what would be needed to reach an ETTR."""

from __future__ import annotations

import math
from dataclasses import replace

from alerting.waste import product_ettr
from effective_time.alarms import LEAD_SIGMA
from effective_time.compare import MOST_RECALL, Case

_HALVINGS = 60


def without(case: Case) -> float:
    """ETTR, product form, nobody foretells anything."""
    return product_ettr(case.run, interval_s=_interval_s(case, foretold=False))


def with_(case: Case) -> float:
    """ETTR where each alarm drains and moves (product form), or where it saves and the job stays.

    Where alarms are not worth heeding the policy does not, and the result is that of `without`.
    """
    if case.recall == 0.0 or not case.pays:
        return without(case)
    interval_s = _interval_s(case, foretold=True)
    if case.migrate:
        return product_ettr(case.run, case.predictor, interval_s)
    return max(without(case), _saves_only(case, interval_s))


def recall_for(case: Case, target: float) -> float | None:
    """The least recall of all interruptions that reaches `target` at the case's precision; None: none does.

    It may be more than the share that GPUs cause.
    """

    def reaches(recall: float) -> bool:
        return product_ettr(case.run, replace(case.predictor, recall=recall)) >= target

    if reaches(0.0):
        return 0.0
    if not reaches(MOST_RECALL):
        return None
    low, high = 0.0, MOST_RECALL
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if reaches(middle) else (middle, high)
    return high


def recovery_for(case: Case, target: float) -> float | None:
    """The longest recovery, seconds, that reaches `target` with the case's predictor; None: not even one of 0 s."""
    if _at(case, 0.0) < target:
        return None
    low, high = 0.0, case.run.mtbf_s
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if _at(case, middle) >= target else (low, middle)
    return low


def tenth_more_recall(case: Case) -> float | None:
    """What 0.1 more recall, of all interruptions, adds to the ETTR; None where GPUs do not cause so many more."""
    more = case.recall_of_all + 0.1
    if more > case.rates.gpu_share:
        return None
    return with_(replace(case, recall=more / case.rates.gpu_share)) - with_(case)


def _saves_only(case: Case, interval_s: float) -> float:
    """[1 - C/T - (1-r) T/(2 mu) - r E/mu] / [1 + (U + (r/p) C_p)/mu], the product form without moves.

    A foretold fault takes the work since the alarm, E on average (no more than T/2: then a regular save came first),
    and every fault a recovery.
    """
    run, by = case.run, case.predictor
    mean_lead_s = min(case.lead_s * math.exp(LEAD_SIGMA**2 / 2), interval_s / 2)
    lost_s = (1.0 - by.recall) * interval_s / 2 + by.recall * mean_lead_s
    up = 1.0 - run.checkpoint_s / interval_s - lost_s / run.mtbf_s
    return max(0.0, up / (1.0 + (run.unplanned_s + by.alarms_per_fault * by.proactive_s) / run.mtbf_s))


def _at(case: Case, recovery_s: float) -> float:
    return with_(replace(case, stack=replace(case.stack, recovery_s=recovery_s)))


def _interval_s(case: Case, *, foretold: bool) -> float:
    """Where faults come faster than checkpoints are written, one checkpoint after the other."""
    return max(case.best_interval_s(foretold=foretold), case.stack.checkpoint_s)
