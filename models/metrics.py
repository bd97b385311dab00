"""How good a ranking of units is, at the budgets an operator has; intervals by resampling whole units."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from models.history import Bools, Floats, Ints, Rows

BUDGETS: Final = (0.1, 0.5, 1.0)  # alarms per day per 10,000 GPUs
TIE_DRAWS: Final = 16  # a rule gives many units the same score; who goes first is drawn, and averaged
SAMPLES: Final = 400


def roc_auc(score: Floats, label: Bools) -> float:
    return float(_curves(score, label, np.zeros(len(label), np.int64), np.ones((1, 1)))[0][0])


def pr_auc(score: Floats, label: Bools) -> float:
    """Average precision; ties count as one threshold."""
    return float(_curves(score, label, np.zeros(len(label), np.int64), np.ones((1, 1)))[1][0])


def resamples(n_units: int, seed: int = 5) -> Floats:
    """(1 + SAMPLES, n_units) weights: row 0 is the data as it is, the others draw whole units with replacement."""
    drawn = np.random.default_rng(seed).multinomial(n_units, np.full(n_units, 1 / n_units), SAMPLES)
    return np.vstack([np.ones(n_units), drawn]).astype(np.float64)


def interval(values: Floats) -> tuple[float, float]:
    """95 % of the resampled `values` (row 0 left out); (nan, nan) where none is defined."""
    known = values[1:][np.isfinite(values[1:])]
    if not len(known):
        return float("nan"), float("nan")
    low, high = np.quantile(known, [0.025, 0.975])
    return float(low), float(high)


@dataclass(frozen=True, slots=True)
class Measured:
    """Each an array over the resamples; [0] is the measured value."""

    roc_auc: Floats
    pr_auc: Floats
    top1_capture: Floats
    top5_capture: Floats
    recall: dict[float, Floats]
    precision: dict[float, float]
    alarms: dict[float, float]


@dataclass(frozen=True, slots=True)
class Watch:
    """What alarms are judged by: the target faults, how long an alarm stands, GPUs per unit, units."""

    fault_unit: Ints
    fault_day: Floats
    horizon_days: float
    gpus_per_unit: int
    n_units: int


def measure(rows: Rows, score: Floats, watch: Watch, weights: Floats) -> Measured:
    """Every figure of one ranking. `weights` from `resamples`; higher `score` is riskier."""
    auc, ap = _curves(score, rows.label, rows.unit, weights)
    recall, precision, alarms = {}, {}, {}
    for budget in BUDGETS:
        caught, all_, useful, raised = alarm(rows, score, watch, budget)
        recall[budget] = _share(weights @ caught, weights @ all_)
        precision[budget], alarms[budget] = useful / raised if raised else float("nan"), raised
    return Measured(
        auc, ap, capture(rows, score, 0.01, weights), capture(rows, score, 0.05, weights),
        recall, precision, alarms,
    )  # fmt: skip


def _share(part: Floats, whole: Floats) -> Floats:
    return np.divide(part, whole, out=np.full_like(part, np.nan), where=whole > 0)


def curves(rows: Rows, score: Floats, weights: Floats, count: Floats | None = None) -> tuple[Floats, Floats]:
    """(ROC-AUC, average precision) under each row of `weights`; `count`: for how many rows each row stands."""
    return _curves(score, rows.label, rows.unit, weights, count)


def _curves(
    score: Floats, label: Bools, unit: Ints, weights: Floats, count: Floats | None = None
) -> tuple[Floats, Floats]:
    nothing = np.full(len(weights), np.nan)
    if not label.any() or label.all():
        return nothing, nothing
    group = _thresholds(score, label)
    shape = (int(group.max()) + 1, weights.shape[1])

    def weighted(which: Bools) -> Floats:
        amount = np.ones(which.sum()) if count is None else count[which]
        return np.asarray(csr_matrix((amount, (group[which], unit[which])), shape=shape) @ weights.T)

    hit, miss = weighted(label), weighted(~label)
    hits, misses = hit.cumsum(axis=0), miss.cumsum(axis=0)
    ap = _share((hit * _share(hits, hits + misses)).sum(axis=0, where=hit > 0), hits[-1])
    auc = _share((miss * (hits - hit / 2)).sum(axis=0), hits[-1] * misses[-1])
    return auc, ap


def _thresholds(score: Floats, label: Bools) -> Ints:
    """The threshold each row falls at, best first; neighbours without a hit are one, which changes no area."""
    values, group = np.unique(-score, return_inverse=True)
    has_hit = np.zeros(len(values), np.bool_)
    has_hit[group[label]] = True
    after_hit = np.concatenate([[False], has_hit[:-1]])
    threshold = np.cumsum(has_hit | after_hit)
    merged: Ints = (threshold - threshold[0])[group]
    return merged


def capture(rows: Rows, score: Floats, share: float, weights: Floats) -> Floats:
    """Share of the failing units of each day that are among that day's top `share`; ties count in part."""
    table = pl.DataFrame({"day": rows.day, "score": score}).with_columns(
        before=pl.col("score").rank("min", descending=True).over("day") - 1,
        tied=pl.len().over("day", "score"),
        places=pl.len().over("day") * share,
    )
    inside = ((pl.col("places") - pl.col("before")) / pl.col("tied")).clip(0, 1)
    part = table.select(inside.alias("part"))["part"].to_numpy()
    n = weights.shape[1]
    caught = np.bincount(rows.unit, weights=part * rows.label, minlength=n)
    return _share(weights @ caught, weights @ np.bincount(rows.unit, weights=rows.label, minlength=n))


