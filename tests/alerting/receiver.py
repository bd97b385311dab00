"""A real bridge on a free loopback port, for tests."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from alerting.action import Action, Adapter, Outcome
from alerting.bridge import serve
from collector.config import BridgeConfig


class Notes:
    """An adapter that writes down what it was asked; `gate` holds it back, `error` makes it fail."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.gate = threading.Event()
        self.gate.set()
        self.error: Exception | None = None

    def checkpoint(self, action: Action) -> Outcome:
        return self._do(action)

    def drain(self, action: Action) -> Outcome:
        return self._do(action)

    def migrate(self, action: Action) -> Outcome:
        return self._do(action)

    def release(self, action: Action) -> Outcome:
        return self._do(action)

    def _do(self, action: Action) -> Outcome:
        self.asked.append(action.action_id)
        assert self.gate.wait(20)
        if self.error is not None:
            raise self.error
        return Outcome(ok=True, detail="done", step=5)


@contextmanager
def running(config: BridgeConfig, adapter: Adapter, told: list[Outcome] | None = None) -> Iterator[str]:
    """-> its URL; stopped at the end."""
    stop, up, where = threading.Event(), threading.Event(), list[tuple[str, int]]()

    def ready(host: str, port: int) -> None:
        where.append((host, port))
        up.set()

    def tell(_: Action, outcome: Outcome) -> None:
        if told is not None:
            told.append(outcome)

    thread = threading.Thread(
        target=serve, args=(config, adapter, stop), kwargs={"ready": ready, "told": tell}
    )
    thread.start()
    try:
        assert up.wait(10)
        yield f"http://{where[0][0]}:{where[0][1]}"
    finally:
        stop.set()
        thread.join(10)
    assert not thread.is_alive()
