"""What the policy may assume, and what it gives back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from alerting.action import Action
from alerting.bills import JobState
from alerting.incident import Incident, IncidentRow
from alerting.job_book import JobBook
from alerting.limits import Limits

State = Mapping[str, Incident]
"""The newest incident of each GPU, open or closed, by `gpu_key`. Closed ones know what they counted."""


@dataclass(frozen=True, slots=True)
class Rules:
    """`is_terminal` and `is_application` speak of Xid codes; `jobs` of what there is to lose."""

    is_terminal: Callable[[int], bool]
    is_application: Callable[[int], bool]
    advice: Callable[[int], str] | None = None
    alarm_level: float = 0.5
    alarm_level_of: Callable[[str], float | None] | None = None
    """A model's own operating point, by model id; None where it has none: then `alarm_level`."""
    clear_level: float = 0.1
    clear_s: float = 1800.0
    quiet_s: float = 86_400.0
    """A signal that comes this long after the last one belongs to a new incident."""
    event_max_age_s: float = 3600.0
    """An event older than this is recorded but asks for nothing: the node may be mended by now."""
    rewrite_s: float = 3600.0
    """An incident that only counts on writes a row this often, so that a restart knows it is alive."""
    jobs: JobBook = field(default_factory=JobBook)
    limits: Limits = field(default_factory=Limits)
    migrate: bool = False
    """A predicted fault may move a running job away, where that costs it least."""
    release_failed: bool = False
    """Lift the drain by itself also where a fault was seen, once the GPU was found healthy for `clear_s`."""
    dry_run: bool = True

    def alarm_at(self, model_id: str) -> float:
        """The risk from which on this model's word opens an incident."""
        own = None if self.alarm_level_of is None else self.alarm_level_of(model_id)
        return self.alarm_level if own is None else own

    def clear_at(self, model_id: str) -> float:
        """The risk below which this model gives the all-clear: never above half of its alarm."""
        return min(self.clear_level, self.alarm_at(model_id) / 2.0)

    def situation(self, incident: Incident) -> JobState:
        """What the job on the GPU has to lose as of the incident's newest signal."""
        return self.jobs.situation(incident.job, incident.last_signal_s)


class Decision(NamedTuple):
    """What follows from one signal. `changes` are log rows; `actions` are to be delivered once."""

    state: State
    changes: tuple[IncidentRow, ...] = ()
    actions: tuple[Action, ...] = ()
