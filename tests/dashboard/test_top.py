"""`foreshock top`: one frame, one object, and legible without colour, on 80 columns and at 10,000 GPUs."""

from __future__ import annotations

import argparse
import io
import json
import os
import pty
import subprocess
import sys
import threading
import time
from pathlib import Path

import polars as pl
import pytest
from rich.console import Console

from collector.config import Config, LakeConfig
from collector.errors import ForeshockError
from dashboard import now
from dashboard.terminal import top
from dashboard.terminal.frame import frame, plain
from dashboard.terminal.rows import MARKS, Look, nodes, with_standing
from dashboard.terminal.sql import FLEET, OPEN_INCIDENTS, SILENT_S
from pipeline.lake import Lake
from pipeline.sql import connect
from tests.lake_fixture import END, Story, make_lake

ESCAPE = "\x1b"


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    return make_lake(tmp_path_factory.mktemp("lake"), minutes=5)


def _args(**more: object) -> argparse.Namespace:
    return argparse.Namespace(**{"once": False, "json": False, "every": 2.0, "node": "*"} | more)


def _top(lake: Path, **more: object) -> str:
    out = io.StringIO()
    assert top.run(_args(**more), Config(lake=LakeConfig(path=lake)), out) == 0
    return out.getvalue()


def test_one_frame_tells_what_fails_why_and_what_was_done(story: Story) -> None:
    text = _top(story.path, once=True)
    assert "16 GPUs on 2 nodes" in text
    assert "15 ok  1 lost  1 at the alarm level" in text
    assert "SYNTHETIC" in text
    riskiest = next(line for line in text.splitlines() if line.startswith("node0002 3 "))
    assert "0.93" in riskiest
    assert "lost" in riskiest
    assert "NVLink CRC errors rise" in riskiest
    assert "critical, failed" in text
    assert "checkpoint ack" in text
    assert "STALE" in text


def test_a_frame_for_a_pipe_has_no_colour_and_no_line_over_80_columns(story: Story) -> None:
    text = _top(story.path, once=True)
    assert ESCAPE not in text
    assert max(len(line) for line in text.splitlines()) <= 80


def test_the_grid_marks_each_node_by_its_worst_gpu(story: Story) -> None:
    grid = next(line for line in _top(story.path, once=True).splitlines() if line.startswith("node0001   "))
    assert grid.split() == ["node0001", ".X"]


def test_json_is_one_object_with_nulls(story: Story) -> None:
    told = json.loads(_top(story.path, json=True))
    assert told["gpus"] == 16
    assert told["states"] == {"ok": 15, "lost": 1}
    assert told["alarms"] == 1
    assert told["synthetic"] is True
    assert told["riskiest"][0]["gpu_uuid"] == story.failing
    assert told["riskiest"][0]["power_w"] is None
    assert told["incidents"][0]["done"] == "checkpoint acknowledged"
    assert [node["node"] for node in told["worst_nodes"]] == ["node0002"]


def test_a_pattern_keeps_its_nodes_only(story: Story) -> None:
    told = json.loads(_top(story.path, json=True, node="*1"))
    assert told["gpus"] == 8
    assert told["incidents"] == []
    assert "no node of that name" in _top(story.path, once=True, node="rack7-*")


def test_every_must_be_more_than_nothing(story: Story) -> None:
    with pytest.raises(ForeshockError, match="--every"):
        _top(story.path, every=0.0)


@pytest.mark.parametrize("made", [True, False])
def test_an_empty_or_missing_lake_says_what_to_do(tmp_path: Path, made: bool) -> None:
    lake = tmp_path / "lake"
    if made:
        lake.mkdir()
    assert "foreshock demo" in _top(lake, once=True)
    assert json.loads(_top(lake, json=True))["newest"] is None


def test_a_broken_lake_is_an_error_with_a_hint(tmp_path: Path) -> None:
    make_lake(tmp_path, nodes=1, minutes=2)
    for path in (tmp_path / "telemetry").rglob("*.parquet"):
        path.write_bytes(b"{nonsense")
    with pytest.raises(ForeshockError, match="'telemetry' cannot be read"):
        _top(tmp_path, once=True)


def test_it_means_what_the_dashboard_means(story: Story) -> None:
    columns = [
        "node",
        "gpu_index",
        "gpu_uuid",
        "state",
        "temperature_c",
        "power_w",
        "risk",
        "why",
        "synthetic",
    ]
    with connect(Lake(story.path).files, story.path) as desk:
        ours = desk.query(FLEET, {"silent_s": SILENT_S, "node": "*"})
    theirs = now.fleet(str(story.path))
    assert ours.select(columns).rows() == theirs.select(columns).rows()
    assert now.SILENT_S == SILENT_S


def _fleet(node_count: int, per_node: int = 8) -> pl.DataFrame:
    at = pl.lit(END)
    return pl.DataFrame(
        [
            {"node": f"node{n:05d}", "gpu_index": i, "gpu_uuid": f"GPU-{n}-{i}", "state": "ok", "risk": 0.01}
            for n in range(node_count)
            for i in range(per_node)
        ]
    ).with_columns(
        time=at, risk_time=at, temperature_c=60, power_w=400.0, why=pl.lit(None, pl.String), synthetic=False,
        alarm_level=0.5, model_id=pl.lit("m"),
    )  # fmt: skip


