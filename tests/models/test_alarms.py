from __future__ import annotations

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.alarms import alarms, judge, watched
from pipeline.tables import TIME

START = datetime(2030, 1, 1, tzinfo=UTC)
RISK = {
    "gpu_uuid": pl.String(),
    "node": pl.String(),
    "time": TIME,
    "risk": pl.Float64(),
    "weight": pl.Float64(),
}
FAULT = {"time": TIME, "gpu_uuid": pl.String()}


def at(minute: float) -> datetime:
    return START + timedelta(minutes=minute)


def risks(*rows: tuple[str, float, float]) -> pl.DataFrame:
    """(GPU, minute, risk)."""
    return pl.DataFrame([(g, f"node-{g}", at(m), r, 1.0) for g, m, r in rows], schema=RISK, orient="row")


def faulting(*rows: tuple[str | None, float]) -> pl.DataFrame:
    return pl.DataFrame([(at(m), g) for g, m in rows], schema=FAULT, orient="row")


def spans(found: pl.DataFrame) -> list[tuple[str, float, float, float]]:
    minutes = [((pl.col(c) - START).dt.total_seconds() / 60).alias(c) for c in ("time", "last", "until")]
    return found.select("gpu_uuid", *minutes).rows()


def test_one_long_excursion_is_one_alarm_and_stands_after_its_last_minute() -> None:
    found = alarms(risks(*[("a", m, 0.5 + m / 100) for m in range(30)]), 0.5, stand_s=600)
    assert spans(found) == [("a", 0, 29, 39)]
    assert found["peak"].item() == pytest.approx(0.79)


def test_a_minute_over_while_it_stands_keeps_it_standing_and_the_next_after_it_is_a_new_alarm() -> None:
    rows = risks(("a", 0, 0.9), ("a", 10, 0.9), ("a", 21, 0.9), ("b", 21, 0.9))
    assert spans(alarms(rows, 0.5, stand_s=600)) == [("a", 0, 10, 20), ("a", 21, 21, 31), ("b", 21, 21, 31)]


def test_a_risk_at_the_threshold_is_over_and_one_below_is_not() -> None:
    assert spans(alarms(risks(("a", 0, 0.5), ("a", 1, 0.49)), 0.5, stand_s=60)) == [("a", 0, 0, 1)]


def test_nothing_over_is_no_alarm() -> None:
    assert alarms(risks(("a", 0, 0.1)), 0.5, stand_s=60).is_empty()
    assert alarms(risks(), 0.5, stand_s=60, minutes_over=2).is_empty()


def test_an_alarm_that_asks_for_minutes_in_a_row_opens_at_the_last_of_them() -> None:
    rows = risks(*[("a", m, 0.9) for m in (0, 1, 5, 6, 7, 12)])
    assert spans(alarms(rows, 0.5, stand_s=600, minutes_over=3)) == [("a", 7, 12, 22)]


def test_minutes_of_an_open_episode_raise_nothing_and_a_fault_ends_the_alarm_before_it() -> None:
    rows = risks(*[("a", m, 0.9) for m in (0, 5, 10, 15, 71)])
    seen = watched(rows, faulting(("a", 10), ("b", 0), (None, 0)), blind_s=3600)
    assert spans(alarms(seen, 0.5, stand_s=86_400)) == [("a", 0, 5, 10), ("a", 71, 71, 71 + 1440)]


GRID = st.lists(
    st.tuples(st.sampled_from("ab"), st.integers(0, 40), st.sampled_from([0.1, 0.5, 0.9])),
    max_size=50, unique_by=lambda r: r[:2],
)  # fmt: skip
FAULTING = st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 40)), max_size=4, unique=True)
Span = tuple[str, float, float, float]


def by_hand(
    rows: list[tuple[str, int, float]], faults: list[tuple[str, int]], terms: tuple[int, int, int]
) -> list[Span]:
    """The definition, a minute at a time."""
    stand, blind, minutes = terms
    found: list[Span] = []
    for gpu in "ab":
        risk = {m: r for g, m, r in rows if g == gpu}
        hits = {m for g, m in faults if g == gpu}
        opened = last = None
        run = 0
        for minute in range(42):
            if opened is not None and minute in hits:
                found.append((gpu, opened, last or 0, min(minute, (last or 0) + stand)))
                opened = None
            blinded = any(h <= minute < h + blind for h in hits)
            over = risk.get(minute, 0.0) >= 0.5 and not blinded
            run = 0 if minute in hits else run
            run = run + 1 if over else 0
            if opened is not None and minute > (last or 0) + stand:
                found.append((gpu, opened, last or 0, (last or 0) + stand))
                opened = None
            if opened is None and over and run >= minutes:
                opened = minute
            last = minute if over else last
        if opened is not None:
            found.append((gpu, opened, last or 0, (last or 0) + stand))
    return found


@given(GRID, FAULTING, st.tuples(st.integers(1, 9), st.integers(0, 9), st.integers(1, 3)), st.randoms())
def test_alarms_agree_with_the_definition_a_minute_at_a_time(rows, faults, terms, shuffle) -> None:
    stand, blind, minutes = terms
    shuffle.shuffle(rows)
    seen = watched(risks(*rows), faulting(*faults), blind_s=blind * 60)
    found = spans(alarms(seen, 0.5, stand_s=stand * 60, minutes_over=minutes))
    assert found == by_hand(rows, faults, terms)


