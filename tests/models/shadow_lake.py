"""A lake of 28 days of a small simulated fleet (synthetic) with far more faults than in life.

Telemetry is there for the first hour and the last day and a half alone: all that is scored.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl

from models.telemetry_results import TERMS
from pipeline import labels
from pipeline.features import FEATURE_SET
from pipeline.fleet import START, Fleet
from pipeline.fleet_params import FleetParams
from pipeline.lake import Lake
from pipeline.tables import REASON
from pipeline.training_set import COLUMNS, uniform

DAYS, GPUS = 28, 48
PARAMS = FleetParams(days=DAYS, fault_rate_factor=2200.0, precursors="high", gpus_per_node=4)
END = START + timedelta(days=DAYS)
SINCE = END - timedelta(hours=36)
BUDGETS = (8000.0, 9000.0)
"""Alarms a day per 10,000 GPUs: 58 and 65 in that time of this fleet, which has FAULTS then."""
FAULTS = 50


def fleet_lake(path: Path) -> Lake:
    fleet = Fleet(GPUS, seed=3, params=PARAMS)
    lake = Lake(path)
    for begin, minutes in ((START, 60), (SINCE, 36 * 60)):
        lake.append("rollups", fleet.rollups(begin, minutes).select(COLUMNS))
    lake.append("events", fleet.events(START, DAYS * 86_400))
    return lake


class Planted:
    """A scorer whose risks were made by hand."""

    feature_set = FEATURE_SET
    horizon_s = int(TERMS.horizon_s)
    threshold: float | None = None

    def __init__(self, model_id: str, faults: pl.DataFrame | None = None, share_known: float = 1.0) -> None:
        self.model_id, self._faults = model_id, faults
        if faults is not None:
            self._faults = faults.head(round(share_known * faults.height))

    def score(self, matrix: pl.DataFrame) -> pl.DataFrame:
        """0.9 before the faults that it knows of, and elsewhere a number below 0.8 that means nothing."""
        risk = uniform(matrix["gpu_uuid"], matrix["minute"], 7) ** 8 * 0.8
        if self._faults is not None:
            soon = labels.label(matrix, self._faults, horizon_s=6 * 3600, until=END)
            risk = np.where(soon.fill_null(value=False).to_numpy(), 0.9, risk)
        nothing = pl.Series("reasons", [[]], dtype=pl.List(REASON)).new_from_index(0, matrix.height)
        return pl.DataFrame({"risk": risk, "reasons": nothing})


def faults_of(lake: Lake, since: datetime = SINCE) -> pl.DataFrame:
    """In the order of a hash, so that the first so many are a fair part of them."""
    found = labels.faults(lake.read("events")).filter(pl.col("time") >= since)
    return found.sample(fraction=1.0, shuffle=True, seed=1)
