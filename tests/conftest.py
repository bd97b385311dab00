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


SOAK = (
    "tests/pipeline/test_lake_stress.py",
    "test_ten_minutes_without_a_broker_and_two_kills_lose_nothing",
    "test_a_worker_killed_with_9_again_and_again_leaves_neither_gap_nor_duplicate[embedded]",
    "test_workers_that_come_and_go_leave_neither_gap_nor_duplicate",
    "test_workers_killed_at_fifty_random_moments_store_everything_once",
    "test_workers_that_come_and_go_under_load_store_everything_once",
    "test_workers_outlive_a_restart_of_their_broker[stopped]",
    "test_the_result_does_not_depend_on_the_number_of_workers[1]",
    "test_the_result_does_not_depend_on_the_number_of_workers[4]",
    "test_killed_fifty_times_between_decision_and_delivery_everything_arrives_and_is_done_once",
    "test_nothing_is_lost_and_nobody_waits_while_the_broker_is_away",
    "test_the_demo_plays_a_real_h100_trace[b1_telemetry.csv]",
    "test_every_page_of_the_menu_is_whole[demo-light]",
    "test_every_page_of_the_menu_is_whole[large-dark]",
)
"""Long proofs, some of whose like stay in the daily run: `make soak` runs these, `make test` the others."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if any(name in item.nodeid for name in SOAK):
            item.add_marker(pytest.mark.soak)
