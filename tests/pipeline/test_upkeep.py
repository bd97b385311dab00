from __future__ import annotations

import threading
from datetime import date, timedelta
from pathlib import Path

import polars as pl
import pytest
from deltalake import DeltaTable
from hypothesis import given
from hypothesis import strategies as st

from collector.config import UpkeepConfig
from collector.errors import ForeshockError
from pipeline import upkeep
from pipeline.compaction import choose, write
from pipeline.lake import Lake
from pipeline.lake_files import LakeFile, exchange, list_files
from pipeline.tables import TABLES
from pipeline.upkeep import Upkeep
from tests.double import eventually
from tests.pipeline.samples import START, frame, sample

LATER = START + timedelta(days=1)
POLICY = UpkeepConfig(vacuum_after_s=0.0, small_files=3, memory_mib=256, log_days=0.0)


def fill(path: Path, appends: int = 5) -> Lake:
    """GPUs in turn and time backwards, so that whoever sorts has something to do."""
    lake = Lake(path)
    for i in range(appends):
        rows = frame([sample(100 - i, gpu, power_w=float(i)) for gpu in (2, 0, 1)])
        lake.append("telemetry", rows, transactions={"t:0": i, "t:1": 7})
    return lake


def test_a_day_that_is_over_becomes_one_file_sorted_by_gpu_and_time(tmp_path: Path):
    lake = fill(tmp_path)
    before = lake.read("telemetry").sort("gpu_uuid", "time")
    report = Upkeep(lake, POLICY).round(LATER)
    (file,) = lake.files("telemetry")
    assert (report.merged, report.made, report.rows_by_table) == (5, 1, {"telemetry": 15})
    assert lake.read("telemetry").equals(before)
    assert pl.read_parquet(file, hive_partitioning=False)["gpu_uuid"].is_sorted()
    since = START + timedelta(seconds=98)
    assert lake.read("telemetry", since=since).height == before.filter(pl.col("time") >= since).height == 9
    assert Upkeep(lake, POLICY).round(LATER).made == 0


def test_transactions_outlive_merging_checkpoints_and_the_cleaning_of_the_log(tmp_path: Path):
    lake = fill(tmp_path, appends=20)
    upkeep = Upkeep(lake, POLICY)
    for _ in range(3):
        upkeep.round(LATER)
    log = tmp_path / "telemetry" / "_delta_log"
    assert list(log.glob("*.checkpoint.parquet"))
    assert not (log / f"{0:020}.json").exists()
    found = DeltaTable(tmp_path / "telemetry")
    assert [found.transaction_version(name) for name in ("t:0", "t:1")] == [19, 7]
    lake.append("telemetry", frame([sample(200)]), transactions={"t:0": 20})
    assert Lake(tmp_path).version("telemetry", "t:0") == 20


def test_files_that_were_replaced_stay_for_the_readers_and_then_go(tmp_path: Path):
    lake = fill(tmp_path)
    old = lake.files("telemetry")
    patient = Upkeep(lake, UpkeepConfig(vacuum_after_s=3600.0, memory_mib=256))
    patient.round(LATER)
    assert patient.round(LATER).deleted == 0
    assert pl.read_parquet(old, hive_partitioning=False).height == 15
    eventually(lambda: Upkeep(lake, POLICY).round(LATER) and not any(Path(f).exists() for f in old))
    assert lake.read("telemetry").height == 15


def test_today_waits_until_there_are_enough_files(tmp_path: Path):
    lake = fill(tmp_path, appends=2)
    assert Upkeep(lake, POLICY).round(START).made == 0
    lake.append("telemetry", frame([sample(0, gpu) for gpu in range(3)]))
    assert Upkeep(lake, POLICY).round(START).made == 1


