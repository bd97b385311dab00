"""docs/runbook.md, a section per cause: `python -m collector.runbook_docs > docs/runbook.md`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Final

from collector.xid_catalogue import Entry, explain, shipped

_HEAD: Final = """\
# Runbook

<!-- Made by `python -m collector.runbook_docs > docs/runbook.md`. -->

What to do at 3 a.m., by the `cause` of an incident. Set `watch.runbook_url` to where this page is served, e.g.
`https://wiki.example.org/foreshock/runbook#{cause}`, and every notice links to its section.

Before anything else, in any of them:

1. `foreshock incidents show ID`: the risk, its reasons with the healthy range, the Xids, what was asked, what was held.
2. `foreshock incidents ack ID --text "on it"`, so that nobody else starts.
3. Is it true? A second sign beside the first (an Xid, errors in the driver, a peer that differs) makes it so. One
   feature alone that is just over its healthy range, on a GPU that works: look again in ten minutes.
"""

_OWN: Final = {
    "predicted_fault": """\
The model expects this GPU to fail within its horizon. Nothing has failed yet.

1. See that the checkpoint landed: the outcome is in the actions of the incident
   (`foreshock sql "SELECT time, action, state, detail FROM actions ORDER BY time DESC LIMIT 20"`).
2. Leave the drain. When the job has ended or moved, run the vendor's diagnostic (`dcgmi diag -r 3`) on that GPU.
3. It passes and the risk is gone: the watcher lifts its own drain after `watch.clear_s`. It fails: open a case, swap.
4. It was wrong: `foreshock incidents note ID --text "false: ..."`. Retraining reads the faults that did not come.""",
    "gpu_lost": """\
The driver answers "GPU is lost": off the bus, or the driver gave it up. Its job hangs at the next collective.

1. Restart the job elsewhere from its last checkpoint, without this node.
2. `dmesg | grep -i xid` and `lspci -d 10de:` on the node: is the device still there?
3. Reboot the node; cold, if the device does not come back. Twice within a week: reseat or swap, and look at the slot
   (did the last card in it fail too? `foreshock sql "SELECT * FROM repeat_offenders"`).""",
    "gpu_missing": """\
A GPU that was there is not listed any more, and nobody removed it.

1. Was the node worked on? Then `foreshock incidents note ID --text ...` and leave it to close.
2. Else as `gpu_lost`.""",
    "nvml_hang": """\
A driver call has not come back within its deadline. The GPU may work on while the driver is stuck (GSP, Xid 119, 120).

1. Does `nvidia-smi -i INDEX` come back within a minute? If so, see whether the incident recovers by itself.
2. If not: checkpoint what can be saved on the other nodes, then reboot. A reset hangs like everything else.""",
}


def page() -> str:
    """The whole page."""
    return "\n".join([_HEAD, *_sections()])


def section(cause: str) -> str | None:
    """What the page says of one cause, as Markdown without links; None where it has no section of it."""
    code = cause.removeprefix("xid_")
    if cause == code or not (code.isascii() and code.isdecimal()) or int(code) not in shipped():
        return _OWN.get(cause)
    heading, rows = _section(int(code)).split("\n## ")[1].split("\n\n", 1)
    return f"**{heading}**\n\n{rows.strip()}"


def _sections() -> Iterator[str]:
    for cause, text in _OWN.items():
        yield f'<a id="{cause}"></a>\n\n## {cause}\n\n{text}\n'
    for code, entry in sorted(shipped().items()):
        if opens_incidents(entry):
            yield _section(code)


def opens_incidents(entry: Entry) -> bool:
    """Whether its Xid can be the cause of an incident: it is terminal, or the driver may ask for a drain with it."""
    return entry.terminal == "yes" or entry.label in ("fault", "fault_if_fatal")


def _section(code: int) -> str:
    told = explain(code)
    assert told is not None
    rows = (
        ("Cause", told.cause), ("GPU gone?", told.gpu_gone), ("NVIDIA says", told.nvidia),
        ("Foreshock does", f"{told.action}: {told.action_text}"), ("Why", told.why), ("Often follows", told.follows),
        ("Sources", told.sources),
    )  # fmt: skip
    lines = [f"- {label}: {value}" for label, value in rows if value]
    title = f'<a id="xid_{code}"></a>\n\n## xid_{code}: {told.meaning}\n'
    return "\n".join([title, *lines, ""])


if __name__ == "__main__":
    sys.stdout.write(page())
