"""`foreshock dashboard`: start Streamlit on dashboard/app.py, bound to loopback unless the config says otherwise."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from collector.config import Config
from collector.errors import ConfigError, NotInstalledError

_STOPS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")
_GRACE_S: Final = 8
"""Streamlit ends within a second or two; one that hangs is killed."""


def run(config: Config) -> int:
    """Serve until stopped; the exit code of Streamlit. Raises NotInstalledError without the dashboard extra."""
    if importlib.util.find_spec("streamlit") is None:
        raise NotInstalledError("the dashboard is not installed", hint="pip install 'foreshock[dashboard]'")
    warn(config)
    # a process group of its own: what a terminal or a service manager says reaches it through us, and once
    with subprocess.Popen(command(config), env=environment(config), process_group=0) as child:
        return _until_it_ends(child)


def _until_it_ends(child: subprocess.Popen[bytes]) -> int:
    """Its exit code; 0 where we were told to stop. It is never left behind to hold the port."""
    told: list[int] = []

    def stop(number: int, _frame: object) -> None:
        told.append(number)
        child.terminate()

    before = {number: signal.signal(number, stop) for number in _STOPS}
    try:
        while True:
            try:
                code = child.wait(timeout=_GRACE_S if told else 1)
            except subprocess.TimeoutExpired:
                if told:
                    child.kill()
            else:
                return 0 if told else code
    finally:
        child.kill()
        for number, handler in before.items():
            signal.signal(number, handler)


def command(config: Config) -> list[str]:
    """Argv. Isolated mode, so that nothing in the present folder takes the place of a library."""
    host, port = _listen(config.dashboard.listen)
    options = {
        "server.address": host,
        "server.port": str(port),
        "server.headless": "true",
        "server.fileWatcherType": "none",
        "browser.gatherUsageStats": "false",
        "client.toolbarMode": "minimal",
        "client.showErrorDetails": "none",
    }
    argv = [sys.executable, "-P", "-m", "dashboard.start", str(Path(__file__).with_name("app.py"))]
    argv += [f"--{name}={value}" for name, value in options.items()]
    return argv + [f"--server.allowedHosts={name}" for name in hosts(config)]


def hosts(config: Config) -> list[str]:
    """The names under which browsers may come; empty is any.

    On loopback and without a login, any web site that an operator visits could let its name point here and read what
    it likes (DNS rebinding). Where people are named by a proxy or a login, such a site is nobody.
    """
    host, _ = _listen(config.dashboard.listen)
    if host not in _LOOPBACK or _names_people(config):
        return []
    public = urlsplit(config.watch.dashboard_url).hostname
    return [*_LOOPBACK, *([public] if public else [])]


def warn(config: Config) -> None:
    """Where anybody who reaches the address may read."""
    host, port = _listen(config.dashboard.listen)
    if host in _LOOPBACK or _names_people(config):
        return
    print(
        f"foreshock: the dashboard listens on {host}:{port} without a login: whoever reaches it reads everything. "
        "docs/dashboard.md tells of a login and of a proxy.",
        file=sys.stderr,
    )


def _names_people(config: Config) -> bool:
    return bool(config.dashboard.user_header) or has_login()


def has_login() -> bool:
    """Whether Streamlit will find an identity provider: `[auth]` in its secrets.toml, of this folder or of the home."""
    for folder in (Path.cwd(), Path.home()):
        try:
            told = tomllib.loads((folder / ".streamlit" / "secrets.toml").read_text())
        except (OSError, ValueError):
            continue
        if "auth" in told:
            return True
    return False


def environment(config: Config) -> dict[str, str]:
    """The child's environment: which config, and which lake (absolute, since the config may name it relatively)."""
    chosen = {"FORESHOCK_LAKE": str(config.lake.path.absolute())}
    if config.path:
        chosen["FORESHOCK_CONFIG"] = str(Path(config.path).absolute())
    return {**os.environ, **chosen}


def _listen(listen: str) -> tuple[str, int]:
    """`host:port`, also `[::1]:8501`."""
    host, _, port = listen.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise ConfigError(
            f"dashboard.listen: must be host:port (got {listen!r})", hint="for example 127.0.0.1:8501"
        )
    return host.strip("[]"), int(port)
