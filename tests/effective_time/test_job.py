"""The job's clock: every second is in exactly one account."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from effective_time.job import LOSSES, Job


def test_it_works_and_saves_in_turn():
    job = Job(interval_s=100, checkpoint_s=10)
    job.advance(250)
    assert (job.work_s, job.lost_s["checkpoint"], job.unsaved_s, job.saved_s) == (180, 20, 50, 200)


def test_a_fault_takes_what_is_not_on_disk_and_the_recovery():
    job = Job(interval_s=100, checkpoint_s=10)
    job.advance(150)
    job.stop(recovery_s=30)
    job.advance(280)
    assert (job.lost_s["lost work"], job.lost_s["recovery"]) == (50, 30)
    assert job.work_s == 90 + 90
    assert job.saved_s == 280


def test_a_fault_within_a_checkpoint_loses_the_whole_interval():
    job = Job(interval_s=100, checkpoint_s=10)
    job.advance(96)
    job.stop(recovery_s=0)
    assert (job.lost_s["lost work"], job.lost_s["checkpoint"], job.work_s) == (90, 6, 0)


def test_a_fault_within_a_recovery_begins_it_anew():
    job = Job(interval_s=100, checkpoint_s=10)
    job.stop(recovery_s=30)
    job.advance(20)
    job.stop(recovery_s=30)
    job.advance(60)
    assert (job.lost_s["recovery"], job.unsaved_s) == (50, 10)


def test_a_save_on_an_alarm_keeps_the_work_and_a_fault_before_it_is_complete_takes_it():
    job = Job(interval_s=100, checkpoint_s=10)
    job.advance(40)
    job.save(5)
    job.advance(45)
    assert (job.work_s, job.unsaved_s, job.lost_s["alarm checkpoint"]) == (40, 0, 5)
    job.advance(75)
    job.save(5)
    job.advance(78)
    job.stop(recovery_s=1)
    assert (job.work_s, job.lost_s["lost work"], job.lost_s["alarm checkpoint"]) == (40, 30, 8)


def test_an_alarm_during_a_regular_checkpoint_lets_it_finish():
    job = Job(interval_s=100, checkpoint_s=10)
    job.advance(94)
    job.save(50)
    job.advance(100)
    assert (job.work_s, job.lost_s["alarm checkpoint"], job.lost_s["checkpoint"]) == (90, 0, 10)


def test_it_waits_for_a_node_after_the_save_and_before_the_start():
    job = Job(interval_s=100, checkpoint_s=10)
    job.advance(40)
    job.save(5)
    job.move(20)
    job.wait(lacks_nodes=True)
    job.advance(1000)
    job.wait(lacks_nodes=False)
    job.advance(1030)
    assert [job.lost_s[c] for c in ("alarm checkpoint", "no node", "planned move")] == [5, 955, 20]
    assert (job.work_s, job.unsaved_s) == (40, 10)


_STEPS = st.lists(
    st.tuples(
        st.floats(0, 500),
        st.sampled_from(["stop", "save", "move", "lacks", "found", "none"]),
        st.floats(0, 90),
    ),
    max_size=30,
)


@settings(max_examples=200)
@given(_STEPS, st.floats(1, 300), st.floats(0, 1))
def test_work_and_losses_add_up_to_the_time_and_none_is_negative(
    steps: list[tuple[float, str, float]], interval_s: float, share: float
):
    job, now_s = Job(interval_s, interval_s * share * 0.99), 0.0
    for wait_s, what, takes_s in steps:
        now_s += wait_s
        job.advance(now_s)
        if what in ("lacks", "found"):
            job.wait(lacks_nodes=what == "lacks")
        elif what != "none":
            getattr(job, what)(takes_s)
    job.end()
    assert min(job.work_s, *job.lost_s.values()) >= -1e-6
    assert job.work_s + sum(job.lost_s.values()) == pytest.approx(now_s, abs=1e-6)
    assert set(job.lost_s) == set(LOSSES)
    assert math.isfinite(job.work_s)
