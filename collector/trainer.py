"""For a training loop: hears that a checkpoint is wanted, and tells when one is on disk. Standard library alone.

    asks = Checkpoints()
    for step in range(first, last):
        train(step)
        if (wanted := asks.wanted()) or step % 1000 == 0:
            with asks.acknowledged(step):
                save(step)
            if wanted == "exit":
                break

SIGUSR1 and the flag file ask for a checkpoint, SIGTERM for a checkpoint and the end. With several ranks make one
`Checkpoints` in each, and let them agree before they save together: a signal reaches them at different steps
(examples/train_torch.py). Rank 0 alone writes the acknowledgement, but must do so when all have saved.

Environment: FORESHOCK_JOB (else SLURM_JOB_ID) names the job, FORESHOCK_CHECKPOINT_DIR is where it acknowledges,
FORESHOCK_CHECKPOINT_FLAG is the file whose touch asks, RANK (or SLURM_PROCID, OMPI_COMM_WORLD_RANK) is the rank.
The file may be copied into a project that does not install Foreshock.
"""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Literal

log = logging.getLogger(__name__)

Wanted = Literal["checkpoint", "exit"]

_FLAG_EVERY_S = 1.0
"""The flag may lie on a network file system: it is not looked at more often than this."""


class Checkpoints:
    """Make it in the main thread, before the loop. A request is served by a save that began after it."""

    def __init__(self, name: str | None = None, *, rank: int | None = None, install: bool = True) -> None:
        """`name` is the job where the environment does not say. `install=False` leaves the signals alone."""
        env = os.environ
        self.job = env.get("FORESHOCK_JOB") or env.get("SLURM_JOB_ID") or name or f"pid-{os.getpid()}"
        self.rank = _rank() if rank is None else rank
        directory, flag = env.get("FORESHOCK_CHECKPOINT_DIR"), env.get("FORESHOCK_CHECKPOINT_FLAG")
        file = re.sub(r"[^A-Za-z0-9._-]", "_", self.job).lstrip("._-")[:128] + ".checkpoint.json"
        self._file = Path(directory, file) if directory and self.rank == 0 else None
        self._flag = Path(flag) if flag else None
        self._flag_seen = self._listen_to_flag()
        self._flag_looked_s = -_FLAG_EVERY_S
        self._pid = os.getpid()
        self._asked = self._served = 0
        self._exit = False
        if install:
            signal.signal(signal.SIGUSR1, self._on_signal)
            signal.signal(signal.SIGTERM, self._on_signal)

    def wanted(self) -> Wanted | None:
        """What this rank was asked for and has not done yet; ask at every step, it costs a comparison."""
        self._look_at_flag()
        if self._exit:
            return "exit"
        return "checkpoint" if self._asked > self._served else None

    @contextmanager
    def acknowledged(self, step: int) -> Iterator[None]:
        """Save inside it. An exception leaves the request open and the checkpoint untold.

        The acknowledgement itself never stops the training: where it cannot be written, the log says so.
        """
        asked, started = self._asked, time.time()
        self._write(step, started, None)
        yield
        self._write(step, started, max(started, time.time()))
        self._served = asked

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        if os.getpid() != self._pid:  # a forked data loader has our handler: it must still die of TERM
            if number == signal.SIGTERM:
                os._exit(128 + number)
            return
        self._asked += 1
        self._exit = self._exit or number == signal.SIGTERM

    def _listen_to_flag(self) -> int:
        """The flag's time when we begin: an old request is not ours. Makes the file, which says that we listen."""
        if self._flag is None:
            return 0
        try:
            self._flag.touch(exist_ok=True)
            return self._flag.stat().st_mtime_ns
        except OSError as e:
            log.warning("%s: %s; nobody can ask for a checkpoint by this file", self._flag, e.strerror)
            return 0

    def _look_at_flag(self) -> None:
        now_s = time.monotonic()
        if self._flag is None or now_s - self._flag_looked_s < _FLAG_EVERY_S:
            return
        self._flag_looked_s = now_s
        try:
            changed = self._flag.stat().st_mtime_ns
        except OSError:
            return  # taken away: nobody asks
        if changed > self._flag_seen:
            self._flag_seen = changed
            self._asked += 1

    def _write(self, step: int, started: float, finished: float | None) -> None:
        if self._file is None:
            return
        told = {"job": self.job, "step": step, "started": started, "finished": finished}
        part = self._file.with_name(f".{self._file.name}.{os.getpid()}")
        try:
            part.write_text(json.dumps(told))
            part.replace(self._file)
        except OSError as e:
            log.warning("%s: %s; the checkpoint of step %d is not acknowledged", self._file, e.strerror, step)


def _rank() -> int:
    for name in ("RANK", "SLURM_PROCID", "OMPI_COMM_WORLD_RANK"):
        if os.environ.get(name, "").isdigit():
            return int(os.environ[name])
    return 0
