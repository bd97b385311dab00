"""What a replay found, as a table for people and as one object."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from alerting.waste import DAY_S
from effective_time.compare import Spread
from effective_time.replay import Row, Window
from models.evaluate import finite

_HOUR_S = 3600.0


def as_dict(windows: Sequence[Window], *, spare: int, nodes: int, seeds: int) -> dict[str, Any]:
    """Plain values; what is not defined, or endless, is null."""
    head = {"dataset": "nodetrace", "spare": spare, "nodes_in_job": nodes - spare, "seeds": seeds}
    told: dict[str, Any] = finite(head | {"windows": [asdict(w) for w in windows]})
    return told


def table(windows: Sequence[Window], *, spare: int, nodes: int, seeds: int) -> str:
    """Days, fleet, then a block per stack with a line per predictor and where the time went."""
    head = f"Real node faults: a job on {nodes - spare} of {nodes} nodes, {spare} spare; {seeds} seeds, in both arms"
    return "\n".join([head, *(line for w in windows for line in _window(w, spare))])


def _window(w: Window, spare: int) -> list[str]:
    f = w.fleet
    lines = [
        "",
        f"== days {f.since_day:g} to {f.until_day:.0f}: {f.outages} outages, {f.of_gpu} of them by a GPU",
        f"   a node fails every {f.node_mtbf_days:.0f} days, the job every {w.job_mtbf_s / _HOUR_S:.1f} h; "
        f"repair median {f.repair_median_s / _HOUR_S:.1f} h, 90 % {f.repair_p90_s / DAY_S:.1f} days",
        f"   {100 * w.share_short:.1f} % of the time more than {spare} nodes are away (at most {f.most_away}): the job "
        "waits for a node, whoever foretells what",
        f"   intervals by {w.job_mtbf_before_s / _HOUR_S:.1f} h between faults ({w.before.source})",
    ]
    for name in dict.fromkeys(r.stack for r in w.rows):
        rows = [r for r in w.rows if r.stack == name]
        lines += ["", *_stack(rows)]
    return lines


def _stack(rows: Sequence[Row]) -> list[str]:
    first = rows[0]
    pays = ", ".join(f"{what} {p:.3f}" for what, p in first.pays_from.items())
    lines = [
        f"{first.stack} (T {first.interval_s:.0f} s; pays from p at best: {pays})",
        f"  {'predictor':<39}{'without':>8}{'with':>8}{'gain, points (95 %)':>27}{'stops':>12}{'avoided':>8}"
        f"{'alarms, true':>14}  p, asked for a risk",
    ]
    lines += [_line(r) for r in rows if r.kind != "none"]
    return [*lines, *(_waste("without", first.lost_without) if first.kind == "none" else [])] + [
        line for r in rows if r.kind != "none" for line in _waste(r.predictor, r.lost_with)
    ]


def _line(r: Row) -> str:
    asked = ", ".join(f"{n:.1f} {name}" for name, n in r.asked.items()) or "nothing"
    said = "-" if r.probability is None else f"{r.probability[0]:.3f}-{r.probability[1]:.3f}"
    stops = f"{r.interruptions_without:.0f} > {r.interruptions_with:.1f}"
    return (
        f"  {r.predictor:<39}{100 * r.ettr_without.mean:>8.2f}{100 * r.ettr_with.mean:>8.2f}{_gain(r.gain):>27}"
        f"{stops:>12}{r.avoided:>8.1f}{f'{r.alarms:.1f}, {r.true_alarms:.1f}':>14}  {said}, {asked}"
    )


def _gain(s: Spread) -> str:
    return f"{100 * s.mean:+.3f} ({100 * s.low:+.3f} to {100 * s.high:+.3f})"


def _waste(name: str, lost: dict[str, float]) -> list[str]:
    return [f"    lost, {name}: " + ", ".join(f"{cause} {100 * s:.3f}" for cause, s in lost.items()) + " %"]
