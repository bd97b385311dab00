"""Small files of one day -> one file, its rows sorted by GPU and time. Choosing them is pure; writing is DuckDB's.

Files are merged by size class, so that a row is rewritten a few times in its life and not with every round.
"""

from __future__ import annotations

import math
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from datetime import date
from itertools import groupby
from pathlib import Path
from typing import Final

import duckdb

from collector.config import UpkeepConfig
from pipeline.lake_files import LakeFile, Made
from pipeline.sql_schema import quoted

_ROW_GROUP: Final = 122_880
"""Rows. Whoever asks for one GPU reads one group of a file; DuckDB's vectors divide it."""
_MIB: Final = 1024 * 1024
SORTED: Final = "sorted-"
"""How the names of the files begin that were made here. No other writer's do."""


def choose(files: Sequence[LakeFile], policy: UpkeepConfig, today: date) -> list[list[LakeFile]]:
    """Groups of files to be made one file each, oldest day first.

    Today's small files wait until `small_files` of one size class are there. A day that is over is made as few files
    as the target size allows. A file that came large, from a writer, is sorted by itself, once.
    """
    by_day = sorted(files, key=lambda f: f.day)
    groups = []
    for day, of_day in groupby(by_day, key=lambda f: f.day):
        listed = list(of_day)
        small = [f for f in listed if _is_small(f, policy)]
        if day < today:
            groups += [g for g in _packed(small, policy) if len(g) > 1 or not _is_sorted(g[0])]
        else:
            groups += [g for same in _classes(small, policy) for g in _packed(same, policy) if
                       len(g) >= policy.small_files or _is_full(g, policy)]  # fmt: skip
        groups += [[f] for f in listed if not _is_small(f, policy) and not _is_sorted(f)]
    return groups


def _is_small(file: LakeFile, policy: UpkeepConfig) -> bool:
    return file.bytes < policy.target_mib * _MIB / 2 and file.rows < policy.target_rows / 2


def _is_sorted(file: LakeFile) -> bool:
    return file.path.rpartition("/")[2].startswith(SORTED)


def _is_full(group: Sequence[LakeFile], policy: UpkeepConfig) -> bool:
    rows, size = sum(f.rows for f in group), sum(f.bytes for f in group)
    return len(group) > 1 and (rows >= policy.target_rows / 2 or size >= policy.target_mib * _MIB / 2)


def _classes(files: Sequence[LakeFile], policy: UpkeepConfig) -> Iterator[list[LakeFile]]:
    def level(f: LakeFile) -> int:
        return int(math.log(max(f.rows, 1), max(policy.small_files, 2)))

    for _, same in groupby(sorted(files, key=level), key=level):
        yield list(same)


def _packed(files: Sequence[LakeFile], policy: UpkeepConfig) -> Iterator[list[LakeFile]]:
    """In the order of their making, cut where the next file would lead past the target."""
    group: list[LakeFile] = []
    for file in files:
        rows = sum(f.rows for f in group) + file.rows
        size = sum(f.bytes for f in group) + file.bytes
        if group and (rows > policy.target_rows or size > policy.target_mib * _MIB):
            yield group
            group = []
        group.append(file)
    if group:
        yield group


def write(folder: Path, group: Sequence[LakeFile], time_column: str, memory_mib: float) -> Made:
    """One file of all rows of `group`, in the folder of their day. Nobody reads it before it is committed."""
    listed = ", ".join(quoted(str(folder / f.path)) for f in group)
    with tempfile.TemporaryDirectory(prefix="foreshock-sort-") as spill:
        config: dict[str, str | bool | int | float | list[str]] = {
            "memory_limit": f"{memory_mib:.0f}MiB", "temp_directory": spill, "TimeZone": "UTC",
            "autoinstall_known_extensions": False,
        }  # fmt: skip
        with duckdb.connect(":memory:", config=config) as connection:
            rows = (
                f"SELECT * FROM read_parquet([{listed}], union_by_name = true, hive_partitioning = false) "  # noqa: S608
                f"ORDER BY gpu_uuid, {time_column}"
            )
            return copy_sorted(connection, rows, folder, group[0].day, time_column)


def copy_sorted(
    connection: duckdb.DuckDBPyConnection, rows: str, folder: Path, day: date, time_column: str
) -> Made:
    """The result of the query `rows`, which must come by GPU and time, as one file of `day` below `folder`.

    The connection's time zone must be UTC.
    """
    path = f"date={day.isoformat()}/{SORTED}{uuid.uuid4()}.zstd.parquet"
    target = quoted(str(folder / path))
    connection.execute(
        f"COPY ({rows}) TO {target} (FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE {_ROW_GROUP})"
    )
    return _measured(connection, target, path, day, time_column)


def _measured(connection: duckdb.DuckDBPyConnection, target: str, path: str, day: date, when: str) -> Made:
    form = "'%Y-%m-%dT%H:%M:%S.%fZ'"
    ((rows, *bounds),) = connection.execute(
        f"SELECT count(*), strftime(min({when}), {form}), strftime(max({when}), {form}), min(gpu_uuid), "  # noqa: S608
        f"max(gpu_uuid), min(node), max(node) FROM read_parquet({target})"
    ).fetchall()
    names = (when, "gpu_uuid", "node")
    least = {n: v for n, v in zip(names, bounds[0::2], strict=True) if v is not None}
    most = {n: v for n, v in zip(names, bounds[1::2], strict=True) if v is not None}
    return Made(path, day, rows, least, most)
