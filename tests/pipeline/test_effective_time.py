from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from collector.checkpoints import event_of
from collector.errors import ForeshockError
from pipeline.effective_time import CAUSES, Measured, measure
from pipeline.job_happenings import checkpoints
from pipeline.tables import EVENTS
from tests.pipeline.job_lakes import action, at, fault, lake, minutes, save

IDLE_REST = "i" * 5
"""The lake goes on after the job, so that it is over and not cut off."""


def seconds(found: Measured, job: str = "7") -> dict[str, float]:
    """Cause -> seconds, of those that lost any."""
    row = found.jobs.row(by_predicate=pl.col("job") == job, named=True)
    told = {c: row[f"{c}_s"] for c in CAUSES}
    assert sum(told.values()) + row["effective_s"] == pytest.approx(row["span_s"], abs=1e-6)
    return {c: s for c, s in told.items() if s > 0}


def of(found: Measured, column: str, job: str = "7") -> Any:
    return found.jobs.row(by_predicate=pl.col("job") == job, named=True)[column]


def test_a_job_that_only_works_is_effective_all_the_time(tmp_path: Path):
    found = measure(lake(tmp_path, minutes("w" * 60 + IDLE_REST)))
    assert seconds(found) == {}
    assert (of(found, "span_s"), of(found, "ettr"), of(found, "gpus")) == (3600, 1.0, 4)
    assert of(found, "interruptions") == 0
    assert of(found, "mtbf_s") is None
    assert of(found, "mtbf_low_s") == pytest.approx(3600 / 3.689, rel=1e-3)  # no event: 95 % is -ln(0.025)


def test_one_fault_is_split_into_its_causes(tmp_path: Path):
    """Works 60 min with a save of 30 s, dies at 50.5, leaves at 52, waits 4 min, loads 3, works 20."""
    story = "w" * 52 + "i" * 4 + "lll" + "w" * 21 + IDLE_REST
    found = measure(lake(tmp_path, minutes(story), events=[save(40, 30), fault(50.5)]))
    assert seconds(found) == {
        "checkpoint": 30,
        "lost_work": 600,  # 40.5 -> 50.5
        "detection": 90,  # 50.5 -> 52
        "scheduling": 240,
        "restart": 180,
    }
    assert of(found, "span_s") == 80 * 60
    assert of(found, "ettr") == pytest.approx(1 - 1140 / 4800)
    assert of(found, "ettr_baige") == pytest.approx(1 - (30 + 600 + 90 + 240 + 180) / 4800)
    assert (of(found, "interruptions"), of(found, "faults"), of(found, "alarmed")) == (1, 1, 0)
    assert of(found, "mttr_s") == 510  # 50.5 -> 59
    stop = found.outages.filter(pl.col("kind") == "fault").row(0, named=True)
    assert (stop["kept"], stop["interrupted"], stop["stopped"]) == (at(40.5), at(50.5), at(52))
    assert (stop["held_again"], stop["works"], stop["code"]) == (at(56), at(59), 79)


def test_without_a_save_since_the_restart_all_work_since_it_is_lost(tmp_path: Path):
    story = "w" * 30 + "ii" + "l" + "w" * 30 + "ii" + "l" + "w" * 30 + IDLE_REST
    found = measure(lake(tmp_path, minutes(story), events=[save(10, 60), fault(30), fault(63, gpu=1)]))
    assert seconds(found)["lost_work"] == 19 * 60 + 30 * 60
    assert of(found, "interruptions") == 2


def test_a_save_that_never_ended_keeps_nothing(tmp_path: Path):
    story = "w" * 30 + "ii" + "w" * 30 + IDLE_REST
    found = measure(lake(tmp_path, minutes(story), events=[save(10, 60), save(25, None), fault(30)]))
    assert seconds(found) == {"checkpoint": 60, "lost_work": 19 * 60, "scheduling": 120}


def test_a_job_that_begins_to_save_works_whatever_its_utilisation_says(tmp_path: Path):
    story = "w" * 30 + "ii" + "l" * 10 + "w" * 30 + IDLE_REST
    found = measure(lake(tmp_path, minutes(story), events=[save(29, 30), fault(30), save(35.5, 30)]))
    assert seconds(found)["restart"] == 3.5 * 60
    assert "idle" not in seconds(found)


def test_one_busy_minute_is_not_work(tmp_path: Path):
    story = "w" * 30 + "ii" + "lwll" + "w" * 30 + IDLE_REST
    found = measure(lake(tmp_path, minutes(story), events=[save(29, 30), fault(30)]))
    assert seconds(found)["restart"] == 4 * 60


