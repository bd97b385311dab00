"""Caps, cool-down, maintenance and arming, through the policy that they bind."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alerting.action import Action
from alerting.instruction import Instruction
from alerting.limits import Limits, Maintenance, drained_nodes, maintenance
from alerting.policy import Decision, Rules, State, decide, restore, tick
from alerting.settings import rules_of
from collector.config import WatchConfig
from collector.errors import ConfigError
from collector.records import Event, Risk

T0 = 1_800_000_000.0
RULES = Rules(is_terminal=lambda code: code == 79, is_application=lambda _code: False, dry_run=False)


def risk(at: float, value: float = 0.9, gpu: int = 0, node: str = "n1", job: str | None = "j1") -> Risk:
    return Risk(
        time=T0 + at, node=node, gpu_uuid=f"GPU-{node}-{gpu}", gpu_index=gpu, pci_bdf=f"0000:{gpu:02x}:00",
        risk=value, horizon_s=3600, model_id="m", feature_set="f", job=job,
    )  # fmt: skip


def fell_off(at: float, gpu: int = 0, node: str = "n1", job: str | None = "j1") -> Event:
    return Event(
        fingerprint=f"{node}-{gpu}-{at}", time=T0 + at, node=node, kind="xid", source="kmsg", code=79, job=job,
        gpu_uuid=f"GPU-{node}-{gpu}", gpu_index=gpu, pci_bdf=f"0000:{gpu:02x}:00", text="fallen off the bus",
    )  # fmt: skip


def play(*signals: Risk | Event | Instruction, rules: Rules = RULES, state: State | None = None) -> Decision:
    total = Decision({} if state is None else state)
    for signal in signals:
        after = decide(total.state, signal, signal.time, rules)
        total = Decision(after.state, total.changes + after.changes, total.actions + after.actions)
    return total


def limited(**limits: object) -> Rules:
    return replace(RULES, limits=replace(Limits(), **limits))  # type: ignore[arg-type]


def asked(decision: Decision, name: str) -> list[Action]:
    return [a for a in decision.actions if a.action == name]


def test_a_job_is_asked_for_so_many_checkpoints_an_hour_and_the_next_one_when_the_hour_is_over():
    rules = limited(checkpoints_per_job_hour=2, predicted_drains=99)
    first = play(*(risk(g, gpu=g) for g in range(4)), rules=rules)
    assert len(asked(first, "checkpoint")) == 2
    held = next(i for i in first.state.values() if i.gpu_index == 3)
    assert held.held == {"checkpoint": "2 checkpoints were asked of j1 within an hour, as many as allowed"}
    assert "Held back" in first.changes[-1].summary
    later = play(risk(3601, gpu=3), rules=rules, state=first.state)
    assert [a.action for a in later.actions] == ["checkpoint"]


def test_another_job_has_a_budget_of_its_own():
    decision = play(
        *(risk(g, gpu=g, job=f"j{g}") for g in range(4)), rules=limited(checkpoints_per_job_hour=1)
    )
    assert len(asked(decision, "checkpoint")) == 4


def test_predictions_drain_so_many_nodes_and_a_fault_still_drains_its_own():
    rules = limited(predicted_drains=2)
    decision = play(
        *(risk(n, node=f"n{n}", job=None) for n in range(5)), fell_off(10, node="n9"), rules=rules
    )
    assert [a.node for a in asked(decision, "drain")] == ["n0", "n1"]
    assert [a.node for a in asked(decision, "drain_now")] == ["n9"]


def test_faults_cannot_empty_the_fleet_either():
    decision = play(*(fell_off(n, node=f"n{n}") for n in range(5)), rules=limited(drained_nodes=3))
    assert len(asked(decision, "drain_now")) == 3
    assert decision.changes[-1].state == "failed", "it is written down all the same"


def test_room_that_a_recovery_makes_is_used():
    rules = limited(predicted_drains=1)
    full = play(risk(0, node="a"), risk(1, node="b"), rules=rules)
    assert [a.node for a in asked(full, "drain")] == ["a"]
    freed = play(
        risk(60, 0.01, node="a"),
        risk(1900, 0.01, node="a"),
        risk(1960, node="b"),
        rules=rules,
        state=full.state,
    )
    assert [(a.action, a.node) for a in freed.actions] == [("release", "a"), ("drain", "b")]


def test_a_gpu_that_has_recovered_cools_down_and_a_fault_does_not_wait_for_that():
    over = play(risk(0), risk(60, 0.01), risk(1900, 0.01))
    again = play(risk(2000), state=over.state)
    assert [c.change for c in again.changes] == ["opened"]
    assert again.actions == ()
    assert "cools down" in again.changes[0].summary
    assert [a.action for a in play(fell_off(2060), state=again.state).actions] == ["checkpoint", "drain_now"]
    assert [a.action for a in play(risk(1900 + 3601), state=again.state).actions] == ["checkpoint", "drain"]


def test_what_is_held_is_written_once_and_not_every_minute():
    decision = play(
        *(risk(60.0 * m) for m in range(30)), rules=limited(checkpoints_per_job_hour=0, predicted_drains=0)
    )
    assert [c.change for c in decision.changes] == ["opened"]


def test_maintenance_is_written_down_and_asks_for_nothing():
    window = Maintenance("n*", T0, T0 + 600)
    rules = limited(maintenance=(window,))
    during = play(risk(0), fell_off(60, node="n2"), fell_off(61, node="other"), rules=rules)
    assert [a.node for a in during.actions] == ["other", "other"]
    assert len(during.changes) == 3
    after = play(risk(700), rules=rules, state=during.state)
    assert [a.action for a in after.actions] == ["checkpoint", "drain"]


def test_only_what_the_operator_armed_is_really_asked():
    decision = play(risk(0), fell_off(60), rules=limited(armed=frozenset({"checkpoint"})))
    assert [(a.action, a.dry_run) for a in decision.actions] == [
        ("checkpoint", False), ("drain", True), ("drain_now", True)
    ]  # fmt: skip


def test_silence_holds_what_is_new_until_it_ends():
    opened = play(risk(0, 0.9), rules=limited(predicted_drains=0))
    [row] = opened.changes
    quiet = Instruction(time=T0 + 5, incident_id=row.incident_id, verb="silence", by="ann", until_s=T0 + 1000)
    silenced = play(quiet, fell_off(60), state=opened.state)
    assert [c.change for c in silenced.changes] == ["silenced", "failed"]
    assert silenced.actions == ()


def test_the_drain_of_a_prediction_is_released_when_the_risk_has_gone():
    decision = play(risk(0), risk(60, 0.01), risk(1900, 0.01))
    assert [a.action for a in decision.actions] == ["checkpoint", "drain", "release"]
    last = decision.actions[-1]
    assert (last.intent, last.action_id) == ("resume", f"{decision.changes[0].incident_id}.release")
    assert tick(decision.state, T0 + 9000, RULES).actions == ()


def test_after_a_fault_a_person_lifts_the_drain_unless_told_otherwise():
    healed = (risk(0), fell_off(60), risk(120, 0.01), risk(2000, 0.01))
    assert "release" not in [a.action for a in play(*healed).actions]
    assert play(*healed, rules=replace(RULES, release_failed=True)).actions[-1].action == "release"


def test_what_never_drained_is_never_released():
    decision = play(risk(0), risk(60, 0.01), risk(1900, 0.01), rules=limited(predicted_drains=0))
    assert [a.action for a in decision.actions] == ["checkpoint"]


SIGNALS = st.lists(
    st.tuples(
        st.integers(0, 5400), st.integers(0, 5), st.sampled_from([0.01, 0.2, 0.6, 0.95]), st.booleans()
    ),
    max_size=60,
)


@settings(max_examples=200, deadline=None)
@given(SIGNALS, st.integers(0, 3), st.integers(0, 3), st.integers(0, 3))
def test_no_storm_of_signals_gets_past_a_cap(drawn, checkpoints, drains, predicted):
    """At any moment, also when the process was restarted in between."""
    rules = limited(checkpoints_per_job_hour=checkpoints, drained_nodes=drains, predicted_drains=predicted)
    state: State = {}
    rows: list[dict[str, object]] = []
    times: list[float] = []
    for at, node, value, fault in sorted(drawn):
        signal = fell_off(at, node=f"n{node}") if fault else risk(at, value, node=f"n{node}")
        state, changes, actions = decide(state, signal, signal.time, rules)
        rows += [{"evidence": c.evidence} for c in changes]
        times += [a.time for a in actions if a.action == "checkpoint"]
        held = drained_nodes(state.values())
        assert len(held) <= drains
        assert all(sum(t - 3600 < u <= t for u in times) <= checkpoints for t in times)
        state = restore(rows)


@settings(max_examples=100, deadline=None)
@given(SIGNALS)
def test_it_never_flaps(drawn):
    """Between two drains of a node by one incident's GPU lies a release, and between two predictions the cool-down."""
    state: State = {}
    last: dict[str, float] = {}
    for at, node, value, _ in sorted(drawn):
        signal = risk(at, value, node=f"n{node}")
        state, _, actions = decide(state, signal, signal.time, RULES)
        for a in (a for a in actions if a.action == "drain"):
            assert a.time - last.get(a.node, -1e9) >= RULES.limits.cool_down_s
            last[a.node] = a.time


@pytest.mark.parametrize(
    "wrong",
    [
        "n1",
        "n1 today tomorrow",
        "n1 2026-01-01T00:00 2026-01-02T00:00Z",
        "n1 2026-01-02T00:00Z 2026-01-01T00:00Z",
    ],
)
def test_a_window_that_makes_no_sense_is_an_error_with_an_example(wrong):
    with pytest.raises(ConfigError, match=r"watch\.maintenance"):
        maintenance(wrong)


def test_settings_become_rules():
    rules = rules_of(
        WatchConfig(
            armed=("drain",), maintenance=("n1 2026-01-01T00:00Z 2026-01-02T00:00Z",), job_interval_s=600
        )
    )
    assert rules.limits.armed == {"drain"}
    assert rules.limits.maintenance[0].covers("n1", rules.limits.maintenance[0].begin_s)
    assert rules.jobs.costs.interval_s == 600
    with pytest.raises(ConfigError, match="no action"):
        rules_of(WatchConfig(armed=("reboot",)))
