"""What the imminence head and its baselines did on one test: rankings, alarms at a budget, verdicts in words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import numpy as np
import polars as pl

from models import curves, metrics, ranking
from models.alarms import Terms, watched
from models.history import Floats
from models.imminence import HORIZONS_S, Model
from models.metrics import BUDGETS
from models.telemetry_baselines import Score
from models.telemetry_scores import COUNT, LONGEST_S, OURS, SERVED_S, Seen
from pipeline import labels
from pipeline.labels import DEFINITION

Row = dict[str, Any]
TERMS: Final = Terms(
    horizon_s=LONGEST_S, min_lead_s=DEFINITION.min_lead_s, stand_s=3600.0, blind_s=DEFINITION.blind_s
)
_THRESHOLDS: Final = 48
_UNKNOWN: Final = {"value": None, "low": None, "high": None}


@dataclass(frozen=True, slots=True)
class Test:
    """One test: who was seen, the faults of those nodes in its time and (`known`) before, and all their events."""

    seen: Seen
    faults: pl.DataFrame
    known: pl.DataFrame
    events: pl.DataFrame
    until: datetime
    about: Row
    """Head, target, cut and which test: the first keys of every row."""
    last_seen: pl.DataFrame | None = None
    """gpu_uuid and `last` of GPUs whose history ended before `until`: what they did later nobody can judge."""

    @property
    def gpu_days(self) -> float:
        return float((self.seen.exposure["gpu_days"] * self.seen.exposure["weight"]).sum())

    def label(self, horizon_s: int, faults: pl.DataFrame | None = None) -> pl.Series:
        """Of the sample's rows, by all faults unless given others."""
        told = self.known if faults is None else faults
        return labels.label(
            self.seen.sample, told, horizon_s=horizon_s, until=self.until, last_seen=self.last_seen
        )


@dataclass(frozen=True, slots=True)
class Figures:
    """One scorer at one horizon. `drawn`: figure -> value over draws of nodes, the first as measured."""

    row: Row
    drawn: dict[str, Floats]


def curve(test: Test, name: str) -> pl.DataFrame:
    """The operating curve of one scorer, at up to 48 of its own scores; without rows where none was over its floor."""
    return curve_of(
        test.seen.risky[name], test.faults, test.gpu_days, until=test.until, last_seen=test.last_seen
    )


def curve_of(
    risky: pl.DataFrame,
    faults: pl.DataFrame,
    gpu_days: float,
    *,
    until: datetime,
    last_seen: pl.DataFrame | None = None,
    count: int | None = None,
) -> pl.DataFrame:
    """curves.operating_curve on TERMS, at up to `count` of the scores of `risky`; without rows where it has none."""
    at = thresholds(risky["risk"], count)
    told = curves.operating_curve(
        risky, faults, gpu_days, at or [0.0], TERMS, until=until, last_seen=last_seen
    )
    return told if at else told.clear()


def thresholds(risk: pl.Series, count: int | None = None) -> list[float]:
    """`count` scores from the highest down, at places that grow like powers: the first alarms are told apart finely."""
    ordered = np.unique(risk.to_numpy())[::-1]
    if not len(ordered):
        return []
    places = np.unique(np.geomspace(1, len(ordered), count or _THRESHOLDS).astype(int) - 1)
    return [float(x) for x in ordered[places]]


def figures(test: Test, model: Model, baselines: Mapping[str, Score]) -> dict[tuple[str, int], Figures]:
    """(scorer, horizon in seconds) -> its figures. Alarms are told of the served horizon only, and claim LONGEST_S."""
    found: dict[tuple[str, int], Figures] = {}
    fixed = {name: score(test.seen.sample, test.events) for name, score in baselines.items()}
    for horizon_s in HORIZONS_S:
        label = test.label(horizon_s)
        for name, risk in ({OURS: model.probability(test.seen.sample, horizon_s)} | fixed).items():
            rows = test.seen.sample.select(
                "node", "weight", COUNT, label.alias("label"), pl.Series("risk", risk)
            )
            found[name, horizon_s] = _figures(test, name, horizon_s, rows)
    return found


