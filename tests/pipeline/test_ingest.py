from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.config import IngestConfig
from collector.records import (
    TOPIC_DEAD_LETTERS,
    TOPIC_INVENTORY,
    TOPIC_RISKS,
    TOPIC_TELEMETRY,
    Inventory,
    Risk,
)
from models.rules import RuleScorer
from pipeline import ingest
from pipeline.ingest import Worker
from pipeline.lake import Lake, LakeUnavailableError, TakenOverError
from pipeline.stream import Position, Record
from tests.pipeline.samples import START_S, event, event_record, sample, telemetry_record


class Noon:
    """A clock that stands at the samples' time."""

    def time_s(self) -> float:
        return START_S + 3600

    def sleep(self, seconds: float) -> None:
        raise AssertionError("nothing here waits")


class Log:
    """A stream in memory that survives its consumer: what was committed is where the next one begins."""

    def __init__(self, records: Sequence[Record] = (), batch: int = 3) -> None:
        self.records = list(records)
        self.committed: dict[Position, int] = {}
        self.published: list[tuple[str, bytes]] = []
        self.batch = batch
        self._at: int | None = None

    def restart(self) -> None:
        self._at = None

    def poll(self, timeout_s: float) -> Sequence[Record]:
        if self._at is None:
            self._at = 0
        polled: list[Record] = []
        while self._at < len(self.records) and len(polled) < self.batch:
            r = self.records[self._at]
            self._at += 1
            if r.offset >= self.committed.get((r.topic, r.partition), 0):
                polled.append(r)
        return polled

    def commit(self, next_offsets: Mapping[Position, int]) -> None:
        self.committed.update(next_offsets)

    def publish(self, topic: str, key: str, value: bytes) -> None:
        self.published.append((topic, value))

    def flush(self) -> None: ...
    def close(self) -> None: ...


CONFIG = IngestConfig(flush_s=0.0)


def worker(log: Log, path: Path) -> Worker:
    log.restart()
    return Worker(log, Lake(path), RuleScorer(), CONFIG, Noon())


def drain(w: Worker) -> None:
    while w.step(0.0):
        pass


def minutes_of_telemetry(
    minutes: int, gpus: int = 2, nodes: Sequence[str] = ("n1",), **values: object
) -> list[Record]:
    """One record per node and ten seconds."""
    records: list[Record] = []
    for tens in range(minutes * 6 + 1):
        for node in nodes:
            rows = [
                sample(tens * 10 + s, g, node, **({"pcie_replay": tens * 10 + s} | values))
                for s in range(10)
                for g in range(gpus)
            ]
            records.append(telemetry_record(rows, len(records), stream=f"s-{node}"))
    return records


def test_each_minute_is_rolled_up_predicted_and_committed_once(tmp_path: Path):
    log = Log(minutes_of_telemetry(3))
    drain(worker(log, tmp_path))
    lake = Lake(tmp_path)
    assert lake.read("telemetry").height == 19 * 10 * 2
    rollups = lake.read("rollups").sort("minute", "gpu_index")
    assert rollups["samples"].to_list() == [60] * 6
    assert rollups["pcie_replay_delta"].to_list() == [59, 59, 60, 60, 60, 60]
    assert lake.read("predictions").select("gpu_uuid", "minute").is_unique().all()
    assert lake.read("predictions")["model_id"].unique().to_list() == [RuleScorer.model_id]
    assert log.committed == {(TOPIC_TELEMETRY, 0): 18}, "the open minute's record is still needed"


def test_a_restart_at_the_end_changes_nothing(tmp_path: Path):
    log = Log(minutes_of_telemetry(3))
    drain(worker(log, tmp_path))
    before = {t: Lake(tmp_path).read(t).height for t in ("telemetry", "rollups", "predictions")}
    log.committed.clear()
    again = worker(log, tmp_path)
    drain(again)
    assert {t: Lake(tmp_path).read(t).height for t in before} == before
    assert again.late == 0, "a replay is not late"


class CrashError(Exception):
    pass


