import argparse
import io
import json
from datetime import UTC, datetime
from typing import Any

import pytest

from collector.errors import ForeshockError
from models import arguments, registry_cli
from models.cards import Card, OperatingPoint
from models.registry import Registry
from pipeline.features import FEATURE_SET

NOON = datetime(2026, 1, 5, 12, 30, tzinfo=UTC)


def save(root, number, **changes):
    card: dict[str, Any] = {
        "head": "imminence", "created": NOON.replace(minute=number), "feature_set": FEATURE_SET,
        "feature_names": ("a",), "label": {"min_lead_s": 300}, "label_digest": "ee", "horizon_s": 3600,
        "point": OperatingPoint(threshold=0.4, chosen_by="1 alarm a day per 10,000 GPUs", precision=0.875, recall=0.0),
        "data_from": NOON, "data_until": NOON, "n_faults": 41, "n_rows": 200, "dataset": "drawn numbers",
        "synthetic": True, "metrics": {"ap": 0.1234},
    }  # fmt: skip
    return Registry(root).save({"number": number}, Card(**(card | changes)))


def ask(root, *words):
    parser = argparse.ArgumentParser()
    arguments.add_models(parser)
    out = io.StringIO()
    code = registry_cli.run(parser.parse_args(words), root, out)
    return code, out.getvalue()


def test_an_empty_registry_says_how_to_get_a_model(tmp_path):
    code, text = ask(tmp_path / "none", "list")
    assert code == 0
    assert "foreshock train" in text
    assert ask(tmp_path / "none", "list", "--json") == (0, "[]\n")
    assert "Nothing has happened" in ask(tmp_path / "none", "history")[1]


def test_the_list_marks_the_active_model_and_says_synthetic_or_real(tmp_path):
    old = save(tmp_path, 1)
    new = save(tmp_path, 2, synthetic=False, metrics={}, feature_set="f" * 16)
    assert "No model is active" in ask(tmp_path, "list")[1]
    assert ask(tmp_path, "promote", old, "--reason", "first")[0] == 0
    head, first, second, *rest = ask(tmp_path, "list")[1].splitlines()
    assert head.split() == [
        "model",
        "created",
        "head",
        "horizon",
        "faults",
        "AP",
        "precision",
        "recall",
        "data",
    ]
    assert first.split()[:2] == [new, "2026-01-05"]
    assert first.split("  ")[-1].strip() == "real, other feature set"
    assert "not measured" in first
    assert second.split() == [
        "*", old, "2026-01-05", "12:01", "imminence", "1", "h", "41", "0.123", "0.875", "0", "synthetic",
    ]  # fmt: skip
    assert not rest
    rows = json.loads(ask(tmp_path, "list", "--json")[1])
    assert [(r["model_id"], r["active"], r["recall"], r["ap"]) for r in rows] == [
        (new, False, 0.0, None), (old, True, 0.0, 0.1234),
    ]  # fmt: skip


def test_one_unreadable_card_does_not_hide_the_others(tmp_path):
    good, bad = save(tmp_path, 1), save(tmp_path, 2)
    (tmp_path / bad / "card.json").write_text("{")
    code, text = ask(tmp_path, "list")
    assert code == 0
    assert "unreadable" in text
    assert good in text
    assert "problem" in json.loads(ask(tmp_path, "list", "--json")[1])[0]


def test_promote_and_rollback_say_what_serves_now_and_before(tmp_path):
    old, new = save(tmp_path, 1), save(tmp_path, 2)
    assert ask(tmp_path, "promote", old, "--reason", "first") == (0, f"active: {old} (before: no model)\n")
    assert json.loads(ask(tmp_path, "promote", new, "--reason", "won", "--json")[1]) == {
        "active": new,
        "before": old,
    }
    assert ask(tmp_path, "rollback", "--reason", "lost")[1] == f"active: {old} (before: {new})\n"
    assert ask(tmp_path, "rollback", "--reason", "lost")[1] == f"active: no model (before: {old})\n"
    lines = ask(tmp_path, "history")[1].splitlines()
    assert [line.split()[2] for line in lines[1:]] == [
        "save",
        "save",
        "promote",
        "promote",
        "rollback",
        "rollback",
    ]
    assert lines[4].split()[-1] == "won"
    assert len(json.loads(ask(tmp_path, "history", "--json")[1])) == 6


@pytest.mark.parametrize("action", ["promote", "rollback"])
def test_no_change_without_a_reason(tmp_path, action, capsys):
    with pytest.raises(SystemExit):
        ask(tmp_path, action, *(["x"] if action == "promote" else []))
    assert "--reason" in capsys.readouterr().err


def test_a_model_that_ingest_would_refuse_is_not_promoted(tmp_path):
    other = save(tmp_path, 1, feature_set="f" * 16)
    with pytest.raises(ForeshockError, match="feature set"):
        ask(tmp_path, "promote", other, "--reason", "r")


def test_show_tells_the_card_in_words(tmp_path):
    model_id = save(tmp_path, 1)
    text = ask(tmp_path, "show", model_id)[1]
    for told in (
        "SYNTHETIC", "within 1 h", "41 faults", "precision 0.875, recall 0,", "1 alarm a day", "scikit-learn",
        "the one in use", "min_lead_s",
    ):  # fmt: skip
        assert told in text
    assert "NOT the one in use" in ask(tmp_path, "show", save(tmp_path, 2, feature_set="f" * 16))[1]
    shown = json.loads(ask(tmp_path, "show", model_id, "--json")[1])
    assert shown["active"] is False
    assert shown["synthetic"] is True
    assert shown["reference"] == {}


def test_check_is_one_where_the_model_cannot_serve(tmp_path):
    good, bad = save(tmp_path, 1), save(tmp_path, 2)
    (tmp_path / bad / "model.skops").write_bytes(b"torn")
    assert ask(tmp_path, "check", good) == (0, f"{good}: could serve here\n")
    code, text = ask(tmp_path, "check", bad)
    assert code == 1
    assert "Try: " in text
    code, text = ask(tmp_path, "check", bad, "--json")
    assert code == 1
    assert json.loads(text)["ok"] is False


def test_remove_removes_and_never_the_active_one(tmp_path):
    old, new = save(tmp_path, 1), save(tmp_path, 2)
    ask(tmp_path, "promote", new, "--reason", "r")
    assert ask(tmp_path, "remove", old) == (0, f"removed: {old}\n")
    with pytest.raises(ForeshockError, match="is active"):
        ask(tmp_path, "remove", new)
    assert [r["model_id"] for r in json.loads(ask(tmp_path, "list", "--json")[1])] == [new]
