"""Which answer to a predicted fault costs the job least, and the one line of arithmetic that says why.

The prices are in alerting/bills.py, the reasoning in docs/economics.md. `python -m alerting.choice --help`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TextIO

from alerting.bills import OPTIONS, Bill, JobState, Option, bills, break_even
from alerting.economics import JobCosts, gpu_hours, provenance, share

__all__ = ["OPTIONS", "Choice", "JobState", "Option", "choose"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The cheapest option. Seconds are of the whole job; GPU-hours are seconds x gpus / 3600, None without a job.

    `margin_s` is what the next dearer option costs more (0 if all cost the same); `saved_s` what observing
    costs more. `break_even` is the probability from which on an option beats observing, above 1 or inf: never.
    """

    option: Option
    costs_s: Mapping[Option, float]
    gpu_hours: Mapping[Option, float] | None
    margin_s: float
    saved_s: float
    saved_value: float | None
    break_even: Mapping[Option, float]
    arithmetic: str


def choose(probability: float, state: JobState, offered: Collection[Option] = OPTIONS) -> Choice:
    """Weigh the options on offer (observing always is). `ValueError` for a probability outside 0..1."""
    share(probability=probability)
    all_bills = bills(state)
    known = {o: all_bills[o] for o in OPTIONS if o in all_bills and (o in offered or o == "observe")}
    costs_s = {option: bill.cost_s(probability) for option, bill in known.items()}
    option = min(costs_s, key=costs_s.__getitem__)  # the first of equals: OPTIONS has the lightest first
    saved_s = costs_s["observe"] - costs_s[option]
    saved = None if state.gpus is None else gpu_hours(saved_s, state.gpus)
    price = state.value_per_gpu_hour
    return Choice(
        option=option, costs_s=costs_s, margin_s=_margin_s(costs_s, option), saved_s=saved_s,
        gpu_hours=None if state.gpus is None else {o: gpu_hours(s, state.gpus) for o, s in costs_s.items()},
        saved_value=None if saved is None or price is None else saved * price,
        break_even={o: break_even(bill, known["observe"]) for o, bill in known.items() if o != "observe"},
        arithmetic=_line(probability, state, known, option),
    )  # fmt: skip


def _margin_s(costs_s: Mapping[Option, float], option: Option) -> float:
    dearer = [cost for cost in costs_s.values() if cost > costs_s[option]]
    return min(dearer) - costs_s[option] if dearer else 0.0


def _line(probability: float, state: JobState, known: Mapping[Option, Bill], option: Option) -> str:
    same = known["observe"].at_risk
    sums = [
        f"{o} = {'the same' if o == 'no_new_work' and bill.at_risk == same else _sum(probability, bill)}{bill.note}"
        for o, bill in known.items()
    ]
    parts = [_verdict(probability, state, known, option), *sums]
    thresholds = {o: break_even(bill, known["observe"]) for o, bill in known.items() if bill.price}
    if thresholds:
        parts.append(
            "beats observing from p: " + ", ".join(f"{o} {_threshold(p)}" for o, p in thresholds.items())
        )
    parts.append(_provenance(state, known))
    return "; ".join(parts)


def _verdict(probability: float, state: JobState, known: Mapping[Option, Bill], option: Option) -> str:
    costs_s = {o: bill.cost_s(probability) for o, bill in known.items()}
    if option == "observe":
        seconds = _margin_s(costs_s, option)
        text = f"observe, {number(seconds)} s below the next"
    else:
        seconds = costs_s["observe"] - costs_s[option]
        text = f"{option} saves {number(seconds)} s"
    if state.gpus is None:
        return f"{text} (no job on the GPU)"
    hours = gpu_hours(seconds, state.gpus)
    text = f"{text} x {state.gpus} GPUs / 3600 = {number(hours)} GPU-hours"
    if state.value_per_gpu_hour is None:
        return text
    return f"{text} x {number(state.value_per_gpu_hour)} = {number(hours * state.value_per_gpu_hour)}"


