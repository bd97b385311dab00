"""The drift on the model's page: the command's own verdict, asked for by a click and kept for an hour."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from collector.errors import ForeshockError
from dashboard import command
from tests.dashboard.incident_rows import text
from tests.dashboard.test_model import DEMO, MODEL, opened
from tests.lake_fixture import make_lake

TOLD: dict[str, Any] = {
    "model_id": MODEL, "since": "2026-03-01T12:00:00", "until": "2026-03-08T12:00:00", "synthetic": True,
    "gpu_days": 56.0, "n_rows": 80_640, "n_faults": 3, "verdict": "drifted",
    "drift": [
        {"feature": "power_w_mean", "psi": 0.31, "verdict": "drifted"},
        {"feature": "gone", "psi": None, "verdict": "missing"},
    ],
    "decay": [
        {"measure": "recall", "promised": 0.18, "measured": 0.0, "low": 0.0, "high": 0.7, "n": 3,
         "verdict": "too few faults to tell"},
        {"measure": "precision", "promised": 0.9, "measured": None, "low": None, "high": None, "n": 0,
         "verdict": "too few faults to tell"},
    ],
}  # fmt: skip


@pytest.fixture
def root(tmp_path: Path) -> Path:
    shutil.copytree(DEMO, tmp_path / "registry")
    make_lake(tmp_path / "lake", nodes=1, minutes=3)
    return tmp_path


def _asked(root: Path, monkeypatch: pytest.MonkeyPatch) -> AppTest:
    app = opened(root, monkeypatch)
    button = next(b for b in app.button if b.label == "Compute the drift")
    return button.click().run()


def test_the_verdict_stands_with_promise_and_inputs(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []

    def run(argv: list[str], *_: object, **__: object) -> str:
        asked.append(argv)
        return json.dumps(TOLD)

    monkeypatch.setattr(command, "run", run)
    app = _asked(root, monkeypatch)
    assert not app.exception
    assert asked[0][-4:] == ["models", "drift", "--days=7", "--json"]
    assert "Drifted: an input or the risk" in app.warning[0].value
    assert "1 of 2 inputs: missing." in text(app)
    [inputs] = [f.value for f in app.dataframe if "PSI" in f.value.columns]
    assert inputs["input"].to_list() == ["power_w_mean", "gone"]
    [decay] = [t.value for t in app.table if "promised" in t.value.columns]
    assert decay["measured (95 %)"].to_list() == ["0 (0 to 0.7), of 3", "not known, of 0"]


def test_the_real_command_is_asked_of_this_lake_and_this_registry(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever its verdict: minutes of a lake are too few, and no real days."""
    app = _asked(root, monkeypatch)
    assert not app.exception
    assert not app.error
    assert f"`{MODEL}`, 2026-02-22T" in text(app)
    assert "synthetic data" in text(app)
    assert any("PSI" in f.value.columns for f in app.dataframe)


def test_a_command_of_ours_that_says_nothing_or_never_ends_is_a_sentence() -> None:
    late = ForeshockError("too late", hint="wait")
    for argv, said in (
        (["sh", "-c", "echo foreshock: no >&2; echo '  Try: yes' >&2; exit 1"], "no"),
        (["sh", "-c", "exit 3", "foreshock", "whatif"], "`foreshock whatif` failed without a word"),
        (["sleep", "30"], "too late"),
    ):
        with pytest.raises(ForeshockError, match=said) as refused:
            command.run(argv, 0.3, late=late)
        assert refused.value.hint
    with pytest.raises(ForeshockError, match="no model"):
        command.run(["sh", "-c", "echo foreshock: no model >&2; exit 1"], 5, late=late, fine=(0, 1))
    assert command.run(["sh", "-c", "echo told; exit 1"], 5, late=late, fine=(0, 1)) == "told"
