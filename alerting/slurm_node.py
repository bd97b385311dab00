"""A Slurm node's state and the reason of its drain: which part of it is ours, and which incident set it.

One node may be drained for several incidents. Their lines stand beside each other in the one reason, and the
drain is lifted with the last. A reason of another form is somebody else's, also one that an administrator made
out of ours by adding a word.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple, Protocol

from alerting.action import Outcome
from collector.errors import ForeshockError

OUR_PREFIX: Final = "foreshock:"
_BETWEEN: Final = "; "
_LINE: Final = re.compile(
    r"foreshock:(\S+) GPU(?: \d+)?(?: (?:GPU-|MIG-)\S+| [0-9a-fA-F]+:[0-9a-fA-F:.]+)?(?: risk=\d\.\d\d)?"
)
"""What `alerting.action.reason_line` writes."""
_NODE_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


class Node(NamedTuple):
    """A node as Slurm shows it. `flags` is its state, e.g. {MIXED, DRAIN}."""

    flags: frozenset[str]
    reason: str

    @property
    def is_drained(self) -> bool:
        return bool(self.flags & {"DRAIN", "DRAINED", "DRAINING"})

    @property
    def incidents(self) -> tuple[str, ...]:
        """The incidents that a drain of ours stands for; none when the reason is not wholly ours."""
        return tuple(_entries(self.reason))


class Controller(Protocol):
    """The two ways to Slurm's controller, scontrol and slurmrestd, for a node that is known to be one node."""

    def read(self, node: str) -> Node:
        """Raises ForeshockError when it cannot be asked or does not know the node."""

    def drain(self, node: str, reason: str) -> None:
        """State DRAIN with this reason; also replaces the reason of a drain."""

    def undrain(self, node: str, note: str) -> None:
        """Take the DRAIN flag off and nothing else: a node that is DOWN too stays DOWN (RESUME would lift that).

        Slurm 22.05 then clears the reason; 24.11 keeps it, so `note` takes the place of ours: it must not be
        found again under a later drain of somebody else.
        """


def single_node(name: str) -> str:
    """The name if it is one node. Slurm also takes `ALL` and `n[1-500]` here, which a message must never reach."""
    if _NODE_NAME.fullmatch(name) is None or name.upper() == "ALL":
        raise ForeshockError(f"{name!r} is not one node", hint="collector.node must be the Slurm NodeName")
    return name


def parse_node(text: str) -> Node:
    """`scontrol show node NAME --oneliner` -> state and reason."""
    state = re.search(r"\bState=(\S+)", text)
    reason = re.search(r"\bReason=(.*?) \[[^\]\s]+@[^\]]+\]", text)
    flags = state.group(1).rstrip("*~#!%$@^-").split("+") if state else []
    return Node(frozenset(flags), reason.group(1) if reason else "")


def drain(controller: Controller, name: str, incident_id: str, line: str) -> Outcome:
    """DRAIN with our line. A node that somebody else drained is left alone; one of ours learns a second incident."""
    node = controller.read(name)
    if not node.is_drained:
        controller.drain(name, line)
        return Outcome(ok=True, detail=f"{name} drained: {line}")
    if not node.incidents:
        detail = f"{name} is drained already, by somebody else, left alone: {node.reason}"
    elif incident_id in node.incidents:
        detail = f"{name} is drained already, by us: {node.reason}"
    else:
        controller.drain(name, f"{node.reason}{_BETWEEN}{line}")
        detail = f"{name} is drained already, by us; this incident joins its reason: {line}"
    return Outcome(ok=True, detail=detail)


def release(controller: Controller, name: str, incident_id: str) -> Outcome:
    """Take back what this incident set, read again right before. Slurm has no compare-and-set: the gap is one call."""
    node = controller.read(name)
    if not node.is_drained:
        return Outcome(ok=True, detail=f"{name} is not drained: nothing to lift")
    if incident_id not in node.incidents:
        whose = f"for {', '.join(node.incidents)}" if node.incidents else "by somebody else"
        return Outcome(ok=True, detail=f"{name} is drained {whose}, left alone: {node.reason}")
    rest = [line for incident, line in _entries(node.reason).items() if incident != incident_id]
    if rest:
        controller.drain(name, _BETWEEN.join(rest))
        return Outcome(ok=True, detail=f"{name} stays drained for others: {_BETWEEN.join(rest)}")
    controller.undrain(name, f"lifted by foreshock: {incident_id}")
    return Outcome(ok=True, detail=f"{name}: our drain for {incident_id} is lifted")


def _entries(reason: str) -> dict[str, str]:
    """Our lines by incident; none at all when one of them is not ours."""
    lines = reason.split(_BETWEEN)
    found = [_LINE.fullmatch(line) for line in lines]
    return {m.group(1): line for m, line in zip(found, lines, strict=True) if m} if all(found) else {}
