"""What makes two tellings one event, and what each of them adds to it."""

from __future__ import annotations

from typing import Final

import msgspec

from collector.records import Event
from collector.xid import NVLINK5, RECOVERY_ACTION, demands

Variant = tuple[object, ...] | None
"""What else tells two events of one code apart; None where the telling does not say."""

_CONTAINED: Final = (94, 95)
_FROM_EVERYONE: Final = ("gpu_uuid", "gpu_index", "root_code", "root_fingerprint")
_FROM_ANOTHER_SOURCE: Final = (*_FROM_EVERYONE, "pci_bdf", "pid", "process", "job", "recovery_action")


def variant(event: Event) -> Variant:
    """A Fatal line must not vanish in a storm of Nonfatal ones, nor a new recovery action behind the last."""
    if event.kind == "sxid" or event.code in NVLINK5 or event.code in _CONTAINED:
        said = demands(event.text)
        return said if any(word is not None for word in said) else None
    return (event.recovery_action,) if event.code == RECOVERY_ACTION and event.recovery_action else None


def merged(known: Event, heard: Event) -> Event:
    """What both sources know of one fault. The kernel's own words are better than what NVML or we made up."""
    if heard.kind == "gpu_lost" and known.kind == "xid":
        return _filled(known, heard, _FROM_EVERYONE)
    if known.kind == "gpu_lost" and heard.kind == "xid":
        told = {"kind": heard.kind, "code": heard.code, "text": heard.text, "source": heard.source}
        return msgspec.structs.replace(_filled(known, heard, _FROM_ANOTHER_SOURCE), **told)
    if heard.source == known.source:
        return _filled(known, heard, _FROM_EVERYONE)
    both = _filled(known, heard, _FROM_ANOTHER_SOURCE)
    if heard.source == "kmsg":
        both = msgspec.structs.replace(both, text=heard.text, source=heard.source)
    return both


def _filled(known: Event, heard: Event, names: tuple[str, ...]) -> Event:
    missing = {
        n: getattr(heard, n) for n in names if getattr(known, n) is None and getattr(heard, n) is not None
    }
    return msgspec.structs.replace(known, **missing) if missing else known
