"""The model page: the registry as plain files, what its cards hold and lack, and what happens on the lake."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from streamlit.testing.v1 import AppTest

from pipeline.lake import Lake
from tests.dashboard.incident_rows import text, write_three
from tests.lake_fixture import make_lake

DEMO = Path(__file__).parents[2] / "demo" / "registry"
[MODEL] = [path.name for path in DEMO.iterdir() if path.is_dir()]
CARD = json.loads((DEMO / MODEL / "card.json").read_text("utf-8"))
Edit = Callable[[Path], None]


def script() -> None:
    """What a page of the app runs; the config comes from $FORESHOCK_CONFIG."""
    from collector.config_file import load
    from dashboard.model import page as model

    model.page(load())


def opened(root: Path, monkeypatch: pytest.MonkeyPatch, **url: str) -> AppTest:
    """The page on `root`/registry and `root`/lake."""
    config = root / "foreshock.toml"
    config.write_text(f'[lake]\npath = "{root}/lake"\n[models]\nregistry = "{root}/registry"\n')
    monkeypatch.setenv("FORESHOCK_CONFIG", str(config))
    app = AppTest.from_function(script, default_timeout=60)
    app.query_params.update(url)
    return app.run()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The demo's model, whose model.skops the page never needs, and a lake as the demo leaves it."""
    shutil.copytree(DEMO, tmp_path / "registry", ignore=shutil.ignore_patterns("*.skops", "evaluation.json"))
    make_lake(tmp_path / "lake")
    return tmp_path


def edited(path: Path, **more: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | more))


def evaluation(threshold: float, *, synthetic: bool = True) -> dict[str, Any]:
    """A report of `foreshock evaluate`, with one test and two models."""
    interval = {"figure": "recall", "value": 0.18, "low": 0.13, "high": 0.24}
    part = {"n": 20, "recall": 0.5, "low": 0.2, "high": 0.8}
    row = {"test": "unseen fleet", "horizon_days": 1 / 24, "roc_auc": 0.7, "pr_auc": 0.07,
           "ci95": {"pr_auc": [0.03, 0.12], "recall_at_budget": {"1.0": [0.1, 0.2]}},
           "recall_at_budget": {"1.0": 0.146}}  # fmt: skip
    test = {
        "test": "unseen fleet", "at_operating_point": {"recall": 0.18, "precision": None, "faults": 158.0},
        "intervals": [interval], "by_class": [part | {"class": "nvlink"}],
        "first_and_repeat": [part | {"repeat": False}],
        "lead_times": [{"quantile": 0.5, "lead_s": 3000.0}], "expected_calibration_error": 6e-6,
        "calibration": [{"mean_risk": 0.001, "rate": 0.002, "rows": 9}, {"mean_risk": 0.1, "rate": 0.0, "rows": 2}],
    }  # fmt: skip
    return {
        "synthetic": synthetic, "operating_point": {"threshold": threshold}, "tests": [test],
        "results": [row | {"model": "gpud's rules", "baseline": True}, row | {"model": "ours", "baseline": False}],
        "verdicts": [{"test": "unseen fleet", "horizon_days": 1 / 24, "best_baseline": "gpud's rules",
                      "pr_auc": {"verdict": "equal"}}],
    }  # fmt: skip


