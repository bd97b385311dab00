"""Scrapes a dcgm-exporter (or a Prometheus /federate) in place of NVML: a row per known GPU, whatever happens.

The states are the watchdog's: `ok`; `error` when every reading of a GPU was refused; `missing` when the exporter
answers for the node but no longer lists the GPU; `unread` when it did not answer. Nothing is ever raised for the
exporter: an answer that cannot be used is counted and logged.
"""

from __future__ import annotations

import logging
import ssl
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

from collector.batch import Row
from collector.config import CollectorConfig
from collector.dcgm import parse
from collector.dcgm_gpu import Gpu, row, state_of
from collector.dcgm_xid import GpuKey, Xids, events, remember
from collector.errors import ConfigError
from collector.records import Event, GpuState

log = logging.getLogger(__name__)

MAX_BYTES = 64 * 2**20
_MISSING_AFTER = 2
"""Scrapes in a row without the GPU before it is an event: an exporter that reloads MIG skips one."""
_CHUNK = 1 << 16


class ScrapeError(Exception):
    """The exporter did not give a usable answer; the text says why."""


@dataclass(slots=True)
class Tick:
    """What one scrape adds: a row per known GPU (order of `records.FIELDS`), and the events seen in it."""

    rows: list[Row]
    events: list[Event]


@dataclass(slots=True)
class _Known:
    gpu: Gpu
    last_good_s: float | None = None
    absent: int = 0


@dataclass(slots=True)
class Counts:
    """For the agent's own metrics."""

    scrapes: int = 0
    failures: int = 0
    nulls: Counter[str] = field(default_factory=Counter)
    problems: Counter[str] = field(default_factory=Counter)
    last_duration_s: float | None = None
    last_error: str = ""


