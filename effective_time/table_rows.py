"""The figures of docs/effective-time.md: what is worked out and simulated for it, as plain records."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from alerting.waste import Predictor, exponential_ettr, product_ettr
from collector.config import WatchConfig
from effective_time import caps, closed
from effective_time.compare import Case, Comparison, Spread, compare
from effective_time.operating_curve import Point, chosen, shipped
from effective_time.rates import PRESETS
from effective_time.stack import STACKS, Stack
from effective_time.whatif import drains_per_day, of_gpus
from models.cards import Card

Tell = Callable[[str], object]

RATES: Final = PRESETS["llama3"]
DAYS: Final = {1_024: 365.0, 10_000: 90.0, 16_384: 90.0, 100_000: 30.0}
"""Of each run, by size: a small job fails seldom."""
CAPS_DAYS: Final = 365.0
"""Repairs that take weeks fill the caps slowly."""
SIZES: Final = (1_024, 10_000, 16_384)
RECALL, PRECISION = 0.25, 0.85
RECALLS: Final = (0.0, 0.25, 0.45, 0.64)
TARGET: Final = 0.995
TARGET_GPUS: Final = 10_000
MOVE_S: Final = 21.0
"""C_p + P of a job that recovers within a minute."""
CHECKPOINTS_S: Final = (0.04, 0.1, 0.5, 1.0)
OWN_MOVES_S: Final = {0.04: 21.0, 0.1: 22.0, 0.5: 32.0, 1.0: 65.0}
"""C_p + P of stacks that save so fast, as in the literature's table."""
NEEDS: Final = ((0.04, 60.0), (0.1, 60.0), (0.1, 120.0), (0.5, 120.0))
CHECKED: Final = ((0.1, 0.0), (0.04, 0.25), (0.1, 0.64))


@dataclass(frozen=True, slots=True)
class Effective:
    """A stack and a size: without, with the assumed predictor, with the trained model at its own operating point."""

    stack: Stack
    gpus: int
    without: float
    assumed: float
    trained: float
    simulated: Comparison
    simulated_trained: Comparison


@dataclass(frozen=True, slots=True)
class Condition:
    """Longest recovery that reaches the target, seconds, by recall of all interruptions; None: not even 0 s."""

    checkpoint_s: float
    move_s: float
    recovery_s: dict[float, float | None]


@dataclass(frozen=True, slots=True)
class Need:
    """Least recall of all interruptions that reaches the target with a move of MOVE_S, and with the stack's own."""

    checkpoint_s: float
    recovery_s: float
    recall: float | None
    own_move_s: float
    recall_own: float | None


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the validation; `form` by formula, in the unit of `simulated`."""

    what: str
    form: float
    simulated: Spread


@dataclass(frozen=True, slots=True)
class Capped:
    """What caps on drains do at 16,384 GPUs, all else alike. `drains`: a day, asked for by mere risks."""

    recall: float
    name: str
    drained_nodes: int
    predicted_drains: int
    drains: float
    avoided_share: float
    gain: Spread


def case_of(stack: Stack, gpus: int) -> Case:
    """Without a predictor, at Llama 3's rates."""
    return Case(gpus=gpus, rates=RATES, stack=stack, days=DAYS[gpus])


def foretold(case: Case, recall: float = RECALL) -> Case:
    """With the assumed predictor; `recall` of all interruptions."""
    return replace(case, recall=of_gpus(recall, RATES), precision=PRECISION)


def effective(
    card: Card, seeds: Sequence[int], tell: Tell, sizes: Sequence[int] = SIZES
) -> Iterator[Effective]:
    for stack in STACKS:
        for gpus in sizes:
            tell(f"{stack.name}, {gpus:,} GPUs")
            plain = case_of(stack, gpus)
            ours, trained = foretold(plain), shipped(card, plain)
            yield Effective(
                stack, gpus, closed.without(plain), closed.with_(ours), closed.with_(trained), compare(ours, seeds),
                compare(trained, seeds),
            )  # fmt: skip


def thresholds(card: Card, gpus: int = SIZES[-1]) -> list[tuple[Stack, Case, Point | None]]:
    """For each stack the case with the best threshold of the model's curve, and that threshold."""
    found = [(stack, chosen(card, case_of(stack, gpus))) for stack in STACKS]
    return [(stack, by.case, by.best) for stack, by in found]


def conditions(own: bool) -> list[Condition]:
    """With MOVE_S for all, or each with its own C_p + P."""
    return [_condition(c, OWN_MOVES_S[c] if own else MOVE_S) for c in CHECKPOINTS_S]


def needs() -> list[Need]:
    return [
        Need(
            c, u, closed.recall_for(_quick(c, u, MOVE_S), TARGET), OWN_MOVES_S[c],
            closed.recall_for(_quick(c, u, OWN_MOVES_S[c]), TARGET),
        )
        for c, u in NEEDS
    ]  # fmt: skip


