"""Live features are the training features, however the minutes come."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from collector.config import IngestConfig
from pipeline import predict
from pipeline.event_history import EventHistory
from pipeline.features import FEATURE_SET, NAMES, features
from pipeline.lake import Lake
from pipeline.look_back import look_back
from pipeline.predict import Predictor
from pipeline.recent import FORGET_AFTER_MINUTES, RecentMinutes
from pipeline.stream import Position, Record
from pipeline.tables import EVENTS, PREDICTIONS, REASON
from tests.pipeline.random_lakes import flushes, random_events, random_rollups
from tests.pipeline.samples import START

GPU_MINUTE = ("gpu_uuid", "minute")
SPANS = st.builds(
    lambda first, lengths, pauses: [
        first + at + i
        for at, length in zip(np.cumsum([0, *pauses]).tolist(), lengths, strict=True)
        for i in range(length)
    ],
    st.integers(0, 100),
    st.tuples(st.integers(1, 70), st.integers(1, 40), st.integers(1, 20)),
    st.tuples(st.sampled_from([70, 90, 300]), st.sampled_from([41, 200, 24 * 60, 30 * 60])),
)
"""Minutes with outages in between: of minutes, of hours, of more than a day."""


def same(found: pl.DataFrame, expected: pl.DataFrame) -> None:
    assert_frame_equal(found.sort(GPU_MINUTE), expected.sort(GPU_MINUTE), check_exact=True)


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 10_000), SPANS)
def test_live_equals_training_to_the_last_bit(seed: int, minutes: list[int]):
    rollups, events = random_rollups(seed, minutes), random_events(seed, minutes[0], minutes[-1])
    recent, history = RecentMinutes(), EventHistory(events)
    live = [recent.push(part, history) for part in flushes(seed, rollups)]
    same(pl.concat(live), features(rollups, events))


@settings(max_examples=5, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 40))
def test_what_is_told_twice_counts_once(seed: int, again: int):
    rollups, events = random_rollups(seed, range(50)), random_events(seed, 0, 50)
    twice = pl.concat([rollups, rollups.sample(again, seed=seed)])
    same(features(twice, events), features(rollups, events))
    recent, history = RecentMinutes(), EventHistory(events)
    live = [recent.push(pl.concat([part, part.head(again)]), history) for part in flushes(seed, rollups)]
    same(pl.concat(live), features(rollups, events))
    assert recent.push(rollups, history).is_empty(), "all of it was there before"


class Published:
    """A stream that takes what is published and has nothing to poll."""

    def poll(self, timeout_s: float) -> Sequence[Record]:
        return []

    def commit(self, next_offsets: Mapping[Position, int]) -> None: ...
    def publish(self, topic: str, key: str, value: bytes) -> None: ...
    def flush(self) -> None: ...
    def close(self) -> None: ...


class Recorder:
    """A scorer that remembers every matrix it was asked about."""

    model_id, feature_set, horizon_s = "recorder", FEATURE_SET, 3600
    threshold: float | None = None

    def __init__(self) -> None:
        self.seen: list[pl.DataFrame] = []

    def score(self, matrix: pl.DataFrame) -> pl.DataFrame:
        self.seen.append(matrix)
        none = pl.lit([], dtype=pl.List(REASON))
        return matrix.select(pl.col(NAMES[0]).is_null().cast(pl.Float64).alias("risk"), none.alias("reasons"))


def start(lake: Lake, scorer: Recorder, since: int) -> Predictor:
    """As a worker does when it takes over partitions."""
    when = START + timedelta(minutes=since)
    found = look_back(lake, when)
    predictor = Predictor(
        Published(), lake, scorer, IngestConfig(),
        rollups=found.rollups, hours=found.hours, events=found.events,
    )  # fmt: skip
    predictor.catch_up(when)
    predictor.met(["n0", "n1"])
    predictor.tell()
    return predictor


@settings(max_examples=5, deadline=None, phases=[Phase.explicit, Phase.generate])
@given(st.integers(0, 10_000), SPANS, st.data())
def test_restarts_change_no_feature(tmp_path_factory: pytest.TempPathFactory, seed: int, minutes, data):
    """Killed between the rollups and their predictions, or idle: every minute is predicted once, and the same."""
    lake, scorer = Lake(tmp_path_factory.mktemp("lake")), Recorder()
    rollups, events = random_rollups(seed, minutes), random_events(seed, minutes[0], minutes[-1])
    lake.append("events", events)
    parts = flushes(seed, rollups)
    killed = data.draw(st.sets(st.integers(0, len(parts) - 1), min_size=1, max_size=3))
    since = minutes[0] - 1
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(predict, "_ROWS_AT_ONCE", data.draw(st.sampled_from([60, 200_000])))
        predictor = start(lake, scorer, since)
        for i, part in enumerate(parts):
            lake.append("rollups", part)
            if i in killed:
                predictor = start(lake, scorer, since)
            else:
                predictor.minute_done(part)
                predictor.tell()
    seen = pl.concat(scorer.seen)
    same(seen, features(rollups, events))
    stored = lake.read("predictions")
    assert stored.height == seen.height
    assert stored.schema == PREDICTIONS


def test_events_count_from_the_minute_after_they_were_learnt(tmp_path: Path):
    scorer = Recorder()
    predictor = start(Lake(tmp_path), scorer, 0)
    rollups = random_rollups(1, range(6), missing=0)
    fault = random_events(0, 0, 5, count=1).with_columns(
        time=pl.lit(START + timedelta(minutes=2, seconds=5)).cast(EVENTS["time"]),
        kind=pl.lit("gpu_lost"), gpu_uuid=pl.lit("GPU-0-1"), node=pl.lit("n0"),
    )  # fmt: skip
    for (minute,), part in rollups.partition_by("minute", as_dict=True, maintain_order=True).items():
        predictor.minute_done(part)
        if minute == START + timedelta(minutes=2):
            predictor.learn_events(fault)
    counts = pl.concat(scorer.seen).filter(pl.col("gpu_uuid") == "GPU-0-1").sort("minute")
    assert counts["fault_events_24h"].to_list() == [0, 0, 0, 1, 1, 1]
    assert counts["hours_since_fault"].null_count() == 3


def test_a_gpu_that_is_gone_leaves_its_place():
    recent, history = RecentMinutes(), EventHistory(pl.DataFrame(schema=EVENTS))
    first = random_rollups(1, range(3), missing=0)
    recent.push(first, history)
    assert recent.gpus == 6
    before = recent.nbytes
    later = random_rollups(2, [FORGET_AFTER_MINUTES + 61], nodes=1, missing=0)
    others = later.with_columns(pl.format("GPU-new-{}", "gpu_index").alias("gpu_uuid"))
    recent.push(later, history)
    matrix = recent.push(others, history)
    assert recent.gpus == 6, "three of three days ago are gone, three came"
    assert recent.nbytes == before, "in the places of the others"
    same(matrix, features(others, pl.DataFrame(schema=EVENTS)))


def test_a_late_node_has_its_own_hour():
    """Node n1 is cut off, and sends its hour when n0 is an hour further on."""
    rollups, events = random_rollups(5, range(130), missing=0), random_events(5, 0, 130)
    recent, history = RecentMinutes(), EventHistory(events)
    late = (pl.col("node") == "n1") & (pl.col("minute") >= START + timedelta(minutes=65))
    live = [recent.push(rollups.filter(~late), history), recent.push(rollups.filter(late), history)]
    same(pl.concat(live), features(rollups, events))
    assert pl.concat(live).select(NAMES).null_count().sum_horizontal()[0] > 0, "unknown stays unknown"
