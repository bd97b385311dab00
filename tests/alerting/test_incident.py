import msgspec

from alerting.incident import from_evidence, incident_row, join_event, join_risk, open_incident
from alerting.policy import Rules, decide
from alerting.summary import summary
from collector.records import Event, Reason, Risk

RISK = Risk(
    time=1_800_000_000.0, node="n7", gpu_uuid="GPU-abc", gpu_index=3, pci_bdf="0000:3b:00", risk=0.93,
    horizon_s=3600, model_id="rules-1", feature_set="f1", synthetic=True,
    reasons=(
        Reason(feature="nvlink_crc_data_errors_delta", value=812.0, healthy="0", share=0.6, text="ramps"),
        Reason(feature="gap_max_s", value=None, healthy="< 2", share=0.1),
    ),
)  # fmt: skip
XID = Event(
    fingerprint="f", time=1_800_000_120.0, node="n7", kind="xid", source="kmsg", gpu_uuid="GPU-abc", code=79,
    text="GPU has fallen off the bus.",
)  # fmt: skip


def test_the_text_says_what_how_sure_since_when_why_and_what_to_do():
    rules = Rules(
        is_terminal=lambda _: True, is_application=lambda _: False, advice=lambda c: f"reboot ({c})"
    )
    state, changes, _ = decide({}, RISK, RISK.time, rules)
    text = changes[0].summary
    assert text.startswith(
        "SYNTHETIC: GPU fault predicted: GPU 3 of n7 (GPU-abc, 0000:3b:00)\n"
        "Since 2027-01-15 08:00:00 UTC, signals: 1. Risk at most 0.93 within 60 min by rules-1, now 0.93.\n"
        "Why:\n  nvlink_crc_data_errors_delta = 812 (healthy: 0), +0.60. ramps\n"
    )
    assert "gap_max_s = unknown (healthy: < 2)" in text
    assert "Done: asked the job for a checkpoint; asked the scheduler for no new work on the node." in text
    _, changes, _ = decide(state, XID, XID.time, rules)
    text = changes[0].summary
    assert text.startswith("SYNTHETIC: GPU FAILED, Xid 79: GPU 3 of n7")
    assert "08:02:00 Xid 79 GPU has fallen off the bus." in text
    assert "To do: reboot (79)" in text


def test_an_incident_survives_its_own_row():
    incident = join_event(join_risk(open_incident(RISK, "predicted_fault", None), RISK, 0.1), XID)
    row = incident_row("opened", incident, summary(incident), 1_800_000_200.0)
    assert from_evidence(row.evidence) == incident


def test_a_zero_risk_is_a_risk_and_not_a_missing_one():
    incident = join_risk(open_incident(RISK, "x", None), msgspec.structs.replace(RISK, risk=0.0), 0.1)
    assert (incident.risk, incident.peak_risk) == (0.0, 0.0)
    assert "Risk at most 0.00" in summary(incident)


def test_memory_of_a_storm_is_bounded():
    incident = open_incident(RISK, "x", None)
    for n in range(500):
        incident = join_event(incident, msgspec.structs.replace(XID, fingerprint=f"f{n}"))
    assert (len(incident.sightings), len(incident.fingerprints), incident.count) == (8, 64, 500)
