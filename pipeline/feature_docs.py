"""docs/features.md, made from the table of features: `python -m pipeline.feature_docs > docs/features.md`."""

from __future__ import annotations

import sys
from typing import Final

from pipeline.event_history import EVENT_LOOK_BACK_DAYS, FAULT_KINDS
from pipeline.features import FEATURE_SET, FEATURES, INPUTS
from pipeline.recent import FORGET_AFTER_MINUTES

_HEAD: Final = """\
# Features

<!-- Made by `python -m pipeline.feature_docs > docs/features.md`: edit FEATURES in pipeline/features.py. -->

One row per GPU per minute, {count} features; feature set `{feature_set}`. A model made for another set is refused.
Training and live scoring run the same code (`pipeline/minute_features.py`) on {inputs} columns of the rollups, and
give the same numbers to the last bit.

- **What was known.** A row sees its own minute and earlier ones, and events strictly before the minute's end. In
  the lake an event stands at the time it happened: one that reached a worker minutes late is in the features of
  training but was not in the live ones.
- **Null is not zero.** Null means unknown: not supported, not answered, no such past. A window sums and compares
  what it knows; it is null where it knows nothing. A missing minute is unknown, not zero.
- **Windows.** `10 min` is the minute itself and the nine before it, by the clock and not by rows. `24 h by the
  clock hour` is the running clock hour up to the minute and the 23 hours before it: between 23 and 24 hours, so
  that a live worker keeps 24 sums and not 1,440 minutes. Those are integer counters, whose sums are exact in any
  order.
- **Peers** are the GPUs of the same node in the same minute (median; a lone GPU is compared with nothing: its
  temperature delta is 0, its gap its own). Rack and fleet peers are left out on purpose: a worker owns some
  partitions and sees the nodes of those alone, so such a feature would be another one in training. What warms a
  whole rack warms the node's median too.
- **Itself.** `temperature_own_delta_c` compares with the mean over the minutes of the last hour, without the last
  three, in which the power was within 10 % of now; null with fewer than five of them.
- **Events.** A fault is a fault's Xid (an NVLink5 code only where its line says Fatal) or {kinds}.
  One fingerprint counts once, as it was first told. Nothing looks further back than {days} days. An event that
  names no GPU is, for its node and slot, one of another GPU.
- **Pace.** Each node goes at its own: one that was cut off and sends its hour later gets the features of its own
  minutes. A GPU that is {forget} h behind the newest minute is forgotten by the live worker.

"""
_COLUMNS: Final = ("feature", "unit", "window", "source", "why", "literature")


def page() -> str:
    """The whole page."""
    head = _HEAD.format(
        count=len(FEATURES),
        feature_set=FEATURE_SET,
        inputs=len(INPUTS),
        kinds=", ".join(f"`{kind}`" for kind in FAULT_KINDS),
        days=EVENT_LOOK_BACK_DAYS,
        forget=FORGET_AFTER_MINUTES // 60,
    )
    rows = [
        (f"`{f.name}`", f.unit, f.window or "the minute", f.source, f.why, f.literature) for f in FEATURES
    ]
    table = (_COLUMNS, ["---"] * len(_COLUMNS), *rows)
    return head + "".join(f"| {' | '.join(cells)} |\n" for cells in table)


def main() -> int:
    sys.stdout.write(page())
    return 0


if __name__ == "__main__":
    sys.exit(main())
