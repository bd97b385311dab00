"""The risk lane of one worker: recent minutes and events -> features -> scores -> lake and stream."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

import msgspec
import polars as pl

from collector.config import IngestConfig
from collector.records import TOPIC_RISKS, Reason, Risk
from pipeline.features import EVENT_WINDOW_MINUTES, KEYS, features
from pipeline.lake import Lake, conform
from pipeline.scoring import Scorer
from pipeline.stream import Stream

_GPU_MINUTE = ("gpu_uuid", "minute")


class Predictor:
    """Keeps the look-back that live features need. `rollups` and `events` are what the lake has on start."""

    def __init__(
        self,
        stream: Stream,
        lake: Lake,
        scorer: Scorer,
        config: IngestConfig,
        *,
        rollups: pl.DataFrame,
        events: pl.DataFrame,
    ) -> None:
        self._stream = stream
        self._lake = lake
        self._scorer = scorer
        self._config = config
        self._recent = self._within_look_back(rollups)
        self._events = events
        self._watched: set[str] = set()

    def catch_up(self, since: datetime) -> None:
        """Predict the minutes that were rolled up but, when the last worker died, not yet predicted."""
        predicted = self._lake.read("predictions", since=since, columns=[*_GPU_MINUTE, "risk"])
        last = predicted.sort("minute").group_by("gpu_uuid").agg(pl.col("risk").last())
        self._watched = set(last.filter(pl.col("risk") >= self._config.watch_level)["gpu_uuid"])
        self._predict(self._recent.join(predicted, on=_GPU_MINUTE, how="anti"))

    def learn_events(self, events: pl.DataFrame) -> None:
        """New events. A fingerprint counts once, and its newest row knows most."""
        self._events = pl.concat([self._events, events]).unique(
            "fingerprint", keep="last", maintain_order=True
        )

    def minute_done(self, rolled: pl.DataFrame) -> None:
        """New rollups: predict them, and forget what no feature looks at any more."""
        self._recent = self._within_look_back(pl.concat([self._recent, rolled]))
        self._predict(rolled)
        oldest = first_minute(self._recent) - timedelta(minutes=EVENT_WINDOW_MINUTES)
        self._events = self._events.filter(pl.col("time") >= oldest)

    def _predict(self, minutes: pl.DataFrame) -> None:
        if minutes.is_empty():
            return
        scored = self._score(first_minute(minutes))
        fresh = scored.join(minutes.select(_GPU_MINUTE), on=_GPU_MINUTE, how="semi")
        # Told first: a risk may travel twice, but a row in the lake means that it has travelled.
        for risk in self._worth_telling(fresh):
            self._stream.publish(TOPIC_RISKS, risk.node, msgspec.json.encode(risk))
        self._stream.flush()
        self._lake.append("predictions", fresh)

    def _score(self, since: datetime) -> pl.DataFrame:
        """Predictions (PREDICTIONS columns) for every recent minute from `since` on."""
        matrix = features(self._recent, self._events, since=since)
        scored = self._scorer.score(matrix)
        rows = matrix.select(KEYS).with_columns(
            scored["risk"],
            scored["reasons"],
            time=pl.col("minute") + pl.duration(minutes=1),
            horizon_s=pl.lit(self._scorer.horizon_s),
            model_id=pl.lit(self._scorer.model_id),
            feature_set=pl.lit(self._scorer.feature_set),
        )
        return conform("predictions", rows)

    def _worth_telling(self, predictions: pl.DataFrame) -> Iterator[Risk]:
        """Risks over the watch level, and the first one below it: an incident recovers by being told."""
        level = self._config.watch_level
        over = predictions.filter(pl.col("risk") >= level)["gpu_uuid"]
        candidates = predictions.filter(pl.col("gpu_uuid").is_in({*over, *self._watched}))
        for row in candidates.drop("minute").sort("time").iter_rows(named=True):
            reasons = tuple(Reason(**r) for r in row.pop("reasons"))
            risk = Risk(**row | {"time": row["time"].timestamp(), "reasons": reasons})
            if risk.risk >= level:
                self._watched.add(risk.gpu_uuid)
                yield risk
            elif risk.gpu_uuid in self._watched:
                self._watched.remove(risk.gpu_uuid)
                yield risk

    def _within_look_back(self, rollups: pl.DataFrame) -> pl.DataFrame:
        """The minutes the live features may look at, each node at its own pace."""
        horizon = pl.duration(minutes=self._config.look_back_minutes)
        return rollups.filter(pl.col("minute") > pl.col("minute").max().over("node") - horizon)


def first_minute(rows: pl.DataFrame) -> datetime:
    """The earliest `minute` of rows that are not none."""
    first = rows["minute"].min()
    assert isinstance(first, datetime)
    return first
