"""Markdown cells: shares in %, spreads with their 95 % interval, whole tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from effective_time.compare import Spread


def pc(share: float) -> str:
    return f"{100 * share:.2f}"


def both(form: float, s: Spread) -> str:
    return f"{pc(form)} / {pc(s.mean)} ± {100 * (s.high - s.mean):.2f}"


def signed(s: Spread) -> str:
    return f"{100 * s.mean:+.2f} ± {100 * (s.high - s.mean):.2f}"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