def _sum(probability: float, bill: Bill) -> str:
    price = [f"{symbol} {number(seconds)}" for symbol, seconds in bill.price]
    risk = " + ".join(f"{symbol} {number(seconds)}" for symbol, seconds in bill.at_risk)
    if len(bill.at_risk) > 1:
        risk = f"({risk})"
    terms = [*price, *([f"p {number(probability)} x {risk}"] if risk else [])]
    return f"{' + '.join(terms)} = {number(bill.cost_s(probability))} s" if terms else "0 s"


def _provenance(state: JobState, known: Mapping[Option, Bill]) -> str:
    fields = {"T": "interval_s", "T/2": "interval_s", "C_p": "checkpoint_s", "U": "recovery_s", "P": "move_s"}
    used = {symbol: seconds for bill in known.values() for symbol, seconds in (*bill.price, *bill.at_risk)}
    texts = [f"lead {number(state.lead_s)} s"] if state.lead_s is not None else []
    texts += [f"job ends in {number(state.ends_in_s)} s"] if state.ends_in_s is not None else []
    if state.lead_s is not None and "C_p" in used:
        used["T"] = state.costs.interval_s
    marks = {
        symbol: (f"{number(seconds)} s", fields.get(symbol) not in state.costs.assumed)
        for symbol, seconds in used.items()
    }
    return "; ".join([*texts, provenance(marks)])


def _threshold(p: float) -> str:
    return number(p) if p <= 1.0 else "never"


def number(value: float) -> str:
    """As the lines print it: whole from 100 on, three digits below."""
    return f"{value:.0f}" if abs(value) >= 100.0 else f"{value:.3g}"


def main(arguments: Sequence[str] | None = None, out: TextIO = sys.stdout) -> int:
    """Print the line and a table for numbers from the command line; exit 2 where they make no sense."""
    parser = _parser()
    args = parser.parse_args(arguments)
    try:
        costs = JobCosts.measured(
            interval_s=args.interval_s, checkpoint_s=args.checkpoint_s,
            recovery_s=args.recovery_s, move_s=args.move_s,
        )  # fmt: skip
        state = JobState(
            gpus=args.gpus, since_checkpoint_s=args.since_checkpoint_s, costs=costs, lead_s=args.lead_s,
            ends_in_s=args.ends_in_s, value_per_gpu_hour=args.value,
        )  # fmt: skip
        choice = choose(args.p, state)
    except ValueError as error:
        parser.error(str(error))
    print(choice.arithmetic, file=out)
    print(f"\n{'option':<12}{'seconds':>9}{'GPU-hours':>11}  beats observing from p", file=out)
    for option, cost_s in choice.costs_s.items():
        hours = "-" if choice.gpu_hours is None else number(choice.gpu_hours[option])
        start = _threshold(choice.break_even[option]) if option in choice.break_even else "-"
        print(f"{option:<12}{number(cost_s):>9}{hours:>11}  {start}", file=out)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m alerting.choice",
        description="What to do about a predicted GPU fault: the cheapest option for the job, with its arithmetic.",
        epilog="A cost that is given counts as measured; one that is not is assumed, and the line says which.",
    )
    add = parser.add_argument
    default = JobCosts()
    add("--p", type=float, required=True, metavar="P", help="probability that the fault comes, 0 to 1")
    add("--gpus", type=int, metavar="N", help="GPUs of the job (without: no job runs on this GPU)")
    add("--since-checkpoint-s", type=float, metavar="S", help="age of the last checkpoint (without: T/2)")
    add("--lead-s", type=float, metavar="S", help="expected time to the fault (without: long enough to save)")
    add("--ends-in-s", type=float, metavar="S", help="time until the job ends by itself")
    add("--interval-s", type=float, metavar="S", help=f"T, between checkpoints ({default.interval_s:g})")
    add("--checkpoint-s", type=float, metavar="S", help=f"C_p, one checkpoint ({default.checkpoint_s:g})")
    add("--recovery-s", type=float, metavar="S", help=f"U, recovery from a crash ({default.recovery_s:g})")
    add("--move-s", type=float, metavar="S", help=f"P, a planned move ({default.move_s:g})")
    add("--value", type=float, metavar="V", help="value of a GPU-hour, in any currency")
    return parser


if __name__ == "__main__":
    sys.exit(main())
