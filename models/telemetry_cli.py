"""`foreshock train`, and `foreshock evaluate` where telemetry is judged: arguments in, report, card and model out."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any, TextIO

import polars as pl

from collector.clock import to_datetime
from collector.config import Config
from collector.errors import ForeshockError
from models import evaluate_lake, evaluate_simulated, telemetry_report, telemetry_train
from models.arguments import FALSE_PER_DAY
from models.evaluate import finite
from models.learning import Learnt
from models.operating_point import OperatingPoint
from models.progress import Progress
from models.promotion import promote_if_better
from models.registry import Registry
from models.simulated_protocol import Setting
from models.telemetry_scores import OURS
from pipeline.lake import Lake


def train(args: argparse.Namespace, config: Config, out: TextIO) -> int:
    if args.promote_if_better and args.dataset != "lake":
        raise ForeshockError(
            "only what was learnt from the lake can be compared on the lake with what serves",
            hint="foreshock train --dataset lake --promote-if-better; or promote by hand",
        )
    report, learnt, point, frames = _measured(args, config.lake.path, sweep_gpus=0)
    model_id = _saved(args, config, report, (learnt, point), frames)
    won = (
        promote_if_better(Lake(config.lake.path), config.models.registry, model_id)
        if args.promote_if_better
        else {}
    )
    promoted = args.promote or won.get("promoted", False)
    if args.promote:
        Registry(config.models.registry).promote(model_id, "foreshock train --promote")
    if args.json:
        print(
            json.dumps(finite({"model_id": model_id, "promoted": promoted, "promotion": won, **report})),
            file=out,
        )
        return 0
    out.writelines(line + "\n" for line in telemetry_report.lines(report))
    serve = (
        "it serves from now on"
        if promoted
        else f"to serve it: foreshock models promote {model_id} --reason WHY"
    )
    if won:
        print(f"\nagainst {won['against']}: {'won' if promoted else 'not promoted'}: {won['why']}", file=out)
    print(f"\n{model_id} is in {config.models.registry}; {serve}", file=out)
    return 0


def evaluate(args: argparse.Namespace, config: Config, out: TextIO) -> int:
    data = Path(args.data) if args.data else config.lake.path
    folder = Path(args.out) if args.out else None
    so_far = folder / "evaluation-so-far.json" if folder else None
    report, learnt, point, frames = _measured(args, data, sweep_gpus=args.sweep_gpus, so_far=so_far)
    if args.save:
        print(_saved(args, config, report, (learnt, point), frames), file=sys.stderr)
    text = json.dumps(finite(report), indent=2, allow_nan=False)
    card = telemetry_report.card(report, _command(args))
    if folder and so_far:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "evaluation.json").write_text(text + "\n", encoding="utf-8")
        (folder / "model-card.md").write_text(card, encoding="utf-8")
        telemetry_report.pictures(report, frames, folder)
        so_far.unlink(missing_ok=True)
    if args.card:
        Path(args.card).write_text(card, encoding="utf-8")
    if args.json:
        print(text, file=out)
    else:
        out.writelines(line + "\n" for line in telemetry_report.lines(report))
    return 0


Measured = tuple[dict[str, Any], Learnt, OperatingPoint, dict[str, pl.DataFrame]]


def _measured(
    args: argparse.Namespace, lake: Path, *, sweep_gpus: int, so_far: Path | None = None
) -> Measured:
    """`so_far`: where the report of the tests that are over is kept, for whoever has to stop a run of hours."""

    def keep(report: dict[str, Any]) -> None:
        if so_far is not None:
            so_far.parent.mkdir(parents=True, exist_ok=True)
            so_far.write_text(json.dumps(finite(report), allow_nan=False) + "\n", encoding="utf-8")

    with Progress() as progress:
        if args.dataset == "lake":
            return evaluate_lake.evaluate(
                Lake(lake), false_per_day=args.false_alarms, seed=args.seed, progress=progress
            )
        setting = Setting(
            gpus=args.gpus, days=args.days, precursors=args.precursors, seed=args.seed,
            fault_rate_factor=args.fault_rate_factor, processes=args.processes,
        )  # fmt: skip
        return evaluate_simulated.evaluate(
            setting, false_per_day=args.false_alarms, sweep_gpus=sweep_gpus, progress=progress, keep=keep
        )


def _saved(
    args: argparse.Namespace, config: Config, report: dict[str, Any], made: tuple[Learnt, OperatingPoint],
    frames: dict[str, pl.DataFrame],
) -> str:  # fmt: skip
    """Its id in the registry: figures of its last test (the furthest from what it learnt), and the report beside it."""
    learnt, point = made
    last = report["tests"][-1]
    model_id = telemetry_train.save(
        Registry(config.models.registry), learnt, point, dataset=report["dataset"], synthetic=report["synthetic"],
        results=[r for r in report["results"] if r["test"] == last["test"]], at_point=last,
        curve=frames[f"{last['test']}/curve/{OURS}"], created=to_datetime(config.make_clock().time_s()), seed=args.seed,
    )  # fmt: skip
    told = json.dumps(finite(report), allow_nan=False) + "\n"
    (config.models.registry / model_id / "evaluation.json").write_text(told, encoding="utf-8")
    return model_id


def _command(args: argparse.Namespace) -> str:
    budget = "" if args.false_alarms == FALSE_PER_DAY else f" --false-alarms {args.false_alarms:g}"
    if args.dataset == "lake":
        return f"foreshock evaluate --dataset lake{budget}"
    return (
        f"foreshock evaluate --dataset simulated --gpus {args.gpus} --days {args.days} --precursors {args.precursors} "
        f"--seed {args.seed} --fault-rate-factor {args.fault_rate_factor:g} --sweep-gpus {args.sweep_gpus}"
        f"{budget}"
    )
