"""The broker that a run uses, and how it is left behind."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from collector.config import KafkaConfig
from tests.real.kafka.broker import running_broker


@contextlib.contextmanager
def servers(directory: Path) -> Iterator[str]:
    """The broker's address: $FORESHOCK_TEST_KAFKA, or one of our own in `directory`."""
    named = os.environ.get("FORESHOCK_TEST_KAFKA")
    if named:
        yield named
    else:
        with running_broker(directory) as own:
            yield own.bootstrap_servers


def delete_topics(config: KafkaConfig) -> None:
    """An outside broker must not keep our gigabytes."""
    from kafka.admin import KafkaAdminClient

    admin = KafkaAdminClient(bootstrap_servers=config.bootstrap_servers.split(","))
    admin.delete_topics([t for t in admin.list_topics() if t.startswith(config.topic_prefix)])
    admin.close()
