from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.errors import ForeshockError
from collector.records import TOPIC_EVENTS, TOPIC_TELEMETRY
from collector.spool import Spool
from tests.double import eventually


def test_groups_read_the_same_records_independently(tmp_path: Path):
    spool = Spool(tmp_path / "s.db", 10)
    for group in ("a", "b"):
        spool.subscribe(group, [TOPIC_EVENTS])
    for i in range(3):
        spool.append(TOPIC_EVENTS, "n1", str(i).encode())
    assert [r.value for r in spool.read([TOPIC_EVENTS], 0, 10)] == [b"0", b"1", b"2"]
    spool.commit("a", TOPIC_EVENTS, 3)
    assert spool.state().records == 3, "b has not read them"
    spool.commit("b", TOPIC_EVENTS, 2)
    assert [r.value for r in spool.read([TOPIC_EVENTS], 0, 10)] == [b"1", b"2"]
    assert (spool.position("a", TOPIC_EVENTS), spool.position("b", TOPIC_EVENTS)) == (3, 2)


def test_a_position_never_goes_back(tmp_path: Path):
    spool = Spool(tmp_path / "s.db", 10)
    spool.commit("a", TOPIC_EVENTS, 5)
    spool.commit("a", TOPIC_EVENTS, 2)
    assert spool.position("a", TOPIC_EVENTS) == 5


def test_a_full_spool_drops_the_oldest_telemetry_counts_it_and_keeps_every_event(tmp_path: Path):
    spool = Spool(tmp_path / "s.db", 0.5)
    for i in range(100):
        spool.append(TOPIC_TELEMETRY, "n1", os.urandom(20_000))
        spool.append(TOPIC_EVENTS, "n1", str(i).encode())
    state = spool.state()
    events = spool.read([TOPIC_EVENTS], 0, 1000)
    telemetry = spool.read([TOPIC_TELEMETRY], 0, 1000)
    assert [r.value for r in events] == [str(i).encode() for i in range(100)]
    assert state.bytes <= 0.5 * 2**20
    assert state.dropped_records == 100 - len(telemetry) > 0
    assert state.dropped_rows == state.dropped_records
    assert telemetry[-1].seq == 199, "the newest is kept"


def test_the_stream_name_and_the_numbers_survive_a_restart(tmp_path: Path):
    first = Spool(tmp_path / "s.db", 10)
    seq = first.append(TOPIC_EVENTS, "n1", b"x")
    first.commit("a", TOPIC_EVENTS, seq + 1)
    first.close()
    again = Spool(tmp_path / "s.db", 10)
    assert again.stream == first.stream
    assert again.append(TOPIC_EVENTS, "n1", b"y") == seq + 1, "a number is never used twice"


_WRITER = """
import sys
import threading
from pathlib import Path
from collector.spool import Spool
spool = Spool(Path(sys.argv[1]), 100)
for i in range(100_000):
    spool.append("foreshock.events", "n1", str(i).encode())
    print(i, flush=True)
"""


def test_what_append_returned_survives_kill_9(tmp_path: Path):
    path = tmp_path / "s.db"
    writer = subprocess.Popen([sys.executable, "-c", _WRITER, str(path)], stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    acknowledged = [int(writer.stdout.readline()) for _ in range(200)][-1]
    writer.send_signal(signal.SIGKILL)
    acknowledged = max([acknowledged, *(int(x) for x in writer.stdout.read().split("\n")[:-1])])
    writer.wait()
    writer.stdout.close()
    values = [int(r.value) for r in Spool(path, 100).read([TOPIC_EVENTS], 0, 10**6)]
    assert values == list(range(len(values)))
    assert values[-1] >= acknowledged


def test_another_process_sees_what_was_appended(tmp_path: Path):
    path = tmp_path / "s.db"
    Spool(path, 10)
    code = f"from pathlib import Path; from collector.spool import Spool; Spool(Path({str(path)!r}), 10)"
    code += ".append('foreshock.risks', 'n', b'x')"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert eventually(lambda: Spool(path, 10).read(["foreshock.risks"], 0, 10))


def test_a_place_that_cannot_be_written_says_what_to_do(tmp_path: Path):
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(ForeshockError) as e:
        Spool(file / "s.db", 10)
    assert "spool.path" in e.value.hint


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from([TOPIC_EVENTS, TOPIC_TELEMETRY]), st.integers(0, 5_000)), max_size=40)
)
def test_its_byte_count_is_the_sum_of_what_it_holds(
    tmp_path_factory: pytest.TempPathFactory, appends: list[tuple[str, int]]
):
    spool = Spool(tmp_path_factory.mktemp("s") / "s.db", 0.05)
    spool.subscribe("a", [TOPIC_EVENTS])
    for topic, size in appends:
        seq = spool.append(topic, "n", bytes(size))
        if seq % 3 == 0:
            spool.commit("a", TOPIC_EVENTS, seq)
    stored = spool._db.execute("SELECT coalesce(sum(length(value)), 0) FROM records").fetchone()[0]
    assert spool.state().bytes == stored
    assert all(r.value == bytes(len(r.value)) for r in spool.read([TOPIC_EVENTS, TOPIC_TELEMETRY], 0, 1000))
    spool.close()


def test_a_large_value_takes_less_room_and_comes_back_whole(tmp_path: Path):
    spool = Spool(tmp_path / "s.db", 10)
    value = b"0123456789" * 10_000
    spool.append(TOPIC_TELEMETRY, "n1", value)
    assert spool.state().bytes < len(value) / 10
    assert spool.read([TOPIC_TELEMETRY], 0, 1)[0].value == value


def test_a_spool_that_another_process_is_making_is_waited_for(tmp_path: Path):
    other = sqlite3.connect(tmp_path / "s.db", isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    threading.Timer(0.3, other.commit).start()
    Spool(tmp_path / "s.db", 10).close()
    other.close()
