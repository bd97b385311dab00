"""Which card sits in which slot, so that a kernel line, which names a slot at most, becomes an event of its GPU."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec

from collector.records import Event, Inventory


class Card(NamedTuple):
    """The newest that was in a slot. `since_s` is Unix seconds."""

    gpu_uuid: str
    gpu_index: int | None
    since_s: float


@dataclass(slots=True)
class Slots:
    """By (node, pci_bdf)."""

    cards: dict[tuple[str, str], Card] = field(default_factory=dict)

    def see(self, found: Inventory) -> None:
        """Take one record; an older one changes nothing."""
        if found.pci_bdf is None:
            return
        key = found.node, found.pci_bdf
        known = self.cards.get(key)
        if known is None or known.since_s <= found.time:
            self.cards[key] = Card(found.gpu_uuid, found.gpu_index, found.time)

    def named(self, event: Event) -> Event:
        """The event with its GPU's name and index, where it has none and the slot's card came before it."""
        if event.pci_bdf is None or (event.gpu_uuid is not None and event.gpu_index is not None):
            return event
        card = self.cards.get((event.node, event.pci_bdf))
        if card is None or card.since_s > event.time or event.gpu_uuid not in (None, card.gpu_uuid):
            return event
        return msgspec.structs.replace(event, gpu_uuid=card.gpu_uuid, gpu_index=card.gpu_index)


def from_rows(rows: Iterable[Mapping[str, object]]) -> Slots:
    """From rows of the lake's `inventory`, in any order."""
    cards: dict[tuple[str, str], Card] = {}
    for row in rows:
        if row["pci_bdf"] is None:
            continue
        time, index = row["time"], row["gpu_index"]
        card = Card(str(row["gpu_uuid"]), index if isinstance(index, int) else None, time.timestamp())  # type: ignore[attr-defined]
        key = str(row["node"]), str(row["pci_bdf"])
        if key not in cards or cards[key].since_s <= card.since_s:
            cards[key] = card
    return Slots(cards)
