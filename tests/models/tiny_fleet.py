"""The whole evaluation, once, on a simulated fleet far too small to show skill (synthetic): that the parts fit."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import polars as pl
import pytest
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from models import evaluate_simulated, imminence, metrics, telemetry_results, telemetry_scores
from models.learning import Learnt
from models.operating_point import OperatingPoint
from models.progress import Progress
from models.simulated_protocol import Setting

FALSE_PER_DAY = 5000.0
DENSE: dict[str, Any] = {
    "other_fleets": 1, "train_share": 0.02, "test_share": 0.1, "row_share": 0.02, "sample_share": 0.02,
}  # fmt: skip
SETTING = Setting(gpus=64, days=30, precursors="high", seed=8, fault_rate_factor=100.0, processes=1, **DENSE)
Evaluated = tuple[dict[str, Any], Learnt, OperatingPoint, dict[str, pl.DataFrame]]


@contextmanager
def lowered_limits() -> Iterator[pytest.MonkeyPatch]:
    """Few trees, few draws, and a fault in three is enough: on one thread, since threads that wait take minutes."""
    with pytest.MonkeyPatch.context() as patched, threadpool_limits(1):
        for name, value in (("max_iter", 5), ("learning_rate", 0.2), ("max_bins", 32)):
            patched.setitem(imminence._TREES, name, value)
        patched.setattr(imminence, "ENOUGH_EPISODES", 2)
        patched.setattr(telemetry_scores, "_FLOOR", 0.98)
        patched.setattr(telemetry_results, "_THRESHOLDS", 6)
        patched.setattr(metrics, "SAMPLES", 40)
        yield patched


_evaluate = evaluate_simulated.evaluate


@cache
def evaluated() -> Evaluated:
    """`evaluate_simulated.evaluate`, remembered: the same setting gives the same answer."""
    with lowered_limits():
        return _evaluate(SETTING, false_per_day=FALSE_PER_DAY, sweep_gpus=0, progress=Progress(io.StringIO()))