def _figures(test: Test, name: str, horizon_s: int, rows: pl.DataFrame) -> Figures:
    drawn = ranking.drawn(rows)
    captured = {
        f"top{round(100 * r['share'])}_capture": r for r in ranking.top_capture(rows).iter_rows(named=True)
    } or {f"top{round(100 * share)}_capture": _UNKNOWN for share in ranking.SHARES}
    row: Row = {
        **test.about, "horizon_days": horizon_s / 86_400, "model": name, "baseline": name != OURS,
        **{n: _number(drawn[n][0]) for n in ("roc_auc", "pr_auc", "base_rate")},
        **{n: r["value"] for n, r in captured.items()}, "n_faults": test.faults.height,
        "recall_at_budget": None, "precision_at_budget": None,
        "ci95": {n: _interval(drawn[n]) for n in ("roc_auc", "pr_auc", "base_rate")}
        | {n: [r["low"], r["high"]] for n, r in captured.items()},
    }  # fmt: skip
    if horizon_s == SERVED_S and name in test.seen.risky:
        told = curve(test, name)
        at = {budget: _at_budget(test, name, told, budget) for budget in BUDGETS}
        drawn |= {f"recall_at_budget_{b:g}": d["recall"] for b, d in at.items()}
        row["recall_at_budget"] = {str(b): _number(d["recall"][0]) for b, d in at.items()}
        row["precision_at_budget"] = {str(b): _number(d["precision"][0]) for b, d in at.items()}
        row["ci95"]["recall_at_budget"] = {str(b): _interval(d["recall"]) for b, d in at.items()}
    return Figures(row, drawn)


def _at_budget(test: Test, name: str, told: pl.DataFrame, budget: float) -> dict[str, Floats]:
    """Recall and precision over draws, at the lowest threshold whose alarms keep to the budget; 0 where none does."""
    within = told.filter(pl.col("alarms_per_day_per_10k") <= budget)
    if within.is_empty():
        nothing = np.zeros(metrics.SAMPLES + 1)
        return {"recall": nothing, "precision": np.full_like(nothing, np.nan)}
    best = within.sort(pl.col("recall").fill_null(-1.0), "threshold", descending=True)["threshold"][0]
    seen = watched(test.seen.risky[name], test.faults, blind_s=TERMS.blind_s)
    raised, judged = curves.at_threshold(
        seen.filter(pl.col("risk") >= best), test.faults, float(best), TERMS,
        until=test.until, last_seen=test.last_seen,
    )  # fmt: skip
    return curves.drawn(raised, judged, test.seen.exposure)[1]


def first_faults(test: Test, model: Model, *, repeat: bool) -> dict[str, Any]:
    """The ranking of rows whose next fault is a first (or a repeat) among those without one; no others count."""
    label = test.label(SERVED_S)
    before_first = test.label(SERVED_S, test.known.filter(~pl.col("repeat"))).fill_null(value=False)
    own = ~before_first if repeat else before_first
    rows = test.seen.sample.select(
        "node", "weight", COUNT,
        pl.select(pl.when(~label | own).then(label)).to_series().alias("label"),
        pl.Series("risk", model.probability(test.seen.sample, SERVED_S)),
    )  # fmt: skip
    drawn = ranking.drawn(rows)
    names = ("roc_auc", "pr_auc", "base_rate")
    return {n: _number(drawn[n][0]) for n in names} | {
        "n_faults": test.faults.filter(pl.col("repeat") == repeat).height,
        "ci95": {n: _interval(drawn[n]) for n in names},
    }


def verdict(found: Mapping[tuple[str, int], Figures], horizon_s: int) -> Row:
    """Ours against the baseline that did best on this very test, which is the hardest choice."""
    rivals = {name: f for (name, h), f in found.items() if h == horizon_s and name != OURS}
    best = max(rivals, key=lambda n: rivals[n].row["pr_auc"] or 0.0)
    ours, theirs = found[OURS, horizon_s], rivals[best]
    said: Row = {"horizon_days": horizon_s / 86_400, "best_baseline": best}
    for figure in ("pr_auc", "roc_auc", "recall_at_budget_0.5", "recall_at_budget_1"):
        if figure in ours.drawn and figure in theirs.drawn:
            told = metrics.verdict(ours.drawn[figure], theirs.drawn[figure])
            said[figure] = dict(zip(("verdict", "difference", "ci95"), told, strict=True))
    return said


def _interval(values: Floats) -> list[float | None]:
    return [_number(x) for x in metrics.interval(values)]


def _number(x: Any) -> float | None:
    return float(x) if np.isfinite(x) else None
