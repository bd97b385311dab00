from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from collector.fold import Folder
from collector.records import Event


def event(time_s: float = 100.0, **more: Any) -> Event:
    values: dict[str, Any] = {
        "fingerprint": "", "time": time_s, "node": "n1", "kind": "xid", "source": "kmsg",
        "pci_bdf": "0000:18:00", "code": 79,
    }  # fmt: skip
    return Event(**(values | more))


def test_the_same_fault_by_kmsg_and_nvml_is_one_event():
    folder = Folder(10.0)
    told = folder.offer(event())
    assert told is not None
    assert told.fingerprint
    assert folder.offer(event(101.0, source="nvml")) is None
    assert folder.folded == 1


def test_a_repeat_of_the_same_source_is_an_event_of_its_own():
    folder = Folder(10.0)
    assert folder.offer(event(100.0)) is not None
    assert folder.offer(event(101.0)) is not None


def test_another_gpu_or_code_or_a_later_time_is_not_an_echo():
    folder = Folder(10.0)
    folder.offer(event())
    assert folder.offer(event(source="nvml", pci_bdf="0000:2a:00")) is not None
    assert folder.offer(event(source="nvml", code=48)) is not None
    assert folder.offer(event(200.0, source="nvml")) is not None


@given(st.lists(st.tuples(st.integers(0, 100_000), st.integers(1, 20_000)), max_size=200))
def test_memory_is_bounded_and_fingerprints_differ(seen: list[tuple[int, int]]):
    folder = Folder(10.0)
    told = [folder.offer(event(t, code=c)) for t, c in seen]
    kept = [e.fingerprint for e in told if e is not None]
    assert len(set(kept)) == len(set(seen))
