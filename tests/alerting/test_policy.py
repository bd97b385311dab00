"""The policy is pure, so these tests give it signals and read what it decided. The Xid predicates are ours."""

import dataclasses

import msgspec
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alerting.incident import IncidentRow, from_evidence
from alerting.limits import Limits
from alerting.policy import Decision, Rules, State, decide, restore, tick
from collector.records import Event, Inventory, Reason, Risk
from pipeline.tables import INCIDENTS

T0 = 1_800_000_000.0
RULES = Rules(
    is_terminal=lambda code: code in (48, 79), is_application=lambda code: code in (13, 31, 43, 45),
    clear_s=1800, dry_run=False,
)  # fmt: skip


def risk(at: float, value: float, gpu: str | None = "GPU-a", **more: object) -> Risk:
    fields: dict[str, object] = {
        "time": T0 + at, "node": "n1", "gpu_uuid": gpu, "gpu_index": 3, "pci_bdf": "0000:3b:00", "risk": value,
        "horizon_s": 3600, "model_id": "rules-1", "feature_set": "f1",
        "reasons": [{"feature": "nvlink_crc", "value": 812.0, "healthy": "0", "share": 0.6, "text": "CRC ramps"}],
        "synthetic": True,
    }  # fmt: skip
    return msgspec.convert({**fields, **more}, Risk)


def event(at: float, code: int | None, gpu: str | None = "GPU-a", kind: str = "xid", **more: object) -> Event:
    fields: dict[str, object] = {
        "fingerprint": f"{gpu}-{kind}-{code}-{at}", "time": T0 + at, "node": "n1", "kind": kind, "source": "kmsg",
        "gpu_uuid": gpu, "gpu_index": 3, "pci_bdf": "0000:3b:00", "code": code, "text": "fallen off the bus",
    }  # fmt: skip
    return msgspec.convert({**fields, **more}, Event)


def card(at: float, gpu: str, bdf: str = "0000:3b:00") -> Inventory:
    return Inventory(time=T0 + at, node="n1", gpu_uuid=gpu, gpu_index=3, pci_bdf=bdf)


def feed(*signals: Event | Risk | Inventory, state: State | None = None, rules: Rules = RULES) -> Decision:
    """Each signal as it comes, a second late; all changes and actions together."""
    total = Decision({} if state is None else state)
    for signal in signals:
        after = decide(total.state, signal, signal.time + 1, rules)
        total = Decision(after.state, total.changes + after.changes, total.actions + after.actions)
    return total


def names(decision: Decision) -> list[str]:
    return [a.action for a in decision.actions]


def changes(decision: Decision) -> list[str]:
    return [c.change for c in decision.changes]


def test_a_risk_over_the_alarm_level_opens_one_incident_and_asks_to_checkpoint_then_drain():
    decision = feed(risk(0, 0.93))
    assert names(decision) == ["checkpoint", "drain"]
    assert [a.intent for a in decision.actions] == ["checkpoint", "no_new_work"]
    assert changes(decision) == ["opened"]
    [row] = decision.changes
    assert (row.state, row.severity, row.cause) == ("open", "warning", "predicted_fault")
    assert all(a.action_id == f"{row.incident_id}.{a.action}" for a in decision.actions)
    assert "observe = p 0.93 x (T/2 900 + U 1200) = 1953 s" in decision.actions[0].detail
    assert "beats observing from p: checkpoint 0.0667" in decision.actions[0].detail
    assert decision.actions[0].reasons == (
        Reason(feature="nvlink_crc", value=812.0, healthy="0", share=0.6, text="CRC ramps"),
    )


@pytest.mark.parametrize("value", [0.0, 0.1, 0.4999])
def test_a_risk_below_the_alarm_level_does_nothing(value):
    assert feed(risk(0, value)) == Decision({})


def test_more_of_the_same_joins_silently():
    decision = feed(*(risk(60 * n, 0.9) for n in range(10)))
    assert (len(decision.changes), len(decision.actions)) == (1, 2)
    assert next(iter(decision.state.values())).count == 10


