"""`foreshock evaluate --dataset simulated`: the imminence head on a simulated fleet, honestly. Synthetic throughout.

The threshold is chosen on the weeks that follow those learnt from, and tried on later time, on nodes nobody learnt
from, and on a fleet of another seed. The share of faults that have a precursor at all is an assumption, so it is swept:
where no fault has one, the first fault of a GPU must be foretold no better than by chance.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from datetime import datetime
from typing import Any, Final

import numpy as np
import polars as pl

from models import curves, ranking, simulated_choice
from models.alarms import watched
from models.learning import Learnt, check_no_leak
from models.operating_point import OperatingPoint, by_budget
from models.progress import Progress, Tick
from models.simulated_protocol import Setting, events_until, known_faults, learn, see, sides, times
from models.telemetry_results import TERMS, Row, Test, curve, figures, first_faults, verdict
from models.telemetry_scores import OURS, SERVED_S
from pipeline import labels
from pipeline.fleet import Fleet
from pipeline.fleet_params import Preset

SWEEP: Final[tuple[Preset, ...]] = ("low", "high", "zero")
Keep = Callable[[Row], None]


def evaluate(
    setting: Setting,
    *,
    false_per_day: float,
    sweep_gpus: int,
    progress: Progress,
    keep: Keep = lambda _so_far: None,
) -> tuple[Row, Learnt, OperatingPoint, dict[str, pl.DataFrame]]:
    """The report, what was learnt, its operating point, and the frames that plots are made of.

    `false_per_day`: false alarms a day per 10,000 GPUs that the operating point may cost. `sweep_gpus`: size of the
    fleets of the sweep, 0 to leave it out. `keep` gets the report so far after each test: the whole takes hours.
    """
    fleet, faults, learnt = _learn(setting, progress)
    point = by_budget(
        simulated_choice.operating_curve(setting, learnt, progress.part("choosing a threshold")),
        false_per_day,
        "false",
    )
    progress.say(f"operating point: {point.why}")
    report = {"dataset": "simulated", "synthetic": True, "setting": asdict(setting), **opened(learnt, point)}
    frames: dict[str, pl.DataFrame] = {}
    for name, test in _tests(setting, fleet, learnt, faults, progress):
        frames |= judge(report, name, test, learnt)
        progress.say(f"{name}: {sentence(report['tests'][-1])}")
        if name == "unseen GPUs":
            report["permuted_label_control"].append(_control(test, learnt))
        keep(report)
    for precursors in SWEEP if sweep_gpus else ():
        report["sweep"].append(_swept(setting, sweep_gpus, precursors, point.threshold, progress))
        keep(report)
    return report, learnt, point, frames


def opened(learnt: Learnt, point: OperatingPoint) -> Row:
    """What a report says of what was learnt, and the lists that its tests fill."""
    return {
        "head": "imminence", "label": labels.DEFINITION.as_dict(), "label_digest": labels.DEFINITION.digest,
        "learnt": {"n_rows": learnt.matrix.height, "n_faults": learnt.faults.height,
                   "episodes": {str(h): head.episodes for h, head in learnt.model.heads.items()}},
        "operating_point": point.as_dict(), "results": [], "verdicts": [], "tests": [],
        "permuted_label_control": [], "sweep": [],
    }  # fmt: skip


def judge(report: Row, name: str, test: Test, learnt: Learnt) -> dict[str, pl.DataFrame]:
    """Adds a test to an opened `report`, at its operating point; the frames that the test's plots are made of."""
    found = figures(test, learnt.model, learnt.baselines)
    told, frames = at_point(test, learnt, report["operating_point"]["threshold"])
    report["results"] += [f.row for f in found.values()]
    report["verdicts"] += [{"test": name, **verdict(found, h)} for h in sorted({h for _, h in found})]
    report["tests"].append({"test": name, **told})
    return {f"{name}/{key}": frame for key, frame in frames.items()}


def _learn(setting: Setting, progress: Progress) -> tuple[Fleet, pl.DataFrame, Learnt]:
    fleet = setting.fleet()
    faults = known_faults(fleet)
    progress.say(
        f"{fleet.gpus:,} GPUs, {fleet.params.days} days, precursors {setting.precursors}: {faults.height} faults"
    )
    learnt = learn(setting, fleet, faults, progress.part("learning"))
    progress.say(f"learnt from {learnt.matrix.height:,} rows, {learnt.faults.height} faults before the cut")
    return fleet, faults, learnt


def _tests(
    setting: Setting, fleet: Fleet, learnt: Learnt, faults: pl.DataFrame, progress: Progress
) -> Iterator[tuple[str, Test]]:
    seen, unseen = sides(fleet, setting.seed)
    window = times(fleet).test
    about = {"head": "imminence", "target": "any GPU fault", "cut": (window[0] - fleet.start).days}
    for name, nodes in (("unseen time", seen), ("unseen GPUs", unseen)):
        told = about | {"test": name}
        tick = progress.part(f"testing on {name}")
        test = _test(setting, fleet, learnt, faults, window=window, nodes=nodes, about=told, tick=tick)
        check_no_leak(learnt, test.seen, unseen_gpus=name == "unseen GPUs")
        yield name, test
    other = setting.fleet(setting.seed + 1)
    known, told = known_faults(other), about | {"test": "unseen fleet"}
    tick = progress.part("testing on an unseen fleet")
    yield (
        "unseen fleet",
        _test(setting, other, learnt, known, window=window, nodes=None, about=told, tick=tick),
    )


