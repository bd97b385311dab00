"""What a fault costs a job, and from which probability on an action pays. Small, pure, in seconds of the job.

Symbols of the field: C cost of a checkpoint, C_p of a pre-emptive one, T interval between checkpoints,
U unplanned recovery (detect, reschedule, restart), P planned move, mu the job's mean time between failures,
w work since the last checkpoint (T/2 where it is not known).
Sources: Young 1974 and Daly 2006 for the interval; Aupy, Robert, Vivien and Zaidouni 2014 ("Checkpointing
algorithms and fault prediction") for a predictor's part in it; the break-evens compare an action's cost with
what the fault would have cost. alerting/choice.py picks an action with these, alerting/waste.py has whole runs.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

COST_FIELDS = frozenset({"interval_s", "checkpoint_s", "recovery_s", "move_s"})


@dataclass(frozen=True, slots=True)
class JobCosts:
    """What the job on a GPU has to lose, in seconds. The defaults are assumptions, and the texts say so.

    They are a middling large run: a checkpoint a half hour, a minute to write it, 20 minutes to come back
    from a crash, 5 to move on purpose. `assumed` names the fields that nobody measured: all, unless told
    otherwise. `ValueError` for a negative or infinite cost, an interval of 0, an unknown name.
    """

    interval_s: float = 1800.0
    checkpoint_s: float = 60.0
    recovery_s: float = 1200.0
    move_s: float = 300.0
    assumed: frozenset[str] = COST_FIELDS

    def __post_init__(self) -> None:
        positive(interval_s=self.interval_s)
        not_negative(checkpoint_s=self.checkpoint_s, recovery_s=self.recovery_s, move_s=self.move_s)
        if unknown := self.assumed - COST_FIELDS:
            raise ValueError(f"assumed names no cost of a job: {', '.join(sorted(unknown))}")

    @classmethod
    def measured(
        cls,
        *,
        interval_s: float | None = None,
        checkpoint_s: float | None = None,
        recovery_s: float | None = None,
        move_s: float | None = None,
    ) -> JobCosts:
        """Costs seen on the job, in seconds; what is None keeps its default and counts as assumed."""
        seen = {"interval_s": interval_s, "checkpoint_s": checkpoint_s}
        seen |= {"recovery_s": recovery_s, "move_s": move_s}
        known = {name: value for name, value in seen.items() if value is not None}
        return cls(**known, assumed=COST_FIELDS - known.keys())


def young_daly_interval_s(checkpoint_s: float, mtbf_s: float, recall: float = 0.0) -> float:
    """The interval that wastes least, sqrt(2 mu C / (1 - r)): Young/Daly at recall 0, Aupy et al. above."""
    not_negative(checkpoint_s=checkpoint_s)
    positive(mtbf_s=mtbf_s)
    if not 0.0 <= recall < 1.0:
        raise ValueError(f"recall must be in [0, 1) (got {recall:g}): at 1 no interval is needed")
    return math.sqrt(2.0 * mtbf_s * checkpoint_s / (1.0 - recall))


def work_at_risk_s(costs: JobCosts, since_checkpoint_s: float | None = None) -> float:
    """w: the work since the last checkpoint, or T/2 where nobody knows."""
    return costs.interval_s / 2.0 if since_checkpoint_s is None else since_checkpoint_s


def break_even_checkpoint(costs: JobCosts, since_checkpoint_s: float | None = None) -> float:
    """A pre-emptive checkpoint pays from p > C_p / w on, C_p / (T/2) unless w is known. Above 1: never."""
    return _ratio(costs.checkpoint_s, work_at_risk_s(costs, since_checkpoint_s))


def break_even_drain(costs: JobCosts, since_checkpoint_s: float | None = None) -> float:
    """A planned move pays from p > (C_p + P) / (w + U) on: it saves the lost work and the recovery."""
    price_s = costs.checkpoint_s + costs.move_s
    return _ratio(price_s, work_at_risk_s(costs, since_checkpoint_s) + costs.recovery_s)


def expected_loss_s(probability: float, costs: JobCosts, since_checkpoint_s: float | None = None) -> float:
    """Job seconds lost if nothing is done: p (w + U); w is the work since the last checkpoint, else T/2."""
    return probability * (work_at_risk_s(costs, since_checkpoint_s) + costs.recovery_s)


def gpu_hours(job_s: float, gpus: int) -> float:
    """Seconds of a job as GPU-hours: all its GPUs wait for the one that failed."""
    return job_s * gpus / 3600.0


def provenance(values: dict[str, tuple[str, bool]]) -> str:
    """`assumed: T 1800 s; measured: C_p 45 s` from symbol -> (value with unit, whether it was measured)."""
    kinds = {"assumed": False, "measured": True}
    texts = {
        kind: ", ".join(f"{symbol} {text}" for symbol, (text, seen) in values.items() if seen is is_seen)
        for kind, is_seen in kinds.items()
    }
    return "; ".join(f"{kind}: {text}" for kind, text in texts.items() if text)


def positive(**values: float) -> None:
    """`ValueError` unless each is finite and > 0."""
    _require(values, lambda value: 0.0 < value < math.inf, "> 0")


def not_negative(**values: float) -> None:
    """`ValueError` unless each is finite and >= 0."""
    _require(values, lambda value: 0.0 <= value < math.inf, ">= 0")


def share(**values: float) -> None:
    """`ValueError` unless each is in 0..1."""
    _require(values, lambda value: 0.0 <= value <= 1.0, "in [0, 1]")


def _require(values: dict[str, float], holds: Callable[[float], bool], rule: str) -> None:
    for name, value in values.items():
        if not holds(value):  # NaN holds nothing
            raise ValueError(f"{name} must be {rule} (got {value:g})")


def _ratio(price_s: float, saves_s: float) -> float:
    return price_s / saves_s if saves_s > 0.0 else math.inf
