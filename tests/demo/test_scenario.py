"""The scripted fault: what it changes, when, and what the driver says about it."""

from __future__ import annotations

import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from demo.nvml_double.values import default_gpu
from demo.scenario import (
    NO_FAULT,
    Change,
    KernelLine,
    NvmlEvent,
    Ramp,
    Scenario,
    apply,
    due,
    nvlink_then_off_the_bus,
)

FAULT = nvlink_then_off_the_bus(gpu=5)
HEALTHY = {gpu: default_gpu(gpu) for gpu in range(8)}
XID_LINE = re.compile(r"NVRM: Xid \(PCI:([0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2})\): (\d+), ")


def at(elapsed_s: float) -> dict[int, dict[str, object]]:
    return apply(FAULT, elapsed_s, HEALTHY)


def count(elapsed_s: float, name: str) -> int:
    """A counter of GPU 5."""
    value = at(elapsed_s)[5][name]
    assert isinstance(value, int)
    return value


def changed(elapsed_s: float) -> dict[int, set[str]]:
    values = at(elapsed_s)
    return {
        gpu: names
        for gpu in HEALTHY
        if (names := {name for name in HEALTHY[gpu] if values[gpu][name] != HEALTHY[gpu][name]})
    }


def test_nothing_is_wrong_before_the_first_sign():
    assert changed(0.0) == {}
    assert changed(240.0) == {}


def test_nvlink_errors_come_first_and_grow_faster_and_faster():
    flits = [count(t, "nvlink_crc_flit_errors") for t in range(240, 660, 60)]
    growth = [later - earlier for earlier, later in itertools.pairwise(flits)]
    assert flits[0] == 0
    assert growth == sorted(growth)
    assert growth[-1] > 10 * growth[0] > 0
    assert changed(300.0) == {5: {"nvlink_crc_flit_errors", "nvlink_crc_data_errors"}}
    assert count(600.0, "nvlink_replay_errors") > 0


def test_a_row_is_remapped_and_waits_for_a_reset():
    before, after = at(419.9)[5], at(420.0)[5]
    assert (before["remapped_rows_uncorrectable"], before["remap_pending"]) == (0, 0)
    assert (after["remapped_rows_uncorrectable"], after["remap_pending"]) == (1, 1)
    assert [step for step in due(FAULT, 419.0, 420.0) if isinstance(step, NvmlEvent)] == [
        NvmlEvent(420.0, 5, 63)
    ]


@pytest.mark.parametrize(("elapsed_s", "hang"), [(539.9, 0), (540.0, 1), (564.9, 1), (565.0, 0), (659.0, 0)])
def test_the_gpu_hangs_for_25_seconds(elapsed_s, hang):
    assert at(elapsed_s)[5]["hang"] == hang


def test_it_falls_off_the_bus_with_lines_event_and_loss_at_once():
    steps = due(FAULT, 659.0, 660.0)
    assert [s.text for s in steps if isinstance(s, KernelLine)] == [
        "NVRM: Xid (PCI:0000:ab:00): 79, pid='<unknown>', name=<unknown>, GPU has fallen off the bus.",
        "NVRM: GPU 0000:ab:00.0: GPU has fallen off the bus.",
    ]
    assert [s for s in steps if isinstance(s, NvmlEvent)] == [NvmlEvent(660.0, 5, 79)]
    assert [at(t)[5]["lost"] for t in (659.9, 660.0, 1e6)] == [0, 1, 1]


def test_what_follows_points_back_to_the_cause():
    codes = {}
    for step in due(FAULT, 660.0, 700.0):
        assert isinstance(step, KernelLine)
        match = XID_LINE.match(step.text)
        assert match is not None
        codes[int(match[2])] = step.text
    assert list(codes) == [154, 45]
    assert codes[45].endswith("caused by previous Xid 79")


def test_the_decoy_is_an_application_fault_on_another_gpu():
    decoy = [step for step in due(FAULT, 299.0, 300.0) if step.gpu != 5]
    line, event = decoy
    assert isinstance(line, KernelLine)
    assert "): 31, pid=" in line.text
    assert event == NvmlEvent(300.0, line.gpu, 31)
    assert all(decoy[0].gpu not in changed(t) for t in (299.0, 300.0, 700.0))


@pytest.mark.parametrize("gpu", range(8))
def test_every_kernel_line_names_the_slot_of_its_gpu(gpu):
    scenario = nvlink_then_off_the_bus(gpu)
    assert len(scenario.gpus) == 2
    lines = [step for step in due(scenario, -1.0, 1e9) if isinstance(step, KernelLine)]
    assert len(lines) == 6
    for line in lines:
        assert str(default_gpu(line.gpu)["pci_bdf"]) in line.text


def test_the_input_is_left_alone():
    apply(FAULT, 700.0, HEALTHY)
    assert {gpu: default_gpu(gpu) for gpu in range(8)} == HEALTHY


def test_a_reading_the_gpu_does_not_give_stays_null():
    mute = dict.fromkeys(("nvlink_crc_flit_errors", "remap_pending", "remapped_rows_uncorrectable"))
    values = apply(FAULT, 500.0, {5: HEALTHY[5] | mute})
    assert [values[5][name] for name in mute] == [None, None, None]


def test_steps_for_a_gpu_that_is_not_there_do_nothing():
    assert apply(FAULT, 700.0, {0: HEALTHY[0]}) == {0: HEALTHY[0]}


def test_no_fault_changes_nothing_and_has_nothing_due():
    assert apply(NO_FAULT, 700.0, HEALTHY) == HEALTHY
    assert due(NO_FAULT, -1.0, 1e9) == []


def test_a_ramp_stops_and_never_overflows():
    ramp = Scenario("ramp", (Ramp(0, "pcie_replay", 0.0, 100.0, scale=1.0, doubling_s=10.0),))
    counts = [apply(ramp, t, HEALTHY)[0]["pcie_replay"] for t in (0.0, 10.0, 100.0, 1e9)]
    assert counts == [0, 1, 1023, 1023]


def test_a_change_adds_to_what_the_trace_has():
    scenario = Scenario(
        "two", (Change(0, 1.0, add={"pcie_replay": 2}), Change(0, 2.0, add={"pcie_replay": 3}))
    )
    base = {0: HEALTHY[0] | {"pcie_replay": 10}}
    assert [apply(scenario, t, base)[0]["pcie_replay"] for t in (0.0, 1.0, 2.0)] == [10, 12, 15]


@given(cuts=st.lists(st.floats(-1, 800), max_size=30))
def test_however_time_is_cut_each_line_and_event_comes_once_and_in_order(cuts):
    edges = [-1.0, *sorted(cuts), 900.0]
    pieces = [step for a, b in itertools.pairwise(edges) for step in due(FAULT, a, b)]
    assert pieces == due(FAULT, -1.0, 900.0)


@given(earlier_s=st.floats(0, 2000), later_s=st.floats(0, 2000))
def test_counters_never_fall(earlier_s, later_s):
    earlier_s, later_s = sorted((earlier_s, later_s))
    for name in ("nvlink_crc_flit_errors", "nvlink_crc_data_errors", "nvlink_replay_errors"):
        assert count(later_s, name) >= count(earlier_s, name)
