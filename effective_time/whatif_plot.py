"""Advice in three pictures: waste against interval, what recall is worth, ETTR against size. PNG, or one HTML page."""

from __future__ import annotations

import base64
import html
import io
from pathlib import Path
from typing import Final

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from effective_time.compare import Spread
from effective_time.curves import Curves, curves
from effective_time.whatif import Advice
from effective_time.whatif_report import Asked, text

# Okabe and Ito 2008: told apart by readers who see few colours, and in grey.
_ARMS: Final = {"without": "#D55E00", "with": "#0072B2"}
_OF_PRECISION: Final = (("#E69F00", ":"), ("#CC79A7", "-."), ("#0072B2", "-"), ("#000000", "--"))
"""Colour and dash of each of `curves.PRECISIONS`."""


def write(found: Advice, asked: Asked, path: Path) -> None:
    """FILE.png or FILE.html, which holds the picture itself. OSError where it cannot be written."""
    image = _png(found)
    path.write_bytes(image if path.suffix == ".png" else _page(image, text(found, asked)).encode())


def _png(found: Advice) -> bytes:
    figure = Figure(figsize=(15.0, 4.6), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    drawn = curves(found.case)
    waste_by_interval(left, drawn)
    gain_by_recall(middle, drawn)
    ettr_by_size(right, drawn, found)
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


def waste_by_interval(axes: Axes, drawn: Curves) -> None:
    """Both arms by the closed form, their optimum marked."""
    for line in drawn.waste_by_interval_s:
        axes.plot(line.x, _percent(line.y), color=_ARMS[line.name], label=line.name)
        assert line.mark is not None, "each arm has a best interval"
        best_s, waste = line.mark
        label = f"best: {best_s:,.0f} s, {100 * waste:.2f} %"
        axes.plot([best_s], [100 * waste], "o", color=_ARMS[line.name], label=label)
    axes.set(xscale="log", xlabel="seconds between checkpoints", ylabel="time lost (%)", ylim=(0, None))
    _finish(axes, "Waste against interval")


def gain_by_recall(axes: Axes, drawn: Curves) -> None:
    """Points of ETTR against recall of all interruptions, up to what GPUs cause."""
    *by_precision, here = drawn.gain_by_recall
    for line, (colour, dash) in zip(by_precision, _OF_PRECISION, strict=True):
        axes.plot(line.x, _percent(line.y), color=colour, ls=dash, label=line.name)
    assert here.mark is not None, "the last line is the predictor that was asked for"
    recall, gain = here.mark
    axes.plot([recall], [100 * gain], "o", color=_ARMS["without"], label=here.name, zorder=5)
    axes.axvline(drawn.gpu_share, color="#000000", lw=0.6, ls=":", label="all that GPUs cause")
    axes.set(xlabel="recall, of all interruptions", ylabel="gain (points of ETTR)")
    _finish(axes, "What recall is worth")


def ettr_by_size(axes: Axes, drawn: Curves, found: Advice) -> None:
    """Both arms by the closed form from 1,000 to 100,000 GPUs, and what was simulated at the job's own size."""
    for line in drawn.ettr_by_gpus:
        axes.plot(line.x, _percent(line.y), color=_ARMS[line.name], label=line.name)
    gpus, by = found.case.gpus, found.simulated
    _simulated(axes, gpus, by.without, _ARMS["without"], "simulated (synthetic faults), 95 %")
    _simulated(axes, gpus, by.with_, _ARMS["with"], None)
    axes.axhline(99.5, color="#000000", lw=0.6, ls=":", label="99.5 %")
    axes.set(xscale="log", xlabel="GPUs of the job", ylabel="ETTR (%)")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    _finish(axes, "Effective training time against size")


def _simulated(axes: Axes, gpus: int, s: Spread, colour: str, label: str | None) -> None:
    errors = [[100 * (s.mean - s.low)], [100 * (s.high - s.mean)]]
    axes.errorbar([gpus], [100 * s.mean], yerr=errors, fmt="s", ms=4, capsize=3, color=colour, label=label)


def _percent(shares: list[float]) -> list[float]:
    return [100 * share for share in shares]


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
