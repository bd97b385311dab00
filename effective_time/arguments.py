"""Arguments and help of `foreshock whatif`. It imports nothing heavy: a node's agent parses them too."""

from __future__ import annotations

import argparse
import math
from typing import Final

from collector.errors import ForeshockError

STACK_NAMES: Final = ("slow", "asynchronous", "in-memory", "each-step")
"""The first words of `stack.STACKS`, in order."""
STACK: Final = "asynchronous"
HUGE_GPUS: Final = 50_000
MOST_DAYS: Final = 3_650.0
WHATIF: Final = """What prediction would be worth to a job, and what limits it: recovery speed sets the level,
prediction adds what it adds. Closed forms beside a simulation of months, in which the production policy runs.

  foreshock whatif                                       a middling stack, 16,384 GPUs, Llama 3's rates
  foreshock whatif --gpus 1024 --stack slow              slow storage, full restarts
  foreshock whatif --gpus 10000 --checkpoint-s 0.1 --recovery-s 60 --swap-s 20 --proactive-checkpoint-s 1 --recall 0.42
  foreshock whatif --rates lake --model                  this fleet's faults, the active model's measured curve
  foreshock whatif --rates nodetrace:DIR --plot what.html

--rates: interruptions of a job per GPU of it and day, of any cause:
  llama3, llama3-gpu, rsc1, rsc2, delta-a100, delta-h100   as published
  nodetrace:DIR                                            measured in the InfiniteHBD trace (docs/data.md)
  lake                                                     this fleet's own faults over its GPU-days
  4.7e-4                                                   a number

--recall counts all interruptions, as the formulas of the field do; a GPU causes only a part of them (Llama 3: 64 %)
and no telemetry of GPUs foretells the rest. A model's card has the recall of GPU faults; --model knows. `ettr` is
useful time over wall time from the start of the job to its end: queueing, maintenance and slow steps are in neither.
docs/effective-time.md has a table."""


def add_whatif(parser: argparse.ArgumentParser) -> None:
    job = parser.add_argument_group("the job")
    add = job.add_argument
    add("--gpus", type=_whole, default=16_384, metavar="N", help="of the job (default: %(default)s)")
    add("--rates", default="llama3", metavar="NAME", help="see above (default: llama3)")
    add(
        "--gpu-share",
        type=_share,
        metavar="S",
        help="of the interruptions, caused by a GPU (default: the rates')",
    )
    add("--spare-nodes", type=_count, metavar="N", help="that the job does not use (default: one in 32)")
    add("--repair-h", type=_positive, default=12.0, metavar="H", help="median of the repairs (default: 12)")
    add("--interval-s", type=_positive, metavar="S", help="between checkpoints (default: the best)")
    costs = parser.add_argument_group("what saving and recovering cost, in seconds")
    add = costs.add_argument
    add(
        "--stack",
        choices=STACK_NAMES,
        default=STACK,
        help="the costs that are not given (default: %(default)s)",
    )
    add("--checkpoint-s", type=_positive, metavar="S", help="a regular checkpoint stops the job for so long")
    add("--recovery-s", type=_not_negative, metavar="S", help="from an interruption until it works again")
    add("--proactive-checkpoint-s", type=_not_negative, metavar="S", help="a checkpoint on an alarm")
    add("--swap-s", type=_not_negative, metavar="S", help="a planned move, after the checkpoint")
    by = parser.add_argument_group("the predictor")
    add = by.add_argument
    add("--recall", type=_share, metavar="R", help="of all interruptions, foretold in time (default: 0.25)")
    add("--precision", type=_precision, metavar="P", help="of its alarms, right (default: 0.85)")
    add("--lead-s", type=_positive, metavar="S", help="median lead of a right alarm (default: 1800)")
    add(
        "--model", nargs="?", const="", metavar="ID",
        help="the measured curve of this model of the registry in place of both (default: the active one)",
    )  # fmt: skip
    add("--no-migrate", action="store_true", help="alarms save but never move the job")
    run = parser.add_argument_group("the simulation and the answer")
    add = run.add_argument
    add("--days", type=_days, metavar="N", help="of each run (default: 90; 30 above 50,000 GPUs)")
    add(
        "--seeds",
        type=several,
        default=5,
        metavar="N",
        help="runs of each arm, 2 or more (default: %(default)s)",
    )
    add("--json", action="store_true", help="one JSON object")
    add("--curves", action="store_true", help="with --json: the lines of the plots too")
    add("--plot", metavar="FILE", help="FILE.png, or FILE.html with the figures in it and a table")


def days(args: argparse.Namespace) -> float:
    """Of each run: a huge job has its thousands of faults in a month, and its answer in less than a minute."""
    given: float | None = args.days
    return given if given is not None else 90.0 if args.gpus <= HUGE_GPUS else 30.0


def check(args: argparse.Namespace) -> None:
    """Raises ForeshockError for options that contradict each other."""
    if args.model is not None and (args.recall is not None or args.precision is not None):
        raise ForeshockError(
            "--model has its own recall and precision, measured", hint="leave out --recall and --precision"
        )
    if args.plot and not args.plot.endswith((".png", ".html")):
        raise ForeshockError(f"--plot {args.plot}: no kind of picture we make", hint="FILE.png or FILE.html")
    if args.curves and not args.json:
        raise ForeshockError(
            "--curves are numbers for programs", hint="add --json, or --plot FILE.html to see them"
        )


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"{text!r} is no number")
    return value


def _positive(text: str) -> float:
    return _in(text, 0.0, math.inf, "above 0", least=False)


def _days(text: str) -> float:
    """More would fill the memory with faults and tell no more."""
    return _in(text, 0.0, MOST_DAYS, f"above 0 and up to {MOST_DAYS:g}", least=False)


def several(text: str) -> int:
    """A number of runs. One run has no spread, so no interval could be told."""
    value = _count(text)
    if value < 2:
        raise argparse.ArgumentTypeError(f"{text} is not 2 or more: one run has no interval")
    return value


def _not_negative(text: str) -> float:
    return _in(text, 0.0, math.inf, "0 or more")


def _share(text: str) -> float:
    return _in(text, 0.0, 1.0, "in 0..1")


def _precision(text: str) -> float:
    return _in(text, 0.0, 1.0, "above 0 and up to 1", least=False)


def _in(text: str, low: float, high: float, rule: str, *, least: bool = True) -> float:
    value = _number(text)
    if not low <= value <= high or (value == low and not least):
        raise argparse.ArgumentTypeError(f"{text} is not {rule}")
    return value


def _count(text: str) -> int:
    value = _in(text, 0.0, math.inf, "0 or more")
    if value != int(value):
        raise argparse.ArgumentTypeError(f"{text} is no whole number")
    return int(value)


def _whole(text: str) -> int:
    value = _count(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not 1 or more")
    return value
