"""One job on real nodes: the faults of a production trace, with the production policy and without, same seeds.

`python -m effective_time.replay --help`. Real are when each node failed, of what class, and how long it was away. What
a save and a restart cost is a stack's; the assumed predictors and their leads are drawn.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal, TextIO

import numpy as np
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from alerting.economics import JobCosts, break_even_checkpoint, break_even_drain
from alerting.waste import DAY_S
from collector.errors import ForeshockError
from effective_time import outages, proneness_alarms
from effective_time.alarms import FALSE, Alarms
from effective_time.arguments import several
from effective_time.compare import Case, Spread, lost_share, rules, setup, share_spread, spread
from effective_time.outages import Fleet, Outages
from effective_time.predictors import ASSUMED, Kind, Predictor, World, real
from effective_time.proneness_alarms import CUT_DAY
from effective_time.rates import PRESETS, Rates
from effective_time.simulate import Outcome, simulate
from effective_time.stack import STACKS, Stack
from models import nodetrace
from models.history import Trace

SPARE: Final = 16
SEEDS: Final = 10
HORIZONS_DAYS: Final = (1.0, 7.0)
BEFORE: Final = PRESETS["rsc1"]
"""What an operator without a past of their own could know: a published rate of nodes of the same size."""
INTERVAL_WITHIN: Final = 0.1
"""Each seed takes another interval, so far off the best at most: a fault takes what the last save did not keep."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A stack with a predictor, means over the seeds; `predictor` "none" is the arm that all others are paired with.

    `asked` are actions a replay that a mere risk asked for, `pays_from` the least probability at which the policy may.
    """

    stack: str
    predictor: str
    kind: Kind | Literal["none"]
    interval_s: float
    ettr_without: Spread
    ettr_with: Spread
    gain: Spread
    interruptions_without: float
    interruptions_with: float
    avoided: float
    alarms: float
    true_alarms: float
    probability: tuple[float, float] | None
    asked: dict[str, float]
    pays_from: dict[str, float]
    lost_without: dict[str, float]
    lost_with: dict[str, float]


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of the trace. `before` is what the intervals were chosen by: nothing of the window is in it."""

    fleet: Fleet
    before: Rates
    job_mtbf_before_s: float
    job_mtbf_s: float
    share_short: float
    rows: list[Row]


def replay(
    trace: Trace, spare: int = SPARE, seeds: Sequence[int] = range(SEEDS), stacks: Sequence[Stack] = STACKS
) -> list[Window]:
    """The whole trace, then the days after CUT_DAY, where the real head can be heard too."""
    of = outages.outages(trace)
    heads = [real(proneness_alarms.learn(trace, h)) for h in HORIZONS_DAYS]
    early = outages.measured(of, 0.0, CUT_DAY)
    return [
        window(of, 0.0, BEFORE, ASSUMED, spare=spare, seeds=seeds, stacks=stacks),
        window(
            of, CUT_DAY, outages.rates(early, of), [*ASSUMED, *heads], spare=spare, seeds=seeds, stacks=stacks
        ),
    ]


def window(
    of: Outages, since: float, before: Rates, predictors: Sequence[Predictor], *, spare: int, seeds: Sequence[int],
    stacks: Sequence[Stack],
) -> Window:  # fmt: skip
    """From day `since` to the end of the trace, a row per stack for "none" and for each predictor."""
    fleet = outages.measured(of, since, of.until_day)
    gpus = (of.n_units - spare) * of.gpus_per_unit
    found = []
    for stack in stacks:
        plain = Case(gpus=gpus, rates=before, stack=stack, spare_nodes=spare, limits_as_shipped=True)
        worlds = list(_worlds(of, since, seeds))
        bare = [_without(plain, w) for w in worlds]
        found.append(_row(plain, None, bare, bare, []))
        for by in predictors:
            told = [by.says(w, stack) for w in worlds]
            ours = [_with(plain, by, w, a) for w, a in zip(worlds, told, strict=True)]
            found.append(_row(plain, by, bare, ours, told))
    mtbf_s, mtbf_before_s = (
        DAY_S / (r.faults_per_gpu_day * gpus) for r in (outages.rates(fleet, of), before)
    )
    short = outages.share_short(of, since, of.until_day, spare)
    return Window(fleet, before, mtbf_before_s, mtbf_s, short, found)


def _worlds(of: Outages, since: float, seeds: Sequence[int]) -> Iterator[World]:
    for seed in seeds:
        place = outages.placed(of, since, seed)
        of_best = 1.0 + float(np.random.default_rng([seed, 5]).uniform(-INTERVAL_WITHIN, INTERVAL_WITHIN))
        yield World(outages.faults(of, since, of.until_day, place, seed), place, of_best, seed)


def _without(plain: Case, world: World) -> Outcome:
    return simulate(world.faults, setup(_at_interval(plain, world), foretold=False))


