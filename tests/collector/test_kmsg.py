from __future__ import annotations

import os
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from collector.kmsg import KernelLog, parse

XID = "NVRM: Xid (PCI:0000:18:00): 79, pid='<unknown>', name=<unknown>, GPU has fallen off the bus."


def texts(log: KernelLog) -> list[str]:
    return [line.text for line in log.poll(0.2)]


def test_a_record_gives_its_text_and_sequence():
    assert parse(f"3,1234,5678,-;{XID}") == (3, 1234, 5678, XID)
    assert parse(XID) is None


def test_lines_that_user_space_wrote_do_not_count(tmp_path: Path):
    file = tmp_path / "kmsg"
    file.write_text(f"11,1,10,-;{XID}\n3,2,20,-;{XID}\n")
    log = KernelLog(str(file))
    assert texts(log) == [XID]
    assert log.refused == 1
    assert texts(KernelLog(str(file), accept_userspace=True)) == [XID, XID]


def test_no_line_is_handed_out_twice_across_restarts(tmp_path: Path):
    file = tmp_path / "kmsg"
    file.write_text("".join(f"3,{i},10,-;line {i}\n" for i in range(5)))
    first = [line.sequence for line in KernelLog(str(file)).poll(0.1)]
    assert first == [0, 1, 2, 3, 4]
    assert texts(KernelLog(str(file), after_sequence=2)) == ["line 3", "line 4"]


def test_a_file_is_followed_over_half_lines_and_rotation(tmp_path: Path):
    file = tmp_path / "kern.log"
    file.write_text("one\ntw")
    log = KernelLog(str(file))
    assert texts(log) == ["one"]
    with file.open("a") as f:
        f.write("o\n")
    assert texts(log) == ["two"]
    file.rename(tmp_path / "kern.log.1")
    file.write_text("three\n")
    assert [*texts(log), *texts(log)] == ["three"]


def test_a_fifo_survives_its_writers(tmp_path: Path):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    log = KernelLog(str(fifo))
    for text in ("a", "b"):
        with fifo.open("w") as f:
            f.write(f"3,1{ord(text)},1,-;{text}\n")
        assert texts(log) == [text]
    log.close()


@given(st.text())
def test_no_line_breaks_the_parser(line: str):
    parsed = parse(line)
    assert parsed is None or parsed[3] in line
