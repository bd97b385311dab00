"""Advice in three pictures: waste against interval, what recall is worth, ETTR against size. PNG, or one HTML page."""

from __future__ import annotations

import base64
import html
import io
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from alerting.waste import product_ettr
from effective_time import closed
from effective_time.compare import Case, Spread
from effective_time.whatif import Advice
from effective_time.whatif_report import Asked, text

# Okabe and Ito 2008: told apart by readers who see few colours, and in grey.
_WITHOUT: Final = "#D55E00"
_WITH: Final = "#0072B2"
_PRECISIONS: Final = (
    (0.2, "#E69F00", ":"),
    (0.5, "#CC79A7", "-."),
    (0.85, "#0072B2", "-"),
    (1.0, "#000000", "--"),
)
_SIZES: Final = (1_000, 100_000)
_POINTS: Final = 60


def write(found: Advice, asked: Asked, path: Path) -> None:
    """FILE.png or FILE.html, which holds the picture itself. OSError where it cannot be written."""
    image = _png(found)
    path.write_bytes(image if path.suffix == ".png" else _page(image, text(found, asked)).encode())


def _png(found: Advice) -> bytes:
    figure = Figure(figsize=(15.0, 4.6), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    waste_by_interval(left, found.case)
    gain_by_recall(middle, found.case)
    ettr_by_size(right, found)
    s = found.case.stack
    figure.suptitle(
        f"{found.case.gpus:,} GPUs, rates {found.case.rates.name}: C {s.checkpoint_s:g} s, U {s.recovery_s:g} s, "
        f"C_p {s.proactive_s:g} s, P {s.move_s:g} s; recall {found.case.recall_of_all:.3g} of all interruptions, "
        f"precision {found.case.precision:.3g}", fontsize="medium",
    )  # fmt: skip
    data = io.BytesIO()
    # The library's own version is the one thing that savefig would add.
    FigureCanvasAgg(figure).print_figure(data, format="png", dpi=130, metadata={"Software": None})
    return data.getvalue()


def waste_by_interval(axes: Axes, case: Case) -> None:
    """Both arms by the product form, their optimum marked."""
    run = case.run
    for foretold, name, colour in ((False, "without", _WITHOUT), (True, "with", _WITH)):
        by = case.predictor if foretold and case.pays else None
        best_s = max(replace(case, interval_s=None).best_interval_s(foretold=foretold), run.checkpoint_s)
        intervals_s = np.geomspace(max(run.checkpoint_s, best_s / 20), best_s * 20, _POINTS)
        axes.plot(
            intervals_s,
            [100 * (1 - product_ettr(run, by, float(t))) for t in intervals_s],
            color=colour,
            label=name,
        )
        waste = 100 * (1 - product_ettr(run, by, best_s))
        axes.plot([best_s], [waste], "o", color=colour, label=f"best: {best_s:,.0f} s, {waste:.2f} %")
    axes.set(xscale="log", xlabel="seconds between checkpoints", ylabel="time lost (%)", ylim=(0, None))
    _finish(axes, "Waste against interval")


def gain_by_recall(axes: Axes, case: Case) -> None:
    """Points of ETTR against recall of all interruptions, up to what GPUs cause."""
    share = case.rates.gpu_share
    recalls = np.linspace(0.0, share, _POINTS)
    for precision, colour, dash in _PRECISIONS:
        gains = [
            _gain(replace(case, recall=float(min(1.0, r / share)), precision=precision)) for r in recalls
        ]
        axes.plot(recalls, gains, color=colour, ls=dash, label=f"precision {precision:g}")
    axes.plot([case.recall_of_all], [_gain(case)], "o", color=_WITHOUT, label="this predictor", zorder=5)
    axes.axvline(share, color="#000000", lw=0.6, ls=":", label="all that GPUs cause")
    axes.set(xlabel="recall, of all interruptions", ylabel="gain (points of ETTR)")
    _finish(axes, "What recall is worth")


def ettr_by_size(axes: Axes, found: Advice) -> None:
    """Both arms by the product form from 1,000 to 100,000 GPUs, and what was simulated at the job's own size."""
    sizes = np.geomspace(*_SIZES, _POINTS)
    cases = [replace(found.case, gpus=int(n), spare_nodes=None) for n in sizes]
    axes.plot(sizes, [100 * closed.without(c) for c in cases], color=_WITHOUT, label="without")
    axes.plot(sizes, [100 * closed.with_(c) for c in cases], color=_WITH, label="with")
    _simulated(axes, found.case.gpus, found.simulated.without, _WITHOUT, "simulated (synthetic faults), 95 %")
    _simulated(axes, found.case.gpus, found.simulated.with_, _WITH, None)
    axes.axhline(99.5, color="#000000", lw=0.6, ls=":", label="99.5 %")
    axes.set(xscale="log", xlabel="GPUs of the job", ylabel="ETTR (%)")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    _finish(axes, "Effective training time against size")


def _simulated(axes: Axes, gpus: int, s: Spread, colour: str, label: str | None) -> None:
    errors = [[100 * (s.mean - s.low)], [100 * (s.high - s.mean)]]
    axes.errorbar([gpus], [100 * s.mean], yerr=errors, fmt="s", ms=4, capsize=3, color=colour, label=label)


def _gain(case: Case) -> float:
    return 100 * (closed.with_(case) - closed.without(case))


def _finish(axes: Axes, title: str) -> None:
    axes.set_title(title)
    axes.grid(visible=True, color="#DDDDDD", lw=0.5)
    axes.set_axisbelow(True)
    axes.legend(loc="best", fontsize="small", framealpha=0.9)


def _page(image: bytes, told: str) -> str:
    data = base64.b64encode(image).decode()
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>foreshock whatif</title></head>\n'
        '<body style="font-family: sans-serif; margin: 2em">\n<h1>What prediction is worth</h1>\n'
        '<img style="max-width: 100%" alt="Waste against interval, gain by recall, ETTR against size" '
        f'src="data:image/png;base64,{data}">\n<pre>{html.escape(told)}</pre>\n</body></html>\n'
    )
