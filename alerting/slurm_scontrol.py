"""The one door to scontrol: no shell, a deadline, and its own words in the error."""

from __future__ import annotations

from typing import Final

from alerting.execute import execute
from alerting.slurm_node import Node, parse_node
from collector.errors import ForeshockError

_TIMEOUT_S: Final = 10.0
_HINT: Final = "install slurm-client, and see that `scontrol ping` answers for this user"


class Scontrol:
    """Slurm's controller through the command line; needs AdminLevel Operator (docs/slurm.md)."""

    def read(self, node: str) -> Node:
        return parse_node(scontrol("show", "node", node, "--oneliner"))

    def drain(self, node: str, reason: str) -> None:
        scontrol(*drain_arguments(node, reason))

    def undrain(self, node: str, note: str) -> None:
        scontrol("update", f"NodeName={node}", "State=UNDRAIN", f"Reason={note}")


def drain_arguments(node: str, reason: str) -> tuple[str, ...]:
    """Arguments of scontrol; the reason is one argument, no shell reads it."""
    return ("update", f"NodeName={node}", "State=DRAIN", f"Reason={reason}")


def scontrol(*arguments: str, fine: str | None = None) -> str:
    """What it printed. Raises ForeshockError with what it said, unless that is just `fine`."""
    done = execute(["scontrol", *arguments], _TIMEOUT_S, hint=_HINT)
    said = done.error or done.output.strip()
    if done.code != 0 and said != fine:
        raise ForeshockError(f"scontrol {arguments[0]}: {said}", hint=_HINT)
    return done.output
