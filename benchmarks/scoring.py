"""What a minute of scores costs with the trees against the rules, and what training on millions of windows costs.

    python -m benchmarks.scoring [--gpus 100000] [--windows 10000000] [--json]

A modest simulated fleet (synthetic) with many faults is featurised, labelled and learnt from; its rows, tiled with
noise on every value that is not zero, are the minute that is scored and the windows that are trained on. The figures
are costs and no skill. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from datetime import timedelta
from pathlib import Path

import numpy as np
import polars as pl

from models.imminence import HORIZONS_S, ImminenceScorer, Model, fit
from models.rules import RuleScorer
from pipeline.features import NAMES, features
from pipeline.fleet import START, Fleet
from pipeline.fleet_params import FleetParams
from pipeline.labels import faults, label
from pipeline.scoring import Scorer
from pipeline.signals import INPUTS, KEYS

_GPUS, _DAYS, _FAULTS = 256, 2, 600.0
_SERVED_S = 3600
_REPEATS = 5
_LIMIT_TRAINING_S = 300


def fleet_rows() -> tuple[pl.DataFrame, dict[int, pl.Series]]:
    """A matrix and its labels."""
    fleet = Fleet(_GPUS, seed=3, params=FleetParams(days=_DAYS, fault_rate_factor=_FAULTS, precursors="high"))
    events = fleet.events(START, _DAYS * 86_400)
    rollups = pl.concat(p.select(*KEYS, *INPUTS) for p in fleet.rollup_parts(START, _DAYS * 1440))
    matrix, found = features(rollups, events), faults(events)
    until = START + timedelta(days=_DAYS)
    return matrix, {h: label(matrix, found, horizon_s=h, until=until) for h in HORIZONS_S}


def tiled(
    matrix: pl.DataFrame, labels: dict[int, pl.Series], rows: int
) -> tuple[pl.DataFrame, dict[int, pl.Series]]:
    """`rows` rows: the matrix again and again, on other GPUs and nodes, each value that is not zero within 5 %."""
    rng, parts = np.random.default_rng(0), []
    whole = matrix.with_columns(told.alias(f"_{h}") for h, told in labels.items())
    for copy in range(-(-rows // matrix.height)):
        noise = pl.Series(rng.uniform(0.95, 1.05, matrix.height))
        suffix = pl.lit(f"-{copy}")
        noisy = (pl.col(n) * noise for n in NAMES)
        parts.append(whole.with_columns(pl.col("gpu_uuid") + suffix, pl.col("node") + suffix, *noisy))
    made = pl.concat(parts).head(rows)
    return made.select(matrix.columns), {h: made[f"_{h}"] for h in labels}


def minute(matrix: pl.DataFrame, gpus: int) -> pl.DataFrame:
    """A minute of a fleet: rows drawn at random, so as many of them are ill as in the simulated days."""
    return matrix.sample(gpus, with_replacement=gpus > matrix.height, seed=0)


def scoring_s(scorer: Scorer, matrix: pl.DataFrame) -> float:
    taken = []
    for _ in range(_REPEATS):
        began = time.perf_counter()
        scorer.score(matrix)
        taken.append(time.perf_counter() - began)
    return statistics.median(taken)


def measure(gpus: int, windows: int) -> dict[str, float | int]:
    matrix, labels = fleet_rows()
    many, told = tiled(matrix, labels, windows)
    began = time.perf_counter()
    model: Model = fit(many, told)
    training_s = time.perf_counter() - began
    peak_mib = _peak_rss_mib()
    held_mib = many.estimated_size() / 2**20
    del many, told
    fleet_minute = minute(matrix, gpus)
    trees = ImminenceScorer(model, "trees", _SERVED_S)
    reasoned = int((trees.score(fleet_minute)["reasons"].list.len() > 0).sum())
    trees_s, rules_s = scoring_s(trees, fleet_minute), scoring_s(RuleScorer(), fleet_minute)
    return {
        "gpus": gpus, "trees_s": round(trees_s, 3), "rules_s": round(rules_s, 3),
        "ratio": round(trees_s / rules_s, 2), "reasoned": reasoned, "windows": windows,
        "training_s": round(training_s, 1), "heads": len(model.heads), "peak_rss_mib": peak_mib,
        "matrix_mib": round(held_mib), "cores": len(os.sched_getaffinity(0)),
    }  # fmt: skip


def _peak_rss_mib() -> int:
    """Of this program alone: ru_maxrss would begin with what the process that started it had."""
    status = Path("/proc/self/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM"))
    return round(int(line.split()[1]) / 1024)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--gpus", type=int, default=100_000, help="rows of the minute (default: 100000)")
    parser.add_argument(
        "--windows", type=int, default=10_000_000, help="rows to train on (default: 10 million)"
    )
    parser.add_argument("--json", action="store_true", help="only the JSON line")
    args = parser.parse_args()
    found = measure(args.gpus, args.windows)
    if not args.json:
        print(f"{found['gpus']:,} GPUs, {len(NAMES)} features, a minute of them; synthetic, tiled with noise")
        print(f"  trees           {found['trees_s']:>10} s, reasons of {found['reasoned']:,} rows included")
        print(f"  rules           {found['rules_s']:>10} s; the trees take {found['ratio']} times that")
        print(
            f"  training        {found['training_s']:>10} s on {found['windows']:,} windows, {found['heads']} horizons "
            f"(limit {_LIMIT_TRAINING_S})"
        )
        print(
            f"  memory          {found['peak_rss_mib']:>10,} MiB at most, {found['matrix_mib']:,} of them the matrix"
        )
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
