"""dcgm-exporter's HPC job-mapping directory: a file per GPU (`3`) or MIG instance (`3.7`), a job id a line.

The scheduler's prolog writes the file and its epilog empties or removes it; fleets that label their metrics with
`hpc_job` have it already.
"""

from __future__ import annotations

import re
from pathlib import Path

from collector.job import Holder

_JOB_ID = re.compile(r"[\w.+\[\]%-]{1,64}")
_MAX_MAPPING_BYTES = 4096


class JobMapping:
    """The directory, read again only where a file changed: one stat per GPU and call."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._read: dict[str, tuple[tuple[int, int, int], tuple[str, ...]]] = {}

    def jobs_of(self, holder: Holder) -> tuple[str, ...]:
        name = str(holder.index) if holder.instance is None else f"{holder.index}.{holder.instance}"
        path = self._directory / name
        try:
            status = path.stat()
            stamp = status.st_ino, status.st_mtime_ns, status.st_size
            known = self._read.get(name)
            if known is None or known[0] != stamp:
                with path.open("rb") as f:
                    known = stamp, job_ids(f.read(_MAX_MAPPING_BYTES))
                self._read[name] = known
        except OSError:
            self._read.pop(name, None)  # no file: no job, which is how an epilog says it is over
            return ()
        return known[1]


def job_ids(text: bytes) -> tuple[str, ...]:
    """The job ids of one mapping file. Lines that cannot be one are left out."""
    lines = text.decode("utf-8", "replace").split("\n")
    return tuple(dict.fromkeys(line.strip() for line in lines if _JOB_ID.fullmatch(line.strip())))
