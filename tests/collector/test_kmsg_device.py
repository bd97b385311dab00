"""/dev/kmsg as a character device: one record a read, replays, reboots, overruns. A pseudo-terminal plays it."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from collector import kmsg
from collector.kmsg import Joiner, KernelLog, boot_id
from collector.xid import decode

XID = "NVRM: Xid (PCI:0000:18:00): 79, pid='<unknown>', name=<unknown>, GPU has fallen off the bus."
LOST = (
    "NVRM: The NVIDIA GPU 0000:b3:00.0",
    "NVRM: (PCI ID: 10de:26b5) installed in this system has",
    "NVRM: fallen off the bus and is not responding to commands.",
)


class Device:
    """A character device that gives one record a read, as /dev/kmsg does."""

    def __init__(self) -> None:
        self._writer, self._reader = os.openpty()  # line by line: the terminal's own canonical mode
        self.path = os.ttyname(self._reader)

    def record(self, sequence: int, text: str, priority: int = 4, monotonic_us: int = 1_000_000) -> None:
        os.write(self._writer, f"{priority},{sequence},{monotonic_us},-;{text}\n".encode())

    def close(self) -> None:
        os.close(self._writer)
        os.close(self._reader)


@pytest.fixture
def device() -> Iterator[Device]:
    made = Device()
    yield made
    made.close()


@pytest.fixture
def booted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that names the boot; write another name for a reboot."""
    file = tmp_path / "boot_id"
    file.write_text("first-boot\n")
    monkeypatch.setattr(kmsg, "_BOOT_ID", file)
    return file


def read(device: Device, resume: str = "") -> KernelLog:
    return KernelLog(device.path, resume=resume)


def test_each_read_is_one_record_and_only_the_kernels_own_count(device: Device, booted: Path) -> None:
    device.record(1, XID)
    device.record(2, XID, priority=12)  # facility 1: any user
    device.record(3, "usb 1-1: new device")
    log = read(device)
    assert [(line.text, line.sequence) for line in log.poll(1.0)] == [(XID, 1), ("usb 1-1: new device", 3)]
    assert log.refused == 1
    log.close()


def test_the_time_of_an_old_record_is_when_it_was_written(device: Device, booted: Path) -> None:
    ago_s = time.monotonic() / 2  # a machine that has just started has no hour behind it
    device.record(1, XID, monotonic_us=int((time.monotonic() - ago_s) * 1e6))
    log = read(device)
    [line] = log.poll(1.0)
    assert line.time_s == pytest.approx(time.time() - ago_s, abs=1.0)
    log.close()


def test_a_restarted_agent_reads_on_behind_its_last_record(device: Device, booted: Path) -> None:
    for sequence in (1, 2, 3):
        device.record(sequence, f"line {sequence}")
    log = read(device)
    lines = list(log.poll(1.0))
    log.close()
    for sequence in (1, 2, 3, 4):  # the ring still holds what was read before
        device.record(sequence, f"line {sequence}")
    again = read(device, lines[1].position)
    assert [line.sequence for line in again.poll(1.0)] == [3, 4]
    again.close()


def test_after_a_reboot_the_numbers_start_again_and_every_line_is_new(device: Device, booted: Path) -> None:
    device.record(500, "before")
    log = read(device)
    [line] = log.poll(1.0)
    log.close()
    booted.write_text("second-boot\n")
    device.record(1, "after")
    again = read(device, line.position)
    assert [line.text for line in again.poll(1.0)] == ["after"]
    again.close()


