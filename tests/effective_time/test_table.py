"""docs/effective-time.md: its conditions are the literature's, and it is made from what is simulated."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from effective_time import closed, table, table_replay, table_rows, table_text
from effective_time.compare import spread
from effective_time.rates import PRESETS
from effective_time.stack import STACKS
from effective_time.table_text import Figures
from models.registry import Registry

REGISTRY = Path(__file__).parents[2] / "demo" / "registry"
DOCS = Path(__file__).parents[2] / "docs" / "effective-time.md"
NOTHING = table_rows.Check("", 0.0, spread([0.0]))
LITERATURE = {
    # C, U: (with C_p + P of 21 s, with the stack's own)
    (0.04, 60.0): 0.12,
    (0.1, 60.0): 0.42,
    (0.1, 120.0): 0.67,
    (0.5, 120.0): 0.89,
}


@pytest.fixture
def card():
    models = Registry(REGISTRY)
    active = models.active()
    assert active is not None
    return models.card(active)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch):
    """All of the page, of jobs that are quick to simulate."""
    monkeypatch.setattr(table_rows, "DAYS", dict.fromkeys(table_rows.DAYS, 3.0))
    monkeypatch.setattr(table_rows, "CAPS_DAYS", 3.0)


def test_the_recall_that_reaches_the_target_is_the_literatures():
    found = {(n.checkpoint_s, n.recovery_s): n.recall_own for n in table_rows.needs()}
    assert found == pytest.approx(LITERATURE, abs=0.005)


def test_the_recovery_that_reaches_it_without_a_predictor_is_the_literatures():
    at = {c.checkpoint_s: c.recovery_s[0.0] for c in table_rows.conditions(own=False)}
    assert at[0.1] == pytest.approx(31, abs=0.5)
    assert at[0.04] == pytest.approx(53, abs=0.5)
    assert at[0.5] is at[1.0] is None
    for gpus, c, u in ((1_024, 1.0, 295), (16_384, 0.1, 9), (16_384, 0.04, 26)):
        assert table_rows.needs_no_predictor(gpus, c) == pytest.approx(u, abs=0.6)


def test_each_edge_is_the_target_itself_and_a_second_more_is_below_it():
    for c in table_rows.conditions(own=True):
        for recall, recovery_s in c.recovery_s.items():
            if recovery_s is None:
                continue
            at, over = (
                closed.with_(table_rows.foretold(table_rows._quick(c.checkpoint_s, u, c.move_s), recall))
                for u in (recovery_s, recovery_s + 1)
            )
            assert at == pytest.approx(table_rows.TARGET, abs=1e-6)
            assert over < table_rows.TARGET


def test_from_some_checkpoint_cost_on_no_recovery_is_fast_enough():
    edge = table_rows.quickest_checkpoint_s()
    assert table_rows.needs_no_predictor(10_000, edge * 1.01) is None
    assert table_rows.needs_no_predictor(10_000, edge * 0.99) is not None


def test_the_value_of_a_tenth_of_recall_is_the_literatures():
    assert [round(100 * table_rows.tenth(s), 2) for s in STACKS] == [1.00, 0.50, 0.26, 0.12]


def test_closed_forms_of_the_rows_are_the_literatures(card):
    rows = {
        (r.stack.checkpoint_s, r.gpus): r for r in table_rows.effective(card, range(1), _silent, (10_000,))
    }
    for c, without, assumed in (
        (60, 86.22, 88.12),
        (5, 94.55, 95.42),
        (1, 97.35, 97.78),
        (0.5, 98.61, 98.82),
    ):
        row = rows[c, 10_000]
        assert 100 * row.without == pytest.approx(without, abs=0.01)
        assert 100 * row.assumed == pytest.approx(assumed, abs=0.01)
        assert row.without < row.trained < row.assumed


def test_the_trained_models_case_is_its_card_carried_to_these_rates(card):
    row = next(table_rows.effective(card, range(1), _silent, (1_024,)))
    case, point = row.simulated_trained.case, card.point
    assert case.recall == point.recall
    faults = PRESETS["llama3"].faults_per_gpu_day * PRESETS["llama3"].gpu_share
    false = point.alarms_per_day_per_10k * (1 - point.precision) / 1e4
    assert case.precision == pytest.approx(point.recall * faults / (point.recall * faults + false))


def test_one_command_makes_the_page_and_keeps_what_a_replay_left(small, tmp_path: Path):
    path, out, err = tmp_path / "page.md", io.StringIO(), io.StringIO()
    path.write_text(f"old\n{table_replay.BEGIN}\n## Replay by hand\n{table_replay.END}\nold\n")
    argv = ["--out", str(path), "--seeds", "2", "--registry", str(REGISTRY), "--json"]
    assert table.main(argv, out, err) == 0
    page = path.read_text()
    assert len(page.splitlines()) < 200
    assert "python -m effective_time.table" in "\n".join(page.splitlines()[:4])
    assert "trained model (SYNTHETIC)" in page
    assert f"{table_replay.BEGIN}\n## Replay by hand\n{table_replay.END}" in page
    assert "old" not in page.splitlines()
    assert "16,384 GPUs" in err.getvalue()
    told = json.loads(out.getvalue())
    assert len(told["effective"]) == 12
    assert {c["name"] for c in told["caps"]} == {"as shipped", "recommended", "none"}
    assert len(told["checks_of_target"]) == 3


def test_a_registry_without_an_active_model_is_an_error(tmp_path: Path):
    err = io.StringIO()
    assert table.main(["--registry", str(tmp_path)], io.StringIO(), err) == 1
    assert "no model is active" in err.getvalue()


def test_the_page_in_the_repository_is_what_the_command_makes_today(card):
    """A row as long as the page's own, so that a change of policy, model or simulation cannot leave it behind."""
    page = DOCS.read_text()
    assert f"`{card.model_id}`" in page
    assert (
        table_text.target(Figures(card, table.SEEDS, [], [], [], NOTHING, [])).partition("Three of")[0]
        in page
    )
    rows = table_rows.effective(card, range(table.SEEDS), _silent, (1_024,))
    row = next(r for r in rows if r.stack == STACKS[1])
    assert "| " + " | ".join(table_text.cells(row)) + " |" in page, "run: python -m effective_time.table"
    assert "## Replay of real node faults" in table_replay.kept(page)


def _silent(_what: str) -> None:
    pass
