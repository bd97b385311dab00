"""What the jobs have to lose, as far as they tell: their own checkpoints are seen as events, the rest is assumed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise
from statistics import median
from typing import Final

from alerting.bills import JobState
from alerting.economics import JobCosts
from collector.checkpoints import Checkpoint

_KEPT: Final = 8
"""Checkpoints of a job that its usual interval and price are taken from."""
_JOBS: Final = 10_000
"""Jobs that are remembered; the one that was silent for longest goes first."""


@dataclass(frozen=True, slots=True)
class JobBook:
    """Each job's last checkpoints, oldest first. Immutable: `seen` gives another book."""

    costs: JobCosts = field(default_factory=JobCosts)
    """For what a job has not shown."""
    checkpoints: Mapping[str, tuple[Checkpoint, ...]] = field(default_factory=dict)

    def seen(self, checkpoint: Checkpoint) -> JobBook:
        """With one more. A repeat, a start alone and what is older than all that is kept change nothing."""
        if checkpoint.finished_s is None:
            return self
        known = dict(self.checkpoints)
        mine = {c.started_s: c for c in (*known.pop(checkpoint.job, ()), checkpoint)}
        known[checkpoint.job] = tuple(mine[s] for s in sorted(mine)[-_KEPT:])
        while len(known) > _JOBS:
            del known[next(iter(known))]
        return replace(self, checkpoints=known)

    def situation(self, job: str | None, at_s: float) -> JobState:
        """What `job` would lose at `at_s` (Unix seconds). Nothing known of it: everything is assumed."""
        mine = () if job is None else self.checkpoints.get(job, ())
        ends = [c.finished_s for c in mine if c.finished_s is not None and c.finished_s <= at_s]
        if not ends:
            return JobState(gpus=1, costs=self.costs)
        prices = [c.finished_s - c.started_s for c in mine if c.finished_s is not None]
        gaps = [b - a for a, b in pairwise(ends)]
        shown = {"checkpoint_s": median(prices)} | ({"interval_s": median(gaps)} if gaps else {})
        costs = replace(self.costs, **shown, assumed=self.costs.assumed - shown.keys())
        return JobState(gpus=1, since_checkpoint_s=at_s - ends[-1], costs=costs)
