"""What an NVLink 5 error (Xid 144 to 150) means: unit, sub-code and status to severity and NVIDIA's action.

The driver prints `UNIT Fatal|Nonfatal XCn iN Link NN (intrinfo status ...)`. The rules of `xid_nvlink5.tsv` are
those of the sheet "XID 144-150 Decode" of NVIDIA's Xid-Catalog.xlsx; `0x1c6/10` is the value of the lowest 10
bits of intrinfo. Which unit those bits mean changed with driver branch 575. What no rule covers stays a number.
"""

from __future__ import annotations

import csv
import re
from functools import cache
from pathlib import Path
from typing import Final

import msgspec

from collector.xid import NVLINK5

NEW_RULES_FROM: Final = 575
"""The driver branch whose intrinfo is read by the second column of bits."""

_TABLE: Final = Path(__file__).with_name("xid_nvlink5.tsv")
_LINE: Final = re.compile(
    r"(?P<unit>[A-Z][A-Z0-9_/]{2,47})[ \t]{1,8}(?P<severity>Fatal|Non-?fatal)(?![A-Za-z])"
    r"(?:[^(\[]{0,80}[(\[](?P<intrinfo>0x[0-9A-Fa-f]{8})(?:[ \t]{1,4}(?P<status>0x[0-9A-Fa-f]{8}))?)?"
)


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """One row of the table. `effect` is what it does here and, after the semicolon, at the other end."""

    code: int
    unit: str
    below_575: str
    from_575: str
    subcode: int
    status: str
    action: str
    investigate: str
    severity: str
    origin: str
    effect: str


class Nvlink5(msgspec.Struct, frozen=True, kw_only=True):
    """One line read with the rules. `fatal` is the line's own word; without a rule the rest is unknown."""

    unit: str
    fatal: bool
    subcode: int | None = None
    status: int | None = None
    severity: str | None = None
    action: str | None = None
    investigate: str | None = None
    origin: str | None = None
    effect: str | None = None


@cache
def rules() -> tuple[Rule, ...]:
    """The whole table."""
    with _TABLE.open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        return tuple(msgspec.convert(row, Rule, strict=False) for row in rows)


def read(code: int, text: str, driver_branch: int | None = None) -> Nvlink5 | None:
    """The text of an Xid 144 to 150; None for another code or form. `driver_branch` is 575 of 575.57.08.

    Without the branch a rule of either version that fits counts: the unit that the line names tells them apart.
    """
    found = _LINE.match(text) if code in NVLINK5 else None
    if found is None:
        return None
    known = Nvlink5(unit=found["unit"], fatal=found["severity"] == "Fatal")
    if found["intrinfo"] is None:
        return known
    intrinfo = int(found["intrinfo"], 16)
    subcode = intrinfo >> 20 & 0x3F
    status = int(found["status"], 16) if found["status"] else None
    known = msgspec.structs.replace(known, subcode=subcode, status=status)
    rule = _rule(code, known, intrinfo, driver_branch)
    if rule is None:
        return known
    return msgspec.structs.replace(
        known,
        severity=rule.severity,
        action=rule.action,
        investigate=rule.investigate,
        origin=rule.origin,
        effect=rule.effect,
    )


def _rule(code: int, line: Nvlink5, intrinfo: int, driver_branch: int | None) -> Rule | None:
    units = line.unit.split("/")
    for rule in rules():
        if (rule.code, rule.subcode) != (code, line.subcode) or line.status != int(rule.status, 16):
            continue
        if set(units) & set(rule.unit.split("/")) and _fits(rule, intrinfo, driver_branch):
            return rule
    return None


def _fits(rule: Rule, intrinfo: int, driver_branch: int | None) -> bool:
    old, new = _has_bits(rule.below_575, intrinfo), _has_bits(rule.from_575, intrinfo)
    if driver_branch is None:
        return old or new
    return new if driver_branch >= NEW_RULES_FROM else old


def _has_bits(pattern: str, intrinfo: int) -> bool:
    value, _, bits = pattern.partition("/")
    return intrinfo & ((1 << int(bits)) - 1) == int(value, 16)