def test_an_overrun_is_counted_with_what_it_cost_and_the_rest_is_read(
    device: Device, booted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    really_read, failures = os.read, [OSError(errno.EPIPE, "overwritten")]

    def overrun_once(fd: int, size: int) -> bytes:
        if failures:
            raise failures.pop()
        return really_read(fd, size)

    monkeypatch.setattr(os, "read", overrun_once)
    device.record(100, "oldest that is left")
    log = read(device, f"{boot_id()}@40")
    assert [line.sequence for line in log.poll(1.0)] == [100]
    assert (log.overruns, log.lost) == (1, 59)
    log.close()


def test_another_error_of_the_device_is_not_swallowed(
    device: Device, booted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(fd: int, size: int) -> bytes:
        raise OSError(errno.ENODEV, "gone")

    log = read(device)
    device.record(1, "x")
    monkeypatch.setattr(os, "read", gone)
    with pytest.raises(OSError, match="gone"):
        list(log.poll(1.0))
    log.close()


def test_what_the_kernel_escapes_is_read_as_it_was(device: Device, booted: Path) -> None:
    device.record(1, r"NVRM: Xid (PCI:0000:18:00): 31, pid=7, name=tr\xc3\xa4iner, a\x5cb")
    device.record(2, "\\x0a".join(LOST))
    log = read(device)
    named, lost = (decode(line.text) for line in log.poll(1.0))
    assert named is not None
    assert lost is not None
    assert (named.process, named.text) == ("träiner", "a\\b")
    assert (lost.kind, lost.pci_bdf) == ("gpu_lost", "0000:b3:00")
    log.close()


@pytest.mark.parametrize("between", [(), ("mlx5_core 0000:ab:00.0: Link ACTIVE", "EXT4-fs: re-mounted")])
def test_the_three_lines_of_a_lost_gpu_give_its_address(tmp_path: Path, between: tuple[str, ...]) -> None:
    """As journalctl and rsyslog write them: a prefix each, other lines between."""
    prefix = "Feb 14 05:03:42 node1 kernel: "
    file = tmp_path / "kern.log"
    file.write_text("".join(f"{prefix}{line}\n" for line in (LOST[0], *between, *LOST[1:])))
    found = [decode(line.text) for line in KernelLog(str(file)).poll(0.1)]
    assert [(f.kind, f.pci_bdf) for f in found if f is not None] == [("gpu_lost", "0000:b3:00")]


def test_a_lost_gpu_far_from_the_line_that_names_one_is_not_blamed_on_it() -> None:
    joiner = Joiner()
    other = [
        joiner.whole("NVRM: The NVIDIA GPU 0000:b3:00.0"),
        *(joiner.whole(f"line {n}") for n in range(20)),
    ]
    assert len(other) == 21
    assert joiner.whole(LOST[2]) == LOST[2]


def test_two_lost_gpus_keep_their_own_addresses() -> None:
    joiner = Joiner()
    lines = [*LOST, *(line.replace("b3", "c4") for line in LOST)]
    found = [decode(joiner.whole(line)) for line in lines]
    assert [f.pci_bdf for f in found if f is not None] == ["0000:b3:00", "0000:c4:00"]


def test_the_real_kernel_log_is_read_once_and_no_user_can_forge_a_line() -> None:
    real = "/dev/kmsg"
    if not os.access(real, os.R_OK):
        pytest.skip("this machine has no readable /dev/kmsg: the device is only simulated here")
    log = KernelLog(real)
    lines = list(log.poll(1.0))
    log.close()
    if not lines:
        pytest.skip("the ring buffer of this machine is empty")
    sequences = [line.sequence for line in lines if line.sequence is not None]
    assert sequences == sorted(set(sequences))
    assert all(line.time_s is not None and line.time_s <= time.time() + 1 for line in lines)
    rest = KernelLog(real, resume=lines[-1].position)
    marker = f"NVRM: Xid (PCI:0000:18:00): 79, forged by process {os.getpid()} of a test"
    if os.access(real, os.W_OK):
        Path(real).write_text(f"<3>{marker}\n")
    assert not [line for line in rest.poll(0.5) if line.text in {marker, *(old.text for old in lines[-1:])}]
    if os.access(real, os.W_OK):
        assert rest.refused >= 1
    rest.close()
