from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from matplotlib.image import imread

from models import plots

CURVE = pl.DataFrame({
    "threshold": [0.1, 0.5, 0.9], "precision": [0.2, 0.9, None], "recall": [0.6, 0.5, 0.0],
    "recall_of_precursor": [0.95, 0.9, 0.0], "alarms_per_day_per_10k": [3.0, 0.6, 0.0],
})  # fmt: skip
POINT = CURVE.row(1, named=True)
CALIBRATION = pl.DataFrame({"mean_risk": [0.0, 0.001, 0.1], "rate": [0.0, 0.0, 0.2]})
FAULTS = pl.DataFrame({"lead_s": [300.0, None, 7200.0], "weight": [1.0, 1.0, 2.0]})
SWEEP = pl.DataFrame({
    "share": ["high", "high", "zero", "zero"], "part": ["first", "repeat"] * 2, "recall": [0.7, 0.8, 0.0, None],
    "low": [0.6, 0.7, 0.0, None], "high": [0.8, 0.9, 0.1, None],
})  # fmt: skip
CLASSES = pl.DataFrame({
    "class": ["ecc", "nvlink"], "n": [9, 3], "recall": [0.7, None], "low": [0.5, None], "high": [0.8, None],
})  # fmt: skip

Draw = Callable[[Path, bool], None]
PLOTS: dict[str, Draw] = {
    "precision_recall": lambda p, s: plots.precision_recall(
        CURVE, p, synthetic=s, point=POINT, baselines={"rules": CURVE, "history": CURVE}
    ),
    "calibration": lambda p, s: plots.calibration(CALIBRATION, p, synthetic=s),
    "lead_times": lambda p, s: plots.lead_times(FAULTS, p, synthetic=s),
    "alarm_rate": lambda p, s: plots.alarm_rate(CURVE, p, synthetic=s, point=POINT),
    "precursor_sweep": lambda p, s: plots.precursor_sweep(SWEEP, p, budget="0.5 alarms a day", synthetic=s),
    "class_recall": lambda p, s: plots.class_recall(CLASSES, p, synthetic=s),
}


@pytest.mark.parametrize("name", PLOTS)
def test_the_same_data_give_the_same_bytes_and_synthetic_data_another_picture(
    name: str, tmp_path: Path
) -> None:
    for file, synthetic in (("a", False), ("b", False), ("c", True)):
        PLOTS[name](tmp_path / file, synthetic)
    once, again, marked = ((tmp_path / file).read_bytes() for file in "abc")
    assert once == again
    assert b"Software" not in once
    assert b"Creation" not in once
    assert marked != once
    real, synthetic_ = imread(tmp_path / "a", format="png"), imread(tmp_path / "c", format="png")
    assert real.shape[:2] == (660, 960)
    middle = np.s_[250:410, 380:580]
    assert np.abs(real[middle] - synthetic_[middle]).max() > 0.05  # the mark is in the picture, not beside it


def test_nothing_to_show_is_an_empty_picture_and_not_an_error(tmp_path: Path) -> None:
    plots.lead_times(FAULTS.clear(), tmp_path / "lead.png", synthetic=False)
    plots.calibration(CALIBRATION[:1], tmp_path / "calibration.png", synthetic=False)
    plots.precision_recall(CURVE[2:], tmp_path / "pr.png", synthetic=True, point=CURVE.row(2, named=True))
    plots.class_recall(CLASSES.clear(), tmp_path / "class.png", synthetic=False)
    assert len(list(tmp_path.iterdir())) == 4


def test_drawing_needs_no_pyplot_and_so_no_global_state() -> None:
    code = "import sys, models.plots; sys.exit('matplotlib.pyplot' in sys.modules)"
    assert (
        subprocess.run([sys.executable, "-c", code], timeout=60, cwd=Path(__file__).parents[2]).returncode
        == 0
    )
