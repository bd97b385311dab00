"""GPUs that fell silent stay on the page: of a small fleet at once, of a large one as soon as its day is read."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest

from dashboard import now, unheard
from pipeline.lake import Lake
from tests.double import eventually
from tests.lake_fixture import Story, make_lake


@pytest.mark.parametrize("large", [False, True])
def test_a_gpu_that_falls_silent_stays_on_the_page_with_its_risk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, large: bool
) -> None:
    if large:
        monkeypatch.setattr(unheard, "AT_ONCE_ROWS", 0)
        monkeypatch.setattr(unheard, "FIRST_S", 0.0)
    story = make_lake(tmp_path / "lake", nodes=1, minutes=3)
    lake = Lake(story.path)
    later = {"time": pl.col("time") + timedelta(minutes=30)}
    lake.append("telemetry", lake.read("telemetry").filter(gpu_index=0).with_columns(**later))
    lake.append("predictions", lake.read("predictions").filter(gpu_index=0).with_columns(**later))
    assert eventually(lambda: _states(story) == ["ok"] + ["silent"] * 7)
    fleet = now.fleet(str(story.path))
    assert fleet["risk"].null_count() == 0
    assert fleet["gpu_uuid"].n_unique() == 8


def _states(story: Story) -> list[str]:
    now.fleet.clear()
    return now.fleet(str(story.path))["state"].to_list()
