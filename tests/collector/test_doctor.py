from __future__ import annotations

from pathlib import Path

from collector.config import CollectorConfig, Config, LakeConfig, SpoolConfig
from collector.doctor import Check, run
from tests.double import Node


def checks(tmp_path: Path, collector: CollectorConfig) -> dict[str, Check]:
    config = Config(
        collector=collector,
        spool=SpoolConfig(path=tmp_path / "s.db"),
        lake=LakeConfig(path=tmp_path / "lake"),
    )
    return {c.name: c for c in run(config)}


def test_a_healthy_node_is_ok_and_nothing_is_changed(node: Node, tmp_path: Path):
    before = sorted(tmp_path.iterdir())
    found = checks(tmp_path, node.config())
    assert (found["nvml"].status, found["nvml"].detail.split(",")[0]) == ("ok", "8 GPUs")
    assert found["kmsg"].status == found["spool"].status == found["lake"].status == "ok"
    assert found["kafka"].status == "absent"
    assert sorted(tmp_path.iterdir()) == before


def test_a_lost_gpu_is_named_with_where_to_look(node: Node, tmp_path: Path):
    node.set(3, lost=1)
    found = checks(tmp_path, node.config())["nvml"]
    assert found.status == "broken"
    assert found.mend


def test_an_exporter_that_does_not_answer_is_named(tmp_path: Path):
    found = checks(tmp_path, CollectorConfig(dcgm_url="http://127.0.0.1:1/metrics", kmsg=""))
    assert found["dcgm"].status == "broken"
    assert "nvml" not in found
    assert found["kmsg"].status == "absent"
