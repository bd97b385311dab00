"""The effective-time page: measured on a lake by hand, and the what-if through the real command."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from streamlit.testing.v1 import AppTest

from collector.errors import ForeshockError
from dashboard.colours import Theme
from dashboard.effective import curves
from dashboard.effective.charts import arms, losses
from dashboard.effective.whatif import FIELDS, advice, arguments, fetch
from pipeline.effective_time import CAUSES, measure
from pipeline.lake import Lake
from tests.pipeline.job_lakes import fault, lake, minutes


def script() -> None:
    from collector.config_file import load
    from dashboard.effective import page as effective

    effective.page(load())


def opened(root: Path, monkeypatch: pytest.MonkeyPatch, **url: str) -> AppTest:
    config = root / "foreshock.toml"
    config.write_text(f'[lake]\npath = "{root}/lake"\n')
    monkeypatch.setenv("FORESHOCK_CONFIG", str(config))
    app = AppTest.from_function(script, default_timeout=90)
    app.query_params.update(url)
    return app.run()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """An hour of work, a fault, five minutes without GPUs, three to start, and work again."""
    lake(tmp_path / "lake", minutes("w" * 60 + "iiiii" + "lll" + "w" * 60), events=[fault(59.5)])
    return tmp_path


def test_it_shows_what_was_measured_and_says_what_the_words_mean(root: Path, monkeypatch: pytest.MonkeyPatch):
    app = opened(root, monkeypatch, since="all")
    assert not app.exception
    assert not app.error
    shown = {m.label: m.value for m in app.metric}
    fleet = measure(Lake(root / "lake")).fleet.row(0, named=True)
    assert shown["ETTR, all jobs by GPU-hours"] == f"{100 * fleet['ettr']:.2f} %"
    assert shown["interruptions"] == "1"
    assert any("ETTR" in t.value for t in app.text)
    assert app.dataframe[0].value["job"].tolist() == ["7"]


def test_the_picture_adds_up_to_what_was_lost(root: Path):
    found = measure(Lake(root / "lake"))
    spec = losses(found, 5, "light")
    fleet = [v["share"] for v in spec["data"]["values"] if v["job"] == "all jobs"]
    assert sum(fleet) == pytest.approx(100 * (1 - found.fleet["ettr"][0]), abs=0.01)
    assert set(spec["encoding"]["color"]["scale"]["domain"]) <= {c.replace("_", " ") for c in CAUSES}


def test_the_time_is_in_the_url(root: Path, monkeypatch: pytest.MonkeyPatch):
    app = opened(root, monkeypatch, since="24 h")
    assert app.query_params["since"] == "24 h"
    assert opened(root, monkeypatch, since="nonsense").query_params["since"] == "7 days"


def test_an_empty_lake_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    app = opened(tmp_path, monkeypatch)
    assert not app.exception
    assert "no rollups" in app.error[0].value
    assert any("ingest" in c.value for c in app.caption)


def test_a_broken_lake_is_a_sentence_and_the_what_if_still_works(root: Path, monkeypatch: pytest.MonkeyPatch):
    for file in (root / "lake" / "rollups").rglob("*.parquet"):
        file.write_bytes(b"PAR1 no more")
    app = opened(root, monkeypatch, since="all")
    assert not app.exception
    assert app.error
    assert any(b.label == "Work it out" for b in app.button)


def test_the_form_asks_the_command_and_shows_the_line_to_paste(root: Path, monkeypatch: pytest.MonkeyPatch):
    app = opened(root, monkeypatch, gpus="1024", recall="0.2")
    assert not app.exception
    assert not app.error
    shown = {m.label: m.value for m in app.metric}
    (line,) = (c.value for c in app.code if c.value.startswith("foreshock whatif"))
    answer = fetch(None, tuple(shlex.split(line)[2:]))
    assert shown["without Foreshock"] == f"{100 * answer['ettr_without']:.2f} %"
    assert shown["with Foreshock"] == f"{100 * answer['ettr_with']:.2f} %"
    assert "--gpus 1024" in line
    titles = {m.value for m in app.markdown}
    assert {
        "**Waste against interval**",
        "**What recall is worth**",
        "**Effective time against size**",
    } <= titles


def test_a_refusal_comes_in_the_commands_own_words():
    values = {f.option: f.default for f in FIELDS} | {"recall": 0.9}
    with pytest.raises(ForeshockError, match="recall") as caught:
        fetch(None, tuple(arguments("llama3", values)))
    assert caught.value.hint


def test_two_arms_show_the_causes_that_took_time():
    spec = arms({"lost work": 0.1, "no node": 0.0}, {"lost work": 0.05, "planned move": 0.01}, "dark")
    assert spec["encoding"]["color"]["scale"]["domain"] == ["lost work", "planned move"]
    assert pl.DataFrame(spec["data"]["values"])["share"].sum() == pytest.approx(16)


@pytest.mark.parametrize("recall", [0.0, 0.6])
def test_advice_knows_what_is_not_defined(recall: float):
    values = {f.option: f.default for f in FIELDS} | {"gpus": 1024, "recall": recall}
    told = advice(fetch(None, tuple(arguments("llama3", values))))
    assert ("A tenth more recall would be more than GPUs cause." in told) is (recall == 0.6)
    assert not any("None" in line or "nan" in line for line in told)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_curves_show_every_line_the_marks_and_what_was_simulated(theme: Theme):
    def line(name: str, *y: float, mark: list[float] | None = None) -> dict[str, Any]:
        return {"name": name, "x": [1.0, 10.0][: len(y)], "y": list(y), "mark": mark}

    arms_ = [line("without", 0.2, 0.3, mark=[2.0, 0.1]), line("with", 0.1, 0.2, mark=[3.0, 0.05])]
    waste = curves.waste_by_interval(arms_, theme)
    assert [v["y"] for v in waste["layer"][0]["data"]["values"]] == pytest.approx([20, 30, 10, 20])
    assert [(v["x"], v["y"]) for v in waste["layer"][1]["data"]["values"]] == [(2.0, 10.0), (3.0, 5.0)]
    gain = curves.gain_by_recall(
        [line("precision 1", 0.0, 0.1), line("this predictor", mark=[0.2, 0.03])], 0.6, theme
    )
    assert gain["layer"][1]["data"]["values"] == [{"name": "this predictor", "x": 0.2, "y": 3.0}]
    assert "color" not in gain["layer"][1]["encoding"], "it is no line of the legend"
    seen = [{"name": "with", "x": 8, "low": 90.0, "mean": 91.0, "high": 92.0}]
    size = curves.ettr_by_gpus(arms_, seen, theme)
    assert [layer["data"]["values"] for layer in size["layer"][2:4]] == [seen, seen]
