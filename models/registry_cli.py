"""`foreshock models`: what the registry holds, which model serves, and how to change that."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TextIO

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from collector.errors import ForeshockError
from models.cards import Card
from models.registry import Registry
from pipeline.features import FEATURE_SET

_HIDDEN: Final = ("reference", "curve")
"""Long parts of a card, left to --json."""
_NUMERIC: Final = ("horizon", "faults", "AP", "precision", "recall")


def run(args: argparse.Namespace, root: Path, out: TextIO, lake: Path | None = None) -> int:
    """Do `args.action` on the registry at `root`; 0, or 1 where `check` finds that the model cannot serve.

    `compare` and `drift` (which is 1 where the active model drifted or decayed) score `lake`.
    Raises ForeshockError for what the registry refuses.
    """
    if args.action in ("compare", "drift"):
        return _on_the_lake(args, root, lake, out)
    actions: dict[str, Callable[[argparse.Namespace, Registry, TextIO], int]] = {
        "list": _list, "show": _show, "promote": _promote, "rollback": _rollback,
        "history": _history, "remove": _remove, "check": _check,
    }  # fmt: skip
    return actions[args.action](args, Registry(root), out)


def _on_the_lake(args: argparse.Namespace, root: Path, lake: Path | None, out: TextIO) -> int:
    from models.shadow_cli import run_compare, run_drift
    from pipeline.lake import Lake

    if lake is None:
        raise ForeshockError(f"foreshock models {args.action} needs a lake", hint="set lake.path")
    return (run_compare if args.action == "compare" else run_drift)(args, root, Lake(lake), out)


def _list(args: argparse.Namespace, registry: Registry, out: TextIO) -> int:
    active = registry.active()
    rows = [_row(registry, model_id, active) for model_id in registry.list()]
    if args.json:
        _print_json(rows, out)
    elif rows:
        _print_table([_for_people(row) for row in rows], out)
        if active is None:
            print("No model is active: foreshock models promote ID --reason TEXT", file=out)
    else:
        print(f"No models in {registry.root}. Train one: foreshock train", file=out)
    return 0


def _row(registry: Registry, model_id: str, active: str | None) -> dict[str, Any]:
    """One line of the list; a model whose card cannot be read has its `problem` and nothing else."""
    head = {"model_id": model_id, "active": model_id == active}
    try:
        card = registry.card(model_id)
    except ForeshockError as e:
        return head | {"problem": str(e)}
    return head | {
        "created": card.created,
        "head": card.head,
        "horizon_s": card.horizon_s,
        "n_faults": card.n_faults,
        "ap": card.metrics.get("ap"),
        "precision": card.point.precision,
        "recall": card.point.recall,
        "synthetic": card.synthetic,
        "feature_set": card.feature_set,
    }


def _for_people(row: dict[str, Any]) -> dict[str, str]:
    shown = {"": "*" if row["active"] else "", "model": row["model_id"]}
    if "problem" in row:
        return (
            shown
            | dict.fromkeys(("created", "head", *_NUMERIC), "")
            | {"data": f"unreadable: {row['problem']}"}
        )
    return shown | {
        "created": f"{row['created']:%Y-%m-%d %H:%M}",
        "head": row["head"],
        "horizon": _duration(row["horizon_s"]),
        "faults": str(row["n_faults"]),
        "AP": _number(row["ap"]),
        "precision": _number(row["precision"]),
        "recall": _number(row["recall"]),
        "data": ("synthetic" if row["synthetic"] else "real")
        + ("" if row["feature_set"] == FEATURE_SET else ", other feature set"),
    }


def _show(args: argparse.Namespace, registry: Registry, out: TextIO) -> int:
    card = registry.card(args.id)
    active = card.model_id == registry.active()
    if args.json:
        _print_json({"active": active, **msgspec.to_builtins(card)}, out)
        return 0
    print(f"{card.model_id}{' (active)' if active else ''}", file=out)
    for name, text in _said(card).items():
        print(f"  {name:<16} {text}", file=out)
    print(f"  {'':<16} also in --json: {', '.join(_HIDDEN)}", file=out)
    return 0


def _said(card: Card) -> dict[str, str]:
    point = card.point
    fits = "the one in use" if card.feature_set == FEATURE_SET else f"NOT the one in use, {FEATURE_SET}"
    return {
        "predicts": f"{card.head}: a fault within {_duration(card.horizon_s)}",
        "data": f"{card.dataset} ({card.origin}), {card.data_from:%Y-%m-%d} to {card.data_until:%Y-%m-%d}",
        "learnt from": f"{card.n_faults} faults, {card.n_rows} rows, seed {card.seed}",
        "label": f"{card.label_digest}: {json.dumps(card.label, default=str, ensure_ascii=False)}",
        "features": f"{len(card.feature_names)}, feature set {card.feature_set} ({fits})",
        "alarms from": f"risk {point.threshold:g}, chosen by: {point.chosen_by}",
        "measured there": f"precision {_number(point.precision)}, recall {_number(point.recall)}, "
        f"{_number(point.alarms_per_day_per_10k)} alarms a day per 10,000 GPUs",
        "metrics": ", ".join(f"{k} {_number(v)}" for k, v in card.metrics.items()) or "none",
        "made with": ", ".join(f"{k} {v}" for k, v in card.versions.items()),
        "created": f"{card.created:%Y-%m-%d %H:%M:%S} UTC",
    }


def _promote(args: argparse.Namespace, registry: Registry, out: TextIO) -> int:
    before = registry.active()
    registry.promote(args.id, args.reason, feature_set=FEATURE_SET)
    return _changed(args, out, registry.active(), before)


def _rollback(args: argparse.Namespace, registry: Registry, out: TextIO) -> int:
    before = registry.active()
    return _changed(args, out, registry.rollback(args.reason, feature_set=FEATURE_SET), before)


def _changed(args: argparse.Namespace, out: TextIO, now: str | None, before: str | None) -> int:
    if args.json:
        _print_json({"active": now, "before": before}, out)
    else:
        print(f"active: {now or 'no model'} (before: {before or 'no model'})", file=out)
    return 0


def _history(args: argparse.Namespace, registry: Registry, out: TextIO) -> int:
    changes = registry.history()
    if args.json:
        _print_json([msgspec.to_builtins(c) for c in changes], out)
    elif changes:
        _print_table(
            [
                {
                    "time (UTC)": f"{c.time:%Y-%m-%d %H:%M:%S}",
                    "change": c.change,
                    "model": c.model_id or "no model",
                    "before": c.before or "",
                    "who": c.who,
                    "reason": c.reason,
                }
                for c in changes
            ],
            out,
        )
    else:
        print("Nothing has happened yet.", file=out)
    return 0


def _remove(args: argparse.Namespace, registry: Registry, out: TextIO) -> int:
    registry.remove(args.id, args.reason)
    if args.json:
        _print_json({"removed": args.id}, out)
    else:
        print(f"removed: {args.id}", file=out)
    return 0


def _check(args: argparse.Namespace, registry: Registry, out: TextIO) -> int:
    """The problem is the answer here, not a failure of the command."""
    problem, hint = "", ""
    try:
        registry.check(args.id, FEATURE_SET)
    except ForeshockError as e:
        problem, hint = str(e), e.hint
    if args.json:
        _print_json({"model_id": args.id, "ok": not problem, "problem": problem, "hint": hint}, out)
    else:
        print(f"{args.id}: {problem or 'could serve here'}", file=out)
        if hint:
            print(f"  Try: {hint}", file=out)
    return 1 if problem else 0


def _duration(seconds: int) -> str:
    for unit, name in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds % unit == 0:
            return f"{seconds // unit} {name}"
    return f"{seconds} s"


def _number(value: object) -> str:
    if value is None:
        return "not measured"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _print_json(value: object, out: TextIO) -> None:
    out.write(msgspec.json.format(msgspec.json.encode(value), indent=2).decode() + "\n")


def _print_table(rows: list[dict[str, str]], out: TextIO) -> None:
    console = Console(file=out, highlight=False, width=None if out.isatty() else 10_000)
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 3, 0, 0))
    for name in rows[0]:
        table.add_column(Text(name), justify="right" if name in _NUMERIC else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row.values()))
    console.print(table)
