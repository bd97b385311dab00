from __future__ import annotations

import pytest

from collector.records import Event, EventKind
from collector.xid_verdict import verdict


def event(
    code: int | None, text: str = "", kind: EventKind = "xid", recovery_action: str | None = None
) -> Event:
    return Event(
        fingerprint="f", time=1.0, node="n", kind=kind, source="kmsg", code=code, text=text,
        recovery_action=recovery_action,
    )  # fmt: skip


@pytest.mark.parametrize(("word", "wanted"), [
    ("None", "observe"), ("GPU Reset Required", "checkpoint_and_drain"), ("PF FLR", "checkpoint_and_drain"),
    ("Node Reboot Required", "drain_now"), ("OS Reboot", "drain_now"), ("Drain P2P", "checkpoint_and_drain"),
    ("Drain and Reset", "drain_after_job"), (" drain and reset ", "drain_after_job"), ("Recover the Moon", None),
])  # fmt: skip
def test_the_recovery_action_is_an_action_of_ours(word: str, wanted: str | None) -> None:
    assert verdict(event(154, recovery_action=word)) == wanted


@pytest.mark.parametrize(("code", "text", "wanted"), [
    (94, "Contained. RST: Yes, D-RST: No", "checkpoint_and_drain"),
    (95, "Uncontained. RST: No, D-RST: Yes", "drain_after_job"),
    (94, "Contained. RST: No, D-RST: No", None),
    (149, "NETIR_LINK_EVT Fatal XC0 i0 Link 00 (0x025001c6 0x00000000)", "checkpoint_and_drain"),
    (149, "NETIR_LINK_EVT Fatal XC0 i0 Link 00 (0x026001c6 0x00000000)", None),  # NVIDIA: no reset
    (145, "RLW_REMAP Nonfatal XC0 i0 Link 00 (0x00000004 0x00000040)", None),  # the line itself says Nonfatal
    (79, "GPU has fallen off the bus.", None),  # no verdict: the table of codes has one
])  # fmt: skip
def test_the_words_of_a_line_are_a_verdict_where_they_ask_for_something(
    code: int, text: str, wanted: str
) -> None:
    assert verdict(event(code, text)) == wanted


def test_what_is_no_xid_has_no_verdict() -> None:
    assert verdict(event(12028, "RST: Yes", "sxid")) is None
    assert verdict(event(None, kind="gpu_lost")) is None
