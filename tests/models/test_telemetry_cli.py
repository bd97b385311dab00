"""`foreshock train`, `evaluate` and `models` through the front door, on a tiny simulated fleet (synthetic)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import foreshock
from models import evaluate_simulated, telemetry_cli
from models.registry import Registry
from models.serving import Serving, load
from models.simulated_protocol import Setting, times
from models.telemetry_baselines import BASELINES
from models.telemetry_scores import OURS, SERVED_S
from pipeline.features import FEATURE_SET, NAMES
from pipeline.labels import DEFINITION
from tests.models.tiny_fleet import DENSE, FALSE_PER_DAY, SETTING, evaluated

FLEET = (
    "--dataset", "simulated", "--gpus", "64", "--days", "30", "--precursors", "high", "--seed", "8",
    "--fault-rate-factor", "100", "--processes", "1", "--false-alarms", f"{FALSE_PER_DAY:g}",
)  # fmt: skip


class Place(NamedTuple):
    config: Path
    registry: Path


def remembered(setting: Setting, *, false_per_day: float, sweep_gpus: int, progress: Any, keep: Any) -> Any:
    """The real evaluation of what was asked for, which the same arguments need only once."""
    assert (setting, false_per_day, sweep_gpus) == (SETTING, FALSE_PER_DAY, 0)
    progress.say("evaluated")
    keep(evaluated()[0])
    return evaluated()


@pytest.fixture(scope="module", autouse=True)
def tiny() -> Iterator[None]:
    """The command line says how large the fleet is; how densely it is looked at is not asked of people."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(telemetry_cli, "Setting", partial(Setting, **DENSE))
        patched.setattr(evaluate_simulated, "evaluate", remembered)
        yield


@pytest.fixture
def place(tmp_path: Path) -> Place:
    config = tmp_path / "foreshock.toml"
    registry, lake = tmp_path / "models", tmp_path / "lake"
    config.write_text(f'[models]\nregistry = "{registry}"\n[lake]\npath = "{lake}"\n', encoding="utf-8")
    return Place(config, registry)


def ask(place: Place, *words: str) -> int:
    return foreshock.main(["--config", str(place.config), *words])


def test_train_saves_a_model_whose_card_says_what_was_seen(place: Place, capsys: pytest.CaptureFixture[str]):
    assert ask(place, "train", *FLEET) == 0
    said = capsys.readouterr()
    registry = Registry(place.registry)
    [model_id] = registry.list()
    assert registry.active() is None
    assert f"foreshock models promote {model_id} --reason WHY" in said.out
    assert "SYNTHETIC: no evidence about real GPUs" in said.out
    assert "evaluated" in said.err
    report, learnt, point, frames = evaluated()
    card, at = registry.card(model_id), report["tests"][-1]["at_operating_point"]
    assert (card.synthetic, card.dataset, card.head, card.horizon_s) == (
        True,
        "simulated",
        "imminence",
        SERVED_S,
    )
    assert (card.feature_set, card.feature_names, card.label_digest) == (
        FEATURE_SET,
        NAMES,
        DEFINITION.digest,
    )
    assert (card.n_faults, card.n_rows, card.seed) == (learnt.faults.height, learnt.matrix.height, 8)
    assert (card.point.threshold, card.point.chosen_by) == (point.threshold, point.why)
    assert (card.point.precision, card.point.recall) == (at["precision"], at["recall"])
    assert [p.threshold for p in card.curve] == frames[f"unseen fleet/curve/{OURS}"]["threshold"].to_list()
    assert card.data_until - timedelta(minutes=1) == learnt.matrix["minute"].max()
    assert card.data_until <= times(SETTING.fleet()).train[1]
    served = next(
        r for r in report["results"]
        if (r["test"], r["model"], r["horizon_days"]) == ("unseen fleet", OURS, SERVED_S / 86_400)
    )  # fmt: skip
    assert card.metrics["ap"] == served["pr_auc"]
    assert card.reference


