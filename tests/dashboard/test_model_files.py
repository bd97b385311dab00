"""The registry and its evaluation as plain files: the same that the models' own reader reads, or an error in words."""

from __future__ import annotations

import tempfile
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.errors import ForeshockError
from dashboard.model import evaluation, files
from dashboard.model.files import Card
from models.cards import decode
from models.registry import Registry

DEMO = Path(__file__).parents[2] / "demo" / "registry"
[MODEL] = [path.name for path in DEMO.iterdir() if path.is_dir()]


def test_it_reads_what_the_registry_wrote() -> None:
    """The same files through the models' own reader."""
    ours, theirs = files.read(DEMO), Registry(DEMO)
    assert ours is not None
    assert ours.active == theirs.active()
    assert tuple(ours.cards) == theirs.list()
    assert [(c.time, c.change, c.model_id) for c in ours.changes] == [
        (c.time, c.change, c.model_id) for c in theirs.history()
    ]
    card, written = ours.cards[MODEL], theirs.card(MODEL)
    assert isinstance(card, Card)
    for name in ("created", "point", "n_faults", "data_until", "horizon_s", "synthetic", "metrics"):
        mine, its = getattr(card, name), getattr(written, name)
        assert mine == its if name != "point" else mine.threshold == its.threshold
    assert len(card.curve) == len(decode((DEMO / MODEL / "card.json").read_bytes(), "card").curve)


@given(st.binary(max_size=200))
def test_any_bytes_are_an_evaluation_or_an_error_in_words(data: bytes) -> None:
    card = Card(
        model_id="m",
        created=datetime(2026, 1, 1, tzinfo=UTC),
        synthetic=True,
        point=files.Point(threshold=1.0),
    )
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "evaluation.json").write_bytes(data)
        with pytest.raises(ForeshockError):
            evaluation.read(Path(folder), card)
