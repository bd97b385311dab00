"""Empties the outbox beside the deciding loop, so that a dead receiver never delays a decision."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from threading import Event as Flag
from typing import Final

from alerting.action import Action, dead_row, delivered_row
from alerting.outbox import Outbox, Pending
from alerting.webhook import DeliveryError, RefusedError
from collector.clock import Clock

_LOG = logging.getLogger(__name__)
_LONGEST_SLEEP_S: Final = 0.25

Send = Callable[[Action], None]
"""Deliver one action. Raises DeliveryError to be asked again, RefusedError to be left alone."""


def deliver(outbox: Outbox, send: Send, clock: Clock, stop: Flag, wake: Flag) -> None:
    """Until `stop`: send what is due. `wake` cuts the wait short when something was enqueued."""
    while not stop.is_set():
        wake.clear()
        try:
            if deliver_due(outbox, send, clock, stop):
                continue
        except Exception:  # noqa: BLE001 - a full disk must not end the thread for good; it is told and tried again
            _LOG.exception("delivery: the outbox could not be read or written")
        wake.wait(_LONGEST_SLEEP_S)


def deliver_due(outbox: Outbox, send: Send, clock: Clock, stop: Flag) -> int:
    """One round. Real time decides what is due; the rows carry the watcher's `clock`. -> delivered actions."""
    done = 0
    for pending in outbox.pending(time.time()):
        if stop.is_set():
            break
        done += _deliver_one(outbox, send, clock, pending)
    return done


def _deliver_one(outbox: Outbox, send: Send, clock: Clock, pending: Pending) -> bool:
    action = pending.action
    try:
        send(action)
    except RefusedError as e:
        _give_up(outbox, action, str(e), clock)
    except DeliveryError as e:
        _LOG.warning("%s: try %d failed: %s", action.action_id, pending.attempts + 1, e)
        if not outbox.failed(action.action_id, str(e), time.time()):
            _give_up(outbox, action, str(e), clock)
    else:
        outbox.delivered(action.action_id, delivered_row(action, clock.time_s()))
        return True
    return False


def _give_up(outbox: Outbox, action: Action, error: str, clock: Clock) -> None:
    _LOG.error("%s: dead letter: %s", action.action_id, error)
    outbox.dead(action.action_id, error, dead_row(action, error, clock.time_s()))