def test_it_tells_what_serves_and_what_it_promises(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = opened(root, monkeypatch)
    assert not app.exception
    assert not app.error
    figures = {metric.label: metric.value for metric in app.metric}
    assert figures["precision"] == "0.929"
    assert figures["recall"] == "0.252"
    assert figures["recall of precursor faults"] == "0.952"
    assert figures["alarms/day/10k GPUs"] == "0.875"
    assert figures["false alarms/day/10k GPUs"] == "0.0625"
    assert figures["median lead"] == "60 min"
    said = text(app)
    assert MODEL in said
    assert "synthetic" in said
    assert "no evidence about real GPUs" in said
    assert "most recall (0.236) with at most 0.15 false alarms a day" in said
    assert "docs/model-card-telemetry.md" in said


def test_what_the_card_does_not_hold_is_said(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    card = root / "registry" / MODEL / "card.json"
    told = json.loads(card.read_text())
    edited(card, metrics={}, curve=[], label={}, point={"threshold": told["point"]["threshold"]})
    app = opened(root, monkeypatch)
    assert not app.exception
    figures = {metric.label: metric.value for metric in app.metric}
    assert figures["precision"] == figures["median lead"] == "not measured"
    said = text(app)
    assert "The card holds no curve" in said
    assert "no intervals, no baselines" in said
    assert "does not hold the definition" in said


def test_a_figure_of_zero_is_a_figure(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    card = root / "registry" / MODEL / "card.json"
    edited(card, point={"threshold": 0.5, "precision": 0.0, "recall": 0.0, "alarms_per_day_per_10k": 0.0})
    app = opened(root, monkeypatch)
    assert not app.exception
    figures = {metric.label: metric.value for metric in app.metric}
    assert (figures["precision"], figures["recall"], figures["alarms/day/10k GPUs"]) == (
        "0.000",
        "0.000",
        "0",
    )


def test_an_evaluation_beside_the_card_gives_intervals_baselines_and_parts(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = root / "registry" / MODEL
    threshold = json.loads((folder / "card.json").read_text())["point"]["threshold"]
    (folder / "evaluation.json").write_text(json.dumps(evaluation(threshold)))
    app = opened(root, monkeypatch)
    assert not app.exception
    assert not app.error
    tables = [table.value for table in app.table]
    at_point = next(t for t in tables if "95 % interval" in t.columns)
    assert at_point["value"].to_list() == ["not measured", "0.18", "not measured", "not measured"]
    assert at_point["95 % interval"].to_list()[1] == "0.13 to 0.24"
    models = next(t for t in tables if "model" in t.columns)
    assert models["model"].to_list() == ["ours", "gpud's rules"]
    assert models["average precision (95 %)"].to_list()[0] == "0.07 (0.03 to 0.12)"
    assert models["recall at 1 alarm/day/10k (95 %)"].to_list()[0] == "0.146 (0.1 to 0.2)"
    assert "Against the best of them, gpud's rules: equal" in text(app)
    assert "1 bins without any fault are not drawn" in text(app)


@pytest.mark.parametrize("report", [evaluation(0.9), evaluation(CARD["point"]["threshold"], synthetic=False)])
def test_another_models_evaluation_is_refused(
    root: Path, monkeypatch: pytest.MonkeyPatch, report: dict[str, Any]
) -> None:
    (root / "registry" / MODEL / "evaluation.json").write_text(json.dumps(report))
    app = opened(root, monkeypatch)
    assert not app.exception
    assert "is of another model" in app.error[0].value
    assert any(metric.label == "faults the watcher saw" for metric in app.metric)


def test_the_lake_tells_who_scores_and_which_faults_were_foretold(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = opened(root, monkeypatch)
    figures = {metric.label: metric.value for metric in app.metric}
    assert figures["faults the watcher saw"] == "1"
    assert figures["of them foretold"] == "0 (0%)"
    assert "The newest predictions here are by `rules-1`" in app.warning[0].value


def test_measured_and_synthetic_rows_are_counted_apart(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_three(root / "lake")
    app = opened(root, monkeypatch)
    assert not app.exception
    seen = [metric.value for metric in app.metric if metric.label == "faults the watcher saw"]
    foretold = [metric.value for metric in app.metric if metric.label == "of them foretold"]
    assert seen == ["1", "1"]
    assert foretold == ["1 (100%)", "0 (0%)"]


def test_alarms_of_a_day_become_a_rate_only_where_there_is_enough_of_it(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "on 16 GPU-days begun, too few for a rate" in text(opened(root, monkeypatch))
    noon = datetime(2026, 3, 1, 12, tzinfo=UTC)
    many = pl.DataFrame({
        "minute": [noon + timedelta(minutes=1)] * 1000, "gpu_uuid": [f"GPU-{i}" for i in range(1000)],
        "node": "n", "synthetic": False,
    })  # fmt: skip
    Lake(root / "other" / "lake").append("rollups", many)
    assert "a day per 10,000 GPUs" in text(opened(root / "other", monkeypatch))


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (lambda root: shutil.rmtree(root / "registry"), "there is no registry"),
        (lambda root: (root / "registry/active.json").unlink(), "no model is active"),
        (lambda root: (root / "registry/active.json").write_text("{nonsense"), "active.json cannot be read"),
        (lambda root: shutil.rmtree(root / "registry" / MODEL), "its folder is not there"),
        (lambda root: (root / "registry" / MODEL / "card.json").unlink(), "it has no card.json"),
        (lambda root: (root / "registry" / MODEL / "card.json").write_bytes(b"\xff\xfe"), "is no card"),
        (
            lambda root: edited(root / "registry" / MODEL / "card.json", model_id="other"),
            "holds the card of other",
        ),
        (lambda root: edited(root / "registry" / MODEL / "card.json", synthetic=None), "is no card"),
        (lambda root: (root / "registry/log.jsonl").write_text("{}\n[\n"), "2 lines of"),
        (lambda root: (root / "registry/log.jsonl").unlink(), "No change is on record"),
    ],
)
def test_a_missing_or_broken_registry_is_a_sentence(
    root: Path, monkeypatch: pytest.MonkeyPatch, edit: Edit, said: str
) -> None:
    edit(root)
    app = opened(root, monkeypatch)
    assert not app.exception
    assert said in text(app)


def test_a_registry_that_is_a_file_is_no_registry(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.rmtree(root / "registry")
    (root / "registry").write_text("")
    assert "there is no registry" in text(opened(root, monkeypatch))


def test_an_empty_lake_says_who_fills_it(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.rmtree(root / "lake")
    app = opened(root, monkeypatch)
    assert not app.error
    assert "foreshock ingest" in text(app)


def test_a_broken_lake_leaves_the_model_on_the_page(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in (root / "lake" / "predictions").rglob("*.parquet"):
        path.write_bytes(b"{nonsense")
    app = opened(root, monkeypatch)
    assert not app.exception
    assert len(app.error) == 1
    assert app.metric[0].value == "0.929"


def test_real_and_synthetic_models_never_share_a_table(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = MODEL.replace("imminence-2026", "imminence-2027")
    shutil.copytree(root / "registry" / MODEL, root / "registry" / other)
    edited(root / "registry" / other / "card.json", model_id=other, synthetic=False, dataset="lake")
    app = opened(root, monkeypatch)
    listed = [f.value["model"].to_list() for f in app.dataframe if "AP" in f.value.columns]
    assert listed == [[other], [MODEL]]


def test_the_demos_model_shows_what_was_measured_of_it(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copy(DEMO / MODEL / "evaluation.json", root / "registry" / MODEL)
    app = opened(root, monkeypatch)
    assert not app.exception
    assert not app.error
    assert "no intervals, no baselines" not in text(app)
