"""`foreshock dashboard` starts Streamlit where the config says, and says what is missing where it cannot."""

from __future__ import annotations

import importlib.util
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import replace
from pathlib import Path

import pytest

from collector.config import Config, DashboardConfig, LakeConfig, WatchConfig
from collector.errors import ConfigError, NotInstalledError
from dashboard import serve


def _config(listen: str = "127.0.0.1:8501", lake: Path = Path("lake"), path: str = "") -> Config:
    return Config(dashboard=DashboardConfig(listen=listen), lake=LakeConfig(path=lake), path=path)


def test_it_listens_where_the_config_says_and_reports_to_nobody() -> None:
    argv = serve.command(_config("[::1]:9000"))
    assert "--server.address=::1" in argv
    assert "--server.port=9000" in argv
    assert "--browser.gatherUsageStats=false" in argv


@pytest.mark.parametrize("listen", ["8501", "host:", ":8501", "host:http", "host:0", "host:70000", ""])
def test_an_address_that_is_none_is_refused(listen: str) -> None:
    with pytest.raises(ConfigError, match=r"dashboard\.listen"):
        serve.command(_config(listen))


def test_no_web_site_can_point_its_name_to_loopback_and_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unless a proxy or a login names people: such a site's page is nobody's then."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    config = _config()
    assert serve.hosts(config) == ["localhost", "127.0.0.1", "::1"]
    assert "--server.allowedHosts=127.0.0.1" in serve.command(config)
    public = replace(config, watch=WatchConfig(dashboard_url="https://foreshock.example.org/x"))
    assert "foreshock.example.org" in serve.hosts(public)
    assert serve.hosts(_config("0.0.0.0:8501")) == []
    assert serve.hosts(replace(config, dashboard=DashboardConfig(user_header="X-User"))) == []
    (tmp_path / ".streamlit").mkdir()
    (tmp_path / ".streamlit" / "secrets.toml").write_text("[auth]\n")
    assert serve.hosts(config) == []


def test_an_open_address_without_a_login_is_said_when_it_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    serve.warn(_config("0.0.0.0:8501"))
    assert "whoever reaches it reads everything" in capsys.readouterr().err
    serve.warn(_config())
    serve.warn(replace(_config("0.0.0.0:8501"), dashboard=DashboardConfig(user_header="X-User")))
    assert capsys.readouterr().err == ""


def test_the_child_gets_the_same_config_and_lake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    given = serve.environment(_config(path="foreshock.toml"))
    assert given["FORESHOCK_CONFIG"] == str(tmp_path / "foreshock.toml")
    assert given["FORESHOCK_LAKE"] == str(tmp_path / "lake")


def test_without_streamlit_the_user_learns_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(NotInstalledError) as refused:
        serve.run(_config())
    assert "foreshock[dashboard]" in refused.value.hint


def test_it_really_serves_and_a_stray_file_beside_it_does_no_harm(tmp_path: Path) -> None:
    (tmp_path / "click.py").write_text("raise SystemExit('the wrong click')")
    with socket.create_server(("127.0.0.1", 0)) as found:
        port = found.getsockname()[1]
    config = _config(f"127.0.0.1:{port}", tmp_path / "lake")
    with subprocess.Popen(
        serve.command(config),
        env=serve.environment(config) | {"HOME": str(tmp_path)},
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as child:
        try:
            assert _body(f"http://127.0.0.1:{port}/_stcore/health", deadline_s=60) == "ok"
        finally:
            os.killpg(child.pid, signal.SIGTERM)
            child.wait(timeout=20)


def test_a_stop_stops_the_server_too_and_frees_its_port(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as found:
        port = found.getsockname()[1]
    settings = tmp_path / "foreshock.toml"
    settings.write_text(f'[lake]\npath = "{tmp_path}/lake"\n[dashboard]\nlisten = "127.0.0.1:{port}"\n')
    with subprocess.Popen(
        [sys.executable, "-I", "-m", "foreshock", "--config", str(settings), "dashboard"],
        env=os.environ | {"HOME": str(tmp_path)}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    ) as front:  # fmt: skip
        assert _body(f"http://127.0.0.1:{port}/_stcore/health", deadline_s=60) == "ok"
        front.terminate()
        assert front.wait(timeout=30) == 0
    with socket.create_server(("127.0.0.1", port)):
        pass


def _body(url: str, deadline_s: float) -> str:
    end = time.monotonic() + deadline_s
    while time.monotonic() < end:
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                return str(answer.read().decode())
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.2)
    return "no answer"
