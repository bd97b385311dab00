"""`foreshock demo`: real processes of the whole chain in one directory, a live view, and the story at the end."""

from __future__ import annotations

import shutil
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, TextIO

from alerting.webhook import new_secret
from collector.config import Config
from collector.config_file import load
from collector.errors import ForeshockError
from demo.chain import Chain, Ready, await_files
from demo.happenings import FAULT, Chronicle
from demo.nvml_double.build import build
from demo.simulated_trace import write_simulated_trace
from demo.story import tell
from demo.training import NAME
from demo.view import live

AFTER_DEATH_S: Final = 100.0
"""Cluster time the demo goes on after the Xid: long enough for the last drain to be acknowledged."""
NODE: Final = "demo-node-0"
REGISTRY: Final = Path(__file__).with_name("registry")
"""A model learnt from a simulated fleet, as its card says: `foreshock evaluate --dataset simulated --save` made it."""
_MARK: Final = ".foreshock-demo"
_LOOK_EVERY_S: Final = 0.3


@dataclass(frozen=True, slots=True)
class Stage:
    """Where one demo lives. `start_unix_s`: when its story begins, in cluster time."""

    directory: Path
    speed: float
    start_unix_s: float

    @property
    def toml(self) -> Path:
        return self.directory / "foreshock.toml"

    @property
    def job(self) -> Path:
        return self.directory / "job"

    def config(self) -> Config:
        return load(str(self.toml))


def run(
    *,
    trace: str | None,
    speed: float,
    directory: str,
    kafka: str,
    as_json: bool,
    plain: bool,
    out: TextIO = sys.stdout,
) -> int:
    """Play the demo and tell its story. 0 when the job was saved before its GPU died, else 1.

    Raises ForeshockError when the directory is not ours to empty, the trace is none, or a process dies.
    """
    if not 1.0 < speed <= 60.0:
        raise ForeshockError(f"--speed {speed:g}: must be above 1 and at most 60", hint="the default is 20")
    stage = _prepare(Path(directory), speed, kafka, trace)
    with _services(stage) as chain:
        stage = replace(stage, start_unix_s=stage.config().make_clock().time_s())
        chronicle = Chronicle(stage.config(), stage.job, stage.start_unix_s, FAULT)
        _begin(stage, chain, Path(trace) if trace else stage.directory / "trace.csv")
        _watch(stage, chain, chronicle, as_json=as_json, plain=plain, out=out)
    story = tell(chronicle, stage, recorded=trace)
    story.print(out, as_json=as_json)
    return 0 if story.saved else 1


def _prepare(directory: Path, speed: float, kafka: str, trace: str | None) -> Stage:
    """An empty directory with the configuration, the webhook secret and (without --trace) a simulated trace."""
    if directory.exists() and any(directory.iterdir()) and not (directory / _MARK).exists():
        raise ForeshockError(
            f"{directory} is not empty and not from an earlier demo", hint="foreshock demo --directory NEW"
        )
    if trace and not Path(trace).is_file():
        raise ForeshockError(f"--trace {trace}: no such file", hint="give a CSV trace, or leave --trace out")
    shutil.rmtree(directory, ignore_errors=True)
    for sub in ("logs", "job"):
        (directory / sub).mkdir(parents=True)
    directory = directory.absolute()
    (directory / _MARK).touch()
    secret = directory / "webhook.secret"
    secret.touch(mode=0o600)
    secret.write_text(new_secret())
    if not trace:
        write_simulated_trace(directory / "trace.csv")
    shutil.copytree(REGISTRY, directory / "models")
    library = build()
    stage = Stage(directory, speed, time.time())
    stage.toml.write_text(_configuration(stage, library, kafka, _free_port()))
    return stage


