"""NVLink 5 lines read with NVIDIA's rules: both versions of the register, and nothing made up."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.xid_nvlink5 import Nvlink5, read, rules

LOSS = "packet loss possible, delayed; packet loss possible, delayed"


def line(unit: str, severity: str, intrinfo: int, status: int) -> str:
    return f"{unit} {severity} XC0 i0 Link 03 (0x{intrinfo:08x} 0x{status:08x} 0x00000000 0x00000000)"


@pytest.mark.parametrize(("code", "text", "wanted"), [
    (149, line("NETIR_LINK_EVT", "Fatal", 0x025001C6, 0),  # driver below 575
     {"subcode": 37, "severity": "link fatal", "action": "RESET_GPU", "investigate": "INVESTIGATE_PEER_DEVICE"}),
    (149, line("NETIR_LINK_DOWN", "Fatal", 0x02500011, 0),  # the same from 575 on
     {"subcode": 37, "severity": "link fatal", "action": "RESET_GPU", "investigate": "INVESTIGATE_PEER_DEVICE"}),
    (149, line("NETIR_LINK_EVT", "Fatal", 0x026001C6, 0),
     {"subcode": 38, "severity": "link fatal", "action": "IGNORE", "investigate": "INVESTIGATE_SW_USER"}),
    (145, line("RLW_REMAP", "Nonfatal", 0x00000004, 1),
     {"subcode": 0, "severity": "non-fatal", "action": "XID_154_EVAL", "investigate": "CONTACT_SUPPORT"}),
    (145, line("RLW_SRC_TRACK", "Fatal", 0x00000007, 1),
     {"subcode": 0, "severity": "fatal", "action": "RESET_GPU", "investigate": "CONTACT_SUPPORT"}),
])  # fmt: skip
def test_a_line_is_read_with_the_rule_of_its_unit_subcode_and_status(
    code: int, text: str, wanted: dict[str, Any]
) -> None:
    found = read(code, text)
    assert found is not None
    assert {name: getattr(found, name) for name in wanted} == wanted


@pytest.mark.parametrize(("branch", "old", "new"), [
    (565, "RESET_GPU", None), (574, "RESET_GPU", None), (575, None, "RESET_GPU"), (590, None, "RESET_GPU"),
    (None, "RESET_GPU", "RESET_GPU"),
])  # fmt: skip
def test_which_bits_name_the_unit_depends_on_the_driver_branch(
    branch: int | None, old: str | None, new: str | None
) -> None:
    by_old = read(145, line("RLW_REMAP", "Fatal", 0x082, 0x40), branch)
    by_new = read(145, line("RLW_REMAP", "Fatal", 0x004, 0x40), branch)
    assert by_old is not None
    assert by_new is not None
    assert (by_old.action, by_new.action) == (old, new)


def test_units_that_share_a_status_are_told_apart() -> None:
    remap, track = (read(145, line(unit, "Nonfatal", bits, 1)) for unit, bits in
                    (("RLW_REMAP", 4), ("RLW_SRC_TRACK", 7)))  # fmt: skip
    assert remap is not None
    assert track is not None
    assert (remap.action, track.action) == ("XID_154_EVAL", "RESET_GPU")


@pytest.mark.parametrize("text", [
    line("SAW_EGR", "Nonfatal", 4, 1),  # a unit nobody has described
    line("RLW_REMAP", "Nonfatal", 4, 0x77),  # a status nobody has described
    line("NETIR_LINK_EVT", "Fatal", 0x031001C6, 0),  # a sub-code nobody has described
])  # fmt: skip
def test_what_no_rule_covers_stays_a_number(text: str) -> None:
    found = read(149 if "NETIR" in text else 144 if "SAW" in text else 145, text)
    assert found is not None
    assert found.status is not None
    assert (found.severity, found.action, found.effect) == (None, None, None)


def test_a_line_without_registers_still_names_its_unit() -> None:
    assert read(148, "NVLPW_CTRL Fatal XC0 i0 Link 05") == Nvlink5(unit="NVLPW_CTRL", fatal=True)


def test_old_brackets_and_spaced_flags_are_read() -> None:
    found = read(149, "NETIR_LINK_EVT  Fatal   XC 1 i 2 Link 01 [0x0000000a]")
    assert found == Nvlink5(unit="NETIR_LINK_EVT", fatal=True, subcode=0)


@pytest.mark.parametrize(
    ("code", "text"), [(145, "driver-specific detail"), (74, line("RLW_REMAP", "Fatal", 4, 1))]
)
def test_another_form_or_code_is_none(code: int, text: str) -> None:
    assert read(code, text) is None


def test_each_rule_is_found_by_its_own_line_in_both_versions() -> None:
    for rule in rules():
        units = rule.unit.split("/")
        for branch, pattern, unit in ((570, rule.below_575, units[0]), (580, rule.from_575, units[-1])):
            intrinfo = rule.subcode << 20 | int(pattern.split("/")[0], 16)
            found = read(rule.code, line(unit, "Fatal", intrinfo, int(rule.status, 16)), branch)
            assert found is not None
            assert (found.action, found.severity) == (rule.action, rule.severity), rule


def test_the_table_has_one_rule_per_case_and_only_nvidias_words() -> None:
    cases = [(r.code, r.below_575, r.from_575, r.subcode, r.status) for r in rules()]
    assert len(cases) == len(set(cases)) == 94
    assert {r.code for r in rules()} == set(range(144, 151))
    assert {r.action for r in rules()} == {"IGNORE", "RESET_GPU", "XID_154_EVAL"}
    assert {r.severity for r in rules()} == {"fatal", "non-fatal", "link fatal", "link fatal?"}


@given(code=st.integers(140, 155), text=st.text(max_size=200), branch=st.none() | st.integers(0, 999))
def test_no_text_makes_it_fail(code: int, text: str, branch: int | None) -> None:
    read(code, text, branch)
    read(code, f"RLW_REMAP Fatal {text} (0x00000004 0x{text}", branch)
