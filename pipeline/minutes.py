"""Which minutes are complete, and how far a consumer may commit. Pure bookkeeping, driven by stream order.

A node's records arrive in its own time order, so its minute is complete when the node itself has passed it:
an agent that was cut off for an hour ships that hour later and loses nothing. A node that fell silent is
closed when its neighbours are `lateness_s` further on: those of its own partition, since a worker that catches up
reads one partition before the other.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from pipeline.stream import Position

MINUTE_S = 60


def minute_of(time_s: float) -> int:
    """Minutes since the Unix epoch."""
    return int(time_s // MINUTE_S)


@dataclass(slots=True)
class _Node:
    position: Position
    time_s: float = 0.0
    watermark_then_s: float = 0.0
    """How far its partition was when this node was last heard."""


@dataclass(slots=True)
class Minutes:
    """Tracks every node of the partitions this worker owns. `closed` may be given from what is in the lake."""

    lateness_s: float
    closed: dict[str, int] = field(default_factory=dict)
    _nodes: dict[str, _Node] = field(default_factory=dict)
    _unfinished: dict[Position, deque[tuple[int, str, int]]] = field(default_factory=dict)
    _next: dict[Position, int] = field(default_factory=dict)
    _watermark_s: dict[Position, float] = field(default_factory=dict)

    def saw(self, position: Position, offset: int, node: str, newest_s: float) -> None:
        """A record of `node` whose newest sample is at `newest_s` arrived."""
        seen = self._nodes.setdefault(node, _Node(position))
        seen.position = position
        seen.time_s = max(seen.time_s, newest_s)
        seen.watermark_then_s = self._watermark_s[position] = max(
            self._watermark_s.get(position, 0.0), newest_s
        )
        self._unfinished.setdefault(position, deque()).append((offset, node, minute_of(newest_s)))
        self._next[position] = offset + 1

    def passed(self, position: Position, offset: int) -> None:
        """A record without samples (an event, a dead letter) is done once written."""
        self._next[position] = max(self._next.get(position, 0), offset + 1)

    def close(self, idle: Collection[Position] = ()) -> dict[str, int]:
        """Close what is complete: node -> the last complete minute, only where that is news.

        `idle` partitions have had nothing for a while, though the worker reads: their nodes are measured by all others.
        """
        furthest = max(self._watermark_s.values(), default=0.0)
        watermarks = self._watermark_s | dict.fromkeys(idle, furthest)
        news: dict[str, int] = {}
        for name, node in self._nodes.items():
            last = minute_of(node.time_s) - 1
            watermark_s = watermarks[node.position]
            silent = watermark_s - node.watermark_then_s >= self.lateness_s
            if silent and watermark_s >= (last + 2) * MINUTE_S + self.lateness_s:
                last += 1
            if last > self.closed.get(name, -1):
                news[name] = last
        self.closed.update(news)
        return news

    def committable(self) -> Mapping[Position, int]:
        """Per partition the first offset that is still needed: everything below lies only in closed minutes."""
        for records in self._unfinished.values():
            while records and self.closed.get(records[0][1], -1) >= records[0][2]:
                records.popleft()
        return {p: self._first_needed(p, following) for p, following in self._next.items()}

    def _first_needed(self, position: Position, following: int) -> int:
        records = self._unfinished.get(position)
        return records[0][0] if records else following
