"""The risk lane of one worker: new minutes and events -> features -> scores -> lake and stream."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec
import polars as pl

from collector.config import IngestConfig
from collector.records import TOPIC_RISKS, Reason, Risk
from pipeline.event_history import EVENT_COLUMNS, EventHistory, needed
from pipeline.lake import Lake, conform
from pipeline.look_back import last_predictions
from pipeline.recent import FORGET_AFTER_MINUTES, RecentMinutes
from pipeline.scoring import Scorer
from pipeline.signals import INPUTS, KEYS
from pipeline.stream import Stream

_ROWS_AT_ONCE: Final = 200_000
"""Rows that are predicted together, or one minute: catching up does not need the memory of all that was missed."""


class Predictor:
    """Keeps the look-back that live features need.

    `rollups`, `hours` and `events` are what `pipeline.look_back.look_back` gives on start; whole tables do as well.
    `catch_up` comes first.
    """

    def __init__(
        self,
        stream: Stream,
        lake: Lake,
        scorer: Scorer,
        config: IngestConfig,
        *,
        rollups: pl.DataFrame,
        events: pl.DataFrame,
        hours: pl.DataFrame | None = None,
        store: Callable[[pl.DataFrame], None] | None = None,
    ) -> None:
        self._stream = stream
        self._lake = lake
        self._scorer = scorer
        self._config = config
        self._recent = RecentMinutes()
        if hours is not None:
            self._recent.remember_hours(hours)
        self._found = rollups.select(*KEYS, *INPUTS)
        self._events = events.select(EVENT_COLUMNS)
        self._history = EventHistory(self._events)
        self._watched: set[str] = set()
        self._jobs = pl.DataFrame(schema={"gpu_uuid": pl.String(), "job": pl.String()})
        self._store = store or (lambda rows: lake.append("predictions", rows))
        self._missing = self._found.clear()
        self._untold: list[pl.DataFrame] = []

    def catch_up(self, since: datetime) -> None:
        """Find the minutes that were rolled up but, when the last worker died, not yet predicted.

        A node's predictions are written in the order of its minutes: all that is past its last one is missing. They
        are predicted when the node is `met`: only then it is known to be ours, and not another worker's who lives.
        """
        last = last_predictions(self._lake, since, self._watch_level())
        newest = pl.col("minute") == pl.col("minute").max().over("gpu_uuid")
        self._watched = set(last.filter(newest, pl.col("over") == pl.col("minute"))["gpu_uuid"])
        predicted = last.group_by("node").agg(pl.col("minute").max().alias("_predicted"))
        found, self._found = self._found, self._found.clear()
        left = [self._missing]
        for part in _in_batches(found):
            known = part.join(predicted, on="node", how="left", maintain_order="left")
            missing = (pl.col("minute") > pl.col("_predicted")).fill_null(value=True)
            self._recent.remember(known.filter(~missing))
            left.append(known.filter(missing).select(*KEYS, *INPUTS))
        self._missing = pl.concat(left)

    def met(self, nodes: Collection[str]) -> None:
        """Records of these nodes came to us. What was not predicted of them comes again too, until it is."""
        if not self._missing.is_empty():
            ours = pl.col("node").is_in(list(nodes))
            found, self._missing = self._missing.filter(ours), self._missing.filter(~ours)
            self._predict(found)

    def learn_events(self, events: pl.DataFrame) -> None:
        """New events. They count in the minutes that are predicted from now on."""
        if events.is_empty():
            return
        self._events = pl.concat([self._events, events.select(EVENT_COLUMNS)])
        newest_s = self._recent.newest_minute * 60
        if newest_s > 0:
            oldest = datetime.fromtimestamp(newest_s, UTC) - timedelta(minutes=FORGET_AFTER_MINUTES)
            self._events = needed(self._events, oldest)
        self._history = EventHistory(self._events)

    def minute_done(self, rolled: pl.DataFrame) -> None:
        """New rollups, each node's in order and all GPUs of a node's minute together: predict them, for `tell`."""
        if "job" in rolled.columns:
            newest = rolled.sort("minute", maintain_order=True).select("gpu_uuid", "job")
            self._jobs = pl.concat([self._jobs, newest]).unique("gpu_uuid", keep="last")
        self._predict(rolled)

    def _predict(self, minutes: pl.DataFrame) -> None:
        for part in _in_batches(minutes.select(*KEYS, *INPUTS)):
            matrix = self._recent.push(part, self._history)
            if not matrix.is_empty():
                self._untold.append(predictions(matrix, self._scorer))

    def tell(self) -> None:
        """Publish and store what is not yet. Raises what the lake raises; call it again then."""
        while self._untold:
            fresh = self._untold[0]
            # Told first: a risk may travel twice, but a row in the lake means that it has travelled.
            for risk in self._worth_telling(fresh):
                self._stream.publish(TOPIC_RISKS, risk.node, msgspec.json.encode(risk))
            self._stream.flush()
            self._store(fresh)
            del self._untold[0]

    def _watch_level(self) -> float:
        """Below half of what the model itself calls an alarm, so that the watcher hears of it in time."""
        own = self._scorer.threshold
        return self._config.watch_level if own is None else min(self._config.watch_level, own / 2.0)

    def _worth_telling(self, predictions: pl.DataFrame) -> Iterator[Risk]:
        """Risks over the watch level, and the first one below it: an incident recovers by being told."""
        level = self._watch_level()
        over = predictions.filter(pl.col("risk") >= level)["gpu_uuid"]
        candidates = predictions.filter(pl.col("gpu_uuid").is_in({*over, *self._watched}))
        told = candidates.drop("minute").join(self._jobs, on="gpu_uuid", how="left", maintain_order="left")
        for row in told.sort("time").iter_rows(named=True):
            reasons = tuple(Reason(**r) for r in row.pop("reasons"))
            risk = Risk(**row | {"time": row["time"].timestamp(), "reasons": reasons})
            if risk.risk >= level:
                self._watched.add(risk.gpu_uuid)
                yield risk
            elif risk.gpu_uuid in self._watched:
                self._watched.remove(risk.gpu_uuid)
                yield risk


def _in_batches(rows: pl.DataFrame) -> Iterator[pl.DataFrame]:
    """In the order of time, cut between two minutes."""
    ordered = rows if rows["minute"].is_sorted() else rows.sort("minute", maintain_order=True)
    minutes, begin = ordered["minute"], 0
    while begin < rows.height:
        last = minutes[min(begin + _ROWS_AT_ONCE, rows.height) - 1]
        end = int(minutes.search_sorted(last, "right"))
        if end - begin > _ROWS_AT_ONCE and last != minutes[begin]:
            end = int(minutes.search_sorted(last, "left"))
        yield ordered[begin:end]
        begin = end


def predictions(matrix: pl.DataFrame, scorer: Scorer) -> pl.DataFrame:
    """PREDICTIONS rows of a feature matrix."""
    scored = scorer.score(matrix)
    rows = matrix.select(KEYS).with_columns(
        scored["risk"],
        scored["reasons"],
        time=pl.col("minute") + pl.duration(minutes=1),
        horizon_s=pl.lit(scorer.horizon_s),
        model_id=pl.lit(scorer.model_id),
        feature_set=pl.lit(scorer.feature_set),
    )
    return conform("predictions", rows)
