"""Advice as one object for programs."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

from collector.config import WatchConfig
from effective_time.compare import Comparison
from effective_time.curves import curves
from effective_time.whatif import Advice
from effective_time.whatif_report import DEFINITION, Asked, values


def as_dict(found: Advice, asked: Asked, *, with_curves: bool = False) -> dict[str, Any]:
    """Times in seconds, ETTR and shares in 0..1; what is not defined is null."""
    case = found.case
    told: dict[str, Any] = finite(
        {
            "gpus": case.gpus, "nodes": case.nodes, "rates": asdict(case.rates), "mtbf_s": found.mtbf_s,
            "budget_s": {f"{t:g}": s for t, s in found.budgets_s.items()},
            "interval_s": case.best_interval_s(foretold=True),
            "interval_without_s": case.best_interval_s(foretold=False),
            "best_interval_s": found.best_interval_s, "best_interval_without_s": found.best_interval_without_s,
            "ettr_without": found.ettr_without, "ettr_with": found.ettr_with, "ettr_gain": found.gain,
            "ettr_without_exponential": found.exact_without, "simulation": _simulation(found.simulated),
            "ettr_per_tenth_recall": found.tenth_more_recall, "recovery_to_match_s": found.recovery_to_match_s,
            "alarms_pay": case.pays, "alarm_threshold": asked.alarm_threshold(found),
            "precision_breaks_even_at": found.breaks_even_at,
            "caps": _caps(found), "spare_nodes": case.spares,
            "spare_nodes_needed": found.caps.spare_nodes, "predictor": _predictor(asked), "inputs": _inputs(asked),
            "definition": DEFINITION, "synthetic": True,
        }
    )  # fmt: skip
    return told | ({"curves": finite(asdict(curves(case)))} if with_curves else {})


def _simulation(s: Comparison) -> dict[str, Any]:
    return {
        "seeds": s.seeds, "days": s.case.days, "ettr_without": asdict(s.without), "ettr_with": asdict(s.with_),
        "ettr_gain": asdict(s.gain), "mtbf_s": asdict(s.mtbf_s), "mtbf_with_s": asdict(s.mtbf_with_s),
        "lost_share_without": s.lost_without, "lost_share_with": s.lost_with, "asked_per_day": s.asked,
        "asked_on_risk_per_day": s.asked_on_risk, "faults_avoided_share": s.avoided_share,
    }  # fmt: skip


def _caps(found: Advice) -> dict[str, Any]:
    config, capped, (drained, predicted) = WatchConfig(), found.capped, found.caps_now
    return {
        "shipped": {"drained_nodes": config.drained_nodes, "predicted_drains": config.predicted_drains},
        "configured": {"drained_nodes": drained, "predicted_drains": predicted},
        "needed": {
            "drained_nodes": found.caps.drained_nodes, "predicted_drains": found.caps.predicted_drains,
        },
        "drains_held_back_share": found.drains_held_back,
        "ettr_with": None if capped is None else asdict(capped.with_),
        "ettr_gain": None if capped is None else asdict(capped.gain),
    }  # fmt: skip


def _predictor(asked: Asked) -> dict[str, Any]:
    c = asked.case
    told: dict[str, Any] = {
        "recall": c.recall_of_all, "recall_of_gpu_faults": c.recall, "precision": c.precision, "lead_s": c.lead_s,
        "model_id": None, "synthetic": None, "threshold": None, "curve": None,
    }  # fmt: skip
    if asked.model is None:
        return told
    card, best = asked.model.card, asked.model.best
    return told | {
        "model_id": card.model_id, "synthetic": card.synthetic, "threshold": None if best is None else best.threshold,
        "curve": [asdict(p) for p in asked.model.points],
    }  # fmt: skip


def _inputs(asked: Asked) -> dict[str, Any]:
    return {key: {"value": value, "origin": asked.origins[key]} for key, _, value, _ in values(asked.case)}


def finite(value: Any) -> Any:
    """Dicts and lists as they are, NaN and infinity null: they are no JSON."""
    if isinstance(value, dict):
        return {k: finite(v) for k, v in value.items()}
    if isinstance(value, list):
        return [finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
