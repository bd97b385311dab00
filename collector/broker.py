"""The one door to kafka-python: clients made from `[kafka]`, with the settings that lose nothing."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from collector.config import KafkaConfig
from collector.errors import ConfigError, ForeshockError


def _connection(config: KafkaConfig) -> dict[str, Any]:
    settings: dict[str, Any] = {
        "bootstrap_servers": [s.strip() for s in config.bootstrap_servers.split(",")],
        "security_protocol": config.security_protocol,
        "bootstrap_timeout_ms": 10_000,
        "reconnect_backoff_max_ms": 5_000,
    }
    optional = {
        "ssl_cafile": config.ssl_cafile,
        "ssl_certfile": config.ssl_certfile,
        "ssl_keyfile": config.ssl_keyfile,
        "sasl_mechanism": config.sasl_mechanism,
        "sasl_plain_username": config.sasl_username,
        "sasl_plain_password": _secret(config.sasl_password_file),
    }
    return settings | {k: v for k, v in optional.items() if v}


def _secret(path: str) -> str:
    if not path:
        return ""
    try:
        return Path(path).read_text().strip()
    except OSError as e:
        raise ConfigError(
            f"kafka.sasl_password_file {path}: {e.strerror}", hint="put the password in that file"
        ) from e


def producer(config: KafkaConfig) -> Any:
    """A KafkaProducer: acks=all, idempotent, compressed. Raises ForeshockError when no broker answers."""
    from kafka import KafkaProducer

    return _open(
        config,
        lambda settings: KafkaProducer(
            **settings,
            acks="all",
            enable_idempotence=True,
            compression_type=config.compression or None,
            linger_ms=5,
            max_block_ms=10_000,
            client_id="foreshock",
        ),
    )


def consumer(config: KafkaConfig, group: str, topics: Sequence[str]) -> Any:
    """A KafkaConsumer of `group` on `topics`; offsets are committed by the caller, after its own writes."""
    from kafka import KafkaConsumer

    return _open(
        config,
        lambda settings: KafkaConsumer(
            *topics,
            **settings,
            group_id=group,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            max_poll_records=2000,
            # A worker that was killed keeps its partitions for one session: minutes of risk wait that long.
            session_timeout_ms=10_000,
            heartbeat_interval_ms=3_000,
            metadata_max_age_ms=10_000,
            client_id="foreshock",
        ),
    )


def _open(config: KafkaConfig, make: Any) -> Any:
    from kafka.errors import KafkaError

    # At DEBUG kafka-python logs the SASL exchange, password and all.
    if logging.getLogger("kafka").getEffectiveLevel() < logging.INFO:
        logging.getLogger("kafka").setLevel(logging.INFO)
    try:
        return make(_connection(config))
    except (KafkaError, OSError) as e:
        raise ForeshockError(
            f"kafka {config.bootstrap_servers}: {type(e).__name__}: {e}",
            hint="check kafka.bootstrap_servers, TLS and SASL with `foreshock doctor`",
        ) from e


def reachable(config: KafkaConfig) -> int:
    """How many brokers answer. Raises ForeshockError when none does."""
    client = producer(config)
    try:
        client.partitions_for("foreshock.telemetry")
        return len(config.bootstrap_servers.split(","))
    finally:
        client.close(timeout=5)