def test_a_terminal_xid_joins_the_open_incident_and_escalates_it():
    decision = feed(risk(0, 0.93), event(120, 79))
    assert names(decision) == ["checkpoint", "drain", "drain_now"]
    assert changes(decision) == ["opened", "failed"]
    last = decision.changes[-1]
    assert (last.state, last.severity, last.code) == ("failed", "critical", 79)
    assert len({c.incident_id for c in decision.changes}) == 1
    assert decision.actions[-1].intent == "migrate"


@pytest.mark.parametrize("first", [event(0, 79), event(0, None, kind="gpu_lost")])
def test_a_terminal_event_without_a_warning_opens_an_incident_itself(first):
    decision = feed(first)
    assert names(decision) == ["checkpoint", "drain_now"]
    assert decision.changes[0].state == "failed"
    assert "terminal" in decision.actions[0].detail


@pytest.mark.parametrize("code", [13, 31, 43, 45, 63, 94])
def test_application_and_precursor_xids_open_nothing(code):
    assert feed(event(0, code)) == Decision({})


def test_a_switch_error_is_not_read_with_the_gpu_codes():
    assert feed(event(0, 79, kind="sxid")) == Decision({})


def test_a_precursor_is_kept_as_evidence_and_an_application_xid_is_not():
    decision = feed(risk(0, 0.9), event(10, 63), event(20, 13))
    [incident] = decision.state.values()
    assert [s.code for s in incident.sightings] == [63]


def test_a_kernel_line_that_knows_only_the_slot_finds_the_incident_of_the_card():
    decision = feed(risk(0, 0.9), event(60, 79, gpu=None))
    assert changes(decision) == ["opened", "failed"]
    assert decision.actions[-1].gpu_uuid == "GPU-a"


def test_a_risk_finds_the_incident_that_a_slot_opened():
    decision = feed(event(0, 79, gpu=None), risk(60, 0.9), event(90, 48))
    assert changes(decision) == ["opened", "joined"]
    assert decision.changes[-1].gpu_uuid == "GPU-a"


def test_an_event_that_names_no_gpu_is_passed_over():
    assert feed(event(0, 79, gpu=None, pci_bdf=None)) == Decision({})


def test_the_same_records_again_change_nothing():
    signals: list[Event | Risk] = [risk(0, 0.93), risk(60, 0.95), event(90, 63), event(120, 79)]
    once = feed(*signals)
    again = feed(*signals, state=once.state)
    assert (again.changes, again.actions) == ((), ())
    assert again.state == once.state


def test_an_event_of_an_older_incident_is_not_news_to_the_next():
    fault = event(0, 79)
    decision = feed(fault, risk(60, 0.05), risk(1900, 0.05), risk(1960, 0.9))
    assert changes(decision) == ["opened", "recovered", "opened"]
    assert feed(fault, state=restore([msgspec.structs.asdict(c) for c in decision.changes])).actions == ()


def test_an_incident_recovers_only_after_the_risk_stayed_low():
    decision = feed(risk(0, 0.9), risk(60, 0.05), risk(1800, 0.05))
    assert changes(decision) == ["opened"]
    assert tick(decision.state, T0 + 1859, RULES).changes == ()
    [row] = tick(decision.state, T0 + 1860, RULES).changes
    assert (row.change, row.state) == ("recovered", "recovered")


def test_a_risk_between_the_levels_starts_the_quiet_time_anew():
    decision = feed(risk(0, 0.9), risk(60, 0.05), risk(1000, 0.3), risk(1060, 0.05), risk(2000, 0.05))
    assert changes(decision) == ["opened"]
    assert changes(feed(risk(2860, 0.05), state=decision.state)) == ["recovered"]


def test_silence_alone_never_closes_an_incident():
    opened = feed(risk(0, 0.9))
    assert tick(opened.state, T0 + 1e6, RULES) == Decision(opened.state)


