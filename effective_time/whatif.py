"""What prediction is worth to one job, and what to change: closed forms and simulation side by side. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Final

from alerting.limits import DRAINS
from alerting.waste import budget_s, exponential_ettr
from collector.config import WatchConfig
from collector.errors import ForeshockError
from effective_time import caps, closed
from effective_time.compare import Case, Comparison, compare
from effective_time.rates import Rates

TARGETS: Final = (0.995, 0.99, 0.97, 0.90)
_SHIPPED: Final = WatchConfig()
_ROUNDING: Final = 0.005
"""A share that somebody rounded to two places is not refused for it."""


@dataclass(frozen=True, slots=True)
class Advice:
    """Seconds, shares of time in 0..1. `ettr_*`: the product form; `exact_without`: Daly's exponential one.

    `recovery_to_match_s`: how fast recovery would have to be to do without the predictor; None: not even at once.
    `breaks_even_at`: the least precision from which a planned move pays. `capped` is `simulated` with the caps on
    drains of `caps_now` (drained_nodes, predicted_drains); None where nothing is foretold.
    """

    case: Case
    mtbf_s: float
    budgets_s: dict[float, float]
    best_interval_without_s: float
    best_interval_s: float
    ettr_without: float
    ettr_with: float
    exact_without: float
    tenth_more_recall: float | None
    recovery_to_match_s: float | None
    breaks_even_at: float
    caps: caps.Caps
    simulated: Comparison
    caps_now: tuple[int, int]
    capped: Comparison | None

    @property
    def gain(self) -> float:
        return self.ettr_with - self.ettr_without

    @property
    def drains_held_back(self) -> float | None:
        """Of the drains that a mere risk asked for, the share that `caps_now` hold back; None: none asked."""
        if self.capped is None:
            return None
        free, capped = drains_per_day(self.simulated), drains_per_day(self.capped)
        return max(0.0, 1.0 - capped / free) if free > 0.0 else None


def advise(
    case: Case, seeds: Iterable[int], tick: Callable[[], object] = lambda: None, watch: WatchConfig = _SHIPPED
) -> Advice:
    """Both arms by both ways, and with the caps of `watch`. `tick` is called for each seed simulated, 2 times
    len(seeds) in all.

    Raises ForeshockError for a job that saves more slowly than it fails, ValueError for values that make no sense.
    """
    checked(case)
    numbers, free = list(seeds), replace(case, interval_s=None)
    simulated = compare(case, _ticking(numbers, tick))
    caps_now = (watch.drained_nodes, watch.predicted_drains)
    capped = compare(replace(case, caps=caps_now), _ticking(numbers, tick)) if case.recall > 0.0 else None
    ettr_with = closed.with_(case)
    return Advice(
        case=case, mtbf_s=case.run.mtbf_s,
        budgets_s={target: budget_s(case.run.mtbf_s, target) for target in TARGETS},
        best_interval_without_s=free.best_interval_s(foretold=False),
        best_interval_s=free.best_interval_s(foretold=True),
        ettr_without=closed.without(case), ettr_with=ettr_with,
        exact_without=exponential_ettr(case.run, case.best_interval_s(foretold=False)),
        tenth_more_recall=closed.tenth_more_recall(case),
        recovery_to_match_s=closed.recovery_for(replace(case, recall=0.0), ettr_with),
        breaks_even_at=case.breaks_even_at, caps=caps.needed(case), simulated=simulated,
        caps_now=caps_now, capped=capped,
    )  # fmt: skip


def drains_per_day(found: Comparison) -> float:
    """Those that a mere risk asked for."""
    return sum(found.asked_on_risk.get(name, 0.0) for name in DRAINS)


def of_gpus(recall_of_all: float, rates: Rates) -> float:
    """Recall of the interruptions that GPUs caused. ForeshockError where it is more than GPUs cause."""
    if recall_of_all > rates.gpu_share + _ROUNDING:
        raise ForeshockError(
            f"--recall {recall_of_all:g} of all interruptions, and GPUs cause only {rates.gpu_share:.3f} of them "
            f"({rates.name})",
            hint="a lower recall: no telemetry of GPUs foretells the others. --gpu-share where it is another here",
        )
    return min(1.0, recall_of_all / rates.gpu_share) if recall_of_all > 0.0 else 0.0


def checked(case: Case) -> None:
    """Raises ForeshockError where no interval between checkpoints makes sense."""
    for foretold in (False, True):
        if case.best_interval_s(foretold=foretold) <= case.stack.checkpoint_s:
            raise ForeshockError(
                f"a checkpoint of {case.stack.checkpoint_s:g} s does not fit into an interval of "
                f"{case.best_interval_s(foretold=foretold):.3g} s, with an interruption every "
                f"{case.run.mtbf_s:.3g} s",
                hint="save faster (--checkpoint-s), or less often (--interval-s)",
            )


def _ticking(seeds: Iterable[int], tick: Callable[[], object]) -> Iterator[int]:
    for seed in seeds:
        yield seed
        tick()
