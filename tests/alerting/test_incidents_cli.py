"""A person's word from the command line to the incident, over the embedded stream and the real watcher."""

from __future__ import annotations

import json
import threading
import time
import uuid
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

import foreshock
from alerting.incidents_cli import tell
from alerting.instruction import Instruction
from alerting.serve import watch
from collector.config import Config, KafkaConfig, LakeConfig, SpoolConfig, WatchConfig
from collector.records import TOPIC_OPERATOR, TOPIC_RISKS, Risk
from pipeline.lake import Lake
from pipeline.stream import open_stream
from tests.streams import on_topics


@pytest.fixture
def site(tmp_path: Path) -> tuple[Config, Path]:
    """A configuration, and its file."""
    file = tmp_path / "foreshock.toml"
    file.write_text(
        f'[lake]\npath = "{tmp_path}/lake"\n[spool]\npath = "{tmp_path}/spool.db"\n'
        f'[watch]\noutbox = "{tmp_path}/outbox.db"\n[models]\nregistry = "{tmp_path}/models"\n'
    )
    config = Config(
        lake=LakeConfig(path=tmp_path / "lake"), spool=SpoolConfig(path=tmp_path / "spool.db"),
        watch=WatchConfig(outbox=tmp_path / "outbox.db"),
    )  # fmt: skip
    return config, file


def changes(config: Config, wanted: int) -> list[str]:
    deadline = time.monotonic() + 30
    while True:
        rows = Lake(config.lake.path).read("incidents").sort("time", maintain_order=True)
        if rows.height >= wanted or time.monotonic() > deadline:
            return rows["change"].to_list()
        time.sleep(0.05)


def test_acknowledge_silence_and_note_reach_the_incident_and_its_story(
    site: tuple[Config, Path], capsys: pytest.CaptureFixture[str]
):
    config, file = site
    stop = threading.Event()
    watcher = threading.Thread(target=watch, args=(config, stop), daemon=True)
    watcher.start()
    try:
        risk = Risk(
            time=time.time(), node="n1", gpu_uuid="GPU-a", gpu_index=0, pci_bdf=None, risk=0.9, horizon_s=3600,
            model_id="rules", feature_set="f",
        )  # fmt: skip
        stream = open_stream(config, "test", ())
        stream.publish(TOPIC_RISKS, "n1", msgspec.json.encode(risk))
        stream.flush()
        stream.close()
        assert changes(config, 1) == ["opened"]
        assert foreshock.main(["--config", str(file), "incidents", "list", "--json"]) == 0
        [shown] = json.loads(capsys.readouterr().out)
        tail = shown["incident_id"][-8:]
        for words in (
            ["ack", tail, "--text", "on it"],
            ["silence", tail, "--for", "2"],
            ["note", tail, "--text", "fan"],
        ):
            assert foreshock.main(["--config", str(file), "incidents", *words, "--by", "ann"]) == 0
        assert changes(config, 4) == ["opened", "acknowledged", "silenced", "noted"]
        capsys.readouterr()
        assert foreshock.main(["--config", str(file), "incidents", "show", tail]) == 0
        story = capsys.readouterr().out
        assert "ann: acknowledge on it" in story
        assert "ann: note fan" in story
    finally:
        stop.set()
        watcher.join(timeout=20)


def test_an_unknown_incident_is_an_error_with_a_hint(
    site: tuple[Config, Path], capsys: pytest.CaptureFixture[str]
):
    assert foreshock.main(["--config", str(site[1]), "incidents", "ack", "nothing"]) == 1
    assert "no such incident" in capsys.readouterr().err


def test_a_word_crosses_a_real_broker(site: tuple[Config, Path], kafka_servers: str):
    config, _ = site
    told = Instruction(time=time.time(), incident_id="inc-1", verb="note", by="ann", text="fan")
    kafka = KafkaConfig(bootstrap_servers=kafka_servers, topic_prefix=f"t{uuid.uuid4().hex[:6]}.")
    tell(told, replace(config, kafka=kafka))
    [record] = on_topics(kafka, (TOPIC_OPERATOR,))
    assert msgspec.json.decode(record.value, type=Instruction) == told
