"""What `foreshock top` shows: one look at the lake, and each node as one mark. No terminal here."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import polars as pl

from collector.clock import to_datetime
from collector.config import Config
from dashboard.freshness import freshness
from dashboard.operating_point import with_levels
from dashboard.terminal.sql import FLEET, NEWEST, OPEN_INCIDENTS, SILENT_S
from pipeline.lake import Lake
from pipeline.sql import Desk, Limits, connect
from pipeline.tables import TABLES

MARKS: Final = {
    "calm": ".", "unscored": "_", "watch": "+", "silent": "?", "alarm": "#", "error": "!", "hung": "H", "lost": "X",
}  # fmt: skip
"""From calm to worst: what a node (its worst GPU) is, and its one character."""

_OF_STATE: Final = {
    "lost": "lost",
    "missing": "lost",
    "hung": "hung",
    "error": "error",
    "silent": "silent",
    "unread": "silent",
}


@dataclass(frozen=True, slots=True)
class Look:
    """The fleet at one time. `fleet`: fleet_sql.FLEET and alarm_level, standing.

    `word` is live, late, stale or demo; `sentence` says it to people.
    """

    fleet: pl.DataFrame
    incidents: pl.DataFrame
    newest: datetime | None
    now: datetime
    word: str
    sentence: str

    @property
    def lag_s(self) -> float | None:
        """From the newest telemetry to the newest risk: how far the worker is behind."""
        scored = self.fleet["risk_time"].max()
        if self.newest is None or not isinstance(scored, datetime):
            return None
        return max(0.0, (self.newest - scored).total_seconds())


class Watched:
    """The lake, opened anew only when it has changed: opening reads the foot of every file."""

    def __init__(self, config: Config, node: str) -> None:
        self._config = config
        self._node = node
        self._lake = Lake(config.lake.path)
        self._files: dict[str, list[str]] | None = None
        self._desk: Desk | None = None

    def look(self) -> Look:
        """Raises ForeshockError where the lake cannot be read."""
        desk = self._opened()
        newest = desk.query(NEWEST).row(0, named=True)
        fleet = desk.query(FLEET, {"silent_s": SILENT_S, "node": self._node})
        incidents = desk.query(OPEN_INCIDENTS, {"node": self._node})
        at, now = (
            newest["telemetry"] or newest["predictions"],
            to_datetime(self._config.make_clock().time_s()),
        )
        word, sentence = (
            ("stale", "no telemetry yet") if at is None else freshness(at, now, self._config.clock.speed)
        )
        return Look(with_standing(with_levels(self._config, fleet)), incidents, at, now, word, sentence)

    def close(self) -> None:
        if self._desk is not None:
            self._desk.close()
            self._desk = None

    def _opened(self) -> Desk:
        files = {table: self._lake.files(table) for table in TABLES}
        if self._desk is None or files != self._files:
            self.close()
            self._desk = connect(files.__getitem__, Path(self._lake.path), Limits(time_s=30))
            self._files = files
        return self._desk


def with_standing(fleet: pl.DataFrame) -> pl.DataFrame:
    """`fleet` and `standing`, a key of MARKS: its state, where that is not ok, before its risk."""
    risk, level = pl.col("risk"), pl.col("alarm_level")
    by_risk = (
        pl.when(risk.is_null()).then(pl.lit("unscored"))
        .when(risk >= level).then(pl.lit("alarm"))
        .when(risk >= level / 2).then(pl.lit("watch"))
        .otherwise(pl.lit("calm"))
    )  # fmt: skip
    state = pl.col("state").replace_strict(_OF_STATE, default="silent", return_dtype=pl.String)
    # a silent GPU that was at its alarm level is an alarm still
    by_state = pl.when((state == "silent") & (by_risk == "alarm")).then(pl.lit("alarm")).otherwise(state)
    return fleet.with_columns(standing=pl.when(pl.col("state") == "ok").then(by_risk).otherwise(by_state))


def nodes(fleet: pl.DataFrame) -> pl.DataFrame:
    """One row per node, by name: node, gpus, not_ok, risk (the highest), standing (the worst)."""
    order = {name: number for number, name in enumerate(MARKS)}
    worst = pl.col("standing").replace_strict(order, return_dtype=pl.Int32).max()
    return (
        fleet.group_by("node", maintain_order=True)
        .agg(
            gpus=pl.len(),
            not_ok=(pl.col("state") != "ok").sum(),
            risk=pl.col("risk").max(),
            standing=worst,
        )
        .with_columns(
            pl.col("standing").replace_strict({n: name for name, n in order.items()}, return_dtype=pl.String)
        )
    )  # fmt: skip


def riskiest(fleet: pl.DataFrame, most: int) -> list[dict[str, Any]]:
    """The GPUs with the highest risk, measured by their own alarm level."""
    scored = fleet.filter(pl.col("risk").is_not_null())
    return list(
        scored.sort(pl.col("risk") / pl.col("alarm_level"), descending=True).head(most).iter_rows(named=True)
    )


def counts(fleet: pl.DataFrame) -> dict[str, int]:
    """GPUs by state, worst last seen first: {"ok": 15, "lost": 1}."""
    found = fleet.group_by("state").len().sort("len", "state", descending=[True, False])
    return dict(found.iter_rows())


def as_json(look: Look) -> dict[str, Any]:
    """One object for programs. Times are ISO 8601 in UTC; null is not known."""
    return {
        "time": look.now,
        "newest": look.newest,
        "freshness": look.word,
        "risk_lag_s": look.lag_s,
        "synthetic": bool(look.fleet["synthetic"].any()),
        "gpus": look.fleet.height,
        "nodes": look.fleet["node"].n_unique(),
        "states": counts(look.fleet),
        "alarms": int((look.fleet["risk"] >= look.fleet["alarm_level"]).sum()),
        "riskiest": riskiest(look.fleet, 10),
        "incidents": list(look.incidents.iter_rows(named=True)),
        "worst_nodes": list(_worst(nodes(look.fleet))),
    }


def _worst(found: pl.DataFrame) -> Iterator[dict[str, Any]]:
    return found.filter(~pl.col("standing").is_in(["calm", "unscored"])).iter_rows(named=True)