def _test(
    setting: Setting, fleet: Fleet, learnt: Learnt, faults: pl.DataFrame, *,
    window: tuple[datetime, datetime], nodes: list[int] | None, about: Row, tick: Tick,
) -> Test:  # fmt: skip
    since, until = window
    seen = see(setting, fleet, learnt, faults, window=window, among=nodes, tick=tick)
    mine = faults.filter(pl.col("node").is_in(seen.exposure["node"].implode()), pl.col("time") < until)
    return Test(seen, mine.filter(pl.col("time") >= since), mine, events_until(fleet, until), until, about)


def at_point(test: Test, learnt: Learnt, threshold: float) -> tuple[Row, dict[str, pl.DataFrame]]:
    """What the served model does at its threshold: intervals, by class, by first and repeat, leads, calibration."""
    risky = test.seen.risky[OURS]
    seen = watched(risky, test.faults, blind_s=TERMS.blind_s).filter(pl.col("risk") >= threshold)
    end: Any = {"until": test.until, "last_seen": test.last_seen}
    _, judged = curves.at_threshold(seen, test.faults, threshold, TERMS, **end)
    bounds = curves.intervals(risky, test.faults, test.seen.exposure, [threshold], TERMS, **end)
    row = curves.operating_curve(risky, test.faults, test.gpu_days, [threshold], TERMS, **end)
    label = test.label(SERVED_S)
    risk = pl.Series(learnt.model.probability(test.seen.sample, SERVED_S))
    weight = test.seen.sample["weight"] * test.seen.sample["count"]
    bins = ranking.calibration(risk, label, weight)
    told: Row = {
        "at_operating_point": row.row(0, named=True), "intervals": bounds.to_dicts(),
        "gpu_days": test.gpu_days, "gpu_days_computed": float(test.seen.exposure["gpu_days"].sum()),
        "by_class": curves.by_class(judged).to_dicts(), "first_and_repeat": curves.first_and_repeat(judged).to_dicts(),
        "lead_times": curves.lead_times(judged).to_dicts(),
        "ranking_first": first_faults(test, learnt.model, repeat=False),
        "ranking_repeat": first_faults(test, learnt.model, repeat=True),
        "calibration": bins.to_dicts(), "expected_calibration_error": ranking.expected_calibration_error(bins),
    }  # fmt: skip
    of = {name: curve(test, name) for name in test.seen.risky}
    return told, {"judged": judged, "calibration": bins} | {f"curve/{n}": c for n, c in of.items()}


def sentence(told: Row) -> str:
    """One test in a line."""
    row = told["at_operating_point"]
    lead = row["median_lead_s"]
    shown = {
        k: "-" if row[k] is None else f"{row[k]:.3f}" for k in ("precision", "recall", "recall_of_precursor")
    }
    false = row["false_per_day_per_10k"]
    return (
        f"precision {shown['precision']}, recall {shown['recall']} of all faults and {shown['recall_of_precursor']} of "
        f"those with a precursor, {'-' if false is None else f'{false:.2f}'} false alarms a day per 10,000 GPUs, "
        f"median lead {'-' if lead is None else f'{lead / 3600:.1f} h'}, {row['faults']:.0f} faults"
    )


def _control(test: Test, learnt: Learnt) -> Row:
    """Every fault dealt to another GPU of the sample, at its own time: any ranking must be chance."""
    rng = np.random.default_rng(11)
    gpus = test.seen.sample.select("gpu_uuid", "node", "pci_bdf").unique(maintain_order=True)
    risk = pl.Series("risk", learnt.model.probability(test.seen.sample, SERVED_S))
    areas = []
    for _ in range(10):
        dealt = test.known.drop("gpu_uuid", "node", "pci_bdf").hstack(
            gpus[rng.integers(0, gpus.height, test.known.height)]
        )
        label = test.label(SERVED_S, dealt)
        rows = test.seen.sample.select("node", "weight", "count", label.alias("label"), risk)
        areas.append(ranking.drawn(rows)["roc_auc"][0])
    return {"test": test.about["test"], "model": OURS, "horizon_days": SERVED_S / 86_400,
            "roc_auc_mean": float(np.mean(areas)), "roc_auc_sd": float(np.std(areas))}  # fmt: skip


def _swept(setting: Setting, gpus: int, precursors: Preset, threshold: float, progress: Progress) -> Row:
    """Learnt and tried anew for one share of faults with a precursor, on nodes nobody learnt from.

    Tried on all the time after the training: a fleet small enough to learn three times has few faults a month. Its
    threshold is that of the budget on the very curve that is shown; the ranking needs none.
    """
    one = replace(setting, gpus=gpus, precursors=precursors, seed=setting.seed + 2)
    fleet, faults, learnt = _learn(one, progress)
    window = times(fleet).later
    unseen = sides(fleet, one.seed)[1]
    tick = progress.part(f"testing on precursors {precursors}")
    test = _test(one, fleet, learnt, faults, window=window, nodes=unseen, about={}, tick=tick)
    within = curve(test, OURS).filter(pl.col("alarms_per_day_per_10k") <= 0.5).sort("recall", "threshold")
    at = float(within["threshold"][-1]) if within.height else threshold
    told, _ = at_point(test, learnt, at)
    progress.say(f"sweep, precursors {precursors}: {sentence(told)}")
    share = faults["has_precursor"].sum() / max(faults.height, 1)
    return {"precursors": precursors, "gpus": gpus, "share": share, "budget": 0.5, **told}
