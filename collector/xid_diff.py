"""`foreshock xid diff`: what we do at each Xid beside what NVIDIA and the public tools do.

Every tool has words of its own, so they are brought to one small scale. The words of each tool are facts about
it (`xid_matrix.csv`, with their sources); the scale is our reading of them.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Final, Literal, TextIO

import msgspec

from collector.errors import ForeshockError
from collector.xid_catalogue import lookup

Step = Literal[
    "ignore",
    "observe",
    "restart_app",
    "alarm",
    "drain",
    "reset",
    "reboot",
    "replace",
    "support",
    "depends",
    "-",
]
"""alarm: the node is flagged, without a remedy. support: ask NVIDIA. depends: on more than the code."""

TOOLS: Final = {
    "nvidia_immediate": "NVIDIA", "gpud": "gpud", "nvsentinel": "NVSentinel", "eks_nma": "EKS",
    "gke_device_plugin": "GKE", "azure_nhc": "AzureNHC", "azure_healthagent": "AzureHA", "gcm": "gcm",
    "imbue": "imbue", "sichek": "sichek",
}  # fmt: skip
IN_SERVICE: Final[frozenset[Step]] = frozenset({"ignore", "observe", "restart_app"})
OUT_OF_SERVICE: Final[frozenset[Step]] = frozenset({"alarm", "drain", "reset", "reboot", "replace"})

_MATRIX: Final = Path(__file__).with_name("xid_matrix.csv")
_OURS: Final[dict[str, Step]] = {
    "ignore": "ignore", "observe": "observe", "checkpoint": "observe", "drain_after_job": "drain",
    "checkpoint_and_drain": "drain", "drain_now": "drain",
}  # fmt: skip
_WORDS: Final[dict[str, Step]] = {
    # NVIDIA's resolution buckets; NVSentinel uses most of them
    "IGNORE": "ignore", "RESTART_APP": "restart_app", "RESET_GPU": "reset", "COMPONENT_RESET": "reset",
    "RESTART_BM": "reboot", "RESTART_VM": "reboot", "CONTACT_SUPPORT": "support", "UPDATE_SWFW": "support",
    "CHECK_MECHANICALS": "support", "WORKFLOW_XID_48": "reset", "WORKFLOW_NVLINK_ERR": "reset",
    "WORKFLOW_XID_45": "depends", "WORKFLOW_NVLINK5_ERR": "depends", "XID_154": "depends",
    "CHECK_UVM": "depends", "NONE": "observe",
    # gpud: severity, then its first suggestion
    "IgnoreNoActionRequired": "ignore", "CheckUserAppAndGPU": "restart_app", "RebootSystem": "reboot",
    "HardwareInspection": "replace", "Info": "ignore", "Warning": "observe",
    # the others only flag
    "event": "observe", "FATAL": "alarm", "CONDITION": "alarm", "FAIL": "alarm", "WARN": "observe",
    "ERROR": "alarm", "CRITICAL": "alarm", "HW": "alarm", "critical": "alarm",
    "": "-", "-": "-", "unknown": "-",
}  # fmt: skip


class Opinions(msgspec.Struct, frozen=True, kw_only=True):
    """One code. `tools` and `said` by tool: on our scale, and in its own words."""

    code: int
    name: str
    used: bool
    """Ampere or newer GPUs may print it."""
    ours: Step
    action: str
    tools: dict[str, Step]
    said: dict[str, str]
    differs: tuple[str, ...]
    """Who keeps the GPU in service where we do not, or the other way round."""
    why: str


@cache
def _rows() -> tuple[dict[str, str], ...]:
    with _MATRIX.open(encoding="utf-8", newline="") as file:
        return tuple(csv.DictReader(line for line in file if not line.startswith("#")))


def opinions() -> Iterator[Opinions]:
    """Every code of our catalogue, in order, with the rows of this site."""
    for row in _rows():
        code = int(row["xid"])
        entry = lookup(code)
        if entry is None:
            continue
        ours = _OURS[entry.action]
        tools = {name: step(row[column]) for column, name in TOOLS.items()}
        yield Opinions(
            code=code, name=entry.mnemonic, used=row["applies_any"] == "True", ours=ours, action=entry.action,
            tools=tools, said={name: row[column] for column, name in TOOLS.items()},
            differs=tuple(name for name, theirs in tools.items() if _apart(ours, theirs)), why=entry.why,
        )  # fmt: skip


def step(said: str) -> Step:
    """A tool's own words on our scale. KeyError for a word that nobody has read yet."""
    severity, _, advice = said.partition(":")
    first = advice.split("|")[0]
    word = first if first not in ("", "NONE") else severity
    return _WORDS[word.partition("(")[0]]


def _apart(ours: Step, theirs: Step) -> bool:
    return (ours in IN_SERVICE and theirs in OUT_OF_SERVICE) or (
        ours in OUT_OF_SERVICE and theirs in IN_SERVICE
    )


def run_diff(as_json: bool, stdout: TextIO, *, only: Sequence[int] = (), differing: bool = False) -> int:
    """Ours against NVIDIA and nine columns of eight tools. `only` these codes; `differing`: from NVIDIA.

    Without either, the codes that GPUs from Ampere on may print. Raises ForeshockError for an unknown code.
    """
    every = {o.code: o for o in opinions()}
    unknown = [code for code in only if code not in every]
    if unknown:
        raise ForeshockError(
            f"no Xid {unknown[0]} is known", hint=f"foreshock xid diff, or a code from 1 to {max(every)}"
        )
    chosen = [every[code] for code in only] or [o for o in every.values() if o.used]
    chosen = [o for o in chosen if "NVIDIA" in o.differs] if differing else chosen
    if as_json:
        stdout.write(json.dumps([msgspec.to_builtins(o) for o in chosen]) + "\n")
    else:
        stdout.writelines(line + "\n" for line in _table(chosen))
    return 0


def _table(chosen: Sequence[Opinions]) -> Iterator[str]:
    widths = {name: max(11, len(name)) for name in TOOLS.values()}
    yield (
        f"{'Xid':>4} {'ours':<12}" + " ".join(f"{name:<{width}}" for name, width in widths.items()) + " name"
    )
    for o in chosen:
        cells = (f"{o.tools[n] + ('*' if n in o.differs else ''):<{width}}" for n, width in widths.items())
        yield f"{o.code:>4} {o.ours:<12}" + " ".join(cells) + f" {o.name}"
    yield ""
    yield "* keeps the GPU in service where we do not, or the other way round"
    for name in TOOLS.values():
        apart = sum(name in o.differs for o in chosen)
        silent = sum(o.tools[name] == "-" for o in chosen)
        yield f"  {name:<11} differs at {apart:>3} of {len(chosen)} codes, names {len(chosen) - silent} of them"
    reasons = [o for o in chosen if "NVIDIA" in o.differs]
    if reasons:
        yield ""
        yield "Where we differ from NVIDIA, and why:"
        yield from (f"  Xid {o.code}: {o.action}, not {o.said['NVIDIA']}: {o.why}" for o in reasons)
