"""What a channel reads, and that the address of the channel is never shown."""

import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerting.incident import Sighting
from alerting.links import Links
from alerting.post import DeliveryError, RefusedError
from alerting.slack import SlackSink, load_url, message, wants
from collector.errors import ConfigError
from tests.alerting.change_rows import change
from tests.alerting.http_receiver import receiving

LINKS = Links("https://runbooks.example.org/gpu", "https://foreshock.example.org")


def texts(found: object) -> list[str]:
    """Every text of a message, wherever it stands."""
    if isinstance(found, dict):
        own = [found["text"]] if isinstance(found.get("text"), str) else []
        return own + [t for value in found.values() for t in texts(value)]
    return [t for value in found for t in texts(value)] if isinstance(found, list) else []


def test_a_message_says_what_where_why_and_where_to_read_on():
    row = change("opened")
    found = message(row, LINKS)
    header, fields, why, to_do, links, context = found["blocks"]
    assert header["text"]["text"] == row.summary.split("\n")[0]
    said = " ".join(texts(fields["fields"]))
    assert "*Node*\nn1" in said
    assert "0, GPU-a, 0000:3b:00" in said
    assert "at most 0.93, now 0.00 (within 60 min)" in said
    assert why["text"]["text"].split("\n") == [
        "*Why*",
        "• replays_1h = 0 (healthy: 0 to 2): PCIe &lt;replays&gt;",
        "• ecc_1h = unknown (healthy: 0)",
    ]
    assert to_do["text"]["text"].startswith("*To do*\n• see that the checkpoint landed")
    assert links["text"]["text"] == (
        "<https://foreshock.example.org/gpu?gpu=GPU-a&incident=inc-1|Dashboard>"
        " · <https://runbooks.example.org/gpu/risk|Runbook>"
    )
    assert "inc-1, opened" in texts(context["elements"])[0]
    for part in ("GPU 0 of n1", "see that the checkpoint landed", "|Runbook>"):
        assert part in found["text"]


def test_without_addresses_there_are_no_links():
    assert "|" not in "".join(texts(message(change("opened"), Links())))


def test_a_fault_shows_the_last_lines_of_the_kernel():
    seen = tuple(Sighting(time=1.0, kind="xid", code=79, text=f"line {n}") for n in range(5))
    found = texts(message(change("failed", "failed", sightings=seen, code=79), LINKS))
    assert "*Seen*\n• line 2\n• line 3\n• line 4" in found


@pytest.mark.parametrize(
    ("what", "told"),
    [("opened", True), ("failed", True), ("recovered", True), ("lapsed", True), ("asked", False),
     ("joined", False), ("continues", False)],
)  # fmt: skip
def test_people_hear_of_the_beginning_and_the_end_only(what, told):
    assert wants(change(what)) is told


@given(st.text(max_size=5000))
def test_no_kernel_line_calls_the_channel_or_breaks_slacks_limits(text):
    seen = Sighting(time=1.0, kind="xid", code=79, text=f"<!channel> {text}")
    found = message(change("failed", "failed", sightings=(seen,) * 3, node=f"<!here>{text[:50]}"), Links())
    header, *others = found["blocks"]
    assert len(header["text"]["text"]) <= 150
    assert all(len(t) <= 3000 for t in texts(others))
    assert len(found["blocks"]) <= 50
    assert not any("<" in t for t in [*texts(others), found["text"]])


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "slack"
    path.touch(0o600)
    return path


def test_a_message_is_posted_as_json(file):
    with receiving() as receiver:
        file.write_text(f"{receiver.url}/services/T0/B0/secret\n")
        sink = SlackSink(str(file), LINKS, 5)
        sink.send(change("opened"))
        sink.close()
    [request] = receiver.received
    assert request.path == "/services/T0/B0/secret"
    assert request.headers["content-type"] == "application/json"
    assert set(request.json) == {"text", "blocks"}


def test_a_refusal_is_for_good_a_limit_waits_and_neither_shows_the_address(file, caplog):
    path = "/services/T0/B0/secret"
    with receiving() as receiver, caplog.at_level(logging.WARNING):
        file.write_text(receiver.url + path)
        sink = SlackSink(str(file), LINKS, 5)
        receiver.answers += [
            (400, {}, "invalid_blocks"),
            (429, {"retry-after": "30"}, "slow down"),
            (404, {}, f"cannot POST {path}"),
        ]
        with pytest.raises(RefusedError, match="invalid_blocks"):
            sink.send(change("opened"))
        with pytest.raises(DeliveryError) as limited:
            sink.send(change("opened"))
        assert limited.value.retry_after_s == 30
        with pytest.raises(DeliveryError, match="404") as lost:
            sink.send(change("opened"))
    with pytest.raises(DeliveryError) as away:
        sink.send(change("opened"))
    sink.close()
    for error in (lost, away):
        assert "secret" not in str(error.value).replace("(the secret URL)", "")
    assert "B0" not in caplog.text


@pytest.mark.parametrize(
    "content", ["", "hooks.slack.com/services/x", "# comment\nhttps://hooks.slack.com/x"]
)
def test_a_file_without_an_address_is_found_at_the_start(file, content):
    file.write_text(content)
    with pytest.raises(ConfigError, match="slack_url_file") as refused:
        SlackSink(str(file), Links(), 5)
    assert "hooks" not in str(refused.value)
    with pytest.raises(ConfigError, match="cannot be read"):
        load_url(str(file.parent / "nothing"))


def test_a_row_that_cannot_be_read_is_refused_for_good(file):
    file.write_text("https://hooks.example.org/x")
    broken = change("opened")
    broken = type(broken)(
        **{f: getattr(broken, f) for f in broken.__struct_fields__ if f != "evidence"}, evidence="{"
    )
    sink = SlackSink(str(file), Links(), 5)
    with pytest.raises(RefusedError, match="evidence"):
        sink.send(broken)
    sink.close()
