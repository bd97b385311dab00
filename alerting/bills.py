"""What each answer to a predicted fault costs the job: a price paid for sure, and what the fault then still takes.

In seconds of the job: observe p (w + U); checkpoint C_p + p U; migrate C_p + P; no_new_work as observe, since
the running job stays, and nothing where no job runs or it ends before the fault. Symbols as in
alerting/economics.py; the reasoning, and what is left out of it, in docs/economics.md.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, get_args

from alerting.economics import JobCosts, not_negative, positive

Option = Literal["observe", "no_new_work", "checkpoint", "migrate"]
OPTIONS: tuple[Option, ...] = get_args(Option)
"""Lightest first: of two that cost the same the lighter is taken."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobState:
    """What runs on a GPU as its fault is predicted. `gpus` None: no job runs, and `costs` are a next job's.

    `lead_s` is the expected time to the fault, None where nothing is known of it; `ends_in_s` the time until
    the job ends by itself; `value_per_gpu_hour` in any currency. `ValueError` for a number without sense.
    """

    gpus: int | None
    since_checkpoint_s: float | None = None
    costs: JobCosts = field(default_factory=JobCosts)
    lead_s: float | None = None
    ends_in_s: float | None = None
    value_per_gpu_hour: float | None = None

    def __post_init__(self) -> None:
        if self.gpus is not None:
            positive(gpus=self.gpus)
        for name in ("since_checkpoint_s", "lead_s", "ends_in_s", "value_per_gpu_hour"):
            value = getattr(self, name)
            if value is not None:
                not_negative(**{name: value})


class Bill(NamedTuple):
    """What an option costs: `price` for sure, `at_risk` if the fault comes. Amounts are (symbol, seconds)."""

    price: tuple[tuple[str, float], ...]
    at_risk: tuple[tuple[str, float], ...]
    note: str = ""

    @property
    def price_s(self) -> float:
        return sum(seconds for _, seconds in self.price)

    @property
    def at_risk_s(self) -> float:
        return sum(seconds for _, seconds in self.at_risk)

    def cost_s(self, probability: float) -> float:
        """Expected seconds of the job."""
        return self.price_s + probability * self.at_risk_s


def bills(state: JobState) -> dict[Option, Bill]:
    """What each option open in this state costs, in seconds of the job. Without a job only two are open."""
    costs, spared = state.costs, _falls_on_next_job(state)
    half = ("T/2", costs.interval_s / 2.0)
    work = half if spared or state.since_checkpoint_s is None else ("w", state.since_checkpoint_s)
    loss = (work, ("U", costs.recovery_s))
    of = " (of the next job)" if spared else ""
    open_now: dict[Option, Bill] = {
        "observe": Bill((), loss, of),
        "no_new_work": Bill((), () if spared else loss, "" if spared else " (the running job stays)"),
    }
    if state.gpus is None:
        return open_now
    save, late = ("C_p", costs.checkpoint_s), _too_late(state)
    useless = late or _regular_comes_first(state) or of
    after_move = loss if late and not spared else ()
    open_now["checkpoint"] = Bill((save,), loss if useless else (("U", costs.recovery_s),), useless)
    open_now["migrate"] = Bill((save, ("P", costs.move_s)), after_move, late if after_move else "")
    return open_now


def _falls_on_next_job(state: JobState) -> bool:
    if state.gpus is None:
        return True
    return state.ends_in_s is not None and state.lead_s is not None and state.ends_in_s < state.lead_s


def _too_late(state: JobState) -> str:
    """A save that the fault interrupts saves nothing."""
    late = state.lead_s is not None and state.lead_s < state.costs.checkpoint_s
    return " (lead < C_p: not on disk in time)" if late else ""


def _regular_comes_first(state: JobState) -> str:
    """A whole interval ahead of the fault, the job saves by itself before it: one more saves no work.

    Not where the last checkpoint is older than T: that job does not keep to its interval.
    """
    interval_s, since_s = state.costs.interval_s, state.since_checkpoint_s
    keeps_to_it = since_s is None or since_s <= interval_s
    early = state.lead_s is not None and state.lead_s >= interval_s and keeps_to_it
    return " (lead >= T: a regular one comes first)" if early else ""


def break_even(bill: Bill, observe: Bill) -> float:
    """The probability from which on this beats observing; above 1, or inf where it spares nothing: never."""
    spares_s = observe.at_risk_s - bill.at_risk_s
    return bill.price_s / spares_s if spares_s > 0.0 else math.inf
