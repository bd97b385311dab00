"""What a page's test leaves behind is put right."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Final

import pytest

_MAIN: Final = sys.modules["__main__"]
"""As it is while tests are collected: fixtures that open a page run before any fixture here could look."""


@pytest.fixture(autouse=True)
def main_stays_main() -> Iterator[None]:
    """Streamlit puts each page in the place of `__main__`; every process spawned later would begin by running it."""
    yield
    sys.modules["__main__"] = _MAIN