def test_a_risk_from_before_the_fault_does_not_count_as_recovery():
    decision = feed(event(100, 79), risk(60, 0.01))
    assert tick(decision.state, T0 + 10_000, RULES).changes == ()


def test_after_recovery_a_new_risk_is_a_new_incident_with_new_actions():
    decision = feed(risk(0, 0.9), risk(60, 0.05), risk(1860, 0.05), risk(1860 + 3601, 0.9))
    assert changes(decision) == ["opened", "recovered", "opened"]
    assert names(decision) == ["checkpoint", "drain", "release", "checkpoint", "drain"]
    assert len({a.action_id for a in decision.actions}) == 5


def test_a_new_card_in_the_slot_ends_the_incident_of_the_old_one_and_lifts_a_drain_on_a_mere_risk():
    decision = feed(risk(0, 0.93), card(600, "GPU-b"))
    assert (changes(decision), names(decision)) == (
        ["opened", "replaced"],
        ["checkpoint", "drain", "release"],
    )
    assert not decision.state["GPU-a"].is_open
    failed = feed(event(0, 79), card(600, "GPU-b"))
    assert (changes(failed), names(failed)) == (["opened", "replaced"], ["checkpoint", "drain_now"])
    assert (
        names(feed(event(0, 79), card(600, "GPU-b"), rules=rules_with(release_failed=True)))[-1] == "release"
    )


@pytest.mark.parametrize("other", [card(600, "GPU-a"), card(-600, "GPU-b"), card(600, "GPU-b", "0000:9b:00")])
def test_the_same_card_an_older_one_and_another_slots_card_end_nothing(other):
    assert changes(feed(event(0, 79), other)) == ["opened"]


def test_replaced_cards_make_room_for_the_next_drain():
    rules = rules_with(limits=Limits(drained_nodes=1))
    other = event(900, 79, "GPU-z", node="n2")
    assert names(feed(event(0, 79), other, rules=rules)).count("drain_now") == 1
    assert names(feed(event(0, 79), card(600, "GPU-b"), other, rules=rules)).count("drain_now") == 2


def test_a_fault_a_day_later_is_not_swallowed_by_a_forgotten_incident():
    decision = feed(event(0, 79), event(90_000, 79))
    assert changes(decision) == ["opened", "lapsed", "opened"]
    assert names(decision) == ["checkpoint", "drain_now"] * 2


def test_a_stale_event_is_recorded_but_asks_for_nothing():
    decision = decide({}, event(0, 79), T0 + 7200, RULES)
    assert changes(decision) == ["opened"]
    assert decision.actions == ()


def test_a_risk_over_days_buys_no_checkpoint_of_a_job_that_saves_within_minutes():
    assert names(feed(risk(0, 0.12, horizon_s=7 * 86_400), rules=rules_with(alarm_level=0.1))) == []
    day = feed(risk(0, 0.93, horizon_s=7200))
    assert names(day) == ["checkpoint", "drain"]
    assert "p 0.233 = 0.93 x T 1800 s / horizon 7200 s" in day.actions[0].detail
    assert "observe = p 0.93 x" in day.actions[1].detail, "a move spares the recovery too, whenever it comes"
    far = feed(risk(0, 0.93, horizon_s=86_400))
    assert names(far) == ["drain"]


def test_a_prediction_past_its_horizon_is_ignored():
    assert decide({}, risk(0, 0.99), T0 + 3601, RULES) == Decision({})


def test_an_action_that_does_not_pay_is_not_asked():
    decision = feed(risk(0, 0.1), rules=rules_with(alarm_level=0.1))
    assert names(decision) == ["checkpoint"]  # 0.10 is over 0.067 but not over 0.171
    later = feed(risk(60, 0.5), state=decision.state, rules=rules_with(alarm_level=0.1))
    assert names(later) == ["drain"]
    assert changes(later) == ["asked"]


def rules_with(**more: object) -> Rules:
    return dataclasses.replace(RULES, **more)  # type: ignore[arg-type]


