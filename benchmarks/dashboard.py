"""How long the Fleet page takes: to its first useful paint, and to draw itself again. Synthetic fleet.

    python benchmarks/dashboard.py [--gpus 10000] [--lake FOLDER] [--json]

`--lake` keeps the lake that is made, and uses one that is there. Server: the page's own functions in a fresh process
and again with rows that are new. Browser, where chromium is installed: a real page on a real server, from the
navigation with an empty cache to the map, at the server's first visitor and at the next one; and its redraws. Limits:
first paint 2 s at 10,000 GPUs and 5 s at 100,000, redraw 1 s and 5 s. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path
from typing import Any

from benchmarks import dashboard_lake
from pipeline.lake import Lake

_MANY = 10_000


def limits(gpus: int) -> dict[str, float]:
    """Seconds."""
    return {"paint_s": 2.0, "redraw_s": 1.0} if gpus <= _MANY else {"paint_s": 5.0, "redraw_s": 5.0}


def server(lake: Path) -> dict[str, float]:
    """In a process of its own: what a visitor waits for at the server."""
    argv = [sys.executable, "-m", "benchmarks.dashboard_server", str(lake)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=300)
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def browser(lake: Path, gpus: int, folder: Path) -> dict[str, float]:
    """First visitor of a fresh server, the next one, and redraws while rows arrive."""
    from benchmarks import dashboard_browser as b

    with b.browsing(folder / "profile") as page, b.serving(lake, folder / "served") as served:
        first, after = b.first_paint(page, served), b.first_paint(page, served)
        _one_more(lake, gpus)
        again = b.reruns(page, 5)
    told = {f"first_visitor_{name}": value for name, value in first.items()}
    told |= {f"next_visitor_{name}": value for name, value in after.items()}
    return told | {"redraw_s": statistics.median(again), "redraw_max_s": max(again)}


def _one_more(lake: Path, gpus: int) -> None:
    """A flush of telemetry, so that the redraws have something to read."""
    newest: Any = Lake(lake).scan("telemetry", columns=["time"]).max().collect().item()
    assert isinstance(newest, datetime)
    at = newest + (datetime.now(newest.tzinfo) - newest)
    Lake(lake).append("telemetry", dashboard_lake.tick(dashboard_lake.slots(gpus), at))


def report(found: dict[str, Any], gpus: int) -> None:
    most = limits(gpus)
    print(
        f"{gpus:,} GPUs, synthetic; load average {found['load_average']:.1f} on {os.cpu_count()} processors"
    )
    print(f"server, fresh process: imports {found['imports_s']:.2f} s, first page {found['cold_s']:.2f} s "
          f"({found['cold_cpu_s']:.2f} s of processor)")  # fmt: skip
    _line("server, page with new rows", found["warm_s"], most["redraw_s"], found["warm_cpu_s"])
    print(f"sent to the browser: {found['cells']:,} cells, {found['map_kb']:.0f} KB")
    if "first_visitor_map_s" not in found:
        print(f"browser: not measured, {found['no_browser']}")
        return
    for who in ("first_visitor", "next_visitor"):
        cpu = found[f"{who}_server_cpu_s"] + found[f"{who}_browser_cpu_s"]
        _line(f"browser, {who.replace('_', ' ')}: map", found[f"{who}_map_s"], most["paint_s"], cpu)
    _line("browser, redraw (median)", found["redraw_s"], most["redraw_s"], None)


def _line(what: str, took_s: float, limit_s: float, cpu_s: float | None) -> None:
    cpu = "" if cpu_s is None else f", {cpu_s:.2f} s of processor"
    verdict = "within" if took_s < limit_s else "OVER"
    print(
        f"{what:<32} {took_s:6.2f} s of {limit_s:g} s, ratio {took_s / limit_s:.2f}, {verdict} the limit{cpu}"
    )


def measure(gpus: int, lake: Path, folder: Path) -> dict[str, Any]:
    from benchmarks.dashboard_browser import missing

    begun_s = time.perf_counter()
    if not (lake / "telemetry").is_dir():
        dashboard_lake.lay(lake, gpus)
    found: dict[str, Any] = {"gpus": gpus, "laid_s": time.perf_counter() - begun_s}
    found |= {f"limit_{name}": value for name, value in limits(gpus).items()}
    found |= server(lake)
    if why := missing():
        found["no_browser"] = why
    else:
        found |= browser(lake, gpus, folder)
    return found | {"load_average": os.getloadavg()[0]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--gpus", type=int, default=_MANY)
    parser.add_argument("--lake", type=Path, help="folder of the lake, kept; default: a temporary one")
    parser.add_argument("--json", action="store_true", help="only the last line")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="foreshock-dashboard-", ignore_cleanup_errors=True) as made:
        found = measure(asked.gpus, asked.lake or Path(made) / "lake", Path(made))
    if not asked.json:
        report(found, asked.gpus)
    print(json.dumps({k: round(v, 3) if isinstance(v, float) else v for k, v in found.items()}))


if __name__ == "__main__":
    main()