class FragileLake(Lake):
    """Dies before or after one of its appends, as a killed worker does."""

    def __init__(self, path: Path, die_at: int, *, after: bool) -> None:
        super().__init__(path)
        self.left = die_at
        self.after = after

    def append(
        self,
        table: str,
        rows: pl.DataFrame,
        *,
        transactions: Mapping[str, int] | None = None,
        after: Mapping[str, int] | None = None,
    ) -> None:
        if rows.is_empty():
            return
        self.left -= 1
        if self.left == 0 and not self.after:
            raise CrashError
        super().append(table, rows, transactions=transactions, after=after)
        if self.left == 0:
            raise CrashError


@settings(max_examples=12, deadline=None)
@given(st.integers(1, 25), st.booleans(), st.integers(3, 12))
def test_wherever_it_dies_neither_gap_nor_duplicate(
    tmp_path_factory: pytest.TempPathFactory, die_at: int, after: bool, batch: int
):
    path = tmp_path_factory.mktemp("lake")
    records = minutes_of_telemetry(2, nodes=("n1", "n2"), recovery_action=1)
    records += [event_record(event(100.0), 0), event_record(event(130.0, 48), 1)]
    log = Log(records, batch)
    log.restart()
    try:
        drain(Worker(log, FragileLake(path, die_at, after=after), RuleScorer(), CONFIG, Noon()))
    except CrashError:
        drain(worker(log, path))
    lake = Lake(path)
    telemetry = lake.read("telemetry")
    assert telemetry.height == telemetry.select("gpu_uuid", "time").n_unique() == 13 * 10 * 2 * 2
    assert lake.read("events").height == 2
    for table in ("rollups", "predictions"):
        rows = lake.read(table)
        assert rows.height == rows.select("gpu_uuid", "minute").n_unique() == 2 * 2 * 2
    assert lake.read("rollups")["pcie_replay_delta"].sum() == (59 + 60) * 4
    told = {
        (r.gpu_uuid, r.time)
        for r in (msgspec.json.decode(v, type=Risk) for t, v in log.published if t == TOPIC_RISKS)
    }
    assert len(told) == 2 * 2 * 2, "every risk travels at least once"


def test_records_that_an_agent_sends_again_are_stored_once(tmp_path: Path):
    records = minutes_of_telemetry(1)
    again = [dataclasses.replace(r, offset=r.offset + 100) for r in records]
    log = Log([*records, *again])
    drain(worker(log, tmp_path))
    telemetry = Lake(tmp_path).read("telemetry")
    assert telemetry.height == telemetry.select("gpu_uuid", "time").n_unique() == 7 * 20
    assert Lake(tmp_path).read("rollups")["samples"].to_list() == [60, 60]


def test_records_sent_again_within_their_minute_count_once(tmp_path: Path):
    records = minutes_of_telemetry(2)
    log = Log(
        [*records[:3], *(dataclasses.replace(r, offset=r.offset + 100) for r in records[:3]), *records[3:]]
    )
    drain(worker(log, tmp_path))
    assert Lake(tmp_path).read("rollups")["samples"].to_list() == [60] * 4


def test_poison_goes_to_the_dead_letters_with_its_reason_and_the_stream_goes_on(tmp_path: Path):
    records = minutes_of_telemetry(2)
    records[3] = Record(TOPIC_TELEMETRY, 0, 3, "n1", b"poison", "s-n1", 3)
    log = Log(records)
    w = worker(log, tmp_path)
    drain(w)
    letters = [msgspec.json.decode(v) for t, v in log.published if t == TOPIC_DEAD_LETTERS]
    assert [(letter["offset"], "Arrow" in letter["reason"]) for letter in letters] == [(3, True)]
    assert Lake(tmp_path).read("rollups").sort("minute", "gpu_index")["samples"].to_list() == [50, 50, 60, 60]
    assert w.dead_letters == 1


def test_samples_of_a_closed_minute_are_kept_as_telemetry_and_counted_late(tmp_path: Path):
    records = minutes_of_telemetry(2)
    records.append(telemetry_record([sample(15.5)], len(records), stream="s-n1"))
    log = Log(records)
    w = worker(log, tmp_path)
    drain(w)
    assert w.late == 1
    assert Lake(tmp_path).read("telemetry").height == 13 * 20 + 1
    assert Lake(tmp_path).read("rollups")["samples"].to_list() == [60] * 4


