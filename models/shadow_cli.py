"""`foreshock models compare` and `drift`: a candidate beside what serves, and what serves beside its card."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any, Final, TextIO

from rich.console import Console
from rich.table import Table
from rich.text import Text

from collector.errors import ForeshockError
from models.contenders import ACTIVE, Contender, contender, new_to
from models.evaluate import finite
from models.replay import last_days
from models.shadow import compare, wins
from models.watch_model import ALERTS, watch
from pipeline.lake import Lake

SYNTHETIC: Final = "SYNTHETIC telemetry: no evidence about real GPUs"
_SHOWN: Final = 12
"""Rows of a drift table; the others are stable or in --json."""


def run_compare(args: argparse.Namespace, root: Path, lake: Lake, out: TextIO) -> int:
    """Raises ForeshockError where a model cannot be loaded or nothing of the time is new to both."""
    one, other = contender(root, args.against), contender(root, args.id)
    asked, until = last_days(lake, args.days)
    since = new_to((one, other), asked, until)
    told = compare(lake, one.scorer, other.scorer, since, until, thresholds=(one.threshold, other.threshold))
    won, why = wins(told)
    notes = _notes(told, (one, other), later=since > asked)
    told |= {"wins": won, "why": why, "notes": notes}
    if args.json:
        print(json.dumps(finite(told), indent=2), file=out)
        return 0
    print(f"{told['since'][:16]} to {told['until'][:16]} UTC, {told['gpu_days']:,.0f} GPU-days, "
          f"{told['n_faults']} faults on {told['n_nodes_with_faults']} nodes", file=out)  # fmt: skip
    print(f"  one:   {told['one']['model_id']}\n  other: {told['other']['model_id']}\n", file=out)
    _print_table(_rows(told), out)
    print(f"\n{'The other wins' if won else 'No win'}: {why}", file=out)
    out.writelines(f"{note}\n" for note in notes)
    if won:
        print(f"  foreshock models promote {args.id} --reason WHY", file=out)
    return 0


def run_drift(args: argparse.Namespace, root: Path, lake: Lake, out: TextIO) -> int:
    """1 where the active model decayed or drifted. Raises ForeshockError where none is active."""
    active = contender(root, ACTIVE)
    if active.card is None:
        raise ForeshockError(
            "no model is active: the rules serve, and they promise nothing that could drift",
            hint="foreshock models promote ID --reason TEXT",
        )
    told = watch(lake, active.scorer, active.card, *last_days(lake, args.days))
    if args.json:
        print(json.dumps(finite(told), indent=2), file=out)
    else:
        _print_drift(told, out)
    return 1 if told["verdict"] in ALERTS else 0


def _print_drift(told: dict[str, Any], out: TextIO) -> None:
    print(f"{told['model_id']}: {told['verdict']}", file=out)
    print(f"{told['since'][:16]} to {told['until'][:16]} UTC, {told['gpu_days']:,.0f} GPU-days, "
          f"{told['n_faults']} faults, {told['n_rows']:,} minutes compared", file=out)  # fmt: skip
    if told["synthetic"]:
        print(SYNTHETIC, file=out)
    print(file=out)
    _print_table([_drifted(row) for row in told["drift"][:_SHOWN]], out)
    hidden = [row["verdict"] for row in told["drift"][_SHOWN:]]
    if hidden:
        counts = ", ".join(f"{hidden.count(word)} {word}" for word in dict.fromkeys(hidden))
        print(f"and {len(hidden)} more, smaller: {counts} (--json has them)", file=out)
    print(file=out)
    _print_table([_decayed(row) for row in told["decay"]], out)


def _drifted(row: dict[str, Any]) -> dict[str, str]:
    return {
        "input": row["feature"],
        "PSI": _number(row["psi"]),
        "null then": _number(row["null_share_then"]),
        "now": _number(row["null_share_now"]),
        "non-zero then": _number(row["nonzero_share_then"]),
        "now ": _number(row["nonzero_share_now"]),
        "verdict": row["verdict"],
    }


def _decayed(row: dict[str, Any]) -> dict[str, str]:
    return {
        "measure": row["measure"],
        "promised": _number(row["promised"]),
        "measured (95 %)": _with_interval(row["measured"], (row["low"], row["high"])),
        "of": str(row["n"]),
        "verdict": row["verdict"],
    }


def _rows(told: dict[str, Any]) -> list[dict[str, str]]:
    own = {
        "precision": "precision",
        "recall": "recall",
        "false_per_day_per_10k": "false a day per 10,000 GPUs",
    }
    rows = [
        _row(f"{text}, own threshold", told, ("at_own_threshold", name), told["verdicts"][name])
        for name, text in own.items()
    ]
    for b in told["budgets"]:
        verdict = told["verdicts"][f"recall_at_budget_{b:g}"]
        rows.append(_row(f"recall at {b:g} alarms a day", told, ("at_budget", f"{b:g}", "recall"), verdict))
    return rows


def _row(text: str, told: dict[str, Any], path: tuple[str, ...], verdict: dict[str, Any]) -> dict[str, str]:
    shown = {"": text}
    for side in ("one", "other"):
        figure = told[side]
        for key in path:
            figure = figure[key]
        shown[side] = _with_interval(figure["value"], figure["ci95"])
    difference = _with_interval(verdict["difference"], verdict["ci95"])
    return shown | {"difference (95 %)": difference, "the other is": verdict["verdict"]}


def _notes(told: dict[str, Any], contenders: tuple[Contender, ...], *, later: bool) -> list[str]:
    notes = [SYNTHETIC] if told["synthetic"] else []
    if later:
        notes.append("The time begins later than asked for: before that a model has learnt from it.")
    made = [c.card.model_id for c in contenders if c.card and c.card.created.isoformat() > told["since"]]
    if made:
        notes.append(
            f"It begins before {', '.join(made)} was made; the threshold was chosen on some of those days."
        )
    return notes


def _with_interval(value: float | None, interval: Any) -> str:
    low, high = interval
    if value is None or low is None or high is None:
        return _number(value)
    return f"{_number(value)} ({_number(low)} to {_number(high)})"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"


def _print_table(rows: list[dict[str, str]], out: TextIO) -> None:
    console = Console(file=out, highlight=False, width=None if out.isatty() else 10_000)
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 3, 0, 0))
    for name in rows[0]:
        table.add_column(Text(name), overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row.values()))
    console.print(table)
