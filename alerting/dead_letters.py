"""`foreshock dead-letters`: what nobody took, why, and a second chance for it."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TextIO

from alerting.action import Action
from alerting.message import Message
from alerting.outbox import DeadLetter, Outbox
from collector.config import WatchConfig
from collector.errors import ForeshockError


@dataclass(frozen=True, slots=True)
class Letter:
    """One message that was given up. `asked` is the action, or the change that people were to hear of."""

    id: str
    sink: str
    incident: str
    asked: str
    node: str
    gpu_uuid: str | None
    attempts: int
    reason: str
    summary: str


def listing(path: Path) -> list[Letter]:
    """The dead letters of an outbox, oldest first. Raises ForeshockError when there is no such file."""
    outbox = _open(path)
    try:
        return [_letter(d) for d in outbox.dead_letters()]
    finally:
        outbox.close()


def retry(path: Path, message_id: str, deliver_for_s: float) -> int:
    """Put one back for `deliver_for_s`; the running watcher takes it up. -> to how many sinks it goes again."""
    outbox = _open(path)
    try:
        found = outbox.retry(message_id, now_s=time.time(), deliver_for_s=deliver_for_s)
    finally:
        outbox.close()
    if found == 0:
        raise ForeshockError(
            f"{message_id}: no such dead letter in {path}", hint="foreshock dead-letters lists them"
        )
    return found


def run(config: WatchConfig, stdout: TextIO, *, again: str | None, as_json: bool) -> int:
    """The command. `again` is the ID to try once more; without it the list is printed."""
    if again is not None:
        sinks = retry(config.outbox, again, config.deliver_for_s)
        stdout.write(f"{again}: waits again, for {sinks} receiver{'s' if sinks > 1 else ''}\n")
        return 0
    letters = listing(config.outbox)
    if as_json:
        json.dump([asdict(letter) for letter in letters], stdout, indent=2)
        stdout.write("\n")
        return 0
    for letter in letters:
        stdout.write(
            f"{letter.id}  to {letter.sink}, {letter.asked} on {letter.node}, given up after"
            f" {letter.attempts} failed tries: {letter.reason}\n"
        )
    if not letters:
        stdout.write("no dead letters\n")
    return 0


def _open(path: Path) -> Outbox:
    if not path.is_file():
        raise ForeshockError(
            f"{path}: no outbox there", hint="foreshock watch makes it; watch.outbox says where"
        )
    return Outbox(path)


def _letter(dead: DeadLetter) -> Letter:
    message = dead.message
    return Letter(
        id=dead.id, sink=dead.sink, incident=message.incident_id, asked=_asked(message), node=message.node,
        gpu_uuid=message.gpu_uuid, attempts=dead.attempts, reason=dead.error,
        summary=message.summary.split("\n", 1)[0],
    )  # fmt: skip


def _asked(message: Message) -> str:
    return message.action if isinstance(message, Action) else message.change
