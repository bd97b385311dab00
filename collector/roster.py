"""Every GPU seen on this node, by UUID: a card that moves to another index keeps its history, a lost one stays."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from collector.identity import Facts, Identity
from collector.records import GpuState

_NOBODY = ""
"""UUID of a GPU that hung before it could say who it is."""


@dataclass(slots=True)
class Gpu:
    """What is remembered of one GPU. Times are seconds of the agent's clock."""

    identity: Identity
    last_good_s: float | None = None
    state: GpuState = "unread"
    hung_since_s: float | None = None
    retry_at_s: float = 0.0
    pause_s: float = 0.0
    facts: Facts | None = None
    processes: tuple[tuple[int, int | None], ...] = ()
    """(pid, MIG instance or None) with a compute context, as last told."""
    inventory_at_s: float = float("-inf")
    """When its inventory is due."""

    def is_named(self) -> bool:
        return self.identity.uuid != _NOBODY


class Roster:
    """GPUs by UUID, and which one answers at which NVML index."""

    def __init__(self) -> None:
        self._known: dict[str, Gpu] = {}
        self._at: dict[int, Gpu] = {}

    def __iter__(self) -> Iterator[Gpu]:
        """Those that have said who they are."""
        return iter(list(self._known.values()))

    def at(self, index: int) -> Gpu | None:
        return self._at.get(index)

    def at_or_suspect(self, index: int) -> Gpu:
        """The GPU at `index`, or a nameless memory of whatever is there."""
        return self._at.setdefault(index, Gpu(Identity(index, _NOBODY, "", None, None)))

    def indices(self, count: int) -> range:
        """All that may answer, when the driver sees `count`."""
        return range(max(count, 1 + max(self._at, default=-1)))

    def has_place(self, gpu: Gpu) -> bool:
        """False once another GPU answers at its index: after a driver reload without it the indices move up."""
        return self._at.get(gpu.identity.index) is gpu

    def inventory_due(self, order: list[int], now_s: float) -> list[int]:
        """Of the indices in `order` all that were never asked, else one whose time has come: it takes thirty calls."""
        places = {i: self._at.get(i) for i in order}
        unasked = [i for i, gpu in places.items() if gpu is None or gpu.inventory_at_s == float("-inf")]
        return unasked or [i for i, gpu in places.items() if gpu and now_s >= gpu.inventory_at_s][:1]

    def learn(self, identity: Identity) -> Gpu | None:
        """Note who answers at an index. Returns the GPU whose slot it took: that one was swapped out."""
        before, gpu = self._at.get(identity.index), self._known.get(identity.uuid)
        if gpu is None:
            gpu = before if before is not None and not before.is_named() else Gpu(identity)
            self._known[identity.uuid] = gpu
        elif self.has_place(gpu):
            del self._at[gpu.identity.index]
        gpu.identity = identity
        self._at[identity.index] = gpu
        return self._swapped_out(gpu)

    def _swapped_out(self, fresh: Gpu) -> Gpu | None:
        slot = fresh.identity.pci_bdf
        for gpu in self:
            if gpu is not fresh and gpu.identity.pci_bdf == slot:
                del self._known[gpu.identity.uuid]
                if self.has_place(gpu):
                    del self._at[gpu.identity.index]
                return gpu
        return None
