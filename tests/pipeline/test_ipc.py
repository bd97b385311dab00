from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline import ipc

SCHEMA = pa.schema(
    [
        ("t", pa.timestamp("us", "UTC")),
        ("i", pa.int64()),
        ("f", pa.float32()),
        ("b", pa.bool_()),
        ("s", pa.utf8()),
    ]
)


def stream(batches: Sequence[pa.RecordBatch], compression: str | None = None) -> bytes:
    sink = io.BytesIO()
    options = pa.ipc.IpcWriteOptions(compression=compression)
    with pa.ipc.new_stream(sink, SCHEMA, options=options) as writer:
        for batch in batches:
            writer.write_batch(batch)
    return sink.getvalue()


def batch(rows: Sequence[Sequence[Any]]) -> pa.RecordBatch:
    columns = zip(*rows, strict=True)
    return pa.record_batch([pa.array(c, f.type) for c, f in zip(columns, SCHEMA, strict=True)], schema=SCHEMA)


def alike(streams: Sequence[bytes]) -> ipc.Joined | None:
    parts = [ipc.split(s) for s in streams]
    assert all(p is not None and p[:2] == parts[0][:2] for p in parts), "of one layout"  # type: ignore[index]
    return ipc.read_alike(parts[0].schema, parts[0].layout, [p.body for p in parts])  # type: ignore[union-attr]


ROW = st.tuples(
    st.integers(0, 2**50), st.integers(-(2**63), 2**63 - 1), st.floats(width=32, allow_nan=False), st.booleans(),
    st.text("abc", min_size=3, max_size=3),
)  # fmt: skip


@settings(deadline=None)
@given(
    st.integers(1, 20).flatmap(
        lambda n: st.lists(st.lists(ROW, min_size=n, max_size=n), min_size=2, max_size=5)
    ),
    st.data(),
)
def test_streams_of_one_layout_are_read_as_if_one_by_one(
    streams: list[list[tuple[Any, ...]]], data: st.DataObject
):
    nulls = data.draw(st.integers(0, len(streams[0])))
    made = []
    for rows in streams:
        where = set(data.draw(st.permutations(range(len(rows))))[:nulls])
        # the layout tells how many are null, so as many of each column, but not which
        made.append(
            batch(
                [
                    tuple(None if i in where and c != 4 else v for c, v in enumerate(r))
                    for i, r in enumerate(rows)
                ]
            )
        )
    joined = alike([stream([b]) for b in made])
    assert joined is not None
    assert joined.lengths == [len(streams[0])] * len(streams)
    whole = pl.DataFrame(pa.Table.from_batches(made))
    assert joined.rows.equals(whole.select(joined.rows.columns))
    left_out = set(whole.columns) - set(joined.rows.columns)
    assert all(whole[c].null_count() == whole.height for c in left_out)


GOOD = (1, 2, 3.0, True, "abc")


def test_what_the_matrix_cannot_hold_is_left_to_the_other_way():
    assert alike([stream([batch([GOOD])]), stream([batch([GOOD])])]) is not None
    assert alike([stream([batch([GOOD]), batch([GOOD])])] * 2) is None, "two batches in a record"
    assert alike([stream([batch([GOOD])], "zstd")] * 2) is None, "compressed inside"
    assert alike([stream([batch([(*GOOD[:4], "\u00e4b")])])] * 2) is None, "not ASCII"
    ragged = [
        stream([batch([(*GOOD[:4], "a"), (*GOOD[:4], "bcd")])]),
        stream([batch([(*GOOD[:4], "abc"), (*GOOD[:4], "d")])]),
    ]
    joined = alike(ragged)
    assert joined is not None
    assert joined.rows["s"].to_list() == ["a", "bcd", "abc", "d"], "of one length together, cut differently"


@pytest.mark.parametrize("offsets", [(0, 3, 2), (1, 2, 3), (0, 1, 200), (0, -1, 3)])
def test_texts_that_point_outside_of_their_record_are_not_read(offsets: tuple[int, ...]):
    whole = stream([batch([(*GOOD[:4], "a"), (*GOOD[:4], "bc")])])
    right = b"".join(o.to_bytes(4, "little", signed=True) for o in (0, 1, 3))
    wrong = b"".join(o.to_bytes(4, "little", signed=True) for o in offsets)
    assert whole.count(right) == 1
    assert alike([whole, whole.replace(right, wrong)]) is None
