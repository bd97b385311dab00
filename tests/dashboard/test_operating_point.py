"""The alarm level on a page is the one on the card of the model that spoke."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path

import polars as pl
import pytest

from alerting.levels import level_of as level_of_the_watcher
from collector.config import Config, ModelsConfig, WatchConfig
from dashboard.operating_point import active, level_of, with_levels

MODEL = "imminence-20260101T0000-0123456789ab"
OTHER = "imminence-20260202T0000-ba9876543210"
SHIPPED = Path(__file__).parents[2] / "demo" / "registry"


def _config(root: Path, *, own_level: bool = True) -> Config:
    return Config(models=ModelsConfig(registry=root), watch=WatchConfig(alarm_level=0.5, own_level=own_level))


def _card(root: Path, model: str, threshold: object, **more: object) -> Path:
    path = root / model / "card.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"model_id": model, "schema": 1, "point": {"threshold": threshold}} | more))
    return path


def test_each_model_has_the_level_of_its_own_card(tmp_path: Path) -> None:
    _card(tmp_path, MODEL, 0.03)
    _card(tmp_path, OTHER, 0.0)
    config = _config(tmp_path)
    assert level_of(config, MODEL) == 0.03
    assert level_of(config, OTHER) == 0.0  # zero is a level
    assert level_of(_config(tmp_path, own_level=False), MODEL) == 0.5


@pytest.mark.parametrize("model", [None, "", "rules-1", "../secret", f"../{MODEL}", OTHER])
def test_a_model_without_a_card_has_the_level_of_the_settings(tmp_path: Path, model: str | None) -> None:
    assert level_of(_config(tmp_path), model) == 0.5


@pytest.mark.parametrize(
    ("threshold", "more"),
    [("high", {}), (None, {}), (0.03, {"schema": 2}), (0.03, {"model_id": OTHER}), (0.03, {"point": []})],
)
def test_a_card_that_cannot_be_used_is_none(
    tmp_path: Path, threshold: object, more: dict[str, object]
) -> None:
    _card(tmp_path, MODEL, threshold, **more)
    assert level_of(_config(tmp_path), MODEL) == 0.5


def test_broken_bytes_are_no_card_and_a_mended_card_is_read_again(tmp_path: Path) -> None:
    path = _card(tmp_path, MODEL, 0.03)
    path.write_bytes(b"\xff{")
    assert level_of(_config(tmp_path), MODEL) == 0.5
    _card(tmp_path, MODEL, 0.07)
    os.utime(path, ns=(1, 1))
    assert level_of(_config(tmp_path), MODEL) == 0.07


def test_the_shipped_model_has_the_level_at_which_the_watcher_alarms() -> None:
    config = _config(SHIPPED)
    model = active(config)
    assert model is not None
    level = level_of(config, model)
    assert level == level_of_the_watcher(SHIPPED, model)
    assert level != config.watch.alarm_level


@pytest.mark.parametrize("written", [None, b"{", b'{"model_id": null}', b'{"model_id": 7}'])
def test_without_a_promoted_model_none_is_active(tmp_path: Path, written: bytes | None) -> None:
    if written is not None:
        (tmp_path / "active.json").write_bytes(written)
    assert active(_config(tmp_path)) is None


def test_every_gpu_stands_beside_the_level_of_the_model_that_scored_it(tmp_path: Path) -> None:
    _card(tmp_path, MODEL, 0.03)
    _card(tmp_path, OTHER, 0.2)
    (tmp_path / "active.json").write_text(json.dumps({"model_id": OTHER}))
    fleet = pl.DataFrame({"model_id": [MODEL, OTHER, "rules-1", None]})
    assert with_levels(_config(tmp_path), fleet)["alarm_level"].to_list() == [0.03, 0.2, 0.5, 0.2]


def test_a_fleet_that_nobody_scored_has_levels_too(tmp_path: Path) -> None:
    unscored = pl.DataFrame({"model_id": [None, None]}, schema={"model_id": pl.String})
    config = dataclasses.replace(_config(tmp_path))
    assert with_levels(config, unscored)["alarm_level"].to_list() == [0.5, 0.5]
    assert with_levels(config, unscored.clear())["alarm_level"].to_list() == []
