"""From feature rows and faults to the imminence head and the baselines that it must beat: lake or simulation alike."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import polars as pl

from models.imminence import HORIZONS_S, Model, fit
from models.split import WINDOW_S, refuse_leaks
from models.telemetry_baselines import BASELINES, Score
from models.telemetry_scores import LONGEST_S, SERVED_S, Seen, floors
from pipeline import labels
from pipeline.training_set import WEIGHT

EMBARGO: Final = timedelta(seconds=LONGEST_S + WINDOW_S)
"""Between what is learnt from and what is judged: the horizon and the longest window."""


@dataclass(frozen=True, slots=True)
class Learnt:
    """What was learnt, and from what. `matrix`: the training rows with `weight`, `label` at the served horizon."""

    model: Model
    baselines: Mapping[str, Score]
    floors: Mapping[str, float]
    matrix: pl.DataFrame
    label: pl.Series
    faults: pl.DataFrame


def learn_from(
    matrix: pl.DataFrame,
    faults: pl.DataFrame,
    events: pl.DataFrame,
    *,
    until: datetime,
    seed: int = 0,
    last_seen: pl.DataFrame | None = None,
) -> Learnt:
    """`matrix` of minutes before `until`, with `weight`; nothing of `faults` (labels.FAULTS) after it is looked at.

    Raises ForeshockError where there are too few faults to learn from (models.imminence.fit).
    """
    known = faults.filter(pl.col("time") < until)
    target = {
        h: labels.label(matrix, known, horizon_s=h, until=until, last_seen=last_seen) for h in HORIZONS_S
    }
    model = fit(
        matrix, target, seed=seed, episodes={h: foretold(matrix, of, known) for h, of in target.items()}
    )
    told = target[SERVED_S].is_not_null()
    rows, label = matrix.filter(told), target[SERVED_S].filter(told)
    y, weight = label.cast(pl.Float64).to_numpy(), rows[WEIGHT].to_numpy()
    baselines = {name: of(rows, y, weight) for name, of in BASELINES.items()}
    return Learnt(model, baselines, floors(model, baselines, rows, events), rows, label, known)


def foretold(matrix: pl.DataFrame, label: pl.Series, faults: pl.DataFrame) -> int:
    """How many of `faults` have a row of `matrix` whose label they made true."""
    before = matrix.select("gpu_uuid", "minute").filter(label.fill_null(value=False)).sort("minute")
    next_fault = faults.select("gpu_uuid", "time", fault="time").drop_nulls().sort("time")
    met = before.join_asof(
        next_fault,
        left_on="minute",
        right_on="time",
        by="gpu_uuid",
        strategy="forward",
        check_sortedness=False,
    )
    return met.select("gpu_uuid", "fault").drop_nulls().unique().height


def check_no_leak(learnt: Learnt, seen: Seen, *, unseen_gpus: bool) -> None:
    """Raises ForeshockError where what is judged is not new to what was learnt."""
    refuse_leaks(learnt.matrix, seen.sample, horizon_s=LONGEST_S, unseen_gpus=unseen_gpus)
