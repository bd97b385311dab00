"""The receiver: checks a webhook, keeps it, answers, and lets workers act through an adapter.

POST /v1/actions: 202 accepted, 200 seen before, 400 junk, 401 not signed by us or too old, 413 too large.
GET /healthz: 200 with the requests by state. Redone after kill -9; done once in effect.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from threading import Event as Flag
from threading import Thread
from typing import Final

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from alerting.action import Action, ActionName, Adapter, Outcome
from alerting.cloud_event import decode_action
from alerting.inbox import Inbox
from alerting.webhook import SignatureError, load_secrets, verify, warn_if_readable
from collector.config import BridgeConfig
from collector.errors import ConfigError, ForeshockError, InvalidRecordError

MAX_BODY_BYTES: Final = 256 * 1024
MAX_AGE_S: Final = 3600.0
"""A request that was interrupted longer ago than this is not taken up again."""
_WORKERS: Final = 4  # one job that is slow to answer must not hold up another's checkpoint
_LOOK_EVERY_S: Final = 0.25
_LOG = logging.getLogger(__name__)

_METHODS: Final[dict[ActionName, Callable[[Adapter], Callable[[Action], Outcome]]]] = {
    "checkpoint": lambda adapter: adapter.checkpoint,
    "drain": lambda adapter: adapter.drain,
    "drain_now": lambda adapter: adapter.migrate,
    "release": lambda adapter: adapter.release,
}
Told = Callable[[Action, Outcome], None]
"""Called with every outcome, from a worker thread."""


@dataclass(frozen=True, slots=True)
class _Desk:
    """What the workers share."""

    config: BridgeConfig
    adapter: Adapter
    inbox: Inbox
    stop: Flag
    wake: Flag
    told: Told


def serve(
    config: BridgeConfig,
    adapter: Adapter,
    stop: Flag,
    *,
    ready: Callable[[str, int], None] = lambda _host, _port: None,
    told: Told = lambda _action, _outcome: None,
) -> None:
    """Serve until `stop`. Port 0 takes a free one; `ready` is called with host and port once it listens.

    Raises ConfigError for a secret or an address that cannot be used.
    """
    load_secrets(config.secret_file)
    warn_if_readable(config.secret_file)
    with _listen(config.listen) as listener:
        inbox = _open(config)
        desk = _Desk(config, adapter, inbox, stop, Flag(), told)
        with _workers(desk):
            asyncio.run(_serve(make_app(config, inbox, desk.wake), listener, stop, ready))


def _open(config: BridgeConfig) -> Inbox:
    """The inbox, with what the last process left undone ready to be claimed."""
    inbox = Inbox(config.state)
    resumed, expired = inbox.resume(time.time(), MAX_AGE_S)
    if resumed or expired:
        _LOG.warning("after a restart: %d requests taken up again, %d too old", resumed, expired)
    return inbox


def make_app(config: BridgeConfig, inbox: Inbox, wake: Flag) -> Starlette:
    """The HTTP side alone: checks and keeps, acts on nothing."""

    async def actions(request: Request) -> Response:
        try:
            body = await request.body()
        except ClientDisconnect:
            return Response(status_code=400)  # nobody is left to read it
        return await run_in_threadpool(_receive, config, inbox, wake, dict(request.headers), body)

    async def healthz(_request: Request) -> Response:
        return JSONResponse({"status": "ok", "requests": await run_in_threadpool(inbox.counts)})

    routes = [
        Route("/v1/actions", actions, methods=["POST"]),
        Route("/healthz", healthz, methods=["GET"]),
    ]
    return Starlette(routes=routes, max_body_size=MAX_BODY_BYTES)


def _receive(
    config: BridgeConfig, inbox: Inbox, wake: Flag, headers: dict[str, str], body: bytes
) -> Response:
    """Signature first: nothing of an unsigned body is looked at."""
    try:
        message_id = verify(load_secrets(config.secret_file), headers, body, config.tolerance_s)
        action = decode_action(body)
        if action.action_id != message_id:
            raise InvalidRecordError(f"webhook-id {message_id!r} is not the event's id {action.action_id!r}")
    except SignatureError as e:
        _LOG.warning("refused: %s", e)
        return JSONResponse({"error": "signature or timestamp refused"}, 401)
    except InvalidRecordError as e:
        return JSONResponse({"error": str(e)}, 400)
    except ConfigError as e:
        _LOG.error("%s (%s)", e, e.hint)
        return JSONResponse({"error": "the bridge cannot read its secret"}, 503)
    accepted = inbox.accept(action, time.time())
    if accepted.new:
        wake.set()
        return JSONResponse({"status": "accepted"}, 202)
    if accepted.outcome is None:
        return JSONResponse({"status": "already accepted"}, 200)
    done = accepted.outcome
    return JSONResponse({"status": "already done", "ok": done.ok, "detail": done.detail}, 200)


def act(adapter: Adapter, action: Action, *, dry_run: bool) -> Outcome:
    """One action through the adapter; a failure of any kind is an outcome, not a crash."""
    if dry_run or action.dry_run:
        return Outcome(ok=True, detail=f"dry run: would {action.action} {action.node}")
    try:
        return _METHODS[action.action](adapter)(action)
    except ForeshockError as e:
        return Outcome(ok=False, detail=f"{e} (try: {e.hint})" if e.hint else str(e))
    except Exception as e:  # noqa: BLE001 - the adapter talks to other people's tools; the next action must go on
        _LOG.exception("%s", action.action_id)
        return Outcome(ok=False, detail=f"{type(e).__name__}: {e}")


def _work(desk: _Desk) -> None:
    """One worker, until `stop`."""
    while not desk.stop.is_set():
        desk.wake.clear()
        try:
            if _act_next(desk):
                continue
        except Exception:  # noqa: BLE001 - a full disk must not end the worker for good
            _LOG.exception("bridge: the state file or the listener of outcomes failed")
        desk.wake.wait(_LOOK_EVERY_S)


def _act_next(desk: _Desk) -> bool:
    """Claim, act, write the outcome, tell. -> whether there was anything to do."""
    action = desk.inbox.claim()
    if action is None:
        return False
    outcome = act(desk.adapter, action, dry_run=desk.config.dry_run)
    desk.inbox.finish(action.action_id, outcome)
    desk.wake.set()
    _LOG.log(logging.INFO if outcome.ok else logging.ERROR, "%s: %s", action.action_id, outcome.detail)
    desk.told(action, outcome)
    return True


@contextlib.contextmanager
def _workers(desk: _Desk) -> Iterator[None]:
    """Workers while the block runs. One that still waits for a job is left behind: its request is resumed."""
    threads = [Thread(target=_work, args=(desk,), name=f"act-{n}", daemon=True) for n in range(_WORKERS)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        desk.stop.set()
        for thread in threads:
            thread.join(timeout=1)
        if not any(t.is_alive() for t in threads):
            desk.inbox.close()


def _listen(address: str) -> socket.socket:
    host, _, port = address.rpartition(":")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host.strip("[]"), int(port)), family=family)
    except (OSError, ValueError) as e:
        raise ConfigError(f"bridge.listen {address!r}: {e}", hint='e.g. listen = "127.0.0.1:9480"') from e


class _Server(uvicorn.Server):
    """uvicorn without its own signal handlers: the front door owns the signals and sets `stop`."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def _serve(
    app: Starlette, listener: socket.socket, stop: Flag, ready: Callable[[str, int], None]
) -> None:
    config = uvicorn.Config(
        app, log_config=None, access_log=False, lifespan="off", timeout_graceful_shutdown=3
    )
    server = _Server(config)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    told = False
    while not stop.is_set() and not serving.done():
        if server.started and not told:
            told = True
            ready(*listener.getsockname()[:2])
        await asyncio.sleep(0.02)
    server.should_exit = True
    await serving
