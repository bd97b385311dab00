"""The GPU page on a lake as the demo leaves it, on an empty one, on broken ones, and for cards that are gone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import parse_qs

import polars as pl
import pytest
from streamlit.testing.v1 import AppTest

from dashboard.gpu import choice as gpu_choice
from pipeline.lake import Lake
from tests.lake_fixture import JOB, Story, make_lake, uuid


def _run() -> None:
    """What the browser shows at /gpu; AppTest runs this function's body as a script."""
    from collector.config_file import load
    from dashboard.gpu import page as gpu

    gpu.page(load())


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    return make_lake(tmp_path_factory.mktemp("lake"), end=datetime.now(UTC).replace(microsecond=0))


def _open(lake: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, more: str = "", **url: str) -> AppTest:
    config = tmp_path / "foreshock.toml"
    config.write_text(f'[lake]\npath = "{lake}"\n{more}')
    monkeypatch.setenv("FORESHOCK_CONFIG", str(config))
    monkeypatch.delenv("FORESHOCK_LAKE", raising=False)
    app = AppTest.from_function(_run, default_timeout=60)
    app.query_params.update(url)
    return app.run()


def _text(app: AppTest) -> str:
    kinds = (
        app.title,
        app.subheader,
        app.markdown,
        app.caption,
        app.error,
        app.info,
        app.warning,
        app.success,
    )
    return "\n".join(element.value for kind in kinds for element in kind)


def _url(app: AppTest, name: str) -> str:
    value = app.query_params.get(name, "")
    return str(value[0] if isinstance(value, list) else value)


