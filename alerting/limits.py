"""What the operator allows: armed actions, budgets, cool-down, maintenance. Pure: it reads incidents, it keeps nothing.

A budget counts what open and recent incidents have asked, so that a restart, which restores them, counts the same.
What is held back is asked later, when there is room, if the cause still stands; it is never dropped without a word.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from fnmatch import fnmatchcase
from typing import Final, get_args

from alerting.action import ActionName
from alerting.incident import Incident, gpu_key
from collector.clock import to_datetime
from collector.errors import ConfigError

ACTIONS: Final[tuple[ActionName, ...]] = get_args(ActionName)
DRAINS: Final[frozenset[ActionName]] = frozenset({"drain", "drain_now"})
_HOUR_S: Final = 3600.0


@dataclass(frozen=True, slots=True)
class Maintenance:
    """Nodes (a shell pattern) that people work on: what happens there is written down and asks for nothing."""

    nodes: str
    begin_s: float
    end_s: float

    def covers(self, node: str, at_s: float) -> bool:
        return self.begin_s <= at_s < self.end_s and fnmatchcase(node, self.nodes)


@dataclass(frozen=True, slots=True)
class Limits:
    """Budgets of the whole fleet. A cap of 0 never asks."""

    armed: frozenset[ActionName] = frozenset(ACTIONS)
    """Only these are really asked; the others are written down as dry runs."""
    checkpoints_per_job_hour: int = 4
    drained_nodes: int = 16
    """Nodes that open incidents hold drained at once, by prediction or by fault."""
    predicted_drains: int = 4
    """Of them those that no fault has confirmed: a model that errs must not empty a fleet."""
    cool_down_s: float = 3600.0
    """After a recovery, a mere risk on the same GPU asks for nothing for so long."""
    maintenance: tuple[Maintenance, ...] = ()


def held(
    incidents: Iterable[Incident], incident: Incident, name: ActionName, now_s: float, limits: Limits
) -> str:
    """Why `name` must wait for this incident; empty where nothing is against it. `incidents` are all that are known."""
    if name == "release":
        return ""
    others = [i for i in incidents if gpu_key(i) != gpu_key(incident)]
    return (
        _by_people(incident, now_s, limits)
        or _by_cool_down(incident, now_s, limits)
        or (_by_checkpoints([*others, incident], incident, now_s, limits) if name == "checkpoint" else "")
        or (_by_drains(others, incident, limits) if name in DRAINS else "")
    )


def drained_nodes(incidents: Iterable[Incident]) -> dict[str, bool]:
    """Nodes that open incidents have asked to drain -> whether a fault was seen there."""
    found: dict[str, bool] = {}
    for i in incidents:
        if i.is_open and DRAINS & set(i.asked):
            found[i.node] = found.get(i.node, False) or i.state == "failed"
    return found


def _by_people(incident: Incident, now_s: float, limits: Limits) -> str:
    window = next((m for m in limits.maintenance if m.covers(incident.node, now_s)), None)
    if window is not None:
        return f"{incident.node} is in maintenance until {_clock(window.end_s)}"
    if incident.silenced_until_s is not None and now_s < incident.silenced_until_s:
        return f"silenced until {_clock(incident.silenced_until_s)}"
    return ""


def _by_cool_down(incident: Incident, now_s: float, limits: Limits) -> str:
    if incident.state != "open" or incident.recovered_before_s is None:
        return ""
    end_s = incident.recovered_before_s + limits.cool_down_s
    return (
        f"cools down until {_clock(end_s)}: this GPU has recovered a short while ago" if now_s < end_s else ""
    )


def _by_checkpoints(every: list[Incident], incident: Incident, now_s: float, limits: Limits) -> str:
    """A job without a name is taken for one job per node."""
    same = [i for i in every if (i.job or i.node) == (incident.job or incident.node)]
    times_s = [i.checkpoint_asked_s for i in same if i.checkpoint_asked_s is not None]
    asked = sum(now_s - t < _HOUR_S for t in times_s)
    if asked < limits.checkpoints_per_job_hour:
        return ""
    return f"{asked} checkpoints were asked of {incident.job or incident.node} within an hour, as many as allowed"


def _by_drains(others: list[Incident], incident: Incident, limits: Limits) -> str:
    drained = drained_nodes(others)
    if incident.node in drained and (drained[incident.node] or incident.state != "failed"):
        return ""  # it is out of service already: one more word costs nothing
    drained.pop(incident.node, None)
    if len(drained) >= limits.drained_nodes:
        return f"{len(drained)} nodes are drained by open incidents, as many as allowed"
    predicted = sum(not failed for failed in drained.values())
    if incident.state != "failed" and predicted >= limits.predicted_drains:
        return f"{predicted} nodes are drained by predictions, as many as allowed"
    return ""


def _clock(time_s: float) -> str:
    return f"{to_datetime(time_s):%Y-%m-%d %H:%M} UTC"


def maintenance(setting: str) -> Maintenance:
    """From "NODES BEGIN END": a shell pattern and two ISO 8601 times. Raises ConfigError for anything else."""
    try:
        nodes, begin, end = setting.split()
        times = [datetime.fromisoformat(t) for t in (begin, end)]
        if any(t.tzinfo is None for t in times) or times[0] >= times[1]:
            raise ValueError("times need an offset, and the end comes after the begin")
    except ValueError as e:
        raise ConfigError(
            f"watch.maintenance: {setting!r}: {e}",
            hint='e.g. "rack7-* 2026-11-24T22:00Z 2026-11-25T04:00Z"',
        ) from e
    return Maintenance(nodes, times[0].timestamp(), times[1].timestamp())
