"""What jobs tell of their checkpoints reaches the arithmetic of an action, also after a restart."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import msgspec
import polars as pl

from alerting.serve import watch
from collector.checkpoints import event_of
from collector.config import Config, LakeConfig, ModelsConfig, SpoolConfig, WatchConfig
from collector.records import TOPIC_EVENTS, TOPIC_INVENTORY, TOPIC_RISKS, Event, Inventory, Risk
from pipeline.lake import Lake
from pipeline.stream import open_stream
from pipeline.tables import EVENTS


def site(tmp_path: Path) -> Config:
    return Config(
        lake=LakeConfig(path=tmp_path / "lake"), spool=SpoolConfig(path=tmp_path / "spool.db"),
        watch=WatchConfig(outbox=tmp_path / "outbox.db"), models=ModelsConfig(registry=tmp_path / "models"),
    )  # fmt: skip


def saved(step: int, began_s: float, seconds: float) -> Event:
    content = msgspec.json.encode(
        {"job": "j1", "step": step, "started": began_s, "finished": began_s + seconds}
    )
    found = event_of(content, "j1", "n1", time.time(), synthetic=False)
    assert isinstance(found, Event)
    return found


def tell(config: Config, *records: tuple[str, Event | Risk | Inventory]) -> None:
    stream = open_stream(config, "test", ())
    for topic, record in records:
        stream.publish(topic, "n1", msgspec.json.encode(record))
    stream.flush()
    stream.close()


def actions_after(
    config: Config, wanted: int, *records: tuple[str, Event | Risk | Inventory]
) -> pl.DataFrame:
    """Rows of `actions` once there are `wanted`, with a watcher that runs meanwhile."""
    tell(config)  # so that the spool is there: two who make it at once may find it locked
    stop = threading.Event()
    watcher = threading.Thread(target=watch, args=(config, stop), daemon=True)
    watcher.start()
    try:
        tell(config, *records)
        deadline = time.monotonic() + 30
        while (
            rows := Lake(config.lake.path).read("actions")
        ).height < wanted and time.monotonic() < deadline:
            time.sleep(0.05)
        return rows.sort("time", maintain_order=True)
    finally:
        stop.set()
        watcher.join(timeout=20)


def risk(gpu: int) -> Risk:
    return Risk(
        time=time.time(), node="n1", gpu_uuid=f"GPU-{gpu}", gpu_index=gpu, pci_bdf=f"0000:0{gpu}:00", risk=0.9,
        horizon_s=3600, model_id="rules", feature_set="f", job="j1",
    )  # fmt: skip


def test_the_arithmetic_has_what_the_job_told(tmp_path: Path):
    now_s = time.time()
    told = [(TOPIC_EVENTS, saved(n, now_s - 700 + 200 * n, 20.0)) for n in range(3)]
    rows = actions_after(site(tmp_path), 2, *told, (TOPIC_RISKS, risk(0)))
    line = rows.filter(pl.col("action") == "checkpoint")["detail"][0]
    assert "C_p 20" in line
    assert "measured" in line
    assert "w 2" in line, "the work since the last one, some 280 s"


def test_a_restart_reads_them_from_the_lake(tmp_path: Path):
    config, event = site(tmp_path), saved(1, time.time() - 300, 20.0)
    row = msgspec.structs.asdict(event) | {"stream": "s", "seq": 1}
    rows = pl.DataFrame([row]).with_columns(
        pl.from_epoch((pl.col(c).cast(pl.Float64) * 1e6).cast(pl.Int64), "us")
        .dt.replace_time_zone("UTC")
        .alias(c)
        for c in ("time", "last_time")
    )
    Lake(config.lake.path).append("events", rows.select(pl.col(n).cast(k) for n, k in EVENTS.items()))
    found = actions_after(config, 2, (TOPIC_RISKS, risk(0)))
    assert "measured" in found.filter(pl.col("action") == "checkpoint")["detail"][0]


def test_a_kernel_line_that_names_a_slot_asks_for_the_card_in_it(tmp_path: Path):
    card = Inventory(time=time.time() - 5, node="n1", gpu_uuid="GPU-7", gpu_index=7, pci_bdf="0000:07:00")
    line = Event(
        fingerprint="x", time=time.time(), node="n1", kind="xid", source="kmsg", code=79, pci_bdf="0000:07:00"
    )
    rows = actions_after(site(tmp_path), 2, (TOPIC_INVENTORY, card), (TOPIC_EVENTS, line))
    assert rows["gpu_uuid"].to_list() == ["GPU-7", "GPU-7"]
