"""What alarms are worth at each threshold: precision, recall, alarms a day, leads; intervals by resampling nodes.

Every count is weighted by the sampling weight of its node (Horvitz-Thompson): a node drawn with a chance of 1 in 20
speaks for 20.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Final

import numpy as np
import polars as pl

from models.alarms import Terms, alarms, judge, watched
from models.counts import (
    COUNTS,
    FLEET,
    TAIL,
    figures,
    lead_quantiles,
    resampled,
    resampled_recall,
    tally,
    weighted,
)
from models.history import Floats
from models.metrics import resamples

LEAD_QUANTILES: Final = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95)
_NO_ALARM: Final = pl.DataFrame(
    schema={"node": pl.String(), "weight": pl.Float64(), "true": pl.Boolean(), "late": pl.Boolean()}
)


def at_threshold(
    seen: pl.DataFrame,
    faults: pl.DataFrame,
    threshold: float,
    terms: Terms,
    *,
    until: datetime | None = None,
    last_seen: pl.DataFrame | None = None,
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The alarms at `threshold`, judged, and the faults: `alarms.judge`. `seen` from `alarms.watched`."""
    raised = alarms(seen, threshold, stand_s=terms.stand_s, minutes_over=terms.minutes_over)
    return judge(
        raised,
        faults,
        horizon_s=terms.horizon_s,
        min_lead_s=terms.min_lead_s,
        until=until,
        last_seen=last_seen,
    )


def operating_curve(
    risky: pl.DataFrame,
    faults: pl.DataFrame,
    exposure_gpu_days: float,
    thresholds: Iterable[float],
    terms: Terms,
    *,
    until: datetime | None = None,
    last_seen: pl.DataFrame | None = None,
) -> pl.DataFrame:
    """A row per threshold, ascending. `exposure_gpu_days` is weighted; thresholds are not below the floor of `risky`.

    threshold, alarms, judged_alarms, true_alarms, late_alarms, faults, precision, recall, recall_of_precursor,
    alarms_per_day_per_10k, false_per_day_per_10k, faults_per_day_per_10k, median_lead_s.

    `precision` is of the judged alarms, and a late one is not right. The false rate is the rate of all alarms times
    1 - precision, so that alarms too near the end to be judged are no gift. `recall_of_precursor`: of the faults
    that have one (`has_precursor`, known where the data is simulated), else null. Null: not defined.
    """
    seen, rows = watched(risky, faults, blind_s=terms.blind_s), []
    for threshold in sorted(thresholds):
        seen = seen.filter(pl.col("risk") >= threshold)
        raised, told = at_threshold(seen, faults, threshold, terms, until=until, last_seen=last_seen)
        sums = tally(raised, told).select(COUNTS).sum().to_numpy()
        told_of = {name: float(of[0]) for name, of in figures(sums, np.array([exposure_gpu_days])).items()}
        counts = dict(zip(COUNTS, sums[0], strict=True))
        rows.append({
            "threshold": threshold, "alarms": counts["alarms"], "judged_alarms": counts["judged"],
            "true_alarms": counts["true"], "late_alarms": counts["late"], "faults": counts["faults"], **told_of,
            "median_lead_s": lead_quantiles(told, (0.5,))[0],
        })  # fmt: skip
    return pl.DataFrame(rows, infer_schema_length=None).with_columns(pl.col(pl.Float64()).fill_nan(None))


def intervals(
    risky: pl.DataFrame,
    faults: pl.DataFrame,
    exposure: pl.DataFrame,
    thresholds: Iterable[float],
    terms: Terms,
    *,
    until: datetime | None = None,
    last_seen: pl.DataFrame | None = None,
) -> pl.DataFrame:
    """threshold, figure, value, low, high, method: 95 % at each threshold.

    `exposure`: node, weight, gpu_days, node_days (both as watched, without the weight), every node watched once.
    Whole nodes are drawn again with replacement, and keep their weight. Where all of the data say the same, a
    bootstrap repeats it with certainty; there the bound is exact (Clopper-Pearson), and `method` says so:

    - no false alarm on the nodes of the greatest weight (each speaks for many that nobody looked at): at most
      1 - 0.025 ** (1 / node-days) of one a node-day there, which bounds the false rate and the precision;
    - every fault caught, or none: by the number of nodes that had one.

    Raises ValueError for an alarm or a fault on a node that is not in `exposure`.
    """
    seen, rows = watched(risky, faults, blind_s=terms.blind_s), []
    for threshold in thresholds:
        raised, told = at_threshold(seen, faults, threshold, terms, until=until, last_seen=last_seen)
        rows += [{"threshold": threshold, **row} for row in _intervals(raised, told, exposure)]
    return pl.DataFrame(rows, infer_schema_length=None).with_columns(pl.col(pl.Float64()).fill_nan(None))


