"""`foreshock decode` and `foreshock explain`: the decoder and the catalogue at a terminal."""

from __future__ import annotations

import json
import os
import re
import stat
import sys
from collections.abc import Iterator
from typing import BinaryIO, Final, TextIO

import msgspec

from collector.kmsg import Joiner
from collector.xid import XidLine, decode
from collector.xid_catalogue import FIRST_SXID, LAST_SXID, CodeKind, explain, lookup, nearest
from collector.xid_nvlink5 import read

_READ_BYTES: Final = 64 * 1024
"""More than decode looks at. The rest of a longer line is skipped, so that memory stays bounded."""

_CODE: Final = re.compile(
    r"\s{0,99}(?:(?P<kind>s?xid)[\s:#=_-]{0,9})?(?P<code>[0-9]{1,7})\s{0,99}", re.IGNORECASE
)


def run_decode(stdin: BinaryIO, stdout: TextIO, *, gpu_lost: bool = False) -> int:
    """One JSON object, or `null`, per line of `stdin`. Always 0: a line that says nothing is no error.

    Off-the-bus lines that carry no Xid are `null` unless `gpu_lost`: the agent reads them as an event of their
    own, but an Xid 79 nearly always stands beside them. Bytes that are not UTF-8 are replaced.
    """
    live, joiner = _is_live(stdin), Joiner()
    try:
        for raw in _lines(stdin):
            found = decode(joiner.whole(raw.decode("utf-8", "replace")))
            shown = found is not None and (gpu_lost or found.kind != "gpu_lost")
            stdout.write(_json(found) if found is not None and shown else "null\n")
            if live:
                stdout.flush()
        stdout.flush()
    except BrokenPipeError:  # `| head` has seen enough
        _discard(stdout)
    return 0


def run_explain(code: str, as_json: bool, stdout: TextIO) -> int:
    """What a code means: `79`, `Xid 79`, `sxid 12028`. 1 with a hint on stderr where nobody knows it."""
    found = _CODE.fullmatch(code)
    if found is None:
        return _fail(f"{code!r} is not an Xid", "foreshock explain 79, or: foreshock explain 'sxid 12028'")
    number = int(found["code"])
    explanation = explain(number, _kind(found["kind"], number))
    if explanation is None:
        return _unknown(_kind(found["kind"], number), number)
    stdout.write(msgspec.json.encode(explanation).decode() if as_json else explanation.text)
    stdout.write("\n")
    return 0


def _unknown(kind: CodeKind, number: int) -> int:
    if kind == "sxid":
        return _fail(
            f"no SXid {number} is known", f"NVSwitch errors run from {FIRST_SXID + 1} to {LAST_SXID}"
        )
    known = ", ".join(f"{n} ({entry.meaning})" for n in nearest(number) if (entry := lookup(n)))
    return _fail(
        f"no Xid {number} is known", f"foreshock explain {nearest(number, 1)[0]}; the nearest are {known}"
    )


def _kind(word: str | None, number: int) -> CodeKind:
    if word is None:
        return "sxid" if number >= FIRST_SXID else "xid"
    return "sxid" if word.lower() == "sxid" else "xid"


def _fail(message: str, hint: str) -> int:
    sys.stderr.write(f"foreshock: {message}\n  Try: {hint}\n")
    return 1


def _json(found: XidLine) -> str:
    fields = msgspec.structs.asdict(found)
    mig = {"I": fields.pop("gi"), "CI": fields.pop("ci")}
    fields["mig"] = {name: number for name, number in mig.items() if number is not None} or None
    nvlink5 = None if found.kind != "xid" or found.code is None else read(found.code, found.text)
    fields["nvlink5"] = nvlink5 and msgspec.structs.asdict(nvlink5)
    return json.dumps(fields) + "\n"


def _lines(stdin: BinaryIO) -> Iterator[bytes]:
    while raw := stdin.readline(_READ_BYTES):
        yield raw
        while raw and not raw.endswith(b"\n"):
            raw = stdin.readline(_READ_BYTES)


def _is_live(stdin: BinaryIO) -> bool:
    """A terminal or a pipe may go on for days: each line must be out before the next one comes."""
    try:
        return not stat.S_ISREG(os.fstat(stdin.fileno()).st_mode)
    except OSError:  # a buffer in memory
        return False


def _discard(stdout: TextIO) -> None:
    """Nobody reads any more: let the interpreter's own flush at exit go nowhere instead of fail."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stdout.fileno())
    os.close(nowhere)
