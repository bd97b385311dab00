"""Make docs/effective-time.md, or print it: `python -m effective_time.table --help`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final, TextIO

from collector.errors import ForeshockError
from effective_time import table_replay, table_rows, table_text
from effective_time.arguments import several
from effective_time.table_rows import Tell
from effective_time.table_text import Figures
from effective_time.whatif_json import finite
from models.registry import Registry

SEEDS: Final = 10
REGISTRY: Final = Path("demo/registry")


def main(arguments: Sequence[str] | None = None, out: TextIO = sys.stdout, err: TextIO = sys.stderr) -> int:
    """Write the page to --out, else to `out`; with --json the figures as one object to `out`."""
    args = _parser().parse_args(arguments)
    try:
        found = figures(
            Path(args.registry), args.model, range(args.seeds), lambda what: print(what, file=err)
        )
        replayed = _replayed(args.data) if args.data else None
        if args.out:
            path = Path(args.out)
            before = path.read_text(encoding="utf-8") if path.exists() else ""
            page = table_text.page(found, replayed if replayed is not None else table_replay.kept(before))
            path.write_text(page, encoding="utf-8")
    except (ForeshockError, OSError) as e:
        print(f"error: {e}", file=err)
        return 1
    if args.json:
        out.write(json.dumps(finite(as_dict(found)), allow_nan=False) + "\n")
    elif not args.out:
        out.write(table_text.page(found, replayed or ""))
    return 0


def figures(registry: Path, model: str, seeds: Sequence[int], tell: Tell) -> Figures:
    """All that the page shows. `model` empty: the active one. Raises ForeshockError where there is none."""
    models = Registry(registry)
    model_id = model or models.active()
    if model_id is None:
        raise ForeshockError(f"no model is active in {registry}", hint="--registry DIR or --model ID")
    card = models.card(model_id)
    rows = list(table_rows.effective(card, seeds, tell))
    return Figures(
        card, len(seeds), rows, list(table_rows.checks_of_target(seeds, tell)),
        list(table_rows.validation(rows, seeds, tell)), table_rows.mtbf_check(rows),
        list(table_rows.capped(seeds, tell)),
    )  # fmt: skip


def as_dict(found: Figures) -> dict[str, Any]:
    """Plain values: ETTR and shares in 0..1, times in seconds."""
    return {
        "model_id": found.card.model_id, "synthetic": True, "seeds": found.seeds,
        "effective": [
            {
                "stack": asdict(r.stack), "gpus": r.gpus, "ettr_without": r.without, "ettr_assumed": r.assumed,
                "ettr_trained": r.trained, "simulated_without": asdict(r.simulated.without),
                "simulated_assumed": asdict(r.simulated.with_), "gain_assumed": asdict(r.simulated.gain),
                "simulated_trained": asdict(r.simulated_trained.with_),
                "gain_trained": asdict(r.simulated_trained.gain),
            }
            for r in found.rows
        ],
        "conditions": [asdict(c) for own in (False, True) for c in table_rows.conditions(own)],
        "needs": [asdict(n) for n in table_rows.needs()],
        "checks_of_target": [asdict(c) for c in found.at_target],
        "validation": [asdict(c) for c in found.validation], "hours_between": asdict(found.hours_between),
        "caps": [asdict(c) for c in found.capped],
    }  # fmt: skip


def _replayed(data: str) -> str:
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    from effective_time import replay
    from models import nodetrace

    trace = nodetrace.read(Path(data))
    with threadpool_limits(1):
        return table_replay.replayed(replay.replay(trace), len(trace.units), replay.SPARE, replay.SEEDS)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m effective_time.table", description=_HELP, formatter_class=argparse.RawDescriptionHelpFormatter
    )  # fmt: skip
    add = parser.add_argument
    add("--out", metavar="FILE.md", help="write the page there (default: print it)")
    add(
        "--registry", default=str(REGISTRY), metavar="DIR", help="of the trained model (default: %(default)s)"
    )
    add("--model", default="", metavar="ID", help="of it (default: the active one)")
    add("--seeds", type=several, default=SEEDS, metavar="N", help="runs of each case (default: %(default)s)")
    add("--data", metavar="DIR", help="folder with fault_trace.json: replay it too (minutes more)")
    add("--json", action="store_true", help="print the figures as one object")
    return parser


_HELP: Final = """Effective training time with and without Foreshock, as docs/effective-time.md has it.

  python -m effective_time.table --data DIR --out docs/effective-time.md     DIR: docs/data.md

Without --data, what stands between the marks `<!-- replay -->` and `<!-- /replay -->` of FILE.md stays as it is."""


if __name__ == "__main__":
    sys.exit(main())
