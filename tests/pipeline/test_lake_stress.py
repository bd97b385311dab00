"""Readers, writers and upkeep on one table at once: no row twice, none missing, no error."""

from __future__ import annotations

import multiprocessing
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from multiprocessing.process import BaseProcess
from pathlib import Path

import polars as pl

from collector.config import UpkeepConfig
from pipeline.lake import Lake
from pipeline.sql import Limits, connect
from pipeline.upkeep import Report, Upkeep
from tests.pipeline.samples import START, frame, sample

ROWS = 40
"""Rows of one append."""
WRITERS = 2
LASTS_S = 7.0
POLICY = UpkeepConfig(vacuum_after_s=4.0, small_files=4, target_rows=4000, memory_mib=256)
TODAY = datetime(START.year, START.month, START.day, 23, tzinfo=UTC)


def write(
    path: Path, writer: int, stop_s: float, sent: multiprocessing.Queue[tuple[int, int, float]]
) -> None:
    """Appends until `stop_s` (Unix seconds), then tells how many and the sum of what was in them."""
    lake, batch, total = Lake(path), 0, 0.0
    while time.time() < stop_s:
        rows = frame(
            [sample(batch + i / ROWS, i % 8, f"n{writer}", power_w=float(batch + i)) for i in range(ROWS)]
        )
        named = rows.with_columns(stream=pl.lit(f"w{writer}"), seq=pl.lit(batch))
        lake.append("telemetry", named, transactions={f"w{writer}": batch})
        total += float(rows["power_w"].sum())
        batch += 1
    sent.put((writer, batch, total))


class Reader(threading.Thread):
    """Asks again and again how many rows of each append are there; keeps what it saw that was wrong."""

    def __init__(self, ask: Callable[[], pl.DataFrame], stop: threading.Event) -> None:
        super().__init__()
        self._ask, self._stopped = ask, stop
        self.wrong: list[str] = []
        self.answers = 0

    def run(self) -> None:
        seen: dict[str, int] = {}
        while not self._stopped.is_set():
            try:
                found = self._ask().group_by("stream", "seq").len()
            except Exception as e:  # noqa: BLE001 - whatever a reader meets is the test's finding
                self.wrong.append(repr(e))
                return
            self.answers += 1
            if torn := found.filter(pl.col("len") != ROWS).rows():
                self.wrong.append(f"torn or doubled: {torn}")
            for stream, appends, newest in (
                found.group_by("stream").agg(pl.len().alias("n"), pl.col("seq").max()).iter_rows()
            ):
                if appends != newest + 1 or appends < seen.get(stream, 0):
                    self.wrong.append(
                        f"{stream}: {appends} appends, newest {newest}, before {seen.get(stream)}"
                    )
                seen[stream] = appends


class Keeper(threading.Thread):
    def __init__(self, path: Path, stop: threading.Event) -> None:
        super().__init__()
        self._path, self._stopped = path, stop
        self.reports: list[Report] = []
        self.wrong: list[str] = []

    def run(self) -> None:
        upkeep = Upkeep(Lake(self._path), POLICY)
        while not self._stopped.is_set():
            try:
                self.reports.append(upkeep.round(TODAY))
            except Exception as e:  # noqa: BLE001
                self.wrong.append(repr(e))
                return


def test_nobody_sees_a_row_twice_or_not_at_all_while_the_lake_is_written_and_kept(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    sent: multiprocessing.Queue[tuple[int, int, float]] = context.Queue()
    stop, end_s = threading.Event(), time.time() + 2 + LASTS_S
    writers = [context.Process(target=write, args=(tmp_path, w, end_s, sent)) for w in range(WRITERS)]
    lake = Lake(tmp_path)

    def by_duckdb() -> pl.DataFrame:
        with connect(lake.files, tmp_path, Limits(memory_mib=512, threads=1)) as desk:
            return desk.query("SELECT stream, seq FROM telemetry")

    readers = [
        Reader(lambda: lake.read("telemetry", columns=["stream", "seq"]), stop),
        Reader(by_duckdb, stop),
    ]
    keepers = [Keeper(tmp_path, stop), Keeper(tmp_path, stop)]
    everybody: list[BaseProcess | threading.Thread] = [*writers, *readers, *keepers]
    for one in everybody:
        one.start()
    told = {w: (n, total) for w, n, total in (sent.get(timeout=60) for _ in writers)}
    stop.set()
    for one in everybody:
        one.join(timeout=60)

    assert [w for r in readers for w in r.wrong] + [w for k in keepers for w in k.wrong] == []
    assert [p.exitcode for p in writers] == [0] * WRITERS
    rows = (
        lake.read("telemetry")
        .group_by("stream")
        .agg(pl.len().alias("n"), pl.col("power_w").sum())
        .sort("stream")
    )
    assert rows["n"].to_list() == [told[w][0] * ROWS for w in range(WRITERS)]
    assert rows["power_w"].to_list() == [told[w][1] for w in range(WRITERS)]
    assert [lake.version("telemetry", f"w{w}") for w in range(WRITERS)] == [
        told[w][0] - 1 for w in range(WRITERS)
    ]
    # and it was not quiet: much was written, read, merged and deleted
    reports = [r for k in keepers for r in k.reports]
    assert min(r.answers for r in readers) > 3
    assert sum(r.made for r in reports) > 3
    assert sum(r.deleted for r in reports) > 3
    assert len(lake.files("telemetry")) < sum(n for n, _ in told.values()) / 2
    print(
        told,
        [r.answers for r in readers],
        sum(r.made for r in reports),
        sum(r.beaten for r in reports),
        sum(r.deleted for r in reports),
    )
