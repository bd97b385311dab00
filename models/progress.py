"""What a run of hours says of itself while it runs: sentences, and how far it is."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Final, TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar

Tick = Callable[[int, int], None]
"""How many of how many parts are done."""
_TELL_EVERY_S: Final = 300.0


class Progress(AbstractContextManager["Progress"]):
    """To stderr, so that stdout stays the report's. A bar on a terminal; elsewhere a line every five minutes."""

    def __init__(self, out: TextIO | None = None) -> None:
        self._console = Console(file=out or sys.stderr, highlight=False, soft_wrap=True)
        columns = (TextColumn("  {task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        self._bar = Bar(
            *columns, console=self._console, transient=True, disable=not self._console.is_terminal
        )
        self._task: TaskID | None = None
        self._told_s = time.monotonic()

    def __enter__(self) -> Progress:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def say(self, text: str) -> None:
        """A sentence that stays."""
        self._console.print(f"  {text}", markup=False)

    def part(self, what: str) -> Tick:
        """A stretch of the run, whose bar takes the place of the one before it."""
        if self._task is not None:
            self._bar.remove_task(self._task)
        task = self._task = self._bar.add_task(what, total=None)

        def tick(done: int, of: int) -> None:
            self._bar.update(task, completed=done, total=of)
            if not self._console.is_terminal and time.monotonic() - self._told_s >= _TELL_EVERY_S:
                self._told_s = time.monotonic()
                self.say(f"{what}: {done} of {of}")

        return tick
