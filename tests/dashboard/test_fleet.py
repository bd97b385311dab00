"""The fleet page on a lake as the demo leaves it, on an empty one, and on broken ones."""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from dashboard.fleet import freshness, spoken
from dashboard.gpu import resolve
from tests.lake_fixture import Story, make_lake, uuid

APP = Path(__file__).parents[2] / "dashboard" / "app.py"


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    return make_lake(tmp_path_factory.mktemp("lake"), end=datetime.now(UTC).replace(microsecond=0))


def _open(lake: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, more: str = "", **url: str) -> AppTest:
    config = tmp_path / "foreshock.toml"
    config.write_text(f'[lake]\npath = "{lake}"\n{more}')
    monkeypatch.setenv("FORESHOCK_CONFIG", str(config))
    monkeypatch.delenv("FORESHOCK_LAKE", raising=False)
    app = AppTest.from_file(str(APP), default_timeout=60)
    app.query_params.update(url)
    return app.run()


def _text(app: AppTest) -> str:
    """Everything that is written on the page, in one string."""
    kinds = (app.title, app.subheader, app.markdown, app.caption, app.error, app.info, app.warning)
    return "\n".join(element.value for kind in kinds for element in kind)


def test_the_page_counts_the_fleet_and_names_what_fails(
    story: Story, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    app = _open(story.path, monkeypatch, tmp_path)
    assert not app.exception
    assert not app.error
    counts = {metric.label: metric.value for metric in app.metric}
    assert counts["GPUs"] == "16"
    assert counts["ok"] == "15"
    assert counts["not ok"] == "1"
    assert counts["risk at 0.5 or more"] == "1"
    incidents = app.dataframe[0].value
    assert incidents["stands"].to_list() == ["critical, failed"]
    assert incidents["done"].to_list() == ["checkpoint acknowledged"]


def test_the_riskiest_gpu_is_shown_first_with_its_reasons_and_what_happened(
    story: Story, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    app = _open(story.path, monkeypatch, tmp_path)
    assert app.selectbox[0].value == story.failing
    assert app.query_params["gpu"] in (story.failing, [story.failing])
    text = _text(app)
    assert "NVLink CRC errors rise: **212** (healthy below 5), +0.71" in text
    assert "state **lost**" in text
    happened = app.dataframe[2].value["what"].to_list()
    assert happened[0] == "Xid 79"
    assert "checkpoint acknowledged" in happened


def test_a_link_with_a_gpu_opens_that_gpu(
    story: Story, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    app = _open(story.path, monkeypatch, tmp_path, gpu=story.noisy)
    assert app.selectbox[0].value == story.noisy
    assert "node0001 GPU 5" in _text(app)
    assert app.dataframe[2].value["what"].to_list() == ["Xid 31 x40"]


def test_a_link_with_an_unknown_gpu_says_so(
    story: Story, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    app = _open(story.path, monkeypatch, tmp_path, gpu="GPU-nobody")
    assert not app.exception
    assert "No GPU `GPU-nobody`" in _text(app)


def test_choosing_another_gpu_and_window_changes_the_link(
    story: Story, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    app = _open(story.path, monkeypatch, tmp_path)
    app.selectbox[0].select(story.noisy).run()
    app.segmented_control[0].set_value("15 min").run()
    assert not app.exception
    assert app.query_params["gpu"] in (story.noisy, [story.noisy])


def test_synthetic_data_is_labelled_and_measured_data_is_not(
    story: Story, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert "synthetic data" in _text(_open(story.path, monkeypatch, tmp_path))
    make_lake(tmp_path / "real", nodes=1, minutes=2, synthetic=False)
    assert "synthetic data" not in _text(_open(tmp_path / "real", monkeypatch, tmp_path))


def test_old_data_is_called_stale(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    make_lake(tmp_path / "old", nodes=1, minutes=2)
    app = _open(tmp_path / "old", monkeypatch, tmp_path)
    assert "stale" in _text(app)
    assert "What you see is old" in app.warning[0].value


def test_a_scaled_clock_is_named_and_never_calls_the_data_stale(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    make_lake(tmp_path / "old", nodes=1, minutes=2)
    app = _open(tmp_path / "old", monkeypatch, tmp_path, "[clock]\nspeed = 30\norigin_unix_s = 1.0")
    assert "demo clock, 30 times faster" in _text(app)
    assert not app.warning


@pytest.mark.parametrize("made", [True, False])
def test_an_empty_or_missing_lake_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, made: bool
) -> None:
    lake = tmp_path / "lake"
    if made:
        lake.mkdir()
    app = _open(lake, monkeypatch, tmp_path)
    assert not app.exception
    assert not app.error
    assert "has no telemetry" in app.info[0].value
    assert "foreshock demo" in _text(app)


@pytest.mark.parametrize("missing", ["events", "predictions", "incidents", "actions", "rollups", "telemetry"])
def test_one_table_that_is_not_there_yet_is_no_trouble(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, missing: str
) -> None:
    make_lake(tmp_path / "lake", nodes=1, minutes=3)
    (tmp_path / "lake" / missing).rename(tmp_path / "gone")
    app = _open(tmp_path / "lake", monkeypatch, tmp_path)
    assert not app.exception
    assert not app.error
    assert app.metric[0].value == "8"


@pytest.mark.parametrize("broken", ["*.parquet", "_delta_log/*.json"])
def test_a_broken_lake_is_a_sentence_and_not_a_traceback(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, broken: str
) -> None:
    make_lake(tmp_path / "lake", nodes=1, minutes=3)
    for path in (tmp_path / "lake" / "predictions").rglob(broken):
        path.write_bytes(b"{nonsense")
    app = _open(tmp_path / "lake", monkeypatch, tmp_path)
    assert not app.exception
    assert len(app.error) == 1
    assert "foreshock doctor" in _text(app)


def test_a_broken_config_is_a_sentence(story: Story, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    app = _open(story.path, monkeypatch, tmp_path, "[clok]\nspeed = 30")
    assert not app.exception
    assert "did you mean clock?" in app.error[0].value


@pytest.mark.parametrize(
    ("age_s", "word"),
    [(0, "live"), (29, "live"), (31, "late"), (119, "late"), (121, "stale"), (1e6, "stale")],
)
def test_freshness_turns_at_its_limits(age_s: float, word: str) -> None:
    now = datetime(2026, 3, 1, tzinfo=UTC)
    assert freshness(now - timedelta(seconds=age_s), now, 1.0)[0] == word
    assert freshness(now - timedelta(seconds=age_s), now, 20.0)[0] == "demo"


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0 s"), (119, "119 s"), (120, "2 min"), (7200, "2.0 h"), (200_000, "2.3 days")]
)
def test_durations_are_spoken(seconds: float, text: str) -> None:
    assert spoken(seconds) == text


def test_a_gpu_is_found_by_uuid_by_place_and_by_part() -> None:
    labels = {
        uuid(0, 1): f"node0001 GPU 1 · risk 0.90 · ok · {uuid(0, 1)}",
        uuid(0, 10): f"node0001 GPU 10 · risk 0.95 · ok · {uuid(0, 10)}",
    }
    assert resolve(labels, uuid(0, 10)) == uuid(0, 10)
    assert resolve(labels, "node0001  gpu 1") == uuid(0, 1)
    assert resolve(labels, "NODE0001 GPU 10") == uuid(0, 10)
    assert resolve(labels, "00000000000a") == uuid(0, 10)
    assert resolve(labels, "nowhere") == "nowhere"


def test_no_file_of_the_dashboard_takes_the_name_of_a_package() -> None:
    """Streamlit puts the script's folder first on the path, so a name here would hide a library's."""
    ours = {path.stem for path in APP.parent.glob("*.py")} - {"__init__"}
    libraries = {
        path.name.split(".")[0] for root in map(Path, sys.path) if root.is_dir() for path in root.iterdir()
    }
    installed = libraries - {path.stem for path in APP.parent.parent.iterdir()}
    assert not ours & (installed | sys.stdlib_module_names)
