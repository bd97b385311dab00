"""The curves of a what-if, and the pictures of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from effective_time import closed
from effective_time.compare import Case
from effective_time.curves import curves
from effective_time.rates import PRESETS
from effective_time.stack import STACKS


def test_the_curves_of_the_plots_are_there_for_programs_and_agree_with_the_answer(ask, refused):
    told = ask("--curves")
    without, with_ = told["curves"]["waste_by_interval_s"]
    for line, interval_s, ettr in (
        (without, "best_interval_without_s", "ettr_without"), (with_, "best_interval_s", "ettr_with"),
    ):  # fmt: skip
        assert line["mark"] == pytest.approx([told[interval_s], 1 - told[ettr]])
        assert min(line["y"]) >= line["mark"][1], "its mark is the least"
    *by_precision, here = told["curves"]["gain_by_recall"]
    assert [line["name"] for line in by_precision] == [f"precision {p:g}" for p in (0.2, 0.5, 0.85, 1)]
    assert here["mark"] == pytest.approx([0.25, told["ettr_gain"]])
    assert by_precision[2]["x"][-1] == pytest.approx(told["curves"]["gpu_share"])
    assert all(a <= b for p in by_precision for a, b in zip(p["y"], p["y"][1:], strict=False))
    assert all(w <= o for w, o in zip(*(line["y"] for line in told["curves"]["ettr_by_gpus"]), strict=True))
    assert "curves" not in ask()
    assert "add --json" in refused("--curves")


def test_without_leave_to_move_the_curves_are_of_saves_alone():
    saving = Case(
        gpus=16_384,
        rates=PRESETS["llama3"],
        stack=STACKS[1],
        recall=0.4,
        precision=0.85,
        migrate=False,
        lead_s=60.0,
    )
    _, line = curves(saving).waste_by_interval_s
    assert line.mark is not None
    assert 1 - line.mark[1] == pytest.approx(closed.with_(saving))


def test_plots_are_one_png_or_one_page_that_holds_it(tell, tmp_path: Path):
    for name in ("a.png", "b.png", "c.html"):
        tell("--gpus", "2048", "--plot", str(tmp_path / name))
    first, page = (tmp_path / "a.png").read_bytes(), (tmp_path / "c.html").read_text()
    assert first.startswith(b"\x89PNG")
    assert first == (tmp_path / "b.png").read_bytes()
    assert "data:image/png;base64," in page
    assert "ETTR in %" in page
    assert "http" not in page


def test_a_plot_without_a_place_or_kind_is_refused(refused, tmp_path: Path):
    assert "no kind of picture" in refused("--plot", "x.pdf")
    assert "name a file" in refused("--plot", str(tmp_path / "none" / "x.png"))
