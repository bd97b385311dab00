"""What one event says of its GPU: is it gone, and what does that ask of the scheduler."""

from __future__ import annotations

from collections.abc import Callable

from alerting.action import ActionName
from collector.records import Event
from collector.xid_verdict import ENDS_THE_JOB, verdict

ByCode = Callable[[int], bool]
"""The catalogue's word on a code: is a GPU that prints it gone."""


def is_terminal(event: Event, by_code: ByCode) -> bool:
    """Nothing more can run on this GPU: by its code, or because the driver itself asks to reset or reboot."""
    if event.kind == "gpu_lost":
        return True
    if event.kind != "xid" or event.code is None:
        return False
    return by_code(event.code) or verdict(event) in ENDS_THE_JOB


def asked_by(event: Event, by_code: ByCode) -> dict[ActionName, str]:
    """The actions that the event calls for, each with its evidence; none for most of them."""
    seen = event.kind if event.code is None else f"Xid {event.code}"
    if is_terminal(event, by_code):
        said = f"{seen} is terminal: {event.text}".rstrip(": ")
        return {
            "checkpoint": f"{said}; ranks on the other GPUs may still save what they hold",
            "drain_now": f"{said}; p = 1, so moving away always pays",
        }
    if verdict(event) == "drain_after_job":
        return {
            "drain": f"{seen}: the driver asks to drain and reset: {event.text}; what runs may end, nothing new starts"
        }
    return {}
