"""What works on this machine and what does not, each with its mend. Changes nothing."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sqlite3
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import msgspec

from collector import broker
from collector.config import CollectorConfig, Config
from collector.errors import ForeshockError
from collector.watchdog import NvmlUnavailableError, Watchdog

Status = Literal["ok", "absent", "broken"]


class Check(msgspec.Struct, frozen=True):
    """One finding. `absent` is a part that is not here and not asked for; `broken` needs the mend."""

    name: str
    status: Status
    detail: str
    mend: str = ""


def run(config: Config) -> list[Check]:
    """All checks, in the order in which data flows."""
    checks: tuple[Callable[[Config], Check], ...] = (
        _python, _nvml, _kmsg, _spool, _kafka, _libraries, _lake, _slurm, _kubernetes, _webhook,
    )  # fmt: skip
    return [check(config) for check in checks]


def _python(config: Config) -> Check:
    where = config.path or "the defaults (no foreshock.toml found)"
    return Check("config", "ok", f"Python {sys.version.split()[0]}, {where}")


def _nvml(config: Config) -> Check:
    c = config.collector
    if c.dcgm_url:
        return _dcgm(c)
    watchdog = Watchdog(
        library=c.nvml_library, deadline_s=c.deadline_s, retry_s=c.hang_retry_s, retry_max_s=c.hang_retry_max_s,
        now_s=time.time, notify=lambda *_: None, on_xid=lambda *_: None,
    )  # fmt: skip
    try:
        rows = watchdog.tick()
    except NvmlUnavailableError as e:
        return Check("nvml", "broken", str(e), "install the NVIDIA driver, or set collector.nvml_library")
    finally:
        watchdog.close()
    silent = watchdog.count - len(rows)
    sick = [f"{silent} of {watchdog.count} GPUs do not say who they are"] if silent > 0 else []
    sick += [f"GPU {r.identity.index} {r.state}" for r in rows if r.state != "ok"]
    detail = f"{len(rows)} GPUs, driver {watchdog.driver_version}" + (f"; {', '.join(sick)}" if sick else "")
    return Check("nvml", "broken" if sick else "ok", detail, "look at `dmesg | grep -i nvrm`" if sick else "")


def _dcgm(c: CollectorConfig) -> Check:
    from collector.dcgm_scraper import of_config

    scraper = of_config(c, time.time)
    scraper.tick()
    if scraper.counts.last_error:
        return Check(
            "dcgm",
            "broken",
            f"{c.dcgm_url}: {scraper.counts.last_error}",
            "is the exporter up, and is that its address?",
        )
    problems = f"; {scraper.counts.problems.total()} series not understood" if scraper.counts.problems else ""
    return Check("dcgm", "ok", f"{c.dcgm_url}: {len(scraper.gpus())} GPUs{problems}")


def _kmsg(config: Config) -> Check:
    path = config.collector.kmsg
    if not path:
        return Check("kmsg", "absent", "turned off: Xids come from NVML alone", "set collector.kmsg")
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK))
    except OSError as e:
        mend = "run the agent with CAP_SYSLOG (systemd: AmbientCapabilities=CAP_SYSLOG), or as root"
        return Check("kmsg", "broken", f"{path}: {e.strerror}", mend)
    return Check("kmsg", "ok", f"{path} can be read")


def _spool(config: Config) -> Check:
    path = config.spool.path
    parent = next((p for p in (path, *path.parents) if p.exists()), Path("/"))
    if not os.access(parent, os.W_OK):
        return Check("spool", "broken", f"{parent} cannot be written", "set spool.path, or run as its owner")
    if not path.exists():
        return Check("spool", "ok", f"{path} will be made; {_free_gib(parent):.0f} GiB free")
    try:
        db = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=2)
        (records,) = db.execute("SELECT count(*) FROM records").fetchone()
        facts = dict(db.execute("SELECT name, value FROM facts"))
        db.close()
    except sqlite3.Error as e:
        return Check("spool", "broken", f"{path}: {e}", "stop the agent, move the file away, start the agent")
    return Check("spool", "ok", f"{path}: {records} records, {facts.get('dropped_records', 0)} ever dropped")


def _free_gib(path: Path) -> float:
    return shutil.disk_usage(path).free / 2**30


def _kafka(config: Config) -> Check:
    servers = config.kafka.bootstrap_servers
    if not servers:
        return Check(
            "kafka", "absent", "embedded stream (the spool)", "set kafka.bootstrap_servers for a fleet"
        )
    try:
        broker.check(config.kafka)
    except ForeshockError as e:
        return Check("kafka", "broken", str(e), "is the broker up, and may this host reach it?")
    return Check("kafka", "ok", f"{servers} answers")


def _libraries(config: Config) -> Check:
    wanted = ("polars", "duckdb", "deltalake", "sklearn", "streamlit")
    missing = [name for name in wanted if importlib.util.find_spec(name) is None]
    if missing:
        mend = "pip install 'foreshock[server,dashboard]' (a GPU node needs neither)"
        return Check("extras", "absent", f"agent only; not installed: {', '.join(missing)}", mend)
    return Check("extras", "ok", "server and dashboard are installed")


def _lake(config: Config) -> Check:
    path = config.lake.path
    parent = next((p for p in (path, *path.parents) if p.exists()), Path("/"))
    if not os.access(parent, os.W_OK):
        return Check("lake", "broken", f"{parent} cannot be written", "set lake.path, or run as its owner")
    tables = sorted(p.parent.name for p in path.glob("*/_delta_log")) if path.exists() else []
    detail = f"{path}: {', '.join(tables)}" if tables else f"{path} is empty: nothing ingested yet"
    return Check("lake", "ok", detail)


def _slurm(config: Config) -> Check:
    found = shutil.which("scontrol")
    if found is None:
        return Check("slurm", "absent", "no scontrol on PATH", "needed only by `foreshock bridge slurm`")
    return Check("slurm", "ok", found)


def _kubernetes(config: Config) -> Check:
    token = Path(config.bridge.kubernetes_token_file or "/var/run/secrets/kubernetes.io/serviceaccount/token")
    if not token.exists():
        return Check(
            "kubernetes", "absent", "no service account", "needed only by `foreshock bridge kubernetes`"
        )
    return Check("kubernetes", "ok", f"service account token at {token}")


def _webhook(config: Config) -> Check:
    watch = config.watch
    if not watch.webhook_url:
        return Check(
            "webhook", "absent", "watch.webhook_url is empty: incidents are recorded, nobody is told"
        )
    secret = Path(watch.webhook_secret_file)
    if not watch.webhook_secret_file or not secret.is_file():
        return Check(
            "webhook",
            "broken",
            f"no secret at {watch.webhook_secret_file!r}",
            "set watch.webhook_secret_file",
        )
    if secret.stat().st_mode & 0o077:
        return Check("webhook", "broken", f"{secret} may be read by others", f"chmod 600 {secret}")
    state = "dry run: nothing is sent" if watch.dry_run else "armed"
    return Check("webhook", "ok", f"{watch.webhook_url}, {state}")
