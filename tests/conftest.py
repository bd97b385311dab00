"""Fixtures that more than one room needs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.real.kafka.broker import JARS, running_broker

# How long an example takes says how busy the machine is, not whether the code is right.
settings.register_profile("foreshock", deadline=None)
settings.load_profile("foreshock")


@pytest.fixture(scope="session")
def kafka_servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Bootstrap servers of a real Apache Kafka broker: the one named, else our own."""
    named = os.environ.get("FORESHOCK_TEST_KAFKA")
    if named:
        yield named
        return
    if not JARS.exists():
        pytest.fail(
            "no Kafka jars: run tests/real/kafka/install.sh (make test does), or set FORESHOCK_TEST_KAFKA"
        )
    with running_broker(tmp_path_factory.mktemp("kafka")) as broker:
        yield broker.bootstrap_servers


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real data that is not part of this project; docs/data.md says where each can be had."""
    path = Path(__file__).parents[2] / "shared" / "data"
    if not path.is_dir():
        pytest.skip("the real data sets are not here (../shared/data)")
    return path
