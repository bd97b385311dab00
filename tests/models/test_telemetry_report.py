"""What people read of an evaluation: synthetic is said everywhere where it is, and nowhere where it is not."""

from __future__ import annotations

import copy
import re
from typing import Any

import pytest

from models.evaluate import finite
from models.telemetry_report import card, lines, pictures
from models.telemetry_scores import OURS
from tests.models.tiny_fleet import evaluated

COMMAND = "foreshock evaluate --dataset simulated"
PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(scope="module")
def report() -> dict[str, Any]:
    return evaluated()[0]


@pytest.fixture(scope="module")
def real(report: dict[str, Any]) -> dict[str, Any]:
    """As a lake's own data would be told: one test, no setting, no control."""
    told = copy.deepcopy(report)
    del told["setting"]
    first = [r for r in told["results"] if r["test"] == "unseen time"]
    return told | {"dataset": "lake", "synthetic": False, "results": first, "tests": told["tests"][:1],
                   "verdicts": told["verdicts"][:3], "permuted_label_control": []}  # fmt: skip


@pytest.fixture(scope="module")
def swept(report: dict[str, Any]) -> dict[str, Any]:
    sweep = [
        {"precursors": p, "gpus": 64, "share": s, "budget": 0.5, **report["tests"][0]}
        for p, s in (("low", 0.3), ("high", 0.5), ("zero", 0.0))
    ]
    return report | {"sweep": sweep}


def tables(markdown: str) -> list[list[str]]:
    """The cells of every row of every table."""
    return [re.split(r"(?<!\\)\|", line)[1:-1] for line in markdown.splitlines() if line.startswith("|")]


def test_a_simulated_card_says_synthetic_where_it_is_read(report):
    text = card(report, COMMAND)
    assert "(synthetic)" in text.splitlines()[0]
    assert "Nothing on this page is evidence about real GPUs" in text
    assert next(lines(report)) == "imminence, SYNTHETIC: no evidence about real GPUs"


def test_a_real_card_never_says_synthetic(real):
    assert "synthetic" not in (card(real, COMMAND) + "\n".join(lines(real))).lower()
    assert "simulat" not in card(real, "foreshock evaluate --dataset lake").lower()


def test_the_card_names_its_command_data_and_operating_point(report):
    text = card(report, COMMAND)
    for told in (
        f"`{COMMAND}`", "A fleet of 64 GPUs over 30 days", "100 times those of Llama 3",
        f"{report['learnt']['n_faults']} faults", report["operating_point"]["why"],
    ):  # fmt: skip
        assert told in text


def test_every_result_is_a_row_of_the_card_and_of_the_terminal(report):
    text, terminal = card(report, COMMAND), "\n".join(lines(report))
    for name in {r["model"] for r in report["results"]}:
        assert text.count(f"\n| {name} |") == 9
        assert len(re.findall(rf"^{re.escape(name)}  ", terminal, re.MULTILINE)) == 9
    for test in report["tests"]:
        for span in ("10 min", "1 h", "1 d"):
            assert f"## {test['test']}, within {span}: " in text


def test_tables_have_as_many_cells_in_each_row_as_in_their_head(swept):
    width = None
    text = card(swept, COMMAND).splitlines()
    assert len(tables("\n".join(text))) > 80
    for line in text:
        width = None if not line.startswith("|") else (width or line.count("|"))
        assert width is None or line.count("|") == width, line


def test_the_sweep_is_shown_where_there_is_one(report, swept):
    heading = "## How much hangs on the assumed precursors"
    assert heading not in card(report, COMMAND)
    text = card(swept, COMMAND).split(heading)[1]
    for precursors in ("low", "high", "zero"):
        assert f"\n| {precursors} |" in text


def test_verdicts_are_said_in_words(report):
    said = [line for line in lines(report) if " against '" in line]
    assert len(said) == len(report["verdicts"]) == 9
    for line, verdict in zip(said, report["verdicts"], strict=True):
        assert line.startswith(f"{verdict['test']}, within ")
        assert f"is {verdict['pr_auc']['verdict']} on AP" in line
        assert verdict["best_baseline"] in line
    assert not any("nan" in line for line in lines(report))


def test_a_report_that_was_json_reads_the_same(report):
    assert card(finite(report), COMMAND) == card(report, COMMAND)


def test_what_nobody_could_measure_is_shown_as_unknown(report):
    told = copy.deepcopy(report)
    for row in told["results"]:
        row |= {"roc_auc": None, "pr_auc": None, "base_rate": None, "top5_capture": None}
        row["ci95"] |= {"pr_auc": [None, None]}
    for said in told["verdicts"]:
        said["pr_auc"] = {
            "verdict": "equal",
            "difference": float("nan"),
            "ci95": (float("nan"), float("nan")),
        }
    text = card(told, COMMAND) + "\n".join(lines(told))
    assert "base rate not defined" in text
    assert f"{OURS} is equal on AP (not defined, not defined to not defined)" in text
    assert "nan" not in text


@pytest.mark.parametrize("kind", ["real", "swept"])
def test_the_pictures_are_png_files(kind, real, swept, tmp_path):
    frames = evaluated()[3]
    pictures({"real": real, "swept": swept}[kind], frames, tmp_path)
    names = {"precision-recall", "alarm-rate", "calibration", "lead-times", "recall-by-class"}
    names |= {"precursor-sweep"} if kind == "swept" else set()
    assert {p.name for p in tmp_path.iterdir()} == {f"{n}.png" for n in names}
    for path in tmp_path.iterdir():
        data = path.read_bytes()
        assert data.startswith(PNG)
        assert len(data) > 5000


def test_a_test_without_faults_has_no_picture_of_its_classes(real, tmp_path):
    frames = dict(evaluated()[3])
    frames["unseen time/judged"] = frames["unseen time/judged"].clear()
    told = copy.deepcopy(real)
    told["tests"][0] |= {"by_class": [], "first_and_repeat": []}
    told["sweep"] = [{"share": 0.0, "budget": 0.5, "first_and_repeat": []}]
    pictures(told, frames, tmp_path)
    names = {"precision-recall", "alarm-rate", "calibration", "lead-times"}
    assert {p.name for p in tmp_path.iterdir()} == {f"{n}.png" for n in names}
