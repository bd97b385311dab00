"""docs/effective-time.md from its figures."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from effective_time import caps, table_rows
from effective_time.cells import both, pc, signed, table
from effective_time.compare import Case
from effective_time.operating_curve import Point
from effective_time.stack import STACKS
from effective_time.table_replay import BEGIN, END
from effective_time.table_rows import Capped, Check, Condition, Effective
from models.cards import Card

_HEAD: Final = """# Effective training time: what prediction is worth

Made by one command, minutes on one core, the same text each time: `python -m effective_time.table --data DIR --out \
docs/effective-time.md` (DIR: the InfiniteHBD trace, [data.md](data.md); without it the replay below stays as it was). \
How long a year of such a job takes to simulate: `python -m benchmarks.job_year`. \
For your own job: `foreshock whatif --help`. What was measured on your fleet: \
[effective-time-measured.md](effective-time-measured.md), `foreshock ettr`. The formulas: [economics.md](economics.md).

**ETTR** here is the time of work that lasts / wall time from the start of the job to its end. Queueing before the \
start, planned maintenance and slow steps are in neither. Published numbers have other denominators (Llama 3's > 90 % \
and ByteRobust's 97 % are over the whole run, Baige's 99.5 % counts only recovery and checkpoint writes, RSC's \
estimator assumes overheads): none may be compared with another whose definition is not beside it.

**In short.** Recovery speed sets the level; prediction adds what it adds. With slow restarts a predictor is worth \
points, and the same points can be had by restarting faster. With restarts in minutes it is worth tenths of a point, \
and one that errs often is worth nothing. 99.5 % at 10,000 GPUs is a matter of saves within 0.1 s and \
restarts within half a minute (a minute where saves take 0.04 s); a predictor widens that by the seconds below, and \
does not replace it.

