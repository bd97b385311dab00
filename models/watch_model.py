"""Is the active model still the one that was promised: inputs and risks against its card, alarms against faults."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Final

import polars as pl

from collector.errors import ForeshockError
from models import curves, drift
from models.alarms import watched
from models.cards import Card
from models.replay import RISK, Replay, replay
from models.telemetry_results import TERMS
from pipeline.lake import Lake
from pipeline.scoring import Scorer

SAMPLE_ROWS: Final = 200_000
"""Minutes whose inputs are compared; a hundred times fewer can already tell (models/drift.py)."""
ALERTS: Final = ("decayed", "drifted")
"""What a weekly look should not let pass."""
_TOO_FEW: Final = "too few faults to tell"


def watch(
    lake: Lake,
    scorer: Scorer,
    card: Card,
    since: datetime,
    until: datetime,
    *,
    seed: int = 0,
    rows_at_once: int = 1_000_000,
) -> dict[str, Any]:
    """Plain values. `drift`: drift.DRIFT rows, `decay`: drift.DECAY rows, and `verdict` in one word.

    decayed (alarms are worse than the card promises), else drifted (an input or the score), else look, else `too few
    faults` (nothing can be said of precision and recall), else stable. Alarms within a horizon of `until` are not
    judged yet. Raises ForeshockError for a time no longer than the horizon, a card without reference, an empty lake.
    """
    horizon = timedelta(seconds=TERMS.horizon_s)
    if until - since <= horizon:
        raise ForeshockError(
            f"no alarm of the last {until - since} can be judged yet: each claims {horizon} ahead",
            hint="foreshock models drift --days 7",
        )
    if not card.reference:
        raise ForeshockError(
            f"{card.model_id} has no reference of its inputs in its card",
            hint="train again: foreshock train",
        )
    seen = replay(
        lake, (scorer,), (card.point.threshold,), since, until,
        sample_rows=SAMPLE_ROWS, seed=seed, rows_at_once=rows_at_once,
    )  # fmt: skip
    inputs = drift.psi(card.reference, seen.sample.drop(RISK), risk=seen.sample[RISK])
    alarms = drift.decay(card, _recent(seen, card.point.threshold))
    return {
        "model_id": card.model_id, "since": since.isoformat(), "until": until.isoformat(),
        "synthetic": seen.synthetic, "gpu_days": seen.gpu_days, "n_rows": seen.sample.height,
        "n_faults": seen.faults.height, "verdict": _overall(inputs["verdict"], alarms),
        "drift": inputs.to_dicts(), "decay": alarms.to_dicts(),
    }  # fmt: skip


def _recent(seen: Replay, threshold: float) -> drift.Recent:
    """What is decided. The last horizon is watched but its alarms are not judged, so its GPU-days do not count.

    An alarm of the first minute stood before: it may have caught a fault, but it was not raised in this time.
    """
    rows = watched(seen.risky[0], seen.known, blind_s=TERMS.blind_s)
    raised, told = curves.at_threshold(
        rows, seen.faults, threshold, TERMS, until=seen.until, last_seen=seen.last_seen
    )
    judged = raised.filter(pl.col("true").is_not_null(), pl.col("time") > seen.since + timedelta(minutes=1))
    decided = 1 - TERMS.horizon_s / (seen.until - seen.since).total_seconds()
    return drift.Recent(
        alarms=judged.height,
        useful=int(judged["true"].sum()),
        faults=told.height,
        caught=int(told["caught"].sum()),
        gpu_days=seen.gpu_days * decided,
    )


def _overall(inputs: pl.Series, decay: pl.DataFrame) -> str:
    if "decayed" in decay["verdict"]:
        return "decayed"
    for word in ("drifted", "look"):
        if word in inputs:
            return word
    shares = decay.filter(pl.col("measure").is_in(["precision", "recall"]))
    return "too few faults" if _TOO_FEW in shares["verdict"] else "stable"
