"""Empties the outbox beside the deciding loop, a thread for each sink: a dead one delays neither a decision nor
the other sinks.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from threading import Event as Flag
from typing import Final

from alerting.action import Action, ActionRow, dead_row, delivered_row
from alerting.incident import IncidentRow
from alerting.message import Message
from alerting.outbox import Outbox, Pending
from alerting.post import DeliveryError, RefusedError
from collector.clock import Clock

_LOG = logging.getLogger(__name__)
_LONGEST_SLEEP_S: Final = 0.25

Send = Callable[[Message], None]
"""Deliver one message. Raises DeliveryError to be asked again, RefusedError to be left alone."""


def _nothing() -> None:
    """What most sinks do between messages, and at the end."""


@dataclass(frozen=True, slots=True)
class Sink:
    """One receiver under the name it has in the outbox. All its calls but `wants` come from one thread."""

    name: str
    send: Send
    wants: Callable[[IncidentRow], bool] = lambda _row: False
    """Whether it shall hear of this change of an incident."""
    between: Callable[[], None] = _nothing
    """Called after each round. Raises DeliveryError when it could not be done; it is called again."""
    close: Callable[[], None] = _nothing
    wake: Flag = field(default_factory=Flag)
    """Cuts the wait short: something was enqueued."""


def deliver(outbox: Outbox, sink: Sink, clock: Clock, stop: Flag) -> None:
    """Until `stop`: send what is due."""
    while not stop.is_set():
        sink.wake.clear()
        try:
            done = deliver_due(outbox, sink, clock, stop)
            sink.between()
            if done:
                continue
        except DeliveryError as e:
            _LOG.warning("%s: %s", sink.name, e)
        except Exception:  # noqa: BLE001 - a full disk must not end the thread for good; it is told and tried again
            _LOG.exception("%s: the outbox could not be read or written", sink.name)
        sink.wake.wait(_LONGEST_SLEEP_S)


def deliver_due(
    outbox: Outbox, sink: Sink, clock: Clock, stop: Flag, now_s: Callable[[], float] = time.time
) -> int:
    """One round. Real time decides what is due; the rows carry the watcher's `clock`. -> delivered messages."""
    done = 0
    held = set[str]()
    for pending in outbox.pending(now_s(), sink=sink.name):
        if stop.is_set():
            break
        if pending.thread in held and not pending.urgent:
            continue  # the next round asks the outbox, which knows the order
        if _deliver_one(outbox, sink, clock, pending, now_s()):
            done += 1
        else:
            held.add(pending.thread)
    return done


def wake(sinks: Iterable[Sink]) -> None:
    """Tell every sink that there is something."""
    for sink in sinks:
        sink.wake.set()


def _deliver_one(outbox: Outbox, sink: Sink, clock: Clock, pending: Pending, now_s: float) -> bool:
    """-> False when it is to be tried again or was given up."""
    try:
        sink.send(pending.message)
    except RefusedError as e:
        _give_up(outbox, sink, pending, str(e), clock)
    except DeliveryError as e:
        _LOG.warning("%s: %s: try %d failed: %s", sink.name, pending.id, pending.attempts + 1, e)
        again = outbox.failed(pending.id, str(e), now_s, sink=sink.name, retry_after_s=e.retry_after_s)
        if not again:
            _give_up(outbox, sink, pending, str(e), clock)
    else:
        outbox.delivered(pending.id, _row(pending.message, clock), sink=sink.name)
        return True
    return False


def _row(message: Message, clock: Clock) -> ActionRow | None:
    """What the lake shall know; how a person was told of an incident stays in the outbox."""
    return delivered_row(message, clock.time_s()) if isinstance(message, Action) else None


def _give_up(outbox: Outbox, sink: Sink, pending: Pending, error: str, clock: Clock) -> None:
    _LOG.error("%s: %s: dead letter: %s", sink.name, pending.id, error)
    message = pending.message
    row = dead_row(message, error, clock.time_s()) if isinstance(message, Action) else None
    outbox.dead(pending.id, error, row, sink=sink.name)
