"""The fleet page on a lake as the demo leaves it, on an empty one, and on broken ones."""

from __future__ import annotations

import json
import re
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from streamlit.testing.v1 import AppTest

from dashboard.freshness import freshness, spoken
from dashboard.lateness import lag
from pipeline.lake import Lake
from tests.lake_fixture import END, Story, make_lake

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


def _map(app: AppTest) -> dict[str, Any]:
    """What the map was given to draw."""
    told: dict[str, Any] = json.loads(app.get("bidi_component")[0].proto.json)
    return told


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
    assert counts["at the alarm level"] == "1"
    text = _text(app)
    assert "1 open" in text
    assert "critical, failed" in text
    assert "checkpoint acknowledged" in text
    assert "1 lost" in [metric.delta for metric in app.metric]


def test_nothing_on_the_first_page_reads_like_an_emoji(
    story: Story, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Streamlit's browser side fetches all emojis' names, 264 kB, for `10:42:07` as for `:volcano:`."""
    app = _open(story.path, monkeypatch, tmp_path)
    written = [
        _text(app),
        *(link.proto.label for link in app.get("page_link")),
        *(m.label for m in app.metric),
    ]
    assert [
        found for text in written for found in re.findall(r":(?!material/|streamlit:)[\w+-]+:", text)
    ] == []


def test_an_incident_and_a_risky_gpu_are_links_to_their_pages(
    story: Story, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    app = _open(story.path, monkeypatch, tmp_path)
    links = {(link.proto.page, link.proto.query_string): link.proto.label for link in app.get("page_link")}
    assert "Xid 79" in links["incidents", "incident=inc-1"]
    first = links["gpu", f"gpu={story.failing}"]
    assert "GPU 3" in first
    assert "at the alarm level" in first
    assert "NVLink CRC errors rise" in _text(app)


def test_alarms_are_counted_at_the_level_of_the_model_that_spoke(
    story: Story, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """0.03 is nothing to the rules, and an alarm of a model whose card says 0.02."""
    model = "imminence-20260101T0000-0123456789ab"
    path = tmp_path / "models" / model / "card.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"model_id": model, "point": {"threshold": 0.02}}))
    make_lake(tmp_path / "lake", nodes=1, minutes=3)
    lake = Lake(tmp_path / "lake")
    later = lake.read("predictions").with_columns(
        pl.col("time") + timedelta(minutes=1), pl.col("minute") + timedelta(minutes=1), model_id=pl.lit(model)
    )
    lake.append("predictions", later.filter(pl.col("time") == pl.col("time").max()))
    above = int((later.filter(pl.col("time") == pl.col("time").max())["risk"] >= 0.02).sum())
    app = _open(lake.path, monkeypatch, tmp_path, f'[models]\nregistry = "{tmp_path / "models"}"')
    shown = next(metric for metric in app.metric if metric.label == "at the alarm level")
    assert (shown.value, shown.delta) == (str(above), "risk 0.02")
    assert above > 1


@pytest.mark.parametrize("colour", ["risk", "temperature", "power", "gap", "state"])
def test_the_link_says_what_colour_means(
    story: Story, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, colour: str
) -> None:
    app = _open(story.path, monkeypatch, tmp_path, colour=colour)
    assert not app.exception
    assert not app.error
    assert app.session_state["colour"] == colour
    assert _map(app)["title"].split()[0].lower() == colour


def test_a_link_to_a_node_shows_its_gpus_and_the_way_back(
    story: Story, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    app = _open(story.path, monkeypatch, tmp_path, node="node0002")
    (group,) = _map(app)["groups"]
    assert group["labels"] == ["node0002"]
    assert group["cells"] == "???4????" or group["cells"].count("4") == 1
    assert group["marks"][3] == "×"
    app.button(key="whole-fleet").click().run()
    assert "node" not in app.query_params
    assert sum(len(group["labels"]) for group in _map(app)["groups"]) == 2


@pytest.mark.parametrize("url", [{"node": "gone"}, {"block": "gone"}])
def test_a_link_to_what_is_no_more_says_so(
    story: Story, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, url: dict[str, str]
) -> None:
    app = _open(story.path, monkeypatch, tmp_path, **url)
    assert "No `gone`" in app.info[0].value
    assert app.button(key="whole-fleet").label == "All 16 GPUs"


def test_the_lag_of_the_risks_is_told() -> None:
    assert lag({"telemetry": END, "predictions": END - timedelta(seconds=75)}).endswith(
        "75 s behind the telemetry"
    )
    assert lag({"telemetry": END, "predictions": None}) == "no risk yet"
    assert lag({"telemetry": None, "predictions": END}) == ""


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
    assert "30 times faster than real time" in _text(app)
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


def test_no_file_of_the_dashboard_takes_the_name_of_a_package() -> None:
    """Streamlit puts the script's folder first on the path, so a name here would hide a library's."""
    ours = {path.stem for path in APP.parent.glob("*.py")} - {"__init__"}
    libraries = {
        path.name.split(".")[0] for root in map(Path, sys.path) if root.is_dir() for path in root.iterdir()
    }
    installed = libraries - {path.stem for path in APP.parent.parent.iterdir()}
    assert not ours & (installed | sys.stdlib_module_names)
