from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from collector.agent import Agent
from collector.clock import SystemClock
from collector.errors import ConfigError
from collector.metrics import health, serve
from collector.spool import Spool
from collector.status import Shipping
from tests.double import Node, eventually


@contextmanager
def running(node: Node, directory: Path, **config: Any) -> Iterator[tuple[Agent, str]]:
    spool = Spool(directory / "spool.db", 100)
    agent = Agent(
        node.config(interval_s=0.05, flush_s=0.2, **config), spool, SystemClock(), directory / "journal"
    )
    stop = threading.Event()
    server = serve("127.0.0.1:0", lambda: agent.status(Shipping(3, 1, "Timeout", 2.5)))
    thread = threading.Thread(target=agent.run, args=(stop,))
    thread.start()
    try:
        yield agent, f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        stop.set()
        thread.join(timeout=10)
        spool.close()


def get(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as e:
        with e:
            return e.code, e.read().decode()


def metrics(url: str) -> dict[str, float]:
    code, text = get(f"{url}/metrics")
    assert code == 200
    samples = [s for f in text_string_to_metric_families(text) for s in f.samples]
    return {s.name + "".join(f"{{{v}}}" for v in s.labels.values()): s.value for s in samples}


def resident_bytes() -> int:
    """Of this process, which the agent of the test runs in."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def test_metrics_tell_what_the_agent_did(node: Node, tmp_path: Path):
    with running(node, tmp_path) as (agent, url):
        eventually(lambda: agent.status().ticks > 3)
        node.kernel("NVRM: Xid (PCI:0000:18:00): 48, pid=1, name=x, DBE")
        seen = eventually(lambda: (m := metrics(url)).get("foreshock_agent_events_total{xid}") and m)
    assert seen["foreshock_agent_gpus{ok}"] == 8
    assert seen["foreshock_agent_samples_total"] == 8 * seen["foreshock_agent_ticks_total"]
    assert 0 < seen["foreshock_agent_tick_duration_seconds"] < 1
    assert seen["foreshock_agent_nvml_up"] == 1
    assert seen["foreshock_agent_nvml_restarts_total"] == 0
    assert seen["foreshock_agent_shipped_records_total"] == 3
    assert seen["foreshock_agent_ship_lag_seconds"] == 2.5
    assert seen["process_resident_memory_bytes"] == pytest.approx(resident_bytes(), rel=0.3)


def test_a_sick_gpu_is_told_and_is_no_reason_to_kill_the_agent(node: Node, tmp_path: Path):
    with running(node, tmp_path, hang_retry_s=60.0) as (agent, url):
        eventually(lambda: agent.status().ticks)
        node.set(1, lost=1)
        node.set(2, hang=1)
        eventually(lambda: {"lost", "hung"} <= set(agent.status().gpus))
        code, body = get(f"{url}/healthz")
    found = json.loads(body)
    assert (code, found["agent"]) == (200, "ok")
    assert found["gpus"] == {"ok": 6, "lost": 1, "hung": 1}
    assert found["gpu_problems"] == ["1 hung", "1 lost"]


def test_no_driver_is_a_gpu_problem_not_an_agent_problem(node: Node, tmp_path: Path):
    node.extra = {"init": "!9"}
    node.write()
    with running(node, tmp_path) as (agent, url):
        eventually(lambda: agent.status().nvml_error)
        code, body = get(f"{url}/healthz")
        assert code == 200
        assert "Driver Not Loaded" in body
        assert metrics(url)["foreshock_agent_nvml_up"] == 0


def test_a_loop_that_stands_still_is_a_sick_agent(node: Node, tmp_path: Path):
    with running(node, tmp_path) as (agent, _):
        status = agent.status()
    assert health(replace(status, loop_age_s=29.0))[0] == 200
    code, body = health(replace(status, loop_age_s=31.0))
    assert code == 503
    assert "31 s" in str(body["agent"])
    assert health(replace(status, interval_s=60.0, loop_age_s=300.0))[0] == 200, (
        "a slow agent is slow by choice"
    )


def test_anything_else_is_404_and_a_taken_port_is_said(node: Node, tmp_path: Path):
    with running(node, tmp_path) as (_, url):
        assert get(f"{url}/etc/passwd")[0] == 404
        with pytest.raises(ConfigError, match=r"collector\.listen"):
            serve(url.removeprefix("http://"), lambda: None)  # type: ignore[arg-type, return-value]


@pytest.mark.skipif(shutil.which("setpriv") is None, reason="setpriv (util-linux) is not here")
@pytest.mark.skipif(os.geteuid() != 0, reason="only root has capabilities to drop")
def test_the_agent_needs_no_capability_but_to_read_the_kernel_log(node: Node, tmp_path: Path):
    config = tmp_path / "f.toml"
    config.write_text(
        f'[collector]\nnvml_library = "{node.library}"\nkmsg = "{node.kmsg}"\nlisten = ""\n'
        f'[spool]\npath = "{tmp_path}/s.db"\n'
    )
    bare = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", "--ambient-caps=-all", "--no-new-privs"]
    foreshock = [
        sys.executable,
        "-I",
        "-m",
        "foreshock",
        "--config",
        str(config),
        "collect",
        "--once",
        "--stdout",
    ]
    capabilities = subprocess.run(
        [*bare, "cat", "/proc/self/status"], capture_output=True, text=True, check=True
    )
    assert "CapEff:\t0000000000000000" in capabilities.stdout
    done = subprocess.run([*bare, *foreshock], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 8
