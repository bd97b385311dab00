"""How well risks order rows, and whether they mean what they say; weighted, with intervals by resampling nodes.

A fine score is cut to some thousand levels first: a table of levels by nodes is all that a resample needs.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import numpy as np
import polars as pl
from scipy.sparse import csr_matrix

from models.history import Bools, Floats, Ints, Rows
from models.metrics import curves, interval, resamples

LEVELS: Final = 4096
SHARES: Final = (0.01, 0.05)
_LEAST_RISK: Final = 1e-6


def ranking(rows: pl.DataFrame, *, levels: int = LEVELS) -> pl.DataFrame:
    """figure, value, low, high: roc_auc, pr_auc, base_rate with 95 % intervals. Null: not defined.

    `rows`: risk, label (null: left out), weight (one per node), node; `count`, for how many rows of its node a row
    stands (1 without it). Raises ValueError where a node has two weights.
    """
    return _table(drawn(rows, levels=levels))


def drawn(rows: pl.DataFrame, *, levels: int = LEVELS) -> dict[str, Floats]:
    """The same figures over draws of the nodes, the first as measured: two scores on the same rows go in pairs."""
    of, weights = _known(rows, levels)
    score = of.x["level"].to_numpy().astype(np.float64)
    count = of.x["count"].to_numpy()
    auc, ap = curves(of, score, weights, count)
    everyone = np.ones(len(of.unit), np.bool_)
    rate = _share(weights @ _per_node(of, of.label), weights @ _per_node(of, everyone))
    return {"roc_auc": auc, "pr_auc": ap, "base_rate": rate}


def top_capture(
    rows: pl.DataFrame, shares: Iterable[float] = SHARES, *, levels: int = LEVELS
) -> pl.DataFrame:
    """share, value, low, high: how much of the positive weight is in the riskiest `share` of all weight.

    A level at the edge counts in part. `rows` as for `ranking`.
    """
    of, weights = _known(rows, levels)
    if not len(of.unit):
        return pl.DataFrame(
            schema={"share": pl.Float64(), "value": pl.Float64(), "low": pl.Float64(), "high": pl.Float64()}
        )
    level = of.x["level"].to_numpy().astype(np.int64)
    down: Ints = level.max() - level
    hit, miss = (_cells(of, down, which, weights) for which in (of.label, ~of.label))
    all_ = hit + miss
    so_far = all_.cumsum(axis=0)
    tables = []
    for share in shares:
        inside = _share(share * so_far[-1] - (so_far - all_), all_).clip(0.0, 1.0)
        caught = _share(np.nansum(hit * inside, axis=0), hit.sum(axis=0))
        tables.append(
            _table({"top_capture": caught}).select(pl.lit(share).alias("share"), "value", "low", "high")
        )
    return pl.concat(tables)


def _known(rows: pl.DataFrame, levels: int) -> tuple[Rows, Floats]:
    """(rows with a `level`, weights of the nodes in each resample)."""
    known = rows.filter(
        pl.col("label").is_not_null() & pl.col("risk").is_not_nan() & pl.col("risk").is_not_null()
    )
    nodes = known.group_by("node").agg(pl.col("weight").min(), most=pl.col("weight").max()).sort("node")
    if (nodes["weight"] != nodes["most"]).any():
        raise ValueError("a node has rows of different weights: the weight is that of its node")
    order = nodes.select("node").with_row_index("unit")
    unit = known.select("node").join(order, on="node", how="left", maintain_order="left")["unit"]
    label = known["label"].to_numpy().astype(np.bool_)
    level = _levels(known["risk"].to_numpy(), label, levels)
    count = known["count"].cast(pl.Float64).to_numpy() if "count" in known.columns else np.ones(len(unit))
    x = pl.DataFrame({"level": level, "count": count})
    weights = resamples(nodes.height) if nodes.height else np.ones((1, 0))
    return Rows(unit.to_numpy().astype(np.int64), np.zeros(len(unit)), x, label), weights * nodes[
        "weight"
    ].to_numpy()


def _levels(risk: Floats, label: Bools, levels: int) -> Ints:
    """Higher is riskier. Half of the edges are quantiles of the positives, which are few and decide the curves."""
    values = np.unique(risk)
    if len(values) > levels:
        steps = np.linspace(0, 1, levels // 2)
        values = np.unique(
            [np.quantile(risk[which], steps, method="nearest") for which in (label, ~label) if which.any()]
        )
    found: Ints = np.searchsorted(values, risk, side="right").astype(np.int64)
    return found


def _cells(of: Rows, level: Ints, which: Bools, weights: Floats) -> Floats:
    """[levels, resamples]: weight of the rows that `which` names."""
    shape = (int(level.max()) + 1, weights.shape[1])
    count = of.x["count"].to_numpy()[which]
    cells = csr_matrix((count, (level[which], of.unit[which])), shape=shape)
    return np.asarray(cells @ weights.T)


def _per_node(of: Rows, which: Bools) -> Floats:
    n = int(of.unit.max()) + 1 if len(of.unit) else 0
    return np.bincount(of.unit, weights=which * of.x["count"].to_numpy(), minlength=n).astype(np.float64)


def _share(part: Floats, whole: Floats) -> Floats:
    shares: Floats = np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole > 0)
    return shares


def _table(figures: dict[str, Floats]) -> pl.DataFrame:
    rows: list[dict[str, Any]] = []
    for name, values in figures.items():
        low, high = interval(values)
        rows.append({"figure": name, "value": float(values[0]), "low": low, "high": high})
    return pl.DataFrame(rows).with_columns(pl.col(pl.Float64()).fill_nan(None))


def calibration(risk: pl.Series, label: pl.Series, weight: pl.Series, bins: int = 12) -> pl.DataFrame:
    """from_risk, to_risk, rows, weight, mean_risk, rate: one row per bin that has rows, ascending.

    Bins are even in the logarithm of the risk, from the least (1e-6 or more) to the greatest; what is below the first
    edge is in the first bin. Both means are weighted; a null label is left out.
    """
    rows = pl.DataFrame({"risk": risk, "label": label, "weight": weight}).drop_nulls()
    if rows.is_empty():
        return pl.DataFrame(
            schema=dict.fromkeys(("from_risk", "to_risk", "weight", "mean_risk", "rate"), pl.Float64())
        )
    of = rows["risk"].to_numpy().clip(_LEAST_RISK)
    edges = np.geomspace(of.min(), max(of.max(), of.min() * 1.001), bins + 1)
    place = np.searchsorted(edges[1:-1], of, side="right")
    w = pl.col("weight")
    found = rows.with_columns(bin=pl.Series(place)).group_by("bin").agg(
        rows=pl.len(), weight=w.sum(),
        mean_risk=(pl.col("risk") * w).sum() / w.sum(),
        rate=w.filter("label").sum() / w.sum(),
    ).sort("bin")  # fmt: skip
    at = found["bin"].to_numpy()
    return found.select(
        pl.Series("from_risk", edges[at]),
        pl.Series("to_risk", edges[at + 1]),
        "rows",
        "weight",
        "mean_risk",
        "rate",
    )


def expected_calibration_error(table: pl.DataFrame) -> float:
    """Mean distance of risk and rate over all weight, NaN without rows. Quiet rows are most: look at the table too."""
    gap = (table["mean_risk"] - table["rate"]).abs().to_numpy()
    weight = table["weight"].to_numpy()
    return float((gap * weight).sum() / weight.sum()) if len(weight) else float("nan")
