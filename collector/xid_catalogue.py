"""What each Xid means and what to do about it, from `xid_catalogue.tsv` beside this file.

The table is data: a site can read it, diff it and correct it. Its columns:
`terminal` (yes: the GPU is unusable until a reset or reboot; maybe: depends on the line; no), `label` (fault,
fault_if_fatal, precursor, application, none: what labels and features are made of), `action` (what Foreshock
does), `why`, `precursor_of` (codes that tend to follow; `?` marks an inferred link), `sources`.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Final, Literal

import msgspec

from collector.xid_words import ACTION, GONE, NVIDIA, SCOPE, SWITCH_UNITS, Action, Terminal

Label = Literal["fault", "fault_if_fatal", "precursor", "application", "none"]
CodeKind = Literal["xid", "sxid"]

FIRST_SXID: Final = 10000
LAST_SXID: Final = 30999
"""NVSwitch errors have a range of their own, to be told from GPU errors (ctrl_dev_nvswitch.h)."""

_TABLE: Final = Path(__file__).with_name("xid_catalogue.tsv")


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One row of the table. Text is empty where NVIDIA gives none."""

    code: int
    mnemonic: str
    meaning: str
    layer: str
    scope: str
    terminal: Terminal
    label: Label
    nvidia_action: str
    nvidia_investigate: str
    action: Action
    why: str
    precursor_of: str
    sources: str


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """The answer for whoever is on call: every field is a sentence or a word to act on."""

    kind: CodeKind
    code: int
    name: str
    meaning: str
    cause: str
    gpu_gone: str
    nvidia: str
    action: Action
    action_text: str
    why: str
    follows: str
    sources: str

    @property
    def text(self) -> str:
        """The whole answer, one labelled line each; empty ones are left out."""
        title = f"{'Xid' if self.kind == 'xid' else 'SXid'} {self.code}  {self.name}"
        lines = (
            ("what", self.meaning),
            ("cause", self.cause),
            ("GPU gone?", self.gpu_gone),
            ("NVIDIA", self.nvidia),
            ("Foreshock", f"{self.action}: {self.action_text}"),
            ("why", self.why),
            ("next", self.follows),
            ("sources", self.sources),
        )
        return "\n".join([title, *(f"  {label:<10} {value}" for label, value in lines if value)])


_overrides: dict[int, Entry] = {}


def use(overrides: Mapping[int, Entry]) -> None:
    """Put the rows of this site (`xid_overrides.load_overrides`) over ours, for the whole process.

    Call it once, before anything is classified. An empty mapping takes them away again.
    """
    _overrides.clear()
    _overrides.update(overrides)


def entries() -> dict[int, Entry]:
    """The whole table by code, with the rows of this site."""
    return shipped() | _overrides if _overrides else shipped()


@cache
def shipped() -> dict[int, Entry]:
    """The table as it came, by code."""
    with _TABLE.open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        found = [msgspec.convert(row, Entry, strict=False) for row in rows]
    return {entry.code: entry for entry in found}


def lookup(code: int) -> Entry | None:
    """The row of an Xid; None for a code that neither NVIDIA's catalogue nor this site holds."""
    return _overrides.get(code) or shipped().get(code)


def is_terminal(code: int) -> bool:
    """The GPU is unusable until a reset or reboot, whatever the rest of the line says."""
    entry = lookup(code)
    return entry is not None and entry.terminal == "yes"


def is_fault(code: int, fatal: bool | None = None) -> bool:
    """A hardware fault, the thing that is predicted. `fatal` is what the line says of an NVLink5 code.

    NVLink5 codes (144-150) are faults only where the line says Fatal: without the line (None) they are not.
    """
    label = _label(code)
    return label == "fault" or (label == "fault_if_fatal" and fatal is True)


def is_precursor(code: int) -> bool:
    """Not a fault, but more likely before one: a feature of the risk model."""
    return _label(code) == "precursor"


def is_application(code: int) -> bool:
    """Made by the application or a consequence of it (13, 31, 43, 45): never a fault by itself."""
    return _label(code) == "application"


def _label(code: int) -> Label:
    entry = lookup(code)
    return "none" if entry is None else entry.label


def nearest(code: int, count: int = 3) -> list[int]:
    """The known codes closest to an unknown one."""
    return sorted(sorted(entries(), key=lambda known: (abs(known - code), known))[:count])


def explain(code: int, kind: CodeKind = "xid") -> Explanation | None:
    """What it is, whose fault, is the GPU gone, what NVIDIA says, what we do and why. None if nobody knows."""
    if kind == "sxid":
        return _explain_sxid(code)
    entry = lookup(code)
    return None if entry is None else _explain_xid(entry)


def _explain_xid(entry: Entry) -> Explanation:
    asked = [_say(entry.nvidia_action)] if entry.nvidia_action else []
    if entry.nvidia_investigate and entry.nvidia_investigate != entry.nvidia_action:
        asked.append(f"to investigate: {_say(entry.nvidia_investigate)}")
    return Explanation(
        kind="xid",
        code=entry.code,
        name=entry.mnemonic,
        meaning=entry.meaning,
        cause=_cause(entry),
        gpu_gone=GONE[entry.terminal],
        nvidia="; ".join(asked) or "gives no action",
        action=entry.action,
        action_text=ACTION[entry.action],
        why=entry.why,
        follows=entry.precursor_of and f"often followed by Xid {entry.precursor_of.replace(';', ', ')}",
        sources=entry.sources,
    )


def _cause(entry: Entry) -> str:
    causes, _, note = entry.scope.partition(" (")
    words = " or ".join(SCOPE.get(part, part) for part in causes.split("|"))
    return f"{words} ({note}" if note else words


def _say(action: str) -> str:
    words = NVIDIA.get(action)
    return f"{words} ({action})" if words else action


def _explain_sxid(code: int) -> Explanation | None:
    unit, number = divmod(code - FIRST_SXID, 1000)
    if not 0 <= unit < len(SWITCH_UNITS) or number == 0:
        return None
    name = SWITCH_UNITS[unit]
    return Explanation(
        kind="sxid",
        code=code,
        name=f"NVSwitch {name}",
        meaning=f"an error in an NVSwitch: {name}; the line itself says Fatal or Non-fatal, and which link",
        cause="hardware of the switch, of the link or of the GPU at its other end; not the application",
        gpu_gone="no, but after a Fatal one the GPUs behind that link have lost NVLink and their job stops",
        nvidia="Fatal: end the jobs across that switch and restart (Always Fatal: the whole host)",
        action="checkpoint_and_drain",
        action_text=f"{ACTION['checkpoint_and_drain']} (if Fatal; observe if Non-fatal)",
        why="a switch is shared: one bad link stops every job that spans it. Severity and Data lines belong to "
        "the line before them and are not counted again",
        follows="",
        sources="NVIDIA open-gpu-kernel-modules ctrl_dev_nvswitch.h, error_nvswitch.h; "
        "NVIDIA Fabric Manager User Guide",
    )