def test_a_restart_in_place_is_an_interruption_without_scheduling(tmp_path: Path):
    story = "w" * 30 + "lll" + "w" * 30 + IDLE_REST
    found = measure(lake(tmp_path, minutes(story), events=[save(20, 60), fault(28)]))
    assert seconds(found) == {"checkpoint": 60, "lost_work": 7 * 60, "detection": 120, "restart": 180}


def test_a_fault_that_the_job_survives_costs_nothing(tmp_path: Path):
    found = measure(lake(tmp_path, minutes("w" * 60 + IDLE_REST), events=[fault(10)]))
    assert seconds(found) == {}
    assert (of(found, "hits"), of(found, "interruptions")) == (1, 0)


def test_work_saved_after_the_fault_is_kept(tmp_path: Path):
    """The driver told of a fault, the job saved once more, and stopped ten minutes later."""
    story = "w" * 40 + "ii" + "w" * 30 + IDLE_REST
    found = measure(lake(tmp_path, minutes(story), events=[fault(25), save(30, 60)]))
    assert seconds(found) == {"checkpoint": 60, "detection": 9 * 60, "scheduling": 120}


def test_a_job_that_ends_with_a_fault_loses_its_work(tmp_path: Path):
    found = measure(lake(tmp_path, minutes("w" * 30 + IDLE_REST), events=[save(10, 60), fault(29)]))
    assert seconds(found) == {"checkpoint": 60, "lost_work": 18 * 60, "detection": 60}
    assert (of(found, "interruptions"), of(found, "mttr_s")) == (1, None)


def test_a_fault_after_a_job_has_left_is_not_its_own(tmp_path: Path):
    found = measure(lake(tmp_path, minutes("w" * 30 + "i" * 10), events=[fault(35)]))
    assert (seconds(found), of(found, "hits"), of(found, "interruptions")) == ({}, 0, 0)


def test_a_fault_in_the_first_seconds_of_a_minute_ends_a_job_too(tmp_path: Path):
    """The mean of the last minute is nearly idle."""
    found = measure(lake(tmp_path, minutes("w" * 30 + "l" + IDLE_REST), events=[save(10, 60), fault(30.1)]))
    assert seconds(found) == {"checkpoint": 60, "lost_work": 19 * 60, "detection": 60}


def test_a_job_that_still_runs_when_the_lake_ends_has_lost_nothing_yet(tmp_path: Path):
    found = measure(lake(tmp_path, minutes("w" * 30), events=[save(10, 60), fault(29)]))
    assert seconds(found) == {"checkpoint": 60}


def test_a_stop_without_a_known_fault_counts_and_has_no_detection(tmp_path: Path):
    story = "w" * 30 + "ii" + "l" + "w" * 30 + IDLE_REST
    found = measure(lake(tmp_path, minutes(story), events=[save(10, 60)]))
    assert seconds(found) == {"checkpoint": 60, "lost_work": 19 * 60, "scheduling": 120, "restart": 60}
    assert (of(found, "interruptions"), of(found, "faults")) == (1, 0)
    assert of(found, "ettr_baige") == pytest.approx(1 - 60 / of(found, "span_s"))


def test_who_saves_and_leaves_is_not_waited_for(tmp_path: Path):
    story = "w" * 30 + "i" * 50 + "ll" + "w" * 18 + IDLE_REST
    found = measure(lake(tmp_path, minutes(story), events=[save(28, 60)]))
    assert seconds(found) == {"checkpoint": 60, "restart": 120, "lost_work": 60}
    assert (of(found, "span_s"), of(found, "paused_s"), of(found, "interruptions")) == (50 * 60, 50 * 60, 0)


def test_of_a_job_that_saves_often_a_save_before_a_stop_says_nothing(tmp_path: Path):
    saves = [save(m, 10) for m in range(2, 30, 3)]
    found = measure(lake(tmp_path, minutes("w" * 30 + "iii" + "w" * 10 + IDLE_REST), events=saves))
    assert of(found, "interruptions") == 1
    assert seconds(found)["scheduling"] == 180


def test_the_first_start_is_in_the_span(tmp_path: Path):
    found = measure(lake(tmp_path, minutes("ii" + "lll" + "w" * 27 + IDLE_REST)))
    assert seconds(found) == {"restart": 180}
    assert of(found, "span_s") == 30 * 60


@pytest.mark.parametrize(("low", "idle_s"), [(4, None), (5, 300)])
def test_gpus_that_stand_for_five_minutes_are_idle(low: int, idle_s: float | None, tmp_path: Path):
    found = measure(lake(tmp_path, minutes("w" * 20 + "l" * low + "w" * 20 + IDLE_REST)))
    assert seconds(found).get("idle") == idle_s


