"""The real node trace as faults of one job, and the predictors that are replayed on it."""

import io
import json
import math
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from alerting.waste import DAY_S
from effective_time import outages, predictors, proneness_alarms, replay
from effective_time.alarms import FALSE
from effective_time.compare import Case, setup
from effective_time.faults import Faults
from effective_time.outages import Outages
from effective_time.predictors import ASSUMED, World
from effective_time.proneness_alarms import CUT_DAY, Head
from effective_time.simulate import Setup, simulate
from effective_time.stack import STACKS
from models import nodetrace
from models.history import Trace

DATA = Path(__file__).parents[2].parent / "shared" / "data" / "infinitehbd_trace"


def trace(*faults: tuple[str, float, float | None, str], units: int = 4) -> Trace:
    """Synthetic: unit, begin, end (None: open), kind."""
    rows = pl.DataFrame(
        faults, schema={"unit": pl.String, "begin_day": pl.Float64, "end_day": pl.Float64, "kind": pl.String},
        orient="row",
    ).with_columns(place=pl.lit(None, pl.String))  # fmt: skip
    names = [f"u{i}" for i in range(units)]
    lives = pl.DataFrame({"unit": names}).with_columns(begin_day=pl.lit(0.0), end_day=pl.lit(math.inf))
    return Trace("made", rows, lives, names, 10.0, 8, ("gpu",), ("gpu", "fan"))


@pytest.fixture(scope="module")
def real() -> Trace:
    if not (DATA / nodetrace.FILE).exists():
        pytest.skip(
            "the InfiniteHBD node fault trace is not in ../shared/data: docs/data.md says where it can be had"
        )
    return nodetrace.read(DATA)


@pytest.fixture(scope="module")
def head(real: Trace) -> Head:
    return proneness_alarms.learn(real, 7.0)


def test_faults_that_overlap_are_one_outage_and_the_later_end_counts():
    of = outages.outages(
        trace(
            ("u1", 1, 3, "fan"),
            ("u1", 2, 2.5, "gpu"),
            ("u1", 2.6, 4, "fan"),
            ("u1", 5, 6, "gpu"),
            ("u0", 2, 9, "gpu"),
        )
    )
    assert list(zip(of.unit, of.begin_day, of.end_day, of.of_gpu, strict=True)) == [
        (1, 1, 4, False), (0, 2, 9, True), (1, 5, 6, True),
    ]  # fmt: skip


def test_a_long_fault_is_not_forgotten_behind_a_short_one_within_it():
    of = outages.outages(trace(("u0", 1, 9, "gpu"), ("u0", 2, 3, "fan"), ("u0", 8, 8.5, "fan")))
    assert (len(of.unit), of.end_day[0]) == (1, 9)


def test_a_gpu_fault_at_the_same_moment_makes_the_outage_a_gpus():
    of = outages.outages(trace(("u0", 1, 2, "fan"), ("u0", 1, 1.5, "gpu")))
    assert (of.of_gpu.tolist(), of.end_day.tolist()) == ([True], [2])


def test_an_open_fault_outlasts_the_run_and_one_from_before_begins_it_without_being_foretold():
    of = outages.outages(trace(("u0", 1, None, "gpu"), ("u1", 6, None, "gpu"), ("u2", 2, 4, "gpu")))
    world = outages.faults(of, 5.0, 10.0, np.arange(4), seed=0)
    assert world.time_s.tolist() == [0.0, DAY_S]
    assert world.of_gpu.tolist() == [False, True], "what was out before the start is nobody's to foretell"
    assert (world.time_s + world.repair_s > world.until_s).all()
    assert (world.nodes, world.until_s) == (4, 5 * DAY_S)


def test_units_that_are_out_at_the_start_are_spare_and_every_unit_has_a_node():
    of = outages.outages(trace(("u1", 1, 9, "gpu"), ("u3", 7, 9, "gpu")))
    places = [outages.placed(of, 5.0, seed) for seed in range(6)]
    assert all(sorted(p) == [0, 1, 2, 3] and p[1] == 3 for p in places)
    assert len({tuple(p) for p in places}) > 1, "the seed draws the others"


