"""Rows go into the lake only while their partitions are still ours.

A worker that was stopped for longer than its session (a frozen machine, a debugger) does not know that others took its
partitions over. Every append of a worker therefore moves the partitions' transactions on from where it left them;
where another moved them meanwhile, the append is refused, whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import polars as pl

from pipeline.lake import Lake, versions
from pipeline.tables import TABLES


class Fence:
    """Of one worker, from one assignment of partitions to the next."""

    def __init__(self, lake: Lake) -> None:
        self._lake = lake
        # As the lake is now. Made before what it guards is read: what others write in between is refused.
        self._as_of = {table: lake.open(table) for table in TABLES}
        self._known: dict[tuple[str, str], int] = {}

    def version(self, table: str, partition: str) -> int:
        """The last offset of `partition` that `table` holds, or -1: as it was when we came, and as we moved it."""
        key = (table, partition)
        if key not in self._known:
            self._known[key] = versions(self._as_of[table], [partition])[partition]
        return self._known[key]

    def append(self, table: str, rows: pl.DataFrame, offsets: Mapping[str, int]) -> None:
        """Append `rows`, which are the records of these partitions up to these offsets.

        Raises TakenOverError where a partition is another's by now, LakeUnavailableError as Lake.append does.
        """
        self._move(table, rows, offsets)

    def append_derived(self, table: str, rows: pl.DataFrame, partitions: Iterable[str]) -> None:
        """Append `rows` that were made from records of these partitions. The version counts the appends.

        Raises as `append` does.
        """
        self._move(table, rows, {p: self.version(table, p) + 1 for p in partitions})

    def _move(self, table: str, rows: pl.DataFrame, marks: Mapping[str, int]) -> None:
        if rows.is_empty():
            return
        after = {partition: self.version(table, partition) for partition in marks}
        self._lake.append(table, rows, transactions=marks, after=after)
        self._known |= {(table, partition): mark for partition, mark in marks.items()}
