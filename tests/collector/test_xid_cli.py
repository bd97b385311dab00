"""decode and explain as a person or a pipe meets them."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from typing import Any

import pytest

from collector.xid_cli import run_decode, run_explain

XID = "NVRM: Xid (PCI:0000:07:00 GPU-I:05): 94, pid=7194, name=python3, Contained. RST: No, D-RST: No"
DECODE = (
    "import sys; from collector.xid_cli import run_decode; sys.exit(run_decode(sys.stdin.buffer, sys.stdout))"
)


def decoded(data: bytes, *, gpu_lost: bool = False) -> list[Any]:
    out = io.StringIO()
    assert run_decode(io.BytesIO(data), out, gpu_lost=gpu_lost) == 0
    return [json.loads(line) for line in out.getvalue().splitlines()]


def explained(code: str, *, as_json: bool = False) -> tuple[int, str]:
    out = io.StringIO()
    return run_explain(code, as_json, out), out.getvalue()


def test_each_line_gives_one_line() -> None:
    shown = decoded(f"boot\n{XID}\n\nlast without newline {XID}".encode())
    assert [row if row is None else row["code"] for row in shown] == [None, 94, None, 94]


def test_an_object_says_what_the_line_says_and_null_the_rest() -> None:
    (shown,) = decoded(XID.encode())
    assert shown == {
        "kind": "xid",
        "code": 94,
        "pci_bdf": "0000:07:00",
        "pid": 7194,
        "process": "python3",
        "root_code": None,
        "text": "Contained. RST: No, D-RST: No",
        "fatal": None,
        "link": None,
        "detail": False,
        "recovery_action": None,
        "needs_reset": False,
        "needs_drain_reset": False,
        "subcode": None,
        "mig": {"I": 5},
        "nvlink5": None,
    }


def test_an_nvlink_error_is_read_with_nvidias_rules() -> None:
    line = b"NVRM: Xid (PCI:0000:00:00): 149, NETIR_LINK_EVT Fatal XC0 i0 Link 00 (0x025001c6 0x00000000)\n"
    [shown] = decoded(line)
    assert (shown["nvlink5"]["unit"], shown["nvlink5"]["action"]) == ("NETIR_LINK_EVT", "RESET_GPU")


def test_a_lost_gpu_without_an_xid_is_shown_on_request() -> None:
    line = b"NVRM: GPU 0000:18:00.0: GPU has fallen off the bus.\n"
    assert decoded(line) == [None]
    (shown,) = decoded(line, gpu_lost=True)
    assert (shown["kind"], shown["code"], shown["pci_bdf"]) == ("gpu_lost", None, "0000:18:00")


def test_the_three_lines_of_a_lost_gpu_are_read_as_one_message() -> None:
    lines = (
        b"NVRM: The NVIDIA GPU 0000:b3:00.0\n"
        b"NVRM: (PCI ID: 10de:26b5) installed in this system has\n"
        b"NVRM: fallen off the bus and is not responding to commands.\n"
    )
    assert decoded(lines) == [None, None, None]
    assert [row and row["pci_bdf"] for row in decoded(lines, gpu_lost=True)] == [None, None, "0000:b3:00"]


def test_bytes_that_are_no_text_do_not_stop_it() -> None:
    assert [row and row["code"] for row in decoded(b"\xff\xfe\x00\n" + XID.encode() + b"\xff\n")] == [
        None,
        94,
    ]


def test_a_line_of_many_megabytes_is_one_line() -> None:
    shown = decoded(XID.encode() + b"x" * 3_000_000 + b"\n" + XID.encode() + b"\n")
    assert [row["code"] for row in shown] == [94, 94]


def test_a_live_pipe_answers_each_line_at_once() -> None:
    """The answer to the first line must come while the writer still holds the pipe open."""
    with subprocess.Popen(
        [sys.executable, "-c", DECODE], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.write(XID.encode() + b"\n")
        child.stdin.flush()
        assert json.loads(child.stdout.readline())["code"] == 94  # pytest's own timeout is the deadline
        child.stdin.close()
        assert child.wait(timeout=30) == 0


def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", DECODE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        child.stdout.close()
        _, err = child.communicate(XID.encode() + b"\n", timeout=30)
        assert (child.returncode, err) == (0, b"")


@pytest.mark.parametrize("code", ["79", " Xid 79 ", "xid79", "XID: 79"])
def test_a_code_is_taken_as_people_write_it(code: str) -> None:
    status, text = explained(code)
    assert status == 0
    assert text.startswith("Xid 79  ")


@pytest.mark.parametrize("code", ["12028", "sxid 12028", "SXid: 12028"])
def test_a_switch_error_is_known_by_its_word_or_its_number(code: str) -> None:
    status, text = explained(code)
    assert status == 0
    assert text.startswith("SXid 12028  ")


def test_json_carries_the_same_answer() -> None:
    status, text = explained("79", as_json=True)
    answer = json.loads(text)
    assert status == 0
    assert (answer["code"], answer["action"]) == (79, "drain_now")


@pytest.mark.parametrize(
    ("code", "message", "hint"),
    [
        ("200", "no Xid 200", "172"),
        ("sxid 79", "no SXid 79", "10001"),
        ("99999", "no SXid 99999", "30999"),
        ("fell off", "'fell off' is not an Xid", "explain 79"),
        ("", "'' is not an Xid", "explain 79"),
        ("7" * 400, "is not an Xid", "explain 79"),
    ],
)
def test_an_unknown_code_is_refused_with_a_hint(
    code: str, message: str, hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    status, text = explained(code)
    err = capsys.readouterr().err
    assert (status, text) == (1, "")
    assert message in err
    assert hint in err.split("Try: ")[1]
