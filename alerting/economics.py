"""What a fault costs a job, and from which probability on an action pays. Small, pure, in seconds of the job.

Symbols of the field: C cost of a checkpoint, C_p of a pre-emptive one, T interval between checkpoints,
U unplanned recovery (detect, reschedule, restart), P planned move, mu the job's mean time between failures.
Sources: Young 1974 and Daly 2006 for the interval; Aupy, Robert, Vivien and Zaidouni 2014 ("Checkpointing
algorithms and fault prediction") for a predictor's part in it; the break-evens compare an action's cost with
what the fault would have cost.
"""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class JobCosts:
    """What the job on a GPU has to lose, in seconds. The defaults are assumptions, and the texts say so.

    They are a middling large run: a checkpoint a half hour, a minute to write it, 20 minutes to come back
    from a crash, 5 to move on purpose.
    """

    interval_s: float = 1800.0
    checkpoint_s: float = 60.0
    recovery_s: float = 1200.0
    move_s: float = 300.0
    assumed: bool = True


def young_daly_interval_s(checkpoint_s: float, mtbf_s: float, recall: float = 0.0) -> float:
    """The interval that wastes least, sqrt(2 mu C / (1 - r)): Young/Daly at recall 0, Aupy et al. above."""
    if not 0.0 <= recall < 1.0:
        raise ValueError(f"recall must be in [0, 1) (got {recall})")
    return math.sqrt(2.0 * mtbf_s * checkpoint_s / (1.0 - recall))


def break_even_checkpoint(costs: JobCosts) -> float:
    """A pre-emptive checkpoint pays from p > C_p / (T/2) on: it saves half an interval of work."""
    return costs.checkpoint_s / (costs.interval_s / 2.0)


def break_even_drain(costs: JobCosts) -> float:
    """A planned move pays from p > (C_p + P) / (T/2 + U) on: it saves the lost work and the recovery."""
    return (costs.checkpoint_s + costs.move_s) / (costs.interval_s / 2.0 + costs.recovery_s)


def expected_loss_s(probability: float, costs: JobCosts, since_checkpoint_s: float | None = None) -> float:
    """Job seconds lost if nothing is done: p (w + U); w is the work since the last checkpoint, else T/2."""
    work_s = costs.interval_s / 2.0 if since_checkpoint_s is None else since_checkpoint_s
    return probability * (work_s + costs.recovery_s)


def checkpoint_arithmetic(probability: float, costs: JobCosts) -> str:
    """The sentence that justifies (or refuses) a checkpoint, with its numbers."""
    rule = _rule(probability, break_even_checkpoint(costs), "C_p/(T/2)")
    saves_s = probability * costs.interval_s / 2.0
    return f"checkpoint {rule}; {_balance(saves_s, costs.checkpoint_s, costs)}"


def drain_arithmetic(probability: float, costs: JobCosts) -> str:
    """The sentence that justifies (or refuses) a drain, with its numbers."""
    rule = _rule(probability, break_even_drain(costs), "(C_p+P)/(T/2+U)")
    price_s = costs.checkpoint_s + costs.move_s
    return f"drain {rule}; {_balance(expected_loss_s(probability, costs), price_s, costs)}"


def _rule(p: float, threshold: float, formula: str) -> str:
    verdict, sign = ("pays", ">") if p > threshold else ("does not pay", "<=")
    return f"{verdict}: p {p:.2f} {sign} {formula} = {threshold:.3f}"


def _balance(saves_s: float, price_s: float, costs: JobCosts) -> str:
    return (
        f"expected to save {saves_s:.0f} s of the job for {price_s:.0f} s "
        f"({'assumed' if costs.assumed else 'measured'}: T {costs.interval_s:.0f} s, "
        f"C_p {costs.checkpoint_s:.0f} s, U {costs.recovery_s:.0f} s, P {costs.move_s:.0f} s)"
    )
