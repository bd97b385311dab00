"""The incidents page: the list with its filters, and the story of one."""

from __future__ import annotations

from pathlib import Path

import pytest

from collector.config import Config
from collector.errors import ForeshockError
from dashboard.incidents.door import Word, tell
from tests.dashboard.incident_rows import change, incident, opened, text, write, write_three
from tests.lake_fixture import make_lake


@pytest.fixture
def three(tmp_path: Path) -> Path:
    write_three(tmp_path / "lake")
    return tmp_path / "lake"


def test_the_list_shows_the_open_ones_first_and_counts_them(
    three: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = opened(three, monkeypatch)
    assert not app.exception
    assert not app.error
    [table] = app.dataframe
    assert table.value["incident_id"].to_list() == [incident(3).incident_id, incident(1).incident_id]
    assert "1 open, critical" in text(app)
    assert "1 open, warning" in text(app)
    assert "1 recovered" in text(app)


def test_a_link_with_filters_shows_what_it_says(three: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = opened(three, monkeypatch, state="any", severity="warning")
    shown = [table.value["incident_id"].to_list() for table in app.dataframe]
    assert shown == [[incident(1).incident_id], [incident(2).incident_id]]
    assert "synthetic data" in text(app)
    app.selectbox(key="node").select("node0009").run()
    assert [table.value["where"].to_list() for table in app.dataframe] == [["node0009 GPU 2"]]


def test_filters_that_nothing_fits_say_so(three: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = opened(three, monkeypatch, state="lapsed")
    assert not app.dataframe
    assert "No incident is like that" in text(app)


def test_nothing_open_says_so_and_when_the_last_one_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "lake", change("opened", incident(2), 2))
    write(tmp_path / "lake", change("recovered", incident(2, state="recovered"), 9))
    app = opened(tmp_path / "lake", monkeypatch)
    assert not app.dataframe
    assert "No incident is open. The newest was opened 2026-03-01 12:02:00 UTC" in text(app)
    assert "no telemetry yet" in text(app)  # and nothing open means little where nothing was heard


def test_measured_and_synthetic_incidents_are_never_in_one_table(
    three: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = opened(three, monkeypatch, state="any")
    for table in app.dataframe:
        kinds = {name == incident(2).incident_id for name in table.value["incident_id"]}
        assert len(kinds) == 1


def test_choosing_one_by_name_tells_its_story_and_back_again(
    three: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = opened(three, monkeypatch)
    app.selectbox(key="pick-an-incident-False-by-name").select(incident(1).incident_id).run()
    assert app.query_params["incident"] == incident(1).incident_id
    assert app.title[0].value == "GPU fault predicted: GPU 1 of node0001"
    app.button[0].click().run()
    assert app.title[0].value == "Incidents"
    assert "incident" not in app.query_params


def test_the_story_tells_what_happened_in_order_and_what_each_action_cost_and_did(
    three: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = opened(three, monkeypatch, incident=incident(3).incident_id)
    assert not app.exception
    assert not app.error
    happened, done, why = (table.value for table in app.table)
    assert happened["change"].to_list() == ["opened", "seen", "failed"]
    assert happened["what it tells"].to_list() == [
        "risk 0.70 of a fault within 60 min; asks for checkpoint; holds back drain: 16 nodes are drained already",
        "Xid 79: fallen off the bus",
        "asks for drain now; 12:08:00 ann: acknowledge on it",
    ]
    assert done["why: the arithmetic"].to_list() == [
        "checkpoint pays: p 0.70 > 0.067", "drain pays: p 0.70 > 0.171",
    ]  # fmt: skip
    assert done["stands"].to_list() == [
        "acknowledged after 5.0 s", "dry run: nothing was sent",
    ]  # fmt: skip
    assert done["what came of it"].to_list() == ["saved at step 812", "no answer yet"]
    assert why["sign"].to_list() == ["NVLink CRC errors are ramping"]
    said = text(app)
    assert "acknowledged by ann" in said
    assert "**Job hit**: `4711`" in said
    assert "**xid_79: GPU no longer answers on PCIe (off the bus)**" in said
    assert "The model expects this GPU to fail within its horizon" in said
    assert f"foreshock incidents ack {incident(3).incident_id}" in said


def test_the_job_is_found_in_the_rollups_with_its_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_lake(tmp_path / "lake")
    app = opened(tmp_path / "lake", monkeypatch, incident="inc-1")
    assert "**Job hit**: `4711`, on 16 GPUs of 2 nodes" in text(app)
    assert "No evidence was recorded" in text(app)
    assert "The runbook has no section on nvlink" in text(app)


def test_an_unknown_incident_is_a_sentence(three: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = opened(three, monkeypatch, incident="inc-nobody")
    assert not app.exception
    assert "No incident `inc-nobody`" in text(app)


@pytest.mark.parametrize("made", [True, False])
def test_an_empty_or_missing_lake_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, made: bool
) -> None:
    if made:
        (tmp_path / "lake").mkdir()
    for url in ({}, {"incident": "inc-1"}):
        app = opened(tmp_path / "lake", monkeypatch, **url)
        assert not app.exception
        assert not app.error
        assert "No incident" in text(app)
    assert "foreshock incidents list --all" in text(app)


@pytest.mark.parametrize("table", ["incidents", "actions"])
@pytest.mark.parametrize("broken", ["*.parquet", "_delta_log/*.json"])
def test_a_broken_lake_is_a_sentence_and_not_a_traceback(
    three: Path, monkeypatch: pytest.MonkeyPatch, table: str, broken: str
) -> None:
    for path in (three / table).rglob(broken):
        path.write_bytes(b"{nonsense")
    app = opened(three, monkeypatch, incident=incident(3).incident_id)
    assert not app.exception
    assert app.error
    assert "foreshock doctor" in text(app)


def test_the_page_writes_nothing_unless_it_is_let(three: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = opened(three, monkeypatch, incident=incident(3).incident_id)
    assert not app.text_input
    assert [button.label for button in app.button] == ["All incidents"]
    assert "This page only reads" in text(app)
    with pytest.raises(ForeshockError, match="only reads"):
        tell(Config(), Word("ack", incident(3).incident_id, "ann"))
