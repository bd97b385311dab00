"""The deciding loop: risks and events in, incidents and actions out, positions committed last.

Order of a batch: decide; actions and log rows durable in the outbox, in one transaction; delivery woken; alerts
published; positions committed; rows moved on to the lake. A crash between any two repeats the batch, and the
repeat changes nothing, since incidents and actions are named by the signals that made them.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from threading import Event as Flag
from threading import Thread
from typing import Final

import msgspec

from alerting.action import Action, decided_row
from alerting.cloud_event import encode_action, encode_change
from alerting.delivery import Sink, deliver, wake
from alerting.incident import IncidentRow
from alerting.instruction import Instruction
from alerting.message import Row
from alerting.notify import close_sinks, notices, open_sinks
from alerting.outbox import Outbox
from alerting.policy import Decision, Rules, State, decide, restore, tick
from alerting.settings import rules_of
from alerting.slots import Slots, from_rows
from collector.checkpoints import checkpoint_of
from collector.clock import Clock
from collector.config import WatchConfig
from collector.notify import Notifier
from collector.records import (
    TOPIC_ALERTS,
    TOPIC_DEAD_LETTERS,
    TOPIC_EVENTS,
    TOPIC_INVENTORY,
    TOPIC_OPERATOR,
    TOPIC_RISKS,
    Event,
    Inventory,
    Risk,
)
from pipeline.stream import Position, Record, Stream

RecordRows = Callable[[str, list[dict[str, object]]], None]
"""Append rows to a lake table: `incidents` or `actions`, with the columns of `pipeline.tables`."""

POLL_S: Final = 0.05
_RECORD_EVERY_S: Final = 0.2
_RECORD_AGAIN_S: Final = 2.0

_LOG = logging.getLogger(__name__)
Signal = Event | Risk | Instruction | Inventory
_DECODERS: Final[dict[str, msgspec.json.Decoder[Signal]]] = {
    TOPIC_EVENTS: msgspec.json.Decoder(Event),
    TOPIC_RISKS: msgspec.json.Decoder(Risk),
    TOPIC_OPERATOR: msgspec.json.Decoder(Instruction),
    TOPIC_INVENTORY: msgspec.json.Decoder(Inventory),
}
TOPICS: Final = tuple(_DECODERS)


@dataclass(slots=True)
class Watcher:
    """What the loop carries from batch to batch."""

    state: State
    rules: Rules
    stream: Stream
    record: RecordRows
    outbox: Outbox
    clock: Clock
    deliver_for_s: float
    sinks: Sequence[Sink] = ()
    """The receivers; none in dry run."""
    slots: Slots = field(default_factory=Slots)
    record_from_s: float = 0.0
    """Monotonic time before which the lake is left alone."""
    dead_letters: int = 0


def run(  # noqa: PLR0917 - what a loop needs from outside
    stream: Stream,
    record: RecordRows,
    outbox: Outbox,
    config: WatchConfig,
    clock: Clock,
    stop: Flag,
    *,
    incidents: Iterable[Mapping[str, object]] = (),
    inventory: Iterable[Mapping[str, object]] = (),
    rules: Rules | None = None,
) -> None:
    """Watch until `stop`. `incidents` and `inventory` are the rows of those lake tables, read at the start.

    Raises ConfigError when delivery is on and the receiver or its secret is not usable.
    """
    sinks = open_sinks(config, outbox)
    unrecorded = [msgspec.structs.asdict(j.row) for j in outbox.journaled(100_000) if j.table == "incidents"]
    watcher = Watcher(
        restore([*incidents, *unrecorded]), rules or rules_of(config), stream, record, outbox, clock,
        config.deliver_for_s, sinks, from_rows(inventory),
    )  # fmt: skip
    try:
        _watch(watcher, stop)
    finally:
        close_sinks(sinks)


def step(watcher: Watcher) -> int:
    """One batch, from poll to commit. -> records taken."""
    records = watcher.stream.poll(POLL_S)
    decision = _decide_all(watcher, records)
    if decision.changes or decision.actions:
        _keep(watcher, decision)
    if records:
        watcher.stream.flush()
        watcher.stream.commit(_next_offsets(records))
    _record_rows(watcher)
    return len(records)


def _watch(watcher: Watcher, stop: Flag) -> None:
    threads = [
        Thread(
            target=deliver,
            args=(watcher.outbox, s, watcher.clock, stop),
            name=f"deliver-{s.name}",
            daemon=True,
        )
        for s in watcher.sinks
    ]
    for thread in threads:
        thread.start()
    Notifier().ready(f"{len(watcher.sinks)} receivers")
    try:
        while not stop.is_set():
            step(watcher)
    finally:  # a stream that fails ends the loop; the delivery must not outlive its client
        stop.set()
        wake(watcher.sinks)
        for thread in threads:
            thread.join(timeout=10)
    watcher.record_from_s = 0.0
    _record_rows(watcher)


def _decide_all(watcher: Watcher, records: Sequence[Record]) -> Decision:
    changes: list[IncidentRow] = []
    actions: list[Action] = []
    state = watcher.state
    # a card is known before the lines that came from its slot in the same batch
    for record in sorted(records, key=lambda r: r.topic != TOPIC_INVENTORY):
        read = _decode(watcher, record)
        if read is not None:
            state, rows, new = decide(state, _learn(watcher, read), watcher.clock.time_s(), watcher.rules)
            changes += rows
            actions += new
    if not records:  # read up: silence now is silence
        state, rows, new = tick(state, watcher.clock.time_s(), watcher.rules)
        changes += rows
        actions += new
    watcher.state = state
    return Decision(state, tuple(changes), tuple(actions))


def _learn(watcher: Watcher, signal: Signal) -> Signal:
    """What there is to know beside incidents: cards by slot, checkpoints by job. -> what is left to decide on."""
    if isinstance(signal, Inventory):
        watcher.slots.see(signal)
    if not isinstance(signal, Event):
        return signal
    if (saved := checkpoint_of(signal)) is not None:
        watcher.rules = replace(watcher.rules, jobs=watcher.rules.jobs.seen(saved))
    return watcher.slots.named(signal)


def _decode(watcher: Watcher, record: Record) -> Signal | None:
    """The signal in a record; None for what is not ours. What cannot be read goes to the dead letters."""
    decoder = _DECODERS.get(record.topic)
    try:
        return None if decoder is None else decoder.decode(record.value)
    except msgspec.DecodeError as e:
        watcher.dead_letters += 1
        _LOG.error("%s[%d] offset %d: %s: dead letter", record.topic, record.partition, record.offset, e)
        watcher.stream.publish(TOPIC_DEAD_LETTERS, record.key, record.value)
        return None


def _keep(watcher: Watcher, decision: Decision) -> None:
    """Durable first, then woken, then told to whoever listens on `foreshock.alerts`."""
    rows: list[Row] = [*decision.changes, *(decided_row(a) for a in decision.actions)]
    watcher.outbox.enqueue(
        decision.actions, rows, now_s=time.time(), deliver_for_s=watcher.deliver_for_s,
        notify=notices(watcher.sinks, decision.changes),
    )  # fmt: skip
    wake(watcher.sinks)
    watcher.record_from_s = min(watcher.record_from_s, time.monotonic())
    for row in decision.changes:
        _LOG.warning("%s %s: %s", row.incident_id, row.change, row.summary.split("\n", 1)[0])
        watcher.stream.publish(TOPIC_ALERTS, row.gpu_uuid or row.node, encode_change(row))
    for action in decision.actions:
        watcher.stream.publish(TOPIC_ALERTS, action.gpu_uuid or action.node, encode_action(action))
    watcher.stream.flush()


def _record_rows(watcher: Watcher) -> None:
    """Move journal rows to the lake. A lake that fails is tried again later: decisions do not wait for it."""
    if time.monotonic() < watcher.record_from_s:
        return
    watcher.record_from_s = time.monotonic() + _RECORD_EVERY_S
    journaled = watcher.outbox.journaled()
    if not journaled:
        return
    try:
        for table in dict.fromkeys(j.table for j in journaled):
            mine = [j for j in journaled if j.table == table]
            watcher.record(table, [msgspec.structs.asdict(j.row) for j in mine])
            watcher.outbox.forget([j.seq for j in mine])
    except Exception:  # noqa: BLE001 - whatever the lake raises, the rows are safe here
        _LOG.exception("lake: %d rows wait in the outbox", len(journaled))
        watcher.record_from_s = time.monotonic() + _RECORD_AGAIN_S


def _next_offsets(records: Sequence[Record]) -> dict[Position, int]:
    return {(r.topic, r.partition): r.offset + 1 for r in records}
