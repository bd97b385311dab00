"""Which receivers there are, and which of them hears what: actions go to a scheduler, incidents to people."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from alerting import alertmanager, slack
from alerting.action import Action
from alerting.delivery import Send, Sink
from alerting.incident import IncidentRow
from alerting.links import Links
from alerting.message import Message
from alerting.outbox import WEBHOOK, Outbox
from alerting.webhook import Sender
from collector.config import WatchConfig


def open_sinks(config: WatchConfig, outbox: Outbox) -> tuple[Sink, ...]:
    """The sinks that are set, ready to send; none in dry run. Raises ConfigError for one that cannot be used.

    Who arms no action needs no webhook: people are told, and nothing is touched.
    """
    if config.dry_run:
        return ()
    links = Links(config.runbook_url, config.dashboard_url)
    sinks = [_webhook(config)] if config.armed or config.webhook_url else []
    if config.alertmanager_url:
        sinks.append(_alertmanager(config, outbox, links))
    if config.slack_url_file:
        sinks.append(_slack(config, links))
    return tuple(sinks)


def close_sinks(sinks: Iterable[Sink]) -> None:
    """Once their threads have ended."""
    for sink in sinks:
        sink.close()


def notices(sinks: Iterable[Sink], changes: Sequence[IncidentRow]) -> dict[str, list[IncidentRow]]:
    """What each sink shall be told of these changes: the outbox's `notify`."""
    wanted = {sink.name: [row for row in changes if sink.wants(row)] for sink in sinks}
    return {name: rows for name, rows in wanted.items() if rows}


def _webhook(config: WatchConfig) -> Sink:
    sender = Sender(config.webhook_url, config.webhook_secret_file, config.webhook_timeout_s)

    def send(message: Message) -> None:
        assert isinstance(message, Action)
        sender(message)

    return Sink(WEBHOOK, send, close=sender.close)


def _alertmanager(config: WatchConfig, outbox: Outbox, links: Links) -> Sink:
    sink = alertmanager.AlertmanagerSink(
        config.alertmanager_url, links, lambda i: outbox.told(alertmanager.NAME, i), config.webhook_timeout_s
    )
    return Sink(
        alertmanager.NAME,
        _of_changes(sink.send),
        wants=lambda _row: True,
        between=sink.repeat,
        close=sink.close,
    )


def _slack(config: WatchConfig, links: Links) -> Sink:
    sink = slack.SlackSink(config.slack_url_file, links, config.webhook_timeout_s)
    return Sink(slack.NAME, _of_changes(sink.send), wants=slack.wants, close=sink.close)


def _of_changes(send: Callable[[IncidentRow], None]) -> Send:
    def send_change(message: Message) -> None:
        assert isinstance(message, IncidentRow)
        send(message)

    return send_change
