"""The one door to kafka-python: clients made from `[kafka]`, with the settings that lose nothing."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from collector.config import KafkaConfig
from collector.errors import ConfigError, ForeshockError

log = logging.getLogger(__name__)

_FETCH_BYTES = 16 * 2**20


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


def consumer(
    config: KafkaConfig,
    group: str,
    topics: Sequence[str],
    *,
    revoked: Callable[[], None] = lambda: None,
    assigned: Callable[[], None] = lambda: None,
) -> Any:
    """A KafkaConsumer of `group` on `topics`; offsets are committed by the caller, after its own writes.

    `revoked` and `assigned` are called while a poll waits for them, in a thread of their own, when the group deals
    out its partitions anew. They may take long (up to `max.poll.interval`, 5 minutes) and may commit.
    """
    from kafka import AsyncConsumerRebalanceListener, KafkaConsumer

    class Listener(AsyncConsumerRebalanceListener):  # type: ignore[misc]
        async def on_partitions_revoked(self, revoked_: object) -> None:
            await _aside(made, revoked)

        async def on_partitions_assigned(self, assigned_: object) -> None:
            await _aside(made, assigned)

    ensure_topics(config, topics)
    made = _open(
        config,
        lambda settings: KafkaConsumer(
            **settings,
            group_id=group,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            # What is fetched ahead is bounded by bytes (as they travel, compressed) per broker, not by partitions:
            # one response that is being read, and the next one on its way. `poll` bounds what it hands out.
            fetch_max_bytes=_FETCH_BYTES,
            # One request per broker is on its way at a time. While a busy partition is being read, the next request
            # asks only for the others: if those are silent topics, the broker holds it for so long, and the busy
            # partition's next request waits behind it. At kafka-python's 500 ms that cost 40 % of the throughput.
            fetch_max_wait_ms=20,
            max_partition_fetch_bytes=_FETCH_BYTES // 4,
            # A worker that was killed keeps its partitions for one session: minutes of risk wait that long.
            session_timeout_ms=int(config.session_s * 1e3),
            heartbeat_interval_ms=int(config.session_s * 300),
            metadata_max_age_ms=10_000,
            client_id="foreshock",
        ),
    )
    if topics:  # who only publishes is no member of the group
        # Before the topics are asked for: else the first assignment is made of what is not known yet, the member joins
        # again at once, and kafka-python's second SyncGroup was seen to hang.
        made.subscribe(topics, listener=Listener())
    for topic in topics:
        # asked for now: a leader that does not know them yet deals out nothing
        made.partitions_for_topic(topic)
    return made


async def _aside(consumer: Any, work: Callable[[], None]) -> None:
    """Await `work`, done in a thread: kafka-python's own thread must go on sending heartbeats, and may not commit."""
    from kafka.future import Future

    loop, done = consumer._net, Future()

    def run() -> None:
        try:
            work()
        except BaseException as e:  # noqa: BLE001 - it is raised again where it is awaited
            end(done.failure, e)
        else:
            end(done.success, None)

    def end(tell: Callable[[Any], Any], what: object) -> None:
        async def on_loop() -> None:
            tell(what)

        loop.call_soon_threadsafe(on_loop)

    threading.Thread(target=run, name="rebalance", daemon=True).start()
    await done


def ensure_topics(config: KafkaConfig, topics: Sequence[str]) -> None:
    """Create the topics that are missing. A broker that does not allow it keeps what it has.

    A group that joins before its topics exist is given nothing, and must rebalance again when they appear.
    """
    from kafka.admin import KafkaAdminClient, NewTopic
    from kafka.errors import KafkaError, TopicAlreadyExistsError

    admin = _open(config, lambda settings: KafkaAdminClient(**settings, client_id="foreshock"))
    try:
        for topic in sorted(set(topics) - set(admin.list_topics())):
            try:
                admin.create_topics(
                    [NewTopic(topic, config.partitions, config.replication_factor)], wait_for_metadata=True
                )
            except TopicAlreadyExistsError:
                continue  # another worker was faster
    except KafkaError as e:
        log.warning("kafka: topics could not be created (%s); they must exist already", type(e).__name__)
    finally:
        admin.close()


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


def check(config: KafkaConfig) -> None:
    """Raises ForeshockError when no broker answers."""
    producer(config).close(timeout=5)


@contextlib.contextmanager
def explained(config: KafkaConfig) -> Iterator[None]:
    """What kafka-python raises, as an error that says what to do; what a rebalance callback raised, as it was."""
    from kafka.errors import KafkaError

    try:
        yield
    except KafkaError as e:
        if isinstance(e.__cause__, ForeshockError):
            raise e.__cause__ from e
        raise ForeshockError(
            f"kafka {config.bootstrap_servers}: {type(e).__name__}: {e}", hint="foreshock doctor"
        ) from e
