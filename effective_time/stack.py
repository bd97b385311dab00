"""How a job saves and recovers: the training stacks that the literature compares, in seconds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from alerting.economics import not_negative, positive


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """C, U, C_p and P in seconds, and what they stand for. `ValueError` for a negative one, or C of 0."""

    name: str
    checkpoint_s: float
    recovery_s: float
    proactive_s: float
    move_s: float

    def __post_init__(self) -> None:
        positive(checkpoint_s=self.checkpoint_s)
        not_negative(recovery_s=self.recovery_s, proactive_s=self.proactive_s, move_s=self.move_s)


STACKS: Final = (
    Stack(name="slow storage, full restart", checkpoint_s=60, recovery_s=1200, proactive_s=60, move_s=300),
    Stack(name="asynchronous saves, warm spares", checkpoint_s=5, recovery_s=600, proactive_s=10, move_s=120),
    Stack(name="in-memory saves, fast restart", checkpoint_s=1, recovery_s=300, proactive_s=5, move_s=60),
    Stack(name="saves each step, restart in minutes", checkpoint_s=0.5, recovery_s=120, proactive_s=2, move_s=30),
)  # fmt: skip
"""The four of facts' table: C, U, C_p, P. Names are ours."""
