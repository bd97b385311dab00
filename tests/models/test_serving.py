"""What ingest serves: rules, then what is promoted, while it runs; a bad promotion never ends the stream."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from collector.errors import ForeshockError
from models import serving, telemetry_train
from models.cards import Card, OperatingPoint
from models.registry import Registry
from models.rules import RuleScorer
from models.serving import Serving
from models.telemetry_scores import OURS, SERVED_S
from pipeline.features import FEATURE_SET
from pipeline.predict import predictions
from pipeline.scoring import Scorer
from tests.models.tiny_fleet import evaluated

NOON = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)


def saved(root: Path, minute: int = 0) -> str:
    """The tiny fleet's model (synthetic)."""
    report, learnt, point, frames = evaluated()
    last = report["tests"][-1]
    return telemetry_train.save(
        Registry(root), learnt, point, dataset="simulated", synthetic=True,
        results=[r for r in report["results"] if r["test"] == last["test"]], at_point=last,
        curve=frames[f"{last['test']}/curve/{OURS}"], created=NOON.replace(minute=minute), seed=0,
    )  # fmt: skip


def planted(root: Path, **changes: Any) -> str:
    """A model file that the registry takes and that scores nothing."""
    card: dict[str, Any] = {
        "head": "imminence", "created": NOON.replace(minute=59), "feature_set": FEATURE_SET, "feature_names": ("a",),
        "label": {}, "label_digest": "ee", "horizon_s": SERVED_S, "point": OperatingPoint(threshold=0.4, chosen_by="x"),
        "data_from": NOON, "data_until": NOON, "n_faults": 1, "n_rows": 2, "dataset": "none", "synthetic": True,
        "metrics": {},
    }  # fmt: skip
    return Registry(root).save({"number": 1}, Card(**(card | changes)))


@pytest.fixture(scope="module")
def matrix() -> pl.DataFrame:
    rows = evaluated()[1].matrix
    return rows.sort("fault_events_24h", descending=True, nulls_last=True)[:: rows.height // 300]


@pytest.fixture(autouse=True)
def look_always(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "_LOOK_EVERY_S", 0.0)


def test_the_rules_score_while_nothing_is_promoted(tmp_path: Path, matrix: pl.DataFrame):
    saved(tmp_path)
    served: Scorer = Serving(tmp_path)
    assert served.model_id == RuleScorer.model_id
    assert served.horizon_s == RuleScorer.horizon_s
    assert served.score(matrix).equals(RuleScorer().score(matrix))


def test_a_promotion_and_a_rollback_are_taken_up_between_two_calls(
    tmp_path: Path, matrix: pl.DataFrame, caplog
):
    served, registry, model_id = Serving(tmp_path), Registry(tmp_path), saved(tmp_path)
    registry.promote(model_id, "first")
    with caplog.at_level(logging.WARNING):
        scored = served.score(matrix)
    assert (served.model_id, served.horizon_s, served.feature_set) == (model_id, SERVED_S, FEATURE_SET)
    assert scored["risk"].to_list() == pytest.approx(
        evaluated()[1].model.probability(matrix, SERVED_S).tolist()
    )
    assert f"scored by {model_id} from now on" in caplog.text
    registry.rollback("worse than the rules")
    assert served.score(matrix).equals(RuleScorer().score(matrix))
    assert served.model_id == RuleScorer.model_id


def test_between_looks_nothing_changes(tmp_path: Path, matrix: pl.DataFrame, monkeypatch: pytest.MonkeyPatch):
    served = Serving(tmp_path)
    Registry(tmp_path).promote(saved(tmp_path), "first")
    monkeypatch.setattr(serving, "_LOOK_EVERY_S", 3600.0)
    served.score(matrix)
    assert served.model_id == RuleScorer.model_id


def test_what_is_active_serves_from_the_start(tmp_path: Path):
    model_id = saved(tmp_path)
    Registry(tmp_path).promote(model_id, "first")
    assert Serving(tmp_path).model_id == model_id


def broken_file(root: Path) -> str:
    model_id = saved(root, minute=1)
    Registry(root).promote(model_id, "second")
    (root / model_id / "model.skops").write_bytes(b"torn")
    return model_id


def another_head(root: Path) -> str:
    model_id = planted(root, head="proneness")
    Registry(root).promote(model_id, "second")
    return model_id


def no_trees(root: Path) -> str:
    model_id = planted(root)
    Registry(root).promote(model_id, "second")
    return model_id


def torn_register(root: Path) -> str:
    (root / "active.json").write_text("{")
    return "active.json"


def no_folder(root: Path) -> str:
    """What a file system that went away looks like: an OSError that nobody expects."""
    (root / "active.json").unlink()
    (root / "active.json").mkdir()
    return "active.json"


BAD = [broken_file, another_head, no_trees, torn_register, no_folder]


@pytest.mark.parametrize("spoil", BAD)
def test_what_cannot_be_loaded_leaves_the_old_one_scoring_and_is_logged(
    spoil, tmp_path: Path, matrix: pl.DataFrame, caplog: pytest.LogCaptureFixture
):
    old = saved(tmp_path)
    Registry(tmp_path).promote(old, "first")
    served = Serving(tmp_path)
    before = served.score(matrix)
    name = spoil(tmp_path)
    with caplog.at_level(logging.ERROR):
        assert served.score(matrix).equals(before)
    assert served.model_id == old
    [told] = [r.getMessage() for r in caplog.records if r.levelno == logging.ERROR]
    assert told.startswith(f"{old} goes on scoring: ")
    assert name in told


def test_after_a_bad_promotion_the_next_good_one_serves(tmp_path: Path, matrix: pl.DataFrame):
    old, good = saved(tmp_path), saved(tmp_path, minute=2)
    registry = Registry(tmp_path)
    registry.promote(old, "first")
    served = Serving(tmp_path)
    another_head(tmp_path)
    served.score(matrix)
    assert served.model_id == old
    registry.promote(good, "third")
    served.score(matrix)
    assert served.model_id == good


@pytest.mark.parametrize("spoil", [broken_file, another_head, no_trees, torn_register])
def test_at_the_start_there_is_no_old_one_and_the_error_is_raised(spoil, tmp_path: Path):
    spoil(tmp_path)
    with pytest.raises(ForeshockError) as caught:
        Serving(tmp_path)
    assert caught.value.hint


def test_another_head_is_refused_by_name(tmp_path: Path):
    with pytest.raises(ForeshockError, match="of the head proneness"):
        serving.load(tmp_path, planted(tmp_path, head="proneness"))


def test_predictions_carry_the_id_of_the_model_that_made_them(tmp_path: Path, matrix: pl.DataFrame):
    served, model_id = Serving(tmp_path), saved(tmp_path)
    by_rules = predictions(matrix, served)
    assert by_rules["model_id"].unique().to_list() == [RuleScorer.model_id]
    Registry(tmp_path).promote(model_id, "first")
    rows = predictions(matrix, served)
    assert rows["model_id"].unique().to_list() == [model_id]
    assert rows["feature_set"].unique().to_list() == [FEATURE_SET]
    assert rows["horizon_s"].unique().to_list() == [SERVED_S]
    assert rows.height == matrix.height
