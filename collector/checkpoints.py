"""What training jobs tell of their checkpoints: NAME.checkpoint.json files in, events of kind "checkpoint" out.

A trainer (or the helper, collector/trainer.py) replaces its file by rename: once when it begins to save, with
`finished` null, and once when the checkpoint is on disk. Anyone who may write to the directory may write anything:
a file is small, regular, no link, and says nothing about the future, or it is refused and counted with the reason.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import stat
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Final, NamedTuple

import msgspec

from collector.clock import Clock
from collector.config import CollectorConfig
from collector.records import Event

log = logging.getLogger(__name__)

KIND: Final = "checkpoint"
EVERY_S: Final = 1.0
"""Real seconds between two looks at the directory."""
MAX_BYTES: Final = 4096
MAX_FILES: Final = 1024
"""More files than this are not looked at: one node does not run so many jobs."""
AHEAD_S: Final = 60.0
"""A trainer's clock may be so far ahead of ours (a shared directory, another host)."""
LONGEST_S: Final = 86_400.0

_SUFFIX: Final = ".checkpoint.json"
_FILE: Final = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]{0,127})\.checkpoint\.json", re.ASCII)
_TEXT: Final = re.compile(
    r"checkpoint step=(\d{1,19}) (?:seconds=(\d{1,5}\.\d{3})|begun)(?: bytes=\d{1,19})?", re.ASCII
)

_Count = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
_Job = Annotated[str, msgspec.Meta(pattern=r"\A[A-Za-z0-9][A-Za-z0-9._+%\[\]/:-]{0,127}\Z")]
_Version = tuple[int, int, int]


class Checkpoint(NamedTuple):
    """One save of one job, Unix seconds. `finished_s` is None while it is being written, or where it never ended."""

    job: str
    step: int
    started_s: float
    finished_s: float | None


class _Told(msgspec.Struct, frozen=True):
    """The file. More keys are welcome. Without `job` the file's name is the job."""

    step: _Count
    started: float
    finished: float | None = None
    job: _Job | None = None
    bytes: _Count | None = None


class _RefusedError(Exception):
    """Why a file is not believed: a few words, the same for every file of that kind."""


def checkpoint_of(event: Event) -> Checkpoint | None:
    """The checkpoint that an event tells of; None for every other event, and for words that we did not write."""
    found = _TEXT.fullmatch(event.text) if event.kind == KIND else None
    if found is None or event.job is None:
        return None
    step, seconds = int(found[1]), found[2]
    if seconds is None:
        return Checkpoint(event.job, step, event.time, None)
    return Checkpoint(event.job, step, event.time - float(seconds), event.time)


def event_of(content: bytes, name: str, node: str, now_s: float, *, synthetic: bool = False) -> Event:
    """The event of one file's content. Raises _RefusedError with the reason.

    The fingerprint is of job and start alone: its end is the same event, which knows more, and two nodes that see
    one shared directory tell one event.
    """
    try:
        told = msgspec.json.decode(content, type=_Told)
    except (msgspec.DecodeError, UnicodeDecodeError) as e:
        raise _RefusedError("not the JSON of a checkpoint") from e
    finished = told.finished
    if not 0 < told.started <= now_s + AHEAD_S:
        raise _RefusedError("started in the future or never")
    if finished is not None and not told.started <= finished <= min(
        now_s + AHEAD_S, told.started + LONGEST_S
    ):
        raise _RefusedError("finished before it started, in the future or a day later")
    job = name if told.job is None else told.job
    how = "begun" if finished is None else f"seconds={finished - told.started:.3f}"
    size = "" if told.bytes is None else f" bytes={told.bytes}"
    return Event(
        fingerprint=hashlib.blake2b(repr((job, told.started)).encode(), digest_size=12).hexdigest(),
        time=told.started if finished is None else finished, node=node, kind=KIND, source="agent",
        job=job, text=f"checkpoint step={told.step} {how}{size}", count=1 if finished is None else 2,
        synthetic=synthetic,
    )  # fmt: skip


class CheckpointWatch:
    """Offers an event for each new version of each file. Looks in a thread of its own: the directory may be remote."""

    def __init__(self, config: CollectorConfig, clock: Clock, offer: Callable[[Event], None]) -> None:
        self._config = config
        self._directory = Path(config.checkpoint_dir)
        self._clock = clock
        self._offer = offer
        self._seen: dict[str, _Version] = {}
        self.refused: Counter[str] = Counter()
        """Versions of files that were not believed, by reason."""
        self.failures = 0
        """Looks that ended in an error: no such directory, for one."""

    def counts(self) -> dict[str, float]:
        """For /metrics."""
        return {"checkpoint_files_refused": self.refused.total(), "checkpoint_look_failures": self.failures}

    def start(self, stop: threading.Event) -> None:
        """Look every second until `stop`."""
        threading.Thread(target=self._run, args=(stop,), name="checkpoints", daemon=True).start()

    def _run(self, stop: threading.Event) -> None:
        while not stop.wait(EVERY_S):
            try:
                self.look()
            except Exception as e:  # noqa: BLE001 - counted; the next look may succeed
                self.failures += 1
                if self.failures == 1:
                    log.warning("checkpoint_dir %s: %s; still trying", self._directory, e)

    def look(self) -> None:
        """Look once. Raises OSError where there is no directory."""
        present: dict[str, _Version] = {}
        for name in self._names():
            try:
                version = self._read_if_new(name)
            except FileNotFoundError:
                continue  # replaced while we looked: the next look sees the new one
            present[name] = version
        self._seen = present

    def _names(self) -> list[str]:
        with os.scandir(self._directory) as entries:
            names = sorted(e.name for e in entries if e.name.endswith(_SUFFIX))
        return names[:MAX_FILES]

    def _read_if_new(self, file: str) -> _Version:
        path = self._directory / file
        status = path.lstat()
        version = status.st_mtime_ns, status.st_ino, status.st_size
        if self._seen.get(file) == version:
            return version
        try:
            name = _name(file)
            now_s, synthetic = self._clock.time_s(), self._config.synthetic
            self._offer(event_of(_content(path), name, self._config.node, now_s, synthetic=synthetic))
        except _RefusedError as e:
            self.refused[str(e)] += 1
            log.warning("%r in checkpoint_dir is refused: %s", file, e)
        return version


def _name(file: str) -> str:
    found = _FILE.fullmatch(file)
    if found is None:
        raise _RefusedError("name with odd characters")
    return found[1]


def _content(path: Path) -> bytes:
    """The bytes of a small regular file. Neither a link is followed nor a FIFO waited for."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise
    except OSError as e:
        raise _RefusedError("a link" if path.is_symlink() else "cannot be opened") from e
    try:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            raise _RefusedError("not a regular file")
        if status.st_size > MAX_BYTES:
            raise _RefusedError("too large")
        return os.read(handle, MAX_BYTES)
    except OSError as e:
        raise _RefusedError("cannot be read") from e
    finally:
        os.close(handle)
