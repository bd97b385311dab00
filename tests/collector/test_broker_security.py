"""TLS and SASL against a real broker that speaks nothing else."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from collector import broker
from collector.config import Config, KafkaConfig
from collector.errors import ConfigError, ForeshockError
from collector.records import TOPIC_EVENTS
from pipeline.stream import open_stream
from tests.real.kafka.broker import JARS, Broker
from tests.real.kafka.security import PASSWORD, USER, Identity, make_identity
from tests.streams import take

pytestmark = pytest.mark.kafka


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Broker, Identity]]:
    if not JARS.exists():
        pytest.skip("a broker of our own is needed here, and its jars are not installed")
    directory = tmp_path_factory.mktemp("secure")
    identity = make_identity(directory / "tls")
    own = Broker(directory / "kafka", identity.properties)
    own.start()
    yield own, identity
    own.stop(kill=True)


@pytest.fixture
def config(secured: tuple[Broker, Identity], tmp_path: Path) -> KafkaConfig:
    own, identity = secured
    password = tmp_path / "password"
    password.write_text(PASSWORD + "\n")
    return KafkaConfig(
        bootstrap_servers=own.bootstrap_servers, security_protocol="SASL_SSL", ssl_cafile=str(identity.certificate),
        sasl_mechanism="PLAIN", sasl_username=USER, sasl_password_file=str(password),
    )  # fmt: skip


def test_a_record_goes_through_tls_and_sasl(config: KafkaConfig):
    stream = open_stream(Config(kafka=config), "g", [TOPIC_EVENTS])
    stream.publish(TOPIC_EVENTS, "n1", b"secret")
    stream.flush()
    assert [r.value for r in take(stream, 1)] == [b"secret"]
    stream.close()


def test_a_wrong_password_is_refused_and_never_logged(
    config: KafkaConfig, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    wrong = tmp_path / "wrong"
    wrong.write_text("hunter2-hunter2")
    with caplog.at_level(logging.DEBUG), pytest.raises(ForeshockError) as e:
        broker.producer(replace(config, sasl_password_file=str(wrong)))
    assert "hunter2" not in str(e.value) + e.value.hint + caplog.text
    assert PASSWORD not in caplog.text


def test_a_broker_that_cannot_be_verified_gets_nothing(config: KafkaConfig):
    with pytest.raises(ForeshockError):
        broker.producer(replace(config, ssl_cafile=""))


def test_a_missing_password_file_says_which(config: KafkaConfig):
    with pytest.raises(ConfigError, match="/nowhere"):
        broker.producer(replace(config, sasl_password_file="/nowhere"))
