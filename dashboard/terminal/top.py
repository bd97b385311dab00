"""`foreshock top`: the fleet in a terminal, for ssh. It only reads the lake."""

from __future__ import annotations

import argparse
import contextlib
import os
import select
import sys
import time
from collections.abc import Callable, Iterator
from typing import Final, TextIO

import msgspec
from rich.console import Console
from rich.live import Live
from rich.text import Text

from collector.config import Config
from collector.errors import ForeshockError
from dashboard.terminal.frame import frame
from dashboard.terminal.rows import Watched, as_json

EVERY_S: Final = 2.0
_PIPED_WIDTH: Final = 80


def run(args: argparse.Namespace, config: Config, out: TextIO) -> int:
    """Draw until q or Ctrl-C; one frame with `--once`, one object with `--json`.

    Raises ForeshockError where the lake cannot be read.
    """
    if args.every <= 0:
        raise ForeshockError(f"--every must be more than 0 seconds (got {args.every:g})", hint="--every 2")
    watched = Watched(config, args.node)
    try:
        if args.json:
            print(
                msgspec.json.format(msgspec.json.encode(as_json(watched.look())), indent=2).decode(), file=out
            )
            return 0
        console = _console(out)
        if args.once:
            console.print(frame(watched.look(), console))
        elif console.is_terminal and not console.is_dumb_terminal:
            _live(watched, console, args.every)
        else:
            _one_after_another(watched, console, args.every)
        return 0
    finally:
        watched.close()


def _console(out: TextIO) -> Console:
    return Console(file=out, highlight=False, width=None if out.isatty() else _PIPED_WIDTH)


def _live(watched: Watched, console: Console, every_s: float) -> None:
    """Over the whole screen, which stands as it was afterwards."""
    with _keys() as pressed, Live(console=console, screen=True, auto_refresh=False) as live:
        while True:
            try:
                live.update(frame(watched.look(), console, console.height), refresh=True)
            except ForeshockError as e:
                # a file may be compacted away between listing and reading; the next look opens anew
                watched.close()
                live.update(Text(f"{e}\nTry: {e.hint}\nq ends"), refresh=True)
            if pressed(every_s):
                return


def _one_after_another(watched: Watched, console: Console, every_s: float) -> None:
    while True:
        console.print(frame(watched.look(), console))
        console.print()
        time.sleep(every_s)


@contextlib.contextmanager
def _keys() -> Iterator[Callable[[float], bool]]:
    """A function that waits so many seconds and says whether q was pressed meanwhile."""
    if not sys.stdin.isatty():
        yield _slept
        return
    import termios
    import tty

    before = termios.tcgetattr(sys.stdin)
    tty.setcbreak(sys.stdin)
    try:
        yield _pressed
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


def _slept(seconds: float) -> bool:
    time.sleep(seconds)
    return False


def _pressed(seconds: float) -> bool:
    end_s = time.monotonic() + seconds
    while (left_s := end_s - time.monotonic()) > 0:
        if select.select([sys.stdin], [], [], left_s)[0] and os.read(0, 1) in b"qQ":
            return True
    return False
