"""`foreshock whatif`: from options to a case, and from advice to text, JSON and pictures."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from collector.config import Config
from collector.errors import ForeshockError
from effective_time import arguments, whatif_json, whatif_report
from effective_time.compare import Case
from effective_time.operating_curve import Chosen, chosen
from effective_time.rates import Rates
from effective_time.rates_named import rates
from effective_time.stack import STACKS, Stack
from effective_time.whatif import advise, checked, of_gpus
from effective_time.whatif_report import Asked

RECALL, PRECISION, LEAD_S = 0.25, 0.85, 1800.0


def run(args: argparse.Namespace, config: Config, out: TextIO, err: TextIO) -> int:
    """Print the advice; 0. Raises ForeshockError for what cannot be asked, or a plot without a place."""
    arguments.check(args)
    asked = _asked(args, config)
    try:
        checked(asked.case)
        with _progress(args, asked.case, err) as tick:
            found = advise(asked.case, range(args.seeds), tick, config.watch)
    except ValueError as e:
        raise ForeshockError(f"this job makes no sense: {e}", hint="foreshock whatif --help") from e
    if args.plot:
        from effective_time import whatif_plot

        try:
            whatif_plot.write(found, asked, Path(args.plot))
        except OSError as e:
            raise ForeshockError(
                f"--plot {args.plot}: {e.strerror}", hint="name a file in a folder that is there"
            ) from e
    if args.json:
        json.dump(whatif_json.as_dict(found, asked, with_curves=args.curves), out, allow_nan=False, indent=2)
        out.write("\n")
    else:
        out.write(whatif_report.text(found, asked) + "\n")
    return 0


def _asked(args: argparse.Namespace, config: Config) -> Asked:
    known = rates(args.rates, config.lake.path, args.gpu_share)
    stack, origins = _stack(args)
    recall = RECALL if args.recall is None else args.recall
    case = Case(
        gpus=args.gpus, rates=known, stack=stack, days=arguments.days(args), spare_nodes=args.spare_nodes,
        migrate=not args.no_migrate,
        lead_s=LEAD_S if args.lead_s is None else args.lead_s, interval_s=args.interval_s, repair_h=args.repair_h,
    )  # fmt: skip
    if args.model is not None:
        by = _model(args, config, case)
        return Asked(by.case, origins | _of_model(by, args), by)
    precision = PRECISION if args.precision is None else args.precision
    case = replace(case, recall=_of_gpus(recall, known, args), precision=precision)
    told = {name: _origin(getattr(args, name)) for name in ("recall", "precision", "lead_s")}
    return Asked(case, origins | told, None)


def _of_gpus(recall: float, known: Rates, args: argparse.Namespace) -> float:
    """The recall that nobody gave fits itself to the rates."""
    return of_gpus(min(recall, known.gpu_share) if args.recall is None else recall, known)


def _stack(args: argparse.Namespace) -> tuple[Stack, dict[str, str]]:
    """The stack with what was given in its place, and where each of its costs is from."""
    named = STACKS[arguments.STACK_NAMES.index(args.stack)]
    given = {
        "checkpoint_s": args.checkpoint_s, "recovery_s": args.recovery_s,
        "proactive_s": args.proactive_checkpoint_s, "move_s": args.swap_s,
    }  # fmt: skip
    changed = {name: value for name, value in given.items() if value is not None}
    origins = {name: "given" if name in changed else f"assumed: {named.name}" for name in given}
    return replace(named, **changed), origins


def _model(args: argparse.Namespace, config: Config, case: Case) -> Chosen:
    from models.registry import Registry

    registry = Registry(config.models.registry)
    model_id = args.model or registry.active()
    if model_id is None:
        raise ForeshockError(
            f"no model is active in {config.models.registry}",
            hint="foreshock models list, then --model ID",
        )
    by = chosen(registry.card(model_id), case)
    if args.lead_s is None:
        return by
    return replace(by, case=replace(by.case, lead_s=args.lead_s))


def _of_model(by: Chosen, args: argparse.Namespace) -> dict[str, str]:
    kind = "measured, SYNTHETIC" if by.card.synthetic else "measured"
    origin = f"{kind}: {by.card.model_id}"
    precision = f"{origin}, at the rate of faults here"
    return {
        "recall": origin,
        "precision": precision,
        "lead_s": "given" if args.lead_s is not None else origin,
    }


def _origin(value: object) -> str:
    return "assumed" if value is None else "given"


@contextmanager
def _progress(args: argparse.Namespace, case: Case, err: TextIO) -> Iterator[Callable[[], object]]:
    """A bar on a terminal, which leaves nothing behind; silence elsewhere."""
    if not err.isatty():
        yield lambda: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(file=err), transient=True) as bar:
        runs = args.seeds * (2 if case.recall > 0.0 else 1)
        task = bar.add_task(f"simulating {case.gpus:,} GPUs", total=runs)
        yield lambda: bar.advance(task)
