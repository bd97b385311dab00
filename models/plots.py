"""The figures of an evaluation as PNG: the same data give the same bytes, and synthetic data say so in the picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from models.history import Floats

# Okabe and Ito 2008: told apart by readers who see few colours, and in grey.
BLACK, ORANGE, SKY, GREEN = "#000000", "#E69F00", "#56B4E9", "#009E73"
BLUE, VERMILION, PURPLE = "#0072B2", "#D55E00", "#CC79A7"
_OTHERS: Final = (ORANGE, GREEN, PURPLE, SKY)
MIN_LEAD_S: Final = 300.0
_DASHES: Final = ("--", "-.", ":")
_SIZE_INCHES: Final = (6.4, 4.4)
_TICKS_S: Final = (60, 300, 1800, 3600, 21_600, 86_400, 604_800)
_TICK_NAMES: Final = ("1 min", "5 min", "30 min", "1 h", "6 h", "1 d", "7 d")
_RATE: Final = "alarms per day per 10,000 GPUs"


def precision_recall(
    curve: pl.DataFrame,
    path: Path,
    *,
    synthetic: bool,
    point: Mapping[str, float | None] | None = None,
    baselines: Mapping[str, pl.DataFrame] | None = None,
    recall: str = "recall",
) -> None:
    """Precision over recall of alarms. `curve` and `baselines` from `curves.operating_curve`, `point` a row of it.

    `recall` names the column: that of all faults, or `recall_of_precursor`.
    """
    figure, axes = _figure("Precision and recall of alarms")
    for i, (name, of) in enumerate((baselines or {}).items()):
        _line(axes, of, (recall, "precision"), name, (_OTHERS[i % len(_OTHERS)], _DASHES[i % len(_DASHES)]))
    _line(axes, curve, (recall, "precision"), "foreshock", (BLUE, "-"))
    x, y = (point[recall], point["precision"]) if point is not None else (None, None)
    if x is not None and y is not None:
        axes.plot([x], [y], "o", color=VERMILION, ms=9, label="operating point", zorder=5)
    of_what = (
        "recall (share of faults with a precursor)"
        if recall == "recall_of_precursor"
        else "recall (share of faults)"
    )
    _shares(axes, of_what, "precision (share of alarms)")
    _save(figure, axes, path, synthetic=synthetic)


def calibration(table: pl.DataFrame, path: Path, *, synthetic: bool) -> None:
    """What came true over what was said; `table` from `ranking.calibration`. A bin without faults is at the bottom."""
    figure, axes = _figure("Calibration")
    said, rate = table["mean_risk"].to_numpy(), table["rate"].to_numpy()
    above = np.concatenate([said[said > 0], rate[rate > 0]])
    least = float(above.min()) / 2 if len(above) else 1e-6
    axes.plot([least, 1], [least, 1], color=BLACK, lw=1, ls="--", label="perfect")
    hit = rate > 0
    axes.plot(said[hit], rate[hit], "o-", color=BLUE, label="measured")
    axes.plot(said[~hit], np.full((~hit).sum(), least), "v", color=VERMILION, label="no fault in the bin")
    axes.set(
        xscale="log", yscale="log", xlim=(least, 1.2), ylim=(least * 0.8, 1.2),
        xlabel="predicted risk (probability)", ylabel="observed rate (share of GPU-minutes)",
    )  # fmt: skip
    _save(figure, axes, path, synthetic=synthetic)


def lead_times(faults: pl.DataFrame, path: Path, *, synthetic: bool, min_lead_s: float = MIN_LEAD_S) -> None:
    """The share of caught faults warned of at least so long ahead; `faults` from `alarms.judge`."""
    figure, axes = _figure("Lead time of caught faults")
    caught = faults.filter(pl.col("lead_s").is_not_null()).sort("lead_s", descending=True)
    weight = caught["weight"].to_numpy() if "weight" in caught.columns else np.ones(caught.height)
    lead = caught["lead_s"].to_numpy()
    if len(lead):
        axes.step(
            lead,
            weight.cumsum() / weight.sum(),
            where="pre",
            color=BLUE,
            label=f"{caught.height} caught faults",
        )
    axes.axvline(min_lead_s, color=VERMILION, ls="--", label=f"{min_lead_s / 60:g} min: least lead")
    axes.set(
        xscale="log", xlim=(60, max(86_400, float(lead.max(initial=0)) * 1.2)), ylim=(0, 1.02),
        xlabel="lead time before the fault", ylabel="share of caught faults with at least this lead",
    )  # fmt: skip
    low, high = axes.get_xlim()
    ticks = [(s, name) for s, name in zip(_TICKS_S, _TICK_NAMES, strict=True) if low <= s <= high]
    axes.set_xticks([s for s, _ in ticks], [name for _, name in ticks])
    axes.minorticks_off()
    _save(figure, axes, path, synthetic=synthetic)


def alarm_rate(
    curve: pl.DataFrame,
    path: Path,
    *,
    synthetic: bool,
    point: Mapping[str, float | None] | None = None,
    budgets: Sequence[float] = (0.1, 0.5, 1.0),
) -> None:
    """Precision and recall over alarms a day; `budgets` as thin lines."""
    figure, axes = _figure("What a budget of alarms buys")
    shown = curve.filter(pl.col("alarms_per_day_per_10k") > 0)
    for column, name, colour, dash in (
        ("precision", "precision", BLUE, "-"), ("recall", "recall, all faults", ORANGE, "--"),
        ("recall_of_precursor", "recall, faults with a precursor", GREEN, "-."),
    ):  # fmt: skip
        if column in shown.columns and shown[column].is_not_null().any():
            _line(axes, shown, ("alarms_per_day_per_10k", column), name, (colour, dash))
    for budget in budgets:
        axes.axvline(budget, color=BLACK, lw=0.6, ls=":")
    rate = None if point is None else point["alarms_per_day_per_10k"]
    if rate is not None and rate > 0:
        axes.axvline(rate, color=VERMILION, lw=1.2, label="operating point")
    axes.set(xscale="log", ylim=(-0.02, 1.02), xlabel=_RATE, ylabel="share of alarms, share of faults")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    _save(figure, axes, path, synthetic=synthetic)


def precursor_sweep(sweep: pl.DataFrame, path: Path, *, budget: str, synthetic: bool) -> None:
    """Recall at one budget by how many faults announce themselves: share (text, in order), part, recall, low, high.

    `part` is what a bar is of: first, repeat. `budget` in words: "0.5 false alarms per day per 10,000 GPUs".
    """
    figure, axes = _figure(f"Recall at {budget}")
    shares = sweep["share"].unique(maintain_order=True).to_list()
    parts = sweep["part"].unique(maintain_order=True).to_list()
    width = 0.8 / max(len(parts), 1)
    for i, part in enumerate(parts):
        of = sweep.filter(pl.col("part") == part)
        at = np.array([shares.index(s) for s in of["share"]]) + (i - (len(parts) - 1) / 2) * width
        colour = (BLUE, ORANGE, GREEN)[i % 3]
        axes.bar(at, _values(of, "recall"), width * 0.9, color=colour, label=str(part))
        axes.errorbar(at, _values(of, "recall"), yerr=_errors(of), fmt="none", ecolor=BLACK, capsize=3)
    axes.set_xticks(range(len(shares)), [str(s) for s in shares])
    axes.set(ylim=(0, 1.02), xlabel="share of faults with a precursor", ylabel="recall (share of faults)")
    _save(figure, axes, path, synthetic=synthetic)


def class_recall(table: pl.DataFrame, path: Path, *, synthetic: bool) -> None:
    """Recall per fault class with its interval; `table` from `curves.by_class`."""
    figure, axes = _figure("Recall by fault class")
    of = table.sort("recall", "class", nulls_last=False)
    at = np.arange(of.height)
    axes.barh(at, _values(of, "recall"), 0.7, color=SKY, label="recall")
    axes.errorbar(
        _values(of, "recall"), at, xerr=_errors(of), fmt="none", ecolor=BLACK, capsize=3, label="95 %"
    )
    axes.set_yticks(at, [f"{name} (n = {n})" for name, n in of.select("class", "n").iter_rows()])
    axes.set(xlim=(0, 1.02), xlabel="recall (share of faults)", ylabel="fault class")
    _save(figure, axes, path, synthetic=synthetic)


def _figure(title: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=_SIZE_INCHES, layout="constrained")
    axes = figure.add_subplot()
    axes.set_title(title)
    axes.grid(visible=True, color="#DDDDDD", lw=0.5)
    axes.set_axisbelow(True)
    return figure, axes


def _line(axes: Axes, of: pl.DataFrame, columns: tuple[str, str], name: str, look: tuple[str, str]) -> None:
    """`columns`: x, y. `look`: colour, dashes."""
    known = of.drop_nulls(columns).sort("threshold")
    x, y = (known[column].to_numpy() for column in columns)
    axes.plot(x, y, color=look[0], ls=look[1], label=name)


def _shares(axes: Axes, x: str, y: str) -> None:
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), xlabel=x, ylabel=y)


def _values(of: pl.DataFrame, column: str) -> Floats:
    return of[column].cast(pl.Float64()).fill_null(float("nan")).to_numpy()


def _errors(of: pl.DataFrame) -> Floats:
    middle = _values(of, "recall")
    return np.clip([middle - _values(of, "low"), _values(of, "high") - middle], 0.0, None)


def _save(figure: Figure, axes: Axes, path: Path, *, synthetic: bool) -> None:
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="best", fontsize="small", framealpha=0.9)
    if synthetic:
        figure.text(
            0.5,
            0.5,
            "SYNTHETIC DATA",
            color=BLACK,
            alpha=0.12,
            size=34,
            rotation=25,
            ha="center",
            va="center",
        )
        axes.set_title("synthetic data: a simulated fleet", loc="right", fontsize="x-small", color=VERMILION)
        axes.set_title(axes.get_title(), loc="left")
        axes.set_title("", loc="center")
    # The library's own version is the one thing that savefig would add.
    FigureCanvasAgg(figure).print_figure(path, format="png", dpi=150, metadata={"Software": None})
