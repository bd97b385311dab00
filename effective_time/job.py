"""The clock of one synchronous job: what it works, saves and loses. Every second is in exactly one account.

The job works T - C, saves C, and so on; what is not yet on disk when a fault strikes is lost. Between two calls the
cycles are counted, not stepped through, so months cost as much as minutes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Final, Literal

Loss = Literal["checkpoint", "alarm checkpoint", "lost work", "recovery", "planned move", "no node"]
LOSSES: Final[tuple[Loss, ...]] = (
    "checkpoint", "alarm checkpoint", "lost work", "recovery", "planned move", "no node",
)  # fmt: skip


@dataclass(slots=True)
class _Phase:
    loss: Loss
    left_s: float
    saves: bool = False


@dataclass(slots=True)
class Job:
    """`interval_s` is T, `checkpoint_s` C. Seconds since the start of the run."""

    interval_s: float
    checkpoint_s: float
    now_s: float = 0.0
    work_s: float = 0.0
    """Work that is on disk."""
    saved_s: float | None = None
    """When the last checkpoint was complete."""
    lost_s: dict[str, float] = field(default_factory=lambda: dict.fromkeys(LOSSES, 0.0))
    _cycle_s: float = 0.0
    _phases: list[_Phase] = field(default_factory=list)

    @property
    def unsaved_s(self) -> float:
        return min(self._cycle_s, self.interval_s - self.checkpoint_s)

    @property
    def saving_s(self) -> float:
        """Until what it saves now is on disk."""
        return sum(p.left_s for p in self._phases if p.saves)

    def advance(self, to_s: float) -> None:
        """Let time pass, to `to_s`."""
        left_s = to_s - self.now_s
        self.now_s = to_s
        while self._phases and left_s > 0.0:
            left_s = self._spend(self._phases[0], left_s)
        if left_s > 0.0 and not self._phases:
            self._cycle(left_s)

    def stop(self, recovery_s: float) -> None:
        """A fault: what is not on disk is gone, and the job comes back after so long. Another one begins that anew."""
        self.lost_s["lost work"] += self.unsaved_s
        self.lost_s["checkpoint"] += self._cycle_s - self.unsaved_s
        self._cycle_s = 0.0
        self._phases = [_Phase("recovery", recovery_s)]

    def wait(self, lacks_nodes: bool) -> None:
        """It cannot start before it has all its nodes, or: it has them now."""
        starting = [p for p in self._phases if p.loss != "no node"]
        at = next((n for n, p in enumerate(starting) if not p.saves), len(starting))
        self._phases = (
            [*starting[:at], _Phase("no node", math.inf), *starting[at:]] if lacks_nodes else starting
        )

    def save(self, checkpoint_s: float) -> None:
        """Save now, or finish the regular checkpoint that is under way; a job that is down saves nothing."""
        if self._phases:
            return
        done_s = self._cycle_s - self.unsaved_s
        if done_s > 0.0:
            self._phases.append(_Phase("checkpoint", self.checkpoint_s - done_s, saves=True))
        else:
            self._phases.append(_Phase("alarm checkpoint", checkpoint_s, saves=True))

    def move(self, move_s: float) -> None:
        """Start elsewhere, after what is being saved is on disk."""
        self._phases.append(_Phase("planned move", move_s))

    def end(self) -> None:
        """What is in memory at the end counts as work: nothing came to take it."""
        self.work_s += self.unsaved_s
        self.lost_s["checkpoint"] += self._cycle_s - self.unsaved_s
        self._cycle_s = 0.0

    def _spend(self, phase: _Phase, time_s: float) -> float:
        spent_s = min(phase.left_s, time_s)
        phase.left_s -= spent_s
        self.lost_s[phase.loss] += spent_s
        if phase.left_s <= 0.0:
            self._phases.pop(0)
            if phase.saves:
                self._saved(self.now_s - (time_s - spent_s))
        return time_s - spent_s

    def _saved(self, at_s: float) -> None:
        self.work_s += self.unsaved_s
        self.lost_s["checkpoint"] += self._cycle_s - self.unsaved_s
        self._cycle_s, self.saved_s = 0.0, at_s

    def _cycle(self, time_s: float) -> None:
        whole, self._cycle_s = divmod(self._cycle_s + time_s, self.interval_s)
        if whole:
            self.work_s += whole * (self.interval_s - self.checkpoint_s)
            self.lost_s["checkpoint"] += whole * self.checkpoint_s
            self.saved_s = self.now_s - self._cycle_s