def test_silence_is_unknown_and_no_interruption(tmp_path: Path):
    found = measure(lake(tmp_path, minutes("w" * 20 + "x" * 10 + "w" * 20 + IDLE_REST)))
    assert seconds(found) == {"unknown": 600}
    assert (of(found, "ettr"), of(found, "ettr_high"), of(found, "interruptions")) == (0.8, 1.0, 0)


def test_a_few_silent_gpus_hide_nothing(tmp_path: Path):
    """The node of one GPU of four died and is silent; the others are seen without the job."""
    rest, dead = range(1, 4), range(1)
    found = measure(lake(
        tmp_path, minutes("w" * 30 + "iii" + "w" * 10 + IDLE_REST, gpus=rest), minutes("w" * 30, gpus=dead),
        events=[save(20, 60), fault(30)],
    ))  # fmt: skip
    assert seconds(found) == {"checkpoint": 60, "lost_work": 9 * 60, "scheduling": 180}


def test_a_straggler_that_still_names_the_job_does_not_hold_it(tmp_path: Path):
    found = measure(lake(
        tmp_path, minutes("w" * 30 + "iii" + "w" * 10 + IDLE_REST, gpus=range(1, 4)),
        minutes("w" * 30 + "lli" + "w" * 10 + IDLE_REST, gpus=range(1)), events=[save(20, 60), fault(30)],
    ))  # fmt: skip
    assert seconds(found)["scheduling"] == 180


def test_utilisation_that_is_not_known_is_not_zero(tmp_path: Path):
    """Null readings: unknown until a save shows that it works, then work."""
    found = measure(lake(tmp_path, minutes("d" * 30 + IDLE_REST), events=[save(10, 60)]))
    assert seconds(found) == {"unknown": 600, "checkpoint": 60}
    assert measure(lake(tmp_path / "mute", minutes("d" * 30 + IDLE_REST))).jobs["ettr"][0] == 0


def test_a_gap_in_readings_of_a_job_that_works_is_work(tmp_path: Path):
    found = measure(lake(tmp_path, minutes("w" * 10 + "d" * 10 + "w" * 10 + IDLE_REST)))
    assert seconds(found) == {}


def test_alarms_are_judged_by_what_followed(tmp_path: Path):
    """A save asked for on GPU 1 for nothing, one on GPU 0 before its fault, and an ordinary one."""
    story = "w" * 100 + "ii" + "w" * 30 + IDLE_REST
    asked = [*action(10, "checkpoint", 1), *action(90, "checkpoint", 0, incident="inc-2")]
    saves = [save(10.5, 20), save(50, 40), save(91, 30)]
    found = measure(
        lake(tmp_path, minutes(story), events=[*saves, fault(99.5)], actions=asked, horizon_s=1800)
    )
    told = seconds(found)
    assert (told["alarms_false"], told["alarms_true"], told["checkpoint"]) == (20, 30, 40)
    assert told["lost_work"] == 8 * 60
    assert (of(found, "alarms_right"), of(found, "alarms_wrong"), of(found, "alarmed")) == (1, 1, 1)


def test_the_horizon_is_that_of_the_predictions(tmp_path: Path):
    story, asked = "w" * 100 + "ii" + "w" * 200, action(90, "checkpoint")
    events = [save(91, 30), fault(99.5)]
    soon = measure(lake(tmp_path / "a", minutes(story), events=events, actions=asked, horizon_s=300))
    assert (of(soon, "alarms_right"), of(soon, "alarms_wrong"), of(soon, "alarmed")) == (0, 1, 0)
    late = measure(lake(tmp_path / "b", minutes(story), events=events, actions=asked))
    assert (of(late, "alarms_right"), of(late, "alarms_wrong"), of(late, "alarmed")) == (1, 0, 1)


def test_an_alarm_whose_horizon_is_not_over_is_not_judged_wrong(tmp_path: Path):
    found = measure(
        lake(tmp_path, minutes("w" * 30), events=[save(10.5, 20)], actions=action(10, "checkpoint"))
    )
    assert seconds(found) == {"alarms_false": 20}
    assert (of(found, "alarms_right"), of(found, "alarms_wrong")) == (0, 0)


def test_a_dry_run_costs_nothing_but_has_warned(tmp_path: Path):
    story, asked = "w" * 30 + "ii" + "w" * 90, action(10, "checkpoint", 0, "dry_run")
    found = measure(lake(tmp_path, minutes(story), events=[save(12, 20), fault(29.5)], actions=asked))
    assert seconds(found)["checkpoint"] == 20
    assert (of(found, "alarmed"), of(found, "alarms_right")) == (1, 0)


