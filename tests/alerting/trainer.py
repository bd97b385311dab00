"""A process for signal tests. argv: what it does with USR1 (trap, ignore or nothing), and for trap a file to write.

It prints `ready`, then lives until stdin closes.
"""

import json
import os
import signal
import sys
from pathlib import Path
from types import FrameType


def _save(_signal: int, _frame: FrameType | None) -> None:
    target = Path(sys.argv[2])
    part = target.with_suffix(".part")
    part.write_text(json.dumps({"step": 1200, "seconds": 0.1}))
    part.rename(target)


if __name__ == "__main__":
    if sys.argv[1] == "trap":
        signal.signal(signal.SIGUSR1, _save)
    elif sys.argv[1] == "ignore":
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    while os.read(0, 1):
        pass
