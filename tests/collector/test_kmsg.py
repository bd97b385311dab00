from __future__ import annotations

import os
import threading
import time
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from collector.kmsg import KernelLog, Waker, boot_id, parse

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


def test_no_line_of_a_file_is_handed_out_twice_across_restarts(tmp_path: Path):
    file = tmp_path / "kern.log"
    file.write_text("one\n3,7,10,-;two\nthree\nhalf")
    log = KernelLog(str(file))
    lines = list(log.poll(0.1))
    assert [line.text for line in lines] == ["one", "two", "three"]
    for line, left in zip(lines, (["two", "three"], ["three"], []), strict=True):
        assert texts(KernelLog(str(file), resume=line.position)) == left
    with file.open("a") as f:
        f.write(" done\n")
    assert texts(KernelLog(str(file), resume=lines[-1].position)) == ["half done"]


def test_a_rotated_or_shorter_file_is_read_from_its_beginning(tmp_path: Path):
    file = tmp_path / "kern.log"
    file.write_text("one\ntwo\n")
    (_, last) = KernelLog(str(file)).poll(0.1)
    file.rename(tmp_path / "kern.log.1")
    file.write_text("three\n")
    assert texts(KernelLog(str(file), resume=last.position)) == ["three"]


def test_numbers_of_another_boot_are_not_compared(tmp_path: Path):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    same_boot = KernelLog(str(fifo), resume=f"{boot_id()}@5")
    fifo.write_text("3,5,1,-;old\n3,6,1,-;new\n")
    assert texts(same_boot) == ["new"]
    same_boot.close()
    rebooted = KernelLog(str(fifo), resume="another-boot@5")
    fifo.write_text("3,1,1,-;after the reboot\n")
    assert texts(rebooted) == ["after the reboot"]
    rebooted.close()


def test_another_thread_ends_the_wait(tmp_path: Path):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    waker = Waker()
    log = KernelLog(str(fifo), waker=waker)
    threading.Timer(0.05, waker.wake).start()
    began = time.monotonic()
    assert list(log.poll(10.0)) == []
    assert time.monotonic() - began < 5.0
    log.close()
    waker.close()


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
