"""Decode one kernel line into what the NVIDIA driver said: an Xid, an SXid, or a GPU lost from the bus.

The forms are those the driver itself prints (open-gpu-kernel-modules: kernel_rc.c, error_nvswitch.h, nv.c),
behind whatever prefix a log daemon, a container runtime or a person put in front. A line that only talks
about an Xid is not one: the driver's own tag, `NVRM: Xid` or `nvidia-nvswitchN: SXid`, and a number must be
there. Every pattern has bounded repeats and the line is capped, so the time is bounded; nothing here raises.
"""

from __future__ import annotations

import contextlib
import json
import re
from typing import Final, Literal

import msgspec

LINE_CAP: Final = 8192
"""Characters looked at. A kernel record holds about 1,000; a container's JSON around it, a few more."""

Kind = Literal["xid", "sxid", "gpu_lost"]

GONE: Final = 79
"""The GPU has fallen off the bus."""
RECOVERY_ACTION: Final = 154
"""The driver says what it now asks for."""
NVLINK5: Final = range(144, 151)


class XidLine(msgspec.Struct, frozen=True, kw_only=True):
    """What one line says. None means "the line does not say", never zero, never no.

    `pci_bdf` is `dddd:bb:dd`, lower case, without the function. `gpu_lost` is the driver's off-the-bus
    message without an Xid number; an Xid 79 usually stands beside it, so its `code` is None.
    """

    kind: Kind
    code: int | None = None
    pci_bdf: str | None = None
    pid: int | None = None
    process: str | None = None
    root_code: int | None = None
    """The Xid that this one is only a consequence of."""
    text: str = ""
    gi: int | None = None
    """MIG GPU instance, and compute instance below."""
    ci: int | None = None
    fatal: bool | None = None
    link: int | None = None
    detail: bool = False
    """A continuation (Severity, Data) of the SXid line before it: not an event of its own."""
    recovery_action: str | None = None
    """Xid 154: what the driver now asks for, in its words."""
    needs_reset: bool | None = None
    needs_drain_reset: bool | None = None
    subcode: int | None = None
    """NVLink5 (Xid 144-150): bits 20-25 of the first register. What it means depends on the driver branch."""


_ADDRESS: Final = (
    r"(?:(?P<domain>[0-9A-Fa-f]{1,8}):)?(?P<bus>[0-9A-Fa-f]{1,4})"
    r":(?P<device>[0-9A-Fa-f]{1,2})(?:\.[0-9A-Fa-f])?"
)
_HEAD: Final = re.compile(
    r"(?:(?P<gpu>NVRM:[ \t]{0,4}Xid)|nvidia-nvswitch[0-9]{0,4}:[ \t]{0,4}SXid)[ \t]{0,4}"
    r"(?:\((?P<place>[^()\r\n]{1,64})\)|(?P<bare>PCI:[0-9A-Fa-f:.]{4,24}))?"
    r"[ \t]{0,4}:\s{0,8}(?P<code>[0-9]{1,7})(?![0-9A-Za-z_])"
)
_PLACE: Final = re.compile(
    r"(?:PCI:)?" + _ADDRESS + r"(?:[ ,]{1,3}GPU-I:(?P<gi>[0-9]{1,4}))?(?:[ ,]{1,3}GPU-CI:(?P<ci>[0-9]{1,4}))?"
)
_UUID: Final = re.compile(r"GPU-[0-9A-Fa-f-]{8,36}")
_LOST: Final = re.compile(
    r"NVRM:[ \t]{0,4}(?:(?:The NVIDIA )?GPU(?: at)?(?:[ \t]{1,4}(?:PCI:)?" + _ADDRESS + r")?|"
    r"(?:system has )?(?=fallen))"
)
_FALLEN: Final = "fallen off the bus"
_COLOUR: Final = re.compile(r"\x1b\[[0-9;]{0,16}m")
_QUOTE: Final = re.compile(r'(\\{0,15})"')
# The kernel escapes a newline inside one record as \x0a, rsyslog as #012; what follows is another message.
_END: Final = re.compile(r"[\r\n]|\\x0a|#012|NVRM:|nvidia-nvswitch[0-9]{0,4}:")
_TASK: Final = re.compile(
    r"(?<![0-9A-Za-z_])pid=[\s'\"`]{0,4}(?P<pid>[0-9]{1,10}(?![0-9A-Za-z]))?[^,\s]{0,64}[,\s]{0,4}(?P<named>name=)?"
)
_ROOT: Final = re.compile(r"caused by previous Xid ([0-9]{1,7})")
_RECOVERY: Final = re.compile(
    r"recovery action changed from [^)]{0,80}\) to 0x[0-9A-Fa-f]{1,8} \(([^)]{1,80})\)"
)
_RESET: Final = re.compile(r"(?P<drain>D-)?RST:[ \t]{0,4}(?P<answer>Yes|No)(?![A-Za-z])")
_FATAL: Final = re.compile(r"(?<![A-Za-z-])(Fatal|fatal error detected|Non-?fatal|Correctable)(?![A-Za-z])")
_SEVERITY: Final = re.compile(r"Severity[ \t]{1,4}([0-9])")
_LINK: Final = re.compile(r"(?<![A-Za-z])[Ll]ink ([0-9]{1,4})(?![0-9A-Za-z])")
_REGISTER: Final = re.compile(r"[(\[](0x[0-9A-Fa-f]{8})(?![0-9A-Fa-f])")

