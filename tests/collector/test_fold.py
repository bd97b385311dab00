"""One fault, one event: echoes, storms, roots, lost GPUs and SXid continuations, at any order and any volume."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.fold import Fold, line_fingerprint
from collector.records import Event

FATAL = "NETIR_LINK_EVT Fatal XC0 i0 Link 00 (0x025001c6 0x00000000)"
NONFATAL = "RLW_REMAP Nonfatal XC0 i0 Link 02 (0x00000004 0x00000001)"


def event(time_s: float = 100.0, **more: Any) -> Event:
    values: dict[str, Any] = {
        "fingerprint": "", "time": time_s, "node": "n1", "kind": "xid", "source": "kmsg",
        "pci_bdf": "0000:18:00", "code": 79,
    }  # fmt: skip
    return Event(**(values | more))


def newest(told: list[Event]) -> list[Event]:
    """What a consumer that keeps the newest by fingerprint has in the end."""
    return list({e.fingerprint: e for e in told}.values())


def fed(*events: Event, details: tuple[Event, ...] = (), fold: Fold | None = None) -> list[Event]:
    """Everything that is told of `events`, each offered at its own time, and of their end."""
    fold = fold or Fold(10.0)
    told = [t for e in events for t in fold.offer(e, e.time, detail=e in details)]
    last = max(e.time for e in events)
    return told + fold.tick(last + 1) + fold.tick(last + 100)


@pytest.mark.parametrize("sources", [("kmsg", "nvml"), ("nvml", "kmsg"), ("nvml", "kmsg", "dcgm")])
def test_the_same_fault_by_several_sources_is_one_event_whatever_the_order(sources: tuple[str, ...]) -> None:
    told = fed(*(event(100 + n, source=s) for n, s in enumerate(sources)))
    assert len({e.fingerprint for e in told}) == 1
    assert (told[-1].count, told[-1].last_time) == (1, None)


def test_a_kernel_line_that_comes_late_adds_what_nvml_does_not_know() -> None:
    by_nvml = event(code=31, source="nvml", text="Xid 31 by NVML event", gpu_uuid="GPU-a", gpu_index=3)
    by_kernel = event(104, code=31, text="MMU Fault", pid=7, process="python3")
    first, update = fed(by_nvml, by_kernel)
    assert (first.pid, update.pid, update.process, update.text) == (None, 7, "python3", "MMU Fault")
    assert (update.fingerprint, update.time, update.gpu_uuid) == (first.fingerprint, 100.0, "GPU-a")
    assert update.source == "kmsg"


def test_nvml_adds_nothing_to_what_the_kernel_said() -> None:
    assert (
        len(fed(event(text="GPU has fallen off the bus", gpu_uuid="GPU-a"), event(101, source="nvml"))) == 1
    )


def test_another_gpu_or_code_or_a_later_time_is_not_an_echo() -> None:
    told = fed(
        event(), event(source="nvml", pci_bdf="0000:2a:00"), event(source="nvml", code=48), event(200, source="nvml")
    )  # fmt: skip
    assert len(newest(told)) == 4


def test_an_nvml_event_of_an_unknown_gpu_is_an_echo_in_both_orders() -> None:
    unknown = event(101, source="nvml", pci_bdf=None)
    assert len(newest(fed(event(), unknown))) == 1
    located = newest(fed(unknown, event(102)))
    assert [e.pci_bdf for e in located] == ["0000:18:00"]


def test_a_storm_costs_two_records_and_no_memory_and_hides_nothing() -> None:
    """168,924 Xid 45 beside 10 others was seen in the field."""
    fold, told = Fold(10.0), []
    others = {1_000 + 15_000 * n: event(code=n + 20, pci_bdf=f"0000:{n:02x}:00") for n in range(10)}
    for n in range(168_924):
        now_s = 100.0 + n * 1e-4
        told += fold.offer(event(now_s, code=45, pid=n % 5000, process="python3"), now_s)
        if n in others:
            told += fold.offer(others[n], now_s)
        if n % 500 == 0:
            told += fold.tick(now_s)
    told += fold.tick(now_s + 61)
    assert {e.code for e in told} == {45, *range(20, 30)}
    assert len(told) == 12
    assert (told[-1].code, told[-1].count, told[-1].time) == (45, 168_924, 100.0)
    assert told[-1].last_time == pytest.approx(116.8923)
    assert sum(len(there) for there in fold._told.values()) == 11
    assert fold.settled


def test_a_storm_is_told_at_once_then_once_a_minute_then_when_it_is_over() -> None:
    fold, told = Fold(10.0, quiet_s=30.0, update_s=60.0), []
    for second in range(126):
        told += [(second, e.count) for e in fold.offer(event(second, code=31), second)]
        told += [(second, e.count) for e in fold.tick(second)]
    for second in range(126, 300):
        told += [(second, e.count) for e in fold.tick(second)]
    assert told == [(0, 1), (60, 61), (120, 121), (155, 126)]


def test_two_sources_in_one_storm_are_not_counted_twice() -> None:
    told = fed(*(event(100 + n, code=31, source=s) for n in range(5) for s in ("kmsg", "nvml")))
    assert [e.count for e in newest(told)] == [5]


def test_after_a_quiet_time_it_is_a_new_event() -> None:
    told = fed(event(100), event(101), event(300))
    assert [(e.time, e.count, e.last_time) for e in newest(told)] == [(100.0, 2, 101.0), (300.0, 1, None)]


@pytest.mark.parametrize(("code", "many", "few"), [
    (149, NONFATAL, FATAL),
    (94, "Contained. RST: No, D-RST: No", "Contained. RST: Yes, D-RST: No"),
])  # fmt: skip
def test_a_line_that_asks_for_more_does_not_vanish_in_a_storm(code: int, many: str, few: str) -> None:
    told = fed(*(event(100 + n, code=code, text=few if n == 5 else many) for n in range(10)))
    assert [(e.text, e.count) for e in newest(told)] == [(many, 9), (few, 1)]


def test_each_new_recovery_action_is_an_event() -> None:
    wanted = ("GPU Reset Required", "Node Reboot Required", "Node Reboot Required")
    told = fed(*(event(100 + n, code=154, recovery_action=a) for n, a in enumerate(wanted)))
    assert [(e.recovery_action, e.count) for e in newest(told)] == [(wanted[0], 1), (wanted[1], 2)]
    nvml_too = fed(event(100, code=154, recovery_action=wanted[0]), event(101, code=154, source="nvml"))
    assert len(nvml_too) == 1


def test_a_consequence_is_linked_to_its_root() -> None:
    told = fed(event(100, code=149), event(101, code=45, root_code=149), event(102, code=45, root_code=149))
    root, *consequences = told
    assert {e.root_fingerprint for e in consequences} == {root.fingerprint}
    assert len(newest(told)) == 2


def test_a_root_on_another_gpu_or_long_ago_is_not_this_one() -> None:
    told = fed(event(100, code=149, pci_bdf="0000:2a:00"), event(101, code=45, root_code=149))
    assert told[-1].root_fingerprint is None
    told = fed(event(100, code=149), event(5000, code=45, root_code=149))
    assert (told[-1].root_code, told[-1].root_fingerprint) == (149, None)


def test_a_repeat_after_half_a_minute_still_belongs_to_its_event() -> None:
    assert [(e.count, e.last_time) for e in newest(fed(event(100), event(130), event(185)))] == [(3, 185.0)]


def test_lines_of_a_lost_gpu_do_not_count_as_xids() -> None:
    told = fed(*(event(100 + n, kind="gpu_lost", code=None) for n in range(3)), event(103), event(104))
    assert [(e.kind, e.code, e.count) for e in newest(told)] == [("xid", 79, 2)]


@pytest.mark.parametrize("source", ["kmsg", "agent"])
def test_a_lost_gpu_and_its_xid_79_are_one_fault_whatever_the_order(source: str) -> None:
    lost = event(101, kind="gpu_lost", code=None, source=source, text="NVML says it is lost")
    for told in (fed(event(100), lost), fed(lost, event(102, text="GPU has fallen off the bus."))):
        assert [(e.kind, e.code, e.count) for e in newest(told)] == [("xid", 79, 1)]
    alone = fed(lost)
    assert [(e.kind, e.code) for e in alone] == [("gpu_lost", None)]


def test_a_lost_gpu_by_three_sources_is_one_event_and_the_consequence_knows_it() -> None:
    told = fed(
        event(100, kind="gpu_lost", code=None), event(100.1), event(100.4, source="nvml"),
        event(101.5, kind="gpu_lost", code=None, source="agent"), event(101.6, code=45, root_code=79),
    )  # fmt: skip
    fault, consequence = newest(told)
    assert (fault.kind, fault.code, fault.count) == ("xid", 79, 1)
    assert consequence.root_fingerprint == fault.fingerprint


def test_continuation_lines_belong_to_their_event() -> None:
    head = event(100, kind="sxid", code=20034, text="Fatal, Link 48 LTSSM Fault Up")
    details = (
        event(100.01, kind="sxid", code=20034, text="Severity 1 Engine instance 62"),
        event(100.02, kind="sxid", code=20034, text="Data {0x50610002, 0x10100030}"),
    )
    told = fed(head, *details, details=details)
    assert [e.text for e in told] == [
        "Fatal, Link 48 LTSSM Fault Up",
        "Fatal, Link 48 LTSSM Fault Up; Severity 1 Engine instance 62; Data {0x50610002, 0x10100030}",
    ]
    assert {(e.fingerprint, e.count) for e in told} == {(told[0].fingerprint, 1)}


def test_continuations_of_a_repeat_are_not_put_under_the_first() -> None:
    heads = [event(100 + n, kind="sxid", code=12028, text=f"Non-fatal, Link {n}") for n in range(3)]
    details = tuple(event(100.1 + n, kind="sxid", code=12028, text=f"Data {{{n}}}") for n in range(3))
    lines = sorted([*heads, *details], key=lambda e: e.time)
    last = newest(fed(*lines, details=details))
    assert [(e.text, e.count) for e in last] == [("Non-fatal, Link 0; Data {0}", 3)]


def test_a_continuation_without_its_line_is_counted_and_no_event() -> None:
    fold = Fold(10.0)
    assert fed(event(100, kind="sxid", text="Data {}"), details=(event(100, kind="sxid", text="Data {}"),),
               fold=fold) == []  # fmt: skip
    assert fold.orphans == 1
    head = event(100, kind="sxid", code=12028, text="Non-fatal")
    late = event(170, kind="sxid", code=12028, text="Data {}")
    assert [e.text for e in fed(head, late, details=(late,), fold=fold)] == ["Non-fatal"]
    assert fold.orphans == 2


def test_what_the_agent_saw_itself_is_passed_on_each_time() -> None:
    told = fed(*(event(100 + n, kind="nvml_hang", code=None, source="agent") for n in range(3)))
    assert len({e.fingerprint for e in told}) == 3


def test_a_fingerprint_of_the_kernel_record_is_kept() -> None:
    named = line_fingerprint("n1", "boot", 7)
    assert fed(event(fingerprint=named))[0].fingerprint == named
    assert (
        len({line_fingerprint(*w) for w in (("n1", "b", 7), ("n2", "b", 7), ("n1", "c", 7), ("n1", "b", 8))})
        == 4
    )


def test_a_replay_of_old_lines_does_not_hide_what_nvml_told_meanwhile() -> None:
    fold = Fold(10.0)
    told = fold.offer(event(10_000, code=31, source="nvml"), 10_000)
    for time_s in (100, 5_000, 10_001):
        told += fold.offer(event(time_s, code=31), 10_002)
    assert sorted(e.time for e in newest(told)) == [100, 5_000, 10_000]


def test_what_is_pending_is_told_at_the_end() -> None:
    fold = Fold(10.0)
    fold.offer(event(100), 100)
    fold.offer(event(101), 101)
    assert fold.settled is False
    assert [e.count for e in fold.close(102)] == [2]
    assert fold.close(103) == []


Drawn = list[tuple[int, int, int, str]]


@given(st.lists(st.tuples(
    st.integers(0, 40), st.integers(0, 2), st.sampled_from([31, 45, 79, 154]), st.sampled_from(["kmsg", "nvml"])
), max_size=120))  # fmt: skip
def test_no_telling_of_one_source_is_lost_or_counted_twice(drawn: Drawn) -> None:
    now_s, fold, told = 0.0, Fold(10.0), []
    for gap_s, gpu, code, source in drawn:
        now_s += gap_s
        told += fold.offer(event(now_s, code=code, pci_bdf=f"0000:0{gpu}:00", source=source), now_s)
        told += fold.tick(now_s)
    told += fold.close(now_s)
    for gpu in range(3):
        for code in (31, 45, 79, 154):
            mine = [s for _, g, c, s in drawn if (g, c) == (gpu, code)]
            counted = sum(e.count for e in newest(told) if (e.pci_bdf, e.code) == (f"0000:0{gpu}:00", code))
            assert max(mine.count("kmsg"), mine.count("nvml")) <= counted <= len(mine)


@given(st.lists(st.tuples(st.integers(0, 100_000), st.integers(1, 20_000)), max_size=300))
def test_memory_is_bounded(seen: list[tuple[int, int]]) -> None:
    fold = Fold(10.0)
    told = [t for at, c in seen for t in fold.offer(event(at, code=c), at)] + fold.close(1e6)
    assert sum(e.count for e in newest(told)) == len(seen)


def test_a_flood_of_different_codes_forgets_the_oldest_and_tells_its_count_first() -> None:
    fold = Fold(10.0)
    told = [t for _ in range(2) for t in fold.offer(event(code=1), 100)]
    for code in range(2, 5_000):
        told += fold.offer(event(code=code), 100)
    assert [e.count for e in newest(told) if e.code == 1] == [2]
    assert len(fold._told) <= 1024


def test_a_storm_that_goes_on_is_not_forgotten_in_a_flood_of_others() -> None:
    fold, told = Fold(10.0), []
    for n in range(3_000):
        told += fold.offer(event(100 + n / 100, code=45), 100)
        told += fold.offer(event(100 + n / 100, code=1_000 + n), 100)
    storm = [e for e in told + fold.close(200) if e.code == 45]
    assert [(e.count) for e in newest(storm)] == [3_000]
