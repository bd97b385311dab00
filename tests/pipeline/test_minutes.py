from __future__ import annotations

import pytest

from pipeline.minutes import Minutes

P0, P1 = ("t", 0), ("t", 1)


@pytest.fixture
def minutes() -> Minutes:
    return Minutes(lateness_s=10.0)


def test_a_minute_closes_when_its_node_has_passed_it(minutes: Minutes):
    minutes.saw(P0, 0, "a", 59.0)
    assert minutes.close() == {"a": -1} or minutes.close() == {}
    minutes.saw(P0, 1, "a", 60.0)
    assert minutes.close() == {"a": 0}
    assert minutes.close() == {}, "it is news once"


def test_a_silent_node_is_closed_when_its_neighbours_are_well_past(minutes: Minutes):
    minutes.saw(P0, 0, "a", 30.0)
    minutes.saw(P0, 1, "b", 65.0)
    assert minutes.close() == {"b": 0}, "a may only be late"
    minutes.saw(P0, 2, "b", 71.0)
    assert minutes.close() == {"a": 0}


def test_a_partition_that_is_read_later_is_not_silent_until_it_has_nothing_more(minutes: Minutes):
    minutes.saw(P0, 0, "a", 30.0)
    minutes.saw(P1, 0, "b", 3600.0)
    assert "a" not in minutes.close(), "the rest of it is still to come"
    assert minutes.close(idle=[P0]) == {"a": 0}


def test_a_node_that_was_cut_off_for_an_hour_closes_at_its_own_pace(minutes: Minutes):
    minutes.saw(P0, 0, "a", 10.0)
    minutes.saw(P0, 1, "b", 3600.0)
    minutes.close()
    minutes.saw(P0, 2, "a", 70.0)  # its backlog begins to arrive
    minutes.saw(P0, 3, "a", 80.0)
    assert minutes.closed["a"] == 0, "minute 1 of a is still coming in"


def test_what_lies_in_an_open_minute_is_not_committed(minutes: Minutes):
    minutes.saw(P0, 5, "a", 50.0)
    minutes.saw(P0, 6, "a", 65.0)
    minutes.saw(P1, 9, "b", 65.0)
    minutes.close()
    assert minutes.committable() == {P0: 6, P1: 9}
    minutes.saw(P0, 7, "a", 120.0)
    minutes.close()
    assert minutes.committable() == {P0: 7, P1: 9}


def test_records_without_samples_are_committed_once_written(minutes: Minutes):
    minutes.passed(P1, 41)
    assert minutes.committable() == {P1: 42}
    minutes.saw(P0, 0, "a", 10.0)
    minutes.passed(P0, 3)
    assert minutes.committable()[P0] == 0, "a dead letter does not carry an open minute away"


def test_a_restart_knows_what_was_closed():
    again = Minutes(lateness_s=10.0, closed={"a": 5})
    again.saw(P0, 3, "a", 5 * 60 + 30)
    assert again.close() == {}
    assert again.committable() == {P0: 4}
