"""Alarms and faults counted by node with their sampling weight, the figures of such counts, and their intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import polars as pl
from scipy.special import betaincinv

from models.history import Floats
from models.metrics import interval

FLEET: Final = 10_000  # GPUs that rates are told for
TAIL: Final = 0.025  # left out on each side of a 95 % interval
COUNTS: Final = ("alarms", "judged", "true", "late", "faults", "caught", "precursor", "precursor_caught")


def tally(raised: pl.DataFrame, faults: pl.DataFrame) -> pl.DataFrame:
    """A row per node with COUNTS: weighted sums of what happened on it."""
    w = pl.col("weight")
    of_alarms = raised.group_by("node").agg(
        alarms=w.sum(),
        judged=w.filter(pl.col("true").is_not_null()).sum(),
        true=w.filter(pl.col("true")).sum(),
        late=w.filter(pl.col("late") & pl.col("true").is_not_null()).sum(),
    )
    known = pl.col("has_precursor") if "has_precursor" in faults.columns else pl.lit(value=False)
    of_faults = weighted(faults).group_by("node").agg(
        faults=w.sum(),
        caught=w.filter("caught").sum(),
        precursor=w.filter(known).sum(),
        precursor_caught=w.filter(known & pl.col("caught")).sum(),
    )  # fmt: skip
    both = of_alarms.join(of_faults, on="node", how="full", coalesce=True, nulls_equal=True)
    return both.with_columns(pl.col(COUNTS).cast(pl.Float64()).fill_null(0.0))


def weighted(faults: pl.DataFrame) -> pl.DataFrame:
    """`faults` with a `weight`: 1 where it has none."""
    return faults if "weight" in faults.columns else faults.with_columns(weight=pl.lit(1.0))


def figures(sums: Floats, gpu_days: Floats) -> dict[str, Floats]:
    """Per row of `sums` [rows, COUNTS]; NaN where not defined."""
    of: Mapping[str, Floats] = dict(zip(COUNTS, sums.T, strict=True))
    precision = _ratio(of["true"], of["judged"])
    per_day = FLEET / gpu_days
    wrong = np.where(of["alarms"] > 0, 1 - precision, 0.0)
    return {
        "precision": precision,
        "recall": _ratio(of["caught"], of["faults"]),
        "recall_of_precursor": _ratio(of["precursor_caught"], of["precursor"]),
        "alarms_per_day_per_10k": of["alarms"] * per_day,
        "false_per_day_per_10k": of["alarms"] * wrong * per_day,
        "faults_per_day_per_10k": of["faults"] * per_day,
    }


def _ratio(part: Floats, whole: Floats) -> Floats:
    shares: Floats = np.divide(part, whole, out=np.full(len(whole), np.nan), where=whole > 0)
    return shares


def resampled(name: str, values: Floats) -> dict[str, Any]:
    """figure, value, low, high, method: `values` over draws of nodes, the first as measured."""
    low, high = interval(values)
    return {
        "figure": name,
        "value": float(values[0]),
        "low": low,
        "high": high,
        "method": "nodes drawn again",
    }


def resampled_recall(
    name: str, values: Floats, nodes: pl.DataFrame, columns: tuple[str, str]
) -> dict[str, Any]:
    """The same; exact where every fault was caught, or none: by the nodes that had one. `columns`: all, caught."""
    told = resampled(name, values)
    n = nodes.filter(pl.col(columns[0]) > 0).height
    if n and told["value"] in {0.0, 1.0}:
        low, high = exact_interval(n if told["value"] else 0, n)
        told |= {"low": low, "high": high, "method": "exact, by nodes with a fault"}
    return told


def exact_interval(hits: int, n: int) -> tuple[float, float]:
    """Clopper and Pearson's 95 % for a share of `n` > 0."""
    low = float(betaincinv(hits, n - hits + 1, TAIL)) if hits > 0 else 0.0
    high = float(betaincinv(hits + 1, n - hits, 1 - TAIL)) if hits < n else 1.0
    return low, high


def lead_quantiles(faults: pl.DataFrame, quantiles: Sequence[float]) -> list[float | None]:
    """Weighted quantiles of `lead_s` over the caught faults; null where there is none."""
    caught = weighted(faults).filter(pl.col("lead_s").is_not_null()).sort("lead_s")
    if caught.is_empty():
        return [None] * len(quantiles)
    so_far = caught["weight"].cum_sum().to_numpy()
    place = np.searchsorted(so_far, np.array(quantiles) * so_far[-1])
    return [float(lead) for lead in caught["lead_s"].to_numpy()[np.minimum(place, len(so_far) - 1)]]