def test_nothing_of_the_replayed_days_is_in_what_was_measured_before_them():
    calm = trace(("u0", 1, 2, "gpu"), ("u1", 1, 2, "fan"), ("u0", 4, 5, "fan"))
    busy = trace(
        *calm.faults.drop("place").rows(), *(("u2", 6 + i / 10, 6 + i / 10, "gpu") for i in range(9))
    )
    told = [outages.rates(outages.measured(o, 0.0, 5.0), o) for o in map(outages.outages, (calm, busy))]
    assert told[0] == told[1]
    assert told[0].faults_per_gpu_day == pytest.approx(2 / (4 * 8 * 5)), "two moments, three outages"
    assert told[0].gpu_share == pytest.approx(1 / 3)


def test_the_time_with_too_few_nodes_is_measured_to_the_second():
    of = outages.outages(trace(("u0", 1, 4, "fan"), ("u1", 2, 3, "fan"), ("u2", 3, None, "fan")))
    assert outages.share_short(of, 0.0, 10.0, spare=1) == pytest.approx(2 / 10)
    assert outages.measured(of, 0.0, 10.0).most_away == 2, "one is back at the moment another goes"


def test_a_job_waits_exactly_as_long_as_nodes_are_short():
    of = outages.outages(trace(("u0", 1, 4, "fan"), ("u1", 2, 3, "fan"), ("u2", 3, None, "fan")))
    job = Setup(run=Case(gpus=24, rates=replay.BEFORE, stack=STACKS[0]).run, interval_s=3600, nodes_in_job=3)
    found = simulate(outages.faults(of, 0.0, 10.0, np.arange(4), 0), job)
    assert found.lost_s["no node"] == pytest.approx(2 * DAY_S)


def test_nodes_that_fail_at_one_moment_stop_the_job_once():
    of = outages.outages(trace(("u0", 1, 2, "fan"), ("u1", 1, 2, "fan"), ("u0", 3, 4, "fan"), units=6))
    case = Case(gpus=32, rates=replay.BEFORE, stack=STACKS[0])
    found = simulate(outages.faults(of, 0.0, 10.0, np.arange(6), 0), setup(case, foretold=False))
    assert (found.interruptions, found.faults) == (1, 3), "and a node that is spare by then stops nothing"


def _world(of: Outages, seed: int) -> World:
    place = outages.placed(of, 0.0, seed)
    return World(outages.faults(of, 0.0, of.until_day, place, seed), place, 1.0, seed)


def test_the_trace_as_published(real: Trace):
    of = outages.outages(real)
    fleet = outages.measured(of, 0.0, real.end_day)
    assert (of.n_units, fleet.outages, fleet.of_gpu, fleet.moments) == (400, 381, 85, 331)
    assert outages.share_short(of, 0.0, real.end_day, 16) == pytest.approx(0.244, abs=0.001)
    assert int(np.isinf(of.end_day).sum()) == 10


def test_the_oracle_tells_every_gpu_fault_and_nothing_else(real: Trace):
    world = _world(outages.outages(real), 3)
    told = ASSUMED[-1].says(world, STACKS[1])
    assert sorted(told.fault) == np.flatnonzero(world.faults.of_gpu).tolist()
    assert ASSUMED[-1].kind == "oracle"


