import polars as pl
import pytest

from alerting.slots import Slots, from_rows
from collector.clock import to_datetime
from collector.records import Event, Inventory


def card(time: float, uuid: str, index: int = 3) -> Inventory:
    return Inventory(time=time, node="n1", gpu_uuid=uuid, gpu_index=index, pci_bdf="0000:3b:00")


def line(time: float, uuid: str | None = None) -> Event:
    return Event(
        fingerprint="f",
        time=time,
        node="n1",
        kind="xid",
        source="kmsg",
        pci_bdf="0000:3b:00",
        gpu_uuid=uuid,
        code=79,
    )


def having(*cards: Inventory) -> Slots:
    slots = Slots()
    for found in cards:
        slots.see(found)
    return slots


def test_a_kernel_line_gets_the_card_that_sits_in_its_slot():
    named = having(card(10, "GPU-a")).named(line(20))
    assert (named.gpu_uuid, named.gpu_index) == ("GPU-a", 3)


def test_a_line_from_before_the_swap_is_not_the_new_cards():
    slots = having(card(10, "GPU-a"), card(100, "GPU-b"))
    assert slots.named(line(50)) == line(50)
    assert slots.named(line(150)).gpu_uuid == "GPU-b"


def test_an_old_record_that_comes_late_changes_nothing():
    assert having(card(100, "GPU-b"), card(10, "GPU-a")).named(line(150)).gpu_uuid == "GPU-b"


def test_a_card_that_is_named_is_not_renamed():
    slots = having(card(10, "GPU-a"))
    assert slots.named(line(20, "GPU-x")).gpu_uuid == "GPU-x"
    assert slots.named(line(20, "GPU-x")).gpu_index is None


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_the_lake_tells_the_same(order: tuple[int, int]):
    rows = [
        {"time": to_datetime(t), "node": "n1", "gpu_uuid": u, "gpu_index": 3, "pci_bdf": "0000:3b:00"}
        for t, u in ((10.0, "GPU-a"), (100.0, "GPU-b"))
    ]
    slots = from_rows(pl.DataFrame([rows[i] for i in order]).iter_rows(named=True))
    assert slots == having(card(100, "GPU-b"))