def test_the_saved_model_scores_as_the_one_that_was_measured(
    place: Place, capsys: pytest.CaptureFixture[str]
):
    ask(place, "train", *FLEET)
    capsys.readouterr()
    learnt = evaluated()[1]
    scorer = load(place.registry, Registry(place.registry).list()[0])
    rows = learnt.matrix[:500]
    assert scorer.score(rows)["risk"].to_list() == learnt.model.probability(rows, SERVED_S).tolist()


def test_promote_makes_it_serve_and_json_is_one_object(place: Place, capsys: pytest.CaptureFixture[str]):
    assert ask(place, "train", *FLEET, "--promote", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["promoted"] is True
    assert told["synthetic"] is True
    assert Registry(place.registry).active() == told["model_id"]
    assert Serving(place.registry).model_id == told["model_id"]
    assert ask(place, "models", "list") == 0
    listed = capsys.readouterr().out
    assert any(line.split()[:2] == ["*", told["model_id"]] for line in listed.splitlines())
    assert "synthetic" in listed
    assert ask(place, "models", "show", told["model_id"]) == 0
    assert "SYNTHETIC" in capsys.readouterr().out
    assert ask(place, "models", "check", told["model_id"]) == 0


def test_evaluate_writes_the_report_the_card_and_the_pictures(
    place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    out, copy = tmp_path / "out", tmp_path / "model-card.md"
    assert ask(place, "evaluate", *FLEET, "--out", str(out), "--card", str(copy)) == 0
    said = capsys.readouterr().out
    names = {"precision-recall", "alarm-rate", "calibration", "lead-times", "recall-by-class"}
    assert {p.name for p in out.iterdir()} == {f"{n}.png" for n in names} | {
        "evaluation.json",
        "model-card.md",
    }
    text = (out / "evaluation.json").read_text()
    report = json.loads(text, parse_constant=pytest.fail)
    assert {r["model"] for r in report["results"]} == {OURS, *BASELINES}
    card = (out / "model-card.md").read_text()
    assert card == copy.read_text()
    assert "(synthetic)" in card.splitlines()[0]
    assert f"`foreshock evaluate {' '.join(FLEET[:8])}" in card
    assert f"--false-alarms {FALSE_PER_DAY:g}" in card
    assert said.startswith("imminence, SYNTHETIC")
    assert Registry(place.registry).list() == ()


def test_evaluate_saves_where_asked_and_prints_what_it_wrote(
    place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    out = tmp_path / "out"
    assert ask(place, "evaluate", *FLEET, "--json", "--save", "--out", str(out)) == 0
    said = capsys.readouterr()
    assert json.loads(said.out) == json.loads((out / "evaluation.json").read_text())
    [model_id] = Registry(place.registry).list()
    assert model_id in said.err


def test_a_run_that_was_stopped_leaves_the_tests_that_were_over(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def stopped(setting: Setting, *, keep: Any, **_more: Any) -> Any:
        keep({**evaluated()[0], "results": [], "tests": [{"test": "unseen time"}]})
        raise KeyboardInterrupt

    monkeypatch.setattr(evaluate_simulated, "evaluate", stopped)
    assert ask(place, "evaluate", *FLEET, "--out", str(tmp_path / "out")) == 130
    [left] = (tmp_path / "out").iterdir()
    assert left.name == "evaluation-so-far.json"
    assert json.loads(left.read_text())["tests"] == [{"test": "unseen time"}]


@pytest.mark.parametrize("command", ["train", "evaluate"])
def test_a_lake_that_is_not_there_ends_in_a_sentence_and_what_to_do(
    command: str, place: Place, capsys: pytest.CaptureFixture[str]
):
    assert ask(place, command, "--dataset", "lake") == 1
    said = capsys.readouterr()
    assert "the lake has no rollups to learn from" in said.err
    assert "Try: foreshock ingest" in said.err
    assert said.out == ""
    assert Registry(place.registry).list() == ()