def test_alarms_of_the_real_head_keep_to_the_budget_and_their_truth_is_the_traces(real: Trace, head: Head):
    of = outages.outages(real)
    place = outages.placed(of, CUT_DAY, 0)
    faults = outages.faults(of, CUT_DAY, of.until_day, place, 0)
    told = proneness_alarms.alarms(head, faults, place, 0)
    days = real.end_day - CUT_DAY
    assert 0.8 * 0.32 * (days - 7) < len(told) <= 0.32 * days, (
        "1 a day per 10,000 GPUs; nodes that are out save none"
    )
    ends_s = told.time_s + told.lasts_s
    for time_s, node, fault, end_s in zip(told.time_s, told.node, told.fault, ends_s, strict=True):
        here = (faults.node == node) & faults.of_gpu & (faults.time_s >= time_s)
        near = np.flatnonzero(here & (faults.time_s < time_s + 7 * DAY_S))
        assert fault == (near[0] if len(near) else FALSE)
        assert end_s == pytest.approx(faults.time_s[fault] if len(near) else time_s + 7 * DAY_S)


def test_what_the_real_head_says_is_a_probability_of_about_the_base_rate(head: Head):
    assert head.probability.min() > 0.0
    assert head.probability.max() < 0.5
    assert 0.5 < head.probability.mean() / head.test.label.mean() < 2.0


def test_the_head_learns_nothing_after_the_cut(real: Trace, head: Head):
    past = real.faults.filter(pl.col("begin_day") < CUT_DAY)
    blind = Trace(real.name, past, real.lives, real.units, real.end_day, 8, real.targets, real.kinds)
    first = head.test.day == CUT_DAY
    assert np.array_equal(
        proneness_alarms.learn(blind, 7.0).probability[: first.sum()], head.probability[first]
    )


def test_a_predictor_that_says_nothing_changes_nothing(real: Trace):
    silent = predictors.Predictor(
        name="silent", kind="assumed", recall=0.0, says=lambda w, _stack: _nothing(w.faults)
    )
    of = outages.outages(real)
    found = replay.window(of, CUT_DAY, replay.BEFORE, [silent], spare=16, seeds=[0], stacks=STACKS[2:3])
    none, row = found.rows
    assert (row.gain.mean, row.asked, row.ettr_with) == (0.0, {}, none.ettr_without)


def _nothing(faults: Faults):
    told = ASSUMED[0].says(World(faults, np.arange(faults.nodes), 1.0, 0), STACKS[0])
    return type(told)(*(getattr(told, n)[:0] for n in ("time_s", "node", "fault", "lasts_s", "probability")))


def test_without_spare_nodes_enough_no_oracle_helps_and_with_them_it_does(real: Trace):
    of = outages.outages(real)
    few, many = (
        replay.window(of, 0.0, replay.BEFORE, ASSUMED[2:], spare=spare, seeds=[0], stacks=STACKS[:1])
        for spare in (16, 40)
    )
    assert many.share_short == 0.0
    for found, level in ((few, 0.72), (many, 0.95)):
        _, oracle = found.rows
        assert oracle.ettr_without.mean == pytest.approx(level, abs=0.02)
        assert oracle.gain.mean > 0.0
        assert oracle.ettr_with.mean + sum(oracle.lost_with.values()) == pytest.approx(1.0)
    assert few.rows[1].lost_with["no node"] == pytest.approx(few.share_short, abs=0.001)


def test_the_command_prints_a_table_and_one_object_last(real: Trace):
    out = io.StringIO()
    assert replay.main(["--data", str(DATA), "--seeds", "2", "--json"], out) == 0
    text, last = out.getvalue().rstrip().rsplit("\n", 1)
    assert "lost, REAL: proneness head, 7 d" in text
    told = json.loads(last)
    assert [w["fleet"]["since_day"] for w in told["windows"]] == [0.0, 150.0]
    kinds = [{r["kind"] for r in w["rows"]} for w in told["windows"]]
    assert kinds == [{"none", "assumed", "oracle"}, {"none", "assumed", "oracle", "real"}]
    assert len(told["windows"][1]["rows"]) == 4 * 6


def test_a_folder_without_a_trace_is_named_and_no_traceback(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert replay.main(["--data", str(tmp_path)]) == 1
    assert "not a node fault trace" in capsys.readouterr().err
