"""`foreshock evaluate --dataset lake` and `foreshock train`: the imminence head on a site's own lake."""

from __future__ import annotations

from typing import Any

import polars as pl

from models import lake_protocol
from models.evaluate_simulated import at_point, sentence
from models.learning import Learnt
from models.operating_point import OperatingPoint, by_budget
from models.progress import Progress
from models.telemetry_results import Row, curve, figures, verdict
from models.telemetry_scores import OURS
from pipeline import labels
from pipeline.lake import Lake


def evaluate(
    lake: Lake, *, false_per_day: float, seed: int, progress: Progress
) -> tuple[Row, Learnt, OperatingPoint, dict[str, pl.DataFrame]]:
    """As models.evaluate_simulated.evaluate, on later time only: the lake's own nodes go on.

    Raises ForeshockError where the lake has too few faults or too little time.
    """
    of = lake_protocol.reach(lake)
    progress.say(
        f"{of.rows:,} minutes from {of.since:%Y-%m-%d} to {of.until:%Y-%m-%d}, {of.faults.height} faults"
    )
    lake_protocol.check_enough(of)
    choose, window = lake_protocol.windows(of)
    learnt = lake_protocol.learn(lake, of, seed=seed)
    progress.say(f"learnt from {learnt.matrix.height:,} rows, {learnt.faults.height} faults before the cut")
    point = by_budget(
        curve(lake_protocol.test(lake, of, learnt, choose, {}, seed=seed), OURS), false_per_day, "false"
    )
    progress.say(f"operating point: {point.why}")
    about: dict[str, Any] = {
        "head": "imminence", "target": "any GPU fault", "cut": (window[0] - of.since).days, "test": "unseen time",
    }  # fmt: skip
    test = lake_protocol.test(lake, of, learnt, window, about, seed=seed)
    found = figures(test, learnt.model, learnt.baselines)
    told, frames = at_point(test, learnt, point.threshold)
    progress.say(sentence(told))
    report: Row = {
        "dataset": "lake", "synthetic": of.synthetic, "head": "imminence",
        "label": labels.DEFINITION.as_dict(), "label_digest": labels.DEFINITION.digest,
        "learnt": {"n_rows": learnt.matrix.height, "n_faults": learnt.faults.height,
                   "episodes": {str(h): head.episodes for h, head in learnt.model.heads.items()}},
        "operating_point": point.as_dict(), "results": [f.row for f in found.values()],
        "verdicts": [{"test": "unseen time", **verdict(found, h)} for h in sorted({h for _, h in found})],
        "tests": [{"test": "unseen time", **told}], "permuted_label_control": [], "sweep": [],
    }  # fmt: skip
    return report, learnt, point, {f"unseen time/{k}": v for k, v in frames.items()}
