"""Keeps the answer to "which job holds this GPU?" fresh, in a thread of its own: kubelet may take seconds."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from collector.clock import Clock
from collector.config import CollectorConfig
from collector.job import Holder
from collector.jobs import Jobs
from collector.jobs_pods import PodLister

log = logging.getLogger(__name__)

EVERY_S: Final = 5.0
"""Real seconds between two looks. Who holds a GPU changes with jobs, not with ticks."""


class JobWatch:
    """`holders` gives the GPUs and their processes as last seen. `label(uuid)` never waits."""

    def __init__(
        self, config: CollectorConfig, clock: Clock, holders: Callable[[], Iterable[Holder]]
    ) -> None:
        self._clock = clock
        self._holders = holders
        self._jobs = Jobs(mapping_dir=config.job_mapping_dir, pods=_pods(config.kubelet_socket))
        self._labels: Mapping[str, str] = {}
        self.failures = 0
        """Looks that ended in an error; the last answer stands."""

    def label(self, gpu_uuid: str | None) -> str | None:
        """The job on this GPU (several: joined by commas); None where none is known."""
        return None if gpu_uuid is None else self._labels.get(gpu_uuid)

    def start(self, stop: threading.Event) -> None:
        """Look every few seconds until `stop`."""
        threading.Thread(target=self._run, args=(stop,), name="jobs", daemon=True).start()

    def _run(self, stop: threading.Event) -> None:
        while not stop.wait(EVERY_S):
            try:
                self.look()
            except Exception:
                self.failures += 1
                log.exception("who holds the GPUs could not be told (%d times so far)", self.failures)

    def look(self) -> None:
        """Ask once."""
        found = self._jobs.of(list(self._holders()), self._clock.time_s())
        labels: dict[str, list[str]] = {}
        for (uuid, _instance), jobs in found.items():
            labels.setdefault(uuid, []).extend(_label for job in jobs if (_label := job.label))
        self._labels = {uuid: ",".join(dict.fromkeys(names)) for uuid, names in labels.items() if names}


def _pods(socket: str) -> PodLister | None:
    if not socket:
        return None
    from collector.jobs_kubelet import lister

    return lister(socket)
