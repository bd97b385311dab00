"""Advice as text for people."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from typing import Final

from collector.config import WatchConfig
from effective_time.compare import Case, Comparison, Spread
from effective_time.operating_curve import Chosen
from effective_time.whatif import Advice

DEFINITION: Final = (
    "ETTR: time of work that lasts / wall time from the start of the job to its end. Queueing before the start, "
    "planned maintenance and slow steps are in neither; numbers of other sites have other denominators."
)
FIRST_ORDER_WITHIN: Final = 0.005
"""Further from the exponential form than this, the first-order ones are not to be believed."""
_HOUR_S: Final = 3600.0
_WIDTH: Final = 118


@dataclass(frozen=True, slots=True)
class Asked:
    """A case; where each of its values is from, by name; the model that is its predictor, if it is one."""

    case: Case
    origins: dict[str, str]
    model: Chosen | None

    def alarm_threshold(self, found: Advice) -> float | None:
        """The risk from which on to alarm: the model's best, else the least probability at which a move pays.

        None where no alarm pays, or alarms never move the job.
        """
        if self.model is not None:
            return None if self.model.best is None else self.model.best.threshold
        pays = self.case.migrate and found.breaks_even_at <= 1.0
        return found.breaks_even_at if pays else None


def text(found: Advice, asked: Asked) -> str:
    """For a terminal: what was assumed, what comes out, and what limits it."""
    c = found.case
    head = f"A job on {c.gpus:,} GPUs ({c.nodes:,} nodes of 8, {c.spares} spare). Simulated faults are synthetic."
    parts = [[head], _assumed(asked), _level(found), *([_model(asked.model)] if asked.model else []),
             _arms(found), _lost(found.simulated), _limits(found, asked), [DEFINITION]]  # fmt: skip
    return "\n\n".join("\n".join(_wrapped(line) for line in part) for part in parts)


def _wrapped(line: str) -> str:
    indent = " " * (len(line) - len(line.lstrip()))
    return textwrap.fill(line, _WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False,
                         replace_whitespace=False, drop_whitespace=True) if len(line) > _WIDTH else line  # fmt: skip


def points(s: Spread, *, signed: bool = False) -> str:
    """`92.04 (91.87 to 92.21)`, in % or, signed, in points."""
    f = "+.2f" if signed else ".2f"
    return f"{100 * s.mean:{f}} ({100 * s.low:{f}} to {100 * s.high:{f}})"


def _assumed(asked: Asked) -> list[str]:
    rates = asked.case.rates
    rows = [
        (name, f"{value:g} {unit}".rstrip(), asked.origins[key])
        for key, name, value, unit in values(asked.case)
    ]
    return [
        "Taken as:",
        f"  interruptions {rates.faults_per_gpu_day:.3g} per GPU-day, {100 * rates.gpu_share:.0f} % of them by GPUs",
        f"    {rates.source}",
        *(f"  {name:<34}{value:<10} {origin}" for name, value, origin in rows),
        f"  {'median of the repairs':<34}{asked.case.repair_h:g} h",
    ]  # fmt: skip


def values(case: Case) -> list[tuple[str, str, float, str]]:
    s = case.stack
    return [
        ("checkpoint_s", "C    a regular checkpoint", s.checkpoint_s, "s"),
        ("recovery_s", "U    recovery", s.recovery_s, "s"),
        ("proactive_s", "C_p  a checkpoint on an alarm", s.proactive_s, "s"),
        ("move_s", "P    a planned move", s.move_s, "s"),
        ("recall", "r    recall, of all interruptions", round(case.recall_of_all, 4), ""),
        ("precision", "p    precision of the alarms", round(case.precision, 4), ""),
        ("lead_s", "     median lead of right alarms", case.lead_s, "s"),
    ]


def _level(found: Advice) -> list[str]:
    budgets = ", ".join(f"{100 * t:g} % {s:,.0f} s" for t, s in found.budgets_s.items())
    c = found.case
    fixed = "" if c.interval_s is None else f" (it saves every {c.interval_s:g} s, as given)"
    return [
        f"An interruption every {found.mtbf_s / _HOUR_S:.2f} h. Each may cost, everything included: {budgets}.",
        f"Best interval between checkpoints: {found.best_interval_without_s:,.0f} s without a predictor, "
        f"{found.best_interval_s:,.0f} s with this one{fixed}.",
    ]


def _model(by: Chosen) -> list[str]:
    head = f"Predictor: {by.card.model_id}, measured on {by.card.dataset} data ({by.card.origin})."
    if by.best is None:
        return [head, "No threshold of its curve pays here: its moves cost more than they save."]
    b = by.best
    return [
        head,
        f"Best alarm threshold here: {b.threshold:.4g} (its own: {by.card.point.threshold:.4g}): {100 * b.recall:.0f} "
        f"% of GPU faults, {b.alarms_per_day:.2g} alarms a day, {b.false_per_day:.2g} of them false.",
        "It was chosen on the days on which it was measured, and each alarm is taken to be as probable as its alarms "
        "are precise; the live policy weighs each minute's risk and may move later: expect less.",
    ]  # fmt: skip


def _arms(found: Advice) -> list[str]:
    s, above = found.simulated, found.ettr_without - found.exact_without
    far = abs(above) > FIRST_ORDER_WITHIN
    return [
        f"{'ETTR in %':<16}{'closed form':>12}   simulated (95 %; {s.seeds} x {found.case.days:g} days)",
        f"{'without':<16}{100 * found.ettr_without:>12.2f}   {points(s.without)}   "
        f"[exponential form: {100 * found.exact_without:.2f}]",
        f"{'with Foreshock':<16}{100 * found.ettr_with:>12.2f}   {points(s.with_)}",
        f"{'gain, points':<16}{100 * found.gain:>+12.2f}   {points(s.gain, signed=True)}, paired: the same faults",
        *(
            [f"The closed form is first order, and {100 * above:+.1f} points off here: go by the simulation."]
            if far
            else []
        ),
    ]


def _lost(s: Comparison) -> list[str]:
    rows = [(cause, s.lost_without[cause], s.lost_with[cause]) for cause in s.lost_without]
    return [
        f"{'Lost, % of the time':<20}{'without':>9}{'with':>9}",
        *(f"  {cause:<18}{100 * a:>9.2f}{100 * b:>9.2f}" for cause, a, b in rows if a > 0.0 or b > 0.0),
    ]


def _limits(found: Advice, asked: Asked) -> list[str]:
    more = found.tenth_more_recall
    match = found.recovery_to_match_s
    u = found.case.stack.recovery_s
    lines = ["Recovery speed sets the level, prediction adds what it adds:"]
    if found.gain > 0.0:
        lines.append(
            "  no recovery, however fast, would do as much alone"
            if match is None
            else f"  recovery in {match:,.0f} s in place of {u:,.0f} s would do as much without any predictor"
        )
    lines.append(
        "  0.1 more recall would be more than GPUs cause"
        if more is None
        else f"  0.1 more recall: {100 * more:+.2f} points"
    )
    return [*lines, _pays(found, asked), *_capped(found), _spares(found)]


def _pays(found: Advice, asked: Asked) -> str:
    p = found.breaks_even_at
    if not found.case.migrate:
        return "  no planned moves: a save on an alarm helps only with a lead shorter than half an interval"
    if p > 1.0:
        return "  a planned move never pays: it costs more than a recovery"
    here = "" if found.case.pays else ", so the policy does not move on these alarms"
    level = " (the alarm level to set)" if asked.model is None else ""
    return f"  a planned move pays from a probability of {p:.2f} on{level}{here}"


def _capped(found: Advice) -> list[str]:
    share, capped = found.drains_held_back, found.capped
    if share is None or capped is None:
        return []
    (drained, predicted), need, shipped = found.caps_now, found.caps, WatchConfig()
    whose = (
        "as shipped"
        if found.caps_now == (shipped.drained_nodes, shipped.predicted_drains)
        else "of your [watch]"
    )
    lines = [
        f"  caps {whose} (drained_nodes {drained}, predicted_drains {predicted}) hold back {100 * share:.0f} % of the "
        f"drains: gain {points(capped.gain, signed=True)}"
    ]  # fmt: skip
    if need.drained_nodes > drained or need.predicted_drains > predicted:
        lines.append(
            f"    to hold back none, under [watch]: drained_nodes = {need.drained_nodes}, predicted_drains = "
            f"{need.predicted_drains}"
        )
    return lines


def _spares(found: Advice) -> str:
    lost, need = found.simulated.lost_with["no node"], found.caps.spare_nodes
    return (
        f"  spare nodes: waiting for one costs {100 * lost:.2f} % with {found.case.spares}; {need} are enough 99.9 % "
        "of the time"
    )
