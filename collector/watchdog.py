"""NVML behind a deadline: a call that hangs costs one GPU its sample, never the agent its loop.

Each tick asks the child process for every GPU in turn. When one does not answer in time the child is killed
and started again, that GPU is set aside with a growing pause, and the rest of the tick goes on. Hang, loss
and absence are rows and events: for off-the-bus faults they are the only early signs known (GWDG 2026).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from typing import Any, Final, Literal

from collector.identity import LOST, Facts, Identity
from collector.job import Holder
from collector.nvml_process import NvmlProcess
from collector.records import GpuState
from collector.roster import Gpu, Roster

log = logging.getLogger(__name__)

_START_TIMEOUT_S: Final = 20.0
"""nvmlInit may take seconds while the driver wakes GPUs without persistence mode."""
_INVENTORY_EVERY_S: Final = 300.0

Happening = Literal["nvml_hang", "nvml_recovered", "gpu_lost", "gpu_missing"]


@dataclass(frozen=True, slots=True)
class GpuRow:
    """What one tick says about one GPU. `values` are in the order of `records.READINGS`, or None."""

    identity: Identity
    state: GpuState
    nvml_return: int | None
    latency_us: int | None
    gap_s: float | None
    values: list[object] | None


class NvmlUnavailableError(Exception):
    """The child could not open NVML; the text says why."""


class Watchdog:
    """Polls all GPUs of this node. `notify(happening, identity, text)` is called when a state changes.

    `on_inventory(identity, facts)` is called when a GPU is met and when a fact about it changed; `facts` has the
    names of `records.Inventory` and is read again every five minutes. `now_s` is the agent's clock (its seconds
    are what gaps are measured in); deadlines are real seconds. `known` are the GPUs that were here before a restart:
    one that is lost cannot say who it is any more, and is reported by the name it had.
    """

    def __init__(
        self,
        *,
        library: str,
        deadline_s: float,
        retry_s: float,
        retry_max_s: float,
        now_s: Callable[[], float],
        notify: Callable[[Happening, Identity | None, str], None],
        on_xid: Callable[[Identity | None, int], None],
        on_inventory: Callable[[Identity, Facts], None] | None = None,
        known: Iterable[Identity] = (),
    ) -> None:
        self._library = library
        self._deadline_s = deadline_s
        self._retry_s = retry_s
        self._retry_max_s = retry_max_s
        self._now_s = now_s
        self._notify = notify
        self._on_xid = on_xid
        self._on_inventory = on_inventory
        self._roster = Roster()
        for identity in known:
            self._roster.learn(identity)
        self._child: NvmlProcess | None = None
        self.count = 0
        """GPUs that the driver sees, also those that do not say who they are."""
        self.driver_version: str | None = None
        self.restarts = 0
        """How often the NVML child was started again."""

    def tick(self) -> list[GpuRow]:
        """One row for every GPU ever seen on this node. Raises NvmlUnavailableError when there is no NVML."""
        now_s = self._now_s()
        rows: dict[str, GpuRow] = {}
        pending = self._order(now_s)
        inventory = self._roster.inventory_due(pending, now_s) if self._on_inventory is not None else []
        while pending:
            child = self._ensure_child()
            pending = self._ask(child, pending, inventory, rows, now_s)
            inventory = []
        for gpu in self._roster:
            if gpu.identity.uuid not in rows:
                rows[gpu.identity.uuid] = self._absent(gpu, now_s)
        return sorted(rows.values(), key=lambda r: r.identity.index)

    def _order(self, now_s: float) -> list[int]:
        """Healthy GPUs first; a suspect whose pause is over comes last, so that it can hurt nobody."""
        self._ensure_child()
        indices = self._roster.indices(self.count)
        hung = {i: gpu for i in indices if (gpu := self._roster.at(i)) and gpu.hung_since_s is not None}
        return [i for i in indices if i not in hung] + [i for i, g in hung.items() if now_s >= g.retry_at_s]

    def _ask(
        self,
        child: NvmlProcess,
        order: list[int],
        inventory: list[int],
        rows: dict[str, GpuRow],
        now_s: float,
    ) -> list[int]:
        """Send one request; the indices still to be asked (after a hang, by a new child)."""
        child.send(order, inventory)
        remaining, wanted = list(order), list(inventory)
        while True:
            message = child.receive(self._deadline_s)
            if message is None:
                self._stop_child()
                self._blame(remaining or wanted, now_s, died=child.died())
                return remaining[1:]
            kind = message["kind"]
            if kind == "identity":
                self._learn(message)
            elif kind == "row":
                remaining.remove(message["index"])
                self._accept(message, rows, now_s)
            elif kind == "processes":
                self._note_processes(message)
            elif kind == "inventory":
                wanted.remove(message["index"])
                self._take_stock(message, now_s)
            elif kind == "done":
                self._recount(message["count"])
                return []

    def _note_processes(self, message: dict[str, Any]) -> None:
        gpu = self._roster.at(message["index"])
        if gpu is not None:
            gpu.processes = tuple((int(pid), instance) for pid, instance in message["pids"])

    def _accept(self, message: dict[str, Any], rows: dict[str, GpuRow], now_s: float) -> None:
        gpu = self._roster.at(message["index"])
        if gpu is None or not gpu.is_named():
            return  # it never told us who it is: nothing to report it as
        code, values = int(message["code"]), message["values"]
        state: GpuState = (
            "lost" if code == LOST else "missing" if values is None else "error" if code else "ok"
        )
        gap_s = None if gpu.last_good_s is None else now_s - gpu.last_good_s
        if gpu.hung_since_s is not None:
            text = f"NVML answers again for GPU {gpu.identity.index} after {now_s - gpu.hung_since_s:.0f} s"
            gpu.hung_since_s, gpu.pause_s = None, 0.0
            self._notify("nvml_recovered", gpu.identity, text)
        if state == "ok":
            gpu.last_good_s = now_s
        self._changed(gpu, state, f"return code {code}")
        rows[gpu.identity.uuid] = GpuRow(gpu.identity, state, code, int(message["latency_us"]), gap_s, values)

    def _changed(self, gpu: Gpu, state: GpuState, why: str) -> None:
        if state == gpu.state:
            return
        gpu.state = state
        where = f"GPU {gpu.identity.index} ({gpu.identity.pci_bdf})"
        if state == "lost":
            self._notify("gpu_lost", gpu.identity, f"NVML says {where} is lost (NVML_ERROR_GPU_IS_LOST)")
        elif state == "missing":
            self._notify("gpu_missing", gpu.identity, f"{where} is gone from NVML ({why})")

    def _absent(self, gpu: Gpu, now_s: float) -> GpuRow:
        if gpu.hung_since_s is None and not self._roster.has_place(gpu):
            self._changed(gpu, "missing", "another GPU has its index now")
        state: GpuState = (
            "hung" if gpu.hung_since_s is not None else "missing" if gpu.state == "missing" else "unread"
        )
        gap_s = None if gpu.last_good_s is None else now_s - gpu.last_good_s
        return GpuRow(gpu.identity, state, None, None, gap_s, None)

    def _blame(self, unanswered: list[int], now_s: float, *, died: bool) -> None:
        if not unanswered:
            return
        index = unanswered[0]
        gpu = self._roster.at_or_suspect(index)
        first = gpu.hung_since_s is None
        if first:
            gpu.hung_since_s = now_s
        gpu.pause_s = min(self._retry_max_s, gpu.pause_s * 2 or self._retry_s)
        gpu.retry_at_s = now_s + gpu.pause_s
        gpu.inventory_at_s = (
            now_s + _INVENTORY_EVERY_S
        )  # where that was what hung, let the readings have a chance
        gpu.state = "hung"
        what = "the NVML process died" if died else f"NVML did not answer within {self._deadline_s:g} s"
        log.warning("%s on GPU %d; set aside for %.0f s", what, index, gpu.pause_s)
        if first:
            identity = gpu.identity if gpu.is_named() else None
            self._notify("nvml_hang", identity, f"{what} for GPU {index}; the other GPUs go on")

    def _learn(self, message: dict[str, Any]) -> None:
        identity = Identity(**{f.name: message[f.name] for f in fields(Identity)})
        swapped_out = self._roster.learn(identity)
        if swapped_out is not None:
            log.warning(
                "%s: %s is in the place of %s", identity.pci_bdf, identity.uuid, swapped_out.identity.uuid
            )

    def _take_stock(self, message: dict[str, Any], now_s: float) -> None:
        gpu, facts = self._roster.at(message["index"]), message["facts"]
        if gpu is None or not gpu.is_named():
            return
        gpu.inventory_at_s = now_s + _INVENTORY_EVERY_S
        if facts is not None and facts != gpu.facts and self._on_inventory is not None:
            gpu.facts = facts
            self._on_inventory(gpu.identity, facts)

    def _recount(self, count: int | None) -> None:
        if count is None:
            self._stop_child()  # NVML lost its footing (driver reload): the next tick starts afresh
        elif count != self.count:
            log.warning("the driver now sees %d GPUs (was %d)", count, self.count)
            self._stop_child()

    def _ensure_child(self) -> NvmlProcess:
        if self._child is None:
            child = NvmlProcess(self._library, self._xid)
            hello = child.receive(_START_TIMEOUT_S)
            if hello is None or hello["kind"] != "hello":
                child.kill()
                reason = str(hello["text"]) if hello else "NVML did not start in time"
                raise NvmlUnavailableError(reason)
            self.count = int(hello["count"])
            self._meet_driver(str(hello["driver"]))
            self._child = child
        return self._child

    def _meet_driver(self, version: str) -> None:
        if self.driver_version not in (None, version):
            for gpu in self._roster:
                gpu.inventory_at_s = float("-inf")
        self.driver_version = version

    def _xid(self, message: dict[str, Any]) -> None:
        gpu = self._roster.at(message["index"]) if message["index"] is not None else None
        self._on_xid(gpu.identity if gpu is not None and gpu.is_named() else None, int(message["code"]))

    def _stop_child(self) -> None:
        if self._child is not None:
            self._child.kill()
            self._child = None
            self.restarts += 1

    def holders(self) -> list[Holder]:
        """Every GPU and MIG instance with the processes on it: what `collector.jobs` asks about."""
        return [holder for gpu in self._roster for holder in _holders(gpu)]

    def identities(self) -> list[Identity]:
        """Every GPU seen so far."""
        return [gpu.identity for gpu in self._roster]

    def close(self) -> None:
        if self._child is not None:
            self._child.kill()
            self._child = None


def _holders(gpu: Gpu) -> list[Holder]:
    who, facts = gpu.identity, gpu.facts or {}
    minor = facts.get("minor")
    instances = {instance for _, instance in gpu.processes} | {None}
    return [
        Holder(
            who.uuid,
            who.index,
            minor if isinstance(minor, int) else None,
            tuple(pid for pid, on in gpu.processes if on == instance),
            instance,
        )
        for instance in sorted(instances, key=lambda i: -1 if i is None else i)
    ]
