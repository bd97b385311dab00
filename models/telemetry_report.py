"""What an evaluation of the imminence head says, for people: the table, the card, the pictures."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import polars as pl

from models import plots
from models.telemetry_scores import OURS

Row = dict[str, Any]
_HEADS: Final = ("model", "ROC-AUC", "AP (95 %)", "x base", "top 5 %", "recall@0.1", "@0.5", "@1 (95 %)")
_NOT_EVIDENCE: Final = (
    "**Synthetic.** Faults, leads, decoys and the share of faults that have a precursor are assumptions of a simulator "
    "(`pipeline/fleet_params.py` names the source of each). A model that does well here has learnt that simulator. "
    "Nothing on this page is evidence about real GPUs: no public data joins telemetry with fault labels."
)
_TERMS: Final = (
    "An alarm opens in the first minute whose risk is over the threshold, stands until an hour after the last such "
    "minute, and is right when a fault of that GPU follows at least 5 minutes after it opened and within 24 hours of "
    "its last minute over. Alarms that come later than 5 minutes before are counted as false. Silent data corruption "
    "leaves no event and is not counted as a fault. Intervals draw whole nodes again; where no false alarm was seen on "
    "the sampled nodes the bound is exact. Every node with a fault is computed, and a share of the others, weighted."
)


def lines(report: Row) -> Iterator[str]:
    """The report as text for a terminal."""
    kind = "SYNTHETIC: no evidence about real GPUs" if report["synthetic"] else "this lake's own data"
    yield f"imminence, {kind}"
    yield f"operating point {report['operating_point']['threshold']:.3g}: {report['operating_point']['why']}"
    for name, rows in _grouped(report):
        yield ""
        yield f"{name}: {rows[0]['n_faults']} faults, base rate {_rate(rows)}"
        cells = [_HEADS, *(_cells(r) for r in rows)]
        width = [max(len(c[i]) for c in cells) for i in range(len(_HEADS))]
        yield from ("  ".join(c[i].ljust(width[i]) for i in range(len(_HEADS))).rstrip() for c in cells)
    yield ""
    yield from (text.replace("**", "") for text in _verdicts(report))


def card(report: Row, command: str) -> str:
    """Markdown."""
    learnt, synthetic = report["learnt"], report["synthetic"]
    out = [
        "# Model card: imminence" + (" (synthetic)" if synthetic else ""), "", f"Made by `{command}`.", "",
        *([_NOT_EVIDENCE, ""] if synthetic else []),
        "**Use**: the risk that a GPU fails within 24 hours (also 1 hour and 10 minutes), every minute, from its "
        "telemetry and events; it raises the alarms that checkpoint and drain. **Not for**: faults without a "
        "precursor, which no telemetry foretells, or ranking hosts over weeks (that is proneness).", "",
        f"**Learnt** from {learnt['n_rows']:,} sampled minutes and {learnt['n_faults']} faults. {_setting(report)}", "",
        "**What is counted.** " + _TERMS, "",
        f"**Operating point**, chosen on other days than any test: {report['operating_point']['why']}; threshold "
        f"{report['operating_point']['threshold']:.3g}.", "",
        "## At the operating point", "", *_at_point(report["tests"]), "",
    ]  # fmt: skip
    for name, rows in _grouped(report):
        out += [f"## {name}: {rows[0]['n_faults']} faults, base rate {_rate(rows)}", ""]
        out += [*_markdown([_HEADS, *(_cells(r) for r in rows)]), ""]
    out += ["## Against the best baseline of each test", "", *(f"- {text}" for text in _verdicts(report)), ""]
    out += ["## By class, and first against repeat", "", *_parts(report["tests"]), ""]
    if report.get("sweep"):
        out += ["## How much hangs on the assumed precursors", "", *_sweep(report["sweep"]), ""]
    return "\n".join([*out, "## Control", "", *_control(report), ""])


def _setting(report: Row) -> str:
    of = report.get("setting")
    if not of:
        return ""
    return (
        f"A fleet of {of['gpus']:,} GPUs over {of['days']} days, precursor shares `{of['precursors']}`, fault rates "
        f"{of['fault_rate_factor']:g} times those of Llama 3; half of the nodes held out."
    )


def _grouped(report: Row) -> Iterator[tuple[str, list[Row]]]:
    for key in dict.fromkeys((r["test"], r["horizon_days"]) for r in report["results"]):
        rows = [r for r in report["results"] if (r["test"], r["horizon_days"]) == key]
        yield f"{key[0]}, within {_span(key[1])}", rows


def _span(days: float) -> str:
    return f"{days:g} d" if days >= 1 else f"{days * 24:g} h" if days * 24 >= 1 else f"{days * 1440:g} min"


def _cells(r: Row) -> tuple[str, ...]:
    ci, recall = r["ci95"], r["recall_at_budget"] or {}
    lift = r["pr_auc"] / r["base_rate"] if r["pr_auc"] is not None and r["base_rate"] else None
    last = f"{_n(recall.get('1.0'))} {_ci(ci['recall_at_budget']['1.0'])}" if recall else "-"
    return (
        r["model"], _n(r["roc_auc"]), f"{_n(r['pr_auc'])} {_ci(ci['pr_auc'])}", "-" if lift is None else f"{lift:.0f}",
        _n(r.get("top5_capture")), _n(recall.get("0.1")), _n(recall.get("0.5")), last,
    )  # fmt: skip


def _at_point(tests: list[Row]) -> list[str]:
    head = ("test", "faults", "precision", "recall", "recall of those with a precursor", "false alarms/day/10k GPUs",
            "median lead", "ECE")  # fmt: skip
    rows = [head]
    for t in tests:
        at, bounds = t["at_operating_point"], {b["figure"]: b for b in t["intervals"]}
        lead = at["median_lead_s"]
        rows.append((
            t["test"], f"{at['faults']:.0f}",
            *(f"{_n(at[f])} {_ci([bounds[f]['low'], bounds[f]['high']])}" for f in
              ("precision", "recall", "recall_of_precursor", "false_per_day_per_10k")),
            "-" if lead is None else f"{lead / 3600:.1f} h", f"{t['expected_calibration_error']:.1e}",
        ))  # fmt: skip
    return _markdown(rows)


def _parts(tests: list[Row]) -> list[str]:
    rows: list[tuple[str, ...]] = [
        ("test", "part", "faults", "recall (95 %)", "of those with a precursor", "ROC-AUC (95 %)")
    ]
    for t in tests:
        rows += [_part(t, r["class"], r, "-") for r in t["by_class"]]
        for r in t["first_and_repeat"]:
            word = "repeat" if r["repeat"] else "first"
            rows.append(_part(t, word, r, _area(t[f"ranking_{word}"])))
    return _markdown(rows)


def _part(test: Row, name: str, r: Row, area: str) -> tuple[str, ...]:
    recall = f"{_n(r['recall'])} {_ci([r['low'], r['high']])}"
    return test["test"], name, str(r["n"]), recall, _n(r["recall_of_precursor"]), area


def _area(rank: Row) -> str:
    return f"{_n(rank['roc_auc'])} {_ci(rank['ci95']['roc_auc'])}"


def _sweep(sweep: list[Row]) -> list[str]:
    rows = [("precursors", "share of faults", "faults", "precision", "recall", "first: recall", "first: ROC-AUC (95 %)",
             "repeat: recall", "repeat: ROC-AUC (95 %)")]  # fmt: skip
    for s in sweep:
        part = {r["repeat"]: r for r in s["first_and_repeat"]}
        at = s["at_operating_point"]
        rows.append((
            s["precursors"], f"{s['share']:.2f}", f"{at['faults']:.0f}", _n(at["precision"]), _n(at["recall"]),
            *(x for again, word in ((False, "first"), (True, "repeat")) for x in (
                _n(part[again]["recall"]) if again in part else "-", _area(s[f"ranking_{word}"]))),
        ))  # fmt: skip
    told = (
        f"Learnt and tried anew on fleets of {sweep[0]['gpus']:,} GPUs, on nodes nobody learnt from, at no more than "
        f"{sweep[0]['budget']:g} alarms a day per 10,000 GPUs (by a threshold read off these very days; ROC-AUC needs "
        "none). Without precursors only a GPU's own past can tell: the first fault must be chance."
    )
    return [told, "", *_markdown(rows)]


def _verdicts(report: Row) -> Iterator[str]:
    for v in report["verdicts"]:
        parts = [
            f"{v[f]['verdict']} on {name} ({_signed(v[f]['difference'])}, {' to '.join(map(_signed, v[f]['ci95']))})"
            for f, name in (("pr_auc", "AP"), ("recall_at_budget_1", "recall at 1 alarm")) if f in v
        ]  # fmt: skip
        told = f"against '{v['best_baseline']}' {OURS} is {' and '.join(parts)}"
        yield f"{v['test']}, within {_span(v['horizon_days'])}: {told}."


def _control(report: Row) -> list[str]:
    return [
        f"- every fault dealt to another GPU, {c['test']}: ROC-AUC {c['roc_auc_mean']:.3f} +- {c['roc_auc_sd']:.3f} "
        "(chance is 0.5)"
        for c in report["permuted_label_control"]
    ]


def pictures(report: Row, frames: Mapping[str, pl.DataFrame], folder: Path) -> None:
    """PNG files in `folder`, of the test on unseen GPUs, or of the only one. No faults, no picture of classes."""
    synthetic, tests = report["synthetic"], {t["test"]: t for t in report["tests"]}
    name = "unseen GPUs" if "unseen GPUs" in tests else next(iter(tests))
    of = tests[name]
    curves = {n.split("/", 2)[2]: c for n, c in frames.items() if n.startswith(f"{name}/curve/")}
    ours = curves.pop(OURS)
    shown = {n: c for n, c in curves.items() if c.height > 1}
    plots.precision_recall(
        ours,
        folder / "precision-recall.png",
        synthetic=synthetic,
        point=of["at_operating_point"],
        baselines=shown,
    )
    plots.alarm_rate(ours, folder / "alarm-rate.png", synthetic=synthetic, point=of["at_operating_point"])
    plots.calibration(frames[f"{name}/calibration"], folder / "calibration.png", synthetic=synthetic)
    plots.lead_times(frames[f"{name}/judged"], folder / "lead-times.png", synthetic=synthetic)
    if of["by_class"]:
        plots.class_recall(pl.DataFrame(of["by_class"]), folder / "recall-by-class.png", synthetic=synthetic)
    if any(s["first_and_repeat"] for s in report["sweep"]):
        rows = [
            {"share": s["share"], "part": "repeat" if r["repeat"] else "first",
             "recall": r["recall"], "low": r["low"], "high": r["high"]}
            for s in report["sweep"] for r in s["first_and_repeat"]
        ]  # fmt: skip
        plots.precursor_sweep(
            pl.DataFrame(rows),
            folder / "precursor-sweep.png",
            synthetic=synthetic,
            budget=f"{report['sweep'][0]['budget']:g} alarms per day per 10,000 GPUs",
        )


def _n(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _signed(value: float | None) -> str:
    return "not defined" if value is None or not math.isfinite(value) else f"{value:+.3f}"


def _rate(rows: list[Row]) -> str:
    rate = rows[0]["base_rate"]
    return "not defined" if rate is None else f"{rate:.2g} a minute"


def _ci(ci: list[float | None]) -> str:
    return f"({_n(ci[0])}-{_n(ci[1])})"


def _markdown(cells: Sequence[tuple[str, ...]]) -> list[str]:
    head, *rest = [f"| {' | '.join(c)} |" for c in cells]
    return [head, "|" + "---|" * len(cells[0]), *rest]
