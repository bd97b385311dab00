"""What the driver itself asks for in one event: the recovery action of Xid 154, RST of 94/95, Fatal of NVLink 5.

Its word goes before the table of codes: it has seen the GPU, the table has not.
Sources: NVIDIA, GPU Memory Error Management, "Error Recovery and Response Flags"; nvml.h
nvmlDeviceGpuRecoveryAction_t; lines of drivers 550 to 610.
"""

from __future__ import annotations

from typing import Final

from collector.records import Event
from collector.xid import demands
from collector.xid_nvlink5 import read
from collector.xid_words import Action

RECOVERY: Final[dict[str, Action]] = {
    "none": "observe",
    "gpu reset required": "checkpoint_and_drain",  # terminate all processes, reset
    "pf flr": "checkpoint_and_drain",  # driver 610's name of the reset (function-level)
    "node reboot required": "drain_now",  # the OS may be in an inconsistent state
    "os reboot": "drain_now",  # the same since driver 610
    "drain p2p": "checkpoint_and_drain",  # processes with peer-to-peer traffic must end; then it asks again
    "drain and reset": "drain_after_job",  # reduced capacity: what runs may end, nothing new, then reset
}
"""The words of the driver, in lower case, to what we do."""

ENDS_THE_JOB: Final[frozenset[Action]] = frozenset({"drain_now", "checkpoint_and_drain"})


def verdict(event: Event) -> Action | None:
    """What the driver asks for with this event; None where it does not say, or in words that nobody knows yet."""
    if event.kind != "xid" or event.code is None:
        return None
    if event.recovery_action is not None:
        return RECOVERY.get(event.recovery_action.strip().lower())
    _, needs_reset, needs_drain_reset = demands(event.text)
    if needs_reset:
        return "checkpoint_and_drain"
    if needs_drain_reset:
        return "drain_after_job"
    nvlink = read(event.code, event.text)
    return "checkpoint_and_drain" if nvlink and nvlink.fatal and nvlink.action == "RESET_GPU" else None
