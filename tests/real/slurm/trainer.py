"""A small training rank: it saves on USR1 and USR2, saves and leaves on TERM, and has a forked data loader.

argv: a directory, then the signals it handles (`USR1`, `USR2`, `TERM`; `stay-TERM`: save but do not leave). Each
signal that a process of it got is a line of DIR/signals: name, nanoseconds of Unix time, role (`rank` or
`loader`), pid. A checkpoint is DIR/checkpoint.json, by rename. DIR/ready.PID appears when the handlers are in place.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path
from types import FrameType

DIRECTORY = Path(sys.argv[1])
STEP_S = 0.02


class Rank:
    def __init__(self) -> None:
        self.role = "rank"
        self.step = 0
        self.wanted: set[str] = set()

    def on_signal(self, number: int, _frame: FrameType | None) -> None:
        name = signal.Signals(number).name.removeprefix("SIG")
        with (DIRECTORY / "signals").open("a") as f:
            f.write(f"{name} {time.time_ns()} {self.role} {os.getpid()}\n")
        self.wanted.add(name)

    def train(self) -> None:
        """Steps without end; at the boundary of one it saves if it was asked to."""
        while True:
            time.sleep(STEP_S)
            self.step += 1
            if self.wanted:
                names, self.wanted = self.wanted, set()
                part = DIRECTORY / f"checkpoint.{os.getpid()}.part"
                part.write_text(json.dumps({"step": self.step, "asked_by": sorted(names)}))
                part.rename(DIRECTORY / "checkpoint.json")
                if "TERM" in names and "stay-TERM" not in sys.argv:
                    return


if __name__ == "__main__":
    rank = Rank()
    for name in sys.argv[2:]:
        signal.signal(signal.Signals[f"SIG{name.removeprefix('stay-')}"], rank.on_signal)
    if os.fork() == 0:  # inherits the handlers, as a data loader does
        rank.role = "loader"
        parent = os.getppid()
        while os.getppid() == parent:
            time.sleep(0.2)
        os._exit(0)
    (DIRECTORY / f"ready.{os.getpid()}").touch()
    rank.train()