def alarm(rows: Rows, score: Floats, watch: Watch, budget: float) -> tuple[Floats, Floats, float, float]:
    """Turn a ranking into alarms without looking ahead: the budget is saved up day by day.

    Whenever a whole alarm is saved, it goes to the riskiest unit in service that has none standing; an alarm
    stands for the horizon and catches every target fault of its unit within it. Ties are drawn.

    Returns faults caught and faults there were per unit, alarms that caught one, and alarms raised; means over
    the draws.
    """
    days, grid = _grid(rows, score, watch.n_units)
    catchable = _catchable(watch, days, grid)
    unit, begin = watch.fault_unit[catchable], watch.fault_day[catchable]
    n_units, rng = watch.n_units, np.random.default_rng(7)
    caught, useful, raised = np.zeros(n_units), 0, 0
    for _ in range(TIE_DRAWS):
        alarm_day, alarm_unit = _raise(days, grid + rng.random(grid.shape), watch, budget)
        hit = (alarm_unit[:, None] == unit) & _within(begin, alarm_day[:, None], watch.horizon_days)
        caught += np.bincount(unit[hit.any(axis=0)], minlength=n_units)
        useful, raised = useful + int(hit.any(axis=1).sum()), raised + len(alarm_day)
    there = np.bincount(unit, minlength=n_units).astype(np.float64)
    return caught / TIE_DRAWS, there, useful / TIE_DRAWS, raised / TIE_DRAWS


def raised(rows: Rows, score: Floats, watch: Watch, budget: float, seed: int) -> tuple[Floats, Ints]:
    """(day, unit) of the alarms that `alarm` judges, in one draw of the ties: what an operator would have seen."""
    days, grid = _grid(rows, score, watch.n_units)
    return _raise(days, grid + np.random.default_rng(seed).random(grid.shape), watch, budget)


def n_catchable(rows: Rows, watch: Watch) -> int:
    """Target faults that some decision could have warned of."""
    return int(_catchable(watch, *_grid(rows, np.zeros(len(rows.unit)), watch.n_units)).sum())


def _grid(rows: Rows, score: Floats, n_units: int) -> tuple[Floats, Floats]:
    """(days, rank per day and unit): whole numbers, higher is riskier, -inf out of service."""
    days, day = np.unique(rows.day, return_inverse=True)
    grid = np.full((len(days), n_units), -np.inf)
    _, rank = np.unique(score, return_inverse=True)
    grid[day, rows.unit] = rank
    return days, grid


def _within(begin: Floats, day: NDArray[np.float64], horizon_days: float) -> Bools:
    inside: Bools = (begin >= day) & (begin < day + horizon_days)
    return inside


def _catchable(watch: Watch, days: Floats, grid: Floats) -> Bools:
    watched = np.isfinite(grid[:, watch.fault_unit])
    near = _within(watch.fault_day, days[:, None], watch.horizon_days)
    seen: Bools = np.any(watched & near, axis=0)
    return seen


def _raise(days: Floats, order: Floats, watch: Watch, budget: float) -> tuple[Floats, Ints]:
    free_from = np.full(order.shape[1], -np.inf)
    saved, last, day_of, unit_of = (
        0.0,
        days[0] - np.median(np.diff(days)) if len(days) > 1 else days[0] - 1,
        [],
        [],
    )
    for day, here in zip(days, order, strict=True):
        in_service = np.isfinite(here).sum()
        saved += budget * in_service * watch.gpus_per_unit / 10_000 * (day - last)
        last = day
        open_to = np.where(free_from <= day, here, -np.inf)
        n = min(int(saved), int(np.isfinite(open_to).sum()))
        chosen = (
            np.argpartition(-open_to, n)[:n] if n < len(open_to) else np.flatnonzero(np.isfinite(open_to))
        )
        free_from[chosen] = day + watch.horizon_days
        saved -= n
        day_of.append(np.full(n, day))
        unit_of.append(chosen)
    return np.concatenate(day_of), np.concatenate(unit_of)


def verdict(ours: Floats, theirs: Floats) -> tuple[str, float, tuple[float, float]]:
    """Paired over the same resamples: 'better', 'equal' or 'worse', the difference and its 95 % interval."""
    gap = ours - theirs
    low, high = interval(gap)
    word = "better" if low > 0 else "worse" if high < 0 else "equal"
    return word, float(gap[0]), (low, high)
