"""The worked questions to the lake: pipeline/questions.md, which the dashboard offers and docs/analysts.md carries.

`python -m pipeline.questions docs/analysts.md` puts them into that page; a test says where it is stale.
"""

from __future__ import annotations

import functools
import re
import sys
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Final

from collector.errors import ForeshockError

_SECTION: Final = re.compile(
    r"^## (\d+)\. ([^\n]+\?)\n\n```sql\n(.*?)```\n\n(.*?)(?=\n## |\Z)", re.DOTALL | re.MULTILINE
)
_AFTER: Final = "\n## Other tools"


@dataclass(frozen=True, slots=True)
class Question:
    """One SELECT over the views, and how to read its answer (Markdown)."""

    number: int
    title: str
    sql: str
    meaning: str


@functools.cache
def questions() -> tuple[Question, ...]:
    """All of them, by number from 1."""
    return tuple(
        Question(int(number), title, sql, meaning.strip())
        for number, title, sql, meaning in _SECTION.findall(text())
    )


def text() -> str:
    """As they stand, in Markdown."""
    return resources.files("pipeline").joinpath("questions.md").read_text(encoding="utf-8")


def put_into(page: str) -> str:
    """`page` with the questions of today between its introduction and its last chapter.

    Raises ForeshockError where the page has no such place.
    """
    start, end = page.find("## 1. "), page.find(_AFTER)
    if not 0 <= start < end:
        raise ForeshockError(
            "the page has no place for the questions", hint="it needs '## 1. ' and '## Other tools'"
        )
    return page[:start] + text() + page[end:]


if __name__ == "__main__":
    path = Path(sys.argv[1])
    path.write_text(put_into(path.read_text(encoding="utf-8")), encoding="utf-8")