def _drawn(fleet: pl.DataFrame, width: int = 80, height: int | None = None, **more: object) -> list[str]:
    look = Look(with_standing(fleet), pl.DataFrame(), END, END, "live", "newest telemetry just now")
    console = Console(file=io.StringIO(), width=width, highlight=False, **more)  # type: ignore[arg-type]
    console.print(frame(look, console, height))
    out = console.file
    assert isinstance(out, io.StringIO)
    return out.getvalue().splitlines()


def test_ten_thousand_gpus_are_one_mark_a_node_on_one_screen() -> None:
    fleet = _fleet(1_250)
    sick = fleet.with_columns(
        state=pl.when(pl.col("gpu_uuid") == "GPU-777-3").then(pl.lit("lost")).otherwise("state")
    )
    lines = _drawn(sick)
    rows = (line for line in lines if line.startswith("node") and len(line) > 60)
    grid = [line[15:] for line in rows if line[15] in MARKS.values()]
    assert sum(map(len, grid)) == 1_250
    assert "".join(grid).index("X") == 777
    assert len(lines) < 50


def test_long_names_and_sentences_leave_room_for_what_was_done_on_80_columns(story: Story) -> None:
    with connect(Lake(story.path).files, story.path) as desk:
        found = desk.query(OPEN_INCIDENTS, {"node": "*"})
    told = found.with_columns(
        node=pl.lit("rack000-node02"), summary=pl.lit("risk 0.80: NVLink CRC errors in ten minutes")
    )
    look = Look(with_standing(_fleet(4)), told, END, END, "live", "just now")
    console = Console(file=io.StringIO(), width=80, highlight=False)
    console.print(frame(look, console))
    assert isinstance(console.file, io.StringIO)
    assert "checkpoint ac" in console.file.getvalue()
    assert "critical, failed" in console.file.getvalue()


def test_more_nodes_than_marks_share_one_and_the_worst_shows() -> None:
    fleet = _fleet(12_500, per_node=1).with_columns(
        risk=pl.when(pl.col("gpu_uuid") == "GPU-9999-0").then(0.9).otherwise("risk")
    )
    lines = _drawn(fleet, height=40)
    assert len(lines) <= 40
    assert any(line.startswith("Nodes, one mark for") for line in lines)
    assert sum(line.count("#") for line in lines if line.startswith("node")) == 1


@pytest.mark.parametrize(
    ("state", "risk", "standing"),
    [
        ("ok", 0.0, "calm"), ("ok", None, "unscored"), ("ok", 0.25, "watch"), ("ok", 0.5, "alarm"),
        ("lost", 0.0, "lost"), ("missing", None, "lost"), ("hung", 0.9, "hung"), ("error", 0.1, "error"),
        ("silent", 0.1, "silent"), ("silent", 0.9, "alarm"), ("unread", None, "silent"), ("a new state", 0.1, "silent"),
    ],
)  # fmt: skip
def test_a_gpu_stands_by_its_state_and_then_its_risk(state: str, risk: float | None, standing: str) -> None:
    fleet = _fleet(1, 1).with_columns(state=pl.lit(state), risk=pl.lit(risk, pl.Float64))
    assert with_standing(fleet)["standing"].to_list() == [standing]
    assert nodes(with_standing(fleet))["standing"].to_list() == [standing]


def test_the_alarm_level_is_a_tick_on_the_bar_also_without_utf8() -> None:
    fleet = _fleet(1, 1).with_columns(risk=pl.lit(0.2))
    assert any("██   │" in line for line in _drawn(fleet))
    assert plain("a\x1b[31m\nb") == "a?[31m b"


def test_markup_and_escapes_in_names_are_not_obeyed() -> None:
    fleet = _fleet(1, 1).with_columns(node=pl.lit("[red]n\x1b[2J"), why=pl.lit("[link=x]y"), risk=pl.lit(0.9))
    text = "\n".join(_drawn(fleet, width=120))
    assert ESCAPE not in text
    assert "[link=x]y" in text


def test_no_colour_is_obeyed_on_a_terminal_and_q_ends(story: Story, tmp_path: Path) -> None:
    """In a real pseudo-terminal, through the front door."""
    config = tmp_path / "foreshock.toml"
    config.write_text(f'[lake]\npath = "{story.path}"\n')
    ours, theirs = pty.openpty()
    terminal = {"NO_COLOR": "1", "TERM": "xterm", "COLUMNS": "100", "LINES": "45"}
    child = subprocess.Popen(
        [sys.executable, "-P", "-m", "foreshock", "--config", str(config), "top", "--every", "0.2"],
        stdin=theirs, stdout=theirs, stderr=theirs, env={**os.environ, **terminal}, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    os.close(theirs)
    seen = bytearray()
    reader = threading.Thread(target=_read_all, args=(ours, seen), daemon=True)
    reader.start()
    try:
        _until(lambda: b"NVLink CRC errors rise" in seen)
        os.write(ours, b"q")
        assert child.wait(timeout=30) == 0
    finally:
        child.kill()
        child.wait()
    assert b"\x1b[31m" not in seen
    assert b"\x1b[1;31m" not in seen


def _read_all(source: int, seen: bytearray) -> None:
    try:
        while piece := os.read(source, 65536):
            seen.extend(piece)
    except OSError:
        return


def _until(holds: object, deadline_s: float = 60.0) -> None:
    assert callable(holds)
    end_s = time.monotonic() + deadline_s
    while not holds():
        assert time.monotonic() < end_s
        time.sleep(0.05)
