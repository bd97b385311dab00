"""Text of the lake within the page's Markdown: as it is, and never as markup."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import urlencode

_MARKUP: Final = re.compile(r"([\\`*_{}\[\]<>()#+!|~:$&-])")
_EMOJI: Final = re.compile(r":[\w+-]+:")


def plain(text: object) -> str:
    """Escaped, so that a kernel line, a node's name or `0000:ab:00` is shown and not rendered."""
    return " ".join(map(_word, str(text).split()))


def _word(word: str) -> str:
    # an emoji's name between colons is made a picture even where it is escaped, but not within code
    if _EMOJI.search(word):
        return f"`{word.replace('`', '')}`"
    return _MARKUP.sub(r"\\\1", word)


def link(page: str, text: str, **url: str) -> str:
    """A link to another page in the same tab, as HTML. It holds behind a proxy's path too."""
    return f'<a href="{page}?{urlencode(url)}" target="_self">{plain(text)}</a>'