_COMM_LENGTH: Final = 15
_MASKED_ADDRESS: Final = frozenset("0123456789abcdefABCDEFxXnN*#?:.")


def decode(line: str) -> XidLine | None:
    """One log line, with any prefix, to what the driver said in it; None where it said none of this."""
    line = line[:LINE_CAP]
    if "Xid" in line:
        if "\x1b" in line:  # dmesg --color paints between the tag and the rest
            line = _COLOUR.sub("", line)
        for head in _HEAD.finditer(line):
            where = _where(head["place"] or head["bare"] or "")
            if where is not None:
                return _event(head, where, _message(line, head.end()))
    return _lost(line) if _FALLEN in line else None


def _event(head: re.Match[str], where: tuple[str | None, int | None, int | None], message: str) -> XidLine:
    code = int(head["code"])
    pid, process, text = _task(message)
    pci_bdf, gi, ci = where
    root, recovery = _ROOT.search(text), _RECOVERY.search(text)
    link = _LINK.search(text) if "ink " in text else None
    detail = head["gpu"] is None and text.startswith(("Severity ", "Data {"))
    register = _REGISTER.search(text) if head["gpu"] and code in NVLINK5 else None
    fatal, needs_reset, needs_drain_reset = demands(text)
    return XidLine(
        kind="xid" if head["gpu"] else "sxid",
        code=code,
        pci_bdf=pci_bdf,
        pid=pid,
        process=process,
        root_code=int(root[1]) if root else None,
        text=text,
        gi=gi,
        ci=ci,
        fatal=fatal,
        link=int(link[1]) if link else None,
        detail=detail,
        recovery_action=recovery[1] if recovery else None,
        needs_reset=needs_reset,
        needs_drain_reset=needs_drain_reset,
        subcode=int(register[1], 16) >> 20 & 0x3F if register else None,
    )


def _where(place: str) -> tuple[str | None, int | None, int | None] | None:
    """(address, MIG instances) of what stands in the parentheses; None if that is no address at all.

    No address (very old drivers), a UUID, or one that a person masked (`PCI:xxxx:xx:00`): an Xid all the same.
    """
    found = _PLACE.fullmatch(place.strip())
    if found:
        return _bdf(found), _number(found["gi"]), _number(found["ci"])
    masked = ":" in place and not set(place.removeprefix("PCI:")) - _MASKED_ADDRESS
    return (None, None, None) if masked or not place or _UUID.fullmatch(place) else None