def drawn(
    raised: pl.DataFrame, faults: pl.DataFrame, exposure: pl.DataFrame
) -> tuple[pl.DataFrame, dict[str, Floats]]:
    """(exposure with COUNTS, figures over draws of its nodes, the first as measured) of what `at_threshold` gave.

    The draws are the same for every scorer on the same nodes: two of them go in pairs.
    Raises ValueError for an alarm or a fault on a node that is not in `exposure`.
    """
    per_node = tally(raised, faults)
    strangers = per_node.join(exposure, on="node", how="anti")
    if strangers.height:
        raise ValueError(
            f"nodes with alarms or faults but no exposure: {strangers['node'].head(3).to_list()}"
        )
    nodes = exposure.join(per_node, on="node", how="left", maintain_order="left")
    nodes = nodes.with_columns(pl.col(COUNTS).fill_null(0.0))
    draws = resamples(nodes.height)
    watched_days = (nodes["gpu_days"] * nodes["weight"]).to_numpy()
    return nodes, figures(draws @ nodes.select(COUNTS).to_numpy(), draws @ watched_days)


def _intervals(raised: pl.DataFrame, faults: pl.DataFrame, exposure: pl.DataFrame) -> list[dict[str, Any]]:
    nodes, of = drawn(raised, faults, exposure)
    rows = {
        "precision": resampled("precision", of["precision"]),
        "recall": resampled_recall("recall", of["recall"], nodes, ("faults", "caught")),
        "recall_of_precursor": resampled_recall(
            "recall_of_precursor", of["recall_of_precursor"], nodes, ("precursor", "precursor_caught")
        ),
        "false_per_day_per_10k": resampled("false_per_day_per_10k", of["false_per_day_per_10k"]),
    }
    _bound_by_nothing_seen(rows, nodes)
    return list(rows.values())


def _bound_by_nothing_seen(rows: dict[str, dict[str, Any]], nodes: pl.DataFrame) -> None:
    top = nodes.filter(pl.col("weight") == pl.col("weight").max())
    if _total(top["judged"] - top["true"]) > 0:
        return
    node_days = _total(top["node_days"])
    unseen = (1 - TAIL ** (1 / node_days)) * _total(top["node_days"] * top["weight"])
    wrong, right = _total(nodes["judged"] - nodes["true"]) + unseen, _total(nodes["true"])
    false, precision = rows["false_per_day_per_10k"], rows["precision"]
    high = wrong * FLEET / _total(nodes["gpu_days"] * nodes["weight"])
    false |= {"high": np.fmax(false["high"], high), "method": "high exact: none seen where sampled"}
    if right > 0:
        low = np.fmin(precision["low"], right / (right + wrong))
        precision |= {"low": low, "method": "low exact: no false one seen where sampled"}


def _total(column: pl.Series) -> float:
    return float(column.to_numpy().sum())


def by_class(faults: pl.DataFrame) -> pl.DataFrame:
    """Judged faults by `class`: n, nodes, weighted_faults, recall, low, high, recall_of_precursor, median_lead_s.

    The interval draws the nodes with such a fault again; it is exact where all were caught, or none.
    """
    return _by(faults, "class")


def first_and_repeat(faults: pl.DataFrame) -> pl.DataFrame:
    """The same by `repeat`: false is the first fault of its GPU."""
    return _by(faults, "repeat")


def _by(faults: pl.DataFrame, column: str) -> pl.DataFrame:
    rows = [
        {column: of[column][0], **_recalled(of)} for of in weighted(faults).sort(column).partition_by(column)
    ]
    numbers = pl.col(pl.Float64()).fill_nan(None)
    return pl.DataFrame(rows, infer_schema_length=None).with_columns(numbers) if rows else pl.DataFrame()


def _recalled(faults: pl.DataFrame) -> dict[str, Any]:
    nodes = tally(_NO_ALARM, faults)
    of = figures(resamples(nodes.height) @ nodes.select(COUNTS).to_numpy(), np.ones(1))
    told = resampled_recall("recall", of["recall"], nodes, ("faults", "caught"))
    return {
        "n": faults.height, "nodes": nodes.height, "weighted_faults": _total(nodes["faults"]),
        "recall": told["value"], "low": told["low"], "high": told["high"],
        "recall_of_precursor": float(of["recall_of_precursor"][0]),
        "median_lead_s": lead_quantiles(faults, (0.5,))[0],
    }  # fmt: skip


def lead_times(faults: pl.DataFrame, quantiles: Sequence[float] = LEAD_QUANTILES) -> pl.DataFrame:
    """quantile, lead_s: weighted, over the caught faults; null where none was caught."""
    return pl.DataFrame({"quantile": list(quantiles), "lead_s": lead_quantiles(faults, quantiles)})