def checks_of_target(seeds: Sequence[int], tell: Tell) -> Iterator[Check]:
    """Jobs right at the edge of the target, simulated."""
    for checkpoint_s, recall in CHECKED:
        recovery_s = _condition(checkpoint_s, MOVE_S).recovery_s[recall]
        assert recovery_s is not None, "CHECKED names points that can be reached"
        what = f"C {checkpoint_s:g} s, U {recovery_s:.0f} s, r {recall:g}"
        tell(f"99.5 %: {what}")
        case = foretold(_quick(checkpoint_s, recovery_s, MOVE_S), recall)
        yield Check(what, closed.with_(case), compare(case, seeds).with_)


def validation(rows: Sequence[Effective], seeds: Sequence[int], tell: Tell) -> Iterator[Check]:
    """ETTR by formula and by simulation; the last rows are the hours between interruptions."""
    largest = [r for r in rows if r.gpus == max(e.gpus for e in rows)]
    for r in largest:
        case = r.simulated.case
        exact = exponential_ettr(case.run, case.best_interval_s(foretold=False))
        yield Check(f"exponential form (Daly), r 0: {r.stack.name}", exact, r.simulated.without)
    for r in largest:
        yield Check(f"product form, r {RECALL:g}: {r.stack.name}", r.assumed, r.simulated.with_)
    tell("100,000 GPUs")
    case = foretold(case_of(STACKS[3], 100_000))
    huge = compare(case, seeds)
    exact = exponential_ettr(case.run, case.best_interval_s(foretold=False))
    yield Check(f"100,000 GPUs, exponential form, r 0: {STACKS[3].name}", exact, huge.without)
    yield Check(f"100,000 GPUs, product form, r {RECALL:g}: {STACKS[3].name}", closed.with_(case), huge.with_)


def mtbf_check(rows: Sequence[Effective]) -> Check:
    """Hours between interruptions of the largest job, which nobody foretells, of the stack that is soonest back."""
    row = max(rows, key=lambda r: (r.gpus, -r.stack.recovery_s))
    seen, hour_s = row.simulated.mtbf_s, 3600.0
    return Check(
        f"hours between interruptions, {row.gpus:,} GPUs",
        row.simulated.case.run.mtbf_s / hour_s,
        Spread(seen.mean / hour_s, seen.low / hour_s, seen.high / hour_s),
    )


def capped(seeds: Sequence[int], tell: Tell, gpus: int = SIZES[-1]) -> Iterator[Capped]:
    """As shipped, as `caps.needed` recommends, and without a cap: the assumed predictor, and all GPU faults."""
    config = WatchConfig()
    for recall in (RECALL, 0.64):
        case = foretold(case_of(STACKS[1], gpus), recall)
        need = caps.needed(case)
        for name, drained, predicted in (
            ("as shipped", config.drained_nodes, config.predicted_drains),
            ("recommended", need.drained_nodes, need.predicted_drains),
            ("none", case.nodes, case.nodes),
        ):
            tell(f"caps {name}, r {recall:g}")
            found = compare(
                replace(case, caps=(drained, predicted), days=CAPS_DAYS), seeds[: max(2, len(seeds) // 3)]
            )
            asked = drains_per_day(found)
            yield Capped(recall, name, drained, predicted, asked, found.avoided_share, found.gain)


def quickest_checkpoint_s() -> float:
    """C from which on not even an immediate recovery reaches the target without a predictor: (1 - target)^2 mu / 2."""
    return (1 - TARGET) ** 2 * case_of(STACKS[0], TARGET_GPUS).run.mtbf_s / 2


def needs_no_predictor(gpus: int, checkpoint_s: float) -> float | None:
    """Longest recovery that reaches the target without one."""
    stack = Stack(name="", checkpoint_s=checkpoint_s, recovery_s=0.0, proactive_s=0.0, move_s=0.0)
    return closed.recovery_for(Case(gpus=gpus, rates=RATES, stack=stack), TARGET)


def tenth(stack: Stack, gpus: int = SIZES[-1]) -> float:
    """What the first 0.1 of recall adds."""
    run = case_of(stack, gpus).run
    by = Predictor(recall=0.1, precision=PRECISION, proactive_s=stack.proactive_s, move_s=stack.move_s)
    return product_ettr(run, by) - product_ettr(run)


def _condition(checkpoint_s: float, move_s: float) -> Condition:
    case = _quick(checkpoint_s, 0.0, move_s)
    return Condition(
        checkpoint_s, move_s, {r: closed.recovery_for(foretold(case, r), TARGET) for r in RECALLS}
    )


def _quick(checkpoint_s: float, recovery_s: float, move_s: float) -> Case:
    """A job at the target's size; C_p is a second of the move."""
    stack = Stack(
        name="quick", checkpoint_s=checkpoint_s, recovery_s=recovery_s, proactive_s=1.0, move_s=move_s - 1.0
    )
    return replace(case_of(stack, TARGET_GPUS), precision=PRECISION)
