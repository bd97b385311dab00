"""Causes add up to the span, whatever happens, and no moment counts twice."""

from __future__ import annotations

import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.effective_time import CAUSES, measure
from pipeline.fleet import Fleet
from pipeline.fleet_params import FleetParams
from pipeline.job_losses import EFFECTIVE, INTERVALS, paint
from pipeline.lake import Lake
from pipeline.tables import TIME
from tests.pipeline.job_lakes import action, fault, lake, minutes, save

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
COLUMNS = ("minute", "node", "gpu_uuid", "gpu_index", "pci_bdf", "synthetic", "job", "sm_util_pct_mean")


second_ = st.integers(-5, 80)


def second(n: int) -> datetime:
    return EPOCH + timedelta(seconds=n)


@given(
    st.lists(st.tuples(st.integers(0, 40), st.integers(1, 30)), min_size=1, max_size=4),
    st.lists(st.tuples(st.integers(0, 4), second_, second_, st.sampled_from("abcz")), max_size=12),
)
def test_painting_is_what_a_loop_over_seconds_would_do(
    spans: list[tuple[int, int]], intervals: list[tuple[int, int, int, str]]
):
    order = ("b", "a", "c")
    jobs = [{"job": f"j{i}", "first": second(b), "end": second(b + n)} for i, (b, n) in enumerate(spans)]
    rows = [(f"j{j}", second(b), second(e), c) for j, b, e, c in intervals]
    expected: dict[tuple[str, str], int] = {}
    for i, (begin, length) in enumerate(spans):
        for s in range(begin, begin + length):
            over = {c for j, b, e, c in intervals if j == i and b <= s < e}
            cause = next((c for c in order if c in over), EFFECTIVE)
            expected[f"j{i}", cause] = expected.get((f"j{i}", cause), 0) + 1_000_000
    schema = dict(zip(INTERVALS, (pl.String(), TIME, TIME, pl.String()), strict=True))
    found = paint(
        pl.DataFrame(jobs, schema={"job": pl.String(), "first": TIME, "end": TIME}),
        pl.DataFrame(rows, schema=schema, orient="row"), order,
    )  # fmt: skip
    assert {(j, c): us for j, c, us in found.iter_rows()} == expected


moment = st.integers(0, 119).map(lambda half: half / 2 + 0.25)
stories = st.lists(
    st.tuples(st.sampled_from("wwwlidx"), st.integers(1, 12)).map(lambda p: p[0] * p[1]),
    min_size=2,
    max_size=9,
)


@settings(max_examples=25, deadline=None)
@given(
    mine=stories.map("".join),
    other=stories.map("".join),
    faults=st.lists(st.tuples(moment, st.integers(0, 3)), max_size=4),
    saves=st.lists(
        st.tuples(moment, st.none() | st.floats(0.001, 900)), max_size=6, unique_by=lambda s: s[0]
    ),
    asked=st.lists(st.tuples(moment, st.sampled_from(("checkpoint", "drain", "drain_now"))), max_size=3),
)
def test_causes_add_up_to_the_span(
    mine: str,
    other: str,
    faults: list[tuple[float, int]],
    saves: list[tuple[float, float | None]],
    asked: list[tuple[float, str]],
):
    """Two nodes' halves of one job live stories of their own."""
    rollups = [minutes(f"w{mine}w", gpus=range(2)), minutes(f"w{other}", gpus=range(2, 4))]
    events = [*(fault(m, g) for m, g in faults), *(save(m, s) for m, s in saves)]
    actions = [row for i, (m, name) in enumerate(asked) for row in action(m, name, incident=f"inc-{i}")]
    with tempfile.TemporaryDirectory() as folder:
        found = measure(lake(Path(folder), *rollups, events=events, actions=actions))
    row = found.jobs.row(0, named=True)
    seconds = [row[f"{c}_s"] for c in (EFFECTIVE, *CAUSES)]
    wall_s = (row["until"] - row["since"]).total_seconds()
    assert min(*seconds, row["paused_s"]) >= 0
    assert abs(sum(seconds) + row["paused_s"] - wall_s) < 1e-5
    assert abs(row["span_s"] + row["paused_s"] - wall_s) < 1e-5
    assert row["alarmed"] <= row["faults"] <= row["interruptions"]
    for share in ("ettr", "ettr_high", "ettr_baige"):
        assert row[share] is None or 0 <= row[share] <= 1 + 1e-9
    stops = found.outages.filter(pl.col("kind").is_in(["fault", "unexplained"]))
    assert stops.filter(pl.col("interrupted") > pl.col("stopped")).is_empty()
    assert stops.filter(pl.col("works") < pl.col("stopped")).is_empty()


def test_a_simulated_fleet_loses_what_its_faults_took(tmp_path: Path):
    """Its jobs load for 90 s and never tell of a checkpoint; a fault ends the job for good, and all its work."""
    fleet = Fleet(64, seed=3, params=FleetParams(days=2, fault_rate_factor=400, other_interruptions=0))
    made = Lake(tmp_path)
    for part in fleet.rollup_parts(fleet.start, 2 * 1440, columns=COLUMNS):
        made.append("rollups", part)
    made.append("events", fleet.events(fleet.start, 2 * 86_400))
    found = measure(made)
    struck = found.outages.filter(pl.col("kind") == "fault").sort("fault")
    assert struck["fault"].dt.truncate("1s").to_list() == _kills(fleet, made)
    assert struck.height == found.jobs["hits"].sum() == 10
    assert struck.filter(pl.col("stopped") - pl.col("interrupted") > timedelta(minutes=1)).is_empty()
    for job in found.jobs.iter_rows(named=True):
        loading_s = 120 if job["since"] > fleet.start else 0
        assert job["restart_s"] <= loading_s  # 90 s, and a minute is the grain
        assert job["unknown_s"] == job["scheduling_s"] == 0
        assert job["effective_s"] == (0 if job["faults"] else job["span_s"] - job["restart_s"])
    assert 0.2 < found.fleet["ettr"][0] < 0.9
    assert found.synthetic


def _kills(fleet: Fleet, made: Lake) -> list[datetime]:
    """True times of the faults under a job."""
    rows = made.read("rollups", columns=("gpu_uuid", "minute", "job")).drop_nulls("job")
    held = fleet.truth.with_columns(pl.col("time").dt.truncate("1m").alias("minute"))
    return held.join(rows, on=["gpu_uuid", "minute"], how="semi").sort("time")["time"].to_list()
