"""Which node is in the job, which is spare, which is away."""

from __future__ import annotations

from collections import deque


class Nodes:
    """Nodes 0 to `in_job` - 1 work at first; the others are spare. `lacking`: how many the job is short of."""

    def __init__(self, nodes: int, in_job: int) -> None:
        self._in_job = set(range(in_job))
        self._spare = deque(range(in_job, nodes))
        self._away: set[int] = set()
        self._closed: set[int] = set()
        self.lacking = 0

    def works(self, node: int) -> bool:
        """The job runs on it."""
        return node in self._in_job

    def is_away(self, node: int) -> bool:
        """It failed, or was drained."""
        return node in self._away

    def leave(self, node: int) -> None:
        """It takes no work until it comes back; the job takes a spare one in its place, if there is one."""
        self._away.add(node)
        if node in self._in_job:
            self._in_job.remove(node)
            self.lacking += 1
            self._fill()
        elif node in self._spare:
            self._spare.remove(node)

    def close(self, node: int) -> None:
        """It takes no new work. The job that runs on it stays, until it next has to start anew."""
        if node in self._in_job:
            self._closed.add(node)
        else:
            self.leave(node)

    def start_anew(self) -> None:
        """The job starts again: not on nodes that take no new work."""
        for node in sorted(self._closed & self._in_job):
            self.leave(node)

    def come_back(self, node: int) -> None:
        """It can work again: in the job where that is short of one, else as a spare."""
        self._closed.discard(node)
        if node in self._away:
            self._away.remove(node)
            self._spare.append(node)
            self._fill()

    def _fill(self) -> None:
        while self.lacking and self._spare:
            self._in_job.add(self._spare.popleft())
            self.lacking -= 1
