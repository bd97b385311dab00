"""`foreshock models compare`, `drift`, `foreshock train --promote-if-better`; a small simulated fleet (synthetic)."""

from __future__ import annotations

import argparse
import io
import json
import shlex
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

import foreshock
from collector.config import Config
from collector.errors import ForeshockError
from models import arguments, contenders, drift, lake_protocol, registry_cli, telemetry_cli
from models.cards import Card, OperatingPoint
from models.imminence import ImminenceScorer, Model, fit, to_state
from models.promotion import promote_if_better
from models.registry import Registry
from models.replay import RISK, replay
from pipeline import labels
from pipeline.features import FEATURE_SET, NAMES
from pipeline.lake import Lake
from tests.models.shadow_lake import BUDGETS, END, FAULTS, SINCE, Planted, faults_of, fleet_lake

DAY_S = 86_400


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory):
    return fleet_lake(tmp_path_factory.mktemp("lake"))


@pytest.fixture(scope="module")
def learnt(lake: Lake) -> tuple[Model, dict[str, Any]]:
    """From the very days that it is compared on: a cheat that is better than the rules, and the test knows."""
    matrix = replay(lake, (Planted("nobody"),), (0.9,), SINCE, END, sample_rows=12_000).sample.drop(RISK)
    label = labels.label(matrix, faults_of(lake), horizon_s=3 * 3600, until=END)
    with threadpool_limits(1):  # a busy machine's threads wait for each other
        model = fit(matrix, {DAY_S: label}, episodes={DAY_S: FAULTS})
    risk = ImminenceScorer(model, "x", DAY_S).score(matrix)["risk"]
    return model, drift.reference(matrix, risk=risk)


def save(root: Path, learnt: tuple[Model, dict[str, Any]], **changes: Any) -> str:
    model, reference = learnt
    card: dict[str, Any] = {
        "head": "imminence", "created": SINCE - timedelta(days=1), "feature_set": FEATURE_SET, "feature_names": NAMES,
        "label": labels.DEFINITION.as_dict(), "label_digest": labels.DEFINITION.digest, "horizon_s": DAY_S,
        "point": OperatingPoint(threshold=0.2, chosen_by="hand"), "data_from": SINCE - timedelta(days=20),
        "data_until": SINCE - timedelta(days=9), "n_faults": 60, "n_rows": 1, "dataset": "made up", "synthetic": True,
        "metrics": {}, "reference": reference,
    }  # fmt: skip
    return Registry(root).save(to_state(model), Card(**(card | changes)))


def point(threshold: float = 0.2, **promised: float) -> OperatingPoint:
    return OperatingPoint(threshold=threshold, chosen_by="hand", **promised)


def ask(root: Path, lake: Lake | None, *words: str) -> tuple[int, str]:
    parser = argparse.ArgumentParser()
    arguments.add_models(parser)
    out = io.StringIO()
    code = registry_cli.run(parser.parse_args(words), root, out, lake.path if lake else None)
    return code, out.getvalue()


def test_a_model_is_compared_with_the_rules_while_none_is_active(lake, learnt, tmp_path):
    model_id = save(tmp_path, learnt)
    code, text = ask(tmp_path, lake, "compare", model_id, "--days", "1.5")
    assert code == 0
    for told in (
        "one:   rules-", f"other: {model_id}", f"{FAULTS} faults on 11 nodes", "precision, own threshold",
        "recall at 0.5 alarms a day", "the budget allows no alarm", "No win: ", "SYNTHETIC",
    ):  # fmt: skip
        assert told in text
    assert "promote" not in text


def test_against_says_with_what_and_json_has_it_all(lake, learnt, tmp_path):
    model_id = save(tmp_path, learnt)
    Registry(tmp_path).promote(model_id, "r")
    told = json.loads(ask(tmp_path, lake, "compare", "rules", "--days", "1.5", "--json")[1])
    assert told["one"]["model_id"] == model_id
    assert told["other"]["model_id"].startswith("rules-")
    assert told["other"]["threshold"] == contenders.RULES_THRESHOLD
    assert told["wins"] is False
    assert set(told["verdicts"]) == {
        "precision", "recall", "false_per_day_per_10k", "recall_at_budget_0.5", "recall_at_budget_1",
    }  # fmt: skip