def test_a_long_incident_leaves_a_row_an_hour_for_a_restart_to_find():
    decision = feed(*(risk(600 * n, 0.9) for n in range(14)))
    assert changes(decision) == ["opened", "continues"]


def test_state_comes_back_from_the_log_in_any_order():
    decision = feed(risk(0, 0.93), event(120, 79), risk(0, 0.9, "GPU-b", pci_bdf="0000:5e:00"))
    rows = [msgspec.structs.asdict(c) for c in reversed(decision.changes)]
    assert restore(rows) == decision.state
    assert restore([{"evidence": "not json"}, {}]) == {}


def test_a_row_fits_the_lakes_table():
    rows = [msgspec.structs.asdict(c) for c in feed(risk(0, 0.93), event(9, 79)).changes]
    assert list(rows[0]) == list(INCIDENTS)
    assert pl.DataFrame(rows, schema=INCIDENTS)["state"].to_list() == ["open", "failed"]


RESET = "GPU recovery action changed from 0x0 (None) to 0x1 (GPU Reset Required)"


@pytest.mark.parametrize(("word", "asked", "state"), [
    ("GPU Reset Required", ["checkpoint", "drain_now"], "failed"),
    ("Node Reboot Required", ["checkpoint", "drain_now"], "failed"),
    ("OS Reboot", ["checkpoint", "drain_now"], "failed"),
    ("Drain P2P", ["checkpoint", "drain_now"], "failed"),
    ("Drain and Reset", ["drain"], "open"),
])  # fmt: skip
def test_what_the_driver_itself_asks_for_is_asked(word, asked, state):
    decision = feed(event(0, 154, recovery_action=word))
    assert names(decision) == asked
    assert [(c.change, c.state) for c in decision.changes] == [("opened", state)]


@pytest.mark.parametrize("word", ["None", "a word of a driver yet to come", None])
def test_a_driver_that_asks_for_nothing_opens_nothing(word):
    assert feed(event(0, 154, recovery_action=word)) == Decision({})


def test_a_drain_and_reset_joins_the_open_incident_and_asks_for_the_drain_once():
    decision = feed(risk(0, 0.93), event(60, 154, recovery_action="Drain and Reset"))
    assert names(decision) == ["checkpoint", "drain"]
    assert changes(decision) == ["opened"]


@pytest.mark.parametrize(("code", "text", "asked"), [
    (94, "Contained: CE User Channel (0x9). RST: Yes, D-RST: No", ["checkpoint", "drain_now"]),
    (94, "Contained: CE User Channel (0x9). RST: No, D-RST: Yes", ["drain"]),
    (94, "Contained: CE User Channel (0x9). RST: No, D-RST: No", []),
    (149, "NETIR_LINK_EVT Fatal XC0 i0 Link 00 (0x025001c6 0x00000000)", ["checkpoint", "drain_now"]),
    (145, "RLW_REMAP Nonfatal XC0 i0 Link 00 (0x00000004 0x00000001)", []),
])  # fmt: skip
def test_the_words_of_the_line_go_before_the_table_of_codes(code, text, asked):
    assert names(feed(event(0, code, text=text))) == asked


def test_a_storm_that_goes_on_is_one_sighting_and_keeps_the_incident_open():
    first = event(60, 63, fingerprint="f")
    again = msgspec.structs.replace(first, count=9000, last_time=T0 + 1700)
    decision = feed(risk(0, 0.9), first, risk(120, 0.05), again)
    [incident] = decision.state.values()
    assert (len(incident.sightings), changes(decision)) == (1, ["opened"])
    assert tick(decision.state, T0 + 120 + 1800, RULES).changes == ()
    assert feed(again, state=decision.state).state == decision.state


def test_a_lost_gpu_that_turns_out_to_be_an_xid_79_is_one_incident_with_its_code():
    lost = event(0, None, kind="gpu_lost", fingerprint="f")
    decision = feed(lost, event(0, 79, fingerprint="f"), event(0, 79, fingerprint="f"), lost)
    assert changes(decision) == ["opened", "joined"]
    assert names(decision) == ["checkpoint", "drain_now"]
    assert decision.changes[-1].code == 79


