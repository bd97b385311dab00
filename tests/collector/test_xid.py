"""The decoder against every form the driver prints, behind every prefix, and against what only looks like one."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.xid import XidLine, decode

# What the driver writes -> what it means. The first of each group is the shape in kernel_rc.c or error_nvswitch.h.
FORMS: dict[str, dict[str, Any]] = {
    "NVRM: Xid (PCI:0000:07:00): 79, pid=2412, name=python3, GPU has fallen off the bus.": {
        "code": 79,
        "pid": 2412,
        "process": "python3",
        "text": "GPU has fallen off the bus.",
    },
    "NVRM: Xid (PCI:0000:07:00): 48, pid='<unknown>', name=<unknown>, An uncorrectable double bit error (DBE)": {
        "code": 48,
        "text": "An uncorrectable double bit error (DBE)",
    },
    "NVRM: Xid (PCI:0000:07:00): 32, Channel ID 00000000 intr 00004000": {
        "code": 32,
        "text": "Channel ID 00000000 intr 00004000",
    },
    "NVRM: Xid (PCI:0000:07:00 GPU-I:05 GPU-CI:03): 43, pid=7, name=(udev-worker), Ch 00000008": {
        "code": 43,
        "pid": 7,
        "process": "(udev-worker)",
        "text": "Ch 00000008",
        "gi": 5,
        "ci": 3,
    },
    "NVRM: Xid (PCI:0000:07:00 GPU-I:05): 94, pid=7, Contained: CE User Channel (0x9). RST: No, D-RST: Yes": {
        "code": 94,
        "pid": 7,
        "text": "Contained: CE User Channel (0x9). RST: No, D-RST: Yes",
        "gi": 5,
        "needs_reset": False,
        "needs_drain_reset": True,
    },
    "NVRM: Xid (PCI:0000:07:00): 45, pid=18, name=nvc:[driver], Ch 00000001 caused by previous Xid 149": {
        "code": 45,
        "pid": 18,
        "process": "nvc:[driver]",
        "text": "Ch 00000001 caused by previous Xid 149",
        "root_code": 149,
    },
    "NVRM: Xid (PCI:0000:07:00): 154, GPU recovery action changed from 0x0 (None) to 0x4 (Drain and Reset)": {
        "code": 154,
        "text": "GPU recovery action changed from 0x0 (None) to 0x4 (Drain and Reset)",
        "recovery_action": "Drain and Reset",
    },
    "NVRM: Xid (PCI:0000:07:00): 149, NETIR_LINK_EVT Fatal XC0 i0 Link 00 (0x025001c6 0x00000000)": {
        "code": 149,
        "text": "NETIR_LINK_EVT Fatal XC0 i0 Link 00 (0x025001c6 0x00000000)",
        "fatal": True,
        "link": 0,
        "subcode": 37,
    },
    "NVRM: Xid (PCI:0000:07:00): 145, RLW_REMAP Nonfatal XC1 i0 Link 10 (0x00000004 0x00000040)": {
        "code": 145,
        "text": "RLW_REMAP Nonfatal XC1 i0 Link 10 (0x00000004 0x00000040)",
        "fatal": False,
        "link": 10,
        "subcode": 0,
    },
    "NVRM: Xid (PCI:0000:07:00): 149, NETIR_LINK_EVT Fatal XC 1 i 2 Link 01 [0x0010000a]": {
        "code": 149,
        "text": "NETIR_LINK_EVT Fatal XC 1 i 2 Link 01 [0x0010000a]",
        "fatal": True,
        "link": 1,
        "subcode": 1,
    },
    "NVRM: Xid (PCI:0000:07:00): 145, pid=4, name=<unknown>, RLW_SRC_TRACK Fatal XC0 i1 Link 00 (0x04000001)": {
        "code": 145,
        "pid": 4,
        "text": "RLW_SRC_TRACK Fatal XC0 i1 Link 00 (0x04000001)",
        "fatal": True,
        "link": 0,
        "subcode": 0,
    },
    "NVRM: Xid (PCI:0000:07:00): 154, GPU recovery action changed from 0x0 (None) to 0x2 (OS Reboot)": {
        "code": 154,
        "text": "GPU recovery action changed from 0x0 (None) to 0x2 (OS Reboot)",
        "recovery_action": "OS Reboot",
    },
    "NVRM: Xid (PCI:0000:07:00): 51, BAD_TSG encountered on runlist: 0 with error code: 4": {
        "code": 51,
        "text": "BAD_TSG encountered on runlist: 0 with error code: 4",
    },
    "NVRM: Xid (PCI:0000:07:00): 119, pid=1, name=a, Timeout after 6s of waiting for RPC response from GPU0 GSP!": {
        "code": 119,
        "pid": 1,
        "process": "a",
        "text": "Timeout after 6s of waiting for RPC response from GPU0 GSP!",
    },
    "NVRM: Xid (0000:07:00): 16, Head 00000000 Count 00000007": {
        "code": 16,
        "text": "Head 00000000 Count 00000007",
    },
    "NVRM: Xid (0007:00): 8, Channel 00000000": {"code": 8, "text": "Channel 00000000"},
    "NVRM: Xid (PCI:0000:07:00.0): 79": {"code": 79},
    "NVRM: Xid PCI:0000:07:00: 43, pid=9, name=cuda_assert_64b, Ch 00000018": {
        "code": 43,
        "pid": 9,
        "process": "cuda_assert_64b",
        "text": "Ch 00000018",
    },
    "NVRM: Xid (PCI:0000:07:00): 154 (": {"code": 154, "text": "("},
    "nvidia-nvswitch3: SXid (PCI:0000:07:00.0): 28006, Non-fatal, Link 46 MC TS crumbstore MCTO (First)": {
        "kind": "sxid",
        "code": 28006,
        "text": "Non-fatal, Link 46 MC TS crumbstore MCTO (First)",
        "fatal": False,
        "link": 46,
    },
    "nvidia-nvswitch0: SXid (PCI:0000:07:00.0): 26006, SOE HALT data[0] = 0x0": {
        "kind": "sxid",
        "code": 26006,
        "text": "SOE HALT data[0] = 0x0",
    },
    "nvidia-nvswitch0: SXid (PCI:0000:07:00.0): 20034, Severity 1 Engine instance 62 Sub-engine instance 00": {
        "kind": "sxid",
        "code": 20034,
        "text": "Severity 1 Engine instance 62 Sub-engine instance 00",
        "fatal": True,
        "detail": True,
    },
    "nvidia-nvswitch0: SXid (PCI:0000:07:00.0): 12028, Data {0x000001c0, 0x00bd5c8a}": {
        "kind": "sxid",
        "code": 12028,
        "text": "Data {0x000001c0, 0x00bd5c8a}",
        "detail": True,
    },
    "NVRM: GPU 0000:07:00.0: GPU has fallen off the bus.": {
        "kind": "gpu_lost",
        "text": "GPU 0000:07:00.0: GPU has fallen off the bus",
    },
}

PREFIXES = (
    "",
    "3,1234,5678901,-;",
    "[12345.678901] ",
    "[Mon Jan  5 10:11:12 2026] ",
    "<3>[   13.716487] ",
    "Dec  2 11:38:47 node001 kernel: [  219.470994] ",
    "Okt 06 17:59:27 node024 kernel: ",
    "6月 28 02:52:53 node025 kernel: ",
    "2026-10-05T08:08:16-05:00 node027 kernel: ",
    "<3>1 2026-10-05T08:08:16.123456+00:00 node027 kernel - - - ",
    '<3>1 2026-10-05T08:08:16Z node027 kernel - - [meta sequenceId="12"] ',
    "kern  :err   : 2025-01-25T10:34:54,859532+00:00 ",
    "10.63.114.162: kern: warning: [2026-04-22T21:27:51.291660856Z]: ",
    "> [Fri Aug 30 11:43:09 2024] ",
)

NEAR_MISSES = (
    "",
    "NVRM: Xid",
    "NVRM: Xid (PCI:0000:65:00)",
    "NVRM: Xid (PCI:0000:65:00): invalid",
    "NVRM: Xid (PCI:0000:65:00): 0x4f, pid=1",
    "NVRM: Xid (PCI:0000:65:00): 79abc",
    "NVRM: Xid (PCI:0000:65:00): -1",
    "NVRM: Xid (PCI:0000:65:00): 123456789012",
    "NVRM: Xid (PCI:%04x:%02x:%02x): %d, %s",
    r"NVRM: Xid \(PCI:([0-9a-f:.]+)\): (\d+)",
    "NVRM: Xid 79",
    "gpu-fault injected Xid (PCI:0000:0a:00): 46, reset",
    "Xid (PCI:0000:0a:00): 46, reset",
    "nvidia-nvswitch3: SXid (PCI:0000:c1:00.0): garbled, Fatal",
    "nvidia-nvswitch0: SXid (invalid): 12028, some error",
    "[Feb 27 2025 15:10:02] [ERROR] [tid 12727] detected NVSwitch non-fatal error 12028 on fid 0 on pci 0:86:00.0",
    "[Tue Jul 21 15:51:15 2026] r8169 0000:03:00.0 eth0: RTL8125B, 58:47:ca:7b:55:71, XID 641, IRQ 51",
    "dhclient[812]: DHCPDISCOVER on eth0 to 255.255.255.255 port 67 interval 5 (xid=0x7a3b1c2d)",
    "2020/08/10 19:09:42 XidCriticalError: Xid=69 on Device=GPU-658cda14, the device will go unhealthy.",
    "NVRM: GPU at PCI:0000:0a:00: GPU-52e6b438-f2a7-269e-6513-0c5ca6a3a450",
    "NVRM: GPU 0000:0a:00.0: RmInitAdapter failed! (0x62:0x65:2168)",
    "NVRM: The NVIDIA GPU 0000:b3:00.0",
    "pcieport 0000:00:01.0: device has fallen off the bus",
)


def expected(values: dict[str, Any]) -> XidLine:
    return XidLine(**{"kind": "xid", "pci_bdf": "0000:07:00", **values})


def in_go_json(line: str) -> str:
    """As a container runtime written in Go quotes it: < and > become escapes."""
    text = json.dumps({"log": line + "\n", "stream": "stderr"}, ensure_ascii=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e")


@pytest.mark.parametrize(("line", "values"), FORMS.items())
def test_every_form_of_the_driver_is_decoded_whole(line: str, values: dict[str, Any]) -> None:
    assert decode(line) == expected(values)


@pytest.mark.parametrize("line", NEAR_MISSES)
def test_a_line_that_only_talks_about_an_xid_is_none(line: str) -> None:
    assert decode(line) is None


@given(
    form=st.sampled_from(list(FORMS)),
    prefix=st.sampled_from(PREFIXES),
    newline=st.sampled_from(["", "\n", "\r\n"]),
)
def test_the_prefix_changes_nothing(form: str, prefix: str, newline: str) -> None:
    assert decode(prefix + form + newline) == decode(form)


@given(form=st.sampled_from(list(FORMS)), prefix=st.sampled_from(PREFIXES), depth=st.integers(1, 3))
def test_json_around_the_line_changes_nothing_however_deep(form: str, prefix: str, depth: int) -> None:
    line = prefix + form
    for _ in range(depth):
        line = in_go_json(line)
    assert decode(line) == decode(form)


def test_colours_of_dmesg_change_nothing() -> None:
    line = "\x1b[32m[   38.174242] \x1b[0m\x1b[33mNVRM: \x1b[0mXid (PCI:0000:07:00): 79, pid=1, name=a, x"
    assert decode(line) == expected({"code": 79, "pid": 1, "process": "a", "text": "x"})


@pytest.mark.parametrize(
    ("place", "bdf"),
    [
        ("PCI:0000:AF:00", "0000:af:00"),
        ("PCI:0000:00:1E.0", "0000:00:1e"),
        ("PCI:00000000:04:00.0", "0000:04:00"),
        ("PCI:000f:01:00", "000f:01:00"),
        ("0001:00", "0000:01:00"),
        ("PCI:00:1E.0", "0000:00:1e"),
        ("PCI:XXXX:XX:00", None),
        ("GPU-658cda14", None),
        ("GPU-52e6b438-f2a7-269e-6513-0c5ca6a3a450", None),
    ],
)
def test_addresses_of_every_driver_have_one_form(place: str, bdf: str | None) -> None:
    found = decode(f"NVRM: Xid ({place}): 79, x")
    assert found is not None
    assert found.pci_bdf == bdf


@pytest.mark.parametrize(
    ("task", "pid", "process"),
    [
        ("pid='5432', name='my_process'", 5432, "my_process"),
        ("pid=<n/a>, name=<unknown>", None, None),
        ("pid='`<unknown>`', name=`<unknown>`", None, None),
        ("pid=/home/bob/train.py", None, None),
        ("pid=0, name=swapper/0", 0, "swapper/0"),
        ("pid=12, name=VLLM::Worker", 12, "VLLM::Worker"),
        ("pid=12, name=a,b c", 12, "a,b c"),
        ("pid=12", 12, None),
    ],
)
def test_the_task_is_read_as_it_is_or_not_at_all(task: str, pid: int | None, process: str | None) -> None:
    found = decode(f"NVRM: Xid (PCI:0000:07:00): 31, {task}, Ch 00000010")
    assert found == expected({"code": 31, "pid": pid, "process": process, "text": "Ch 00000010"})


def test_text_behind_a_name_is_no_part_of_it() -> None:
    found = decode("NVRM: Xid (PCI:0000:07:00): 119, pid=9, name=test Recommended Action=COMPONENT_RESET")
    assert found == expected(
        {"code": 119, "pid": 9, "process": "test", "text": "Recommended Action=COMPONENT_RESET"}
    )


@pytest.mark.parametrize("line", [
    "NVRM: The NVIDIA GPU 0000:07:00.0 installed in this system has fallen off the bus and is not responding",
    "NVRM: The NVIDIA GPU 0000:07:00.0 (PCI ID: 10de:1e07) installed in this\nNVRM: system has fallen off the bus",
    "NVRM: GPU at PCI:0000:07:00: GPU has fallen off the bus.",
])  # fmt: skip
def test_every_wording_of_a_lost_gpu_names_it(line: str) -> None:
    found = decode(line)
    assert found is not None
    assert (found.kind, found.pci_bdf) == ("gpu_lost", "0000:07:00")


def test_the_three_line_message_is_one_lost_gpu() -> None:
    lines = (
        "NVRM: The NVIDIA GPU 0000:07:00.0",
        "NVRM: (PCI ID: 10de:2330) installed in this system has",
        "NVRM: fallen off the bus and is not responding to commands.",
    )
    for joint in ("\n", "\\x0a"):  # journald keeps the newline, /dev/kmsg escapes it
        found = decode("3,1,2,-;" + joint.join(lines))
        assert found is not None
        assert (found.kind, found.pci_bdf, found.code) == ("gpu_lost", "0000:07:00", None)


def test_a_second_message_in_the_record_is_not_read_into_the_first() -> None:
    two = (
        "NVRM: Xid (PCI:0000:07:00): 79, GPU is lost\\x0aNVRM: Xid (PCI:0000:07:00): 45, pid=3, name=x, Ch 1"
    )
    assert decode(two) == expected({"code": 79, "text": "GPU is lost"})


def test_half_a_surrogate_pair_does_not_reach_the_stream() -> None:
    found = decode('{"log":"NVRM: Xid (PCI:0000:07:00): 13, pid=1, name=x, \\ud83d cut"}')
    assert found is not None
    assert found.text == "? cut"


@given(st.text())
def test_no_text_makes_it_fail(line: str) -> None:
    decode(line)


@given(
    form=st.sampled_from(list(FORMS)),
    cut=st.integers(0, 120),
    junk=st.text(max_size=20),
    at=st.integers(0, 120),
)
def test_no_damage_to_a_real_line_makes_it_fail(form: str, cut: int, junk: str, at: int) -> None:
    damaged = form[:cut]
    found = decode(damaged[:at] + junk + damaged[at:])
    if found is not None and found.kind != "gpu_lost":
        assert found.code is not None


@pytest.mark.parametrize(
    "unit",
    [
        "NVRM: Xid ",
        "NVRM: Xid (PCI:",
        "pid=",
        "\\",
        '"',
        "RST:",
        "D-",
        "Link ",
        "NVRM: GPU ",
        "nvidia-nvswitch",
        "0",
    ],
)
def test_a_megabyte_of_anything_takes_no_time(unit: str) -> None:
    head = '{"NVRM: Xid (PCI:0000:07:00): 31, pid=1, name=x, '
    flood = unit * (1_000_000 // len(unit))
    for line in (flood, head + flood, flood + head, head + flood + " fallen off the bus"):
        start = time.perf_counter()
        decode(line)
        assert time.perf_counter() - start < 0.1


def test_the_collected_lines_decode_as_a_person_read_them(shared_data: Path) -> None:
    """Real lines, test fixtures of other tools and documents; off-the-bus lines without an Xid are "none" there."""
    wrong = []
    for raw in (shared_data / "xid_lines_dev.jsonl").read_text(encoding="utf-8").splitlines():
        case = json.loads(raw)
        found = decode(case["line"])
        tags = case.get("tags", [])
        lost = found is not None and found.kind == "gpu_lost"
        assert lost == ("implies_xid_79" in tags), case["line"]
        got = (
            None
            if found is None or lost
            else (found.kind, found.code, found.pci_bdf, found.pid, found.process)
        )
        want = tuple(case["expected"][key] for key in ("kind", "code", "pci", "pid", "process"))
        if got != (None if want[0] == "none" else want):
            wrong.append((case["line"], got, want))
        assert ("sxid_detail_line" in tags) == (found is not None and found.detail), case["line"]
    assert wrong == []
