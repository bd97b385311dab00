from __future__ import annotations

import io
from typing import Any

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.batch import encode
from collector.records import COLUMNS, FIELDS
from pipeline.tables import TELEMETRY

_VALUES: dict[str, st.SearchStrategy[Any]] = {
    "utf8": st.text(max_size=20),
    "int64": st.integers(-(2**63), 2**63 - 1),
    "float64": st.floats(allow_nan=False),
    "float32": st.floats(width=32, allow_nan=False),
    "bool": st.booleans(),
    "timestamp": st.integers(0, 4_000_000_000_000_000),
}
_ROW = st.tuples(*(_VALUES[f.type] if f.type == "timestamp" else st.none() | _VALUES[f.type] for f in FIELDS))


@settings(max_examples=50, deadline=None)
@given(st.lists(_ROW, min_size=1, max_size=20))
def test_rows_come_back_as_they_went_with_null_and_zero_apart(rows: list[tuple[Any, ...]]):
    frame = pl.read_ipc_stream(io.BytesIO(encode(rows)))
    assert tuple(frame.columns) == COLUMNS
    expected = pl.DataFrame(
        rows,
        schema=[(f.name, TELEMETRY[f.name] if f.type != "timestamp" else pl.Int64) for f in FIELDS],
        orient="row",
    )
    assert frame.with_columns(pl.col("time").to_physical()).equals(expected)


def test_all_null_columns_keep_their_type():
    frame = pl.read_ipc_stream(io.BytesIO(encode([(1, *([None] * (len(FIELDS) - 1)))])))
    assert dict(frame.schema) == {name: TELEMETRY[name] for name in COLUMNS}
