"""A process for signal tests. argv: what it does with signals, and for the first three a file to write.

trap: USR1 saves at once; TERM saves and exits. slow: as trap, but it tells first that the save has begun. stay: as
trap, but TERM does not end it. ignore: USR1 is ignored. Anything else: nothing is handled.
It prints `ready`, then lives until stdin closes.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path
from types import FrameType


def _write(told: dict[str, float | None]) -> None:
    target = Path(sys.argv[2])
    part = target.with_suffix(".part")
    part.write_text(json.dumps(told))
    part.rename(target)


def _save(number: int, _frame: FrameType | None) -> None:
    if sys.argv[1] == "slow":
        begun = time.time()
        _write({"step": 1200, "started": begun, "finished": None})
        deadline = time.monotonic() + 0.3
        while time.monotonic() < deadline:
            pass
        _write({"step": 1200, "started": begun, "finished": time.time()})
    else:
        _write({"step": 1200, "seconds": 0.1})
    if number == signal.SIGTERM and sys.argv[1] != "stay":
        os._exit(0)


if __name__ == "__main__":
    if sys.argv[1] in ("trap", "slow", "stay"):
        signal.signal(signal.SIGUSR1, _save)
        signal.signal(signal.SIGTERM, _save)
    elif sys.argv[1] == "ignore":
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    while os.read(0, 1):
        pass
