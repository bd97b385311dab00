"""The door by which a person's word goes from the page to the watcher: who signs, what is sent, what is refused."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from streamlit.testing.v1 import AppTest

from alerting.instruction import Instruction
from alerting.serve import watch
from collector.config import Config, DashboardConfig, LakeConfig, SpoolConfig, WatchConfig
from collector.errors import ForeshockError
from collector.records import TOPIC_OPERATOR, TOPIC_RISKS, Risk
from dashboard.incidents import door
from dashboard.incidents.door import Word, checked, command, tell
from dashboard.visitor import Signer, signer
from pipeline.lake import Lake
from pipeline.stream import open_stream
from tests.dashboard.incident_rows import incident, opened, text, write_three
from tests.double import eventually
from tests.streams import take


@pytest.fixture
def three(tmp_path: Path) -> Path:
    write_three(tmp_path / "lake")
    return tmp_path / "lake"


MAY_WRITE = "[dashboard]\nmay_write = true\n"


@pytest.mark.parametrize(
    ("verb", "typed", "heard"),
    [
        ("ack", {"word-text": "--by=mallory $(id)"}, ("acknowledge", "--by=mallory $(id)")),
        ("silence", {"word-text": "known"}, ("silence", "known")),
        ("note", {"word-text": "fan"}, ("note", "fan")),
    ],
)
def test_a_word_from_the_page_reaches_the_watchers_topic(
    three: Path, monkeypatch: pytest.MonkeyPatch, verb: str, typed: dict[str, str], heard: tuple[str, str]
) -> None:
    """The real command in a process of its own, and the real embedded stream."""
    config = Config(spool=SpoolConfig(path=three.parent / "spool.db"))
    stream = open_stream(config, "test", (TOPIC_OPERATOR,))
    app = opened(three, monkeypatch, MAY_WRITE, incident=incident(3).incident_id)
    if verb != "ack":
        app.segmented_control(key="word-verb").set_value(verb).run()
    app.text_input(key="word-by").set_value("ann")
    for key, value in typed.items():
        app.text_input(key=key).set_value(value)
    app.button[-1].click().run()
    try:
        assert not app.error
        assert "told the watcher" in app.success[0].value
        [record] = take(stream, 1)
    finally:
        stream.close()
    told = msgspec.json.decode(record.value, type=Instruction)
    assert (told.incident_id, told.verb, told.by) == (incident(3).incident_id, heard[0], "ann")
    assert told.text.endswith(heard[1])
    assert (told.until_s is not None) == (verb == "silence")


def test_what_the_command_refuses_is_shown_in_its_own_words(
    three: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (three.parent / "spool.db").mkdir()
    app = opened(three, monkeypatch, MAY_WRITE, incident=incident(3).incident_id)
    app.text_input(key="word-by").set_value("ann")
    app.button[-1].click().run()
    assert not app.exception
    assert not app.success
    assert "spool.db" in app.error[0].value
    assert "Try: " in text(app)


def test_an_incident_that_the_command_does_not_know_is_its_own_error(three: Path) -> None:
    config = three.parent / "other.toml"
    config.write_text(f'[lake]\npath = "{three.parent}/elsewhere"\n')
    told = Config(path=str(config), dashboard=DashboardConfig(may_write=True))
    with pytest.raises(ForeshockError, match="no such incident") as refused:
        tell(told, Word("ack", incident(3).incident_id, "ann"))
    assert refused.value.hint == "foreshock incidents list --all"


def test_a_word_without_a_name_is_not_sent(three: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = opened(three, monkeypatch, MAY_WRITE, incident=incident(3).incident_id)
    app.button[-1].click().run()
    assert not app.success
    assert "needs the name" in app.error[0].value


def test_a_command_that_hangs_is_a_sentence(three: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door, "_DEADLINE_S", 0.01)
    with pytest.raises(ForeshockError, match="nobody knows whether it was heard"):
        tell(Config(dashboard=DashboardConfig(may_write=True)), Word("ack", incident(3).incident_id, "ann"))


def test_the_proxys_header_signs_and_without_it_nothing_can_be_written(
    three: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    more = f'{MAY_WRITE}user_header = "X-Forwarded-User"\n'
    app = opened(three, monkeypatch, more, incident=incident(3).incident_id)
    assert not app.text_input
    assert "The proxy did not say who you are" in text(app)


def test_a_login_signs_and_who_is_not_logged_in_writes_nothing(
    three: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = opened(three, monkeypatch, MAY_WRITE, incident=incident(3).incident_id)
    app.user = {"is_logged_in": True, "email": "ann@example.org"}
    app.run()
    assert [field.label for field in app.text_input] == ["Text"]
    assert "Signed: ann@example.org" in text(app)
    app.user = {"is_logged_in": False}
    app.run()
    assert not app.text_input
    assert "Log in" in text(app)


HEADER = Config(dashboard=DashboardConfig(may_write=True, user_header="X-User"))


@pytest.mark.parametrize(
    ("config", "user", "headers", "who"),
    [
        (Config(), {}, {"X-User": "eve"}, Signer(None, asked=True)),
        (HEADER, {}, {"X-User": " ann "}, Signer("ann")),
        (HEADER, {"is_logged_in": True, "email": "bob"}, {}, Signer(None)),
        (HEADER, {}, {"X-User": "ann\nbob"}, Signer(None)),
        (Config(), {"is_logged_in": True, "name": "Ann"}, {}, Signer("Ann")),
        (Config(), {"is_logged_in": True}, {}, Signer(None)),
        (Config(), {"is_logged_in": False, "email": "eve"}, {}, Signer(None)),
    ],
)
def test_who_signs(config: Config, user: dict[str, Any], headers: dict[str, str], who: Signer) -> None:
    assert signer(config, user, headers) == who


@pytest.mark.parametrize(
    "word",
    [
        Word("ack", "--help", "ann"), Word("ack", "a b", "ann"), Word("ack", "", "ann"), Word("ack", "x" * 200, "ann"),
        Word("ack", "inc-1", ""), Word("ack", "inc-1", " ann"), Word("ack", "inc-1", "a\nb"),
        Word("note", "inc-1", "ann"), Word("note", "inc-1", "ann", "  \n "), Word("note", "inc-1", "ann", "x" * 1001),
        Word("note", "inc-1", "ann", "bell\a"), Word("silence", "inc-1", "ann"),
        Word("silence", "inc-1", "ann", "", 0.0),
        Word("silence", "inc-1", "ann", "", 1e9), Word("silence", "inc-1", "ann", "", float("nan")),
    ],
)  # fmt: skip
def test_what_cannot_be_signed_or_sent_is_refused(word: Word) -> None:
    with pytest.raises(ForeshockError) as refused:
        checked(word)
    assert refused.value.hint


@given(st.text(max_size=1100), st.text(max_size=120))
def test_nothing_that_people_type_becomes_an_option(typed: str, by: str) -> None:
    try:
        argv = command(Config(), checked(Word("note", "inc-1", by, typed)))
    except ForeshockError:
        return
    words = argv[argv.index("incidents") :]
    assert words[:3] == ["incidents", "note", "inc-1"]
    assert [word.split("=")[0] for word in words[3:]] == ["--by", "--text"]
    assert all(word.isprintable() for word in words)


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Config]:
    """The real watcher over the embedded stream."""
    config = Config(
        lake=LakeConfig(path=tmp_path / "lake"), spool=SpoolConfig(path=tmp_path / "spool.db"),
        watch=WatchConfig(outbox=tmp_path / "outbox.db"),
    )  # fmt: skip
    stop = threading.Event()
    watcher = threading.Thread(target=watch, args=(config, stop), daemon=True)
    watcher.start()
    yield config
    stop.set()
    watcher.join(timeout=20)


def test_an_acknowledgement_from_the_page_comes_back_in_the_story(
    watched: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    risk = Risk(
        time=time.time(), node="n1", gpu_uuid="GPU-a", gpu_index=0, pci_bdf=None, risk=0.9, horizon_s=3600,
        model_id="rules", feature_set="f",
    )  # fmt: skip
    stream = open_stream(watched, "test", ())
    stream.publish(TOPIC_RISKS, "n1", msgspec.json.encode(risk))
    stream.flush()
    stream.close()
    lake = Lake(watched.lake.path)
    eventually(lambda: lake.read("incidents").height, 30)
    name = lake.read("incidents")["incident_id"][0]
    app = opened(watched.lake.path, monkeypatch, MAY_WRITE, incident=name)
    app.text_input(key="word-by").set_value("ann")
    app.text_input(key="word-text").set_value("on it")
    app.button[-1].click().run()
    eventually(lambda: lake.read("incidents").height == 2, 30)

    def told() -> AppTest | None:
        """The story, once its cached rows have been read anew."""
        app = opened(watched.lake.path, monkeypatch, MAY_WRITE, incident=name)
        return app if app.table[0].value["change"].to_list() == ["opened", "acknowledged"] else None

    assert "acknowledged by ann" in text(eventually(told, 30))
