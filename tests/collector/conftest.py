from __future__ import annotations

from pathlib import Path

import pytest

from tests.double import Node


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Node:
    return Node(tmp_path, monkeypatch)
