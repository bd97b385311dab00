"""A read-only catalogue for outside tools: one .duckdb file with our views over one snapshot of the lake.

Any program that speaks DuckDB opens it (`duckdb -readonly fleet.duckdb`, or ATTACH 'fleet.duckdb' (READ_ONLY)) and
needs nothing of ours. It holds no rows, only where they are: the reader must see the lake under the same path. It
shows the lake as of its making and is good for `upkeep.vacuum_after_s`, so publish more often than that.
"""

from __future__ import annotations

import contextlib
import uuid
from pathlib import Path

import duckdb

from collector.errors import ForeshockError
from pipeline.sql_views import Files, create_views, first_line


def publish(files: Files, target: Path) -> Path:
    """Write the catalogue beside `target` and put it in its place in one step; who has the old one open keeps it.

    Raises ForeshockError where the lake cannot be read or `target` cannot be written.
    """
    fresh = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with duckdb.connect(str(fresh)) as connection:
            connection.execute("SET TimeZone = 'UTC'")
            create_views(connection, files)
        fresh.chmod(0o444)
        fresh.replace(target)
    except (OSError, duckdb.Error) as e:
        raise ForeshockError(
            f"the catalogue {target} cannot be written: {first_line(e)}", hint="is its folder there and ours?"
        ) from e
    finally:
        with contextlib.suppress(OSError):
            fresh.unlink()
    return target