class Scraper:
    """One exporter. `node` is whose it is; empty: the Hostname label tells (always so in a federated text).

    `now_s` is the agent's clock; `timeout_s` is real seconds and bounds the whole exchange, not each read.
    `authorization_file` holds the value of the Authorization header (`Bearer ...` or `Basic ...`).
    """

    def __init__(
        self,
        url: str,
        *,
        node: str,
        now_s: Callable[[], float],
        timeout_s: float = 5.0,
        max_bytes: int = MAX_BYTES,
        cafile: str = "",
        authorization_file: str = "",
        synthetic: bool = False,
    ) -> None:
        if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname:
            raise ConfigError(
                f"collector.dcgm_url: {url!r} is no http(s) address",
                hint='dcgm_url = "http://127.0.0.1:9400/metrics"',
            )
        self._url = url
        self._node = node
        self._now_s = now_s
        self._timeout_s = timeout_s
        self._max_bytes = max_bytes
        self._authorization_file = authorization_file
        self._synthetic = synthetic
        self._opener = _opener(cafile)
        self._known: dict[GpuKey, _Known] = {}
        self._xids: dict[GpuKey, Xids] = {}
        self._federated = node == ""
        self.counts = Counts()

    def tick(self) -> Tick:
        """Scrape once. Never raises for the exporter; takes about `timeout_s` at most."""
        now_s, began = self._now_s(), time.monotonic()
        self.counts.scrapes += 1
        try:
            text = self._get()
        except ScrapeError as e:
            self._failed(str(e))
            return Tick([self._row(k, "unread", now_s) for k in self._known.values()], [])
        finally:
            self.counts.last_duration_s = time.monotonic() - began
        self.counts.last_error = ""
        return self._understand(text, now_s)

    def gpus(self) -> list[Gpu]:
        """Every GPU seen so far, as last seen."""
        return [known.gpu for known in self._known.values()]

    def _understand(self, text: str, now_s: float) -> Tick:
        scrape = parse(text, now_s, self._node, by_label=self._federated, synthetic=self._synthetic)
        if not self._federated and len({gpu.node for gpu in scrape.gpus}) > 1:
            # Once it told of several nodes it stays so, or the last one left would be taken for this one.
            self._federated = True
        self.counts.nulls.update(scrape.nulls)
        for problem in scrape.problems:
            self._problem(problem.reason, problem.count, problem.example)
        by_key = {gpu.key: gpu for gpu in scrape.gpus}
        found = events(self._xids, scrape.events_state, by_key, now_s, synthetic=self._synthetic)
        self._xids = remember(self._xids, scrape.events_state)
        self._learn(by_key)
        rows = [self._row_of_scrape(key, by_key, now_s, found) for key in self._known]
        return Tick(rows, found)

    def _learn(self, by_key: dict[GpuKey, Gpu]) -> None:
        slots: dict[tuple[str, int | None], GpuKey] = {
            (g.node, g.index): key for key, g in by_key.items() if g.index is not None
        }
        for key, known in list(self._known.items()):
            holder = slots.get((known.gpu.node, known.gpu.index))
            if key not in by_key and holder is not None:
                del self._known[key]  # another card is in its slot: a new history starts
                self._xids.pop(key, None)
        for key, gpu in by_key.items():
            self._known.setdefault(key, _Known(gpu)).gpu = gpu

    def _row_of_scrape(self, key: GpuKey, by_key: dict[GpuKey, Gpu], now_s: float, found: list[Event]) -> Row:
        known = self._known[key]
        if key not in by_key:
            if not any(node == key[0] for node, _ in by_key):
                return self._row(known, "unread", now_s)  # nothing of this node: the exporter is at fault
            known.absent += 1
            if known.absent == _MISSING_AFTER:
                found.append(self._missing(known.gpu, now_s))
            return self._row(known, "missing", now_s)
        known.absent = 0
        state = state_of(known.gpu)
        out = row(known.gpu, now_s, state, gap_s=_gap(known, now_s), synthetic=self._synthetic)
        if state == "ok":
            known.last_good_s = now_s
        return out

    def _row(self, known: _Known, state: GpuState, now_s: float) -> Row:
        """A row without readings: who, where, and since when nothing was heard."""
        g = known.gpu
        blank = Gpu(g.node, g.uuid, g.index, g.minor, g.pci_bdf)
        return row(blank, now_s, state, gap_s=_gap(known, now_s), synthetic=self._synthetic)

    def _missing(self, gpu: Gpu, now_s: float) -> Event:
        return Event(
            fingerprint="", time=now_s, node=gpu.node, kind="gpu_missing", source="dcgm", gpu_uuid=gpu.uuid,
            gpu_index=gpu.index, pci_bdf=gpu.pci_bdf, synthetic=self._synthetic,
            text=f"dcgm-exporter no longer lists GPU {gpu.index} ({gpu.pci_bdf or gpu.uuid})",
        )  # fmt: skip

    def _failed(self, why: str) -> None:
        self.counts.failures += 1
        if why != self.counts.last_error:
            log.warning("dcgm-exporter %s: %s; its GPUs are reported as unread", self._url, why)
        self.counts.last_error = why

    def _problem(self, reason: str, count: int, example: str) -> None:
        if reason not in self.counts.problems:
            log.warning(
                "dcgm-exporter %s: %s (%d times; said once), such as %r", self._url, reason, count, example
            )
        self.counts.problems[reason] += count

    def _get(self) -> str:
        headers = {"Accept": "text/plain", "User-Agent": "foreshock"}
        request = urllib.request.Request(self._url, headers=headers)  # noqa: S310 - the scheme is checked above
        deadline_s = time.monotonic() + self._timeout_s
        try:
            if self._authorization_file:
                request.add_header("Authorization", Path(self._authorization_file).read_text().strip())
            with self._opener.open(request, timeout=self._timeout_s) as answer:
                return _read(answer, self._max_bytes, deadline_s)
        except urllib.error.HTTPError as e:
            e.close()
            raise ScrapeError(f"HTTP status {e.code}") from e
        except (OSError, HTTPException, ValueError) as e:
            raise ScrapeError(f"{type(e).__name__}: {getattr(e, 'reason', None) or e}") from e


def of_config(config: CollectorConfig, now_s: Callable[[], float]) -> Scraper:
    """The scraper that `[collector]` describes."""
    return Scraper(
        config.dcgm_url, node="" if config.dcgm_node_from_label else config.node, now_s=now_s,
        cafile=config.dcgm_cafile, authorization_file=config.dcgm_authorization_file, synthetic=config.synthetic,
    )  # fmt: skip


def _gap(known: _Known, now_s: float) -> float | None:
    return None if known.last_good_s is None else now_s - known.last_good_s


def _opener(cafile: str) -> urllib.request.OpenerDirector:
    """HTTP and HTTPS and nothing else: no proxy from the environment, no redirect to a file."""
    opener = urllib.request.OpenerDirector()
    context = ssl.create_default_context(cafile=cafile or None)
    for handler in (
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(context=context),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.HTTPDefaultErrorHandler(),
    ):
        opener.add_handler(handler)
    return opener


def _read(answer: IO[bytes], max_bytes: int, deadline_s: float) -> str:
    parts, size = [], 0
    while part := answer.read1(_CHUNK):  # type: ignore[attr-defined]
        size += len(part)
        if size > max_bytes:
            raise ScrapeError(f"the answer is longer than {max_bytes} bytes")
        if time.monotonic() > deadline_s:
            raise ScrapeError("the answer did not end in time")
        parts.append(part)
    return b"".join(parts).decode("utf-8", "replace")
