"""`foreshock dead-letters`, on a real outbox."""

import json

import pytest

import foreshock
from alerting.action import dead_row
from alerting.dead_letters import listing, retry
from alerting.message import change_id
from alerting.outbox import Outbox
from collector.errors import ForeshockError
from tests.alerting.change_rows import action, change

ROW = change("opened")


@pytest.fixture
def path(tmp_path):
    file = tmp_path / "outbox.db"
    outbox = Outbox(file)
    outbox.enqueue([action()], now_s=0, deliver_for_s=60, notify={"slack": [ROW]})
    outbox.failed("i1.drain", "away", 0)
    outbox.dead("i1.drain", "HTTP 503: away", dead_row(action(), "away", 0))
    outbox.dead(change_id(ROW), "HTTP 400: invalid_blocks", sink="slack")
    outbox.close()
    (tmp_path / "foreshock.toml").write_text(f'[watch]\noutbox = "{file}"\n')
    return file


def command(path, *argv: str) -> int:
    return foreshock.main(["--config", str(path.parent / "foreshock.toml"), "dead-letters", *argv])


def test_each_is_listed_with_its_receiver_and_the_reason(path, capsys):
    assert command(path) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first == "i1.drain  to webhook, drain on n1, given up after 1 failed tries: HTTP 503: away"
    assert "to slack, opened on n1" in second
    assert command(path, "--json") == 0
    letters = json.loads(capsys.readouterr().out)
    assert [(entry["id"], entry["reason"]) for entry in letters] == [
        ("i1.drain", "HTTP 503: away"), (change_id(ROW), "HTTP 400: invalid_blocks"),
    ]  # fmt: skip


def test_one_that_is_retried_waits_for_the_watcher_again(path, capsys):
    assert command(path, "--retry", "i1.drain") == 0
    assert "i1.drain: waits again" in capsys.readouterr().out
    assert [entry.sink for entry in listing(path)] == ["slack"]
    outbox = Outbox(path)
    assert [p.action for p in outbox.pending(1e12)] == [action()]
    outbox.close()


def test_an_unknown_id_and_a_missing_file_are_clear_errors(path, tmp_path, capsys):
    assert command(path, "--retry", "i9.drain") == 1
    assert "Try: foreshock dead-letters" in capsys.readouterr().err
    with pytest.raises(ForeshockError, match="no outbox"):
        listing(tmp_path / "other.db")
    with pytest.raises(ForeshockError, match="no such dead letter"):
        retry(path, "i9.drain", 60)
    assert not (tmp_path / "other.db").exists()


def test_no_dead_letters_are_good_news(tmp_path, capsys):
    Outbox(tmp_path / "outbox.db").close()
    (tmp_path / "foreshock.toml").write_text(f'[watch]\noutbox = "{tmp_path}/outbox.db"\n')
    assert command(tmp_path / "outbox.db") == 0
    assert capsys.readouterr().out == "no dead letters\n"
