"""The catalogue: complete, consistent, and readable at three in the morning."""

from __future__ import annotations

import subprocess
import sys
from typing import get_args

import pytest

from collector.xid_catalogue import (
    entries,
    explain,
    is_application,
    is_fault,
    is_precursor,
    is_terminal,
    lookup,
    nearest,
)
from collector.xid_words import Action

FAULTS = {48, 62, 64, 74, 79, 95, 109, 110, 119, 120, 136, 140, 143, 158}
FAULTS_IF_FATAL = set(range(144, 151))


def test_every_code_of_nvidias_catalogue_is_there() -> None:
    assert set(entries()) == set(range(1, 173))


def test_an_unknown_code_is_nothing() -> None:
    assert lookup(999) is None
    assert explain(999) is None
    assert not any(says(999) for says in (is_terminal, is_fault, is_precursor, is_application))


def test_the_fault_set_is_the_one_models_are_trained_on() -> None:
    assert {code for code in entries() if is_fault(code)} == FAULTS
    assert {code for code in entries() if is_fault(code, fatal=False)} == FAULTS
    assert {code for code in entries() if is_fault(code, fatal=True)} == FAULTS | FAULTS_IF_FATAL


def test_application_errors_are_never_faults_or_terminal() -> None:
    application = {code for code in entries() if is_application(code)}
    assert application == {13, 31, 43, 45}
    assert not any(is_fault(code, fatal=True) or is_terminal(code) for code in application)


def test_precursors_are_not_faults() -> None:
    precursors = {code for code in entries() if is_precursor(code)}
    assert {63, 92, 94, 121} <= precursors
    assert not any(is_fault(code, fatal=True) for code in precursors)


def test_a_gpu_that_is_gone_is_always_drained() -> None:
    terminal = [entry for entry in entries().values() if is_terminal(entry.code)]
    assert {79, 95, 119} <= {entry.code for entry in terminal}
    assert {entry.action for entry in terminal} == {"drain_now", "checkpoint_and_drain"}


def test_a_fault_is_never_ignored() -> None:
    assert {e.action for e in entries().values() if is_fault(e.code)} <= {"drain_now", "checkpoint_and_drain"}


def test_every_row_says_why_and_where_from() -> None:
    for entry in entries().values():
        assert entry.meaning, entry.code
        assert entry.why, entry.code
        assert entry.sources, entry.code
        assert entry.action in get_args(Action), entry.code


@pytest.mark.parametrize("code", [13, 48, 63, 79, 119, 154])
def test_an_explanation_answers_the_questions_of_whoever_is_on_call(code: int) -> None:
    explanation = explain(code)
    assert explanation is not None
    text = explanation.text
    for label in ("what", "cause", "GPU gone?", "NVIDIA", "Foreshock", "why", "sources"):
        assert f"\n  {label:<10} " in text
    assert str(code) in text.splitlines()[0]
    assert explanation.action in text


def test_a_dead_gpu_and_a_bad_kernel_read_differently() -> None:
    dead, bad_kernel = explain(79), explain(13)
    assert dead is not None
    assert bad_kernel is not None
    assert dead.gpu_gone.startswith("yes")
    assert dead.cause == "hardware"
    assert not bad_kernel.gpu_gone.startswith("yes")
    assert bad_kernel.cause.startswith("the application")


def test_a_switch_error_names_the_unit_of_the_switch() -> None:
    egress = explain(12028, "sxid")
    assert egress is not None
    assert "egress port" in egress.text
    for number in (0, 79, 9999, 10000, 12000, 31000, 99999):
        assert explain(number, "sxid") is None


def test_nearest_are_neighbours_in_order() -> None:
    assert nearest(200) == [170, 171, 172]
    assert nearest(0) == [1, 2, 3]
    assert nearest(79, 1) == [79]


def test_it_stays_light() -> None:
    heavy = "{'polars', 'numpy', 'sklearn', 'duckdb', 'deltalake', 'pyarrow', 'streamlit'}"
    code = f"import sys, collector.xid, collector.xid_cli; print(sorted({heavy} & set(sys.modules)))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert out.stdout.strip() == "[]"
