"""The curves of a what-if by the closed forms: one source for the picture of the command and of the dashboard.

Pure. Times in seconds, ETTR and shares of the time in 0..1.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from effective_time import closed
from effective_time.compare import Case

PRECISIONS: Final = (0.2, 0.5, 0.85, 1.0)
SIZES: Final = (1_000, 100_000)
_POINTS: Final = 60
_FURTHEST: Final = 20.0
"""How many times shorter and longer than the best interval the first picture goes."""


@dataclass(frozen=True, slots=True)
class Line:
    """`mark` is the point of it that matters: the best interval, this predictor."""

    name: str
    x: list[float]
    y: list[float]
    mark: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class Curves:
    """`waste_by_interval_s`: share of the time lost. `gain_by_recall`: ETTR gained, by recall of all interruptions
    up to `gpu_share`, what GPUs cause of them. `ettr_by_gpus`: both arms by size of the job.
    """

    waste_by_interval_s: list[Line]
    gain_by_recall: list[Line]
    gpu_share: float
    ettr_by_gpus: list[Line]


def curves(case: Case) -> Curves:
    return Curves(
        [_waste("without", case, foretold=False), _waste("with", case, foretold=True)],
        [*(_gain_at(case, p) for p in PRECISIONS), _here(case)],
        case.rates.gpu_share,
        _by_size(case),
    )


def _waste(name: str, case: Case, *, foretold: bool) -> Line:
    """Around the best interval, whatever interval was given."""
    ettr, least_s = closed.with_ if foretold else closed.without, case.stack.checkpoint_s
    best_s = max(replace(case, interval_s=None).best_interval_s(foretold=foretold), least_s)
    at_s = np.geomspace(max(least_s, best_s / _FURTHEST), best_s * _FURTHEST, _POINTS).tolist()
    lost = [1.0 - ettr(replace(case, interval_s=t)) for t in (*at_s, best_s)]
    return Line(name, at_s, lost[:-1], (best_s, lost[-1]))


def _gain_at(case: Case, precision: float) -> Line:
    share = case.rates.gpu_share
    recalls = np.linspace(0.0, share, _POINTS).tolist()
    told = [
        replace(case, recall=min(1.0, r / share) if share > 0.0 else 0.0, precision=precision)
        for r in recalls
    ]
    return Line(f"precision {precision:g}", recalls, [_gain(c) for c in told])


def _here(case: Case) -> Line:
    return Line("this predictor", [], [], (case.recall_of_all, _gain(case)))


def _by_size(case: Case) -> list[Line]:
    sizes = np.geomspace(*SIZES, _POINTS).tolist()
    cases = [replace(case, gpus=int(n), spare_nodes=None) for n in sizes]
    return [
        Line("without", sizes, [closed.without(c) for c in cases]),
        Line("with", sizes, [closed.with_(c) for c in cases]),
    ]


def _gain(case: Case) -> float:
    return closed.with_(case) - closed.without(case)
