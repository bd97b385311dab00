"""Where the agent's rows come from: NVML behind the watchdog, or an existing dcgm-exporter. One interface."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Final, NamedTuple, Protocol

from collector.batch import Row
from collector.clock import Clock
from collector.config import CollectorConfig
from collector.events import EventDesk
from collector.identity import Facts, Identity
from collector.job_watch import JobWatch
from collector.records import COLUMNS, READINGS
from collector.watchdog import GpuRow, Watchdog

_NO_READINGS: Final = (None,) * len(READINGS)
_STATE: Final = COLUMNS.index("gpu_state")

OnInventory = Callable[[Identity, Facts], None]


class Polled(NamedTuple):
    """One tick: a row per GPU ever seen, and how many GPUs are in which state."""

    rows: list[Row]
    states: Counter[str]


class Source(Protocol):
    """What the agent asks once per tick."""

    def poll(self) -> Polled:
        """One tick. Raises NvmlUnavailableError when there is nothing to ask."""

    def start(self, stop: threading.Event) -> None:
        """Begin what runs beside the ticks, until `stop`."""

    def identities(self) -> Iterable[Identity]:
        """Every GPU seen so far."""

    def job(self, gpu_uuid: str | None) -> str | None:
        """The job that holds a GPU, as far as is known now."""

    def counts(self) -> Mapping[str, float]:
        """What the source counts about itself, for /metrics."""

    def close(self) -> None: ...


class NvmlSource:
    """The GPUs of this node, through NVML."""

    def __init__(
        self,
        config: CollectorConfig,
        clock: Clock,
        desk: EventDesk,
        on_inventory: OnInventory,
        known: Iterable[Identity],
    ) -> None:
        self._config = config
        self._clock = clock
        self._watchdog = Watchdog(
            library=config.nvml_library, deadline_s=config.deadline_s, retry_s=config.hang_retry_s,
            retry_max_s=config.hang_retry_max_s, now_s=clock.time_s, notify=desk.happening,
            on_xid=desk.nvml_xid, on_inventory=on_inventory, known=known,
        )  # fmt: skip
        self._jobs = JobWatch(config, clock, self._watchdog.holders)

    def poll(self) -> Polled:
        time_us = round(self._clock.time_s() * 1e6)
        polled = self._watchdog.tick()
        return Polled([self._row(time_us, r) for r in polled], Counter(r.state for r in polled))

    def _row(self, time_us: int, gpu: GpuRow) -> Row:
        who = gpu.identity
        return (
            time_us, self._config.node, who.uuid, who.index, who.pci_bdf, self._config.synthetic,
            self._jobs.label(who.uuid), gpu.state, gpu.nvml_return, gpu.latency_us, gpu.gap_s,
            *(_NO_READINGS if gpu.values is None else gpu.values),
        )  # fmt: skip

    def identities(self) -> Iterable[Identity]:
        return self._watchdog.identities()

    def start(self, stop: threading.Event) -> None:
        self._jobs.start(stop)

    def job(self, gpu_uuid: str | None) -> str | None:
        return self._jobs.label(gpu_uuid)

    def counts(self) -> Mapping[str, float]:
        return {"nvml_restarts": self._watchdog.restarts, "job_look_failures": self._jobs.failures}

    def close(self) -> None:
        self._watchdog.close()


class DcgmSource:
    """The GPUs that a dcgm-exporter (or a Prometheus federation) tells of."""

    def __init__(self, config: CollectorConfig, clock: Clock, desk: EventDesk) -> None:
        from collector.dcgm_scraper import of_config  # the parser it needs is for those who need it

        self._desk = desk
        self._labels: dict[str, str] = {}
        self._scraper = of_config(config, clock.time_s)

    def poll(self) -> Polled:
        tick = self._scraper.tick()
        self._labels = {
            gpu.uuid: label
            for gpu in self._scraper.gpus()
            for job in gpu.jobs.values()
            if (label := job.label)
        }
        for event in tick.events:
            self._desk.offer(event)
        return Polled(tick.rows, Counter(str(row[_STATE]) for row in tick.rows))

    def start(self, stop: threading.Event) -> None:
        """A scrape is part of the tick: nothing runs beside it."""

    def job(self, gpu_uuid: str | None) -> str | None:
        """As the exporter's labels say."""
        return self._labels.get(gpu_uuid or "")

    def identities(self) -> Iterable[Identity]:
        for gpu in self._scraper.gpus():
            if gpu.index is not None and gpu.pci_bdf is not None:
                yield Identity(gpu.index, gpu.uuid, gpu.pci_bdf, gpu.model, None)

    def counts(self) -> Mapping[str, float]:
        seen = self._scraper.counts
        return {
            "dcgm_scrapes": seen.scrapes,
            "dcgm_scrape_failures": seen.failures,
            "dcgm_values_nulled": seen.nulls.total(),
            "dcgm_problems": seen.problems.total(),
        }

    def close(self) -> None:
        """Nothing is held between two scrapes."""