def _bdf(address: re.Match[str]) -> str | None:
    if address["bus"] is None:
        return None
    domain, bus, device = (int(address[part] or "0", 16) for part in ("domain", "bus", "device"))
    return f"{domain:04x}:{bus:02x}:{device:02x}"


def _number(digits: str | None) -> int | None:
    return None if digits is None else int(digits)


def _message(line: str, start: int) -> str:
    """What the driver wrote after the code: out of its JSON string if it is in one, and no second message."""
    tail = _unquoted(line[:start], line[start:]) if '"' in line[:start] else line[start:]
    tail = _END.split(tail, maxsplit=1)[0]
    # A lone surrogate (half of a \ud83d\ude00) cannot be stored or sent as UTF-8.
    return tail.encode("utf-8", "replace").decode("utf-8").lstrip(" \t,:;").rstrip()


def _unquoted(before: str, tail: str) -> str:
    """JSON inside JSON escapes its quotes again: the backslashes of the open one tell how deep we are."""
    open_quotes: list[int] = []
    for quote in _QUOTE.finditer(before):
        depth = len(quote[1])
        while open_quotes and open_quotes[-1] > depth:
            open_quotes.pop()
        if open_quotes and open_quotes[-1] == depth:
            open_quotes.pop()
        else:
            open_quotes.append(depth)
    if not open_quotes:
        return tail
    depth = open_quotes[-1]
    end = next((m.start() for m in _QUOTE.finditer(tail) if len(m[1]) <= depth), len(tail))
    text = tail[:end]
    with contextlib.suppress(ValueError):  # not JSON after all, or cut off: as it stands
        for _ in range((depth + 1).bit_length()):
            text = str(json.loads(f'"{text}"', strict=False))
    return text


def _task(message: str) -> tuple[int | None, str | None, str]:
    """(pid, process, the rest). The driver names the task first or not at all; a person may add it later."""
    found = _TASK.search(message)
    if found is None:
        return None, None, message
    name, rest = _name(message[found.end() :]) if found["named"] else ("", message[found.end() :])
    name = name.strip("'\"`*, ")
    unknown = not name or name.startswith(("<", "&lt;"))
    return (
        _number(found["pid"]),
        None if unknown else name,
        rest.strip(" \t,") if found.start() == 0 else message,
    )


def _name(after: str) -> tuple[str, str]:
    """The driver ends a name with ", ". A name may itself hold a comma or a space, but it is no longer than
    the kernel allows: a longer one is a name with some text that was put behind it.
    """
    name, comma, rest = after.partition(", ")
    stop = "," if "," in name else " "
    if len(name) > _COMM_LENGTH and stop in name and (stop == "," or not comma):
        name, _, more = name.partition(stop)
        rest = more + comma + rest
    return name, rest


def demands(text: str) -> tuple[bool | None, bool | None, bool | None]:
    """(fatal, needs a reset, needs a drain and reset) as the words of a message say; None where they do not."""
    found = _RESET.finditer(text) if "RST:" in text else ()
    resets = {bool(m["drain"]): m["answer"] == "Yes" for m in found}
    return _fatal(text), resets.get(False), resets.get(True)


def _fatal(text: str) -> bool | None:
    severity = _SEVERITY.match(text)
    if severity:  # NVSWITCH_ERROR_SEVERITY: 0 non-fatal, 1 fatal
        return severity[1] == "1"
    word = _FATAL.search(text) if "atal" in text or "Correctable" in text else None
    return None if word is None else word[1] in ("Fatal", "fatal error detected")


def _lost(line: str) -> XidLine | None:
    """`NVRM: GPU 0000:18:00.0: GPU has fallen off the bus.`, or the three-line message in one record."""
    at = line.find(_FALLEN)
    end = at + len(_FALLEN)
    found = _LOST.search(line, max(0, at - 300), end)
    if found is None:
        return None
    text = line[found.start() : end].removeprefix("NVRM:").strip()
    return XidLine(kind="gpu_lost", pci_bdf=_bdf(found), text=text.encode("utf-8", "replace").decode("utf-8"))