def test_a_gpu_that_failed_is_called_failed_with_its_signs_and_what_to_do(
    story: Story, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    app = _open(story.path, monkeypatch, tmp_path, gpu=story.failing)
    assert not app.exception
    assert app.title[0].value == "node0002 GPU 3"
    told = app.error[0].value
    assert "It has failed" in told
    assert "**Xid 79**" in told
    assert "its state is **lost**" in told
    assert "NVLink CRC errors" in told
    assert app.expander[0].label == "What to do: xid_79"
    assert "reboot the machine" in _text(app)
    numbers = {metric.label: metric.value for metric in app.metric}
    assert numbers["Temperature"].endswith("°C"), "what it last said, while it could"
    assert any("last known" in str(metric.delta) for metric in app.metric)
    assert float(numbers["Risk"]) > 0.9
    assert numbers["Job"] == JOB


def test_a_healthy_gpu_is_called_calm_and_asks_for_nothing(
    story: Story, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    app = _open(story.path, monkeypatch, tmp_path, gpu=uuid(0, 1))
    assert not app.error
    assert "No alarm, and nothing unlike its peers" in app.success[0].value
    assert "No open incident" in _text(app)
    assert not app.expander


def test_the_riskiest_gpu_comes_first_and_the_url_says_which(
    story: Story, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    app = _open(story.path, monkeypatch, tmp_path)
    assert app.selectbox[0].value == story.failing
    assert f"?gpu={story.failing}" in _text(app), "a link to paste"
    assert (_url(app, "gpu"), _url(app, "window")) == ("", ""), (
        "nobody chose: no entry in the browser's history"
    )


def test_choosing_another_gpu_and_window_changes_the_link(
    story: Story, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    app = _open(story.path, monkeypatch, tmp_path, gpu=story.failing, window="15m")
    app.selectbox[0].select(story.noisy).run()
    app.segmented_control[0].set_value("6h").run()
    assert not app.exception
    assert app.title[0].value == "node0001 GPU 5"
    assert _url(app, "gpu") == story.noisy
    assert app.segmented_control[0].value == "6h"  # its place in the URL is the browser's work


@pytest.mark.parametrize("window", [*gpu_choice.WINDOWS, "nonsense"])
def test_every_window_shows_the_life(
    story: Story, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, window: str
) -> None:
    app = _open(story.path, monkeypatch, tmp_path, gpu=story.failing, window=window)
    assert not app.exception
    assert "7 peers (same node, same job)" in _text(app)
    assert app.segmented_control[0].value == (window if window in gpu_choice.WINDOWS else "1h")


def test_the_xids_are_explained(story: Story, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    app = _open(story.path, monkeypatch, tmp_path, gpu=story.noisy)
    rows = app.table[0].value
    assert rows["Xid"].to_list() == ["**31**"]
    assert rows["times"].to_list() == ["40"]
    assert "application" in rows["Foreshock does"][0] or "observe" in rows["Foreshock does"][0]


def test_a_job_that_a_fault_of_this_gpu_ended_is_told_from_one_that_runs(
    story: Story, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def jobs(which: str) -> list[str]:
        app = _open(story.path, monkeypatch, tmp_path, gpu=which)
        frames = [f.value for f in app.dataframe if "ended by" in f.value.columns]
        return [*frames[0]["job"], *frames[0]["ended by"]]

    assert jobs(story.failing) == [JOB, "Xid 79 of this GPU"]
    assert jobs(story.noisy) == [JOB, "runs"]


def test_the_incident_names_what_was_done(
    story: Story, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    app = _open(story.path, monkeypatch, tmp_path, gpu=story.failing, incident="inc-1")
    assert "Open incident" in _text(app)
    assert "incidents?incident=inc-1" in _text(app)
    done = next(f.value for f in app.dataframe if "detail" in f.value.columns)
    assert done["state"].to_list() == ["acknowledged"]


def test_reasons_can_be_asked_of_an_earlier_prediction(
    story: Story, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    app = _open(story.path, monkeypatch, tmp_path, gpu=story.failing)
    newest = next(c.value for c in app.caption if c.value.startswith("Risk "))
    choice = app.segmented_control[1]
    assert choice.options == ["newest", "highest in view", "when the incident opened"]
    choice.set_value("when the incident opened").run()
    earlier = next(c.value for c in app.caption if c.value.startswith("Risk "))
    assert newest != earlier
    assert "by rules-1" in earlier


def test_a_card_that_was_swapped_out_is_found_and_its_successor_names_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    story = make_lake(tmp_path / "lake", nodes=1, minutes=5)
    old = "GPU-0000dead-0000-4000-8000-000000000003"
    lake = Lake(story.path)
    end = lake.read("rollups")["minute"].max()
    assert isinstance(end, datetime)
    then = end - timedelta(days=3)
    slot = {"node": "node0001", "gpu_uuid": old, "gpu_index": 3, "pci_bdf": "0000:30:00", "synthetic": True}
    lake.append("rollups", pl.DataFrame([slot | {"minute": then, "temperature_c_mean": 60.0, "job": "old"}]))
    fault = {
        "time": then,
        "fingerprint": "f",
        "kind": "xid",
        "source": "sim",
        "code": 79,
        "text": "off",
        "count": 1,
    }
    lake.append("events", pl.DataFrame([slot | fault]))

    app = _open(story.path, monkeypatch, tmp_path, gpu=story.failing)
    assert "the card before this one failed here too" in _text(app)
    gone = _open(story.path, monkeypatch, tmp_path, gpu=old)
    assert not gone.exception
    assert not [e for e in gone.error if "broken" in e.value]
    assert gone.title[0].value == "node0001 GPU 3"
    assert "its state is **silent**" in _text(gone)
    assert "no other card was seen in it before" in _text(gone)


def test_an_unknown_gpu_is_a_sentence(story: Story, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    app = _open(story.path, monkeypatch, tmp_path, gpu="GPU-nobody")
    assert not app.exception
    assert "No GPU `GPU-nobody`" in app.info[0].value


def test_a_node_shows_its_gpus_side_by_side(
    story: Story, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    app = _open(story.path, monkeypatch, tmp_path, node="node0002")
    assert not app.exception
    assert not app.error
    assert app.title[0].value == "node0002"
    rows = app.dataframe[0].value
    assert rows["gpu_index"].to_list() == list(range(8))
    assert parse_qs(rows["GPU"][3].partition("?")[2]) == {"gpu": [story.failing]}


def test_an_unknown_node_is_a_sentence(story: Story, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert "No GPU of a node `n0`" in _open(story.path, monkeypatch, tmp_path, node="n0").info[0].value


@pytest.mark.parametrize("url", [{}, {"node": "node0001"}, {"gpu": uuid(0, 0)}])
def test_an_empty_lake_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, url: dict[str, str]
) -> None:
    app = _open(tmp_path / "none", monkeypatch, tmp_path, **url)
    assert not app.exception
    assert not app.error
    assert app.info


@pytest.mark.parametrize("missing", ["events", "predictions", "incidents", "actions", "rollups", "inventory"])
def test_one_table_that_is_not_there_yet_is_no_trouble(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, missing: str
) -> None:
    story = make_lake(tmp_path / "lake", nodes=1, minutes=3)
    (tmp_path / "lake" / missing).rename(tmp_path / "gone")
    app = _open(tmp_path / "lake", monkeypatch, tmp_path, gpu=story.failing)
    assert not app.exception
    assert not [e for e in app.error if "broken" in e.value or "cannot" in e.value]
    assert app.title[0].value == "node0001 GPU 3"


@pytest.mark.parametrize("broken", ["*.parquet", "_delta_log/*.json"])
def test_a_broken_lake_is_a_sentence_and_not_a_traceback(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, broken: str
) -> None:
    make_lake(tmp_path / "lake", nodes=1, minutes=3)
    for path in (tmp_path / "lake" / "predictions").rglob(broken):
        path.write_bytes(b"{nonsense")
    app = _open(tmp_path / "lake", monkeypatch, tmp_path, gpu=uuid(0, 3))
    assert not app.exception
    assert app.error
    assert "foreshock doctor" in _text(app)


def test_synthetic_data_is_labelled_and_measured_data_is_not(
    story: Story, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert "synthetic data" in _text(_open(story.path, monkeypatch, tmp_path, gpu=story.noisy))
    make_lake(tmp_path / "real", nodes=1, minutes=2, synthetic=False)
    assert "synthetic data" not in _text(_open(tmp_path / "real", monkeypatch, tmp_path, gpu=uuid(0, 1)))