def _free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def _configuration(stage: Stage, library: Path, kafka: str, port: int) -> str:
    d = stage.directory
    return f"""# Written by `foreshock demo`. Everything it measures is synthetic, and every row says so.
[clock]
speed = {stage.speed}
origin_unix_s = {stage.start_unix_s!r}

[collector]
node = "{NODE}"
synthetic = true
nvml_library = "{library}"
kmsg = "{d}/kmsg"
flush_s = 5.0
# Real seconds; at this speed {stage.speed:g} times as long on the demo's clock.
deadline_s = 0.5
hang_retry_s = 5.0

[spool]
path = "{d}/spool.db"

[kafka]
bootstrap_servers = "{kafka}"
topic_prefix = "demo-{int(stage.start_unix_s)}."
ingest_group = "demo-{int(stage.start_unix_s)}-ingest"
watch_group = "demo-{int(stage.start_unix_s)}-watch"

[lake]
path = "{d}/lake"

[models]
registry = "{d}/models"

[ingest]
flush_s = 1.0

[watch]
dry_run = false
outbox = "{d}/outbox.db"
webhook_url = "http://127.0.0.1:{port}/v1/actions"
webhook_secret_file = "{d}/webhook.secret"

[bridge]
dry_run = false
listen = "127.0.0.1:{port}"
secret_file = "{d}/webhook.secret"
state = "{d}/bridge.db"
signal = "USR1"
pid_dir = "{d}/job"
acknowledge_dir = "{d}/job"
drain_command = ["{sys.executable}", "-I", "-m", "demo.drain", "{d}/drained"]
"""


@contextmanager
def _services(stage: Stage) -> Iterator[Chain]:
    """Who waits for records, each of them ready; all that runs is stopped in any case."""
    chain, ready = Chain(stage.directory / "logs"), Ready()
    with ExitStack() as stack:
        stack.callback(ready.close)
        stack.callback(chain.stop)
        for service in (["bridge", "command"], ["watch"], ["ingest"]):
            argv = ["foreshock", "--config", str(stage.toml), *service]
            chain.start(service[0], argv, {"NOTIFY_SOCKET": ready.address(service[0])})
        ready.wait(chain)
        yield chain


def _begin(stage: Stage, chain: Chain, trace: Path) -> None:
    """The job, the GPUs and the node's agent: cluster time of the story begins here."""
    d, toml = stage.directory, str(stage.toml)
    values, events, kmsg = d / "nvml.values", d / "nvml.events", d / "kmsg"
    chain.start("training", ["demo.training", "--directory", str(stage.job), "--config", toml], {})
    files = ["--values", str(values), "--events", str(events), "--kmsg", str(kmsg), "--trace", str(trace)]
    start = ["--start", repr(stage.start_unix_s), "--gpu", str(FAULT.gpu)]
    chain.start("player", ["demo.player", *files, "--config", toml, *start], {})
    await_files(chain, values, stage.job / f"{NAME}.pid", kmsg)
    double = {"FORESHOCK_NVML_DOUBLE": str(values), "FORESHOCK_NVML_DOUBLE_EVENTS": str(events)}
    chain.start("collect", ["foreshock", "--config", toml, "collect"], double)


def _watch(
    stage: Stage, chain: Chain, chronicle: Chronicle, *, as_json: bool, plain: bool, out: TextIO
) -> None:
    """Show what happens until the end of the scenario; end the job when its GPU dies."""
    clock = stage.config().make_clock()
    next_look_s = 0.0
    with live(stage.speed, chronicle, silent=as_json, plain=plain, out=out) as show:
        while (elapsed_s := clock.time_s() - stage.start_unix_s) < FAULT.dies_s + AFTER_DEATH_S:
            chain.check()
            if elapsed_s >= FAULT.dies_s + 1.0 and chain.has("training"):
                chain.kill("training")
                chronicle.note_death(clock.time_s())
            if time.monotonic() >= next_look_s:
                chronicle.refresh()
                show(elapsed_s)
                next_look_s = time.monotonic() + _LOOK_EVERY_S
            time.sleep(0.05)
        chronicle.refresh()
