"""`foreshock evaluate --dataset lake` and `foreshock train`: the imminence head on a site's own lake."""

from __future__ import annotations

from typing import Any

import polars as pl

from models import lake_protocol
from models.evaluate_simulated import judge, opened, sentence
from models.learning import Learnt
from models.operating_point import OperatingPoint, by_budget
from models.progress import Progress
from models.telemetry_results import Row, curve
from models.telemetry_scores import OURS
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
    report = {"dataset": "lake", "synthetic": of.synthetic, **opened(learnt, point)}
    frames = judge(report, "unseen time", test, learnt)
    progress.say(sentence(report["tests"][-1]))
    return report, learnt, point, frames