def judged(rows: pl.DataFrame, faults: pl.DataFrame, **more: object) -> tuple[pl.DataFrame, pl.DataFrame]:
    terms = {"horizon_s": 3600, "min_lead_s": 300} | more
    raised = alarms(watched(rows, faults, blind_s=3600), 0.5, stand_s=600)
    return judge(raised, faults, **terms)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("minute", "right", "late"),
    [(4.9, False, True), (5, True, False), (60, True, False), (60.1, False, False), (0.5, False, True)],
)
def test_an_alarm_is_right_from_the_least_lead_to_the_end_of_the_horizon(minute, right, late) -> None:
    raised, faults = judged(risks(("a", 0, 0.9)), faulting(("a", minute)))
    assert (raised["true"].item(), raised["late"].item(), faults["caught"].item()) == (right, late, right)
    assert faults["lead_s"].item() == (pytest.approx(minute * 60) if right else None)
    assert raised["lead_s"].item() == faults["lead_s"].item()


def test_the_claim_is_renewed_by_every_minute_over_and_the_lead_counts_from_the_opening() -> None:
    raised, faults = judged(risks(*[("a", m, 0.9) for m in range(0, 121, 10)]), faulting(("a", 180)))
    assert raised.select("true", "lead_s").rows() == [(True, 180 * 60)]
    assert faults["lead_s"].item() == 180 * 60


def test_two_right_alarms_catch_one_fault_once_and_its_lead_is_the_shorter() -> None:
    raised, faults = judged(risks(("a", 0, 0.9), ("a", 30, 0.9), ("b", 0, 0.9)), faulting(("a", 50)))
    assert raised["true"].to_list() == [True, True, False]
    assert faults.select("caught", "lead_s").rows() == [(True, 20 * 60)]


def test_an_alarm_is_spent_by_the_first_fault_after_it() -> None:
    raised, faults = judged(risks(("a", 0, 0.9)), faulting(("a", 2), ("a", 30)))
    assert raised["true"].to_list() == [False]
    assert faults["caught"].to_list() == [False, False]


def test_a_fault_of_another_gpu_or_of_none_is_not_caught() -> None:
    raised, faults = judged(risks(("a", 0, 0.9)), faulting(("b", 30), (None, 30)))
    assert raised["true"].to_list() == [False]
    assert faults["caught"].to_list() == [False, False]


def test_an_alarm_near_the_end_of_the_data_is_not_judged_right_or_wrong_but_its_fault_is() -> None:
    rows = risks(("a", 0, 0.9), ("b", 50, 0.9), ("c", 50, 0.9))
    raised, faults = judged(rows, faulting(("b", 70)), until=at(100))
    assert raised["true"].to_list() == [False, None, None]
    assert faults["caught"].to_list() == [True]


def test_an_alarm_of_a_gpu_that_was_taken_away_is_judged_only_where_its_fault_was_seen() -> None:
    rows = risks(("a", 0, 0.9), ("b", 0, 0.9), ("c", 0, 0.9))
    seen = pl.DataFrame({"gpu_uuid": ["a", "b"], "last": [at(40), at(40)]}, schema_overrides={"last": TIME})
    raised, _ = judged(rows, faulting(("a", 30)), last_seen=seen)
    assert raised["true"].to_list() == [True, None, False]


def test_a_gpu_may_be_taken_away_more_than_once_and_the_first_time_after_the_alarm_counts() -> None:
    rows = risks(("a", 100, 0.9), ("b", 100, 0.9))
    ends = [("a", 40), ("a", 120), ("a", 900), ("b", 40), ("b", 900)]
    seen = pl.DataFrame(
        [(g, at(m)) for g, m in ends], schema={"gpu_uuid": pl.String(), "last": TIME}, orient="row"
    )
    assert judged(rows, faulting(), last_seen=seen)[0]["true"].to_list() == [None, False]


def test_a_fault_that_names_only_its_node_is_one_of_every_gpu_there_and_one_that_names_a_slot_is_not() -> (
    None
):
    rows = risks(("a", 0, 0.9), ("b", 0, 0.9), ("c", 0, 0.9)).with_columns(node=pl.Series(["n", "n", "m"]))
    faults = pl.DataFrame(
        [(at(30), None, "n", None), (at(30), None, "m", "0000:01:00.0")],
        schema=FAULT | {"node": pl.String(), "pci_bdf": pl.String()}, orient="row",
    )  # fmt: skip
    raised, told = judged(rows, faults)
    assert raised["true"].to_list() == [True, True, False]
    assert told.select("caught", "lead_s").rows() == [(True, 1800), (False, None)]


def test_an_episode_is_open_until_after_its_last_code() -> None:
    rows = risks(*[("a", m, 0.9) for m in (10, 75, 91)])
    faults = faulting(("a", 10)).with_columns(last_time=pl.lit(at(30)))
    assert watched(rows, faults, blind_s=3600)["time"].to_list() == [at(91)]
