"""Two scorers on the same stretch of the lake, and the faults that came: is the candidate better than what serves.

A shadow that costs the live path nothing: live features are those of the lake to the last bit, so both are replayed
(models/replay.py) in place of scoring every minute twice. What the active model said live is not needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

import numpy as np
import polars as pl

from models import curves, metrics
from models.alarms import watched
from models.history import Floats
from models.replay import RISK, Replay, replay
from models.telemetry_results import TERMS
from models.telemetry_results import thresholds as choices
from pipeline.lake import Lake
from pipeline.scoring import Scorer

BUDGETS: Final = (0.5, 1.0)
"""Alarms a day per 10,000 GPUs, at which both are compared as equals."""
ENOUGH_FAULTS: Final = 20
ENOUGH_NODES: Final = 10
"""With fewer the draws of nodes are nearly all alike, and their interval promises what it cannot know."""
TOO_FEW: Final = "too few faults to tell"
NO_ALARM: Final = "the budget allows no alarm"
UNDEFINED: Final = "not defined"
_FIGURES: Final = ("precision", "recall", "false_per_day_per_10k")
_LESS_IS_BETTER: Final = ("false_per_day_per_10k",)

Row = dict[str, Any]
Drawn = dict[str, Floats]


def compare(
    lake: Lake,
    one: Scorer,
    other: Scorer,
    since: datetime,
    until: datetime,
    *,
    thresholds: tuple[float, float],
    budgets: Sequence[float] = BUDGETS,
    rows_at_once: int = 1_000_000,
) -> Row:
    """`one` (what serves) and `other` (the candidate) on [since, until); words and differences are the other's.

    Plain values. Of each, with 95 % intervals over draws of nodes: precision, recall and false alarms a day per
    10,000 GPUs at its own threshold; recall and precision at `budgets` (alarms a day per 10,000 GPUs), at the
    threshold that turned out best for it within the budget, a favour done to both. Minutes of one risk cannot be told
    apart: a scorer that gives its highest risk to more than the budget has no alarm there.

    `verdicts`: per figure `verdict`, `difference` (other - one) and its `ci95`, both drawn on the same nodes. A verdict
    is better, equal or worse, or TOO_FEW, NO_ALARM (the stretch is too small for the budget) or UNDEFINED (one of them
    has no alarm to be judged).

    The stretch must be new to both: that is the caller's to see to. Raises ForeshockError where the lake is empty.
    """
    seen = replay(lake, (one, other), thresholds, since, until, rows_at_once=rows_at_once)
    sides = [_Side(seen, at) for at in (0, 1)]
    own = [side.at(threshold) for side, threshold in zip(sides, thresholds, strict=True)]
    budget = {b: [side.at(side.best_within(b)) for side in sides] for b in budgets}
    nodes = seen.faults["node"].n_unique()
    enough = seen.faults.height >= ENOUGH_FAULTS and nodes >= ENOUGH_NODES
    verdicts = {name: _verdict(name, own[0], own[1], enough=enough) for name in _FIGURES}
    for b, (theirs, ours) in budget.items():
        allowed = b * seen.gpu_days / 10_000
        found = _verdict("recall", theirs, ours, enough=enough)
        verdicts[f"recall_at_budget_{b:g}"] = found if allowed >= 1 else found | {"verdict": NO_ALARM}
    told = [
        {"model_id": scorer.model_id, "threshold": threshold, "at_own_threshold": _told(own[at]),
         "at_budget": {f"{b:g}": _told(both[at]) for b, both in budget.items()}}
        for at, (scorer, threshold) in enumerate(zip((one, other), thresholds, strict=True))
    ]  # fmt: skip
    return {
        "since": since.isoformat(), "until": until.isoformat(), "synthetic": seen.synthetic,
        "gpu_days": seen.gpu_days, "n_faults": seen.faults.height, "n_nodes_with_faults": nodes,
        "enough_faults": enough, "budgets": list(budgets), "one": told[0], "other": told[1], "verdicts": verdicts,
    }  # fmt: skip


def wins(told: Row) -> tuple[bool, str]:
    """Is the other of `compare` a paired win, and the sentence that says why or why not.

    A win: recall at an equal budget better at one of its budgets and worse at none, and precision at its own threshold
    not worse. One that raised no alarm to be judged has no precision to show, and does not win.
    """
    at = {b: told["verdicts"][f"recall_at_budget_{b:g}"] for b in told["budgets"]}
    precision = told["verdicts"]["precision"]
    stretch = f"{told['n_faults']} faults on {told['n_nodes_with_faults']} nodes in {told['gpu_days']:,.0f} GPU-days"
    said = "; ".join(
        f"recall at {b:g} alarms a day per 10,000 GPUs: {_in_words(v)}" for b, v in at.items()
    ) + f"; precision at its own threshold: {_in_words(precision)} ({stretch})"  # fmt: skip
    words = {v["verdict"] for v in at.values()}
    if not told["enough_faults"]:
        needed = f"{ENOUGH_FAULTS} faults on {ENOUGH_NODES} nodes are needed"
        return False, f"{TOO_FEW}: {stretch}, {needed}"
    shown = told["other"]["at_own_threshold"]["precision"]["value"] is not None
    return "better" in words and "worse" not in words and precision["verdict"] != "worse" and shown, said


class _Side:
    """One of the two: its minutes outside open episodes, and what alarms at a threshold come to."""

    def __init__(self, seen: Replay, at: int) -> None:
        self._seen = seen
        self._rows = watched(seen.risky[at], seen.known, blind_s=TERMS.blind_s)
        self._curve = curves.operating_curve(
            self._rows.drop("next_fault"), seen.faults, seen.gpu_days, choices(self._rows[RISK]), TERMS,
            until=seen.until, last_seen=seen.last_seen,
        )  # fmt: skip

    def best_within(self, budget: float) -> float | None:
        """The threshold of most recall with at most `budget` alarms a day per 10,000 GPUs; None where none is."""
        if self._curve.is_empty():
            return None
        within = self._curve.filter(pl.col("alarms_per_day_per_10k") <= budget)
        best = within.sort(pl.col("recall").fill_null(-1.0), "threshold", descending=True)
        return None if best.is_empty() else float(best["threshold"][0])

    def at(self, threshold: float | None) -> Drawn:
        """Figures over draws of nodes, the first as measured; with None no alarm is raised."""
        asked = np.inf if threshold is None else threshold
        raised, told = curves.at_threshold(
            self._rows.filter(pl.col(RISK) >= asked), self._seen.faults, asked, TERMS,
            until=self._seen.until, last_seen=self._seen.last_seen,
        )  # fmt: skip
        return curves.drawn(raised, told, self._seen.exposure)[1]


def _verdict(name: str, one: Drawn, other: Drawn, *, enough: bool) -> Row:
    gap = other[name] - one[name]
    low, high = metrics.interval(gap)
    word = metrics.verdict(-gap if name in _LESS_IS_BETTER else gap, np.zeros_like(gap))[0]
    if not enough:
        word = TOO_FEW
    elif not np.isfinite(gap[0]):
        word = UNDEFINED
    return {"verdict": word, "difference": _number(gap[0]), "ci95": [_number(low), _number(high)]}


def _told(drawn: Drawn) -> Row:
    names = (*_FIGURES, "alarms_per_day_per_10k")
    return {
        n: {"value": _number(drawn[n][0]), "ci95": [_number(x) for x in metrics.interval(drawn[n])]}
        for n in names
    }


def _in_words(verdict: Row) -> str:
    if verdict["difference"] is None or verdict["verdict"] == NO_ALARM:
        return str(verdict["verdict"])
    low, high = verdict["ci95"]
    return f"{verdict['verdict']} ({verdict['difference']:+.3f}, {low:+.3f} to {high:+.3f})"


def _number(x: Any) -> float | None:
    return float(x) if np.isfinite(x) else None
