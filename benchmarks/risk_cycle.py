"""The risk lane's minute at fleet scale: rollups in, features, scores, prediction rows out. One process.

    python benchmarks/risk_cycle.py [--gpus 100000] [--minutes 5] [--rules] [--json]

The look-back is filled with an hour of a simulated fleet (synthetic) and a day of hourly sums; then each further
minute is pushed, its features made and scored, as `pipeline.predict` does. The same minutes as a training frame
give the rate of the training side. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import sys
import time
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl

from models.rules import RuleScorer
from models.serving import Serving
from pipeline.event_history import EventHistory
from pipeline.features import FEATURES, INPUTS, KEYS, features
from pipeline.fleet import START, Fleet
from pipeline.fleet_params import FleetParams
from pipeline.predict import predictions
from pipeline.recent import RecentMinutes
from pipeline.scoring import Scorer
from pipeline.signals import DAY_SIGNALS, LOOK_BACK_HOURS, LOOK_BACK_MINUTES

_LIMIT_S = 10.0
_LIMIT_MIB = 6 * 1024
_REGISTRY = Path(__file__).parents[1] / "demo" / "registry"
_TRAINING_ROWS = 2_000_000


class _Timed:
    """A scorer, and how long it last took."""

    def __init__(self, scorer: Scorer) -> None:
        self._scorer = scorer
        self.model_id, self.feature_set = scorer.model_id, scorer.feature_set
        self.horizon_s, self.threshold = scorer.horizon_s, scorer.threshold
        self.took_s = 0.0

    def score(self, matrix: pl.DataFrame) -> pl.DataFrame:
        began = time.monotonic()
        scored = self._scorer.score(matrix)
        self.took_s = time.monotonic() - began
        return scored


def fill(recent: RecentMinutes, fleet: Fleet, begin: datetime) -> float:
    """A day of hours and an hour of minutes up to `begin`; seconds that taking the minutes took."""
    first = next(fleet.rollup_parts(begin, 1))["gpu_uuid"].unique()
    rng = np.random.default_rng(0)
    for back in range(LOOK_BACK_HOURS, 1, -1):
        hour = begin - timedelta(hours=back)
        sums = {s.name: rng.poisson(0.1, len(first)).astype(float) for s in DAY_SIGNALS}
        recent.remember_hours(
            pl.DataFrame({"gpu_uuid": first, **sums}).with_columns(
                pl.lit(hour).dt.truncate("1h").alias("hour")
            )
        )
    took_s = 0.0
    for part in fleet.rollup_parts(begin - timedelta(minutes=LOOK_BACK_MINUTES), LOOK_BACK_MINUTES):
        narrow = part.select(*KEYS, *INPUTS)
        began = time.monotonic()
        recent.remember(narrow)
        took_s += time.monotonic() - began
    return took_s


def cycles(
    recent: RecentMinutes, fleet: Fleet, begin: datetime, minutes: int, events: pl.DataFrame, *, of: Scorer
) -> list[tuple[float, float, float]]:
    """Per minute the seconds of features, of scores, and of both with the prediction rows."""
    scorer, taken = _Timed(of), []
    for minute in range(minutes):
        rolled = fleet.rollups(begin + timedelta(minutes=minute), 1)
        began = time.monotonic()
        history = EventHistory(events)  # made again, as if an event had come in this minute
        matrix = recent.push(rolled, history)
        made = time.monotonic()
        found = predictions(matrix, scorer)
        taken.append((made - began, scorer.took_s, time.monotonic() - began))
        assert found.height == rolled.height, "every GPU has its prediction"
    return taken


def training_rate(gpus: int) -> float:
    """Feature rows a second of `pipeline.features.features` on a day of nodes, one frame."""
    fleet = Fleet(max(8, min(gpus, _TRAINING_ROWS // 1440) // 8 * 8), seed=2, params=FleetParams(days=2))
    parts = [p.select(*KEYS, *INPUTS) for p in fleet.rollup_parts(START + timedelta(hours=4), 1440)]
    rows, events = pl.concat(parts), fleet.events(START, 2 * 86_400)
    began = time.monotonic()
    made = features(rows, events)
    return made.height / (time.monotonic() - began)


def measure(gpus: int, minutes: int, scorer: Scorer) -> dict[str, float | int | str]:
    fleet = Fleet(gpus, seed=1, params=FleetParams(days=2))
    begin = START + timedelta(hours=26)
    events = fleet.events(START, 26 * 3600)
    recent = RecentMinutes()
    fill_s = fill(recent, fleet, begin)
    taken = cycles(recent, fleet, begin, minutes, events, of=scorer)
    features_s, score_s, cycle_s = (statistics.median(t) for t in zip(*taken, strict=True))
    rss_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {
        "scorer": scorer.model_id, "gpus": gpus, "minutes": minutes, "features": len(FEATURES), "events": events.height,
        "features_s": round(features_s, 3), "score_s": round(score_s, 3), "cycle_s": round(cycle_s, 3),
        "cycle_max_s": round(max(t[2] for t in taken), 3), "fill_s": round(fill_s, 2),
        "state_mib": round(recent.nbytes / 2**20), "rss_mib": round(rss_mib),
        "training_rows_per_s": round(training_rate(gpus)), "cores": len(os.sched_getaffinity(0)),
    }  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--gpus", type=int, default=100_000, help="size of the fleet (default: 100000)")
    parser.add_argument("--minutes", type=int, default=5, help="minutes measured after the look-back is full")
    parser.add_argument(
        "--rules", action="store_true", help="score with the rules in place of the demo's model"
    )
    parser.add_argument("--json", action="store_true", help="only the JSON line")
    args = parser.parse_args()
    scorer = RuleScorer() if args.rules else Serving(_REGISTRY)
    found = measure(args.gpus, args.minutes, scorer)
    if not args.json:
        print(
            f"{found['gpus']:,} GPUs, {found['features']} features, a minute of rollups at a time; synthetic"
        )
        print(f"  features        {found['features_s']:>10} s, push and event history included (median)")
        print(f"  scores          {found['score_s']:>10} s, {found['scorer']}")
        print(
            f"  whole cycle     {found['cycle_s']:>10} s, prediction rows included (limit {_LIMIT_S:g}; "
            f"worst {found['cycle_max_s']})"
        )
        print(f"  state           {found['state_mib']:>10,} MiB of arrays")
        print(
            f"  memory          {found['rss_mib']:>10,} MiB, simulated fleet included (limit {_LIMIT_MIB:,})"
        )
        print(f"  look-back       {found['fill_s']:>10} s to take {LOOK_BACK_MINUTES} minutes on start")
        print(f"  training        {found['training_rows_per_s']:>10,} rows/s")
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
