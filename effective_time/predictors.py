"""Who speaks in a replay: assumed predictors, an oracle, and the proneness head as it really was: see `kind`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

from alerting.waste import DAY_S
from effective_time import proneness_alarms
from effective_time.alarms import Alarms, Foreteller, foretell
from effective_time.faults import Faults
from effective_time.proneness_alarms import Head
from effective_time.stack import Stack
from pipeline.signals import Ints

SAID: Final = 8
"""How often an alarm of the proneness head is said while it stands: about once a day for 7 d."""
SPEAKS_EVERY_S: Final = 300.0
"""A live model speaks every minute; this is faster. Only what the policy did not ask for at first comes later."""

Kind = Literal["assumed", "real", "oracle"]


@dataclass(frozen=True, slots=True)
class World:
    """What a seed draws: which unit is which node (`place`), the luck, the interval as a share of the best."""

    faults: Faults
    place: Ints
    of_best: float
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Predictor:
    """`recall` is what the job's interval is made for; `says` gives the alarms on the faults of a seed."""

    name: str
    kind: Kind
    recall: float
    says: Callable[[World, Stack], Alarms]
    horizon_s: float = 3600.0
    risk_every_s: float = SPEAKS_EVERY_S


def _assumed(recall: float, precision: float, name: str, kind: Kind) -> Predictor:
    def says(world: World, stack: Stack) -> Alarms:
        by = Foreteller(recall=recall, precision=precision, least_lead_s=stack.proactive_s)
        return foretell(world.faults, by, world.seed)

    return Predictor(name=name, kind=kind, recall=recall, says=says)


ASSUMED: Final = (
    _assumed(0.25, 0.85, "assumed: recall .25, precision .85", "assumed"),
    _assumed(0.45, 0.85, "assumed: recall .45, precision .85", "assumed"),
    _assumed(1.0, 1.0, "oracle: every GPU fault, nothing else", "oracle"),
)


def real(head: Head) -> Predictor:
    """Its recall is too small to save less often for it: recall 0."""
    return Predictor(
        name=f"REAL: proneness head, {head.horizon_days:g} d", kind="real", recall=0.0,
        says=lambda w, _stack: proneness_alarms.alarms(head, w.faults, w.place, w.seed),
        horizon_s=head.horizon_days * DAY_S, risk_every_s=head.horizon_days * DAY_S / SAID,
    )  # fmt: skip