def test_old_telemetry_goes_and_events_stay(tmp_path: Path):
    lake = fill(tmp_path)
    lake.append("telemetry", frame([sample(86_400 * 3)]))
    for table in ("rollups", "events"):
        time = "minute" if table == "rollups" else "time"
        lake.append(table, pl.DataFrame({time: [START], "gpu_uuid": ["g"]}, schema_overrides=TABLES[table]))
    policy = UpkeepConfig(telemetry_days=1.0, rollup_days=2.0, memory_mib=256)
    assert Upkeep(lake, policy).round(START + timedelta(days=2)).expired == 5
    assert [lake.read(t).height for t in ("telemetry", "rollups", "events")] == [1, 1, 1]
    Upkeep(lake, policy).round(START + timedelta(days=3))
    assert [lake.read(t).height for t in ("telemetry", "rollups", "events")] == [1, 0, 1]
    assert Lake(tmp_path).version("telemetry", "t:0") == 4


def test_of_two_who_replace_the_same_files_one_is_refused(tmp_path: Path):
    lake = fill(tmp_path)
    folder = tmp_path / "telemetry"
    mine, theirs = DeltaTable(folder), DeltaTable(folder)
    lake.append("telemetry", frame([sample(300)]))  # an append meanwhile is in nobody's way
    group = list_files(mine)
    done = [exchange(t, group, [write(folder, group, "time", 256)], lost=False) for t in (mine, theirs)]
    assert done == [True, False]
    assert lake.read("telemetry").height == 16


def test_files_of_older_versions_are_merged_with_newer_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    newer = TABLES["telemetry"]
    monkeypatch.setitem(TABLES, "telemetry", pl.Schema({n: k for n, k in newer.items() if n != "power_w"}))
    lake = Lake(tmp_path)
    lake.append("telemetry", frame([sample(0)]).drop("power_w"))
    monkeypatch.setitem(TABLES, "telemetry", newer)
    lake.append("telemetry", frame([sample(1, power_w=5.0)]))
    assert Upkeep(lake, POLICY).round(LATER).made == 1
    assert lake.read("telemetry").sort("time")["power_w"].to_list() == [None, 5.0]
    assert lake.read("telemetry").schema == newer


def test_a_round_comes_when_it_is_due(tmp_path: Path):
    upkeep = Upkeep(fill(tmp_path), UpkeepConfig(every_s=60.0, memory_mib=256))
    came = [upkeep.run_due(LATER + timedelta(seconds=s)) is not None for s in (0, 59, 60, 61)]
    assert came == [True, False, True, False]
    assert Upkeep(Lake(tmp_path), UpkeepConfig(enabled=False)).run_due(LATER) is None


