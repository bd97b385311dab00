"""Real processes for signal tests."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

TRAINER = Path(__file__).with_name("trainer.py")


@contextmanager
def trainer(does: str, file: Path | None = None) -> Iterator[subprocess.Popen[str]]:
    """A running `trainer.py`, ended at the end."""
    argv = [sys.executable, str(TRAINER), does, str(file)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process
        process.kill()