def _with(plain: Case, by: Predictor, world: World, told: Alarms) -> Outcome:
    """The policy alarms at the least that the predictor says where it raises an alarm."""
    if not len(told):
        return _without(plain, world)
    case = _at_interval(replace(plain, recall=by.recall, precision=float(told.probability.min())), world)
    job = replace(setup(case, foretold=True), horizon_s=by.horizon_s, risk_every_s=by.risk_every_s)
    return simulate(world.faults, job, told, rules(case))


def _at_interval(case: Case, world: World) -> Case:
    return replace(case, interval_s=case.best_interval_s(foretold=True) * world.of_best)


def _row(
    plain: Case,
    by: Predictor | None,
    bare: Sequence[Outcome],
    ours: Sequence[Outcome],
    told: Sequence[Alarms],
) -> Row:
    case = plain if by is None else replace(plain, recall=by.recall)
    interval_s = case.best_interval_s(foretold=True)
    said = [float(p) for a in told for p in a.probability]
    return Row(
        stack=plain.stack.name, predictor="none" if by is None else by.name,
        kind="none" if by is None else by.kind, interval_s=interval_s,
        ettr_without=share_spread([o.ettr for o in bare]), ettr_with=share_spread([o.ettr for o in ours]),
        gain=spread([o.ettr - b.ettr for b, o in zip(bare, ours, strict=True)]),
        interruptions_without=_mean([o.interruptions for o in bare]),
        interruptions_with=_mean([o.interruptions for o in ours]), avoided=_mean([o.avoided for o in ours]),
        alarms=_mean([len(a) for a in told]), true_alarms=_mean([int((a.fault != FALSE).sum()) for a in told]),
        probability=(min(said), max(said)) if said else None, asked=_asked(ours),
        pays_from=_pays_from(plain.stack, interval_s), lost_without=lost_share(bare), lost_with=lost_share(ours),
    )  # fmt: skip


def _asked(ours: Sequence[Outcome]) -> dict[str, float]:
    names = sorted({name for o in ours for name in o.asked_on_risk})
    return {name: _mean([o.asked_on_risk.get(name, 0) for o in ours]) for name in names}


def _pays_from(stack: Stack, interval_s: float) -> dict[str, float]:
    """Just before the regular checkpoint, when most is at risk. A save costs what the regular ones are seen to."""
    costs = JobCosts(interval_s, stack.checkpoint_s, stack.recovery_s, stack.move_s)
    return {
        "checkpoint": break_even_checkpoint(costs, interval_s),
        "drain": break_even_drain(costs, interval_s),
    }


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def main(arguments: Sequence[str] | None = None, out: TextIO = sys.stdout) -> int:
    """Print the table; with --json also one object, the last line."""
    from effective_time import replay_report

    args = _parser().parse_args(arguments)
    try:
        trace = nodetrace.read(Path(args.data))
        if not 0 <= args.spare < len(trace.units):
            raise ForeshockError(f"--spare {args.spare}: no job is left", hint=f"0 to {len(trace.units) - 1}")
        with threadpool_limits(1):  # threads cost more than they bring at this size
            windows = replay(trace, args.spare, range(args.seeds))
    except ForeshockError as e:
        print(f"error: {e}", file=sys.stderr)
        return 1
    about = {"spare": args.spare, "nodes": len(trace.units), "seeds": args.seeds}
    print(replay_report.table(windows, **about), file=out)
    if args.json:
        print(json.dumps(replay_report.as_dict(windows, **about), allow_nan=False), file=out)
    return 0


_HELP: Final = """A job on real nodes, with the production policy and without: what could foretelling add?

The InfiniteHBD trace says when each of 400 servers of 8 GPUs was out of service, and by what class of fault. The job
holds all but the spare nodes; any fault of one of them stops it. Both arms see the same faults.

  python -m effective_time.replay --data DIR             DIR holds fault_trace.json (docs/data.md)
  python -m effective_time.replay --data DIR --spare 40  enough spare nodes for the worst days

Four predictors, not to be confused:
  assumed  tells of so many GPU faults, right so often: nobody has measured this on these nodes
  REAL     the proneness head, learnt on the days before 150, at the alarms that `foreshock evaluate` judges
  oracle   all GPU faults, no false alarm: the most that any predictor of GPU faults could add here
  (none)   the arm "without"

Real: the faults, their class, their repairs. Not in the trace, so assumed: that one job holds the nodes and any fault
stops it, what saves and restarts cost (the four stacks), and the leads of the assumed predictors (half an hour)."""
_EPILOG: Final = """Intervals are 95 % over the seeds: which nodes are spare, the luck of the predictor, saves at
intervals up to 10 % off the best. They are not over other clusters: this is one trace. The policy is armed, may move
jobs, and has its caps as shipped."""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m effective_time.replay", description=_HELP, epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    add = parser.add_argument
    add("--data", required=True, metavar="DIR", help="folder with fault_trace.json")
    add(
        "--spare",
        type=int,
        default=SPARE,
        metavar="N",
        help="nodes the job does not use (default: %(default)s)",
    )
    add("--seeds", type=several, default=SEEDS, metavar="N", help="replays per row (default: %(default)s)")
    add("--json", action="store_true", help="and one JSON object as the last line")
    return parser


if __name__ == "__main__":
    sys.exit(main())