def test_no_model_is_judged_on_days_that_it_learnt_from(lake, learnt, tmp_path):
    old = save(tmp_path, learnt, dataset="lake", data_until=END - timedelta(days=3))
    new = save(tmp_path, learnt, dataset="lake", data_until=END - timedelta(hours=30), created=END)
    told = json.loads(ask(tmp_path, lake, "compare", old, "--days", "1.5", "--json")[1])
    assert told["since"] == (END - timedelta(days=1)).isoformat()
    assert any("begins later than asked" in note for note in told["notes"])
    with pytest.raises(ForeshockError, match=f"not new to {new}"):
        ask(tmp_path, lake, "compare", new, "--days", "1.5")


def test_drift_is_0_where_the_promise_holds_and_1_where_it_does_not(lake, learnt, tmp_path):
    with pytest.raises(ForeshockError, match="no model is active"):
        ask(tmp_path, lake, "drift")
    modest = save(tmp_path, learnt, point=point(precision=0.5, recall=0.3, alarms_per_day_per_10k=9000.0))
    boastful = save(tmp_path, learnt, created=SINCE, point=point(0.05, precision=1.0, recall=1.0))
    Registry(tmp_path).promote(modest, "r")
    code, text = ask(tmp_path, lake, "drift", "--days", "1.5")
    assert (code, text.splitlines()[0]) == (0, f"{modest}: stable")
    assert "SYNTHETIC" in text
    assert f"and {len(NAMES) - 11} more, smaller: {len(NAMES) - 11} stable" in text
    Registry(tmp_path).promote(boastful, "r")
    code, text = ask(tmp_path, lake, "drift", "--days", "1.5", "--json")
    assert code == 1
    assert json.loads(text)["verdict"] == "decayed"


def test_without_a_lake_it_says_so(tmp_path):
    with pytest.raises(ForeshockError, match="needs a lake"):
        ask(tmp_path, None, "drift")


def test_a_new_model_that_wins_is_promoted_with_the_reason(lake, learnt, tmp_path):
    model_id = save(tmp_path, learnt)
    told = promote_if_better(lake, tmp_path, model_id, budgets=BUDGETS)
    assert told["promoted"], told["why"]
    assert told["against"].startswith("rules-")
    window = lake_protocol.windows(lake_protocol.reach(lake))[1]
    assert (told["compared"]["since"], told["compared"]["until"]) == tuple(t.isoformat() for t in window)
    assert Registry(tmp_path).active() == model_id
    assert "recall at 8000 alarms" in Registry(tmp_path).history()[-1].reason
    again = promote_if_better(lake, tmp_path, save(tmp_path, learnt, created=SINCE), budgets=BUDGETS)
    assert not again["promoted"], "it is the same model, and no better"
    assert Registry(tmp_path).active() == model_id


def test_one_that_does_not_win_or_cannot_be_compared_is_not_promoted(lake, learnt, tmp_path):
    silent = save(tmp_path, learnt, point=point(threshold=1.1))
    told = promote_if_better(lake, tmp_path, silent, budgets=BUDGETS)
    assert (told["promoted"], Registry(tmp_path).active()) == (False, None)
    broken = save(tmp_path, learnt, created=SINCE)
    Registry(tmp_path).promote(broken, "r")
    (tmp_path / broken / "model.skops").write_bytes(b"torn")
    told = promote_if_better(lake, tmp_path, silent, budgets=BUDGETS)
    assert told["promoted"] is False
    assert "cannot be compared" in told["why"]


def test_every_command_of_the_page_for_operators_exists():
    page = Path(__file__).parents[2] / "docs" / "models.md"
    lines = [line[4:] for line in page.read_text().splitlines() if line.startswith("    foreshock ")]
    assert len(lines) >= 11
    for line in lines:
        foreshock._parser().parse_args(shlex.split(line)[1:])


def test_promote_if_better_goes_neither_with_promote_nor_with_a_simulation(capsys):
    parser = argparse.ArgumentParser()
    arguments.add_train(parser)
    with pytest.raises(SystemExit):
        parser.parse_args(["--promote", "--promote-if-better"])
    assert "not allowed with" in capsys.readouterr().err
    args = parser.parse_args(["--dataset", "simulated", "--promote-if-better"])
    with pytest.raises(ForeshockError, match="learnt from the lake"):
        telemetry_cli.train(args, Config(), io.StringIO())