**All faults here are simulated** at the rates of Llama 3 (arXiv 2407.21783, Table 5: 419 unexpected interruptions of \
16,384 GPUs in 54 days, 64 % by GPUs, one per 3.09 h), independent and at a constant rate; repairs have a median of \
12 h, leads of 30 minutes (log-normal, assumed). The policy in it is the one that runs (`alerting.policy`), armed, \
with leave to move jobs; its caps on drains never bind, except where a section says so. r is the recall of **all** \
interruptions, p precision; C a checkpoint, U recovery, C_p a checkpoint on an alarm, P a planned move, seconds."""


@dataclass(frozen=True, slots=True)
class Figures:
    """What was simulated for the page; the rest it works out itself."""

    card: Card
    seeds: int
    rows: Sequence[Effective]
    at_target: Sequence[Check]
    validation: Sequence[Check]
    hours_between: Check
    capped: Sequence[Capped]


def page(found: Figures, replay: str) -> str:
    """The whole page. `replay` stands between the marks as it is."""
    parts = [_HEAD, _effective(found), _trained(found), target(found), _validation(found), _caps(found)]
    return "\n\n".join([*parts, f"{BEGIN}\n{replay.strip()}\n{END}"]) + "\n"


def _effective(found: Figures) -> str:
    rows = [cells(r) for r in found.rows]
    head = ("stack (C, U, C_p, P)", "GPUs", "without", f"r {table_rows.RECALL:g}, p {table_rows.PRECISION:g} (assumed)",
            "gain", "trained model (SYNTHETIC)" if found.card.synthetic else "trained model", "gain")  # fmt: skip
    tenths = " / ".join(
        f"{100 * table_rows.tenth(s):.2f}" for s in dict.fromkeys(r.stack for r in found.rows)
    )
    days = ", ".join(
        f"{table_rows.DAYS[n]:.0f} days at {n:,}" for n in dict.fromkeys(r.gpus for r in found.rows)
    )
    waits = ", ".join(
        f"{100 * r.simulated.lost_without['no node']:.2f} % of the time at {r.gpus:,} GPUs "
        f"({r.simulated.case.spares} spare)"
        for r in found.rows
        if r.stack == found.rows[-1].stack
    )
    return "\n\n".join(
        [
            "## With and without",
            f"ETTR in %: closed form / simulation with its 95 % interval ({found.seeds} runs; {days}). Gains in "
            "points, simulated, paired (the same faults with and without).",
            table(head, rows),
            f"0.1 of recall adds {tenths} points at 16,384 GPUs, stack by stack. The formulas know no shortage of "
            f"nodes; the simulated jobs wait for one {waits}: more spares, not a predictor, win that back.",
        ]
    )  # fmt: skip


def cells(r: Effective) -> list[str]:
    """A row of the first table."""
    return [
        _stack(r), f"{r.gpus:,}", both(r.without, r.simulated.without), both(r.assumed, r.simulated.with_),
        signed(r.simulated.gain), both(r.trained, r.simulated_trained.with_), signed(r.simulated_trained.gain),
    ]  # fmt: skip


def _trained(found: Figures) -> str:
    card, trained = found.card, found.rows[-1].simulated_trained.case
    told = (
        f"The trained model is `{card.model_id}`, measured on {card.dataset} data: {card.origin}. At its own "
        f"threshold {card.point.threshold:.4g} it foretells {100 * trained.recall:.0f} % of GPU faults (r "
        f"{trained.recall_of_all:.2f}); its false alarms per GPU-day carried over to Llama 3's rates make a precision "
        f"of {trained.precision:.2f}. That threshold was chosen for few false alarms. The one of the same curve that "
        "gives most ETTR (chosen on the days on which it was measured, so expect a little less). In both an "
        "alarm is taken to be as probable as its alarms are precise; the live policy weighs each minute's risk, which "
        "may be far lower at first, and then it moves later or not at all: take these gains as the most it can bring."
    )  # fmt: skip
    sizes = dict.fromkeys(r.gpus for r in found.rows)
    best = {(stack, n): (case, by) for n in sizes for stack, case, by in table_rows.thresholds(card, n)}
    rows = [_at_best(r, *best[r.stack, r.gpus]) for r in found.rows]
    head = ("stack", "GPUs", "threshold", "r", "p", "alarms a day", "ETTR", "at its own threshold", "without")
    return "\n\n".join(["### The trained model", told, table(head, rows)])


def _at_best(r: Effective, case: Case, best: Point | None) -> list[str]:
    at = (
        ["none pays", "-", "-", "-", pc(r.without)] if best is None
        else [f"{best.threshold:.4g}", f"{case.recall_of_all:.2f}", f"{best.precision:.2f}",
              f"{best.alarms_per_day:.1f}", pc(best.ettr)]
    )  # fmt: skip
    return [r.stack.name, f"{r.gpus:,}", *at, pc(r.trained), pc(r.without)]


def target(found: Figures) -> str:
    r21, own = table_rows.conditions(own=False), table_rows.conditions(own=True)
    head = ("C", "C_p + P", *(f"r {r:g}" for r in table_rows.RECALLS))
    needs = [
        [f"{n.checkpoint_s:g}", f"{n.recovery_s:g}", _recall(n.recall), f"{n.own_move_s:g}", _recall(n.recall_own)]
        for n in table_rows.needs()
    ]  # fmt: skip
    small = table_rows.needs_no_predictor(1_024, 1.0)
    large = table_rows.needs_no_predictor(16_384, 0.04)
    assert small is not None and large is not None, "both are reachable at these sizes"  # noqa: PT018
    mtbf_s = table_rows.case_of(STACKS[0], table_rows.TARGET_GPUS).run.mtbf_s
    return "\n\n".join(
        [
            "## What reaches 99.5 % at 10,000 GPUs",
            f"An interruption every {mtbf_s / 3600:.2f} h may cost {(1 - table_rows.TARGET) * mtbf_s:.0f} s, "
            f"everything included. Longest recovery U in seconds (closed form, p {table_rows.PRECISION:g}; r 0.64 is "
            "every fault that a GPU causes, and no predictor is known to come near it):",
            table(head, _distinct([*map(_recoveries, r21), *map(_recoveries, own)])),
            f"Without a predictor nothing reaches it from C = {table_rows.quickest_checkpoint_s():.2f} s on, however "
            "fast the recovery. Seen the other way, the recall that is needed:",
            table(("C", "U", f"r, C_p + P {table_rows.MOVE_S:g}", "own C_p + P", "r, with that"), needs),
            "More than r 0.64 is more than GPUs cause at these rates. For comparison, without a predictor: at 1,024 "
            f"GPUs C = 1 s and U up to {small:.0f} s are enough; at 16,384 C = 0.04 s and U up to {large:.0f} s.",
            f"Three of these edges simulated ({found.seeds} runs of 90 days), ETTR in %:",
            table(("job", "closed form", "simulated (95 %)"), map(_check, found.at_target)),
        ]
    )  # fmt: skip


def _validation(found: Figures) -> str:
    hours = found.hours_between
    rows = [_check(c) for c in found.validation]
    high = [c for c in found.validation if c.form > 0.96 and "product" in c.what]
    worst = max(abs(c.form - c.simulated.mean) for c in high)
    s = hours.simulated
    last = [hours.what, f"{hours.form:.2f}", f"{s.mean:.2f} ({s.low:.2f} to {s.high:.2f})"]
    return "\n\n".join(
        [
            "## Does the simulation say what the formulas say",
            "ETTR in %, 16,384 GPUs where nothing else stands:",
            table(("what", "formula", "simulated (95 %)"), [*rows, last]),
            f"Above 96 % the product form is at most {100 * worst:.2f} points off here (the bound asked for is 0.3).",
        ]
    )


def _caps(found: Figures) -> str:
    rows, free = [], {c.recall: c.drains for c in found.capped if c.name == "none"}
    for c in found.capped:
        held = 100 * max(0.0, 1 - c.drains / free[c.recall])
        of = "-" if c.name == "none" else f"{c.drained_nodes}, {c.predicted_drains}"
        rows.append([f"{c.recall:g}", c.name, of, f"{c.drains:.2f}", f"{held:.0f} %",
                     f"{100 * c.avoided_share:.1f} %", signed(c.gain)])  # fmt: skip
    plain = table_rows.case_of(STACKS[1], table_rows.SIZES[-1])
    repair_h = caps.mean_repair_h(plain)
    waiting = repair_h * 3600.0 / plain.run.mtbf_s
    best = max((c for c in found.capped if c.name == "recommended"), key=lambda c: c.drained_nodes)
    head = (
        "r",
        "caps",
        "drained_nodes, predicted_drains",
        "drains a day",
        "held back",
        "faults avoided",
        "gain, points",
    )
    return "\n\n".join(
        [
            "## The caps on drains",
            "The policy as shipped lets open incidents hold 16 nodes drained, 4 of them by mere predictions, so that a "
            "model that errs cannot empty a fleet. Nodes that wait for repair count too, and at 16,384 GPUs "
            f"{waiting:.0f} do on average. Stack `{STACKS[1].name}`, {table_rows.CAPS_DAYS:.0f} days; r 0.64 is all "
            "that GPUs cause:",
            table(head, rows),
            f"At this size set `drained_nodes = {best.drained_nodes}` and `predicted_drains = {best.predicted_drains}` "
            "under `[watch]`: what 99.9 % of the time needs, for repairs of "
            f"{repair_h:.0f} h on average. The simulation tells the policy of each fault, also of those that no GPU "
            "caused; a fleet whose watcher sees only GPU faults needs about two thirds of that. "
            "`foreshock whatif` says it for another size.",
        ]
    )  # fmt: skip


def _stack(r: Effective) -> str:
    s = r.stack
    return f"{s.name} ({s.checkpoint_s:g}, {s.recovery_s:g}, {s.proactive_s:g}, {s.move_s:g})"


def _recoveries(c: Condition) -> list[str]:
    cells = ["never" if u is None else f"{u:.0f}" for u in c.recovery_s.values()]
    return [f"{c.checkpoint_s:g}", f"{c.move_s:g}", *cells]


def _check(c: Check) -> list[str]:
    s = c.simulated
    return [c.what, pc(c.form), f"{pc(s.mean)} ({pc(s.low)} to {pc(s.high)})"]


def _distinct(rows: Iterable[list[str]]) -> list[list[str]]:
    return sorted(list(r) for r in dict.fromkeys(map(tuple, rows)))


def _recall(r: float | None) -> str:
    return "never" if r is None else f"{r:.2f}"
