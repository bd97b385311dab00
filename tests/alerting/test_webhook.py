import base64
import json
import logging
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerting.action import Action
from alerting.cloud_event import decode_action, encode_action
from alerting.webhook import (
    Sender,
    SignatureError,
    load_secrets,
    new_secret,
    sign,
    verify,
    warn_if_readable,
)
from collector.errors import ConfigError, InvalidRecordError
from collector.records import Reason

ACTION = Action(
    action_id="i1.checkpoint", incident_id="i1", action="checkpoint", intent="checkpoint", time=1_800_000_000.0,
    node="n1", gpu_uuid="GPU-a", gpu_index=0, pci_bdf="0000:3b:00", risk=0.0, summary="naïve text", detail="pays",
    reasons=(Reason(feature="f", value=0.0, healthy="0", share=1.0),), synthetic=True, dry_run=False,
)  # fmt: skip
OLD, NEW, THIRD = new_secret(), new_secret(), new_secret()
BODY = encode_action(ACTION)


def test_the_body_is_a_cloud_event_and_comes_back_the_same():
    event = json.loads(BODY)
    assert event["specversion"] == "1.0"
    assert event["type"] == "org.foreshock.action.v1"
    assert (event["id"], event["subject"], event["source"]) == ("i1.checkpoint", "GPU-a", "/foreshock/watch")
    assert event["time"] == "2027-01-15T08:00:00Z"
    assert {"incident", "action", "intent", "node", "gpu_uuid", "gpu_index", "pci_bdf", "risk", "reasons",
            "summary", "detail", "synthetic", "dry_run"} == set(event["data"])  # fmt: skip
    assert decode_action(BODY) == ACTION


def test_keys_of_a_later_version_are_no_reason_to_refuse():
    event = json.loads(BODY)
    event["data"]["job"] = "4711"
    event["traceparent"] = "00-x"
    assert decode_action(json.dumps(event).encode()) == ACTION


@pytest.mark.parametrize(
    "body", [b"", b"{}", b"[]", b"\xff", b'{"specversion":"1.0"}', BODY.replace(b"action.v1", b"action.v9"),
             BODY.replace(b'"1.0"', b'"0.3"'), BODY.replace(b'"action":"checkpoint"', b'"action":"reboot"')],
)  # fmt: skip
def test_junk_is_refused_with_a_reason(body):
    with pytest.raises(InvalidRecordError):
        decode_action(body)


@given(st.binary(max_size=200))
def test_no_bytes_make_the_decoder_fall_over(body):
    with pytest.raises(InvalidRecordError):
        decode_action(body)


def test_every_secret_signs_and_any_verifies():
    headers = sign([NEW, OLD], "i1", BODY)
    assert len(headers["webhook-signature"].split(" ")) == 2
    for known in ([OLD], [NEW], [OLD, NEW], [THIRD, OLD]):
        assert verify(known, {k.upper(): v for k, v in headers.items()}, BODY, 300) == "i1"
    with pytest.raises(SignatureError):
        verify([THIRD], headers, BODY, 300)


@pytest.mark.parametrize("first", ["sender", "receiver"])
def test_a_key_can_be_rotated_from_either_end_without_a_refused_message(first):
    """Add the new line at one end, then at the other; take the old one out in either order."""
    secrets = {"sender": [OLD], "receiver": [OLD]}
    second = "receiver" if first == "sender" else "sender"
    steps = [(first, [OLD, NEW]), (second, [NEW, OLD]), (first, [NEW]), (second, [NEW])]
    for end, held in steps:
        secrets[end] = held
        assert verify(secrets["receiver"], sign(secrets["sender"], "i1", BODY), BODY, 300) == "i1"
    with pytest.raises(SignatureError):
        verify(secrets["receiver"], sign([OLD], "i1", BODY), BODY, 300)


def test_a_signature_of_a_later_kind_beside_ours_is_no_reason_to_refuse():
    headers = sign([NEW], "i1", BODY)
    headers["webhook-signature"] = f"v1a,AAAA {headers['webhook-signature']}"
    assert verify([NEW], headers, BODY, 300) == "i1"


