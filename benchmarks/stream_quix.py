"""The same one-minute tumbling aggregation by Quix Streams: run by an interpreter that has it, not by ours.

    python3 -m venv ~/.cache/foreshock-quix && ~/.cache/foreshock-quix/bin/pip install quixstreams polars

It imports nothing of Foreshock; what to aggregate comes as JSON on stdin, one JSON object goes to stdout.

What is Quix's natural way, and where it is spared work that a real job would have:
- A message is expanded into one row per sample by Polars' Arrow reader (faster than pyarrow's `to_pylist`), with
  only the columns that are aggregated; rows are tuples, not dicts.
- Rows are keyed by GPU with the step that `group_by` uses on a topic of one partition. Its general way would send
  every row through the broker once more; here a node's GPUs share a partition already.
- All statistics are one `reduce`, so that state is read and written once a sample, not once per aggregation.
- No changelog topic, no sink: closed windows are counted and dropped. No features, scores, lake or exactly-once.
"""

from __future__ import annotations

import io
import json
import logging
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

import polars as pl

# The interpreter that runs this file has Quix; the one that checks its types has not.
from quixstreams import Application  # type: ignore[import-not-found, unused-ignore]

_MINUTE_MS = 60_000
State = list[Any]
Row = tuple[Any, ...]


class Plan:
    """Which places of a row each part of a window's state is made from, in the state's order after the count."""

    def __init__(self, wanted: dict[str, list[str]], first: int) -> None:
        columns = list(enumerate(wanted.values(), start=first))
        self.means = [i for i, kept in columns if "mean" in kept or "std" in kept]
        self.squares = [i for i, kept in columns if "std" in kept]
        self.minima = [i for i, kept in columns if "min" in kept]
        self.maxima = [i for i, kept in columns if "max" in kept]
        self.deltas = [i for i, kept in columns if "delta" in kept]
        """Their last value is in their state anyway."""
        self.lasts = [i for i, kept in columns if "last" in kept and "delta" not in kept]

    def initialize(self, row: Row) -> State:
        state: State = [1]
        for i in self.means:
            state += [0, 0.0] if row[i] is None else [1, row[i]]
        state += [0.0 if row[i] is None else row[i] ** 2 for i in self.squares]
        state += [row[i] for i in (*self.minima, *self.maxima)]
        for i in self.deltas:
            state += [row[i], 0]
        state += [row[i] for i in self.lasts]
        return state

    def reduce(self, state: State, row: Row) -> State:  # noqa: C901, PLR0912 - calls would slow Quix down
        state[0] += 1
        at = 1
        for i in self.means:
            if (x := row[i]) is not None:
                state[at] += 1
                state[at + 1] += x
            at += 2
        for i in self.squares:
            if (x := row[i]) is not None:
                state[at] += x * x
            at += 1
        for i in self.minima:
            if (x := row[i]) is not None and (state[at] is None or x < state[at]):
                state[at] = x
            at += 1
        for i in self.maxima:
            if (x := row[i]) is not None and (state[at] is None or x > state[at]):
                state[at] = x
            at += 1
        for i in self.deltas:
            if (x := row[i]) is not None:
                if (before := state[at]) is not None:
                    state[at + 1] += x - before if x >= before else x
                state[at] = x
            at += 2
        for i in self.lasts:
            if (x := row[i]) is not None:
                state[at] = x
            at += 1
        return state


class Counter:
    """Rows that came out of messages, and when; windows that were closed."""

    def __init__(self, columns: Sequence[str]) -> None:
        self._columns = ["gpu_uuid", "time", *columns]
        self.samples = self.windows = 0
        self.last_window: Any = None

    def expand(self, value: bytes) -> Iterator[Row]:
        rows = pl.read_ipc_stream(io.BytesIO(value), columns=self._columns)
        self.samples += rows.height
        times_us = rows["time"].cast(pl.Int64).to_list()
        return zip(
            rows["gpu_uuid"].to_list(), times_us, *(rows[c].to_list() for c in self._columns[2:]), strict=True
        )

    def closed(self, window: Any) -> None:
        self.windows += 1
        self.last_window = window


def main() -> int:
    task = json.load(sys.stdin)
    wanted: dict[str, list[str]] = task["columns"]
    counter = Counter(list(wanted))
    plan = Plan(wanted, first=2)
    app = Application(
        broker_address=task["address"], consumer_group=task["group"], auto_offset_reset="earliest",
        state_dir=task["state"], use_changelog_topics=False, loglevel=logging.ERROR,
    )  # fmt: skip
    topic = app.topic(task["topic"], value_deserializer="bytes", key_deserializer="bytes")
    sdf = app.dataframe(topic).apply(counter.expand, expand=True)
    sdf = sdf.set_timestamp(lambda row, *_: row[1] // 1000)
    sdf = sdf._single_partition_groupby("gpu", lambda row: row[0].encode())  # private: see the docstring
    sdf = sdf.tumbling_window(_MINUTE_MS).reduce(plan.reduce, plan.initialize).final()
    sdf.update(counter.closed)
    marks: list[tuple[float, int]] = []
    threading.Thread(target=_watch, args=(app, counter, float(task["seconds"]), marks), daemon=True).start()
    app.run()
    print(json.dumps({"marks": marks, "windows": counter.windows, "last_window": counter.last_window}))
    return 0


def _watch(app: Any, counter: Counter, seconds: float, marks: list[tuple[float, int]]) -> None:
    """Note how far it is; stop it `seconds` after the first sample, or when nothing comes any more."""
    deadline = time.monotonic() + 60
    while not counter.samples and time.monotonic() < deadline:
        time.sleep(0.05)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        marks.append((time.monotonic(), counter.samples))
        time.sleep(0.25)
    app.stop()


if __name__ == "__main__":
    sys.exit(main())
