"""Acknowledgements of checkpoints: files in, events out; what is not believed; and nothing takes them for faults."""

from __future__ import annotations

import json
import os
import tempfile
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerting.evidence import asked_by, is_terminal
from alerting.policy import decide
from alerting.rules import Rules
from collector.agent import Agent
from collector.checkpoints import MAX_BYTES, MAX_FILES, Checkpoint, CheckpointWatch, checkpoint_of
from collector.clock import SystemClock
from collector.config import CollectorConfig, LakeConfig
from collector.metrics import families
from collector.records import TOPIC_EVENTS, Event, Risk
from collector.spool import Spool
from collector.trainer import Checkpoints
from pipeline.decode import RECORD
from pipeline.decode import events as decode_events
from pipeline.event_history import EventHistory
from pipeline.labels import faults
from pipeline.lake import Lake
from pipeline.sql import connect
from pipeline.stream import Record
from tests.double import Node, eventually

NOW_S = 1_800_000_000.0


class FixedClock:
    def time_s(self) -> float:
        return NOW_S

    def sleep(self, seconds: float) -> None:
        raise AssertionError


class Folder:
    """A checkpoint directory under watch, and the events that came of it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.events: list[Event] = []
        config = CollectorConfig(node="n1", checkpoint_dir=str(path), synthetic=True)
        self.watch = CheckpointWatch(config, FixedClock(), self.events.append)

    def write(self, name: str, told: object) -> None:
        part = self.path / "part"
        part.write_bytes(told if isinstance(told, bytes) else json.dumps(told).encode())
        part.replace(self.path / name)

    def look(self) -> list[Event]:
        self.events.clear()
        self.watch.look()
        return list(self.events)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def told(**more: Any) -> dict[str, Any]:
    whole = {"job": "4711", "step": 1200, "started": NOW_S - 100.0, "finished": NOW_S - 87.5, "bytes": 5}
    return {k: v for k, v in (whole | more).items() if v != "left out"}


def test_a_checkpoint_becomes_one_event_that_says_job_step_and_seconds(folder: Folder):
    folder.write("run.checkpoint.json", told())
    [event] = folder.look()
    assert (event.kind, event.job, event.node, event.time) == ("checkpoint", "4711", "n1", NOW_S - 87.5)
    assert event.text == "checkpoint step=1200 seconds=12.500 bytes=5"
    assert (event.gpu_uuid, event.pci_bdf, event.code, event.synthetic) == (None, None, None, True)
    assert checkpoint_of(event) == Checkpoint("4711", 1200, NOW_S - 100.0, NOW_S - 87.5)
    assert folder.look() == []


def test_its_end_is_the_same_event_that_knows_more(folder: Folder):
    folder.write("run.checkpoint.json", told(finished=None))
    [begun] = folder.look()
    folder.write("run.checkpoint.json", told())
    [ended] = folder.look()
    assert checkpoint_of(begun) == Checkpoint("4711", 1200, NOW_S - 100.0, None)
    assert begun.fingerprint == ended.fingerprint
    assert begun.count < ended.count  # the lake keeps the row that counts more
    folder.write("run.checkpoint.json", told(started=NOW_S - 50.0, finished=None))
    assert folder.look()[0].fingerprint != ended.fingerprint


def test_a_restarted_agent_and_another_node_tell_the_same_event(folder: Folder, tmp_path: Path):
    folder.write("run.checkpoint.json", told())
    assert folder.look()[0].fingerprint == Folder(tmp_path).look()[0].fingerprint


@pytest.mark.parametrize("value", [0, 2**63 - 1])
def test_zero_is_a_step_and_an_instant_save_takes_no_time(folder: Folder, value: int):
    folder.write("run.checkpoint.json", told(step=value, bytes=0, finished=NOW_S - 100.0))
    assert checkpoint_of(folder.look()[0]) == Checkpoint("4711", value, NOW_S - 100.0, NOW_S - 100.0)


def test_without_a_job_the_file_names_it(folder: Folder):
    folder.write("run-7.checkpoint.json", told(job="left out"))
    assert folder.look()[0].job == "run-7"


@pytest.mark.parametrize("job", ["team-a/pod-0", "123_4", "8f3a:x", "12+1"])
def test_job_labels_of_schedulers_are_taken(folder: Folder, job: str):
    folder.write("run.checkpoint.json", told(job=job))
    assert folder.look()[0].job == job


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"{", "not the JSON"),
        (b"", "not the JSON"),
        (b"\xff\xfe", "not the JSON"),
        (b"[" * 4000, "not the JSON"),
        (told(step="left out"), "not the JSON"),
        (told(step=-1), "not the JSON"),
        (told(step=2**63), "not the JSON"),
        (told(step=1.5), "not the JSON"),
        (told(started="left out"), "not the JSON"),
        (told(job="a\nb"), "not the JSON"),
        (told(job="4711\n"), "not the JSON"),
        (told(job=""), "not the JSON"),
        (told(job="x" * 200), "not the JSON"),
        (told(started=0), "future or never"),
        (told(started=NOW_S + 3600, finished=None), "future or never"),
        (told(finished=NOW_S - 101), "before it started"),
        (told(finished=NOW_S + 3600), "before it started"),
        (told(started=NOW_S - 200_000), "before it started"),
        (json.dumps(told()).encode().ljust(MAX_BYTES + 1), "too large"),
    ],
)
def test_what_cannot_be_is_counted_once_with_its_reason(folder: Folder, content: object, reason: str):
    folder.write("run.checkpoint.json", content)
    folder.write("good.checkpoint.json", told())
    assert [e.job for e in folder.look()] == ["4711"]
    assert folder.look() == []
    [(why, count)] = folder.watch.refused.items()
    assert reason in why
    assert (count, folder.watch.counts()["checkpoint_files_refused"]) == (1, 1)


def test_neither_a_link_nor_a_fifo_nor_a_folder_is_read(
    folder: Folder, tmp_path_factory: pytest.TempPathFactory
):
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "secret.json"
    elsewhere.write_text(json.dumps(told()))
    (folder.path / "a.checkpoint.json").symlink_to(elsewhere)
    os.mkfifo(folder.path / "b.checkpoint.json")
    (folder.path / "c.checkpoint.json").mkdir()
    assert folder.look() == []
    assert folder.watch.refused == {"a link": 1, "not a regular file": 2}


@pytest.mark.parametrize(
    "name", [".x.checkpoint.json", "a b.checkpoint.json", "-x.checkpoint.json", "é.checkpoint.json"]
)
def test_a_name_with_odd_characters_is_refused(folder: Folder, name: str):
    folder.write(name, told())
    assert folder.look() == []
    assert folder.watch.refused == {"name with odd characters": 1}


def test_other_files_are_nobodys_business_and_a_flood_is_cut(folder: Folder):
    folder.write("run.json", b"{")
    for n in range(MAX_FILES + 10):
        (folder.path / f"{n}.checkpoint.json").write_text(json.dumps(told(job=f"j{n}")))
    assert len(folder.look()) == MAX_FILES
    assert not folder.watch.refused


_KEYS = st.sampled_from(["job", "step", "started", "finished", "bytes"])
_VALUES = st.none() | st.integers() | st.floats() | st.text(max_size=9) | st.just(NOW_S)
_NEARLY = st.dictionaries(_KEYS, _VALUES).map(lambda d: json.dumps(d).encode())


@given(st.binary(max_size=200) | _NEARLY)
def test_any_bytes_are_an_event_that_can_be_read_back_or_a_counted_refusal(content: bytes):
    with tempfile.TemporaryDirectory() as directory:
        folder = Folder(Path(directory))
        folder.write("run.checkpoint.json", content)
        found = folder.look()
        assert len(found) + folder.watch.refused.total() == 1
        assert all(checkpoint_of(e) is not None and e.time <= NOW_S + 60 for e in found)


@given(st.text())
def test_words_that_are_not_ours_are_no_checkpoint(text: str):
    event = Event(fingerprint="f", time=1.0, node="n", kind="checkpoint", source="agent", job="j", text=text)
    assert checkpoint_of(event) is None
    assert checkpoint_of(msgspec.structs.replace(event, kind="xid", text="checkpoint step=1 begun")) is None


def test_the_agent_tells_what_the_helper_of_a_trainer_wrote(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, node: Node
):
    monkeypatch.setenv("FORESHOCK_CHECKPOINT_DIR", str(tmp_path / "jobs"))
    monkeypatch.setenv("FORESHOCK_JOB", "team/run:1")
    (tmp_path / "jobs").mkdir()
    spool, stop = Spool(tmp_path / "spool.db", 100), threading.Event()
    config = node.config(checkpoint_dir=str(tmp_path / "jobs"))
    agent = Agent(config, spool, SystemClock(), tmp_path / "journal")
    agent.start(stop)
    with Checkpoints(install=False).acknowledged(7):
        pass
    [record] = eventually(lambda: spool.read([TOPIC_EVENTS], 0, 10))
    names = {s.name for family in families(agent.status()) for s in family.samples}
    stop.set()
    agent.close()
    spool.close()
    found = checkpoint_of(msgspec.json.decode(record.value, type=Event))
    assert found is not None
    assert (found.job, found.step) == ("team/run:1", 7)
    assert "foreshock_agent_checkpoint_files_refused_total" in names


def test_a_helper_serves_each_request_once_and_a_failed_save_leaves_it_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    flag = tmp_path / "flag"
    monkeypatch.setenv("FORESHOCK_CHECKPOINT_DIR", str(tmp_path))
    monkeypatch.setenv("FORESHOCK_CHECKPOINT_FLAG", str(flag))
    monkeypatch.setenv("FORESHOCK_JOB", "run")
    asks = Checkpoints(install=False)
    assert flag.exists()
    assert asks.wanted() is None
    os.utime(flag, (2e9, 2e9))
    assert eventually(asks.wanted) == "checkpoint"
    with pytest.raises(OSError, match="disk"), asks.acknowledged(3):
        raise OSError("disk")
    assert json.loads((tmp_path / "run.checkpoint.json").read_text())["finished"] is None
    assert asks.wanted() == "checkpoint"
    with asks.acknowledged(4):
        pass
    assert asks.wanted() is None
    assert json.loads((tmp_path / "run.checkpoint.json").read_text())["finished"] is not None


def test_only_rank_zero_acknowledges_and_a_full_disk_does_not_stop_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("FORESHOCK_CHECKPOINT_DIR", str(tmp_path / "gone"))
    monkeypatch.setenv("RANK", "0")
    with Checkpoints("run", install=False).acknowledged(1):
        pass
    monkeypatch.setenv("FORESHOCK_CHECKPOINT_DIR", str(tmp_path))
    monkeypatch.setenv("RANK", "3")
    with Checkpoints("run", install=False).acknowledged(1):
        pass
    assert list(tmp_path.iterdir()) == []


# --- nothing takes a checkpoint for a fault -----------------------------------------------------------------


def checkpoint_event(**more: Any) -> Event:
    fields: dict[str, Any] = {
        "fingerprint": "c", "time": NOW_S, "node": "n1", "kind": "checkpoint", "source": "agent", "job": "4711",
        "text": "checkpoint step=1 seconds=2.000", "synthetic": True,
    }  # fmt: skip
    return Event(**(fields | more))


def rows(*events: Event) -> pl.DataFrame:
    records = [Record(TOPIC_EVENTS, 0, n, "n1", msgspec.json.encode(e)) for n, e in enumerate(events)]
    frame, rejected = decode_events(records)
    assert not rejected
    return frame.drop(RECORD)


def test_neither_labels_nor_features_see_it():
    events = rows(checkpoint_event(), checkpoint_event(fingerprint="d", gpu_uuid="G", pci_bdf="0000:18:00"))
    assert events.height == 2
    assert faults(events).is_empty()
    minute = datetime.fromtimestamp(NOW_S + 60, UTC)
    asked = pl.DataFrame({"gpu_uuid": ["G"], "minute": [minute], "node": ["n1"], "pci_bdf": ["0000:18:00"]})
    found = EventHistory(events).features(asked.with_columns(pl.col("minute").cast(pl.Datetime("us", "UTC"))))
    counts = {name: values[0] for name, values in found.items() if name != "hours_since_fault"}
    assert set(counts.values()) == {0}


def test_the_views_of_faults_and_xids_do_not_have_it_and_events_now_does(tmp_path: Path):
    lake = Lake(LakeConfig(path=tmp_path / "lake").path)
    lake.append("events", rows(checkpoint_event(count=1), checkpoint_event(count=2)))
    with connect(lake.files, tmp_path / "lake") as desk:
        assert desk.query("SELECT * FROM faults").is_empty()
        assert desk.query("SELECT * FROM xid_events").is_empty()
        assert desk.query("SELECT kind, count FROM events_now").rows() == [("checkpoint", 2)]


def test_the_policy_opens_nothing_and_asks_for_nothing():
    def never(_: int) -> bool:
        return False

    rules = Rules(is_terminal=never, is_application=never)
    risk = Risk(time=NOW_S - 9, node="n1", gpu_uuid="G", gpu_index=0, pci_bdf="0000:18:00", risk=0.9,
                horizon_s=3600, model_id="m", feature_set="f")  # fmt: skip
    opened = decide({}, risk, NOW_S, rules).state
    assert len(opened) == 1
    for state in ({}, opened):
        after = decide(state, checkpoint_event(), NOW_S, rules)
        assert (after.state, after.changes, after.actions) == (state, (), ())
    assert asked_by(checkpoint_event(), lambda _: True) == {}
    assert not is_terminal(checkpoint_event(), lambda _: True)
