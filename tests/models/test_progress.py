"""A run of hours is not silent: a bar on a terminal, a line now and then in a log."""

from __future__ import annotations

import io

import pytest

from models.progress import Progress
from models.simulated import in_processes


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_in_a_log_there_are_sentences_and_a_line_every_five_minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 0.0
    monkeypatch.setattr("time.monotonic", lambda: now_s)
    log = io.StringIO()
    with Progress(log) as told:
        told.say("16 GPUs [so many]")
        tick = told.part("learning")
        for now_s in (10.0, 290.0, 310.0, 320.0, 650.0):
            tick(round(now_s / 10), 100)
    assert log.getvalue().splitlines() == [
        "  16 GPUs [so many]",
        "  learning: 31 of 100",
        "  learning: 65 of 100",
    ]


def test_on_a_terminal_there_is_a_bar_that_leaves_only_the_sentences(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    terminal = Terminal()
    with Progress(terminal) as told:
        told.part("learning")(3, 7)
        told._bar.refresh()
        told.say("learnt")
    assert "learning" in terminal.getvalue()
    assert "3/7" in terminal.getvalue()
    assert terminal.getvalue().count("learnt") == 1


@pytest.mark.parametrize("processes", [1, 2])
def test_every_job_that_is_done_is_counted(processes: int) -> None:
    heard: list[tuple[int, int]] = []
    assert in_processes(abs, [-1, -2, -3], processes, lambda done, of: heard.append((done, of))) == [1, 2, 3]
    assert heard == [(1, 3), (2, 3), (3, 3)]