def test_a_signature_holds_for_its_own_message_and_moment_only():
    """What a thief can take from one message does not open another: id and timestamp are signed."""
    taken = sign([NEW], "i1", BODY, datetime.now(tz=UTC) - timedelta(seconds=200))
    fresh = sign([NEW], "i2", BODY)
    for name in ("webhook-id", "webhook-timestamp"):
        with pytest.raises(SignatureError):
            verify([NEW], {**taken, name: fresh[name]}, BODY, 300)


@pytest.mark.parametrize("age_s", [301, -301, 86_400])
def test_an_old_or_future_timestamp_is_refused(age_s):
    headers = sign([NEW], "i1", BODY, datetime.now(tz=UTC) - timedelta(seconds=age_s))
    with pytest.raises(SignatureError, match="timestamp"):
        verify([NEW], headers, BODY, 300)


def test_the_tolerance_can_be_made_tighter():
    headers = sign([NEW], "i1", BODY, datetime.now(tz=UTC) - timedelta(seconds=30))
    assert verify([NEW], headers, BODY, 60) == "i1"
    with pytest.raises(SignatureError, match="more than 10 s"):
        verify([NEW], headers, BODY, 10)


@pytest.mark.parametrize("change", [
    {"webhook-signature": ""}, {"webhook-signature": "v1"}, {"webhook-signature": "v1,%%%"},
    {"webhook-signature": "v2,AAAA"}, {"webhook-timestamp": "soon"}, {"webhook-timestamp": "nan"},
    {"webhook-id": "i2"}, {"webhook-id": ""},
])  # fmt: skip
def test_broken_headers_are_refused_and_never_crash(change):
    with pytest.raises(SignatureError):
        verify([NEW], {**sign([NEW], "i1", BODY), **change}, BODY, 300)


def test_a_changed_body_is_refused():
    with pytest.raises(SignatureError):
        verify([NEW], sign([NEW], "i1", BODY), BODY.replace(b"n1", b"n2"), 300)


@given(st.text(max_size=60), st.text(max_size=20), st.binary(max_size=40))
def test_no_header_makes_the_check_fall_over(signature, timestamp, body):
    headers = {"webhook-id": "i", "webhook-timestamp": timestamp, "webhook-signature": signature}
    with pytest.raises(SignatureError):
        verify([NEW], headers, body, 300)


def test_secrets_are_read_one_a_line_and_never_shown(tmp_path):
    file = tmp_path / "secret"
    file.write_text(f"# rotated on Monday\n{NEW}\n\n  {OLD}\n")
    assert load_secrets(str(file)) == (NEW, OLD)
    for bad in ("", "# only a comment\n", "whsec_short", f"{NEW}x!", "topsecretvalue"):
        file.write_text(bad)
        with pytest.raises(ConfigError) as refused:
            load_secrets(str(file))
        assert refused.value.hint
        assert not bad or bad not in str(refused.value)
    with pytest.raises(ConfigError, match="cannot be read"):
        load_secrets(str(tmp_path / "nothing"))


def test_a_new_secret_is_long_enough():
    assert len(base64.b64decode(new_secret().removeprefix("whsec_"))) == 32


def test_a_secret_that_everybody_may_read_is_warned_about(tmp_path, caplog):
    file = tmp_path / "secret"
    file.write_text(NEW)
    file.chmod(0o600)
    assert not warn_if_readable(str(file))
    file.chmod(0o644)
    with caplog.at_level(logging.WARNING):
        assert warn_if_readable(str(file))
    assert "chmod 600" in caplog.text
    assert NEW not in caplog.text


@pytest.mark.parametrize("url", ["", "bridge:9480", "ftp://x/y", "http://", "http://x:port"])
def test_a_bad_receiver_is_found_at_the_start(tmp_path, url):
    file = tmp_path / "secret"
    file.write_text(NEW)
    file.chmod(0o600)
    with pytest.raises(ConfigError, match="webhook_url"):
        Sender(url, str(file), 1)


def test_an_action_is_small_enough_for_the_receiver():
    reason = Reason(feature="f" * 40, value=1.0, healthy="0" * 20, share=0.1, text="t" * 200)
    assert len(encode_action(msgspec.structs.replace(ACTION, reasons=(reason,) * 50))) < 64 * 1024
