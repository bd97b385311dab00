"""The part of docs/effective-time.md that a real trace is replayed for, between two marks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from effective_time.cells import pc, signed, table
from effective_time.replay import Window

BEGIN: Final = "<!-- replay -->"
END: Final = "<!-- /replay -->"


def kept(before: str) -> str:
    """What stands between the marks of a page made before."""
    _, mark, rest = before.partition(BEGIN)
    return rest.partition(END)[0].strip() if mark and END in rest else ""


def replayed(windows: Sequence[Window], nodes: int, spare: int, seeds: int) -> str:
    """The real trace as a section."""
    rows = [
        [
            f"{w.fleet.since_day:.0f} to {w.fleet.until_day:.0f}", r.stack, r.predictor, pc(r.ettr_without.mean),
            pc(r.ettr_with.mean), signed(r.gain),
        ]
        for w in windows for r in w.rows if r.kind != "none"
    ]  # fmt: skip
    head = ("days", "stack", "predictor", "without", "with", "gain, points")
    return "\n\n".join(
        [
            "## Replay of real node faults",
            f"A job on {nodes - spare} of the {nodes} servers of the InfiniteHBD trace, {spare} spare, {seeds} seeds, "
            "the same faults in both arms, caps as shipped: `python -m effective_time.replay --data DIR`. Faults and "
            "repairs are real; what saves and restarts cost is the stack's, and `assumed` predictors are assumed. "
            f"Recall here is of the outages that GPUs began, {windows[0].fleet.of_gpu} of {windows[0].fleet.outages}.",
            "REAL is the proneness head, learnt on the days before 150 and heard after them. "
            + " ".join(map(_short, windows)),
            table(head, rows),
        ]
    )  # fmt: skip


def _short(w: Window) -> str:
    return (
        f"Days {w.fleet.since_day:.0f} to {w.fleet.until_day:.0f}: {100 * w.share_short:.1f} % of the time more nodes "
        f"are out than there are spares (at most {w.fleet.most_away}), and the job waits, whatever anybody foretells."
    )
