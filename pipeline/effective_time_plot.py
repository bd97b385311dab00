"""The loss by cause as stacked bars, one a job: the same data give the same bytes, and synthetic data say so."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
import polars as pl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from pipeline.effective_time import CAUSES, Measured

SHOWN: Final = 20
# Okabe and Ito 2008: told apart by readers who see few colours, and in grey.
_COLOURS: Final = {
    "checkpoint": "#56B4E9", "lost_work": "#D55E00", "detection": "#E69F00", "scheduling": "#0072B2",
    "restart": "#009E73", "alarms_false": "#CC79A7", "alarms_true": "#F0E442", "idle": "#999999", "unknown": "#DDDDDD",
}  # fmt: skip


def losses_by_job(found: Measured, path: Path) -> None:
    """PNG: shares of the span that were lost, in %, of the fleet and of the jobs with the most GPU-hours.

    Raises OSError where it cannot be written.
    """
    rows = pl.concat([found.fleet, found.jobs.head(SHOWN)])
    span_s = rows["span_s"].to_numpy()
    names = ["fleet" if name is None else str(name) for name in rows["job"]]
    figure = Figure(figsize=(8.0, 1.8 + 0.3 * rows.height), layout="constrained")
    axes = figure.add_subplot()
    at, left = np.arange(rows.height), np.zeros(rows.height)
    for cause in CAUSES:
        share = 100 * np.divide(
            rows[f"{cause}_s"].to_numpy(), span_s, out=np.zeros_like(span_s), where=span_s > 0
        )
        if share.any():
            axes.barh(at, share, 0.7, left=left, color=_COLOURS[cause], label=cause.replace("_", " "))
            left += share
    axes.set_yticks(
        at, [f"{name}  ETTR {100 * (e or 0):.2f} %" for name, e in zip(names, rows["ettr"], strict=True)]
    )
    axes.invert_yaxis()
    axes.grid(visible=True, axis="x", color="#DDDDDD", lw=0.5)
    axes.set_axisbelow(True)
    axes.set(
        xlabel="share of the span that was no effective training time (%)",
        xlim=(0, max(left.max() * 1.02, 0.1)),
    )
    axes.set_title(
        f"Lost time by cause, {found.since:%Y-%m-%d %H:%M} to {found.until:%Y-%m-%d %H:%M} UTC", loc="left"
    )
    if left.any():
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize="small")
    if found.synthetic:
        figure.text(0.5, 0.5, "SYNTHETIC DATA", alpha=0.12, size=30, rotation=15, ha="center", va="center")
    # The library's own version is the one thing that savefig would add.
    FigureCanvasAgg(figure).print_figure(path, format="png", dpi=150, metadata={"Software": None})
