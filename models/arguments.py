"""Arguments and help of the commands about models. It imports nothing heavy: a node's agent parses them too."""

from __future__ import annotations

import argparse
from typing import Final

FALSE_PER_DAY: Final = 0.15
"""Beside the 0.65 faults a day per 10,000 GPUs that announce themselves at Llama 3's rates: a precision near .85."""
TRAIN: Final = """Learn the imminence head and put it into the registry, with a card of what it did on later days.

  foreshock train                         from this site's lake
  foreshock train --dataset simulated     from a simulated fleet (synthetic: for demos and tests)
  foreshock train --promote               serve it at once; without it: foreshock models promote ID --reason ...
  foreshock train --promote-if-better     serve it only if it wins against what serves now (for a weekly timer)

It says how many faults there are, and refuses below 100: fifty to learn from and fifty to be judged by. Two thirds of
the time are learnt from, the rest chooses the threshold and tests; nothing is learnt from the days it is judged on."""
MODELS: Final = """The trained models: list, look at, compare, promote, roll back, watch for drift.

  foreshock models list
  foreshock models compare imminence-20260105T0400-3f2a8c11d0b7 --days 14
  foreshock models promote imminence-20260105T0400-3f2a8c11d0b7 --reason "won in shadow for 14 days"
  foreshock models rollback --reason "twice the alarms it promised"

What serves changes only by promote and rollback, and `history` has both with their reasons."""


def add_train(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--dataset", choices=("lake", "simulated"), default="lake", help="what to learn from")
    add_simulation(parser)
    serve = parser.add_mutually_exclusive_group()
    serve.add_argument("--promote", action="store_true", help="serve the new model from now on")
    serve.add_argument(
        "--promote-if-better",
        action="store_true",
        help="only if it catches more faults for as many alarms as what serves, with no worse precision (lake only)",
    )
    parser.add_argument("--json", action="store_true", help="the report as one JSON object")


def add_simulation(parser: argparse._ActionsContainer) -> None:
    """What `evaluate` and `train` share."""
    add = parser.add_argument
    add("--gpus", type=int, default=16_384, help="size of the simulated fleet (default: %(default)s)")
    add("--days", type=int, default=180, help="its length (default: %(default)s)")
    add(
        "--precursors",
        choices=("low", "high", "zero"),
        default="low",
        help="share of faults that announce themselves",
    )
    add("--fault-rate-factor", type=float, default=1.0, help="times the rates of Llama 3 (default: 1)")
    add("--seed", type=int, default=0, help="another seed is another fleet")
    add("--processes", type=int, default=2, help="that score the simulated fleet (default: %(default)s)")
    add("--false-alarms", type=float, default=FALSE_PER_DAY, metavar="N",
        help="a day per 10,000 GPUs that the operating point may cost (default: %(default)s)")  # fmt: skip


def add_models(parser: argparse.ArgumentParser) -> None:
    """The sub-commands of `foreshock models`; `args.action` names the one asked for."""
    actions = parser.add_subparsers(title="commands", metavar="COMMAND", dest="action", required=True)
    for name, help_, has_id, has_reason in (
        ("list", "every model, newest first; the active one is marked", False, False),
        ("show", "a model's card: data, label, promise, metrics, versions", True, False),
        ("promote", "let this model serve", True, True),
        ("rollback", "let the model before it serve again", False, True),
        ("history", "every change with time, who and why", False, False),
        ("remove", "delete a model that does not serve", True, False),
        ("check", "load it and say whether it could serve here", True, False),
    ):
        action = actions.add_parser(name, help=help_, description=help_[0].upper() + help_[1:] + ".")
        if has_id:
            action.add_argument("id", metavar="ID", help="as `foreshock models list` prints it")
        if has_reason:
            action.add_argument("--reason", required=True, metavar="TEXT", help="why; kept in the history")
        if name == "remove":
            action.add_argument("--reason", default="", metavar="TEXT", help="why; kept in the history")
        action.add_argument("--json", action="store_true", help="JSON in place of text")
    _add_questions(actions)


def _add_questions(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Those that score the lake again, which takes minutes where the lake is large."""
    text = "Score the last days of the lake with a model and with what serves, and compare what came of it."
    compare = actions.add_parser("compare", help="a model beside what serves, on the lake", description=text)
    compare.add_argument("id", metavar="ID", help="as `foreshock models list` prints it, or: rules")
    compare.add_argument(
        "--against", metavar="ID|rules|active", default="active",
        help="compare with this (default: active, which is the rules while no model is)",
    )  # fmt: skip
    text = "Compare the active model's last days with its card. Exit code 1: it drifted or decayed."
    drift = actions.add_parser("drift", help="is the active model still what its card says", description=text)
    for action, days in ((compare, 14.0), (drift, 7.0)):
        action.add_argument(
            "--days", type=float, default=days, help="last days of the lake (default: %(default)g)"
        )
        action.add_argument("--json", action="store_true", help="JSON in place of text")
