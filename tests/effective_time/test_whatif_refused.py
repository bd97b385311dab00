"""What `foreshock whatif` refuses, in which words."""

from __future__ import annotations

from pathlib import Path

import pytest

import foreshock
from collector.errors import ForeshockError
from effective_time.rates_named import rates


def test_more_recall_than_gpus_cause_is_refused_with_a_sentence(refused):
    err = refused("--recall", "0.8")
    assert "GPUs cause only 0.640 of them" in err
    assert "Try: a lower recall" in err


@pytest.mark.parametrize("name", ["llama4", "-1", "0", "nan", "nodetrace:/nowhere"])
def test_rates_that_nobody_knows_are_refused(name: str, tmp_path: Path):
    with pytest.raises(ForeshockError):
        rates(name, tmp_path)


def test_a_lake_without_faults_has_no_rate(refused):
    assert "no fault in 0 GPU-days" in refused("--rates", "lake")


def test_a_model_and_a_recall_contradict_each_other(refused):
    assert "--model has its own recall" in refused("--model", "--recall", "0.1")


def test_a_model_that_is_not_there_is_refused(refused):
    assert "models list" in refused("--model", "imminence-20200101T0000-000000000000")


@pytest.mark.parametrize(
    "option",
    [
        ["--recall", "1.5"], ["--precision", "0"], ["--checkpoint-s", "nan"], ["--gpus", "0"], ["--gpus", "-8"],
        ["--recovery-s", "-1"], ["--seeds", "1"], ["--days", "1e12"],
    ],
)  # fmt: skip
def test_values_out_of_range_are_wrong_use(option: list[str], capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as e:
        foreshock.main(["whatif", *option])
    assert e.value.code == 2
    err = capsys.readouterr().err
    assert f"argument {option[0]}: {option[1]} is not " in err or "'nan' is no number" in err
    assert "Try: " in err


def test_a_trace_that_is_not_there_is_told_by_the_option_that_named_it(refused):
    err = refused("--rates", "nodetrace:/nowhere")
    assert "--rates nodetrace:DIR: /nowhere/fault_trace.json" in err
    assert "Try: DIR holds" in err


def test_a_job_that_saves_more_slowly_than_it_fails_is_refused(refused):
    assert "does not fit" in refused("--gpus", "100000", "--checkpoint-s", "8000")