def test_only_risks_that_matter_travel_and_their_end_is_told_once(tmp_path: Path):
    sick = minutes_of_telemetry(2, gpus=1, recovery_action=1, pcie_replay=0)
    well = [
        telemetry_record(
            [sample(130 + t * 10 + s, 0, recovery_action=0) for s in range(10)], len(sick) + t, stream="s-n1"
        )
        for t in range(24)
    ]
    log = Log([*sick, *well])
    drain(worker(log, tmp_path))
    risks = [msgspec.json.decode(v, type=Risk) for t, v in log.published if t == TOPIC_RISKS]
    assert [round(r.risk, 2) for r in risks] == [0.95, 0.95, 0.0]
    assert risks[0].reasons[0].feature == "recovery_action"
    assert Lake(tmp_path).read("predictions").height >= 5


def test_inventory_is_stored_once_and_moves_the_stream_on(tmp_path: Path):
    known = Inventory(time=START_S, node="n1", gpu_uuid="GPU-n1-0", serial="165", synthetic=True)
    value = msgspec.json.encode(known)
    log = Log([Record(TOPIC_INVENTORY, 0, i, "n1", value, "s1", i) for i in range(2)])
    drain(worker(log, tmp_path))
    log.committed.clear()
    drain(worker(log, tmp_path))
    stored = Lake(tmp_path).read("inventory")
    assert stored["serial"].to_list() == ["165", "165"]
    assert stored["vbios_version"].is_null().all()
    assert log.committed[(TOPIC_INVENTORY, 0)] == 2


class PausableLog(Log):
    """Tells whether it is held back."""

    held = False

    def pause(self) -> None:
        self.held = True

    def resume(self) -> None:
        self.held = False

    def poll(self, timeout_s: float) -> Sequence[Record]:
        return [] if self.held else super().poll(timeout_s)


@pytest.mark.parametrize("die_at", [1, 2, 3, 4])
def test_while_the_lake_takes_nothing_the_stream_is_held_back_and_nothing_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, die_at: int
):
    monkeypatch.setattr(ingest, "_HOLD_S", 1e-6)
    log = PausableLog(minutes_of_telemetry(2))
    log.restart()
    lake = Lake(tmp_path)
    w = Worker(log, lake, RuleScorer(), CONFIG, Noon())
    takes, calls = lake.append, 0

    def append(table: str, rows: pl.DataFrame, **more: Mapping[str, int] | None) -> None:
        nonlocal calls
        calls += not rows.is_empty()
        if die_at <= calls < die_at + 3:
            raise LakeUnavailableError("no room")
        takes(table, rows, **more)

    monkeypatch.setattr(lake, "append", append)
    held = 0
    for _ in range(40):
        w.step(0.0)
        held += log.held
    assert held, "somewhere it was held back"
    assert not log.held
    assert lake.read("telemetry").height == 13 * 10 * 2
    assert lake.read("rollups")["samples"].to_list() == [60] * 4
    assert (
        lake.read("predictions").select("gpu_uuid", "minute").n_unique()
        == 4
        == lake.read("predictions").height
    )


def test_a_worker_that_slept_through_its_session_writes_nothing_that_another_wrote(tmp_path: Path):
    records = minutes_of_telemetry(2)
    sleeper = worker(Log(records, batch=5), tmp_path)
    sleeper.step(0.0)
    drain(worker(Log(records), tmp_path))
    before = {t: Lake(tmp_path).read(t).height for t in ("telemetry", "rollups", "predictions")}
    with pytest.raises(TakenOverError, match="another writer"):
        drain(sleeper)
    assert {t: Lake(tmp_path).read(t).height for t in before} == before


def test_a_worker_predicts_what_another_left_only_of_nodes_that_come_to_it(tmp_path: Path):
    log = Log(minutes_of_telemetry(2, nodes=("n1", "n2")))
    drain(worker(log, tmp_path))
    shutil.rmtree(tmp_path / "predictions")  # as if it had died before it wrote them
    ours = Log([r for r in log.records if r.key == "n1"])
    drain(worker(ours, tmp_path))
    assert Lake(tmp_path).read("predictions")["node"].unique().to_list() == ["n1"]
