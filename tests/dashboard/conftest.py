"""What a page's test leaves behind is put right."""

from __future__ import annotations

import sys

import pytest


@pytest.fixture(autouse=True)
def main_stays_main(monkeypatch: pytest.MonkeyPatch) -> None:
    """Streamlit puts each page in the place of `__main__`; every process spawned later would begin by running it."""
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])