def test_a_reaction_to_a_fault_is_no_alarm(tmp_path: Path):
    story, asked = "w" * 30 + "ii" + "w" * 90, action(29.6, "drain_now")
    found = measure(lake(tmp_path, minutes(story), events=[save(20, 60), fault(29.5)], actions=asked))
    assert seconds(found) == {"checkpoint": 60, "lost_work": 8.5 * 60, "detection": 30, "scheduling": 120}
    assert (of(found, "alarms_right"), of(found, "alarms_wrong"), of(found, "moves")) == (0, 0, 0)


@pytest.mark.parametrize(("events", "cause"), [([], "alarms_false"), ([fault(45)], "alarms_true")])
def test_a_move_is_the_alarms_whole(events: list[dict[str, Any]], cause: str, tmp_path: Path):
    """Asked at 27 to leave, saved at 28 for a minute, left at 30, elsewhere from 32, worked from 33."""
    there = minutes("w" * 30 + "i" * 120)
    elsewhere = minutes("i" * 32 + "l" + "w" * 117, gpus=range(4, 8))
    asked = action(27, "drain_now")
    found = measure(lake(tmp_path, there, elsewhere, events=[save(28, 60), *events], actions=asked))
    assert seconds(found) == {cause: 60 + 60 + 120 + 60}
    assert (of(found, "moves"), of(found, "interruptions")) == (1, 0)


def test_jobs_are_weighted_by_gpu_hours_in_the_fleet(tmp_path: Path):
    big = minutes("l" * 30 + "w" * 30 + IDLE_REST, "big", range(6))
    small = minutes("w" * 120, "small", range(6, 8))
    found = measure(lake(tmp_path, big, small))
    assert of(found, "ettr", "big") == 0.5
    assert found.fleet["ettr"][0] == pytest.approx((3 + 4) / (6 + 4))
    assert found.fleet["gpu_hours"][0] == 10
    of_cause = found.losses.filter(pl.col("job").is_null())
    assert of_cause["share"].sum() == pytest.approx(1)
    assert found.synthetic


def test_a_window_cuts_spans(tmp_path: Path):
    story = "w" * 60 + "ii" + "w" * 58 + IDLE_REST
    whole = lake(tmp_path, minutes(story), events=[save(20, 60), fault(60)])
    found = measure(whole, at(40), at(100))
    assert seconds(found) == {"lost_work": 20 * 60, "scheduling": 120}
    assert of(found, "span_s") == 3600
    assert seconds(measure(whole, at(70))) == {}


def test_another_jobs_fault_is_not_mine(tmp_path: Path):
    mine = minutes("w" * 30 + "ii" + "w" * 20 + IDLE_REST, "mine")
    other = minutes("w" * 60, "other", range(4, 8))
    found = measure(lake(tmp_path, mine, other, events=[fault(29, gpu=5)]), job="mine")
    assert found.jobs["job"].to_list() == ["mine"]
    assert (of(found, "interruptions", "mine"), of(found, "faults", "mine"), of(found, "hits", "mine")) == (
        1,
        0,
        0,
    )


def test_no_jobs_is_a_sentence_with_a_hint(tmp_path: Path):
    with pytest.raises(ForeshockError, match="no rollups"):
        measure(lake(tmp_path / "empty", minutes("")))
    jobless = lake(tmp_path / "jobless", minutes("iii"))
    with pytest.raises(ForeshockError, match="names no job") as e:
        measure(jobless)
    assert "job_mapping_dir" in e.value.hint
    with pytest.raises(ForeshockError, match="no job 8 held") as e:
        measure(lake(tmp_path / "seven", minutes("www")), job="8")
    assert "7" in e.value.hint


@pytest.mark.parametrize("finished", [None, 1_800_000_012.5])
def test_checkpoints_are_read_as_the_agent_writes_them(finished: float | None):
    content = b'{"step": 3, "started": 1800000000.0, "finished": %s, "bytes": 9}' % (
        b"null" if finished is None else str(finished).encode()
    )
    told = event_of(content, "7", "n1", 1_800_000_100.0)
    row = {f: getattr(told, f) for f in EVENTS if hasattr(told, f)}
    epoch = pl.from_epoch(pl.Series([told.time * 1e6]).cast(pl.Int64), "us").dt.replace_time_zone("UTC")[0]
    found = checkpoints(pl.DataFrame([row | {"time": epoch}], schema=EVENTS)).row(0, named=True)
    assert found["started"].timestamp() == 1_800_000_000
    assert found["finished"] == (None if finished is None else found["started"] + timedelta(seconds=12.5))
