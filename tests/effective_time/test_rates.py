"""How often a job is stopped, by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from collector.errors import ForeshockError
from effective_time.rates import PRESETS
from effective_time.rates_named import rates
from effective_time.whatif import of_gpus
from tests.lake_fixture import make_lake

LLAMA3 = PRESETS["llama3"]


def test_the_rounded_share_of_the_literature_is_every_fault_of_a_gpu():
    assert of_gpus(0.64, LLAMA3) == 1.0
    assert of_gpus(0.25, LLAMA3) == pytest.approx(0.25 * 419 / 268)
    with pytest.raises(ForeshockError):
        of_gpus(0.66, LLAMA3)


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_a_preset_is_known_by_its_name(name: str, tmp_path: Path):
    assert rates(name, tmp_path) is PRESETS[name]


def test_a_number_is_a_rate_and_its_gpu_share_can_be_given(tmp_path: Path):
    found = rates("1e-3", tmp_path, 0.5)
    assert (found.faults_per_gpu_day, found.gpu_share) == (1e-3, 0.5)


def test_the_fleets_own_history_is_faults_over_gpu_days(tmp_path: Path):
    story = make_lake(tmp_path / "lake")
    found = rates("lake", story.path)
    assert found.faults_per_gpu_day == pytest.approx(1 / (16 * 0.5 / 24))
    assert "SYNTHETIC" in found.source


def test_the_real_trace_is_measured_by_moments_with_outages(shared_data: Path):
    found = rates(f"nodetrace:{shared_data / 'infinitehbd_trace'}", Path())
    assert found.faults_per_gpu_day == pytest.approx(331 / (400 * 8 * 239.921), rel=1e-3)
    assert 0.2 < found.gpu_share < 0.25