def test_a_verdict_that_comes_after_the_bare_code_still_counts():
    """NVML told the code alone; the kernel line with the words came later, as an update of the same event."""
    bare = event(60, 154, fingerprint="f", source="nvml", text="Xid 154 by NVML event")
    told = msgspec.structs.replace(bare, source="kmsg", text=RESET, recovery_action="GPU Reset Required")
    decision = feed(risk(0, 0.93), bare, told, told, bare)
    assert changes(decision) == ["opened", "failed"]
    assert names(decision) == ["checkpoint", "drain", "drain_now"]


SIGNALS = st.lists(
    st.tuples(
        st.integers(0, 3000),  # seconds since the last one
        st.sampled_from(["GPU-a", "GPU-b"]),
        st.one_of(
            st.sampled_from([0.0, 0.05, 0.0999, 0.1, 0.3, 0.5, 0.9, 1.0]), st.sampled_from([79, 48, 13, 63])
        ),
    ),
    max_size=40,
)


def _signals(drawn: list[tuple[int, str, float | int]]) -> list[Event | Risk]:
    at, made = 0.0, list[Event | Risk]()
    for gap, gpu, what in drawn:
        at += gap + 1
        slot = {"pci_bdf": f"0000:{gpu[-1] * 2}:00"}
        made.append(event(at, what, gpu, **slot) if isinstance(what, int) else risk(at, what, gpu, **slot))
    return made


def _run(signals: list[Event | Risk]) -> Decision:
    """With a tick between signals, as a live watcher has."""
    total = Decision({})
    for signal in signals:
        quiet = tick(total.state, signal.time - 0.5, RULES)
        after = decide(quiet.state, signal, signal.time, RULES)
        total = Decision(
            after.state, total.changes + quiet.changes + after.changes, total.actions + after.actions
        )
    return total


@settings(max_examples=200, deadline=None)
@given(SIGNALS)
def test_no_incident_asks_for_one_thing_twice(drawn):
    ids = [a.action_id for a in _run(_signals(drawn)).actions]
    assert len(ids) == len(set(ids))


@settings(max_examples=200, deadline=None)
@given(SIGNALS)
def test_an_incident_never_flaps(drawn):
    """A GPU has one open incident at most, and between recovery and the last alarm lies the whole quiet time."""
    open_of: dict[str | None, str] = {}
    for row in _run(_signals(drawn)).changes:
        incident = from_evidence(row.evidence)
        if row.change == "opened":
            assert open_of.setdefault(row.gpu_uuid, row.incident_id) == row.incident_id
        elif row.change in ("recovered", "lapsed"):
            assert open_of.pop(row.gpu_uuid) == row.incident_id
            assert incident.closed_s is not None
            assert incident.closed_s - incident.last_signal_s >= RULES.clear_s
        else:
            assert open_of[row.gpu_uuid] == row.incident_id


@settings(max_examples=200, deadline=None)
@given(SIGNALS)
def test_every_action_carries_its_reason_and_is_in_the_log(drawn):
    decision = _run(_signals(drawn))
    last: dict[str, IncidentRow] = {row.incident_id: row for row in decision.changes}
    for action in decision.actions:
        assert any(word in action.detail for word in ("saves", "terminal", "stayed below"))
        assert action.action in from_evidence(last[action.incident_id].evidence).asked


@settings(max_examples=200, deadline=None)
@given(SIGNALS, st.integers(0, 40))
def test_a_restart_at_any_point_with_a_replay_asks_nothing_new(drawn, cut):
    signals = _signals(drawn)
    before = _run(signals[:cut])
    state = restore([msgspec.structs.asdict(c) for c in before.changes])
    asked = {a.action_id for a in before.actions}
    for signal in signals[:cut]:
        state, _, actions = decide(state, signal, signal.time, RULES)
        assert {a.action_id for a in actions} <= asked
