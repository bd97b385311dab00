"""How long a year of one synchronous job takes to simulate, without and with the production policy. One process.

    python -m benchmarks.job_year [--gpus 16384] [--days 365] [--json]

The job has the literature's second stack and Llama 3's rates, as in docs/effective-time.md; synthetic faults. `both`
is the pair that a comparison needs: the same faults without a predictor, and with one. `all GPU faults` is the most
that a predictor can bring: recall .64 of all. Caps as shipped hold drains back, so the policy is asked again each
minute. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from dataclasses import replace

from effective_time.compare import Case, compare
from effective_time.stack import STACKS
from effective_time.table_rows import RATES, RECALL, foretold

_LIMIT_S = 60.0
_REPEATS = 3


def cases(gpus: int, days: float) -> dict[str, Case]:
    plain = Case(gpus=gpus, rates=RATES, stack=STACKS[1], days=days)
    some, most = foretold(plain), foretold(plain, RATES.gpu_share)
    return {
        "without": plain,
        f"both, recall {RECALL:g}": some,
        "both, all GPU faults": most,
        "both, all GPU faults, caps as shipped": replace(most, limits_as_shipped=True),
    }


def seconds(case: Case, repeats: int = _REPEATS) -> float:
    """Median over seeds, drawing the faults included."""
    taken = []
    for seed in range(repeats):
        began = time.monotonic()
        compare(case, [seed])
        taken.append(time.monotonic() - began)
    return statistics.median(taken)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--gpus", type=int, default=16_384, help="of the job (default: 16384)")
    parser.add_argument("--days", type=float, default=365.0, help="of the run (default: 365)")
    parser.add_argument("--json", action="store_true", help="only the JSON line")
    args = parser.parse_args()
    took_s = {name: seconds(case) for name, case in cases(args.gpus, args.days).items()}
    if not args.json:
        print(f"{args.days:g} days of a job on {args.gpus:,} GPUs; synthetic faults (limit {_LIMIT_S:g} s)")
        for name, s in took_s.items():
            print(f"  {name:<40}{s:>8.2f} s")
    print(
        json.dumps(
            {"gpus": args.gpus, "days": args.days, "limit_s": _LIMIT_S, "cores": len(os.sched_getaffinity(0))}
            | {"seconds": {name: round(s, 3) for name, s in took_s.items()}}
        )
    )
    return 0 if max(took_s.values()) < _LIMIT_S else 1


if __name__ == "__main__":
    sys.exit(main())
