"""`foreshock demo` as a user runs it, on the default trace and on real recorded H100 traces."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from pipeline.features import FEATURE_SET
from pipeline.lake import Lake


def demo(directory: Path, *more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-I", "-m", "foreshock", "demo", "--directory", str(directory / "run"), *more],
        capture_output=True, text=True, timeout=150, cwd=directory,
    )  # fmt: skip


def saved_story(directory: Path, *more: str) -> dict[str, object]:
    done = demo(directory, "--json", *more)
    assert done.returncode == 0, done.stderr + done.stdout
    return json.loads(done.stdout)  # type: ignore[no-any-return]


def check(story: dict[str, object], directory: Path) -> None:
    times = [story[k] for k in ("fault_began_s", "alarm_s", "checkpoint_s", "died_s")]
    assert times == sorted(times), "fault, alarm, checkpoint, death"  # type: ignore[type-var]
    assert story["incidents"] == 1, "the decoy on another GPU raised none"
    assert story["webhooks"] == 3
    assert story["synthetic"] is True
    assert (story["resumed_steps"], story["resumed_largest_loss_difference"]) == (50, 0.0)
    assert story["saved_gpu_minutes"] > 0  # type: ignore[operator]
    lake = Lake(directory / "run" / "lake")
    assert lake.read("telemetry")["gpu_index"].n_unique() == 8
    scored = lake.read("predictions").select("model_id", "feature_set").unique()
    assert scored["model_id"].str.starts_with("imminence-").all(), (
        "by the trained model, through the registry"
    )
    assert scored["feature_set"].to_list() == [FEATURE_SET]
    assert lake.read("telemetry")["synthetic"].all(), "a fault laid over a recording is synthetic"
    assert set(lake.read("events").filter(pl.col("kind") == "xid")["code"]) >= {31, 63, 79, 154, 45}


def test_the_demo_saves_the_job_and_says_so(tmp_path: Path):
    story = saved_story(tmp_path)
    check(story, tmp_path)
    assert story["trace"] == "our own simulation"


@pytest.mark.parametrize("trace", ["t2_telemetry.csv", "b1_telemetry.csv"])
def test_the_demo_plays_a_real_h100_trace(tmp_path: Path, shared_data: Path, trace: str):
    file = shared_data / "h100_workload_telemetry" / trace
    story = saved_story(tmp_path, "--trace", str(file))
    check(story, tmp_path)
    recorded = pl.read_csv(file)["power_w"].round(1)
    seen = Lake(tmp_path / "run" / "lake").read("telemetry")["power_w"].drop_nulls()
    assert seen.round(1).is_in(recorded.implode()).all(), "the recorded values and no others"
    assert seen.n_unique() > 50


def test_a_directory_that_is_not_ours_is_never_emptied(tmp_path: Path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.tex").write_text("years of work")
    done = demo(tmp_path)
    assert done.returncode == 1
    assert (tmp_path / "run" / "thesis.tex").exists()
    assert "Try: foreshock demo --directory NEW" in done.stderr


def test_a_trace_that_is_none_is_said_before_anything_starts(tmp_path: Path):
    (tmp_path / "x.csv").write_text("a,b\n1,2\n")
    done = demo(tmp_path, "--trace", str(tmp_path / "x.csv"))
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "x.csv" in done.stderr