def test_writers_that_make_a_table_at_the_same_moment_all_get_in(tmp_path: Path):
    start, errors = threading.Barrier(4), list[Exception]()

    def write_one(number: int) -> None:
        start.wait()
        try:
            Lake(tmp_path).append("telemetry", frame([sample(number)]), transactions={f"t:{number}": 1})
        except Exception as e:  # noqa: BLE001 - shown below
            errors.append(e)

    threads = [threading.Thread(target=write_one, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert errors == []
    assert Lake(tmp_path).read("telemetry").height == 4


class Beaten(Lake):
    """Another writer commits `theirs` under our transaction between our look at the table and our commit."""

    def __init__(self, path: Path, theirs: int) -> None:
        super().__init__(path)
        self._theirs: int | None = theirs

    def open(self, table):
        found = super().open(table)
        if self._theirs is not None:
            theirs, self._theirs = self._theirs, None
            Lake(self.path).append(table, frame([sample(0)]), transactions={"t:0": theirs})
        return found


def test_rows_that_a_twin_brought_in_meanwhile_are_not_written_again(tmp_path: Path):
    Lake(tmp_path).append("telemetry", frame([sample(-1)]), transactions={"t:0": 4})
    Beaten(tmp_path, theirs=5).append("telemetry", frame([sample(0)]), transactions={"t:0": 5})
    assert Lake(tmp_path).read("telemetry").height == 2
    with pytest.raises(ForeshockError, match="took over t:0"):
        Beaten(tmp_path, theirs=6).append("telemetry", frame([sample(0)]), transactions={"t:0": 7})
    assert Lake(tmp_path).read("telemetry").height == 3


NAMES = st.builds("{}{}".format, st.sampled_from(["date=2026-03-01/sorted-", "part-"]), st.uuids())
FILES = st.lists(
    st.builds(
        LakeFile, NAMES, st.sampled_from([date(2026, 3, d) for d in (1, 2)]),
        st.integers(1, 300 << 20), st.integers(1, 3_000_000), st.integers(0, 10),
    ),
    max_size=60,
)  # fmt: skip


def is_sorted(file: LakeFile) -> bool:
    return Path(file.path).name.startswith("sorted-")


@given(FILES)
def test_a_merge_is_of_small_files_of_one_day_and_keeps_to_the_target(files: list[LakeFile]):
    policy = UpkeepConfig()
    groups = choose(files, policy, date(2026, 3, 2))
    chosen = [f for g in groups for f in g]
    assert len(set(chosen)) == len(chosen)
    for group in groups:
        assert len(group) > 1 or not is_sorted(group[0])
        assert len({f.day for f in group}) == 1
        if len(group) == 1:
            continue  # a writer's file that is as large as the target, or larger, is sorted by itself
        assert sum(f.rows for f in group) <= policy.target_rows
        assert sum(f.bytes for f in group) <= policy.target_mib * 2**20


def test_a_row_is_rewritten_a_few_times_in_its_life_not_with_every_round(tmp_path: Path):
    """A day of flushes through `choose` alone: each merge makes a file of the sum of its parts."""
    policy, today = UpkeepConfig(target_rows=100_000), date(2026, 3, 1)
    files: list[LakeFile] = []
    rewritten = 0
    for flush in range(4096):
        files.append(LakeFile(str(flush), today, 1000, 10, flush))
        for group in choose(files, policy, today):
            rows = sum(f.rows for f in group)
            rewritten += rows
            files = [f for f in files if f not in group]
            files.append(LakeFile(f"sorted-{flush}", today, 100 * rows, rows, flush))
    assert sum(f.rows for f in files) == 40_960
    assert rewritten < 6 * 40_960
    assert len(files) < 40


def test_a_large_file_that_came_unsorted_is_sorted_once(tmp_path: Path):
    lake = Lake(tmp_path)
    rows = frame([sample(100 - i, gpu) for i in range(50) for gpu in (2, 0, 1)])
    lake.append("telemetry", rows, transactions={"t:0": 1})
    policy = UpkeepConfig(target_rows=100, small_files=3, memory_mib=256, vacuum_after_s=0.0)
    report = Upkeep(lake, policy).round(START)  # today, and one file only
    (file,) = lake.files("telemetry")
    assert (report.merged, report.made) == (1, 1)
    assert pl.read_parquet(file, hive_partitioning=False)["gpu_uuid"].is_sorted()
    assert lake.read("telemetry").sort("gpu_uuid", "time").equals(rows.sort("gpu_uuid", "time"))
    for later in (START, LATER):
        assert Upkeep(lake, policy).round(later).made == 0


@given(FILES)
def test_what_was_sorted_is_left_alone_when_nothing_comes(files: list[LakeFile]):
    """Round after round: each group becomes one sorted file. It ends, and then every file is sorted."""
    policy, today = UpkeepConfig(), date(2026, 3, 3)
    for number in range(20):
        groups = choose(files, policy, today)
        if not groups:
            break
        for i, group in enumerate(groups):
            files = [f for f in files if f not in group]
            size, rows = sum(f.bytes for f in group), sum(f.rows for f in group)
            files.append(LakeFile(f"sorted-{number}-{i}", group[0].day, size, rows, number))
    assert choose(files, policy, today) == []
    assert all(is_sorted(f) for f in files)


def test_only_one_process_of_a_machine_has_the_turn(tmp_path: Path):
    with upkeep._alone(tmp_path) as first, upkeep._alone(tmp_path) as second:
        assert (first, second) == (True, False)
    with upkeep._alone(tmp_path) as again:
        assert again
